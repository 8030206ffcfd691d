"""What a training step on one negative takes off the held-out loss, to first order.

The linear map, the losses and the cross-fit are those of ``metrics.alignment``. A negative n of a query q and
its positive p is trained on alone: the loss −log σ((s(q,p) − s(q,n))/τ) has at W = 0 the gradient
(π/τ)(∂s(q,n)/∂W − ∂s(q,p)/∂W), π = σ((s(q,n) − s(q,p))/τ). Its inner product with the mean gradient of the
held-out loss over the queries of all *other* groups is the predicted fall of that loss per unit of learning
rate.
"""

from __future__ import annotations

import numpy as np

from eci.directions import MOST_HELD_OUT, drawn_order
from eci.embedding import Embedded
from eci.errors import EciError
from eci.examples import Examples
from eci.metrics import alignment
from eci.tally import GROUPS
from eci.types import Floats, Integers, Vectors

_TILE = 4096


class FirstOrder:
    """Held-out gradients of examples, and what they say of negatives.

    Beside the vectors it holds GROUPS numbers a document.

    Parameters
    ----------
    examples : Examples
    embedded : Embedded
        Vectors of all of them; its documents are what the held-out loss ranks.
    temperature : float
        τ.

    Raises
    ------
    EciError
        All queries are of one group: there is none to hold out.
    """

    def __init__(self, examples: Examples, embedded: Embedded, temperature: float) -> None:
        self._embedded, self._temperature = embedded, temperature
        self._groups = np.array([int.from_bytes(key[:8], "big") % GROUPS for key in examples.keys])
        # In orders that do not depend on how the texts were read, as products of matrices round by place.
        queries, pool = drawn_order(examples.keys, 0), embedded.by_text()
        gradients = self._held_out(examples, queries[:MOST_HELD_OUT], pool)
        self._query_along = np.zeros_like(embedded.queries)
        self._of_query = np.zeros(len(embedded.queries), dtype=np.float32)
        self._of_document = np.zeros((GROUPS, len(embedded.documents)), dtype=np.float32)
        for group, gradient in enumerate(gradients):
            own = queries[self._groups[queries] == group]
            if len(own):
                along = embedded.queries[own] @ gradient
                self._query_along[own] = along
                self._of_query[own] = np.einsum("ij,ij->i", along, embedded.queries[own])
                for tile in np.split(pool, range(_TILE, len(pool), _TILE)):
                    shown = embedded.documents[tile]
                    self._of_document[group, tile] = np.einsum("ij,ij->i", shown @ gradient, shown)

    def falls(self, queries: Integers, positives: Integers, negatives: Integers, margins: Floats) -> Floats:
        """Fall of the held-out loss per unit of learning rate, of shape (n,); below 0 where it rises.

        Parameters
        ----------
        queries, positives, negatives : ndarray of shape (n,)
            The triples, as indices into the queries and documents of the examples.
        margins : ndarray of shape (n,)
            Cosine of the positive minus that of the negative.
        """
        # σ(−m/τ) without overflow
        pull = np.exp(-np.logaddexp(0.0, margins / self._temperature)) / self._temperature
        return np.asarray(pull * (self._slopes(queries, negatives) - self._slopes(queries, positives)))

    def _slopes(self, queries: Integers, documents: Integers) -> Floats:
        """⟨∂s/∂W, gradient⟩ of n pairs at W = 0, of shape (n,); the gradient is symmetric."""
        found = np.empty(len(queries))
        for start in range(0, len(found), _TILE):
            asked, held = queries[start : start + _TILE], documents[start : start + _TILE]
            shown = self._embedded.documents[held]
            cosine = np.einsum("ij,ij->i", self._embedded.queries[asked], shown, dtype=np.float64)
            across = np.einsum("ij,ij->i", self._query_along[asked], shown, dtype=np.float64)
            curved = self._of_query[asked] + self._of_document[self._groups[asked], held]
            found[start : start + _TILE] = 2 * across - cosine * curved
        return found

    def _held_out(self, examples: Examples, queries: Integers, pool: Integers) -> Vectors:
        """Mean gradient over the queries of all other groups, of shape (GROUPS, d, d)."""
        positives = examples.positives.take(queries)
        place = np.empty(len(self._embedded.documents), dtype=np.int64)
        place[pool] = np.arange(len(pool))
        held = alignment.held_out(
            self._groups[queries],
            self._embedded.queries[queries],
            positives.with_values(place[positives.values]),
            self._embedded.documents[pool],
            self._temperature,
        )
        others = held.queries.sum() - held.queries
        if (others == 0).any():
            raise EciError(
                f"alignment holds the queries of each of {GROUPS} groups against those of the others, and "
                "here all queries are of one. Give more of them, or take another objective."
            )
        mean = (held.matrices.sum(axis=0) - held.matrices) / others[:, None, None]
        return np.asarray(mean, dtype=np.float32)
