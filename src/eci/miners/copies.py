"""Near copies of known documents: the Jaccard similarity of their sets of word 3-grams."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from heapq import nlargest
from math import ceil

import numpy as np

from eci.lexical import words
from eci.ragged import Ragged
from eci.task import RetrievalTask
from eci.types import Flags, Integers

_SHINGLE = 3
# Phrases that are looked for in a text, at most: to look for more takes longer than to compare all grams.
_SEARCHED = 32


def near_copies(texts: Sequence[str], pairs: Integers, threshold: float) -> Flags:
    """Which pairs of texts are near copies of each other.

    The similarity is exact. A sketch such as MinHash finds pairs among very many texts; here the pairs
    are given, and most are told apart by a few phrases of the second text that the first does not hold.

    Parameters
    ----------
    texts : sequence of str
    pairs : ndarray of shape (n, 2)
        Indices into `texts`. It is quicker with those in the second place that come often.
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
    # A long text is gone through once, where it is the one that others are compared with.
    sizes = np.array([len(text) for text in texts], dtype=np.int64)
    longer = threshold * sizes[pairs[:, 0]] > 2 * sizes[pairs[:, 1]]
    pairs = np.where(longer[:, None], pairs[:, ::-1], pairs)
    plain: dict[str, str] = {}
    compared = _Compared("", threshold)
    last = None
    for place in np.lexsort(pairs.T).tolist():
        one, other = pairs[place].tolist()
        for text in (texts[one], texts[other]):
            if text not in plain:
                plain[text] = " ".join(words(text))
        if other != last:
            compared, last = _Compared(plain[texts[other]], threshold), other
        near[place] = compared.is_near(plain[texts[one]])
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


class _Compared:
    """A text, as its words joined by spaces, that others are compared with."""

    def __init__(self, plain: str, threshold: float) -> None:
        self._plain, self._threshold = plain, threshold

    @cached_property
    def _grams(self) -> set[tuple[str, ...]]:
        return _grams(self._plain.split())

    @cached_property
    def _phrases(self) -> dict[str, list[str]]:
        """Of its grams as many as no near copy can be without, by their longest word.

        A near copy shares at least the threshold's part of the grams, so of one more than the rest at
        least one (prefix filtering; Chaudhuri et al. 2006). Those of long words are rare in other texts.
        """
        longest = {gram: max(gram, key=len) for gram in self._grams}
        most = len(longest) - ceil(self._threshold * len(longest) - 1e-9) + 1
        found: dict[str, list[str]] = {}
        for gram in nlargest(most, longest, key=lambda gram: len(longest[gram])):
            found.setdefault(longest[gram], []).append(f" {' '.join(gram)} ")
        return found

    @cached_property
    def _rare(self) -> frozenset[str]:
        return frozenset(self._phrases)

    def is_near(self, plain: str) -> bool:
        if plain == self._plain:
            return True
        found = plain.split()
        # A text of fewer words than a gram has one of all of them.
        if len(found) < _SHINGLE or not self._grams:
            return False
        if len(found) - _SHINGLE + 1 < self._threshold * len(self._grams) - 1e-9:
            return False
        asked = [phrase for word in self._rare.intersection(found) for phrase in self._phrases[word]]
        whole = f" {plain} "
        if len(asked) <= _SEARCHED and not any(phrase in whole for phrase in asked):
            return False
        grams = _grams(found)
        shared = len(grams & self._grams)
        return shared / (len(grams) + len(self._grams) - shared) >= self._threshold


def _grams(of: list[str]) -> set[tuple[str, ...]]:
    return set(zip(*(of[start:] for start in range(_SHINGLE)), strict=False))
