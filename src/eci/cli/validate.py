"""``eci validate``: whether any metric tells what training will do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from eci.cli.command import command_line
from eci.cli.pages import page_option, refuse_page, write_page
from eci.errors import DataError

if TYPE_CHECKING:
    from eci.validation.experiment import Experiment, SourcePlan

# Options that every source gets from the plan.
_OURS = {"output": "-o", "target": "--to", "label": "--label", "split": "--split"}
_HERE, _OUT = "FOLDER", Path("OUTPUT")


@click.command()
@click.argument("plan", metavar="EXPERIMENT.toml", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for sources, cells, scores and result.json. What is there already is not done again.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    help="A process for each one named: cuda:0, cuda:1; cpu twice shares the cores. Default: one process.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Read the plan, look whether what it names is there, say what it would run, and stop.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@page_option("Write a page for who asks which metric told what training did.")
def validate(
    plan: Path, output: Path, devices: tuple[str, ...], check: bool, as_json: bool, page: Path | None
) -> None:
    """Train on every source, and see which metric would have told which is best.

    EXPERIMENT.toml names a model, collections, sources and seeds (docs/validation.md; examples/ holds four).
    Every cell of source x seed x collection is fine-tuned and evaluated once and kept in a file of its own;
    a killed run goes on where it was, and several runs may share the folder. In-batch negatives alone and
    the untrained model are always in the table.

    \b
    Examples:
      eci validate examples/weak-start.toml --check -o weak-start
      eci validate examples/weak-start.toml -o weak-start --device cpu --device cpu
      eci validate examples/weak-start.toml -o weak-start --report weak-start.html
    """  # noqa: D301
    from eci.atomic import atomic_path
    from eci.cli.progress import StderrProgress
    from eci.validation.experiment import Experiment
    from eci.validation.running import validate as run

    if page is not None:
        refuse_page(page, [output / "result.json"], [plan])
    experiment = Experiment.read(plan)
    try:
        _refuse_commands(experiment.checked())
    except DataError as error:
        raise DataError(f"{plan}: {error}") from error
    if check:
        click.echo(experiment.text())
        return
    with StderrProgress() as progress:
        found = replace(run(experiment, output, devices=devices, progress=progress), command=command_line())
    with atomic_path(output / "result.json") as temporary:
        temporary.write_text(found.to_json() + "\n", encoding="utf-8")
    click.echo(found.to_json() if as_json else f"{found.text()}\n\n{output / 'result.json'}")
    if page is not None:
        from eci.report.validated import validated

        write_page(page, validated(json.loads(found.to_json())))


def _refuse_commands(experiment: Experiment) -> None:
    """Raise a `DataError` for a source whose command does not exist, or not with these words."""
    known: list[str] = []
    for entry in experiment.sources:
        if entry.make is not None:
            try:
                _refuse_command(entry, known)
            except click.UsageError as error:
                # Choices come on lines of their own.
                told = " ".join(error.format_message().split())
                raise DataError(f"sources: {entry.name}: make = {entry.make!r}: {told}") from error
        known.append(entry.name)


def _refuse_command(entry: SourcePlan, known: list[str]) -> None:
    from eci.validation.plan_checks import words

    kind, *given = words(entry)
    if kind == "mine":
        context = _parsed(_miner(given[:1]), [_HERE, *given[1:]])
        if context.params["inputs"] != (_HERE,):
            raise click.UsageError("mines the collection of the plan, and takes no other rows or folder.")
    else:
        from eci.cli.mix import mix

        context = _parsed(mix, given)
        inputs = list(context.params["inputs"])
        strange = [name for name in inputs if name not in known]
        if strange:
            raise click.UsageError(
                f"{strange[0]} is no source further up; these are {', '.join(known) or 'none'}."
            )
        for name in inputs:
            given.remove(name)
        # Names of sources become files wherever they stand in the command.
        taken = [word for word in (kind, *given) if word in known]
        if taken:
            raise click.UsageError(f"{taken[0]} is also the name of a source. Give the source another one.")
    ours = [
        option
        for name, option in _OURS.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        and context.params.get(name) != _OUT
    ]
    if ours:
        raise click.UsageError(f"{', '.join(ours)} is what the plan decides. Leave it out.")


def _miner(name: list[str]) -> click.Command:
    from eci.cli.mine import mine

    found = mine.commands.get(name[0]) if name else None
    if found is None:
        told = f"there is no miner {name[0]!r}" if name else "lacks a miner"
        raise click.UsageError(f"{told}. Known: {', '.join(mine.commands)}.")
    return found


def _parsed(command: click.Command, given: list[str]) -> click.Context:
    """What a command would be called with; it is not called."""
    # The output stands first: one among the words that are given comes after it, and is seen.
    return command.make_context(command.name, ["-o", str(_OUT), *given], help_option_names=[])
