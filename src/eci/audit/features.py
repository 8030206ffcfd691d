"""What tells an unlabelled answer from a negative, from one encoder's vectors and the labels there are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eci.audit.columns import spans
from eci.audit.material import Candidates, Material, firsts, rank_within
from eci.ragged import Ragged
from eci.similarity import own_documents
from eci.types import Floats, Integers

# Of a document that no other query labels.
_ELSEWHERE = 0.0
# Cosines of float32 vectors that differ by less are equal.
_ROUNDING = np.float32(1e-6)
# Candidates, or queries that label them, looked at in one go, and numbers of a padded tile.
_PART, _TILE = 1 << 14, 1 << 21

NAMES = (
    "similarity",
    "over the best positive",
    "over the mean positive",
    "among the negatives",
    "to the nearest positive",
    "to the mean positive",
    "rank from the positive",
    "rank of the positive",
    "nearest query that labels it",
    "labelled elsewhere",
    "negative elsewhere",
)


@dataclass(frozen=True)
class Features:
    """Of n candidates.

    Parameters
    ----------
    similarity, best : ndarray of shape (n,)
        Cosine to the query; the query's largest cosine to a positive.
    nearest : ndarray of shape (n,), int64
        Place of the nearest positive among those of its row.
    reciprocal : ndarray of shape (n,), int64
        Rank of the candidate among those of its row as its nearest positive sees them, times the rank of that
        positive among the candidate's neighbours: 1 where both are nearest to each other.
    table : ndarray of shape (n, len(NAMES)), float32
    """

    similarity: Floats
    best: Floats
    nearest: Integers
    reciprocal: Integers
    table: NDArray[np.float32]


def features(material: Material, candidates: Candidates) -> Features:
    """The features of candidates.

    Every row is looked at on its own, so that no value depends on which rows are asked beside it. Elsewhere
    is with another query: labels and negatives of rows that ask the same are left out, and a query counts
    once, however many rows ask it. A document that a row has several times, from several sources or as a
    positive, stands there once.
    """
    lists, size = candidates.documents, max(1, len(material.documents))
    codes, back = np.unique(lists.rows * size + lists.values, return_inverse=True)
    once = Ragged.from_lengths(codes % size, np.bincount(codes // size, minlength=len(lists)))
    first = firsts(candidates.positives)
    place, labelled = candidates.positives.within[first], candidates.positives.keep(first)
    asked = replace(candidates, documents=once, positives=labelled)
    parts = [_part(material, asked.part(*span)) for span in spans(once.offsets, _PART)]
    if not parts:
        none = np.empty(0)
        whole = none.astype(np.int64)
        return Features(none, none, whole, whole, np.empty((0, len(NAMES)), np.float32))
    found = Features(
        *(np.concatenate([getattr(part, name) for part in parts])[back] for name in Features.__annotations__)
    )
    return replace(found, nearest=place[labelled.offsets[lists.rows] + found.nearest])


def _part(material: Material, asked: Candidates) -> Features:
    queries = material.queries[material.asked(asked.rows)]
    lists = asked.documents
    similarity = own_documents(queries, material.documents, lists).values.astype(np.float64)
    to_positives = own_documents(queries, material.documents, asked.positives)
    best = np.repeat(to_positives.maxima(), lists.lengths)
    mean = np.repeat(to_positives.means(), lists.lengths)
    seen = _neighbours(material, asked)
    askers = material.asker[asked.rows][lists.rows]
    labelled, negative = (
        pairs.times[lists.values] - pairs.hold(askers, lists.values)
        for pairs in (material.asked_positive, material.asked_negative)
    )
    columns = (
        similarity,
        similarity - best,
        similarity - mean,
        _standing(similarity, lists),
        seen.nearest,
        seen.mean,
        -np.log(seen.from_positive),
        -np.log(seen.of_positive),
        _asking(material, asked, queries),
        np.log1p(labelled),
        np.log1p(negative),
    )
    reciprocal = seen.from_positive * seen.of_positive
    table = np.stack(columns, axis=1).astype(np.float32)
    return Features(similarity, best, seen.place, reciprocal, table)


def _standing(similarity: Floats, lists: Ragged) -> Floats:
    """How far down its row a candidate stands: ln of the share of the row that is at least as near."""
    ranks = rank_within(similarity, lists)
    return np.asarray(-np.log(ranks / np.repeat(np.maximum(lists.lengths, 1), lists.lengths)))


@dataclass(frozen=True)
class _Seen:
    """Place of the nearest positive, cosines to positives, and ranks as neighbours, of shape (n,)."""

    place: Integers
    nearest: Floats
    mean: Floats
    from_positive: Integers
    of_positive: Integers


def _neighbours(material: Material, asked: Candidates) -> _Seen:
    """Cosines and ranks between the documents of each row, rows of about one size at a time."""
    lists, labelled = asked.documents, asked.positives
    size = len(lists.values)
    places, *ranks = np.ones((3, size), dtype=np.int64)
    seen = _Seen(places, np.zeros(size), np.zeros(size), *ranks)
    wide, tall = _padded(lists.lengths), _padded(labelled.lengths)
    filled = np.flatnonzero(lists.lengths)
    shapes = np.unique(np.stack([wide, tall], axis=1)[filled], axis=0)
    for width, height in shapes.tolist():
        rows = filled[(wide[filled] == width) & (tall[filled] == height)]
        numbers = (width + height) * material.documents.shape[1] + width * (2 * width + height)
        step = max(1, _TILE // numbers)
        for start in range(0, len(rows), step):
            _fill(seen, material, asked, rows[start : start + step])
    return seen


def _padded(lengths: Integers) -> Integers:
    return np.asarray(2 ** np.ceil(np.log2(np.maximum(lengths, 1))), dtype=np.int64)


def _fill(seen: _Seen, material: Material, asked: Candidates, rows: Integers) -> None:
    """Fill in what is seen in rows of about one size."""
    lists, labelled = asked.documents, asked.positives
    place, there = _square(lists, rows)
    known, counted = _square(labelled, rows)
    mine = material.documents[lists.values[place]]
    theirs = material.documents[labelled.values[known]]
    across = np.matmul(mine, theirs.transpose(0, 2, 1))
    across[np.broadcast_to(~counted[:, None, :], across.shape)] = -np.inf
    near = across.argmax(axis=2)
    nearest = across.max(axis=2)
    mean = np.where(counted[:, None, :], across, 0).sum(axis=2) / counted.sum(axis=1)[:, None]
    among = np.matmul(mine, mine.transpose(0, 2, 1))
    absent = np.broadcast_to(~there[:, None, :], among.shape)
    among[absent] = -np.inf
    np.einsum("bii->bi", among)[:] = -np.inf
    seen_by = np.take_along_axis(across.transpose(0, 2, 1), near[:, :, None], axis=1)
    seen_by[absent] = -np.inf
    # A negative that is a positive too is as near as that, whichever product rounds the other way.
    bound = nearest[:, :, None] + _ROUNDING
    held = place[there]
    seen.place[held] = near[there]
    seen.nearest[held], seen.mean[held] = nearest[there], mean[there]
    seen.of_positive[held] = 1 + (among > bound).sum(axis=2)[there]
    seen.from_positive[held] = 1 + (seen_by > bound).sum(axis=2)[there]


def _square(lists: Ragged, rows: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Places of the entries of rows of about one length as a rectangle, and which of its cells are filled."""
    lengths = lists.lengths[rows]
    across = np.arange(int(_padded(lengths).max()))
    there = across < lengths[:, None]
    return np.where(there, lists.offsets[rows][:, None] + across, lists.offsets[rows][:, None]), there


def _asking(material: Material, asked: Candidates, queries: NDArray[np.float32]) -> Floats:
    """Largest cosine of the query with another query that has the candidate for a positive."""
    documents, rows = asked.documents.values, asked.documents.rows
    offsets, found = material.labelled.offsets, np.empty(len(documents))
    held = np.concatenate([[0], np.cumsum(offsets[1:][documents] - offsets[:-1][documents])])
    # Popular documents have 64 queries each.
    for start, stop in spans(held, _PART):
        others = material.labelled.take(documents[start:stop])
        owner = rows[start:stop][others.rows]
        other = material.group[others.values] != material.group[asked.rows][owner]
        others, owner = others.keep(other), owner[other]
        pairs = Ragged.from_lengths(
            material.asked(others.values), np.bincount(owner, minlength=len(asked.rows))
        )
        near = own_documents(queries, material.queries, pairs).values
        found[start:stop] = np.nan_to_num(others.with_values(near).maxima(), nan=_ELSEWHERE)
    return found
