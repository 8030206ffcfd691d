"""Vectors and scores kept on disk, so that a text or pair is computed once: LMDB in the user's cache folder.

A key is the fingerprint of the model and the digest of a text, or of a pair of texts; a value is a float32
vector, of one number for a pair, and its CRC-32. Each batch is one transaction: a killed run loses at most
the batch it was computing.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from eci.atomic import scratch_folder, temporary_folder
from eci.errors import CacheError, MissingDependency
from eci.models.pages import DamagedError, refuse_damaged
from eci.types import Flags, Vectors

_FIRST_SIZE = 1 << 28
_FULL = 1 << 20
# Texts looked up in one transaction: an old one would keep LMDB from using freed pages again.
_CHUNK = 1 << 14
_FILE = "data.mdb"
# Why a link may fail that ends the run: otherwise there is a file by now, or LMDB makes one in its place.
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
# LMDB allows a process one environment a folder: who opens a cache again shares it.
_OPEN: dict[Path, tuple[Any, set[int]]] = {}
_OPENING = Lock()


def default_folder() -> Path:
    """``$ECI_CACHE``, or ``eci`` in the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("ECI_CACHE")
    return Path(chosen) if chosen else user_cache_path("eci", appauthor=False)


class EmbeddingCache:
    """Vectors by encoder and text, in one LMDB environment that several processes may share.

    Parameters
    ----------
    folder : Path, optional
        ``$ECI_CACHE`` or the user's cache folder when None.

    Raises
    ------
    CacheError
        The folder cannot be opened as a cache.
    MissingDependency
        lmdb is not installed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        try:
            import lmdb
        except ImportError as error:
            raise MissingDependency("The embedding cache", "lmdb", "encode") from error
        self.folder = folder or default_folder()
        self._lmdb = lmdb
        with self._explained("opened"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._key = self.folder.resolve()
            self._environment = self._opened()
            try:
                self._refuse_broken()
                self._vectors = self._environment.open_db(b"vectors")
                self._encoders = self._environment.open_db(b"encoders")
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let go of the files, which stay open for others in this process who opened the cache too."""
        with _OPENING:
            environment, users = _OPEN.get(self._key, (None, set()))
            users.discard(id(self))
            if environment is not None and not users:
                del _OPEN[self._key]
                environment.close()

    def get(self, fingerprint: bytes, digests: Sequence[bytes]) -> tuple[Flags, Vectors]:
        """Which of n texts are there, of shape (n,), and their vectors, of shape (n, d).

        The vectors of the others are 0; d is 0 where none is there.
        """
        found = np.zeros(len(digests), dtype=np.bool_)
        vectors: Vectors = np.empty((len(digests), 0), dtype=np.float32)
        for start in range(0, len(digests), _CHUNK):
            with self._explained("read"), self._transaction() as transaction:
                for place, digest in enumerate(digests[start : start + _CHUNK], start):
                    value = transaction.get(fingerprint + digest, db=self._vectors)
                    if value is not None:
                        vector = self._vector(value)
                        if not vectors.shape[1]:
                            vectors = np.zeros((len(digests), len(vector)), dtype=np.float32)
                        if len(vector) != vectors.shape[1]:
                            raise CacheError(self._damaged("vectors of one encoder differ in length"))
                        vectors[place] = vector
                        found[place] = True
        return found, vectors

    def put(self, fingerprint: bytes, digests: Sequence[bytes], vectors: Vectors) -> None:
        """Keep n vectors, of shape (n, d), durably and all or none."""
        items = []
        for digest, vector in zip(digests, vectors, strict=True):
            data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
            items.append((fingerprint + digest, zlib.crc32(data).to_bytes(4, "little") + data))
        self._write(self._vectors, items)

    def register(self, fingerprint: bytes, described: dict[str, Any]) -> None:
        """Remember what a fingerprint stands for, for `info`."""
        self._write(self._encoders, [(fingerprint, json.dumps(described, sort_keys=True).encode())])

    def info(self) -> dict[str, Any]:
        """Folder, bytes on disk, vectors, and vectors of each encoder."""
        counts: dict[bytes, int] = {}
        with self._explained("read"), self._transaction() as transaction:
            for key in transaction.cursor(db=self._vectors).iternext(values=False):
                counts[bytes(key[:16])] = counts.get(bytes(key[:16]), 0) + 1
            encoders = [
                {**self._described(value), "vectors": counts.get(bytes(key), 0)}
                for key, value in transaction.cursor(db=self._encoders)
            ]
        return {
            "folder": str(self.folder),
            "bytes": self._bytes(),
            "vectors": sum(counts.values()),
            "encoders": encoders,
        }

    def _opened(self) -> Any:
        with _OPENING:
            if self._key not in _OPEN:
                # Where nothing may be written, LMDB says so.
                if not self._bytes() and os.access(self._key, os.W_OK | os.X_OK):
                    self._create()
                size = max(_FIRST_SIZE, 2 * self._bytes())
                opened = self._lmdb.open(str(self._key), map_size=size, max_dbs=2, metasync=False)
                _OPEN[self._key] = (opened, set())
            environment, users = _OPEN[self._key]
            users.add(id(self))
            return environment

    def _create(self) -> None:
        """Have the file appear whole: of a full disk LMDB makes half a header, which it opens no more."""
        with scratch_folder(self._key / _FILE) as work:
            self._lmdb.open(str(work), max_dbs=2).close()
            try:
                # Not renamed: another process may have made one in the meantime, and written to it.
                os.link(work / _FILE, self._key / _FILE)
            except OSError as error:
                if error.errno in _FULL_DISK:
                    raise

    def _write(self, database: Any, items: list[tuple[bytes, bytes]]) -> None:
        while True:
            try:
                with self._explained("written"), self._environment.begin(write=True) as transaction:
                    for key, value in items:
                        transaction.put(key, value, db=database)
                    return
            except _NeedsRoom:
                size = self._environment.info()["map_size"]
                self._environment.set_mapsize(2 * size)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        try:
            transaction = self._environment.begin(buffers=True)
        except self._lmdb.MapResizedError:
            # Another process has enlarged the map.
            self._environment.set_mapsize(0)
            transaction = self._environment.begin(buffers=True)
        with transaction:
            yield transaction

    def _vector(self, value: Any) -> Vectors:
        checksum, data = bytes(value[:4]), bytes(value[4:])
        if zlib.crc32(data).to_bytes(4, "little") != checksum:
            raise CacheError(self._damaged("a vector does not match its checksum"))
        return np.frombuffer(data, dtype="<f4")

    def _described(self, value: Any) -> dict[str, Any]:
        try:
            told = json.loads(bytes(value))
            if not isinstance(told, dict):
                raise ValueError("it is no object")
        except (ValueError, RecursionError) as error:
            raise CacheError(self._damaged(f"what it tells of an encoder cannot be read: {error}")) from error
        return told

    def _refuse_broken(self) -> None:
        # Reading a page beyond the end of the file would kill the process, not raise.
        info, page = self._environment.info(), self._environment.stat()["psize"]
        if self._bytes() < (info["last_pgno"] + 1) * page:
            raise CacheError(self._damaged(f"{_FILE} is shorter than it says"))
        if self._lmdb.version()[:2] == (0, 9):
            with self._transaction() as transaction:
                try:
                    refuse_damaged(self.folder / _FILE, page, transaction.id())
                except DamagedError as error:
                    raise CacheError(self._damaged(str(error))) from error

    def _bytes(self) -> int:
        file = self.folder / _FILE
        return file.stat().st_size if file.exists() else 0

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except (self._lmdb.MapFullError, self._lmdb.MapResizedError) as error:
            raise _NeedsRoom from error
        except (OSError, self._lmdb.Error) as error:
            # LMDB reports a full disk as an input/output error once part of a page has been written.
            if action != "read" and self._is_full():
                raise CacheError(
                    f"No space left for the embedding cache {self.folder}. Free some, or point ECI_CACHE "
                    "at another disk; what is cached stays."
                ) from error
            # What the system says has no class of its own.
            told = isinstance(
                error, OSError | self._lmdb.ReadonlyError | self._lmdb.LockError | self._lmdb.DiskError
            )
            if action == "written" or told or type(error) is self._lmdb.Error:
                raise CacheError(
                    f"The embedding cache {self.folder} cannot be {action} ({error}). Point ECI_CACHE at a "
                    "folder you can write to, or pass --no-cache."
                ) from error
            raise CacheError(self._damaged(str(error))) from error

    def _is_full(self) -> bool:
        try:
            return shutil.disk_usage(self.folder).free < _FULL
        except OSError:
            # There is no such folder, or it is not to be looked at.
            return False

    def _damaged(self, why: str) -> str:
        return (
            f"The embedding cache {self.folder} is damaged ({why}). "
            "Delete it with: eci cache clear; texts are then encoded again."
        )


class _NeedsRoom(Exception):  # noqa: N818
    """The memory map has to grow."""


def clear(folder: Path | None = None) -> int:
    """Delete the cache, damaged or not; gives the bytes that this freed."""
    chosen = folder or default_folder()
    freed = 0
    # Beside the vectors: what has been scored of rows beyond memory, see eci.jobs.
    for file in (chosen / _FILE, chosen / "lock.mdb", *chosen.glob("scored-*.json")):
        if file.exists():
            freed += file.stat().st_size
            try:
                file.unlink()
            except OSError as error:
                raise CacheError(f"{file} cannot be deleted ({error.strerror}).") from error
    return freed


@contextmanager
def temporary_cache() -> Iterator[EmbeddingCache]:
    """A cache that lives for one run."""
    with temporary_folder("eci-cache") as folder:
        cache = EmbeddingCache(folder)
        try:
            yield cache
        finally:
            cache.close()
