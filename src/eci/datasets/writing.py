"""Canonical rows written in any layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.atomic import atomic_path, refuse_places, require_folder, scratch_folder
from eci.datasets import folders, layouts, sinks
from eci.datasets.card import Card, Contents, render
from eci.datasets.columns import Documents, lengths_of
from eci.datasets.grouping import Batches, Grouped, grouped, require_positives
from eci.datasets.layouts import BEIR, LAYOUTS, Layout
from eci.datasets.outgoing import Outgoing, count_losses, with_ids
from eci.datasets.rows import Rows
from eci.datasets.side_files import Judgements, Texts
from eci.datasets.trainable import cut, told, unscored
from eci.errors import OutputError
from eci.examples import ROWS
from eci.ragged import rising
from eci.types import Progress, silent

_BEIR_HOLDS = frozenset({"query_id", "source", "id", "title", "rank", "score", "scorer"})
_BATCH_ROWS = 4096
# Whichever command gave the rows.
WRITER = "eci convert"
# Columns of these depend on all rows: how many negatives the longest has, whether each row has its scores.
_PLANNED = ("triplet", "n-tuple")


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

    def told(self, layout: str) -> list[str]:
        """Losses in one sentence, if there were any, and the notes."""
        lost = ", ".join(f"{what} ({number:,})" for what, number in self.losses.items())
        return [*([f"not held by {layout}: {lost}"] if lost else []), *self.notes]


@dataclass(frozen=True)
class _Job:
    """A layout, the format it goes into, and what is only known once the output is open."""

    layout: Layout
    sink: sinks.Sink
    negatives: int | None = None
    schema: pa.Schema | None = None
    unscored: int = 0
    texts: Texts | None = None


@dataclass
class _Tally:
    where: str
    stage: str = "queries written"
    # How many queries there are, as far as somebody knows by now.
    expected: Callable[[], int] = int
    rows: int = 0
    queries: int = 0
    negatives: int = 0
    sources: set[str] = field(default_factory=set)
    filled: Counter[str] = field(default_factory=Counter)
    queries_of: Counter[str] = field(default_factory=Counter)
    negatives_of: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def tell(self, progress: Progress) -> None:
        """Say how far this is; when all is done the summary says so."""
        expected = self.expected()
        if not 0 < expected <= self.queries:
            progress(self.stage, self.queries, expected)

    def count_sources(self, out: Outgoing) -> None:
        """Count the negatives of each source, and the queries that have any."""
        coded = pc.fill_null(out.negatives.fields["source"], "").dictionary_encode()
        labels = coded.dictionary.to_pylist()
        codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        owned = rising(out.negatives.rows * len(labels) + codes) % max(1, len(labels))
        for counts, found in ((self.negatives_of, codes), (self.queries_of, owned)):
            sizes = np.bincount(found, minlength=len(labels)).tolist()
            counts.update(dict(zip(labels, sizes, strict=True)))


def write(
    rows: Rows,
    out: str | Path,
    layout: str,
    *,
    negatives: int | None = None,
    card: Card | None = None,
    progress: Progress = silent,
) -> WriteSummary:
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
    negatives : int, optional
        Give every query its first so many negatives, and leave out queries with fewer; at least 1.
    card : Card, optional
        Put a ``README.md`` with this beside the rows of a saved Hugging Face dataset.
    progress : Progress
        Told the queries written so far, and of how many where that is known.

    Returns
    -------
    WriteSummary

    Raises
    ------
    OutputError
        The output cannot be written there, or cannot hold the layout or the card.
    DataError
        The rows cannot be read, or a query has no positive.
    """
    final = Path(out)
    refuse(final, layout, rows.paths)
    target = None if layout == BEIR else layouts.named(layout)
    sink = sinks.chosen(final, layout, target)
    if negatives is not None and negatives < 1:
        raise OutputError(f"negatives must be at least 1, got {negatives}.")
    if card is not None and sink is not sinks.hugging_face:
        raise OutputError(
            f"{final}: only a saved Hugging Face dataset has a card. Name a folder, without an ending "
            "such as .parquet, and a layout that is not several files; or leave the card out."
        )
    tally = _Tally(", ".join(str(path) for path in rows.paths) or "the rows")
    with (
        atomic_path(final) as temporary,
        scratch_folder(final) as work,
    ):
        found, schema = _by_query(rows, work, progress), None
        batches: Batches = (lambda _: iter(rows)) if found is None else found.batches
        tally.expected = lambda: rows.size if found is None else found.queries
        if target is None:
            _write_beir(temporary, batches, negatives, tally, progress)
        else:
            schema = _write_rows(temporary, batches, _Job(target, sink, negatives), tally, progress)
        if not tally.rows:
            raise OutputError(_nothing(final, layout, negatives))
        notes = [*rows.notes, *([found.note] if found and found.note else []), *_told(tally, layout)]
        summary = WriteSummary(tally.rows, tally.negatives, dict(tally.losses), notes)
        if card is not None:
            contents = Contents(
                name=final.name,
                layout=layout,
                columns=schema or pa.schema([]),
                rows=tally.rows,
                sources={s: (tally.queries_of[s], n) for s, n in sorted(tally.negatives_of.items())},
                per_row=negatives,
                lost=summary.losses,
                notes=notes,
                files=rows.fingerprint(),
            )
            (temporary / "README.md").write_text(render(card, contents), encoding="utf-8")
        if temporary.is_dir():
            folders.mark(temporary, WRITER, layout)
    return summary


