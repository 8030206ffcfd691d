"""The first thing on the page: which source leads, how sure that is, what speaks against it."""

from __future__ import annotations

import math

from eci import metrics
from eci.report.costing import surer
from eci.report.data import Column, Decision, Table, visible
from eci.report.measured import KENDALL
from eci.results import Estimate, ScoreResult, SourceResult, count, listed, number

# More pairs than this, and they are told together.
_MOST_PAIRS = 2
_EFFECTS = {"help": "expected to help", "hurt": "expected to hurt", "undecided": "undecided"}
# Other readings of the same negatives, and metrics in which the margin of the hardest negative counts.
_OTHERS = ("eci", "eci_sem", "alignment_gain", "capacity")
_BY_MARGIN = ("eci", "eci_query", "efficiency", "margin_max")
# A probability that rounds to 1.00 is not certainty.
_SURE = 0.995


def decision(result: ScoreResult, others: tuple[tuple[str, str], ...] = ()) -> Decision:
    """What a reader decides on, of one result.

    Parameters
    ----------
    result : ScoreResult
    others : tuple of (str, str)
        Sentences about what `result` does not know.
    """
    return Decision(
        headline=_headline(result),
        decided=result.decided,
        caution=_caution(result),
        sentences=(
            ("By the figures", visible(result.verdict)),
            *((("Against in-batch negatives alone", _effects(result)),) if result.effects else ()),
            *_beside(result),
            ("To be surer", surer(result)),
            *others,
        ),
        leaderboard=leaderboard(result),
        warnings=_warnings(result),
    )


def leaderboard(result: ScoreResult) -> Table:
    """The sources, best first, with intervals, and what each is expected to add to in-batch negatives."""
    metric = str(result.settings["metric"])
    effects = {entry["source"]: entry for entry in result.effects}
    columns = (
        Column("", "count", told="Rank"),
        Column("Source"),
        Column(metric, "interval", 4, "Value, and its 95 % interval"),
        Column("95 % interval", "bar", 4, "The same, drawn on one scale for all sources"),
        Column("P(first)", "number", 2, "Probability that the source ranks first by this metric"),
        Column("In-batch +", "light", told="Expected to help or to hurt, beside in-batch negatives alone"),
        Column("N", "number", 1, "Negatives of a query that has any"),
        Column("Queries", "count", told="Queries that have negatives of the source"),
    )
    rows = tuple(
        (
            entry.rank,
            visible(entry.source),
            triple(entry.values[metric]),
            triple(entry.values[metric]),
            entry.probability_best,
            effects[entry.source]["verdict"] if entry.source in effects else "unknown",
            per_query(entry),
            entry.queries,
        )
        for entry in result.sources
    )
    return Table("leaderboard", f"Sources by {metric}", columns, rows)


def triple(estimate: Estimate) -> tuple[float, float, float]:
    """A cell of kind ``interval``."""
    return estimate.value, estimate.low, estimate.high


def per_query(entry: SourceResult) -> float:
    """Negatives of a query that has any; NaN where none has."""
    return entry.negatives / entry.queries if entry.queries else math.nan


def probability(value: float) -> str:
    """A probability in a sentence; none is certain."""
    if math.isnan(value):
        return "without a probability"
    return "with a probability above 0.99" if value > _SURE else f"with a probability of {value:.2f}"


def _warnings(result: ScoreResult) -> tuple[str, ...]:
    """What bears on the decision; of many pairs of sources that can be told apart one sentence speaks."""
    told = [text for text in result.warnings if not text.startswith("null: ")]
    apart = [entry for entry in result.shortcuts if entry["light"] in ("suspicious", "separable")]
    if len(apart) > _MOST_PAIRS:
        begins = tuple(f"{entry['first']} and {entry['second']} differ in " for entry in apart)
        told = [text for text in told if not text.startswith(begins)]
        pairs = [f"{entry['first']} / {entry['second']}" for entry in apart]
        told.append(
            f"{len(apart)} of {count(len(result.shortcuts), 'pair')} of sources can be told apart whatever "
            "the query: trained together, a model can learn the source instead of relevance "
            f"({', '.join(pairs)})."
        )
    return tuple(visible(text) for text in told)


