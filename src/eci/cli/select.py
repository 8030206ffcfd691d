"""``eci select``: the best negatives of each query, out of all sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.command import command_line
from eci.cli.options import Count, loading_options, output_options, reading_options

if TYPE_CHECKING:
    from eci.datasets import ReadOptions
    from eci.models.sentence_transformer import ModelOptions


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option("--k", "-k", "k", type=Count(1), required=True, help="Negatives per query.")
@click.option(
    "--objective",
    type=click.Choice(["eci_sem", "alignment", "margin"]),
    default="eci_sem",
    show_default=True,
    help="eci_sem: close below the positive, not by shared words, each in another direction; alignment: a "
    "step on them lowers the held-out loss; margin: the hardest below the positive.",
)
@click.option(
    "--max-false-negative-risk",
    type=click.FloatRange(0, 1),
    metavar="R",
    help="Leave out negatives that are more likely an unlabelled answer, by the probability that eci audit "
    "flags from 0.8 on.",
)
@output_options
@click.option(
    "--encoder",
    default="all-MiniLM-L6-v2",
    show_default=True,
    metavar="MODEL",
    help="Frozen model: a folder, a hub name, 'hashing' (no weights, to try out), or a folder of vectors.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0.002, 100),
    default=0.05,
    show_default=True,
    help="τ of eci_sem and alignment.",
)
@click.option(
    "--label", metavar="NAME", default="selected", show_default=True, help="Source of the selected negatives."
)
@reading_options
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print settings, counts and gains as JSON.")
def select(
    *,
    inputs: tuple[str, ...],
    output: Path,
    target: str,
    encoder: str,
    reading: ReadOptions,
    loading: ModelOptions,
    cache: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Pick the best K negatives of each query in FILE..., whatever source brought them.

    FILE is rows as for `eci score`. The picks are one source, best first; each tells in "extra" its gain,
    which sources brought it, and at which rank. Known positives of a query are never picked.

    \b
    Examples:
      eci select bm25.parquet dense.parquet --k 4 -o train.parquet
      eci select rows.jsonl --k 8 --max-false-negative-risk 0.8 --to n-tuple -o train.jsonl
    """  # noqa: D301
    from eci import repairing
    from eci.cli.progress import StderrProgress
    from eci.datasets import read
    from eci.selection import SelectSettings

    settings = SelectSettings(layout=target, **options)
    with StderrProgress() as progress:
        found = repairing.select(
            read(inputs, reading),
            output,
            encoder,
            settings=settings,
            loading=loading,
            cache=cache,
            progress=progress,
        )
    found.settings["command"] = command_line()
    click.echo(found.to_json() if as_json else f"{found.table()}\n{output}")
