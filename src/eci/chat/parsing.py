"""The JSON object in an answer, and whether it has the form that was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from eci.chat.masking import whole
from eci.chat.schemas import DEFAULT

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_WHOLE = re.compile(r"\s*#?\s*(-?[0-9]{1,18})\s*", re.ASCII)
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
# Reasoning as models write it into their answers; templates may leave out where it begins.
_THOUGHT, _THOUGHT_ENDS = re.compile(r"<think(?:ing)?>"), re.compile(r"</think(?:ing)?>")
# After the object of an answer that ran out of tokens there may be the end of its fence, and no word.
_END = re.compile(r"\s*(?:```)?\s*")
# What begins an object, and no formula; and how often what does so may be none.
_BEGIN, _TRIES = re.compile(r'\{\s*["}]'), 1000


class Misfit(ValueError):  # noqa: N818
    """An answer without the form that was asked for; says what is wrong, as the model is told it."""


def parsed(text: str, schema: Mapping[str, Any], *, cut: bool = False) -> dict[str, Any]:
    r"""The one JSON object in a text that has the form of a schema.

    Code fences, text around it, and what stands between ``<think>`` and ``</think>`` do not matter.
    Properties that the schema does not know are left out, as is an object around the object. Where these are
    asked for, "3" and 3.0 are taken for the integer 3, "true" for a truth value, and 3 or {"text": "a"} for a
    text. What is missing or of another type is its ``default``, where the schema has one.

    Parameters
    ----------
    text : str
    schema : mapping
    cut : bool
        Whether the text was cut off: then only an object at its very end is more than a draft.

    Raises
    ------
    Misfit
        There is no such object, or there are two that differ: nobody knows which is the answer.

    Examples
    --------
    >>> form = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    >>> parsed('<think>{"n": 1}? No.</think> ```json\n{"n": 2, "sure": true}\n```', form)
    {'n': 2}
    >>> parsed('{"n": "two"}', form)
    Traceback (most recent call last):
        ...
    eci.chat.parsing.Misfit: n: expected integer, got string
    """
    why = "there is no whole JSON object in it"
    fitting: list[dict[str, Any]] = []
    for value, end in _objects(text):
        if cut and not _END.fullmatch(text, end):
            why = "it was cut off"
            continue
        try:
            fitted = _fitted(_inner(value, schema), schema, "")
        except Misfit as misfit:
            why = str(misfit)
            continue
        if fitted not in fitting:
            fitting.append(fitted)
    if len(fitting) > 1:
        raise Misfit("there are two JSON objects of that form in it, and they differ")
    if not fitting:
        raise Misfit(why)
    return fitting[0]


def _objects(text: str) -> list[tuple[dict[str, Any], int]]:
    """The objects in a text and where they end, without those in reasoning."""
    # Models write line breaks into strings as they are; NaN is no number.
    decoder = json.JSONDecoder(parse_constant=lambda _: None, strict=False)
    found: list[tuple[dict[str, Any], int, int]] = []
    place, tries = 0, 0
    while tries < _TRIES and (begins := _BEGIN.search(text, place)):
        begin = begins.start()
        try:
            value, place = decoder.raw_decode(text, begin)
            found.append((value, begin, place))
        except (ValueError, RecursionError):
            place, tries = begin + 1, tries + 1
    spans = [(begin, end) for _, begin, end in found]
    starts = _outside(_THOUGHT, text, spans)
    after = max(_outside(_THOUGHT_ENDS, text, spans), default=0)
    until = next((start for start in starts if start >= after), len(text))
    return [(value, end) for value, begin, end in found if after <= begin < until]


def _outside(mark: re.Pattern[str], text: str, spans: list[tuple[int, int]]) -> list[int]:
    """Where the mark stands outside of all objects: in one it is part of a text."""
    places = [match.start() for match in mark.finditer(text)]
    return [place for place in places if not any(begin <= place < end for begin, end in spans)]


def _inner(value: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """What stands alone in an object that has nothing of what is asked for."""
    (first, *others) = value.values() or ((),)
    nothing = not {_plain(name) for name in value} & schema.get("properties", value).keys()
    return first if nothing and isinstance(first, dict) and not others else value


def _fitted(value: Any, schema: Mapping[str, Any], path: str) -> Any:
    try:
        return _checked(value, schema, path)
    except Misfit:
        if DEFAULT not in schema:
            raise
        return schema[DEFAULT]


def _checked(value: Any, schema: Mapping[str, Any], path: str) -> Any:
    where = f"{path}: " if path else ""
    value = _meant(value, _kind(schema))
    _refuse_type(value, schema.get("type"), where)
    if "enum" in schema and value not in schema["enum"]:
        raise Misfit(f"{where}expected one of {json.dumps(schema['enum'])}, got {_short(value)}")
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return _checked_object(value, schema, path)
    if isinstance(value, list):
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if not least <= len(value) <= most:
            raise Misfit(f"{where}expected {least} to {most} items, got {len(value)}")
        return _checked_list(value, schema.get("items", {}), path)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        raise Misfit(f"{where}{value} is out of range")
    return value


def _checked_list(value: list[Any], form: Mapping[str, Any], path: str) -> list[Any]:
    """The items; where there are some and none has its form, they are another thing than was asked for."""
    told: list[Any] = []
    misfits: list[Misfit] = []
    for place, each in enumerate(value):
        try:
            told.append(_checked(each, form, f"{path}[{place}]"))
        except Misfit as misfit:
            if DEFAULT not in form:
                raise
            misfits.append(misfit)
            told.append(form[DEFAULT])
    if misfits and len(misfits) == len(told):
        raise misfits[0]
    return told


def _checked_object(value: dict[str, Any], schema: Mapping[str, Any], path: str) -> dict[str, Any]:
    known = schema.get("properties", {})
    # By its exact name first.
    named = {_plain(name): part for name, part in value.items()} | value
    missing = [
        name
        for name in schema.get("required", ())
        if name not in named and DEFAULT not in known.get(name, {})
    ]
    if missing:
        raise Misfit(f"{path or 'the object'}: {', '.join(missing)} missing")
    told = {} if "properties" in schema else dict(value)
    for name, form in known.items():
        if name in named:
            told[name] = _fitted(named[name], form, f"{path}.{name}" if path else name)
        elif DEFAULT in form:
            told[name] = form[DEFAULT]
    return told


def _plain(name: str) -> str:
    """A name of a property as our schemas write it: ``Core need`` is ``core_need``."""
    return re.sub(r"\W+", "_", name.strip().lower())


def _kind(schema: Mapping[str, Any]) -> str | None:
    """The one type that a value has if it is not null; None if there are several."""
    types = schema.get("type")
    kinds = [each for each in ([types] if isinstance(types, str) else types or []) if each != "null"]
    return kinds[0] if len(kinds) == 1 else None


def _meant(value: Any, kind: str | None) -> Any:
    """A value that was written otherwise, where nothing else can be meant.

    >>> [_meant("#3", "integer"), _meant(3.0, "integer"), _meant(" Yes", "boolean"), _meant(3, "string")]
    [3, 3, True, '3']
    >>> _meant({"title": "t", "text": "a"}, "string"), _meant(["a"], "string"), _meant(["a", "b"], "string")
    ('a', 'a', ['a', 'b'])
    """
    meant = {"integer": _integer, "boolean": _truth, "string": _text}.get(kind or "")
    return meant(value) if meant else value


def _integer(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    number = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    return int(number[1]) if number else value


def _truth(value: Any) -> Any:
    if isinstance(value, str):
        return _TRUTH.get(value.strip().lower(), value)
    return bool(value) if isinstance(value, int) and value in (0, 1) else value


def _text(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return value["text"]
    if isinstance(value, dict | list) and len(value) == 1:
        (inner,) = value.values() if isinstance(value, dict) else value
        return inner if isinstance(inner, str) else value
    return value


def _refuse_type(value: Any, types: str | list[str] | None, where: str) -> None:
    names = [types] if isinstance(types, str) else types
    # True is an int to Python, and none to JSON.
    if names and not any(
        isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in names
    ):
        found = next(name for name in reversed(_TYPES) if isinstance(value, _TYPES[name]))
        raise Misfit(f"{where}expected {' or '.join(names)}, got {found}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"
