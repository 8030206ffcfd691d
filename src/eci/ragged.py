"""Rows of different length in one pair of arrays: the Arrow list layout in numpy.

``np.add.reduceat`` gives the *next* row's first value for an empty row; the reductions here exist so
that nobody meets that trap again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eci.types import Floats, Integers


@dataclass(frozen=True)
class Ragged:
    """B rows of different length.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
        The entries of all rows, one row after the other.
    offsets : ndarray of shape (B + 1,), int64
        Row i holds ``values[offsets[i]:offsets[i + 1]]``.

    Examples
    --------
    >>> rows = Ragged.from_rows([[0.5, 0.7], [], [0.1]])
    >>> rows.lengths.tolist(), rows.sums().tolist(), rows.maxima().tolist()
    ([2, 0, 1], [1.2, 0.0, 0.1], [0.7, nan, 0.1])
    """

    values: NDArray[Any]
    offsets: Integers

    def __post_init__(self) -> None:
        bad = (
            self.offsets.ndim != 1
            or len(self.offsets) == 0
            or self.offsets[0] != 0
            or self.offsets[-1] != len(self.values)
            or bool(np.any(self.offsets[1:] < self.offsets[:-1]))
        )
        if bad:
            raise ValueError(
                f"offsets must rise from 0 to {len(self.values)}, the number of values; got {self.offsets!r}"
            )

    @classmethod
    def from_rows(cls, rows: Iterable[ArrayLike] | NDArray[Any]) -> Ragged:
        """From a list of rows, or from an array of shape (B, N) whose rows are equally long."""
        arrays = [np.asarray(row, dtype=np.float64).ravel() for row in rows]
        values = np.concatenate(arrays) if arrays else np.empty(0)
        return cls.from_lengths(values, [len(row) for row in arrays])

    @classmethod
    def from_lengths(cls, values: NDArray[Any], lengths: Sequence[int] | NDArray[Any]) -> Ragged:
        """From the entries of all rows and the length of each, of shape (B,)."""
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(values, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Integers:
        """Number of entries of each row, of shape (B,)."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> Integers:
        """The row that each entry belongs to, of shape (n,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def within(self) -> Integers:
        """The place of each entry in its row, 0, 1, …, of shape (n,)."""
        return np.arange(len(self.values)) - np.repeat(self.offsets[:-1], self.lengths)

    def with_values(self, values: NDArray[Any]) -> Ragged:
        """Other entries in the same rows."""
        return Ragged(values, self.offsets)

    def take(self, rows: NDArray[Any]) -> Ragged:
        """The given rows, in the given order; `rows` are indices of shape (R,)."""
        lengths = self.offsets[1:][rows] - self.offsets[:-1][rows]
        starts = np.repeat(self.offsets[:-1][rows], lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return Ragged.from_lengths(self.values[starts + within], lengths)

    def part(self, start: int, stop: int) -> Ragged:
        """Rows that follow each other; what they hold is not copied."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def keep(self, mask: NDArray[np.bool_]) -> Ragged:
        """The entries for which `mask`, of shape (n,), is true; no row disappears."""
        kept = np.bincount(self.rows[mask], minlength=len(self))
        return Ragged.from_lengths(self.values[mask], kept)

    def sums(self) -> Floats:
        """Sum of each row, of shape (B,); 0 for an empty row."""
        return self._reduce(np.add, 0.0)

    def means(self) -> Floats:
        """Mean of each row, of shape (B,); NaN for an empty row."""
        lengths = self.lengths
        return divide(self.sums(), lengths)

    def maxima(self) -> Floats:
        """Largest entry of each row, of shape (B,); NaN for an empty row."""
        return self._reduce(np.maximum, np.nan)

    def argmaxima(self) -> Integers:
        """Index into ``values`` of each row's first largest entry, of shape (B,); -1 for an empty row."""
        largest = np.repeat(self.maxima(), self.lengths)
        hits = np.flatnonzero(self.values.astype(np.float64) == largest)
        rows, first = np.unique(self.rows[hits], return_index=True)
        found = np.full(len(self), -1, dtype=np.int64)
        found[rows] = hits[first]
        return found

    def logsumexp(self) -> Floats:
        """Ln Σ exp of each row, of shape (B,), without overflow; -inf for an empty row."""
        largest = np.nan_to_num(self.maxima(), nan=0.0)
        shifted = self.with_values(np.exp(self.values - np.repeat(largest, self.lengths)))
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(shifted.sums()) + largest)

    def _reduce(self, function: np.ufunc, empty: float) -> Floats:
        reduced = np.full(len(self), empty)
        filled = np.flatnonzero(self.lengths)
        if len(filled):
            # Between two filled rows only empty ones can lie, so their starts delimit each other.
            starts = self.offsets[:-1][filled]
            reduced[filled] = function.reduceat(self.values.astype(np.float64), starts)
        return reduced


def divide(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    """Quotients of arrays of the same shape; NaN where `below` is not positive."""
    quotients: Floats = np.full(below.shape, np.nan)
    np.divide(above, below, out=quotients, where=below > 0)
    return quotients


def rising(values: NDArray[Any]) -> NDArray[Any]:
    """The distinct ones of n values, rising: ``np.unique``, which hashes them, takes a hundred times as long.

    Examples
    --------
    >>> rising(np.array([3, 1, 3])).tolist()
    [1, 3]
    """
    ordered = np.sort(values)
    return ordered[np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])]
