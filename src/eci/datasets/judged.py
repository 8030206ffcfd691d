"""Queries with the documents that judgements call relevant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.collection import Collection
from eci.datasets.identity import holds_query
from eci.errors import DataError
from eci.task import text_digests
from eci.types import Flags, Integers


@dataclass(frozen=True)
class Judged:
    """Q queries with positives: ids, texts, and (query, document, grade) sorted by query."""

    names: pa.Array
    texts: pa.Array
    query: Integers
    document: Integers
    grade: pa.Array

    @classmethod
    def of(cls, qrels: pa.Table, path: Path, corpus: Collection, queries: Collection, tell: Teller) -> Judged:
        """Queries that have a judgement above 0 whose document is in the corpus.

        Parameters
        ----------
        qrels : Table
            As ``trec.read_qrels`` gives it.
        path : Path
            Where it was read from, for messages.
        corpus, queries : Collection
        tell : Teller
            Told what is left out.

        Raises
        ------
        DataError
            A judged query has no text, or no query has a positive.
        """
        absent = np.flatnonzero(corpus.find(qrels["document"].combine_chunks()) < 0)
        if len(absent):
            lost = qrels["document"][int(absent[0])]
            words = f"judgements point to documents that the corpus lacks; the first is '{lost}'"
            tell.count(len(absent), len(qrels), words)
        positive = qrels.filter(pc.greater(qrels["score"], 0))
        document = corpus.find(positive["document"].combine_chunks())
        present = document >= 0
        encoded = positive["query"].combine_chunks().dictionary_encode()
        at = queries.find(encoded.dictionary)
        if (at < 0).any():
            lost = encoded.dictionary[int(np.flatnonzero(at < 0)[0])]
            raise DataError(
                f"{queries.name}: the judged query '{lost}' has no text here. "
                "Give all queries with --queries."
            )
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        kept = np.bincount(codes[present], minlength=len(at)) > 0
        if not kept.any():
            raise DataError(f"{path}: no query has a positive that is in {corpus.name}.")
        tell.count(int((~kept).sum()), len(kept), "queries have no positive in the corpus and are left out")
        code, document = codes[present], document[present]
        # A document judged twice counts once.
        _, first = np.unique(code * max(1, len(corpus)) + document, return_index=True)
        first = np.sort(first)
        order = first[np.argsort(code[first], kind="stable")]
        query = (np.cumsum(kept) - 1)[code[order]]
        names = encoded.dictionary.filter(pa.array(kept))
        grade = positive["score"].combine_chunks().filter(pa.array(present)).take(pa.array(order))
        return cls(names, queries.take(at[kept])["text"], query, document[order], grade)

    def find(self, ids: pa.Array) -> Integers:
        """Index of the query of each id, of shape (n,); -1 where it has no positive."""
        return self._by_name.find(ids)

    def asking(self, ids: pa.Array, queries: Collection) -> Integers:
        """A query here that asks the same as the query of each id, of shape (n,); -1 where there is none.

        Parameters
        ----------
        ids : Array of shape (n,)
        queries : Collection
            Texts of the ids. Two ids may share one.
        """
        encoded = ids.dictionary_encode()
        at = queries.find(encoded.dictionary)
        wanted = text_digests(None, queries.take(np.maximum(at, 0))["text"])
        digests, order = self._by_text
        place = np.minimum(np.searchsorted(digests, wanted), len(digests) - 1)
        found: Integers = np.where((at >= 0) & (digests[place] == wanted), order[place], -1)
        codes: Integers = encoded.indices.to_numpy(zero_copy_only=False)
        return found[codes]

    @cached_property
    def _by_name(self) -> Collection:
        return Collection("", self.names, self.names, self.names)

    @cached_property
    def _by_text(self) -> tuple[Integers, Integers]:
        digests = text_digests(None, self.texts)
        order = np.argsort(digests, kind="stable")
        return digests[order], order

    def hold(self, corpus: Collection, query: Integers, document: Integers) -> Flags:
        """Which documents hold the text of their query, of shape (n,).

        Asked where both have one id: there a document is the query itself (ArguAna), or the two just
        share a number (Cranfield).
        """
        documents = corpus.take(document)["text"].to_pylist()
        asked = self.texts.take(pa.array(query)).to_pylist()
        held = (holds_query(text, words) for text, words in zip(documents, asked, strict=True))
        return np.fromiter(held, np.bool_, len(asked))


class Teller:
    """Writes notes that begin with the name of a collection."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    def always(self, words: str) -> None:
        """Note it."""
        self.notes.append(f"{self.name}: {words}")

    def count(self, number: int, total: int, words: str) -> None:
        """Note how many of how many, if there are any."""
        if number:
            self.always(f"{number:,} of {total:,} {words}")
