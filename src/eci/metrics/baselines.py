"""The simpler figures that any metric has to beat, always printed beside it.

Equations 11 and 12 of arXiv 2603.20990v1 are its gradient and variance heuristics; both are computed
from the similarities themselves and from the paper's summary approximation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eci.metrics.batch import Batch
from eci.ragged import Ragged, divide
from eci.types import Floats

NAMES = (
    "arithmetic",
    "gradient_norm",
    "gradient_norm_estimate",
    "score_variance",
    "score_variance_estimate",
    "violation_rate",
    "violation_rate_95",
    "infonce_loss",
    "lexical_overlap_query",
    "lexical_overlap_positive",
    "reranker_score",
)


def columns(batch: Batch, temperature: float = 0.05) -> dict[str, Floats]:
    """Per-query figures of shape (B,) whose sums are all that the baselines need; NaN where undefined.

    Parameters
    ----------
    batch : Batch
        The negatives of one source.
    temperature : float
        τ of the gradient norm and of the InfoNCE loss.
    """
    filled, negative, best = batch.filled, batch.negative, batch.best_positive
    reference = np.repeat(best, negative.lengths)
    relaxed = reference - 0.05 * np.abs(reference)
    deviation = negative.values - np.repeat(negative.means(), negative.lengths)
    return {
        "negatives": np.where(filled, negative.lengths, np.nan),
        "violations": _count(batch, negative.values > reference),
        "violations_95": _count(batch, negative.values > relaxed),
        # exp((s - 1)/τ) is at most 1; the factor exp(1/τ) is put back in `values`.
        "gradient": np.where(filled, _scaled(negative, temperature).sums(), np.nan),
        "maximum": negative.maxima(),
        "variance": negative.with_values(deviation**2).means(),
        "infonce": _infonce(batch, temperature),
        **_means("overlap_query", batch.overlap_query),
        **_means("overlap_positive", batch.overlap_positive),
        **_means("teacher", batch.teacher),
    }


def values(sums: Mapping[str, Floats], temperature: float = 0.05) -> dict[str, Floats]:
    """The metrics `NAMES` from the sums of this module's and of `eci.metrics.eci`'s columns, of shape (R,).

    Parameters
    ----------
    sums : mapping of str to ndarray of shape (R,)
    temperature : float
        The τ that the columns were made with.
    """
    signal = _ratio(sums, "signal", "queries")
    n = _ratio(sums, "n", "queries")
    spread = _ratio(sums, "maximum", "queries") - signal
    return {
        "arithmetic": np.log1p(n) * (signal + _ratio(sums, "margin_max", "queries")) / 2,
        "gradient_norm": _ratio(sums, "gradient", "queries") * np.exp(1 / temperature),
        "gradient_norm_estimate": n * np.exp(signal / temperature),
        "score_variance": _ratio(sums, "variance", "queries"),
        "score_variance_estimate": 0.5 * spread**2,
        "violation_rate": _ratio(sums, "violations", "negatives"),
        "violation_rate_95": _ratio(sums, "violations_95", "negatives"),
        "infonce_loss": _ratio(sums, "infonce", "queries"),
        "lexical_overlap_query": _ratio(sums, "overlap_query", "overlap_query_queries"),
        "lexical_overlap_positive": _ratio(sums, "overlap_positive", "overlap_positive_queries"),
        "reranker_score": _ratio(sums, "teacher", "teacher_queries"),
    }


def _ratio(sums: Mapping[str, Floats], above: str, below: str) -> Floats:
    if below not in sums:
        return np.full(len(sums["queries"]), np.nan)
    return divide(sums[above], sums[below])


def _count(batch: Batch, hits: np.ndarray) -> Floats:
    return np.where(batch.filled, batch.negative.with_values(hits).sums(), np.nan)


def _scaled(negative: Ragged, temperature: float) -> Ragged:
    return negative.with_values(np.exp((negative.values.astype(np.float64) - 1) / temperature))


def _infonce(batch: Batch, temperature: float) -> Floats:
    """−ln of the softmax weight of the best positive against the query's explicit negatives."""
    logits = batch.margins.with_values(-batch.margins.values / temperature)
    return np.where(batch.filled, np.logaddexp(0.0, logits.logsumexp()), np.nan)


def _means(name: str, entries: Ragged | None) -> dict[str, Floats]:
    """Mean over a query's defined entries, and a one for each query that has any."""
    if entries is None:
        return {}
    means = entries.keep(~np.isnan(entries.values)).means()
    return {name: means, f"{name}_queries": np.where(np.isnan(means), np.nan, 1.0)}
