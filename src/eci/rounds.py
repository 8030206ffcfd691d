"""Queries scored in growing rounds: tallies of every source, and what metrics of directions need."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from eci.batches import Measured
from eci.decision import Scores
from eci.directions import Directions, drawn_order
from eci.embedding import Embedded
from eci.errors import EciError, EncoderError
from eci.lexical import Lexicon
from eci.metrics import alignment, semantic
from eci.origins import shortcuts
from eci.passing import Engine, PortionScorer, limited, tokenizer_of
from eci.portions import Passing, Portions
from eci.resuming import Checkpoint
from eci.settings import Corpora, Settings
from eci.tally import GROUPS
from eci.totals import Totals
from eci.types import Encoder, Floats, Integers, Progress, silent

# The first round of `until_decided`: ten queries for each jackknife group.
_FIRST_ROUND = 10 * GROUPS
# λ of eci_sem: what a unit of information is measured in.
RIDGE = 1.0


class Scorer:
    """Scores queries in rounds; each text is embedded once, before the first round that needs it.

    Metrics of directions and shortcuts are those of the queries in memory.

    Parameters
    ----------
    queries : Portions
    encoder : Encoder
    settings : Settings
    corpora : Corpora, optional
    progress : Progress
    checkpoint : Checkpoint, optional
        Of the queries that pass by.
    engine : Engine, optional
        What scores those; this process if not given.

    Attributes
    ----------
    examples : Examples
        The queries in memory, cut to a fixed N.
    documents, words_over : int
        Distinct documents, and documents that the frequencies of words were counted over.
    """

    def __init__(
        self,
        queries: Portions,
        encoder: Encoder,
        settings: Settings,
        corpora: Corpora | None = None,
        progress: Progress = silent,
        checkpoint: Checkpoint | None = None,
        engine: Engine | None = None,
    ) -> None:
        corpora = corpora or Corpora()
        if not queries.sources:
            raise EciError(
                "No row has a negative. Scoring compares sources of hard negatives; the rows hold none."
            )
        if not isinstance(encoder, Encoder):
            raise EncoderError(
                f"{type(encoder).__name__} is no encoder: it needs the methods encode_query and "
                "encode_document."
            )
        self.queries, self.settings, self._checkpoint = queries, settings, checkpoint or Checkpoint(None, "")
        self._own, self._passed, self._portions = Totals(queries.sources), Totals(queries.sources), 0
        self.examples = limited(queries.held, settings, self._own)
        self._encoder, self._progress, self._engine = encoder, progress, engine
        self._embedded = Embedded(self.examples, encoder, corpora.candidates)
        tokenizer = tokenizer_of(settings, encoder)
        if queries.pieces is None:
            lexicon = Lexicon.of(self.examples.documents, tokenizer, corpora.words)
            self.documents = len(self.examples.documents)
        else:
            self._reader, self.documents = queries.reader(tokenizer, corpora.words, progress)
            lexicon = self._reader.lexicon(self.examples.documents)
        self._held = Measured(self.examples, self._embedded, lexicon)
        self.words_over = lexicon.vocabulary.size
        self._own.meet(self.examples)
        self._directions = Directions(
            self.examples,
            self._embedded,
            self._held.groups,
            seed=settings.seed,
            temperature=settings.temperature,
            ridge=RIDGE,
        )

    def rounds(self) -> Iterator[Scores]:
        """Scores after each round: one round, or growing ones with ``until_decided``."""
        ends = round_ends(len(self.queries), self.settings)
        order, start = self._order(), 0
        for look, end in enumerate(ends, start=1):
            held = np.sort(order[start:end])
            if len(held):
                self._embedded.prepare(held)
                self._own.score(
                    self._held,
                    held,
                    temperature=self.settings.temperature,
                    rows=self.settings.batch_rows,
                    note=self._directions.note,
                )
            begin, start = max(start, len(order)), end
            if not self._let_pass(begin, end):
                # A run that was killed has gone on from here, so it was not decided.
                continue
            totals = self.totals
            yield Scores(
                totals.sources,
                tuple(totals.own),
                tuple(totals.common),
                totals.sizes,
                self.settings.temperature,
                self._directed,
                len(ends),
                look,
            )

    def shortcuts(self, progress: Progress = silent) -> Iterator[dict[str, Any]]:
        """Whether the sources can be told apart by origin, two by two."""
        return shortcuts(self.examples, self._embedded, self._held.groups, self.settings.seed, progress)

    def semantic_at(self, source: int, temperature: float) -> float:
        """``eci_sem`` of a source at another temperature, without replicates."""
        place = self._place_held(source)
        return math.nan if place is None else self._directions.semantic_at(place, temperature)

    def plain(self) -> dict[str, Floats]:
        """``alignment`` and ``alignment_dot`` of in-batch negatives alone."""
        return self._directions.plain()

    @property
    def pool(self) -> int:
        """How many candidates the held-out loss ranks."""
        return self._directions.pool

    @property
    def totals(self) -> Totals:
        """Of what has been scored so far."""
        found = self._own + self._passed
        found.embedded.update(self._embedded.asked)
        return found

    def _directed(self, source: int) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
        place = self._place_held(source)
        if place is None:
            nothing = dict.fromkeys((*semantic.NAMES, *alignment.NAMES), np.full(1 + GROUPS, math.nan))
            return nothing, nothing
        return self._directions.values(place)

    def _place_held(self, source: int) -> int | None:
        """The number that a source has among those in memory, where it has one."""
        label = self.queries.sources[source]
        return self.examples.sources.index(label) if label in self.examples.sources else None

    def _let_pass(self, start: int, end: int) -> bool:
        """Score the queries drawn from place `start` to before `end` that are not in memory.

        False where they are among those of a checkpoint, whose sums are not apart from those of later ones.
        """
        passing = self.queries.passing(start, end)
        if passing is None:
            return True
        known = self._checkpoint.load()
        before, waiting = self._portions, dict[int, Totals | None]()
        for number, totals in self._scored(passing, 0 if known is None else max(0, known[0] - before)):
            waiting[number] = totals
            # What is kept is of the first portions; which of them is scored first is the engine's choice.
            while self._portions - before in waiting:
                found = waiting.pop(self._portions - before)
                self._portions += 1
                if found is not None:
                    self._passed = self._passed + found
                    self._checkpoint.keep(self._portions, self._passed)
                elif known is not None and self._portions == known[0]:
                    self._passed = known[1]
            self._progress("scoring queries", int((self._own.sizes + self._passed.sizes).sum()), end)
        return known is None or known[0] <= self._portions

    def _scored(self, passing: Passing, skipped: int) -> Iterator[tuple[int, Totals | None]]:
        if self._engine is not None:
            return self._engine(passing, self._reader.vocabulary, self.queries.sources, skipped)
        return PortionScorer(self._encoder, self._reader, self.queries.sources, self.settings).portions(
            passing, skipped
        )

    def _order(self) -> Integers:
        """The queries in memory, in the order in which they are drawn."""
        whole = self.settings.sample is None and not self.settings.until_decided
        if whole and self.queries.pieces is None:
            return np.arange(len(self.examples.queries))
        return drawn_order(self.examples.keys, self.settings.seed)


def round_ends(queries: int, settings: Settings) -> list[int]:
    """How many queries have been drawn after each round: 200, 400, 800, … up to all."""
    if not settings.until_decided:
        return [min(settings.sample or queries, queries)]
    ends = [_FIRST_ROUND * 2**step for step in range(max(1, math.ceil(math.log2(queries / _FIRST_ROUND))))]
    return [end for end in ends if end < queries] + [queries]
