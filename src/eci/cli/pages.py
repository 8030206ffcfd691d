"""``--report``: a page beside what a command prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from eci.report.data import Report


def page_option(told: str) -> Callable[[Any], Any]:
    """The option ``--report``; the command gets ``page``."""
    return click.option(
        "--report",
        "page",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="PAGE.html",
        help=told,
    )


def refuse_page(page: Path, outputs: Sequence[Path], read: Sequence[Path]) -> None:
    """What would stop the page is told before the work, not after it.

    Parameters
    ----------
    page : Path
    outputs, read : sequence of Path
        What else is written, and what is read.
    """
    from eci.atomic import refuse_places, require_folder
    from eci.report.render import require

    if page.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"--report takes a name that ends in .html, got {page}.")
    require()
    require_folder(page)
    refuse_places([*outputs, page], read)


def write_page(page: Path, report: Report) -> None:
    """Write it, and say where it is."""
    from eci.atomic import atomic_path
    from eci.report.render import page as made

    with atomic_path(page) as temporary:
        temporary.write_text(made(report), encoding="utf-8")
    click.echo(f"Page: {page}", err=True)
