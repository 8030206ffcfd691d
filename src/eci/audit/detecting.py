"""Scores of every issue for every negative: 0…1, low is severe, flagged up to 0.5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eci.audit.chances import Learned
from eci.audit.collecting import Collected
from eci.audit.columns import spread
from eci.audit.combination import mixed
from eci.audit.features import Features, features
from eci.audit.findings import Findings
from eci.audit.issues import FLAGGED, ISSUES, AuditSettings
from eci.audit.material import Material, Tile, firsts
from eci.audit.verdicts import UNJUDGED
from eci.ragged import Ragged
from eci.spilled import Column, tiles
from eci.task import EMPTY
from eci.types import Flags, Floats, Integers, Progress, silent

# In-batch positives of other queries, and documents drawn to stand for them.
_OTHERS, _POOL = 15, 256
# Softmax weight below which a negative has next to no gradient.
_NO_GRADIENT = 1e-4
# One negative alone is everybody's nearest neighbour.
_LEAST_NEIGHBOURS = 3
# Rows that one matrix product looks at: always the same, for its last digit depends on how many they are.
_PART = 4096


@dataclass(frozen=True)
class _Settled:
    """What is known of the negatives of some rows before anything is compared, each of shape (n,)."""

    own: Flags
    known: Flags
    empty: Flags
    odd: Flags
    closeness: Floats

    @classmethod
    def of(cls, collected: Collected, tile: Tile, empty: Flags, threshold: float) -> _Settled:
        candidates, at = tile.candidates, tile.places
        judged, edited, repeats = (
            collected.flags[name][at] for name in ("judged", "edited", "repeats_query")
        )
        known = collected.material.known_elsewhere(candidates) | judged
        own, nothing = candidates.labelled, empty[candidates.documents.values]
        odd = own | known | nothing | edited | repeats
        return cls(own, known, nothing, odd, _closeness(collected.likeness[at], threshold))


@dataclass(frozen=True)
class _Whole:
    """What all rows together tell of each.

    Parameters
    ----------
    empty : ndarray of shape (D,), bool
    usable : ndarray of shape (n,), bool
        Negatives to learn from.
    uses : ndarray of shape (D,)
        Rows that have a document as a negative.
    most : int
        So many of which are not too many.
    spread : float
        Of scores beside the best positive's.
    others : ndarray of shape (B,)
        ln of the sum of the softmax weights of other queries' positives.
    again : ndarray of shape (B,), bool
        Whether a query has another row.
    """

    empty: Flags
    usable: Flags
    uses: NDArray[np.int32]
    most: int
    spread: float
    others: Floats
    again: Flags


def findings(
    collected: Collected, settings: AuditSettings, grouped: bool, progress: Progress = silent
) -> Findings:
    """Everything that is wrong.

    Parameters
    ----------
    collected : Collected
    settings : AuditSettings
    grouped : bool
        Whether rows that ask the same were brought together, so that no query can have two.
    progress : Progress
    """
    material = collected.material
    whole = _whole(collected, settings, grouped, progress)
    progress("learning from the labels", 0, 0)
    learned = Learned.of(material, whole.usable)
    columns = {name: Column(np.float32) for name in ISSUES if name != "judged_false_negative"}
    nearest = Column(np.int32)
    for tile in material.tiles():
        settled = _Settled.of(collected, tile, whole.empty, settings.near_copy)
        seen = features(material, tile.candidates)
        chance = learned.chances(material.group[tile.rows], tile.candidates, seen)
        for name, values in _scores(collected, settings, whole, tile, settled, seen, chance).items():
            columns[name].add(values)
        nearest.add(seen.nearest)
        progress("rows scored", tile.rows.stop, len(material))
    unjudged = np.broadcast_to(np.float32(UNJUDGED), len(material.negatives.values))
    scores = {name: columns[name].done() if name in columns else unjudged for name in ISSUES}
    return Findings(scores, material.negatives.offsets, nearest.done(), learned.told)


def _whole(collected: Collected, settings: AuditSettings, grouped: bool, progress: Progress) -> _Whole:
    material = collected.material
    documents = len(material.documents)
    empty = material.digests == EMPTY
    uses, labelled = np.zeros(documents, dtype=np.int32), np.zeros(documents, dtype=np.bool_)
    asked, twice = np.zeros((2, len(material)), dtype=np.bool_)
    usable, differences = Column(np.bool_), Column(np.float64)
    for tile in material.tiles():
        lists = tile.candidates.documents
        settled = _Settled.of(collected, tile, empty, settings.near_copy)
        usable.add(~settled.odd & (settled.closeness > FLAGGED))
        np.add.at(uses, lists.values[firsts(lists)], 1)
        labelled[tile.candidates.positives.values] = True
        difference = _above_teacher(collected, tile)
        differences.add(difference[np.isfinite(difference)])
        askers, counts = np.unique(material.asker[tile.rows], return_counts=True)
        twice[askers] |= asked[askers] | (counts > 1)
        asked[askers] = True
        progress("rows compared with labels", tile.rows.stop, len(material))
    again = Column(np.bool_)
    for askers in tiles(material.asker):
        again.add(twice[askers] & (not grouped))
    mean = uses.sum() / max(1, np.count_nonzero(uses))
    return _Whole(
        empty=empty,
        usable=usable.done(),
        uses=uses,
        most=settings.max_uses or max(10, int(10 * mean)) if uses.any() else 1,
        spread=spread(differences),
        others=_others(material, labelled, settings.temperature),
        again=again.done(),
    )


def _scores(
    collected: Collected,
    settings: AuditSettings,
    whole: _Whole,
    tile: Tile,
    settled: _Settled,
    seen: Features,
    chance: Floats,
) -> dict[str, Floats]:
    """Of the negatives of some rows by issue, or of the rows."""
    lists, at = tile.candidates.documents, tile.places
    own, known, empty = settled.own, settled.known, settled.empty
    uses = whole.uses[lists.values].astype(np.int64)
    score, flags = collected.score[at], {name: found[at] for name, found in collected.flags.items()}
    easy = _ease(whole.others[tile.rows][lists.rows], seen, settings.temperature)
    return {
        "identical_to_positive": _either(own),
        "near_positive": np.where(own, 1.0, settled.closeness),
        "known_positive": _either(known & ~own),
        "likely_false_negative": np.where(settled.odd, 1.0, _suspicion(chance, settings.false_negative)),
        **_by_similarity(seen, lists, empty),
        "teacher_above_positive": _by_teacher(_above_teacher(collected, tile), whole.spread),
        "too_easy": np.where(empty, 1.0, easy),
        "duplicate_in_row": _either(_repeated(lists, collected.source[at]) & ~empty),
        "empty": _either(empty),
        "too_long": _either(collected.cut[lists.values]),
        "non_finite_score": _either(collected.scored[at] & ~np.isfinite(score)),
        "reused": np.where(empty, 1.0, (whole.most + 1) / (whole.most + 1 + uses)),
        "repeats_query": _either(flags["repeats_query"]),
        "leaks": np.where(
            collected.asks_test[tile.rows][lists.rows], 0.0, np.where(flags["leaks"], FLAGGED, 1.0)
        ),
        "too_few_negatives": _scarcity(lists, empty, settings.min_negatives),
        "repeated_query_id": _either(whole.again[tile.rows]),
    }


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


def _by_similarity(seen: Features, lists: Ragged, empty: Flags) -> dict[str, Floats]:
    """The three simple rules; one half where the rule begins to hold."""
    bound = seen.best - 0.05 * np.abs(seen.best)
    near = seen.reciprocal / (seen.reciprocal + 1)
    near[lists.lengths[lists.rows] < _LEAST_NEIGHBOURS] = 1.0
    rules = {
        "above_positive": np.clip(0.5 - (seen.similarity - seen.best) / 2, 0, 1),
        "above_95": np.clip(0.5 - (seen.similarity - bound) / 2, 0, 1),
        "reciprocal_neighbours": near,
    }
    return {name: np.where(empty, 1.0, found) for name, found in rules.items()}


def _above_teacher(collected: Collected, tile: Tile) -> Floats:
    """Scores beside the best positive's; not finite where there are not both."""
    rows = tile.candidates.documents.rows
    return np.asarray(collected.score[tile.places] - collected.teacher[tile.rows][rows])


