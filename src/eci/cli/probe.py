"""``eci probe``: a linear adapter on frozen vectors, trained with each source, tried on held-out queries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.command import command_line, working
from eci.cli.options import SEED, Count, loading_options, reading_options, result_option

if TYPE_CHECKING:
    from eci.datasets import ReadOptions
    from eci.models.sentence_transformer import ModelOptions
    from eci.probed import ProbeResult


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--encoder",
    default="all-MiniLM-L6-v2",
    show_default=True,
    metavar="MODEL",
    help="Frozen model: a folder, a hub name, 'hashing' (no weights, to try out), or a folder of vectors.",
)
@reading_options
@click.option(
    "--candidates",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The corpus to be searched: it and all positives are ranked, not all texts of the rows.",
)
@click.option(
    "--hard-negatives",
    type=Count(1),
    default=1,
    show_default=True,
    metavar="H",
    help="Negatives of a source drawn for a query, anew each epoch; as many as a row will have.",
)
@click.option("--batch", type=Count(2), default=32, show_default=True, help="Queries of a batch.")
@click.option(
    "--temperature", type=click.FloatRange(0.002, 100), default=0.05, show_default=True, help="τ of the loss."
)
@click.option(
    "--sample",
    type=Count(1),
    default=4000,
    show_default=True,
    metavar="N",
    help="Most queries, drawn at random.",
)
@click.option(
    "--pool",
    type=Count(1),
    default=20_000,
    show_default=True,
    metavar="N",
    help="Most documents that are ranked: all positives, others drawn.",
)
@click.option("--seeds", type=Count(1), default=3, show_default=True, help="Trainings that are averaged.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="The first of them.")
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@result_option
def probe(
    *,
    files: tuple[str, ...],
    encoder: str,
    reading: ReadOptions,
    candidates: Path | None,
    loading: ModelOptions,
    cache: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Train a small adapter with the negatives of each source in FILE..., and say which help.

    The encoder stays frozen: a linear map on its vectors is trained with each source, and with in-batch
    negatives alone, on part of the labelled queries, and ranks documents for the others. FILE as in score.

    \b
    Examples:
      eci probe bm25.jsonl dense.jsonl
      eci probe train.jsonl --candidates corpus.jsonl --hard-negatives 8 -o probe.json
    """  # noqa: D301
    from eci import api
    from eci.probe_material import ProbeSettings

    settings = ProbeSettings(**options)
    with working(output) as (progress, keep):
        found = api.probe(
            list(files),
            encoder,
            settings=settings,
            reading=replace(reading, candidates=candidates),
            loading=loading,
            cache=cache,
            progress=progress,
        )
        found.settings["command"] = command_line()
        keep(found)
    click.echo(found.to_json() if as_json else _described(found))


def _described(result: ProbeResult) -> str:
    """The result for a person."""
    from eci.probed import signed
    from eci.results import count

    data, settings, encoder = result.data, result.settings, result.encoder
    head = (
        f"{count(data['probed'], 'query')} held out in {settings['folds']} folds, "
        f"{count(settings['seeds'], 'seed')}, "
        f"{data['pool']:,} documents ranked; encoder {encoder['name']} "
        f"({encoder.get('precision', 'unknown precision')})"
    )
    told = sorted({(entry["rate"], entry["epochs"]) for entry in result.chosen})
    chosen = ", ".join(f"{rate:g} for {epochs} epochs" for rate, epochs in told)
    by = "queries whose positives are none in training" if data["chosen_by"] == "unseen" else "all queries"
    foot = (
        f"In-batch negatives alone bring {signed(result.none.gain)} to the untrained encoder; by them the "
        f"learning rate was chosen, on {by}: {chosen}."
    )
    lines = [f"! {text}" for text in result.warnings] + [f"· {text}" for text in data["notes"]]
    return "\n\n".join(
        [head, result.table(), f"{result.verdict}\n{foot}", *(["\n".join(lines)] if lines else [])]
    )
