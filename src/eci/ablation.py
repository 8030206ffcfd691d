"""One choice at a time: what the ranking of sources owes to encoder, N, aggregation, temperature, heuristic.

The tables are 3 to 6 of arXiv 2603.20990v1, and one of temperatures, on the rows at hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eci import metrics
from eci.association import Association, Measures, association_text
from eci.errors import EciError
from eci.examples import refuse_limit
from eci.metrics import semantic
from eci.results import ScoreResult, listed, of_schema, plain
from eci.settings import Settings
from eci.tables import Table, table_of
from eci.types import Encoder, Vectors

SCHEMA = "eci.ablation/1"

_AGGREGATIONS = ("eci", "arithmetic", "eci_query", "eci_mean_margin")
_WITH_TEMPERATURE = ("eci_sem", "gradient_norm", "infonce_loss", "alignment_gain")
_HEURISTICS = (
    "eci",
    "signal",
    "gradient_norm",
    "gradient_norm_estimate",
    "score_variance",
    "score_variance_estimate",
    "capacity",
    "arithmetic",
)


@dataclass(frozen=True)
class AblationSettings:
    """What to vary.

    Parameters
    ----------
    fixed_n : int
        Negatives of each query and source in the table of equal N.
    temperatures : tuple of float
        τ of the tables of temperatures, beside that of `scoring`.
    measures : Measures, dict, str or Path, optional
        A number a source, of retrievers trained on it; or a file that `Measures.read` reads.
    scoring : Settings
        What every run has in common; its metric is the one of the first two tables.
    """

    fixed_n: int = 3
    temperatures: tuple[float, ...] = semantic.TEMPERATURES
    measures: Measures | Mapping[str, float] | str | Path | None = None
    scoring: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        refuse_limit(self.fixed_n, "top")
        if self.scoring.until_decided:
            raise EciError("every run of an ablation scores the same queries: use sample, not until_decided.")
        if self.scoring.fixed_n is not None:
            raise EciError("an ablation cuts the rows itself: give fixed_n to it, not to how it scores.")
        low, high = metrics.TEMPERATURES
        if not all(low <= temperature <= high for temperature in self.temperatures):
            raise EciError(f"temperatures lie between {low} and {high}, got {self.temperatures}")


class Remembering:
    """An encoder that is asked for each text once and keeps its vectors in memory."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._queries: dict[str, Vectors] = {}
        self._documents: dict[str, Vectors] = {}

    def encode_query(self, texts: Sequence[str]) -> Any:
        """Vectors of queries, of shape (n, d)."""
        return self._encoded(self._encoder.encode_query, texts, self._queries)

    def encode_document(self, texts: Sequence[str]) -> Any:
        """Vectors of documents, of shape (n, d)."""
        return self._encoded(self._encoder.encode_document, texts, self._documents)

    def describe(self) -> dict[str, Any]:
        """What a result stores of the encoder."""
        return {"name": type(self._encoder).__name__, **getattr(self._encoder, "describe", dict)()}

    @staticmethod
    def _encoded(function: Any, texts: Sequence[str], known: dict[str, Vectors]) -> Any:
        new = [text for text in texts if text not in known]
        if new:
            vectors = np.asarray(function(new))
            # What has another shape is refused by who asked, in words that fit.
            if vectors.ndim != 2 or len(vectors) != len(new):
                return vectors
            known.update(zip(new, vectors, strict=True))
        return np.stack([known[text] for text in texts])


