"""What rows hold before those of a query are brought together: sources in order, scores of positives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.columns import Documents
from eci.datasets.identity import hashes, keys_of
from eci.datasets.rows import Rows
from eci.examples import NEGATIVE
from eci.ragged import Ragged
from eci.task import text_digests
from eci.types import Flags, Floats, Integers


class Surveyed:
    """Rows with the negatives of the parts alone, surveyed as they are gone through first."""

    def __init__(self, rows: Rows, sources: tuple[str, ...] | None) -> None:
        self.survey = Survey()
        self._rows, self._wanted = rows, None if sources is None else pa.array(sources, pa.string())
        self._surveyed = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._rows:
            chosen = batch if self._wanted is None else self._restricted(batch)
            if not self._surveyed:
                self.survey.add(chosen)
            yield chosen
        self._surveyed = True

    def _restricted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        negatives = Documents.of(batch.column("negatives"))
        source = negatives.fields["source"]
        wanted = np.asarray(pc.is_in(source, value_set=self._wanted))
        if wanted.all():
            return batch
        if not self._surveyed:
            others = source.filter(pa.array(~wanted)).value_counts()
            self.survey.left_out.update({each["values"].as_py(): each["counts"].as_py() for each in others})
        place = batch.schema.get_field_index("negatives")
        return batch.set_column(place, batch.schema.field(place), negatives.keep(wanted).records(NEGATIVE))


class Survey:
    """Which sources rows have, in which order, and what scores their positives have."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.left_out: Counter[str] = Counter()
        self._follows: set[tuple[int, int]] = set()
        self._scored: list[tuple[Integers, Integers, Floats]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at rows as they are in the inputs."""
        negatives = Documents.of(batch.column("negatives"))
        encoded = negatives.fields["source"].dictionary_encode()
        known = [self.numbers.setdefault(name, len(self.numbers)) for name in encoded.dictionary.to_pylist()]
        source = np.array(known, dtype=np.int64)[np.asarray(encoded.indices)]
        pairs = negatives.rows * (1 + len(self.numbers)) + source
        first = np.sort(np.unique(pairs, return_index=True)[1])
        row = negatives.rows[first]
        sources = Ragged.from_lengths(source[first], np.bincount(row, minlength=len(batch)))
        next_to = np.stack([sources.values[:-1], sources.values[1:]], axis=1)[row[:-1] == row[1:]]
        self._follows.update(map(tuple, np.unique(next_to, axis=0).tolist()))
        self._add_scores(batch, sources)

    def _add_scores(self, batch: pa.RecordBatch, sources: Ragged) -> None:
        positives = Documents.of(batch.column("positives"))
        score = positives.fields["score"]
        scored = np.flatnonzero(np.asarray(score.is_valid()))
        if not len(scored):
            return
        key = positive_keys(batch, positives, scored)
        value = np.asarray(score.take(pa.array(scored)))
        own = sources.take(positives.rows[scored])
        # -1 stands for the row itself, which may have no negatives.
        self._scored.append((key, np.full(len(key), -1), value))
        self._scored.append((key[own.rows], own.values, value[own.rows]))

    def order(self) -> tuple[str, ...]:
        """The sources in the order in which rows have them; those that no row has both, as they occur."""
        left, ordered = list(self.numbers.values()), []
        while left:
            follow = {after for before, after in self._follows if before in left}
            number = next((each for each in left if each not in follow), left[0])
            left.remove(number)
            ordered.append(number)
        names = list(self.numbers)
        return tuple(names[number] for number in ordered)

    def agreement(self) -> Agreement:
        """What rows say about the scores of positives."""
        none = np.empty(0, dtype=np.int64)
        key, part, score = (
            zip(*self._scored, strict=True) if self._scored else ((none,), (none,), (np.empty(0),))
        )
        return Agreement.of(np.concatenate(key), np.concatenate(part), np.concatenate(score))


@dataclass(frozen=True)
class Agreement:
    """What the parts say about the scores of positives.

    Parameters
    ----------
    keys : ndarray of shape (m,), int64
        Of a positive of a query, rising.
    scores : ndarray of shape (m,)
        NaN where they differ.
    parts : ndarray of shape (m,), int64
        How many parts give it.
    """

    keys: Integers
    scores: Floats
    parts: Integers

    @classmethod
    def of(cls, keys: Integers, parts: Integers, scores: Floats) -> Agreement:
        """Of n statements: the key of a positive, the number of the part or -1 for none, the score."""
        order = np.lexsort((parts, keys))
        keys, parts, scores = keys[order], parts[order], scores[order]
        starts = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
        new = np.diff(parts, prepend=-2) != 0
        new[starts] = True
        if not len(keys):
            return cls(keys, scores, parts)
        least, most = (each.reduceat(scores, starts) for each in (np.minimum, np.maximum))
        given = np.add.reduceat((new & (parts >= 0)).astype(np.int64), starts)
        return cls(keys[starts], np.where(least == most, least, np.nan), given)

    def look_up(self, keys: Integers, parts: Integers) -> tuple[Floats, Flags]:
        """Scores of positives, NaN where not all `parts` of a query give one, and who has any at all."""
        if not len(self.keys):
            return np.full(len(keys), np.nan), np.zeros(len(keys), dtype=np.bool_)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        scored = self.keys[at] == keys
        return np.where(scored & (self.parts[at] == parts), self.scores[at], np.nan), scored


def positive_keys(batch: pa.RecordBatch, positives: Documents, at: Integers) -> Integers:
    """Hashes of query and text for the positives at the given places, the same within one run only."""
    texts = text_digests(None, positives.shown.take(pa.array(at)))
    with np.errstate(over="ignore"):
        return texts + hashes(keys_of(batch))[positives.rows[at]] * np.int64(0x5851F42D4C957F2D)
