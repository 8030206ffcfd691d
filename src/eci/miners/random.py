"""Negatives drawn at random: what every other source has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from eci.errors import EciError
from eci.ragged import Ragged
from eci.task import Ranking, RetrievalTask, unknown
from eci.types import Integers


class RandomMiner:
    """Documents drawn uniformly and without repetition, for each query on its own.

    Parameters
    ----------
    task : RetrievalTask
    seed : int
        The same seed draws the same documents for a query, whatever the other queries are.
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
            np.random.default_rng([self.seed, int(number)]).choice(size, min(depth, size), replace=False)
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
