"""Answers kept for good, in one SQLite file that several processes may share.

A row stands for a request. It is found by a digest of all that decides the answer and of nothing else: not of
the endpoint, nor of what the caller calls the request. It is written before the request is sent and after its
answer came.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeAlias

from eci.atomic import require_folder
from eci.chat.claims import lives, new_owner
from eci.chat.messages import ChatRequest
from eci.chat.settings import ChatSettings
from eci.errors import ChatError

# "open": no answer yet, and nobody asks. "asked": somebody does. The other two are final.
State: TypeAlias = Literal["open", "asked", "answered", "failed"]
_APPLICATION, _VERSION = 0x45434943, 1
_BUSY = 60.0
_TABLE = """
CREATE TABLE answers (
    digest BLOB PRIMARY KEY, state TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    sample INTEGER NOT NULL, owner TEXT, since REAL NOT NULL, ended REAL,
    texts TEXT NOT NULL DEFAULT '[]', value TEXT, error TEXT,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0
)"""
_READ = "state, owner, since, ended, texts, value, error, prompt_tokens, completion_tokens, attempts"


@dataclass(frozen=True)
class Entry:
    """What the journal knows of a request.

    Parameters
    ----------
    state : {"open", "asked", "answered", "failed"}
    texts : tuple of str
        What the model wrote, before it was read; two where it was told what was wrong with the first.
    value : dict, optional
        The answer as read.
    error : str, optional
        Why there is none.
    prompt_tokens, completion_tokens, attempts : int
        Of all runs.
    ended : float
        When the row was last written after an attempt, in seconds since 1970; 0 if never.
    held : bool
        Whether somebody else asks now; one who has died does not.
    """

    state: State
    texts: tuple[str, ...] = ()
    value: dict[str, Any] | None = None
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 0
    ended: float = 0.0
    held: bool = False


@dataclass(frozen=True)
class Status:
    """How many rows of a journal are in each state, and the tokens that they took."""

    states: dict[str, int]
    prompt_tokens: int
    completion_tokens: int


def digest_of(request: ChatRequest, settings: ChatSettings) -> bytes:
    """What tells one request from another: model, temperature, tokens, seed, schema, messages and sample.

    The order of the properties in the schema counts: models answer in it.
    """
    told = [
        settings.model,
        settings.temperature,
        settings.max_tokens,
        settings.seed,
        request.schema,
        request.messages,
        request.sample,
    ]
    return hashlib.sha256(json.dumps(told).encode()).digest()


class Journal:
    """The requests and answers in a file; threads and processes may share it.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    stale_after : float
        Seconds after which a claim is taken over although its process may still run.

    Raises
    ------
    ChatError
        The file is no journal, one of another version, damaged, or cannot be written to.
    OutputError
        Its folder does not exist.
    """

    def __init__(self, path: Path, *, stale_after: float = 600.0) -> None:
        require_folder(path)
        self.path, self._stale_after = path, stale_after
        self._owner = new_owner()
        self._lock = Lock()
        with self._explained():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._explained():
            self._connection.close()

    def release(self) -> None:
        """Give up what is claimed and not answered."""
        with self._lock, self._explained():
            self._connection.execute(
                "UPDATE answers SET state = 'open', owner = NULL WHERE state = 'asked' AND owner = ?",
                (self._owner,),
            )

    def find(self, digest: bytes) -> Entry | None:
        """What is known of a request, if anything is."""
        with self._lock, self._explained():
            return self._read(digest)

    def claim(self, digest: bytes, request: ChatRequest, model: str, *, failed_before: float = 0.0) -> Entry:
        """Say that the request is about to be sent, unless it is answered or somebody else sends it.

        Parameters
        ----------
        digest : bytes
        request : ChatRequest
        model : str
        failed_before : float
            What failed for good before this time is asked again; seconds since 1970.

        Returns
        -------
        Entry
            It may be sent if its state is "asked" and it is not held.
        """
        with self._lock, self._transaction():
            row = self._connection.execute(
                "SELECT state, owner, since, ended FROM answers WHERE digest = ?", (digest,)
            ).fetchone()
            now = time.time()
            if row is None:
                self._connection.execute(
                    "INSERT INTO answers (digest, state, key, model, sample, owner, since) "
                    "VALUES (?, 'asked', ?, ?, ?, ?, ?)",
                    (digest, request.key, model, request.sample, self._owner, now),
                )
                return Entry("asked")
            if self._free(row[0], row[1], row[2], row[3], failed_before):
                # What failed for good starts anew; what a killed run was told is gone on from.
                self._connection.execute(
                    "UPDATE answers SET state = 'asked', owner = ?, since = ?, value = NULL, error = NULL, "
                    "texts = CASE state WHEN 'failed' THEN '[]' ELSE texts END WHERE digest = ?",
                    (self._owner, now, digest),
                )
            found = self._read(digest)
            if found is None:
                raise ChatError(f"{self.path}: a row went missing.", hint="Let nothing else write to it.")
            return found

    def keep(self, digest: bytes, entry: Entry) -> None:
        """Write what came of a request, durably against a killed process."""
        with self._lock, self._explained():
            self._connection.execute(
                "UPDATE answers SET state = ?, owner = ?, ended = ?, texts = ?, value = ?, error = ?, "
                "prompt_tokens = ?, completion_tokens = ?, attempts = ? WHERE digest = ?",
                (
                    entry.state,
                    self._owner if entry.state == "asked" else None,
                    time.time(),
                    json.dumps(entry.texts, ensure_ascii=False),
                    None if entry.value is None else json.dumps(entry.value, ensure_ascii=False),
                    entry.error,
                    entry.prompt_tokens,
                    entry.completion_tokens,
                    entry.attempts,
                    digest,
                ),
            )

    def status(self) -> Status:
        """Rows by state, and their tokens."""
        with self._lock, self._explained():
            rows = self._connection.execute(
                "SELECT state, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens) FROM answers "
                "GROUP BY state"
            ).fetchall()
        return Status(
            {row[0]: row[1] for row in rows}, sum(row[2] for row in rows), sum(row[3] for row in rows)
        )

    def mean_completion(self, model: str) -> float | None:
        """Mean tokens of the answers of a model, or None where the journal has none."""
        with self._lock, self._explained():
            (mean,) = self._connection.execute(
                "SELECT AVG(completion_tokens) FROM answers WHERE model = ? AND completion_tokens > 0",
                (model,),
            ).fetchone()
        return None if mean is None else float(mean)

    def _prepare(self) -> None:
        execute = self._connection.execute
        with self._transaction():
            (application,) = execute("PRAGMA application_id").fetchone()
            (version,) = execute("PRAGMA user_version").fetchone()
            (tables,) = execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if (application, tables) == (0, 0):
                execute(_TABLE)
                execute(f"PRAGMA application_id = {_APPLICATION}")
                execute(f"PRAGMA user_version = {_VERSION}")
            elif application != _APPLICATION:
                raise ChatError(
                    f"{self.path} is a database, but no journal of answers.",
                    hint="Choose another with --journal.",
                )
            elif version != _VERSION:
                raise ChatError(
                    f"{self.path} is a journal of version {version}; this eci reads version {_VERSION}.",
                    hint="Use the eci that wrote it, or choose another with --journal.",
                )
        # A killed process loses nothing with either; NORMAL spares a wait for the disk at every answer.
        with suppress(sqlite3.OperationalError):  # another process is just opening it
            execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")

    def _read(self, digest: bytes) -> Entry | None:
        row = self._connection.execute(f"SELECT {_READ} FROM answers WHERE digest = ?", (digest,)).fetchone()  # noqa: S608
        if row is None:
            return None
        state, owner, since, ended, texts, value, error, prompt, completion, attempts = row
        try:
            return Entry(
                state,
                tuple(json.loads(texts)),
                None if value is None else json.loads(value),
                error,
                prompt,
                completion,
                attempts,
                ended=ended or 0.0,
                held=state == "asked" and not self._free(state, owner, since, ended, 0.0),
            )
        except ValueError as fault:
            raise self._damaged(str(fault)) from None

    def _free(
        self, state: str, owner: str | None, since: float, ended: float | None, failed_before: float
    ) -> bool:
        if state == "asked":
            stale = time.time() - since > self._stale_after
            return owner == self._owner or stale or not lives(owner or "")
        return state == "open" or (state == "failed" and (ended or 0.0) < failed_before)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ChatError(
                f"The journal {self.path} cannot be used: {error}.",
                hint="Free space or wait for who else uses it, or choose another with --journal.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> ChatError:
        return ChatError(
            f"The journal {self.path} is damaged or no journal at all ({why}).",
            hint="Choose another with --journal; 'sqlite3 FILE .recover' may save the answers in it.",
        )
