"""What a training step on one negative takes off the held-out loss, to first order.

The linear map, the losses and the cross-fit are those of ``metrics.alignment``. A negative n of a query q and
its positive p is trained on alone: the loss −log σ((s(q,p) − s(q,n))/τ) has at W = 0 the gradient
(π/τ)(∂s(q,n)/∂W − ∂s(q,p)/∂W), π = σ((s(q,n) − s(q,p))/τ). Its inner product with the mean gradient of the
held-out loss over the queries of all *other* groups is the predicted fall of that loss per unit of learning
rate.
"""

from __future__ import annotations

import numpy as np

from eci.batches import groups_of
from eci.directions import MOST_HELD_OUT, drawn_order
from eci.embedding import Embedded
from eci.errors import EciError
from eci.examples import Examples
from eci.metrics import alignment
from eci.tally import GROUPS
from eci.types import Floats, Integers, Vectors

_TILE = 4096


class FirstOrder:
    """What held-out gradients say of the negatives of examples.

    Parameters
    ----------
    examples : Examples
    embedded : Embedded
        Vectors of all of them.
    gradients : ndarray of shape (GROUPS, d, d)
        See `held_out_gradients`; of these examples, or of others.
    temperature : float
        τ.
    """

    def __init__(
        self, examples: Examples, embedded: Embedded, gradients: Vectors, temperature: float
    ) -> None:
        self._embedded, self._temperature = embedded, temperature
        self._groups = groups_of(examples)
        # In orders that do not depend on how the texts were read, as products of matrices round by place.
        queries, pool = drawn_order(examples.keys, 0), embedded.by_text()
        self._query_along = np.zeros_like(embedded.queries)
        self._of_query = np.zeros(len(embedded.queries), dtype=np.float32)
        self._of_document = np.zeros((GROUPS, len(embedded.documents)), dtype=np.float32)
        for group, gradient in enumerate(gradients):
            own = queries[self._groups[queries] == group]
            if not len(own):
                continue
            along = embedded.queries[own] @ gradient
            self._query_along[own] = along
            self._of_query[own] = np.einsum("ij,ij->i", along, embedded.queries[own])
            asked = np.zeros(len(embedded.documents), dtype=np.bool_)
            for side in (examples.positives, examples.negatives):
                asked[side.take(own).values] = True
            documents = pool[asked[pool]]
            for tile in np.split(documents, range(_TILE, len(documents), _TILE)):
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


def held_out_gradients(examples: Examples, embedded: Embedded, temperature: float) -> Vectors:
    """Mean gradient of the held-out loss over the queries of all other groups, of shape (GROUPS, d, d).

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
    queries, pool = drawn_order(examples.keys, 0)[:MOST_HELD_OUT], embedded.by_text()
    positives = examples.positives.take(queries)
    place = np.empty(len(embedded.documents), dtype=np.int64)
    place[pool] = np.arange(len(pool))
    held = alignment.held_out(
        groups_of(examples)[queries],
        embedded.queries[queries],
        positives.with_values(place[positives.values]),
        embedded.documents[pool],
        temperature,
    )
    others = held.queries.sum() - held.queries
    if (others == 0).any():
        raise EciError(
            f"alignment holds the queries of each of {GROUPS} groups against those of the others, and "
            "here all queries are of one. Give more of them, or take another objective."
        )
    mean = (held.matrices.sum(axis=0) - held.matrices) / others[:, None, None]
    return np.asarray(mean, dtype=np.float32)
