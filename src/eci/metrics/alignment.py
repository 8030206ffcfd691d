"""Alignment: whether a training step on these negatives moves the encoder as held-out queries need.

Ours, and published nowhere. Put a linear map on the frozen vectors (rows), f_W(x) = (x + xW)/‖x + xW‖.
At W = 0 the cosine s of q and d changes by ∂s/∂W = qᵀ(d − s·q) + dᵀ(q − s·d), so the gradient of any loss
of cosines is a weighted sum of outer products, and adds over queries. Two losses, at temperature τ:

- training, g_z: the multiple-negatives ranking loss of a batch. A query's candidates are the positives of
  the whole batch and the hard negatives of source z of the whole batch, as sentence-transformers has it;
  what another query of the batch brings and the query has as a positive is no candidate. g_none is the same
  without hard negatives.
- held out, g_v: −log Σ_{p∈P} softmax over a pool of candidates, for other queries.

``alignment`` is cos(g_z, g_v); ``alignment_dot`` is g_z·g_v, the predicted fall of the held-out loss per unit
of learning rate; ``alignment_gain`` and ``alignment_dot_gain`` are these minus the same of g_none on the same
queries. A positive gain says that the negatives are expected to help beyond in-batch negatives, a negative
one that they hurt.

Products are cross-fitted over the jackknife groups: the gradient of one group is held against those of all
others, never against its own. Squared lengths are products of different groups too. So noise enters neither,
and what is estimated does not depend on how many queries there are; a plain cosine of two noisy gradients
grows with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eci.ragged import Ragged, divide
from eci.tally import GROUPS
from eci.types import Flags, Floats, Integers, Vectors

NAMES = ("alignment", "alignment_dot", "alignment_gain", "alignment_dot_gain")

# The papers' batch. Groups are cut into equal batches as near to it as can be.
BATCH = 16

# Squared length of a gradient that is rounding of float32, at the least temperature too.
_LEAST = 1e-8

# Cells of a tile of queries × pool, and documents of a tile multiplied at a time.
_CELLS, _TILE = 2_000_000, 4096


@dataclass(frozen=True)
class Gradient:
    """Gradients at W = 0 of the losses of some queries, by jackknife group. They add.

    Parameters
    ----------
    matrices : ndarray of shape (GROUPS, d, d), float64
        Sum over the queries of a group; symmetric.
    queries : ndarray of shape (GROUPS,)
        How many queries a group's sum is over.
    """

    matrices: NDArray[np.float64]
    queries: Integers

    def __add__(self, other: Gradient) -> Gradient:
        return Gradient(self.matrices + other.matrices, self.queries + other.queries)

    def products(self, other: Gradient) -> Floats:
        """Inner products of the groups' sums, of shape (GROUPS, GROUPS)."""
        return np.asarray(self.matrices.reshape(GROUPS, -1) @ other.matrices.reshape(GROUPS, -1).T)


def training(
    groups: Integers,
    queries: Vectors,
    documents: Vectors,
    positive: Integers,
    negatives: Ragged,
    known: Ragged,
    temperature: float = 0.05,
) -> tuple[Gradient, Gradient]:
    """Gradients of the multiple-negatives ranking loss, with and without the hard negatives.

    Parameters
    ----------
    groups : ndarray of shape (B,)
        0…GROUPS − 1. A batch is of one group; queries fill the batches in the order given.
    queries : ndarray of shape (B, d)
        L2-normalised.
    documents : ndarray of shape (D, d)
        L2-normalised.
    positive : ndarray of shape (B,)
        The document that each query is trained towards.
    negatives : Ragged of B rows
        Hard negatives, indices into `documents`.
    known : Ragged of B rows
        All positives of each query: never in-batch negatives of it.
    temperature : float
        τ.

    Returns
    -------
    pair of Gradient
        With and without the hard negatives.
    """
    dimension = queries.shape[1]
    made = np.zeros((2, GROUPS, dimension, dimension))
    for group, batch in _batches(groups):
        hard = negatives.take(batch)
        columns = np.concatenate([positive[batch], hard.values])
        owner = np.concatenate([np.arange(len(batch)), hard.rows])
        excluded = _known_to_others(columns, owner, known.take(batch), len(documents))
        asked, shown = queries[batch], documents[columns]
        similarity = np.asarray(asked @ shown.T, dtype=np.float64)
        for place, width in enumerate((len(columns), len(batch))):
            pull = _softmax(np.where(excluded, -np.inf, similarity)[:, :width] / temperature)
            pull[np.arange(len(batch)), np.arange(len(batch))] -= 1
            made[place, group] += _summed(asked, shown[:width], pull / temperature, similarity[:, :width])
    counts = np.bincount(groups, minlength=GROUPS)
    return Gradient(made[0], counts), Gradient(made[1], counts)


