"""Answers kept for good, in one SQLite file that several processes may share.

A row stands for a request. It is found by a digest of all that decides the answer and of nothing else: not of
the endpoint, nor of what the caller calls the request. It is written before the request is sent and after its
answer came, by whoever asks it: no answer is ever written over.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock

from eci.atomic import require_folder
from eci.chat.claims import lives, new_owner
from eci.chat.entries import Anew, Entry, Status
from eci.chat.masking import whole
from eci.chat.messages import ChatRequest
from eci.errors import ChatError

_APPLICATION, _VERSION = 0x45434943, 2
_BUSY = 60.0
# Claims are renewed several times in this span; of one on another host nothing else is known.
STALE_AFTER = 120.0
_TABLE = """
CREATE TABLE answers (
    digest BLOB PRIMARY KEY, state TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    sample INTEGER NOT NULL, owner TEXT, since REAL NOT NULL, ended REAL,
    texts TEXT NOT NULL DEFAULT '[]', value TEXT, error TEXT,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, cut_at INTEGER, refused INTEGER NOT NULL DEFAULT 0
)"""
_INDEX = "CREATE INDEX asked ON answers (owner) WHERE state = 'asked'"
_COLUMNS = "texts, value, error, prompt_tokens, completion_tokens, attempts, cut_at, refused"
_READ = f"SELECT state, owner, since, ended, {_COLUMNS} FROM answers WHERE digest = ?"  # noqa: S608
_WRITE = (
    f"UPDATE answers SET (state, owner, ended, {_COLUMNS}) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
    "WHERE digest = ? AND "
)
_OWN = "state = 'asked' AND owner = ?"
_NOTHING = Anew()


def files_of(journal: Path) -> tuple[Path, ...]:
    """A journal and what SQLite keeps beside it, whether they are there or not."""
    return tuple(journal.with_name(journal.name + ending) for ending in ("", "-wal", "-shm"))


class Journal:
    """The requests and answers in a file; threads and processes may share it.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    stale_after : float
        Seconds after which a claim that was not renewed is taken over although its process may still run.

    Raises
    ------
    ChatError
        The file is no journal, one of another version, damaged, or cannot be written to.
    OutputError
        Its folder does not exist.
    """

    def __init__(self, path: Path, *, stale_after: float = STALE_AFTER) -> None:
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

    def release(self, digest: bytes | None = None) -> None:
        """Give up what is claimed and not answered, or this one of it."""
        with self._lock, self._explained():
            self._connection.execute(
                f"UPDATE answers SET state = 'open', owner = NULL "  # noqa: S608
                f"WHERE {_OWN} AND digest = COALESCE(?, digest)",
                (self._owner, digest),
            )

    def renew(self) -> None:
        """Say that what is claimed is still being asked."""
        with self._lock, self._explained():
            self._connection.execute(
                f"UPDATE answers SET since = ? WHERE {_OWN}",  # noqa: S608
                (time.time(), self._owner),
            )

    def renewing(self, stopping: Event) -> None:
        """Renew what is claimed until the run ends; for a thread of its own."""
        while not stopping.wait(self._stale_after / 5):
            # Whoever asks is told of a journal that cannot be written to.
            with suppress(ChatError):
                self.renew()

    def find(self, digest: bytes) -> Entry | None:
        """What is known of a request, if anything is."""
        with self._lock, self._explained():
            return self._read(digest)

    def claim(self, digest: bytes, request: ChatRequest, model: str, anew: Anew = _NOTHING) -> Entry:
        """Say that the request is about to be sent, unless it is answered or somebody else sends it.

        Parameters
        ----------
        digest : bytes
        request : ChatRequest
        model : str
        anew : Anew
            What has no usable answer and is to be asked all the same.

        Returns
        -------
        Entry
            It may be sent if its state is "asked" and it is not held.
        """
        with self._lock, self._transaction():
            now = time.time()
            self._connection.execute(
                "INSERT OR IGNORE INTO answers (digest, state, key, model, sample, since) "
                "VALUES (?, 'open', ?, ?, ?, ?)",
                (digest, whole(request.key), model, request.sample, now),
            )
            entry = self._found(digest)
            if entry.state == "open" or (entry.state == "asked" and not entry.held) or anew.covers(entry):
                # What failed for good starts anew; what a killed run was told is gone on from.
                self._connection.execute(
                    "UPDATE answers SET state = 'asked', owner = ?, since = ?, value = NULL, error = NULL, "
                    "cut_at = NULL, refused = 0, "
                    "texts = CASE state WHEN 'failed' THEN '[]' ELSE texts END WHERE digest = ?",
                    (self._owner, now, digest),
                )
                entry = self._found(digest)
            return entry

    def keep(self, digest: bytes, entry: Entry) -> bool:
        """Write what came of a request, durably against a killed process.

        Returns
        -------
        bool
            Whether it was written. Who has lost the claim writes an answer where there is none yet, and
            nothing else.
        """
        own = f"({_OWN}) OR state <> 'answered'" if entry.state == "answered" else _OWN
        told = (
            entry.state,
            self._owner if entry.state == "asked" else None,
            time.time(),
            json.dumps(entry.texts, ensure_ascii=False),
            None if entry.value is None else json.dumps(entry.value, ensure_ascii=False),
            entry.error,
            entry.prompt_tokens,
            entry.completion_tokens,
            entry.attempts,
            entry.cut_at,
            entry.refused,
        )
        with self._lock, self._explained():
            done = self._connection.execute(f"{_WRITE}({own})", (*told, digest, self._owner))
            return done.rowcount > 0

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

    @property
    def owner(self) -> str:
        """By what its claims are known."""
        return self._owner

    def holds(self, owner: str, since: float) -> bool:
        """Whether somebody else holds a claim of that time."""
        return owner != self._owner and time.time() - since <= self._stale_after and lives(owner)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The file, for what stands beside the answers: all that is written there, or nothing."""
        with self._lock, self._transaction():
            yield self._connection

    def _prepare(self) -> None:
        execute = self._connection.execute
        with self._transaction():
            (application,) = execute("PRAGMA application_id").fetchone()
            (version,) = execute("PRAGMA user_version").fetchone()
            (tables,) = execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if (application, tables) == (0, 0):
                execute(_TABLE)
                execute(_INDEX)
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

    def _found(self, digest: bytes) -> Entry:
        entry = self._read(digest)
        if entry is None:
            raise ChatError(f"{self.path}: a row went missing.", hint="Let nothing else write to it.")
        return entry

    def _read(self, digest: bytes) -> Entry | None:
        row = self._connection.execute(_READ, (digest,)).fetchone()
        if row is None:
            return None
        state, owner, since, ended, texts, value, error, prompt, completion, attempts, cut_at, refused = row
        try:
            return Entry(
                state,
                tuple(json.loads(texts)),
                None if value is None else json.loads(value),
                error,
                prompt,
                completion,
                attempts,
                cut_at,
                bool(refused),
                ended=ended or 0.0,
                held=state == "asked" and self.holds(owner or "", since),
            )
        except ValueError as fault:
            raise self._damaged(str(fault)) from None

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