def _headline(result: ScoreResult) -> str:
    metric, best = result.settings["metric"], result.best
    name = visible(best.source)
    if math.isnan(best.values[metric].value):
        return f"Not decided: {metric} is undefined for every source."
    if len(result.sources) == 1:
        return f"Only one source, {name}: there is nothing to compare it with."
    effect = {entry["source"]: entry["verdict"] for entry in result.effects}.get(best.source)
    # A reader of the headline alone must not train on what is expected to do harm.
    told = f"; against in-batch negatives alone it is {_EFFECTS[effect]}" if effect else ""
    sure = probability(best.probability_best)
    if any(math.isnan(entry.probability_best) for entry in result.sources) and best.probability_best > 0:
        sure += " among the sources that have an interval"
    if result.decided:
        return f"{name} leads by {metric}, {sure}{told}."
    return f"Not decided by {metric}: {name} is ahead, {sure}{told}."


def _effects(result: ScoreResult) -> str:
    rank = {entry.source: entry.rank for entry in result.sources}
    found = sorted(result.effects, key=lambda entry: rank[entry["source"]])
    by_verdict = {
        verdict: [visible(entry["source"]) for entry in found if entry["verdict"] == verdict]
        for verdict in _EFFECTS
    }
    told = [
        f"{_some(labels)} {'is' if len(labels) == 1 else 'are'} {_EFFECTS[verdict]}"
        for verdict, labels in by_verdict.items()
        if labels
    ]
    return (
        f"{'; '.join(told)}. By the alignment of a training step with held-out queries, whose sign was right "
        "in 35 of 42 cases held against training (docs/validation.md)."
    )


def _some(labels: list[str]) -> str:
    return listed(labels) if len(labels) <= 4 else f"{', '.join(labels[:3])} and {len(labels) - 3} more"


def _caution(result: ScoreResult) -> str:
    metric = str(result.settings["metric"])
    told = f"{_range(KENDALL[metric])}; " if metric in KENDALL and metric != "capacity" else ""
    return (
        f"A ranking by {metric} describes these negatives; it is not known to predict training. In five "
        "experiments with 14 sources each (docs/validation.md) it agreed with what training gave, by "
        f"Kendall's τ (0 is chance, 1 the same order), {told}the number of negatives alone "
        f"{_range(KENDALL['capacity'])}, eci probe {_range(KENDALL['probe'])}. Run eci probe on these files "
        "before you train."
    )


def _range(values: tuple[float, ...]) -> str:
    return f"{min(values):+.2f} … {max(values):+.2f}"


def _beside(result: ScoreResult) -> list[tuple[str, str]]:
    """What other metrics put first, why an easy source can lead, and the ranking on equal queries."""
    metric, best = str(result.settings["metric"]), result.best
    told = []
    found = ((name, _first_by(result, name)) for name in _OTHERS if name != metric)
    firsts = [f"{visible(first)} by {name}" for name, first in found if first is not None]
    if len(result.sources) > 1 and firsts:
        text = f"First is {', '.join(firsts)}."
        signal = {entry.source: entry.values["signal"].value for entry in result.sources}
        if metric in _BY_MARGIN and signal[best.source] == min(signal.values()):
            text += (
                f" {visible(best.source)} has the negatives least similar to their queries, and leads by "
                "margin: one negative above its positive sets that of a query to 0, so easy negatives win."
            )
        told.append(("By other metrics", text))
    partial = any(entry.coverage < 1 for entry in result.sources)
    common = [entry for entry in result.sources if not math.isnan(entry.common[metric].value)]
    if partial and len(common) > 1:
        sign = -1.0 if metric in metrics.LOWER_IS_BETTER else 1.0
        common.sort(key=lambda entry: -sign * entry.common[metric].value)
        shown = ", ".join(
            f"{visible(entry.source)} {number(entry.common[metric].value)} "
            f"({number(entry.common[metric].low)} … {number(entry.common[metric].high)})"
            for entry in common[:3]
        )
        told.append(("Over the queries that all sources cover", f"{metric} {shown}."))
    return told


def _first_by(result: ScoreResult, metric: str) -> str | None:
    """The source that a metric puts first; None where it is undefined for one."""
    values = [entry.values[metric].value for entry in result.sources]
    if any(map(math.isnan, values)):
        return None
    chosen = min if metric in metrics.LOWER_IS_BETTER else max
    return result.sources[values.index(chosen(values))].source
