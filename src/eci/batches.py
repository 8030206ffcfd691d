"""Examples with vectors and words, as the batches that metrics see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from eci import metrics
from eci.embedding import Embedded
from eci.examples import Examples
from eci.lexical import Lexicon
from eci.metrics import Batch
from eci.similarity import own_documents
from eci.tally import GROUPS, Tally
from eci.types import Flags, Floats, Integers

# Takes queries, their most similar positives, places of negatives, and the margins and overlaps of these.
Note: TypeAlias = Callable[[Integers, Integers, Integers, Floats, Floats], None]


class Measured:
    """Similarities and shared words of examples, some queries at a time.

    Parameters
    ----------
    examples : Examples
    embedded : Embedded
        With the vectors of what is asked for.
    lexicon : Lexicon
        Of ``examples.documents``.
    """

    def __init__(self, examples: Examples, embedded: Embedded, lexicon: Lexicon) -> None:
        self.examples, self.embedded, self.lexicon = examples, embedded, lexicon
        self.groups = groups_of(examples)
        self._query_words = lexicon.vocabulary.read(examples.queries)

    def tallies(
        self, queries: Integers, *, temperature: float, complete: Flags, rows: int, note: Note | None = None
    ) -> tuple[list[Tally], list[Tally]]:
        """Sums of each source, over its own queries and over those that are `complete`.

        Parameters
        ----------
        queries : ndarray of shape (B,)
        temperature : float
        complete : ndarray of shape (Q,), bool
            Which queries every source covers.
        rows : int
            Queries held at a time; changes no number.
        note : callable, optional
            Told what directions need.
        """
        own = [Tally() for _ in self.examples.sources]
        common = [Tally() for _ in self.examples.sources]
        for place in range(0, len(queries), rows):
            chosen = queries[place : place + rows]
            for number, batch in self.batches(chosen, note):
                own[number] += metrics.tally(batch, temperature=temperature)
                common[number] += metrics.tally(batch, temperature=temperature, only=complete[chosen])
        return own, common

    def batches(self, queries: Integers, note: Note | None = None) -> Iterator[tuple[int, Batch]]:
        """For the given queries, a batch for each source that has negatives of any of them."""
        examples = self.examples
        places = examples.negatives.with_values(np.arange(len(examples.source))).take(queries)
        positives = examples.positives.take(queries)
        negatives = places.with_values(examples.negatives.values[places.values])
        vectors = self.embedded.queries[queries]
        positive = own_documents(vectors, self.embedded.documents, positives)
        negative = own_documents(vectors, self.embedded.documents, negatives)
        best = positives.values[positive.argmaxima()]
        overlap_query = self.lexicon.overlap(self._query_words, queries[negatives.rows], negatives.values)
        overlap_positive = self.lexicon.overlap(
            self.lexicon.documents, best[negatives.rows], negatives.values
        )
        if note is not None:
            best_similarity = np.repeat(positive.maxima(), negatives.lengths)
            note(queries, best, places.values, best_similarity - negative.values, overlap_query)
        source = examples.source[places.values]
        for number in np.unique(source):
            mine = source == number
            yield (
                int(number),
                Batch(
                    groups=self.groups[queries],
                    positive=positive,
                    negative=negative.keep(mine),
                    overlap_query=negatives.with_values(overlap_query).keep(mine),
                    overlap_positive=negatives.with_values(overlap_positive).keep(mine),
                    teacher=negatives.with_values(examples.teacher[places.values]).keep(mine),
                ),
            )


def groups_of(examples: Examples) -> Integers:
    """Jackknife group of each query, of shape (Q,)."""
    return np.array([int.from_bytes(key[:8], "big") % GROUPS for key in examples.keys], dtype=np.int64)
