"""What the metrics say of negatives that are made wrong on purpose.

``known``: train queries with BM25's top 10 (known positives and their copies out). 10, 30 and 60 % of these
negatives are replaced by true positives of their query, drawn by seed; every level is one source, all
scored together. ``hidden``: of queries with several positives half are withheld, and the replacements come
from those, so that no label tells that they are relevant. ``style``: BM25's top 5 of 200 queries as they
are, 60 % replaced by positives, behind a fixed phrase, and cut to half their words, each beside the top 5
of random draws and of dense retrieval: which of them does the shortcut light tell?

    ECI_DATA=/path/to/collections python benchmarks/contamination.py scifact known
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from eci import api
from eci.cli.progress import StderrProgress
from eci.datasets import ReadOptions
from eci.datasets.tasks import read_task
from eci.miners.bm25 import BM25Miner
from eci.miners.dense import DenseMiner
from eci.miners.random import RandomMiner
from eci.mining import MineSettings, mine
from eci.models.loading import prepared_encoder
from eci.results import ScoreResult
from eci.settings import Settings
from running import beir_folder

RESULTS = Path(__file__).parent / "results"
SHARES = (0, 10, 30, 60)
K = 10
QUERIES = 200
PHRASE = "In summary, the following holds."
METRICS = (
    "eci",
    "eci_mean_margin",
    "eci_query",
    "eci_sem",
    "eci_sem_query",
    "alignment",
    "alignment_gain",
    "alignment_dot_gain",
    "signal",
    "margin_mean",
    "violation_rate",
    "infonce_loss",
)


def mined(collection: Path, k: int, label: str = "bm25") -> list[dict[str, Any]]:
    """Canonical rows of the train queries that a miner finds negatives for."""
    task = read_task([collection], ReadOptions(split="train")).task
    with tempfile.TemporaryDirectory() as folder, prepared_encoder() as encoder:
        miners = {"bm25": BM25Miner, "dense": lambda task: DenseMiner(task, encoder), "random": RandomMiner}
        out = Path(folder) / "rows.parquet"
        mine(task, miners[label](task), out, MineSettings(k, label=label))
        return [row for row in pq.read_table(out).to_pylist() if row["negatives"]]


def contaminated(rows: list[dict[str, Any]], hidden: bool, seed: int) -> list[dict[str, Any]]:
    """The rows with the negatives of every level; a level replaces what the level below does, and more."""
    rng = np.random.default_rng(seed)
    made = []
    for row in rows:
        positives = [row["positives"][place] for place in rng.permutation(len(row["positives"]))]
        kept = (len(positives) + 1) // 2 if hidden else len(positives)
        right = positives[kept:] or (positives if not hidden else [])
        if not right:
            continue
        chance = rng.permutation(len(row["negatives"])) / len(row["negatives"])
        draws = [right[place % len(right)] for place in rng.permutation(max(len(right), len(chance)))]
        negatives = []
        for share in SHARES:
            for negative, score, draw in zip(row["negatives"], chance, draws, strict=False):
                replaced = {"id": draw["id"], "title": draw["title"], "text": draw["text"]}
                changed = replaced if score < share / 100 else {}
                negatives.append(
                    {**negative, **changed, "score": None, "scorer": None, "source": f"{share:02d}%"}
                )
        made.append({**row, "positives": positives[:kept], "negatives": negatives})
    return made


def restyled(collection: Path, seed: int) -> list[dict[str, Any]]:
    """Rows of BM25 negatives, damaged in several ways, beside those of two other miners."""
    by_miner = {
        label: {row["query_id"]: row for row in mined(collection, 5, label)}
        for label in ("bm25", "dense", "random")
    }
    shared = sorted(set.intersection(*(set(rows) for rows in by_miner.values())))
    rng = np.random.default_rng(seed)
    made = []
    for query in sorted(rng.permutation(shared)[:QUERIES].tolist()):
        row = by_miner["bm25"][query]
        negatives = [n for rows in by_miner.values() for n in rows[query]["negatives"]]
        replaced = rng.permutation(5) < 3
        for place, negative in enumerate(row["negatives"]):
            words = negative["text"].split()
            right = row["positives"][int(rng.integers(len(row["positives"])))]
            positive = {name: right[name] for name in ("id", "title", "text")}
            for label, change in (
                ("bm25, 60 % positives", positive if replaced[place] else {}),
                ("bm25, a phrase before", {"id": None, "text": f"{PHRASE} {negative['text']}"}),
                ("bm25, half the words", {"id": None, "text": " ".join(words[: (len(words) + 1) // 2])}),
            ):
                negatives.append({**negative, **change, "source": label})
        made.append({**row, "negatives": [{**n, "score": None, "scorer": None} for n in negatives]})
    return made


def lights(result: ScoreResult) -> list[dict[str, Any]]:
    """The shortcut light of each pair, and the figures that set it."""
    return [
        {
            "pair": [entry["first"], entry["second"]],
            "light": entry["light"],
            "because": entry["because"],
            "probe": entry["probe"],
            "cues": {name: entry["cues"][name]["value"] for name in entry["cues"]},
            "pure": [estimate["value"] for estimate in entry["pure"]],
            "similarity_auc": entry["auc"]["value"],
        }
        for entry in result.shortcuts
    ]


def tell(result: ScoreResult, table: dict[str, Any]) -> None:
    """Print the figures, level by level, and the lights."""
    for name in METRICS if table else ():
        told = (
            f"{found[name]['value']:.4f} ({found[name]['low']:.4f} … {found[name]['high']:.4f})"
            for found in table.values()
        )
        print(f"{name:20} {'  '.join(told)}")
    for entry in lights(result):
        probe = entry["probe"]
        print(
            f"{' / '.join(entry['pair']):44} {entry['light']:10} {entry['because']:10} probe "
            f"{probe['value']:.3f} ({probe['low']:.3f} … {probe['high']:.3f}) "
            f"length {entry['cues']['length']:.3f} phrase {entry['cues']['phrase']:.3f}"
        )


def main() -> None:
    """Run one collection and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("collection", choices=["scifact", "nfcorpus"])
    parser.add_argument("damage", choices=["known", "hidden", "style"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    collection = beir_folder(options.collection)
    if options.damage == "style":
        rows = restyled(collection, options.seed)
    else:
        rows = contaminated(mined(collection, K), options.damage == "hidden", options.seed)
    with StderrProgress() as progress:
        result = api.score(rows, settings=Settings(metric="alignment_gain"), progress=progress)
    levels = () if options.damage == "style" else sorted(entry.source for entry in result.sources)
    table = {level: {name: vars(result[level].values[name]) for name in METRICS} for level in levels}
    tell(result, table)
    arguments = f"{options.collection} {options.damage} --seed {options.seed}"
    kept = {
        "command": f"python benchmarks/contamination.py {arguments}",
        "queries": len(rows),
        "none": {name: entry["value"] for name, entry in result.data["alignment"]["none"].items()},
        "metrics": table,
        "alignment_gain_first_minus_other": result.comparisons,
        "shortcuts": lights(result),
    }
    name = f"contamination-{options.collection}-{options.damage}.json"
    (RESULTS / name).write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