def _by_teacher(difference: Floats, spread: float) -> Floats:
    """Scores beside the best positive's, in units of how much they differ here."""
    there = np.isfinite(difference)
    found = np.ones(len(difference))
    found[there] = 1 / (1 + np.exp(np.clip(difference[there] / (spread or 1.0), -30, 30)))
    return found


def _others(material: Material, labelled: Flags, temperature: float) -> Floats:
    """Of each row ln of the sum of the softmax weights of 15 other queries' positives, of shape (B,)."""
    pool = np.sort(_drawn(material.digests, labelled))
    # In float64: how float32 products round depends on the rows that are multiplied together.
    vectors, found = material.documents[pool].astype(np.float64), Column(np.float64)
    for start in range(0, len(material), _PART):
        rows = np.arange(start, min(start + _PART, len(material)))
        logits = material.queries[material.asked(rows)].astype(np.float64) @ vectors.T / temperature
        own = material.positives.part(start, start + len(rows))
        at = np.minimum(np.searchsorted(pool, own.values), len(pool) - 1)
        mine = pool[at] == own.values
        logits[own.rows[mine], at[mine]] = -np.inf
        counted = np.isfinite(logits).sum(axis=1)
        some = np.flatnonzero(counted)
        lists = Ragged.from_lengths(logits[some].ravel(), np.full(len(some), len(pool)))
        others = np.full(len(rows), -np.inf)
        others[some] = lists.logsumexp() - np.log(counted[some]) + np.log(_OTHERS)
        found.add(others)
    return found.done()


