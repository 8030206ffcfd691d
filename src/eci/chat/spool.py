"""Requests that wait for their replies, on disk: in memory stays by what they are found."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, KeysView
from pathlib import Path
from types import TracebackType
from typing import IO

from eci.chat.messages import ChatRequest


class Spool:
    """Requests by their digest, in the order in which they came; a context manager.

    Those of one digest are one, with several keys. Their texts lie in a file without a name, which is gone
    with the process; a request takes some 300 bytes of memory, however long it is.

    Parameters
    ----------
    folder : Path
        On whose disk the file lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._places: dict[bytes, int] = {}
        self._keys: dict[bytes, list[str]] = {}

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._places)

    def __getitem__(self, digest: bytes) -> ChatRequest:
        """The first request of a digest."""
        return self._read(self._places[digest])

    def digests(self) -> KeysView[bytes]:
        """By what the requests are found."""
        return self._places.keys()

    def add(self, digest: bytes, request: ChatRequest) -> None:
        """Put a request aside; one of a digest that is there already adds its key."""
        if digest in self._places:
            self._keys.setdefault(digest, []).append(request.key)
        else:
            self._places[digest] = self._written(request)

    def take(self, digest: bytes) -> list[ChatRequest]:
        """The requests of a digest, which are then forgotten."""
        first = self[digest]
        del self._places[digest]
        others = self._keys.pop(digest, ())
        return [first, *(ChatRequest(key, *_rest(first)) for key in others)]

    def beside(self) -> IO[bytes]:
        """A further file without a name, on the same disk."""
        return tempfile.TemporaryFile(dir=self._folder)

    def _written(self, request: ChatRequest) -> int:
        if self._file is None:
            self._file = self.beside()
        place = self._file.seek(0, 2)
        self._file.write(json.dumps([request.key, *_rest(request)]).encode() + b"\n")
        return place

    def _read(self, place: int) -> ChatRequest:
        if self._file is None:
            raise KeyError(place)
        self._file.seek(place)
        key, messages, *rest = json.loads(self._file.readline())
        return ChatRequest(key, tuple((role, content) for role, content in messages), *rest)


def _rest(request: ChatRequest) -> tuple[tuple[tuple[str, str], ...], dict[str, object], str, int]:
    return request.messages, dict(request.schema), request.name, request.sample
