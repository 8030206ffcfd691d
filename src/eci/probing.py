"""Examples and an encoder in, a probe of every source out: see `eci.metrics.probe`.

Sources are compared on the same held-out queries, with the same folds, seeds and positives, and in-batch
negatives alone, ``none``, are trained beside them. Nothing here depends on the order of the rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from eci import metrics
from eci.directions import drawn_order
from eci.embedding import Embedded
from eci.errors import EciError, EncoderError
from eci.examples import Examples
from eci.intervals import Jackknife
from eci.metrics import probe as core
from eci.probed import FEW, ProbedSource, ProbeResult, cautions, sentence, verdict_of
from eci.ragged import Ragged, divide
from eci.ranking import ranking
from eci.results import Estimate, count
from eci.settings import Corpora
from eci.tally import GROUPS, Tally
from eci.types import Encoder, Flags, Floats, Integers, Progress, silent

# Queries in fewer groups than this decide nothing, as in eci.decision.
_FEWEST_GROUPS = 10
# Two folds at a time are left out of what chooses the learning rate, and one more has to remain.
_FEWEST_FOLDS = 3
# With fewer queries that remember no document, all choose the learning rate: so few would choose by chance.
_FEWEST_UNSEEN = 100
_UNKNOWN = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class ProbeSettings:
    """How to probe; stored in every result.

    Parameters
    ----------
    sample : int
        At most so many queries, drawn at random, are trained on and held out.
    pool : int
        At most so many documents are ranked: every positive, and others, drawn.
    hard_negatives : int
        At most so many negatives of a source are drawn for a query, anew in each epoch; best as many as a row
        of the training will have.
    batch : int
        Queries of a training batch.
    temperature : float
        τ.
    rates, epochs : tuple
        What the learning rate and the number of epochs are chosen from, ascending; see
        ``eci.metrics.probe.Choice``. By the queries whose positives are none in training, where 100 or more
        are so, else by all; ``data["chosen_by"]`` of the result says by which.
    folds : int
        Parts that the queries are held out in; each is a union of jackknife groups.
    seeds : int
        How many trainings are averaged: with `seed`, `seed` + 1, …
    seed : int
    confidence : float
        Of all verdicts together.
    """

    sample: int = 4000
    pool: int = 20_000
    hard_negatives: int = 1
    batch: int = 32
    temperature: float = 0.05
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    epochs: tuple[int, ...] = (2, 4, 8)
    folds: int = 5
    seeds: int = 3
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("sample", "pool", "hard_negatives", "seeds"):
            if getattr(self, name) < 1:
                raise EciError(f"{name} is at least 1, got {getattr(self, name)}")
        if self.batch < 2:
            raise EciError(f"a batch holds at least 2 queries, got {self.batch}: of 1 nothing is in-batch")
        if not _FEWEST_FOLDS <= self.folds <= GROUPS:
            raise EciError(f"folds lie between {_FEWEST_FOLDS} and {GROUPS}, got {self.folds}")
        low, high = metrics.TEMPERATURES
        if not low <= self.temperature <= high or not 0 < self.confidence < 1 or self.seed < 0:
            raise EciError(
                f"temperature lies between {low} and {high}, confidence between 0 and 1, seed at 0 or above"
            )
        for name, steps in (("rates", self.rates), ("epochs", self.epochs)):
            if not steps or min(steps) <= 0 or list(steps) != sorted(set(steps)):
                raise EciError(f"{name} are positive numbers, ascending, got {steps}")


def probe(
    examples: Examples,
    encoder: Encoder,
    settings: ProbeSettings | None = None,
    progress: Progress = silent,
    corpora: Corpora | None = None,
) -> ProbeResult:
    """Train a linear map with the negatives of each source, and try it on held-out queries.

    Parameters
    ----------
    examples : Examples
    encoder : Encoder
        Frozen; best the one about to be fine-tuned.
    settings : ProbeSettings, optional
    progress : Progress
    corpora : Corpora, optional
        ``candidates`` are ranked, and all positives; without them every document of the rows.

    Returns
    -------
    ProbeResult
        Best source first.

    Raises
    ------
    EciError
        There is no negative, or there are too few queries.
    EncoderError
        The encoder gave unusable vectors.
    """
    settings = settings or ProbeSettings()
    if not examples.sources:
        raise EciError(
            "No row has a negative. A probe compares sources of hard negatives; the rows hold none."
        )
    if not isinstance(encoder, Encoder):
        raise EncoderError(
            f"{type(encoder).__name__} is no encoder: it needs the methods encode_query and encode_document."
        )
    material = _Material.of(examples, encoder, settings, corpora or Corpora(), progress)
    started = time.perf_counter()
    grid = core.Grid(settings.rates, settings.epochs, material.strangers)
    choices = core.chosen(material.task, material.folds, material.plan, grid, settings.seed, progress)
    choosing = time.perf_counter() - started
    lessons: list[_Lesson] = []
    for negatives in material.negatives:
        progress("probing sources", len(lessons), len(material.negatives))
        lessons.append(_lesson(material, negatives, choices, settings))
    progress("probing sources", len(lessons), len(lessons))
    compared = _Compared(material, lessons, settings.confidence)
    none, *sources = (compared.source(place) for place in range(len(lessons)))
    ranked = tuple(sources[place] for place in compared.order)
    described: dict[str, Any] = {"name": type(encoder).__name__, **getattr(encoder, "describe", dict)()}
    result = ProbeResult(
        verdict=sentence(ranked, compared.comparisons()),
        sources=ranked,
        none=none,
        untrained=compared.untrained(),
        comparisons=compared.comparisons(),
        chosen=tuple({"fold": fold, **asdict(choice)} for fold, choice in choices.items()),
        encoder=described,
        settings={
            **asdict(settings),
            "groups": GROUPS,
            "interval": "delete-a-group jackknife over held-out queries, Student's t",
        },
        data={
            "rows": examples.rows,
            "queries": len(examples.queries),
            "documents": len(examples.documents),
            "negatives": len(examples.source),
            "embedded": material.embedded,
            "probed": len(material.groups),
            "unseen": int(material.unseen.sum()),
            "chosen_by": "unseen" if material.strangers else "all",
            "pool": len(material.task.pool),
            "seconds_choosing": choosing,
            "notes": list(_notes(material, len(examples.queries), corpora or Corpora())),
        },
    )
    return replace(result, warnings=tuple(cautions(result)))


@dataclass(frozen=True)
class _Material:
    """What is trained on and ranked, in an order that does not depend on how it was read.

    Parameters
    ----------
    labels : tuple of 1 + S str
        ``none`` and the sources.
    negatives : tuple of 1 + S Ragged of Q rows
        Of ``none``, empty, and of each source: indices into the documents of the task.
    task : core.Task
    plan : core.Plan
    groups, folds : ndarray of shape (Q,)
    unseen : ndarray of shape (Q,)
        Queries none of whose positives is one in training.
    embedded : dict
        How many texts were asked of the encoder, by role.
    searched : int
        Documents that may be ranked.
    """

    labels: tuple[str, ...]
    negatives: tuple[Ragged, ...]
    task: core.Task
    plan: core.Plan
    groups: Integers
    folds: Integers
    unseen: Flags
    embedded: dict[str, int]
    searched: int

    @property
    def strangers(self) -> bool:
        """Whether so many are unseen that they choose the learning rate of every fold."""
        others = (self.unseen & (self.folds != fold) for fold in np.unique(self.folds))
        return min(int(of_fold.sum()) for of_fold in others) >= _FEWEST_UNSEEN

    @classmethod
    def of(
        cls,
        examples: Examples,
        encoder: Encoder,
        settings: ProbeSettings,
        corpora: Corpora,
        progress: Progress,
    ) -> _Material:
        queries = drawn_order(examples.keys, settings.seed)[: settings.sample]
        candidates = drawn(corpora.candidates, settings)
        groups = np.array([int.from_bytes(examples.keys[query][:8], "big") % GROUPS for query in queries])
        folds = groups % settings.folds
        if len(np.unique(folds)) < _FEWEST_FOLDS:
            raise EciError(
                f"{count(len(queries), 'query')} cannot be probed: queries are held out in folds, and these "
                f"fall into fewer than {_FEWEST_FOLDS}. Give more labelled queries, best {FEW} or more."
            )
        embedded = Embedded(examples, encoder, candidates)
        progress("embedding", 0, 0)
        embedded.prepare(queries)
        by_text, searched = embedded.by_text(), embedded.searched()
        positives = _in_order(examples.positives.take(queries), by_text)
        positives = positives.keep(~_repeated(positives))
        answers = np.unique(positives.values).tolist()
        places = examples.negatives.with_values(np.arange(len(examples.source))).take(queries)
        source, of_all = examples.source[places.values], examples.negatives.values[places.values]
        return cls(
            labels=("none", *examples.sources),
            negatives=tuple(
                _in_order(places.with_values(of_all).keep(source == number), by_text)
                for number in range(-1, len(examples.sources))
            ),
            task=core.Task(
                embedded.queries[queries],
                embedded.documents,
                positives,
                _pool(searched, positives.values, settings),
            ),
            plan=core.Plan(settings.batch, settings.hard_negatives, settings.temperature),
            groups=groups,
            folds=folds,
            unseen=core.unseen(positives, folds, len(embedded.documents)),
            embedded=embedded.asked,
            searched=len({*corpora.candidates, *(examples.documents[place] for place in answers)})
            if corpora.candidates
            else len(searched),
        )


def drawn(candidates: Sequence[str], settings: ProbeSettings) -> Sequence[str]:
    """As many candidates as may be ranked, in the order they have; none other needs a vector."""
    places = np.random.default_rng(settings.seed).permutation(len(candidates))[: settings.pool]
    return [candidates[place] for place in np.sort(places).tolist()]


def _in_order(rows: Ragged, by_text: Integers) -> Ragged:
    """The same documents of each row, in the order of `by_text`."""
    rank = np.empty(by_text.max() + 1, dtype=np.int64)
    rank[by_text] = np.arange(len(by_text))
    return rows.with_values(rows.values[np.lexsort((rank[rows.values], rows.rows))])


def _repeated(rows: Ragged) -> Flags:
    """Which values of sorted rows stand there already, of shape (n,)."""
    found = np.zeros(len(rows.values), dtype=np.bool_)
    found[1:] = (rows.values[1:] == rows.values[:-1]) & (rows.rows[1:] == rows.rows[:-1])
    return found


def _pool(searched: Integers, positives: Integers, settings: ProbeSettings) -> Integers:
    """The documents that are ranked: all positives, and as many others as there is room for, drawn."""
    kept = np.isin(searched, positives)
    others, room = np.flatnonzero(~kept), max(0, settings.pool - int(kept.sum()))
    drawn = np.random.default_rng(settings.seed).permutation(others)[:room]
    kept[drawn] = True
    return searched[kept]


@dataclass(frozen=True)
class _Lesson:
    """What the trainings with one source taught, averaged over seeds; `ndcg` of shape (Q,)."""

    ndcg: Floats
    before: float
    after: float
    seconds: float


def _lesson(
    material: _Material, negatives: Ragged, choices: dict[int, core.Choice], settings: ProbeSettings
) -> _Lesson:
    started = time.perf_counter()
    found = [
        core.tried(material.task, material.folds, negatives, material.plan, choices, seed)
        for seed in range(settings.seed, settings.seed + settings.seeds)
    ]
    ndcg = np.mean([entry.ndcg for entry in found], axis=0)
    before, after = np.mean([(entry.before, entry.after) for entry in found], axis=0).tolist()
    return _Lesson(ndcg, before, after, time.perf_counter() - started)


class _Compared:
    """Means over held-out queries and their differences, with paired intervals."""

    def __init__(self, material: _Material, lessons: Sequence[_Lesson], confidence: float) -> None:
        self._material, self._lessons, self._confidence = material, lessons, confidence
        task, dimension = material.task, material.task.queries.shape[1]
        still = np.zeros((dimension, dimension), dtype=np.float32)
        untrained = core.ndcg(still, task, np.arange(len(material.groups)))
        values = [*(lesson.ndcg for lesson in lessons), untrained]
        self._all = _jackknife(values, material.groups)
        self._unseen = _jackknife([of[material.unseen] for of in values], material.groups[material.unseen])
        # Places among the sources, which stand between none and the untrained encoder.
        self.order = ranking(self._all.values[1:-1])

    def untrained(self) -> Estimate:
        """NDCG@10 of the encoder as it is."""
        return self._mean(-1)

    def source(self, place: int) -> ProbedSource:
        """A source against ``none``, or ``none``, which is at 0, against the untrained encoder."""
        lesson, negatives = self._lessons[place], self._material.negatives[place]
        share = len(self._lessons) - 1 if place else 1
        other, level = 0 if place else -1, 1 - (1 - self._confidence) / share
        gain, gain_unseen = (_gap(of, place, other, level) for of in (self._all, self._unseen))
        covered = int((negatives.lengths > 0).sum())
        return ProbedSource(
            source=self._material.labels[place],
            verdict=verdict_of(gain) if self._all.groups >= _FEWEST_GROUPS else "undecided",
            queries=covered,
            negatives=len(negatives.values),
            coverage=covered / len(negatives),
            ndcg=self._mean(place),
            gain=gain,
            gain_unseen=gain_unseen if self._unseen.groups >= _FEWEST_GROUPS else _UNKNOWN,
            loss_before=lesson.before,
            loss_after=lesson.after,
            seconds=lesson.seconds,
        )

    def comparisons(self) -> tuple[dict[str, Any], ...]:
        """The first source minus each other one."""
        first, *others = (place + 1 for place in self.order)
        level = 1 - (1 - self._confidence) / max(1, len(others))
        found = []
        for other in others:
            gap = _gap(self._all, first, other, level)
            entry = {"difference": gap.value, "low": gap.low, "high": gap.high, "confidence": level}
            found.append({"source": self._material.labels[other], **entry})
        return tuple(found)

    def _mean(self, place: int) -> Estimate:
        value, half = (float(column[place]) for column in (self._all.values, self._all.half_widths()))
        if math.isnan(half):
            return Estimate(value, math.nan, math.nan)
        return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def _jackknife(values: Sequence[Floats], groups: Integers) -> Jackknife:
    """Of the means of several figures of the same queries."""
    sums = Tally.of(groups, {str(place): each for place, each in enumerate(values)}).replicates()
    counts = Tally.of(groups, {"queries": np.ones(len(groups))}).replicates()["queries"]
    replicates = np.array([divide(column, counts) for column in sums.values()])
    return Jackknife.of(replicates, np.bincount(groups, minlength=GROUPS))


def _gap(jackknife: Jackknife, one: int, other: int, confidence: float) -> Estimate:
    value, half = jackknife.difference(one, other, confidence)
    return Estimate(value, value - half, value + half)


def _notes(material: _Material, queries: int, corpora: Corpora) -> Iterator[str]:
    probed, pool, known = len(material.groups), len(material.task.pool), material.searched
    if probed < queries:
        yield f"{probed:,} of {queries:,} queries were drawn"
    if pool < known:
        yield f"{pool:,} of {known:,} documents are ranked: all positives, and others drawn"
    elif not corpora.candidates:
        yield f"the {pool:,} documents of the rows are ranked; --candidates ranks those of a corpus instead"
    elif beyond := material.embedded["documents"] - pool:
        yield f"{count(beyond, 'negative')} that the candidates lack: trained with, not ranked"
