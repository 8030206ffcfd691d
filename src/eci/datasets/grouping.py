"""Rows that share a query become one: for a batch, and for streams that do not fit into memory."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eci.datasets.columns import Documents
from eci.datasets.identity import hashes
from eci.errors import DataError
from eci.examples import NEGATIVE, POSITIVE, ROWS
from eci.seen import Seen
from eci.types import Integers, Progress, silent

BUCKET_BYTES = 64_000_000
_JOINED_BYTES = 32_000_000

# Takes where to count what is lost on the way.
Batches: TypeAlias = Callable[[Counter[str]], Iterator[pa.RecordBatch]]


def merge_rows(rows: pa.RecordBatch | pa.Table) -> pa.RecordBatch:
    """Make the rows of each query one row.

    Rows belong together if they have the same query id or, without one, the same query text. Queries keep
    the order in which they occur first. A positive that occurs again (id, title, text) is dropped; a
    negative is dropped if an earlier *row* of the query has it (source, id, title, text), so that what a
    single row holds twice stays twice.

    Parameters
    ----------
    rows : RecordBatch or Table
        Canonical rows, with the schema ``examples.ROWS``.

    Returns
    -------
    RecordBatch
        One row per query.

    Examples
    --------
    >>> row = {"query": "q", "positives": [{"text": "p"}], "negatives": [{"source": "bm25", "text": "n"}]}
    >>> other = {**row, "negatives": [{"source": "bm25", "text": "m"}]}
    >>> merged = merge_rows(pa.RecordBatch.from_pylist([row, other, row], schema=ROWS))
    >>> [negative["text"] for negative in merged["negatives"][0].as_py()]
    ['n', 'm']
    """
    batch = rows if isinstance(rows, pa.RecordBatch) else _one_batch(rows)
    group = _codes(keys_of(batch))
    if len(batch) == 0:
        return batch
    order = np.argsort(group, kind="stable")
    firsts = pa.array(order[np.flatnonzero(np.diff(group[order], prepend=-1))])
    ordered = batch.take(pa.array(order))
    sides = [
        _merged(
            Documents.of(ordered.column("positives")), group[order], ("id", "title", "text"), within=True
        ),
        _merged(
            Documents.of(ordered.column("negatives")),
            group[order],
            ("source", "id", "title", "text"),
            within=False,
        ),
    ]
    return pa.RecordBatch.from_arrays(
        [
            batch.column("query_id").take(firsts),
            batch.column("query").take(firsts),
            sides[0].records(POSITIVE),
            sides[1].records(NEGATIVE),
            _first_filled(ordered.column("extra"), group[order]),
        ],
        schema=ROWS,
    )


def in_parts(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of about so many rows and never more; of fewer where their texts are long."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        for start in range(0, len(batch), rows):
            part = batch.slice(start, rows)
            if sum(map(len, held)) + len(part) > rows or sum(each.nbytes for each in held) > _JOINED_BYTES:
                yield from _joined(held)
                held = []
            held.append(part)
    yield from _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    if len(batches) < 2:
        yield from batches
    else:
        yield from pa.Table.from_batches(batches).combine_chunks().to_batches()


def require_positives(batch: pa.RecordBatch, where: str) -> None:
    """Refuse queries without a positive.

    Raises
    ------
    DataError
        Names the first such query.
    """
    bare = np.flatnonzero(Documents.of(batch.column("positives")).lengths == 0)
    if len(bare):
        row = int(bare[0])
        name = batch.column("query_id")[row].as_py() or batch.column("query")[row].as_py()
        raise DataError(
            f"{where}: the query '{name[:60]}' has no positive"
            f"{f', nor have {len(bare) - 1:,} more' if len(bare) > 1 else ''}. "
            "Give it one, or remove its rows."
        )


def keys_of(batch: pa.RecordBatch) -> pa.Array:
    """What the rows of a query have in common: its id or, without one, its text."""
    ids, texts = batch.column("query_id"), batch.column("query")
    by_text = pc.binary_join_element_wise("text", texts, ":")
    return (
        by_text
        if ids.null_count == len(ids)
        else pc.coalesce(pc.binary_join_element_wise("id", ids, ":"), by_text)
    )


@dataclass(frozen=True)
class Grouped:
    """Rows, each of them a query.

    Parameters
    ----------
    batches : callable
        Every call starts a new pass.
    note : str, optional
        Says so, where the order of the queries changes.
    queries : int, optional
        How many there are; 0 where nobody knows. None of rows that come as they are.
    """

    batches: Batches
    note: str | None
    queries: int | None


def grouped(
    rows: Iterable[pa.RecordBatch],
    folder: Path,
    batch_rows: int,
    *,
    bucket_bytes: int = BUCKET_BYTES,
    progress: Progress = silent,
) -> Grouped:
    """One row per query, in bounded memory.

    A first pass over hashes of the queries decides: where the rows of each query stand together they are
    merged as they pass by, else through temporary files.

    Parameters
    ----------
    rows : iterable of RecordBatch
        Canonical rows that can be gone through again.
    folder : Path
        A folder for temporary files; the caller removes it.
    batch_rows : int
        Most rows in a batch that comes out of temporary files.
    bucket_bytes : int
        About how much of a temporary file is in memory at once.
    progress : Progress
        Of the first pass.
    """
    spread, done = Spread(), 0
    for batch in rows:
        spread.add(batch)
        done += len(batch)
        progress("rows read", done, 0)
    pieces, note = together(rows, spread.scattered, folder, batch_rows, bucket_bytes)

    def batches(losses: Counter[str]) -> Iterator[pa.RecordBatch]:
        for piece in pieces():
            yield _counting(piece, losses)

    return Grouped(batches, note, spread.queries if spread.scattered is None else 0)


def together(
    rows: Iterable[pa.RecordBatch],
    scattered: int | None,
    folder: Path,
    queries: int,
    bucket_bytes: int = BUCKET_BYTES,
) -> tuple[Callable[[], Iterator[pa.Table]], str | None]:
    """Rows as they are, in tables that hold all rows of each of their queries; see `grouped`.

    Parameters
    ----------
    rows, folder, bucket_bytes
    scattered : int, optional
        What `Spread` found.
    queries : int
        In a table that comes out of temporary files.

    Returns
    -------
    pieces : callable
        Every call starts a new pass.
    note : str or None
    """
    if scattered is None:
        return lambda: _in_passing(rows), None
    buckets = _scatter(rows, folder, max(2, -(-scattered // bucket_bytes)))

    def pieces() -> Iterator[pa.Table]:
        for path in buckets:
            with pa.OSFile(str(path)) as handle, pa.ipc.open_stream(handle) as reader:
                yield from _cut(reader.read_all(), queries)

    return pieces, "the rows of a query are not adjacent: they were brought together, in another order"


def _in_passing(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    # The rows so far of the query that came last.
    held: list[pa.RecordBatch] = []
    for batch in rows:
        keys = keys_of(batch)
        group = _codes(keys)
        others = np.flatnonzero(group != group[-1])
        last = int(others[-1]) + 1 if len(others) else 0
        if last:
            held.append(batch.slice(0, last))
        if held and (last or not keys_of(held[0].slice(0, 1))[0].equals(keys[0])):
            yield pa.Table.from_batches(held)
            held = []
        held.append(batch.slice(last))
    if held:
        yield pa.Table.from_batches(held)


def _cut(table: pa.Table, queries: int) -> Iterator[pa.Table]:
    """The rows of so many queries at a time, in the order in which queries occur first."""
    group = _codes(keys_of(_one_batch(table)))
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(0, group.max(initial=-1) + 1, queries)).tolist()
    for start, end in pairwise([*starts, len(order)]):
        yield table.take(pa.array(order[start:end]))


def _counting(table: pa.Table, losses: Counter[str]) -> pa.RecordBatch:
    """Merge, and count the rows whose ``extra`` is another than the one their query keeps."""
    batch, merged = _one_batch(table), merge_rows(table)
    if batch.column("extra").null_count < len(batch):
        kept = merged.column("extra").take(pa.array(_codes(keys_of(batch))))
        lost = int(pc.sum(pc.not_equal(batch.column("extra"), kept)).as_py() or 0)
        losses.update({"extra of further rows of a query": lost} if lost else {})
    return merged


class Spread:
    """Learns, batch by batch, whether the rows of each query stand together."""

    def __init__(self) -> None:
        self._seen, self._last = Seen(), np.int64(0)
        self._scattered, self._size = False, 0

    def add(self, batch: pa.RecordBatch) -> None:
        """The next rows."""
        self._size += batch.nbytes
        if self._scattered:
            return
        keys = hashes(keys_of(batch))
        starts = keys[np.flatnonzero(np.diff(keys, prepend=~keys[0]))]
        if starts[0] == self._last:
            starts = starts[1:]
        if len(starts):
            known, _ = self._seen.add(starts, np.zeros_like(starts))
            self._scattered = bool(known.any()) or len(np.unique(starts)) < len(starts)
            self._last = starts[-1]

    @property
    def queries(self) -> int:
        """How many queries there are, as far as rows of each stand together."""
        return len(self._seen)

    @property
    def scattered(self) -> int | None:
        """The bytes of all rows if those of some query stand apart, else None."""
        return self._size if self._scattered else None


def _scatter(rows: Iterable[pa.RecordBatch], folder: Path, number: int) -> list[Path]:
    """Write each row into the file of its query's bucket; the bucket depends on the query alone."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"bucket-{i}.arrow" for i in range(number)]
    writers: list[Any] = []
    sinks: list[Any] = []
    try:
        for path in paths:
            sinks.append(pa.OSFile(str(path), "wb"))
            writers.append(pa.ipc.new_stream(sinks[-1], ROWS))
        for batch in rows:
            codes = np.array([zlib.crc32(key.encode()) % number for key in keys_of(batch).to_pylist()])
            for code in np.unique(codes):
                writers[code].write_batch(batch.filter(pa.array(codes == code)))
    finally:
        for opened in (*writers, *sinks):
            opened.close()
    return paths


