"""Training examples in columns: the canonical rows, and their interned form for scoring.

``ROWS`` is the canonical layout (``eci``) as an Arrow schema; every reader yields it and every writer
takes it. Negatives are a list of records with a source field, not one column per source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eci.errors import DataError, EciError
from eci.ragged import Ragged, rising
from eci.types import Flags, Floats, Integers

POSITIVE = pa.struct(
    [("id", pa.string()), ("title", pa.string()), ("text", pa.string()), ("score", pa.float64())]
)
NEGATIVE = pa.struct(
    [
        ("source", pa.string()),
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("scorer", pa.string()),
        # How it was made or who else found it, as a JSON object; null where there is nothing to tell.
        ("extra", pa.string()),
    ]
)
ROWS = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("positives", pa.list_(POSITIVE)),
        ("negatives", pa.list_(NEGATIVE)),
        # Keys that the layout has and the columns above do not, as a JSON object; null where there are none.
        ("extra", pa.string()),
    ]
)

Choice: TypeAlias = Literal["top", "sample"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


def is_label(text: str) -> bool:
    """Whether a source may have that name: some of it shows, and nothing in it garbles a terminal."""
    return bool(text.strip()) and text.isprintable()


@dataclass(frozen=True)
class Examples:
    """Queries with their documents as integer ids into tables of unique texts.

    Parameters
    ----------
    keys : tuple of Q bytes
        Digest of each query's identity: of its id, or of its text where it has none.
    labels : tuple of Q str
        How to name each query in a message: its id, or the start of its text.
    queries : tuple of Q str
        Query texts.
    documents : tuple of D str
        Unique document texts, as an encoder sees them: title and text joined.
    positives : Ragged of Q rows
        Indices into `documents`.
    negatives : Ragged of Q rows
        Indices into `documents`.
    sources : tuple of S str
        Labels of the sources, sorted.
    source : ndarray of shape (n,)
        Source of each negative, an index into `sources`.
    teacher : ndarray of shape (n,)
        Score of each negative by whoever also scored the query's positives, else NaN.
    rows : int
        Rows read.
    """

    keys: tuple[bytes, ...]
    labels: tuple[str, ...]
    queries: tuple[str, ...]
    documents: tuple[str, ...]
    positives: Ragged
    negatives: Ragged
    sources: tuple[str, ...]
    source: Integers
    teacher: Floats
    rows: int

    @classmethod
    def from_batches(cls, batches: Iterable[pa.RecordBatch]) -> Examples:
        """Intern canonical rows; rows that share a query become one.

        A positive, or a negative of one source, that an earlier row of the query already has is not
        counted again; repetitions within a row stay.

        Raises
        ------
        DataError
            There are no rows, or a query has no positive.
        """
        interner = _Interner()
        for batch in batches:
            interner.add(batch)
        return interner.examples()

    def covered(self) -> Flags:
        """Which queries have a negative of which source, of shape (Q, S)."""
        found = np.zeros((len(self.queries), len(self.sources)), dtype=np.bool_)
        found[self.negatives.rows, self.source] = True
        return found

    def limited(self, n: int, by: Choice = "top", seed: int = 0) -> Examples:
        """The same queries with at most `n` negatives of each source, as if the rows had held no others.

        Parameters
        ----------
        n : int
            Lists that are shorter stay as they are.
        by : {"top", "sample"}
            The first `n` in the order of the row, which is by rank where a miner wrote it. Of a hybrid that
            puts one list after the other these are the first of its first part. Or a draw.
        seed : int
            Of the draw, which depends on nothing else but the query and the document.

        Raises
        ------
        EciError
            `n` is below 1, or `by` is unknown.
        """
        refuse_limit(n, by)
        lists = self._lists()
        order = np.lexsort((self._draws(seed) if by == "sample" else np.arange(len(lists)), lists))
        ordered = Ragged.from_lengths(order, np.bincount(lists))
        kept = np.zeros(len(lists), dtype=np.bool_)
        kept[ordered.values[ordered.within < n]] = True
        negatives = self.negatives.keep(kept)
        used = rising(np.concatenate([self.positives.values, negatives.values]))
        return replace(
            self,
            documents=tuple(self.documents[number] for number in used.tolist()),
            positives=self.positives.with_values(np.searchsorted(used, self.positives.values)),
            negatives=negatives.with_values(np.searchsorted(used, negatives.values)),
            source=self.source[kept],
            teacher=self.teacher[kept],
        )

    def short(self, n: int) -> dict[str, int]:
        """How many queries have negatives of a source, but fewer than `n`; only sources with such queries."""
        width = len(self.sources)
        lengths = np.bincount(self._lists(), minlength=len(self.queries) * width).reshape(-1, width)
        counts = ((lengths > 0) & (lengths < n)).sum(axis=0)
        return {label: int(times) for label, times in zip(self.sources, counts, strict=True) if times}

    def _lists(self) -> Integers:
        """The list of one query and one source that each negative belongs to, of shape (n,)."""
        return np.asarray(self.negatives.rows * len(self.sources) + self.source)

    def _draws(self, seed: int) -> NDArray[np.uint64]:
        """A number for each negative by seed, query and document, whatever their order, of shape (n,)."""
        salt = str(seed).encode()
        digests = [_digest(text.encode()) for text in self.documents]
        # A document twice in a list is two chances, not one that brings both.
        identity = self._lists() * len(self.documents) + self.negatives.values
        order = np.argsort(identity, kind="stable")
        times = np.empty(len(order), dtype=np.int64)
        times[order] = Ragged.from_lengths(order, np.unique(identity, return_counts=True)[1]).within
        drawn = (
            hashlib.blake2b(self.keys[query] + digests[document] + b"%d" % time, digest_size=8, key=salt)
            for query, document, time in zip(
                self.negatives.rows.tolist(), self.negatives.values.tolist(), times.tolist(), strict=True
            )
        )
        return np.array([int.from_bytes(found.digest(), "big") for found in drawn], dtype=np.uint64)

    def identical(self) -> Flags:
        """Which negatives equal a positive of their query but for case and white space, of shape (n,)."""
        # Nearly all differ in their last word, which is found sooner than the whole text is made plain.
        every = np.arange(len(self.documents))
        near = self._same(every, _last_word)
        own = np.zeros(len(self.queries), dtype=np.bool_)
        own[self.negatives.rows[near]] = True
        close = [self.negatives.values[near], self.positives.values[own[self.positives.rows]]]
        return near & self._same(rising(np.concatenate(close)), _plain)

    def _same(self, documents: Integers, plain: Callable[[str], str]) -> Flags:
        """Which negatives are the same as a positive of their query in some respect, of shape (n,).

        Only those among the given `documents` can be.
        """
        numbers: dict[str, int] = {}
        number = np.full(len(self.documents), -1, dtype=np.int64)
        number[documents] = [
            numbers.setdefault(plain(self.documents[place]), len(numbers)) for place in documents.tolist()
        ]
        width = len(numbers) + 1
        known = self.positives.rows * width + number[self.positives.values]
        same = np.isin(self.negatives.rows * width + number[self.negatives.values], known)
        return np.asarray(same & (number[self.negatives.values] >= 0))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _last_word(text: str) -> str:
    return "".join(text.rsplit(None, 1)[-1:]).lower()


def refuse_limit(n: int, by: str) -> None:
    """Raise an `EciError` unless `Examples.limited` can take these."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise EciError(f"fixed N is a whole number of negatives, at least 1, got {n!r}.")
    if by not in CHOICES:
        raise EciError(f"fixed N takes its negatives by {' or '.join(CHOICES)}, got {by!r}.")


