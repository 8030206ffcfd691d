"""``eci mine``: negatives for queries and their positives, out of a corpus."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.command import command_line
from eci.cli.models import Models
from eci.cli.options import Count, filter_options, loading_options, output_options, teacher_option

if TYPE_CHECKING:
    from eci.task import Miner, RetrievalTask
    from eci.types import Progress

_PATH = click.Path(path_type=Path)
_ENCODER = click.option(
    "--encoder",
    default="all-MiniLM-L6-v2",
    show_default=True,
    help="Model whose vectors are compared: a folder, a hub name, or 'hashing' (no weights).",
)
INPUTS = (
    click.argument("inputs", nargs=-1, metavar="[ROWS|FOLDER]..."),
    click.option("--queries", type=_PATH, help="Queries by id, where no BEIR folder is given."),
    click.option("--corpus", type=_PATH, help="Documents by id; with ROWS, documents besides the positives."),
    click.option(
        "--qrels",
        type=_PATH,
        multiple=True,
        help="Judgements. The first file names the positives; documents of further ones are kept out too.",
    ),
    click.option("--split", metavar="NAME", help="Qrels of a BEIR folder, or split of a saved DatasetDict."),
    click.option("--layout", metavar="LAYOUT", help="Layout of ROWS; detected if not given."),
)
_OUTPUT = (
    click.option("-k", "k", type=Count(1), required=True, help="Negatives per query, at most."),
    output_options,
    click.option("--label", help="Source of the negatives. Default: the miner's name."),
    click.option("--json", "as_json", is_flag=True, help="Print settings and counts as JSON."),
)


@click.group()
def mine() -> None:
    """Mine hard negatives for queries with known positives.

    From a BEIR folder, from --queries, --corpus and --qrels, or from ROWS of (query, positive), whose
    positives are then the corpus. Known positives, their copies and every relevant judgement of a query
    stay out; rows that come out short stay short and are counted.

    \b
    Examples:
      eci mine bm25 scifact/ --split train -k 50 -o bm25.parquet
      eci mine dense pairs.jsonl -k 5 --relative-margin 0.05 -o hard.jsonl --to triplet
      eci mine rerank scifact/ --split train --pool bm25 --candidates 50 -k 25 -o reranked.parquet
    """  # noqa: D301


def _miner(*own: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a command of a function that builds a miner: its own options, then those of all miners."""

    def decorate(build: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(build)
        def command(**options: Any) -> None:
            _mine(build, options)

        wrapped: Callable[..., Any] = command
        given: tuple[Callable[..., Any], ...] = (*INPUTS, *own, *_OUTPUT, filter_options, teacher_option)
        for option in reversed((*given, loading_options)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _mine(build: Callable[..., Miner], options: dict[str, Any]) -> None:
    from eci.atomic import atomic_path
    from eci.cli.progress import StderrProgress
    from eci.datasets import ReadOptions
    from eci.datasets.tasks import read_task
    from eci.datasets.writing import refuse
    from eci.mining import MineSettings
    from eci.mining import mine as run

    paths = options.pop("inputs")
    reading = ReadOptions(
        layout=options.pop("layout"),
        corpus=options.pop("corpus"),
        queries=options.pop("queries"),
        split=options.pop("split"),
    )
    qrels, output, as_json = options.pop("qrels"), options.pop("output"), options.pop("as_json")
    filters, teacher = options.pop("filters"), options.pop("teacher")
    settings = MineSettings(options.pop("k"), filters, options.pop("label"), options.pop("target"))
    loading, cache = options.pop("loading"), options.pop("cache")
    with ExitStack() as stack:
        progress = stack.enter_context(StderrProgress())
        progress("reading queries and documents", 0, 0)
        read = read_task(paths, reading, qrels)
        # Told before the miner is built, which may embed a corpus.
        refuse(output, settings.layout, read.paths)
        models = Models(stack, loading, cache, progress)
        miner = build(_Context(models, progress, filters.seed), read.task, **options)
        judge = models.teacher(teacher) if teacher is not None else None
        models.refuse_unused()
        files = read.files
        result = run(
            read.task, miner, output, settings, teacher=judge, read_from=read.paths, progress=progress
        )
    told = {"command": command_line(), "files": files}
    result = replace(result, notes=[*read.notes, *result.notes], settings={**result.settings, **told})
    beside = output.parent / f"{output.name}.mine.json"
    with atomic_path(beside) as temporary:
        temporary.write_text(result.to_json() + "\n", encoding="utf-8")
    click.echo(result.to_json() if as_json else f"{result.table()}\n{output}; settings and counts: {beside}")


@dataclass(frozen=True)
class _Context:
    """What miners are built with."""

    models: Models
    progress: Progress
    seed: int

    def dense(self, task: RetrievalTask, encoder: str, search: Any) -> Miner:
        from eci.miners.dense import DenseMiner, DenseSettings

        settings = DenseSettings(search, self.models.loading.device, self.seed)
        return DenseMiner(task, self.models.encoder(encoder), settings, progress=self.progress)


@mine.command()
@_miner()
def random(context: _Context, task: RetrievalTask) -> Miner:
    """Documents drawn uniformly: what every other source has to beat."""
    from eci.miners.random import RandomMiner

    return RandomMiner(task, context.seed)


@mine.command()
@_miner(
    click.option("--k1", default=1.5, show_default=True, help="Saturation of term frequency."),
    click.option("--b", default=0.75, show_default=True, help="Normalisation by length, 0…1."),
    click.option("--stopwords", default="en", show_default=True, help="Language of bm25s, or 'none'."),
    click.option("--stemmer", metavar="LANGUAGE", help="Snowball stemmer, such as 'english'. Default: none."),
    click.option(
        "--tokenizer",
        default="words",
        show_default=True,
        metavar="NAME|REGEX",
        help="'words' is that of bm25s, 'unicode' also splits scripts without spaces.",
    ),
    click.option(
        "--backend",
        type=click.Choice(["auto", "numpy", "numba"]),
        default="auto",
        show_default=True,
        help="numba is compiled first, which pays off for large corpora: then auto takes it.",
    ),
    click.option("--index", type=_PATH, help="Folder to keep the index in, memory-mapped on the next run."),
)
def bm25(context: _Context, task: RetrievalTask, index: Path | None, stopwords: str, **options: Any) -> Miner:
    """Documents that share rare words with the query."""
    from eci.miners.bm25 import BM25Miner, BM25Settings

    settings = BM25Settings(stopwords=None if stopwords == "none" else stopwords, **options)
    return BM25Miner(task, settings, index, context.progress)


@mine.command()
@_miner(
    _ENCODER,
    click.option(
        "--search",
        type=click.Choice(["flat", "hnsw", "ivf"]),
        default="flat",
        show_default=True,
        help="flat is exact; of the others the recall is measured and told.",
    ),
)
def dense(context: _Context, task: RetrievalTask, encoder: str, search: str) -> Miner:
    """Documents whose vectors are nearest to the query's."""
    return context.dense(task, encoder, search)


@mine.command()
@_miner(
    click.option(
        "--reranker",
        default="late-interaction",
        show_default=True,
        help="A cross-encoder's folder or hub name; late-interaction is MaxSim over an encoder's token "
        "vectors, late-interaction:MODEL over those of another encoder.",
    ),
    click.option(
        "--pool",
        type=click.Choice(["bm25", "dense", "random"]),
        default="bm25",
        show_default=True,
        help="Miner whose candidates are re-ordered.",
    ),
    click.option("--candidates", default=50, show_default=True, type=Count(1), help="Of each query."),
    _ENCODER,
)
def rerank(
    context: _Context, task: RetrievalTask, reranker: str, pool: str, candidates: int, encoder: str
) -> Miner:
    """Another miner's candidates, re-ordered by a model that reads query and document together."""
    from eci.miners.bm25 import BM25Miner
    from eci.miners.random import RandomMiner
    from eci.miners.reranked import RerankMiner

    miner: Miner
    if pool == "bm25":
        miner = BM25Miner(task, progress=context.progress)
    elif pool == "dense":
        miner = context.dense(task, encoder, "flat")
    else:
        miner = RandomMiner(task, context.seed)
    return RerankMiner(task, miner, context.models.reranker(reranker), candidates)


@mine.command()
@_miner(
    click.option(
        "--kind",
        "kinds",
        multiple=True,
        metavar="KIND",
        help="Of edits: number, date, unit, negation, entity. Repeatable; all if not given.",
    ),
    click.option(
        "--within",
        default=1000,
        show_default=True,
        type=Count(1),
        help="Edit facts in the first so many characters: encoders cut long texts.",
    ),
)
def counterfactual(context: _Context, task: RetrievalTask, kinds: tuple[str, ...], within: int) -> Miner:
    """Copies of a positive in which one fact is changed by rule; needs no model."""
    from eci.miners.counterfactual import CounterfactualMiner, CounterfactualSettings

    given: dict[str, Any] = {"kinds": kinds} if kinds else {}
    return CounterfactualMiner(task, CounterfactualSettings(seed=context.seed, within=within, **given))
