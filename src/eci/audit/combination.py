"""One probability out of many features, with weights learned from the labels that the data has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eci.audit.features import NAMES, features
from eci.audit.material import Candidates, Material, firsts, pair_cosines
from eci.ragged import Ragged
from eci.types import Flags, Floats, Integers

# Fewer queries with a second positive than this teach less than other collections do.
ENOUGH = 100
_FOLDS = 5
_MOST_ROWS = 4000
_RIDGE = 1.0
_STEPS = 50
# The first features say how near a candidate is; being nearer never speaks for a negative.
_NEARNESS = 9


@dataclass(frozen=True)
class Weights:
    """A logistic regression on standardised features.

    Parameters
    ----------
    coefficients : ndarray of shape (len(NAMES),)
        Of the features as they are, not standardised.
    intercept : float
    """

    coefficients: Floats
    intercept: float

    def probability(self, table: NDArray[np.float32]) -> Floats:
        """Of n candidates, 0…1, of shape (n,)."""
        # Not by a matrix product, whose last digit depends on how many rows there are.
        drawn = np.einsum("ij,j->i", table.astype(np.float64), self.coefficients)
        return _sigmoid(drawn + self.intercept)

    def to_dict(self) -> dict[str, float]:
        """Weights by name, for a result."""
        named = dict(zip(NAMES, self.coefficients.tolist(), strict=True))
        return {**named, "intercept": self.intercept}


def fit(table: NDArray[np.float32], answers: Flags, times: Floats) -> Weights:
    """Weights under which answers and others, each side counting the same, are told apart.

    Parameters
    ----------
    table : ndarray of shape (n, len(NAMES))
    answers : ndarray of shape (n,)
        Both kinds are there.
    times : ndarray of shape (n,)
        How often each counts within its side.

    Returns
    -------
    Weights
        The maximum of the likelihood with a ridge of 1 on standardised features, by Newton's method.
    """
    wide = table.astype(np.float64)
    mean, spread = wide.mean(axis=0), wide.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    inputs = np.column_stack([(wide - mean) / spread, np.ones(len(wide))])
    counts = times * np.where(answers, 0.5 / times[answers].sum(), 0.5 / times[~answers].sum()) * len(wide)
    free = np.ones(len(mean) + 1, dtype=np.bool_)
    while True:
        found = np.zeros(len(free))
        found[free] = _newton(inputs[:, free], answers, counts)
        against = np.flatnonzero(found[:_NEARNESS] < 0)
        if not len(against):
            break
        free[against] = False
    scaled = found[:-1] / spread
    return Weights(scaled, float(found[-1] - scaled @ mean))


def _newton(inputs: Floats, answers: Flags, counts: Floats) -> Floats:
    """Coefficients of a logistic regression whose last column is the intercept."""
    ridge = np.append(np.full(inputs.shape[1] - 1, _RIDGE), 1e-9)
    found = np.zeros(len(ridge))
    for _ in range(_STEPS):
        chance = _sigmoid(inputs @ found)
        slope = inputs.T @ (counts * (chance - answers)) + ridge * found
        curve = (inputs * (counts * chance * (1 - chance))[:, None]).T @ inputs + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        found -= step
        if np.abs(step).max() < 1e-8:
            break
    return found


@dataclass(frozen=True)
class StandIns:
    """Rows in which one known positive is treated as a negative that nobody has labelled.

    Parameters
    ----------
    rows : ndarray of shape (R,)
    table : ndarray of shape (n, len(NAMES)), float32
    owner : ndarray of shape (n,)
        Which of the R rows.
    answers : ndarray of shape (n,), bool
    times : ndarray of shape (n,)
        For a stand-in how many positives it was drawn from, else 1.
    """

    rows: Integers
    table: NDArray[np.float32]
    owner: Integers
    answers: Flags
    times: Floats


def stand_ins(material: Material, usable: Flags) -> StandIns:
    """Hide one positive of each row that has two, among its negatives.

    A stand-in is drawn by a hash among the positives that are at least as near to the query as the row's
    mean negative, for others would hardly have been mined, and is compared with the negatives that are so
    too: what decides between them must not be how they came to be here.

    Parameters
    ----------
    material : Material
    usable : ndarray of shape (n,), bool
        Negatives that are no known positive, no copy of one and not empty.
    """
    chosen = _teaching(material, usable)
    negatives = material.negatives.take(chosen)
    negatives = negatives.keep(material.negatives.with_values(usable).take(chosen).values)
    held = _hidden(material, negatives, chosen)
    there = np.flatnonzero(held.rows >= 0)
    chosen, hidden, times = chosen[there], held.documents[there], held.times[there]
    lists, answers = _with(negatives.take(there), hidden)
    own = material.positives.take(chosen)
    rest = own.keep(own.values != hidden[own.rows])
    found = features(material, Candidates(chosen, lists, rest))
    # Of what is further away than any stand-in may be, nothing is to be learned about stand-ins.
    kept = found.similarity >= held.floor[there][lists.rows]
    owner, answers = lists.rows[kept], answers[kept]
    return StandIns(chosen, found.table[kept], owner, answers, np.where(answers, times[owner], 1.0))


@dataclass(frozen=True)
class _Hidden:
    rows: Integers
    documents: Integers
    times: Floats
    floor: Floats


def _teaching(material: Material, usable: Flags) -> Integers:
    """Rows with two different positives and a negative; the first by a hash where there are very many."""
    chosen = np.empty(0, dtype=np.int64)
    for tile in material.tiles():
        part = tile.candidates
        distinct = part.positives.keep(firsts(part.positives)).lengths
        left = part.documents.keep(usable[tile.places]).lengths
        rows = np.concatenate([chosen, part.rows[(distinct >= 2) & (left > 0)]])
        chosen = rows[np.argsort(mixed(material.group[rows]), kind="stable")[:_MOST_ROWS]]
    return np.sort(chosen)


def _hidden(material: Material, others: Ragged, rows: Integers) -> _Hidden:
    """A positive of each row to hide; row -1 where none is as near as a negative, which are `others`."""
    own = material.positives.take(rows)
    own = own.keep(firsts(own))
    asked = material.asked(rows)
    near, far = (
        pair_cosines(material.queries, material.documents, np.stack([asked[side.rows], side.values], axis=1))
        for side in (own, others)
    )
    floor = others.with_values(far).means()
    draw = mixed(material.group[rows][own.rows] ^ material.digests[own.values]).astype(np.float64)
    draw[near < floor[own.rows]] = -1.0
    first = own.with_values(draw).argmaxima()
    times = own.with_values(draw >= 0).sums()
    return _Hidden(np.where(times > 0, rows, -1), own.values[first], times, floor)


def _with(lists: Ragged, added: Integers) -> tuple[Ragged, Flags]:
    """One more entry at the end of each row, and which entries those are."""
    values = np.insert(lists.values, lists.offsets[1:], added)
    more = Ragged.from_lengths(values, lists.lengths + 1)
    return more, more.within == np.repeat(lists.lengths, more.lengths)


def folds(group: Integers) -> Integers:
    """The fold of each row, 0…4, by a hash of its query."""
    return np.asarray(mixed(group) % np.uint64(_FOLDS), dtype=np.int64)


def mixed(values: Integers) -> NDArray[np.uint64]:
    """Bits of 64-bit numbers, mixed (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -500, 500))))
