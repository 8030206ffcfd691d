"""Lexical negatives: BM25 by bm25s."""

from __future__ import annotations

from collections.abc import Sequence

from eci.errors import MissingDependency
from eci.miners.ranking import Ranking, best_unknown, depth
from eci.ragged import Ragged


def mine_bm25(queries: Sequence[str], corpus: Sequence[str], known: Ragged, k: int) -> Ranking:
    """The k documents of each query that BM25 ranks highest (bm25s' defaults, English stopwords).

    Parameters
    ----------
    queries : sequence of B str
    corpus : sequence of D str
    known : Ragged of B rows
        Known positives of each query, indices into `corpus`; never returned.
    k : int
        Negatives per query; fewer where fewer documents share a word with it.

    Raises
    ------
    MissingDependency
        bm25s is not installed.
    """
    try:
        import bm25s
    except ImportError as error:
        raise MissingDependency("BM25", "bm25s", "mine") from error
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(corpus), stopwords="en", show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(queries), stopwords="en", show_progress=False)
    documents, scores = index.retrieve(tokens, k=depth(known, k, len(corpus)), show_progress=False)
    # bm25s fills up with documents that share no word with the query; they are no finds.
    return best_unknown(documents, scores, known, k, "bm25").above(0.0)
