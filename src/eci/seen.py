"""What was seen before, remembered in 16 bytes a key, on disk where keys are many."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eci.spilled import TILE, mapped
from eci.types import Flags

_Numbers: TypeAlias = NDArray[np.int64]
# Keys and their values, by rising key.
_Level: TypeAlias = tuple[_Numbers, _Numbers]


class Seen:
    """64-bit keys with a 64-bit value each, in sorted arrays that are merged when one outgrows the next."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._levels)

    def add(self, keys: _Numbers, values: _Numbers) -> tuple[Flags, Flags]:
        """Remember the first value of every key.

        Returns
        -------
        known : ndarray of shape (n,), bool
            Keys that occurred in an earlier call.
        differs : ndarray of shape (n,), bool
            Entries whose value is not the one that their key had first, in this call or before.
        """
        unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        known, found = self.find(unique)
        expected = np.where(known, found, values[first])
        self._push((unique[~known], expected[~known]))
        return known[inverse], expected[inverse] != values

    def find(self, keys: _Numbers) -> tuple[Flags, _Numbers]:
        """Which of n keys there are, and their values; 0 for the others.

        Examples
        --------
        >>> seen = Seen()
        >>> _ = seen.add(np.array([7, 3]), np.array([1, 2]))
        >>> [found.tolist() for found in seen.find(np.array([3, 4, 7]))]
        [[True, False, True], [2, 0, 1]]
        """
        known, found = np.zeros(len(keys), dtype=np.bool_), np.zeros(len(keys), dtype=np.int64)
        for level, values in self._levels:
            at = np.minimum(np.searchsorted(level, keys), len(level) - 1)
            hit = level[at] == keys
            found[hit] = values[at[hit]]
            known |= hit
        return known, found

    def _push(self, level: _Level) -> None:
        while self._levels and len(self._levels[-1][0]) <= 2 * len(level[0]):
            level = _merged(self._levels.pop(), level)
        if len(level[0]):
            self._levels.append(level)


def _merged(one: _Level, other: _Level) -> _Level:
    """Two levels without a key in common as one."""
    length = len(one[0]) + len(other[0])
    if length <= TILE:
        keys, values = (np.concatenate(pair) for pair in zip(one, other, strict=True))
        order = np.argsort(keys, kind="stable")
        return keys[order], values[order]
    made = mapped(length, np.int64), mapped(length, np.int64)
    for here, there in ((one, other), (other, one)):
        for start in range(0, len(here[0]), TILE):
            keys = here[0][start : start + TILE]
            at = np.arange(start, start + len(keys)) + np.searchsorted(there[0], keys)
            made[0][at], made[1][at] = keys, here[1][start : start + TILE]
    return made
