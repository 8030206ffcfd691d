"""From tallies to a verdict: who is first, how sure that is, and what the trivial baselines say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from eci import metrics
from eci.intervals import Jackknife
from eci.results import Estimate, ScoreResult, SourceResult, count, number
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
# Fewer queries than this, and 95 % intervals hold the truth less often: benchmarks/intervals.py.
_FEW = 200


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
    looks, look : int
        How often the decision may be looked at, and which look this is, from 1.
    """

    sources: tuple[str, ...]
    own: tuple[Tally, ...]
    common: tuple[Tally, ...]
    group_sizes: Integers
    temperature: float
    looks: int = 1
    look: int = 1

    @cached_property
    def values(self) -> list[dict[str, Floats]]:
        """Every metric of every source, on all queries and without each group: shape (1 + GROUPS,)."""
        return [self._values(tally) for tally in self.own]

    @cached_property
    def common_values(self) -> list[dict[str, Floats]]:
        """The same over the queries that every source covers."""
        return [self._values(tally) for tally in self.common]

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
    replicates = np.array([values[metric] for values in scores.values])
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
        # A source without any value has lost; one without an interval has not.
        separated = difference - half > 0 and jackknife.groups >= _FEWEST_GROUPS
        if not separated and not math.isnan(replicates[other, 0]):
            rivals.append(other)
    return Decision(metric, order, jackknife, tuple(comparisons), tuple(rivals))


def ranking(values: Floats) -> tuple[int, ...]:
    """Indices of `values`, of shape (S,), from largest to smallest; NaN last, ties in order."""
    return tuple(int(place) for place in np.argsort(-values, kind="stable"))


def kendall(a: Floats, b: Floats) -> float:
    """Kendall's tau-b between two lists of values, of shape (S,); NaN where one of them is constant.

    Examples
    --------
    >>> round(kendall(np.array([3.0, 2.0, 1.0]), np.array([9.0, 7.0, 8.0])), 3)
    0.333
    """
    one, two = (np.sign(np.subtract.outer(values, values)) for values in (a, b))
    scale = math.sqrt(float((one**2).sum() * (two**2).sum()))
    return float((one * two).sum() / scale) if scale > 0 else math.nan


def summarise(
    scores: Scores, decision: Decision, *, seed: int, provenance: dict[str, dict[str, Any]]
) -> ScoreResult:
    """The result of scoring: sources best first, verdict, baselines, warnings.

    Parameters
    ----------
    scores, decision
        What was found.
    seed : int
        Of the draws behind ``probability_best``.
    provenance : dict
        ``encoder``, ``settings`` and ``data`` of the result.
    """
    probability = decision.jackknife.probability_first(seed)
    estimates = _estimates(scores.values, scores.group_sizes)
    common = _estimates(scores.common_values, scores.group_sizes)
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
                values=estimates[place],
                common=common[place],
            )
        )
    return ScoreResult(
        verdict=_verdict(scores, decision),
        decided=decision.decided,
        sources=tuple(sources),
        comparisons=decision.comparisons,
        baselines=_baselines(scores, decision),
        warnings=tuple(_warnings(sources, decision.metric, scores, provenance)),
        **provenance,
    )


def _estimates(values: list[dict[str, Floats]], sizes: Integers) -> list[dict[str, Estimate]]:
    found = []
    for source in values:
        replicates = np.array([source[name] for name in metrics.NAMES])
        jackknife = Jackknife.of(replicates, sizes)
        half = jackknife.half_widths()
        found.append(
            {
                name: _estimate(name, float(value), float(width))
                for name, value, width in zip(metrics.NAMES, jackknife.values, half, strict=True)
            }
        )
    return found


def _estimate(name: str, value: float, width: float) -> Estimate:
    """A value with its interval, which ends where the metric does."""
    least, most = metrics.BOUNDS.get(name, (0.0, math.inf))
    if math.isnan(width):
        return Estimate(value, math.nan, math.nan)
    return Estimate(value, min(max(value - width, least), value), max(min(value + width, most), value))


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
    return f"Not decided between {first} and {_list(rivals)} by {metric}: {told}."


