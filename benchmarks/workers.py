"""`eci score` in one process and with two workers of Ray; and what each stage of it does in a second.

    python benchmarks/workers.py --again   # results/workers.json; ECI_DATA=DIR: real texts are packed, too

Texts of 200 words, about 1,000 characters; 20 negatives a row from 4 sources, as many documents as rows,
vectors of 128 dimensions in a folder. Above 10,000 rows most queries pass by (docs/scale.md). Both are whole
processes; what one more row costs is the difference between two sizes. Stages run on one thread, as a worker.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import scale
from eci.datasets import from_object, read
from eci.datasets.collection import document_texts_of
from eci.datasets.scanning import HELD, portions
from eci.distributed import packed
from eci.examples import Examples
from eci.lexical import by_words
from eci.models.loading import prepared_encoder
from eci.passing import PortionScorer
from eci.portions import PASSING, Reader
from eci.settings import Settings
from eci.totals import Totals
from running import RESULTS, beir_folder, eci_command, in_turn, keep, timed

SIZES, SOURCES, WORKERS, WORDS = (20_000, 40_000), 4, 2, 200
# Times that a portion is scored: enough to take a second or two.
_TIMES = 3


def row(query: str, positive: str, negatives: list[str]) -> dict[str, Any]:
    """A canonical row, whose negatives are of each source in turn."""
    named = [{"source": f"source {at % SOURCES}", "text": text} for at, text in enumerate(negatives)]
    return {"query": query, "positives": [{"text": positive}], "negatives": named}


def write(folder: Path, rows: int) -> Path:
    """The rows of `scale`, of several sources and longer."""
    scale.write(folder, rows, WORDS)
    with (
        (folder / "rows.jsonl").open(encoding="utf-8") as given,
        (folder / "sources.jsonl").open("w", encoding="utf-8") as file,
    ):
        for read_row in map(json.loads, given):
            made = row(read_row["query"], read_row["pos"][0], read_row["neg"])
            file.write(json.dumps(made) + "\n")
    return folder


def took(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def stages(folder: Path) -> dict[str, float]:
    """What the stages between the rows and the sums take."""
    path = folder / "sources.jsonl"
    size, began = path.stat().st_size, time.perf_counter()
    encoding = prepared_encoder(str(folder / "vectors"), None, False)
    with portions(read([path]), 0) as queries, encoding as encoder:
        drawn = time.perf_counter() - began
        passing = queries.passing(0, len(queries))
        if passing is None or queries.pieces is None:
            raise SystemExit(f"{path}: no query passes by. Take more rows.")
        pieces = queries.pieces
        reading, _ = took(lambda: [None for _ in pieces()])
        counting, (reader, documents) = took(lambda: queries.reader(by_words))
        packing, sent = took(lambda: [(packed(rows), sum(map(len, rows))) for rows in passing])
        words = reader.vocabulary

        def scored(portion: bytes) -> Totals:
            # As by a worker that has met none of the documents.
            scorer = PortionScorer(encoder, Reader(words), queries.sources, Settings())
            return scorer(unpacked(portion))

        new = packed(list(from_object(distinct_rows(folder / "vectors"))))
        adding, totals = took(lambda: [scored(new) for _ in range(_TIMES)])
        largest, asked = max(sent, key=lambda portion: portion[1])
        return {
            "bytes": size,
            "documents": documents,
            "draw_s": drawn,
            "read_s": reading,
            "words_s": counting - reading,
            "pack_s": packing,
            "packed_share": sum(len(portion) for portion, _ in sent) / size,
            "portion_queries": asked,
            "add_queries_per_s": sum(int(each.sizes.sum()) for each in totals) / adding,
            "totals_kb_per_source": len(pickle.dumps(scored(largest))) / SOURCES / 1e3,
            "bytes_per_word": len(pickle.dumps((list(words.numbers), words.idf))) / len(words.numbers),
        }


def unpacked(portion: bytes) -> Examples:
    """The queries of a portion, as a worker takes them."""
    with pa.ipc.open_stream(portion) as reader:
        return Examples.from_batches(list(reader))


def distinct_rows(vectors: Path) -> list[dict[str, Any]]:
    """Rows of a folder's texts in which no document comes twice."""
    queries, texts = (
        pq.read_table(vectors / f"{name}.parquet").column("text").to_pylist()
        for name in ("queries", "corpus")
    )
    size = 1 + scale.NEGATIVES
    return [
        row(queries[at], texts[size * at], texts[size * at + 1 : size * (at + 1)])
        for at in range(len(texts) // size)
    ]


def packed_texts(collection: Path) -> float:
    """Bytes of a packed portion of real documents, for each byte of their texts."""
    texts = document_texts_of(collection)
    drawn = np.random.default_rng(0).integers(0, len(texts), size=(PASSING, 21)).tolist()
    rows = [
        row(f"query {number}", texts[positive], [texts[at] for at in negatives])
        for number, (positive, *negatives) in enumerate(drawn)
    ]
    return len(packed(list(from_object(rows)))) / sum(
        len(texts[at].encode()) for each in drawn for at in each
    )


def rates(medians: dict[str, Any]) -> dict[str, int]:
    """In a second, from what the largest size takes longer than the least."""
    least, most = (medians[str(of(map(int, medians)))] for of in (min, max))

    def grown(side: str, what: str) -> float:
        return most[side][what] - least[side][what]

    queries = max(map(int, medians)) - min(map(int, medians))
    found = {
        **{f"queries, {side}": queries / grown(side, "wall_s") for side in most if side != "stages"},
        **{
            f"{what}_mb": grown("stages", "bytes") / grown("stages", f"{what}_s") / 1e6
            for what in ("draw", "read", "pack")
        },
        "words_documents": grown("stages", "documents") / grown("stages", "words_s"),
    }
    return {name: round(rate) for name, rate in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, metavar="ROWS", help="two, above 10,000"
    )
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    parser.add_argument("--result", type=Path, default=RESULTS / "workers.json")
    parser.add_argument("--stages", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stages:
        print(json.dumps(stages(options.stages)))
        return
    if len(set(options.sizes)) < 2 or min(options.sizes) <= HELD:
        parser.error(f"--sizes: two or more, each above {HELD:,}")
    scifact = beir_folder("scifact") if "ECI_DATA" in os.environ else None
    if options.again:
        options.result.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as work:

        def folder(rows: int) -> Path:
            made = Path(work) / str(rows)
            return made if made.exists() else write(made, rows)

        def score(rows: int, *engine: object) -> dict[str, Any]:
            given = folder(rows)
            command = eci_command("score", given / "sources.jsonl", "--encoder", given / "vectors", "--json")
            cost, told = timed([*command, *map(str, engine)], ECI_CACHE=tempfile.mkdtemp(dir=work))
            return {**cost, "eci": json.loads(told)["sources"][0]["values"]["eci"]["value"]}

        def with_ray(rows: int) -> dict[str, Any]:
            told = score(rows, "--engine", "ray", "--ray-address", "local", "--ray-workers", WORKERS)
            # Of a process whose children work, these are the least part.
            del told["cpu_s"], told["peak_mib"]
            return told

        def of_stages(rows: int) -> dict[str, Any]:
            command = [sys.executable, __file__, "--stages", str(folder(rows))]
            cost, told = timed(command, OMP_NUM_THREADS="1")
            return {**cost, **json.loads(told)}

        sides = {"one process": score, f"{WORKERS} workers": with_ray, "stages": of_stages}
        state = in_turn(options.result, options.pairs, options.sizes, sides)
    for size, each in state["runs"].items():
        found = {run["eci"] for side, runs in each.items() if side != "stages" for run in runs}
        if len(found) > 1:
            raise SystemExit(f"{size} rows: ECI is not the same in all runs: {sorted(found)}")
    state["rates"] = rates(state["medians"])
    state["ray"] = version("ray")
    if scifact:
        state["packed_share_of_scifact"] = round(packed_texts(scifact), 3)
    keep(options.result, state)


if __name__ == "__main__":
    main()
