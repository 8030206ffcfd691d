"""The log of a fix: what was changed, row by row, and what was written, so that it can be undone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from eci.datasets.identity import fingerprint
from eci.errors import DataError
from eci.results import count

LOG = "eci.audit-log/1"
_DONE = ("dropped", "relabelled", "demoted")
_RESTORE = "Give what eci audit --fix wrote, whole and unchanged."


def log_of(out: Path) -> Path:
    """Where the changes that made a file are written."""
    return out.with_name(f"{out.name}.changes.jsonl")


def write_line(handle: IO[bytes], told: Mapping[str, Any]) -> None:
    """One line of a log."""
    handle.write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))


def last_line(changed: int, out: Path, content: str) -> dict[str, Any]:
    """What ends a log: the rows changed, the files they are in, and a digest of the rows as they were."""
    return {"end": changed, "written": fingerprint([out]), "content": content}


@dataclass(frozen=True)
class Changes:
    """A log that was read to its end; iterating reads its changes again, a row at a time.

    Parameters
    ----------
    path : Path
    fixed : str
        Name of what was written, beside the log.
    original : list of dict
        ``sha256`` of each file that was audited.
    row_groups : list of int or None
        Rows in each group of the Parquet file that was audited.
    changed : int
        Rows that were changed.
    written : list of dict
        ``name`` and ``sha256`` of each file that was written.
    content : str
        Digest of the rows that were audited.
    """

    path: Path
    fixed: str
    original: list[dict[str, Any]]
    row_groups: list[int] | None
    changed: int
    written: list[dict[str, Any]]
    content: str

    @classmethod
    def read(cls, path: Path) -> Changes:
        """Check every line.

        Raises
        ------
        DataError
            It cannot be read, is no log of a fix, or is not whole.
        """
        lines = _lines(path)
        header = next(lines, {})
        if header.get("schema") != LOG:
            raise DataError(
                f"{path}:1: has the schema {header.get('schema')!r}, expected {LOG!r}. {_RESTORE}"
            )
        if not _is_header(header):
            raise DataError(f"{path}:1: is no first line of a log of changes. {_RESTORE}")
        end, changed, row = None, 0, -1
        for number, line in enumerate(lines, 2):
            if end is not None:
                raise DataError(f"{path}:{number}: comes after the last line. {_RESTORE}")
            if "end" in line and _is_end(line):
                end = line
            elif not _is_change(line) or line["row"] <= row:
                raise DataError(f"{path}:{number}: is no change of a further row. {_RESTORE}")
            else:
                changed, row = changed + 1, line["row"]
        if end is None:
            raise DataError(f"{path}: has no last line, so it was cut off. {_RESTORE}")
        if end["end"] != changed:
            raise DataError(
                f"{path}: has changes of {count(changed, 'row')}, its last line says {end['end']:,}. "
                f"{_RESTORE}"
            )
        told = {name: header[name] for name in ("fixed", "original", "row_groups")}
        return cls(path=path, changed=changed, written=end["written"], content=end["content"], **told)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        lines = _lines(self.path)
        next(lines, None)
        return (line for line in lines if "end" not in line)

    @property
    def fixed_path(self) -> Path:
        """Where the fixed rows lie."""
        return self.path.parent / self.fixed

    def refuse_others(self) -> None:
        """Raise a `DataError` unless the fixed rows are, byte for byte, those that were written."""
        if _sums(fingerprint([self.fixed_path])) != _sums(self.written):
            raise DataError(
                f"{self.fixed_path}: is not what eci audit --fix wrote (its SHA-256 is another than in "
                f"{self.path}). Only an unchanged file can be turned back."
            )

    def are_original(self, paths: list[Path]) -> bool:
        """Whether files are, byte for byte, those that were audited."""
        return _sums(fingerprint(paths)) == _sums(self.original)


def _sums(files: list[dict[str, Any]]) -> list[str]:
    return sorted(file["sha256"] for file in files)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with path.open("rb") as handle:
            for line in handle:
                number += 1
                told = orjson.loads(line)
                if not isinstance(told, dict):
                    raise TypeError("no JSON object")
                yield told
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. {_RESTORE}") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}:{number}: is no line of a log of changes. {_RESTORE}") from error


def _is_header(line: Mapping[str, Any]) -> bool:
    name, groups = line.get("fixed"), line.get("row_groups", 0)
    named = isinstance(name, str) and bool(name) and Path(name).name == name
    sized = groups is None or (isinstance(groups, list) and all(isinstance(size, int) for size in groups))
    return named and sized and _are_files(line.get("original"))


def _is_end(line: Mapping[str, Any]) -> bool:
    whole = isinstance(line["end"], int) and isinstance(line.get("content"), str)
    return whole and _are_files(line.get("written"))


def _are_files(files: Any) -> bool:
    return isinstance(files, list) and all(
        isinstance(file, dict) and isinstance(file.get("sha256"), str) for file in files
    )


def _is_change(line: Mapping[str, Any]) -> bool:
    changes = line.get("changes")
    if not isinstance(line.get("row"), int) or "query_id" not in line or not isinstance(changes, list):
        return False
    if not changes:
        return False
    places = [each.get("place") if isinstance(each, dict) else None for each in changes]
    known = [place for place in places if isinstance(place, int) and place >= 0]
    if known != places or known != sorted(set(known)):
        return False
    return all(each.get("done") in _DONE and _is_negative(each.get("negative")) for each in changes)


def _is_negative(told: Any) -> bool:
    if not isinstance(told, dict):
        return False
    extra = told.get("extra")
    try:
        return extra is None or isinstance(orjson.loads(extra), dict)
    except orjson.JSONDecodeError:
        return False
