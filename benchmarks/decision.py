"""What `--until decided` saves, and what scoring costs beside one fine-tuning run.

    python benchmarks/decision.py decided      # benchmarks/results/decided.json
    python benchmarks/decision.py trained      # benchmarks/results/trained.json

On Python's own docstrings with BM25 and random negatives, five of each a query, by all-MiniLM-L6-v2, no
vector cached. decided: `eci score` of both sources, `--all` and `--until decided`. trained: `eci score` of
the rows of BM25, and `eci train` on them, one epoch at its defaults. Whole processes, one after the other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from running import RESULTS, eci_command, in_turn, timed

K = 5
SIZES = {"decided": (300, 600, 1200), "trained": (100, 200, 400)}


def mined(folder: Path) -> list[Path]:
    """Rows of each miner."""
    from eci.datasets.docstrings import docstring_task
    from eci.miners.bm25 import BM25Miner
    from eci.miners.random import RandomMiner
    from eci.mining import MineSettings, mine

    task = docstring_task()
    files = [folder / f"{label}.parquet" for label in ("bm25", "random")]
    for file, miner in zip(files, (BM25Miner(task), RandomMiner(task, 0)), strict=True):
        mine(task, miner, file, MineSettings(K, label=file.stem))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=list(SIZES))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", metavar="QUERIES")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        files = mined(Path(work))

        def first(queries: int) -> list[Path]:
            """Rows of the first so many queries."""
            found = [file.with_name(f"{file.stem}-{queries}.parquet") for file in files]
            for whole, part in zip(files, found, strict=True):
                if not part.exists():
                    pq.write_table(pq.read_table(whole).slice(0, queries), part)
            return found

        def score(*how: str, sources: int = 2) -> Callable[[int], dict[str, Any]]:
            def run(queries: int) -> dict[str, Any]:
                command = eci_command("score", *first(queries)[:sources], *how, "--json")
                cost, told = timed(command, ECI_CACHE=tempfile.mkdtemp(dir=work))
                result = json.loads(told)
                scored = result["settings"]["queries_scored"]
                return {**cost, "queries_scored": scored, "verdict": result["verdict"]}

            return run

        def train(queries: int) -> dict[str, Any]:
            out = Path(tempfile.mkdtemp(dir=work)) / "tuned"
            return timed(eci_command("train", first(queries)[0], "--source", "bm25", "-o", out))[0]

        sides: dict[str, Callable[[Any], dict[str, Any]]] = {
            "all": score("--all"),
            "until decided": score("--until", "decided"),
        }
        if options.what == "trained":
            sides = {"train": train, "score": score("--all", sources=1)}
        result = options.result or RESULTS / f"{options.what}.json"
        in_turn(result, options.pairs, options.sizes or SIZES[options.what], sides)


if __name__ == "__main__":
    main()
