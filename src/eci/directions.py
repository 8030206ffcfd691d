"""Metrics that look at directions: what they need of what was scored, and their figures of each source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eci.embedding import Embedded
from eci.examples import Examples
from eci.metrics import alignment, semantic
from eci.ragged import Ragged, divide
from eci.tally import GROUPS
from eci.types import Flags, Floats, Integers

# Each is ranked against the whole pool: what more queries would add is small beside what they would cost.
MOST_HELD_OUT = 10_000


def draws(keys: Iterable[bytes], seed: int) -> NDArray[np.uint64]:
    """What the order in which queries are drawn goes by, of shape (Q,): digests of their keys."""
    salt = str(seed).encode()
    drawn = b"".join(hashlib.blake2b(key, digest_size=8, key=salt).digest() for key in keys)
    return np.frombuffer(drawn, dtype=">u8").astype(np.uint64)


def drawn_order(keys: Iterable[bytes], seed: int) -> Integers:
    """The order in which queries are drawn, of shape (Q,): that of `draws`."""
    return np.argsort(draws(keys, seed), kind="stable")


class Directions:
    """Collects, round by round, what the similarities say, and makes figures of directions of it.

    Beside the vectors it holds two numbers a negative, and while it works the matrices of one source.

    Parameters
    ----------
    examples : Examples
    embedded : Embedded
        Vectors of what has been noted.
    groups : ndarray of shape (Q,)
        Jackknife group of each query.
    seed : int
        Of the order in which queries fill training batches, and of the positive that each trains towards.
    temperature, ridge : float
        τ, and λ of ``eci_sem``.
    """

    def __init__(
        self,
        examples: Examples,
        embedded: Embedded,
        groups: Integers,
        *,
        seed: int,
        temperature: float,
        ridge: float,
    ) -> None:
        self._examples, self._embedded, self._groups = examples, embedded, groups
        self._seed, self._temperature, self._ridge = seed, temperature, ridge
        size = len(examples.source)
        self._margins = np.empty(size, dtype=np.float32)
        self._overlaps = np.empty(size, dtype=np.float32)
        self._best = np.full(len(examples.queries), -1, dtype=np.int64)
        self._held: alignment.Gradient | None = None

    def note(
        self, queries: Integers, best: Integers, places: Integers, margins: Floats, overlaps: Floats
    ) -> None:
        """Take in the figures of some queries.

        Parameters
        ----------
        queries, best : ndarray of shape (B,)
            Queries and the documents that are their most similar positives.
        places, margins, overlaps : ndarray of shape (n,)
            Places in ``examples.negatives.values``, and figures of these negatives.
        """
        self._best[queries] = best
        self._margins[places], self._overlaps[places] = margins, overlaps
        self._held = None

    def values(self, source: int) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
        """``semantic.NAMES`` and ``alignment.NAMES`` of a source, each of shape (1 + GROUPS,).

        Over everything and without each group: of all its queries, and of those that every source covers.
        """
        noted = self._best >= 0
        own, common = self._covered[:, source] & noted, self._covered.all(axis=1) & noted
        found = self._figures(own, source)
        return found, found if np.array_equal(own, common) else self._figures(common, source)

    def plain(self) -> dict[str, Floats]:
        """``alignment`` and ``alignment_dot`` of in-batch negatives alone, over all queries noted."""
        queries = self._ordered(self._best >= 0)
        none = Ragged.from_lengths(np.empty(0, dtype=np.int64), np.zeros(len(queries), dtype=np.int64))
        gradient = self._trained(queries, none)[1]
        found = alignment.values(gradient, gradient, self._held_out)
        return {name: found[name] for name in ("alignment", "alignment_dot")}

    def semantic_at(self, source: int, temperature: float) -> float:
        """``eci_sem`` of a source at another temperature, without replicates."""
        queries = self._ordered(self._covered[:, source] & (self._best >= 0))
        return self._information(queries, *self._triples(queries, source, temperature)).score(self._ridge)

    @property
    def pool(self) -> int:
        """How many candidates the held-out loss ranks."""
        return len(self._embedded.searched())

    def _figures(self, only: Flags, source: int) -> dict[str, Floats]:
        queries = self._ordered(only)
        negatives, weight = self._triples(queries, source, self._temperature)
        positive, documents = self._embedded.documents[self._best[queries]], self._embedded.documents
        alone = semantic.per_query(positive, documents, negatives, weight, self._ridge)
        return {
            **self._information(queries, negatives, weight).values(self._ridge),
            "eci_sem_query": _means(self._groups[queries], alone),
            **alignment.values(*self._trained(queries, negatives), self._held_out),
        }

    def _information(self, queries: Integers, negatives: Ragged, weight: Floats) -> semantic.Information:
        documents = self._embedded.documents
        return semantic.Information.of(
            self._groups[queries], documents[self._best[queries]], documents, negatives, weight
        )

    def _triples(self, queries: Integers, source: int, temperature: float) -> tuple[Ragged, Floats]:
        """The negatives that a source has of some queries, and what each weighs in ``eci_sem``."""
        negatives = self._examples.negatives
        places = negatives.with_values(np.arange(len(negatives.values))).take(queries)
        places = places.keep(self._examples.source[places.values] == source)
        weight = semantic.weights(self._margins[places.values], self._overlaps[places.values], temperature)
        return places.with_values(negatives.values[places.values]), weight

    def _trained(self, queries: Integers, negatives: Ragged) -> tuple[alignment.Gradient, alignment.Gradient]:
        return alignment.training(
            self._groups[queries],
            self._embedded.queries[queries],
            self._embedded.documents,
            self._target[queries],
            negatives,
            self._examples.positives.take(queries),
            self._temperature,
        )

    @property
    def _held_out(self) -> alignment.Gradient:
        if self._held is None:
            queries, pool = self._ordered(self._best >= 0)[:MOST_HELD_OUT], self._embedded.searched()
            positives = self._examples.positives.take(queries)
            place = np.empty(len(self._embedded.documents), dtype=np.int64)
            place[pool] = np.arange(len(pool))
            self._held = alignment.held_out(
                self._groups[queries],
                self._embedded.queries[queries],
                positives.with_values(place[positives.values]),
                self._embedded.documents[pool],
                self._temperature,
            )
        return self._held

    def _ordered(self, only: Flags) -> Integers:
        """The queries marked, in an order that does not depend on how they were read."""
        return self._order[only[self._order]]

    @cached_property
    def _order(self) -> Integers:
        return drawn_order(self._examples.keys, self._seed)

    @cached_property
    def _covered(self) -> Flags:
        return self._examples.covered()

    @cached_property
    def _target(self) -> Integers:
        """The positive that each query trains towards, drawn by its key, of shape (Q,)."""
        positives = self._examples.positives
        drawn = np.array([int.from_bytes(key[8:12], "big") for key in self._examples.keys], dtype=np.int64)
        return np.asarray(positives.values[positives.offsets[:-1] + (drawn + self._seed) % positives.lengths])


def _means(groups: Integers, figures: Floats) -> Floats:
    """Mean of the defined figures, and without each group, of shape (1 + GROUPS,)."""
    defined = ~np.isnan(figures)
    sums = np.bincount(groups[defined], figures[defined], minlength=GROUPS)
    counts = np.bincount(groups[defined], minlength=GROUPS)
    above, below = (np.concatenate([[side.sum()], side.sum() - side]) for side in (sums, counts))
    return divide(above, below)
