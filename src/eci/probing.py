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

from eci.errors import EciError, EncoderError
from eci.examples import Examples
from eci.intervals import Jackknife
from eci.metrics import probe as core
from eci.probe_material import Material, ProbeSettings
from eci.probed import ProbedSource, ProbeResult, cautions, sentence, verdict_of
from eci.ragged import Ragged, divide
from eci.ranking import ranking
from eci.results import Estimate
from eci.settings import Corpora
from eci.tally import GROUPS, Tally
from eci.types import Encoder, Floats, Integers, Progress, silent

# Queries in fewer groups than this decide nothing, as in eci.decision.
_FEWEST_GROUPS = 10
_UNKNOWN = Estimate(math.nan, math.nan, math.nan)


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
    material = Material.of(examples, encoder, settings, corpora or Corpora(), progress)
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
            "found": (corpora or Corpora()).found(examples),
            "seconds_choosing": choosing,
            "notes": list(_notes(material, len(examples.queries), corpora or Corpora())),
        },
    )
    return replace(result, warnings=tuple(cautions(result)))


@dataclass(frozen=True)
class _Lesson:
    """What the trainings with one source taught, averaged over seeds; `ndcg` of shape (Q,)."""

    ndcg: Floats
    before: float
    after: float
    seconds: float


def _lesson(
    material: Material, negatives: Ragged, choices: dict[int, core.Choice], settings: ProbeSettings
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

    def __init__(self, material: Material, lessons: Sequence[_Lesson], confidence: float) -> None:
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


def _notes(material: Material, queries: int, corpora: Corpora) -> Iterator[str]:
    probed, pool, known = len(material.groups), len(material.task.pool), material.searched
    if probed < queries:
        yield f"{probed:,} of {queries:,} queries were drawn"
    if pool < known:
        yield f"{pool:,} of {known:,} documents are ranked: all positives, others drawn as there is room"
    elif not corpora.candidates:
        yield f"the {pool:,} documents of the rows are ranked; --candidates ranks those of a corpus instead"
    elif beyond := material.embedded["documents"] - pool:
        yield f"{beyond:,} texts of negatives that the candidates lack: trained with, not ranked"
