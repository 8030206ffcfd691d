"""Which negatives of a query are none, whatever its list says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from eci.datasets.columns import Documents
from eci.seen import Seen
from eci.task import EMPTY, text_digests
from eci.types import Integers

_ODD = np.int64(0x5851F42D4C957F2D)


class Barred:
    """Knows the positives of every question, in 16 bytes a positive.

    What cannot be a negative of a query is a positive of a row that asks the same under another id, a
    document without text, and the query itself; texts are the same as in an audit.
    """

    REASONS = ("known positives of the same question", "without text", "the text of their query")

    def __init__(self) -> None:
        self._known = Seen()

    def note(self, batch: pa.RecordBatch) -> None:
        """Learn the positives of canonical rows."""
        positives = Documents.of(batch.column("positives"))
        asked = text_digests(None, batch.column("query"))[positives.rows]
        pairs = _pairs(asked, text_digests(None, positives.shown))
        self._known.add(pairs, np.zeros_like(pairs))

    def reasons(self, asked: Integers, shown: Integers, alone: Integers) -> Integers:
        """Why each of n candidates is no negative, of shape (n,): a place in `REASONS`, or -1.

        Parameters
        ----------
        asked, shown, alone : ndarray of shape (n,)
            Digests of the candidate's query, of the candidate, and of its text without its title.
        """
        known, _ = self._known.find(_pairs(asked, shown))
        found = np.full(len(asked), -1)
        found[((shown == asked) | (alone == asked)) & (shown != EMPTY)] = 2
        found[shown == EMPTY] = 1
        found[known & (shown != EMPTY)] = 0
        return found


def _pairs(one: Integers, other: Integers) -> Integers:
    """A hash of each of n pairs of digests."""
    with np.errstate(over="ignore"):
        return one * _ODD + other
