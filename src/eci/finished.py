"""What was decided of rows, on disk until all are written: a killed run goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import orjson
import pyarrow as pa
from numpy.typing import NDArray

from eci.atomic import atomic_path, held, remove
from eci.errors import EciError
from eci.miners.shards import prepare
from eci.resuming import recognised

# Numbers by name; each name has a count of its own.
Decided: TypeAlias = dict[str, NDArray[Any]]
_COUNTS = b"counts"


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

    def begin(self, decided_by: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> None:
        """Keep decisions, and take up those that are there if all that led to them is the same.

        Parameters
        ----------
        decided_by : mapping
            Rows and settings. Versions and the model are added.
        model : mapping, optional
            What the model that decides the rows tells of itself. Nothing is kept if it is not `recognised`.
        """
        if self._place is not None and (model is None or recognised(model)):
            versions = {name: version(name) for name in ("eci", "numpy", "pyarrow")}
            prepare(self._place, {**decided_by, "model": model, "versions": versions})
            self._folder = self._place

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

    It goes when the block ends well, and when it ends in an error that the same call would end in again. What
    stops a run otherwise (a signal, a full disk) leaves it.

    Raises
    ------
    InUseError
        Another process writes `final`.
    OutputError
        The folder cannot be made.
    """
    folder = final.parent / f".{final.name}.work"
    with held(folder, final):
        try:
            yield Finished(folder)
        except EciError as error:
            if not isinstance(error.__cause__, OSError):
                remove(folder)
            raise
        remove(folder)


def _save(path: Path, decided: Decided, counts: dict[str, Any]) -> None:
    arrays = [pa.array(each) for each in decided.values()]
    columns = [pa.ListArray.from_arrays([0, len(each)], each) for each in arrays]
    batch = pa.RecordBatch.from_arrays(columns, list(decided)).replace_schema_metadata(
        {_COUNTS: orjson.dumps(counts)}
    )
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as handle,
        pa.ipc.new_file(handle, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def _load(path: Path) -> tuple[Decided, dict[str, Any]] | None:
    """What `_save` wrote; None where it is not there or is damaged."""
    with suppress(FileNotFoundError, pa.ArrowInvalid, ValueError, KeyError, TypeError):
        with pa.OSFile(str(path)) as handle, pa.ipc.open_file(handle) as reader:
            batch = reader.get_batch(0)
        columns = zip(batch.schema.names, batch.columns, strict=True)
        decided = {name: column.flatten().to_numpy(zero_copy_only=False) for name, column in columns}
        return decided, orjson.loads(batch.schema.metadata[_COUNTS])
    return None
