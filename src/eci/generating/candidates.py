"""Documents of a corpus that come near a query, for a model to rewrite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from eci.datasets.columns import Documents
from eci.errors import DataError
from eci.ragged import Ragged
from eci.task import Corpus, Miner, RetrievalTask, text_digests
from eci.types import Integers, Progress, silent

_BATCH = 2048


@dataclass(frozen=True)
class Candidate:
    """A document that may be rewritten; ``text`` is what an encoder would see of it."""

    id: str | None
    text: str


@dataclass(frozen=True)
class Candidates:
    """Candidates of each query of a task.

    Parameters
    ----------
    documents : Ragged of Q rows
        Indices into `corpus`, best first.
    corpus : Corpus
    origin : str
        Where they are from, for the summary.
    """

    documents: Ragged
    corpus: Corpus
    origin: str

    @classmethod
    def mined(
        cls, task: RetrievalTask, miner: Miner, queries: int, most: int, progress: Progress = silent
    ) -> Candidates:
        """The best of a miner for the first queries of a task.

        Parameters
        ----------
        task : RetrievalTask
        miner : Miner
            Made for `task`.
        queries : int
            How many queries have candidates.
        most : int
            Candidates of a query.
        """
        parts, lengths = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for start in range(0, queries, _BATCH):
            progress("looking for candidates", start, queries)
            asked = np.arange(start, min(start + _BATCH, queries))
            depth = most + int(task.known.take(asked).lengths.max(initial=0))
            found = miner.mine(asked, depth)
            kept = found.documents.keep(found.ranks <= most)
            parts.append(kept.values)
            lengths.append(kept.lengths)
        documents = Ragged.from_lengths(np.concatenate(parts), np.concatenate(lengths))
        return cls(documents, task.corpus, miner.label)

    @classmethod
    def of_rows(
        cls, task: RetrievalTask, rows: Iterable[pa.RecordBatch], most: int, origin: str
    ) -> Candidates:
        """The first negatives that some rows have for each query, without what is known to answer it.

        Parameters
        ----------
        task : RetrievalTask
        rows : iterable of RecordBatch
            Canonical rows; theirs are the queries of the task that have their id or, without one, their text.
        most : int
            Candidates of a query.
        origin : str

        Raises
        ------
        DataError
            The rows have none of the queries.
        """
        numbers: dict[tuple[str, str | None], int] = {}
        corpus: list[tuple[str | None, str]] = []
        entries: dict[tuple[str | None, str], int] = {}
        taken: list[dict[int, None]] = [{} for _ in range(len(task))]
        for row, (name, text) in enumerate(
            zip(task.query_ids.to_pylist(), task.queries.to_pylist(), strict=True)
        ):
            numbers.setdefault(("text", text), row)
            if name is not None:
                numbers.setdefault(("id", name), row)
        for batch in rows:
            for row, found in _negatives_of(batch, numbers):
                own = taken[row]
                for entry in found:
                    number = entries.setdefault(entry, len(corpus))
                    if number == len(corpus):
                        corpus.append(entry)
                    own[number] = None
        if not any(taken):
            raise DataError(
                f"{origin}: has negatives for none of the queries. Give rows of the same queries, or leave "
                "--candidates out."
            )
        columns = [pa.array(column, pa.large_string()) for column in zip(*corpus, strict=True)]
        pool = Corpus(columns[0], pa.nulls(len(corpus), pa.large_string()), columns[1])
        values = np.array([number for own in taken for number in own], dtype=np.int64)
        documents = Ragged.from_lengths(values, [len(own) for own in taken])
        unknown = documents.keep(~_known(task, documents, pool))
        return cls(unknown.keep(unknown.within < most), pool, origin)

    def among(self, queries: int) -> int:
        """How many of the first so many queries have any."""
        return int((self.documents.lengths[:queries] > 0).sum())

    def of(self, query: int) -> tuple[Candidate, ...]:
        """The candidates of a query of the task."""
        places = self.documents[query]
        ids = self.corpus.ids.take(pa.array(places)).to_pylist()
        return tuple(map(Candidate, ids, self.corpus.shown(places)))


def _negatives_of(
    batch: pa.RecordBatch, numbers: dict[tuple[str, str | None], int]
) -> Iterable[tuple[int, list[tuple[str | None, str]]]]:
    """For each row of a known query, its negatives as pairs of id and text."""
    negatives = Documents.of(batch.column("negatives"))
    ids, shown = negatives.fields["id"], negatives.shown
    names, texts = batch.column("query_id").to_pylist(), batch.column("query").to_pylist()
    ends = np.cumsum(negatives.lengths).tolist()
    for row, (name, text) in enumerate(zip(names, texts, strict=True)):
        number = numbers.get(("id", name), numbers.get(("text", text)))
        if number is not None:
            part = slice(ends[row] - int(negatives.lengths[row]), ends[row])
            yield number, list(zip(ids[part].to_pylist(), shown[part].to_pylist(), strict=True))


def _known(
    task: RetrievalTask, documents: Ragged, pool: Corpus
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which candidates are the text of a document that is known to answer their query."""
    digests = text_digests(None, pool.texts)[documents.values]
    return same_as_known(task, np.arange(len(documents)), documents.with_values(digests))


def same_as_known(
    task: RetrievalTask, queries: Integers, digests: Ragged
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which texts are those of documents known to answer their query, with or without the title.

    Parameters
    ----------
    task : RetrievalTask
    queries : ndarray of shape (R,)
        Indices into the queries of the task.
    digests : Ragged of R rows
        `text_digests` of n texts.
    """
    known = task.known.take(queries)
    places, back = np.unique(known.values, return_inverse=True)
    held = task.corpus.take(places)
    forms = [text_digests(titles, held.texts)[back] for titles in (held.titles, None)]
    pairs = Counter[tuple[int, int]]()
    for own in forms:
        pairs.update(zip(known.rows.tolist(), own.tolist(), strict=True))
    asked = zip(digests.rows.tolist(), digests.values.tolist(), strict=True)
    return np.fromiter((pair in pairs for pair in asked), np.bool_, len(digests.values))
