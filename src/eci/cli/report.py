"""``eci report``: a result as a page to send to somebody, as Markdown, as figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from eci.report.data import Report

_READ = (
    "Read are results of eci score (-o result.json), eci audit (--json > audit.json) and eci validate "
    "(result.json in its folder)."
)
# What becomes of values that are not there, or not what they are to be.
_STRANGE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    StopIteration,
    RecursionError,
)
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
    help="The rows that eci score --report wrote beside its page: distributions, scatter and texts. Of a "
    "result of eci score.",
)
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write every figure as SVG and PNG into this folder.",
)
def report(result: Path, output: Path | None, rows: Path | None, figures: Path | None) -> None:
    """Make a page of RESULT.json, for somebody who decides what to train on.

    RESULT.json is what 'eci score -o', 'eci audit --json' or 'eci validate -o' wrote. The page is one file
    that fetches nothing: the decision, why, where it comes from; and rows to search and to leaf through, of
    a score with --rows.

    \b
    Examples:
      eci report result.json -o report.html
      eci report result.json --rows report.rows.parquet -o report.html --figures figures/
      eci report result.json -o summary.md
      eci report audit.json -o audit.html
    """  # noqa: D301
    if output is None and figures is None:
        raise click.UsageError("Say what to make: -o report.html, -o summary.md, or --figures DIR.")
    if output is not None and output.suffix.lower() not in (".html", ".htm", ".md"):
        raise click.UsageError(f"-o takes a name that ends in .html or .md, got {output}.")
    from eci.atomic import atomic_path, refuse_places, require_folder
    from eci.datasets import folders
    from eci.report.exporting import export
    from eci.report.render import require

    require()
    outputs = [path for path in (output, figures) if path is not None]
    refuse_places(outputs, [result, *([rows] if rows else [])])
    if figures is not None:
        require_folder(figures)
        folders.refuse(figures, "eci report")
    told, text = _made(result, rows, "" if output is None else output.suffix.lower())
    if output is not None:
        with atomic_path(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if figures is not None:
        with atomic_path(figures) as folder:
            names = export(told, folder)
            folders.mark(folder, "eci report", "figures")
        click.echo(f"{figures}: {len(names):,} files", err=True)


def _made(path: Path, rows: Path | None, suffix: str) -> tuple[Report, str]:
    """What a page says of a result, whichever command wrote it; and as text of the format asked for.

    Raises
    ------
    DataError
        No command wrote it, or another version of eci.
    UsageError
        Rows were given, and belong to no result of this kind.
    """
    from eci.audit.result import SCHEMA as AUDIT
    from eci.comparison import SCHEMA as COMPARISON
    from eci.errors import DataError, EciError
    from eci.report.render import markdown, page
    from eci.results import SCHEMA as SCORE
    from eci.validation.findings import SCHEMA as VALIDATION

    try:
        loaded = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON ({error}). {_READ}") from error
    schema = loaded.get("schema") if isinstance(loaded, dict) else None
    if schema not in (SCORE, COMPARISON, AUDIT, VALIDATION):
        told = f"has the schema {schema!r}" if schema else "names no schema of eci"
        raise DataError(f"{path}: {told}. {_READ}")
    if rows is not None and schema not in (SCORE, COMPARISON):
        raise click.UsageError(f"--rows belong to a result of eci score, and {path} is {schema}.")
    try:
        if schema in (SCORE, COMPARISON):
            report = _scored(path, rows, schema == COMPARISON)
        else:
            report = _audited(path) if schema == AUDIT else _validated(loaded)
        return report, (markdown(report) if suffix == ".md" else page(report) if suffix else "")
    except EciError:
        raise
    except _STRANGE as error:
        raise DataError(
            f"{path}: lacks what this eci writes into {schema}, or was changed ({error!r}). Make it again."
        ) from error


def _scored(path: Path, rows: Path | None, compared: bool) -> Report:
    from eci.comparison import Comparison
    from eci.datasets.card import read_result
    from eci.report.rows import read_sample
    from eci.report.summarise import MOST, first_of, summarise
    from eci.results import ScoreResult

    found: ScoreResult | Comparison
    found = Comparison.from_json(path.read_bytes()) if compared else read_result(path)
    return summarise(found, read_sample(rows, MOST, first_of(found)) if rows else None)


def _audited(path: Path) -> Report:
    from eci.audit.result import AuditResult
    from eci.report.auditing import audited

    return audited(AuditResult.from_json(path.read_bytes()))


def _validated(loaded: dict[str, Any]) -> Report:
    from eci.report.validated import validated

    return validated(loaded)
