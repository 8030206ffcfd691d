"""What was decided of rows, on disk until all are written: a killed run goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import orjson
import pyarrow as pa
from numpy.typing import NDArray

from eci.atomic import held, remove, work_folder
from eci.errors import DataError, LayoutError, OutputError
from eci.miners.shards import prepare
from eci.resuming import identity_of

# Numbers by name; each name has a count of its own.
Decided: TypeAlias = dict[str, NDArray[Any]]
_COUNTS, _DIGEST = b"counts", 16


class Worker(Protocol):
    """Works rows out batch by batch, and counts what it does."""

    def work(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Decided]:
        """A row for each row, and what was decided."""

    def counts(self) -> dict[str, Any]:
        """What was counted so far, as JSON takes it."""

    def take_up(self, batch: pa.RecordBatch, decided: Decided, counts: dict[str, Any]) -> pa.RecordBatch:
        """What `work` made of the batch, and count on from there."""


class Known:
    """Rows that can be gone through again, with a digest of them once they have been gone through."""

    def __init__(self, rows: Iterable[pa.RecordBatch]) -> None:
        self._rows, self.digest = rows, ""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        digest = hashlib.blake2b(digest_size=16)
        for batch in self._rows:
            if not self.digest:
                digest.update(batch.serialize())
            yield batch
        self.digest = self.digest or digest.hexdigest()


class Finished:
    """What was decided of batches, a file for each in a folder of their own; see `finished`.

    Until `begin` nothing is kept, and every batch is worked out whenever it is asked for.

    Parameters
    ----------
    folder : Path, optional
        Nothing is ever kept without one.
    """

    def __init__(self, folder: Path | None) -> None:
        self._place = folder
        self._folder: Path | None = None

    def begin(self, decided_by: Mapping[str, Any], model: Any = None) -> None:
        """Keep decisions, and take up those that are there if all that led to them is the same.

        Parameters
        ----------
        decided_by : mapping
            Rows and settings. Versions and the model are added.
        model : object, optional
            The model that decides. Nothing is kept if it has no `identity_of`.

        Raises
        ------
        OutputError
            The folder holds what eci did not write.
        """
        told = None if model is None else identity_of(model)
        if self._place is not None and (model is None or told is not None):
            versions = {name: version(name) for name in ("eci", "numpy", "pyarrow")}
            prepare(self._place, {**decided_by, "model": told, "versions": versions})
            self._folder = self._place

    def forget(self) -> None:
        """Remove what was kept, and nothing else."""
        if self._folder is not None:
            remove(self._folder)

    def rows(self, batches: Iterable[pa.RecordBatch], worker: Worker) -> Iterator[pa.RecordBatch]:
        """What the worker makes of each batch: as decided before where that is on disk, else worked out."""
        for at, given in enumerate(batches):
            path = self._folder and self._folder / f"{at:09}.arrow"
            found = _load(path) if path is not None else None
            if found is not None:
                yield worker.take_up(given, *found)
                continue
            made, decided = worker.work(given)
            if path is not None:
                _save(path, decided, worker.counts())
            yield made


@contextmanager
def finished(final: Path) -> Iterator[Finished]:
    """Have a folder beside `final`, whose name ends in ``.work``, for what the block decides of rows.

    It goes when the block ends well, and when the rows or the output are what is wrong, for the same call
    would end so again. What stops a run otherwise (a signal, a full disk) leaves it.

    Raises
    ------
    InUseError
        Another process writes `final`.
    OutputError
        The folder cannot be made.
    """
    folder = work_folder(final)
    with held(folder, final):
        done = Finished(folder)
        try:
            yield done
        except (DataError, LayoutError, OutputError) as error:
            if not isinstance(error.__cause__, OSError):
                done.forget()
            raise
        done.forget()


def _save(path: Path, decided: Decided, counts: dict[str, Any]) -> None:
    arrays = [pa.array(each) for each in decided.values()]
    columns = [pa.ListArray.from_arrays([0, len(each)], each) for each in arrays]
    batch = pa.RecordBatch.from_arrays(columns, list(decided)).replace_schema_metadata(
        {_COUNTS: orjson.dumps(counts)}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data = sink.getvalue().to_pybytes()
    # Nobody else writes here; and not by `atomic_path`, which looks at all files there are.
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_bytes(_digest(data) + data)
        temporary.replace(path)
    except OSError as error:
        remove(temporary)
        raise OutputError(f"{path}: cannot be written: {error.strerror}.") from error


def _load(path: Path) -> tuple[Decided, dict[str, Any]] | None:
    """What `_save` wrote; None where it is not there or is damaged."""
    try:
        told = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, data = told[:_DIGEST], told[_DIGEST:]
    # Arrow trusts what it reads.
    if _digest(data) != digest:
        return None
    with pa.ipc.open_stream(data) as reader:
        batch = reader.read_next_batch()
    columns = zip(batch.schema.names, batch.columns, strict=True)
    decided = {name: column.flatten().to_numpy(zero_copy_only=False) for name, column in columns}
    return decided, orjson.loads(batch.schema.metadata[_COUNTS])


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
