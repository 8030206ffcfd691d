"""Formats: what opens a path and cuts its rows into chunks."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import orjson
import pyarrow as pa

from eci.datasets.chunks import Chunk
from eci.datasets.opening import MOST_LINE, decode, lines_of, opened, whole
from eci.errors import DataError

CHUNK_BYTES = 32_000_000
# Rows that a column of one long text, which a dictionary holds once, is unpacked for at a time.
_PIECE_ROWS = 256
MARKER = "eci.json"  # lies in folders that eci wrote; see `eci.datasets.folders`
_ASIDE = {MARKER, "merlin_metadata.json", "dataset_infos.json"}
COLLECTIONS = ("corpus", "documents", "docs", "passages", "collection", "queries")


@dataclass(frozen=True)
class Input:
    """One of the things that rows are read from.

    Parameters
    ----------
    where : str
        The path as the user gave it.
    label : str
        The source of negatives that carry none.
    chunks : callable
        From the number of rows in a chunk to the chunks; every call starts from the first row.
    files : tuple of Path
        What is read, for sizes and digests.
    folder : Path, optional
        Where corpora and queries are looked for.
    notes : tuple of str
        What was chosen for the user.
    """

    where: str
    label: str
    chunks: Callable[[int], Iterator[Chunk]]
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    notes: tuple[str, ...] = ()


def stem(path: Path) -> str:
    """The name of a file without its endings, also without both of ``.jsonl.gz``."""
    name = path.name.removesuffix(".gz")
    return next((name.removesuffix(ending) for ending in FORMATS if name.endswith(ending)), Path(name).stem)


def label_of(name: str) -> str:
    """The source that a file or folder of that name stands for: ``_`` is there for what does not print."""
    return "".join(character if character.isprintable() else "_" for character in name)


def open_file(path: Path) -> Input:
    """A file of rows in one of the known formats."""
    # Not by a method of Path: it fails where a name is too long.
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file or folder.")
    reader = _reader(path)
    return Input(str(path), label_of(stem(path)), lambda size: reader(path, size), (path,), path.parent)


def open_folder(path: Path) -> Input:
    """A folder of shards in one format, or with one file of rows and collections beside it."""
    found = [
        file
        for file in sorted(path.iterdir())
        if file.is_file() and _ending(file) and file.name not in _ASIDE
    ]
    files = [file for file in found if stem(file) not in COLLECTIONS]
    endings = {_ending(file) for file in files}
    if not files or len(endings) > 1:
        held = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{path}: is a folder, but no dataset; it holds {held}. Expected .parquet or .jsonl files of "
            "one kind, a dataset saved by Hugging Face datasets, or a BEIR collection (corpus.jsonl, "
            "queries.jsonl, qrels/)."
        )

    def chunks(size: int) -> Iterator[Chunk]:
        for file in files:
            yield from _reader(file)(file, size)

    return Input(str(path), label_of(path.resolve().name), chunks, tuple(files), path)


def read_lines(path: Path, size: int) -> Iterator[Chunk]:
    """JSON lines, at most `size` rows and about 32 MB in a chunk."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    held = 0
    with opened(path) as handle:
        for number, line in enumerate(lines_of(handle, path), 1):
            bare = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not bare.strip():
                continue
            rows.append(parsed(bare, f"{path}:{number}"))
            numbers.append(number)
            held += len(bare)
            if len(rows) >= size or held >= CHUNK_BYTES:
                yield Chunk(str(path), numbers, rows, unit="line")
                rows, numbers, held = [], [], 0
    if rows:
        yield Chunk(str(path), numbers, rows, unit="line")


def read_json(path: Path, size: int) -> Iterator[Chunk]:
    """A JSON file: a list of objects, an object with the list ``data`` (nemo), or JSON lines after all."""
    data = whole(path)
    if _is_lines(data):
        yield from read_lines(path, size)
        return
    content = _json(data, str(path))
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise DataError(
            f"{path}: must be a list of objects, JSON lines, or an object with 'corpus' and 'data'."
        )
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number}: must be an object, got {type(row).__name__}.")
    yield from read_objects(rows, size, str(path))


def read_objects(rows: Sequence[dict[str, Any]], size: int, where: str = "") -> Iterator[Chunk]:
    """Dicts in memory."""
    for start in range(0, len(rows), size):
        part = list(rows[start : start + size])
        yield Chunk(where, range(start + 1, start + 1 + len(part)), part)


