"""Miners: for each query, negatives out of a corpus, with who found them and how.

Every miner returns a `Ranking` and keeps the known positives out.
"""

from __future__ import annotations

from eci.miners.bm25 import mine_bm25
from eci.miners.dense import mine_dense
from eci.miners.random import mine_random
from eci.miners.ranking import Ranking

__all__ = ["Ranking", "mine_bm25", "mine_dense", "mine_random"]