def held_out(
    groups: Integers, queries: Vectors, positives: Ragged, pool: Vectors, temperature: float = 0.05
) -> Gradient:
    """Gradient of −log Σ_{p∈P} softmax over the pool, tile by tile: no table of all queries and documents.

    Parameters
    ----------
    groups : ndarray of shape (B,)
    queries : ndarray of shape (B, d)
        L2-normalised.
    positives : Ragged of B rows
        Indices into `pool`; at least one a row.
    pool : ndarray of shape (M, d)
        The candidates, L2-normalised.
    temperature : float
        τ.
    """
    dimension = queries.shape[1]
    made = np.zeros((GROUPS, dimension, dimension))
    for group in np.unique(groups).tolist():
        own = np.flatnonzero(groups == group)
        on_documents = np.zeros(len(pool))
        step = max(1, _CELLS // len(pool))
        for tile in (own[start : start + step] for start in range(0, len(own), step)):
            asked, right = queries[tile], positives.take(tile)
            similarity = np.asarray(asked @ pool.T, dtype=np.float64)
            pull = _softmax(similarity / temperature)
            logits = right.with_values(similarity[right.rows, right.values] / temperature)
            share = np.exp(logits.values - np.repeat(logits.logsumexp(), right.lengths))
            np.subtract.at(pull, (right.rows, right.values), share)
            pull /= temperature
            cross = asked.T @ (pull.astype(pool.dtype) @ pool)
            pull *= similarity
            made[group] += cross + cross.T - asked.T @ (pull.sum(axis=1)[:, None].astype(pool.dtype) * asked)
            on_documents += pull.sum(axis=0)
        made[group] -= _weighted_square(pool, on_documents)
    return Gradient(made, np.bincount(groups, minlength=GROUPS))


def values(trained: Gradient, plain: Gradient, held: Gradient) -> dict[str, Floats]:
    """The metrics `NAMES` over everything and without each group, of shape (1 + GROUPS,).

    NaN where fewer than two groups have queries; cosines also where a gradient vanishes, or cannot be told
    from noise. With few queries an estimate of a cosine can lie beyond 1.

    Parameters
    ----------
    trained, plain : Gradient
        With and without the hard negatives, of the same queries.
    held : Gradient
        Of the held-out loss.
    """
    length = _across(held, held)
    dots = [_across(each, held) for each in (trained, plain)]
    cosines = [
        _cosine(dot, _across(each, each), length) for dot, each in zip(dots, (trained, plain), strict=True)
    ]
    return {
        "alignment": cosines[0],
        "alignment_dot": dots[0],
        "alignment_gain": cosines[0] - cosines[1],
        "alignment_dot_gain": dots[0] - dots[1],
    }


def _across(one: Gradient, other: Gradient) -> Floats:
    """Inner product of two mean gradients, from pairs of different groups; of shape (1 + GROUPS,)."""
    kept, apart = np.vstack([np.ones(GROUPS), 1 - np.eye(GROUPS)]), 1 - np.eye(GROUPS)
    sums = ((kept @ (one.products(other) * apart)) * kept).sum(axis=1)
    pairs = ((kept @ (np.outer(one.queries, other.queries) * apart)) * kept).sum(axis=1)
    return divide(sums, pairs)


def _cosine(product: Floats, one: Floats, other: Floats) -> Floats:
    """Product over the lengths, from their squares; NaN where one is no more than rounding."""
    told = (one > _LEAST) & (other > _LEAST)
    return np.where(told, product / np.sqrt(np.where(told, one * other, 1.0)), np.nan)


def _batches(groups: Integers) -> Iterator[tuple[int, Integers]]:
    for group in np.unique(groups).tolist():
        own = np.flatnonzero(groups == group)
        for batch in np.array_split(own, max(1, round(len(own) / BATCH))):
            yield group, batch


def _known_to_others(columns: Integers, owner: Integers, known: Ragged, width: int) -> Flags:
    """Which candidates another query brings although they are positives of this one, of shape (B, M)."""
    rows = np.arange(len(known))[:, None]
    positive = np.isin(rows * width + columns, known.rows * width + known.values)
    return np.asarray(positive & (owner != rows))


def _summed(queries: Vectors, documents: Vectors, pull: Floats, similarity: Floats) -> Floats:
    """Σ_ij pull_ij ∂s_ij/∂W for B queries and M documents; `pull` and `similarity` of shape (B, M)."""
    cross = queries.T @ (pull.astype(documents.dtype) @ documents)
    along = pull * similarity
    return np.asarray(
        cross
        + cross.T
        - _weighted_square(queries, along.sum(axis=1))
        - _weighted_square(documents, along.sum(axis=0)),
        dtype=np.float64,
    )


def _weighted_square(vectors: Vectors, weight: Floats) -> Floats:
    """Σ weight · vᵀv over n row vectors, in the precision of the vectors, tiles added in float64."""
    found = np.zeros((vectors.shape[1], vectors.shape[1]))
    scale = weight.astype(vectors.dtype)[:, None]
    for start in range(0, len(vectors), _TILE):
        tile = slice(start, start + _TILE)
        found += (scale[tile] * vectors[tile]).T @ vectors[tile]
    return found


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(weights)
