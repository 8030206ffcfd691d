"""What a trainer sees of a source: rows of a query, a positive and some hard negatives, drawn by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eci.errors import DataError, EciError
from eci.examples import Examples
from eci.ragged import Ragged
from eci.results import listed
from eci.types import Flags, Integers


@dataclass(frozen=True)
class Drawing:
    """How rows are drawn; the same seed draws the same positives whatever the source.

    Parameters
    ----------
    rows : int
        Rows that each query and positive makes; hard negatives are drawn anew for each of them. 0: as many
        as use each hard negative once, the papers' triplets.
    positives : int
        Positives drawn of each query; 0: all.
    seed : int
    """

    rows: int = 1
    positives: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rows < 0 or self.positives < 0:
            raise EciError(
                f"rows and positives are 0 or more, got {self.rows} and {self.positives}. 0 means all."
            )


@dataclass(frozen=True)
class TrainingRows:
    """Rows to train on, by how many negatives of each part they have: no row is padded.

    Parameters
    ----------
    parts : tuple of str
        Sources of the negatives.
    query, positive : ndarray of shape (R,)
        Indices into the queries and documents of the examples.
    negatives : tuple of Ragged of R rows, one for each part
        Indices into the documents.
    """

    parts: tuple[str, ...]
    query: Integers
    positive: Integers
    negatives: tuple[Ragged, ...]

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def of(cls, examples: Examples, wanted: Mapping[str, int], drawing: Drawing) -> TrainingRows:
        """Draw rows of queries with hard negatives of the sources that are wanted.

        Parameters
        ----------
        examples : Examples
        wanted : mapping of str to int
            Negatives of each source in a row; none for in-batch negatives alone. A query that has fewer
            gives those it has.
        drawing : Drawing

        Raises
        ------
        DataError
            The examples lack a source.
        """
        lacking = [label for label in wanted if label not in examples.sources]
        if lacking:
            raise DataError(
                f"the rows have no source {listed(lacking)}. They have {listed(examples.sources)}."
            )
        if any(number < 1 for number in wanted.values()):
            raise EciError("a row has at least one negative of each source that is named.")
        rng = np.random.default_rng([drawing.seed, 0])
        pairs = _shuffled(examples.positives, rng)
        if drawing.positives:
            pairs = pairs.keep(pairs.within < drawing.positives)
        lists = [_of_source(examples, label) for label in wanted]
        times = np.full(len(pairs.values), drawing.rows, dtype=np.int64)
        if not drawing.rows:
            times = _enough(lists, list(wanted.values()), pairs)
        query, positive = np.repeat(pairs.rows, times), np.repeat(pairs.values, times)
        rng = np.random.default_rng([drawing.seed, 1])
        drawn = tuple(
            _dealt(own, query, number, rng) for own, number in zip(lists, wanted.values(), strict=True)
        )
        return cls(tuple(wanted), query, positive, drawn)

    def keep(self, queries: Flags) -> TrainingRows:
        """The rows of the marked queries; `queries` is of shape (Q,)."""
        rows = np.flatnonzero(queries[self.query])
        drawn = tuple(part.take(rows) for part in self.negatives)
        return TrainingRows(self.parts, self.query[rows], self.positive[rows], drawn)

    def digest(self, examples: Examples) -> str:
        """Sixteen hexadecimal digits of the texts of all rows, in their order."""
        query, document = (
            np.array(
                [
                    int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
                    for text in texts
                ]
            )
            for texts in (examples.queries, examples.documents)
        )
        found = hashlib.blake2b(digest_size=8)
        for column in (query[self.query], document[self.positive]):
            found.update(column.tobytes())
        for part in self.negatives:
            found.update(document[part.values].tobytes() + part.offsets.tobytes())
        return found.hexdigest()

    @property
    def buckets(self) -> dict[tuple[int, ...], Flags]:
        """Rows by their number of negatives of each part, largest first."""
        lengths = np.stack(
            [part.lengths for part in self.negatives] or [np.zeros(len(self), np.int64)], axis=1
        )
        found = np.unique(lengths, axis=0)[::-1]
        return {tuple(map(int, each)): (lengths == each).all(axis=1) for each in found}

    def columns(self, labels: Collection[str]) -> dict[str, tuple[bool, ...]]:
        """Which columns of negatives are of the given sources, for each bucket by its name in `datasets`."""
        return {
            _name(lengths): tuple(
                part in labels
                for part, length in zip(self.parts, lengths, strict=bool(self.parts))
                for _ in range(length)
            )
            for lengths in self.buckets
        }

    def datasets(self, examples: Examples) -> dict[str, Any]:
        """Columns of texts for each bucket: ``anchor``, ``positive``, ``negative_1`` … as trainers take them.

        Returns
        -------
        dict of str to datasets.Dataset
            By bucket; one a trainer can take apart from the others.
        """
        from datasets import Dataset

        texts = np.array(examples.documents, dtype=object)
        queries = np.array(examples.queries, dtype=object)
        made = {}
        for lengths, rows in self.buckets.items():
            columns = {"anchor": queries[self.query[rows]], "positive": texts[self.positive[rows]]}
            for part, length in zip(self.negatives, lengths, strict=bool(self.negatives)):
                table = part.take(np.flatnonzero(rows)).values.reshape(int(rows.sum()), length)
                for column in table.T:
                    columns[f"negative_{len(columns) - 1}"] = texts[column]
            made[_name(lengths)] = Dataset.from_dict({key: list(value) for key, value in columns.items()})
        return made


def _name(bucket: tuple[int, ...]) -> str:
    return "-".join(map(str, bucket))


def _of_source(examples: Examples, label: str) -> Ragged:
    return examples.negatives.keep(examples.source == examples.sources.index(label))


def _shuffled(lists: Ragged, rng: np.random.Generator) -> Ragged:
    """The same lists, each in a random order."""
    order = np.lexsort((rng.random(len(lists.values)), lists.rows))
    return lists.with_values(lists.values[order])


def _enough(lists: list[Ragged], wanted: list[int], pairs: Ragged) -> Integers:
    """Rows that each pair needs to use every negative of its query once."""
    if not lists:
        return np.ones(len(pairs.values), dtype=np.int64)
    needed = [-(-own.lengths // number) for own, number in zip(lists, wanted, strict=True)]
    found: Integers = np.maximum(1, np.max(needed, axis=0))[pairs.rows]
    return found


def _dealt(lists: Ragged, query: Integers, number: int, rng: np.random.Generator) -> Ragged:
    """Deal each row of `query` up to `number` different documents of its query's list.

    A query's rows go through its list in a random order, and through it again in another one when it ends. A
    document that stands in the list twice comes twice as often, but never twice in a row.
    """
    values: list[int] = []
    lengths = np.zeros(len(query), dtype=np.int64)
    decks: dict[int, list[int]] = {}
    for row, asked in enumerate(query.tolist()):
        own = np.sort(lists[asked]).tolist()
        size = min(number, len(set(own)))
        if not size:
            continue
        deck = decks.get(asked, [])
        hand = _hand(deck, own, size)
        if len(hand) < size:
            fresh = rng.permutation(len(own)).tolist()
            # What the row still gets of the old deck comes back in the new one's end.
            held = set(deck)
            deck = [*deck, *(n for n in fresh if n not in held), *(n for n in fresh if n in held)]
            hand = _hand(deck, own, size)
        taken = set(hand.values())
        lengths[row] = size
        values += hand
        decks[asked] = [n for place, n in enumerate(deck) if place not in taken]
    return Ragged.from_lengths(np.array(values, dtype=np.int64), lengths)


def _hand(deck: list[int], own: list[int], size: int) -> dict[int, int]:
    """The first `size` different documents of a deck of places in `own`, each with its place in the deck."""
    hand: dict[int, int] = {}
    for place, number in enumerate(deck):
        if len(hand) == size:
            break
        hand.setdefault(own[number], place)
    return hand
