"""Rows of a hybrid: which documents are the same, and what is kept of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.columns import Documents, repeated
from eci.ragged import Ragged
from eci.task import text_digests
from eci.types import Flags, Integers

_UNRANKED = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Found:
    """Negatives of B queries that are no positives, as the lists of P parts.

    Parameters
    ----------
    positives, negatives : Documents
        All of the queries.
    parts : tuple of P str
    known : ndarray
        Number of the document of each positive.
    lists : Ragged of B·P rows
        Numbers of documents, from 0 on, best first: of part p for query b in row b·P + p.
    ranks : ndarray of shape (n,)
        The rank that the part gives, else the place in its list.
    at : ndarray of shape (n,)
        Places in `negatives`.
    given : ndarray of shape (B, P)
        How many negatives each part has for each query, with those that are positives.
    """

    positives: Documents
    negatives: Documents
    parts: tuple[str, ...]
    known: Integers
    lists: Ragged
    ranks: Integers
    at: Integers
    given: Integers

    @classmethod
    def of(cls, positives: Documents, negatives: Documents, parts: tuple[str, ...]) -> Found:
        """Take the negatives apart by source; all their sources are in `parts`."""
        source = pc.index_in(negatives.fields["source"], value_set=pa.array(parts, pa.string()))
        slot = negatives.rows * len(parts) + np.asarray(source)
        lengths = np.bincount(slot, minlength=len(negatives.lengths) * len(parts))
        # Those without a rank come last, as they stand.
        rank = np.asarray(negatives.fields["rank"].cast(pa.int64()).fill_null(_UNRANKED))
        order = np.lexsort((rank, slot))
        place = Ragged.from_lengths(order, lengths).within + 1
        rank = np.where(rank[order] == _UNRANKED, place, rank[order])
        known, number = np.split(_document_numbers(positives, negatives), [len(positives)])
        free = ~np.isin(number[order], known)
        lists = Ragged.from_lengths(number[order], lengths).keep(free)
        given = lengths.reshape(-1, len(parts))
        return cls(positives, negatives, parts, known, lists, rank[free], order[free], given)

    @property
    def part(self) -> Integers:
        """Number of the part of each entry, of shape (n,)."""
        return self.lists.rows % len(self.parts)

    def known_once(self, batch: pa.RecordBatch) -> tuple[Documents, int]:
        """The positives, each once, and how many lost their score: it stays if all parts give the same.

        Parameters
        ----------
        batch : RecordBatch
            The queries, one a row, with their column ``agreed``.
        """
        first, best = leads(self.known, np.asarray(self.positives.fields["id"].is_valid()))
        at = best[self.known[np.sort(first[first >= 0])]]
        kept = {name: column.take(pa.array(at)) for name, column in self.positives.fields.items()}
        score = batch.column("agreed").flatten().take(pa.array(at))
        differs = pc.fill_null(pc.is_nan(score), False)
        kept["score"] = pc.if_else(differs, None, score)
        lengths = np.bincount(self.positives.rows[at], minlength=len(batch))
        return Documents(lengths, kept), int(np.asarray(differs).sum())

    def mixed(self, chosen: Ragged, label: str, *, once: bool) -> Documents:
        """Negatives of the hybrid.

        Parameters
        ----------
        chosen : Ragged of B rows
            Places in ``lists.values``.
        label : str
            Their source.
        once : bool
            Whether an entry stands for its document, and gets what any part tells of it.
        """
        number = self.lists.values[chosen.values]
        text = score = chosen.values
        if once:
            named = np.asarray(self.negatives.fields["id"].is_valid())[self.at]
            # Id, title and text come from one entry, so that an id keeps the text that it has elsewhere.
            score, text = (lead[number] for lead in leads(self.lists.values, named))
        fields = {
            name: self.negatives.fields[name].take(pa.array(self.at[entry]))
            for entry, names in ((text, ("id", "title", "text")), (score, ("score", "scorer")))
            for name in names
        }
        fields["source"] = repeated(label, len(number))
        fields["rank"] = pa.array(chosen.within + 1)
        fields["extra"] = self._told(number)
        return Documents(chosen.lengths, fields)

    def _told(self, numbers: Integers) -> pa.Array:
        """Of documents, as JSON: the ``sources`` that found each, their ``ranks``, and what else is told."""
        found, best = np.unique(self.lists.values * len(self.parts) + self.part, return_index=True)
        rank = np.full((1 + int(self.lists.values.max(initial=-1))) * len(self.parts), _UNRANKED)
        rank[found] = self.ranks[best]
        names, pairs = [], []
        for column, part in zip(rank.reshape(-1, len(self.parts))[numbers].T, self.parts, strict=True):
            there = pa.array(column != _UNRANKED)
            names.append(pc.if_else(there, orjson.dumps(part).decode(), pa.scalar(None, pa.string())))
            pairs.append(pc.binary_join_element_wise(names[-1], pa.array(column).cast(pa.string()), ":"))
        listed, mapped = (
            pc.binary_join_element_wise(*each, ",", null_handling="skip") for each in (names, pairs)
        )
        told = pc.binary_join_element_wise('{"sources":[', listed, '],"ranks":{', mapped, "}}", "")
        own = self.negatives.fields["extra"].take(pa.array(self.at))
        return told if own.null_count == len(own) else self._merged(told, own, numbers)

    def _merged(self, told: pa.Array, own: pa.Array, numbers: Integers) -> pa.Array:
        """What is told of documents, beside the keys that their entries have; the first part's win."""
        there = np.flatnonzero(np.asarray(own.is_valid()))[::-1]
        held = self.lists.values[there]
        extras: dict[int, dict[str, Any]] = {}
        for number, text in zip(held.tolist(), own.take(pa.array(there)).to_pylist(), strict=True):
            extras[number] = _beside(extras.get(number, {}), orjson.loads(text))
        texts = told.to_pylist()
        for place in np.flatnonzero(np.isin(numbers, held)).tolist():
            merged = _beside(extras[int(numbers[place])], orjson.loads(texts[place]))
            texts[place] = orjson.dumps(merged).decode()
        return pa.array(texts, pa.string())


