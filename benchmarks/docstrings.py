"""Write Python's own docstrings as a BEIR folder with a train and a test split, for ``eci validate``.

    python benchmarks/docstrings.py docstrings

Summaries of the standard library's docstrings are the queries, the rests the documents; ``eci demo`` takes
every second one. Every third query is for testing: its positive is the positive of no training query, unless
two docstrings share their rest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from eci.atomic import atomic_path
from eci.datasets.beir import write_corpus
from eci.datasets.docstrings import docstring_task

_TEST = 3


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    task = docstring_task()
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents, queries = task.corpus.ids.to_pylist(), task.query_ids.to_pylist()
    write_corpus(task.corpus, folder / "corpus.jsonl")
    _write(
        folder / "queries.jsonl",
        (
            json.dumps({"_id": label, "text": text})
            for label, text in zip(queries, task.queries.to_pylist(), strict=True)
        ),
    )
    judged = {"train": ["query-id\tcorpus-id\tscore"], "test": ["query-id\tcorpus-id\tscore"]}
    for number, label in enumerate(queries):
        split = "train" if number % _TEST else "test"
        judged[split] += [f"{label}\t{documents[place]}\t1" for place in task.positives[number].tolist()]
    for split, lines in judged.items():
        _write(folder / "qrels" / f"{split}.tsv", lines)
    print(f"{folder}: {len(queries):,} queries, {len(documents):,} documents")


def _write(path: Path, lines: Iterable[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
