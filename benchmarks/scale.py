"""`eci score` with vectors that are there already: what a row costs when no model runs.

    python benchmarks/scale.py      # benchmarks/results/scale.json

Texts of 60 words, 20 negatives a row, as many documents as rows, 128 dimensions. Above 10,000 rows most
queries pass by (docs/scale.md); a part of the seconds is for those in memory, whatever the number of rows.
Whole processes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mine import words_of
from running import RESULTS, eci_command, in_turn, timed

SIZES, NEGATIVES, DIMENSION, WORDS = (12_500, 25_000, 50_000), 20, 128, 60


def write(folder: Path, rows: int, words: int = WORDS) -> Path:
    """Rows as JSONL, and a folder of vectors beside them."""
    rng = np.random.default_rng(rows)
    corpus = [f"document {at} {text}" for at, text in enumerate(words_of(rng, rows, words))]
    queries = [f"query {at} {text}" for at, text in enumerate(words_of(rng, rows, 10))]
    vectors = folder / "vectors"
    vectors.mkdir(parents=True)
    for name, texts in (("corpus", corpus), ("queries", queries)):
        pq.write_table(pa.table({"text": texts}), vectors / f"{name}.parquet")
        np.save(vectors / f"{name}.npy", rng.standard_normal((rows, DIMENSION), dtype=np.float32) + 0.3)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for query in queries:
            positive, *negatives = rng.integers(0, rows, 1 + NEGATIVES).tolist()
            row = {"query": query, "pos": [corpus[positive]], "neg": [corpus[at] for at in negatives]}
            file.write(json.dumps(row) + "\n")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="ROWS")
    parser.add_argument("--result", type=Path, default=RESULTS / "scale.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:

        def score(rows: int) -> dict[str, Any]:
            folder = Path(work) / str(rows)
            if not folder.exists():
                write(folder, rows)
            command = eci_command("score", folder / "rows.jsonl", "--encoder", folder / "vectors", "--json")
            cost, told = timed(command, ECI_CACHE=tempfile.mkdtemp(dir=work))
            # A number of the run itself: a change of speed that changes it is none.
            eci_score = json.loads(told)["sources"][0]["values"]["eci"]["value"]
            return {**cost, "rows_per_cpu_s": round(rows / cost["cpu_s"]), "eci": eci_score}

        in_turn(options.result, options.pairs, options.sizes, {"score": score})


if __name__ == "__main__":
    main()
