"""Scores of every issue for every negative: 0…1, low is severe, flagged up to 0.5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci.audit.chances import chances
from eci.audit.collecting import Collected
from eci.audit.combination import mixed
from eci.audit.features import Features, features
from eci.audit.issues import FAULTS, FLAGGED, ISSUES, OF_ROWS, AuditSettings
from eci.audit.material import Candidates, Material, firsts
from eci.audit.verdicts import UNJUDGED, Verdict
from eci.ragged import Ragged
from eci.task import EMPTY
from eci.types import Flags, Floats, Integers

# In-batch positives of other queries, and documents drawn to stand for them.
_OTHERS, _POOL = 15, 256
# Softmax weight below which a negative has next to no gradient.
_NO_GRADIENT = 1e-4
# One negative alone is everybody's nearest neighbour.
_LEAST_NEIGHBOURS = 3
_PART = 4096


@dataclass(frozen=True)
class Findings:
    """What is wrong with n negatives of B rows.

    Parameters
    ----------
    scores : dict of str to ndarray, float32
        For each of ``issues.ISSUES``: of shape (n,), or (B,) where it is said of rows.
    lists : Ragged of B rows
        Index of each negative, 0…n-1.
    nearest : ndarray of shape (n,), int64
        Place of the nearest positive among those of its row.
    learned : dict
        Where the weights of ``likely_false_negative`` come from, and what they are.
    verdicts : mapping of int to Verdict
        By index of the negative, where a judge was asked and answered.
    """

    scores: dict[str, NDArray[np.float32]]
    lists: Ragged
    nearest: Integers
    learned: dict[str, Any]
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)

    def flags(self, issue: str) -> Flags:
        """Which negatives have an issue, of shape (n,); of a row's issue, all of its negatives."""
        return self.of_negatives(issue) <= FLAGGED

    def faults(self, issue: str) -> Flags:
        """Which negatives an issue is reason to mend, of shape (n,): where a judge spoke, its word counts."""
        found = self.flags(issue)
        if issue == "likely_false_negative" and self.verdicts:
            found[np.fromiter(self.verdicts, np.int64, len(self.verdicts))] = False
        return found

    def to_mend(self) -> Flags:
        """Which negatives a fix takes out or puts elsewhere unless issues are named, of shape (n,)."""
        return np.asarray(np.any([self.faults(issue) for issue in FAULTS], axis=0))

    def of_negatives(self, issue: str) -> NDArray[np.float32]:
        """The scores of an issue, of shape (n,)."""
        found = self.scores[issue]
        return np.repeat(found, self.lists.lengths) if issue in OF_ROWS else found

    def rows(self, issue: str) -> Flags:
        """Which rows have an issue themselves or in a negative, of shape (B,)."""
        if issue in OF_ROWS:
            return np.asarray(self.scores[issue] <= FLAGGED)
        return np.asarray(self.lists.with_values(self.flags(issue)).sums() > 0)


def findings(collected: Collected, settings: AuditSettings, grouped: bool) -> Findings:
    """Everything that is wrong.

    Parameters
    ----------
    collected : Collected
    settings : AuditSettings
    grouped : bool
        Whether rows that ask the same were brought together, so that no query can have two.
    """
    material = collected.material
    lists = material.negatives.with_values(np.arange(len(material.negatives.values)))
    own = material.in_own_positives
    known = material.known_elsewhere | collected.flags["judged"]
    empty = (collected.material.digests == EMPTY)[material.negatives.values]
    closeness = _closeness(collected.likeness, settings.near_copy)
    odd = own | known | empty | collected.flags["edited"] | collected.flags["repeats_query"]
    whole = Candidates(np.arange(len(material)), material.negatives, material.positives)
    seen = features(material, whole)
    chance, learned = chances(material, seen, ~odd & (closeness > FLAGGED))
    scores: dict[str, Floats] = {
        "identical_to_positive": _either(own),
        "near_positive": np.where(own, 1.0, closeness),
        "known_positive": _either(known & ~own),
        "likely_false_negative": np.where(odd, 1.0, _suspicion(chance, settings.false_negative)),
        "judged_false_negative": np.full(len(lists.values), UNJUDGED),
        **_by_similarity(seen, material, empty),
        "teacher_above_positive": _by_teacher(collected),
        "too_easy": np.where(empty, 1.0, _ease(collected, seen, settings.temperature)),
        "duplicate_in_row": _either(_repeated(collected)),
        "empty": _either(empty),
        "too_long": _either(collected.cut[material.negatives.values]),
        "non_finite_score": _either(collected.scored & ~np.isfinite(collected.score)),
        "reused": np.where(empty, 1.0, _wear(material, settings.max_uses)),
        "repeats_query": _either(collected.flags["repeats_query"]),
        "leaks": _leaks(collected),
        "too_few_negatives": _scarcity(material, collected.material.digests, settings.min_negatives),
        "repeated_query_id": _either(
            np.zeros(len(material), np.bool_) if grouped else _asked_again(material)
        ),
    }
    return Findings({name: scores[name].astype(np.float32) for name in ISSUES}, lists, seen.nearest, learned)


def probability(score: Floats, bound: float) -> Floats:
    """The probability behind a score of ``likely_false_negative``.

    Parameters
    ----------
    score : ndarray
        0…1.
    bound : float
        ``AuditSettings.false_negative``, at which the score is one half.

    Examples
    --------
    >>> probability(np.array([0.5, 1.0]), 0.8).round(6).tolist()
    [0.8, 0.0]
    """
    return np.asarray(bound * (1 - score) / (bound * (1 - score) + (1 - bound) * score))


