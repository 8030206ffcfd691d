"""Time and memory of whole commands over growing numbers of rows.

    python benchmarks/memory.py                    # 1,000, 10,000 and 100,000 rows of every command
    python benchmarks/memory.py --rows 10000000 --commands score
    python benchmarks/memory.py --rows 1000000 --commands score-texts convert-texts

Rows name a positive and 20 negatives by id (layout tevatron-ids), the corpus has a million documents of 60
words, and the vectors of both are on disk (16 dimensions unless told otherwise, float16). Commands ending in
``-texts`` read the same rows with their texts (layout eci, Parquet) and no corpus. What was measured
is kept in ``results/memory.json``; what is there is not measured again. A table of all of it is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eci.atomic import atomic_path

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "memory.json"
NEGATIVES, WORDS, QUERY_WORDS, VOCABULARY = 20, 60, 8, 30_000
# Rows or documents that are made at a time; each block depends on its number alone.
BLOCK = 10_000
SAMPLED_S = 0.05


def words_of(documents: np.ndarray) -> np.ndarray:
    """Numbers of the words of documents, of shape (n, WORDS): the first words are the frequent ones."""
    mixed = documents.astype(np.uint64)[:, None] * np.uint64(WORDS) + np.arange(WORDS, dtype=np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    part = (mixed >> np.uint64(11)).astype(np.float64) / 2**53
    return np.floor(VOCABULARY**part).astype(np.int64)


def texts_of(numbers: np.ndarray) -> list[str]:
    return [" ".join(f"w{number}" for number in row) for row in numbers.tolist()]


def make_corpus(folder: Path, documents: int, dimension: int) -> None:
    rng = np.random.default_rng(1)
    vectors = open_vectors(folder / "corpus.npy", documents, dimension)
    with pq.ParquetWriter(folder / "corpus.parquet", schema("_id", "text")) as file:
        for start in range(0, documents, BLOCK):
            numbers = np.arange(start, min(start + BLOCK, documents))
            texts = texts_of(words_of(numbers))
            file.write_table(pa.table({"_id": [f"d{number}" for number in numbers.tolist()], "text": texts}))
            vectors[numbers] = rng.standard_normal((len(numbers), dimension))


def make_rows(folder: Path, rows: int, documents: int, dimension: int) -> None:
    corpus = np.load(folder / "corpus.npy", mmap_mode="r")
    vectors = open_vectors(folder / "queries.npy", rows, dimension)
    lists = [(f"{side}_document_ids", pa.list_(pa.string())) for side in ("positive", "negative")]
    kept = pa.schema([("query_id", pa.string()), ("query_text", pa.string()), *lists])
    with (
        pq.ParquetWriter(folder / "rows.parquet", kept) as file,
        pq.ParquetWriter(folder / "queries.parquet", schema("text")) as asked,
    ):
        for start in range(0, rows, BLOCK):
            rng = np.random.default_rng([2, start])
            numbers = np.arange(start, min(start + BLOCK, rows))
            found = rng.integers(0, documents, (len(numbers), 1 + NEGATIVES))
            drawn = words_of(found[:, 0])[:, :: WORDS // QUERY_WORDS]
            queries = [f"{text} q{number}" for text, number in zip(texts_of(drawn), numbers, strict=True)]
            ids = [[f"d{number}" for number in row] for row in found.tolist()]
            file.write_table(
                pa.table(
                    {
                        "query_id": [f"q{number}" for number in numbers.tolist()],
                        "query_text": queries,
                        "positive_document_ids": [row[:1] for row in ids],
                        "negative_document_ids": [row[1:] for row in ids],
                    },
                    schema=kept,
                )
            )
            asked.write_table(pa.table({"text": queries}))
            noise = rng.standard_normal((len(numbers), dimension))
            vectors[numbers] = corpus[found[:, 0]].astype(np.float32) + noise


def schema(*names: str) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def open_vectors(path: Path, rows: int, dimension: int) -> np.ndarray:
    return np.lib.format.open_memmap(path, "w+", np.float16, (rows, dimension))


def data(folder: Path, rows: int, documents: int, dimension: int) -> Path:
    """A folder with rows, the corpus and the vectors of both; the corpus is made once."""
    corpus = folder / f"corpus-{documents}-{dimension}"
    made = folder / f"rows-{rows}-{documents}-{dimension}"
    if not corpus.exists():
        work = folder / "making-corpus"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        make_corpus(work, documents, dimension)
        work.rename(corpus)
    if not made.exists():
        work = folder / "making-rows"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        for name in ("corpus.npy", "corpus.parquet"):
            (work / name).hardlink_to(corpus / name)
        make_rows(work, rows, documents, dimension)
        work.rename(made)
    return made


def command(name: str, made: Path, out: Path) -> list[str]:
    kind, _, texts = name.partition("-")
    rows, corpus = [str(made / "rows.parquet")], ["--corpus", str(made / "corpus.parquet")]
    written = ["-o", str(out / "made"), "--to", "tevatron-ids"]
    if texts:
        rows, corpus, written = [str(made / "texts.parquet")], [], ["-o", str(out / "made.parquet")]
    vectors = ["--encoder", str(made), "--no-cache"]
    told = {
        "score": [*vectors, "-o", str(out / "out.json")],
        "audit": [*vectors, "--scores", str(out / "out.parquet")],
        "select": [*vectors, "-k", "5", *written],
        "filter": ["--near-copy", "0.9", *written],
        "convert": written,
        "mix": [str(made / "other.parquet"), "--mode", "union", *written],
    }
    return [str(Path(sys.executable).with_name("eci")), kind, *rows, *corpus, *told[kind]]


def prepare(name: str, made: Path) -> None:
    """What a command reads beside the rows."""
    if name == "mix" and not (made / "other.parquet").exists():
        shutil.copyfile(made / "rows.parquet", made / "other.parquet")
    if name.endswith("-texts") and not (made / "texts.parquet").exists():
        eci = str(Path(sys.executable).with_name("eci"))
        rows = [str(made / "rows.parquet"), "--corpus", str(made / "corpus.parquet")]
        subprocess.run([eci, "convert", *rows, "-o", str(made / "texts.parquet")], check=True)


def measure(name: str, made: Path, folder: Path) -> dict[str, float | int | str]:
    """One run: seconds, the most memory of its own and with the files that it mapped, the most on disk."""
    prepare(name, made)
    out = Path(tempfile.mkdtemp(prefix="out-", dir=folder)).absolute()
    (out / "temporary").mkdir()
    before, start = os.times(), time.perf_counter()
    process = subprocess.Popen(
        command(name, made, out),
        stdout=subprocess.DEVNULL,
        stderr=(out / "stderr").open("w"),
        env={**os.environ, "TMPDIR": str(out / "temporary")},
        text=True,
    )
    own = mapped = disk = 0
    look = start
    while process.poll() is None:
        if (now := time.perf_counter()) >= look:
            disk = max(disk, on_disk(out, process.pid))
            # Where files are many to look at takes longer, and the looking is not to be what is measured.
            look = now + 50 * (time.perf_counter() - now)
        try:
            told = dict(
                line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            )
            own = max(own, int(told["RssAnon"].split()[0]))
            mapped = max(mapped, int(told["VmHWM"].split()[0]))
        except (OSError, KeyError):
            pass
        time.sleep(SAMPLED_S)
    after = os.times()
    if process.returncode:
        raise SystemExit(f"{name}: {(out / 'stderr').read_text()[-2000:]}")
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    shutil.rmtree(out)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "processor_seconds": round(after[2] + after[3] - before[2] - before[3], 2),
        "peak_own_mib": own >> 10,
        "peak_with_mapped_files_mib": mapped >> 10,
        "peak_disk_mib": max(disk, written) >> 20,
        "written_mib": written >> 20,
        "load_average": round(os.getloadavg()[0], 1),
    }


def on_disk(out: Path, pid: int) -> int:
    """Bytes of the output and of temporary files, those without a name too."""
    paths = [Path(folder) / name for folder, _, names in os.walk(out) for name in names]
    found = {}
    for path in [*paths, *opened(pid)]:
        try:
            told = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(told.st_mode) and (path.is_relative_to(out) or not told.st_nlink):
            found[told.st_dev, told.st_ino] = 512 * told.st_blocks
    return sum(found.values())


def opened(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []


def table(runs: dict[str, dict[str, float | int | str]]) -> str:
    """Rows by command: seconds, their exponent from the size before, memory, disk beside what is written."""
    lines = [
        "| command | rows | seconds | processor seconds | exponent | own MiB | with mapped files | disk |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before: tuple[list[str], int, float] = ([], 1, 1.0)
    for key in sorted(runs, key=lambda key: [*key.split()[::3], *map(int, key.split()[1:])]):
        (name, rows, *shape), run = key.split(), runs[key]
        taken, exponent = float(run["processor_seconds"]), ""
        if before[0] == [name, *shape]:
            exponent = f"{np.log(taken / before[2]) / np.log(int(rows) / before[1]):.2f}"
        before = ([name, *shape], int(rows), taken)
        # Not of runs from before it was measured.
        beside = f"{int(run['peak_disk_mib']) - int(run['written_mib']):,}" if "peak_disk_mib" in run else ""
        told = f"{run['seconds']} | {run['processor_seconds']} | {exponent}"
        lines.append(
            f"| `{name}` | {int(rows):,} | {told} | {run['peak_own_mib']:,} | "
            f"{run['peak_with_mapped_files_mib']:,} | {beside} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=Path("scale-data"))
    names = ["score", "audit", "select", "filter", "convert", "mix"]
    texts = [f"{name}-texts" for name in names if name != "mix"]
    parser.add_argument("--commands", nargs="+", default=names, choices=[*names, *texts])
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    found = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else {}
    for rows in given.rows:
        made = data(given.folder, rows, given.documents, given.dimension)
        for name in given.commands:
            key = f"{name} {rows} {given.documents} {given.dimension}"
            if key in found and not given.again:
                continue
            found[key] = measure(name, made, given.folder)
            print(key, json.dumps(found[key]), flush=True)
            with atomic_path(RESULTS) as work:
                told = {"command": "python benchmarks/memory.py", "runs": dict(sorted(found.items()))}
                work.write_text(json.dumps(told, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
