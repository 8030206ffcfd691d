"""What was seen before, remembered in 16 bytes a key."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eci.types import Flags


class Seen:
    """64-bit keys with a 64-bit value each, in sorted arrays that are merged when one outgrows the next."""

    def __init__(self) -> None:
        self._levels: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, keys: NDArray[np.int64], values: NDArray[np.int64]) -> tuple[Flags, Flags]:
        """Remember the first value of every key.

        Returns
        -------
        known : ndarray of shape (n,), bool
            Keys that occurred in an earlier call.
        differs : ndarray of shape (n,), bool
            Entries whose value is not the one that their key had first, in this call or before.
        """
        unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        expected, known = values[first], np.zeros(len(unique), dtype=bool)
        for level_keys, level_values in self._levels:
            at = np.minimum(np.searchsorted(level_keys, unique), len(level_keys) - 1)
            hit = level_keys[at] == unique
            expected = np.where(hit, level_values[at], expected)
            known |= hit
        self._push(unique[~known], expected[~known])
        return known[inverse], expected[inverse] != values

    def _push(self, keys: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        while self._levels and len(self._levels[-1][0]) <= 2 * len(keys):
            older_keys, older_values = self._levels.pop()
            keys, values = np.concatenate([older_keys, keys]), np.concatenate([older_values, values])
            order = np.argsort(keys, kind="stable")
            keys, values = keys[order], values[order]
        if len(keys):
            self._levels.append((keys, values))
