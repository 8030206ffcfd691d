"""How many known answers miners return as negatives when they do not know them.

Of every query with several positives, half are hidden (drawn by seed) before mining. A hidden positive that
comes back as a negative is a false negative that nobody but us can see. Queries with one positive keep it
and count for short rows only.

    ECI_DATA=/path/to/collections python benchmarks/false_negatives.py scifact --split train
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from eci.cli.progress import StderrProgress
from eci.datasets import ReadOptions
from eci.datasets.tasks import read_task
from eci.miners.bm25 import BM25Miner
from eci.miners.counterfactual import CounterfactualMiner
from eci.miners.dense import DenseMiner
from eci.miners.filters import Filters
from eci.miners.random import RandomMiner
from eci.miners.reranked import EncoderReranker, RerankMiner
from eci.mining import MineSettings, mine
from eci.models.loading import prepared_encoder, prepared_reranker
from running import beir_folder

HERE = Path(__file__).parent
K = 10
POOL = 50
FILTERS = {
    "none": Filters(range_max=POOL),
    "ranks 11-50": Filters(range_min=10, range_max=POOL),
    "absolute margin 0.05": Filters(absolute_margin=0.05, range_max=POOL),
    "relative margin 0.05": Filters(relative_margin=0.05, range_max=POOL),
    "relative margin 0.2": Filters(relative_margin=0.2, range_max=POOL),
}


def hide(qrels: Path, out: Path, seed: int) -> dict[str, set[str]]:
    """Write the judgements that stay; give those that are hidden, by query."""
    positives: dict[str, list[str]] = {}
    for line in qrels.read_text("utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            positives.setdefault(query, []).append(document)
    rng = np.random.default_rng(seed)
    hidden = {
        query: set(rng.permutation(sorted(own))[: len(own) // 2].tolist()) for query, own in positives.items()
    }
    rows = [f"{q}\t{d}\t1" for q, own in positives.items() for d in own if d not in hidden[q]]
    out.write_text("\n".join(["query-id\tcorpus-id\tscore", *rows, ""]), "utf-8")
    return hidden


def runs(
    collection: Path, qrels: Path, work: Path, without: list[str]
) -> Iterator[tuple[str, str, Path, int]]:
    """Every miner under every filter: names, the rows, and how many are short."""
    progress = StderrProgress()
    reading = ReadOptions(corpus=collection / "corpus.jsonl", queries=collection / "queries.jsonl")
    task = read_task((), reading, [qrels]).task
    with prepared_encoder(progress=progress) as encoder, prepared_reranker(progress=progress) as reranker:
        bm25, dense = BM25Miner(task), DenseMiner(task, encoder, progress=progress)
        teacher = EncoderReranker(encoder)
        miners = {
            "random": (RandomMiner(task), teacher),
            "bm25": (bm25, teacher),
            "dense": (dense, None),
            "late interaction of bm25's 50": (RerankMiner(task, bm25, reranker, POOL), None),
            "counterfactual": (CounterfactualMiner(task), teacher),
        }
        for name in [name for name in miners if name not in without]:
            miner, judge = miners[name]
            for filtered, filters in FILTERS.items():
                out = work / "rows.parquet"
                used = judge if filters.by_score else None
                try:
                    result = mine(task, miner, out, MineSettings(K, filters), teacher=used)
                except Exception as error:  # noqa: BLE001 - a filter that leaves nothing is a row of the table
                    print(f"{name}, {filtered}: {error}")
                    continue
                yield name, filtered, out, result.short


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection")
    parser.add_argument("--split", default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", action="append", default=[], metavar="MINER", help="Leave a miner out.")
    options = parser.parse_args()
    collection = beir_folder(options.collection)
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept.tsv"
        hidden = hide(collection / "qrels" / f"{options.split}.tsv", kept, options.seed)
        total = sum(map(len, hidden.values()))
        for name, filtered, rows, short in runs(collection, kept, Path(folder), options.without):
            found = negatives = own = 0
            for row in pq.read_table(rows, columns=["query_id", "negatives"]).to_pylist():
                ids = {negative["id"] for negative in row["negatives"]}
                found += len(ids & hidden[row["query_id"]])
                negatives += len(ids)
                own += len(ids) if hidden[row["query_id"]] else 0
            entry = {
                "miner": name,
                "filter": filtered,
                "negatives": negatives,
                "short_rows": short,
                "hidden_returned": found,
                "share_of_hidden": round(found / total, 4),
                "share_of_negatives": round(found / own, 4) if own else None,
            }
            table.append(entry)
            print(
                f"| {name} | {filtered} | {negatives:,} | {short:,} | {found} ({found / total:.1%}) "
                f"| {found / max(1, own):.2%} |",
                flush=True,
            )
    told = {
        "command": f"python benchmarks/false_negatives.py {options.collection} --split {options.split} "
        f"--seed {options.seed}" + "".join(f" --without '{name}'" for name in options.without),
        "k": K,
        "pool": POOL,
        "queries": len(hidden),
        "queries_with_hidden": sum(bool(own) for own in hidden.values()),
        "hidden": total,
        "table": table,
    }
    out = HERE / "results" / f"false_negatives-{options.collection}.json"
    out.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
