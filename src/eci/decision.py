"""From tallies to a verdict: who is first, how sure that is, and what the trivial baselines say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from eci import metrics
from eci.cautions import cautions
from eci.intervals import Jackknife
from eci.metrics import alignment
from eci.ranking import kendall, ranking
from eci.results import Estimate, ScoreResult, SourceResult, listed, number, percent
from eci.tally import GROUPS, Tally
from eci.types import Floats, Integers

# What a ranking by the chosen metric is held against.
BASELINES = (
    "capacity",
    "signal",
    "margin_max",
    "arithmetic",
    "gradient_norm",
    "score_variance",
    "violation_rate",
    "infonce_loss",
    "lexical_overlap_query",
)

# Queries in fewer groups than this decide nothing: their spread says too little, or by chance is 0.
_FEWEST_GROUPS = 10


@dataclass(frozen=True)
class Scores:
    """Tallies of every source after some number of queries.

    Parameters
    ----------
    sources : tuple of S str
    own, common : tuple of S Tally
        Over each source's own queries, and over the queries that every source covers.
    group_sizes : ndarray of shape (GROUPS,)
        Queries scored, by jackknife group, whatever sources they have.
    temperature : float
        The τ that the tallies were made with.
    directions : callable
        Takes the number of a source; gives its metrics that no sums hold, each of shape (1 + GROUPS,):
        over its own queries, and over those that every source covers.
    looks, look : int
        How often the decision may be looked at, and which look this is, from 1.
    """

    sources: tuple[str, ...]
    own: tuple[Tally, ...]
    common: tuple[Tally, ...]
    group_sizes: Integers
    temperature: float
    directions: Callable[[int], tuple[Mapping[str, Floats], Mapping[str, Floats]]]
    looks: int = 1
    look: int = 1

    @cached_property
    def values(self) -> list[dict[str, Floats]]:
        """Every metric of every source, on all queries and without each group: shape (1 + GROUPS,)."""
        return [{**sums, **directed[0]} for sums, directed in zip(self._sums, self._directed, strict=True)]

    @cached_property
    def common_values(self) -> list[dict[str, Floats]]:
        """The same over the queries that every source covers."""
        return [
            {**self._values(tally), **directed[1]}
            for tally, directed in zip(self.common, self._directed, strict=True)
        ]

    def replicates(self, metric: str) -> Floats:
        """One metric of every source, of shape (S, 1 + GROUPS); the others are not computed for it."""
        if metric in metrics.OF_SUMS:
            return np.array([sums[metric] for sums in self._sums])
        return np.array([own[metric] for own, _ in self._directed])

    @cached_property
    def _directed(self) -> list[tuple[Mapping[str, Floats], Mapping[str, Floats]]]:
        return [self.directions(number) for number in range(len(self.sources))]

    @cached_property
    def _sums(self) -> list[dict[str, Floats]]:
        return [self._values(tally) for tally in self.own]

    def _values(self, tally: Tally) -> dict[str, Floats]:
        found = metrics.values(tally.replicates(), temperature=self.temperature)
        return {name: np.broadcast_to(column, (1 + GROUPS,)) for name, column in found.items()}


@dataclass(frozen=True)
class Decision:
    """The order of the sources by one metric, and which are separated from the first.

    Parameters
    ----------
    metric : str
    order : tuple of int
        Sources, best first; sources without a value come last.
    jackknife : Jackknife
        Of the sources in their own order, values negated where lower is better.
    comparisons : tuple of dict
        First minus other, in the metric's own sign, with its simultaneous interval.
    rivals : tuple of int
        Sources that are not separated from the first.
    """

    metric: str
    order: tuple[int, ...]
    jackknife: Jackknife
    comparisons: tuple[dict[str, Any], ...]
    rivals: tuple[int, ...]

    @property
    def decided(self) -> bool:
        """Whether the first source is separated from every other one."""
        return len(self.order) > 1 and not self.rivals


def decide(scores: Scores, metric: str, confidence: float) -> Decision:
    """Order the sources and separate the first from the others.

    The first source is compared with each other one by the paired jackknife. The error 1 − confidence
    is shared out over the comparisons and over all looks that might have been taken (Bonferroni).
    """
    sign = -1.0 if metric in metrics.LOWER_IS_BETTER else 1.0
    replicates = scores.replicates(metric)
    jackknife = Jackknife.of(sign * replicates, scores.group_sizes)
    order = ranking(sign * replicates[:, 0])
    level = 1 - (1 - confidence) / (max(1, len(order) - 1) * scores.looks)
    comparisons, rivals = [], []
    for other in order[1:]:
        difference, half = jackknife.difference(order[0], other, level)
        bounds = sorted((sign * (difference - half), sign * (difference + half)))
        comparisons.append(
            {
                "source": scores.sources[other],
                "difference": sign * difference,
                "low": bounds[0],
                "high": bounds[1],
                "confidence": level,
            }
        )
        # A source without any value has lost, unless more queries may give it one; one without an interval
        # has not.
        separated = difference - half > 0 and jackknife.groups >= _FEWEST_GROUPS
        if not separated and (metric in alignment.NAMES or not math.isnan(replicates[other, 0])):
            rivals.append(other)
    return Decision(metric, order, jackknife, tuple(comparisons), tuple(rivals))


def effects(scores: Scores, confidence: float) -> tuple[dict[str, Any], ...]:
    """Whether each source is expected to help or to hurt, compared with in-batch negatives alone.

    By the sign of ``alignment_gain``. The error 1 − confidence is shared out over the sources and over all
    looks that might have been taken (Bonferroni).
    """
    jackknife = Jackknife.of(scores.replicates("alignment_gain"), scores.group_sizes)
    level = 1 - (1 - confidence) / (len(scores.sources) * scores.looks)
    enough = jackknife.groups >= _FEWEST_GROUPS
    found = []
    for source, gain, half in zip(
        scores.sources, jackknife.values.tolist(), jackknife.half_widths(level).tolist(), strict=True
    ):
        interval = _estimate("alignment_gain", gain, half)
        verdict = "undecided"
        if enough and gain - half > 0:
            verdict = "help"
        elif enough and gain + half < 0:
            verdict = "hurt"
        found.append(
            {
                "source": source,
                "verdict": verdict,
                "gain": gain,
                "low": interval.low,
                "high": interval.high,
                "confidence": level,
            }
        )
    return tuple(found)


def summarise(
    scores: Scores,
    decision: Decision,
    *,
    seed: int,
    confidence: float,
    shortcuts: tuple[dict[str, Any], ...] = (),
    provenance: dict[str, dict[str, Any]],
) -> ScoreResult:
    """The result of scoring: sources best first, verdict, baselines, warnings.

    Parameters
    ----------
    scores, decision
        What was found.
    seed : int
        Of the draws behind ``probability_best``.
    confidence : float
        Of all effects together.
    shortcuts : tuple of dict
        Which pairs of sources can be told apart by origin.
    provenance : dict
        ``encoder``, ``settings`` and ``data`` of the result.
    """
    probability = decision.jackknife.probability_first(seed)
    own, common = (
        [estimates({name: found[name] for name in metrics.NAMES}, scores.group_sizes) for found in kind]
        for kind in (scores.values, scores.common_values)
    )
    total = int(scores.group_sizes.sum())
    sources = []
    for rank, place in enumerate(decision.order, start=1):
        queries = int(scores.own[place].total("queries"))
        sources.append(
            SourceResult(
                source=scores.sources[place],
                rank=rank,
                probability_best=float(probability[place]),
                queries=queries,
                negatives=int(scores.own[place].total("negatives")),
                coverage=queries / total,
                values=own[place],
                common=common[place],
            )
        )
    return ScoreResult(
        verdict=_verdict(scores, decision),
        decided=decision.decided,
        sources=tuple(sources),
        comparisons=decision.comparisons,
        baselines=_baselines(scores, decision),
        effects=effects(scores, confidence),
        shortcuts=shortcuts,
        warnings=tuple(cautions(sources, shortcuts, decision.metric, total, provenance)),
        **provenance,
    )


def estimates(replicates: Mapping[str, Floats], sizes: Integers) -> dict[str, Estimate]:
    """Values with 95 % intervals.

    Parameters
    ----------
    replicates : dict of str to ndarray of shape (1 + GROUPS,)
        Metrics on all queries and without each group.
    sizes : ndarray of shape (GROUPS,)
        Queries in each group.
    """
    jackknife = Jackknife.of(np.array(list(replicates.values())), sizes)
    return {
        name: _estimate(name, value, width)
        for name, value, width in zip(
            replicates, jackknife.values.tolist(), jackknife.half_widths().tolist(), strict=True
        )
    }


def _estimate(name: str, value: float, width: float) -> Estimate:
    """A value with its interval; both end where the metric does, which a cosine of few queries may not."""
    if math.isnan(value):
        return Estimate(math.nan, math.nan, math.nan)
    least, most = metrics.BOUNDS.get(name, (0.0, math.inf))
    low, middle, high = (min(max(end, least), most) for end in (value - width, value, value + width))
    return Estimate(middle, math.nan, math.nan) if math.isnan(width) else Estimate(middle, low, high)


def _verdict(scores: Scores, decision: Decision) -> str:
    first, metric = scores.sources[decision.order[0]], decision.metric
    value = decision.jackknife.values[decision.order[0]]
    if math.isnan(value):
        return f"Not decided: {metric} is undefined for every source."
    if len(decision.order) == 1:
        return f"Only one source, {first}: there is nothing to compare it with."
    beside = {entry["source"]: entry for entry in decision.comparisons}
    if decision.decided:
        second = beside[scores.sources[decision.order[1]]]
        return (
            f"{first} ranks first by {metric}, ahead of every other source; "
            f"it leads {second['source']} by {_difference(second)}."
        )
    rivals = [scores.sources[place] for place in decision.rivals]
    told = "; ".join(f"{first} minus {rival} is {_difference(beside[rival])}" for rival in rivals[:3])
    if decision.jackknife.groups < _FEWEST_GROUPS:
        told += "; so few queries decide nothing"
    return f"Not decided between {first} and {listed(rivals)} by {metric}: {told}."


def _difference(entry: dict[str, Any]) -> str:
    if math.isnan(entry["low"]):
        return f"{number(entry['difference'])} (no interval: too few queries)"
    return (
        f"{number(entry['difference'])} ({percent(entry['confidence'])} interval {number(entry['low'])} … "
        f"{number(entry['high'])})"
    )


def _baselines(scores: Scores, decision: Decision) -> tuple[dict[str, Any], ...]:
    chosen = decision.jackknife.values
    found = []
    for name in BASELINES if len(chosen) > 1 else ():
        sign = -1.0 if name in metrics.LOWER_IS_BETTER else 1.0
        values = sign * np.array([source[name][0] for source in scores.values])
        if name != decision.metric and not np.isnan(values).any():
            first = scores.sources[ranking(values)[0]]
            found.append({"metric": name, "first": first, "kendall": kendall(chosen, values)})
    return tuple(found)
