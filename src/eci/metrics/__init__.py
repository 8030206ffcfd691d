"""Metrics that judge negatives before training. Everything here runs on numpy alone.

A metric is two functions: ``columns(batch)`` gives per-query figures whose sums are its whole state,
``values(sums)`` gives the metric from the sums. `tally` and `evaluate` run all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eci.metrics import alignment, baselines, semantic
from eci.metrics import eci as _eci
from eci.metrics.batch import Batch
from eci.metrics.eci import capacity, eci_score, efficiency
from eci.tally import Tally
from eci.types import Flags, Floats

__all__ = [
    "BOUNDS",
    "LOWER_IS_BETTER",
    "NAMES",
    "OF_SUMS",
    "TEMPERATURES",
    "Batch",
    "capacity",
    "eci_score",
    "efficiency",
    "evaluate",
    "tally",
    "values",
]

# What sums over queries give, and what needs the directions of the vectors too.
OF_SUMS = _eci.NAMES + baselines.NAMES
NAMES = OF_SUMS + semantic.NAMES + alignment.NAMES

# Where a metric's range ends; the others have 0 below and no end above.
BOUNDS = {
    "signal": (-1.0, 1.0),
    "margin_max": (0.0, 2.0),
    "margin_mean": (0.0, 2.0),
    "efficiency": (0.0, 1.0),
    "arithmetic": (-math.inf, math.inf),
    "violation_rate": (0.0, 1.0),
    "violation_rate_95": (0.0, 1.0),
    "lexical_overlap_query": (0.0, 1.0),
    "lexical_overlap_positive": (0.0, 1.0),
    "reranker_score": (-math.inf, math.inf),
    "eci_sem_effective_rank": (1.0, math.inf),
    "alignment": (-1.0, 1.0),
    "alignment_dot": (-math.inf, math.inf),
    "alignment_gain": (-2.0, 2.0),
    "alignment_dot_gain": (-math.inf, math.inf),
}

# Outside it exp(1/τ) overflows, or every similarity weighs the same.
TEMPERATURES = (0.002, 100.0)

# Every other metric is read as "more is better", as the papers read them; none of this is a finding.
LOWER_IS_BETTER = frozenset({"violation_rate", "violation_rate_95"})


def tally(batch: Batch, *, temperature: float = 0.05, only: Flags | None = None) -> Tally:
    """The sums of all metrics over a batch; `only`, of shape (B,), leaves queries out."""
    columns = {**_eci.columns(batch), **baselines.columns(batch, temperature)}
    if only is not None:
        columns = {name: np.where(only, column, np.nan) for name, column in columns.items()}
    return Tally.of(batch.groups, columns)


def values(sums: Mapping[str, Floats], *, temperature: float = 0.05) -> dict[str, Floats]:
    """All metrics `OF_SUMS` from sums, each of shape (R,)."""
    if "queries" not in sums:
        return {name: np.full(1, np.nan) for name in OF_SUMS}
    return {**_eci.values(sums), **baselines.values(sums, temperature)}


def evaluate(
    positive: Iterable[ArrayLike] | NDArray[Any],
    negative: Iterable[ArrayLike] | NDArray[Any],
    *,
    temperature: float = 0.05,
) -> dict[str, float]:
    """All metrics that similarities alone can give, for one source.

    Parameters
    ----------
    positive, negative : list of B arrays, or ndarray of shape (B, P) and (B, N)
        Cosine of each query with its positives and its negatives.
    temperature : float
        τ of the gradient norm and of the InfoNCE loss.

    Returns
    -------
    dict of str to float
        One entry for each of `OF_SUMS`; NaN where undefined (overlaps and reranker scores here).

    Examples
    --------
    >>> found = evaluate([[0.9], [0.8]], [[0.5, 0.7], [0.3, 0.9]])
    >>> round(found["signal"], 3), found["violation_rate"], round(found["margin_mean"], 3)
    (0.6, 0.25, 0.25)
    """
    low, high = TEMPERATURES
    if not low <= temperature <= high:
        raise ValueError(f"temperature lies between {low} and {high}, got {temperature}")
    sums = tally(Batch.from_similarities(positive, negative), temperature=temperature).replicates()
    return {name: float(column[0]) for name, column in values(sums, temperature=temperature).items()}
