"""The JSON object in an answer, and whether it has the form that was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eci.errors import ChatError

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_CHECKED = {
    "type",
    "enum",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
}
_SAID = {"title", "description"}


class Misfit(ValueError):  # noqa: N818
    """An answer without the form that was asked for; says what is wrong, as the model is told it."""


def parsed(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    r"""The last JSON object in a text that has the form of a schema.

    Code fences and text around it do not matter: models think aloud, and end with the answer. Properties that
    the schema does not know are left out.

    Raises
    ------
    Misfit
        There is no such object.

    Examples
    --------
    >>> form = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    >>> parsed('So {"n": 1}? No. ```json\n{"n": 2, "sure": true}\n```', form)
    {'n': 2}
    >>> parsed('{"n": "two"}', form)
    Traceback (most recent call last):
        ...
    eci.chat.parsing.Misfit: n: expected integer, got string
    """
    why = "there is no whole JSON object in it"
    for value in reversed(_objects(text)):
        try:
            fitted = _fitted(value, schema, "")
        except Misfit as misfit:
            why = str(misfit)
            continue
        if isinstance(fitted, dict):
            return fitted
    raise Misfit(why)


def whole(text: str) -> str:
    """A text without halves of surrogate pairs, which no file takes; answers that were cut off have them."""
    return text.encode("utf-8", "replace").decode()


def refuse_unchecked(schema: Mapping[str, Any]) -> None:
    """Raise a `ChatError` if a schema says what is not checked here."""
    unknown = schema.keys() - _CHECKED - _SAID
    if unknown:
        raise ChatError(
            f"Schemas of answers with {', '.join(sorted(unknown))} are not checked.",
            hint=f"Use {', '.join(sorted(_CHECKED))} alone.",
        )
    for part in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        refuse_unchecked(part)


def _objects(text: str) -> list[dict[str, Any]]:
    decoder = json.JSONDecoder(parse_constant=_no_number)
    found = []
    place = text.find("{")
    while place >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
            found.append(value)
        except (ValueError, RecursionError):
            place += 1
        place = text.find("{", place)
    return found


def _no_number(name: str) -> None:
    raise ValueError(name)


def _fitted(value: Any, schema: Mapping[str, Any], path: str) -> Any:
    where = f"{path}: " if path else ""
    _refuse_type(value, schema.get("type"), where)
    if "enum" in schema and value not in schema["enum"]:
        raise Misfit(f"{where}expected one of {json.dumps(schema['enum'])}, got {_short(value)}")
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return _fitted_object(value, schema, path)
    if isinstance(value, list):
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if not least <= len(value) <= most:
            raise Misfit(f"{where}expected {least} to {most} items, got {len(value)}")
        items = schema.get("items", {})
        return [_fitted(each, items, f"{path}[{place}]") for place, each in enumerate(value)]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        raise Misfit(f"{where}{value} is out of range")
    return value


def _fitted_object(value: dict[str, Any], schema: Mapping[str, Any], path: str) -> dict[str, Any]:
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        raise Misfit(f"{path or 'the object'}: {', '.join(missing)} missing")
    known = schema.get("properties", {})
    spare = {} if "properties" in schema else value
    return {
        **spare,
        **{
            name: _fitted(value[name], form, f"{path}.{name}" if path else name)
            for name, form in known.items()
            if name in value
        },
    }


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
