"""Chunks of a file as canonical batches, checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from eci.datasets.chunks import Chunk, Shape
from eci.datasets.columns import Documents, dumped, loaded, together, untitled
from eci.datasets.fields import Column
from eci.datasets.files import Input
from eci.datasets.identity import hashes, text_hashes
from eci.datasets.layouts import Layout, bind, detect
from eci.datasets.parts import Context, Parts, RowProblem
from eci.datasets.rows import Journal, ReadOptions
from eci.datasets.wording import is_json
from eci.errors import DataError, LayoutError
from eci.examples import NEGATIVE, POSITIVE, ROWS, is_label
from eci.seen import Seen


@dataclass(frozen=True)
class Placed:
    """Canonical rows and where they come from."""

    rows: pa.RecordBatch
    chunk: Chunk


def converted(
    each: Input, layout: Layout, context: Context, options: ReadOptions, journal: Journal
) -> Iterator[Placed]:
    """The rows of an input in canonical batches.

    Raises
    ------
    DataError
        A value does not fit its key, or a query of a list layout has no positive.
    LayoutError
        A row has another layout than `layout`.
    """
    columns: tuple[Column, ...] = ()
    shape: Shape = {}
    known: set[tuple[str, ...]] = set()
    for chunk in each.chunks(options.batch_rows):
        if not columns:
            found, columns = bound(chunk, options.layout)
            shape = chunk.shape(0)
            if found is not layout:
                raise _mixed(chunk.place(0), found, layout)
        for index, keys in chunk.key_sets():
            if keys not in known:
                _same_layout(chunk, index, layout)
                known.add(keys)
                shape = {
                    **shape,
                    **{
                        key: held
                        for key, held in chunk.shape(index).items()
                        if shape.get(key, "null") == "null"
                    },
                }
                columns = layout.bind(shape) or columns
        yield Placed(_convert(chunk, layout, columns, context, journal), chunk)


def _convert(
    chunk: Chunk, layout: Layout, columns: tuple[Column, ...], context: Context, journal: Journal
) -> pa.RecordBatch:
    read_columns = chunk.read(columns, journal.strangers)
    try:
        parts = layout.to_canonical(read_columns, context)
    except RowProblem as found:
        raise found.kind(f"{chunk.place(found.row)}: {found.words}") from None
    if not layout.flat and (bare := np.flatnonzero(parts.positives.lengths == 0)).size:
        row = int(bare[0])
        raise DataError(
            f"{chunk.place(row)}: the query {_shown(parts, row)} has no positive. "
            "Give it one, or remove the row."
        )
    _refuse_labels(chunk, parts.negatives)
    extra = _extra(chunk, layout, columns, parts, read_columns.get("extra"), journal)
    query_id = pa.nulls(len(chunk), pa.string()) if parts.query_id is None else parts.query_id
    return pa.RecordBatch.from_arrays(
        [
            query_id,
            parts.query,
            _closed(parts.positives, POSITIVE),
            _closed(parts.negatives, NEGATIVE),
            extra,
        ],
        schema=ROWS,
    )


def _refuse_labels(chunk: Chunk, negatives: Documents) -> None:
    source = negatives.fields["source"]
    for label in source.unique().to_pylist():
        if label is not None and not is_label(label):
            place = negatives.rows[int(source.index(label).as_py())]
            raise DataError(
                f"{chunk.place(place)}: the source {label!r} is empty or holds characters that do not print. "
                "Rename it; a source that the rows do not name is named with --source."
            )


def _extra(
    chunk: Chunk,
    layout: Layout,
    columns: tuple[Column, ...],
    parts: Parts,
    own: pa.Array | None,
    journal: Journal,
) -> pa.Array:
    rest, unread = chunk.rest({column.name for column in columns})
    journal.strangers.update(dict.fromkeys(unread, len(chunk)))
    if rest is None and not parts.extra:
        return pa.nulls(len(chunk), pa.string()) if own is None else own
    for row in rest or ():
        journal.kept.update(key for key in row if key not in layout.keeps)
    empty: list[dict[str, Any]] = [{}] * len(chunk)
    every = (empty if own is None else loaded(own), rest or empty, parts.extra or empty)
    try:
        return dumped([{**first, **second, **third} for first, second, third in zip(*every, strict=True)])
    except TypeError:
        raise _unwritable(chunk, rest or empty) from None


def _unwritable(chunk: Chunk, rest: list[dict[str, Any]]) -> DataError:
    for index, row in enumerate(rest):
        for key, value in row.items():
            if not is_json({key: value}):
                place = chunk.place(index)
                return DataError(f"{place}: {key!r} holds a number or character that JSON cannot. Remove it.")
    return DataError(f"{chunk.place(0)}: the keys without a column cannot be kept as JSON. Remove them.")


def _closed(documents: Any, type_: pa.StructType) -> pa.ListArray:
    fields = dict(documents.fields)
    if "title" in fields:
        fields["title"] = untitled(fields["title"])
    return replace(documents, fields=fields).records(type_)


class Identities:
    """Refuses a query id or document id that has two different texts."""

    def __init__(self, layout: Layout) -> None:
        # A corpus was checked when it was loaded.
        self._documents = None if "corpus" in layout.by_id else Seen()
        self._queries = None if "queries" in layout.by_id else Seen()

    def check(self, placed: Placed) -> None:
        """Compare the ids of a batch with each other and with all that came before."""
        rows = placed.rows
        if self._queries is not None:
            ids = rows.column("query_id")
            self._compare(
                self._queries, "query", ids, hashes(rows.column("query")), np.arange(len(rows)), placed.chunk
            )
        if self._documents is None:
            return
        sides = [Documents.of(rows.column(name)) for name in ("positives", "negatives")]
        ids, titles, texts = (pa.concat_arrays([s.fields[n] for s in sides]) for n in ("id", "title", "text"))
        if ids.null_count < len(ids):
            # Row by row, so that the place in the message is the one that comes later in the file.
            order, lengths = together(*sides)
            owner = np.repeat(np.arange(len(rows)), lengths)
            hashed = text_hashes(titles, texts)[order]
            self._compare(self._documents, "document", ids.take(pa.array(order)), hashed, owner, placed.chunk)

    @staticmethod
    def _compare(seen: Seen, what: str, ids: pa.Array, texts: Any, rows: Any, chunk: Chunk) -> None:
        there = np.flatnonzero(np.asarray(ids.is_valid()))
        if not len(there):
            return
        _, differs = seen.add(hashes(ids)[there], texts[there])
        if differs.any():
            at = int(there[np.flatnonzero(differs)[0]])
            raise DataError(
                f"{chunk.place(int(rows[at]))}: the {what} id '{ids[at]}' has another text here than where "
                "it occurs first. One id, one text: correct the id."
            )


def bound(chunk: Chunk, name: str | None) -> tuple[Layout, tuple[Column, ...]]:
    """The layout and the columns of the first row of a chunk."""
    first = chunk.shape(0)
    place = f"{chunk.where}:1" if chunk.cells else chunk.place(0)
    if name is None and "null" in first.values():
        # A null in the first row tells nothing about its column; the other rows may.
        first = {key: chunk.shape()[key] if held == "null" else held for key, held in first.items()}
    return bind(first, place, name)


def _same_layout(chunk: Chunk, row: int, layout: Layout) -> None:
    found = detect(chunk.shape(row))
    if found is not None and found[0] is not layout and layout.bind(chunk.shape(row)) is None:
        raise _mixed(chunk.place(row), found[0], layout)


def _mixed(place: str, found: Layout, layout: Layout) -> LayoutError:
    return LayoutError(
        f"{place}: this row has layout '{found.name}' ({found.keys}), the rows before have '{layout.name}'. "
        "Put each layout into a run of its own, or convert one to the other with eci convert."
    )


def _shown(parts: Parts, row: int) -> str:
    if parts.query_id is not None and parts.query_id[row].is_valid:
        return f"'{parts.query_id[row]}'"
    text = str(parts.query[row])
    return f"'{text[:60]}…'" if len(text) > 60 else f"'{text}'"
