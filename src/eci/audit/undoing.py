"""The rows that a fix was made of, from what it wrote and its log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eci.atomic import scratch_folder
from eci.audit.changes import Changes
from eci.audit.content import Content
from eci.datasets.reading import read
from eci.datasets.rows import ReadOptions, Rows
from eci.datasets.writing import write
from eci.errors import DataError
from eci.examples import ROWS, shorten

# Rows that eci mine had in a batch, and readers have, while the writer of Parquet still kept batches apart.
_BATCHES = (256, 4096)


@dataclass(frozen=True)
class Undone:
    """What became of undoing a fix.

    Parameters
    ----------
    rows : int
        Rows that were restored.
    same : bool
        Whether what was written is, byte for byte, what was audited.
    equal : bool
        Whether the rows are those that were audited, value for value; they are not where the format of the
        fixed rows cannot hold all that the audited ones had.
    """

    rows: int
    same: bool
    equal: bool

    def told(self) -> str:
        """In words."""
        if self.same:
            return "byte for byte what was audited"
        if self.equal:
            return "the rows that were audited, value for value, in the canonical layout"
        return "every change undone, but some value is not as it was in what was audited"


def undo(log: Path, out: Path) -> Undone:
    """Write the rows as they were before a fix, in the canonical layout.

    Parameters
    ----------
    log : Path
        What the fix wrote beside its output, which must lie there still, unchanged.
    out : Path

    Raises
    ------
    DataError
        The log is not one or not whole, or the fixed rows are not those that it speaks of.
    OutputError
        It cannot be written there.
    """
    changes = Changes.read(log)
    # Not by a method of Path: it fails where a name is too long.
    if not os.path.exists(changes.fixed_path):
        raise DataError(
            f"{log}: speaks of {shorten(changes.fixed)!r}, and there is no such file beside it. Put the log "
            "where the fixed rows are."
        )
    fixed = read([changes.fixed_path], ReadOptions(layout="eci"))
    changes.refuse_others()
    contents: list[Content] = []

    def restored(_: Any) -> Iterator[pa.RecordBatch]:
        contents.append(Content())
        for batch in _rows(fixed, changes):
            contents[-1].add(batch)
            yield batch

    write(Rows("eci", (*fixed.paths, log), restored, 1), out, "eci")
    same = changes.are_original([out])
    if not same and out.suffix == ".parquet" and changes.row_groups:
        same = _regrouped(out, changes.row_groups, changes)
    return Undone(changes.changed, same, same or contents[-1].digest() == changes.content)


def _rows(fixed: Rows, changes: Changes) -> Iterator[pa.RecordBatch]:
    left, start = iter(changes), 0
    change = next(left, None)
    for batch in fixed:
        here, end = [], start + len(batch)
        while change is not None and change["row"] < end:
            here.append(change)
            change = next(left, None)
        yield _restored(batch, start, here, changes.path) if here else batch
        start = end
    if change is not None:
        raise DataError(
            f"{changes.path}: speaks of row {change['row']:,}, and the fixed rows are {start:,}. Give the "
            "log that was written beside them."
        )


def _regrouped(out: Path, sizes: list[int], changes: Changes) -> bool:
    """Cut the rows of a Parquet file into groups of these sizes if that gives the audited bytes."""
    if sum(sizes) != pq.read_metadata(out).num_rows or min(sizes) < 1:
        return False
    with scratch_folder(out) as work:
        made = work / out.name
        for most in (max(sizes), *_BATCHES):
            with pq.ParquetFile(out) as file, pq.ParquetWriter(made, ROWS, compression="zstd") as writer:
                for group in _groups(file, sizes):
                    parts = [
                        group.slice(place, most).combine_chunks() for place in range(0, len(group), most)
                    ]
                    writer.write_table(pa.concat_tables(parts))
            if changes.are_original([made]):
                made.replace(out)
                return True
    return False


def _groups(file: pq.ParquetFile, sizes: list[int]) -> Iterator[pa.Table]:
    """Tables of these sizes, which sum to the rows of the file."""
    batches, held = file.iter_batches(), pa.Table.from_batches([], schema=file.schema_arrow)
    for size in sizes:
        while len(held) < size:
            held = pa.concat_tables([held, pa.Table.from_batches([next(batches)])])
        yield held.slice(0, size).cast(ROWS)
        held = held.slice(size)


def _restored(batch: pa.RecordBatch, start: int, changes: list[dict[str, Any]], log: Path) -> pa.RecordBatch:
    """A batch with its changed rows as they were; the others pass as they are."""
    parts, done = [], 0
    for change in changes:
        place = change["row"] - start
        parts += [batch.slice(done, place - done), _original(batch.slice(place, 1), change, log)]
        done = place + 1
    parts.append(batch.slice(done))
    return pa.Table.from_batches(parts).combine_chunks().to_batches()[0]


def _original(batch: pa.RecordBatch, told: dict[str, Any], log: Path) -> pa.RecordBatch:
    row = batch.to_pylist()[0]
    changes = told["changes"]
    done = [change["done"] for change in changes]
    negatives = row["negatives"][: max(0, len(row["negatives"]) - done.count("demoted"))]
    fits = row["query_id"] == told["query_id"]
    for change in changes:
        fits = fits and change["place"] <= len(negatives)
        negatives.insert(change["place"], change["negative"])
    positives = row["positives"][: max(0, len(row["positives"]) - done.count("relabelled"))]
    whole, reason = {**row, "positives": positives, "negatives": negatives}, None
    try:
        made = pa.RecordBatch.from_pylist([whole], schema=ROWS)
    except (pa.ArrowException, TypeError) as error:
        fits, reason = False, error
    if not fits:
        raise DataError(
            f"{log}: what it says of row {told['row']:,} does not fit the fixed rows. Give the log that was "
            "written beside them, unchanged."
        ) from reason
    return made
