"""``eci report``: a result as a page to send to somebody, as Markdown, as figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from eci.comparison import Comparison
    from eci.results import ScoreResult

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("result", type=_FILE, metavar="RESULT.json")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A page (.html), or the decision and where it comes from as Markdown (.md).",
)
@click.option(
    "--rows",
    type=_FILE,
    metavar="PARQUET",
    help="The rows that eci score --report wrote beside its page: distributions, scatter and texts.",
)
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write every figure as SVG and PNG into this folder.",
)
def report(result: Path, output: Path | None, rows: Path | None, figures: Path | None) -> None:
    """Make a page of what 'eci score -o RESULT.json' found, for somebody who decides what to train on.

    One file that fetches nothing: the decision, why, where it comes from; with --rows also the rows, to
    search and to leaf through.

    \b
    Examples:
      eci report result.json -o report.html
      eci report result.json --rows report.rows.parquet -o report.html --figures figures/
      eci report result.json -o summary.md
    """  # noqa: D301
    if output is None and figures is None:
        raise click.UsageError("Say what to make: -o report.html, -o summary.md, or --figures DIR.")
    if output is not None and output.suffix.lower() not in (".html", ".htm", ".md"):
        raise click.UsageError(f"-o takes a name that ends in .html or .md, got {output}.")
    from eci.atomic import atomic_path, refuse_places
    from eci.datasets import folders
    from eci.report.exporting import export
    from eci.report.render import markdown, page, require
    from eci.report.rows import read_sample
    from eci.report.summarise import MOST, first_of, summarise

    require()
    outputs = [path for path in (output, figures) if path is not None]
    refuse_places(outputs, [result, *([rows] if rows else [])])
    if figures is not None:
        folders.refuse(figures)
    found = _read(result)
    sample = read_sample(rows, MOST, first_of(found)) if rows else None
    told = summarise(found, sample)
    if output is not None:
        text = markdown(told) if output.suffix.lower() == ".md" else page(told)
        with atomic_path(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if figures is not None:
        with atomic_path(figures) as folder:
            names = export(told, folder)
            folders.mark(folder, "eci report", "figures")
        click.echo(f"{figures}: {len(names):,} files", err=True)


def _read(path: Path) -> ScoreResult | Comparison:
    """A result of one encoder, or of several.

    Raises
    ------
    DataError
        The file is neither.
    """
    import json

    from eci.comparison import SCHEMA, Comparison
    from eci.datasets.card import read_result
    from eci.errors import DataError

    try:
        loaded = json.loads(path.read_bytes())
        if isinstance(loaded, dict) and loaded.get("schema") == SCHEMA:
            return Comparison.from_json(path.read_bytes())
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path}: is no result of eci score ({error}). Write one with: eci score ROWS -o result.json"
        ) from error
    return read_result(path)
