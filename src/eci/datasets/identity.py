"""One id, one text: what was seen before, remembered in 16 bytes an id. And which files they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eci.types import Flags


class Seen:
    """64-bit keys with a 64-bit value each, in sorted arrays that are merged when one outgrows the next."""

    def __init__(self) -> None:
        self._levels: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, keys: NDArray[np.int64], values: NDArray[np.int64]) -> tuple[Flags, Flags]:
        """Remember the first value of every key.

        Returns
        -------
        known : ndarray of shape (n,), bool
            Keys that occurred in an earlier call.
        differs : ndarray of shape (n,), bool
            Entries whose value is not the one that their key had first, in this call or before.
        """
        unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        expected, known = values[first], np.zeros(len(unique), dtype=bool)
        for level_keys, level_values in self._levels:
            at = np.minimum(np.searchsorted(level_keys, unique), len(level_keys) - 1)
            hit = level_keys[at] == unique
            expected = np.where(hit, level_values[at], expected)
            known |= hit
        self._push(unique[~known], expected[~known])
        return known[inverse], expected[inverse] != values

    def _push(self, keys: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        while self._levels and len(self._levels[-1][0]) <= 2 * len(keys):
            older_keys, older_values = self._levels.pop()
            keys, values = np.concatenate([older_keys, keys]), np.concatenate([older_values, values])
            order = np.argsort(keys, kind="stable")
            keys, values = keys[order], values[order]
        if len(keys):
            self._levels.append((keys, values))


def hashes(column: pa.Array) -> NDArray[np.int64]:
    """64-bit hashes of texts, of shape (n,), the same within one run of Python only; null gives 0."""
    values: list[Any] = column.to_pylist()
    return np.fromiter((0 if v is None else hash(v) for v in values), np.int64, len(values))


def text_hashes(title: pa.Array, text: pa.Array) -> NDArray[np.int64]:
    """Hashes of documents: of the text where there is no title, of both where there is one."""
    if title.null_count == len(title):
        return hashes(text)
    with np.errstate(over="ignore"):
        return hashes(text) + hashes(title) * np.int64(0x5851F42D4C957F2D)


def holds_query(document: str, query: str) -> bool:
    """Whether a document under its query's own id is the query (ArguAna), or just shares its number."""
    text, asked = (" ".join(each.lower().split()) for each in (document, query))
    return bool(text) and (asked in text or text in asked)


def fingerprint(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Name, size in bytes and SHA-256 of files; of a folder, of all files in it."""
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else (path,))
        if file.is_file()
    ]
    return [
        {"name": path.name, "bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in dict.fromkeys(files)
    ]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