class _Interner:
    """Collects canonical rows as integers; text is kept once."""

    def __init__(self) -> None:
        self.query_numbers: dict[bytes, int] = {}
        self.queries: list[str] = []
        self.labels: list[str] = []
        self.document_numbers: dict[bytes, int] = {}
        self.documents: list[str] = []
        self.source_numbers: dict[str, int] = {}
        self.query_of_row: list[int] = []
        self.positives: list[Ragged] = []
        self.negatives: list[Ragged] = []
        self.source: list[Integers] = []
        self.teacher: list[Floats] = []

    def add(self, batch: pa.RecordBatch) -> None:
        for query_id, query in zip(
            batch.column("query_id").to_pylist(), batch.column("query").to_pylist(), strict=True
        ):
            self.query_of_row.append(self._query(query_id, query))
        positives, negatives = batch.column("positives"), batch.column("negatives")
        self.positives.append(self._documents(positives))
        self.negatives.append(self._documents(negatives))
        entries = negatives.flatten()
        sources = entries.field("source").dictionary_encode()
        numbers = [
            self.source_numbers.setdefault(label, len(self.source_numbers))
            for label in sources.dictionary.to_pylist()
        ]
        self.source.append(np.array(numbers, dtype=np.int64)[_numpy(sources.indices)])
        # Only a score given to the positives too is a reranker's or teacher's; a miner scores what it found.
        judged = (
            self.positives[-1].with_values(~np.isnan(_numpy(positives.flatten().field("score")))).sums() > 0
        )
        scores = _numpy(entries.field("score"))
        self.teacher.append(np.where(np.repeat(judged, self.negatives[-1].lengths), scores, np.nan))

    def _query(self, query_id: str | None, query: str) -> int:
        key = query_key(query_id, query)
        number = self.query_numbers.setdefault(key, len(self.queries))
        if number == len(self.queries):
            self.queries.append(query)
            self.labels.append(query_id if query_id is not None else shorten(query))
        return number

    def _documents(self, lists: pa.ListArray) -> Ragged:
        texts = document_texts(lists.flatten()).dictionary_encode()
        numbers = np.empty(len(texts.dictionary), dtype=np.int64)
        for place, text in enumerate(texts.dictionary.to_pylist()):
            number = self.document_numbers.setdefault(_digest(text.encode()), len(self.documents))
            if number == len(self.documents):
                self.documents.append(text)
            numbers[place] = number
        lengths = lists.value_lengths().fill_null(0)
        return Ragged.from_lengths(numbers[_numpy(texts.indices)], _numpy(lengths))

    def examples(self) -> Examples:
        if not self.query_of_row:
            raise DataError("The input has no rows. Expected at least one query with a positive.")
        for label in self.source_numbers:
            if not is_label(label):
                raise DataError(
                    f"The source {label!r} is empty or holds characters that do not print. Rename it."
                )
        query = np.array(self.query_of_row, dtype=np.int64)
        labels = sorted(self.source_numbers)
        rank = {label: place for place, label in enumerate(labels)}
        recode = np.array([rank[label] for label in self.source_numbers], dtype=np.int64)
        source = recode[np.concatenate(self.source)] if labels else np.empty(0, dtype=np.int64)
        teacher = np.concatenate(self.teacher)
        positives, _ = _regroup(_concatenate(self.positives), query, np.zeros(1, dtype=np.int64))
        empty = np.flatnonzero(positives.lengths == 0)
        if len(empty):
            raise DataError(
                f"Query {self.labels[empty[0]]!r} has no positive ({len(empty):,} such queries). "
                "Every query needs at least one labelled positive: add one or remove the query."
            )
        negatives, chosen = _regroup(_concatenate(self.negatives), query, source)
        return Examples(
            keys=tuple(self.query_numbers),
            labels=tuple(self.labels),
            queries=tuple(self.queries),
            documents=tuple(self.documents),
            positives=positives,
            negatives=negatives,
            sources=tuple(labels),
            source=source[chosen],
            teacher=teacher[chosen],
            rows=len(query),
        )


