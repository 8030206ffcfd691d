"""What tells ids, texts and files apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eci.types import Integers


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


def keys_of(batch: pa.RecordBatch) -> pa.Array:
    """What the rows of a query have in common: its id or, without one, its text."""
    ids, texts = batch.column("query_id"), batch.column("query")
    by_text = pc.binary_join_element_wise("text", texts, ":")
    return (
        by_text
        if ids.null_count == len(ids)
        else pc.coalesce(pc.binary_join_element_wise("id", ids, ":"), by_text)
    )


def codes(keys: pa.Array) -> Integers:
    """Number of each key, in the order in which they occur first."""
    return np.asarray(keys.dictionary_encode().indices.to_numpy(zero_copy_only=False), dtype=np.int64)


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
