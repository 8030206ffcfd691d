"""The rows that span most: a greedy choice for ln det(I + Σ row rowᵀ), for many queries at once.

The row that adds most to those already there is taken, again and again. What a row adds never rises from pick
to pick, and a greedy choice is worth at least 1 − 1/e of the best one (Nemhauser et al. 1978). A Cholesky
factor that grows by a row a pick holds what the picks explain (Chen et al. 2018, "Fast Greedy MAP Inference
for Determinantal Point Process", NeurIPS), so the choice of k out of C rows costs O(k·C·d).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eci.ragged import Ragged
from eci.types import Floats, Integers, Vectors

# Numbers of a stack of residuals: 1 MiB, so that it stays in a cache.
_CELLS = 1 << 17
# Lists are padded to a multiple of this, and not to each other: what else is chosen from changes no digit.
_WIDTH = 16
# Rows that add as much but for rounding do so equally.
_EQUAL = 1e-12


def log_det_picks(
    positive: Vectors, documents: Vectors, candidates: Ragged, weight: Floats, k: int, ridge: float = 1.0
) -> tuple[Ragged, Floats]:
    """The k negatives of each query that a greedy choice makes ``eci_sem`` of.

    Parameters
    ----------
    positive : ndarray of shape (B, d)
        The most similar positive of each query, L2-normalised.
    documents : ndarray of shape (D, d)
        L2-normalised.
    candidates : Ragged of B rows, int64
        Indices into `documents`; of equally good ones the first is chosen.
    weight : ndarray of shape (n,)
        Of each candidate; see ``semantic.weights``.
    k : int
    ridge : float
        λ.

    Returns
    -------
    chosen : Ragged of B rows, int64
        Places in ``candidates.values``, in the order of their choice.
    gains : ndarray of shape (m,)
        Nats per dimension. Those of a query sum to ``semantic.per_query`` of its picks.
    """
    dimension, sizes = positive.shape[1], np.minimum(candidates.lengths, k)
    chosen = Ragged.from_lengths(np.empty(sizes.sum(), dtype=np.int64), sizes)
    gains = np.empty(len(chosen.values))
    for part, width in _stacks(candidates.lengths, dimension):
        own = candidates.lengths[part]
        filled = np.arange(width) < own[:, None]
        places = np.where(filled, candidates.offsets[:-1][part][:, None] + np.arange(width), 0)
        rows = np.subtract(documents[candidates.values[places]], positive[part][:, None], dtype=np.float64)
        # The ½ is that of the residuals; N is the number of picks.
        scale = np.where(filled, weight[places], 0.0) * (dimension / ridge / 2) / sizes[part][:, None]
        rows *= np.sqrt(scale)[:, :, None]
        picked, told = greedy(rows, own, min(k, width))
        there = np.arange(picked.shape[1]) < own[:, None]
        at = (chosen.offsets[:-1][part][:, None] + np.arange(picked.shape[1]))[there]
        chosen.values[at] = np.take_along_axis(places, picked, axis=1)[there]
        gains[at] = told[there] / dimension
    return chosen, gains


def _stacks(lengths: Integers, dimension: int) -> Iterator[tuple[Integers, int]]:
    """Queries whose lists are padded to the same width, as many as are worked on at a time."""
    widths = -(-lengths // _WIDTH) * _WIDTH
    for width in np.unique(widths[lengths > 0]).tolist():
        own = np.flatnonzero(widths == width)
        step = max(1, _CELLS // (width * dimension))
        for start in range(0, len(own), step):
            yield own[start : start + step], width


def greedy(rows: NDArray[np.float64], sizes: Integers, k: int) -> tuple[Integers, Floats]:
    """Choose rows one after the other, each so that ln det(I + Σ row rowᵀ) rises most.

    Parameters
    ----------
    rows : ndarray of shape (B, C, d), float64
        Candidates of B queries: residuals, each times the square root of its weight.
    sizes : ndarray of shape (B,)
        How many of the C rows there are; of rows that add equally much the first is chosen.
    k : int
        At most C.

    Returns
    -------
    picked : ndarray of shape (B, k), int64
        Of a query with fewer than k rows, places after the last mean nothing.
    gains : ndarray of shape (B, k)
        Nats.

    Examples
    --------
    The second row says what the first says, so the third is worth more beside it:

    >>> picked, gains = greedy(np.array([[[2.0, 0.0], [1.9, 0.0], [0.0, 1.0]]]), np.array([3]), 2)
    >>> picked.tolist(), gains.round(3).tolist()
    ([[0, 2]], [[1.609, 0.693]])
    """
    queries = np.arange(len(rows))
    # 1 + what a row adds to the rows picked: a conditional variance, and the squared pivot of Cholesky.
    left = 1 + np.einsum("bcd,bcd->bc", rows, rows)
    left[np.arange(rows.shape[1]) >= sizes[:, None]] = 0
    factor = np.zeros((len(rows), k, rows.shape[1]))
    picked, gains = np.zeros((len(rows), k), dtype=np.int64), np.zeros((len(rows), k))
    for step in range(k):
        best = left.max(axis=1)
        place = np.argmax(left >= (best * (1 - _EQUAL))[:, None], axis=1)
        picked[:, step] = place
        pivot = np.maximum(left[queries, place], 1.0)
        gains[:, step] = np.log(pivot)
        along = (rows @ rows[queries, place][:, :, None])[:, :, 0]
        along -= np.einsum("bsc,bs->bc", factor[:, :step], factor[queries, :step, place])
        factor[:, step] = along / np.sqrt(pivot)[:, None]
        # Those that are gone stay at 0, the others never fall below the 1 of the identity.
        left = np.where(left > 0, np.maximum(1.0, left - factor[:, step] ** 2), 0.0)
        left[queries, place] = 0
    return picked, gains
