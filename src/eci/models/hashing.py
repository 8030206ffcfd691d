"""An encoder without weights: words hashed into a fixed number of dimensions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from eci.lexical import words
from eci.types import Vectors


class HashingEncoder:
    """Bag of hashed words and their prefixes. For tests and for trying commands out; not a retriever.

    Parameters
    ----------
    dimension : int
        Length of the vectors.
    """

    def __init__(self, dimension: int = 256) -> None:
        self.dimension = dimension

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (n, dimension), L2-normalised."""
        return np.stack([self._vector(text) for text in texts])

    encode_document = encode_query

    def describe(self) -> dict[str, Any]:
        """Name and settings, for the result."""
        return {"name": f"hashing-{self.dimension}", "dimension": self.dimension, "precision": "float32"}

    def _vector(self, text: str) -> Vectors:
        vector = np.zeros(self.dimension, dtype=np.float32)
        # A constant first word: no text, not even an empty one, has a zero vector.
        for word in ["", *words(text)]:
            for feature in {word, word[:4]}:
                place, sign = _bucket(feature, self.dimension)
                vector[place] += sign
        length = np.linalg.norm(vector)
        if length == 0:
            vector[0] = 1.0
            return vector
        return np.asarray(vector / length, dtype=np.float32)


@lru_cache(maxsize=100_000)
def _bucket(feature: str, dimension: int) -> tuple[int, float]:
    number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "big")
    return number % dimension, 1.0 if number >> 63 else -1.0
