"""Collections whose queries are judged: what a retriever is tested on."""

from __future__ import annotations

from collections.abc import Collection as Several
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets import beir
from eci.datasets.collection import Collection
from eci.datasets.files import stem
from eci.datasets.identity import fingerprint, holds_query
from eci.datasets.trec import read_qrels
from eci.errors import DataError
from eci.task import Corpus
from eci.types import Integers


@dataclass(frozen=True)
class JudgedCollection:
    """Queries, documents, and graded judgements: what trec_eval calls a test collection.

    Parameters
    ----------
    name : str
        The collection, for messages and results.
    split : str
        Whose judgements these are: ``test``.
    query_ids, queries : tuple of str, of length Q
        Ids and texts of the judged queries.
    documents : Corpus
        All documents; each id once. Unlike a task of negatives, it keeps empty and equal texts.
    qrels : mapping of str to mapping of str to int
        Grades of each query's judged documents; above 0 is relevant. Has the Q queries, in their order.
    files : tuple of dict
        Name, bytes and SHA-256 of what was read.
    notes : tuple of str
        What was chosen or found on the way.
    """

    name: str
    split: str
    query_ids: tuple[str, ...]
    queries: tuple[str, ...]
    documents: Corpus
    qrels: Mapping[str, Mapping[str, int]]
    files: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: str | Path, split: str | None = None) -> JudgedCollection:
        r"""Read a BEIR folder: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``.

        Parameters
        ----------
        folder : str or Path
        split : str, optional
            Whose judgements; ``test`` when None, else the only one.

        Raises
        ------
        DataError
            Something is missing or cannot be read; the message names the file and what to do.

        Examples
        --------
        >>> import tempfile
        >>> home = Path(tempfile.mkdtemp())
        >>> (home / "qrels").mkdir()
        >>> _ = (home / "corpus.jsonl").write_text('{"_id": "d1", "title": "Sky", "text": "is blue."}\n')
        >>> _ = (home / "queries.jsonl").write_text('{"_id": "q1", "text": "What is blue?"}\n')
        >>> _ = (home / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\n")
        >>> found = JudgedCollection.read(home)
        >>> found.queries, found.documents.shown(), found.qrels
        (('What is blue?',), ['Sky is blue.'], {'q1': {'d1': 2}})
        """
        folder = Path(folder)
        files = beir.find(folder, (), split or _split(folder), None, None)
        qrels = _graded(read_qrels(files.qrels), files.qrels)
        asked, held = Collection.load([files.queries]), Collection.load([files.corpus])
        at = asked.find(pa.array(list(qrels), pa.string()))
        if (at < 0).any():
            lost = list(qrels)[int(np.flatnonzero(at < 0)[0])]
            raise DataError(
                f"{files.queries}: the query '{lost}', which {files.qrels.name} judges, has no text here. "
                f"Add its text, or remove its judgements."
            )
        # That repeated ids have one text was checked when they were loaded.
        once = pa.array(held.find(held.ids) == np.arange(len(held)))
        documents = Corpus(*(each.filter(once) for each in (held.ids, held.titles, held.texts)))
        notes = [] if split else [f"judgements: qrels/{files.qrels.name}"]
        if documents.titles.null_count < len(documents):
            notes.append("document text is title + ' ' + text")
        made = cls(
            files.name,
            stem(files.qrels),
            tuple(qrels),
            tuple(asked.take(at)["text"].to_pylist()),
            documents,
            qrels,
            tuple(fingerprint([files.corpus, files.queries, files.qrels])),
            (*notes, *_found(documents, qrels)),
        )
        return replace(made, notes=(*made.notes, *made._under_own_id()))

    def __len__(self) -> int:
        return len(self.query_ids)

    def only(self, query_ids: Several[str]) -> JudgedCollection:
        """The same documents with some of the queries, in the order of this collection.

        Raises
        ------
        DataError
            No query is named, or one that is not judged here.
        """
        unknown = sorted(set(query_ids) - self.qrels.keys())
        if unknown or not query_ids:
            told = f"the query '{unknown[0]}' is not judged in it" if unknown else "no query is chosen"
            raise DataError(f"{self.name} ({self.split}): {told}. Choose among its {len(self):,} queries.")
        chosen = set(query_ids)
        kept = [place for place, name in enumerate(self.query_ids) if name in chosen]
        return replace(
            self,
            query_ids=tuple(self.query_ids[place] for place in kept),
            queries=tuple(self.queries[place] for place in kept),
            qrels={name: grades for name, grades in self.qrels.items() if name in chosen},
            notes=(*self.notes, f"{len(kept):,} of the {len(self):,} judged queries"),
        )

    @cached_property
    def itself(self) -> Integers:
        """The document that is the query itself, of shape (Q,): an index into `documents`, or -1.

        It has the query's id and text, as in ArguAna, and no judgement calls it relevant. BEIR drops every
        document with the query's id from its results; where the two just share a number, as in Cranfield,
        that would drop answers.
        """
        found = self._same_id.copy()
        for query in np.flatnonzero(found >= 0).tolist():
            text, name = self.documents.texts[int(found[query])].as_py(), self.query_ids[query]
            if self.qrels[name].get(name, 0) > 0 or not holds_query(text, self.queries[query]):
                found[query] = -1
        return found

    @cached_property
    def _same_id(self) -> Integers:
        held = Collection(self.name, self.documents.ids, self.documents.titles, self.documents.texts)
        return held.find(pa.array(self.query_ids, pa.string()))

    def _under_own_id(self) -> list[str]:
        own, same = int((self.itself >= 0).sum()), int((self._same_id >= 0).sum())
        counts = {
            "queries are documents too, and left out of their own results": own,
            "queries share their id with a document that is something else and stays; BEIR's own evaluation "
            "drops it": same - own,
        }
        return [f"{number:,} {words}" for words, number in counts.items() if number]


def _split(folder: Path) -> str | None:
    """``test``, else the only split; None lets the reader refuse a folder without any."""
    names = sorted({stem(path) for path in (folder / "qrels").glob("*.tsv*")})
    if "test" in names or len(names) < 2:
        return "test" if "test" in names else None
    raise DataError(f"{folder / 'qrels'}: has no split 'test', but {', '.join(names)}. Choose with --split.")


def _graded(table: pa.Table, path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    columns = (table[name].to_pylist() for name in ("query", "document", "score"))
    for query, document, score in zip(*columns, strict=True):
        if score % 1:
            raise DataError(
                f"{path}: query '{query}' grades document '{document}' {score}. Grades are whole numbers."
            )
        if qrels.setdefault(query, {}).setdefault(document, int(score)) != score:
            raise DataError(f"{path}: query '{query}' has two grades for document '{document}'. Remove one.")
    return qrels


def _found(documents: Corpus, qrels: dict[str, dict[str, int]]) -> list[str]:
    """Notes on what readers of the figures have to know."""
    relevant = [name for grades in qrels.values() for name, grade in grades.items() if grade > 0]
    held = pc.is_in(pa.array(relevant, pa.large_string()), documents.ids)
    empty = int(pc.sum(pc.equal(pc.utf8_trim_whitespace(documents.texts), "")).as_py() or 0)
    counts = {
        f"of {len(relevant):,} relevant documents are not in the corpus, and count as not found": len(
            relevant
        )
        - int(pc.sum(held).as_py() or 0),
        f"of {len(qrels):,} queries have no relevant document, and count 0": sum(
            max(grades.values()) <= 0 for grades in qrels.values()
        ),
        f"of {len(documents):,} documents have no text": empty,
    }
    return [f"{number:,} {words}" for words, number in counts.items() if number]
