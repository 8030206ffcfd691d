"""Findings as counts: by issue, by source, and as the six checks that are done by hand elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eci.audit.collecting import Collected
from eci.audit.detecting import probability
from eci.audit.findings import Findings
from eci.audit.issues import FAULTS, ISSUES, OF_ROWS
from eci.audit.result import Check, IssueCount
from eci.results import count
from eci.spilled import tiles
from eci.task import EMPTY
from eci.types import Flags, Integers

# Bins of a probability.
CHANCES = 40
# A share of negatives flagged as false beyond which the rows are hardly what they claim to be.
_MANY = 0.2
# A judge that confirms a smaller share of the likely false negatives contradicts most of them.
_MOST = 0.5
# Of those a probability of being an answer tells nothing.
_SETTLED = ("identical_to_positive", "known_positive", "empty", "repeats_query")


@dataclass(frozen=True)
class Counts:
    """Findings of B rows with n negatives of S sources, counted in one pass.

    Parameters
    ----------
    rows, negatives : int
    sizes : ndarray of shape (S,)
        Negatives of each source.
    flags : dict of str to ndarray of shape (S,)
        Negatives of each source that have an issue.
    rows_with : dict of str to int
        Rows that have an issue, themselves or in a negative.
    chances : ndarray of shape (S, CHANCES)
        Negatives that were asked whether they are answers, by probability in equal bins from 0 to 1.
    mendable : ndarray of shape (S,)
        Negatives of each source that a fix changes.
    mended : dict
        What ``--fix drop`` takes out unless issues are named: ``negatives``, the ``rows`` that have them, and
        the rows that are ``emptied`` by it; and ``issues``, the negatives by fault, of which one can have
        several.
    positives : int
        Negatives that are known positives.
    """

    rows: int
    negatives: int
    sizes: Integers
    flags: dict[str, Integers]
    rows_with: dict[str, int]
    chances: Integers
    mendable: Integers
    mended: dict[str, Any]
    positives: int

    @classmethod
    def of(cls, found: Findings, collected: Collected, bound: float) -> Counts:
        """Of all findings; `bound` is of a false negative."""
        size = len(collected.sources)
        sizes, mendable = np.zeros((2, size), dtype=np.int64)
        flags = {issue: np.zeros(size, dtype=np.int64) for issue in ISSUES}
        rows_with, faults = dict.fromkeys(ISSUES, 0), dict.fromkeys(FAULTS, 0)
        chances = np.zeros((size, CHANCES), dtype=np.int64)
        positives, mended = 0, dict.fromkeys(("negatives", "rows", "emptied"), 0)
        for _, first, part in found.parts():
            places = slice(first, first + part.negatives)
            source = collected.source[places]
            sizes += np.bincount(source, minlength=size)
            for issue in ISSUES:
                flags[issue] += np.bincount(source[part.flags(issue)], minlength=size)
                rows_with[issue] += int(part.rows(issue).sum())
            for issue in FAULTS:
                faults[issue] += int(part.faults(issue).sum())
            chances += _chances(part, source, ~collected.flags["edited"][places], size, bound)
            mend = part.to_mend()
            mendable += np.bincount(source[mend], minlength=size)
            chosen = part.lists.with_values(mend).sums()
            mended["negatives"] += int(mend.sum())
            mended["rows"] += int((chosen > 0).sum())
            mended["emptied"] += int(((chosen > 0) & (chosen == part.lists.lengths)).sum())
            known = part.flags("identical_to_positive") | part.flags("known_positive")
            positives += int(known.sum())
        told = {**mended, "issues": faults}
        return cls(len(found), found.negatives, sizes, flags, rows_with, chances, mendable, told, positives)

    def flagged(self, issue: str) -> int:
        """Negatives that have an issue."""
        return int(self.flags[issue].sum())

    def share(self, issue: str) -> float:
        """Of all negatives; of an issue of rows, of all rows."""
        above, below = (
            (self.rows_with[issue], self.rows) if issue in OF_ROWS else (self.flagged(issue), self.negatives)
        )
        return above / below if below else 0.0


def summary(counts: Counts) -> tuple[IssueCount, ...]:
    """How often each issue occurs, in the order of ``issues.ISSUES``."""
    return tuple(
        IssueCount(issue, counts.rows_with[issue], counts.flagged(issue), counts.share(issue))
        for issue in ISSUES
    )


def by_source(counts: Counts, sources: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """For each source its negatives, and how many of them have what; see ``AuditResult.sources``."""
    sizes = np.maximum(counts.sizes, 1)
    return {
        name: {
            "negatives": int(counts.sizes[place]),
            "shares": {issue: float(counts.flags[issue][place] / sizes[place]) for issue in ISSUES},
            "mendable": int(counts.mendable[place]),
            "chances": counts.chances[place].tolist(),
        }
        for place, name in sorted(enumerate(sources), key=lambda each: each[1])
    }


def _chances(part: Findings, source: Integers, asked: Flags, size: int, bound: float) -> Integers:
    """Counts by source and probability of an answer, of shape (S, CHANCES)."""
    asked = asked & ~np.any([part.flags(issue) for issue in _SETTLED], axis=0)
    score = part.scores["likely_false_negative"][asked].astype(np.float64)
    # The bin that ends in the bound ends there after rounding, too.
    cells = np.floor(probability(score, bound) * CHANCES + 1e-6).astype(np.int64)
    cells = source[asked] * CHANCES + np.clip(cells, 0, CHANCES - 1)
    return np.bincount(cells, minlength=size * CHANCES).reshape(size, CHANCES)


def checks(counts: Counts, collected: Collected, merged: bool) -> tuple[Check, ...]:
    """The six checks, by name."""
    repeated = counts.rows_with["repeated_query_id"]
    told = f"{count(repeated, 'row')} share their query" if repeated else "none fails"
    material = collected.material
    empty = material.digests == EMPTY
    # An id that a corpus lacks ends the reading; what is there may still say nothing.
    nothing = sum(
        int(empty[part].sum())
        for side in (material.positives, material.negatives)
        for part in tiles(side.values)
    )
    return (
        Check(
            "unique question ids",
            not repeated,
            "rows that ask the same were brought together" if merged else told,
        ),
        _counted("no known positive among the negatives", counts.positives, "negative"),
        _counted("unique negatives per row", counts.flagged("duplicate_in_row"), "negative"),
        _counted("finite scores", counts.flagged("non_finite_score"), "score"),
        _counted("enough distinct negatives", counts.rows_with["too_few_negatives"], "row"),
        _counted("the corpus path resolves", nothing, "empty document"),
    )


def warnings(
    found: Findings, counts: Counts, collected: Collected, judge: Mapping[str, Any] | None
) -> tuple[str, ...]:
    """What to be careful of; `judge` is what `judging.judged` told."""
    told = _of_judge(judge) if judge else []
    told += borrowed(found)
    share = counts.share("likely_false_negative")
    if share > _MANY:
        told.append(
            f"{share:.0%} of the negatives look like unlabelled answers. Read some of them before any "
            "is dropped."
        )
    if collected.estimated:
        told.append(
            f"too_long of {count(collected.estimated, 'document')} was estimated from the number of words."
        )
    if collected.incomparable:
        told.append(
            f"teacher_above_positive leaves out {count(collected.incomparable, 'row')}: scores of their "
            "negatives have several scorers, and cannot all be compared with the positive's."
        )
    told += collected.unmatched
    edited = int(np.count_nonzero(collected.flags["edited"]))
    if edited:
        told.append(
            f"{count(edited, 'negative')} made by editing a positive: near it on purpose, and not asked "
            "whether they are copies or answers."
        )
    return tuple(told)


def borrowed(found: Findings) -> list[str]:
    """That the weights were not learned here, where that is so."""
    if found.learned["from"] == "these rows":
        return []
    return [
        "likely_false_negative uses weights from other collections: too few queries here have a second "
        f"positive to learn from ({found.learned['stand_ins']:,}). Trust its order more than its flags."
    ]


def _of_judge(told: Mapping[str, Any]) -> list[str]:
    found = []
    if told["agreement"] is not None and told["agreement"] < _MOST:
        found.append(
            f"The judge confirms {told['agreement']:.0%} of the likely false negatives it answered. One of "
            "the two is wrong about most of them. Read some before any is dropped."
        )
    left = sum(told["unanswered"].values())
    if left:
        found.append(
            f"The judge gave no verdict on {count(left, 'pair')}: there likely_false_negative has the word."
        )
    return found


def _counted(name: str, number: int, noun: str) -> Check:
    return Check(name, not number, f"{count(number, noun)}" if number else "none fails")
