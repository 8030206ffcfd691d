"""What an experiment comes to: cells gathered, held against the metrics, as JSON and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import orjson

from eci.results import number, plain, span
from eci.training.settings import NONE
from eci.validation.agreement import Agreement, agree
from eci.validation.agreement_text import agreement_text, summary_text
from eci.validation.cells import Bench, versions
from eci.validation.experiment import UNTRAINED, Experiment
from eci.validation.observations import Measurements
from eci.validation.pooling import Summary, summarise
from eci.validation.scored import Scored

SCHEMA = "eci.validation/1"
_MAIN = "nDCG@10"
# Over fewer test queries than this no table is made.
_FEWEST = 30


@dataclass(frozen=True)
class Compared:
    """One collection: what training gave, and how every metric under every encoder agrees with it.

    Parameters
    ----------
    collection : str
    tried : list of dict
        What tuning tried, and nDCG@10 on the held-out queries.
    chosen : dict
        The settings it chose.
    untrained : dict of str to dict of str to float
        Measures of the model as it was, by test set.
    cells : list of dict
        Source, seed, seconds and measures of each, and nDCG@10 of each query in the order of the judgements.
    metrics : dict of str to dict of str to dict of str to float
        By encoder and metric: what it says of each source, and of ``none`` where it has an opinion.
    agreements : dict of str to list of Agreement
        By encoder; one for each test set and measure.
    unseen : dict of str to list of Agreement
        The same by nDCG@10 over the test queries none of whose relevant documents is a positive of a query
        that was trained on; for test sets that have both kinds.
    seconds : dict
        Of all training, of all evaluation, and of scoring by encoder.
    """

    collection: str
    tried: list[dict[str, Any]]
    chosen: dict[str, Any]
    untrained: dict[str, dict[str, float]]
    cells: list[dict[str, Any]]
    metrics: dict[str, dict[str, dict[str, float]]]
    agreements: dict[str, list[Agreement]]
    unseen: dict[str, list[Agreement]]
    seconds: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """An experiment that is done.

    Parameters
    ----------
    name : str
    experiment : dict
        The plan.
    compared : tuple of Compared
    versions : dict
    command : str, optional
        The command line that obtains it again.
    """

    name: str
    experiment: dict[str, Any]
    compared: tuple[Compared, ...]
    versions: dict[str, str]
    command: str | None = None

    @classmethod
    def of(cls, experiment: Experiment, found: Sequence[Compared]) -> Outcome:
        """Of all its collections."""
        return cls(experiment.name, asdict(experiment), tuple(found), versions())

    @property
    def summaries(self) -> dict[str, Summary]:
        """Over all collections and test sets, by encoder."""
        encoders = list(self.compared[0].agreements)
        return {
            encoder: summarise([entry for one in self.compared for entry in _of_measure(one, encoder)])
            for encoder in encoders
        }

    def to_json(self) -> str:
        """Everything, as JSON of schema ``eci.validation/1``."""
        told = {
            "schema": SCHEMA,
            "name": self.name,
            "experiment": self.experiment,
            "collections": [
                {
                    **vars(one),
                    **{
                        kind: {name: [entry.to_dict() for entry in found] for name, found in held.items()}
                        for kind, held in (("agreements", one.agreements), ("unseen", one.unseen))
                    },
                }
                for one in self.compared
            ],
            "summaries": {encoder: found.to_dict() for encoder, found in self.summaries.items()},
            "versions": self.versions,
            **({"command": self.command} if self.command else {}),
        }
        return orjson.dumps(_rounded(plain(told))).decode()

    def text(self) -> str:
        """The tables for a person."""
        parts = []
        for one in self.compared:
            parts.append(_head(one))
            for encoder in one.agreements:
                for entry in (*_of_measure(one, encoder), *one.unseen[encoder]):
                    parts.append(f"Metrics under {encoder}\n\n{agreement_text(entry)}")
        if len(self.compared) > 1:
            parts += [
                f"Metrics under {name}\n\n{summary_text(found)}" for name, found in self.summaries.items()
            ]
        return "\n\n\n".join(parts)


def compared(bench: Bench, scores: Sequence[Scored]) -> Compared:
    """Gather the cells of a collection, and hold every metric against every measure.

    Parameters
    ----------
    bench : Bench
        None of its cells is missing.
    scores : sequence of Scored
        One for each encoder.
    """
    kept = [(cell, bench.kept(cell) or {}) for cell in bench.table()]
    untrained = next(entry for cell, entry in kept if cell.source == UNTRAINED)
    trained = {(cell.source, cell.training.seed): entry for cell, entry in kept if cell.source != UNTRAINED}
    spent = {
        what: sum(entry["seconds"][what] for entry in trained.values()) for what in ("training", "evaluation")
    }
    seeds, sources = bench.experiment.seeds, (NONE, *bench.sources)
    agreements: dict[str, list[Agreement]] = {found.encoder: [] for found in scores}
    unseen: dict[str, list[Agreement]] = {found.encoder: [] for found in scores}
    for test, told in untrained["tests"].items():
        name = bench.plan.name if len(untrained["tests"]) == 1 else f"{bench.plan.name} → {test}"
        clean = bench.unseen(test)
        for measure in told["per_query"]:
            table = np.array(
                [
                    [trained[source, seed]["tests"][test]["per_query"][measure] for seed in seeds]
                    for source in sources
                ]
            )
            for found in scores:
                whole = Measurements(name, sources, tuple(seeds), table, measure, spent["training"])
                agreements[found.encoder].append(agree(whole, found.metrics()))
                if measure == _MAIN and _FEWEST <= clean.sum() < len(clean):
                    part = replace(whole, collection=f"{name}, unseen positives", scores=table[:, :, clean])
                    unseen[found.encoder].append(agree(part, found.metrics()))
    return Compared(
        collection=bench.plan.name,
        tried=bench.tried,
        chosen=bench.chosen,
        untrained=_measures(untrained),
        cells=[
            {
                "source": source,
                "seed": seed,
                "seconds": entry["seconds"],
                "rows": entry["trained"]["rows"],
                "loss": entry["trained"]["loss"],
                "tests": _measures(entry),
                "per_query": {test: told["per_query"][_MAIN] for test, told in entry["tests"].items()},
            }
            for (source, seed), entry in trained.items()
        ],
        metrics={
            found.encoder: {entry.metric: dict(entry.values) for entry in found.metrics()} for found in scores
        },
        agreements=agreements,
        unseen=unseen,
        seconds={**spent, "scoring": {found.encoder: dict(found.seconds) for found in scores}},
    )


def _of_measure(one: Compared, encoder: str) -> list[Agreement]:
    return [entry for entry in one.agreements[encoder] if entry.measure == _MAIN]


def _measures(entry: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        test: {name: value["value"] for name, value in told["measures"].items()}
        for test, told in entry["tests"].items()
    }


def _head(one: Compared) -> str:
    lines = [one.collection]
    for entry in one.tried:
        told = ", ".join(f"{key} {value}" for key, value in entry["settings"].items())
        mark = "  ← chosen" if entry["settings"] == one.chosen else ""
        lines.append(f"  tuning, none on held-out train queries: {told}: {number(entry['nDCG@10'])}{mark}")
    for test, measures in one.untrained.items():
        told = ", ".join(f"{name} {number(value)}" for name, value in measures.items())
        lines.append(f"  before training, on {test}: {told}")
    for encoder, seconds in one.seconds["scoring"].items():
        spent = {
            "score": seconds["embedding"] + seconds["score"],
            "probe": seconds["embedding"] + seconds["probe"],
        }
        told = "; ".join(
            f"{what} {took:,.0f} s, {took / one.seconds['training']:.1%}" for what, took in spent.items()
        )
        lines.append(f"  cost under {encoder}, of {one.seconds['training']:,.0f} s of training: {told}")
    lines.insert(1, "─" * max(map(span, lines)))
    return "\n".join(lines)


def _rounded(value: Any) -> Any:
    """Six significant digits: the files are kept, and no more are meant."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