def read_cells(path: Path, size: int, header: Sequence[str] | None = None) -> Iterator[Chunk]:
    """A CSV or TSV file with a header, or without one if `header` is given."""
    csv.field_size_limit(MOST_LINE)
    delimiter = "\t" if _ending(path) == ".tsv" else ","
    # A TSV without a header is a dump such as MS MARCO's, in which quotes are part of the text.
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if header is None else csv.QUOTE_NONE
    with opened(path) as handle:
        cells = csv.reader(
            _decoded(handle, path), delimiter=delimiter, strict=header is None, quoting=quoting
        )
        try:
            keys = list(header or next(cells, []))
            if len(set(keys)) < len(keys):
                raise DataError(f"{path}:1: the header names a column twice: {', '.join(keys)}.")
            while part := [(cells.line_num, row) for row in islice(cells, size) if row]:
                for line, row in part:
                    if len(row) != len(keys):
                        raise DataError(
                            f"{path}:{line}: has {len(row)} cells, and the header {len(keys)}. Quote cells "
                            "that hold the delimiter, quotes or line breaks."
                        )
                rows = [dict(zip(keys, row, strict=True)) for _, row in part]
                yield Chunk(str(path), [line for line, _ in part], rows, unit="line", cells=True)
        except csv.Error as error:
            raise DataError(f"{path}:{cells.line_num}: not readable as CSV: {error}.") from error


def read_parquet(path: Path, size: int) -> Iterator[Chunk]:
    """A Parquet file; chunks of wide rows hold fewer of them."""
    import pyarrow.parquet as pq

    try:
        # With a buffer ahead every column chunk that was read would be held until the file is closed.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            most = _fitting(file.metadata, size)
            yield from tables(_gathered(file.iter_batches(min(most, _PIECE_ROWS)), most), str(path))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as Parquet: {str(error).splitlines()[0]}") from error


def tables(parts: Iterator[Any], where: str) -> Iterator[Chunk]:
    """Arrow tables or record batches, one after the other."""
    start = 1
    for part in parts:
        table = pa.Table.from_batches([part]) if isinstance(part, pa.RecordBatch) else part
        try:
            table.validate(full=True)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"{where}: rows {start} to {start + len(table) - 1}: {error}") from error
        if len(table):
            yield Chunk(where, range(start, start + len(table)), table=table)
        start += len(table)


def nemo_corpora(files: Sequence[Path]) -> tuple[Path, ...]:
    """The corpora that a nemo file names, relative to it; none if it names none that is there.

    Raises
    ------
    DataError
        One is no collection by its name.
    """
    found: list[Path] = []
    for file in files:
        if file.suffix != ".json":
            continue
        content = _json(whole(file), str(file))
        named = content.get("corpus", []) if isinstance(content, dict) else []
        for entry in named if isinstance(named, list) else [named]:
            path = file.parent / str(entry.get("path") if isinstance(entry, dict) else entry)
            if not path.is_dir() and path.exists() and _ending(path) is None:
                raise DataError(
                    f"{file}: names the corpus {path}, whose format is not known by its name. {_known()} Or "
                    "give a corpus with --corpus."
                )
            found += [path] if path.exists() and path not in found else []
    return tuple(found)


def parsed(line: bytes, place: str) -> dict[str, Any]:
    """One JSON line as a dict."""
    value = _json(line, place)
    if not isinstance(value, dict):
        hint = (
            " A file with one JSON list is read if its name ends in .json." if isinstance(value, list) else ""
        )
        raise DataError(f"{place}: a row must be a JSON object, got {type(value).__name__}.{hint}")
    return value


def _json(text: bytes, place: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        first = error
    decode(text, place)
    try:
        # NaN and half surrogates: not JSON, but clearer to refuse by key than by column number.
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(
            f"{place}: not valid JSON: {first.msg} (character {first.pos}). Is the line whole?"
        ) from None


def _decoded(handle: IO[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines_of(handle, path), 1):
        yield decode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, f"{path}:{number}")


def _is_lines(data: bytes) -> bool:
    first = data.lstrip().split(b"\n", 1)[0]
    if not first.startswith(b"{"):
        return False
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return b"\n" in data.strip() or not {"data", "corpus"} <= set(orjson.loads(first))


def _gathered(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Small batches put together, by what they hold and not by what the file says that they do."""
    held: list[pa.RecordBatch] = []
    rows = room = 0
    for batch in batches:
        held.append(_undictionaried(batch))
        rows, room = rows + len(held[-1]), room + held[-1].nbytes
        if rows >= size or room >= 2 * CHUNK_BYTES:
            yield pa.Table.from_batches(held).combine_chunks()
            held, rows, room = [], 0, 0
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def _undictionaried(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose bytes count each text as often as it stands there."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _fitting(metadata: Any, size: int) -> int:
    total = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return max(1, min(size, int(2 * CHUNK_BYTES * metadata.num_rows / max(total, 1))))


def _ending(path: Path) -> str | None:
    name = path.name.removesuffix(".gz")
    return next((ending for ending in FORMATS if name.endswith(ending)), None)


def _reader(path: Path) -> Callable[[Path, int], Iterator[Chunk]]:
    ending = _ending(path)
    if ending is None:
        raise DataError(f"{path}: the format is not known by its name. {_known()}")
    return FORMATS[ending]


def _known() -> str:
    return f"Known endings: {', '.join(FORMATS)}, also .gz."


FORMATS: Mapping[str, Callable[[Path, int], Iterator[Chunk]]] = {
    ".jsonl": read_lines,
    ".ndjson": read_lines,
    ".json": read_json,
    ".csv": read_cells,
    ".tsv": read_cells,
    ".parquet": read_parquet,
}
