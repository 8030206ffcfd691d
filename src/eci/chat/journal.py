"""Answers kept for good, in one SQLite file that several processes may share.

A row stands for a request. It is found by a digest of all that decides the answer and of nothing else: not of
the endpoint, nor of what the caller calls the request. It is written before the request is sent and after its
answer came, by whoever asks it: no answer is ever written over.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock

from eci.atomic import require_folder
from eci.chat.claims import lives, new_owner
from eci.chat.entries import Anew, Entry, Group, Status
from eci.chat.masking import whole
from eci.chat.messages import ChatRequest
from eci.chat.opening import damaged, explained, opened, opened_to_read, transaction
from eci.errors import ChatError

# Claims are renewed several times in this span; of one on another host nothing else is known.
STALE_AFTER = 120.0
_COLUMNS = "texts, value, error, prompt_tokens, completion_tokens, attempts, cut_at, refused"
_READ = f"SELECT state, owner, since, ended, {_COLUMNS} FROM answers WHERE digest = ?"  # noqa: S608
_WRITE = (
    f"UPDATE answers SET (state, owner, ended, {_COLUMNS}) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
    "WHERE digest = ? AND "
)
_COUNTED = (
    "SELECT model, state, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens), MAX(ended) FROM answers "
    "GROUP BY model, state"
)
_REASONS = "SELECT error, COUNT(*) FROM answers WHERE error IS NOT NULL GROUP BY error"
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
    read_only : bool
        For a look at one that is there: nothing is written into it or beside it.

    Raises
    ------
    ChatError
        The file is no journal, one of another version, damaged, or cannot be written to; to read alone, also
        that it is empty or missing.
    OutputError
        Its folder does not exist.
    """

    def __init__(self, path: Path, *, stale_after: float = STALE_AFTER, read_only: bool = False) -> None:
        if not read_only:
            require_folder(path)
        self.path, self._stale_after = path, stale_after
        self._owner = new_owner()
        self._lock = Lock()
        self._connection = opened_to_read(path) if read_only else opened(path)

    def close(self) -> None:
        """Close the file."""
        with self._lock, explained(self.path):
            self._connection.close()

    def release(self, digest: bytes | None = None) -> None:
        """Give up what is claimed and not answered, or this one of it."""
        with self._lock, explained(self.path):
            self._connection.execute(
                f"UPDATE answers SET state = 'open', owner = NULL "  # noqa: S608
                f"WHERE {_OWN} AND digest = COALESCE(?, digest)",
                (self._owner, digest),
            )

    def renew(self) -> None:
        """Say that what is claimed is still being asked."""
        with self._lock, explained(self.path):
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
        with self._lock, explained(self.path):
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
        with self._lock, explained(self.path), transaction(self._connection):
            now = time.time()
            self._connection.execute(
                "INSERT OR IGNORE INTO answers (digest, state, key, model, name, sample, since) "
                "VALUES (?, 'open', ?, ?, ?, ?, ?)",
                (digest, whole(request.key), model, request.name, request.sample, now),
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
        with self._lock, explained(self.path):
            done = self._connection.execute(f"{_WRITE}({own})", (*told, digest, self._owner))
            return done.rowcount > 0

    def status(self) -> Status:
        """Rows by model and state, their tokens, why there is no answer, and when the last one came."""
        with self._lock, explained(self.path), transaction(self._connection, "DEFERRED"):
            rows = self._connection.execute(_COUNTED).fetchall()
            reasons = self._connection.execute(_REASONS).fetchall()
        models = tuple(Group(*row[:5]) for row in rows)
        last = max((row[5] for row in rows if row[5] and row[1] == "answered"), default=None)
        return Status(models, Counter(dict(reasons)), last)

    def mean_completion(self, model: str, name: str) -> float | None:
        """Mean tokens of the usable answers of a model to prompts of a name, or None where there are none."""
        with self._lock, explained(self.path):
            (mean,) = self._connection.execute(
                "SELECT AVG(completion_tokens) FROM answers WHERE model = ? AND name = ? "
                "AND state = 'answered' AND completion_tokens > 0",
                (model, name),
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
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The file, for a look at what stands beside the answers."""
        with self._lock, explained(self.path), transaction(self._connection, "DEFERRED"):
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The file, for what stands beside the answers: all that is written there, or nothing."""
        with self._lock, explained(self.path), transaction(self._connection):
            yield self._connection

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
            raise damaged(self.path, str(fault)) from None
