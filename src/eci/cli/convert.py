"""``eci convert``: rows of one layout into another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from eci.cli.command import command_line
from eci.cli.options import Count, output_options, reading_options

if TYPE_CHECKING:
    from eci.datasets import ReadOptions


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IN...")
@output_options
@click.option(
    "--negatives",
    type=Count(1),
    metavar="N",
    help="Give every query its first N negatives; leave out queries with fewer.",
)
@click.option(
    "--card",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="RESULT",
    help="Result of eci score -o; writes README.md into a dataset folder, with these scores.",
)
@click.option("--card-title", metavar="TEXT", help="Title of the card; the folder's name if not given.")
@click.option("--card-license", metavar="ID", help="License in the card, such as cc-by-4.0.")
@reading_options
def convert(
    inputs: tuple[str, ...],
    output: Path,
    target: str,
    *,
    reading: ReadOptions,
    negatives: int | None,
    card: Path | None,
    card_title: str | None,
    card_license: str | None,
) -> None:
    """Write the rows of IN in another layout.

    IN are files or folders of one layout, names on the Hugging Face hub (hf://owner/name), or a BEIR folder
    followed by TREC runs. What the new layout cannot hold is counted and told.

    \b
    Layouts: eci, triplet, n-tuple, labeled-pair, labeled-list, id-lists, flagembedding, tevatron,
    tevatron-ids, nemo, msmarco-hard-negatives, ms-swift, beir.
    """  # noqa: D301 - the backspace is click's mark for lines that stay as they are
    from eci.cli.progress import StderrProgress
    from eci.datasets import read, write
    from eci.datasets.card import Card, read_result

    if card is None and (card_title or card_license):
        raise click.UsageError("--card-title and --card-license belong to a card: give --card RESULT.")
    described = None
    if card is not None:
        command = command_line()
        described = Card(read_result(card), card_title, card_license, command)
    rows = read(inputs, reading)
    click.echo(f"Reading {rows.layout}: {', '.join(inputs)}", err=True)
    with StderrProgress() as progress:
        summary = write(rows, output, target, negatives=negatives, card=described, progress=progress)
    rows_written, negatives_read = (
        f"{number:,} {word}{'s' * (number != 1)}"
        for number, word in ((summary.rows, "row"), (summary.negatives, "negative"))
    )
    click.echo(f"{output}: {rows_written} of layout {target}, from {negatives_read}")
    for what, number in summary.losses.items():
        click.echo(f"not held by {target}: {what} ({number:,})")
    for note in summary.notes:
        click.echo(f"note: {note}")
