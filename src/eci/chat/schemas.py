"""JSON schemas of answers: what of them is checked, and what an endpoint is told of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eci.errors import ChatError

# What stands for a part of an answer that is missing or of another type: a paid answer is not thrown away for
# a part that nothing depends on. No endpoint is told of it.
DEFAULT = "default"
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
    DEFAULT,
}
_SAID = {"title", "description"}


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


def asked_for(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as an endpoint is told it: all that is to be there, without what could stand for it.

    >>> asked_for({"type": "array", "items": {"type": "string", "default": None}})
    {'type': 'array', 'items': {'type': 'string'}}
    """
    told = {name: value for name, value in schema.items() if name != DEFAULT}
    if "properties" in told:
        told["properties"] = {name: asked_for(part) for name, part in told["properties"].items()}
    if "items" in told:
        told["items"] = asked_for(told["items"])
    return told


def form_of(schema: Mapping[str, Any]) -> str:
    """The schema, as a prompt tells it."""
    told = json.dumps(asked_for(schema), ensure_ascii=False)
    return f"Answer with one JSON object and nothing else, in the form of this JSON schema:\n{told}"
