"""How fast `eci select` chooses, once texts are embedded.

    python benchmarks/selecting.py

100 candidates a query, 384 dimensions, synthetic texts and vectors. `choosing` is what the encoder's vectors
and the words are turned into picks in; `whole` reads a Parquet file, chooses and writes one, embedding not
counted for there is none. Medians of five runs in one process.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eci.datasets import read
from eci.examples import ROWS, Examples
from eci.selecting import select_rows
from eci.selection import OBJECTIVES, Selector, SelectSettings
from mine import texts, vectors

RESULT = Path(__file__).parent / "results" / "selecting.json"
DOCUMENTS, CANDIDATES, RUNS = 50_000, 100, 5


class Known:
    """An encoder that has all vectors."""

    def __init__(self, table: dict[str, np.ndarray]) -> None:
        self.table = table

    def encode_query(self, texts: list[str]) -> np.ndarray:
        return np.stack([self.table[text] for text in texts])

    encode_document = encode_query


def rows_of(queries: int, asked: list[str], corpus: list[str]) -> pa.Table:
    """Query i with document i for its positive and others at random from four sources."""
    rng = np.random.default_rng(1)
    rows = [
        {
            "query_id": f"q{number}",
            "query": asked[number],
            "positives": [{"id": f"d{number}", "text": corpus[number]}],
            "negatives": [
                {"source": f"s{at % 4}", "id": f"d{place}", "text": corpus[place], "rank": at // 4 + 1}
                for at, place in enumerate(
                    rng.choice(np.arange(queries, len(corpus)), CANDIDATES, replace=False).tolist()
                )
            ],
        }
        for number in range(queries)
    ]
    return pa.Table.from_pylist(rows, schema=ROWS)


def median(run: Any) -> float:
    """Seconds, the median of some runs."""
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def measured(queries: int, k: int) -> dict[str, Any]:
    """Queries a second."""
    asked, corpus = texts(queries, "query"), texts(DOCUMENTS, "document")
    encoder = Known(dict(zip([*asked, *corpus], np.concatenate(vectors(DOCUMENTS, queries)), strict=True)))
    table = rows_of(queries, asked, corpus)
    told: dict[str, Any] = {"queries": queries, "candidates": CANDIDATES, "k": k, "documents": DOCUMENTS}
    examples = Examples.from_batches(table.to_batches())
    lists, free = examples.negatives, np.zeros(len(examples.negatives.values), dtype=np.bool_)
    for objective in OBJECTIVES:
        began = time.perf_counter()
        selector = Selector(examples, encoder, SelectSettings(k, objective=objective))
        prepared = time.perf_counter() - began
        seconds = median(lambda ready=selector: ready.choose(np.arange(queries), lists, free))
        told[objective] = {
            "preparing_seconds": round(prepared, 2),
            "choosing_seconds": round(seconds, 3),
            "queries_per_second": round(queries / seconds),
        }
        print(objective, told[objective], flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "rows.parquet", Path(folder) / "out.parquet"
        pq.write_table(table, file)
        for bound in (None, 0.8):
            settings = SelectSettings(k, max_false_negative_risk=bound)
            seconds = median(lambda asked=settings: select_rows(read([file]), out, encoder, asked))
            name = "whole" if bound is None else "whole, risk bounded"
            told[name] = {"seconds": round(seconds, 2), "queries_per_second": round(queries / seconds)}
            print(name, told[name], flush=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("-k", type=int, default=4)
    options = parser.parse_args()
    told = {
        "command": f"python benchmarks/selecting.py --queries {options.queries} -k {options.k}",
        "machine": {"cores": 2, "python": platform.python_version(), "numpy": np.__version__},
        **measured(options.queries, options.k),
    }
    RESULT.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
