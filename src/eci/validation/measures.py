"""Measures by ir-measures, query by query, and intervals of their means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eci.errors import EciError, MissingDependency
from eci.intervals import student_quantile
from eci.results import Estimate

DEFAULT = ("nDCG@10", "P@10", "R@100", "RR@10")
DEPTH = 100


def parse(names: Sequence[str]) -> list[Any]:
    """Measures by their ir-measures names, each once; ``MRR@10`` is its ``RR@10``.

    Raises
    ------
    EciError
        A name is not that of a measure, its cutoff is below 1, or what computes it is not installed.
    MissingDependency
        ir-measures is not installed.
    """
    library = _library()
    found: dict[str, Any] = {}
    for name in names:
        try:
            measure = library.parse_measure(name)
            measure.validate_params()
        # The library raises NameError, ValueError and AssertionError, and syntax errors of Python's parser.
        except Exception as error:
            lacking = isinstance(error, AssertionError)
            why = "a parameter, such as the cutoff, is missing or unfit" if lacking else error
            raise EciError(
                f"{name!r} is not a measure that ir-measures knows: {why}. Measures are written as "
                f"{', '.join(DEFAULT)}, AP or P(rel=2)@5; see https://ir-measur.es/en/latest/measures.html"
            ) from error
        if not library.DefaultPipeline.supports(measure):
            needed = [
                provider.install_instructions()
                for provider in library.DefaultPipeline.providers
                if not provider.is_available() and provider.supports(measure)
            ]
            told = f" Install what computes it: {' or '.join(filter(None, needed))}." if any(needed) else ""
            raise EciError(f"nothing that is installed computes {name}.{told}")
        if measure.params.get("cutoff", 1) < 1:
            # What computes it would end the whole process.
            raise EciError(f"{name} looks at no document. Give a cutoff of at least 1, as in nDCG@10.")
        found[str(measure)] = measure
    if not found:
        raise EciError("no measure is named. Name one, such as nDCG@10.")
    return list(found.values())


def depth_for(measures: Sequence[Any], wanted: int | None = None) -> int:
    """How many documents to retrieve for a query: as wanted, else 100, or the largest cutoff.

    Raises
    ------
    EciError
        Fewer are wanted than a measure looks at.
    """
    deepest = max(measures, key=cutoff)
    if wanted is not None and wanted < cutoff(deepest):
        raise EciError(
            f"{deepest} looks at more than {wanted} documents of a query. Retrieve more, or leave it out."
        )
    return wanted or max(DEPTH, cutoff(deepest))


def per_query(
    measures: Sequence[Any],
    qrels: Mapping[str, Mapping[str, int]],
    results: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """Each measure of each judged query, in the order of `qrels`; 0 for a query without results.

    Parameters
    ----------
    measures : sequence of ir_measures.Measure
    qrels : mapping of str to mapping of str to int
    results : mapping of str to mapping of str to float
    """
    judged = {query: dict(grades) for query, grades in qrels.items()}
    ranked = {query: dict(found) for query, found in results.items() if query in judged}
    found: dict[str, dict[str, float]] = {str(measure): dict.fromkeys(judged, 0.0) for measure in measures}
    for entry in _library().iter_calc(list(measures), judged, ranked):
        found[str(entry.measure)][entry.query_id] = float(entry.value)
    return found


def mean_interval(values: Sequence[float]) -> Estimate:
    """Mean over queries with Student's 95 % interval: how it would vary with other queries of their kind.

    On resamples of real nDCG@10, P@10 and RR@10 of 300 queries it covers as often as the bootstrap, and
    more often where queries are few. The mean of a measure that is 1 for nearly all queries is covered less
    often by both, and the interval may then pass 1.

    Examples
    --------
    >>> found = mean_interval([0.2, 0.4, 0.6])
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.4, -0.097, 0.897)
    """
    size = len(values)
    mean = math.fsum(values) / size
    if size < 2:
        return Estimate(mean, math.nan, math.nan)
    half = student_quantile(0.975, size - 1) * float(np.std(values, ddof=1)) / math.sqrt(size)
    return Estimate(mean, mean - half, mean + half)


def cutoff(measure: Any) -> int:
    """How many documents of a query a measure looks at; 0 for one that looks at all."""
    return int(measure.params.get("cutoff", 0))


def _library() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependency("Evaluation", "ir-measures", "validate") from error
    return ir_measures
