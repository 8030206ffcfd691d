"""The rows that a fix was made of, from what it wrote and its log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from eci.atomic import scratch_folder
from eci.audit.fixing import LOG
from eci.datasets.identity import fingerprint
from eci.datasets.reading import read
from eci.datasets.rows import ReadOptions, Rows
from eci.datasets.writing import write
from eci.errors import DataError
from eci.examples import ROWS


@dataclass(frozen=True)
class Undone:
    """What became of undoing a fix.

    Parameters
    ----------
    rows : int
        Rows that were restored.
    same : bool
        Whether the file written is, byte for byte, one that was audited.
    """

    rows: int
    same: bool


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
        The log is not one, or the fixed rows are others than it speaks of.
    """
    header, changes = _read(log)
    fixed = read([log.parent / header["fixed"]], ReadOptions(layout="eci"))
    write(Rows("eci", (*fixed.paths, log), lambda _: _rows(fixed, changes, log), 1), out, "eci")
    known = {original["sha256"] for original in header["original"]}
    same = fingerprint([out])[0]["sha256"] in known
    if not same and out.suffix == ".parquet" and header["row_groups"]:
        same = _regrouped(out, header["row_groups"], known)
    return Undone(len(changes), same)


def _rows(fixed: Rows, changes: dict[int, dict[str, Any]], log: Path) -> Iterator[pa.RecordBatch]:
    left, start = dict(changes), 0
    for batch in fixed:
        here = [row for row in range(start, start + len(batch)) if row in left]
        yield _restored(batch, start, {row: left.pop(row) for row in here}) if here else batch
        start += len(batch)
    if left:
        raise DataError(f"{log}: speaks of row {min(left)}, and the fixed rows are {start:,}.")


def _regrouped(out: Path, sizes: list[int], known: set[str]) -> bool:
    """Cut the rows of a Parquet file into groups of these sizes if that gives the bytes of a known file.

    Bytes also depend on the batches that a group was written of: one, or what readers take at a time.
    """
    with scratch_folder(out) as work:
        made = work / "rows.parquet"
        for most in (max(sizes), ReadOptions().batch_rows):
            with pq.ParquetFile(out) as file, pq.ParquetWriter(made, ROWS, compression="zstd") as writer:
                for group in _groups(file, sizes):
                    parts = [
                        group.slice(place, most).combine_chunks() for place in range(0, len(group), most)
                    ]
                    writer.write_table(pa.concat_tables(parts))
            if fingerprint([made])[0]["sha256"] in known:
                made.replace(out)
                return True
    return False


def _groups(file: pq.ParquetFile, sizes: list[int]) -> Iterator[pa.Table]:
    batches, held = file.iter_batches(), pa.Table.from_batches([], schema=file.schema_arrow)
    for size in sizes:
        while len(held) < size:
            held = pa.concat_tables([held, pa.Table.from_batches([next(batches)])])
        yield held.slice(0, size).cast(ROWS)
        held = held.slice(size)


def _read(log: Path) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    try:
        lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
        header, changes = lines[0], {line["row"]: line for line in lines[1:]}
        known = header["schema"] == LOG
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no log of changes"
        raise DataError(f"{log}: cannot be read: {reason}. Give what eci audit --fix wrote.") from error
    if not known:
        raise DataError(f"{log}: has the schema {header['schema']!r}, expected {LOG!r}.")
    return header, changes


def _restored(batch: pa.RecordBatch, start: int, changes: dict[int, dict[str, Any]]) -> pa.RecordBatch:
    """A batch with its changed rows as they were; the others pass as they are."""
    parts, done = [], 0
    for row, change in changes.items():
        place = row - start
        parts += [batch.slice(done, place - done), _original(batch.slice(place, 1), change)]
        done = place + 1
    parts.append(batch.slice(done))
    return pa.Table.from_batches(parts).combine_chunks().to_batches()[0]


def _original(batch: pa.RecordBatch, told: dict[str, Any]) -> pa.RecordBatch:
    row = batch.to_pylist()[0]
    if row["query_id"] != told["query_id"]:
        raise DataError(
            f"row {told['row']} has the query id {row['query_id']!r}, the log says {told['query_id']!r}: the "
            "fixed rows were changed since. Give them as eci audit --fix wrote them."
        )
    changes = told["changes"]
    done = [change["done"] for change in changes]
    negatives = row["negatives"][: len(row["negatives"]) - done.count("demoted")]
    for change in changes:
        negatives.insert(change["place"], change["negative"])
    positives = row["positives"][: len(row["positives"]) - done.count("relabelled")]
    return pa.RecordBatch.from_pylist([{**row, "positives": positives, "negatives": negatives}], schema=ROWS)