def _merged(side: Documents, group: Integers, names: tuple[str, ...], within: bool) -> Documents:
    """Documents of rows sorted by group, as one row per group, without what is there already."""
    rows = side.rows
    code = group[rows].astype(np.int64)
    for name in names:
        code = _pairs(code, side.fields[name])
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    origin = first if within else rows[first]
    keep = (np.arange(len(rows)) if within else rows) == origin[inverse]
    kept = side.keep(keep)
    lengths = np.bincount(group, weights=kept.lengths).astype(np.int64)
    return Documents(lengths, kept.fields)


def _pairs(code: NDArray[np.int64], column: pa.Array) -> NDArray[np.int64]:
    if column.null_count == len(column):
        return code
    values = column.dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False)
    width = int(values.max(initial=0)) + 1
    return np.unique(code * width + values, return_inverse=True)[1].astype(np.int64)


def _codes(keys: pa.Array) -> Integers:
    """Number of each key, in the order in which they occur first."""
    return np.asarray(keys.dictionary_encode().indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _first_filled(extra: pa.Array, group: Integers) -> pa.Array:
    filled = np.flatnonzero(np.asarray(extra.is_valid()))
    groups, first = np.unique(group[filled], return_index=True)
    at = np.full(int(group.max()) + 1, -1)
    at[groups] = filled[first]
    return extra.take(pa.array(np.where(at < 0, 0, at), mask=at < 0))


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    if len(batches) > 1:
        raise DataError(
            f"{len(table):,} rows hold more than 2 GiB of text, too much at once. Merge them in parts."
        )
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=ROWS)
