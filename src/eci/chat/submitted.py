"""Batches that were submitted and whose answers are not kept yet, in the journal beside the answers.

A row is written before its file goes out, and says how far that came: so a killed run is gone on from, and
nothing is submitted twice.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from eci.chat.journal import Journal

_TABLES = (
    "CREATE TABLE IF NOT EXISTS batches (number INTEGER PRIMARY KEY, token TEXT NOT NULL, url TEXT NOT NULL, "
    "max_tokens INTEGER NOT NULL, owner TEXT NOT NULL, since REAL NOT NULL, file TEXT, id TEXT)",
    "CREATE TABLE IF NOT EXISTS batched (batch INTEGER, digest BLOB, PRIMARY KEY (batch, digest)) "
    "WITHOUT ROWID",
)
_SETTLED = (
    "EXISTS (SELECT 1 FROM answers WHERE answers.digest = batched.digest AND state IN ('answered', 'failed'))"
)
_WAITING = (
    "SELECT id, url, COUNT(*), since FROM batches JOIN batched ON batch = number "  # noqa: S608
    f"WHERE id IS NOT NULL AND NOT {_SETTLED} GROUP BY number ORDER BY number"
)
_READ = "SELECT number, token, max_tokens, file, id FROM batches WHERE "


@dataclass(frozen=True)
class Submitted:
    """A batch.

    Parameters
    ----------
    number : int
        In the journal.
    token : str
        What it is told apart by at the endpoint, where its id is not known.
    max_tokens : int
        Most tokens of its answers.
    file : str, optional
        Id of its file, once that is there.
    id : str, optional
        Its own at the endpoint, once it has one.
    """

    number: int
    token: str
    max_tokens: int
    file: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class UnderWay:
    """A batch whose answers are not here yet.

    Parameters
    ----------
    id : str
    url : str
        Of the endpoint.
    requests : int
        Without an answer.
    since : float
        When it was submitted, in seconds since 1970.
    """

    id: str
    url: str
    requests: int
    since: float


class Ledger:
    """The batches at one endpoint; processes may share it.

    Parameters
    ----------
    journal : Journal
        Its file holds them; nothing is added to it before the first batch.
    url : str
        Of the endpoint: others know nothing of its batches.
    """

    def __init__(self, journal: Journal, url: str) -> None:
        self._journal, self._url = journal, _place(url)

    def begin(self, digests: Iterable[bytes], max_tokens: int) -> Submitted:
        """Say that these requests are about to be submitted together."""
        token = secrets.token_hex(8)
        with self._journal.transaction() as file:
            for table in _TABLES:
                file.execute(table)
            row = (token, self._url, max_tokens, self._journal.owner, time.time())
            done = file.execute(
                "INSERT INTO batches (token, url, max_tokens, owner, since) VALUES (?, ?, ?, ?, ?)", row
            )
            number = int(done.lastrowid or 0)
            members = ((number, digest) for digest in digests)
            file.executemany("INSERT INTO batched VALUES (?, ?)", members)
        return Submitted(number, token, max_tokens)

    def keep(self, batch: Submitted) -> None:
        """Write how far it came."""
        with self._journal.transaction() as file:
            told = (batch.file, batch.id, time.time(), batch.number)
            file.execute("UPDATE batches SET file = ?, id = ?, since = ? WHERE number = ?", told)

    def batches(self) -> list[Submitted]:
        """All of them; those forgotten of which nothing is missing any more."""
        with self._journal.transaction() as file:
            if not _there(file):
                return []
            file.execute(f"DELETE FROM batched WHERE {_SETTLED}")  # noqa: S608
            _forget_empty(file)
            rows = file.execute(f"{_READ}url = ? ORDER BY number", (self._url,)).fetchall()
        return [Submitted(*row) for row in rows]

    def members(self, batch: Submitted) -> set[bytes]:
        """The digests of its requests that are not settled."""
        with self._journal.transaction() as file:
            rows = file.execute("SELECT digest FROM batched WHERE batch = ?", (batch.number,)).fetchall()
        return {digest for (digest,) in rows}

    def take(self, number: int) -> Submitted | None:
        """Take over a batch that has no id yet, to see it through.

        Returns
        -------
        Submitted or None
            As it is now; None where it is gone, or another process is at it.
        """
        with self._journal.transaction() as file:
            where = (number,)
            row = file.execute("SELECT owner, since FROM batches WHERE number = ?", where).fetchone()
            if row is None or self._journal.holds(*row):
                return None
            told = (self._journal.owner, time.time(), number)
            file.execute("UPDATE batches SET owner = ?, since = ? WHERE number = ?", told)
            return Submitted(*file.execute(f"{_READ}number = ?", where).fetchone())

    def drop(self, batch: Submitted, digests: Collection[bytes]) -> None:
        """Forget that these requests are in a batch; one without any is forgotten too."""
        with self._journal.transaction() as file:
            members = ((batch.number, digest) for digest in digests)
            file.executemany("DELETE FROM batched WHERE batch = ? AND digest = ?", members)
            _forget_empty(file)

    def release(self) -> None:
        """Leave to others what this process has not seen through."""
        with self._journal.transaction() as file:
            if _there(file):
                file.execute("UPDATE batches SET owner = '' WHERE owner = ?", (self._journal.owner,))

    def waiting(self) -> dict[str, int]:
        """Requests without an answer in each batch, by its id."""
        return {each.id: each.requests for each in under_way(self._journal) if each.url == self._url}

    def digests(self) -> set[bytes]:
        """The digests of all requests in a batch that has an id."""
        with self._journal.reading() as file:
            if not _there(file):
                return set()
            rows = file.execute(
                "SELECT digest FROM batches JOIN batched ON batch = number WHERE id IS NOT NULL AND url = ?",
                (self._url,),
            )
            return {digest for (digest,) in rows}


def under_way(journal: Journal) -> list[UnderWay]:
    """All batches of a journal whose answers are not here yet, wherever they are."""
    with journal.reading() as file:
        rows = file.execute(_WAITING).fetchall() if _there(file) else ()
    return [UnderWay(*row) for row in rows]


def _place(url: str) -> str:
    """An address as all ways to write it: what waits there must be found.

    >>> _place("HTTP://Localhost:8000/v1/")
    'http://localhost:8000/v1'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _there(file: sqlite3.Connection) -> bool:
    found = file.execute("SELECT COUNT(*) FROM sqlite_master WHERE name IN ('batches', 'batched')").fetchone()
    return bool(found[0] == len(_TABLES))


def _forget_empty(file: sqlite3.Connection) -> None:
    file.execute("DELETE FROM batches WHERE NOT EXISTS (SELECT 1 FROM batched WHERE batch = number)")
