"""``eci score``: which source of hard negatives is best, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.command import command_line, working
from eci.cli.options import (
    Count,
    encoder_option,
    engine_options,
    loading_options,
    reading_options,
    result_option,
    scoring_options,
)
from eci.cli.pages import page_option, refuse_page

if TYPE_CHECKING:
    from eci.comparison import Comparison
    from eci.datasets import ReadOptions
    from eci.models.sentence_transformer import ModelOptions
    from eci.results import ScoreResult
    from eci.settings import Settings


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@encoder_option
@reading_options
@scoring_options
@click.option(
    "--until",
    type=click.Choice(["decided"]),
    help="Draw queries in growing rounds and stop when the first place is decided.",
)
@click.option("--all", "everything", is_flag=True, help="Score every query (the default).")
@click.option(
    "--fixed-n",
    type=Count(1),
    metavar="N",
    help="Cut every source of every query to at most N negatives before anything is embedded.",
)
@click.option(
    "--fixed-n-by",
    type=click.Choice(["top", "sample"]),
    help="Keep the first N of each row, which a miner wrote by rank (of a hybrid: of its first part), or "
    "draw N by --seed.  [default: top]",
)
@click.option(
    "--shortcuts/--no-shortcuts",
    default=True,
    show_default=True,
    help="Compare the sources two by two for shortcuts; takes seconds for each pair.",
)
@loading_options
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@page_option("Write a page for who decides, and its rows beside it as PAGE.rows.parquet.")
@result_option
def score(
    *,
    files: tuple[str, ...],
    encoders: tuple[str, ...],
    reading: ReadOptions,
    scoring: dict[str, Any],
    loading: ModelOptions,
    cache: bool,
    as_json: bool,
    page: Path | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Rank the sources of hard negatives in FILE..., best first.

    FILE is training rows in any known layout (JSONL, CSV, Parquet, a saved dataset, hf://owner/name), or a
    BEIR folder followed by TREC runs. Rows that carry no source are labelled with the file's name.

    \b
    Examples:
      eci score train.jsonl
      eci score bm25.jsonl dense.jsonl --until decided
      eci score bm25.jsonl dense.jsonl --fixed-n 3 --encoder all-MiniLM-L6-v2 --encoder intfloat/e5-base-v2
      eci score scifact/ bm25.trec dense.trec --encoder intfloat/e5-base-v2 -o result.json
      eci score bm25.jsonl dense.jsonl --report report.html
    """  # noqa: D301
    from eci import api
    from eci.cli.describe import describe, describe_comparison
    from eci.results import ScoreResult

    settings = _settings(scoring, options)
    if page is not None:
        from eci.report import rows
        from eci.report.writing import rows_beside

        # A name on the hub is no file.
        read = [path for path in map(Path, files) if path.exists()]
        refuse_page(page, [*([output] if output else []), rows_beside(page)], read)
        rows.refuse(rows_beside(page))
    with _vectors(cache, page) as kept:
        given: dict[str, Any] = {"settings": settings, "reading": reading, "loading": loading, "cache": kept}
        with working(output) as (progress, keep):
            found: ScoreResult | Comparison
            if len(encoders) == 1:
                found = api.score(list(files), encoders[0], progress=progress, **given)
            else:
                found = api.compare(list(files), encoders, progress=progress, **given)
            for result in (found,) if isinstance(found, ScoreResult) else found.results:
                result.settings["command"] = command_line()
            keep(found)
        if as_json:
            click.echo(found.to_json())
        else:
            click.echo(describe(found) if isinstance(found, ScoreResult) else describe_comparison(found))
        if page is not None:
            from eci.cli.progress import StderrProgress
            from eci.report.writing import Behind, write

            with StderrProgress() as progress:
                made = write(found, page, Behind(list(files), encoders[0], reading, loading, kept), progress)
            click.echo(f"Page: {made[0]}; its rows: {made[1]}", err=True)


@contextmanager
def _vectors(cache: bool, page: Path | None) -> Iterator[bool | Path]:
    """Where vectors are kept: without a cache, as long as the rows of a page need them."""
    if cache or page is None:
        yield cache
        return
    from eci.atomic import temporary_folder

    with temporary_folder("eci-cache") as folder:
        yield folder


def _settings(scoring: dict[str, Any], options: dict[str, Any]) -> Settings:
    from eci.settings import Settings

    if sum((scoring["sample"] is not None, options["until"] is not None, options["everything"])) > 1:
        raise click.UsageError("--sample, --until and --all exclude each other.")
    if options["fixed_n_by"] is not None and options["fixed_n"] is None:
        raise click.UsageError("--fixed-n-by says which negatives --fixed-n keeps: give that too.")
    return Settings(
        **scoring,
        until_decided=options["until"] == "decided",
        fixed_n=options["fixed_n"],
        fixed_n_by=options["fixed_n_by"] or "top",
        shortcuts=options["shortcuts"],
        ray=options["ray"],
    )
