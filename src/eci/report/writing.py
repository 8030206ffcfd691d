"""A page and the rows behind it, in files beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eci import api
from eci.atomic import atomic_path
from eci.comparison import Comparison
from eci.datasets import ReadOptions
from eci.datasets.scanning import portions
from eci.errors import DataError
from eci.models import bundled
from eci.models.sentence_transformer import ModelOptions
from eci.report.render import page, require
from eci.report.rows import keep, read_sample
from eci.report.summarise import MOST, first_of, summarise
from eci.results import ScoreResult
from eci.types import Encoder, Progress, silent

# Queries whose texts are in memory while they are written, and in the file.
MOST_KEPT = 50_000


@dataclass(frozen=True)
class Behind:
    """What a result was made of; everything as `eci.score` was given it.

    Parameters
    ----------
    rows : path, list of paths, or what else `eci.score` takes
        Read once more.
    encoder : str or Encoder
        Of several, the first.
    reading, loading : optional
    cache : bool, str or Path
        With the one of the scoring no text is embedded again.
    """

    rows: Any
    encoder: str | Encoder = bundled.NAME
    reading: ReadOptions | None = None
    loading: ModelOptions | None = None
    cache: bool | str | Path = True


def rows_beside(path: Path) -> Path:
    """Where the rows of a page are."""
    return path.with_name(f"{path.stem}.rows.parquet")


def write(
    result: ScoreResult | Comparison, path: Path, behind: Behind, progress: Progress = silent
) -> tuple[Path, Path]:
    """Write the page of a result, and beside it every scored query with its documents and similarities.

    Of more than `MOST_KEPT` queries these are the ones that were drawn first.

    Parameters
    ----------
    result : ScoreResult or Comparison
    path : Path
        Of the page, such as ``report.html``; the rows go to ``report.rows.parquet``.
    behind : Behind
    progress : Progress

    Returns
    -------
    tuple of Path
        The page and the rows.

    Raises
    ------
    MissingDependency
        A package of the extra ``report`` is not installed.
    DataError
        The rows are not those of the result any more.
    """
    require()
    first, beside = first_of(result), rows_beside(path)
    rows = api.rows_of(behind.rows, behind.reading or ReadOptions())
    progress("reading rows", 0, 0)
    with portions(
        rows, first.settings["seed"], held=MOST_KEPT, corpus=rows.corpus, progress=progress
    ) as queries:
        examples = queries.held
    if rows.fingerprint() != first.data.get("files", []):
        raise DataError(
            f"{path}: the rows have changed since they were scored, so none is written. Score them again."
        )
    with atomic_path(beside) as temporary:
        with api.prepared_encoder(behind.encoder, behind.loading, behind.cache, progress) as encoder:
            keep(examples, encoder, first, temporary, progress)
        del examples
        progress("writing the page", 0, 0)
        text = page(summarise(result, read_sample(temporary, MOST, first)))
        with atomic_path(path) as page_:
            page_.write_text(text, encoding="utf-8")
    return path, beside
