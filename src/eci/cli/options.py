"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for reading rows; the command gets them as ``reading``, a ``ReadOptions``."""

    @functools.wraps(command)
    def with_reading(
        *args: Any,
        layout: str | None,
        source: tuple[str, ...],
        corpus: Path | None,
        queries: Path | None,
        split: str | None,
        positive_score: float | None,
        batch_rows: int,
        **options: Any,
    ) -> Any:
        from eci.datasets import ReadOptions

        reading = ReadOptions(layout, source, corpus, queries, split, positive_score, batch_rows)
        return command(*args, reading=reading, **options)

    wrapped: Callable[..., Any] = with_reading
    for option in reversed(_READING):
        wrapped = option(wrapped)
    return wrapped


_PATH = click.Path(path_type=Path)
_READING = (
    click.option("--layout", metavar="LAYOUT", help="Layout of the rows; detected if not given."),
    click.option(
        "--source",
        multiple=True,
        metavar="LABEL",
        help="Source of negatives that carry none: once for all files or once per file. Default: file name.",
    ),
    click.option("--corpus", type=_PATH, help="Documents by id; looked for beside the rows."),
    click.option("--queries", type=_PATH, help="Queries by id; looked for beside the rows."),
    click.option("--split", metavar="NAME", help="Qrels of a BEIR folder, or split of a saved DatasetDict."),
    click.option(
        "--positive-score",
        type=float,
        metavar="SCORE",
        help="With graded scores instead of labels: documents at or above are positives.",
    ),
    click.option(
        "--batch-rows", type=click.IntRange(1), default=4096, show_default=True, help="Most rows in memory."
    ),
)
