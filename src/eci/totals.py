"""What scoring adds up over queries: exact sums of every source, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eci.batches import Measured, Note
from eci.examples import Examples
from eci.tally import GROUPS, Tally
from eci.types import Flags, Integers

_COUNTERS = ("embedded", "identical", "short")


@dataclass
class Totals:
    """Everything that is a sum over queries; totals add.

    Parameters
    ----------
    sources : tuple of S str
    own, common : list of S Tally
        Over each source's own queries, and over the queries that every source covers.
    sizes : ndarray of shape (GROUPS,)
        Queries, by jackknife group.
    empty_queries : int
    empty_documents : set of str
        Texts without a sign in them.
    embedded : Counter
        Texts that were asked of the encoder, by role.
    identical : Counter
        Negatives of each source that equal a positive of their query but for case and white space.
    short : Counter
        Queries that have negatives of a source, but fewer than a fixed N.
    """

    sources: tuple[str, ...]
    own: list[Tally] = field(default_factory=list)
    common: list[Tally] = field(default_factory=list)
    sizes: Integers = field(default_factory=lambda: np.zeros(GROUPS, dtype=np.int64))
    empty_queries: int = 0
    empty_documents: set[str] = field(default_factory=set)
    embedded: Counter[str] = field(default_factory=Counter)
    identical: Counter[str] = field(default_factory=Counter)
    short: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.own = self.own or [Tally() for _ in self.sources]
        self.common = self.common or [Tally() for _ in self.sources]

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.sources,
            [one + two for one, two in zip(self.own, other.own, strict=True)],
            [one + two for one, two in zip(self.common, other.common, strict=True)],
            self.sizes + other.sizes,
            self.empty_queries + other.empty_queries,
            self.empty_documents | other.empty_documents,
            **{name: Counter(getattr(self, name)) + getattr(other, name) for name in _COUNTERS},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and dicts, exact."""
        return {
            "sources": list(self.sources),
            "own": [tally.to_dict() for tally in self.own],
            "common": [tally.to_dict() for tally in self.common],
            "sizes": self.sizes.tolist(),
            "empty_queries": self.empty_queries,
            "empty_documents": sorted(self.empty_documents),
            **{name: dict(getattr(self, name)) for name in _COUNTERS},
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Totals:
        """What `to_dict` gave."""
        return cls(
            tuple(told["sources"]),
            [Tally.from_dict(tally) for tally in told["own"]],
            [Tally.from_dict(tally) for tally in told["common"]],
            np.array(told["sizes"], dtype=np.int64),
            told["empty_queries"],
            set(told["empty_documents"]),
            **{name: Counter(told[name]) for name in _COUNTERS},
        )

    @property
    def empty_texts(self) -> int:
        """Queries, and distinct documents, without a sign in them."""
        return self.empty_queries + len(self.empty_documents)

    def meet(self, examples: Examples) -> None:
        """Count texts of examples that are met for the first time."""
        self.empty_queries += sum(not text.strip() for text in examples.queries)
        self.empty_documents.update(text for text in examples.documents if not text.strip())

    def score(
        self,
        measured: Measured,
        queries: Integers,
        *,
        temperature: float,
        rows: int,
        note: Note | None = None,
    ) -> None:
        """Add queries of examples; see `Measured.tallies`."""
        examples = measured.examples
        every: Flags = np.all(examples.covered(), axis=1) & (examples.sources == self.sources)
        tallies = measured.tallies(queries, temperature=temperature, complete=every, rows=rows, note=note)
        for label, own, common in zip(examples.sources, *tallies, strict=True):
            place = self.sources.index(label)
            self.own[place] += own
            self.common[place] += common
        self.sizes = self.sizes + np.bincount(measured.groups[queries], minlength=GROUPS)
        drawn = np.zeros(len(examples.queries), dtype=np.bool_)
        drawn[queries] = True
        found = examples.source[examples.identical() & drawn[examples.negatives.rows]]
        counts = np.bincount(found, minlength=len(examples.sources)).tolist()
        self.identical.update(dict(zip(examples.sources, counts, strict=True)))
