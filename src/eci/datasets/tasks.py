"""Retrieval tasks to mine negatives for: collections with judgements, or rows with positives.

Everything that is left out, merged or chosen on the way is a note, or counted in ``RetrievalTask.counts``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets import beir, hub
from eci.datasets.beir import BeirFiles
from eci.datasets.collection import Collection
from eci.datasets.identity import fingerprint
from eci.datasets.judged import Judged, Teller
from eci.datasets.layouts import BEIR, LAYOUTS, PAIR, NoNegatives
from eci.datasets.pooled import Pool
from eci.datasets.reading import from_object, read
from eci.datasets.rows import ReadOptions, Rows
from eci.datasets.trec import read_qrels
from eci.errors import DataError
from eci.ragged import Ragged
from eci.task import EMPTY, Corpus, RetrievalTask, text_digests
from eci.types import Integers


@dataclass(frozen=True)
class TaskRead:
    """A task and where it comes from.

    Parameters
    ----------
    task : RetrievalTask
    paths : tuple of Path
        Every file that was read.
    notes : list of str
        What was left out or chosen before the task was made; ``task.counts`` has what came after.
    """

    task: RetrievalTask
    paths: tuple[Path, ...]
    notes: list[str]

    @property
    def files(self) -> list[dict[str, Any]]:
        """``name``, ``bytes`` and ``sha256`` of every file."""
        return fingerprint(self.paths)


def read_task(
    paths: Sequence[str | Path],
    options: ReadOptions = ReadOptions(),  # noqa: B008
    qrels: Sequence[str | Path] = (),
) -> TaskRead:
    r"""Read what negatives are mined for.

    Parameters
    ----------
    paths : sequence of str or Path
        A BEIR folder; or rows in any layout, with negatives or without. Nothing if the corpus, the
        queries and `qrels` are given.
    options : ReadOptions
        ``split`` is whose judgements are the positives of a BEIR folder: as for ``read``, ``train``, else
        the only one, else ``test``. ``corpus`` has the documents; with rows they are added to
        the positives.
    qrels : sequence of str or Path
        Judgements. Those of the first file make the positives, the others just keep documents out.

    Raises
    ------
    DataError
        Something is missing or cannot be read; the message names the file and what to do.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> _ = path.write_text("question,answer\nwhy blue?,scattering\nwhy red?,iron\nwhy blue?,sky\n")
    >>> task = read_task([path]).task
    >>> len(task), task.corpus.shown(task.positives[0])
    (2, ['scattering', 'sky'])
    """
    if not paths:
        return _of_judgements(_given(options, qrels))
    if qrels:
        raise DataError(
            "qrels are given together with --corpus and --queries, without rows or a folder. The judgements "
            "of a BEIR folder lie in its qrels/; choose among them with --split."
        )
    folder = Path(paths[0])
    if hub.is_hub_name(paths[0]) or not folder.is_dir() or not _is_collection(folder, options.layout):
        return _of_rows(_bare(partial(read, paths), options), options)
    if len(paths) > 1:
        raise DataError(
            f"{paths[1]}: nothing is read beside the collection {folder}. Mine one collection at a time."
        )
    return _of_judgements(beir.find(folder, (), options.split, options.corpus, options.queries))


def task_from_object(rows: object, options: ReadOptions = ReadOptions()) -> TaskRead:  # noqa: B008
    """A task of rows that are in memory; see ``reading.from_object`` and ``read_task``."""
    return _of_rows(_bare(partial(from_object, rows), options), options)


def _is_collection(folder: Path, layout: str | None) -> bool:
    return layout == BEIR or (layout is None and beir.is_folder(folder))


def _bare(source: Callable[[ReadOptions], Rows], options: ReadOptions) -> Rows:
    """Rows in their layout, or as pairs where negatives are all that they lack."""
    try:
        return source(options)
    except NoNegatives:
        return source(replace(options, layout=PAIR.name))


def _given(options: ReadOptions, qrels: Sequence[str | Path]) -> BeirFiles:
    """A collection whose files are named one by one."""
    corpus, queries = options.corpus, options.queries
    if corpus is None or queries is None or not qrels:
        raise DataError(
            "nothing to mine for. Give a BEIR folder, or rows of queries and positives, or all of --corpus, "
            "--queries and --qrels."
        )
    if options.split is not None:
        raise DataError("--split chooses among the qrels of a folder; files are named with --qrels instead.")
    first, *others = (Path(path) for path in qrels)
    return BeirFiles(corpus.resolve().parent.name, corpus, queries, first, (), None, tuple(others))


def _of_judgements(files: BeirFiles) -> TaskRead:
    notes: list[str] = []
    tell = Teller(files.name, notes)
    if files.chosen:
        tell.always(f"judgements: qrels/{files.qrels.name}")
    corpus, queries = _once(Collection.load([files.corpus]), tell), Collection.load([files.queries])
    qrels = read_qrels(files.qrels)
    nothing = len(qrels) - int(pc.sum(pc.greater(qrels["score"], 0)).as_py() or 0)
    tell.count(nothing, len(qrels), "judgements are 0 or below and make no positive")
    judged = Judged.of(qrels, files.qrels, corpus, queries, tell)
    _refuse_empty(judged.names, judged.texts, queries.name)
    positives = Ragged.from_lengths(judged.document, np.bincount(judged.query))
    others = _others(judged, corpus, queries, files.other_qrels, tell)
    held = Corpus(corpus.ids, corpus.titles, corpus.texts)
    task = _made(judged.names, judged.texts, held, (positives, others), tell)
    read_files = [files.corpus, files.queries, files.qrels, *files.other_qrels]
    return TaskRead(task, tuple(read_files), notes)


def _others(
    judged: Judged, corpus: Collection, asked: Collection, qrels: Sequence[Path], tell: Teller
) -> Ragged:
    """What other judgements call relevant for the same queries, and the query itself under its own id."""
    itself = corpus.find(judged.names)
    same_id = np.flatnonzero(itself >= 0)
    queries = same_id[judged.hold(corpus, same_id, itself[same_id])]
    tell.count(len(queries), len(judged.names), "queries are documents too, under their own id")
    pairs = [(queries, itself[queries])]
    for path in qrels:
        table = read_qrels(path)
        relevant = table.filter(pc.greater(table["score"], 0))
        query = judged.asking(relevant["query"].combine_chunks(), asked)
        document = corpus.find(relevant["document"].combine_chunks())
        there = (query >= 0) & (document >= 0)
        tell.count(
            int(there.sum()), len(table), f"judgements of {path.name} are about the same queries: known too"
        )
        pairs.append((query[there], document[there]))
    query, document = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return _by_query(query, document, len(judged.names))


def _of_rows(rows: Rows, options: ReadOptions) -> TaskRead:
    name = ", ".join(str(path) for path in rows.paths) or "the rows"
    if options.queries is not None and "queries" not in LAYOUTS.get(rows.layout, PAIR).by_id:
        raise DataError(f"{options.queries}: the rows of {name} have their queries. Leave --queries out.")
    pool = Pool.of(rows)
    notes = list(rows.notes)
    tell = Teller(name, notes)
    if pool.negatives:
        tell.always(f"{pool.negatives:,} negatives of the rows are not carried over")
    _refuse_empty(pool.query_ids, pool.queries, name)
    paths: list[Path] = []
    if options.corpus is None:
        tell.always("no corpus was given: the documents are the positives of the rows")
    else:
        pool = pool.within(_once(Collection.load([options.corpus]), tell))
        paths = [options.corpus] if options.corpus not in rows.paths else []
    positives = _by_query(pool.query, pool.document, len(pool.queries))
    nothing = positives.keep(np.zeros(len(positives.values), dtype=np.bool_))
    task = _made(pool.query_ids, pool.queries, pool.documents, (positives, nothing), tell)
    return TaskRead(task, (*rows.paths, *paths), notes)


def _made(
    query_ids: pa.Array, queries: pa.Array, corpus: Corpus, known: tuple[Ragged, Ragged], tell: Teller
) -> RetrievalTask:
    if corpus.titles.null_count < len(corpus):
        tell.always("document text is title + ' ' + text")
    task = RetrievalTask.of(query_ids, queries, corpus, *known)
    if not len(task):
        raise DataError(f"{tell.name}: no query has a positive with a text.")
    return task


def _once(corpus: Collection, tell: Teller) -> Collection:
    """Each id once; that repeated ones have one text was checked when they were loaded."""
    first = corpus.find(corpus.ids) == np.arange(len(corpus))
    if first.all():
        return corpus
    tell.count(int((~first).sum()), len(corpus), "documents of the corpus repeat an id and its text")
    kept = pa.array(first)
    return Collection(corpus.name, *(each.filter(kept) for each in (corpus.ids, corpus.titles, corpus.texts)))


def _refuse_empty(query_ids: pa.Array, queries: pa.Array, where: str) -> None:
    empty = np.flatnonzero(text_digests(None, queries) == EMPTY)
    if len(empty):
        name = query_ids[int(empty[0])].as_py()
        told = f"the query '{name}' has an empty text" if name is not None else "a query without id is empty"
        raise DataError(
            f"{where}: {told} ({len(empty):,} such queries). Give it a text, or remove it and its positives."
        )


def _by_query(query: Integers, document: Integers, size: int) -> Ragged:
    order = np.argsort(query, kind="stable")
    return Ragged.from_lengths(document[order], np.bincount(query, minlength=size))
