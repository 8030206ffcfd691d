"""What a key of a row may hold: Arrow columns from Python values or Arrow data, strictly, and why not.

``pyarrow`` alone is too lenient for rows that people write: it turns the string ``"abc"`` into the list
``["a", "b", "c"]``, true into 1.0 and 2.5 into 2. So values are checked by type before they are
converted. The fast path looks at whole columns; only when it fails, ``problem`` looks value by value for
words to say it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as arrow_types

MAX_TEXT_CHARS = 1_000_000


class Mismatch(Exception):  # noqa: N818
    """A column does not hold what its kind says; ``problem`` finds the words."""


@dataclass(frozen=True)
class Scalar:
    """One value: how it is called, its Arrow type, the Python types it may have, and what to do if not."""

    one: str
    many: str
    arrow: pa.DataType
    python: frozenset[type]
    advice: str


@dataclass(frozen=True)
class Many:
    """A list of one kind."""

    of: Kind


@dataclass(frozen=True)
class Record:
    """An object with known keys."""

    many: str
    keys: tuple[Column, ...]


@dataclass(frozen=True)
class Systems:
    """An object whose keys are free and whose values are of one kind."""

    of: Kind


Kind: TypeAlias = "Scalar | Many | Record | Systems"


@dataclass(frozen=True)
class Column:
    """A key of a row: the part it plays, its kind, and the name it has in these rows."""

    role: str
    kind: Kind
    required: bool = True
    key: str = ""

    @property
    def name(self) -> str:
        """The key as the rows spell it."""
        return self.key or self.role


TEXT = Scalar("a text", "texts", pa.string(), frozenset({str}), "Write it as a string.")
ID = Scalar("an id", "ids", pa.string(), frozenset({str, int}), "Write it as a string or a whole number.")
NUMBER = Scalar(
    "a finite number", "finite numbers", pa.float64(), frozenset({int, float}), "Leave it out or correct it."
)
WHOLE = Scalar(
    "a whole number",
    "whole numbers",
    pa.int32(),
    frozenset({int}),
    "Write it as a number without a fraction.",
)
LABEL = Scalar(
    "0 or 1",
    "labels 0 or 1",
    pa.float64(),
    frozenset({int, float, bool}),
    "Graded values belong in a key named score or scores.",
)
OBJECT = Scalar("an object", "objects", pa.string(), frozenset({dict, str}), "Write it as an object: {…}")
TEXTS, IDS, NUMBERS, LABELS = Many(TEXT), Many(ID), Many(NUMBER), Many(LABEL)


def build(values: Sequence[Any], column: Column, strangers: Counter[str]) -> pa.Array:
    """An Arrow array from Python values.

    Parameters
    ----------
    values : sequence
        One value per row; None where the key is missing.
    column : Column
        What the values must be.
    strangers : Counter
        Counts the keys of nested objects that nobody reads.

    Raises
    ------
    Mismatch
        Some value is not what `column` says.
    """
    kind, found = column.kind, set(map(type, values))
    empty = type(None) in found
    found.discard(type(None))
    if empty and column.required:
        raise Mismatch
    if isinstance(kind, Scalar):
        return _build_scalar(values, kind, found)
    if found - {list if isinstance(kind, Many) else dict}:
        raise Mismatch
    if isinstance(kind, Many):
        entries = list(chain.from_iterable(v for v in values if v is not None))
        leaf = build(entries, Column(column.name, kind.of), strangers)
        return listed([0 if v is None else len(v) for v in values], leaf, _absent(values, empty))
    if isinstance(kind, Systems):
        pairs = [[] if v is None else list(v.items()) for v in values]
        keys = [key for row in pairs for key, _ in row]
        entries = [entry for row in pairs for _, entry in row]
        leaf = build(entries, Column(column.name, kind.of), strangers)
        offsets = np.cumsum([0, *map(len, pairs)], dtype=np.int32)
        return pa.MapArray.from_arrays(offsets, _texts(keys), leaf)
    return _build_record(values, kind, strangers, _absent(values, empty))


def conform(array: pa.Array, column: Column) -> pa.Array:
    """The same data as Arrow columns of the kind's own type.

    Raises
    ------
    Mismatch
        The data are of another kind, or hold nulls or values that the kind forbids.
    """
    kind = column.kind
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if column.required and array.null_count:
        raise Mismatch
    if isinstance(kind, Scalar):
        return _check(_cast(array, kind), kind)
    if arrow_types.is_null(array.type):
        return pa.nulls(len(array), arrow_type(kind))
    absent = array.is_null() if array.null_count else None
    if isinstance(kind, Many):
        if not is_list(array.type):
            raise Mismatch
        array = array.cast(pa.large_list(array.type.value_type))
        leaf = conform(array.flatten(), Column(column.name, kind.of))
        return listed(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False), leaf, absent)
    if isinstance(kind, Systems):
        if not (arrow_types.is_struct(array.type) or arrow_types.is_map(array.type)):
            raise Mismatch
        return build([_mapping(value) for value in array.to_pylist()], column, Counter())
    if not arrow_types.is_struct(array.type):
        raise Mismatch
    names = [field.name for field in array.type]
    children = array.flatten()
    leaves = [
        conform(children[names.index(key.name)], key)
        if key.name in names
        else conform(pa.nulls(len(array)), key)
        for key in kind.keys
    ]
    return pa.StructArray.from_arrays(leaves, names=[key.name for key in kind.keys], mask=absent)


def listed(lengths: Any, leaf: pa.Array, absent: pa.Array | None = None) -> pa.ListArray:
    """Lists of the given lengths over the entries of `leaf`; null where `absent`."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), leaf, mask=absent)


