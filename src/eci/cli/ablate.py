"""``eci ablate``: what a ranking of sources owes to encoder, N, formula and temperature."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.command import command_line, working
from eci.cli.options import (
    Count,
    encoder_option,
    loading_options,
    reading_options,
    result_option,
    scoring_options,
)

if TYPE_CHECKING:
    from eci.ablation import Ablation
    from eci.datasets import ReadOptions
    from eci.models.sentence_transformer import ModelOptions


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@encoder_option
@click.option(
    "--fixed-n",
    default=3,
    show_default=True,
    type=Count(1),
    metavar="N",
    help="Negatives of each source and query in the table of equal N: the first N of each row (of a hybrid: "
    "of its first part), and N drawn by --seed.",
)
@click.option(
    "--measures",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A number a source, of retrievers trained on it, to hold each figure against: a .csv or .tsv with "
    "the header source,nDCG@10 (or another name), or a .json object. More is better.",
)
@reading_options
@scoring_options
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@result_option
def ablate(
    *,
    files: tuple[str, ...],
    encoders: tuple[str, ...],
    reading: ReadOptions,
    scoring: dict[str, Any],
    loading: ModelOptions,
    cache: bool,
    as_json: bool,
    output: Path | None,
    fixed_n: int,
    measures: Path | None,
) -> None:
    """Vary one choice at a time, and see what becomes of the ranking of the sources in FILE...

    Tables 3 to 6 of arXiv 2603.20990v1 on your own rows: encoder, fixed N, aggregation, simpler heuristics;
    and the temperature. Below each column stands Kendall's τ of its ranking with that of the first column,
    which is what eci score gives. FILE as in eci score. Takes about four times as long as that, but each text
    is embedded once.

    \b
    Examples:
      eci ablate train.jsonl
      eci ablate bm25.parquet dense.parquet --encoder all-MiniLM-L6-v2 --encoder intfloat/e5-base-v2
      eci ablate bm25.parquet dense.parquet llm.parquet --measures ndcg.tsv -o ablation.json
    """  # noqa: D301
    from eci import api
    from eci.ablation import AblationSettings
    from eci.settings import Settings

    settings = AblationSettings(fixed_n, measures=measures, scoring=Settings(**scoring))
    with working(output) as (progress, keep):
        found = api.ablate(
            list(files),
            encoders,
            settings=settings,
            reading=reading,
            loading=loading,
            cache=cache,
            progress=progress,
        )
        found.settings["command"] = command_line()
        keep(found)
    click.echo(found.to_json() if as_json else _described(found))


def _described(ablation: Ablation) -> str:
    from eci.cli.describe import careful, summary

    base, label = ablation.base, next(iter(ablation.encoders))
    alone = f"encoder {label}" if len(ablation.encoders) == 1 else f"all tables but the first with {label}"
    parts = [
        f"{summary(base)}; {alone}\n"
        "Numbers of tables are those of arXiv 2603.20990v1; ± is half of a 95 % interval",
        ablation.text(shutil.get_terminal_size((100, 24)).columns),
        base.verdict,
    ]
    return "\n\n".join([*parts, *careful({label: base})])
