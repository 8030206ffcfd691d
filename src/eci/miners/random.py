"""Negatives drawn at random: what every other source has to beat."""

from __future__ import annotations

import numpy as np

from eci.miners.ranking import Ranking, best_unknown, depth
from eci.ragged import Ragged


def mine_random(corpus: int, known: Ragged, k: int, seed: int = 0) -> Ranking:
    """K documents of each query, uniformly and without repetition.

    Parameters
    ----------
    corpus : int
        Number of documents.
    known : Ragged of B rows
        Known positives of each query; never returned.
    k : int
        Negatives per query; fewer where the corpus has no more.
    seed : int
        Same seed, same negatives.
    """
    rng = np.random.default_rng(seed)
    wanted = depth(known, k, corpus)
    drawn = [rng.choice(corpus, size=wanted, replace=False) for _ in range(len(known))]
    documents = np.stack(drawn) if drawn else np.empty((0, wanted), dtype=np.int64)
    return best_unknown(documents, np.full(documents.shape, np.nan), known, k, "random")
