"""Which metric ranks sources before training as training ranks them, and how much that is worth.

Pure functions on arrays. Metrics and sources are held fixed; for the 95 % intervals the test queries and the
seeds are drawn again, both at once. Such an interval is for what the same experiment gives on average with
other queries and seeds, as many as here. Agreement with the measure without its noise would be higher:
`eci.validation.resampling.Ceiling` says how far noise lets it rise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eci.association import Association
from eci.errors import DataError
from eci.results import Estimate, listed, plain
from eci.training.settings import NONE
from eci.types import Flags, Floats
from eci.validation.observations import CAPACITY, VERDICTS, Measurements, MetricValues
from eci.validation.resampling import (
    Ceiling,
    Resampled,
    Share,
    estimate,
    estimate_tau,
    kendall,
    orders,
    partial,
    pearson,
    permutation_p,
    spearman,
)

SCHEMA = "eci.agreement/1"


@dataclass(frozen=True)
class MetricAgreement:
    """How one metric agrees with the measure; NaN where undefined, intervals of tau below three sources too.

    Parameters
    ----------
    metric : str
    sources : int
        Hard-negative sources that it has values of; ``none`` is not among them.
    kendall, spearman, pearson : Estimate
        Tau-b, rho and r over these sources.
    partial : Estimate
        Pearson's r of what a straight line on capacity, ln(1+N), leaves of both.
    p : float
        Two-sided, of r, by permuting sources; of this metric looked at alone.
    without : dict of str to float
        r when one source is left out, by that source; empty below four sources.
    choice : tuple of str
        What it puts first, ``none`` included where it has an opinion on it; several where tied.
    regret : Estimate
        Measure lost by training on the choice instead of on the best source, ``none`` included; the mean over
        tied ones. The best is picked by the same noisy measure, so regret is too large, for all alike.
    signs, signs_decided : Share
        Sources whose difference to ``none`` has the sign that the metric gives it: of all, and of those for
        which training decided it. 0 of 0 without an opinion on ``none``.
    kendall_gain, regret_gain : Estimate
        Minus those of capacity, paired draw by draw; tau over the sources that both have values of.
    cost : float
        Seconds of training / seconds of scoring.
    """

    metric: str
    sources: int
    kendall: Estimate
    spearman: Estimate
    pearson: Estimate
    partial: Estimate
    p: float
    without: dict[str, float]
    choice: tuple[str, ...]
    regret: Estimate
    signs: Share
    signs_decided: Share
    kendall_gain: Estimate
    regret_gain: Estimate
    cost: float

    @property
    def association(self) -> Association:
        """Knows the range of r with one source left out, and which source moves it most."""
        return Association(self.metric, self.pearson.value, self.kendall.value, self.without)


@dataclass(frozen=True)
class Agreement:
    """Metrics beside a measure on one collection.

    Parameters
    ----------
    collection, measure : str
    measured : dict of str to Estimate
        The measure by source, best first.
    effects : tuple of dict
        For each source but ``none`` what training on it did compared with ``none``: ``source``, ``verdict``
        (help, hurt, undecided: by its own 95 % interval), ``gain``, ``low``, ``high``. Empty where ``none``
        was not trained.
    metrics : tuple of MetricAgreement
        Best tau first.
    regret_random, regret_none : Estimate
        Of any hard-negative source with the same chance, and of always taking ``none``.
    helped, helped_decided : Share
        Sources that help: what saying "help" of all of them would have right.
    ceiling, ceiling_with_none : Ceiling
        Over the hard-negative sources, which is what tau is over, and with ``none``.
    verdicts : dict of str to dict
        By metric: its verdicts × what training did, as counts of sources.
    settings : dict
    """

    collection: str
    measure: str
    measured: dict[str, Estimate]
    effects: tuple[dict[str, Any], ...]
    metrics: tuple[MetricAgreement, ...]
    regret_random: Estimate
    regret_none: Estimate
    helped: Share
    helped_decided: Share
    ceiling: Ceiling
    ceiling_with_none: Ceiling
    verdicts: dict[str, dict[str, dict[str, int]]]
    settings: dict[str, Any]

    def __getitem__(self, metric: str) -> MetricAgreement:
        for found in self.metrics:
            if found.metric == metric:
                return found
        raise KeyError(f"no metric {metric!r}; there are {listed([found.metric for found in self.metrics])}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists in the form ``eci.agreement/1``; undefined numbers are None."""
        made: dict[str, Any] = plain(asdict(self))
        return {"schema": SCHEMA, **made}


