"""Runs and judgements in the TREC formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from eci.datasets.columns import repeated
from eci.datasets.files import label_of, stem
from eci.datasets.opening import decode, lines_of, opened
from eci.errors import DataError

_RUN = {
    "query": pa.string(),
    "q0": pa.string(),
    "document": pa.string(),
    "rank": pa.int32(),
    "score": pa.float64(),
    "tag": pa.string(),
}


_SHORT_RUN = {"query": pa.string(), "document": pa.string(), "score": pa.float64()}


_QRELS = {"query": pa.string(), "q0": pa.string(), "document": pa.string(), "score": pa.float64()}


def read_qrels(path: Path) -> pa.Table:
    """Judgements with the columns query, document and score: BEIR's table, or TREC's four columns."""
    return _table(path, (_QRELS, _SHORT_RUN), header=True)


def relevant_pairs(paths: Sequence[Path]) -> frozenset[tuple[str, str]]:
    """Query id and document id of every judgement above 0."""
    pairs: set[tuple[str, str]] = set()
    for path in paths:
        table = read_qrels(path)
        kept = table.filter(pc.greater(table["score"], 0))
        pairs.update(zip(kept["query"].to_pylist(), kept["document"].to_pylist(), strict=True))
    return frozenset(pairs)


def read_run(path: Path, label: str) -> pa.Table:
    """A run with the columns query, document, rank, score, scorer and source."""
    table = _table(path, (_RUN, _SHORT_RUN), header=False)
    size = len(table)
    if "tag" in table.column_names:
        tags, ranks = table["tag"].combine_chunks(), table["rank"].combine_chunks()
    else:
        tags, ranks = pa.nulls(size, pa.string()), pa.nulls(size, pa.int32())
    source = (
        repeated(label, size) if label else pc.fill_null(tags, label_of(stem(path)).removesuffix(".trec"))
    )
    columns = {"rank": ranks, "score": table["score"], "scorer": tags, "source": source}
    return pa.table({"query": table["query"], "document": table["document"], **columns})


def _table(path: Path, schemas: tuple[dict[str, Any], ...], header: bool) -> pa.Table:
    """Lines of words between tabs or blanks, as columns of the schema that is as wide as the first line."""
    with opened(path) as handle:
        read = lines_of(handle, path)
        lines = [decode(next(read, b""), f"{path}:{number}").rstrip("\r\n") for number in (1, 2)]
    if not lines[0].strip():
        raise DataError(f"{path}: has no rows.")
    words = _words(lines[0].removeprefix("\ufeff"))
    schema = next((each for each in schemas if len(each) == len(words)), None)
    if schema is None:
        shapes = " or ".join(f"{len(each)} ({' '.join(each)})" for each in schemas)
        raise DataError(f"{path}:1: has {len(words)} columns. Expected {shapes}.")
    skip = int(header and not _is_number(words[-1]))
    table = _fast(path, schema, "\t" if "\t" in lines[0] else " ", skip) or _slow(path, schema, skip)
    if not len(table):
        raise DataError(f"{path}: has no rows.")
    return table


def _fast(path: Path, schema: dict[str, Any], delimiter: str, skip: int) -> pa.Table | None:
    try:
        with opened(path) as handle:
            table = arrow_csv.read_csv(
                pa.PythonFile(handle, mode="r"),
                arrow_csv.ReadOptions(column_names=list(schema), skip_rows=skip),
                arrow_csv.ParseOptions(delimiter=delimiter, quote_char=False),
                arrow_csv.ConvertOptions(column_types=schema, strings_can_be_null=False, null_values=[]),
            )
    except pa.ArrowInvalid:
        return None
    finite = all(
        np.isfinite(np.asarray(table[name])).all() for name, type_ in schema.items() if type_ == pa.float64()
    )
    return table if finite else None


def _slow(path: Path, schema: dict[str, Any], skip: int) -> pa.Table:
    """Line by line: several blanks between words, and words for what is wrong."""
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    with opened(path) as handle:
        for number, line in enumerate(lines_of(handle, path), 1):
            if number <= skip or not line.strip():
                continue
            words = _words(decode(line, f"{path}:{number}").rstrip("\r\n"))
            if len(words) != len(schema):
                raise DataError(
                    f"{path}:{number}: has {len(words)} columns, the first line {len(schema)}: "
                    f"{' '.join(schema)}."
                )
            for (name, type_), word in zip(schema.items(), words, strict=True):
                columns[name].append(_value(word, type_))
                if columns[name][-1] is None:
                    kind = "a whole number" if type_ == pa.int32() else "a finite number"
                    raise DataError(f"{path}:{number}: '{name}' must be {kind}, got '{word[:40]}'.")
    return pa.table({name: pa.array(values, schema[name]) for name, values in columns.items()})


def _words(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _value(word: str, type_: pa.DataType) -> Any:
    if type_ == pa.string():
        return word
    if not _is_number(word) or (type_ == pa.int32() and (float(word) % 1 or abs(float(word)) >= 2**31)):
        return None
    return float(word) if type_ == pa.float64() else int(float(word))


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False
