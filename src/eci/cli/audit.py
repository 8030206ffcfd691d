"""``eci audit``: which negatives are wrong, and a better file to leave with."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.command import command_line
from eci.cli.judging import JudgeOptions, judge_options
from eci.cli.options import Count, loading_options, reading_options
from eci.cli.pages import page_option, refuse_page, write_page

if TYPE_CHECKING:
    from eci.audit.result import AuditResult
    from eci.datasets import ReadOptions
    from eci.models.sentence_transformer import ModelOptions

_PATH = click.Path(path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
# Worst rows on a terminal, and in a page.
_SHOWN, _HELD = 10, 200


@click.command()
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option(
    "--encoder",
    default="all-MiniLM-L6-v2",
    show_default=True,
    metavar="MODEL",
    help="Model that compares texts: a folder, a hub name, 'hashing' (no weights, for trying out), or a "
    "folder of vectors.",
)
@reading_options
@click.option(
    "--qrels",
    multiple=True,
    type=_PATH,
    help="Judgements by query id and document id: what they call relevant is no negative. Repeatable.",
)
@click.option(
    "--test-qrels", multiple=True, type=_PATH, help="Judgements of a test set, for leaks. Repeatable."
)
@click.option(
    "--test-queries", multiple=True, type=_PATH, help="Queries of a test set, for leaks. Repeatable."
)
@click.option(
    "--false-negative",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.8,
    show_default=True,
    metavar="P",
    help="Probability from which on a negative is likely a false one.",
)
@click.option(
    "--near-copy",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.8,
    show_default=True,
    metavar="J",
    help="Jaccard similarity of words or word 3-grams from which on a negative is a near copy.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0.002, 100),
    default=0.05,
    show_default=True,
    help="τ of too_easy.",
)
@click.option(
    "--min-negatives",
    type=Count(0),
    default=1,
    show_default=True,
    help="Different negatives that a row needs.",
)
@click.option(
    "--max-uses",
    type=Count(1),
    metavar="N",
    help="Rows that may have one document as a negative.  [default: ten times the mean, at least 10]",
)
@click.option(
    "--worst",
    type=Count(0),
    metavar="N",
    help=f"Rows to show.  [default: {_SHOWN}; {_HELD} in a page]",
)
@loading_options
@judge_options
@click.option("--scores", type=_FILE, help="Write every score of every negative as Parquet.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@page_option("Write a page for who decides what is mended.")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="ISSUE=SHARE",
    help="End with exit code 1 if more than this share of the negatives has the issue, before any --fix. "
    "Repeatable.",
)
@click.option(
    "--fix",
    "action",
    type=click.Choice(["drop", "relabel", "demote"]),
    help="Take flagged negatives out, make answers among them positives, or put them last in their row.",
)
@click.option(
    "-o",
    "--output",
    type=_FILE,
    help="Where the rows go that --fix or --undo makes; changes are kept beside.",
)
@click.option(
    "--issue",
    "issues",
    multiple=True,
    metavar="ISSUE",
    help="What to mend. Repeatable; copies, known and likely answers, repetitions, empty texts if not given: "
    "and where a judge gave a verdict on a likely answer, that counts. relabel makes no positive of a likely "
    "answer that no judge confirmed unless it is named here.",
)
@click.option("--undo", "log", type=_FILE, metavar="LOG", help="Write what was there before a --fix to -o.")
def audit(
    *,
    files: tuple[str, ...],
    encoder: str,
    reading: ReadOptions,
    loading: ModelOptions,
    cache: bool,
    judge: JudgeOptions,
    scores: Path | None,
    output: Path | None,
    as_json: bool,
    page: Path | None,
    fail_on: tuple[str, ...],
    log: Path | None,
    **options: Any,
) -> None:
    """Find the negatives in FILE... that are wrong, and mend the rows.

    Each negative gets a score from 0 (severe) to 1 for each issue. FILE as in score. No score is proof: read
    the worst rows before anything is dropped.

    Rows need not fit in memory. About 110 bytes for each negative, and the vectors, go to temporary files in
    TMPDIR.

    --judge sends the texts of likely false negatives (with --judge-all: of all negatives) and the labelled
    answers beside them to --base-url. Its answers are kept in eci.answers.sqlite, or in --journal: what is
    there is not asked or paid for again.

    \b
    Examples:
      eci audit train.jsonl --qrels qrels/train.tsv --scores scores.parquet
      eci audit train.jsonl --qrels qrels/train.tsv --report audit.html
      eci audit train.jsonl --fail-on known_positive=0 --fail-on duplicate_in_row=0.01
      eci audit train.jsonl --fix drop -o clean.parquet
      eci audit train.jsonl --judge gpt-4o-mini --price 0.15,0.6 --dry-run
      eci audit train.jsonl --judge qwen3 --base-url http://localhost:11434/v1 --judge-limit 200
      eci audit --undo clean.parquet.changes.jsonl -o train.parquet
    """  # noqa: D301
    from eci.audit.verdicts import described

    if log is not None:
        _undo((*files, *(path for path in (scores, page) if path)), log, output)
        return
    limits, shown = _limits(fail_on), options.pop("worst")
    options |= {"scores": scores, "output": output, "page": page}
    options["worst"] = shown if shown is not None else _HELD if page else _SHOWN
    _refuse(files, judge, limits, options)
    result, mended = _audited(files, (encoder, loading, cache), reading, judge, options)
    if as_json:
        click.echo(result.to_json())
    elif judge.dry_run:
        click.echo(described(result.data["judge"]))
    else:
        written = [f"{scores}: every score of every negative"] if scores else []
        told = replace(result, worst=result.worst[: _SHOWN if shown is None else None])
        click.echo("\n\n".join([told.described(), *written, *mended]))
    if page is not None:
        from eci.report.auditing import audited

        write_page(page, audited(result))
    exceeded = result.exceeded(limits)
    for failed in exceeded:
        click.echo(f"Failed: {failed}", err=True)
    if exceeded:
        sys.exit(1)


def _refuse(
    files: tuple[str, ...],
    judge: JudgeOptions,
    limits: dict[str, float],
    options: dict[str, Any],
) -> None:
    """Raise a `UsageError` for options that say nothing together."""
    action, output, issues = options["action"], options["output"], options["issues"]
    written = options["scores"] or options["page"]
    if not files:
        raise click.UsageError("Name the rows to audit: FILE...")
    if action is not None and output is None:
        raise click.UsageError("--fix says what to do and -o where to write: give both.")
    if action is None and output is not None:
        raise click.UsageError(
            "-o is where --fix and --undo write rows: give one of them. --scores writes the scores, "
            "--json prints the result."
        )
    if issues and action is None:
        raise click.UsageError("--issue says what --fix mends: give that too.")
    named = "judged_false_negative" in (*limits, *issues)
    if judge.model is None and (named or judge.dry_run or judge.limit):
        raise click.UsageError(
            "--dry-run, --judge-limit and judged_false_negative need a judge: give --judge MODEL."
        )
    if judge.dry_run and (written or limits or action):
        raise click.UsageError("--dry-run asks nothing, so there is nothing to write, mend or fail on yet.")


def _audited(
    files: tuple[str, ...],
    model: tuple[str, ModelOptions, bool],
    reading: ReadOptions,
    judge: JudgeOptions,
    options: dict[str, Any],
) -> tuple[AuditResult, list[str]]:
    """The result, and what a fix did, in words."""
    from eci.api import versions
    from eci.atomic import refuse_places
    from eci.audit.changes import log_of
    from eci.audit.collecting import Judgements
    from eci.audit.fixing import fix, refuse_fix
    from eci.audit.issues import AuditSettings
    from eci.audit.judging import refuse_unanswered
    from eci.audit.running import audit as run
    from eci.cli.progress import StderrProgress
    from eci.datasets import read
    from eci.models.loading import prepared_encoder

    names = ("false_negative", "near_copy", "temperature", "min_negatives", "max_uses", "worst")
    settings = AuditSettings(**{name: options[name] for name in names})
    action, output, issues = options["action"], options["output"], options["issues"]
    rows = read(files, reading)
    beside = [path for name in ("qrels", "test_qrels", "test_queries") for path in options[name]]
    written = [
        *([options["scores"]] if options["scores"] else []),
        *([output, log_of(output)] if output else []),
    ]
    read_from = [*rows.paths, *beside, *(judge.chat.files if judge.model else ())]
    refuse_places(written, read_from)
    if options["page"]:
        refuse_page(options["page"], written, read_from)
    if action is not None:
        refuse_fix(rows, output, action, issues)
    known = Judgements.read(*(options[name] for name in ("qrels", "test_qrels", "test_queries")))
    with ExitStack() as stack:
        progress = stack.enter_context(StderrProgress())
        asked = stack.enter_context(judge.opened())
        ready = stack.enter_context(prepared_encoder(*model, progress))
        result = run(
            rows, ready, settings, known=known, table=options["scores"], judge=asked, progress=progress
        )
        result.settings.update(command=command_line(), versions=versions())
        if action is None or result.findings is None:
            return result, []
        if asked is not None:
            refuse_unanswered(result.data["judge"])
        done = fix(rows, result.findings, output, action, issues, progress=progress)
    result.data["fix"] = done.to_dict()
    return result, [f"{output}: {done.told()}"]


def _limits(fail_on: tuple[str, ...]) -> dict[str, float]:
    from eci.audit.issues import ISSUES

    limits = {}
    for entry in fail_on:
        issue, sign, share = entry.partition("=")
        try:
            limits[issue] = float(share)
        except ValueError:
            sign = ""
        if not sign or not 0 <= limits[issue] <= 1:
            raise click.UsageError(f"--fail-on takes ISSUE=SHARE with a share from 0 to 1, got {entry!r}.")
        if issue not in ISSUES:
            raise click.UsageError(f"there is no issue {issue!r}. Known: {', '.join(ISSUES)}.")
    return limits


def _undo(given: tuple[str | Path, ...], log: Path, output: Path | None) -> None:
    from eci.audit.undoing import undo
    from eci.results import count

    if given or output is None:
        raise click.UsageError("--undo takes the log alone, and -o for the rows as they were.")
    done = undo(log, output)
    click.echo(f"{output}: {done.told()}; {count(done.rows, 'row')} put back")
