"""``eci audit``: which negatives are wrong, and a better file to leave with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.chatting import ChatOptions, chat_options
from eci.cli.command import command_line
from eci.cli.options import loading_options, reading_options

if TYPE_CHECKING:
    from eci.audit.judging import Judge
    from eci.audit.result import AuditResult
    from eci.datasets import ReadOptions
    from eci.models.sentence_transformer import ModelOptions

_PATH = click.Path(path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


def _judge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add those of `chat_options`, of which two differ here.

    ``--temperature`` is that of the loss, as in other commands. The journal does not lie beside an output: a
    look at the rows and the fix that follows it have different ones, and would both be paid for.
    """
    wrapped: Any = chat_options(command)
    for option in wrapped.__click_params__:
        if option.name == "temperature":
            option.opts = ["--judge-temperature"]
        if option.name == "journal":
            option.help = option.help.replace("beside the output", "eci.answers.sqlite")
    found: Callable[..., Any] = wrapped
    return found


@click.command()
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option(
    "--encoder",
    default="all-MiniLM-L6-v2",
    show_default=True,
    metavar="MODEL",
    help="Model that compares texts: a folder, a hub name, or 'hashing' (no weights, for trying out).",
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
    "tau",
    type=click.FloatRange(0.002, 100),
    default=0.05,
    show_default=True,
    help="τ of too_easy.",
)
@click.option(
    "--min-negatives",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Different negatives that a row needs.",
)
@click.option(
    "--max-uses",
    type=click.IntRange(1),
    metavar="N",
    help="Rows that may have one document as a negative.  [default: ten times the mean, at least 10]",
)
@click.option("--worst", type=click.IntRange(0), default=10, show_default=True, help="Rows to show.")
@loading_options
@click.option(
    "--judge",
    metavar="MODEL",
    help="Ask this chat model whether the likely false negatives are answers; about nothing else.",
)
@click.option(
    "--judge-by",
    type=click.Choice(["rlhn", "arhn"]),
    default="rlhn",
    show_default=True,
    help="rlhn: does it answer as well as what is labelled (up to 25 of a query in one call); arhn: does a "
    "part of it answer (a call each), as well or not.",
)
@click.option(
    "--judge-limit", type=click.IntRange(1), metavar="N", help="Ask about the N most severe pairs alone."
)
@_judge_options
@click.option("-o", "--output", type=_FILE, help="Write every score of every negative as Parquet.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="ISSUE=SHARE",
    help="End with exit code 1 if more than this share of the negatives has the issue. Repeatable.",
)
@click.option(
    "--fix",
    "action",
    type=click.Choice(["drop", "relabel", "demote"]),
    help="Take flagged negatives out, make answers among them positives, or put them last in their row.",
)
@click.option("--fixed", type=_FILE, help="Where the mended rows go; every change goes beside them.")
@click.option(
    "--issue",
    "issues",
    multiple=True,
    metavar="ISSUE",
    help="What to mend. Repeatable; copies, known and likely answers, repetitions, empty texts if not given: "
    "and where a judge gave a verdict on a likely answer, that counts.",
)
@click.option("--undo", "log", type=_FILE, metavar="LOG", help="Write to -o what was there before a --fix.")
def audit(
    *,
    files: tuple[str, ...],
    encoder: str,
    reading: ReadOptions,
    loading: ModelOptions,
    cache: bool,
    chat: ChatOptions,
    output: Path | None,
    as_json: bool,
    fail_on: tuple[str, ...],
    log: Path | None,
    **options: Any,
) -> None:
    """Find the negatives in FILE... that are wrong, and mend the rows.

    Each negative gets a score from 0 (severe) to 1 for each issue. FILE as in score. No score is proof: read
    the worst rows before anything is dropped.

    --judge sends the texts of likely false negatives and the labelled answers beside them to --base-url. Its
    answers are kept in eci.answers.sqlite, or in --journal: what is there is not asked or paid for again.

    \b
    Examples:
      eci audit train.jsonl --qrels qrels/train.tsv -o scores.parquet
      eci audit train.jsonl --fail-on known_positive=0 --fail-on duplicate_in_row=0.01
      eci audit train.jsonl --fix drop --fixed clean.parquet
      eci audit train.jsonl --judge gpt-4o-mini --price 0.15,0.6 --dry-run
      eci audit train.jsonl --judge qwen3 --base-url http://localhost:11434/v1 --judge-limit 200
      eci audit --undo clean.parquet.changes.jsonl -o train.parquet
    """  # noqa: D301
    from eci.audit.verdicts import described

    if log is not None:
        _undo(files, log, output)
        return
    if not files:
        raise click.UsageError("Name the rows to audit: FILE...")
    if (options["action"] is None) != (options["fixed"] is None):
        raise click.UsageError("--fix says what to do and --fixed where to write: give both.")
    if options["issues"] and options["action"] is None:
        raise click.UsageError("--issue says what --fix mends: give that too.")
    limits = _limits(fail_on)
    _refuse_unjudged(chat, output, limits, options)
    options |= {"chat": chat, "output": output}
    result, mended = _audited(files, encoder, reading, (loading, cache), options)
    if as_json:
        click.echo(result.to_json())
    elif chat.dry_run:
        click.echo(described(result.data["judge"]))
    else:
        click.echo("\n\n".join([result.described(), *([mended] if mended else [])]))
    exceeded = result.exceeded(limits)
    for told in exceeded:
        click.echo(f"Failed: {told}", err=True)
    if exceeded:
        sys.exit(1)


