"""What the metrics of directions and the shortcuts add to the time of `eci score`, with a cold cache.

SciFact train queries with BM25 top-50 negatives; each run is a process of its own with an empty cache.
Added time is that spent inside ``Directions`` and ``origins.shortcuts``; the share is added / (whole −
added). With ``--sources 2`` dense top-50 negatives stand beside, so that there is a pair to compare. Finished
runs are kept in benchmarks/results/cost.json: a run that is stopped goes on where it was.

    ECI_DATA=/path/to/collections python benchmarks/cost.py --runs 5
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import beir_folder

RESULT = Path(__file__).parent / "results" / "cost.json"
K = 50


def mined(collection: Path, folder: Path, sources: int) -> list[str]:
    """Files of negatives of each miner."""
    from eci.datasets import ReadOptions
    from eci.datasets.tasks import read_task
    from eci.miners.bm25 import BM25Miner
    from eci.miners.dense import DenseMiner
    from eci.mining import MineSettings, mine
    from eci.models.loading import prepared_encoder

    task = read_task([collection], ReadOptions(split="train")).task
    files = [folder / f"{label}.parquet" for label in ("bm25", "dense")[:sources]]
    mine(task, BM25Miner(task), files[0], MineSettings(K, label="bm25"))
    if sources > 1:
        with prepared_encoder() as encoder:
            mine(task, DenseMiner(task, encoder), files[1], MineSettings(K, label="dense"))
    return [str(file) for file in files]


def once(files: list[str], cache: str) -> dict[str, float]:
    """Score in this process; seconds of the whole, and of the parts."""
    from eci import api, directions, rounds

    spent = {"directions": 0.0, "shortcuts": 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            found = function(*given, **named)
            spent[name] += time.perf_counter() - began
            return found

        return run

    for method in ("note", "values", "plain", "semantic_at"):
        whole = getattr(directions.Directions, method)
        setattr(directions.Directions, method, timed("directions", whole))
    inner = rounds.shortcuts
    rounds.shortcuts = timed("shortcuts", lambda *given: list(inner(*given)))  # type: ignore[assignment]
    began = time.perf_counter()
    api.score(files, cache=cache)
    return {"whole": time.perf_counter() - began, **spent}


def main() -> None:
    """Run what is missing, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sources", type=int, default=1, choices=[1, 2])
    parser.add_argument("--once", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once(options.once[1:], options.once[0])))
        return
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    runs = kept.setdefault(str(options.sources), {}).setdefault("runs", [])
    with tempfile.TemporaryDirectory() as folder:
        files = mined(beir_folder("scifact"), Path(folder), options.sources)
        while len(runs) < options.runs:
            with tempfile.TemporaryDirectory() as cache:
                out = subprocess.run(
                    [sys.executable, __file__, "--once", cache, *files],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            runs.append({name: round(seconds, 2) for name, seconds in json.loads(out).items()})
            print(runs[-1], file=sys.stderr)
            added = [run["directions"] + run["shortcuts"] for run in runs]
            shares = [more / (run["whole"] - more) for more, run in zip(added, runs, strict=True)]
            kept[str(options.sources)] |= {
                "command": f"python benchmarks/cost.py --sources {options.sources} --runs {len(runs)}",
                "median_whole_s": round(statistics.median(run["whole"] for run in runs), 1),
                "median_added_s": round(statistics.median(added), 2),
                "median_share": round(statistics.median(shares), 4),
            }
            RESULT.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps({name: entry for name, entry in kept[str(options.sources)].items() if name != "runs"}))


if __name__ == "__main__":
    main()
