"""Semantic negatives: the nearest documents by cosine, exactly."""

from __future__ import annotations

import numpy as np

from eci.miners.ranking import Ranking, best_unknown, depth
from eci.ragged import Ragged
from eci.types import Vectors

# Similarities held at a time: 64 MiB of float32.
_TILE = 1 << 24


def mine_dense(queries: Vectors, corpus: Vectors, known: Ragged, k: int, scorer: str) -> Ranking:
    """The k nearest documents of each query, by cosine.

    Parameters
    ----------
    queries, corpus : ndarray of shape (B, d) and (D, d)
        L2-normalised.
    known : Ragged of B rows
        Known positives of each query, indices into `corpus`; never returned.
    k : int
        Negatives per query; fewer where the corpus has no more.
    scorer : str
        Name of the encoder that made the vectors.
    """
    wanted = depth(known, k, len(corpus))
    rows = max(1, _TILE // len(corpus))
    documents = np.empty((len(queries), wanted), dtype=np.int64)
    scores = np.empty((len(queries), wanted), dtype=np.float32)
    for start in range(0, len(queries), rows):
        similarity = queries[start : start + rows] @ corpus.T
        found = np.argpartition(-similarity, wanted - 1, axis=1)[:, :wanted]
        order = np.argsort(-np.take_along_axis(similarity, found, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(found, order, axis=1)
        documents[start : start + rows] = best
        scores[start : start + rows] = np.take_along_axis(similarity, best, axis=1)
    return best_unknown(documents, scores, known, k, scorer)
