"""Dense mining against `sentence_transformers.util.mine_hard_negatives`, BM25 against bare bm25s.

Embeddings are synthetic and given to both sides, so that what is measured is search, filtering, assembly
and memory. Every run is a process of its own; the sides of a pair follow each other on the same machine.
Finished runs are kept in benchmarks/results/mine.json: a benchmark that is stopped goes on where it was.

    python benchmarks/mine.py --pairs 5
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from running import RESULTS, called_with, keep, machine, surroundings

RESULT = RESULTS / "mine.json"
DIMENSION = 384
K = 5
MARGIN = 0.05
# Documents, queries.
SIZES = ((5_000, 4_000), (50_000, 4_000), (500_000, 4_000), (50_000, 1_000), (50_000, 16_000))
DENSE = ("theirs", "theirs-faiss", "ours", "ours-copies")
LEXICAL = ("bm25s", "ours-bm25")
WORDS = 40
VOCABULARY = 50_000


def texts(size: int, what: str) -> list[str]:
    """Texts of about 250 characters, of which no two are near copies of each other."""
    length = WORDS if what == "document" else WORDS // 4
    found = words_of(np.random.default_rng(size), size, length)
    return [f"{what} {number} {text}" for number, text in enumerate(found)]


def words_of(rng: np.random.Generator, size: int, length: int) -> list[str]:
    """So many texts of so many words, which are as frequent as Zipf's law has them."""
    vocabulary = np.array([f"w{number:x}" for number in range(VOCABULARY)])
    shares = np.cumsum(1 / np.arange(1, len(vocabulary) + 1))
    drawn = np.searchsorted(shares / shares[-1], rng.random((size, length)))
    return [" ".join(vocabulary[row]) for row in drawn]


