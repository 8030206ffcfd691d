"""Bytes of files, unpacked, in pieces that are bounded: a small file may unpack to more than any memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from eci.errors import DataError

# Of one line: a row with all its documents. Of a packed file that is read whole: its size tells nothing.
MOST_LINE = 1 << 26
MOST_PACKED = 1 << 30
_PIECE = 1 << 24


def opened(path: Path) -> IO[bytes]:
    """A file in bytes, unpacked if it is gzipped."""
    try:
        return cast(IO[bytes], _Unpacked(path) if _is_packed(path) else path.open("rb"))
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}.") from error


def lines_of(handle: IO[bytes], path: Path) -> Iterator[bytes]:
    """Lines with their ends, as a loop over the file gives them.

    Raises
    ------
    DataError
        A line has more than `MOST_LINE` bytes.
    """
    number = 0
    while line := handle.readline(MOST_LINE + 1):
        number += 1
        if len(line) > MOST_LINE:
            raise DataError(
                f"{path}:{number}: the line has more than {MOST_LINE >> 20} MB. A row is one line: cut "
                "its list of negatives into several rows, or look whether the file is what it claims to be."
            )
        yield line


def whole(path: Path) -> bytes:
    """All bytes of a file.

    Raises
    ------
    DataError
        It is gzipped, and unpacks to more than `MOST_PACKED` bytes.
    """
    with opened(path) as handle:
        if not isinstance(handle, _Unpacked):
            return handle.read()
        pieces, held = [], 0
        while piece := handle.read(_PIECE):
            pieces.append(piece)
            held += len(piece)
            if held > MOST_PACKED:
                raise DataError(
                    f"{path}: unpacks to more than {MOST_PACKED >> 20} MB, which would have to be in "
                    "memory at once. Write JSON lines (.jsonl.gz), or unpack it if you trust it."
                )
        return b"".join(pieces)


def decode(text: bytes, place: str) -> str:
    """UTF-8 bytes as a text."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: not UTF-8: byte 0x{text[error.start]:02x} at position {error.start}. "
            "Convert the file, for instance: iconv -f latin1 -t utf-8."
        ) from None


def _is_packed(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


class _Unpacked(gzip.GzipFile):
    """A gzipped file whose damage is told as what it is."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")

    def read(self, size: int | None = -1) -> bytes:
        return self._whole(lambda: super(_Unpacked, self).read(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._whole(lambda: super(_Unpacked, self).readline(size))

    def _whole(self, get: Callable[[], bytes]) -> bytes:
        try:
            return get()
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(
                f"{self.name}: the gzip data are damaged or cut short. Fetch the file again."
            ) from error
