"""Examples and an encoder in, a result out: batch by batch, stopping when decided."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eci import metrics
from eci.decision import Scores, decide, summarise
from eci.errors import EciError, EncoderError
from eci.examples import Examples, shorten
from eci.lexical import Lexicon
from eci.metrics import Batch
from eci.results import ScoreResult
from eci.similarity import normalise, own_documents, unusable
from eci.tally import GROUPS, Tally
from eci.types import Encoder, Flags, Integers, Progress, Role, Vectors, silent

# The first round of `until_decided`: ten queries for each jackknife group.
_FIRST_ROUND = 10 * GROUPS


@dataclass(frozen=True)
class Settings:
    """How to score; stored in every result.

    Parameters
    ----------
    metric : str
        Which of ``eci.metrics.NAMES`` ranks the sources.
    sample : int, optional
        Score this many queries, drawn at random; all when None.
    until_decided : bool
        Draw queries in growing random rounds and stop once the first place is decided.
    confidence : float
        Of the decision about the first place; printed intervals are always 95 %.
    temperature : float
        τ of the gradient norm and of the InfoNCE loss.
    seed : int
        Of the order in which queries are drawn, and of the draws behind ``probability_best``.
    batch_rows : int
        Queries held at a time while similarities are computed. Changes no number.
    target : str, optional
        Name of the model that will be fine-tuned, where it is another than the encoder.
    """

    metric: str = "eci"
    sample: int | None = None
    until_decided: bool = False
    confidence: float = 0.95
    temperature: float = 0.05
    seed: int = 0
    batch_rows: int = 4096
    target: str | None = None

    def __post_init__(self) -> None:
        if self.metric not in metrics.NAMES:
            raise EciError(f"Unknown metric {self.metric!r}. Known: {', '.join(metrics.NAMES)}")
        if self.sample is not None and (
            self.until_decided or not isinstance(self.sample, int) or self.sample < 1
        ):
            raise EciError("sample is a whole number of queries, at least 1, and excludes until_decided")
        low, high = metrics.TEMPERATURES
        if not low <= self.temperature <= high:
            raise EciError(f"temperature lies between {low} and {high}, got {self.temperature}")
        if not 0 < self.confidence < 1 or self.batch_rows < 1:
            raise EciError("confidence lies between 0 and 1, batch_rows at 1 or more")


def score(
    examples: Examples,
    encoder: Encoder,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> ScoreResult:
    """Score every source of negatives in `examples`.

    Parameters
    ----------
    examples : Examples
    encoder : Encoder
        Frozen; best the one about to be fine-tuned.
    settings : Settings, optional
    progress : Progress

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
    scorer = Scorer(examples, encoder, settings)
    for scores in scorer.rounds():
        decision = decide(scores, settings.metric, settings.confidence)
        progress("round", scores.look, scores.looks)
        if decision.decided:
            break
    described: dict[str, Any] = {"name": type(encoder).__name__, **getattr(encoder, "describe", dict)()}
    return summarise(
        scores,
        decision,
        seed=settings.seed,
        provenance={
            "encoder": {**described, "target": settings.target or described["name"]},
            "settings": _settings_record(settings, scores),
            "data": _data_record(examples, scorer),
        },
    )


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
        "negatives": len(examples.source),
        "identical_to_positive": dict(zip(examples.sources, identical.tolist(), strict=True)),
        "empty_texts": sum(not text.strip() for text in (*examples.queries, *examples.documents)),
        "embedded": scorer.embedded,
    }


class Scorer:
    """Scores examples in rounds; each text is embedded once, before the first round that needs it."""

    def __init__(self, examples: Examples, encoder: Encoder, settings: Settings) -> None:
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
        self._embedded = _Embedded(examples, encoder)
        self._lexicon = Lexicon.of(examples.documents)
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
            yield Scores(labels, tuple(own), tuple(common), sizes, self.settings.temperature, len(ends), look)
            start = end

    def _tally(self, batch: Batch, only: Flags | None = None) -> Tally:
        return metrics.tally(batch, temperature=self.settings.temperature, only=only)

    def _order(self) -> Integers:
        if self.settings.sample is None and not self.settings.until_decided:
            return np.arange(len(self.examples.queries))
        seed = str(self.settings.seed).encode()
        drawn = [hashlib.blake2b(key, digest_size=8, key=seed).digest() for key in self.examples.keys]
        return np.array(sorted(range(len(drawn)), key=lambda query: (drawn[query], query)))

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
    def embedded(self) -> dict[str, int]:
        """How many texts were asked of the encoder, by role."""
        return self._embedded.asked


