"""The file of a journal: opened to write or only to read, and what can be wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eci.errors import ChatError

_APPLICATION, _VERSION = 0x45434943, 3
_BUSY = 60.0
_TABLE = """
CREATE TABLE answers (
    digest BLOB PRIMARY KEY, state TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    name TEXT NOT NULL, sample INTEGER NOT NULL, owner TEXT, since REAL NOT NULL, ended REAL,
    texts TEXT NOT NULL DEFAULT '[]', value TEXT, error TEXT,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, cut_at INTEGER, refused INTEGER NOT NULL DEFAULT 0
)"""
_INDICES = (
    "CREATE INDEX IF NOT EXISTS asked ON answers (owner) WHERE state = 'asked'",
    # Texts are long: what is counted is not read past them.
    "CREATE INDEX IF NOT EXISTS counted ON answers "
    "(model, state, name, prompt_tokens, completion_tokens, ended)",
    "CREATE INDEX IF NOT EXISTS reasons ON answers (error) WHERE error IS NOT NULL",
)


def opened(path: Path) -> sqlite3.Connection:
    """A journal to read and write, made if it is not there.

    Raises
    ------
    ChatError
        The file is no journal, one of another version, damaged, or cannot be written to.
    """
    with explained(path):
        connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def opened_to_read(path: Path) -> sqlite3.Connection:
    """A journal to read alone; nothing is written, neither into it nor beside it.

    Raises
    ------
    ChatError
        The file is not there, empty, no journal, one of another version, damaged, or cannot be read.
    """
    if not path.is_file():
        raise ChatError(f"{path}: there is no such journal.", hint="Name the one of --journal.")
    # Opened by SQLite alone: to close a file here would undo the locks that a run in this process has on it.
    if path.stat().st_size == 0:
        raise ChatError(f"{path} is empty: no run has kept an answer there.", hint="Name that of --journal.")
    # Without a log nobody has it open, and a look at it would make one: of a file that is said not to change,
    # it does not.
    still = "" if any(Path(f"{path}-{log}").exists() for log in ("wal", "journal")) else "&immutable=1"
    with explained(
        path, "Where its folder cannot be written to, copy it and all files of its name elsewhere."
    ):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro{still}",
            uri=True,
            timeout=_BUSY,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _refuse_others(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def explained(path: Path, hint: str | None = None) -> Iterator[None]:
    """Say what is wrong with a journal, and what to do where it cannot be used now."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise ChatError(
            f"The journal {path} cannot be used: {error}.",
            hint=hint or "Free space or wait for who else uses it, or choose another with --journal.",
        ) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, why: str) -> ChatError:
    """A journal cannot be understood."""
    return ChatError(
        f"The journal {path} is damaged or no journal at all ({why}).",
        hint="Choose another with --journal; 'sqlite3 FILE .recover' may save the answers in it.",
    )


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All that is written in it, or nothing; a DEFERRED one reads at one time."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    execute = connection.execute
    with transaction(connection):
        (tables,) = execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        (application,) = execute("PRAGMA application_id").fetchone()
        if (application, tables) == (0, 0):
            execute(_TABLE)
            execute(f"PRAGMA application_id = {_APPLICATION}")
            execute(f"PRAGMA user_version = {_VERSION}")
        else:
            _refuse_others(connection, path)
        for index in _INDICES:
            execute(index)
    # A killed process loses nothing with either; NORMAL spares a wait for the disk at every answer.
    with suppress(sqlite3.OperationalError):  # another process is just opening it
        execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = NORMAL")


def _refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise ChatError(
            f"{path} is a database, but no journal of answers.", hint="Choose another with --journal."
        )
    if version != _VERSION:
        raise ChatError(
            f"{path} is a journal of version {version}; this eci reads version {_VERSION}.",
            hint="Use the eci that wrote it, or choose another with --journal.",
        )
