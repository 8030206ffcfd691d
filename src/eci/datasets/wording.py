"""Words for values that do not fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from eci.datasets.fields import (
    LABEL,
    MAX_TEXT_CHARS,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Column,
    Kind,
    Many,
    Record,
    Scalar,
    Systems,
    is_object,
    to_float,
)


def problem(value: Any, column: Column, path: str = "") -> str | None:
    """Say in words what is wrong with a value, or None if nothing is."""
    path, kind = path or column.name, column.kind
    if value is None:
        words = f"'{path}' must be {name_of(kind)}, got null. Give it, or remove the row."
        return words if column.required else None
    if isinstance(kind, Scalar):
        return _scalar_problem(value, kind, path)
    if not isinstance(value, list if isinstance(kind, Many) else dict):
        todo = 'Wrap it: ["…"]' if isinstance(value, str) else "Write a list: […]"
        todo = todo if isinstance(kind, Many) else "Write an object: {…}"
        return f"'{path}' must be {name_of(kind)}, got {describe(value)}. {todo}"
    if isinstance(kind, Record):
        missing = next((key.name for key in kind.keys if key.required and key.name not in value), None)
        if missing is not None:
            return f"'{path}' lacks the key '{missing}'. Each of the {kind.many} needs it."
    return _first(problem(inner, key, f"{path}{place}") for inner, key, place in _inside(value, column))


def _inside(value: Any, column: Column) -> Iterator[tuple[Any, Column, str]]:
    """What a list or an object holds, what it must be, and where it stands."""
    kind = column.kind
    if isinstance(kind, Record):
        yield from ((value.get(key.name), key, f".{key.name}") for key in kind.keys)
    elif isinstance(kind, Many):
        yield from ((entry, Column(column.name, kind.of), f"[{i}]") for i, entry in enumerate(value))
    elif isinstance(kind, Systems):
        yield from ((entry, Column(key, kind.of), f".{key}") for key, entry in value.items())


def name_of(kind: Kind) -> str:
    """A kind in words: ``a list of texts``."""
    if isinstance(kind, Scalar):
        return kind.one
    if isinstance(kind, Many):
        inner = kind.of
        return f"a list of {inner.many if isinstance(inner, (Scalar, Record)) else 'lists'}"
    return "an object"


def describe(value: Any) -> str:
    """A value in words: ``a string``, ``null``, ``a number (3)``."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "an infinite number"
    if isinstance(value, (int, float)):
        return f"a number ({value:.15g})" if isinstance(value, float) else f"a number ({str(value)[:20]})"
    words: Mapping[type, str] = {str: "a string", list: "a list", dict: "an object", bytes: "bytes"}
    return words.get(type(value), type(value).__name__)


def _scalar_problem(value: Any, kind: Scalar, path: str) -> str | None:
    if type(value) not in kind.python or not _fits(value, kind):
        return f"'{path}' must be {kind.one}, got {describe(value)}. {kind.advice}"
    if kind is TEXT and len(value) > MAX_TEXT_CHARS:
        return (
            f"'{path}' has {len(value):,} characters, more than the {MAX_TEXT_CHARS:,} that a text may have. "
            "Split or shorten it."
        )
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        return f"'{path}' holds half a surrogate pair (\\ud800…\\udfff), which is no character. Remove it."
    return None


def _fits(value: Any, kind: Scalar) -> bool:
    if kind is NUMBER:
        return math.isfinite(to_float(value))
    if kind is LABEL:
        return value in (0, 1)
    if kind is WHOLE:
        return bool(-(2**31) <= value < 2**31)
    if kind is OBJECT and isinstance(value, dict):
        return is_json(value)
    return kind is not OBJECT or is_object(value)


def is_json(value: Any) -> bool:
    """Whether a value can be written as JSON: half surrogate pairs and numbers beyond 64 bits cannot."""
    try:
        orjson.dumps(value, default=str)
    except TypeError:
        return False
    return True


def _first(found: Iterable[str | None]) -> str | None:
    return next((words for words in found if words), None)
