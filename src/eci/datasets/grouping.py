"""Rows that share a query become one: for a batch, and for streams that do not fit into memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eci.datasets.agreed import agreed
from eci.datasets.columns import Documents, one_batch
from eci.datasets.identity import codes, keys_of
from eci.datasets.scattered import BUCKET_BYTES, Corpus, Spread, together
from eci.errors import DataError
from eci.examples import NEGATIVE, POSITIVE, ROWS
from eci.types import Integers, Progress, silent

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
    batch = rows if isinstance(rows, pa.RecordBatch) else one_batch(rows)
    group = codes(keys_of(batch))
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


@dataclass(frozen=True)
class Grouped:
    """Rows, each of them a query.

    Parameters
    ----------
    pieces : callable
        Tables of rows as they are, which hold all rows of each of their queries; anew with every call.
    note : str, optional
        Says so, where the order of the queries changes.
    queries : int
        How many there are.
    """

    pieces: Callable[[], Iterator[pa.Table]]
    note: str | None
    queries: int

    def batches(self, losses: Counter[str]) -> Iterator[pa.RecordBatch]:
        """A new pass over the rows, which counts what is lost on the way."""
        for piece in self.pieces():
            yield _counting(one_batch(piece), losses)

    def agreed(self, losses: Counter[str]) -> Iterator[pa.RecordBatch]:
        """The same, with a column ``agreed`` more; see `agreed.agreed`."""
        for piece in self.pieces():
            rows = one_batch(piece)
            merged = _counting(rows, losses)
            yield merged.append_column("agreed", agreed(rows, merged))


def grouped(
    rows: Iterable[pa.RecordBatch],
    folder: Path,
    batch_rows: int,
    *,
    bucket_bytes: int = BUCKET_BYTES,
    corpus: Corpus | None = None,
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
    corpus : callable, optional
        `Rows.corpus` of the rows: what they name by id is not written to temporary files.
    progress : Progress
        Of the passes before the first batch comes out.
    """
    spread, done = Spread(), 0
    for batch in rows:
        spread.add(batch)
        done += len(batch)
        progress("rows read", done, 0)

    def told(written: int) -> None:
        if written < done:
            progress("rows brought together", written, done)

    pieces, note = together(rows, spread.scattered, folder, batch_rows, bucket_bytes, corpus, told)
    return Grouped(pieces, note, spread.queries)


def _counting(batch: pa.RecordBatch, losses: Counter[str]) -> pa.RecordBatch:
    """Merge, and count the rows whose ``extra`` is another than the one their query keeps."""
    merged = merge_rows(batch)
    if batch.column("extra").null_count < len(batch):
        kept = merged.column("extra").take(pa.array(codes(keys_of(batch))))
        lost = int(pc.sum(pc.not_equal(batch.column("extra"), kept)).as_py() or 0)
        losses.update({"extra of further rows of a query": lost} if lost else {})
    return merged


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


def _first_filled(extra: pa.Array, group: Integers) -> pa.Array:
    filled = np.flatnonzero(np.asarray(extra.is_valid()))
    groups, first = np.unique(group[filled], return_index=True)
    at = np.full(int(group.max()) + 1, -1)
    at[groups] = filled[first]
    return extra.take(pa.array(np.where(at < 0, 0, at), mask=at < 0))
