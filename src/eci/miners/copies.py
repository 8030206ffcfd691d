"""Near copies of known documents: MinHash over word 3-grams, by datasketch."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from eci.errors import MissingDependency
from eci.lexical import words
from eci.types import Flags, Integers

_PERMUTATIONS = 128
_SHINGLE = 3
_TILE = 1 << 16


def near_copies(texts: Sequence[str], pairs: Integers, threshold: float) -> Flags:
    """Which pairs of texts are near copies of each other.

    Parameters
    ----------
    texts : sequence of str
    pairs : ndarray of shape (n, 2)
        Indices into `texts`.
    threshold : float
        Jaccard similarity of the sets of word 3-grams, above 0 and up to 1, estimated from 128
        permutations: its standard error at 0.8 is 0.035. Texts of fewer than three words are compared
        by their words.

    Returns
    -------
    ndarray of shape (n,), bool

    Raises
    ------
    MissingDependency
        datasketch is not installed.

    Examples
    --------
    >>> text = "the quick brown fox jumps over the lazy dog"
    >>> near_copies([text, text.upper() + "!", "a slow dog"], np.array([[0, 1], [0, 2]]), 0.8).tolist()
    [True, False]
    """
    numbers: dict[str, int] = {}
    same = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
    used, places = np.unique(same[pairs], return_inverse=True)
    distinct = list(numbers)
    signatures = _signatures([distinct[place] for place in used])
    compared = places.reshape(pairs.shape)
    near = np.empty(len(pairs), dtype=np.bool_)
    for start in range(0, len(pairs), _TILE):
        left, right = compared[start : start + _TILE].T
        near[start : start + _TILE] = (signatures[left] == signatures[right]).mean(axis=1) >= threshold
    return near


def _signatures(texts: Sequence[str]) -> NDArray[np.uint64]:
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise MissingDependency("Finding near copies", "datasketch", "mine") from error
    found = np.empty((len(texts), _PERMUTATIONS), dtype=np.uint64)
    shingled = (_shingles(text) for text in texts)
    for place, sketch in enumerate(MinHash.generator(shingled, num_perm=_PERMUTATIONS, hashfunc=crc32)):
        found[place] = sketch.hashvalues
    return found


def _shingles(text: str) -> list[bytes]:
    found = words(text)
    size = min(_SHINGLE, len(found))
    return list({" ".join(found[at : at + size]).encode() for at in range(len(found) - size + 1)})
