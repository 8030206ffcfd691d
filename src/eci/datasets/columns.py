"""Arithmetic on Arrow list columns: rows of documents opened, filtered, mixed and closed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.fields import is_list, listed
from eci.errors import DataError
from eci.examples import ROWS, joined
from eci.types import Flags, Integers

# Small batches are joined up to here.
_JOINED_BYTES = 32_000_000


@dataclass(frozen=True)
class Documents:
    """The documents of B rows: how many each row has, and their fields one after the other.

    Parameters
    ----------
    lengths : ndarray of shape (B,)
        Documents per row.
    fields : mapping of str to Array of shape (n,)
        Columns over all documents, such as ``text`` and ``score``; what is missing is null.
    """

    lengths: Integers
    fields: Mapping[str, pa.Array]

    @classmethod
    def of(cls, column: pa.ListArray) -> Documents:
        """Open a list of records."""
        leaf = column.flatten()
        names = [field.name for field in leaf.type]
        return cls(lengths_of(column), dict(zip(names, leaf.flatten(), strict=True)))

    def __len__(self) -> int:
        return int(self.lengths.sum())

    @property
    def rows(self) -> Integers:
        """The row of each document, of shape (n,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def starts(self) -> Integers:
        """Index of the first document of each row, of shape (B,)."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def shown(self) -> pa.Array:
        """What an encoder sees of each document: title and text in one."""
        return joined(self.fields["title"], self.fields["text"])

    def keep(self, mask: Flags) -> Documents:
        """The documents for which `mask`, of shape (n,), is true."""
        lengths = np.bincount(self.rows[mask], minlength=len(self.lengths))
        chosen = pa.array(mask)
        return Documents(lengths, {name: column.filter(chosen) for name, column in self.fields.items()})

    def lists(self, values: pa.Array) -> pa.ListArray:
        """Close a column over all documents to one list per row."""
        return listed(self.lengths, values)

    def complete(self, values: pa.Array) -> tuple[pa.ListArray, int]:
        """Lists of the rows whose values are all there, null for others, and how many values fell away."""
        present = values.is_valid().to_numpy(zero_copy_only=False)
        known = np.bincount(self.rows[present], minlength=len(self.lengths))
        broken = (known < self.lengths) | (self.lengths == 0)
        column = pc.if_else(pa.array(~broken), self.lists(values), None)
        return column, int(known[broken].sum())

    def records(self, type_: pa.StructType) -> pa.ListArray:
        """Close all fields to lists of records of `type_`; fields that are not here are null."""
        leaves = [
            self.fields[field.name].cast(field.type)
            if field.name in self.fields
            else pa.nulls(len(self), field.type)
            for field in type_
        ]
        return self.lists(pa.StructArray.from_arrays(leaves, fields=list(type_)))


def lengths_of(column: pa.ListArray) -> Integers:
    """Entries of each list, of shape (B,); 0 for null."""
    return np.asarray(pc.list_value_length(column).fill_null(0), dtype=np.int64)


def untitled(title: pa.Array) -> pa.Array:
    """Titles with null for the empty ones, so that there is one way to have no title."""
    return pc.if_else(pc.equal(title, ""), None, title) if title.null_count < len(title) else title


def spread(lists: pa.ListArray | None, lengths: Integers, type_: pa.DataType) -> pa.Array:
    """The entries of lists that are either null or as long as `lengths` says, null where they are null."""
    if lists is None:
        return pa.nulls(int(lengths.sum()), type_)
    if not lists.null_count:
        return lists.flatten()
    filled = np.repeat(np.asarray(lists.is_valid()), lengths)
    places = np.where(filled, np.cumsum(filled) - 1, 0)
    return lists.flatten().take(pa.array(places, mask=~filled))


def in_parts(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of about so many rows and never more; of fewer where their texts are long."""
    held: list[pa.RecordBatch] = []
    number = size = 0
    for batch in batches:
        for start in range(0, len(batch), rows):
            part = batch.slice(start, rows)
            if number + len(part) > rows or size > _JOINED_BYTES:
                yield from _joined(held)
                held, number, size = [], 0, 0
            held.append(part)
            number, size = number + len(part), size + part.nbytes
    yield from _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    if len(batches) < 2:
        yield from batches
    else:
        yield from pa.Table.from_batches(batches).combine_chunks().to_batches()


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """Rows in one batch.

    Raises
    ------
    DataError
        A column has more text than one batch can hold.
    """
    batches = table.combine_chunks().to_batches()
    if len(batches) > 1:
        raise DataError(
            f"{len(table):,} rows hold more than 2 GiB of text, too much at once. Merge them in parts."
        )
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=ROWS)


def together(first: Documents, second: Documents) -> tuple[Integers, Integers]:
    """Order in which two columns of documents, one after the other, become one: row by row, `first` first.

    Returns
    -------
    order : ndarray of shape (n1 + n2,)
    lengths : ndarray of shape (B,)
    """
    order = np.argsort(np.concatenate([first.rows, second.rows]), kind="stable")
    return order, first.lengths + second.lengths


def repeated(value: str | None, size: int) -> pa.Array:
    """One text, `size` times."""
    return pa.array([value], pa.string()).take(pa.array(np.zeros(size, dtype=np.int64)))


def to_python(array: pa.Array) -> list[Any]:
    """Python values of an Arrow column, column by column; keys of records that are null are left out."""
    type_ = array.type
    if pa.types.is_map(type_):
        return [None if pairs is None else dict(pairs) for pairs in array.to_pylist()]
    if pa.types.is_struct(type_):
        names = [field.name for field in type_]
        columns = [to_python(child) for child in array.flatten()] or [[None] * len(array)]
        names = names or [""]
        filled = [
            [(name, v) for name, v in zip(names, row, strict=True) if v is not None]
            for row in zip(*columns, strict=True)
        ]
        there = array.is_valid().to_pylist()
        return [dict(row) if present else None for row, present in zip(filled, there, strict=True)]
    if not is_list(type_):
        return list(array.to_pylist())
    leaf = to_python(array.flatten())
    ends = np.cumsum(lengths_of(array)).tolist()
    starts = [0, *ends][: len(ends)]
    lists = [leaf[start:end] for start, end in zip(starts, ends, strict=True)]
    if array.null_count:
        return [
            row if there else None for row, there in zip(lists, array.is_valid().to_pylist(), strict=True)
        ]
    return list(lists)


def dumped(rows: list[dict[str, Any]]) -> pa.Array:
    """JSON objects as texts, null for empty ones."""
    return pa.array([orjson.dumps(row, default=str).decode() if row else None for row in rows], pa.string())


def loaded(column: pa.Array) -> list[dict[str, Any]]:
    """The other way round: an empty dict for null."""
    if column.null_count == len(column):
        return [{}] * len(column)
    return [{} if text is None else orjson.loads(text) for text in column.to_pylist()]
