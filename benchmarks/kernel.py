"""Similarities of gathered pairs against the bandwidth of memory in the same run.

    python benchmarks/kernel.py     # benchmarks/results/kernel.json

Each run compares each query with 20 documents of a matrix of 1.5 GB, counted as the documents' bytes alone,
takes the same documents out of the matrix without comparing them, tile by tile as the kernel does, and copies
512 MiB, counted as bytes read and written; all with as many threads.
`random`: documents anywhere in the matrix. `met`: in the order in which queries first name them, which is
how `eci score` numbers them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from eci import compiled, similarity
from eci.ragged import Ragged
from running import RESULTS, in_turn, surroundings

COPIED, MATRIX, OWN = 1 << 29, 1_500_000_000, 20
# Dimension, order, queries.
CASES = [
    *((dimension, order, 20_000) for dimension in (384, 768) for order in ("random", "met")),
    *((384, "random", queries) for queries in (5_000, 10_000)),
]


def seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def copied(threads: int) -> float:
    """GB/s of a copy, bytes read and written; the best of five."""
    source = np.ones(COPIED, dtype=np.uint8)
    target = np.ones_like(source)
    parts = [slice(COPIED * at // threads, COPIED * (at + 1) // threads) for at in range(threads)]
    with ThreadPoolExecutor(threads) as crew:

        def copy() -> None:
            list(crew.map(lambda part: np.copyto(target[part], source[part]), parts))

        return 2 * COPIED / min(seconds(copy) for _ in range(5)) / 1e9


def gathered(documents: np.ndarray, chosen: np.ndarray, threads: int) -> float:
    """GB/s at which documents are taken out, the best of five."""
    dimension = documents.shape[1]
    tile = similarity._tile(dimension)

    def take(at: int) -> None:
        room = np.empty((tile, dimension), dtype=np.float32)
        part = chosen[len(chosen) * at // threads : len(chosen) * (at + 1) // threads]
        for start in range(0, len(part), tile):
            own = part[start : start + tile]
            np.take(documents, own, axis=0, out=room[: len(own)], mode="clip")

    with ThreadPoolExecutor(threads) as crew:
        taken = min(seconds(lambda: list(crew.map(take, range(threads)))) for _ in range(5))
    return len(chosen) * dimension * 4 / taken / 1e9


def material(dimension: int, order: str, queries: int) -> tuple[np.ndarray, np.ndarray, Ragged]:
    rng = np.random.default_rng(0)
    size = MATRIX // (4 * dimension)
    documents = rng.standard_normal((size, dimension), dtype=np.float32)
    asked = rng.standard_normal((queries, dimension), dtype=np.float32)
    chosen = rng.integers(0, size, queries * OWN)
    if order == "met":
        _, first, number = np.unique(chosen, return_index=True, return_inverse=True)
        chosen = np.argsort(np.argsort(first))[number]
    return asked, documents, Ragged.from_lengths(chosen, np.full(queries, OWN))


def run(case: str) -> dict[str, float]:
    """All in GB/s, the best of five each: what else runs on the machine only takes away."""
    dimension, order, queries = case.split()
    asked, documents, own = material(int(dimension), order, int(queries))
    # As in a process that has compared many pairs: numba, where it is installed.
    similarity._PAYS = 0
    beside, threads = surroundings(), similarity._threads()
    taken = min(seconds(lambda: similarity.own_documents(asked, documents, own)) for _ in range(5))
    rate, copy = own.values.size * int(dimension) * 4 / taken / 1e9, copied(threads)
    return {
        "compiled": compiled.kernel() is not None,
        "kernel_gb_s": round(rate, 2),
        "gather_gb_s": round(gathered(documents, own.values, threads), 2),
        "copy_gb_s": round(copy, 2),
        "share": round(rate / copy, 3),
        "pair_ns": round(taken / own.values.size * 1e9, 1),
        "threads": threads,
        **beside,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--result", type=Path, default=RESULTS / "kernel.json")
    options = parser.parse_args()
    cases = [" ".join(map(str, case)) for case in CASES]
    in_turn(options.result, options.pairs, cases, {"kernel": run})


if __name__ == "__main__":
    main()
