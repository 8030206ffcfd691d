"""Rows as arrays: who asks, what is labelled, what is a negative, and the vectors of all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eci.audit.columns import distinct, spans
from eci.ragged import Ragged
from eci.spilled import TILE, Column, tiles
from eci.types import Flags, Floats, Integers, Vectors

# Rows that label one document, at most so many of which are looked at.
_MOST = 64
# Pairs gathered at a time.
_PAIRS = 4096


@dataclass(frozen=True)
class Material:
    """B rows and the D distinct documents that they hold.

    Parameters
    ----------
    queries : ndarray of shape (Q, d), float32
        L2-normalised.
    documents : ndarray of shape (D, d), float32
        L2-normalised; zeros for the empty text.
    positives, negatives : Ragged of B rows
        Indices into `documents`.
    group : ndarray of shape (B,), int64
        A hash of the query: equal for rows that ask the same.
    digests : ndarray of shape (D,), int64
        A hash of each document.
    query : ndarray of shape (B,), optional
        Index of each row's query into `queries`: rows that ask the same have the same. Without it each row
        has a vector of its own.
    """

    queries: Vectors
    documents: Vectors
    positives: Ragged
    negatives: Ragged
    group: Integers
    digests: Integers
    query: Integers | None = None

    def __len__(self) -> int:
        return len(self.group)

    def asked(self, rows: Integers) -> Integers:
        """Indices of the queries of R rows into `queries`, of shape (R,)."""
        return rows if self.query is None else self.query[rows]

    def tiles(self) -> Iterator[Tile]:
        """All rows with their negatives, in parts that are looked at in one go."""
        for start, stop in spans(self.negatives.offsets):
            first, last = self.negatives.offsets[[start, stop]].tolist()
            rows = np.arange(start, stop)
            sides = self.negatives.part(start, stop), self.positives.part(start, stop)
            yield Tile(slice(start, stop), slice(first, last), Candidates(rows, *sides))

    @cached_property
    def asker(self) -> Integers:
        """Number of each row's query, of shape (B,), below B: rows that ask the same have the same."""
        if self.query is not None:
            return self.query
        return np.asarray(np.unique(self.group, return_inverse=True)[1], dtype=np.int64)

    @cached_property
    def labelled(self) -> Ragged:
        """Of each of D documents a row of every query that labels it positive, at most 64, by hash."""
        return _inverted(self.positives, self.group, len(self.documents))

    @cached_property
    def asked_positive(self) -> Pairs:
        """Which queries have which documents as positives, in whichever of their rows."""
        return Pairs.of(self.asker, self.positives, len(self.documents))

    @cached_property
    def asked_negative(self) -> Pairs:
        """Which queries have which documents as negatives."""
        return Pairs.of(self.asker, self.negatives, len(self.documents))

    def known_elsewhere(self, candidates: Candidates) -> Flags:
        """Which of n candidates are a positive of another row that asks the same, and not of their own."""
        lists = candidates.documents
        askers = self.asker[candidates.rows][lists.rows]
        return self.asked_positive.hold(askers, lists.values) & ~candidates.labelled


@dataclass(frozen=True)
class Pairs:
    """Distinct pairs of a query and a document, however many rows and places they come from.

    Parameters
    ----------
    codes : ndarray of shape (P,), int64
        Query times `size` plus document, rising.
    size : int
        D, the number of documents.

    Examples
    --------
    >>> lists = Ragged.from_lengths(np.array([1, 1, 2, 1]), [2, 1, 1])
    >>> pairs = Pairs.of(np.array([0, 0, 1]), lists, 3)
    >>> pairs.times.tolist(), pairs.hold(np.array([0, 1]), np.array([2, 2])).tolist()
    ([0, 2, 1], [True, False])
    """

    codes: Integers
    size: int

    @classmethod
    def of(cls, asker: Integers, lists: Ragged, size: int) -> Pairs:
        """Of rows of documents, `asker` telling the query of each row."""
        parts = ((asker[start:stop], lists.part(start, stop)) for start, stop in spans(lists.offsets))
        return cls(distinct(own[part.rows] * size + part.values for own, part in parts), size)

    @cached_property
    def times(self) -> NDArray[np.int32]:
        """With how many queries each of D documents is paired."""
        found = np.zeros(self.size, dtype=np.int32)
        for tile in tiles(self.codes):
            np.add.at(found, tile % self.size, 1)
        return found

    def hold(self, queries: Integers, documents: Integers) -> Flags:
        """Which of n pairs are here, of shape (n,)."""
        if not len(self.codes):
            return np.zeros(len(queries), dtype=np.bool_)
        asked = queries * self.size + documents
        at = np.minimum(np.searchsorted(self.codes, asked), len(self.codes) - 1)
        return np.asarray(self.codes[at] == asked)


