"""Likely false negatives as pairs of a query and a document, and their texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from eci.audit.columns import spans
from eci.audit.findings import Findings
from eci.audit.material import Material, pair_cosines
from eci.datasets.columns import Documents
from eci.examples import joined
from eci.ragged import Ragged
from eci.task import EMPTY
from eci.types import Integers

# Labelled documents that a judge is shown of a query, the nearest to it of more, and characters of each.
LABELLED, SHOWN = 5, 4_000
# Characters of labelled and judged documents in one call; a longer document has a call of its own.
_ROOM = 48_000
_SETTLED = ("identical_to_positive", "known_positive", "empty", "repeats_query")
# Of scores that differ by less nobody says which is more severe.
_DIGITS = 4


@dataclass(frozen=True)
class Flagged:
    """P distinct pairs of a query and a document that looks like its unlabelled answer, most severe first.

    Parameters
    ----------
    query : ndarray of shape (P,)
        The first row that asks it.
    document : ndarray of shape (P,)
        Index into the documents of the material.
    digest : ndarray of shape (P,)
        Of the document's text.
    negatives : Ragged of P rows
        Indices of the negatives: a document of two sources or of two rows that ask the same is one pair.
    total : int
        Pairs without the limit.
    """

    query: Integers
    document: Integers
    digest: Integers
    negatives: Ragged
    total: int

    @classmethod
    def of(cls, found: Findings, material: Material, limit: int | None, *, every: bool = False) -> Flagged:
        """The pairs whose ``likely_false_negative`` is flagged, or the most severe so many of them.

        With `every`, all that need not be asked about for another reason: no text, a known answer, the query.
        """
        places, severities, codes = [], [], []
        size = max(1, len(material.documents))
        for start, first, part in found.parts():
            asked = part.flags("likely_false_negative")
            if every:
                asked = ~np.any([part.flags(issue) for issue in _SETTLED], axis=0)
            here = np.flatnonzero(asked)
            places.append(first + here)
            severities.append(part.scores["likely_false_negative"][here])
            askers = material.asker[start + part.lists.rows[here]]
            codes.append(askers * size + material.negatives.values[first + here])
        unique, back, counts = np.unique(np.concatenate(codes), return_inverse=True, return_counts=True)
        severity = np.full(len(unique), np.inf)
        np.minimum.at(severity, back, np.concatenate(severities))
        # Ties by what is asked and judged: neither the order of rows nor rounding changes a call.
        severity = severity.round(_DIGITS)
        askers, of_asker = np.unique(unique // size, return_inverse=True)
        first_rows = _first_rows(material, askers)[of_asker]
        ties = (material.digests[unique % size], material.group[first_rows])
        order = np.lexsort((*ties, severity))[:limit]
        members = Ragged.from_lengths(np.concatenate(places)[np.argsort(back, kind="stable")], counts)
        query, document = first_rows[order], unique[order] % size
        return cls(query, document, material.digests[document], members.take(order), len(unique))

    def __len__(self) -> int:
        return len(self.document)


@dataclass(frozen=True)
class FlaggedTexts:
    """The texts of pairs.

    Parameters
    ----------
    queries : dict of int to str
        By row.
    documents : dict of int to str
        By index into the documents of the material.
    labelled : dict of int to tuple of str
        What is labelled for a query, by row: the nearest five, at most 4,000 characters of each.
    left_out : int
        Labelled documents beyond these.
    shortened : int
        Labelled documents that are longer.
    """

    queries: Mapping[int, str]
    documents: Mapping[int, str]
    labelled: Mapping[int, tuple[str, ...]]
    left_out: int
    shortened: int

    @classmethod
    def read(
        cls, batches: Iterable[pa.RecordBatch], pairs: Flagged, material: Material, labelled: bool
    ) -> FlaggedTexts:
        """Of one pass over the rows, from which nothing is kept but the texts of the pairs."""
        rows = np.unique(pairs.query)
        owner, shown, left_out = nearest_labelled(material, rows if labelled else rows[:0])
        first = pairs.negatives.values[pairs.negatives.offsets[:-1]]
        wanted = {"negatives": np.unique(first), "positives": np.unique(shown)}
        queries, texts = _texts(batches, rows, wanted)
        own: dict[int, list[str]] = {}
        shortened = 0
        for row, place in zip(owner.tolist(), shown.tolist(), strict=True):
            text = texts["positives"][place]
            shortened += len(text) > SHOWN
            own.setdefault(row, []).append(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
        judged = zip(pairs.document.tolist(), first.tolist(), strict=True)
        return cls(
            queries,
            {document: texts["negatives"][place] for document, place in judged},
            {row: tuple(told) for row, told in own.items()},
            left_out,
            shortened,
        )


def _first_rows(material: Material, askers: Integers) -> Integers:
    """The first row that asks each query, of shape (A,); `askers` rise."""
    found = np.full(len(askers), -1, dtype=np.int64)
    for start, stop in spans(material.negatives.offsets) if len(askers) else ():
        asked, rows = np.unique(material.asker[start:stop], return_index=True)
        at = np.minimum(np.searchsorted(askers, asked), len(askers) - 1)
        new = np.flatnonzero((askers[at] == asked) & (found[at] < 0))
        found[at[new]] = start + rows[new]
    return found


def nearest_labelled(material: Material, rows: Integers) -> tuple[Integers, Integers, int]:
    """The five labelled documents nearest to each query, those of all rows that ask it taken together.

    Parameters
    ----------
    material : Material
    rows : ndarray of shape (Q,)
        One row of each query.

    Returns
    -------
    owner : ndarray of shape (m,)
        The row of `rows` whose query it is.
    place : ndarray of shape (m,)
        Index of the positive among all positives, by the digest of its text within its query: which of two
        is nearer may be a matter of rounding.
    left_out : int
        Labelled documents beyond five.
    """
    order = rows[np.argsort(material.group[rows])]
    asking, at = _asking(material, order)
    lists = material.positives
    starts, ends = lists.offsets[:-1][asking], lists.offsets[1:][asking]
    held = np.repeat(np.arange(len(asking)), ends - starts)
    place = starts[held] + np.arange(len(held)) - (np.cumsum(ends - starts) - (ends - starts))[held]
    owner = order[at[held]]
    document = material.positives.values[place]
    there = material.digests[document] != EMPTY
    owner, place, document = owner[there], place[there], document[there]
    asked = np.stack([material.asked(owner), document], axis=1)
    cosines = pair_cosines(material.queries, material.documents, asked)
    _, once = np.unique(np.stack([owner, document]), axis=1, return_index=True)
    once = once[np.lexsort((material.digests[document[once]], -cosines[once], owner[once]))]
    _, lengths = np.unique(owner[once], return_counts=True)
    kept = once[Ragged.from_lengths(once, lengths).within < LABELLED]
    kept = kept[np.lexsort((material.digests[document[kept]], owner[kept]))]
    return owner[kept], place[kept], len(once) - len(kept)


def _asking(material: Material, order: Integers) -> tuple[Integers, Integers]:
    """All rows that ask what one of `order` asks, by hash, and which of `order` that is."""
    asked = material.group[order]
    rows, places = [order[:0]], [order[:0]]
    for start, stop in spans(material.negatives.offsets) if len(order) else ():
        group = material.group[start:stop]
        at = np.minimum(np.searchsorted(asked, group), len(asked) - 1)
        here = np.flatnonzero(asked[at] == group)
        rows.append(start + here)
        places.append(at[here])
    return np.concatenate(rows), np.concatenate(places)


def calls(pairs: Flagged, texts: FlaggedTexts, most: int) -> Ragged:
    """Pairs that are judged together: of one query, no more than `most`, and no more text than fits.

    Returns
    -------
    Ragged of C rows
        Indices of pairs. Calls come by severity, each query by its most severe pair; in a call pairs come by
        the digest of the document, so that rounding of the scores changes no prompt.
    """
    of_query: dict[int, list[int]] = {}
    for pair, row in enumerate(pairs.query.tolist()):
        of_query.setdefault(row, []).append(pair)
    documents = pairs.document.tolist()
    lengths: list[int] = []
    for row, own in of_query.items():
        beside = sum(map(len, texts.labelled.get(row, ())))
        room = number = 0
        for pair in own:
            size = len(texts.documents[documents[pair]])
            if not number or number == most or size > room:
                lengths.append(0)
                room, number = _ROOM - beside, 0
            lengths[-1] += 1
            room, number = room - size, number + 1
    flat = np.fromiter((pair for own in of_query.values() for pair in own), np.int64, len(pairs))
    held = Ragged.from_lengths(flat, lengths)
    return held.with_values(flat[np.lexsort((pairs.digest[flat], held.rows))])


def _texts(
    batches: Iterable[pa.RecordBatch], rows: Integers, wanted: Mapping[str, Integers]
) -> tuple[dict[int, str], dict[str, dict[int, str]]]:
    """Queries by row, and of each side the documents by place; both are given in rising order."""
    queries: dict[int, str] = {}
    found: dict[str, dict[int, str]] = {side: {} for side in wanted}
    start, begin = 0, dict.fromkeys(wanted, 0)
    for batch in batches:
        here = _between(rows, start, len(batch))
        queries.update(_named(here, batch.column("query").take(pa.array(here - start))))
        start += len(batch)
        for side, places in wanted.items():
            documents = Documents.of(batch.column(side))
            here = _between(places, begin[side], len(documents))
            at = pa.array(here - begin[side])
            shown = joined(documents.fields["title"].take(at), documents.fields["text"].take(at))
            found[side].update(_named(here, shown))
            begin[side] += len(documents)
    return queries, found


def _between(places: Integers, start: int, length: int) -> Integers:
    low, high = np.searchsorted(places, [start, start + length])
    return places[low:high]


def _named(places: Integers, texts: pa.Array) -> dict[int, str]:
    return dict(zip(places.tolist(), texts.to_pylist(), strict=True))