def _difference(entry: dict[str, Any]) -> str:
    if math.isnan(entry["low"]):
        return f"{number(entry['difference'])} (no interval: too few queries)"
    return f"{number(entry['difference'])} ({number(entry['low'])} … {number(entry['high'])})"


def _list(labels: Sequence[str]) -> str:
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)


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


def _warnings(
    sources: list[SourceResult], metric: str, scores: Scores, provenance: dict[str, dict[str, Any]]
) -> list[str]:
    found = [*_fairness_warnings(sources, metric), *_label_warnings(sources, provenance["data"])]
    queries = int(scores.group_sizes.sum())
    if queries < _FEW:
        found.append(
            f"Only {count(queries, 'query')}: below {_FEW} the intervals are too narrow (docs/metrics.md)."
        )
    encoder = provenance["encoder"]
    if _model(encoder["target"]) != _model(encoder["name"]):
        found.append(
            f"Scored with {encoder['name']}, to fine-tune {encoder['target']}: a ranking by another encoder, "
            "above all of another family, need not hold for it."
        )
    return found + _null_warnings(sources)


def _model(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower()


def _null_warnings(sources: list[SourceResult]) -> list[str]:
    found = []
    for name in metrics.NAMES:
        lacking = [entry.source for entry in sources if math.isnan(entry.values[name].value)]
        if lacking:
            found.append(f"null: {name} of {_list(lacking)}: {_REASONS.get(name, 'no query has negatives')}.")
    bare = [entry.source for entry in sources if math.isnan(entry.values["signal"].low)]
    if bare:
        found.append(f"null: intervals of {_list(bare)}: its queries lie in fewer than two jackknife groups.")
    unsure = [entry.source for entry in sources if math.isnan(entry.probability_best)]
    if unsure:
        found.append(
            f"null: probability_best of {_list(unsure)}: no interval, or no other source to compare with."
        )
    return found


_REASONS = {
    "reranker_score": "the rows carry no score for positives and negatives by one scorer",
    "lexical_overlap_query": "the queries hold no words",
    "lexical_overlap_positive": "the positives hold no words",
}


def _fairness_warnings(sources: list[SourceResult], metric: str) -> list[str]:
    found = []
    sizes = {entry.source: entry.negatives / entry.queries for entry in sources if entry.queries}
    if sizes and max(sizes.values()) > 2 * min(sizes.values()):
        told = ", ".join(f"{source} {size:.1f}".removesuffix(".0") for source, size in sizes.items())
        found.append(
            f"N differs by more than 2× ({told}): ln(1+N) alone can make the ranking. "
            "Compare sources at equal N before believing it."
        )
    partial = [f"{entry.source} {entry.coverage:.1%}" for entry in sources if entry.coverage < 1]
    if partial:
        found.append(f"Not every query has negatives of every source ({', '.join(partial)} of the queries).")
        common = [entry.common[metric].value for entry in sources]
        if np.isnan(common).all():
            found.append(
                "No query is covered by every source: the sources are not compared on the same queries."
            )
        else:
            sign = -1.0 if metric in metrics.LOWER_IS_BETTER else 1.0
            best = sources[ranking(sign * np.array(common))[0]].source
            if best != sources[0].source:
                found.append(f"Over the queries that every source covers, {best} ranks first instead.")
    return found


def _label_warnings(sources: list[SourceResult], data: dict[str, Any]) -> list[str]:
    found = []
    above = {entry.source: entry.values["violation_rate"].value for entry in sources}
    told = [f"{source} {rate:.1%}" for source, rate in above.items() if rate > 0]
    if told:
        found.append(f"Negatives above their positive, perhaps false negatives: {', '.join(told)}.")
    equal = [f"{source} {times:,}" for source, times in data["identical_to_positive"].items() if times]
    if equal:
        found.append(f"Negatives identical to a positive of their query: {', '.join(equal)}. Remove them.")
    if data["empty_texts"]:
        found.append(f"Empty texts are among the queries and documents: {data['empty_texts']:,}.")
    return found
