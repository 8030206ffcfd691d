"""Where a result comes from, as tables that every page has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from eci.report.data import Column, Table, visible

_COUNTED = ("rows", "queries", "documents", "negatives", "layout")
# What is told elsewhere on the page.
_ELSEWHERE = ("versions", "command", "reading", "loading")


def command_of(settings: Mapping[str, Any]) -> str | None:
    """The command line that obtains the result again, if it is known."""
    command = settings.get("command")
    return visible(str(command)) if command else None


def encoder_table(encoder: Mapping[str, Any], settings: Mapping[str, Any]) -> Table:
    """The encoder, by its digest, and the versions of what ran."""
    about = [
        ("Encoder", encoder.get("name")),
        ("Model to be fine-tuned", encoder.get("target")),
        ("Digest of its weights (BLAKE2b)", encoder.get("weights_blake2b")),
        ("Precision", encoder.get("precision")),
        ("Dimension", encoder.get("dimension")),
        ("Tokens read of a text", encoder.get("max_seq_length")),
        ("Prompts", encoder.get("prompts")),
        *_versions(settings, encoder),
    ]
    return pairs("encoder", "Encoder and versions", about)


def settings_table(settings: Mapping[str, Any]) -> Table:
    """What was set, and how rows and model were read."""
    told = [(name, value) for name, value in settings.items() if name not in _ELSEWHERE]
    told += [
        (f"{kind}: {name}", value)
        for kind in ("reading", "loading")
        for name, value in (settings.get(kind) or {}).items()
        if value not in (None, (), [], False)
    ]
    return pairs("settings", "Settings", told)


def data_table(data: Mapping[str, Any]) -> Table:
    """How much was read."""
    counts = [(name.replace("_", " "), data[name]) for name in _COUNTED if name in data]
    return pairs("data", "Data", counts)


def files_table(data: Mapping[str, Any]) -> Table:
    """The files that were read, rows and what was given beside them, by their digests."""
    files = tuple(
        (visible(str(file.get("name"))), file.get("bytes"), visible(str(file.get("sha256", "–"))))
        for kind in ("files", "corpora", "judgements")
        for file in data.get(kind, ())
    )
    columns = (Column("File"), Column("Bytes", "count"), Column("SHA-256"))
    return Table("files", "Files that were read", columns, files)


def pairs(key: str, title: str, told: Iterable[tuple[str, Any]]) -> Table:
    """Names and their values; those without one are left out."""
    rows = tuple((visible(name), visible(_told(value))) for name, value in told if value is not None)
    return Table(key, title, (Column("What"), Column("Value")), rows, pairs=True)


def _versions(settings: Mapping[str, Any], encoder: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found = {**settings.get("versions", {}), **encoder.get("versions", {})}
    return [(f"Version of {name}", version) for name, version in found.items()]


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
