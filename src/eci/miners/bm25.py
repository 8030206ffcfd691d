"""Lexical negatives: the documents that BM25 ranks highest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci.errors import MissingDependency
from eci.miners.bm25_index import Backend, BM25Settings, opened_index, tokenizer_of, versions_of, weighing_of
from eci.ragged import Ragged
from eci.task import Ranking, RetrievalTask, unknown
from eci.types import Floats, Integers, Progress, silent

__all__ = ["BM25Miner", "BM25Settings", "best"]

# Numba compiles for 5 to 7 s and then saves about 1 ns a query and document, measured on one core.
_NUMBA_PAYS = 10**10


class BM25Miner:
    """The documents of the highest BM25 score; equal scores in the order of the corpus.

    What is found depends on neither backend, threads nor the queries asked beside. Scores are float32
    sums over the words of a query, in their order.

    Parameters
    ----------
    task : RetrievalTask
    settings : BM25Settings
    index : Path, optional
        A folder for the index, which is memory-mapped from there. One that fits texts, settings and
        versions is used again, another one of eci is built anew.
    progress : Progress

    Raises
    ------
    EciError
        The stopwords or the stemmer are unknown, or no document has a word.
    OutputError
        The folder for the index holds something else or cannot be written.
    DataError
        The saved index is damaged.
    MissingDependency
        bm25s, PyStemmer or numba is needed and not installed.
    """

    label = "bm25"

    def __init__(
        self,
        task: RetrievalTask,
        settings: BM25Settings = BM25Settings(),  # noqa: B008
        index: Path | None = None,
        progress: Progress = silent,
    ) -> None:
        self.task, self.settings = task, settings
        self._tokenizer = tokenizer_of(settings)
        self.backend = _backend(settings.backend, len(task) * len(task.corpus))
        self._index = opened_index(task.corpus, settings, index, progress)
        self._index.backend = self.backend
        # Plain arrays over the same memory: two slices of a memmap take longer than adding 100 postings.
        scores = {name: np.asarray(self._index.scores[name]) for name in ("data", "indices", "indptr")}
        self._index.scores.update(scores)
        self._data, self._documents, self._starts = scores.values()
        self._words = list(self._index.vocab_dict)
        if settings.stemmer is None:
            self._tokenizer.word_to_id = self._index.vocab_dict
        else:
            self._tokenizer.stem_to_sid = self._index.vocab_dict

    def describe(self) -> dict[str, Any]:
        """Versions, settings, and the backend that computes."""
        settings = {**weighing_of(self.settings), "backend": self.backend}
        return {"name": "bm25", **versions_of(self.settings), **settings}

    def mine(self, queries: Integers, depth: int) -> Ranking:
        """The documents that share a word of weight with the query, by BM25."""
        depth = min(depth, len(self.task.corpus))
        rows = self._tokenized(queries)
        found = self._by_numba(rows, depth) if self.backend == "numba" else self._by_numpy(rows, depth)
        documents = np.concatenate([documents for documents, _ in found] or [np.empty(0)]).astype(np.int64)
        scores = np.concatenate([scores for _, scores in found] or [np.empty(0)]).astype(np.float64)
        ragged = Ragged.from_lengths(documents, [len(documents) for documents, _ in found])
        return unknown(ragged, scores, self.task.known.take(queries), "bm25")

    def score_positives(self, queries: Integers) -> Ragged:
        """BM25 scores of the labelled positives; 0 where no word is shared."""
        positives = self.task.positives.take(queries)
        scores = [
            self._scores_of(row, positives[number]) for number, row in enumerate(self._tokenized(queries))
        ]
        return positives.with_values(np.concatenate([*scores, np.empty(0)]))

    def _tokenized(self, queries: Integers) -> list[list[int]]:
        """Numbers of the words of each query that the corpus has, in the order of the query."""
        texts = self.task.query_texts(queries)
        rows = self._tokenizer.streaming_tokenize(texts, update_vocab=False, allow_empty=False)
        # bm25s adds an empty word to the vocabulary that has no column in the index.
        columns = len(self._starts) - 1
        return [[word for word in row if word < columns] for row in rows]

    def _by_numpy(self, rows: Sequence[list[int]], depth: int) -> list[_Found]:
        return [best(self._index.get_scores_from_ids(row), depth) for row in rows]

    def _by_numba(self, rows: Sequence[list[int]], depth: int) -> list[_Found]:
        from numba import get_num_threads

        found = [_NOTHING] * len(rows)
        asked = [number for number, row in enumerate(rows) if row]
        if not asked:
            return found
        retrieved = self._index.retrieve(
            [[self._words[word] for word in rows[number]] for number in asked],
            # One more shows whether the cut goes through equal scores.
            k=min(depth + 1, len(self.task.corpus)),
            n_threads=get_num_threads(),
            show_progress=False,
        )
        for number, documents, scores in zip(asked, *retrieved, strict=True):
            if len(scores) > depth and scores[depth] == scores[depth - 1] > 0:
                found[number] = self._by_numpy([rows[number]], depth)[0]
            else:
                places = np.flatnonzero(scores[:depth] > 0)
                order = places[np.lexsort((documents[places], -scores[places]))]
                found[number] = documents[order], scores[order]
        return found

    def _scores_of(self, row: list[int], documents: Integers) -> Floats:
        """BM25 scores of some documents for a tokenized query, of shape (n,)."""
        scores = np.zeros(len(documents), dtype=np.float32)
        asked = documents.astype(self._documents.dtype)
        for word in row:
            posting = slice(self._starts[word], self._starts[word + 1])
            holders = self._documents[posting]
            at = np.minimum(np.searchsorted(holders, asked), len(holders) - 1)
            held = holders[at] == asked
            scores[held] += self._data[posting][at[held]]
        return scores.astype(np.float64)


_Found = tuple[NDArray[Any], NDArray[Any]]
_NOTHING: _Found = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)


def best(scores: NDArray[Any], depth: int) -> _Found:
    """The documents with the highest positive scores, and those scores, best first.

    Equal scores are in the order of the documents, at the cut as well.

    Parameters
    ----------
    scores : ndarray of shape (D,)
        Of each document.
    depth : int
        Most documents.

    Examples
    --------
    >>> documents, scores = best(np.array([1.0, 3.0, 0.0, 1.0, 1.0]), 3)
    >>> documents.tolist(), scores.tolist()
    ([1, 0, 3], [3.0, 1.0, 1.0])
    """
    documents = np.flatnonzero(scores > 0)
    found = scores[documents]
    if len(found) > depth:
        cut = np.partition(found, len(found) - depth)[len(found) - depth]
        chosen = np.flatnonzero(found >= cut)
        if len(chosen) > depth:
            tied = np.flatnonzero(found[chosen] == cut)
            chosen = np.delete(chosen, tied[depth - len(chosen) :])
        documents, found = documents[chosen], found[chosen]
    # Stable: documents rise already.
    order = np.argsort(-found, kind="stable")
    return documents[order], found[order]


def _backend(asked: Backend, size: int) -> str:
    """Numpy or numba for `size` pairs of a query and a document."""
    if asked == "numpy" or (asked == "auto" and size < _NUMBA_PAYS):
        return "numpy"
    try:
        import numba  # noqa: F401
    except ImportError as error:
        if asked == "numba":
            raise MissingDependency("The numba backend of BM25", "numba", "numba") from error
        return "numpy"
    return "numba"
