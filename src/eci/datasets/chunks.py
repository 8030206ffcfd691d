"""A few thousand rows as a file holds them, before any layout is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
import pyarrow as pa
from pyarrow import types as arrow_types

from eci.datasets.columns import to_python
from eci.datasets.fields import LABEL, NUMBER, TEXT, Column, Many, Mismatch, build, conform, is_list, is_text
from eci.datasets.wording import describe, problem
from eci.errors import DataError

# What each key holds: text, number, texts, numbers, list, object, null, or cell (of a CSV file).
Shape: TypeAlias = dict[str, str]


@dataclass(frozen=True)
class Chunk:
    """Rows as Python dicts (text formats) or as an Arrow table, and where each of them stands.

    Parameters
    ----------
    where : str
        The file as the user named it; empty for objects in memory.
    numbers : sequence of int
        Line or row number of each row, from 1.
    rows : list of dict, optional
        The rows of a text format.
    table : Table, optional
        The rows of a columnar format.
    unit : str
        ``line`` or ``row``: what `numbers` count.
    cells : bool
        Whether the values are cells of a CSV file: texts that may stand for numbers.
    """

    where: str
    numbers: Sequence[int]
    rows: list[dict[str, Any]] | None = None
    table: pa.Table | None = None
    unit: str = "row"
    cells: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, row: int) -> str:
        """Where a row stands: ``rows.jsonl:17`` or ``rows.parquet: row 17``."""
        if self.unit == "line":
            return f"{self.where}:{self.numbers[row]}"
        return f"{self.where}: row {self.numbers[row]}" if self.where else f"row {self.numbers[row]}"

    def key_sets(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The keys of each row; of an Arrow table once."""
        if self.table is not None:
            yield 0, tuple(self.table.column_names)
        else:
            yield from ((index, tuple(row)) for index, row in enumerate(self.rows or ()))

    def shape(self, row: int | None = None) -> Shape:
        """Keys and what they hold, of one row or of all rows together."""
        if self.table is not None:
            return {field.name: _arrow_category(field.type) for field in self.table.schema}
        rows = self.rows or []
        shape: Shape = {}
        for values in rows if row is None else rows[row : row + 1]:
            for key, value in values.items():
                if shape.get(key, "null") in ("null", "list"):
                    shape[key] = "cell" if self.cells else _category(value)
        return shape

    def read(self, columns: Sequence[Column], strangers: Counter[str]) -> dict[str, pa.Array]:
        """The given columns by role, strictly of the given kinds; those that no row has are left out.

        Raises
        ------
        DataError
            Some value is not what its column says; the message names place, key and what to do.
        """
        read: dict[str, pa.Array] = {}
        for column in columns:
            try:
                array = self._column(column, strangers)
            except Mismatch:
                raise self._explained(columns) from None
            if array is not None:
                read[column.role] = array
        return read

    def rest(self, known: set[str]) -> tuple[list[dict[str, Any]] | None, list[str]]:
        """What the other keys hold, row by row, and the keys whose values are no JSON."""
        if self.rows is not None:
            if all(known.issuperset(row) for row in self.rows):
                return None, []
            return [{k: v for k, v in row.items() if k not in known} for row in self.rows], []
        return self._rest_of_table(self.table, known)

    def row(self, row: int) -> dict[str, Any]:
        """One row as Python values."""
        if self.rows is not None:
            return self.rows[row]
        one: Any = self.table
        return {
            name: to_python(one.column(name)[row : row + 1].combine_chunks())[0] for name in one.column_names
        }

    @staticmethod
    def _rest_of_table(table: Any, known: set[str]) -> tuple[list[dict[str, Any]] | None, list[str]]:
        kept: dict[str, list[Any]] = {}
        unread = []
        for name in table.column_names:
            if name in known:
                continue
            values = to_python(table.column(name).combine_chunks())
            try:
                orjson.dumps(values, default=str)
            except (TypeError, ValueError):
                unread.append(name)
            else:
                kept[name] = values
        if not kept:
            return None, unread
        rows = [dict(zip(kept, row, strict=True)) for row in zip(*kept.values(), strict=True)]
        return [{k: v for k, v in row.items() if v is not None} for row in rows], unread

    def _column(self, column: Column, strangers: Counter[str]) -> pa.Array | None:
        key = column.name
        if self.table is not None:
            if key in self.table.column_names:
                return conform(self.table.column(key), column)
            if column.required:
                raise Mismatch
            return None
        rows = self.rows or []
        values = [row.get(key) for row in rows]
        if self.cells:
            values = [value if value is None else cell(value, column) for value in values]
        elif not column.required and not any(key in row for row in rows):
            return None
        return build(values, column, strangers)

    def _explained(self, columns: Sequence[Column]) -> DataError:
        required = [column.name for column in columns if column.required]
        for index in range(len(self)):
            row = self.row(index)
            for column in columns:
                if column.name not in row and column.required:
                    return DataError(
                        f"{self.place(index)}: the key '{column.name}' is missing. "
                        f"The first row has it, so each row needs: {', '.join(required)}."
                    )
                value = row.get(column.name)
                words = problem(cell(value, column) if self.cells and value is not None else value, column)
                if words:
                    return DataError(f"{self.place(index)}: {words}")
        types = (
            {name: str(self.table.schema.field(name).type) for name in self.table.column_names}
            if self.table
            else {}
        )
        return DataError(
            f"{self.place(0)}: the columns cannot be read as {', '.join(required)}; they are {types}."
        )


def cell(text: str, column: Column) -> Any:
    """The value that a cell of a CSV file stands for; text that does not fit is left as it is."""
    if column.kind is TEXT and column.required:
        return text
    try:
        if text == "":
            return None
        if column.kind in (NUMBER, LABEL):
            return float(text)
        return orjson.loads(text) if isinstance(column.kind, Many) else text
    except ValueError:
        return text


def _category(value: Any) -> str:
    if isinstance(value, list):
        kinds = {_category(entry) for entry in value[:10]} - {"null"}
        return {"text": "texts", "number": "numbers"}.get(kinds.pop(), "list") if len(kinds) == 1 else "list"
    if isinstance(value, (bool, int, float)):
        return "number"
    return {"a string": "text", "null": "null"}.get(describe(value), "object")


def _arrow_category(type_: pa.DataType) -> str:
    if is_text(type_):
        return "text"
    if is_list(type_):
        return {"text": "texts", "number": "numbers"}.get(_arrow_category(type_.value_type), "list")
    if arrow_types.is_null(type_):
        return "null"
    number = arrow_types.is_integer(type_) or arrow_types.is_floating(type_) or arrow_types.is_decimal(type_)
    return "number" if number or arrow_types.is_boolean(type_) else "object"