def _audited(
    files: tuple[str, ...],
    encoder: str,
    reading: ReadOptions,
    models: tuple[ModelOptions, bool],
    options: dict[str, Any],
) -> tuple[AuditResult, str]:
    """The result, and what a fix did, in words."""
    from eci.audit.collecting import Judgements
    from eci.audit.fixing import fix, refuse_fix
    from eci.audit.issues import AuditSettings
    from eci.audit.running import audit as run
    from eci.cli.progress import StderrProgress
    from eci.datasets import read
    from eci.models.loading import prepared_encoder

    names = ("false_negative", "near_copy", "min_negatives", "max_uses", "worst")
    settings = AuditSettings(temperature=options["tau"], **{name: options[name] for name in names})
    action, fixed, issues = options["action"], options["fixed"], options["issues"]
    rows = read(files, reading)
    if action is not None:
        refuse_fix(rows, fixed, action, issues)
    known = Judgements.read(*(options[name] for name in ("qrels", "test_qrels", "test_queries")))
    with ExitStack() as stack:
        progress = stack.enter_context(StderrProgress())
        judge = stack.enter_context(_judge(options))
        model = stack.enter_context(prepared_encoder(encoder, models[0], models[1], progress))
        result = run(
            rows, model, settings, known=known, table=options["output"], judge=judge, progress=progress
        )
        result.settings["command"] = command_line()
        if action is None or result.findings is None:
            return result, ""
        done = fix(rows, result.findings, fixed, action, issues)
    result.data["fix"] = done.to_dict()
    return result, f"{fixed}: {done.told()}"


@contextmanager
def _judge(options: dict[str, Any]) -> Iterator[Judge | None]:
    """Who is asked; where the model cannot be, that is told before the work."""
    from eci.audit.judging import Judge
    from eci.chat.endpoint import Endpoint
    from eci.cli.chatting import asker
    from eci.types import silent

    model, chat = options["judge"], options["chat"]
    if model is None:
        yield None
        return
    given, journal = chat.of(model), chat.place(None)
    how = {"by": options["judge_by"], "limit": options["judge_limit"], "journal": journal}
    if chat.dry_run:
        yield Judge(None, given, **how)
        return
    Endpoint(given).close()
    with asker(model, chat, silent) as opened:
        yield Judge(opened, given, **how)


def _refuse_unjudged(
    chat: ChatOptions, output: Path | None, limits: dict[str, float], options: dict[str, Any]
) -> None:
    named = "judged_false_negative" in (*limits, *options["issues"])
    if options["judge"] is None and (named or chat.dry_run or options["judge_limit"]):
        raise click.UsageError(
            "--dry-run, --judge-limit and judged_false_negative need a judge: give --judge MODEL."
        )
    if chat.dry_run and (output or limits or options["action"]):
        raise click.UsageError("--dry-run asks nothing, so there is nothing to write, mend or fail on yet.")


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


def _undo(files: tuple[str, ...], log: Path, output: Path | None) -> None:
    from eci.audit.undoing import undo
    from eci.results import count

    if files or output is None:
        raise click.UsageError("--undo takes the log alone, and -o for the rows as they were.")
    done = undo(log, output)
    same = (
        "byte for byte what was audited"
        if done.same
        else "the rows that were audited, in the canonical layout"
    )
    click.echo(f"{output}: {same}; {count(done.rows, 'row')} put back")
