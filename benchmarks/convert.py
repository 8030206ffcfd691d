"""Memory and speed of ``eci convert``: FlagEmbedding JSONL to canonical Parquet.

Run from the root of the repository::

    python benchmarks/convert.py --rows 1000000

Rows are synthetic and deterministic. The command runs in a process of its own, whose peak resident
memory the operating system reports. The result goes to ``benchmarks/results/convert.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "convert.json"
COMMAND = [sys.executable, "-c", "from eci.cli.convert import convert; convert()"]


def write_rows(path: Path, rows: int, negatives: int, characters: int) -> None:
    """Rows whose texts are cut out of one long random text, so that writing them is fast."""
    random.seed(0)
    words = [
        "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randint(2, 9))) for _ in range(5000)
    ]
    text = " ".join(random.choices(words, k=400_000))
    with path.open("w") as handle:
        for row in range(rows):
            starts = random.choices(range(len(text) - characters), k=negatives + 1)
            texts = [text[start : start + characters] for start in starts]
            handle.write(json.dumps({"query": f"query {row}", "pos": texts[:1], "neg": texts[1:]}) + "\n")


def measure(source: Path, out: Path) -> dict[str, float]:
    """Seconds and peak memory of one conversion."""
    before = time.perf_counter()
    subprocess.run([*COMMAND, str(source), "-o", str(out), "--to", "eci"], check=True)
    seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": round(seconds, 1), "peak_rss_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--negatives", type=int, default=20)
    parser.add_argument("--characters", type=int, default=300, help="of each document")
    parser.add_argument("--folder", type=Path, help="for the temporary files")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        source, out = Path(folder) / "synthetic.jsonl", Path(folder) / "synthetic.parquet"
        write_rows(source, chosen.rows, chosen.negatives, chosen.characters)
        measured = measure(source, out)
        sizes = {"input_bytes": source.stat().st_size, "output_bytes": out.stat().st_size}
    result = {
        "command": f"python benchmarks/convert.py --rows {chosen.rows} --negatives {chosen.negatives}"
        f" --characters {chosen.characters}",
        "settings": {
            "rows": chosen.rows,
            "negatives_per_row": chosen.negatives,
            "characters_per_document": chosen.characters,
            "from": "flagembedding .jsonl",
            "to": "eci .parquet",
            "python": platform.python_version(),
        },
        **sizes,
        **measured,
        "rows_per_second": round(chosen.rows / measured["seconds"]),
        "peak_rss_gib": round(measured["peak_rss_bytes"] / 2**30, 3),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
