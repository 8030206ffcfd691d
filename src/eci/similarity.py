"""Each query against its own documents, in float32: cosine of L2-normalised vectors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci import compiled
from eci.ragged import Ragged
from eci.types import Floats, Integers, Vectors

# Of each of the two tiles that pairs are taken into, which the cache of a core holds.
_TILE_BYTES = 1 << 19
_TILES_OF_A_THREAD = 16
# Pairs compared by this process before numba, where it is installed, is worth its second of compiling.
_PAYS = 1 << 24
# Rows made wide at a time.
_WIDENED = 128


def unusable(vectors: NDArray[Any]) -> Integers:
    """Rows of `vectors`, of shape (n, d), that are not finite or have no length."""
    length = lengths(vectors)
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
    for tile, wide in _widened(vectors):
        np.divide(wide, np.sqrt(_squares(wide))[:, None], out=wide)
        made[tile] = wide
    return made


def lengths(vectors: NDArray[Any]) -> Floats:
    """Euclidean lengths of the rows of `vectors`, of shape (n,)."""
    made = np.empty(len(vectors))
    with np.errstate(invalid="ignore", over="ignore"):
        for tile, wide in _widened(vectors):
            made[tile] = np.sqrt(_squares(wide))
    return made


def _widened(vectors: NDArray[Any]) -> Iterator[tuple[slice, Floats]]:
    """Some rows at a time in float64, each time in the same memory."""
    room = np.empty((min(_WIDENED, len(vectors)), vectors.shape[1]))
    for start in range(0, len(vectors), _WIDENED):
        tile = slice(start, min(start + _WIDENED, len(vectors)))
        wide = room[: tile.stop - start]
        wide[:] = vectors[tile]
        yield tile, wide


def _squares(wide: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", wide, wide))


def own_documents(queries: Vectors, documents: Vectors, own: Ragged) -> Ragged:
    """Cosine of each query with each of its own documents.

    A pair's value does not depend on which other pairs are computed beside it, so batches of any
    size give the same numbers. After many pairs numba computes them, where it is installed, to the same bits.

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

    Raises
    ------
    IndexError
        A document is not there.
    """
    chosen, values, pairs = own.values, np.empty(len(own.values), dtype=np.float32), len(own.values)
    # What is taken out below does not look whether an index exists.
    if pairs and not 0 <= chosen.min() <= chosen.max() < len(documents):
        raise IndexError(
            f"own documents lie between 0 and {len(documents) - 1}, got {chosen.min()} … {chosen.max()}"
        )
    rows, dimension = own.rows, documents.shape[1]
    kernel = _faster(queries, documents, own)

    def fill(part: slice) -> None:
        if kernel is not None:
            # Of a mapped file, too.
            left, right = np.asarray(queries), np.asarray(documents)
            asked, shown = (np.ascontiguousarray(each[part], dtype=np.int64) for each in (rows, chosen))
            kernel(left, right, asked, shown, values[part])
            return
        room = np.empty((2, min(_tile(dimension), pairs), dimension), dtype=np.float32)
        for start in range(part.start, part.stop, _tile(dimension)):
            tile = slice(start, min(start + room.shape[1], part.stop))
            left, right = room[:, : tile.stop - start]
            np.take(queries, rows[tile], axis=0, out=left, mode="clip")
            np.take(documents, chosen[tile], axis=0, out=right, mode="clip")
            np.einsum("ij,ij->i", left, right, out=values[tile])

    parts = _parts(pairs, dimension)
    if len(parts) == 1:
        fill(parts[0])
    else:
        # numpy lets go of the interpreter in all three.
        with ThreadPoolExecutor(len(parts)) as crew:
            list(crew.map(fill, parts))
    return own.with_values(values)


class _Compared:
    """By this process."""

    pairs = 0


def _faster(queries: Vectors, documents: Vectors, own: Ragged) -> compiled.Kernel | None:
    """What numba compiled, where it fits and is worth it."""
    _Compared.pairs += len(own.values)
    dimension = documents.shape[1]
    fits = dimension % compiled.BLOCK == 0 and dimension <= compiled.MOST
    fits &= queries.shape == (len(own), dimension)
    fits &= all(side.dtype == np.float32 and side.flags.c_contiguous for side in (queries, documents))
    return compiled.kernel() if fits and _Compared.pairs > _PAYS else None


def _tile(dimension: int) -> int:
    """Pairs taken out at a time."""
    return max(16, _TILE_BYTES // (4 * dimension))


def _parts(pairs: int, dimension: int) -> list[slice]:
    """What each thread does, in whole tiles; what takes no longer than starting threads is one part."""
    tile = _tile(dimension)
    tiles = -(-pairs // tile)
    each = tile * max(1, -(-tiles // max(1, min(_threads(), tiles // _TILES_OF_A_THREAD))))
    return [slice(start, min(start + each, pairs)) for start in range(0, pairs, each)] or [slice(0, 0)]


def _threads() -> int:
    """Cores that this process may use; fewer where OMP_NUM_THREADS says so, as for BLAS."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(told)) if told.isdecimal() and int(told) else cores
