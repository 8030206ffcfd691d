"""Sums over queries, kept per group of queries: the whole state of a metric.

Tallies add, over batches, files and machines, and the sums are exact: every float64 addend is a whole
number of units of 2⁻¹¹²⁶ and is added as that integer. The size of batches and the order of
queries therefore change no digit of a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci.types import Floats, Integers

GROUPS = 20
# The smallest float64, 2⁻¹⁰⁷⁴, written with a full 53-bit mantissa.
_UNIT = 1126


@dataclass(frozen=True)
class Tally:
    """Exact sums of named per-query columns, by group.

    Parameters
    ----------
    sums : dict of str to ndarray of shape (GROUPS,), Python integers
        In units of 2⁻¹¹²⁶.

    Examples
    --------
    >>> groups = np.array([0, 0, 3])
    >>> tally = Tally.of(groups, {"n": np.array([1.0, 2.0, np.nan]), "signal": np.array([0.5, 0.25, 0.75])})
    >>> twice = tally + tally
    >>> float(twice.total("n")), float(twice.total("signal"))
    (6.0, 3.0)
    """

    sums: dict[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, groups: Integers, columns: Mapping[str, Floats]) -> Tally:
        """Sum columns of shape (B,) by `groups`, of shape (B,); NaN means undefined and adds nothing."""
        return cls({name: _exact_sums(groups, column) for name, column in columns.items()})

    def __add__(self, other: Tally) -> Tally:
        names = self.sums.keys() | other.sums.keys()
        nothing = np.zeros(GROUPS, dtype=object)
        return Tally(
            {name: self.sums.get(name, nothing) + other.sums.get(name, nothing) for name in sorted(names)}
        )

    def to_dict(self) -> dict[str, list[str]]:
        """The exact sums of each column, as hexadecimal digits."""
        return {name: [f"{int(entry):x}" for entry in sums] for name, sums in self.sums.items()}

    @classmethod
    def from_dict(cls, told: Mapping[str, Sequence[str]]) -> Tally:
        """What `to_dict` gave."""
        return cls(
            {name: np.array([int(entry, 16) for entry in sums], dtype=object) for name, sums in told.items()}
        )

    def total(self, name: str) -> float:
        """Sum of a column over all groups; 0 for a column never met."""
        return float(_to_float([self.sums.get(name, np.zeros(GROUPS, dtype=object)).sum()])[0])

    def by_group(self, name: str) -> Floats:
        """Sum of a column in each group, of shape (GROUPS,)."""
        return _to_float(self.sums.get(name, np.zeros(GROUPS, dtype=object)))

    def replicates(self) -> dict[str, Floats]:
        """Sum of each column over everything, then without each group: arrays of shape (1 + GROUPS,)."""
        return {
            name: _to_float(np.concatenate([[sums.sum()], sums.sum() - sums]))
            for name, sums in self.sums.items()
        }


def _exact_sums(groups: Integers, column: Floats) -> NDArray[Any]:
    defined = ~np.isnan(column)
    if not np.all(np.isfinite(column[defined])):
        raise ValueError("a tally takes finite numbers, or NaN for undefined; got an infinite one")
    mantissa, exponent = np.frexp(column[defined])
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    scales, scale = np.unique(exponent, return_inverse=True)
    # Two halves of the mantissa, so that 2³⁶ of them add up within 64 bits.
    high, low = np.zeros((2, len(scales), GROUPS), dtype=np.int64)
    np.add.at(high, (scale, groups[defined]), whole >> 26)
    np.add.at(low, (scale, groups[defined]), whole & ((1 << 26) - 1))
    sums = np.zeros(GROUPS, dtype=object)
    for power, upper, lower in zip(scales, high.astype(object), low.astype(object), strict=True):
        sums += (upper * (1 << 26) + lower) * (1 << (int(power) - 53 + _UNIT))
    return sums


def _to_float(sums: Iterable[Any]) -> Floats:
    return np.array([int(entry) / (1 << _UNIT) for entry in sums], dtype=np.float64)
