"""Canonical rows written in any layout."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from eci.atomic import atomic_path
from eci.datasets import layouts, sinks
from eci.datasets.files import MARKER
from eci.datasets.grouping import Batches, grouped, require_positives
from eci.datasets.layouts import BEIR, LAYOUTS, Layout
from eci.datasets.outgoing import NEGATIVES_PER_ROW, Outgoing, count_losses, with_ids
from eci.datasets.rows import Rows
from eci.datasets.side_files import Judgements, Texts
from eci.errors import OutputError
from eci.examples import ROWS
from eci.types import Progress, silent

_BEIR_HOLDS = frozenset({"query_id", "source", "id", "title", "rank", "score", "scorer"})
_BATCH_ROWS = 4096


@dataclass(frozen=True)
class WriteSummary:
    """What was written, and what was not.

    Parameters
    ----------
    rows : int
        Rows in the output; in flat layouts a query has several.
    negatives : int
        Negatives in the input, after rows of one query were brought together.
    losses : dict of str to int
        Values that the layout cannot hold, and how many there were.
    notes : list of str
        What the reader and the writer have to tell.
    """

    rows: int
    negatives: int
    losses: dict[str, int]
    notes: list[str]


@dataclass(frozen=True)
class _Job:
    """A layout, the format it goes into, and what is only known once the output is open."""

    layout: Layout
    sink: sinks.Sink
    schema: pa.Schema | None = None
    texts: Texts | None = None


@dataclass
class _Tally:
    where: str
    rows: int = 0
    queries: int = 0
    negatives: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)


def write(rows: Rows, out: str | Path, layout: str, *, progress: Progress = silent) -> WriteSummary:
    """Write rows in a layout.

    Parameters
    ----------
    rows : Rows
        What ``read`` or ``from_object`` gave.
    out : str or Path
        A name ending in ``.jsonl``, ``.jsonl.gz``, ``.parquet``, ``.csv`` or ``.tsv``; any other name is
        a folder: of a saved Hugging Face dataset, or of the files that the layout consists of.
    layout : str
        One of ``layouts.NAMES``.
    progress : Progress
        Told the rows written so far; the total is not known and given as 0.

    Returns
    -------
    WriteSummary

    Raises
    ------
    OutputError
        The output cannot be written there, or cannot hold the layout.
    DataError
        The rows cannot be read, or a query has no positive.
    """
    final = Path(out)
    target = None if layout == BEIR else layouts.named(layout)
    sink = _sink(final, layout, target)
    _refuse(final, rows)
    tally = _Tally(", ".join(str(path) for path in rows.paths) or "the rows")
    with (
        atomic_path(final) as temporary,
        tempfile.TemporaryDirectory(dir=final.parent, prefix=f".{final.name[:99]}.") as work,
    ):
        batches, note = _by_query(rows, Path(work))
        if target is None:
            _write_beir(temporary, batches, tally, progress)
        else:
            _write_rows(temporary, batches, _Job(target, sink), tally, progress)
        if temporary.is_dir():
            (temporary / MARKER).write_text(
                json.dumps({"written_by": "eci convert", "layout": layout}) + "\n"
            )
        if not tally.rows:
            raise OutputError(
                f"{final}: nothing to write: no query has a negative, and {layout} needs one in each row."
            )
    notes = [*rows.notes, *([note] if note else []), *_told(tally, layout)]
    return WriteSummary(tally.rows, tally.negatives, dict(tally.losses), notes)


def _sink(final: Path, layout: str, target: Layout | None) -> sinks.Sink:
    """The format that a name asks for; of the rows, in layouts of several files."""
    ending = next((each for each in sinks.FILES if final.name.endswith(each)), None)
    if target is None or target.by_id:
        if ending:
            raise OutputError(
                f"{final}: {layout} is several files (rows, corpus, queries). Give the name of a folder, "
                f"such as {final.name.removesuffix(ending)}."
            )
        return sinks.nemo_json if layout == "nemo" else sinks.lines
    if ending in (".csv", ".tsv") and not target.flat:
        flat = ", ".join(name for name, each in LAYOUTS.items() if each.flat)
        raise OutputError(
            f"{final}: {ending} cannot hold the lists of {layout}. It can hold {flat}; or write .jsonl."
        )
    if ending is None and final.suffix in (".gz", ".json", ".txt", ".arrow", ".zip"):
        raise OutputError(f"{final}: the format is not known. Known: {', '.join(sinks.FILES)}, or a folder.")
    return sinks.FILES[ending] if ending else sinks.hugging_face


def _refuse(final: Path, rows: Rows) -> None:
    place = final.resolve()
    for path in rows.paths:
        if place == path.resolve() or place in path.resolve().parents:
            raise OutputError(f"{final}: is read from. Write to another name.")
    if final.is_dir() and any(final.iterdir()) and not (final / MARKER).is_file():
        raise OutputError(
            f"{final}: is a folder that eci did not write. Give another name, or remove it first."
        )


def _by_query(rows: Rows, work: Path) -> tuple[Batches, str | None]:
    if (rows.layout in LAYOUTS and LAYOUTS[rows.layout].flat) or rows.inputs > 1:
        return grouped(rows, work, _BATCH_ROWS)
    return lambda _: iter(rows), None


def _opened(batches: Batches, tally: _Tally) -> Iterator[Outgoing]:
    for batch in batches(tally.losses):
        require_positives(batch, tally.where)
        out = Outgoing.of(batch, tally.losses, tally.notes)
        tally.queries += len(batch)
        tally.negatives += len(out.negatives)
        yield out


def _exported(
    batches: Batches, job: _Job, tally: _Tally, progress: Progress = silent
) -> Iterator[pa.RecordBatch]:
    """The columns of the layout, batch by batch; what is on the way written beside is written."""
    for opened in _opened(batches, tally):
        out = with_ids(opened) if job.layout.by_id or job.layout.name == "tevatron" else opened
        count_losses(out, job.layout.holds, job.layout.keeps)
        if job.texts is not None:
            job.texts.add(out)
        columns = job.layout.from_canonical(out)
        size = len(next(iter(columns.values())))
        schema = job.schema or pa.schema([(name, column.type) for name, column in columns.items()])
        if job.sink in (sinks.commas, sinks.tabs):
            empty = sum(
                pc.sum(pc.equal(v, "")).as_py() or 0 for k, v in columns.items() if k.startswith("negative_")
            )
            out.lose("empty negatives, which CSV cannot tell from missing ones", empty)
        tally.rows += size
        if size:
            arrays = [columns[f.name] if f.name in columns else pa.nulls(size, f.type) for f in schema]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        progress("rows written", tally.rows, 0)


def _schema(batches: Batches, job: _Job, where: str) -> pa.Schema | None:
    """The columns that some row fills, found in a pass of their own where they must be known beforehand."""
    if job.layout.name == "eci":
        return ROWS
    if job.sink not in sinks.COLUMNAR and job.layout.name != "n-tuple":
        return None
    filled: dict[str, pa.DataType] = {}
    names: dict[str, None] = {}
    for batch in _exported(batches, job, _Tally(where)):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            names[name] = None
            if column.null_count < len(column) or name == "negative_1":
                filled[name] = column.type
    ordered = sorted(names, key=lambda name: name == "scores")
    return pa.schema([(name, filled[name]) for name in ordered if name in filled])


def _write_rows(path: Path, batches: Batches, job: _Job, tally: _Tally, progress: Progress) -> None:
    with ExitStack() as stack:
        if job.layout.by_id:
            path.mkdir()
            job = replace(job, texts=Texts(path, job.layout.name, stack))
            path = path / ("train.json" if job.sink is sinks.nemo_json else "train.jsonl")
        job = replace(job, schema=_schema(batches, job, tally.where))
        job.sink(path, _exported(batches, job, tally, progress), job.schema)


def _write_beir(folder: Path, batches: Batches, tally: _Tally, progress: Progress) -> None:
    folder.mkdir()
    with ExitStack() as stack:
        texts, judgements = Texts(folder, BEIR, stack), Judgements(folder, stack)
        for opened in _opened(batches, tally):
            out = with_ids(opened)
            count_losses(out, _BEIR_HOLDS, ("grades",))
            texts.add(out)
            judgements.add(out)
            tally.rows += len(out.query)
            progress("rows written", tally.rows, 0)


def _told(tally: _Tally, layout: str) -> list[str]:
    lengths = {int(k.split()[1]): n for k, n in tally.notes.items() if k.startswith(NEGATIVES_PER_ROW)}
    told = [
        words.format(f"{number:,}")
        for words, number in tally.notes.items()
        if not words.startswith(NEGATIVES_PER_ROW)
    ]
    if len(lengths) > 1:
        short = sum(number for length, number in lengths.items() if length < max(lengths))
        told.append(
            f"rows with fewer negatives than the longest ({max(lengths)}): {short:,}; Tevatron's loader pads "
            "short lists by repetition"
        )
    if layout in LAYOUTS and LAYOUTS[layout].flat:
        told.append(
            f"queries: {tally.queries:,}, rows: {tally.rows:,}; ids and sources stay behind, for trainers "
            "read every column"
        )
    return told
