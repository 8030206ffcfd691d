"""The negatives of two sources side by side: as many of one as of the other, query by query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eci.ragged import Ragged
from eci.tally import GROUPS
from eci.types import Flags, Floats, Integers, Vectors

FEWEST_QUERIES = 20
MOST_DOCUMENTS = 5_000


@dataclass(frozen=True)
class Contrast:
    """The negatives of two sources, one entry a negative, in any order.

    Parameters
    ----------
    query : ndarray of shape (n,)
        0…Q − 1.
    second : ndarray of shape (n,), bool
        Whether the negative is of the second source.
    document : ndarray of shape (n,)
        Rows of the tables of vectors and cues.
    similarity : ndarray of shape (n,)
        Cosine of query and document, -1…1.
    groups : ndarray of shape (Q,)
        Jackknife group of each query, 0…19.
    order : ndarray of shape (Q,), integers
        Each query's own number, whatever the order in which queries were read: draws go by it.

    Raises
    ------
    ValueError
        Arrays do not fit together, or hold what is out of range.
    """

    query: Integers
    second: Flags
    document: Integers
    similarity: NDArray[np.floating]
    groups: Integers
    order: NDArray[np.integer]

    def __post_init__(self) -> None:
        lengths = [len(part) for part in (self.query, self.second, self.document, self.similarity)]
        if len(set(lengths)) > 1:
            raise ValueError(f"query, second, document and similarity must be equally long, got {lengths}")
        if len(self.groups) != len(self.order):
            raise ValueError(
                f"groups and order must be of as many queries, got {len(self.groups)} and {len(self.order)}"
            )
        check_range("query", self.query, len(self.order))
        check_range("groups", self.groups, GROUPS)
        if self.second.dtype != np.bool_:
            raise ValueError(f"second must be boolean, got {self.second.dtype}")
        if not np.all(np.isfinite(self.similarity)):
            raise ValueError("a similarity is not a finite number")
        if len(np.unique(self.order)) < len(self.order):
            raise ValueError("order must give each query a number of its own; some repeat")


@dataclass(frozen=True)
class Draw:
    """As many negatives of one source as of the other for each of q queries, query after query.

    Parameters
    ----------
    offsets : ndarray of shape (q + 1,)
        Query i has the negatives ``offsets[i]:offsets[i + 1]``.
    second : ndarray of shape (n,), bool
        Whether a negative is of the second source.
    document : ndarray of shape (n,)
        Rows of the tables of documents.
    similarity : ndarray of shape (n,)
        Cosine of query and document, -1…1.
    groups : ndarray of shape (q,)
        Jackknife group of each query, 0…19.
    """

    offsets: Integers
    second: Flags
    document: Integers
    similarity: Floats
    groups: Integers

    @property
    def rows(self) -> Integers:
        """Query of each negative, of shape (n,)."""
        return np.repeat(np.arange(len(self.groups)), np.diff(self.offsets))

    def auc(self, values: Floats) -> Floats:
        """P(value of the first source > of the second) + ½ P(equal) within each query, of shape (q,)."""
        rows, each = self.rows, np.diff(self.offsets) / 2
        order = np.lexsort((values, rows))
        ordered = values[order]
        starts = np.flatnonzero(np.r_[True, (np.diff(ordered) != 0) | (np.diff(rows) != 0)])
        lengths = np.diff(np.r_[starts, len(values)])
        rank = np.empty(len(values))
        # Equal values share the mean of the ranks they take.
        rank[order] = np.repeat(starts + (lengths + 1) / 2, lengths)
        rank -= self.offsets[rows]
        first = np.bincount(rows, weights=rank * ~self.second, minlength=len(each))
        return np.asarray((first - each * (each + 1) / 2) / each**2)


def drawn(contrast: Contrast, vectors: Vectors, rng: np.random.Generator) -> Draw:
    """Choose queries and negatives at random; the order in which they were given changes nothing.

    Parameters
    ----------
    contrast : Contrast
    vectors : ndarray of shape (D, d)
        Document vectors; they part documents that are equally similar.
    rng : numpy.random.Generator
    """
    query, second, document, similarity = _own(contrast)
    counts = np.bincount(query * 2 + second, minlength=2 * len(contrast.order)).reshape(-1, 2)
    # No query takes so much that too few others fit.
    each = np.minimum(counts.min(axis=1), MOST_DOCUMENTS // FEWEST_QUERIES)
    both = np.flatnonzero(each)
    both = both[np.argsort(contrast.order[both])]
    shuffled = rng.permutation(len(both))
    chosen = np.sort(shuffled[np.cumsum(each[both[shuffled]]) <= MOST_DOCUMENTS])
    both = both[chosen]
    number = np.full(len(contrast.order), -1)
    number[both] = np.arange(len(both))
    kept = np.flatnonzero(number[query] >= 0)
    query, second, document, similarity = number[query[kept]], second[kept], document[kept], similarity[kept]
    # The vector parts equally similar documents; their numbers depend on how they were read.
    order = np.lexsort((vectors[document, 0], similarity, query))
    query, second = query[order], second[order]
    lot = np.lexsort((rng.random(len(order)), second, query))
    sizes = np.bincount(query * 2 + second, minlength=2 * len(both))
    place = np.empty(len(order), dtype=np.int64)
    place[lot] = Ragged.from_lengths(lot, sizes).within
    taken = np.flatnonzero(place < each[both][query])
    return Draw(
        offsets=np.r_[0, np.cumsum(2 * each[both])],
        second=second[taken],
        document=document[order][taken],
        similarity=similarity[order][taken].astype(np.float64),
        groups=contrast.groups[both],
    )


def _own(contrast: Contrast) -> tuple[Integers, Flags, Integers, NDArray[np.floating]]:
    """Query, source, document and similarity of what one source alone has, each document once a query."""
    width = int(contrast.document.max(initial=0)) + 1
    pair = contrast.query * width + contrast.document
    _, first, inverse = np.unique(pair, return_index=True, return_inverse=True)
    seen = np.zeros((len(first), 2), dtype=np.bool_)
    seen[inverse.ravel(), contrast.second.astype(np.int64)] = True
    kept = first[~seen.all(axis=1)]
    return contrast.query[kept], contrast.second[kept], contrast.document[kept], contrast.similarity[kept]


def check_range(name: str, numbers: Integers, end: int) -> None:
    """Raise a `ValueError` where `numbers` do not lie in 0…end − 1."""
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= end):
        raise ValueError(f"{name} must lie between 0 and {end - 1}, got {numbers.min()} to {numbers.max()}")
