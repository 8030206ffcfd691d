"""Queries to score: all in memory, or the first drawn of them, and the others as they pass by."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eci.directions import draws
from eci.examples import Examples, document_texts, query_key
from eci.lexical import Lexicon, Tokenizer, Vocabulary, WordCounter, in_order
from eci.ragged import Ragged
from eci.seen import Seen
from eci.types import Integers, Progress, silent

# Queries that pass by at a time.
PASSING = 2048
# Word numbers of documents that are kept for when the documents come again: 256 MB.
_KEPT = 1 << 26


@dataclass(frozen=True)
class Portions:
    """Queries with their documents, of which some are in memory.

    Parameters
    ----------
    held : Examples
        The first drawn of the queries; all where `pieces` is None.
    sources : tuple of S str
        Of all queries, sorted.
    draws : ndarray of shape (Q,), uint64
        See `eci.directions.draws`; rising.
    seed : int
        Of the draws.
    rows, negatives : int
        Of all queries.
    pieces : callable, optional
        Gives the canonical rows of all queries in tables that hold whole queries, anew with every call.
    """

    held: Examples
    sources: tuple[str, ...]
    draws: NDArray[np.uint64]
    seed: int
    rows: int
    negatives: int
    pieces: Callable[[], Iterator[pa.Table]] | None = None

    @classmethod
    def of(cls, examples: Examples, seed: int) -> Portions:
        """Examples that are in memory."""
        drawn = np.sort(draws(examples.keys, seed))
        return cls(examples, examples.sources, drawn, seed, examples.rows, len(examples.source))

    def __len__(self) -> int:
        return len(self.draws)

    def passing(self, start: int, end: int) -> Passing | None:
        """The queries drawn from place `start` to before `end`, where they are not in memory."""
        if self.pieces is None or start >= end:
            return None
        return Passing(self.pieces, self.draws[start], self.draws[end - 1], self.seed, PASSING)

    def reader(
        self, tokenizer: Tokenizer, corpus: Sequence[str] | None = None, progress: Progress = silent
    ) -> tuple[Reader, int]:
        """Read all documents: what reads them from now on, and how many there are.

        In how many of them, or of `corpus`, each word occurs is counted.
        """
        counter, seen, kept, documents, done = WordCounter(tokenizer), Seen(), _Kept(), 0, 0
        for piece in self.pieces() if self.pieces is not None else ():
            for batch in piece.to_batches():
                sides = [batch.column(name).flatten() for name in ("positives", "negatives")]
                texts = [document_texts(side).unique().to_pylist() for side in sides]
                new, keys = _new(seen, list(dict.fromkeys(chain(*texts))))
                documents += len(new)
                read = counter.add(new, counted=corpus is None)
                if not kept.full:
                    kept.add(keys, read)
                done += len(batch)
            progress("counting words", done, self.rows)
        if corpus is not None:
            counter.add(corpus)
        vocabulary, number = counter.vocabulary()
        kept.renumber(number)
        return Reader(vocabulary, kept), documents


class _Kept:
    """Word numbers of documents, by the hash of each."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        # Compact while they grow.
        self._values, self._ends = array("i"), array("q", [0])

    @property
    def full(self) -> bool:
        return len(self._values) > _KEPT

    def lacks(self, key: int) -> bool:
        return key not in self._places

    def add(self, keys: Iterable[int], words: Ragged) -> None:
        """Keep the words of documents that are not here."""
        for key in keys:
            self._places.setdefault(key, len(self._places))
        self._values.frombytes(words.values.astype(np.int32).tobytes())
        self._ends.frombytes((words.offsets[1:] + self._ends[-1]).tobytes())

    def renumber(self, number: Integers) -> None:
        """Give words other numbers; those of a document rise."""
        values, ends = np.frombuffer(self._values, np.int32), np.frombuffer(self._ends, np.int64)
        for start in range(0, len(ends) - 1, PASSING):
            own = ends[start : start + PASSING + 1]
            words = values[own[0] : own[-1]]
            words[:] = in_order(Ragged(number[words], own - own[0]), len(number)).values

    def take(self, keys: Iterable[int]) -> Ragged:
        """The words of the documents of some hashes, which are here."""
        places = np.fromiter(map(self._places.__getitem__, keys), np.int64)
        known = Ragged(np.frombuffer(self._values, np.int32), np.frombuffer(self._ends, np.int64))
        chosen = known.take(places)
        return chosen.with_values(chosen.values.astype(np.int64))


@dataclass(frozen=True)
class Passing:
    """The rows of queries that pass by, in portions of whole queries; each loop goes through them anew.

    Parameters
    ----------
    pieces : callable
        As in `Portions`.
    first, last : uint64
        The draws of those that pass.
    seed : int
        Of the draws.
    size : int
        Rows in a portion, or some more.
    """

    pieces: Callable[[], Iterator[pa.Table]]
    first: np.uint64
    last: np.uint64
    seed: int
    size: int

    def __iter__(self) -> Iterator[list[pa.RecordBatch]]:
        waiting: list[pa.RecordBatch] = []
        for piece in self.pieces():
            drawn = draws(row_keys(piece), self.seed)
            chosen = (drawn >= self.first) & (drawn <= self.last)
            waiting += (piece if chosen.all() else piece.filter(pa.array(chosen))).to_batches()
            if sum(map(len, waiting)) >= self.size:
                yield waiting
                waiting = []
        if sum(map(len, waiting)):
            yield waiting


class Reader:
    """Reads documents with a vocabulary, and those that come again only once.

    Parameters
    ----------
    vocabulary : Vocabulary
    kept : _Kept, optional
        Documents that have been read.
    """

    def __init__(self, vocabulary: Vocabulary, kept: _Kept | None = None) -> None:
        self.vocabulary, self._kept = vocabulary, kept or _Kept()

    def lexicon(self, documents: Sequence[str]) -> Lexicon:
        """The words of unique documents."""
        return Lexicon(self._read(documents), self.vocabulary)

    def _read(self, texts: Sequence[str]) -> Ragged:
        keys = [hash(text) for text in texts]
        new = [text for text, key in zip(texts, keys, strict=True) if self._kept.lacks(key)]
        if new and self._kept.full:
            self._kept, new = _Kept(), list(texts)
        self._kept.add(map(hash, new), self.vocabulary.read(new))
        return self._kept.take(keys)


def row_keys(rows: pa.RecordBatch | pa.Table) -> list[bytes]:
    """The key of each row's query, as `eci.examples.Examples` has it."""
    names, queries = (rows.column(name).to_pylist() for name in ("query_id", "query"))
    return [query_key(name, query) for name, query in zip(names, queries, strict=True)]


def _new(seen: Seen, texts: list[str]) -> tuple[list[str], list[int]]:
    """Texts that were not there before, and their hashes; no text is there twice."""
    if not texts:
        return [], []
    keys = np.fromiter(map(hash, texts), np.int64, len(texts))
    known, _ = seen.add(keys, np.zeros_like(keys))
    return [text for text, old in zip(texts, known.tolist(), strict=True) if not old], keys[~known].tolist()