def agree(
    trained: Measurements, metrics: Iterable[MetricValues], *, draws: int = 2000, seed: int = 0
) -> Agreement:
    """Hold metrics against what training gave.

    Parameters
    ----------
    trained : Measurements
    metrics : iterable of MetricValues
        The one named ``capacity`` is what the others are compared with.
    draws : int
        Of queries and seeds.
    seed : int
        Of these draws and of the permutations.

    Raises
    ------
    DataError
        A metric stands there twice, or knows other sources than those trained on.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> level = np.array([0.3, 0.4, 0.5, 0.6, 0.35])
    >>> scores = level[:, None, None] + 0.05 * rng.standard_normal((5, 3, 100))
    >>> trained = Measurements("toy", ("a", "b", "c", "d", "none"), (1, 2, 3), scores)
    >>> found = agree(trained, [MetricValues("eci", {"a": 1, "b": 3, "c": 2, "d": 4, "none": 0})])
    >>> round(found["eci"].kendall.value, 3), found["eci"].choice, found["eci"].regret.value
    (0.667, ('d',), 0.0)
    >>> found["eci"].signs.hits, found["eci"].signs.total
    (3, 4)
    """
    metrics = list(metrics)
    twice = [name for name, times in Counter(entry.metric for entry in metrics).items() if times > 1]
    if twice:
        raise DataError(f"{listed(twice)} stands there twice. Give each metric once.")
    signed = {entry.metric: entry.of(trained.sources) for entry in metrics}
    sources, _, queries = trained.scores.shape
    resampled = Resampled.of(trained.scores, draws=draws, seed=seed)
    ground = _Ground.of(trained, resampled, signed.get(CAPACITY, np.full(sources, math.nan)), seed)
    found = [ground.hold(entry, signed[entry.metric]) for entry in metrics]
    found.sort(key=lambda entry: best_first(entry.kendall.value, entry.metric))
    hard, order = ground.hard, np.argsort(-ground.rows[0], kind="stable")
    helped, helped_decided = ground.right(np.where(hard, 1.0, math.nan))
    return Agreement(
        collection=trained.collection,
        measure=trained.measure,
        measured={trained.sources[place]: estimate(ground.rows[:, place]) for place in order},
        effects=ground.effects,
        metrics=tuple(found),
        regret_random=estimate(ground.regret(hard)),
        regret_none=estimate(ground.regret(~hard)),
        helped=helped,
        helped_decided=helped_decided,
        ceiling=Ceiling.of(Resampled.of(trained.scores[hard], draws=draws, seed=seed)),
        ceiling_with_none=Ceiling.of(resampled),
        verdicts={entry.metric: ground.confusion(entry.verdicts) for entry in metrics if entry.verdicts},
        settings={
            "draws": draws,
            "seed": seed,
            "seeds": list(trained.seeds),
            "queries": queries,
            "training_seconds": trained.seconds,
        },
    )


