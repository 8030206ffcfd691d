"""How much of their words two texts share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eci.lexical import words
from eci.miners.copies import near_copies
from eci.ragged import Ragged
from eci.types import Floats, Integers


def shared_words(texts: Sequence[str], pairs: Integers) -> Floats:
    """Jaccard similarity of the sets of words of pairs of texts, whatever their order.

    Parameters
    ----------
    texts : sequence of str
    pairs : ndarray of shape (n, 2)
        Indices into `texts`.

    Returns
    -------
    ndarray of shape (n,)
        0…1; 0 for two texts without words.

    Examples
    --------
    >>> shared_words(["the red fox", "Fox, the red!", "a red dog"], np.array([[0, 1], [0, 2]])).tolist()
    [1.0, 0.2]
    """
    if not len(pairs):
        return np.empty(0)
    used, places = np.unique(pairs, return_inverse=True)
    numbers: dict[str, int] = {}
    sets = [
        {numbers.setdefault(word, len(numbers)) for word in words(texts[place])} for place in used.tolist()
    ]
    flat = np.fromiter((number for own in sets for number in sorted(own)), np.int64)
    held = Ragged.from_lengths(flat, [len(own) for own in sets])
    left, right = (held.take(side) for side in places.reshape(pairs.shape).T)
    width = max(1, len(numbers))
    # Both rise, for the numbers of each row do.
    asked, known = (side.rows * width + side.values for side in (left, right))
    at = np.minimum(np.searchsorted(known, asked), max(0, len(known) - 1))
    shared = left.with_values(known[at] == asked if len(known) else np.zeros(len(asked))).sums()
    return np.asarray(shared / np.maximum(left.lengths + right.lengths - shared, 1))


def likeness(texts: Sequence[str], pairs: Integers, threshold: float) -> Floats:
    """`shared_words` of pairs, and at least `threshold` where word 3-grams call one a copy of the other.

    Words whose order was changed leave few 3-grams alone, and a sentence put in the middle few words: a
    near copy is either.
    """
    found = shared_words(texts, pairs)
    copies = near_copies(texts, pairs, threshold)
    return np.asarray(np.where(copies, np.maximum(found, threshold), found))
