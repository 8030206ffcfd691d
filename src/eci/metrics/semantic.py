"""``eci_sem/open-1``: how far, and in how many directions, the negatives of a source pull.

The later versions of arXiv 2603.20990 describe, in their abstract, a weighted residual information matrix
of target consistency, semantic locality and lexical residuality under a log-determinant. Their formulas
are not public. **This is our own definition**, and no figure of theirs can be compared with it.

For a query q, its most similar positive p and a negative n, with m = s(q,p) − s(q,n) and temperature τ:

- target consistency t = max(0, tanh(m/2τ)): a negative above the positive counts nothing;
- semantic locality l = 4σ(m/τ)σ(−m/τ): the curvature of the pairwise logistic loss, 1 on the boundary;
- lexical residuality x = 1 − overlap: closeness that shared words do not explain;
- residual r = (n − p)/√2 and weight w = t·l·x;
- A = Σ w r rᵀ, each query weighing the same, and eci_sem = (1/d)·ln det(I + (d/λ)A), nats per dimension.

tr A is the quality of the negatives, the effective rank of A (exp of the entropy of its eigenvalues; Roy and
Vetterli 2007) their diversity. ``eci_sem_query`` is the mean over queries of the same figure for the
negatives of each query alone: it sees diversity within a query, and none between queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eci.ragged import Ragged
from eci.tally import GROUPS
from eci.types import Floats, Integers, Vectors

NAMES = ("eci_sem", "eci_sem_query", "eci_sem_trace", "eci_sem_effective_rank")
DEFINITION = "eci_sem/open-1"
# The ranking depends on the temperature: it is compared between these.
TEMPERATURES = (0.02, 0.05, 0.1)

# Residuals multiplied at a time: at d = 1024 they take 32 MiB.
_TILE = 4096


def weights(margins: ArrayLike, overlaps: ArrayLike, temperature: float = 0.05) -> Floats:
    """Weight w = t·l·x of n triples, 0…0.3849, of shape (n,).

    Parameters
    ----------
    margins : array of shape (n,)
        m, cosine of the best positive minus that of the negative.
    overlaps : array of shape (n,)
        IDF-weighted share of the query's words that the negative holds; NaN, for a query without
        words, explains nothing and counts as 0.
    temperature : float
        τ.

    Examples
    --------
    >>> weights([0.0, -0.2, 0.05 * 1.3170], [0.0, 0.0, 0.0]).round(4).tolist()
    [0.0, 0.0, 0.3849]
    """
    consistency = np.tanh(np.asarray(margins, dtype=np.float64) / (2 * temperature))
    # 4σ(u)σ(−u) = 1 − tanh²(u/2)
    locality = (1 - consistency) * (1 + consistency)
    residuality = 1 - np.nan_to_num(np.asarray(overlaps, dtype=np.float64), nan=0.0)
    return np.asarray(np.maximum(0.0, consistency) * locality * residuality)


@dataclass(frozen=True)
class Information:
    """The matrices of some queries, by jackknife group. They add.

    Parameters
    ----------
    matrices : ndarray of shape (GROUPS, d, d), float64
        Σ over the queries of a group of (1/N) Σ w r rᵀ.
    queries : ndarray of shape (GROUPS,)
        Queries with a negative.
    """

    matrices: NDArray[np.float64]
    queries: Integers

    @classmethod
    def of(
        cls, groups: Integers, positive: Vectors, documents: Vectors, negatives: Ragged, weight: Floats
    ) -> Information:
        """Of B queries with n negatives.

        Parameters
        ----------
        groups : ndarray of shape (B,)
            0…GROUPS − 1.
        positive : ndarray of shape (B, d)
            The most similar positive of each query, L2-normalised.
        documents : ndarray of shape (D, d)
            L2-normalised.
        negatives : Ragged of B rows
            Indices into `documents`.
        weight : ndarray of shape (n,)
            See `weights`.
        """
        dimension = positive.shape[1]
        matrices = np.zeros((GROUPS, dimension, dimension))
        each = weight / np.repeat(np.maximum(1, negatives.lengths), negatives.lengths)
        counted = np.flatnonzero(each > 0)
        group = groups[negatives.rows[counted]]
        for number in range(GROUPS):
            own = counted[group == number]
            for start in range(0, len(own), _TILE):
                tile = own[start : start + _TILE]
                rows = documents[negatives.values[tile]].astype(np.float64) - positive[negatives.rows[tile]]
                rows *= np.sqrt(each[tile] / 2)[:, None]
                matrices[number] += rows.T @ rows
        return cls(matrices, np.bincount(groups[negatives.lengths > 0], minlength=GROUPS))

    def __add__(self, other: Information) -> Information:
        return Information(self.matrices + other.matrices, self.queries + other.queries)

    def values(self, ridge: float = 1.0) -> dict[str, Floats]:
        """Score, trace and effective rank over everything and without each group, of shape (1 + GROUPS,).

        NaN where there is nothing. The rank without a group takes the variances along the eigenvectors of
        the whole for eigenvalues.

        Parameters
        ----------
        ridge : float
            λ.
        """
        names = ("eci_sem", "eci_sem_trace", "eci_sem_effective_rank")
        found = np.full((len(names), 1 + GROUPS), np.nan)
        whole, total = self.matrices.sum(axis=0), int(self.queries.sum())
        axes = np.linalg.eigh(whole)[1]
        for place in range(1 + GROUPS):
            matrix = whole if place == 0 else whole - self.matrices[place - 1]
            count = total if place == 0 else total - int(self.queries[place - 1])
            if count:
                # Without a group these are no longer eigenvalues, but equal them to first order.
                along = np.einsum("ij,ij->j", axes, matrix @ axes)
                found[:, place] = (
                    _log_volume_of(matrix / count, ridge),
                    np.trace(matrix) / count,
                    _effective_rank(along),
                )
        return dict(zip(names, found, strict=True))

    def score(self, ridge: float = 1.0) -> float:
        """``eci_sem`` over everything; NaN of nothing."""
        count = int(self.queries.sum())
        return _log_volume_of(self.matrices.sum(axis=0) / count, ridge) if count else float("nan")


def per_query(
    positive: Vectors, documents: Vectors, negatives: Ragged, weight: Floats, ridge: float = 1.0
) -> Floats:
    """The score of each query's own negatives, of shape (B,); NaN where it has none.

    Parameters as in `Information.of`.
    """
    dimension = positive.shape[1]
    found = np.where(negatives.lengths > 0, 0.0, np.nan)
    counted = negatives.with_values(np.arange(len(weight))).keep(weight > 0)
    # Queries with as many negatives make one stack of matrices.
    for size in np.unique(counted.lengths[counted.lengths > 0]).tolist():
        queries = np.flatnonzero(counted.lengths == size)
        step = max(1, _TILE // size)
        for part in (queries[start : start + step] for start in range(0, len(queries), step)):
            places = counted.take(part).values
            scale = weight[places] / (2 * np.repeat(negatives.lengths[part], size))
            rows = documents[negatives.values[places]].astype(np.float64) - positive[np.repeat(part, size)]
            rows *= np.sqrt(scale)[:, None]
            found[part] = log_volume(rows.reshape(len(part), size, dimension), ridge)
    return found


def log_volume(rows: NDArray[np.float64], ridge: float = 1.0) -> Floats:
    """(1/d)·ln det(I + (d/λ) Σ row rowᵀ), through the smaller of two matrices.

    Parameters
    ----------
    rows : ndarray of shape (..., n, d)
        Residuals, each times the square root of its weight.
    ridge : float
        λ.

    Returns
    -------
    ndarray of shape (...)
        Nats per dimension.

    Examples
    --------
    Three directions of weight 0.2 / 3 each give ln(1 + 0.2):

    >>> round(float(log_volume(np.eye(3) * np.sqrt(0.2 / 3))), 6)
    0.182322
    """
    count, dimension = rows.shape[-2:]
    turned = rows.swapaxes(-1, -2)
    small = rows @ turned if count < dimension else turned @ rows
    return np.asarray(_log_determinant(small * (dimension / ridge)) / dimension)


def _log_volume_of(matrix: NDArray[np.float64], ridge: float) -> float:
    return float(_log_determinant(matrix * (len(matrix) / ridge)) / len(matrix))


def _log_determinant(matrices: NDArray[np.float64]) -> Floats:
    """Logarithm of det(I + M) of positive semidefinite matrices of shape (…, n, n); eigenvalues ≥ 1."""
    factor = np.linalg.cholesky(matrices + np.eye(matrices.shape[-1]))
    return np.asarray(2 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1))


def _effective_rank(eigenvalues: Floats) -> float:
    """Exponential of the entropy of eigenvalues as shares of their sum, 1…d; NaN if all are 0."""
    positive = eigenvalues[eigenvalues > 0]
    if len(positive) == 0:
        return float("nan")
    shares = positive / positive.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
