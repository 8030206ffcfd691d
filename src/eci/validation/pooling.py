"""Agreements on several collections, taken together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eci.errors import DataError
from eci.results import Estimate, listed, plain
from eci.validation.agreement import Agreement, best_first
from eci.validation.observations import VERDICTS
from eci.validation.resampling import Share


@dataclass(frozen=True)
class Averaged:
    """A figure over collections, each weighing the same.

    Parameters
    ----------
    mean : float
        NaN without any.
    low, high : float
        95 % interval for these collections, whose errors are independent: distances of the single limits add
        as squares (MOVER; Zou and Donner, Statistics in Medicine 2008). NaN where one of them has none.
    values : dict of str to float
        By collection; those where it is undefined are not among them.
    without : dict of str to float
        The mean when one collection is left out, by that collection; empty below two.
    """

    mean: float
    low: float
    high: float
    values: dict[str, float]
    without: dict[str, float]

    @classmethod
    def of(cls, found: Iterable[tuple[str, Estimate]]) -> Averaged:
        """From estimates by collection.

        Examples
        --------
        >>> found = Averaged.of([("a", Estimate(1.0, 0, 2)), ("b", Estimate(2.0, 1, 3))])
        >>> found.mean, found.without, round(found.low, 3), round(found.high, 3)
        (1.5, {'a': 2.0, 'b': 1.0}, 0.793, 2.207)
        """
        known = {label: entry for label, entry in found if not math.isnan(entry.value)}
        if not known:
            return cls(math.nan, math.nan, math.nan, {}, {})
        values = {label: entry.value for label, entry in known.items()}
        total, rest = sum(values.values()), len(values) - 1
        without = {label: (total - value) / rest for label, value in values.items()} if rest > 0 else {}
        below = math.hypot(*(entry.value - entry.low for entry in known.values())) / len(known)
        above = math.hypot(*(entry.high - entry.value for entry in known.values())) / len(known)
        mean = total / len(known)
        return cls(mean, mean - below, mean + above, values, without)


@dataclass(frozen=True)
class Pooled:
    """One metric over several collections.

    Parameters
    ----------
    metric : str
    kendall, spearman, pearson, partial, regret, kendall_gain, regret_gain : Averaged
        Of the figures of `MetricAgreement`.
    signs, signs_decided : Share
        Sources of all collections together.
    """

    metric: str
    kendall: Averaged
    spearman: Averaged
    pearson: Averaged
    partial: Averaged
    regret: Averaged
    kendall_gain: Averaged
    regret_gain: Averaged
    signs: Share
    signs_decided: Share


@dataclass(frozen=True)
class Summary:
    """Metrics beside a measure on several collections.

    Parameters
    ----------
    measure : str
    collections : tuple of str
    metrics : tuple of Pooled
        Best mean tau first.
    regret_random, regret_none : Averaged
    helped, helped_decided : Share
    ceiling : Averaged
        Of `Ceiling.queries` without ``none``.
    verdicts : dict of str to dict
        Counts of all collections together.
    """

    measure: str
    collections: tuple[str, ...]
    metrics: tuple[Pooled, ...]
    regret_random: Averaged
    regret_none: Averaged
    helped: Share
    helped_decided: Share
    ceiling: Averaged
    verdicts: dict[str, dict[str, dict[str, int]]]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists; undefined numbers are None."""
        made: dict[str, Any] = plain(asdict(self))
        return made


def summarise(found: Sequence[Agreement]) -> Summary:
    """What agreements on several collections come to.

    Raises
    ------
    DataError
        No agreements, agreements with several measures, or a collection twice.
    """
    measures = sorted({entry.measure for entry in found})
    collections = tuple(entry.collection for entry in found)
    if len(measures) != 1 or len(set(collections)) < len(collections):
        raise DataError(
            "expected agreements with one measure on different collections, found "
            + (f"{listed(measures)} on {listed(collections)}." if found else "none.")
        )
    names = dict.fromkeys(entry.metric for agreement in found for entry in agreement.metrics)
    pooled = [_pool(name, found) for name in names]
    verdicts = {
        name: {
            said: {
                done: sum(entry.verdicts[name][said][done] for entry in found if name in entry.verdicts)
                for done in VERDICTS
            }
            for said in VERDICTS
        }
        for name in dict.fromkeys(name for entry in found for name in entry.verdicts)
    }
    return Summary(
        measure=measures[0],
        collections=collections,
        metrics=tuple(sorted(pooled, key=lambda entry: best_first(entry.kendall.mean, entry.metric))),
        regret_random=Averaged.of((entry.collection, entry.regret_random) for entry in found),
        regret_none=Averaged.of((entry.collection, entry.regret_none) for entry in found),
        helped=_together(entry.helped for entry in found),
        helped_decided=_together(entry.helped_decided for entry in found),
        ceiling=Averaged.of((entry.collection, entry.ceiling.queries) for entry in found),
        verdicts=verdicts,
    )


def _pool(name: str, found: Sequence[Agreement]) -> Pooled:
    held = [(one.collection, entry) for one in found for entry in one.metrics if entry.metric == name]
    figures = ("kendall", "spearman", "pearson", "partial", "regret", "kendall_gain", "regret_gain")
    averaged = {
        figure: Averaged.of((label, getattr(entry, figure)) for label, entry in held) for figure in figures
    }
    signs, decided = (
        _together(getattr(entry, which) for _, entry in held) for which in ("signs", "signs_decided")
    )
    return Pooled(name, **averaged, signs=signs, signs_decided=decided)


def _together(shares: Iterable[Share]) -> Share:
    kept = list(shares)
    return Share.of(sum(entry.hits for entry in kept), sum(entry.total for entry in kept))
