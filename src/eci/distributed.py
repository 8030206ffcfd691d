"""Queries that pass by, scored by actors of Ray Data: each holds the encoder and the vocabulary.

One task on the machine of this process reads the rows and hands them on in portions of whole queries; Ray
Data moves each to an actor, and begins again what is lost with one. Totals come back, and add exactly.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from eci.cluster import connected, first_line, require_ray, room
from eci.errors import EncoderError, EngineError
from eci.examples import Examples
from eci.lexical import Vocabulary
from eci.models.sentence_transformer import ModelOptions
from eci.passing import PortionScorer, tokenizer_of
from eci.portions import Passing, Portions, Reader
from eci.sending import Loading, described, pickled, refuse_another, retold, told
from eci.settings import RaySettings, Settings
from eci.totals import Totals
from eci.types import Encoder, Floats, Progress, silent

# What actors get and give of a portion; no totals where it was skipped or something went wrong.
_PORTION = pa.schema([("number", pa.int64()), ("rows", pa.large_binary()), ("error", pa.large_binary())])
_ANSWER = pa.schema([("number", pa.int64()), ("totals", pa.large_binary()), ("error", pa.large_binary())])


@dataclass(frozen=True)
class _Work:
    """What each actor is told, once."""

    loading: Loading
    settings: Settings
    sources: tuple[str, ...]
    words: list[str]
    idf: Floats
    documents: int
    described: dict[str, Any]
    version: str

    def begin(self, stack: ExitStack) -> PortionScorer:
        if self.version != version("eci"):
            raise EngineError(
                f"eci is {version('eci')} on {socket.gethostname()} and {self.version} where the command "
                "runs. Install the same on all machines of the cluster."
            )
        encoder = self.loading.begin(stack)
        refuse_another(self.described, described(encoder))
        vocabulary = Vocabulary(
            {word: number for number, word in enumerate(self.words)},
            self.idf,
            self.documents,
            tokenizer_of(self.settings, encoder),
        )
        return PortionScorer(encoder, Reader(vocabulary), self.sources, self.settings)


class _Actor:
    """Scores portions in its own process. Errors are told, not raised: Ray would retell them at length."""

    def __init__(self, work: list[Any]) -> None:
        self._work, self._stack = work, ExitStack()
        self._scorer: PortionScorer | None = None

    def __call__(self, portion: pa.Table) -> pa.Table:
        number, rows, error = (portion.column(name)[0] for name in _PORTION.names)
        failed, totals = error.as_py(), b""
        if rows.as_buffer().size:
            try:
                totals = pickle.dumps(self._scored(rows.as_buffer()))
            except Exception as failure:  # noqa: BLE001
                failed = told(failure)
        return pa.table([[number.as_py()], [totals], [failed]], schema=_ANSWER)

    def _scored(self, rows: pa.Buffer) -> Totals:
        import ray

        if self._scorer is None:
            self._scorer = ray.get(self._work[0]).begin(self._stack)
        with pa.ipc.open_stream(rows) as reader:
            return self._scorer(Examples.from_batches(list(reader)))

    def __del__(self) -> None:
        self._stack.close()


class RayEngine:
    """Scores portions on a cluster that `connected` has reached; an `eci.passing.Engine`.

    Parameters
    ----------
    queries : Portions
    encoder : Encoder
        As it is in this process: workers refuse to compute with another.
    loading : Loading
        The same encoder elsewhere.
    settings : Settings
    progress : Progress

    Raises
    ------
    EngineError
        The rows are objects that no other process can be given.
    """

    def __init__(
        self, queries: Portions, encoder: Encoder, loading: Loading, settings: Settings, progress: Progress
    ) -> None:
        self._described, self._loading, self._settings = described(encoder), loading, settings
        self._progress = progress
        try:
            self._pieces = pickled(queries.pieces, "rows")
        except EncoderError as error:
            raise EngineError(
                f"The rows cannot be sent to another process ({error.__cause__}). Write them to a file, and "
                "score that."
            ) from error

    def __call__(
        self, passing: Passing, vocabulary: Vocabulary, sources: tuple[str, ...], skipped: int
    ) -> Iterator[tuple[int, Totals | None]]:
        """The number of each portion, from 0, and its totals, in any order; None for the first `skipped`."""
        import ray

        work = _Work(
            self._loading,
            self._settings,
            sources,
            list(vocabulary.numbers),
            vocabulary.idf,
            vocabulary.size,
            self._described,
            version("eci"),
        )
        rows = ray.put(self._pieces)
        stream = replace(passing, pieces=_Sent([rows], Path.cwd()))
        found = _dataset(
            stream, skipped, [ray.put(work)], self._settings.ray or RaySettings(), self._progress
        )
        blocks = iter(found.iter_batches(batch_size=None, batch_format="pyarrow"))
        try:
            for block in blocks:
                for row in block.to_pylist():
                    if row["error"]:
                        raise retold(row["error"])
                    yield row["number"], pickle.loads(row["totals"]) if row["totals"] else None  # noqa: S301
        except (ray.exceptions.RayError, ray.data.exceptions.SystemException) as error:
            raise EngineError(_given_up(error)) from error
        finally:
            # Who began a session of Ray gets it back without our actors.
            blocks.close()


@dataclass(frozen=True)
class _Sent:
    """Tables of rows, for who has them not."""

    rows: list[Any]
    # Files have the names that the command gave them, which may begin here.
    folder: Path

    def __call__(self) -> Iterator[pa.Table]:
        import ray

        os.chdir(self.folder)
        pieces: Iterator[pa.Table] = pickle.loads(ray.get(self.rows[0]))()  # noqa: S301
        return pieces


@dataclass(frozen=True)
class _Reading:
    """Goes through the rows, a table of one row for each portion; the first `skipped` are empty."""

    passing: Passing
    skipped: int

    def __call__(self, _: pa.Table) -> Iterator[pa.Table]:
        number = 0
        try:
            for number, rows in enumerate(self.passing):
                yield _row(number, rows=b"" if number < self.skipped else packed(rows))
        except Exception as failure:  # noqa: BLE001
            yield _row(number, error=told(failure))


@contextmanager
def engaged(
    settings: RaySettings | None,
    encoders: Sequence[str | Encoder],
    options: ModelOptions | None,
    cache: bool | str | Path,
    progress: Progress = silent,
) -> Iterator[None]:
    """A cluster to score on with each of the encoders, until the end of the block; nothing without settings.

    Parameters
    ----------
    settings : RaySettings, optional
    encoders, options, cache, progress
        As in `eci.api.compare`.

    Raises
    ------
    MissingDependency
        ray is not installed.
    EncoderError
        An encoder cannot be sent to workers.
    EngineError
        No cluster can be reached.
    """
    if settings is None:
        yield
        return
    require_ray()
    for encoder in encoders:
        Loading.of(encoder, options, cache)
    with connected(settings.address, progress):
        yield


def _dataset(
    passing: Passing, skipped: int, work: list[Any], settings: RaySettings, progress: Progress
) -> Any:
    """A dataset of a row for each portion: its number, and its totals or what went wrong."""
    import ray
    import ray.data

    workers, gpus = room(settings, progress)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    # Every portion is a block, and goes where there is room.
    context.target_max_block_size = 1
    here = ray.get_runtime_context().get_node_id()
    with ray.data.DataContext.current(context):
        read = ray.data.from_arrow(pa.table({"pass": [0]})).map_batches(
            _Reading(passing, skipped),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=0,
            # Where the files of this process are; it waits most of the time, and takes no worker's place.
            label_selector={"ray.io/node-id": here},
        )
        return read.map_batches(
            _Actor,
            fn_constructor_args=(work,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            num_gpus=gpus,
        )


def _row(number: int, rows: bytes = b"", error: bytes = b"") -> pa.Table:
    return pa.table([[number], [rows], [error]], schema=_PORTION)


def packed(rows: list[pa.RecordBatch]) -> bytes:
    """Canonical rows as an Arrow stream, compressed by LZ4."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows[0].schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        for batch in rows:
            writer.write_batch(batch)
    made: bytes = sink.getvalue().to_pybytes()
    return made


def _given_up(error: Exception) -> str:
    return (
        f"Ray gave up: {first_line(error)} What was scored before is kept where there is a cache, and the "
        "same command goes on from there."
    )
