"""Rows and negatives in parts, and columns of them in files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from eci import spilled
from eci.ragged import rising
from eci.spilled import Column
from eci.types import Floats, Integers

# Rows and negatives that are looked at in one go: what is made of them is small beside a corpus.
ROWS, NEGATIVES = 4096, 1 << 17


def spans(offsets: Integers, entries: int | None = None) -> Iterator[tuple[int, int]]:
    """Rows in parts that are looked at in one go: the first of each, and the first of the next.

    Parameters
    ----------
    offsets : ndarray of shape (B + 1,)
        Where the entries of each row begin; see `Ragged`.
    entries : int, optional
        Most of a part of several rows; `NEGATIVES` if not given.

    Examples
    --------
    >>> list(spans(np.arange(10_001) * 20))[:2]
    [(0, 4096), (4096, 8192)]
    >>> list(spans(np.array([0, 100_000, 200_000])))
    [(0, 1), (1, 2)]
    """
    start, rows = 0, len(offsets) - 1
    while start < rows:
        ends = offsets[start + 1 : start + ROWS + 1]
        held = int(np.searchsorted(ends, int(offsets[start]) + (entries or NEGATIVES), side="right"))
        stop = start + max(1, held)
        yield start, stop
        start = stop


def distinct(parts: Iterable[Integers]) -> Integers:
    """The distinct numbers of all parts, rising, of shape (n,).

    Examples
    --------
    >>> distinct([np.array([3, 1, 3]), np.array([2, 1])]).tolist()
    [1, 2, 3]
    """
    column, last, ordered = Column(np.int64), None, True
    for part in parts:
        found = rising(part)
        if len(found):
            ordered &= last is None or bool(found[0] > last)
            last = found[-1]
            column.add(found)
    codes = column.done(writable=not ordered)
    return codes if ordered else spilled.distinct(codes)


def spread(column: Column) -> float:
    """Standard deviation of a column of float64, to the last digit that of ``np.std``; 0 of none."""
    values: Floats = column.done(writable=True)
    if not len(values):
        return 0.0
    values -= np.add.reduce(values) / len(values)
    np.multiply(values, values, out=values)
    return float(np.sqrt(np.add.reduce(values) / len(values)))