@dataclass(frozen=True)
class Ablation:
    """Runs that differ in one choice each, and the tables made of them.

    Parameters
    ----------
    encoders : dict of str to ScoreResult
        By encoder. The first is the base: every other run is made with that encoder.
    fixed_n, temperatures : dict of str to ScoreResult
        By how the negatives were chosen, and by τ.
    measures : Measures, optional
    settings : dict
    """

    encoders: dict[str, ScoreResult]
    fixed_n: dict[str, ScoreResult]
    temperatures: dict[str, ScoreResult]
    measures: Measures | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> ScoreResult:
        """What `eci.score` gives with the first encoder."""
        return next(iter(self.encoders.values()))

    @property
    def tables(self) -> tuple[Table, ...]:
        """Encoder, fixed N, aggregation, temperature (four of them), heuristics."""
        return tuple(_tables(self))

    @property
    def associations(self) -> tuple[Association, ...]:
        """How each heuristic goes together with the measures; empty without measures."""
        if self.measures is None:
            return ()
        return tuple(
            Association.of(
                entry.metric, {label: found.value for label, found in entry.values.items()}, self.measures
            )
            for entry in self.tables[-1].columns
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists in the form ``eci.ablation/1``; undefined numbers are None."""
        runs = {
            kind: {name: result.to_dict() for name, result in getattr(self, kind).items()} for kind in _RUNS
        }
        tables = [
            {
                "choice": table.choice,
                "title": table.title,
                "columns": [asdict(entry) for entry in table.columns],
                "notes": table.notes,
            }
            for table in self.tables
        ]
        told = None
        if self.measures is not None:
            told = {
                "name": self.measures.name,
                "values": dict(self.measures.values),
                "sources": len(self.measures.values),
                "associations": [entry.to_dict() for entry in self.associations],
            }
        found = {"tables": tables, "measures": told, "settings": self.settings, "runs": runs}
        return {"schema": SCHEMA, **plain(found)}

    def to_json(self, indent: int | None = 2) -> str:
        """The ablation as JSON text (``eci.ablation/1``)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Ablation:
        """Read back what `to_json` wrote.

        Raises
        ------
        ValueError
            The text is not an ablation of the schema ``eci.ablation/1``.
        """
        loaded = of_schema(text, SCHEMA, ("runs", "measures", "settings"))
        runs = {
            kind: {
                name: ScoreResult.from_json(json.dumps(entry)) for name, entry in loaded["runs"][kind].items()
            }
            for kind in _RUNS
        }
        told = loaded["measures"]
        measures = None if told is None else Measures(told["values"], told["name"])
        return cls(**runs, measures=measures, settings=loaded["settings"])

    def text(self, width: int = 100) -> str:
        """All tables, and what goes together with the measures."""
        parts = [table.text(width) for table in self.tables]
        if self.measures is not None:
            parts.append(association_text(self.measures, self.associations))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return self.text()


_RUNS = ("encoders", "fixed_n", "temperatures")


def _tables(ablation: Ablation) -> Iterator[Table]:
    base, encoders = ablation.base, ablation.encoders
    metric, used, size = base.settings["metric"], base.settings["temperature"], ablation.settings["fixed_n"]
    yield table_of(
        "encoder",
        f"Encoder (table 3): {metric}",
        [(name, metric, result) for name, result in encoders.items()],
        () if len(encoders) > 1 else ("One encoder. Name others, to see whether they agree: --encoder NAME",),
    )
    yield table_of(
        "fixed_n",
        f"Fixed N (table 4): {metric}",
        [
            ("all negatives", metric, base),
            *((f"N ≤ {size}, {by}", metric, result) for by, result in ablation.fixed_n.items()),
        ],
        tuple(_limits(ablation)),
    )
    yield table_of(
        "aggregation",
        "Aggregation (table 5): harmonic mean of signal and margin (eci), arithmetic, by query, mean margin",
        [(name, name, base) for name in _AGGREGATIONS],
    )
    for name in _WITH_TEMPERATURE:
        runs = {str(used): base, **ablation.temperatures}
        yield table_of(
            "temperature", f"Temperature: {name}", [(f"τ = {tau}", name, runs[tau]) for tau in runs]
        )
    yield table_of(
        "heuristic",
        f"Heuristics (table 6): beside {metric}",
        [(name, name, base) for name in dict.fromkeys((metric, *_HEURISTICS))],
        ("None of them is known to predict training: see docs/metrics.md.",),
    )


def _limits(ablation: Ablation) -> Iterator[str]:
    size = ablation.settings["fixed_n"]
    cut = next(iter(ablation.fixed_n.values()))
    if all(entry.negatives == cut[entry.source].negatives for entry in ablation.base.sources):
        yield f"No query has more than {size} negatives of a source: nothing was cut."
    short = cut.data["fixed_n_short"]
    if short:
        told = listed([f"{label} {times:,}" for label, times in short.items()])
        yield f"Queries with fewer than {size}: {told}."
    if any("+" in entry.source for entry in ablation.base.sources):
        yield "The top of a hybrid is the top of its first part."
