"""A retrieval task to mine negatives for, and what a miner finds in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eci.examples import joined
from eci.ragged import Ragged
from eci.types import Flags, Floats, Integers

_CHUNK = 1 << 14


@dataclass(frozen=True)
class Corpus:
    """Documents that can become negatives, each text once.

    Parameters
    ----------
    ids, titles, texts : Array of shape (D,), large_string
        ``ids`` and ``titles`` are null where a document has none.
    """

    ids: pa.Array
    titles: pa.Array
    texts: pa.Array

    def __len__(self) -> int:
        return len(self.texts)

    def shown(self, places: Integers | slice | None = None) -> list[str]:
        """What an encoder sees of documents, title and text joined; of all when `places` is None."""
        titles, texts = self.titles, self.texts
        if isinstance(places, slice):
            titles, texts = titles[places], texts[places]
        elif places is not None:
            titles, texts = titles.take(pa.array(places)), texts.take(pa.array(places))
        shown: list[str] = joined(titles, texts).to_pylist()
        return shown

    def take(self, places: Integers) -> Corpus:
        """The given documents, in the given order."""
        chosen = pa.array(places)
        return Corpus(self.ids.take(chosen), self.titles.take(chosen), self.texts.take(chosen))


@dataclass(frozen=True)
class RetrievalTask:
    """Queries, documents, and which documents are known to answer which query.

    Parameters
    ----------
    query_ids : Array of shape (Q,), string
        Null where a query has none.
    queries : Array of shape (Q,), string
    corpus : Corpus
    positives : Ragged of Q rows
        The labelled positives of each query, at least one: indices into `corpus`.
    known : Ragged of Q rows
        What is never a negative of the query: its positives, what other judgements call relevant, the
        query itself where it is a document, and all that for queries of the same text.
    counts : mapping of str to int
        What was left out while the task was made, in words, and how often.
    """

    query_ids: pa.Array
    queries: pa.Array
    corpus: Corpus
    positives: Ragged
    known: Ragged
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, query_ids: pa.Array, queries: pa.Array, corpus: Corpus, positives: Ragged, others: Ragged
    ) -> RetrievalTask:
        """Make a task of documents as they come: empty ones leave it, and each text stays once.

        Two texts are the same if they are after Unicode normalisation (NFKC), in lower case and with
        white space collapsed. Of the same texts a labelled positive stays, else the first. Queries that
        are left without a positive leave the task.

        Parameters
        ----------
        query_ids, queries : Array of shape (Q,)
        corpus : Corpus
            May hold empty and equal texts.
        positives, others : Ragged of Q rows
            Indices into `corpus`: the labelled positives, and what else may not become a negative.
        """
        digests = text_digests(corpus.titles, corpus.texts)
        empty = digests == EMPTY
        labelled = np.zeros(len(corpus), dtype=np.bool_)
        labelled[positives.values] = True
        # Labelled documents come first among equals, and else the order stays.
        order = np.lexsort((np.arange(len(corpus)), ~labelled, digests))
        leads = np.flatnonzero(np.diff(digests[order], prepend=~digests[order[:1]]))
        kept = np.sort(order[leads][~empty[order[leads]]])
        place = np.full(len(corpus), -1, dtype=np.int64)
        place[kept] = np.arange(len(kept))
        sizes = np.diff(np.append(leads, len(order)))
        place[order] = np.where(empty[order], -1, place[np.repeat(order[leads], sizes)])
        positives, others = _moved(positives, place), _moved(others, place)
        asked = text_digests(None, queries)
        itself = _same_text(asked, digests[kept])
        if corpus.titles.null_count < len(corpus):
            # The query of a collection may be a document's text, and its title something else.
            without_title = _same_text(asked, text_digests(None, corpus.texts)[kept])
            itself = _without_repetition(_side_by_side(itself, without_title), len(kept))
        known = _shared(_without_repetition(_side_by_side(positives, others, itself), len(kept)), asked)
        filled = np.flatnonzero(positives.lengths > 0)
        held = pa.array(filled)
        counts = {
            "empty documents": int(empty.sum()),
            "documents whose text another has": len(corpus) - int(empty.sum()) - len(kept),
            "documents that are the query itself": int(
                (~np.isin(_codes(itself, len(kept)), _codes(positives, len(kept)))).sum()
            ),
            "queries whose text another id has, which share what is known": len(queries)
            - len(np.unique(asked)),
            "queries without a positive that has text": len(queries) - len(filled),
        }
        return cls(
            query_ids.take(held),
            queries.take(held),
            corpus.take(kept),
            positives.take(filled),
            known.take(filled),
            {words: number for words, number in counts.items() if number},
        )

    def __len__(self) -> int:
        return len(self.queries)

    def query_texts(self, queries: Integers) -> list[str]:
        """Texts of the given queries."""
        texts: list[str] = self.queries.take(pa.array(queries)).to_pylist()
        return texts

    def numbers(self, queries: Integers) -> NDArray[np.uint64]:
        """`numbers_of` the given queries."""
        chosen = pa.array(queries)
        return numbers_of(self.query_ids.take(chosen), self.queries.take(chosen))

    def name_of(self, query: int) -> str:
        """How to name a query in a message: its id, else its text."""
        return str(self.query_ids[query].as_py() or self.queries[query].as_py()[:60])


@dataclass(frozen=True)
class Written:
    """A negative that no corpus holds: a text made from a positive.

    Parameters
    ----------
    id, text : str
    record : mapping
        How it was made, as JSON values; ``title`` is that of the document it was made from.
    """

    id: str
    text: str
    record: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """What an encoder sees of it, as of a document with a title."""
        title = self.record.get("title")
        return f"{title} {self.text}".strip() if title is not None else self.text


@dataclass(frozen=True)
class Ranking:
    """What a miner found for R queries, best first, without what is known.

    Parameters
    ----------
    documents : Ragged of R rows, int64
        Indices into the corpus of D documents; D + j stands for ``written[j]``.
    ranks : ndarray of shape (n,), int64
        1, 2, …: the place in the miner's list without known documents. Filters do not change it.
    scores : ndarray of shape (n,)
        By `scorer`; NaN where it gives none.
    scorer : str
        Who gave the scores.
    written : tuple of Written
        Texts that are not in the corpus.
    """

    documents: Ragged
    ranks: Integers
    scores: Floats
    scorer: str
    written: tuple[Written, ...] = ()

    def keep(self, mask: Flags) -> Ranking:
        """The finds for which `mask`, of shape (n,), is true."""
        return Ranking(
            self.documents.keep(mask), self.ranks[mask], self.scores[mask], self.scorer, self.written
        )

    def part(self, start: int, stop: int) -> Ranking:
        """The finds of some rows that follow each other."""
        offsets = self.documents.offsets[start : stop + 1]
        held = slice(offsets[0], offsets[-1])
        documents = Ragged(self.documents.values[held], offsets - offsets[0])
        return Ranking(documents, self.ranks[held], self.scores[held], self.scorer, self.written)


class Miner(Protocol):
    """Finds candidates for the queries of one task; made for it, and asked for some queries at a time."""

    label: str

    def describe(self) -> dict[str, Any]:
        """Everything that decides what it finds, as JSON values."""
        ...

    def mine(self, queries: Integers, depth: int, /) -> Ranking:
        """Candidates of the given queries, best first.

        Parameters
        ----------
        queries : ndarray of shape (R,)
            Indices into the queries of the task.
        depth : int
            How many documents to look at, known ones included.
        """
        ...

    def score_positives(self, queries: Integers, /) -> Ragged:
        """Scores of the labelled positives of the given queries, comparable to those of the finds.

        Raises
        ------
        EciError
            The miner gives no scores.
        """
        ...


class Reranker(Protocol):
    """Scores pairs of a query and a document; higher is more relevant."""

    def describe(self) -> dict[str, Any]:
        """What a result stores of it; ``name`` is who scored."""
        ...

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str], pairs: Integers, /) -> Floats:
        """Scores of n pairs, of shape (n,), finite.

        Parameters
        ----------
        queries, documents : sequence of str
            Distinct texts.
        pairs : ndarray of shape (n, 2)
            Index of a query and of a document.
        """
        ...


def unknown(documents: Ragged, scores: Floats, known: Ragged, scorer: str) -> Ranking:
    """What is left of ranked documents without the known ones, with ranks.

    Parameters
    ----------
    documents : Ragged of R rows
        Indices into the corpus, best first.
    scores : ndarray of shape (n,)
    known : Ragged of R rows
        Indices into the corpus.
    """
    width = 1 + int(max(documents.values.max(initial=0), known.values.max(initial=0)))
    free = ~np.isin(_codes(documents, width), _codes(known, width))
    found = documents.keep(free)
    return Ranking(found, found.within + 1, np.asarray(scores, dtype=np.float64)[free], scorer)


def numbers_of(ids: pa.Array, texts: pa.Array) -> NDArray[np.uint64]:
    """A number for each query or document, of shape (n,), that its id or else its text decides."""
    names = pc.coalesce(ids.cast(texts.type), texts).to_pylist()
    return np.fromiter((_digest(name) for name in names), np.int64, len(names)).view(np.uint64)


def text_digests(titles: pa.Array | None, texts: pa.Array) -> Integers:
    """64-bit hashes of normalised texts, of shape (n,)."""
    found = np.empty(len(texts), dtype=np.int64)
    for start in range(0, len(texts), _CHUNK):
        part = slice(start, start + _CHUNK)
        shown = texts[part] if titles is None else joined(titles[part], texts[part])
        # Rows of negatives hold the same documents again and again.
        coded = shown.dictionary_encode()
        folded = pc.utf8_lower(pc.utf8_normalize(coded.dictionary, form="NFKC"))
        plain = pc.utf8_trim_whitespace(_collapsed(folded))
        own = np.fromiter((_digest(text) for text in plain.to_pylist()), np.int64, len(plain))
        found[part] = own[coded.indices.to_numpy(zero_copy_only=False)]
    return found


# White space that is no Unicode separator, as str.split has it.
_CONTROL = r"\t-\r\x1c-\x1f\x{85}"


def _collapsed(texts: pa.Array) -> pa.Array:
    """Each run of white space as one space; most texts have none to collapse, and to see that is cheap."""
    uneven = pc.match_substring_regex(texts, rf" {{2}}|[{_CONTROL}]|[^\PZ ]")
    even = pc.replace_substring_regex(texts.filter(uneven), rf"[\pZ{_CONTROL}]+", " ")
    return pc.replace_with_mask(texts, uneven, even) if len(even) else texts


def _digest(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


# What a document without text has.
EMPTY = _digest("")


def _moved(rows: Ragged, place: Integers) -> Ragged:
    """Indices in a smaller corpus, each once a row; what left it is dropped."""
    moved = rows.with_values(place[rows.values])
    return _without_repetition(moved.keep(moved.values >= 0), len(place))


def _same_text(queries: Integers, documents: Integers) -> Ragged:
    """The documents that have the text of each query."""
    order = np.argsort(documents, kind="stable")
    first, end = (np.searchsorted(documents[order], queries, side) for side in ("left", "right"))
    lengths = end - first
    places = np.repeat(first, lengths) + Ragged.from_lengths(np.zeros(lengths.sum()), lengths).within
    return Ragged.from_lengths(order[places], lengths)


def _side_by_side(*parts: Ragged) -> Ragged:
    rows = np.concatenate([part.rows for part in parts])
    values = np.concatenate([part.values for part in parts])
    order = np.argsort(rows, kind="stable")
    return Ragged.from_lengths(values[order], np.sum([part.lengths for part in parts], axis=0))


def _shared(rows: Ragged, groups: Integers) -> Ragged:
    """What any row of a group has, for each of its rows."""
    _, place = np.unique(groups, return_inverse=True)
    if place.max(initial=-1) + 1 == len(rows):
        return rows
    order = np.argsort(place, kind="stable")
    together = rows.take(order)
    lengths = np.bincount(place[order], weights=together.lengths).astype(np.int64)
    return _without_repetition(
        Ragged.from_lengths(together.values, lengths), 1 + rows.values.max(initial=0)
    ).take(place)


def _without_repetition(rows: Ragged, width: int) -> Ragged:
    first = np.zeros(len(rows.values), dtype=np.bool_)
    first[np.unique(_codes(rows, width), return_index=True)[1]] = True
    return rows.keep(first)


def _codes(rows: Ragged, width: int) -> Integers:
    """One number for each pair of row and value."""
    return np.asarray(rows.rows * max(1, width) + rows.values, dtype=np.int64)
