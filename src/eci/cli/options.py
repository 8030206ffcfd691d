"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class Count(click.IntRange):
    """A whole number that arrays can be as long as, which the help does not say."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or a usage error."""
        number: int = super().convert(value, param, ctx)
        if abs(number) > _MOST:
            self.fail(f"{number} is too large.", param, ctx)
        return number


_MOST = 2**53
# What every library that draws takes.
SEED = click.IntRange(0, 2**32 - 1)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for written rows: the command gets ``output`` and ``target``, a layout."""
    output = click.option(
        "-o",
        "--output",
        required=True,
        type=_PATH,
        help="A .jsonl, .jsonl.gz, .parquet, .csv or .tsv file; any other name is a folder.",
    )
    to = click.option(
        "--to", "target", default="eci", show_default=True, metavar="LAYOUT", help="Layout to write."
    )
    return output(to(command))


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for reading rows; the command gets them as ``reading``, a ``ReadOptions``."""

    @functools.wraps(command)
    def with_reading(
        *args: Any,
        layout: str | None,
        source: tuple[str, ...],
        corpus: Path | None,
        queries: Path | None,
        split: str | None,
        positive_score: float | None,
        batch_rows: int,
        **options: Any,
    ) -> Any:
        from eci.datasets import ReadOptions

        reading = ReadOptions(layout, source, corpus, queries, split, positive_score, batch_rows)
        return command(*args, reading=reading, **options)

    wrapped: Callable[..., Any] = with_reading
    for option in reversed(_READING):
        wrapped = option(wrapped)
    return wrapped


def scoring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of scoring, under `reading_options`; the command gets ``scoring``, for ``Settings``."""

    @functools.wraps(command)
    def with_scoring(
        *args: Any, reading: Any, candidates: Path | None, idf_corpus: Path | None, **options: Any
    ) -> Any:
        from dataclasses import replace

        from eci.metrics import NAMES

        scoring = {name: options.pop(name) for name in _SCORED}
        if scoring["metric"] not in NAMES:
            raise click.UsageError(f"Unknown metric {scoring['metric']!r}. Known: {', '.join(NAMES)}")
        reading = replace(reading, candidates=candidates, idf_corpus=idf_corpus)
        return command(
            *args, reading=reading, scoring={**scoring, "batch_rows": reading.batch_rows}, **options
        )

    wrapped: Callable[..., Any] = with_scoring
    for option in reversed(_SCORING):
        wrapped = option(wrapped)
    return wrapped


def loading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for models; the command gets ``loading``, a ``ModelOptions``, and ``cache``."""

    @functools.wraps(command)
    def with_loading(*args: Any, prompts: tuple[str, ...], no_cache: bool, **options: Any) -> Any:
        from eci.models.sentence_transformer import ModelOptions

        found = {}
        for entry in prompts:
            role, equals, text = entry.partition("=")
            if not equals or role not in ("query", "document"):
                raise click.UsageError(f"--prompt takes query=TEXT or document=TEXT, got {entry!r}.")
            found[role] = text
        names = ("precision", "device", "revision", "truncate_dim", "max_seq_length", "trust_remote_code")
        loading = ModelOptions(prompts=found or None, **{name: options.pop(name) for name in names})
        return command(*args, loading=loading, cache=not no_cache, **options)

    wrapped: Callable[..., Any] = with_loading
    for option in reversed(_LOADING):
        wrapped = option(wrapped)
    return wrapped


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of where to score; the command gets ``ray``, a ``RaySettings`` or None."""

    @functools.wraps(command)
    def with_engine(*args: Any, engine: str, **options: Any) -> Any:
        given = {name: options.pop(f"ray_{name}") for name in ("address", "workers", "gpus")}
        if engine == "ray":
            from eci.settings import RaySettings

            return command(*args, ray=RaySettings(**given), **options)
        for name, value in given.items():
            if value is not None:
                raise click.UsageError(f"--ray-{name} is for --engine ray: give that too.")
        return command(*args, ray=None, **options)

    wrapped: Callable[..., Any] = with_engine
    for option in reversed(_ENGINE):
        wrapped = option(wrapped)
    return wrapped


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select negatives; the command gets them as ``filters``, a ``Filters``."""

    @functools.wraps(command)
    def with_filters(*args: Any, near_copy: float, **options: Any) -> Any:
        from eci.miners.filters import Filters

        filters = Filters(near_copy=near_copy or None, **{name: options.pop(name) for name in _FILTERED})
        return command(*args, filters=filters, **options)

    wrapped: Callable[..., Any] = with_filters
    for option in reversed(_FILTERS):
        wrapped = option(wrapped)
    return wrapped


