"""Retrieval after training: an encoder or a run, measured on a judged collection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from eci.results import Estimate, filled, number, of_schema, plain
from eci.types import Encoder, Progress, silent
from eci.validation import measures as measuring
from eci.validation.judged import JudgedCollection
from eci.validation.retrieval import Run, search

SCHEMA = "eci.evaluation/1"


@dataclass(frozen=True)
class Evaluation:
    """What a run is worth, with what is needed to obtain the figures again.

    Parameters
    ----------
    run : str
        The name of the run.
    measures : dict of str to Estimate
        Means over the queries with 95 % intervals (`measures.mean_interval`), by the names of ir-measures.
    queries : int
        Judged queries; those without results count too.
    per_query : dict of str to dict of str to float
        Each measure of each query.
    encoder, settings : dict
        Provenance; no encoder for a run that was read.
    notes : tuple of str
        What was left out or counts as 0.
    """

    run: str
    measures: dict[str, Estimate]
    queries: int
    per_query: dict[str, dict[str, float]]
    encoder: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists in the form ``eci.evaluation/1``; undefined numbers are None."""
        made: dict[str, Any] = plain(asdict(self))
        return {"schema": SCHEMA, **made}

    def to_json(self, indent: int | None = 2) -> str:
        """The evaluation as JSON text (``eci.evaluation/1``)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Evaluation:
        """Read back what `to_json` wrote.

        Raises
        ------
        ValueError
            The text is not an evaluation of the schema ``eci.evaluation/1``.
        """
        keys = ("run", "measures", "queries", "per_query", "encoder", "settings", "notes")
        loaded = of_schema(text, SCHEMA, keys)
        estimates = {name: Estimate(**filled(entry)) for name, entry in loaded["measures"].items()}
        given = {key: loaded[key] for key in keys}
        return cls(**{**given, "measures": estimates, "notes": tuple(loaded["notes"])})

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {number(each.value)}" for name, each in self.measures.items())
        return f"{self.run}: {told} over {self.queries:,} queries"


def evaluate_retrieval(
    encoder: Encoder,
    test_set: JudgedCollection,
    *,
    measures: Sequence[str] = measuring.DEFAULT,
    depth: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Search a collection with an encoder, and measure what it finds.

    Parameters
    ----------
    encoder : Encoder
        Any object with ``encode_query`` and ``encode_document``, such as a ``SentenceTransformer``.
    test_set : JudgedCollection
    measures : sequence of str
        Names that ir-measures knows.
    depth : int, optional
        Documents retrieved for a query; 100 or the largest cutoff of the measures when None.
    progress : Progress

    Raises
    ------
    EciError
        A measure is unknown, the depth is smaller than a cutoff, or the encoder gives unusable vectors.
    """
    depth = measuring.depth_for(measuring.parse(measures), depth)
    run = search(encoder, test_set, depth=depth, progress=progress)
    return evaluate_run(run, test_set, measures=measures)


def evaluate_run(
    run: Run, test_set: JudgedCollection, *, measures: Sequence[str] = measuring.DEFAULT
) -> Evaluation:
    """Measure a run as it is: whoever gives it to ir-measures gets the same figures.

    Raises
    ------
    EciError
        A measure is unknown.
    """
    parsed = measuring.parse(measures)
    found = measuring.per_query(parsed, test_set.qrels, run.results)
    settings = {
        "collection": test_set.name,
        "split": test_set.split,
        "depth": run.depth,
        "documents": len(test_set.documents),
        "judgements": sum(map(len, test_set.qrels.values())),
        "files": [*test_set.files, *run.files],
        "versions": {name: version(name) for name in ("eci", "numpy", "ir-measures", "pytrec-eval-terrier")},
    }
    return Evaluation(
        run.name,
        {name: measuring.mean_interval(list(values.values())) for name, values in found.items()},
        len(test_set),
        found,
        dict(run.encoder),
        settings,
        (*test_set.notes, *run.notes, *_short(run, test_set, parsed)),
    )


def _short(run: Run, test_set: JudgedCollection, parsed: Sequence[Any]) -> list[str]:
    """Notes on queries and documents that the run lacks."""
    notes = []
    missing = sum(not run.results.get(query) for query in test_set.query_ids)
    if missing:
        notes.append(f"{missing:,} of {len(test_set):,} queries have no results, and count 0")
    wanted = min(len(test_set.documents), measuring.depth_for(parsed))
    deep = [str(measure) for measure in parsed if run.depth < min(wanted, measuring.cutoff(measure))]
    if deep:
        notes.append(f"no query has more than {run.depth:,} documents; {', '.join(deep)} looks at more")
    return notes
