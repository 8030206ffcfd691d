"""`eci score` against the script a user would write, on SciFact train queries with BM25 top-50 negatives.

The script encodes all queries, positives and negatives as they stand with `SentenceTransformer.encode`
at its defaults and then loops. Each pair runs script, cold cache and warm cache as whole processes, one
after the other on the same machine. Finished pairs are kept in benchmarks/results/score.json: a run that
is stopped goes on where it was.

    ECI_DATA=/path/to/collections python benchmarks/score.py --pairs 5
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from running import RESULTS, beir_folder, called_with, eci_command, keep, machine, medians, timed


def build_rows(collection: Path, out: Path, limit: int | None) -> dict[str, int]:
    """FlagEmbedding rows: train queries, judged positives, BM25 top 50 without them."""
    from eci.datasets import ReadOptions
    from eci.datasets.tasks import read_task
    from eci.miners.bm25 import BM25Miner
    from eci.miners.filters import Filters
    from eci.mining import MineSettings, mine

    task = read_task([collection], ReadOptions(split="train")).task
    settings = MineSettings(50, Filters(near_copy=None), layout="flagembedding")
    mine(task, BM25Miner(task), out, settings)
    lines = out.read_text("utf-8").splitlines(keepends=True)[:limit]
    out.write_text("".join(lines), "utf-8")
    rows = [json.loads(line) for line in lines]
    return {
        "queries": len(rows),
        "positives": sum(len(row["pos"]) for row in rows),
        "negatives": sum(len(row["neg"]) for row in rows),
    }


def users_script(rows_file: Path) -> dict[str, float]:
    """What one writes in an afternoon. Runs in a process of its own."""
    from sentence_transformers import SentenceTransformer

    from eci.models import bundled

    rows = [json.loads(line) for line in rows_file.read_text("utf-8").splitlines()]
    model = SentenceTransformer(str(bundled.find()))
    queries = model.encode([row["query"] for row in rows])
    positives = model.encode([text for row in rows for text in row["pos"]])
    negatives = model.encode([text for row in rows for text in row["neg"]])
    signal, margin, p, n = [], [], 0, 0
    for query, row in zip(queries, rows, strict=True):
        own_p, own_n = positives[p : p + len(row["pos"])], negatives[n : n + len(row["neg"])]
        p, n = p + len(own_p), n + len(own_n)
        sims_p = [float(query @ v / np.linalg.norm(query) / np.linalg.norm(v)) for v in own_p]
        sims_n = [float(query @ v / np.linalg.norm(query) / np.linalg.norm(v)) for v in own_n]
        signal.append(sum(sims_n) / len(sims_n))
        margin.append(max(0.0, max(sims_p) - max(sims_n)))
    s, d = sum(signal) / len(signal), sum(margin) / len(margin)
    return {"eci": float(np.log1p(n / len(rows)) * 2 * s * d / (s + d)), "encoded": len(rows) + p + n}


def one_pair(rows: Path, folder: Path) -> dict[str, float]:
    cache, costs, said = tempfile.mkdtemp(dir=folder), {}, {}
    script = [sys.executable, __file__, "--script", str(rows)]
    ours = eci_command("score", rows, "--json")
    for run, command in (("script", script), ("cold", ours), ("warm", ours)):
        costs[run], told = timed(command, ECI_CACHE=cache)
        said[run] = json.loads(told)
    theirs, result, again = said.values()
    eci = result["sources"][0]["values"]["eci"]["value"]
    if eci != again["sources"][0]["values"]["eci"]["value"]:
        raise SystemExit("warm and cold disagree")
    return {
        **{f"{run}_{name}": value for run, cost in costs.items() for name, value in cost.items()},
        **{
            f"{run}_{name}_ratio": costs["script"][f"{name}_s"] / costs[run][f"{name}_s"]
            for run in ("cold", "warm")
            for name in ("wall", "cpu")
        },
        "script_encoded": theirs["encoded"],
        "eci_encoded": sum(result["data"]["embedded"].values()),
        "script_eci": theirs["eci"],
        "eci": eci,
        "abs_difference": abs(eci - theirs["eci"]),
        "precision": result["encoder"]["precision"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="stop once this many pairs are finished")
    parser.add_argument("--queries", type=int, help="only the first so many train queries (a trial)")
    parser.add_argument("--result", type=Path, help="where finished pairs are kept")
    parser.add_argument("--script", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.script:
        print(json.dumps(users_script(options.script)))
        return
    collection = beir_folder("scifact")
    name = "score.json" if options.queries is None else f"score-{options.queries}.json"
    result_file = options.result or RESULTS / name
    saved = json.loads(result_file.read_text()) if result_file.exists() else {"pairs": []}
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        counts = build_rows(collection, rows, options.queries)
        while len(saved["pairs"]) < options.pairs:
            saved["pairs"].append(one_pair(rows, Path(folder)))
            saved = {
                "command": called_with(),
                **describe(counts, saved["pairs"]),
            }
            keep(result_file, saved)
            print(json.dumps(saved["pairs"][-1]), flush=True)
    print(json.dumps(saved["median"], indent=2))


def describe(counts: dict[str, int], pairs: list[dict]) -> dict:
    return {"rows": counts, "machine": machine(), "median": medians(pairs), "pairs": pairs}


if __name__ == "__main__":
    main()
