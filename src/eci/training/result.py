"""What a training run came to: counts, notes, JSON, and a few lines for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eci.examples import Examples
from eci.results import count, number
from eci.training.finetune import Trained
from eci.training.rows import TrainingRows
from eci.training.settings import TrainSettings

SCHEMA = "eci.train/1"


@dataclass(frozen=True)
class TrainResult:
    """A training run: what was made of what.

    Parameters
    ----------
    output : Path
    trained : Trained
    told : dict
        Everything, as ``eci.train/1``.
    replaced : str
        The model of `train` that the output took the place of, in words; empty if there was none.
    """

    output: Path
    trained: Trained
    told: dict[str, Any]
    replaced: str = ""

    def to_json(self) -> str:
        """Everything, as JSON text (``eci.train/1``)."""
        return json.dumps(self.told, indent=2, ensure_ascii=False, allow_nan=False)

    def table(self) -> str:
        """The outcome for a person."""
        told, trained, rows = self.told, self.trained, self.told["rows"]
        lines = [
            f"{self.output}: {told['model']['name']} fine-tuned on {' and '.join(told['sources'])}: "
            f"{count(rows['rows'], 'row')} of {count(rows['queries'], 'query')}, "
            f"{count(trained.steps, 'step')} in {trained.seconds:,.0f} s, mean loss {_loss(trained.loss)}"
        ]
        if trained.dev:
            values = dict(trained.dev)
            lines.append(
                f"nDCG@10 on {count(rows['held_out'], 'query')} held out, among "
                f"{count(rows['documents'], 'document')}: {number(values[0])} before training, "
                f"{number(values[trained.best or 0])} at step {trained.best:,}, which is kept"
            )
        replaced = [f"it replaced {self.replaced}, which was there"] if self.replaced else []
        return "\n".join([*lines, *(f"· {note}" for note in (*told["notes"], *replaced))])


def _loss(value: float) -> str:
    # 0.0000 would be that of a run that had nothing to learn.
    return f"{value:.1e}" if 0 < value < 0.001 else number(value)


def counts(examples: Examples, drawn: TrainingRows, settings: TrainSettings) -> dict[str, Any]:
    """How many rows, of how many queries, among how many documents; and rows with too few negatives."""
    held_out = int(settings.stopping.held_out(examples).sum()) if settings.stopping else 0
    short = [int((part.lengths < settings.hard_negatives).sum()) for part in drawn.negatives]
    return {
        "rows": len(drawn),
        "queries": len(np.unique(drawn.query)),
        "held_out": held_out,
        "documents": len(examples.documents),
        "short": dict(zip(drawn.parts, short, strict=True)),
    }


def notes(rows: Mapping[str, Any], trained: Trained, settings: TrainSettings) -> list[str]:
    """What a reader of the outcome has to know.

    Parameters
    ----------
    rows : mapping
        Of `counts`.
    trained : Trained
    settings : TrainSettings
    """
    found = [
        f"{short:,} of {count(rows['rows'], 'row')} have fewer than {settings.hard_negatives} negatives of "
        f"{label}; none is padded, and they are in batches of their own"
        for label, short in rows["short"].items()
        if short
    ]
    if not rows["short"] and 1 in (rows["rows"], settings.training.batch_size):
        found.append(
            "nothing was learnt: rows without hard negatives learn from the other rows of their batch, and "
            f"each was alone in its own. Give {'more rows' if rows['rows'] == 1 else 'larger batches'}"
        )
    whole = rows["rows"] * settings.training.epochs
    if settings.stopping and trained.steps < trained.planned:
        found.append(
            f"ended after {trained.steps:,} of {trained.planned:,} steps: {settings.stopping.patience} "
            "evaluations in a row brought nothing better"
        )
    elif trained.seen < 0.99 * whole:
        found.append(
            f"{trained.seen:,} of {whole:,.0f} rows were trained on: the others share texts with so many "
            "that they found no batch. Smaller batches or fewer rows of each query leave fewer out"
        )
    dev = dict(trained.dev)
    if trained.best is not None and dev[trained.best] <= dev[0]:
        found.append("on the held-out queries the model was no better after training than before")
    return found