class _Embedded:
    """Vectors of the queries and documents of some examples, filled in as rounds need them."""

    def __init__(self, examples: Examples, encoder: Encoder) -> None:
        self._examples = examples
        self._encoder = encoder
        self.has_query = np.zeros(len(examples.queries), dtype=np.bool_)
        self._has_document = np.zeros(len(examples.documents), dtype=np.bool_)
        self.queries: Vectors = np.empty((0, 0), dtype=np.float32)
        self.documents: Vectors = np.empty((0, 0), dtype=np.float32)

    @property
    def asked(self) -> dict[str, int]:
        return {"queries": int(self.has_query.sum()), "documents": int(self._has_document.sum())}

    def prepare(self, queries: Integers) -> None:
        """Embed what the given queries need and what is not embedded yet."""
        examples = self._examples
        needed = np.zeros(len(examples.documents), dtype=np.bool_)
        for rows in (examples.positives, examples.negatives):
            needed[rows.take(queries).values] = True
        self.queries = self._fill(self.queries, examples.queries, queries, "query")
        self.has_query[queries] = True
        new = np.flatnonzero(needed & ~self._has_document)
        self.documents = self._fill(self.documents, examples.documents, new, "document")
        if self.queries.shape[1] != self.documents.shape[1]:
            raise EncoderError(
                f"The encoder gave queries of {self.queries.shape[1]} dimensions and documents of "
                f"{self.documents.shape[1]}; a cosine needs the same."
            )
        self._has_document[new] = True

    def _fill(self, table: Vectors, texts: tuple[str, ...], new: Integers, role: Role) -> Vectors:
        if len(new) == 0:
            return table
        vectors = encode(self._encoder, [texts[number] for number in new], role)
        if table.size == 0:
            table = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
        table[new] = vectors
        return table


def encode(encoder: Encoder, texts: list[str], role: Role) -> Vectors:
    """L2-normalised vectors of n texts, of shape (n, d).

    Raises
    ------
    EncoderError
        The encoder gave another shape, or a vector that is not finite or has no length; the message
        names the text.
    """
    function = encoder.encode_query if role == "query" else encoder.encode_document
    vectors = np.asarray(function(texts))
    if vectors.dtype.kind not in "fiu":
        raise EncoderError(f"The encoder gave {vectors.dtype} values in the place of numbers.")
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise EncoderError(
            f"The encoder gave an array of shape {vectors.shape} for {len(texts)} texts; "
            f"expected ({len(texts)}, d)."
        )
    refuse_unusable(vectors, texts)
    return normalise(vectors)


def refuse_unusable(vectors: Vectors, texts: list[str]) -> None:
    """Raise an `EncoderError` that names the first text whose vector is not finite or has no length."""
    bad = unusable(vectors)
    if len(bad):
        kind = "zero" if np.all(vectors[bad[0]] == 0) else "non-finite"
        raise EncoderError(
            f"The encoder gave a {kind} vector for {len(bad):,} of {len(texts):,} texts, first for "
            f"{shorten(texts[bad[0]])!r}. Nothing can be scored with it: remove the text, or use another "
            "precision or encoder."
        )


def round_ends(queries: int, settings: Settings) -> list[int]:
    """How many queries have been drawn after each round: 200, 400, 800, … up to all."""
    if not settings.until_decided:
        return [min(settings.sample or queries, queries)]
    ends = [_FIRST_ROUND * 2**step for step in range(max(1, math.ceil(math.log2(queries / _FIRST_ROUND))))]
    return [end for end in ends if end < queries] + [queries]
