"""Rows as queries and one pool of documents: the positives, and a corpus that is given beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from eci.datasets.collection import Collection
from eci.datasets.columns import Documents, lengths_of
from eci.datasets.grouping import merge_rows
from eci.datasets.identity import hashes, keys_of, text_hashes
from eci.datasets.rows import Rows
from eci.errors import DataError
from eci.examples import NEGATIVE, ROWS
from eci.task import Corpus, text_digests
from eci.types import Integers

_DOCUMENT = ("id", "title", "text")


@dataclass(frozen=True)
class Pool:
    """Q queries, and their positives among D documents.

    Parameters
    ----------
    query_ids, queries : Array of shape (Q,)
        Rows that share an id or, without one, a text are one query.
    documents : Corpus
        Each document once, by its id or, without one, its text.
    query, document : ndarray of shape (n,)
        Of each positive: its query, and which document it is.
    negatives : int
        Negatives in the rows, which are not here.
    """

    query_ids: pa.Array
    queries: pa.Array
    documents: Corpus
    query: Integers
    document: Integers
    negatives: int

    @classmethod
    def of(cls, rows: Rows) -> Pool:
        """Collect all rows."""
        queries, documents, negatives = _collected(rows)
        first, query_of_row = _numbered(queries["key"].combine_chunks())
        names, texts = (queries[column].combine_chunks().take(first) for column in ("query_id", "query"))
        query = query_of_row[documents["row"].to_numpy()]
        corpus = Corpus(*(documents[name].combine_chunks() for name in _DOCUMENT))
        named = np.asarray(corpus.ids.is_valid())
        # The complement keeps an id apart from a text that reads the same.
        keys = np.where(named, ~hashes(corpus.ids), text_hashes(corpus.titles, corpus.texts))
        distinct, place = _numbered(pa.array(keys))
        ids, asked = names.cast(pa.string()), texts.cast(pa.string())
        return cls(ids, asked, corpus.take(distinct), query, place, negatives)

    def within(self, corpus: Collection) -> Pool:
        """The same in a larger pool: all documents of a corpus, and behind them the positives it lacks.

        A positive without an id is the document that has its text.

        Raises
        ------
        DataError
            A positive has the id of a document with another text.
        """
        own, at = self.documents, self._places(corpus)
        new = np.flatnonzero(at < 0)
        at[new] = len(corpus) + np.arange(len(new))
        rest = own.take(new)
        pairs = ((corpus.ids, rest.ids), (corpus.titles, rest.titles), (corpus.texts, rest.texts))
        documents = Corpus(*(pa.concat_arrays(list(pair)) for pair in pairs))
        return replace(self, documents=documents, document=at[self.document])

    def _places(self, corpus: Collection) -> Integers:
        """Where the corpus has each document; -1 where it lacks it."""
        own = self.documents
        named = np.asarray(own.ids.is_valid())
        at = np.where(named, corpus.find(own.ids), -1)
        if not len(corpus):
            return at
        mine, theirs = text_digests(own.titles, own.texts), text_digests(corpus.titles, corpus.texts)
        clash = np.flatnonzero((at >= 0) & (mine != theirs[at]))
        if len(clash):
            raise DataError(
                f"{corpus.name}: the document '{own.ids[int(clash[0])]}' has another text here than in the "
                f"rows, as have {len(clash) - 1:,} more. One id, one text: correct the ids."
            )
        order = np.argsort(theirs, kind="stable")
        near = order[np.minimum(np.searchsorted(theirs[order], mine), len(theirs) - 1)]
        return np.where(~named & (theirs[near] == mine), near, at)


def _collected(rows: Rows) -> tuple[pa.Table, pa.Table, int]:
    """Columns over all queries, columns over all positives, and the number of negatives.

    Queries have ``key``, ``query_id`` and ``query``, positives ``id``, ``title``, ``text`` and ``row``: the
    number of their query.
    """
    queries, documents, negatives, size = [], [], 0, 0
    wide = pa.large_string()
    for batch in rows:
        negatives += int(lengths_of(batch.column("negatives")).sum())
        bare = merge_rows(_without_negatives(batch))
        keys = [keys_of(bare), bare.column("query_id"), bare.column("query")]
        queries.append(pa.table([key.cast(wide) for key in keys], ["key", "query_id", "query"]))
        side = Documents.of(bare.column("positives"))
        columns = [side.fields[name].cast(wide) for name in _DOCUMENT]
        documents.append(pa.table([*columns, pa.array(side.rows + size)], [*_DOCUMENT, "row"]))
        size += len(bare)
    return pa.concat_tables(queries), pa.concat_tables(documents), negatives


def _without_negatives(batch: pa.RecordBatch) -> pa.RecordBatch:
    kept = [batch.column(name) for name in ("query_id", "query", "positives")]
    size = len(batch)
    empty = Documents(np.zeros(size, dtype=np.int64), {}).records(NEGATIVE)
    return pa.RecordBatch.from_arrays([*kept, empty, pa.nulls(size, pa.string())], schema=ROWS)


def _numbered(keys: pa.Array) -> tuple[Integers, Integers]:
    """Where each key occurs first, in order, and the number of every entry's key."""
    numbers = np.asarray(keys.dictionary_encode().indices, dtype=np.int64)
    return np.unique(numbers, return_index=True)[1], numbers
