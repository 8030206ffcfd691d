"""Effective Contrastive Information: capacity times the harmonic mean of signal and margin.

Sinha, Seetharaman, Bansal, *ECI: Effective Contrastive Information to Evaluate Hard-Negatives*,
arXiv 2603.20990v1 (equations 1, 8, 9).

The published correlation of ECI with nDCG@10 (r = 0.91 over seven sources) is matched by capacity
alone (0.90) and falls to 0.52 without the LLM source. Read ECI beside its baselines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eci.metrics.batch import Batch
from eci.ragged import divide
from eci.tally import Tally
from eci.types import Floats

NAMES = (
    "eci",
    "eci_query",
    "eci_mean_margin",
    "signal",
    "margin_max",
    "margin_mean",
    "capacity",
    "efficiency",
)


def capacity(n: ArrayLike) -> Floats:
    """ln(1 + N), in nats: the InfoNCE bound on mutual information with N negatives.

    Parameters
    ----------
    n : array_like
        Number of negatives per query, or its mean; at least 0.

    Examples
    --------
    >>> round(float(capacity(50)), 4)
    3.9318
    """
    return np.asarray(np.log1p(np.asarray(n, dtype=np.float64)))


def efficiency(signal: ArrayLike, margin: ArrayLike) -> Floats:
    """Harmonic mean 2SD/(S + D) of signal and margin (equation 8); 0 where either is not positive.

    Parameters
    ----------
    signal, margin : array_like
        Cosines; they broadcast. NaN stays NaN.

    Returns
    -------
    ndarray
        0…1.

    Examples
    --------
    >>> round(float(efficiency(0.577, 0.199)), 4), float(efficiency(0.6, -0.1))
    (0.2959, 0.0)
    """
    s, d = np.broadcast_arrays(np.asarray(signal, dtype=np.float64), np.asarray(margin, dtype=np.float64))
    positive = (s > 0) & (d > 0)
    undefined = np.isnan(s) | np.isnan(d)
    mean = np.divide(2 * s * d, s + d, out=np.zeros(s.shape), where=positive)
    return np.where(undefined, np.nan, mean)


def eci(n: ArrayLike, signal: ArrayLike, margin: ArrayLike) -> Floats:
    """ECI from its three summary figures: ln(1 + N) · 2SD/(S + D) (equation 1).

    Parameters
    ----------
    n : array_like
        Negatives per query.
    signal : array_like
        Mean query–negative cosine.
    margin : array_like
        Margin between positive and negative, in cosine.

    Returns
    -------
    ndarray
        In nats; 0 where n is 0 or where signal or margin is not positive.

    Examples
    --------
    BM25 in table 1 of the paper, printed there as 1.16:

    >>> round(float(eci(50, 0.577, 0.199)), 4)
    1.1636
    """
    return np.asarray(capacity(n) * efficiency(signal, margin))


def eci_score(
    positive: Iterable[ArrayLike] | NDArray[Any],
    negative: Iterable[ArrayLike] | NDArray[Any],
    *,
    margin: Literal["max", "mean"] = "max",
    average: Literal["source", "query"] = "source",
) -> float:
    """ECI of one source from plain similarities.

    Parameters
    ----------
    positive, negative : list of B arrays, or ndarray of shape (B, P) and (B, N)
        Cosine of each query with its positives and with its negatives; a query may have no negatives.
    margin : {"max", "mean"}
        ``max``: best positive minus the hardest negative, clamped at 0 per query (equation 9).
        ``mean``: best positive minus the mean negative, clamped at 0 once averaged over the source:
        the reading that fits the paper's printed tables.
    average : {"source", "query"}
        ``source``: ECI of the mean N, signal and margin (what the paper's tables do).
        ``query``: mean of the ECI of each query; only with ``margin="max"``.

    Returns
    -------
    float
        In nats; NaN when no query has a negative.

    Examples
    --------
    >>> positive, negative = [[0.9], [0.8]], [[0.5, 0.7], [0.3, 0.5]]
    >>> round(eci_score(positive, negative), 4)  # N = 2, S = 0.5, D = (0.2 + 0.3) / 2
    0.3662
    >>> round(eci_score(positive, negative, average="query"), 4)
    0.3531
    """
    if margin not in ("max", "mean") or average not in ("source", "query"):
        raise ValueError(
            f"margin is 'max' or 'mean', average 'source' or 'query'; got {margin!r}, {average!r}"
        )
    if (margin, average) == ("mean", "query"):
        raise ValueError("the mean margin is clamped over the source, so it has no average='query'")
    name = "eci_query" if average == "query" else "eci_mean_margin" if margin == "mean" else "eci"
    batch = Batch.from_similarities(positive, negative)
    return float(values(Tally.of(batch.groups, columns(batch)).replicates())[name][0])


def columns(batch: Batch) -> dict[str, Floats]:
    """Per-query figures of shape (B,) whose sums are all that ECI needs; NaN without negatives."""
    n = np.where(batch.filled, batch.negative.lengths, np.nan)
    signal = batch.negative.means()
    margin_max = np.maximum(0.0, batch.best_positive - batch.negative.maxima())
    return {
        "queries": np.where(batch.filled, 1.0, np.nan),
        "n": n,
        "signal": signal,
        "margin_max": margin_max,
        "margin_mean": batch.margins.means(),
        "eci_query": eci(n, signal, margin_max),
    }


def values(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    """The metrics `NAMES` from sums of `columns`, each of shape (R,); NaN where no query has negatives."""
    mean = {
        name: divide(sums[name], sums["queries"])
        for name in ("n", "signal", "margin_max", "margin_mean", "eci_query")
    }
    margin_mean = np.maximum(0.0, mean["margin_mean"])
    return {
        "eci": eci(mean["n"], mean["signal"], mean["margin_max"]),
        "eci_query": mean["eci_query"],
        "eci_mean_margin": eci(mean["n"], mean["signal"], margin_mean),
        "signal": mean["signal"],
        "margin_max": mean["margin_max"],
        "margin_mean": margin_mean,
        "capacity": capacity(mean["n"]),
        "efficiency": efficiency(mean["signal"], mean["margin_max"]),
    }
