"""Negatives drawn at random: what every other source has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from eci.errors import EciError
from eci.ragged import Ragged
from eci.task import Ranking, RetrievalTask, unknown
from eci.types import Integers

# Drawn at a time: a number of its own, so that asking for more documents draws the same ones first.
_BLOCK = 256


class RandomMiner:
    """Documents drawn uniformly and without repetition, for each query on its own.

    Parameters
    ----------
    task : RetrievalTask
    seed : int
        The same seed draws the same documents for a query, whatever the other queries are; fewer are
        the first of more.
    """

    label = "random"

    def __init__(self, task: RetrievalTask, seed: int = 0) -> None:
        self.task, self.seed = task, seed

    def describe(self) -> dict[str, Any]:
        """Name and seed."""
        return {"name": "random", "seed": self.seed}

    def mine(self, queries: Integers, depth: int) -> Ranking:
        """Documents in the order in which they were drawn."""
        size = len(self.task.corpus)
        drawn = [
            _first_of_an_order(np.random.default_rng([self.seed, int(number)]), size, min(depth, size))
            for number in self.task.numbers(queries)
        ]
        documents = Ragged.from_lengths(
            np.concatenate(drawn) if drawn else np.empty(0, dtype=np.int64), [len(row) for row in drawn]
        )
        scores = np.full(len(documents.values), np.nan)
        return unknown(documents, scores, self.task.known.take(queries), "random")

    def score_positives(self, queries: Integers) -> Ragged:  # noqa: ARG002
        """Chance gives no scores."""
        raise EciError("Random negatives have no scores to compare. Name a --teacher that gives them.")


def _first_of_an_order(rng: np.random.Generator, size: int, count: int) -> Integers:
    """The first `count` of a random order of ``range(size)``, the same whatever `count` is."""
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        found = np.concatenate([found, rng.integers(0, size, _BLOCK)])
        found = found[np.sort(np.unique(found, return_index=True)[1])]
    return found[:count]
