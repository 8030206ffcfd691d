"""The best k negatives of each query, out of whatever brought them.

Three objectives. The first looks at a query's picks together, the others at each negative alone:

- ``eci_sem``: the negatives whose weighted residuals, as ``metrics.semantic`` has them, span most;
- ``alignment``: those whose own gradient takes most off the held-out loss, to first order;
- ``margin``: the hardest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from eci import metrics
from eci.embedding import Embedded
from eci.errors import EciError
from eci.examples import Examples, is_label
from eci.first_order import FirstOrder, held_out_gradients
from eci.greedy import log_det_picks
from eci.lexical import Lexicon, by_words
from eci.metrics import semantic
from eci.portions import Portions, Reader
from eci.ragged import Ragged
from eci.similarity import own_documents
from eci.types import Encoder, Flags, Floats, Integers, Progress, Vectors, silent

Objective: TypeAlias = Literal["eci_sem", "alignment", "margin"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@dataclass(frozen=True)
class SelectSettings:
    """Which negatives to select; stored in every result.

    Parameters
    ----------
    k : int
        Negatives per query; fewer where a query has no more.
    objective : {"eci_sem", "alignment", "margin"}
    max_false_negative_risk : float, optional
        Negatives of a higher risk, as ``audit.risk`` has it, are left out; all are candidates when None.
    temperature : float
        τ of ``eci_sem`` and ``alignment``.
    label : str
        The source of the selected negatives.
    layout : str
        Of the output, one of ``datasets.LAYOUT_NAMES``.
    """

    k: int
    objective: Objective = "eci_sem"
    max_false_negative_risk: float | None = None
    temperature: float = 0.05
    label: str = "selected"
    layout: str = "eci"

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise EciError(f"k is a whole number of negatives, at least 1, got {self.k!r}.")
        if self.objective not in OBJECTIVES:
            raise EciError(f"unknown objective '{self.objective}'. Known: {', '.join(OBJECTIVES)}.")
        risk = self.max_false_negative_risk
        if risk is not None and not 0 <= risk <= 1:
            raise EciError(f"max_false_negative_risk lies between 0 and 1, got {risk}.")
        low, high = metrics.TEMPERATURES
        if not low <= self.temperature <= high:
            raise EciError(f"temperature lies between {low} and {high}, got {self.temperature}.")
        if not is_label(self.label):
            raise EciError(f"the label {self.label!r} is empty or holds characters that do not print.")


@dataclass(frozen=True)
class Picks:
    """What was chosen for B queries out of n candidates.

    Parameters
    ----------
    chosen : Ragged of B rows, int64
        Places of the candidates, 0…n − 1, in the order in which they were picked.
    gains : ndarray of shape (m,)
        What each pick adds, in the order of ``chosen.values``. ``eci_sem``: nats per dimension; they sum to
        ``eci_sem_query`` of the picks. ``alignment``: fall of the held-out loss per unit of learning rate.
        ``margin``: cosine with the query.
    """

    chosen: Ragged
    gains: Floats


class Common:
    """What selectors have in common where each has some of the queries alone.

    Parameters
    ----------
    queries : Portions
    encoder : Encoder
    settings : SelectSettings
    progress : Progress

    Attributes
    ----------
    reader : Reader, optional
        Knows in how many of all documents each word occurs; for ``eci_sem``.
    gradients : ndarray of shape (GROUPS, d, d), optional
        Of the queries in memory; for ``alignment``.
    """

    def __init__(
        self, queries: Portions, encoder: Encoder, settings: SelectSettings, progress: Progress = silent
    ) -> None:
        self.reader: Reader | None = None
        self.gradients: Vectors | None = None
        if settings.objective == "eci_sem":
            self.reader = queries.reader(by_words, progress=progress)[0]
        if settings.objective == "alignment":
            embedded = Embedded(queries.held, encoder)
            embedded.prepare(np.arange(len(queries.held.queries)))
            self.gradients = held_out_gradients(queries.held, embedded, settings.temperature)


class Selector:
    """Chooses negatives of examples, whose texts it embeds once when it is made.

    Parameters
    ----------
    examples : Examples
        Holds every query and document that will be asked for.
    encoder : Encoder
        Frozen; best the one about to be fine-tuned.
    settings : SelectSettings
    common : Common, optional
        Where the examples are some of the queries; else they are all.

    Attributes
    ----------
    embedded : Embedded

    Raises
    ------
    EciError
        ``alignment`` is asked for, and there are too few queries to hold any out.
    """

    def __init__(
        self,
        examples: Examples,
        encoder: Encoder,
        settings: SelectSettings,
        common: Common | None = None,
    ) -> None:
        self._examples, self.settings = examples, settings
        self.embedded = Embedded(examples, encoder)
        self.embedded.prepare(np.arange(len(examples.queries)))
        digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in examples.documents]
        self._digests = np.array([int.from_bytes(each, "big") for each in digests], dtype=np.uint64)
        if settings.objective == "eci_sem":
            reader = common.reader if common is not None else None
            documents = examples.documents
            self._lexicon = reader.lexicon(documents) if reader is not None else Lexicon.of(documents)
            self._query_words = self._lexicon.vocabulary.read(examples.queries)
        if settings.objective == "alignment":
            gradients = common.gradients if common is not None else None
            if gradients is None:
                gradients = held_out_gradients(examples, self.embedded, settings.temperature)
            self._first_order = FirstOrder(examples, self.embedded, gradients, settings.temperature)

    def choose(self, queries: Integers, candidates: Ragged, barred: Flags) -> Picks:
        """The best k candidates of each query.

        Parameters
        ----------
        queries : ndarray of shape (B,)
            Indices into the queries of the examples.
        candidates : Ragged of B rows, int64
            Indices into their documents, each once a row. Their order is irrelevant: ties are broken by
            hardness (as ``margin`` orders) and then by a digest of the text.
        barred : ndarray of shape (n,), bool
            Candidates that are not to be chosen.
        """
        vectors = self.embedded.queries[queries]
        positives = self._examples.positives.take(queries)
        by_text = np.lexsort((self._digests[positives.values], positives.rows))
        positives = positives.with_values(positives.values[by_text])
        similarities = own_documents(vectors, self.embedded.documents, positives)
        best = positives.values[similarities.argmaxima()]
        own = own_documents(vectors, self.embedded.documents, candidates).values.astype(np.float64)
        positive = np.repeat(similarities.maxima(), candidates.lengths)
        # Best first in the eyes of ``margin``: below the positive as near to it as can be, then above it.
        above = own >= positive
        order = np.lexsort((self._digests[candidates.values], np.abs(own - positive), above, candidates.rows))
        places = Ragged.from_lengths(order, candidates.lengths).keep(~barred[order])
        documents = places.with_values(candidates.values[places.values])
        if self.settings.objective == "margin":
            picks = places.keep(places.within < self.settings.k)
            return Picks(picks, own[picks.values])
        margins = (positive - own)[places.values]
        if self.settings.objective == "eci_sem":
            chosen, gains = self._diverse(queries, best, documents, margins)
        else:
            chosen, gains = self._aligned(queries, best, documents, margins)
        return Picks(chosen.with_values(places.values[chosen.values]), gains)

    def _diverse(
        self, queries: Integers, best: Integers, documents: Ragged, margins: Floats
    ) -> tuple[Ragged, Floats]:
        """``eci_sem``: places in ``documents.values``, and gains."""
        overlaps = np.zeros(len(margins))
        # Those at or above the positive weigh nothing anyway.
        asked = np.flatnonzero(margins > 0)
        overlaps[asked] = self._lexicon.overlap(
            self._query_words, queries[documents.rows[asked]], documents.values[asked]
        )
        weight = semantic.weights(margins, overlaps, self.settings.temperature)
        vectors, k = self.embedded.documents, self.settings.k
        return log_det_picks(vectors[best], vectors, documents, weight, k)

    def _aligned(
        self, queries: Integers, best: Integers, documents: Ragged, margins: Floats
    ) -> tuple[Ragged, Floats]:
        """``alignment``: places in ``documents.values``, and gains."""
        values = self._first_order.falls(
            queries[documents.rows], best[documents.rows], documents.values, margins
        )
        chosen = documents.with_values(np.lexsort((-values, documents.rows)))
        chosen = chosen.keep(chosen.within < self.settings.k)
        return chosen, values[chosen.values]
