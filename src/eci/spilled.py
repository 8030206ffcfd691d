"""Numbers on disk, mapped into memory.

What is mapped from a file is no memory of one's own: where memory is short the system drops it, and reads it
again.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from eci.errors import OutputError

# Numbers looked at in one go: what passes through memory is small beside what is on disk.
TILE = 1 << 17
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def mapped(length: int, dtype: DTypeLike) -> NDArray[Any]:
    """Zeros of shape (length,) in a file without a name, which is gone when nobody holds them.

    Raises
    ------
    OutputError
        The disk for temporary files is full.
    """
    if not length:
        return np.empty(0, dtype)
    with TemporaryFile(prefix="eci-") as file:
        with told_if_full():
            _reserve(file, length * np.dtype(dtype).itemsize)
        return np.asarray(np.memmap(file, dtype, "r+", shape=(length,)))


class Column:
    """Numbers of one kind in the order in which they come, in a file without a name that goes with them.

    Parameters
    ----------
    dtype : dtype

    Examples
    --------
    >>> column = Column(np.int32)
    >>> column.add(np.array([3, 1]))
    >>> column.add(np.array([2]))
    >>> column.done().tolist()
    [3, 1, 2]
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype, self._count = np.dtype(dtype), 0
        self._file: IO[bytes] = TemporaryFile(prefix="eci-")  # noqa: SIM115  closed by `done`
        self._close = weakref.finalize(self, closed, self._file)

    def __len__(self) -> int:
        return self._count

    def add(self, values: NDArray[Any]) -> None:
        """Append numbers of shape (n,).

        Raises
        ------
        OutputError
            There is no room for them.
        """
        self._count += len(values)
        with told_if_full():
            self._file.write(np.ascontiguousarray(values, dtype=self._dtype).data)

    def done(self, *, writable: bool = False) -> NDArray[Any]:
        """All of them, of shape (n,); no more can be added.

        Raises
        ------
        OutputError
            There is no room for them.
        """
        with told_if_full():
            self._file.flush()
        found: NDArray[Any] = np.empty(0, dtype=self._dtype)
        if self._count:
            mapped = np.memmap(self._file, self._dtype, "r+" if writable else "r", shape=(self._count,))
            found = np.asarray(mapped)
        self._close()
        return found


def closed(file: IO[bytes]) -> None:
    """Close a temporary file, full disk or not: what could not be written was told when it was tried."""
    with suppress(OSError):
        file.close()


@contextmanager
def told_if_full() -> Iterator[None]:
    """Say which disk is full, where one is that holds temporary files."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OutputError(
            f"{gettempdir()}: no space left for temporary files. Free some space, or set TMPDIR to a folder "
            "of a larger disk."
        ) from error


def tiles(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Numbers in parts, of shape (up to `TILE`,)."""
    for start in range(0, len(values), TILE):
        yield values[start : start + TILE]


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """The distinct ones of mapped values, rising, in their place: the values themselves are lost.

    Examples
    --------
    >>> column = Column(np.int64)
    >>> column.add(np.array([3, 1, 3, 2]))
    >>> distinct(column.done(writable=True)).tolist()
    [1, 2, 3]
    """
    values.sort()
    kept, before = 0, None
    for part in tiles(values):
        new = np.ones(len(part), dtype=np.bool_)
        new[1:] = part[1:] != part[:-1]
        new[0] = part[0] != before
        before, chosen = part[-1], part[new]
        values[kept : kept + len(chosen)] = chosen
        kept += len(chosen)
    return values[:kept]


def _reserve(file: IO[bytes], size: int) -> None:
    """Have the disk hold so many bytes: without that, a write into a full disk's map ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, TILE):
        file.write(bytes(min(TILE, size - start)))
    file.flush()
