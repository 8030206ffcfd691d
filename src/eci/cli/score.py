"""``eci score``: which source of hard negatives is best, and how sure that is."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.options import loading_options, reading_options

if TYPE_CHECKING:
    from eci.datasets import ReadOptions
    from eci.models.sentence_transformer import ModelOptions
    from eci.results import ScoreResult


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--encoder",
    default="all-MiniLM-L6-v2",
    show_default=True,
    help="Model to score with: a folder, a hub name, or 'hashing' (no weights, for trying out).",
)
@click.option("--target", help="Model that will be fine-tuned, if it is another than the encoder.")
@reading_options
@click.option(
    "--metric", default="eci", show_default=True, help="What ranks the sources; see docs/metrics.md."
)
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Score N queries drawn at random.")
@click.option(
    "--until",
    type=click.Choice(["decided"]),
    help="Draw queries in growing rounds and stop when the first place is decided.",
)
@click.option("--all", "everything", is_flag=True, help="Score every query (the default).")
@click.option("--seed", default=0, show_default=True, help="Of the order in which queries are drawn.")
@click.option(
    "--temperature",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0.002, 100),
    help="τ of the gradient norm and the InfoNCE loss.",
)
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the result as JSON."
)
def score(
    files: tuple[str, ...],
    encoder: str,
    reading: ReadOptions,
    loading: ModelOptions,
    cache: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Rank the sources of hard negatives in FILE..., best first.

    FILE is training rows in any known layout (JSONL, CSV, Parquet, a saved dataset, hf://owner/name), or a
    BEIR folder followed by TREC runs. Rows that carry no source are labelled with the file's name.

    \b
    Examples:
      eci score train.jsonl
      eci score bm25.jsonl dense.jsonl --until decided
      eci score scifact/ bm25.trec dense.trec --encoder intfloat/e5-base-v2 -o result.json
    """  # noqa: D301
    from eci import api
    from eci.atomic import atomic_path
    from eci.cli.progress import StderrProgress

    settings = _settings(options, reading)
    # Opened first: a place that cannot be written to is told before the work, not after it.
    with atomic_path(output) if output else nullcontext() as temporary, StderrProgress() as progress:
        result = api.score(
            list(files),
            encoder,
            settings=settings,
            reading=reading,
            loading=loading,
            cache=cache,
            progress=progress,
        )
        result.settings["command"] = shlex.join(["eci", *sys.argv[1:]])
        if temporary is not None:
            temporary.write_text(result.to_json() + "\n", encoding="utf-8")
    click.echo(result.to_json() if as_json else describe(result))


def _settings(options: dict[str, Any], reading: ReadOptions) -> Any:
    from eci.metrics import NAMES
    from eci.scoring import Settings

    if sum((options["sample"] is not None, options["until"] is not None, options["everything"])) > 1:
        raise click.UsageError("--sample, --until and --all exclude each other.")
    if options["metric"] not in NAMES:
        raise click.UsageError(f"Unknown metric {options['metric']!r}. Known: {', '.join(NAMES)}")
    return Settings(
        metric=options["metric"],
        sample=options["sample"],
        until_decided=options["until"] == "decided",
        seed=options["seed"],
        temperature=options["temperature"],
        batch_rows=reading.batch_rows,
        target=options["target"],
    )


def describe(result: ScoreResult) -> str:
    """The result for a person: leaderboard, verdict, baselines, what to be careful of, provenance."""
    encoder, data = result.encoder, result.data
    from eci.results import count

    scored = f"{result.settings['queries_scored']:,} of {count(data['queries'], 'query')}"
    parts = [
        f"{scored}, {count(data['documents'], 'document')}, {count(len(result.sources), 'source')}; "
        f"encoder {encoder['name']} ({encoder.get('precision', 'unknown precision')})",
        result.table(),
        result.verdict,
    ]
    if result.baselines:
        parts.append(_baseline_lines(result))
    shown = [f"! {text}" for text in result.warnings if not text.startswith("null: ")]
    shown += [f"· {text}" for text in data.get("notes", ())]
    if shown:
        parts.append("\n".join(shown))
    return "\n\n".join(parts)


def _baseline_lines(result: ScoreResult) -> str:
    metric = result.settings["metric"]
    told = []
    for entry in result.baselines:
        tau = "–" if isnan(entry["kendall"]) else f"{entry['kendall']:+.2f}"
        told.append(f"{entry['metric']}: {entry['first']} (τ {tau})")
    return (
        f"Simpler figures, what each puts first, and Kendall's τ of its ranking with {metric}:\n  "
        + "\n  ".join("; ".join(told[start : start + 3]) for start in range(0, len(told), 3))
        + f"\nNone of them, nor {metric}, is known to predict training: see docs/metrics.md."
    )
