"""Runs: exact search of a judged collection by cosine, and the TREC format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.atomic import atomic_path
from eci.datasets.files import stem
from eci.datasets.identity import fingerprint
from eci.datasets.trec import read_run
from eci.embedding import encode
from eci.errors import DataError, EciError, EncoderError, OutputError
from eci.ragged import Ragged
from eci.similarity import own_documents
from eci.types import Encoder, Flags, Integers, Progress, Vectors, silent
from eci.validation.judged import JudgedCollection

# Documents encoded and compared at a time, and queries compared at a time: 16 MiB of similarities.
_DOCUMENTS = 1 << 14
_QUERIES = 1 << 8


@dataclass(frozen=True)
class Run:
    """What was retrieved for the queries of a judged collection.

    Parameters
    ----------
    name : str
        Of the retriever; the tag in a TREC file.
    results : mapping of str to mapping of str to float
        Scores of each query's documents, as BEIR, pytrec_eval and ir-measures have them. Queries without
        results may lack.
    depth : int
        Documents retrieved for a query, at most.
    encoder : mapping
        What an encoder says of itself; empty for a run that was read.
    files : tuple of dict
        Name, bytes and SHA-256 of the file that was read.
    notes : tuple of str
        What was left out, or looks wrong.
    """

    name: str
    results: Mapping[str, Mapping[str, float]]
    depth: int
    encoder: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path, collection: JudgedCollection) -> Run:
        """Read a TREC run, ``qid Q0 docid rank score tag`` or ``qid docid score``, named as its file.

        As in trec_eval, scores decide the order, not ranks. Queries that are not judged are left out, and
        so is a document that is the query itself, as in `search`.

        Parameters
        ----------
        path : str or Path
        collection : JudgedCollection
            What the run is a run of.

        Raises
        ------
        DataError
            The file cannot be read, has a document twice for a query, or has results for no judged query.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path}: no such run.")
        table = read_run(path, "")
        kept = table.filter(pc.is_in(table["query"], pa.array(collection.query_ids, pa.string())))
        if not len(kept):
            raise DataError(
                f"{path}: has results for none of the {len(collection):,} judged queries of "
                f"{collection.name} ({collection.split}); its first query is '{table['query'][0]}'. "
                "Choose the split with --split."
            )
        results = _by_query(kept, path)
        dropped = _without(results, collection)
        counts = {
            f"of {len(table):,} entries belong to queries that are not judged": len(table) - len(kept),
            f"of {len(table):,} entries are the query itself, and left out": dropped,
            **_doubtful(kept, collection, results),
        }
        notes = tuple(f"{number:,} {words}" for words, number in counts.items() if number)
        name, depth = stem(path).removesuffix(".trec"), max(map(len, results.values()))
        return cls(name, results, depth, {}, tuple(fingerprint([path])), notes)

    def refuse_spaces(self, path: str | Path) -> None:
        """Raise an `OutputError` if a file of the TREC format cannot hold an id."""
        refuse_spaces([*self.results, *chain.from_iterable(self.results.values())], path)

    def write(self, path: str | Path) -> None:
        """Write the run in the TREC format, with scores that read back as the same float32.

        Raises
        ------
        OutputError
            The file cannot be written, or an id holds white space, which the format cannot hold.
        """
        self.refuse_spaces(path)
        tag = "-".join(self.name.split())
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
            for query, found in self.results.items():
                ranked = sorted(found.items(), key=lambda entry: -entry[1])
                for rank, (document, score) in enumerate(ranked, start=1):
                    handle.write(f"{query} Q0 {document} {rank} {score:.9g} {tag}\n")


def refuse_spaces(ids: Iterable[str], path: str | Path) -> None:
    """Raise an `OutputError` if a run written to `path` cannot hold an id."""
    for name in ids:
        if len(name.split()) != 1:
            raise OutputError(
                f"{path}: TREC runs have white space between columns, and cannot hold the id '{name}'. "
                "Rename it in the collection."
            )


