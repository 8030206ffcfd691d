"""BEIR collections with TREC runs: every run is a source of negatives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.atomic import atomic_path
from eci.datasets.collection import Collection, beside
from eci.datasets.columns import Documents, dumped, to_python
from eci.datasets.files import CHUNK_BYTES, stem
from eci.datasets.hub import choose_split
from eci.datasets.identity import hashes
from eci.datasets.judged import Judged, Teller
from eci.datasets.trec import read_qrels, read_run
from eci.errors import DataError
from eci.examples import NEGATIVE, POSITIVE, ROWS, is_label
from eci.ragged import rising
from eci.task import Corpus
from eci.types import Integers


def write_corpus(corpus: Corpus, path: Path) -> None:
    """Write documents as BEIR has them, a JSON object a line.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    columns = (column.to_pylist() for column in (corpus.ids, corpus.titles, corpus.texts))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for label, title, text in zip(*columns, strict=True):
            out.write(json.dumps({"_id": label, "title": title or "", "text": text}) + "\n")


@dataclass(frozen=True)
class BeirFiles:
    """The files of a collection and of the runs over it.

    Parameters
    ----------
    name : str
        The folder, for messages.
    corpus, queries, qrels : Path
    runs : tuple of Path
    chosen : str or None
        The split, where the user did not name it.
    other_qrels : tuple of Path
        The judgements of the other splits.
    """

    name: str
    corpus: Path
    queries: Path
    qrels: Path
    runs: tuple[Path, ...]
    chosen: str | None
    other_qrels: tuple[Path, ...] = ()

    @property
    def files(self) -> list[Path]:
        """What rows are made of: all but the judgements of other splits."""
        return [self.corpus, self.queries, self.qrels, *self.runs]


def is_folder(folder: Path) -> bool:
    """Whether a folder is a BEIR collection."""
    return (
        beside(folder, "corpus") is not None
        and beside(folder, "queries") is not None
        and (folder / "qrels").is_dir()
    )


def find(
    folder: Path, runs: Sequence[Path], split: str | None, corpus: Path | None, queries: Path | None
) -> BeirFiles:
    """The files of a collection; runs are those given, else those under ``runs/``."""
    corpus, queries = corpus or beside(folder, "corpus"), queries or beside(folder, "queries")
    if corpus is None or queries is None or not (folder / "qrels").is_dir():
        raise DataError(f"{folder}: a BEIR collection has corpus.jsonl, queries.jsonl and qrels/.")
    splits = {stem(path): path for path in sorted((folder / "qrels").glob("*.tsv*"))}
    name = choose_split(list(splits), split, str(folder / "qrels"))
    for run in runs:
        if not run.is_file():
            raise DataError(f"{run}: no such run. After a BEIR folder come files of TREC runs.")
    found = tuple(runs) or tuple(sorted([*folder.glob("runs/*.trec"), *folder.glob("runs/*.trec.gz")]))
    others = tuple(path for each, path in splits.items() if each != name)
    chosen = None if split else name
    return BeirFiles(folder.resolve().name, corpus, queries, splits[name], found, chosen, others)


def rows(
    files: BeirFiles, labels: Sequence[str], batch_rows: int, notes: list[str]
) -> Iterator[pa.RecordBatch]:
    """Canonical rows: queries with their positives, and what each run retrieved that is not one.

    Parameters
    ----------
    files : BeirFiles
        What to read.
    labels : sequence of str
        The source of each run; empty for the tag of the run.
    batch_rows : int
        Most queries in a batch; long lists make it fewer.
    notes : list of str
        Where what was left out is told.
    """
    qrels = read_qrels(files.qrels)
    runs = [_labelled(path, label) for path, label in zip(files.runs, labels, strict=True)]
    if not any(labels):
        _refuse_shared(runs, files.runs)
    named = [column for table in (qrels, *runs) for column in (table["document"],)]
    wanted = rising(np.concatenate([hashes(column) for column in named]))
    corpus, queries = Collection.load([files.corpus], wanted), Collection.load([files.queries])
    tell = Teller(files.name, notes)
    if files.chosen:
        tell.always(f"judgements: qrels/{files.qrels.name}")
    judged = Judged.of(qrels, files.qrels, corpus, queries, tell)
    if not runs:
        tell.always("no runs were given, so the rows have no negatives")
    tell.always("document text is title + ' ' + text")
    negatives = _negatives(runs, judged, corpus, tell)
    yield from _batches(judged, negatives, corpus, batch_rows)


@dataclass(frozen=True)
class _Retrieved:
    """Negatives of all queries, sorted by query: indices, and columns of the runs."""

    query: Integers
    document: Integers
    columns: dict[str, pa.Array]


def _labelled(path: Path, label: str) -> pa.Table:
    run = read_run(path, label)
    wrong = next((tag for tag in run["source"].unique().to_pylist() if not is_label(tag)), None)
    if wrong is not None:
        raise DataError(
            f"{path}: the run's tag {wrong!r} is empty or holds characters that do not print. Correct it, or "
            "name the source with --source."
        )
    return run


