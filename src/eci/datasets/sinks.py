"""Where rows go: one function per format, each taking a stream of Arrow batches."""

from __future__ import annotations

import csv
import gzip
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import orjson
import pyarrow as pa

from eci.datasets.columns import loaded, to_python
from eci.datasets.layouts import LAYOUTS, Layout
from eci.errors import MissingDependency, OutputError

GROUP_BYTES = 64_000_000

Sink: TypeAlias = Callable[[Path, Iterator[pa.RecordBatch], pa.Schema | None], None]


def lines(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema | None) -> None:  # noqa: ARG001
    """JSON lines; keys without a value are left out, numbered columns are null instead."""
    with path.open("wb") as handle:
        _dump(handle, batches)


def packed_lines(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema | None) -> None:  # noqa: ARG001
    """JSON lines, gzipped; the same rows give the same bytes."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as handle:
        _dump(handle, batches)


def nemo_json(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema | None) -> None:  # noqa: ARG001
    """One JSON object with the name of the corpus and the rows."""
    with path.open("wb") as handle:
        handle.write(b'{"corpus": [{"path": "corpus"}], "data": [')
        divider = b"\n"
        for row in (row for batch in batches for row in json_rows(batch)):
            handle.write(divider + orjson.dumps(row))
            divider = b",\n"
        handle.write(b"\n]}\n")


def commas(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema | None) -> None:
    """CSV."""
    _cells(path, batches, _known(schema), ",")


def tabs(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema | None) -> None:
    """CSV with tabs."""
    _cells(path, batches, _known(schema), "\t")


def parquet(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema | None) -> None:
    """Parquet, zstd, in row groups of about 64 MB."""
    import pyarrow.parquet as pq

    held: list[pa.RecordBatch] = []
    with path.open("wb") as handle, pq.ParquetWriter(handle, _known(schema), compression="zstd") as writer:
        for batch in batches:
            held.append(batch)
            if sum(each.nbytes for each in held) >= GROUP_BYTES:
                writer.write_table(_group(held))
                held = []
        if held:
            writer.write_table(_group(held))


def _group(batches: list[pa.RecordBatch]) -> pa.Table:
    """One piece, so that its bytes do not depend on the batches that the rows came in."""
    return pa.Table.from_batches(batches).combine_chunks()


def hugging_face(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema | None) -> None:
    """A dataset folder as ``save_to_disk`` writes it."""
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency("Writing a dataset folder", "datasets", "datasets") from error
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as folder:
            stream = Path(folder) / "rows.arrow"
            with pa.OSFile(str(stream), "wb") as handle, pa.ipc.new_stream(handle, _known(schema)) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            datasets.Dataset.from_file(str(stream)).save_to_disk(str(path))
    finally:
        if shown:
            datasets.enable_progress_bars()


def json_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows of a batch as dicts; only numbered columns keep their nulls."""
    names = batch.schema.names
    columns = [_as_json(name, batch.column(name)) for name in names]
    wide = {name for name in names if name.startswith("negative_") and name[9:].isdigit()}
    for row in zip(*columns, strict=True):
        pairs = zip(names, row, strict=True)
        yield {k: v for k, v in pairs if (v is not None and not (k == "extra" and v == {})) or k in wide}


def _as_json(name: str, column: pa.Array) -> list[Any]:
    """Python values; what is kept as the text of an object is that object."""
    if name == "extra":
        return loaded(column)
    values = to_python(column)
    if name == "negatives":
        for negative in (each for row in values for each in row):
            if "extra" in negative:
                negative["extra"] = orjson.loads(negative["extra"])
    return values


def _known(schema: pa.Schema | None) -> pa.Schema:
    if schema is None:
        raise ValueError("this format needs the schema before the first row")
    return schema


def _dump(handle: IO[bytes] | gzip.GzipFile, batches: Iterator[pa.RecordBatch]) -> None:
    for batch in batches:
        for row in json_rows(batch):
            handle.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def _cells(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema, delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        # All texts in quotes: a lone carriage return without them is read back as the end of a row.
        writer = csv.writer(handle, delimiter=delimiter, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(schema.names)
        for batch in batches:
            columns = [_flat(to_python(batch.column(name))) for name in schema.names]
            writer.writerows(zip(*columns, strict=True))


def _flat(values: list[Any]) -> list[Any]:
    return [orjson.dumps(value).decode() if isinstance(value, list) else value for value in values]


FILES: Mapping[str, Sink] = {
    ".jsonl": lines,
    ".ndjson": lines,
    ".jsonl.gz": packed_lines,
    ".csv": commas,
    ".tsv": tabs,
    ".parquet": parquet,
}
COLUMNAR = (commas, tabs, parquet, hugging_face)


def chosen(final: Path, layout: str, target: Layout | None) -> Sink:
    """The format that a name asks for; of the rows, in layouts of several files.

    Parameters
    ----------
    final : Path
    layout : str
    target : Layout, optional
        None for a BEIR folder.

    Raises
    ------
    OutputError
        The name asks for a format that is not known, or that cannot hold the layout.
    """
    ending = next((each for each in FILES if final.name.endswith(each)), None)
    if target is None or target.by_id:
        if ending:
            raise OutputError(
                f"{final}: {layout} is several files (rows, corpus, queries). Give the name of a folder, "
                f"such as {final.name.removesuffix(ending)}."
            )
        return nemo_json if layout == "nemo" else lines
    if ending in (".csv", ".tsv") and not target.flat:
        flat = ", ".join(name for name, each in LAYOUTS.items() if each.flat)
        raise OutputError(
            f"{final}: {ending} cannot hold the lists of {layout}. It can hold {flat}; or write .jsonl."
        )
    if ending is None and final.suffix in (".gz", ".json", ".txt", ".arrow", ".zip"):
        raise OutputError(f"{final}: the format is not known. Known: {', '.join(FILES)}, or a folder.")
    return FILES[ending] if ending else hugging_face
