"""Findings as counts: by issue, by source, and as the six checks that are done by hand elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eci.audit.collecting import Collected
from eci.audit.detecting import Findings, probability
from eci.audit.issues import FAULTS, ISSUES, OF_ROWS
from eci.audit.result import Check, IssueCount
from eci.results import count
from eci.task import EMPTY
from eci.types import Flags, Integers

# Bins of a probability.
CHANCES = 40
# A share of negatives flagged as false beyond which the rows are hardly what they claim to be.
_MANY = 0.2
# A judge that confirms a smaller share of the likely false negatives contradicts most of them.
_MOST = 0.5


def summary(found: Findings) -> tuple[IssueCount, ...]:
    """How often each issue occurs, in the order of ``issues.ISSUES``."""
    told = []
    for issue in ISSUES:
        flags, rows = found.flags(issue), found.rows(issue)
        share = rows if issue in OF_ROWS else flags
        told.append(
            IssueCount(issue, int(rows.sum()), int(flags.sum()), float(share.mean()) if len(share) else 0.0)
        )
    return tuple(told)


def by_source(found: Findings, collected: Collected, bound: float) -> dict[str, dict[str, Any]]:
    """For each source its negatives, and how many of them have what; `bound` is of a false negative.

    ``mendable`` are those that a fix changes, ``chances`` counts of those that were asked whether they are
    answers, by probability in `CHANCES` bins from 0 to 1.
    """
    sizes = np.bincount(collected.source, minlength=len(collected.sources))
    mendable = np.bincount(collected.source[found.to_mend()], minlength=len(sizes))
    chances = _chances(found, collected, bound)
    shares = {
        issue: np.bincount(collected.source[found.flags(issue)], minlength=len(sizes)) / np.maximum(sizes, 1)
        for issue in ISSUES
    }
    return {
        name: {
            "negatives": int(sizes[place]),
            "shares": {issue: float(share[place]) for issue, share in shares.items()},
            "mendable": int(mendable[place]),
            "chances": chances[place].tolist(),
        }
        for place, name in sorted(enumerate(collected.sources), key=lambda each: each[1])
    }


def mendable(found: Findings) -> dict[str, Any]:
    """What ``--fix drop`` takes out unless issues are named.

    Returns
    -------
    dict
        ``negatives``, the ``rows`` that have them, and the rows that are ``emptied`` by it; and ``issues``,
        the negatives by fault, of which one can have several.
    """
    chosen = found.lists.with_values(found.to_mend().astype(np.int64)).sums()
    return {
        "negatives": int(chosen.sum()),
        "rows": int((chosen > 0).sum()),
        "emptied": int(((chosen > 0) & (chosen == found.lists.lengths)).sum()),
        "issues": {issue: int(found.faults(issue).sum()) for issue in FAULTS},
    }


def _chances(found: Findings, collected: Collected, bound: float) -> Integers:
    """Counts by source and probability of an answer, of shape (S, CHANCES)."""
    settled = ("identical_to_positive", "known_positive", "empty", "repeats_query")
    asked = ~np.any([collected.flags["edited"], *(found.flags(issue) for issue in settled)], axis=0)
    score = found.scores["likely_false_negative"][asked].astype(np.float64)
    # The bin that ends in the bound ends there after rounding, too.
    cells = np.floor(probability(score, bound) * CHANCES + 1e-6).astype(np.int64)
    cells = collected.source[asked] * CHANCES + np.clip(cells, 0, CHANCES - 1)
    size = len(collected.sources)
    return np.bincount(cells, minlength=size * CHANCES).reshape(size, CHANCES)


def checks(found: Findings, collected: Collected, merged: bool) -> tuple[Check, ...]:
    """The six checks, by name."""
    known = found.flags("identical_to_positive") | found.flags("known_positive")
    ids = "rows that ask the same were brought together" if merged else _told(found.rows("repeated_query_id"))
    repeated = found.rows("repeated_query_id")
    material = collected.material
    # An id that a corpus lacks ends the reading; what is there may still say nothing.
    documents = np.concatenate([material.positives.values, material.negatives.values])
    return (
        Check("unique question ids", not repeated.any(), ids),
        _counted("no known positive among the negatives", known, "negative"),
        _counted("unique negatives per row", found.flags("duplicate_in_row"), "negative"),
        _counted("finite scores", found.flags("non_finite_score"), "score"),
        _counted("enough distinct negatives", found.rows("too_few_negatives"), "row"),
        _counted("the corpus path resolves", (material.digests == EMPTY)[documents], "empty document"),
    )


def warnings(found: Findings, collected: Collected, judge: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What to be careful of; `judge` is what `judging.judged` told."""
    told = _of_judge(judge) if judge else []
    told += borrowed(found)
    flags = found.flags("likely_false_negative")
    if len(flags) and flags.mean() > _MANY:
        told.append(
            f"{flags.mean():.0%} of the negatives look like unlabelled answers. Read some of them before any "
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
    edited = int(collected.flags["edited"].sum())
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


def _counted(name: str, flags: Flags, noun: str) -> Check:
    number = int(flags.sum())
    return Check(name, not number, f"{count(number, noun)}" if number else "none fails")


def _told(repeated: Flags) -> str:
    number = int(repeated.sum())
    return f"{count(number, 'row')} share their query" if number else "none fails"
