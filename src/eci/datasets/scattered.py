"""Rows of a query that stand apart, brought together through temporary files by parts of the queries."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eci.datasets.collection import Collection
from eci.datasets.columns import Documents, in_parts, one_batch
from eci.datasets.identity import codes, hashes, keys_of
from eci.examples import NEGATIVE, POSITIVE, ROWS
from eci.seen import Seen
from eci.types import Flags

try:
    import resource
except ImportError:  # Windows, where 500 files may be open
    resource = None  # type: ignore[assignment]

BUCKET_BYTES = 32_000_000
# A process may have few files open, 1,024 on most machines. One with too much in it is read in several goes.
_MOST_BUCKETS = 500
# Rows that are sorted into buckets in one go: each piece of a file has a header of its own.
_SORTED = 1 << 14
_SIDES = {"positives": POSITIVE, "negatives": NEGATIVE}

# The documents that rows name by id, if they do; asked for once the rows have been gone through.
Corpus: TypeAlias = Callable[[], Collection | None]


class Spread:
    """Learns, batch by batch, whether the rows of each query stand together."""

    def __init__(self) -> None:
        self._seen, self._last = Seen(), np.int64(0)
        self._scattered, self._size = False, 0

    def add(self, batch: pa.RecordBatch) -> None:
        """The next rows."""
        self._size += batch.nbytes
        keys = hashes(keys_of(batch))
        starts = keys[np.flatnonzero(np.diff(keys, prepend=~keys[0]))]
        if starts[0] == self._last:
            starts = starts[1:]
        if len(starts):
            known, _ = self._seen.add(starts, np.zeros_like(starts))
            self._scattered |= bool(known.any()) or len(np.unique(starts)) < len(starts)
            self._last = starts[-1]

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return len(self._seen)

    @property
    def scattered(self) -> int | None:
        """The bytes of all rows if those of some query stand apart, else None."""
        return self._size if self._scattered else None


def together(
    rows: Iterable[pa.RecordBatch],
    scattered: int | None,
    folder: Path,
    queries: int,
    bucket_bytes: int = BUCKET_BYTES,
    corpus: Corpus | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> tuple[Callable[[], Iterator[pa.Table]], str | None]:
    """Rows as they are, in tables that hold all rows of each of their queries; see `grouping.grouped`.

    Parameters
    ----------
    rows, folder, bucket_bytes, corpus
    scattered : int, optional
        What `Spread` found.
    queries : int
        In a table that comes out of temporary files.
    told : callable, optional
        Told how many rows are in temporary files, now and then.

    Returns
    -------
    pieces : callable
        Every call starts a new pass.
    note : str or None
    """
    if scattered is None:
        return lambda: _in_passing(rows), None
    number = min(max(2, -(-scattered // bucket_bytes)), _MOST_BUCKETS, _openable())
    texts = _Texts(corpus)
    buckets = _scatter(map(texts.without, rows), folder, number, told)

    def pieces() -> Iterator[pa.Table]:
        for path, size in buckets.items():
            parts = max(1, round(size / bucket_bytes))
            for part in range(parts):
                yield from map(texts.back, _cut(_part(path, number, part, parts), queries))

    return pieces, "the rows of a query are not adjacent: they were brought together, in another order"


def _openable() -> int:
    """How many files may be open at once, with as many left for others."""
    if resource is None:
        return _MOST_BUCKETS
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_BUCKETS if most == resource.RLIM_INFINITY else max(2, most // 2)


class _Texts:
    """Takes texts out of rows that are in memory anyway, by id, and puts them back."""

    def __init__(self, corpus: Corpus | None) -> None:
        self._corpus = corpus

    def without(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows whose documents lack title and text where those of their id are the same."""
        corpus = self._corpus() if self._corpus else None
        if corpus is None:
            return batch
        return _changed(batch, lambda side: _without(side, corpus))

    def back(self, table: pa.Table) -> pa.Table:
        """What `without` was given."""
        corpus = self._corpus() if self._corpus else None
        if corpus is None:
            return table
        return pa.Table.from_batches([_changed(one_batch(table), lambda side: _with(side, corpus))])


