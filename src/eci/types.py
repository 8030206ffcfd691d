"""Protocols that connect the parts, and the array types they speak of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Vectors: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Role: TypeAlias = Literal["query", "document"]


@runtime_checkable
class Encoder(Protocol):
    """What turns texts into vectors; ``sentence_transformers.SentenceTransformer`` is one.

    Both methods take n texts and return an array of shape (n, d). Scale is free: vectors are
    L2-normalised before use.
    """

    def encode_query(self, texts: Sequence[str], /) -> Any:
        """Vectors of queries, of shape (n, d)."""
        ...

    def encode_document(self, texts: Sequence[str], /) -> Any:
        """Vectors of documents, of shape (n, d)."""
        ...


class Progress(Protocol):
    """Told how far a long piece of work is."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """`done` of `total` units of `stage` are finished."""
        ...


def silent(stage: str, done: int, total: int, /) -> None:
    """Tell nobody: the default ``Progress``."""
