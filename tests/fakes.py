"""Encoders and rows that tests share. Real behaviour, no mocks."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from eci.examples import ROWS, Examples

WORDS = (
    "retrieval negative positive query encoder margin signal corpus index token score rank batch loss "
    "gradient vector cosine text title passage filter sample seed group"
).split()


def sentence(rng: np.random.Generator, words: int) -> str:
    return " ".join(rng.choice(WORDS, size=words)) + f" {rng.integers(10_000)}"


def make_rows(
    queries: int = 40, sources: dict[str, int] | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """Canonical rows of synthetic sentences; `sources` maps a label to its negatives per query."""
    rng = np.random.default_rng(seed)
    pool = [sentence(rng, 8) for _ in range(5 * queries)]
    rows = []
    for number in range(queries):
        query = sentence(rng, 5)
        negatives = [
            {"source": label, "text": text, "rank": rank}
            for label, count in (sources or {"bm25": 7, "dense": 4}).items()
            for rank, text in enumerate(rng.choice(pool, size=count, replace=False), start=1)
        ]
        positive = query + " " + sentence(rng, 3)
        rows.append(
            {
                "query_id": f"q{number}",
                "query": query,
                "positives": [{"text": positive}],
                "negatives": negatives,
            }
        )
    return rows


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=ROWS)


def examples_of(rows: list[dict[str, Any]]) -> Examples:
    return Examples.from_batches([batch_of(rows)])


class CountingEncoder:
    """A planned encoder whose vectors depend on the text alone; it remembers every text it was given."""

    def __init__(self, dimension: int = 16, batch: int = 5, version: str = "1") -> None:
        self.dimension, self.batch, self.version = dimension, batch, version
        self.seen: list[str] = []

    def plan(self, texts):
        order = np.array(sorted(range(len(texts)), key=lambda i: (-len(texts[i]), texts[i])), dtype=np.int64)
        return [order[start : start + self.batch] for start in range(0, len(order), self.batch)]

    def fingerprint(self, role):
        return hashlib.blake2b(f"{self.version}".encode(), digest_size=16).digest()

    def describe(self):
        return {
            "name": f"counting-{self.version}",
            "precision": "float32",
            "dimension": self.dimension,
            "weights_blake2b": self.version * 8,
        }

    def encode_query(self, texts):
        self.seen.extend(texts)
        return np.stack([self._vector(text) for text in texts])

    encode_document = encode_query

    def _vector(self, text: str):
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        return np.random.default_rng(seed).standard_normal(self.dimension).astype(np.float32)


def run_cli(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process as its entry point does: exit code, stdout, stderr."""
    from eci import cli

    monkeypatch.setattr("sys.argv", ["eci", *arguments])
    code = 0
    try:
        cli.run()
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err