def _changed(batch: pa.RecordBatch, change: Callable[[Documents], Documents]) -> pa.RecordBatch:
    columns = {name: batch.column(name) for name in ROWS.names}
    for name, kind in _SIDES.items():
        columns[name] = change(Documents.of(columns[name])).records(kind)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=ROWS)


def _without(side: Documents, corpus: Collection) -> Documents:
    at = corpus.find(side.fields["id"])
    named = pa.array(np.maximum(at, 0), mask=at < 0)
    same = at >= 0
    for name, column in (("title", corpus.titles), ("text", corpus.texts)):
        same &= _equal(side.fields[name], column.take(named).cast(pa.string()))
    # Taken: what `if_else` gives has room for the texts that are left out.
    there = pa.array(np.arange(len(same)), mask=same)
    fields = {name: side.fields[name].take(there) for name in ("title", "text")}
    return Documents(side.lengths, {**side.fields, **fields})


def _with(side: Documents, corpus: Collection) -> Documents:
    left_out = side.fields["text"].is_null()
    places = corpus.find(pc.if_else(left_out, side.fields["id"], None))
    named = pa.array(np.maximum(places, 0), mask=places < 0)
    fields = {
        name: pc.if_else(left_out, column.take(named).cast(pa.string()), side.fields[name])
        for name, column in (("title", corpus.titles), ("text", corpus.texts))
    }
    return Documents(side.lengths, {**side.fields, **fields})


def _equal(first: pa.Array, second: pa.Array) -> Flags:
    """Where two columns say the same; null is null."""
    same = pc.fill_null(pc.equal(first, second), False)
    return np.asarray(pc.or_(same, pc.and_(first.is_null(), second.is_null())))


def _in_passing(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    # The rows so far of the query that came last.
    held: list[pa.RecordBatch] = []
    for batch in rows:
        keys = keys_of(batch)
        group = codes(keys)
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
    # To take rows out of a table of many batches is to join them all, each time.
    batch = one_batch(table)
    del table
    group = codes(keys_of(batch))
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(0, group.max(initial=-1) + 1, queries)).tolist()
    for start, end in pairwise([*starts, len(order)]):
        yield pa.Table.from_batches([batch.take(pa.array(order[start:end]))])


def _part(path: Path, buckets: int, part: int, parts: int) -> pa.Table:
    """The rows of a bucket's file that are in one of its parts; the part depends on the query alone."""
    with pa.OSFile(str(path)) as handle, pa.ipc.open_stream(handle) as reader:
        chosen = (batch.filter(pa.array(_drawn(batch) // buckets % parts == part)) for batch in reader)
        return pa.Table.from_batches(reader if parts == 1 else chosen, ROWS)


def _drawn(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """A number of each row that its query decides."""
    keys = keys_of(batch).to_pylist()
    return np.fromiter((zlib.crc32(key.encode()) for key in keys), np.int64, len(keys))


def _scatter(
    rows: Iterable[pa.RecordBatch], folder: Path, number: int, told: Callable[[int], None]
) -> dict[Path, int]:
    """Write each row into the file of its query's bucket, which depends on the query alone.

    Returns the files, each with about how many bytes its rows take in memory.
    """
    folder.mkdir(exist_ok=True)
    sizes, done = np.zeros(number), 0
    paths = [folder / f"bucket-{i}.arrow" for i in range(number)]
    packed = pa.ipc.IpcWriteOptions(compression="lz4")
    writers: list[Any] = []
    sinks: list[Any] = []
    try:
        for path in paths:
            sinks.append(pa.OSFile(str(path), "wb"))
            writers.append(pa.ipc.new_stream(sinks[-1], ROWS, options=packed))
        for batch in in_parts(rows, _SORTED):
            bucket = _drawn(batch) % number
            order = np.argsort(bucket, kind="stable")
            ordered, bounds = batch.take(pa.array(order)), np.searchsorted(bucket[order], range(number + 1))
            sizes += np.diff(bounds) * (ordered.nbytes / max(1, len(ordered)))
            for place in np.flatnonzero(np.diff(bounds)).tolist():
                writers[place].write_batch(ordered.slice(bounds[place], bounds[place + 1] - bounds[place]))
            done += len(batch)
            told(done)
    finally:
        for opened in (*writers, *sinks):
            opened.close()
    return dict(zip(paths, sizes.astype(np.int64).tolist(), strict=True))