def query_key(query_id: str | None, query: str) -> bytes:
    """Digest of a query's identity: of its id, or of its text where it has none; of `Examples.keys`."""
    return _digest(b"id:" + query_id.encode() if query_id is not None else b"text:" + query.encode())


def document_texts(documents: pa.StructArray) -> pa.Array:
    """What an encoder sees of documents with ``title`` and ``text``."""
    return joined(documents.field("title"), documents.field("text"))


def joined(title: pa.Array, text: pa.Array) -> pa.Array:
    """Title and text in one, ``(title + " " + text).strip()``; the text as it is where there is no title."""
    if title.null_count == len(title):
        return text
    both = pc.utf8_trim_whitespace(pc.binary_join_element_wise(title, text, pa.scalar(" ", text.type)))
    return pc.if_else(title.is_valid(), both, text)


def shorten(text: str, width: int = 60) -> str:
    """The start of a text on one line, for messages."""
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _regroup(entries: Ragged, query: Integers, source: Integers) -> tuple[Ragged, Integers]:
    """Put the rows of each query together and drop what an earlier row of the query already has.

    Returns the rows by query, and which entries they are. `source` has one entry a value, or one
    for all.
    """
    count = int(query.max()) + 1
    row, order = entries.rows, np.argsort(query[entries.rows], kind="stable")
    owner = query[row]
    if len(query) > count:
        source = np.broadcast_to(source, len(row))
        identity = (owner * (source.max(initial=0) + 1) + source) * (entries.values.max(initial=0) + 1)
        _, first, inverse = np.unique(identity + entries.values, return_index=True, return_inverse=True)
        order = order[row[first][inverse.ravel()][order] == row[order]]
    lengths = np.bincount(owner[order], minlength=count)
    return Ragged.from_lengths(entries.values[order], lengths), order


def _concatenate(parts: list[Ragged]) -> Ragged:
    return Ragged.from_lengths(
        np.concatenate([part.values for part in parts]), np.concatenate([part.lengths for part in parts])
    )


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _numpy(array: pa.Array) -> NDArray[Any]:
    return np.asarray(array.to_numpy(zero_copy_only=False))
