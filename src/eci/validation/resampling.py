"""How sure agreement over few sources is: draws of queries and seeds, permuted sources, the ceiling of noise.

Replicates are arrays whose row 0 is the figure itself and whose other rows are its draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np

from eci.results import Estimate
from eci.types import Floats, Integers

# Draws made at a time: bounds the memory that counts of many queries take.
_BLOCK = 250
# Up to here all orders are looked at: 8! = 40,320.
_EXACT = 8
_ORDERS = 9_999
# Share of undefined draws beyond which there is no interval.
_UNDEFINED = 0.05
# Fewer sources have no correlation that could be more or less.
_FEWEST = 3


@dataclass(frozen=True)
class Resampled:
    """A measure with its queries and seeds drawn again with replacement, both at once.

    Sources stay paired: in a draw all of them have the same queries and the same seeds. Of the parts of the
    noise, that of queries is right, that of seeds is (K − 1)/K of what it should be (nothing at K = 1), and
    what is peculiar to one query in one seed is overstated (McCullagh 2000, Bernoulli 6, 285–301; Owen 2007,
    Annals of Applied Statistics 1, 386–411).

    Parameters
    ----------
    means : ndarray of shape (1 + B, S)
        Mean of each source over the drawn queries and seeds.
    by_seed : ndarray of shape (1 + B, S, K)
        Mean of each source and seed over the drawn queries.
    spread : ndarray of shape (1 + B, 2)
        Mean over the drawn queries of the squares from which `Ceiling` knows what queries add to the noise.
    queries : int
    """

    means: Floats
    by_seed: Floats
    spread: Floats
    queries: int

    @classmethod
    def of(cls, scores: Floats, *, draws: int, seed: int) -> Resampled:
        """Of scores of shape (S, K, n), by source, seed and query."""
        sources, seeds, queries = scores.shape
        rng = np.random.default_rng(seed)
        centred = scores - scores.mean(axis=0)
        of_query = centred.mean(axis=1)
        columns = np.vstack(
            [
                scores.reshape(-1, queries),
                (of_query**2).sum(axis=0),
                ((centred - of_query[:, None]) ** 2).sum(axis=(0, 1)),
            ]
        ).T
        found = [columns.mean(axis=0, keepdims=True)]
        for start in range(0, draws, _BLOCK):
            size = min(_BLOCK, draws - start)
            counts = rng.multinomial(queries, np.full(queries, 1 / queries), size=size)
            found.append(counts @ columns / queries)
        every = np.concatenate(found)
        by_seed = every[:, :-2].reshape(-1, sources, seeds)
        weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
        weights = np.concatenate([np.full((1, seeds), 1 / seeds), weights])
        return cls(np.einsum("bsk,bk->bs", by_seed, weights), by_seed, every[:, -2:], queries)


def estimate(replicates: Floats) -> Estimate:
    """A figure with its 95 % percentile interval, from replicates of shape (1 + B,).

    Undefined draws are passed over; where they are more than 5 %, what is left says nothing of the whole, and
    the interval is undefined.

    Examples
    --------
    >>> estimate(np.array([3.0, *range(41)]))
    Estimate(value=3.0, low=1.0, high=39.0)
    """
    value, drawn = float(replicates[0]), replicates[1:][~np.isnan(replicates[1:])]
    if math.isnan(value) or not len(drawn) or len(drawn) < (1 - _UNDEFINED) * (len(replicates) - 1):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return Estimate(value, low, high)


def estimate_tau(replicates: Floats, sources: int) -> Estimate:
    """Kendall's tau over so many sources; without an interval for two, whose tau is −1 or 1.

    Examples
    --------
    >>> estimate_tau(np.array([1.0, 1.0, 1.0]), 2)
    Estimate(value=1.0, low=nan, high=nan)
    """
    if sources < _FEWEST:
        return Estimate(float(replicates[0]), math.nan, math.nan)
    return estimate(replicates)


def pearson(values: Floats, rows: Floats) -> Floats:
    """Pearson's r of values, of shape (S,), with each of the rows, of shape (R, S): shape (R,).

    NaN below three sources, and where either side is constant.
    """
    if len(values) < _FEWEST:
        return np.full(len(rows), np.nan)
    one, many = values - values.mean(), rows - rows.mean(axis=1, keepdims=True)
    # The mean of equal numbers can miss them by a last digit, so that their spread is not exactly 0.
    scale = np.where(
        (np.ptp(rows, axis=1) > 0) & (np.ptp(values) > 0), (one @ one) * (many**2).sum(axis=1), 0
    )
    return _ratio(many @ one, np.sqrt(scale))


def spearman(values: Floats, rows: Floats) -> Floats:
    """Spearman's rho, Pearson's r of average ranks; arguments as of `pearson`."""
    return pearson(_ranks(values[None])[0], _ranks(rows))


def kendall(values: Floats, rows: Floats) -> Floats:
    """Kendall's tau-b; arguments as of `pearson`, NaN below two sources and where a side is constant."""
    return _tau(_above(values[None]), _above(rows))


