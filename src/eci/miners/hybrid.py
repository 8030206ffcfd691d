"""Hybrids: the lists of several sources, made one list a query. Integers in, integers out.

P parts found something for B queries. `lists`, a `Ragged` of B·P rows, holds the list of part p for
query b in row b·P + p, best first, as numbers of documents: the same for the same document of a query,
another for every other query. The functions return places in ``lists.values``, a row for each query.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from heapq import heapify, heappop, heappush

import numpy as np

from eci.ragged import Ragged
from eci.types import Flags, Integers


def concat(lists: Ragged, parts: int) -> Ragged:
    """One list after the other; a document that two parts found stands twice.

    Parameters
    ----------
    lists : Ragged of B·P rows, int64
        See above.
    parts : int
        P.

    Returns
    -------
    Ragged of B rows, int64
        Places in ``lists.values``.
    """
    return Ragged(np.arange(len(lists.values)), lists.offsets[::parts])


def union(lists: Ragged, parts: int) -> Ragged:
    """Each document once, by the best place that any part gives it; ties in the order of the parts.

    Parameters and result are those of `concat`; of a document that several parts found, the place is
    that of its best.

    Examples
    --------
    >>> lists = Ragged.from_lengths(np.array([7, 8, 9, 9, 5]), [3, 2])
    >>> lists.values[union(lists, 2).values].tolist()
    [7, 9, 8, 5]
    """
    part = lists.rows % parts
    row = lists.rows // parts
    order = np.lexsort((part, lists.within, row))
    first = np.sort(np.unique(lists.values[order], return_index=True)[1])
    chosen = order[first]
    return Ragged.from_lengths(chosen, np.bincount(row[chosen], minlength=len(lists) // parts))


def budget(lists: Ragged, parts: int, k: int, shares: Sequence[float]) -> tuple[Ragged, Flags]:
    """At most k documents a query, each once: the parts take turns, and each takes its best free one.

    A part has as many turns as `quotas` says, spread evenly: with shares 2:1 the order is 0 0 1 0 0 1.
    What a part that runs dry leaves is taken by the others, in turns of the same shares.

    Parameters
    ----------
    lists : Ragged of B·P rows, int64
        As for `concat`, with numbers from 0 on.
    parts : int
        P.
    k : int
    shares : sequence of P float
        Weights of the parts, above 0.

    Returns
    -------
    Ragged of B rows, int64
        Places in ``lists.values``, in the order in which they were taken.
    ndarray of shape (B,), bool
        Where a part took more than its quota.

    Examples
    --------
    >>> lists = Ragged.from_lengths(np.array([7, 8, 9, 7, 5]), [3, 2])
    >>> taken, filled = budget(lists, 2, 4, (1, 1))
    >>> lists.values[taken.values].tolist(), filled.tolist()
    ([7, 5, 8, 9], [True])
    """
    draft = _Draft(lists, parts, k)
    turns = quotas(k, shares)
    longest = lists.lengths.reshape(-1, parts).max(axis=0, initial=0)
    # A turn after the end of the longest list takes nothing.
    spread = ((turn / shares[p], p) for p in range(parts) for turn in range(1, 1 + min(turns[p], longest[p])))
    for _, part in sorted(spread):
        draft.turn(part)
    within = draft.sizes.copy()
    upcoming = [((turns[part] + 1) / shares[part], part, int(turns[part]) + 1) for part in range(parts)]
    heapify(upcoming)
    while upcoming and draft.open:
        _, part, turn = heappop(upcoming)
        if draft.turn(part):
            heappush(upcoming, ((turn + 1) / shares[part], part, turn + 1))
    return draft.taken(), draft.sizes > within


def quotas(k: int, shares: Sequence[float]) -> Integers:
    """Whole numbers in proportion to `shares` that sum to k, by largest remainder; ties go to the first.

    Examples
    --------
    >>> quotas(10, (2, 1)).tolist(), quotas(5, (1, 1)).tolist(), quotas(1, (1, 3)).tolist()
    ([7, 3], [3, 2], [0, 1])
    """
    # Exact, for remainders that are equal must be so: as floats, those of 4/3 and 1/3 are not.
    weights = [Fraction(str(float(share))) for share in shares]
    exact = [k * weight / sum(weights) for weight in weights]
    whole = [int(each) for each in exact]
    most = sorted(range(len(whole)), key=lambda part: whole[part] - exact[part])
    for part in most[: k - sum(whole)]:
        whole[part] += 1
    return np.array(whole, dtype=np.int64)


class _Draft:
    """Turns of the parts, for all queries at once."""

    def __init__(self, lists: Ragged, parts: int, k: int) -> None:
        rows = len(lists) // parts
        self._documents = lists.values
        self._next = lists.offsets[:-1].reshape(rows, parts).copy()
        self._stop = lists.offsets[1:].reshape(rows, parts)
        self._gone = np.zeros(1 + int(lists.values.max(initial=0)), dtype=np.bool_)
        self._k = min(k, int(np.diff(lists.offsets[::parts]).max(initial=0)))
        self._taken = np.zeros((rows, self._k), dtype=np.int64)
        self.sizes = np.zeros(rows, dtype=np.int64)

    @property
    def open(self) -> bool:
        """Whether some query has fewer than k."""
        return bool((self.sizes < self._k).any())

    def turn(self, part: int) -> bool:
        """Let `part` take its best free document for every query that is not full; whether it took any."""
        rows = np.flatnonzero(self.sizes < self._k)
        place, stop = self._next[rows, part], self._stop[rows, part]
        while True:
            stale = place < stop
            stale[stale] = self._gone[self._documents[place[stale]]]
            if not stale.any():
                break
            place += stale
        self._next[rows, part] = place
        there = place < stop
        rows, place = rows[there], place[there]
        self._gone[self._documents[place]] = True
        self._taken[rows, self.sizes[rows]] = place
        self.sizes[rows] += 1
        return len(rows) > 0

    def taken(self) -> Ragged:
        """What was taken, in order."""
        filled = np.arange(self._k) < self.sizes[:, None]
        return Ragged.from_lengths(self._taken[filled], self.sizes)
