"""``eci validate``: whether any metric tells what training will do."""

from __future__ import annotations

from pathlib import Path

import click


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
@click.option("--check", is_flag=True, help="Read the plan, say what it would run, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def validate(plan: Path, output: Path, devices: tuple[str, ...], check: bool, as_json: bool) -> None:
    """Train on every source, and see which metric would have told which is best.

    EXPERIMENT.toml names a model, collections, sources and seeds (docs/validation.md; examples/ holds two).
    Every cell of source x seed x collection is fine-tuned and evaluated once and kept in a file of its own;
    a killed run goes on where it was, and several runs may share the folder. In-batch negatives alone and
    the untrained model are always in the table.

    \b
    Examples:
      eci validate examples/weak-start.toml --check -o weak-start
      eci validate examples/weak-start.toml -o weak-start --device cpu --device cpu
    """  # noqa: D301
    from eci.atomic import atomic_path
    from eci.cli.progress import StderrProgress
    from eci.validation.experiment import Experiment
    from eci.validation.running import validate as run

    experiment = Experiment.read(plan)
    if check:
        click.echo(experiment.text())
        return
    with StderrProgress() as progress:
        found = run(experiment, output, devices=devices, progress=progress)
    with atomic_path(output / "result.json") as temporary:
        temporary.write_text(found.to_json() + "\n", encoding="utf-8")
    click.echo(found.to_json() if as_json else f"{found.text()}\n\n{output / 'result.json'}")
