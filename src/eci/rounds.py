"""Queries scored in growing rounds: tallies of every source, and what metrics of directions need."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from eci.batches import Counts, Measured, Note
from eci.decision import Scores
from eci.directions import Directions, drawn_order
from eci.embedding import Embedded
from eci.errors import EciError, EncoderError
from eci.examples import Examples
from eci.lexical import Lexicon, Tokenizer, by_trigrams, by_words
from eci.metrics import alignment, semantic
from eci.origins import shortcuts
from eci.portions import Portions, Reader
from eci.settings import Corpora, Settings
from eci.tally import GROUPS, Tally
from eci.types import Encoder, Flags, Floats, Integers, Progress, silent

# The first round of `until_decided`: ten queries for each jackknife group.
_FIRST_ROUND = 10 * GROUPS
# None: the encoder's own.
_TOKENIZERS: dict[str, Tokenizer | None] = {"words": by_words, "trigrams": by_trigrams, "encoder": None}
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

    Attributes
    ----------
    examples : Examples
        The queries in memory, cut to a fixed N.
    counts : Counts
        Of what has been scored so far.
    """

    def __init__(
        self,
        queries: Portions,
        encoder: Encoder,
        settings: Settings,
        corpora: Corpora | None = None,
        progress: Progress = silent,
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
        self.queries, self.settings, self.counts = queries, settings, Counts()
        self.examples = self._limited(queries.held)
        self._encoder, self._progress = encoder, progress
        self._embedded = Embedded(self.examples, encoder, corpora.candidates)
        tokenizer = _TOKENIZERS[settings.tokenizer] or _tokenizer_of(encoder)
        if queries.pieces is None:
            lexicon = Lexicon.of(self.examples.documents, tokenizer, corpora.words)
            documents = len(self.examples.documents)
        else:
            vocabulary, documents = queries.vocabulary(tokenizer, corpora.words, progress)
            self._reader = Reader(vocabulary)
            lexicon = self._reader.lexicon(self.examples.documents)
        self._held = Measured(self.examples, self._embedded, lexicon)
        self.counts.documents, self.counts.words_over = documents, lexicon.vocabulary.size
        self.counts.met(self.examples)
        self._directions = Directions(
            self.examples,
            self._embedded,
            self._held.groups,
            seed=settings.seed,
            temperature=settings.temperature,
            ridge=RIDGE,
        )
        self._own = [Tally() for _ in queries.sources]
        self._common = [Tally() for _ in queries.sources]
        self._sizes = np.zeros(GROUPS, dtype=np.int64)

    def rounds(self) -> Iterator[Scores]:
        """Scores after each round: one round, or growing ones with ``until_decided``."""
        ends = round_ends(len(self.queries), self.settings)
        order, start = self._order(), 0
        for look, end in enumerate(ends, start=1):
            held = np.sort(order[start:end])
            if len(held):
                self._embedded.prepare(held)
                self._score(self._held, held, self._directions.note)
            for examples in self.queries.passing(max(start, len(order)), end):
                self._pass(self._limited(examples))
                self._progress("scoring queries", int(self._sizes.sum()), end)
            yield Scores(
                self.queries.sources,
                tuple(self._own),
                tuple(self._common),
                self._sizes.copy(),
                self.settings.temperature,
                self._directed,
                len(ends),
                look,
            )
            start = end

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
    def embedded(self) -> dict[str, int]:
        """How many texts were asked of the encoder, by role."""
        return {role: size + self.counts.embedded[role] for role, size in self._embedded.asked.items()}

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

    def _pass(self, examples: Examples) -> None:
        """Score queries that are then forgotten."""
        embedded = Embedded(examples, self._encoder)
        every = np.arange(len(examples.queries))
        embedded.prepare(every)
        self._score(Measured(examples, embedded, self._reader.lexicon(examples.documents)), every)
        self.counts.embedded.update(embedded.asked)
        self.counts.met(examples)

    def _score(self, measured: Measured, queries: Integers, note: Note | None = None) -> None:
        examples, sources = measured.examples, self.queries.sources
        every: Flags = np.all(examples.covered(), axis=1) & (examples.sources == sources)
        tallies = measured.tallies(
            queries,
            temperature=self.settings.temperature,
            complete=every,
            rows=self.settings.batch_rows,
            note=note,
        )
        for label, own, common in zip(examples.sources, *tallies, strict=True):
            place = sources.index(label)
            self._own[place] += own
            self._common[place] += common
        self._sizes += np.bincount(measured.groups[queries], minlength=GROUPS)
        self.counts.scored(examples, queries)

    def _limited(self, examples: Examples) -> Examples:
        used = self.settings
        if used.fixed_n is None:
            return examples
        self.counts.short.update(examples.short(used.fixed_n))
        return examples.limited(used.fixed_n, used.fixed_n_by, used.seed)

    def _order(self) -> Integers:
        """The queries in memory, in the order in which they are drawn."""
        whole = self.settings.sample is None and not self.settings.until_decided
        if whole and self.queries.pieces is None:
            return np.arange(len(self.examples.queries))
        return drawn_order(self.examples.keys, self.settings.seed)


def _tokenizer_of(encoder: Encoder) -> Tokenizer:
    found: Tokenizer | None = getattr(encoder, "tokens", None)
    if found is None:
        raise EncoderError(
            f"{type(encoder).__name__} has no tokenizer of its own (a method tokens, texts to lists of "
            "tokens). Use the tokenizer 'words' or 'trigrams'."
        )
    return found


def round_ends(queries: int, settings: Settings) -> list[int]:
    """How many queries have been drawn after each round: 200, 400, 800, … up to all."""
    if not settings.until_decided:
        return [min(settings.sample or queries, queries)]
    ends = [_FIRST_ROUND * 2**step for step in range(max(1, math.ceil(math.log2(queries / _FIRST_ROUND))))]
    return [end for end in ends if end < queries] + [queries]
