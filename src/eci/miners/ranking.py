"""What a miner found: documents and scores, best first, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci.ragged import Ragged
from eci.types import Floats


@dataclass(frozen=True)
class Ranking:
    """Negatives of B queries.

    Parameters
    ----------
    documents : Ragged of B rows
        Indices into the corpus, best first.
    scores : ndarray of shape (n,)
        By `scorer`; NaN where it gives none.
    scorer : str
        Who gave the scores.
    """

    documents: Ragged
    scores: Floats
    scorer: str

    def above(self, least: float) -> Ranking:
        """The documents whose score is above `least`."""
        kept = self.scores > least
        return Ranking(self.documents.keep(kept), self.scores[kept], self.scorer)


def best_unknown(
    documents: NDArray[Any], scores: NDArray[Any], known: Ragged, k: int, scorer: str
) -> Ranking:
    """The first k candidates of each query that are not known positives.

    Parameters
    ----------
    documents, scores : ndarray of shape (B, c)
        Candidates, best first; c is k plus the most known positives of a query, so that k remain.
    known : Ragged of B rows
        Known positives of each query: indices into the corpus.
    """
    rows = np.repeat(np.arange(len(documents)), documents.shape[1])
    flat = documents.astype(np.int64).ravel()
    width = int(max(flat.max(initial=0), known.values.max(initial=0))) + 1
    free = ~np.isin(rows * width + flat, known.rows * width + known.values)
    candidates = Ragged.from_lengths(np.arange(len(flat)), np.full(len(documents), documents.shape[1]))
    candidates = candidates.keep(free)
    within = np.arange(len(candidates.values)) - np.repeat(candidates.offsets[:-1], candidates.lengths)
    chosen = candidates.keep(within < k)
    return Ranking(
        chosen.with_values(flat[chosen.values]), scores.astype(np.float64).ravel()[chosen.values], scorer
    )


def depth(known: Ragged, k: int, corpus: int) -> int:
    """How many candidates to fetch so that k are left without the known positives."""
    return min(corpus, k + int(known.lengths.max(initial=0)))