def search(
    encoder: Encoder, collection: JudgedCollection, *, depth: int = 100, progress: Progress = silent
) -> Run:
    """The documents nearest to each query by cosine, compared with every document.

    Equal cosines are ordered by document id, descending, which is trec_eval's rule. The scores of the run
    then fall strictly: one that does not is lowered to the next float32, so that every program reads
    one order whatever its own rule of ties. A document that is the query itself is left out
    (`JudgedCollection.itself`). Vectors of 16,384 documents are in memory at a time.

    Parameters
    ----------
    encoder : Encoder
        Its vectors are normalised. What it says in ``describe()``, if it has that, is kept.
    collection : JudgedCollection
    depth : int
        Documents retrieved for a query, at most.
    progress : Progress
        Told of every 16,384 documents.

    Raises
    ------
    EncoderError
        A vector is not finite or has no length, or queries and documents differ in dimension.
    """
    if depth < 1:
        raise EciError(f"depth is the number of documents retrieved for a query, at least 1; got {depth}.")
    corpus, itself = collection.documents, collection.itself
    queries = encode(encoder, list(collection.queries), "query")
    best = Nearest.none(len(queries), min(depth, len(corpus)), id_places(corpus.ids))
    for start in range(0, len(corpus), _DOCUMENTS):
        part = slice(start, start + _DOCUMENTS)
        documents = encode(encoder, corpus.shown(part), "document")
        if documents.shape[1] != queries.shape[1]:
            raise EncoderError(
                f"The encoder gave queries of {queries.shape[1]} dimensions and documents of "
                f"{documents.shape[1]}; a cosine needs the same."
            )
        best = best.among(queries, documents, start, itself)
        progress("searching documents", min(part.stop, len(corpus)), len(corpus))
    described = {"name": type(encoder).__name__, **getattr(encoder, "describe", dict)()}
    return Run(str(described["name"]), best.results(collection), depth, described)


@dataclass(frozen=True)
class Nearest:
    """The nearest of the documents that were looked at, best first.

    Parameters
    ----------
    places : ndarray of shape (Q, depth), int64
        Indices of documents; -1 where there are fewer.
    scores : ndarray of shape (Q, depth), float32
        Cosines; minus infinity where there are fewer.
    order : ndarray of shape (D,)
        The place of each document among all, by descending id: decides between equal scores.
    """

    places: Integers
    scores: Vectors
    order: Integers

    @classmethod
    def none(cls, queries: int, depth: int, order: Integers) -> Nearest:
        """Of no document."""
        scores = np.full((queries, depth), -np.inf, dtype=np.float32)
        return cls(np.full((queries, depth), -1, dtype=np.int64), scores, order)

    def among(self, queries: Vectors, documents: Vectors, start: int, itself: Integers) -> Nearest:
        """With some more documents looked at.

        Any division of the documents into parts, and of the queries, gives the same in the end: a matrix
        product only proposes candidates, with room for its rounding, and their cosines are then
        computed pair by pair.

        Parameters
        ----------
        queries : ndarray of shape (Q, d)
            L2-normalised, like `documents`.
        documents : ndarray of shape (n, d)
        start : int
            Index of the first of these documents.
        itself : ndarray of shape (Q,)
            A document that is left out, or -1.
        """
        places, scores = self.places.copy(), self.scores.copy()
        for begin in range(0, len(queries), _QUERIES):
            rows = slice(begin, begin + _QUERIES)
            asked = queries[rows]
            similarity = asked @ documents.T
            own = itself[rows] - start
            there = np.flatnonzero((own >= 0) & (own < len(documents)))
            similarity[there, own[there]] = -np.inf
            proposed = _proposed(similarity, scores[rows], queries.shape[1])
            exact = own_documents(asked, documents, proposed)
            held = places[rows] >= 0
            at = np.concatenate([np.nonzero(held)[0], exact.rows])
            found = np.concatenate([places[rows][held], proposed.values + start])
            cosine = np.concatenate([scores[rows][held], exact.values])
            ranked = np.lexsort((self.order[found], -cosine, at))
            within = Ragged.from_lengths(ranked, np.bincount(at, minlength=len(asked))).within
            kept, column = ranked[within < places.shape[1]], within[within < places.shape[1]]
            places[begin + at[kept], column], scores[begin + at[kept], column] = found[kept], cosine[kept]
        return Nearest(places, scores, self.order)

    def results(self, collection: JudgedCollection) -> dict[str, dict[str, float]]:
        """Scores of each query's documents by id, falling strictly."""
        held = self.places >= 0
        ids = iter(collection.documents.ids.take(pa.array(self.places[held])).to_pylist())
        scores = iter(_falling(self.scores)[held].tolist())
        return {
            query: dict(zip(islice(ids, size), islice(scores, size), strict=True))
            for query, size in zip(collection.query_ids, held.sum(axis=1).tolist(), strict=True)
        }


