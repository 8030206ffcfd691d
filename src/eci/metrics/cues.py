"""What the surface of a text shows, whatever it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from unicodedata import category

import numpy as np

from eci.lexical import words
from eci.types import Floats

CUES = ("length", "digits", "punctuation", "type_token")


def cues(texts: Iterable[str]) -> Floats:
    """Surface cues of D texts, of shape (D, len(CUES)).

    Words; digits, and punctuation marks and symbols, as shares of the characters; distinct words over
    words. A text without characters has shares of 0; in one without words nothing repeats, which is 1.

    Examples
    --------
    >>> cues(["To be, or not to be", "19 of 20!", ""]).round(3).tolist()
    [[6.0, 0.0, 0.053, 0.667], [3.0, 0.444, 0.111, 1.0], [0.0, 0.0, 0.0, 1.0]]
    """
    rows = [_cues_of(text) for text in texts]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(CUES))


def _cues_of(text: str) -> tuple[float, float, float, float]:
    found, characters = words(text), max(1, len(text))
    digits = marks = 0
    for character, count in Counter(text).items():
        kind = category(character)
        digits += count * (kind == "Nd")
        marks += count * (kind[0] in "PS")
    distinct = len(set(found)) / len(found) if found else 1.0
    return len(found), digits / characters, marks / characters, distinct
