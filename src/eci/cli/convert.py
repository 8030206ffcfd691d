"""``eci convert``: rows of one layout into another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eci.cli.options import reading_options

if TYPE_CHECKING:
    from eci.datasets import ReadOptions


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IN...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="A .jsonl, .jsonl.gz, .parquet, .csv or .tsv file; any other name is a folder.",
)
@click.option("--to", "target", default="eci", show_default=True, metavar="LAYOUT", help="Layout to write.")
@reading_options
def convert(inputs: tuple[str, ...], output: Path, target: str, reading: ReadOptions) -> None:
    """Write the rows of IN in another layout.

    IN are files or folders of one layout, names on the Hugging Face hub (hf://owner/name), or a BEIR folder
    followed by TREC runs. What the new layout cannot hold is counted and told.

    \b
    Layouts: eci, triplet, n-tuple, labeled-pair, labeled-list, id-lists, flagembedding, tevatron,
    tevatron-ids, nemo, msmarco-hard-negatives, ms-swift, beir.
    """  # noqa: D301 - the backspace is click's mark for lines that stay as they are
    from eci.datasets import read, write

    rows = read(inputs, reading)
    click.echo(f"Reading {rows.layout}: {', '.join(inputs)}", err=True)
    try:
        summary = write(rows, output, target, progress=_progress)
    finally:
        if sys.stderr.isatty():
            click.echo("\r\033[K", nl=False, err=True)
    rows_written, negatives = (
        f"{number:,} {word}{'s' * (number != 1)}"
        for number, word in ((summary.rows, "row"), (summary.negatives, "negative"))
    )
    click.echo(f"{output}: {rows_written} of layout {target}, from {negatives}")
    for what, number in summary.losses.items():
        click.echo(f"not held by {target}: {what} ({number:,})")
    for note in summary.notes:
        click.echo(f"note: {note}")


def _progress(stage: str, done: int, total: int) -> None:  # noqa: ARG001
    if sys.stderr.isatty():
        click.echo(f"\r{done:,} {stage}", nl=False, err=True)