def partial(values: Floats, rows: Floats, given: Floats) -> Floats:
    """Pearson's r of what a straight line on `given`, of shape (S,), leaves of both sides; as `pearson`.

    NaN below four sources, where `given` is constant, and where it explains the values entirely.

    Examples
    --------
    >>> given = np.array([1.0, 2.0, 3.0, 4.0])
    >>> round(float(partial(np.array([1.0, 3.0, 2.0, 4.0]), np.array([[2.0, 3.0, 1.0, 9.0]]), given)[0]), 3)
    0.639
    """
    if len(values) < 4 or np.ptp(given) == 0:
        return np.full(len(rows), np.nan)
    axis = given - given.mean()
    both = np.vstack([values, rows])
    both = both - both.mean(axis=1, keepdims=True)
    left = both - np.outer(both @ axis / (axis @ axis), axis)
    # Rounding leaves some of what is explained entirely.
    left[(left**2).sum(axis=1) <= 1e-18 * (both**2).sum(axis=1)] = 0.0
    return pearson(left[0], left[1:])


def orders(count: int, *, seed: int) -> Integers:
    """Orders of things to permute by, of shape (m, count): all of them up to 8, else 9,999 drawn ones."""
    if count > _EXACT:
        everything = np.tile(np.arange(count), (_ORDERS, 1))
        return np.random.default_rng(seed).permuted(everything, axis=1)
    found = np.zeros((1, 0), dtype=np.int64)
    for number in range(count):
        found = np.concatenate([np.insert(found, place, number, axis=1) for place in range(number + 1)])
    return found


def permutation_p(values: Floats, measured: Floats, permuted: Integers) -> float:
    """Two-sided p of Pearson's r, of both shape (S,): how often permuted sources reach it; NaN where r is.

    `permuted` comes from `orders`; of drawn ones the order at hand counts as one more, so that p is never 0.
    """
    found = pearson(values, measured[None])[0]
    if np.isnan(found):
        return math.nan
    reached = np.abs(pearson(values, measured[permuted])) >= abs(found) - 1e-12
    drawn = int(len(values) > _EXACT)
    return float((reached.sum() + drawn) / (len(permuted) + drawn))


@dataclass(frozen=True)
class Share:
    """How many of some sources, with the 95 % interval of Wilson (1927) as if they were independent."""

    hits: int
    total: int
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, total: int) -> Share:
        """The share; its ends are NaN where `total` is 0.

        Examples
        --------
        >>> found = Share.of(9, 10)
        >>> round(found.low, 3), round(found.high, 3)
        (0.596, 0.982)
        """
        if total == 0:
            return cls(0, 0, math.nan, math.nan)
        square = NormalDist().inv_cdf(0.975) ** 2
        centre = (hits + square / 2) / (total + square)
        half = math.sqrt(square * (hits * (total - hits) / total + square / 4)) / (total + square)
        return cls(hits, total, max(0.0, centre - half), min(1.0, centre + half))


