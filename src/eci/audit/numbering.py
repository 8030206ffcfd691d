"""Numbers for keys, in the order in which they come, however many there are."""

from __future__ import annotations

import numpy as np

from eci.seen import Seen
from eci.types import Integers


class Numbering:
    """Numbers 64-bit keys 0, 1, …, and knows those that it has seen, in 16 bytes a key.

    Examples
    --------
    >>> numbering = Numbering()
    >>> numbering.add(np.array([7, 3, 7]))[0].tolist(), numbering.add(np.array([5, 3]))[0].tolist()
    ([0, 1, 0], [2, 1])
    """

    def __init__(self) -> None:
        self._seen = Seen()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, keys: Integers) -> tuple[Integers, Integers]:
        """Number keys.

        Returns
        -------
        numbers : ndarray of shape (n,)
        new : ndarray of shape (m,)
            Places in `keys` of those that got the next m numbers, in the order of these.
        """
        unique, first, back = np.unique(keys, return_index=True, return_inverse=True)
        known, numbers = self._seen.find(unique)
        new = np.flatnonzero(~known)
        ordered = new[np.argsort(first[new])]
        numbers[ordered] = len(self) + np.arange(len(new))
        self._seen.add(unique[new], numbers[new])
        return numbers[back], first[ordered]
