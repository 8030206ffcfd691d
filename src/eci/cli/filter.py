"""``eci filter``: which of the negatives that are there stay."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eci.cli.command import command_line
from eci.cli.models import Models
from eci.cli.options import (
    Count,
    filter_options,
    loading_options,
    output_options,
    reading_options,
    teacher_option,
)

if TYPE_CHECKING:
    from eci.datasets import ReadOptions
    from eci.miners.filters import Filters
    from eci.models.sentence_transformer import ModelOptions


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IN...")
@output_options
@click.option("-k", "k", type=Count(1), help="Negatives of each source per query, at most.")
@click.option(
    "--only",
    multiple=True,
    metavar="LABEL",
    help="Source to filter; others pass untouched. Repeatable; all sources if not given.",
)
@click.option(
    "--qrels",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Judgements by query id and document id; what they call relevant goes. Repeatable.",
)
@filter_options
@teacher_option
@reading_options
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print settings and counts as JSON.")
def filter(  # noqa: A001, PLR0917
    inputs: tuple[str, ...],
    output: Path,
    target: str,
    k: int | None,
    only: tuple[str, ...],
    qrels: tuple[Path, ...],
    filters: Filters,
    teacher: str | None,
    reading: ReadOptions,
    loading: ModelOptions,
    cache: bool,
    as_json: bool,
) -> None:
    """Drop negatives of IN that are too close to a positive, too easy, or too many.

    IN are rows of any layout, mined here or elsewhere. Each source of each query is a list of its own, in
    the order in which it stands. Scores are those in the rows, or those of a --teacher, which are
    then written. Known positives go in any case.

    \b
    Examples:
      eci filter train.jsonl --teacher all-MiniLM-L6-v2 --relative-margin 0.05 -o clean.jsonl
      eci filter mined.parquet --range-min 10 -k 7 --sampling random -o sampled.parquet
    """  # noqa: D301
    from eci.cli.progress import StderrProgress
    from eci.datasets import read
    from eci.datasets.trec import relevant_pairs
    from eci.filtering import FilterSettings, filter_rows

    settings = FilterSettings(filters, k, only, target)
    with ExitStack() as stack:
        progress = stack.enter_context(StderrProgress())
        models = Models(stack, loading, cache, progress)
        judge = models.teacher(teacher) if teacher is not None else None
        models.refuse_unused()
        result = filter_rows(
            read(inputs, reading),
            output,
            settings,
            teacher=judge,
            judged=relevant_pairs(qrels),
            progress=progress,
        )
    result = replace(result, settings={**result.settings, "command": command_line()})
    click.echo(result.to_json() if as_json else f"{result.table()}\n{output}")
