"""``eci generate``: negatives and queries that a chat model writes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.chatting import ChatOptions, chat_options, price_of
from eci.cli.command import command_line
from eci.cli.generating import Context, finish, kept, tell
from eci.cli.mine import INPUTS
from eci.cli.models import Models
from eci.cli.options import SEED, Count, loading_options, output_options

if TYPE_CHECKING:
    from eci.generating.candidates import Candidates
    from eci.generating.samples import Samples
    from eci.generating.steps import Generator

_PATH = click.Path(path_type=Path)
_MODEL = click.option(
    "--model", required=True, metavar="NAME", help="The chat model, as its endpoint calls it."
)
_SEED = click.option(
    "--seed", default=0, show_default=True, type=SEED, help="Of what is drawn; another one asks anew."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print settings and counts as JSON.")
# Room for three documents, each half as long again as a positive, and for reasoning. The same for all: it is
# part of what the journal knows a call by.
_LONG = {"default_map": {"max_tokens": 4096}}
_SHARED = (
    click.option(
        "--positives",
        default=1,
        show_default=True,
        type=Count(1),
        metavar="N",
        help="Positives of a query to write negatives for, one after the other.",
    ),
    click.option("--limit", type=Count(1), metavar="N", help="Only the first N queries, for a trial."),
    _SEED,
    click.option("--label", help="Source of the negatives. Default: llm- and what writes them."),
    click.option(
        "--min-words",
        default=8,
        show_default=True,
        type=Count(0),
        help="Mark negatives of fewer words.",
    ),
    click.option(
        "--check",
        metavar="MODEL",
        help="Encoder that scores negatives and positives, or reranker:NAME; marks what scores as high as a "
        "positive.",
    ),
    click.option("--drop-flagged", is_flag=True, help="Leave out what would be marked in 'extra'."),
    output_options,
    _JSON,
)


@click.group()
def generate() -> None:
    """Have a chat model write negatives, or queries.

    For a BEIR folder, its files, or ROWS of (query, positive), as in eci mine; at any OpenAI-compatible
    endpoint. Every answer is kept in a journal as it comes: a run that was killed asks only for what is
    missing, and writes what it would have written. Try --dry-run, then --limit 20.

    \b
    Examples:
      eci generate attribute scifact/ --split train --model gpt-4o-mini -o llm.parquet --dry-run
      eci generate causal pairs.jsonl --model qwen3 --base-url http://localhost:8000/v1 -o causal.parquet
      eci generate queries corpus.jsonl --model qwen3 --limit 1000 -o synthetic
      eci generate status eci.answers.sqlite
    """  # noqa: D301


def _writer(count: int, *own: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a command of a function that builds a generator, and says what it writes for."""

    def decorate(build: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(build)
        def command(**options: Any) -> None:
            _generate(build, options)

        most = click.option(
            "-k",
            "--per-positive",
            "count",
            default=count,
            show_default=True,
            type=click.IntRange(1, 20),
            help="Negatives to ask for; what an answer has beyond them is cut off, what it lacks is counted.",
        )
        wrapped: Callable[..., Any] = command
        given: tuple[Callable[..., Any], ...] = (*INPUTS, _MODEL, most, *own, *_SHARED)
        for option in reversed((*given, chat_options, loading_options)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _generate(build: Callable[..., tuple[Generator, Samples]], options: dict[str, Any]) -> None:
    from eci.cli.progress import StderrProgress
    from eci.generating.inspecting import Checks
    from eci.generating.running import GenerateSettings, Inputs, crowded, estimated
    from eci.generating.running import generate as run

    output, chat = options["output"], options["chat"]
    checks = Checks(options["min_words"], drop_flagged=options["drop_flagged"])
    settings = GenerateSettings(checks, options["label"], options["target"])
    with ExitStack() as stack:
        progress = stack.enter_context(StderrProgress())
        context = Context(options, chat, progress, stack)
        context.refuse()
        built = build(context)
        if chat.dry_run:
            if built is not None:
                generator, samples = built
                context.warn(crowded(samples, generator, chat.settings["max_tokens"]))
                tell(estimated(samples, generator, chat.of(options["model"]), chat.journal), context.notes)
            return
        context.refuse()
        generator, samples = built
        context.warn(crowded(samples, generator, chat.settings["max_tokens"]))
        models = Models(stack, options["loading"], options["cache"], progress)
        teacher = models.teacher(options["check"]) if options["check"] else None
        models.refuse_unused()
        extra = context.made.extra if context.made else None
        with kept(chat):
            inputs = Inputs(context.read_from, extra, teacher)
            result = run(
                samples, generator, context.asker, output, settings, inputs=inputs, progress=progress
            )
        told: dict[str, Any] = {"command": command_line(), "files": list(context.files)}
        if context.made:
            told["queries"] = context.made.summary()
    result = replace(result, notes=[*context.notes, *result.notes], settings={**result.settings, **told})
    finish(output, result, context.asker, options["as_json"])


@generate.command(context_settings=_LONG)
@_writer(
    3,
    click.option(
        "--domains",
        type=_PATH,
        metavar="FILE",
        help="Domains to draw from, one a line. Default: 28 fields from agriculture to technology.",
    ),
)
def attribute(context: Context) -> tuple[Generator, Samples]:
    """Negatives by an expert of a drawn domain, for a drawn education level, of a drawn length.

    After ECI v1 and SyNeg: the positive is an example, and reasoning comes before the negatives.
    """
    from eci.generating.attribute import Attribute, domains_of

    samples, chosen = context.samples(context.task()), context.options["domains"]
    if not chosen:
        return Attribute(context.options["count"]), samples
    generator = Attribute(context.options["count"], domains_of(chosen))
    context.note(chosen)
    return generator, samples


@generate.command("query-only", context_settings=_LONG)
@_writer(
    1,
    click.option("--with-positive", is_flag=True, help="Show the positive too, as later versions do."),
    click.option(
        "--queries-from-passages",
        is_flag=True,
        help="First write a query for each passage of the corpus; --limit draws so many passages.",
    ),
)
def query_only(context: Context) -> tuple[Generator, Samples] | None:
    """Negatives for the query alone: the model never sees the corpus.

    After Don't Retrieve, Generate; --with-positive is its later version.
    """
    from eci.generating.query_only import QueryOnly

    generator = QueryOnly(context.options["count"], context.options["with_positive"])
    if context.options["positives"] > 1 and not generator.with_positive:
        raise click.UsageError(
            "--positives asks once for each positive, which query-only does not show: it would ask the same "
            "again. Leave it out, or give --with-positive."
        )
    if not context.options["queries_from_passages"]:
        return generator, context.samples(context.task())
    from eci.generating.queries import estimated_queries, write_queries

    passages = context.passages()
    if context.chat.dry_run:
        tell(
            estimated_queries(
                passages, context.chat.of(context.options["model"]), context.chat.journal, generator
            )
        )
        return None
    context.refuse()
    with kept(context.chat):
        context.made = write_queries(passages, context.asker, progress=context.progress)
    return generator, context.samples(context.made.task)


@generate.command(context_settings=_LONG)
@_writer(
    3,
    click.option(
        "--candidates",
        type=_PATH,
        metavar="FILE",
        help="Rows whose negatives may be rewritten. Default: what BM25 finds in the corpus.",
    ),
    click.option(
        "--candidate-limit",
        default=5,
        show_default=True,
        type=click.IntRange(0, 20),
        help="Candidates shown for a query; 0 for none.",
    ),
)
def causal(context: Context) -> tuple[Generator, Samples]:
    """Negatives that break exactly one requirement of an answer: an analysis, then the negatives.

    After CausalNeg: preferably made of documents of the corpus; a wrong answer is no negative.
    """
    from eci.generating.causal import Causal

    task = context.task()
    samples = context.samples(task)
    return Causal(context.options["count"]), replace(samples, candidates=_candidates(context, samples))


def _candidates(context: Context, samples: Samples) -> Candidates | None:
    from eci.generating.candidates import Candidates

    path, most = context.options["candidates"], context.options["candidate_limit"]
    if most == 0:
        if path:
            raise click.UsageError("--candidate-limit 0 shows none of the --candidates. Leave one out.")
        return None
    if path:
        from eci.datasets import read
        from eci.results import count

        context.note(path)
        found = Candidates.of_rows(samples.task, read([path]), most, str(path))
        if (many := found.among(samples.queries)) < samples.queries:
            has = f"{path}: has candidates for {many:,} of {count(samples.queries, 'query')}"
            context.warn(f"{has}; for the others the model writes from scratch")
        return found
    from eci.miners.bm25 import BM25Miner

    miner = BM25Miner(samples.task, progress=context.progress)
    return Candidates.mined(samples.task, miner, samples.queries, most, context.progress)


@generate.command(context_settings=_LONG)
@click.argument("corpus", type=_PATH)
@_MODEL
@click.option("--limit", type=Count(1), metavar="N", help="N passages, drawn by --seed.")
@_SEED
@click.option("-o", "--output", required=True, type=_PATH, help="The folder to write.")
@_JSON
@chat_options
def queries(corpus: Path, output: Path, as_json: bool, chat: ChatOptions, **options: Any) -> None:
    """Write a query for each passage of CORPUS: a BEIR folder, or a file of documents.

    The output is a BEIR folder: the corpus, the queries, and the passage of each as its positive; and the
    same as rows.jsonl. So eci mine and eci generate go on from there.
    """
    from eci.cli.progress import StderrProgress
    from eci.generating.queries import WRITER, estimated_queries, write_folder, write_queries

    if output.suffix in (".jsonl", ".parquet", ".csv", ".tsv", ".gz"):
        raise click.UsageError(f"The output is a folder; {output} would be a file. Leave the ending out.")
    with ExitStack() as stack:
        progress = stack.enter_context(StderrProgress())
        given = {**options, "inputs": (corpus,), "output": output, "target": "beir", "written_by": WRITER}
        context = Context(given, chat, progress, stack)
        context.refuse()
        passages = context.passages()
        context.refuse()
        if chat.dry_run:
            tell(estimated_queries(passages, chat.of(options["model"]), chat.journal))
            return
        with kept(chat):
            made = write_queries(passages, context.asker, progress=progress)
        write_folder(made, output, progress=progress)
    told = {"command": command_line(), "files": list(context.files)}
    finish(output, replace(made, settings={**made.settings, **told}), context.asker, as_json)


@generate.command()
@click.argument("journal", type=click.Path(dir_okay=False, path_type=Path), default="eci.answers.sqlite")
@click.option("--price", metavar="IN,OUT", help="Price of a million tokens of prompts and of answers.")
@_JSON
def status(journal: Path, price: str | None, as_json: bool) -> None:
    """Tell how many requests in JOURNAL are answered, and the tokens that they took.

    A run that goes on may be looked at; JOURNAL is eci.answers.sqlite if not given.
    """
    from eci.generating.status import journal_status

    told = journal_status(journal, price_of(price))
    click.echo(told.to_json() if as_json else told.table())
