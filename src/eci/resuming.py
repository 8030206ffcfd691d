"""Totals of queries that passed by, on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from eci.atomic import atomic_path
from eci.totals import Totals

# Seconds between two writes, at least: what a kill loses.
_PAUSE = 5.0


def identity_of(model: Any) -> dict[str, Any] | None:
    """What a model tells of itself, if that tells it from every other; None otherwise.

    It has a digest of all that decides what it gives (``identity``), or one of its weights or vectors in its
    description.
    """
    described: dict[str, Any] = getattr(model, "describe", dict)()
    digest = getattr(model, "identity", lambda: None)()
    if digest is None and {"weights_blake2b", "vectors_blake2b"}.isdisjoint(described):
        return None
    return {**described, "identity": digest}


class Checkpoint:
    """How many portions have passed by, and their totals.

    Parameters
    ----------
    path : Path, optional
        Nothing is kept without one.
    key : str
        Of everything that decides the totals. What another key left is not taken up.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._path, self._key = path, key
        self._written = time.monotonic()

    def load(self) -> tuple[int, Totals] | None:
        """What was kept under this key."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            told = json.loads(self._path.read_bytes())
            return (told["passed"], Totals.from_dict(told["totals"])) if told["key"] == self._key else None
        except (ValueError, KeyError, TypeError):
            # What cannot be read is made again.
            return None

    def keep(self, passed: int, totals: Totals) -> None:
        """Write it, if some time has gone by since it was written."""
        if self._path is None or time.monotonic() - self._written < _PAUSE:
            return
        told = {"key": self._key, "passed": passed, "totals": totals.to_dict()}
        with atomic_path(self._path) as temporary:
            temporary.write_text(json.dumps(told), encoding="utf-8", errors="backslashreplace")
        self._written = time.monotonic()

    def done(self) -> None:
        """Forget it: the result is there."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