def arrow_type(kind: Kind) -> pa.DataType:
    """The Arrow type that holds a kind."""
    if isinstance(kind, Scalar):
        return kind.arrow
    if isinstance(kind, Many):
        return pa.list_(arrow_type(kind.of))
    if isinstance(kind, Systems):
        return pa.map_(pa.string(), arrow_type(kind.of))
    return pa.struct([(key.name, arrow_type(key.kind)) for key in kind.keys])


def is_text(type_: pa.DataType) -> bool:
    """Whether an Arrow type holds texts, dictionary-encoded ones included."""
    if arrow_types.is_dictionary(type_):
        return is_text(type_.value_type)
    return bool(
        arrow_types.is_string(type_)
        or arrow_types.is_large_string(type_)
        or arrow_types.is_string_view(type_)
    )


def is_list(type_: pa.DataType) -> bool:
    """Whether an Arrow type is one of the list types."""
    return bool(
        arrow_types.is_list(type_)
        or arrow_types.is_large_list(type_)
        or arrow_types.is_fixed_size_list(type_)
    )


def _build_scalar(values: Sequence[Any], kind: Scalar, found: set[type]) -> pa.Array:
    if found - kind.python:
        raise Mismatch
    if kind is OBJECT:
        return _check(_texts([_dumped(v) if type(v) is dict else v for v in values]), kind)
    if kind is ID and int in found:
        values = [str(v) if type(v) is int else v for v in values]
    if kind.arrow == pa.float64():
        return _check(_array([None if v is None else to_float(v) for v in values], pa.float64()), kind)
    return _check(_texts(values) if kind.arrow == pa.string() else _array(values, kind.arrow), kind)


def _build_record(
    values: Sequence[Any], kind: Record, strangers: Counter[str], absent: pa.Array | None
) -> pa.Array:
    known = {key.name for key in kind.keys}
    for value in values:
        if value is not None and not known.issuperset(value):
            strangers.update(f"{kind.many}[].{key}" for key in value if key not in known)
    leaves = []
    for key in kind.keys:
        name = key.name
        leaves.append(build([v.get(name) if v else None for v in values], key, strangers))
    return pa.StructArray.from_arrays(leaves, names=[key.name for key in kind.keys], mask=absent)


def _dumped(value: dict[str, Any]) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise Mismatch from error


def _texts(values: Sequence[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except (UnicodeEncodeError, pa.ArrowInvalid) as error:
        raise Mismatch from error


def _array(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type_)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise Mismatch from error


def to_float(value: float) -> float:
    """A float, infinite for whole numbers that are too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _absent(values: Sequence[Any], empty: bool) -> pa.Array | None:
    return pa.array([v is None for v in values], pa.bool_()) if empty else None


def _cast(array: pa.Array, kind: Scalar) -> pa.Array:
    type_ = array.type
    if arrow_types.is_null(type_):
        return pa.nulls(len(array), kind.arrow)
    whole, number = (
        arrow_types.is_integer(type_),
        arrow_types.is_floating(type_) or arrow_types.is_decimal(type_),
    )
    fits = {
        "string": is_text(type_) or (whole and kind is ID),
        "double": whole or number or (kind is LABEL and arrow_types.is_boolean(type_)),
        "int32": whole,
    }[str(kind.arrow)]
    if kind is OBJECT and arrow_types.is_struct(type_):
        return build(array.to_pylist(), Column("extra", OBJECT, required=False), Counter())
    if not fits:
        raise Mismatch
    try:
        return array.cast(kind.arrow)
    except pa.ArrowInvalid as error:
        raise Mismatch from error


def _check(array: pa.Array, kind: Scalar) -> pa.Array:
    """Raise Mismatch for values that the kind forbids: NaN, labels that are none, texts without end."""
    if kind.arrow == pa.float64():
        numbers = array.drop_null().to_numpy(zero_copy_only=False)
        good = np.isfinite(numbers) if kind is NUMBER else (numbers == 0) | (numbers == 1)
        if not good.all():
            raise Mismatch
    if kind is OBJECT and not all(is_object(text) for text in array.drop_null().to_pylist()):
        raise Mismatch
    # Bytes first: they bound the characters, and are free to read.
    long = kind is TEXT and (pc.max(pc.binary_length(array)).as_py() or 0) > MAX_TEXT_CHARS
    if long and pc.max(pc.utf8_length(array)).as_py() > MAX_TEXT_CHARS:
        raise Mismatch
    return array


def is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _mapping(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else value
    return value if pairs is None else {key: entry for key, entry in pairs if entry is not None}