def _drawn(digests: Integers, labelled: Flags) -> Integers:
    """The first labelled documents by a hash."""
    drawn = np.empty(0, dtype=np.int64)
    for places in tiles(np.flatnonzero(labelled)):
        drawn = np.concatenate([drawn, places])
        drawn = drawn[np.argsort(mixed(digests[drawn]), kind="stable")[:_POOL]]
    return drawn


def _ease(others: Floats, seen: Features, temperature: float) -> Floats:
    """A negative's softmax weight w beside its positive and 15 others' in a batch of 16: w / (w + 1e-4)."""
    own_logit, best = seen.similarity / temperature, seen.best / temperature
    total = np.logaddexp(np.logaddexp(own_logit, best), others)
    return np.asarray(1 / (1 + _NO_GRADIENT * np.exp(np.minimum(total - own_logit, 700))))


def _closeness(likeness: Floats, threshold: float) -> Floats:
    """0 for the same words, one half at the threshold, 1 for none in common."""
    above = 0.5 * (1 - likeness) / (1 - threshold)
    below = 0.5 + 0.5 * (threshold - likeness) / threshold
    return np.where(likeness >= threshold, above, below)


def _repeated(lists: Ragged, source: Integers) -> Flags:
    """Which negatives their row has before, from the same source."""
    width = 1 + int(lists.values.max(initial=0))
    return ~firsts(lists.with_values(source.astype(np.int64) * width + lists.values))


def _scarcity(lists: Ragged, empty: Flags, least: int) -> Floats:
    """Share of the negatives that a row needs which it has, halved; 1 where it has enough."""
    distinct = np.bincount(lists.rows[firsts(lists) & ~empty], minlength=len(lists))
    return np.where(distinct >= least, 1.0, 0.5 * distinct / max(1, least))
