"""Each query against its own documents, in float32: cosine of L2-normalised vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci.ragged import Ragged
from eci.types import Floats, Integers, Vectors

# Pairs gathered at a time: at d = 768 the two tiles take 768 KiB, which the cache of a core holds. With 4096
# pairs it took more than twice the time.
_TILE = 128


def unusable(vectors: NDArray[Any]) -> Integers:
    """Rows of `vectors`, of shape (n, d), that are not finite or have no length."""
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return np.flatnonzero(~np.isfinite(length) | (length == 0))


def normalise(vectors: NDArray[Any]) -> Vectors:
    """L2-normalised float32 rows.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
        Finite and non-zero rows; see `unusable`.
    """
    # Into float32 as it is made: a table of float64 would take twice the memory of the vectors.
    made = np.empty(vectors.shape, dtype=np.float32)
    np.divide(vectors, lengths(vectors)[:, None], out=made, casting="same_kind")
    return made


def lengths(vectors: NDArray[Any]) -> Floats:
    """Euclidean lengths of the rows of `vectors`, of shape (n,)."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)))


def own_documents(queries: Vectors, documents: Vectors, own: Ragged) -> Ragged:
    """Cosine of each query with each of its own documents.

    A pair's value does not depend on which other pairs are computed beside it, so batches of any
    size give the same numbers.

    Parameters
    ----------
    queries : ndarray of shape (B, d), float32
        L2-normalised.
    documents : ndarray of shape (D, d), float32
        L2-normalised.
    own : Ragged of B rows
        Which documents belong to each query: indices into `documents`.

    Returns
    -------
    Ragged of B rows
        Cosine, -1…1, float32.
    """
    values = np.empty(len(own.values), dtype=np.float32)
    rows = own.rows
    for start in range(0, len(values), _TILE):
        tile = slice(start, start + _TILE)
        np.einsum("ij,ij->i", queries[rows[tile]], documents[own.values[tile]], out=values[tile])
    return own.with_values(values)