@dataclass(frozen=True)
class Candidates:
    """Documents that stand beside the positives of some rows.

    Parameters
    ----------
    rows : ndarray of shape (R,)
        Which rows of the material.
    documents : Ragged of R rows
        n indices into the documents of the material.
    positives : Ragged of R rows
        What counts as labelled: the row's positives, or those without the one that is held out.
    """

    rows: Integers
    documents: Ragged
    positives: Ragged

    def part(self, start: int, stop: int) -> Candidates:
        """Some rows that follow each other."""
        return Candidates(
            self.rows[start:stop], self.documents.part(start, stop), self.positives.part(start, stop)
        )

    @cached_property
    def labelled(self) -> Flags:
        """Which of n documents are a positive of their own row."""
        size = 1 + max(int(side.values.max(initial=0)) for side in (self.documents, self.positives))
        held = self.positives.rows * size + self.positives.values
        return np.isin(self.documents.rows * size + self.documents.values, held)


@dataclass(frozen=True)
class Tile:
    """Rows that follow each other, with their negatives as candidates.

    Parameters
    ----------
    rows : slice
        Of the B rows.
    places : slice
        Of the n negatives.
    candidates : Candidates
    """

    rows: slice
    places: slice
    candidates: Candidates


def firsts(lists: Ragged) -> Flags:
    """Which of n entries their row has not before, of shape (n,)."""
    width = 1 + int(lists.values.max(initial=0))
    found = np.zeros(len(lists.values), dtype=np.bool_)
    found[np.unique(lists.rows * width + lists.values, return_index=True)[1]] = True
    return found


def pair_cosines(left: Vectors, right: Vectors, pairs: Integers) -> Floats:
    """Cosines of n pairs of L2-normalised rows, given by their indices, of shape (n,)."""
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), _PAIRS):
        tile = slice(start, start + _PAIRS)
        found[tile] = np.einsum("ij,ij->i", left[pairs[tile, 0]], right[pairs[tile, 1]])
    return found


def _inverted(lists: Ragged, group: Integers, size: int) -> Ragged:
    """The rows that have each of `size` entries: of those that ask the same one, and the first 64 by hash."""
    rows = max(1, len(lists))
    parts = ((start, lists.part(start, stop)) for start, stop in spans(lists.offsets))
    codes = distinct(part.values.astype(np.int64) * rows + start + part.rows for start, part in parts)
    kept, lengths = Column(np.int64), np.zeros(size, dtype=np.int64)
    held = codes[:0]
    for start in range(0, len(codes), TILE):
        values, owners = np.divmod(np.concatenate([held, codes[start : start + TILE]]), rows)
        order = np.lexsort((group[owners], values))
        values, owners = values[order], owners[order]
        # One row a query: rows that ask the same say the same.
        new = np.ones(len(owners), dtype=np.bool_)
        new[1:] = (np.diff(values) != 0) | (np.diff(group[owners]) != 0)
        _, counts = np.unique(values[new], return_counts=True)
        within = Ragged.from_lengths(owners[new], counts).within < _MOST
        values, owners = values[new][within], owners[new][within]
        # Of the last entry more rows may come.
        last = values == values[-1] if start + TILE < len(codes) else np.zeros(len(values), dtype=np.bool_)
        held = values[last] * rows + owners[last]
        kept.add(owners[~last])
        np.add.at(lengths, values[~last], 1)
    return Ragged.from_lengths(kept.done(), lengths)


def rank_within(values: Floats, rows: Ragged) -> Integers:
    """1 for the largest of each row, 2 for the next; equal values share the better rank, of shape (n,)."""
    order = np.lexsort((-values, rows.rows))
    ordered = rows.with_values(values[order])
    place = ordered.within
    new = np.diff(ordered.values, prepend=np.nan) != 0
    new[place == 0] = True
    first = np.maximum.accumulate(np.where(new, np.arange(len(values)), 0))
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = place[first] + 1
    return ranks