_PATH = click.Path(path_type=Path)
_READING = (
    click.option("--layout", metavar="LAYOUT", help="Layout of the rows; detected if not given."),
    click.option(
        "--source",
        multiple=True,
        metavar="LABEL",
        help="Source of negatives that carry none: once for all files or once per file. Default: file name.",
    ),
    click.option("--corpus", type=_PATH, help="Documents by id; looked for beside the rows."),
    click.option("--queries", type=_PATH, help="Queries by id; looked for beside the rows."),
    click.option("--split", metavar="NAME", help="Qrels of a BEIR folder, or split of a saved DatasetDict."),
    click.option(
        "--positive-score",
        type=float,
        metavar="SCORE",
        help="With graded scores instead of labels: documents at or above are positives.",
    ),
    click.option("--batch-rows", type=Count(1), default=4096, show_default=True, help="Most rows in memory."),
)
_SCORED = ("target", "metric", "sample", "seed", "temperature", "tokenizer")
_SCORING = (
    click.option("--target", help="Model that will be fine-tuned, if it is another than the encoder."),
    click.option(
        "--metric", default="eci", show_default=True, help="What ranks the sources; see docs/metrics.md."
    ),
    click.option("--sample", type=Count(1), metavar="N", help="Score N queries drawn at random."),
    click.option(
        "--seed", default=0, show_default=True, type=SEED, help="Of the queries and negatives that are drawn."
    ),
    click.option(
        "--temperature",
        default=0.05,
        show_default=True,
        type=click.FloatRange(0.002, 100),
        help="τ of eci_sem, alignment, the gradient norm and the InfoNCE loss.",
    ),
    click.option(
        "--tokenizer",
        type=click.Choice(["words", "trigrams", "encoder"]),
        default="words",
        show_default=True,
        help="What counts as a word in overlaps: words, runs of three characters, the encoder's own pieces.",
    ),
    click.option(
        "--idf-corpus",
        type=_PATH,
        metavar="FILE",
        help="Documents to count the frequencies of words over, in the place of those of the rows.",
    ),
    click.option(
        "--candidates",
        type=_PATH,
        metavar="FILE",
        help="The corpus to be searched: alignment ranks it and all positives, not all texts of the rows.",
    ),
)
_LOADING = (
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        help="auto is bfloat16 where the machine computes in it.",
    ),
    click.option("--device", help="Where the model runs: cpu, cuda, cuda:1, mps …"),
    click.option("--revision", help="Revision of a model on the hub."),
    click.option(
        "--prompt",
        "prompts",
        multiple=True,
        metavar="ROLE=TEXT",
        help='Text put before queries or documents: --prompt "query=query: " --prompt "document=passage: ".',
    ),
    click.option("--truncate-dim", type=Count(1), help="Keep the first dimensions of each vector."),
    click.option("--max-seq-length", type=Count(1), help="Tokens read of each text."),
    click.option("--trust-remote-code", is_flag=True, help="Run Python that comes with the model."),
    click.option("--no-cache", is_flag=True, help="Keep no vectors after this run."),
)

_ENGINE = (
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Who scores queries beyond memory: this process, or workers of Ray Data (docs/scale.md).",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="A running cluster, as Ray takes it: host:6379, auto, or local for one of its own.  "
        "[default: RAY_ADDRESS, else one that runs here, else local]",
    ),
    click.option(
        "--ray-workers",
        type=Count(1),
        metavar="N",
        help="Actors that hold the encoder.  [default: as many as there is room for]",
    ),
    click.option(
        "--ray-gpus",
        type=click.FloatRange(0),
        metavar="G",
        help="GPUs of each worker; 0.5: two share one.  [default: 1 if the cluster has any]",
    ),
)

encoder_option = click.option(
    "--encoder",
    "encoders",
    multiple=True,
    default=("all-MiniLM-L6-v2",),
    show_default=True,
    metavar="MODEL",
    help="Model to score with: a folder, a hub name, 'hashing' (no weights, for trying out), or a folder of "
    "vectors (docs/scale.md). Several times: each of them, and how far rankings agree; --prompt and other "
    "loading options hold for all.",
)
result_option = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the result as JSON."
)

teacher_option = click.option(
    "--teacher",
    metavar="MODEL",
    help="Encoder whose cosines the filters use; reranker:NAME for a cross-encoder, "
    "late-interaction for MaxSim.",
)

_FILTERED = (
    "range_min",
    "range_max",
    "min_score",
    "max_score",
    "absolute_margin",
    "relative_margin",
    "sampling",
    "seed",
    "max_uses",
    "keep_curated",
)
_FILTERS = (
    click.option(
        "--range-min", type=Count(0), default=0, show_default=True, metavar="N", help="Skip the first N."
    ),
    click.option("--range-max", type=Count(1), metavar="N", help="Look at no more than N that pass."),
    click.option("--min-score", type=float, metavar="S", help="Least score of a negative."),
    click.option("--max-score", type=float, metavar="S", help="Largest score of a negative."),
    click.option(
        "--absolute-margin",
        type=float,
        metavar="M",
        help="Negatives score at most p - M, p the lowest score of a labelled positive.",
    ),
    click.option(
        "--relative-margin",
        type=float,
        metavar="M",
        help="Negatives score at most p - M|p|. 0.05: NV-Retriever's TopK-PercPos 95 %.",
    ),
    click.option(
        "--sampling",
        type=click.Choice(["top", "random"]),
        default="top",
        show_default=True,
        help="Take the first that pass, or draw among them.",
    ),
    click.option("--seed", default=0, show_default=True, type=SEED, help="Of what is random."),
    click.option(
        "--max-uses", type=Count(1), metavar="N", help="Queries that one document may be a negative of."
    ),
    click.option(
        "--near-copy",
        default=0.8,
        show_default=True,
        type=click.FloatRange(0, 1),
        metavar="J",
        help="Drop near copies of positives: Jaccard similarity of word 3-grams from J on; 0: off.",
    ),
    click.option(
        "--keep-curated",
        is_flag=True,
        help="Margins spare negatives made by an edit or by breaking one requirement; how many is told.",
    ),
)
