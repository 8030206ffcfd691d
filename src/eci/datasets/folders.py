"""Folders that eci wrote, and may therefore replace."""

from __future__ import annotations

from pathlib import Path

import orjson

from eci.atomic import refuse_database
from eci.datasets.files import MARKER
from eci.errors import OutputError


def mark(folder: Path, written_by: str, layout: str) -> None:
    """Say in a folder that it is whole, by whom it was written, and what it holds."""
    told = {"written_by": written_by, "layout": layout, "files": sorted(_files(folder))}
    (folder / MARKER).write_bytes(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))


def refuse(final: Path, written_by: str) -> None:
    """Raise an `OutputError` if a folder has that name and holds anything that this command did not write."""
    if not final.is_dir() or not any(final.iterdir()):
        return
    try:
        told = orjson.loads((final / MARKER).read_bytes())
        written, other = {*told["files"], MARKER}, str(told["written_by"])
    except (OSError, ValueError, KeyError, TypeError):
        raise OutputError(
            f"{final}: is a folder that eci did not write. Give another name, or remove it first."
        ) from None
    if other != written_by:
        raise OutputError(
            f"{final}: would be replaced, and was written by {other}. Give another name, or remove it first."
        )
    there = _files(final)
    for name in sorted(there & written):
        refuse_database(final / name)
    strange = sorted(there - written)
    if strange:
        more = f" and {len(strange) - 1:,} more" if strange[1:] else ""
        raise OutputError(
            f"{final}: would be replaced, and holds {strange[0]}{more}, which was not written "
            "with it. Give another name, or move that away first."
        )


def _files(folder: Path) -> set[str]:
    # Links too, whatever they lead to.
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in found}