def same_documents(rows: Integers, texts: Integers, ids: Integers) -> Integers:
    """Number the documents of queries: one that comes again in a query, by text or by id, has one number.

    Parameters
    ----------
    rows, texts, ids : ndarray of shape (n,)
        The query of each document, its text and its id as numbers from 0 on; -1 for no id.

    Returns
    -------
    ndarray of shape (n,), int64
        0, 1, …, another in each query.

    Examples
    --------
    >>> rows, texts, ids = np.array([0, 0, 0, 1]), np.array([5, 5, 6, 5]), np.array([1, -1, 1, 1])
    >>> same_documents(rows, texts, ids).tolist()
    [0, 0, 0, 1]
    """
    named = np.flatnonzero(ids >= 0)
    by_text, by_id = _pairs(rows, texts), _pairs(rows[named], ids[named])
    number = by_text
    while True:
        least = _least(number[named], by_id)
        if np.array_equal(least, number[named]):
            return np.asarray(np.unique(number, return_inverse=True)[1], dtype=np.int64)
        number = number.copy()
        number[named] = least
        number = _least(number, by_text)


def leads(documents: Integers, named: Flags) -> tuple[Integers, Integers]:
    """The first entry of every document, and the first that has an id, else the first.

    Parameters
    ----------
    documents : ndarray of shape (n,)
        Numbers from 0 on.
    named : ndarray of shape (n,), bool

    Returns
    -------
    first, best : ndarray of shape (G,)
        By number of the document; -1 for numbers that do not occur.
    """
    first = np.full(1 + int(documents.max(initial=-1)), -1)
    found, places = np.unique(documents, return_index=True)
    first[found] = places
    best, with_id = first.copy(), np.flatnonzero(named)
    found, places = np.unique(documents[with_id], return_index=True)
    best[found] = with_id[places]
    return first, best


def _document_numbers(positives: Documents, negatives: Documents) -> Integers:
    """Numbers of all positives and then all negatives of queries; see ``same_documents``."""
    sides = (positives, negatives)
    shown = pa.concat_arrays([side.shown for side in sides]).dictionary_encode()
    texts = np.unique(text_digests(None, shown.dictionary), return_inverse=True)[1]
    ids = pa.concat_arrays([side.fields["id"] for side in sides]).dictionary_encode()
    rows = np.concatenate([side.rows for side in sides])
    return same_documents(rows, texts[np.asarray(shown.indices)], np.asarray(ids.indices.fill_null(-1)))


def _beside(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The keys of both; `now` wins, but a part that is a hybrid itself goes on telling who found it."""
    merged = {**before, **now}
    if all(isinstance(e.get("sources"), list) and isinstance(e.get("ranks"), dict) for e in (before, now)):
        merged["sources"] = now["sources"] + [
            each for each in before["sources"] if each not in now["sources"]
        ]
        merged["ranks"] = {**before["ranks"], **now["ranks"]}
    return merged


def _pairs(first: Integers, second: Integers) -> Integers:
    """Numbers of pairs: 0, 1, … for distinct ones."""
    codes = first.astype(np.int64) * (int(second.max(initial=0)) + 1) + second
    return np.asarray(np.unique(codes, return_inverse=True)[1], dtype=np.int64)


def _least(values: Integers, group: Integers) -> Integers:
    """The least value of each one's group, of shape (n,)."""
    least = np.full(int(group.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, group, values)
    return np.asarray(least[group], dtype=np.int64)
