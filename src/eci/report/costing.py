"""What it would cost to be surer: how many more queries, if differences stay what they are."""

from __future__ import annotations

import math
from typing import Any

from eci.report.data import visible
from eci.results import ScoreResult, count

# Beyond this many times the queries nobody would call two sources undecided for want of queries.
HOPELESS = 100


def surer(result: ScoreResult) -> str:
    """What it takes to decide what is open: the first place, and help or hurt."""
    queries, rows = result.settings["queries_scored"], result.data["queries"]
    spare = (
        f"The rows hold {rows:,}: --all scores them."
        if rows > queries
        else "The rows hold no more: it takes rows of further queries."
    )
    rivals = [entry for entry in result.comparisons if not _separated(entry)]
    told = [(visible(entry["source"]), entry["difference"], entry["low"], entry["high"]) for entry in rivals]
    found = []
    if not result.decided and told:
        found.append(f"separate {visible(result.best.source)} from {_each(queries, told)}")
    rank = {entry.source: entry.rank for entry in result.sources}
    open_ = sorted(
        (entry for entry in result.effects if entry["verdict"] == "undecided"),
        key=lambda entry: rank[entry["source"]],
    )
    gains = [(visible(entry["source"]), entry["gain"], entry["low"], entry["high"]) for entry in open_]
    # Of rows beyond memory the gains are of those in memory, and more rows change nothing.
    if gains and "in_memory" not in result.data:
        found.append(f"tell help from hurt for {_each(queries, gains)}")
    scored = f"{count(queries, 'query')} {'was' if queries == 1 else 'were'} scored."
    if not found:
        return f"{scored} Four times as many halve intervals. {spare}"
    return (
        f"{scored} Further queries for an even chance, if differences stay what they are, to "
        f"{'; to '.join(found)}. {spare}"
    )


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


def _each(queries: int, told: list[tuple[str, Any, Any, Any]]) -> str:
    """For some sources, how many more queries it takes to separate a difference from 0."""
    shown = [f"{label} {_more(queries, *interval)}" for label, *interval in told[:3]]
    return ", ".join(shown) + (f", and {len(told) - 3} more likewise" if len(told) > 3 else "")


def _more(queries: int, *interval: float | None) -> str:
    difference, low, high = (math.nan if end is None else end for end in interval)
    found = needed(queries, difference, low, high)
    if math.isnan(found):
        return "(no interval, too few queries)"
    if found > HOPELESS * queries:
        return f"more than {HOPELESS} times as many"
    return f"about {further(queries, found):,}"


def further(queries: int, found: float) -> int:
    """How many more than `queries` are `found` of them, told to two digits."""
    return rounded(max(1.0, found - queries))


def _separated(entry: dict[str, Any]) -> bool:
    low, high = entry["low"], entry["high"]
    return low is not None and not math.isnan(low) and (low > 0 or high < 0)
