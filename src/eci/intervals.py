"""Intervals from leaving one group of queries out at a time.

The delete-a-group jackknife in the form for groups of unequal size (delete-m_j jackknife: Busing,
Meijer, van der Leeden 1999, Statistics and Computing 9, 3–8). With equal groups it is the ordinary
one. Sources are scored on the same groups, so differences between them are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eci.types import Floats, Integers

_DRAWS = 20_000


@dataclass(frozen=True)
class Jackknife:
    """What the groups say about S values of the same metric.

    Parameters
    ----------
    values : ndarray of shape (S,)
    covariance : ndarray of shape (S, S)
        NaN where a value cannot be had without some group.
    groups : int
        Groups that hold any query; the degrees of freedom are one fewer.
    """

    values: Floats
    covariance: Floats
    groups: int

    @classmethod
    def of(cls, replicates: Floats, sizes: Integers) -> Jackknife:
        """From values on all queries and without each group.

        Parameters
        ----------
        replicates : ndarray of shape (S, 1 + G)
            The value of each source on all queries, then without each of the G groups.
        sizes : ndarray of shape (G,)
            Queries in each group; empty groups are passed over.
        """
        filled = np.flatnonzero(sizes)
        values, without = replicates[:, 0], replicates[:, 1:][:, filled]
        if len(filled) < 2:
            return cls(values, np.full((len(values), len(values)), np.nan), len(filled))
        ratio = sizes.sum() / sizes[filled]
        pseudo = ratio * values[:, None] - (ratio - 1) * without
        centre = len(filled) * values - ((1 - 1 / ratio) * without).sum(axis=1)
        deviation = (pseudo - centre[:, None]) / np.sqrt(ratio - 1)
        return cls(values, deviation @ deviation.T / len(filled), len(filled))

    def half_widths(self, confidence: float = 0.95) -> Floats:
        """Half the width of each value's two-sided interval, of shape (S,)."""
        return student_quantile((1 + confidence) / 2, self.groups - 1) * np.sqrt(np.diag(self.covariance))

    def difference(self, a: int, b: int, confidence: float = 0.95) -> tuple[float, float]:
        """``values[a] - values[b]`` and half the width of its paired interval."""
        cov = self.covariance
        # Rounding can leave a variance of -1e-20 for two sources that never differ.
        variance = np.maximum(cov[a, a] + cov[b, b] - 2 * cov[a, b], 0.0)
        quantile = student_quantile((1 + confidence) / 2, self.groups - 1)
        return float(self.values[a] - self.values[b]), float(quantile * np.sqrt(variance))

    def probability_first(self, seed: int = 0) -> Floats:
        """Probability that each source has the largest value, of shape (S,); ties share it.

        Seeded draws from the multivariate t distribution around the values. Sources without an interval
        get NaN and take no part; so does a source that has none to compare with.
        """
        probability = np.full(len(self.values), np.nan)
        known = np.flatnonzero(np.isfinite(self.values) & np.isfinite(np.diag(self.covariance)))
        if len(known) < 2:
            return probability
        rng = np.random.default_rng(seed)
        spread, axes = np.linalg.eigh(self.covariance[np.ix_(known, known)])
        root = axes * np.sqrt(np.maximum(spread, 0.0))
        normal = rng.standard_normal((_DRAWS, len(known)))
        scale = np.sqrt((self.groups - 1) / rng.chisquare(self.groups - 1, size=(_DRAWS, 1)))
        draws = self.values[known] + scale * (normal @ root.T)
        first = draws == draws.max(axis=1, keepdims=True)
        probability[known] = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
        return probability


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution; NaN without degrees of freedom.

    With t = √ν·tan θ the density becomes proportional to cos^(ν-1) θ, which a fine grid integrates
    to eight digits.

    Examples
    --------
    >>> round(student_quantile(0.975, 19), 4), round(student_quantile(0.975, 1), 3)
    (2.093, 12.706)
    """
    if freedom < 1:
        return float("nan")
    edge = np.linspace(0.0, np.pi / 2, 200_001)
    middle = (edge[1:] + edge[:-1]) / 2
    mass = np.concatenate([[0.0], np.cumsum(np.cos(middle) ** (freedom - 1))])
    angle = np.interp(abs(2 * probability - 1), mass / mass[-1], edge)
    return float(np.sign(probability - 0.5) * np.sqrt(freedom) * np.tan(angle))