def _negatives(runs: list[pa.Table], judged: Judged, corpus: Collection, tell: Teller) -> _Retrieved:
    size = max(1, len(corpus))
    positives = np.sort(judged.query * size + judged.document)
    parts: list[tuple[Integers, Integers, pa.Table]] = []
    for run in runs:
        ids, documents = run["query"].combine_chunks(), run["document"].combine_chunks()
        query, document = judged.find(ids), corpus.find(documents)
        asked = query >= 0
        tell.count(
            int((~asked).sum()), len(run), f"entries of {_tag(run)} belong to queries without positives here"
        )
        tell.count(
            int((asked & (document < 0)).sum()),
            len(run),
            f"entries of {_tag(run)} point to documents that the corpus lacks",
        )
        itself = np.asarray(pc.equal(ids, documents)) & asked & (document >= 0)
        same_id = np.flatnonzero(itself)
        itself[same_id] = judged.hold(corpus, query[same_id], document[same_id])
        tell.count(
            int(itself.sum()), len(run), f"entries of {_tag(run)} are the query itself and are left out"
        )
        keep = asked & (document >= 0) & ~itself
        pair = query * size + document
        known = keep & _in(pair, positives)
        tell.count(int(known.sum()), len(run), f"entries of {_tag(run)} are known positives and no negatives")
        once = np.zeros(len(run), dtype=bool)
        once[np.unique(pair, return_index=True)[1]] = True
        tell.count(
            int((keep & ~known & ~once).sum()),
            len(run),
            f"entries of {_tag(run)} repeat a document and are left out",
        )
        keep &= ~known & once
        parts.append((query[keep], document[keep], run.filter(pa.array(keep))))
    if not parts:
        none = np.empty(0, dtype=np.int64)
        return _Retrieved(none, none, {})
    query = np.concatenate([part[0] for part in parts])
    order = np.argsort(query, kind="stable")
    table = pa.concat_tables([part[2] for part in parts]).take(pa.array(order))
    columns = {name: table[name].combine_chunks() for name in ("source", "rank", "score", "scorer")}
    return _Retrieved(query[order], np.concatenate([part[1] for part in parts])[order], columns)


def _batches(
    judged: Judged, negatives: _Retrieved, corpus: Collection, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    size = len(judged.names)
    bytes_of = np.asarray(pc.binary_length(corpus.texts)).astype(np.int64)
    weight = np.bincount(judged.query, weights=bytes_of[judged.document], minlength=size)
    weight += np.bincount(negatives.query, weights=bytes_of[negatives.document], minlength=size)
    start = 0
    filled = np.cumsum(weight)
    while start < size:
        room = int(np.searchsorted(filled, (filled[start - 1] if start else 0) + CHUNK_BYTES, side="right"))
        stop = min(size, start + batch_rows, max(room, start + 1))
        yield _batch(judged, negatives, corpus, start, stop)
        start = stop


def _batch(
    judged: Judged, negatives: _Retrieved, corpus: Collection, start: int, stop: int
) -> pa.RecordBatch:
    sides = []
    for query, document, columns in (
        (judged.query, judged.document, {"grade": judged.grade}),
        (negatives.query, negatives.document, negatives.columns),
    ):
        low, high = np.searchsorted(query, [start, stop])
        lengths = np.bincount(query[low:high] - start, minlength=stop - start)
        held = {name: column[low:high] for name, column in columns.items()}
        sides.append(Documents(lengths, {**corpus.take(document[low:high]), **held}))
    names, texts = judged.names[start:stop], judged.texts[start:stop]
    grades = to_python(sides[0].lists(sides[0].fields["grade"]))
    # Grades are judgements and no scores: beside retrieval scores they would read as bad positives.
    extra = dumped([{"grades": each} if set(each) != {1} else {} for each in map(_whole, grades)])
    arrays = [names, texts, sides[0].records(POSITIVE), sides[1].records(NEGATIVE), extra]
    return pa.RecordBatch.from_arrays(arrays, schema=ROWS)


def _whole(grades: list[float]) -> list[float]:
    return [int(grade) if grade.is_integer() else grade for grade in grades]


def _in(values: Integers, known: Integers) -> Any:
    if not len(known):
        return np.zeros(len(values), dtype=bool)
    return known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values


def _refuse_shared(runs: list[pa.Table], paths: Sequence[Path]) -> None:
    owner: dict[str, Path] = {}
    for run, path in zip(runs, paths, strict=True):
        for source in run["source"].unique().to_pylist():
            if source in owner:
                raise DataError(
                    f"{owner[source]} and {path} both hold the run '{source}'. Name them apart with "
                    "--source, once per run in order."
                )
            owner[source] = path


def _tag(run: pa.Table) -> str:
    sources = run["source"].unique().to_pylist()
    return f"run '{sources[0]}'" if len(sources) == 1 else f"a run with {len(sources)} tags"
