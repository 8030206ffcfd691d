"""Near copies of known documents: the Jaccard similarity of their sets of word 3-grams."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from eci.lexical import words
from eci.ragged import Ragged, rising
from eci.task import RetrievalTask
from eci.types import Flags, Floats, Integers

_SHINGLE = 3
# Pairs compared at a time.
_TILE = 1 << 13


def near_copies(texts: Sequence[str], pairs: Integers, threshold: float) -> Flags:
    """Which pairs of texts are near copies of each other.

    The similarity is exact. A sketch such as MinHash finds pairs among very many texts; here the pairs
    are given, and to compare the sets themselves costs less than to sketch them.

    Parameters
    ----------
    texts : sequence of str
    pairs : ndarray of shape (n, 2)
        Indices into `texts`.
    threshold : float
        Jaccard similarity of the sets of word 3-grams from which on a pair counts, above 0 and up to 1.
        Texts of fewer than three words have one gram, of all their words.

    Returns
    -------
    ndarray of shape (n,), bool

    Examples
    --------
    >>> text = "the quick brown fox jumps over the lazy dog"
    >>> near_copies([text, text.upper() + "!", "a slow dog"], np.array([[0, 1], [0, 2]]), 0.8).tolist()
    [True, False]
    """
    near = np.zeros(len(pairs), dtype=np.bool_)
    if not len(pairs):
        return near
    numbers: dict[str, int] = {}
    same = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
    used, places = np.unique(same[pairs], return_inverse=True)
    distinct = list(numbers)
    grams = _grams([distinct[place] for place in used.tolist()])
    compared, sizes = places.reshape(pairs.shape), grams.lengths
    # Two sets share no more than the smaller one holds, and of the rarest grams of each, all but the
    # share that may differ, they share at least one (prefix filtering; Chaudhuri et al. 2006).
    least, most = sizes[compared].min(axis=1), sizes[compared].max(axis=1)
    asked = np.flatnonzero(least / most >= threshold)
    rarest = grams.keep(grams.within <= np.repeat(sizes - np.ceil(threshold * sizes - 1e-9), sizes))
    for start in range(0, len(asked), _TILE):
        tile = asked[start : start + _TILE]
        tile = tile[_shared(rarest, compared[tile]) > 0]
        shared = _shared(grams, compared[tile])
        near[tile] = shared / (sizes[compared[tile]].sum(axis=1) - shared) >= threshold
    return near


def copies_of_known(
    task: RetrievalTask, documents: Ragged, asked: Flags, known: Ragged, threshold: float
) -> Flags:
    """Which of the asked documents are near copies of one of the known documents of their query.

    Parameters
    ----------
    documents : Ragged of R rows
        n indices into the corpus.
    asked : ndarray of shape (n,)
        Which to compare.
    known : Ragged of R rows
        Indices into the corpus.
    threshold : float
        See `near_copies`.
    """
    places = np.flatnonzero(asked)
    against = known.take(documents.rows[places])
    pairs = np.stack([np.repeat(documents.values[places], against.lengths), against.values], axis=1)
    used, compared = np.unique(pairs, return_inverse=True)
    near = near_copies(task.corpus.shown(used), compared.reshape(pairs.shape), threshold)
    found = np.zeros(len(asked), dtype=np.bool_)
    found[places] = against.with_values(near).sums() > 0
    return found


def _shared(grams: Ragged, pairs: Integers) -> Floats:
    """How many numbers two rows share, for each of n pairs of rows, of shape (n,)."""
    left, right = (grams.take(side) for side in pairs.T)
    if not len(pairs):
        return np.empty(0)
    width = int(grams.values.max()) + 1
    # Both rise, for the numbers of each row do.
    asked, held = (side.rows * width + side.values for side in (left, right))
    at = np.minimum(np.searchsorted(held, asked), len(held) - 1)
    return left.with_values(held[at] == asked).sums()


def _grams(texts: Sequence[str]) -> Ragged:
    """Numbers of the distinct word 3-grams of each text, rising, the rarest gram first."""
    known: dict[str, int] = {}
    flat, lengths = array("q"), array("q")
    for text in texts:
        numbers = [known.setdefault(word, len(known) + 1) for word in words(text)]
        numbers += [0] * (_SHINGLE - len(numbers))
        flat.extend(numbers)
        lengths.append(len(numbers))
    rows = Ragged.from_lengths(np.asarray(flat, dtype=np.int64), np.asarray(lengths, dtype=np.int64))
    first = np.flatnonzero(rows.within <= np.repeat(rows.lengths, rows.lengths) - _SHINGLE)
    number = rows.values[first]
    for step in range(1, _SHINGLE):
        number = number * (len(known) + 1) + rows.values[first + step]
        # Numbered anew at every step, so that no product grows beyond 63 bits.
        number = np.searchsorted(rising(number), number)
    width = int(number.max()) + 1
    row, number = np.divmod(rising(rows.rows[first] * width + number), width)
    rank = np.empty(width, dtype=np.int64)
    rank[np.argsort(np.bincount(number), kind="stable")] = np.arange(width)
    number = np.sort(row * width + rank[number]) % width
    return Ragged.from_lengths(number, np.bincount(row, minlength=len(texts)))