def vectors(size: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents at random; query i near document i."""
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((size, DIMENSION), dtype=np.float32)
    noise = rng.standard_normal((queries, DIMENSION), dtype=np.float32)
    asked = documents[np.arange(queries) % size] + 2 * noise
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    return asked, documents


class Given:
    """A model whose vectors are there already, in the shape that `mine_hard_negatives` asks for."""

    def __init__(self, queries: np.ndarray, documents: np.ndarray) -> None:
        import torch

        self.device = torch.device("cpu")
        self.tables = {"query": queries, "document": documents}
        self.searched = 0.0

    def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
        return self._given("query", texts)

    def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
        return self._given("document", texts)

    def _given(self, role: str, texts: list[str]) -> np.ndarray:
        if len(texts) != len(self.tables[role]):
            raise ValueError(f"{len(texts)} {role} texts, {len(self.tables[role])} vectors")
        return self.tables[role]

    def similarity(self, left: Any, right: Any) -> Any:
        import torch

        return torch.as_tensor(left) @ torch.as_tensor(right).T

    def similarity_pairwise(self, left: Any, right: Any) -> Any:
        import torch

        # Called right after the search: what comes later is filtering and assembly.
        self.searched = time.perf_counter()
        return (torch.as_tensor(left) * torch.as_tensor(right)).sum(dim=1)

    def get_embedding_dimension(self) -> int:
        return DIMENSION


def run_theirs(size: int, count: int, faiss: bool) -> dict[str, Any]:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    documents, queries = texts(size, "document"), texts(count, "query")
    pairs = Dataset.from_dict({"query": queries, "positive": [documents[n % size] for n in range(count)]})
    model = Given(*vectors(size, count))
    ready = memory()
    began = time.perf_counter()
    mined = mine_hard_negatives(
        pairs,
        model,
        corpus=documents,
        num_negatives=K,
        relative_margin=MARGIN,
        output_format="n-tuple",
        use_faiss=faiss,
        verbose=False,
    )
    mined.save_to_disk(tempfile.mkdtemp())
    ended = time.perf_counter()
    found = [[row[f"negative_{n}"] for n in range(1, K + 1)] for row in mined.select(range(50))]
    return told(began, model.searched, ended, len(mined), ready, found)


def run_ours(size: int, count: int, copies: bool) -> dict[str, Any]:
    import faiss  # noqa: F401 - loaded before the clock starts, as on the other side
    import pyarrow as pa
    import torch  # noqa: F401
    from datasets import load_from_disk

    from eci.miners.dense import DenseMiner
    from eci.miners.filters import Filters
    from eci.mining import MineSettings, mine
    from eci.ragged import Ragged
    from eci.task import Corpus, RetrievalTask

    wide = pa.large_string()
    documents, queries = pa.array(texts(size, "document"), wide), pa.array(texts(count, "query"))
    asked, held = vectors(size, count)
    one = np.ones(count, dtype=np.int64)
    ready = memory()
    began = time.perf_counter()
    task = RetrievalTask.of(
        pa.nulls(count, pa.string()),
        queries,
        Corpus(pa.nulls(size, wide), pa.nulls(size, wide), documents),
        Ragged.from_lengths(np.arange(count) % size, one),
        Ragged.from_lengths(np.empty(0, dtype=np.int64), 0 * one),
    )
    made = time.perf_counter()
    miner = Timed(DenseMiner(task, Given(asked, held), vectors=(asked, held)))
    prepared = time.perf_counter()
    filters = Filters(relative_margin=MARGIN, near_copy=0.8 if copies else None)
    out = Path(tempfile.mkdtemp()) / "mined"
    settings = MineSettings(K, filters, layout="n-tuple")
    mine(task, miner, out, settings)
    ended = time.perf_counter()
    mined = load_from_disk(str(out))
    whole = mined.filter(lambda row: row[f"negative_{K}"] is not None)
    found = [[row[f"negative_{n}"] for n in range(1, K + 1)] for row in whole.select(range(50))]
    result = told(began, ended - (ended - prepared - miner.seconds), ended, len(whole), ready, found)
    return {**result, "task_s": made - began}


class Timed:
    """A miner with a clock around its search."""

    def __init__(self, miner: Any) -> None:
        self.miner, self.seconds = miner, 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.miner, name)
        return self._timed(found) if name in ("mine", "score_positives") else found

    def _timed(self, function: Any) -> Any:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def run_bm25s(size: int, count: int) -> dict[str, Any]:
    import bm25s

    documents, queries = texts(size, "document"), texts(count, "query")
    ready = memory()
    began = time.perf_counter()
    index = bm25s.BM25()
    index.index(bm25s.tokenize(documents, stopwords="en", show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(queries, stopwords="en", show_progress=False)
    indexed = time.perf_counter()
    found, _ = index.retrieve(tokens, k=K + 1, show_progress=False)
    return told(began, indexed, time.perf_counter(), count, ready, found[:5].tolist())


def run_our_bm25(size: int, count: int) -> dict[str, Any]:
    import bm25s  # noqa: F401 - loaded before the clock starts, as on the other side
    import pyarrow as pa

    from eci.miners.bm25 import BM25Miner
    from eci.ragged import Ragged
    from eci.task import Corpus, RetrievalTask

    wide = pa.large_string()
    documents, queries = pa.array(texts(size, "document"), wide), pa.array(texts(count, "query"))
    one = np.ones(count, dtype=np.int64)
    positives = Ragged.from_lengths(np.arange(count) % size, one)
    nothing = Ragged.from_lengths(np.empty(0, dtype=np.int64), 0 * one)
    nulls = pa.nulls(size, wide)
    task = RetrievalTask.of(
        pa.nulls(count, pa.string()), queries, Corpus(nulls, nulls, documents), positives, nothing
    )
    ready = memory()
    began = time.perf_counter()
    miner = BM25Miner(task)
    indexed = time.perf_counter()
    found = miner.mine(np.arange(count), K + 1)
    rows = [found.documents[number].tolist() for number in range(5)]
    return told(began, indexed, time.perf_counter(), count, ready, rows)


def told(began: float, searched: float, ended: float, rows: int, ready: int, found: Any) -> dict[str, Any]:
    """Seconds and memory of a run; `found` is a sample that both sides must share."""
    return {
        "seconds": ended - began,
        "first_s": searched - began,
        "rest_s": ended - searched,
        "rows": rows,
        "ready_mib": ready,
        "peak_mib": memory(),
        "sample": found,
    }


def memory() -> int:
    """Most memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


RUNS = {
    "theirs": lambda size, count: run_theirs(size, count, False),
    "theirs-faiss": lambda size, count: run_theirs(size, count, True),
    "ours": lambda size, count: run_ours(size, count, False),
    "ours-copies": lambda size, count: run_ours(size, count, True),
    "bm25s": run_bm25s,
    "ours-bm25": run_our_bm25,
}


def child(side: str, size: int, count: int) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, __file__, "--child", side, "--size", str(size), "--queries", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{side} at {size:,} documents failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each side."""
    keys = ("seconds", "first_s", "rest_s", "rows", "ready_mib", "peak_mib")
    return {
        side: {key: round(statistics.median(run[key] for run in own), 3) for key in keys}
        for side, own in runs.items()
        if own
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--child", choices=RUNS)
    parser.add_argument("--size", type=int)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--sizes", nargs="+", metavar="DOCUMENTSxQUERIES", help="for example 5000x1000")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(RUNS[options.child](options.size, options.queries)))
        return
    state = json.loads(options.result.read_text()) if options.result.exists() else {"runs": {}}
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes or ()] or SIZES
    for pair in range(options.pairs):
        for size, count in sizes:
            if options.size and size != options.size:
                continue
            for sides in (DENSE, LEXICAL):
                one_pair(state, (size, count), sides, pair, options.result)


def one_pair(
    state: dict[str, Any], sizes: tuple[int, int], sides: tuple[str, ...], pair: int, result: Path
) -> None:
    """Run each side once, unless it has been, and keep the result."""
    size, count = sizes
    runs = state["runs"].setdefault(f"{size} documents, {count} queries", {})
    samples = {}
    for side in sides:
        own = runs.setdefault(side, [])
        if len(own) > pair:
            continue
        run = {**surroundings(), **child(side, size, count)}
        samples[side] = run.pop("sample")
        own.append(run)
        print(f"{size:,} × {count:,} {side}: {run['seconds']:.2f} s, {run['peak_mib']:,} MiB", flush=True)
    if sides is DENSE and len(samples) == len(sides):
        same = all(sample == samples["theirs"] for sample in samples.values())
        state.setdefault("same_negatives", {})[f"{size} documents, {count} queries"] = same
    state["medians"] = {name: summary(own) for name, own in state["runs"].items()}
    state["command"] = called_with()
    state["machine"] = machine()
    keep(result, state)


if __name__ == "__main__":
    main()