@dataclass(frozen=True)
class Ceiling:
    """How far noise lets anything agree with the measure: Kendall's tau, with intervals over queries.

    ``others`` and ``pairs`` compare rankings that were really trained. A metric may exceed them, since it is
    held against the mean of all K seeds; and it may be unable to reach them, since they share the luck of the
    test queries. ``seeds`` and ``queries`` are the tau that a metric which knows the expected measure would
    have with the mean of K seeds. A correlation with a noisy variable cannot be expected beyond √reliability
    (Spearman 1904). The reliability is that of the sources' means in an analysis of variance: of sources ×
    seeds at these queries (Hoyt 1941; the same as stepping the correlation of single seeds up to K by
    Spearman–Brown), and of sources × seeds × queries, where queries are a sample too (generalizability
    theory: Brennan 2001; for test collections Bodoff and Li, SIGIR 2007), both in the form that few sources
    do not bias (Kristof 1963, Psychometrika 28, 221–238). It becomes tau by τ = 2/π · arcsin r, which holds
    for normal variables. A reliability below 0 counts as 0. So few sources give all of this roughly. NaN for
    a single seed, and below four sources for what a perfect metric has.

    Parameters
    ----------
    others : Estimate
        One seed's ranking with that by the mean of the other seeds, averaged over seeds.
    pairs : Estimate
        One seed's ranking with another one's, averaged over pairs.
    seeds : Estimate
        A perfect metric with the mean of K seeds, the measure being expected over seeds at these queries.
    queries : Estimate
        The same, the measure being expected over queries too: what to hold metrics against, none of which has
        seen the test queries.
    """

    others: Estimate
    pairs: Estimate
    seeds: Estimate
    queries: Estimate

    @classmethod
    def of(cls, resampled: Resampled) -> Ceiling:
        """Over all sources that were resampled."""
        by_seed = resampled.by_seed
        _, sources, seeds = by_seed.shape
        if seeds < 2 or sources < 2:
            return cls(*[Estimate(math.nan, math.nan, math.nan)] * 4)
        single = [_above(by_seed[:, :, place]) for place in range(seeds)]
        rest = [_above(np.delete(by_seed, place, axis=2).mean(axis=2)) for place in range(seeds)]
        others = [_tau(one, other) for one, other in zip(single, rest, strict=True)]
        pairs = [_tau(one, other) for one, other in combinations(single, 2)]
        perfect = (2 / np.pi * np.arcsin(np.sqrt(share)) for share in _reliability(resampled))
        return cls(*(estimate_tau(found, sources) for found in (_mean(others), _mean(pairs), *perfect)))


def _reliability(resampled: Resampled) -> list[Floats]:
    """Of the sources' means, 0…1 and each of shape (1 + B,): at these queries, and over queries too."""
    by_seed, queries = resampled.by_seed, resampled.queries
    _, sources, seeds = by_seed.shape
    centred = by_seed - by_seed.mean(axis=1, keepdims=True)
    mean = centred.mean(axis=2)
    of_sources = (mean**2).sum(axis=1)
    of_seeds = ((centred - mean[:, :, None]) ** 2).sum(axis=(1, 2))
    # Mean squares, each without the factor 1 / (sources − 1) that they share.
    every = queries * seeds * of_sources
    with_seeds = queries * of_seeds / (seeds - 1)
    with_queries = seeds * queries * (resampled.spread[:, 0] - of_sources) / (queries - 1)
    with_both = queries * (resampled.spread[:, 1] - of_seeds) / ((seeds - 1) * (queries - 1))
    noise = [with_seeds, with_seeds + with_queries - with_both]
    # 1 / a mean square is too large on average: few sources would seem less reliable than they are.
    fewness = (sources - 3) / (sources - 1) if sources > 3 else math.nan
    return [np.clip(1 - fewness * _ratio(part, every), 0.0, 1.0) for part in noise]


def _above(rows: Floats) -> Floats:
    """Which of each two sources is above, −1, 0 or 1: from shape (R, S) to (R, S (S − 1) / 2)."""
    one, two = np.triu_indices(rows.shape[1], 1)
    return np.sign(rows[:, one] - rows[:, two])


def _tau(one: Floats, two: Floats) -> Floats:
    scale = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    return _ratio((one * two).sum(axis=1), scale)


def _ranks(rows: Floats) -> Floats:
    """Average ranks in each row, of shape (R, S), from 1."""
    above = np.sign(rows[:, :, None] - rows[:, None, :]).sum(axis=2)
    ranks: Floats = (above + rows.shape[1] + 1) / 2
    return ranks


def _mean(replicates: Iterable[Floats]) -> Floats:
    mean: Floats = np.mean(list(replicates), axis=0)
    return mean


def _ratio(above: Floats, below: Floats) -> Floats:
    """`above` / `below`; NaN where `below` is 0."""
    ratio: Floats = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return ratio
