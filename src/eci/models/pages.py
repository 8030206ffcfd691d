"""Pages of an LMDB file, looked at before LMDB follows them: on a damaged one it ends the process.

Of the format of LMDB 0.9 (64 bits): a page begins with its number (8 bytes), has flags at 10 and the ends of
its free space at 12 and 14; from 16 on stand the places of its nodes. A node has a size or the lower half of
a page number (4 bytes), flags or the upper half (2), the length of its key (2), the key, and the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eci.types import Integers

_HEAD, _NODE = 16, 8
_BRANCH, _LEAF, _OVERFLOW, _META = 1, 2, 4, 8
_BIG, _TABLE = 1, 2
_MAGIC = 0xBEEFC0DE
# Bytes into a record of a table: its root, after flags, depth and counts.
_RECORD, _ROOT = 48, 40
_NONE = (1 << 64) - 1
# Pages looked at together; and bytes of a file up to which leaves are looked at, too: it takes 1 s for 1 GB.
_TOGETHER, _MOST_BYTES = 2048, 1 << 28

Pages = NDArray[np.uint8]


class DamagedError(Exception):
    """A page is not what the page above it says; the message tells which."""


def refuse_damaged(path: Path, page: int, transaction: int) -> None:
    """Raise a `DamagedError` if LMDB would lose its way in a file.

    Branches are looked at always, leaves in files of at most 256 MB. The caller holds a transaction, so that
    no other process changes the pages meanwhile.

    Parameters
    ----------
    path : Path
    page : int
        Bytes of a page.
    transaction : int
        Number of the transaction whose pages are looked at.
    """
    number = path.stat().st_size // page
    if number < 2:
        return
    data = np.memmap(path, np.uint8, "r", shape=(number, page))
    roots = next((found for place in (0, 1) if (found := _roots(data[place], transaction))), ())
    leaves = number * page <= _MOST_BYTES
    for root in roots:
        for inner in _walked(data, root, leaves):
            for _ in _walked(data, inner, leaves):
                pass


def _roots(meta: Pages, transaction: int) -> tuple[int, ...]:
    """Of the two tables that a meta page of this transaction names."""
    told = meta.tobytes()
    (magic,) = struct.unpack_from("<I", told, _HEAD)
    tables = _HEAD + 24
    (written,) = struct.unpack_from("<Q", told, tables + 2 * _RECORD + 8)
    if magic != _MAGIC or written != transaction:
        return ()
    found = (struct.unpack_from("<Q", told, tables + place * _RECORD + _ROOT)[0] for place in (0, 1))
    return tuple(root for root in found if root != _NONE)


def _walked(data: Pages, root: int, leaves: bool) -> Iterator[int]:
    """Look at all pages of a tree, level by level; gives the roots of tables that its leaves name."""
    level = np.array([root], dtype=np.int64)
    for _ in range(64):
        below = []
        for start in range(0, len(level), _TOGETHER):
            numbers = level[start : start + _TOGETHER]
            pages = _read(data, numbers)
            kind = _kind(pages, numbers)
            places, row = _nodes(pages, numbers)
            if kind == _BRANCH:
                below.append(_children(pages, places, row))
            else:
                yield from _of_leaves(pages, places, row, data)
        if not below:
            return
        level = np.concatenate(below)
        if not leaves and _kind(_read(data, level[:1]), level[:1]) == _LEAF:
            return
    raise DamagedError("pages name each other in a circle")


def _read(data: Pages, numbers: Integers) -> Pages:
    if numbers.min() < 0 or numbers.max() >= len(data):
        raise DamagedError(f"a page beyond the end is named, {numbers.max()} of {len(data)}")
    return np.asarray(data[numbers])


def _kind(pages: Pages, numbers: Integers) -> int:
    """What all the pages of a level are; LMDB's trees are of one height."""
    own = pages[:, :8].copy().view("<u8").ravel().astype(np.int64)
    flags = _words(pages, 10) & (_BRANCH | _LEAF | _OVERFLOW | _META)
    if (own != numbers).any() or (flags != flags[0]).any() or flags[0] not in (_BRANCH, _LEAF):
        raise DamagedError(f"page {numbers[int(np.argmax((own != numbers) | (flags != flags[0])))]}")
    return int(flags[0])


def _nodes(pages: Pages, numbers: Integers) -> tuple[Integers, Integers]:
    """Where nodes begin in their pages, and in which page each is, of shape (n,)."""
    lower, upper, size = _words(pages, 12), _words(pages, 14), pages.shape[1]
    wrong = (lower < _HEAD) | (lower > upper) | (upper > size) | (lower % 2 != 0)
    if wrong.any():
        raise DamagedError(f"page {numbers[int(np.argmax(wrong))]} has no room that it says it has")
    counts = (lower - _HEAD) // 2
    row = np.repeat(np.arange(len(pages)), counts)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = _at(pages, row, _HEAD + 2 * nth)
    wrong = (places < upper[row]) | (places + _NODE > size)
    if wrong.any():
        raise DamagedError(f"page {numbers[row[int(np.argmax(wrong))]]} has a node outside of it")
    end = places + _NODE + _at(pages, row, places + 6)
    if (end > size).any():
        raise DamagedError(f"page {numbers[row[int(np.argmax(end > size))]]} has a key that is too long")
    return places, row


def _children(pages: Pages, places: Integers, row: Integers) -> Integers:
    low, high, top = (_at(pages, row, places + byte) for byte in (0, 2, 4))
    found: Integers = low | high << 16 | top << 32
    return found


def _of_leaves(pages: Pages, places: Integers, row: Integers, data: Pages) -> Iterator[int]:
    """Look at the data of leaves; gives the roots of tables."""
    size = _at(pages, row, places) | _at(pages, row, places + 2) << 16
    flags, begin = _at(pages, row, places + 4), places + _NODE + _at(pages, row, places + 6)
    big = (flags & _BIG) != 0
    end = begin + np.where(big, 8, size)
    if (end > pages.shape[1]).any() or (flags > 7).any():
        raise DamagedError("a leaf has data that reach out of it")
    for node in np.flatnonzero(big).tolist():
        first = int.from_bytes(pages[row[node], begin[node] : begin[node] + 8].tobytes(), "little")
        last = first + (_HEAD + int(size[node]) - 1) // pages.shape[1]
        if last >= len(data) or not int(_words(data[first : first + 1], 10)[0]) & _OVERFLOW:
            raise DamagedError(f"page {first} does not hold the data that a leaf says it does")
    for node in np.flatnonzero((flags & _TABLE) != 0).tolist():
        told = pages[row[node], begin[node] : end[node]].tobytes()
        root = struct.unpack_from("<Q", told, _ROOT)[0] if len(told) == _RECORD else _NONE - 1
        if root != _NONE:
            yield min(root, 1 << 62)


def _words(pages: Pages, byte: int) -> Integers:
    return pages[:, byte].astype(np.int64) | pages[:, byte + 1].astype(np.int64) << 8


def _at(pages: Pages, row: Integers, byte: Integers) -> Integers:
    if len(byte) and byte.max() + 1 >= pages.shape[1]:
        raise DamagedError("a node is outside of its page")
    return pages[row, byte].astype(np.int64) | pages[row, byte + 1].astype(np.int64) << 8
