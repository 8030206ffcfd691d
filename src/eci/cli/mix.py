"""``eci mix``: several sources of negatives as one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eci.cli.options import Count, output_options, reading_options

if TYPE_CHECKING:
    from eci.datasets import ReadOptions
    from eci.mixing import MixSummary, Mode


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IN...")
@click.option(
    "--mode",
    type=click.Choice(["union", "concat", "budget"]),
    required=True,
    help="union: each document once, best places first; concat: one list after the other; "
    "budget: k per query, the parts take turns.",
)
@click.option("-k", "k", type=Count(1), help="Negatives per query; needed for budget, else at most.")
@output_options
@click.option("--label", metavar="NAME", help="Source of the mixed negatives. Default: the parts, as in a+b.")
@click.option(
    "--sources",
    metavar="A,B...",
    help="The parts, in order. Default: all sources of IN, in the order in which it has them.",
)
@click.option(
    "--share",
    metavar="N:M...",
    help="Weights of the parts in a budget: with 2:1, two of the first for each one of the second.",
)
@reading_options
def mix(  # noqa: PLR0917
    inputs: tuple[str, ...],
    output: Path,
    target: str,
    reading: ReadOptions,
    mode: Mode,
    k: int | None,
    label: str | None,
    sources: str | None,
    share: str | None,
) -> None:
    """Make one source of several.

    IN are rows as for `eci convert`: files that are a source each, or one that holds several. A hybrid is
    one source for `eci score`; its negatives tell in "extra" which parts found them, and at which rank.
    Documents are the same if they have the same id, or the same text but for case and white space.
    What another row of the query has as a positive is left out.

    \b
    Examples:
      eci mix bm25.parquet dense.parquet --mode budget -k 10 -o hybrid.parquet
      eci mix rows.parquet --sources bm25,dense --mode budget -k 9 --share 2:1 -o hybrid.parquet
      eci mix scifact/ bm25.trec dense.trec --mode concat -o both.jsonl
    """  # noqa: D301
    from eci.cli.progress import StderrProgress
    from eci.datasets import read, write
    from eci.mixing import mix as mixed

    if mode == "budget" and k is None:
        raise click.UsageError("--mode budget needs -k, the negatives per query.")
    parts = [name.strip() for name in sources.split(",")] if sources else None
    rows = read(inputs, reading)
    mixture = mixed(rows, mode=mode, k=k, label=label, sources=parts, shares=_weights(share), reading=reading)
    mixture.beside = output
    click.echo(f"Reading {rows.layout}: {', '.join(inputs)}", err=True)
    with StderrProgress() as progress:
        mixture.progress = progress
        written = write(mixture.rows, output, target, progress=progress)
    summary = mixture.summary
    rows_written = f"{written.rows:,} row{'s' * (written.rows != 1)} of layout {target}"
    negatives = f"{summary.negatives:,} negative{'s' * (summary.negatives != 1)}"
    click.echo(f"{output}: {rows_written}, from {negatives} of {summary.label}")
    for line in _lines(summary, k):
        click.echo(line)
    for what, number in written.losses.items():
        click.echo(f"not held by {target}: {what} ({number:,})")
    for note in written.notes:
        click.echo(f"note: {note}")


def _weights(share: str | None) -> list[float] | None:
    try:
        return [float(weight) for weight in share.split(":")] if share else None
    except ValueError:
        raise click.UsageError(f"--share takes numbers between colons, such as 2:1; got {share!r}.") from None


def _lines(summary: MixSummary, k: int | None) -> Iterator[str]:
    for part in summary.parts:
        yield f"{part}: {summary.given[part]:,} given, {summary.kept[part]:,} kept"
    for source, number in summary.left_out.items():
        yield f"{source}: {number:,} left out, no part"
    for words, number in (
        ("same document as another that is kept", summary.merged),
        ("left out, positives of their query", summary.known),
        (f"queries with fewer than {k}", summary.short),
        ("queries filled up, for a part ran dry", summary.filled),
        ("queries with negatives of one part only", summary.single),
        ("queries without negatives", summary.empty),
        ("scores of positives left out, for the parts differ", summary.scores),
    ):
        if number:
            yield f"{words}: {number:,}"
