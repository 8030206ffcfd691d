"""The first thing on the page: which source leads, how sure that is, what speaks against it."""

from __future__ import annotations

import math
from typing import Any

from eci.report.data import Column, Decision, Table, visible
from eci.report.measured import KENDALL, NOISE_ALLOWS
from eci.results import Estimate, ScoreResult, SourceResult, count, listed, number

# Beyond this many times the queries nobody would call two sources undecided for want of queries.
_HOPELESS = 100
# More pairs than this, and they are told together.
_MOST_PAIRS = 2
_EFFECTS = {"help": "expected to help", "hurt": "expected to hurt", "undecided": "undecided"}
# A probability that rounds to 1.00 is not certainty.
_SURE = 0.995


def decision(result: ScoreResult) -> Decision:
    """What a reader decides on, of one result."""
    return Decision(
        headline=_headline(result),
        decided=result.decided,
        caution=_caution(result),
        sentences=(
            ("By the figures", visible(result.verdict)),
            ("Against in-batch negatives alone", _effects(result)),
            ("To be surer", _surer(result)),
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
        )
        for entry in result.sources
    )
    return Table("leaderboard", f"Sources by {metric}", columns, rows)


def needed(queries: int, difference: float, low: float, high: float) -> float:
    """Queries at which a difference has an even chance to leave 0, if it stays what it is.

    Half widths shrink with the square root of the queries.

    Parameters
    ----------
    queries : int
        Behind the interval.
    difference, low, high : float
        An estimate and its interval.

    Returns
    -------
    float
        Infinite where the difference is 0, NaN where there is no interval.

    Examples
    --------
    >>> needed(100, 0.1, -0.1, 0.3)
    400.0
    """
    half = max(high - difference, difference - low)
    if math.isnan(half):
        return math.nan
    return queries * (half / abs(difference)) ** 2 if difference else math.inf


def rounded(value: float) -> int:
    """A number of queries to two digits, upwards: a projection has no more.

    Examples
    --------
    >>> rounded(2594.2), rounded(7.1)
    (2600, 8)
    """
    size = int(10 ** max(0, math.floor(math.log10(value)) - 1))
    return math.ceil(value / size) * size


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
    if result.decided:
        return f"{name} leads by {metric}, {sure}{told}."
    return f"Not decided by {metric}: {name} is ahead, {sure}{told}."


def _effects(result: ScoreResult) -> str:
    by_verdict = {
        verdict: [visible(entry["source"]) for entry in result.effects if entry["verdict"] == verdict]
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
    told = f"{metric} {_range(KENDALL[metric])}, " if metric in KENDALL and metric != "capacity" else ""
    return (
        f"A ranking by {metric} describes these negatives; it is not known to predict training. Kendall's τ "
        "with nDCG@10 after training on 14 sources, lowest to highest of five cases (docs/validation.md): "
        f"{told}ln(1+N) alone {_range(KENDALL['capacity'])}, eci probe {_range(KENDALL['probe'])}, where "
        f"noise allows {_range(NOISE_ALLOWS)}. Run eci probe on these files before you train."
    )


def _range(values: tuple[float, ...]) -> str:
    return f"{min(values):+.2f} … {max(values):+.2f}"


def _surer(result: ScoreResult) -> str:
    queries, rows = result.settings["queries_scored"], result.data["queries"]
    spare = f" The rows hold {rows:,}: --all scores them." if rows > queries else ""
    rivals = [entry for entry in result.comparisons if not _separated(entry)]
    if result.decided or not rivals:
        return (
            f"{count(queries, 'query')} {'was' if queries == 1 else 'were'} scored. "
            f"Four times as many halve every interval.{spare}"
        )
    told = [f"{visible(entry['source'])}: {_more(queries, entry)}" for entry in rivals[:3]]
    rest = f"; {len(rivals) - 3} more sources likewise" if len(rivals) > 3 else ""
    return (
        f"Queries for an even chance to separate {visible(result.best.source)} from each rival, if their "
        f"difference stays what it is ({queries:,} scored): {'; '.join(told)}{rest}.{spare}"
    )


def _separated(entry: dict[str, Any]) -> bool:
    low, high = entry["low"], entry["high"]
    return low is not None and not math.isnan(low) and (low > 0 or high < 0)


def _more(queries: int, entry: dict[str, Any]) -> str:
    difference, low, high = (
        math.nan if entry[name] is None else entry[name] for name in ("difference", "low", "high")
    )
    found = needed(queries, difference, low, high)
    if math.isnan(found):
        return "no interval, too few queries"
    if found > _HOPELESS * queries:
        return f"more than {_HOPELESS} times as many ({number(difference)} apart)"
    return f"about {rounded(found):,}"