@dataclass(frozen=True)
class _Ground:
    """What training gave, and the draws of it that all metrics share.

    Parameters
    ----------
    trained : Measurements
    rows : ndarray of shape (1 + B, S)
    hard : ndarray of shape (S,)
        Which sources are not ``none``.
    capacity : ndarray of shape (S,)
    effects : tuple of dict
    seed : int
    """

    trained: Measurements
    rows: Floats
    hard: Flags
    capacity: Floats
    effects: tuple[dict[str, Any], ...]
    seed: int

    @classmethod
    def of(cls, trained: Measurements, resampled: Resampled, capacity: Floats, seed: int) -> _Ground:
        rows, hard = resampled.means, np.array([label != NONE for label in trained.sources])
        effects = []
        for place in [] if hard.all() else np.flatnonzero(hard).tolist():
            gain = estimate(rows[:, place] - rows[:, ~hard][:, 0])
            verdict = "help" if gain.low > 0 else "hurt" if gain.high < 0 else "undecided"
            told = {"gain": gain.value, "low": gain.low, "high": gain.high}
            effects.append({"source": trained.sources[place], "verdict": verdict, **told})
        return cls(trained, rows, hard, capacity, tuple(effects), seed)

    def hold(self, metric: MetricValues, values: Floats) -> MetricAgreement:
        """One metric, of values of shape (S,), against what training gave."""
        known = self.hard & ~np.isnan(values)
        own, rows = values[known], self.rows[:, known]
        both = known & ~np.isnan(self.capacity)
        tau, tau_of_capacity = (kendall(side[both], self.rows[:, both]) for side in (values, self.capacity))
        first, first_of_capacity = _first(values), _first(self.capacity)
        regret = self.regret(first)
        none = values[~self.hard]
        signs, decided = self.right(np.sign(values - (none[0] if len(none) else math.nan)))
        return MetricAgreement(
            metric=metric.metric,
            sources=len(own),
            kendall=estimate_tau(kendall(own, rows), len(own)),
            spearman=estimate(spearman(own, rows)),
            pearson=estimate(pearson(own, rows)),
            partial=estimate(partial(values[both], self.rows[:, both], self.capacity[both])),
            p=permutation_p(own, rows[0], orders(len(own), seed=self.seed)),
            without=self._without(known, own, rows[:1]),
            choice=self._labels(first),
            regret=estimate(regret),
            signs=signs,
            signs_decided=decided,
            kendall_gain=estimate_tau(tau - tau_of_capacity, int(both.sum())),
            regret_gain=estimate(regret - self.regret(first_of_capacity)),
            cost=self.trained.seconds / metric.seconds if metric.seconds > 0 else math.nan,
        )

    def regret(self, chosen: Flags) -> Floats:
        """Replicates of what is lost by one of the chosen sources, each as likely; NaN if there is none."""
        if not chosen.any():
            return np.full(len(self.rows), np.nan)
        lost: Floats = self.rows.max(axis=1) - self.rows[:, chosen].mean(axis=1)
        return lost

    def right(self, signs: Floats) -> tuple[Share, Share]:
        """Which of these signs of the difference to ``none`` are right: of all, and of the decided ones.

        `signs` has shape (S,), with NaN for no opinion.
        """
        measured = {entry["source"]: entry for entry in self.effects}
        pairs = [
            (bool(sign == np.sign(measured[label]["gain"])), measured[label]["verdict"] != "undecided")
            for label, sign in zip(self.trained.sources, signs, strict=True)
            if label in measured and not math.isnan(sign)
        ]
        decided = [hit for hit, is_decided in pairs if is_decided]
        return Share.of(sum(hit for hit, _ in pairs), len(pairs)), Share.of(sum(decided), len(decided))

    def confusion(self, verdicts: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """Sources by what was said of them and by what training did."""
        met = Counter((verdicts.get(entry["source"]), entry["verdict"]) for entry in self.effects)
        return {said: {done: met[said, done] for done in VERDICTS} for said in VERDICTS}

    def _without(self, known: Flags, own: Floats, row: Floats) -> dict[str, float]:
        if len(own) < 4:
            return {}
        return {
            label: float(pearson(np.delete(own, place), np.delete(row, place, axis=1))[0])
            for place, label in enumerate(self._labels(known))
        }

    def _labels(self, chosen: Flags) -> tuple[str, ...]:
        return tuple(label for label, kept in zip(self.trained.sources, chosen, strict=True) if kept)


def _first(values: Floats) -> Flags:
    """Which sources a metric puts first; none of them where it has no value at all."""
    largest: Flags = values == np.max(values, initial=-math.inf, where=~np.isnan(values))
    return largest


def best_first(value: float, name: str) -> tuple[float, str]:
    """What to sort by; undefined values come last."""
    return (math.inf if math.isnan(value) else -value, name)
