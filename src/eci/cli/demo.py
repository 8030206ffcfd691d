"""``eci demo``: the main job on real text that every machine has, without a download or a key."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from eci.datasets.docstrings import Collection
    from eci.miners import Ranking
    from eci.types import Vectors

_HYBRIDS = {
    "random+bm25": ("random", "bm25"),
    "bm25+dense": ("bm25", "dense"),
    "random+dense": ("random", "dense"),
}


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("eci-demo"),
    show_default=True,
    help="Folder for the mined rows and the result.",
)
@click.option("--seed", default=0, show_default=True, help="Of the random negatives.")
def demo(output: Path, seed: int) -> None:
    """Mine and score negatives for Python's docstrings.

    No download, no key, under 3 minutes on two cores. Queries are the summaries of the installed standard
    library's docstrings, positives the rest of each.
    Sources: random 50, BM25 top 50, dense top 25 and their concatenations, as the paper pairs them.
    """
    import pyarrow.parquet as pq

    from eci import api
    from eci.atomic import atomic_path
    from eci.cli.progress import StderrProgress
    from eci.cli.score import describe
    from eci.datasets.docstrings import Collection, docstring_pairs

    began = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    progress = StderrProgress()
    collection = Collection.of(docstring_pairs())
    click.echo(
        f"Python standard library: {len(collection.queries):,} queries, "
        f"{len(collection.documents):,} documents",
        err=True,
    )
    with api.prepared_encoder(progress=progress) as encoder:
        vectors = _embed(collection, encoder)
        mined = _mine(collection, vectors, seed, encoder.describe()["name"])
        rows = _rows(collection, mined)
        with atomic_path(output / "rows.parquet") as temporary:
            pq.write_table(rows, temporary, compression="zstd", dictionary_pagesize_limit=1 << 25)
        result = api.score(output / "rows.parquet", encoder, progress=progress)
    with atomic_path(output / "result.json") as temporary:
        temporary.write_text(result.to_json() + "\n", encoding="utf-8")
    click.echo(describe(result))
    click.echo("\nFive negatives worth reading:\n")
    for text in _worth_reading(collection, mined, vectors):
        click.echo(text)
    click.echo(
        f"Rows: {output / 'rows.parquet'}, result: {output / 'result.json'}; "
        f"{time.monotonic() - began:.0f} s. Again: eci score {output / 'rows.parquet'}"
    )


def _embed(collection: Collection, encoder: Any) -> tuple[Vectors, Vectors]:
    from eci.scoring import encode

    return encode(encoder, collection.queries, "query"), encode(encoder, collection.documents, "document")


def _mine(
    collection: Collection, vectors: tuple[Vectors, Vectors], seed: int, encoder: str
) -> dict[str, Ranking]:
    from eci.miners import mine_bm25, mine_dense, mine_random

    known = collection.positives
    return {
        "random": mine_random(len(collection.documents), known, 50, seed),
        "bm25": mine_bm25(collection.queries, collection.documents, known, 50),
        "dense": mine_dense(*vectors, known, 25, encoder),
    }


def _rows(collection: Collection, mined: Mapping[str, Ranking]) -> pa.Table:
    import pyarrow as pa

    from eci.examples import ROWS

    labels = {**{label: (label,) for label in mined}, **_HYBRIDS}
    entries = {label: _records(collection, ranking) for label, ranking in mined.items()}
    rows = []
    for number, query in enumerate(collection.queries):
        positives = [
            {"id": f"doc{place}", "text": collection.documents[place]}
            for place in collection.positives[number]
        ]
        negatives = [
            {**entry, "source": label}
            for label, parts in labels.items()
            for part in parts
            for entry in entries[part][number]
        ]
        rows.append(
            {"query_id": f"q{number}", "query": query, "positives": positives, "negatives": negatives}
        )
    return pa.Table.from_pylist(rows, schema=ROWS)


def _records(collection: Collection, ranking: Ranking) -> list[list[dict[str, Any]]]:
    rows = []
    for number in range(len(ranking.documents)):
        start = ranking.documents.offsets[number]
        rows.append(
            [
                {
                    "id": f"doc{place}",
                    "text": collection.documents[place],
                    "rank": rank,
                    "score": None if ranking.scorer == "random" else float(ranking.scores[start + rank - 1]),
                    "scorer": ranking.scorer,
                }
                for rank, place in enumerate(ranking.documents[number], start=1)
            ]
        )
    return rows


def _worth_reading(
    collection: Collection, mined: Mapping[str, Ranking], vectors: tuple[Vectors, Vectors]
) -> list[str]:
    """Two negatives far above their positive, one just below, one lexical look-alike, one random."""
    import numpy as np

    from eci.similarity import own_documents

    queries, documents = vectors
    best = own_documents(queries, documents, collection.positives).maxima()
    gaps = {}
    for label, ranking in mined.items():
        similarity = own_documents(queries, documents, ranking.documents)
        gaps[label] = similarity.values - best[ranking.documents.rows]
    top = np.argsort(-gaps["dense"])
    rows = mined["dense"].documents.rows
    second = next(place for place in top if rows[place] != rows[top[0]])
    chosen = [
        ("dense", top[0], "far above the labelled positive, perhaps a false negative"),
        ("dense", second, "far above the labelled positive, perhaps a false negative"),
        (
            "dense",
            np.argmin(np.abs(gaps["dense"] + 0.02)),
            "just below the positive: hard",
        ),
        ("bm25", np.argmin(gaps["bm25"]), "shares words with the query and nothing else"),
        ("random", np.argsort(gaps["random"])[len(gaps["random"]) // 2], "the median random negative"),
    ]
    return [
        _card(collection, mined[label], int(place), label, gaps[label], best, why)
        for label, place, why in chosen
    ]


def _card(
    collection: Collection, ranking: Ranking, place: int, label: str, gap: Any, best: Any, why: str
) -> str:
    row = int(ranking.documents.rows[place])
    positive = collection.documents[collection.positives[row][0]]
    negative = collection.documents[ranking.documents.values[place]]
    similarity = best[row] + gap[place]
    return "\n".join(
        [
            f"{label}: {why}",
            f"  query     {_line(collection.queries[row])}",
            f"  positive  {best[row]:.2f}  {_line(positive)}",
            f"  negative  {similarity:.2f}  {_line(negative)}",
            "",
        ]
    )


def _line(text: str) -> str:
    return textwrap.shorten(text, 110, placeholder=" …")
