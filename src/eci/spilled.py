"""Numbers on disk, mapped into memory: their pages are given back when memory is short."""

from __future__ import annotations

import errno
import os
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from eci.errors import OutputError

# Numbers looked at in one go: what passes through memory is small beside what is on disk.
TILE = 1 << 20


def mapped(length: int, dtype: DTypeLike) -> NDArray[Any]:
    """Zeros of shape (length,) in a file without a name, which is gone when nobody holds them.

    Raises
    ------
    OutputError
        The disk for temporary files is full.
    """
    size = length * np.dtype(dtype).itemsize
    if not length:
        return np.empty(0, dtype)
    with TemporaryFile(prefix="eci-") as file:
        _reserve(file, size)
        return np.asarray(np.memmap(file, dtype, "r+", shape=(length,)))


class Column:
    """Numbers that are appended: in memory while they are few, else in a file.

    Parameters
    ----------
    dtype : dtype

    Examples
    --------
    >>> column = Column(np.int64)
    >>> column.add(np.array([3, 1]))
    >>> column.add(np.array([2]))
    >>> column.table().tolist()
    [3, 1, 2]
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self._held, self._length = np.empty(0, dtype), 0

    def __len__(self) -> int:
        return self._length

    def add(self, values: NDArray[Any]) -> None:
        """Append values of shape (n,).

        Raises
        ------
        OutputError
            The disk for temporary files is full.
        """
        end = self._length + len(values)
        if end > len(self._held):
            self._grow(2 * end)
        self._held[self._length : end] = values
        self._length = end

    def table(self) -> NDArray[Any]:
        """All of them, of shape (n,)."""
        return self._held[: self._length]

    def _grow(self, room: int) -> None:
        before = self.table()
        self._held = (np.empty if room <= TILE else mapped)(room, before.dtype)
        for start in range(0, len(before), TILE):
            self._held[start : start + TILE][: len(before) - start] = before[start : start + TILE]


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """The distinct ones of mapped values, rising, in their place: the values themselves are lost.

    Examples
    --------
    >>> column = Column(np.int64)
    >>> column.add(np.array([3, 1, 3, 2]))
    >>> distinct(column.table()).tolist()
    [1, 2, 3]
    """
    values.sort()
    kept, before = 0, None
    for start in range(0, len(values), TILE):
        part = values[start : start + TILE].copy()
        new = np.ones(len(part), dtype=np.bool_)
        new[1:] = part[1:] != part[:-1]
        new[0] = part[0] != before
        before = part[-1]
        chosen = part[new]
        values[kept : kept + len(chosen)] = chosen
        kept += len(chosen)
    return values[:kept]


def _reserve(file: IO[bytes], size: int) -> None:
    """Have the disk hold so many bytes: without that, a write into a full disk's map ends the process."""
    try:
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, TILE):
                file.write(bytes(min(TILE, size - start)))
            file.flush()
    except OSError as error:
        raise _full(error) from error


def _full(error: OSError) -> Exception:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    return OutputError(
        f"{gettempdir()}: no space left for temporary files. Free some space, or set TMPDIR to a folder on "
        "another disk."
    )
