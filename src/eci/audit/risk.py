"""What an audit knows of the negatives of scoring's examples: which are none, and the risk of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from eci.audit.chances import Learned
from eci.audit.collecting import edited
from eci.audit.features import features
from eci.audit.material import Material
from eci.datasets.columns import Documents
from eci.embedding import Embedded
from eci.examples import Examples
from eci.ragged import Ragged, rising
from eci.task import EMPTY, text_digests
from eci.types import Flags, Integers


class Edited:
    """Notes, as rows pass by, which texts were made by editing a positive."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def note(self, batch: pa.RecordBatch) -> None:
        """Learn those of canonical rows."""
        negatives = Documents.of(batch.column("negatives"))
        self._texts.update(negatives.shown.filter(pa.array(edited(negatives))).unique().to_pylist())

    def among(self, documents: Iterable[str]) -> Flags:
        """Which of D documents are such texts, of shape (D,)."""
        return np.array([text in self._texts for text in documents], dtype=np.bool_)


@dataclass(frozen=True)
class Same:
    """By which texts are the same, whatever their case and white space.

    Parameters
    ----------
    queries : ndarray of shape (Q,), int64
        Digests of the queries of examples.
    documents : ndarray of shape (D,), int64
        Digests of their documents.
    """

    queries: Integers
    documents: Integers

    @classmethod
    def of(cls, examples: Examples) -> Same:
        """Of all texts of examples."""
        texts = (pa.array(each, pa.string()) for each in (examples.queries, examples.documents))
        return cls(*(text_digests(None, each) for each in texts))


class FalseNegativeRisk:
    """How likely each negative of examples is an answer that nobody labelled.

    The probability of ``eci audit``, learned from the queries with several positives, over the documents of
    all sources of a query. Negatives that were made by editing a positive are near it on purpose: their risk
    is 0.

    Parameters
    ----------
    examples : Examples
    same : Same
    embedded : Embedded
        With the vectors of all of them.
    edited : ndarray of shape (D,), bool
        Which documents were made by editing a positive.
    bound : float
        The largest risk to be taken, 0…1.

    Attributes
    ----------
    learned : dict
        Where the weights are from, and what they are.
    """

    def __init__(
        self, examples: Examples, same: Same, embedded: Embedded, edited: Flags, bound: float
    ) -> None:
        size = self._size = len(examples.documents)
        self._codes = rising(examples.negatives.rows * size + examples.negatives.values)
        lengths = np.bincount(self._codes // size, minlength=len(examples.queries))
        negatives = Ragged.from_lengths(self._codes % size, lengths)
        material = Material(
            embedded.queries,
            embedded.documents,
            examples.positives,
            negatives,
            same.queries,
            same.documents,
        )
        by_edit = edited[negatives.values]
        usable = ~by_edit & (same.documents != EMPTY)[negatives.values]
        for tile in material.tiles():
            own = tile.candidates
            usable[tile.places] &= ~(own.labelled | material.known_elsewhere(own))
        learned = Learned.of(material, usable)
        self.learned, self._edited = learned.told, int(by_edit.sum())
        self._risky = ~by_edit
        for tile in material.tiles():
            seen = features(material, tile.candidates)
            found = learned.chances(material.group[tile.rows], tile.candidates, seen)
            self._risky[tile.places] &= found > bound

    def exceeded(self, queries: Integers, candidates: Ragged) -> Flags:
        """Which of n candidates have a risk above the bound, of shape (n,).

        Parameters
        ----------
        queries : ndarray of shape (B,)
            Indices into the queries of the examples.
        candidates : Ragged of B rows
            Negatives of each, as indices into the documents of the examples.
        """
        codes = queries[candidates.rows] * self._size + candidates.values
        return np.asarray(self._risky[np.searchsorted(self._codes, codes)])

    def notes(self) -> Iterator[str]:
        """What to know about the risks, for a person."""
        if self.learned["from"] != "these rows":
            yield (
                f"risks by weights from other collections: {self.learned['stand_ins']:,} queries here have a "
                "second positive to learn from, too few"
            )
        if self._edited:
            yield f"made by editing a positive, near it on purpose, so of no risk: {self._edited:,}"
