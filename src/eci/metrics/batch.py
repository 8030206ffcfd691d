"""What a metric sees: the negatives of one source for a batch of queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eci.ragged import Ragged
from eci.tally import GROUPS
from eci.types import Floats, Integers


@dataclass(frozen=True)
class Batch:
    """B queries, their positives, and their negatives of one source.

    Parameters
    ----------
    groups : ndarray of shape (B,)
        Jackknife group of each query, 0…19.
    positive : Ragged of B rows
        Cosine of the query with each of its positives; at least one a row.
    negative : Ragged of B rows
        Cosine of the query with each negative; rows may be empty.
    overlap_query, overlap_positive : Ragged of B rows, optional
        IDF-weighted share of the words of the query, and of its most similar positive, that each
        negative holds; NaN where the query or positive has no words.
    teacher : Ragged of B rows, optional
        Score of each negative by whoever also scored the row's positives; NaN where there is none.
    """

    groups: Integers
    positive: Ragged
    negative: Ragged
    overlap_query: Ragged | None = None
    overlap_positive: Ragged | None = None
    teacher: Ragged | None = None

    def __post_init__(self) -> None:
        if len(self.positive) != len(self.negative) or len(self.groups) != len(self.positive):
            raise ValueError(
                f"groups, positives and negatives must be of as many queries, "
                f"got {len(self.groups)}, {len(self.positive)} and {len(self.negative)}"
            )
        for kind, rows in (("positive", self.positive), ("negative", self.negative)):
            if not np.all(np.isfinite(rows.values)):
                query = int(rows.rows[~np.isfinite(rows.values)][0])
                raise ValueError(f"query {query} has a {kind} whose similarity is not a finite number")
        if np.any(self.positive.lengths == 0):
            query = int(np.flatnonzero(self.positive.lengths == 0)[0])
            raise ValueError(f"query {query} has no positive; every query needs at least one")

    @classmethod
    def from_similarities(
        cls, positive: Iterable[ArrayLike] | NDArray[Any], negative: Iterable[ArrayLike] | NDArray[Any]
    ) -> Batch:
        """From plain similarities: one row a query, as lists of arrays or as arrays of shape (B, P), (B, N).

        Queries are dealt to the jackknife groups in turn.
        """
        rows = Ragged.from_rows(positive)
        return cls(np.arange(len(rows)) % GROUPS, rows, Ragged.from_rows(negative))

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which queries have a negative of this source, of shape (B,)."""
        return np.asarray(self.negative.lengths > 0)

    @property
    def best_positive(self) -> Floats:
        """Similarity of the most similar positive, of shape (B,)."""
        return self.positive.maxima()

    @property
    def margins(self) -> Ragged:
        """Most similar positive minus each negative."""
        reference = np.repeat(self.best_positive, self.negative.lengths)
        return self.negative.with_values(reference - self.negative.values)
