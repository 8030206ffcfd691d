"""Rows as arrays: who asks, what is labelled, what is a negative, and the vectors of all of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eci.ragged import Ragged
from eci.types import Flags, Floats, Integers, Vectors

# Rows that label one document, at most so many of which are looked at.
_MOST = 64
# Pairs gathered at a time.
_TILE = 4096


@dataclass(frozen=True)
class Material:
    """B rows and the D distinct documents that they hold.

    Parameters
    ----------
    queries : ndarray of shape (B, d), float32
        L2-normalised.
    documents : ndarray of shape (D, d), float32
        L2-normalised; zeros for the empty text.
    positives, negatives : Ragged of B rows
        Indices into `documents`.
    group : ndarray of shape (B,), int64
        A hash of the query: equal for rows that ask the same.
    digests : ndarray of shape (D,), int64
        A hash of each document.
    """

    queries: Vectors
    documents: Vectors
    positives: Ragged
    negatives: Ragged
    group: Integers
    digests: Integers

    def __len__(self) -> int:
        return len(self.group)

    @cached_property
    def asker(self) -> Integers:
        """Number of each row's query, of shape (B,): rows that ask the same have the same."""
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

    @cached_property
    def times_negative(self) -> Integers:
        """How many rows have each of D documents as a negative."""
        pairs = np.unique(self.negatives.rows * len(self.documents) + self.negatives.values)
        return np.bincount(pairs % max(1, len(self.documents)), minlength=len(self.documents))

    @cached_property
    def in_own_positives(self) -> Flags:
        """Which of n negatives are a positive of their own row."""
        size = len(self.documents)
        held = self.positives.rows * size + self.positives.values
        return np.isin(self.negatives.rows * size + self.negatives.values, held)

    @cached_property
    def known_elsewhere(self) -> Flags:
        """Which of n negatives are a positive of another row that asks the same, and not of their own."""
        known = self.asked_positive.hold(self.asker[self.negatives.rows], self.negatives.values)
        return known & ~self.in_own_positives


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
        return cls(np.unique(asker[lists.rows] * size + lists.values), size)

    @cached_property
    def times(self) -> Integers:
        """With how many queries each of D documents is paired."""
        return np.bincount(self.codes % max(1, self.size), minlength=self.size)

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
        places = np.arange(start, stop)
        return Candidates(self.rows[places], self.documents.take(places), self.positives.take(places))


def firsts(lists: Ragged) -> Flags:
    """Which of n entries their row has not before, of shape (n,)."""
    width = 1 + int(lists.values.max(initial=0))
    found = np.zeros(len(lists.values), dtype=np.bool_)
    found[np.unique(lists.rows * width + lists.values, return_index=True)[1]] = True
    return found


def pair_cosines(left: Vectors, right: Vectors, pairs: Integers) -> Floats:
    """Cosines of n pairs of L2-normalised rows, given by their indices, of shape (n,)."""
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), _TILE):
        tile = slice(start, start + _TILE)
        found[tile] = np.einsum("ij,ij->i", left[pairs[tile, 0]], right[pairs[tile, 1]])
    return found


def _inverted(lists: Ragged, group: Integers, size: int) -> Ragged:
    order = np.lexsort((group[lists.rows], lists.values))
    rows, values = lists.rows[order], lists.values[order]
    # One row a query: rows that ask the same say the same.
    new = np.ones(len(rows), dtype=np.bool_)
    new[1:] = (np.diff(values) != 0) | (np.diff(group[rows]) != 0)
    found = Ragged.from_lengths(rows[new], np.bincount(values[new], minlength=size))
    return found.keep(found.within < _MOST)


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