def refuse(final: Path, layout: str, read_from: Sequence[Path], written_by: str = WRITER) -> None:
    """What `write` refuses before it asks for rows; for who has work to do before that.

    Parameters
    ----------
    final : Path
    layout : str
        One of ``layouts.NAMES``.
    read_from : sequence of Path
        Files that are not to be replaced.
    written_by : str
        Who wrote a folder that may be replaced.

    Raises
    ------
    LayoutError
        There is no such layout.
    OutputError
        The name asks for a format that is not known or cannot hold the layout, its folder does not exist
        or may not be written to, it is read from, or it is a folder that another wrote.
    """
    sinks.chosen(final, layout, None if layout == BEIR else layouts.named(layout))
    require_folder(final)
    refuse_places([final], read_from)
    folders.refuse(final, written_by)


def _by_query(rows: Rows, work: Path, progress: Progress) -> Grouped | None:
    """Rows that may be several of a query, brought together; None where each is one."""
    if (rows.layout in LAYOUTS and LAYOUTS[rows.layout].flat) or rows.inputs > 1:
        return grouped(rows, work, _BATCH_ROWS, corpus=rows.corpus, progress=progress)
    return None


def _opened(batches: Batches, layout: str, negatives: int | None, tally: _Tally) -> Iterator[Outgoing]:
    for batch in batches(tally.losses):
        require_positives(batch, tally.where)
        tally.queries += len(batch)
        tally.negatives += int(lengths_of(batch.column("negatives")).sum())
        if negatives is not None:
            found = Documents.of(batch.column("negatives")).fields["source"]
            tally.sources.update(source or "" for source in pc.unique(found).to_pylist())
        left = cut(batch, layout, negatives, tally.losses)
        if len(left):
            yield Outgoing.of(left, tally.losses, tally.notes)


def _exported(batches: Batches, job: _Job, tally: _Tally, progress: Progress) -> Iterator[pa.RecordBatch]:
    """The columns of the layout, batch by batch; what is on the way written beside is written."""
    for opened in _opened(batches, job.layout.name, job.negatives, tally):
        out = with_ids(opened) if job.layout.by_id or job.layout.name == "tevatron" else opened
        out = unscored(out) if job.unscored else out
        tally.count_sources(out)
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
        tally.filled.update({name: size - column.null_count for name, column in columns.items()})
        if size:
            arrays = [columns[f.name] if f.name in columns else pa.nulls(size, f.type) for f in schema]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        tally.tell(progress)


def _planned(batches: Batches, job: _Job, before: _Tally, progress: Progress) -> _Job:
    """The columns that some row fills, found in a pass of their own where they must be known beforehand."""
    if job.layout.name == "eci":
        return replace(job, schema=ROWS)
    if job.sink not in sinks.COLUMNAR and job.layout.name not in _PLANNED:
        return job
    filled: dict[str, pa.DataType] = {}
    names: dict[str, None] = {}
    tally = _Tally(before.where, "queries looked at", before.expected)
    for batch in _exported(batches, job, tally, progress):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            names[name] = None
            if column.null_count < len(column) or name == "negative_1":
                filled[name] = column.type
    scored = tally.filled["scores"]
    if job.layout.flat and 0 < scored < tally.rows:
        del filled["scores"]
        job = replace(job, unscored=scored)
    ordered = sorted(names, key=lambda name: name == "scores")
    return replace(job, schema=pa.schema([(name, filled[name]) for name in ordered if name in filled]))


def _write_rows(
    path: Path, batches: Batches, job: _Job, tally: _Tally, progress: Progress
) -> pa.Schema | None:
    with ExitStack() as stack:
        if job.layout.by_id:
            path.mkdir()
            job = replace(job, texts=Texts(path, job.layout.name, stack))
            path = path / ("train.json" if job.sink is sinks.nemo_json else "train.jsonl")
        job = _planned(batches, job, tally, progress)
        if job.unscored:
            words = "scores left out: only {} rows have all of theirs, and trainers fail on a missing one"
            tally.notes[words] = job.unscored
        job.sink(path, _exported(batches, job, tally, progress), job.schema)
    return job.schema


def _write_beir(
    folder: Path, batches: Batches, negatives: int | None, tally: _Tally, progress: Progress
) -> None:
    folder.mkdir()
    with ExitStack() as stack:
        texts, judgements = Texts(folder, BEIR, stack), Judgements(folder, stack)
        for opened in _opened(batches, BEIR, negatives, tally):
            out = with_ids(opened)
            tally.count_sources(out)
            count_losses(out, _BEIR_HOLDS, ("grades",))
            texts.add(out)
            judgements.add(out)
            tally.rows += len(out.query)
            tally.tell(progress)


def _told(tally: _Tally, layout: str) -> list[str]:
    found = told(layout, tally.rows, tally.filled, tally.notes)
    gone = sorted(tally.sources - tally.negatives_of.keys())
    if gone:
        found.append(
            f"sources of which nothing is left: {', '.join(gone)}; the first negatives of each query are "
            "kept, in the order of the rows"
        )
    if layout in LAYOUTS and LAYOUTS[layout].flat:
        found.append(
            f"queries: {tally.queries:,}, rows: {tally.rows:,}; ids and sources stay behind, for trainers "
            "read every column"
        )
    return found


def _nothing(final: Path, layout: str, negatives: int | None) -> str:
    if (negatives or 1) > 1:
        return f"{final}: nothing to write: no query has {negatives} negatives. Ask for fewer."
    return f"{final}: nothing to write: no query has a negative, and {layout} needs one in each row."
