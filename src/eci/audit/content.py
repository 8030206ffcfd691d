"""A digest of rows that does not depend on how they are cut into batches, nor on the file they are in."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.columns import lengths_of


class Content:
    """Takes canonical rows batch by batch; equal digests mean equal rows, value for value, in one order.

    Every level of nesting has running hashes of its own, of what is null, of lengths and of values, so that
    nothing has to be held and no row becomes a Python object.

    Examples
    --------
    >>> whole, parts = Content(), Content()
    >>> batch = pa.RecordBatch.from_pydict({"query": ["a", "bc", None]})
    >>> whole.add(batch)
    >>> parts.add(batch[:1])
    >>> parts.add(batch[1:])
    >>> whole.digest() == parts.digest(), whole.digest() == Content().digest()
    (True, False)
    """

    def __init__(self) -> None:
        self._hashes: dict[str, hashlib.blake2b] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in rows."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self._column(name, column)

    def digest(self) -> str:
        """Of all rows so far, 32 hexadecimal digits."""
        told = hashlib.blake2b(digest_size=16)
        for name, own in sorted(self._hashes.items()):
            told.update(f"{name}={own.hexdigest()};".encode())
        return told.hexdigest()

    def _column(self, name: str, column: pa.Array) -> None:
        self._feed(f"{name}.there", np.asarray(column.is_valid()).astype(np.uint8))
        if pa.types.is_struct(column.type):
            for field, leaf in zip(column.type, column.flatten(), strict=True):
                self._column(f"{name}.{field.name}", leaf)
        elif pa.types.is_list(column.type):
            self._feed(f"{name}.lengths", lengths_of(column))
            self._column(f"{name}[]", column.flatten())
        elif pa.types.is_string(column.type):
            filled = pc.cast(column.fill_null(""), pa.binary())
            lengths = np.asarray(pc.binary_length(filled), dtype=np.int64)
            self._feed(f"{name}.lengths", lengths)
            if lengths.any():
                _, offsets, values = filled.buffers()
                first = int(np.frombuffer(offsets, np.int32)[filled.offset])
                text = np.frombuffer(values, np.uint8)[first : first + int(lengths.sum())]
                self._feed(f"{name}.text", text)
        else:
            self._feed(name, np.ascontiguousarray(column.fill_null(0).to_numpy(zero_copy_only=False)))

    def _feed(self, name: str, values: np.ndarray) -> None:
        self._hashes.setdefault(name, hashlib.blake2b(digest_size=16)).update(values.data)
