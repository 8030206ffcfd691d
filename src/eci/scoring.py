"""Examples and an encoder in, a result out: batch by batch, stopping when decided."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from eci import metrics
from eci.decision import Scores, decide, estimates, summarise
from eci.directions import MOST_HELD_OUT, Directions, drawn_order
from eci.embedding import Embedded
from eci.errors import EciError, EncoderError
from eci.examples import Examples
from eci.lexical import Lexicon, Tokenizer, by_trigrams, by_words
from eci.metrics import Batch, alignment, semantic
from eci.origins import shortcuts
from eci.ranking import kendall
from eci.results import ScoreResult, listed
from eci.settings import Corpora, Settings
from eci.similarity import own_documents
from eci.tally import GROUPS, Tally
from eci.types import Encoder, Flags, Integers, Progress, silent

# The first round of `until_decided`: ten queries for each jackknife group.
_FIRST_ROUND = 10 * GROUPS
# None: the encoder's own.
_TOKENIZERS: dict[str, Tokenizer | None] = {"words": by_words, "trigrams": by_trigrams, "encoder": None}
# λ of eci_sem: what a unit of information is measured in.
RIDGE = 1.0


def score(
    examples: Examples,
    encoder: Encoder,
    settings: Settings | None = None,
    progress: Progress = silent,
    corpora: Corpora | None = None,
) -> ScoreResult:
    """Score every source of negatives in `examples`.

    Parameters
    ----------
    examples : Examples
    encoder : Encoder
        Frozen; best the one about to be fine-tuned.
    settings : Settings, optional
    progress : Progress
    corpora : Corpora, optional

    Returns
    -------
    ScoreResult
        Best source first. Its ``data`` holds counts; who read the rows adds where they came from.

    Raises
    ------
    EciError
        There is no negative to score.
    EncoderError
        The encoder gave unusable vectors.
    """
    settings = settings or Settings()
    limited = examples
    if settings.fixed_n is not None:
        limited = examples.limited(settings.fixed_n, settings.fixed_n_by, settings.seed)
    scorer = Scorer(limited, encoder, settings, corpora)
    for scores in scorer.rounds():
        decision = decide(scores, settings.metric, settings.confidence)
        progress("round", scores.look, scores.looks)
        if decision.decided:
            break
    progress("measuring directions", 0, 0)
    described: dict[str, Any] = {"name": type(encoder).__name__, **getattr(encoder, "describe", dict)()}
    result = summarise(
        scores,
        decision,
        seed=settings.seed,
        confidence=settings.confidence,
        shortcuts=tuple(scorer.shortcuts(progress)) if settings.shortcuts else (),
        provenance={
            "encoder": {**described, "target": settings.target or described["name"]},
            "settings": _settings_record(settings, scores),
            "data": {
                **_data_record(limited, scorer),
                "eci_sem": _semantic_record(scores, scorer),
                "alignment": {
                    **_alignment_record(scores, scorer),
                    "found": (corpora or Corpora()).found(examples),
                },
            },
        },
    )
    return result if settings.fixed_n is None else _told_of_limit(result, settings, examples)


def _told_of_limit(result: ScoreResult, settings: Settings, examples: Examples) -> ScoreResult:
    """The result as one of lists that were cut, which it says."""
    size = int(settings.fixed_n or 0)
    short = examples.short(size)
    how = "the first of the row" if settings.fixed_n_by == "top" else "drawn by seed"
    notes = [f"fixed N: at most {size} negatives of each source of each query, {how}"]
    if short:
        told = listed([f"{label} {times:,}" for label, times in short.items()])
        notes.append(f"queries that have fewer than {size} negatives of a source: {told}")
    result.data.update(fixed_n_short=short, notes=notes)
    return replace(result, verdict=f"At most {size} negatives ({settings.fixed_n_by}): {result.verdict}")


def _settings_record(settings: Settings, scores: Scores) -> dict[str, Any]:
    return {
        **asdict(settings),
        "groups": GROUPS,
        "interval": "delete-a-group jackknife, 95 %, Student's t",
        "rounds": scores.look,
        "queries_scored": int(scores.group_sizes.sum()),
    }


def _data_record(examples: Examples, scorer: Scorer) -> dict[str, Any]:
    drawn = np.repeat(scorer.drawn, examples.negatives.lengths)
    identical = np.bincount(examples.source[examples.identical() & drawn], minlength=len(examples.sources))
    return {
        "rows": examples.rows,
        "queries": len(examples.queries),
        "documents": len(examples.documents),
        "word_frequencies_over": scorer.frequencies_over,
        "negatives": len(examples.source),
        "identical_to_positive": dict(zip(examples.sources, identical.tolist(), strict=True)),
        "empty_texts": sum(not text.strip() for text in (*examples.queries, *examples.documents)),
        "embedded": scorer.embedded,
    }


def _semantic_record(scores: Scores, scorer: Scorer) -> dict[str, Any]:
    """How the ranking by ``eci_sem`` depends on its temperature."""
    labels, used = scorer.examples.sources, scorer.settings.temperature
    swept = {used: [float(values["eci_sem"][0]) for values in scores.values]}
    for temperature in semantic.TEMPERATURES:
        if temperature != used:
            swept[temperature] = [
                scorer.directions.semantic_at(number, temperature) for number in range(len(labels))
            ]
    return {
        "definition": semantic.DEFINITION,
        "ridge": RIDGE,
        "temperatures": {
            str(temperature): {
                "values": dict(zip(labels, swept[temperature], strict=True)),
                "kendall": kendall(np.array(swept[used]), np.array(swept[temperature])),
            }
            for temperature in sorted(swept)
        },
    }


def _alignment_record(scores: Scores, scorer: Scorer) -> dict[str, Any]:
    """What the alignment of in-batch negatives alone is, and over what."""
    plain = estimates(scorer.directions.plain(), scores.group_sizes)
    return {
        "none": {name: asdict(estimate) for name, estimate in plain.items()},
        "batch": alignment.BATCH,
        "candidates": scorer.directions.pool,
        "held_out_at_most": MOST_HELD_OUT,
    }


class Scorer:
    """Scores examples in rounds; each text is embedded once, before the first round that needs it."""

    def __init__(
        self,
        examples: Examples,
        encoder: Encoder,
        settings: Settings,
        corpora: Corpora | None = None,
    ) -> None:
        corpora = corpora or Corpora()
        if not examples.sources:
            raise EciError(
                "No row has a negative. Scoring compares sources of hard negatives; the rows hold none."
            )
        if not isinstance(encoder, Encoder):
            raise EncoderError(
                f"{type(encoder).__name__} is no encoder: it needs the methods encode_query and "
                "encode_document."
            )
        self.examples = examples
        self.settings = settings
        self.groups = np.array([int.from_bytes(key[:8], "big") % GROUPS for key in examples.keys])
        self._complete: Flags = np.all(examples.covered(), axis=1)
        self._embedded = Embedded(examples, encoder, corpora.candidates)
        self.directions = Directions(
            examples,
            self._embedded,
            self.groups,
            seed=settings.seed,
            temperature=settings.temperature,
            ridge=RIDGE,
        )
        tokenizer = _TOKENIZERS[settings.tokenizer] or _tokenizer_of(encoder)
        self._lexicon = Lexicon.of(examples.documents, tokenizer, corpora.words)
        self._query_words = self._lexicon.look_up(examples.queries)

    def rounds(self) -> Iterator[Scores]:
        """Scores after each round: one round, or growing ones with ``until_decided``."""
        ends = round_ends(len(self.examples.queries), self.settings)
        order = self._order()
        labels = self.examples.sources
        own = [Tally() for _ in labels]
        common = [Tally() for _ in labels]
        start = 0
        for look, end in enumerate(ends, start=1):
            drawn = np.sort(order[start:end])
            self._embedded.prepare(drawn)
            for place in range(0, len(drawn), self.settings.batch_rows):
                queries = drawn[place : place + self.settings.batch_rows]
                for number, batch in self._batches(queries):
                    own[number] += self._tally(batch)
                    common[number] += self._tally(batch, only=self._complete[queries])
            sizes = np.bincount(self.groups[order[:end]], minlength=GROUPS)
            yield Scores(
                labels,
                tuple(own),
                tuple(common),
                sizes,
                self.settings.temperature,
                self.directions.values,
                len(ends),
                look,
            )
            start = end

    def shortcuts(self, progress: Progress = silent) -> Iterator[dict[str, Any]]:
        """Whether the sources can be told apart by origin, two by two."""
        return shortcuts(self.examples, self._embedded, self.groups, self.settings.seed, progress)

    def _tally(self, batch: Batch, only: Flags | None = None) -> Tally:
        return metrics.tally(batch, temperature=self.settings.temperature, only=only)

    def _order(self) -> Integers:
        if self.settings.sample is None and not self.settings.until_decided:
            return np.arange(len(self.examples.queries))
        return drawn_order(self.examples.keys, self.settings.seed)

    def _batches(self, queries: Integers) -> Iterator[tuple[int, Batch]]:
        """For the given queries, a batch for each source that has negatives of any of them."""
        examples = self.examples
        places = examples.negatives.with_values(np.arange(len(examples.source))).take(queries)
        positives = examples.positives.take(queries)
        negatives = places.with_values(examples.negatives.values[places.values])
        vectors = self._embedded.queries[queries]
        positive = own_documents(vectors, self._embedded.documents, positives)
        negative = own_documents(vectors, self._embedded.documents, negatives)
        best = positives.values[positive.argmaxima()]
        overlap_query = self._lexicon.overlap(self._query_words, queries[negatives.rows], negatives.values)
        overlap_positive = self._lexicon.overlap(
            self._lexicon.documents, best[negatives.rows], negatives.values
        )
        best_similarity = np.repeat(positive.maxima(), negatives.lengths)
        self.directions.note(queries, best, places.values, best_similarity - negative.values, overlap_query)
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

    @property
    def drawn(self) -> Flags:
        """Which queries have been scored so far, of shape (Q,)."""
        return self._embedded.has_query

    @property
    def frequencies_over(self) -> int:
        """Documents that the frequencies of words were counted over."""
        return self._lexicon.size

    @property
    def embedded(self) -> dict[str, int]:
        """How many texts were asked of the encoder, by role."""
        return self._embedded.asked


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
