"""``eci demo``: the main job on real text that every machine has, without a download or a key."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.options import SEED

if TYPE_CHECKING:
    from eci.report.writing import Behind
    from eci.results import ScoreResult
    from eci.task import Miner, RetrievalTask
    from eci.types import Progress

# The paper's table in miniature: its seven sources, and chance beside them.
_SOURCES = {"random": 50, "bm25": 50, "late-interaction": 25, "counterfactual": 3}
_HYBRIDS = (
    ("bm25", "late-interaction"),
    ("bm25", "counterfactual"),
    ("late-interaction", "counterfactual"),
    ("bm25", "late-interaction", "counterfactual"),
)
_POOL = 50
# Every query of the collection takes twice as long and ranks the sources the same.
_EVERY = 2


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("eci-demo"),
    show_default=True,
    help="Folder for the mined rows, the result and its page.",
)
@click.option(
    "--seed", default=0, show_default=True, type=SEED, help="Of the random negatives and of the edits."
)
def demo(output: Path, seed: int) -> None:
    """Mine and score negatives for Python's docstrings.

    No download, no key, under 3 minutes on two cores. Queries are the summaries of every second docstring of
    the installed standard library, positives the rest of each. Sources are those of the paper in miniature:
    BM25 top 50, 25 of them by a reranker (late interaction over the embedded encoder), 3 made from the
    positive (rule-based edits in the place of a language model), their concatenations, and 50 at random.
    """
    from eci import api
    from eci.atomic import atomic_path
    from eci.cli.describe import describe
    from eci.cli.progress import StderrProgress
    from eci.datasets import ReadOptions
    from eci.datasets.beir import write_corpus
    from eci.datasets.docstrings import docstring_task
    from eci.errors import MissingDependency
    from eci.report.writing import Behind

    needed = {"sentence-transformers": "sentence_transformers", "lmdb": "lmdb", "bm25s": "bm25s"}
    MissingDependency.unless_installed("The demo", needed, "all")
    began = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    again = f"eci score {output / '*.parquet'} --candidates {output / 'corpus.jsonl'}"
    task = docstring_task(every=_EVERY)
    click.echo(f"Python standard library: {len(task):,} queries, {len(task.corpus):,} documents", err=True)
    with StderrProgress() as progress:
        files = _mined(task, output, seed, progress)
        files += _mixed(files, output)
        corpus = output / "corpus.jsonl"
        write_corpus(task.corpus, corpus)
        with api.prepared_encoder(progress=progress) as encoder:
            reading = ReadOptions(candidates=corpus)
            result = api.score(files, encoder, reading=reading, progress=progress)
            result.settings["command"] = again
            with atomic_path(output / "result.json") as temporary:
                temporary.write_text(result.to_json() + "\n", encoding="utf-8")
            cards = _worth_reading(files, encoder)
            page = _page(result, output, Behind(files, encoder, reading), progress)
    click.echo(describe(result))
    click.echo("\nFive negatives worth reading:\n")
    for card in cards:
        click.echo(card)
    click.echo(
        f"{page}\n"
        f"Rows of each source, corpus.jsonl and result.json: {output}; {time.monotonic() - began:.0f} s.\n"
        f"Again:\n  {again}\n"
        f"What agreed best with training so far, in two minutes:\n"
        f"  eci probe {output / '*.parquet'} --candidates {corpus}"
    )


def _page(result: ScoreResult, folder: Path, behind: Behind, progress: Progress) -> str:
    """Write the page of the result; gives where it is, or why there is none."""
    from eci.errors import MissingDependency
    from eci.report.writing import write

    try:
        page, rows = write(result, folder / "report.html", behind, progress)
    except MissingDependency as error:
        return f"No page for a browser: {error}"
    return f"Page for a browser: {page}; its rows: {rows}"


def _mined(task: RetrievalTask, folder: Path, seed: int, progress: Progress) -> list[Path]:
    from eci.miners.bm25 import BM25Miner
    from eci.miners.counterfactual import CounterfactualMiner, CounterfactualSettings
    from eci.miners.random import RandomMiner
    from eci.miners.reranked import RerankMiner
    from eci.mining import MineSettings, mine
    from eci.models.loading import prepared_reranker

    with prepared_reranker(progress=progress) as reranker:
        lexical = BM25Miner(task)
        miners: dict[str, Miner] = {
            "random": RandomMiner(task, seed),
            "bm25": lexical,
            "late-interaction": RerankMiner(task, lexical, reranker, _POOL),
            "counterfactual": CounterfactualMiner(task, CounterfactualSettings(seed=seed)),
        }
        files = []
        for label, k in _SOURCES.items():
            files.append(folder / f"{label}.parquet")
            mine(task, miners[label], files[-1], MineSettings(k, label=label), progress=progress)
    return files


def _mixed(files: list[Path], folder: Path) -> list[Path]:
    from eci.datasets import write
    from eci.mixing import mix

    by_label = {file.stem: file for file in files}
    made = []
    for parts in _HYBRIDS:
        made.append(folder / f"{'+'.join(parts)}.parquet")
        write(mix([by_label[part] for part in parts], mode="concat").rows, made[-1], "eci")
    return made


def _worth_reading(files: list[Path], encoder: Any) -> list[str]:
    """Negatives to look at: two far above their positive, one just below, an edit, a random one."""
    import numpy as np

    from eci.datasets import read
    from eci.embedding import encode
    from eci.examples import Examples
    from eci.similarity import own_documents

    examples = Examples.from_batches(read(files))
    queries = encode(encoder, list(examples.queries), "query")
    documents = encode(encoder, list(examples.documents), "document")
    best = own_documents(queries, documents, examples.positives).maxima()
    owner = examples.negatives.rows
    cosine = own_documents(queries, documents, examples.negatives).values
    gap = cosine - best[owner]

    def of(label: str) -> Any:
        return np.flatnonzero(examples.source == examples.sources.index(label))

    reranked, edited, drawn = of("late-interaction"), of("counterfactual"), of("random")
    top = reranked[np.argsort(-gap[reranked], kind="stable")]
    second = next(place for place in top if owner[place] != owner[top[0]])
    why = "far above the labelled positive, perhaps a false negative"
    chosen = [
        (top[0], why),
        (second, why),
        (reranked[np.argmin(np.abs(gap[reranked] + 0.02))], "just below the positive: hard"),
        (edited[np.argmin(np.abs(gap[edited] + 0.02))], "the positive with one fact changed"),
        (drawn[np.argsort(gap[drawn], kind="stable")[len(drawn) // 2]], "the median random negative"),
    ]
    cards = []
    for place, reason in chosen:
        row = int(owner[place])
        positive = examples.documents[examples.positives[row][0]]
        negative = examples.documents[examples.negatives.values[place]]
        cards.append(
            f"{examples.sources[examples.source[place]]}: {reason}\n"
            f"  query     {_line(examples.queries[row])}\n"
            f"  positive  {best[row]:.2f}  {_line(positive)}\n"
            f"  negative  {cosine[place]:.2f}  {_line(negative)}\n"
        )
    return cards


def _line(text: str) -> str:
    return textwrap.shorten(text, 110, placeholder=" …")