def _suspicion(chance: Floats, bound: float) -> Floats:
    """1 minus a probability whose odds were divided by those of the bound."""
    bounded = np.clip(chance, 1e-9, 1 - 1e-9)
    return np.asarray(1 / (1 + bounded / (1 - bounded) * (1 - bound) / bound))


def _either(flags: Flags) -> Floats:
    return np.where(flags, 0.0, 1.0)


def _by_similarity(seen: Features, material: Material, empty: Flags) -> dict[str, Floats]:
    """The three simple rules; one half where the rule begins to hold."""
    bound = seen.best - 0.05 * np.abs(seen.best)
    near = seen.reciprocal / (seen.reciprocal + 1)
    near[material.negatives.lengths[material.negatives.rows] < _LEAST_NEIGHBOURS] = 1.0
    rules = {
        "above_positive": np.clip(0.5 - (seen.similarity - seen.best) / 2, 0, 1),
        "above_95": np.clip(0.5 - (seen.similarity - bound) / 2, 0, 1),
        "reciprocal_neighbours": near,
    }
    return {name: np.where(empty, 1.0, found) for name, found in rules.items()}


def _by_teacher(collected: Collected) -> Floats:
    """Scores beside the best positive's, in units of how much they differ here."""
    difference = collected.score - collected.teacher[collected.material.negatives.rows]
    there = np.isfinite(difference)
    spread = difference[there].std() if there.any() else 0.0
    found = np.ones(len(difference))
    found[there] = 1 / (1 + np.exp(np.clip(difference[there] / (spread or 1.0), -30, 30)))
    return found


def _ease(collected: Collected, seen: Features, temperature: float) -> Floats:
    """A negative's softmax weight w beside its positive and 15 others' in a batch of 16: w / (w + 1e-4)."""
    material = collected.material
    labelled = np.unique(material.positives.values)
    pool = np.sort(labelled[np.argsort(mixed(collected.material.digests[labelled]), kind="stable")[:_POOL]])
    others = np.full(len(material), -np.inf)
    vectors = material.documents[pool]
    for start in range(0, len(material), _PART):
        rows = np.arange(start, min(start + _PART, len(material)))
        logits = (material.queries[rows] @ vectors.T).astype(np.float64) / temperature
        own = material.positives.take(rows)
        at = np.minimum(np.searchsorted(pool, own.values), len(pool) - 1)
        mine = pool[at] == own.values
        logits[own.rows[mine], at[mine]] = -np.inf
        counted = np.isfinite(logits).sum(axis=1)
        some = np.flatnonzero(counted)
        lists = Ragged.from_lengths(logits[some].ravel(), np.full(len(some), len(pool)))
        others[rows[some]] = lists.logsumexp() - np.log(counted[some]) + np.log(_OTHERS)
    own_logit, best = seen.similarity / temperature, seen.best / temperature
    total = np.logaddexp(np.logaddexp(own_logit, best), others[material.negatives.rows])
    return np.asarray(1 / (1 + _NO_GRADIENT * np.exp(np.minimum(total - own_logit, 700))))


def _closeness(likeness: Floats, threshold: float) -> Floats:
    """0 for the same words, one half at the threshold, 1 for none in common."""
    above = 0.5 * (1 - likeness) / (1 - threshold)
    below = 0.5 + 0.5 * (threshold - likeness) / threshold
    return np.where(likeness >= threshold, above, below)


def _repeated(collected: Collected) -> Flags:
    """Which negatives their row has before, from the same source."""
    material = collected.material
    lists = material.negatives.rows * max(1, len(collected.sources)) + collected.source
    codes = lists * len(material.documents) + material.negatives.values
    found = np.ones(len(codes), dtype=np.bool_)
    found[np.unique(codes, return_index=True)[1]] = False
    return np.asarray(
        found & (collected.material.digests != EMPTY)[material.negatives.values], dtype=np.bool_
    )


def _wear(material: Material, most: int | None) -> Floats:
    """One half for a document that one row more has as a negative than may."""
    used = material.negatives.keep(firsts(material.negatives)).values
    counts = np.bincount(used, minlength=len(material.documents))
    limit = most or max(10, int(10 * counts[counts > 0].mean())) if counts.any() else 1
    return np.asarray((limit + 1) / (limit + 1 + counts[material.negatives.values]))


def _leaks(collected: Collected) -> Floats:
    asks = collected.asks_test[collected.material.negatives.rows]
    return np.where(asks, 0.0, np.where(collected.flags["leaks"], FLAGGED, 1.0))


def _scarcity(material: Material, digests: Integers, least: int) -> Floats:
    """Share of the negatives that a row needs which it has, halved; 1 where it has enough."""
    filled = material.negatives.keep((digests != EMPTY)[material.negatives.values])
    pairs = np.unique(filled.rows * len(digests) + filled.values)
    distinct = np.bincount(pairs // max(1, len(digests)), minlength=len(material))
    return np.where(distinct >= least, 1.0, 0.5 * distinct / max(1, least))


def _asked_again(material: Material) -> Flags:
    _, back, counts = np.unique(material.group, return_inverse=True, return_counts=True)
    return np.asarray(counts[back] > 1)
