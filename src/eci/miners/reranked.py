"""Another miner's candidates in the order of a reranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eci.embedding import encode
from eci.errors import EciError, EncoderError
from eci.examples import shorten
from eci.ragged import Ragged
from eci.similarity import own_documents
from eci.task import Miner, Ranking, Reranker, RetrievalTask, Written
from eci.types import Encoder, Floats, Integers


class RerankMiner:
    """The candidates of a miner, re-ordered by a model that reads query and document together.

    The paper's set-up is the first 25 of a pool.

    Parameters
    ----------
    task : RetrievalTask
    pool : Miner
        Whose candidates are re-ordered.
    reranker : Reranker
    candidates : int
        Size of the pool of each query, without known documents.
    """

    label = "rerank"

    def __init__(self, task: RetrievalTask, pool: Miner, reranker: Reranker, candidates: int = 100) -> None:
        if candidates < 1:
            raise EciError(f"A pool needs at least one candidate, got {candidates}.")
        self.task, self.pool, self.reranker, self.candidates = task, pool, reranker, candidates

    def describe(self) -> dict[str, Any]:
        """Pool and reranker."""
        return {
            "name": "rerank",
            "candidates": self.candidates,
            "pool": self.pool.describe(),
            "reranker": self.reranker.describe(),
        }

    def mine(self, queries: Integers, depth: int) -> Ranking:
        """The best `depth` of the pool, by score of the reranker; equal scores in the pool's order."""
        return self.judged(queries, depth)[0]

    def judged(self, queries: Integers, depth: int) -> tuple[Ranking, Ragged]:
        """What `mine` and `score_positives` give; the reranker reads each document once for both."""
        known = int(self.task.known.lengths.max(initial=0))
        pool = self.pool.mine(queries, self.candidates + known)
        pool, positives = judged(self.task, self.reranker, queries, pool.keep(pool.ranks <= self.candidates))
        order = np.lexsort((-pool.scores, pool.documents.rows))
        documents = pool.documents.with_values(pool.documents.values[order])
        # Ranks are 1, 2, … in each row, whatever the order.
        ranking = replace(pool, documents=documents, scores=pool.scores[order])
        return ranking.keep(ranking.ranks <= depth), positives

    def score_positives(self, queries: Integers) -> Ragged:
        """The reranker's scores of the labelled positives."""
        positives = self.task.positives.take(queries)
        pairs = (positives.rows, positives.values)
        return positives.with_values(_scored(self.task, self.reranker, queries, pairs))


class EncoderReranker:
    """Cosines of an encoder where a reranker is asked for: a teacher for the filters.

    Parameters
    ----------
    encoder : Encoder
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def describe(self) -> dict[str, Any]:
        """The encoder's description."""
        return {"name": type(self.encoder).__name__, **getattr(self.encoder, "describe", dict)()}

    def identity(self) -> str | None:
        """That of the encoder, if it has one."""
        found: str | None = getattr(self.encoder, "identity", lambda: None)()
        return found

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str], pairs: Integers) -> Floats:
        """Cosines of n pairs, -1…1, of shape (n,)."""
        if not len(pairs):
            return np.empty(0)
        asked = encode(self.encoder, list(queries), "query")
        found = encode(self.encoder, list(documents), "document")
        order = np.argsort(pairs[:, 0], kind="stable")
        lengths = np.bincount(pairs[:, 0], minlength=len(queries))
        scores = np.empty(len(pairs))
        scores[order] = own_documents(asked, found, Ragged.from_lengths(pairs[order, 1], lengths)).values
        return scores


def judged(
    task: RetrievalTask, reranker: Reranker, queries: Integers, found: Ranking
) -> tuple[Ranking, Ragged]:
    """A ranking with a reranker's scores, its order as it was, and its scores of the labelled positives.

    Parameters
    ----------
    queries : ndarray of shape (R,)
    found : Ranking of R rows
    """
    positives = task.positives.take(queries)
    sides = (found.documents, positives)
    rows = np.concatenate([side.rows for side in sides])
    values = np.concatenate([side.values for side in sides])
    scores = _scored(task, reranker, queries, (rows, values), found.written)
    size = len(found.ranks)
    scorer = str(reranker.describe().get("name", type(reranker).__name__))
    return replace(found, scores=scores[:size], scorer=scorer), positives.with_values(scores[size:])


def _scored(
    task: RetrievalTask,
    reranker: Reranker,
    queries: Integers,
    pairs: tuple[Integers, Integers],
    written: Sequence[Written] = (),
) -> Floats:
    """A reranker's scores of n pairs, of shape (n,): places in `queries`, and documents or written texts."""
    rows, documents = pairs
    wanted, places = np.unique(documents, return_inverse=True)
    held = wanted < len(task.corpus)
    texts = task.corpus.shown(wanted[held])
    texts += [written[number - len(task.corpus)].shown for number in wanted[~held].tolist()]
    return checked(reranker, task.query_texts(queries), texts, np.stack([rows, places.ravel()], axis=1))


def checked(reranker: Reranker, queries: Sequence[str], documents: Sequence[str], pairs: Integers) -> Floats:
    """What `Reranker.score_pairs` gives, refused where it breaks its promise.

    Raises
    ------
    EncoderError
        The reranker gave another number of scores, or one that is not finite.
    """
    scores = np.asarray(reranker.score_pairs(queries, documents, pairs), dtype=np.float64)
    if scores.shape != (len(pairs),):
        raise EncoderError(f"The reranker gave scores of shape {scores.shape} for {len(pairs)} pairs.")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        query, document = pairs[bad[0]]
        raise EncoderError(
            f"The reranker gave {scores[bad[0]]} for {len(bad):,} of {len(pairs):,} pairs, first for the "
            f"query {shorten(queries[query])!r} and the document {shorten(documents[document])!r}."
        )
    return scores
