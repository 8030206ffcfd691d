"""What is wrong with each negative, in arrays that need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci.audit.columns import spans
from eci.audit.issues import FAULTS, FLAGGED, OF_ROWS
from eci.audit.verdicts import Verdict
from eci.ragged import Ragged
from eci.types import Flags, Integers


@dataclass(frozen=True)
class Findings:
    """What is wrong with n negatives of B rows.

    Those of an audit lie in temporary files, about 80 bytes for each negative, which go with the object. Of
    many rows take `parts`: what `flags` and the other methods give is in memory.

    Parameters
    ----------
    scores : dict of str to ndarray, float32
        For each of ``issues.ISSUES``: of shape (n,), or (B,) where it is said of rows.
    offsets : ndarray of shape (B + 1,), int64
        Where the negatives of each row begin; see `Ragged`.
    nearest : ndarray of shape (n,)
        Place of the nearest positive among those of its row.
    learned : dict
        Where the weights of ``likely_false_negative`` come from, and what they are.
    verdicts : mapping of int to Verdict
        By index of the negative, where a judge was asked and answered.
    """

    scores: dict[str, NDArray[np.float32]]
    offsets: Integers
    nearest: Integers
    learned: dict[str, Any]
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def negatives(self) -> int:
        """Number of negatives n."""
        return int(self.offsets[-1])

    @property
    def lists(self) -> Ragged:
        """Index of each negative, 0…n-1, in its row."""
        return Ragged(np.arange(self.negatives), self.offsets)

    def part(self, start: int, stop: int) -> Findings:
        """Of rows that follow each other, as if there were no others; scores are not copied."""
        first, last = self.offsets[[start, stop]].tolist()
        scores = {
            issue: found[start:stop] if issue in OF_ROWS else found[first:last]
            for issue, found in self.scores.items()
        }
        own = self._judged[slice(*np.searchsorted(self._judged, [first, last]))].tolist()
        return replace(
            self,
            scores=scores,
            offsets=self.offsets[start : stop + 1] - first,
            nearest=self.nearest[first:last],
            verdicts={number - first: self.verdicts[number] for number in own},
        )

    def parts(self) -> Iterator[tuple[int, int, Findings]]:
        """All rows in parts that fit in memory: the first row, the first negative, and the part."""
        for start, stop in spans(self.offsets):
            yield start, int(self.offsets[start]), self.part(start, stop)

    def flags(self, issue: str) -> Flags:
        """Which negatives have an issue, of shape (n,); of a row's issue, all of its negatives."""
        return self.of_negatives(issue) <= FLAGGED

    def faults(self, issue: str) -> Flags:
        """Which negatives an issue is reason to mend, of shape (n,): where a judge spoke, its word counts."""
        found = self.flags(issue)
        if issue == "likely_false_negative":
            found[self._judged] = False
        return found

    def to_mend(self) -> Flags:
        """Which negatives a fix takes out or puts elsewhere unless issues are named, of shape (n,)."""
        return np.asarray(np.any([self.faults(issue) for issue in FAULTS], axis=0))

    def of_negatives(self, issue: str) -> NDArray[np.float32]:
        """The scores of an issue, of shape (n,)."""
        found = self.scores[issue]
        return np.repeat(found, np.diff(self.offsets)) if issue in OF_ROWS else found

    def rows(self, issue: str) -> Flags:
        """Which rows have an issue themselves or in a negative, of shape (B,)."""
        if issue in OF_ROWS:
            return np.asarray(self.scores[issue] <= FLAGGED)
        return np.asarray(self.lists.with_values(self.flags(issue)).sums() > 0)

    @cached_property
    def _judged(self) -> Integers:
        return np.sort(np.fromiter(self.verdicts, np.int64, len(self.verdicts)))