def id_places(ids: pa.Array) -> Integers:
    """The place of each id in descending order of its bytes, of shape (D,)."""
    descending = pc.array_sort_indices(ids, order="descending")
    places = np.empty(len(ids), dtype=np.int64)
    places[np.asarray(descending, dtype=np.int64)] = np.arange(len(ids))
    return places


def _proposed(similarity: Vectors, best: Vectors, dimension: int) -> Ragged:
    """Which columns may be among the best of each row: those at the last place's score, less the rounding.

    A product of unit vectors in float32 is off by at most d·2⁻²⁴, whatever the order of its sum (Higham
    2002, Accuracy and Stability of Numerical Algorithms, section 3.1). Two such errors lie between a
    cosine by pair and by matrix product, and two more between the last places by either.
    """
    width, depth = similarity.shape[1], best.shape[1]
    floor = best[:, -1]
    # Once every row is full, its last place is bar enough, and cheaper than another partition.
    if depth < width and np.isneginf(floor).any():
        floor = np.maximum(floor, np.partition(similarity, width - depth, axis=1)[:, width - depth])
    candidates: Flags = similarity >= (floor - 4 * dimension * np.float32(2**-24))[:, None]
    candidates &= similarity > -np.inf
    rows, columns = np.nonzero(candidates)
    return Ragged.from_lengths(columns, np.bincount(rows, minlength=len(similarity)))


def _falling(scores: Vectors) -> Vectors:
    """Scores that fall strictly along each row."""
    falling = scores.copy()
    for column in range(1, scores.shape[1]):
        before = np.nextafter(falling[:, column - 1], np.float32(-np.inf))
        falling[:, column] = np.minimum(falling[:, column], before)
    return falling


def _by_query(table: pa.Table, path: Path) -> dict[str, dict[str, float]]:
    results: dict[str, dict[str, float]] = {}
    columns = (table[name].to_pylist() for name in ("query", "document", "score"))
    for query, document, score in zip(*columns, strict=True):
        found = results.setdefault(query, {})
        if document in found:
            raise DataError(f"{path}: query '{query}' has document '{document}' twice. Remove one.")
        found[document] = score
    return results


def _without(results: dict[str, dict[str, float]], collection: JudgedCollection) -> int:
    """Take documents that are the query itself out of its results; how many these were."""
    own = [collection.query_ids[place] for place in np.flatnonzero(collection.itself >= 0).tolist()]
    return sum(results.get(query, {}).pop(query, None) is not None for query in own)


def _doubtful(
    table: pa.Table, collection: JudgedCollection, results: Mapping[str, Mapping[str, float]]
) -> dict[str, int]:
    """What may be wrong with a run that was made elsewhere: words, and how often."""
    held = pc.is_in(table["document"].cast(pa.large_string()), collection.documents.ids)
    # trec_eval compares scores in float32.
    tied = sum(
        len(np.unique(np.fromiter(found.values(), np.float32, len(found)))) < len(found)
        for found in results.values()
    )
    return {
        f"of {len(table):,} entries are documents that the corpus lacks": len(table)
        - int(pc.sum(held).as_py() or 0),
        f"of {len(results):,} queries have documents of equal score: trec_eval orders them by id, "
        "descending, and RR@k of ir-measures ascending": tied,
        f"of {len(results):,} queries have ranks that contradict their scores; scores count, as in "
        "trec_eval": _contradicted(table),
    }


def _contradicted(table: pa.Table) -> int:
    """Queries in which a later rank has a higher score."""
    if table["rank"].null_count:
        return 0
    query = np.asarray(table["query"].combine_chunks().dictionary_encode().indices)
    order = np.lexsort((np.asarray(table["rank"]), query))
    query, score = query[order], np.asarray(table["score"])[order]
    rises = (np.diff(score) > 0) & (np.diff(query) == 0)
    return len(np.unique(query[1:][rises]))
