"""Queries that pass by: scored a portion at a time, here or by an engine, and then forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eci.batches import Measured
from eci.embedding import Embedded
from eci.errors import EncoderError
from eci.examples import Examples
from eci.lexical import Tokenizer, Vocabulary, by_trigrams, by_words
from eci.portions import Passing, Reader
from eci.settings import Settings
from eci.totals import Totals
from eci.types import Encoder

# None: the encoder's own.
_TOKENIZERS: dict[str, Tokenizer | None] = {"words": by_words, "trigrams": by_trigrams, "encoder": None}


class Engine(Protocol):
    """Where portions are scored, if not in this process."""

    def __call__(
        self, passing: Passing, vocabulary: Vocabulary, sources: tuple[str, ...], skipped: int, /
    ) -> Iterator[tuple[int, Totals | None]]:
        """The number of each portion, from 0, and its totals, in any order; None for the first `skipped`."""
        ...


@dataclass(frozen=True)
class PortionScorer:
    """Scores whole queries that are in memory for no longer than that.

    Parameters
    ----------
    encoder : Encoder
    reader : Reader
    sources : tuple of S str
        Of all queries, sorted.
    settings : Settings
    """

    encoder: Encoder
    reader: Reader
    sources: tuple[str, ...]
    settings: Settings

    def __call__(self, examples: Examples) -> Totals:
        """Everything that is a sum over these queries."""
        found = Totals(self.sources)
        examples = limited(examples, self.settings, found)
        embedded = Embedded(examples, self.encoder)
        every = np.arange(len(examples.queries))
        embedded.prepare(every)
        measured = Measured(examples, embedded, self.reader.lexicon(examples.documents))
        used = self.settings
        found.score(measured, every, temperature=used.temperature, rows=used.batch_rows)
        found.embedded.update(embedded.asked)
        found.meet(examples)
        return found

    def portions(self, passing: Passing, skipped: int) -> Iterator[tuple[int, Totals | None]]:
        """As an `Engine`, in this process."""
        for number, rows in enumerate(passing):
            yield number, None if number < skipped else self(Examples.from_batches(rows))


def limited(examples: Examples, settings: Settings, totals: Totals) -> Examples:
    """The examples, cut to a fixed N where there is one; `totals` counts the lists that are shorter."""
    if settings.fixed_n is None:
        return examples
    totals.short.update(examples.short(settings.fixed_n))
    return examples.limited(settings.fixed_n, settings.fixed_n_by, settings.seed)


def tokenizer_of(settings: Settings, encoder: Encoder) -> Tokenizer:
    """What finds words.

    Raises
    ------
    EncoderError
        The encoder is to do it, and has no tokenizer.
    """
    found: Tokenizer | None = _TOKENIZERS[settings.tokenizer] or getattr(encoder, "tokens", None)
    if found is None:
        raise EncoderError(
            f"{type(encoder).__name__} has no tokenizer of its own (a method tokens, texts to lists of "
            "tokens). Use the tokenizer 'words' or 'trigrams'."
        )
    return found
