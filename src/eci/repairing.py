"""Negatives judged one by one, and the best of all sources, in one call each."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from eci.api import rows_of, versions
from eci.audit.collecting import Judgements
from eci.audit.issues import AuditSettings
from eci.audit.judging import Judge
from eci.audit.result import AuditResult
from eci.audit.running import audit
from eci.datasets import ReadOptions, Rows
from eci.datasets.writing import refuse
from eci.models import bundled
from eci.models.loading import prepared_encoder
from eci.models.sentence_transformer import ModelOptions
from eci.selected import SelectResult
from eci.selecting import select_rows
from eci.selection import SelectSettings
from eci.types import Encoder, Progress, silent

__all__ = ["audit_rows", "select"]


def audit_rows(
    rows: Any,
    encoder: str | Encoder = bundled.NAME,
    *,
    settings: AuditSettings | None = None,
    known: Judgements | None = None,
    table: str | Path | None = None,
    judge: Judge | None = None,
    progress: Progress = silent,
) -> AuditResult:
    """Find what is wrong with the negatives of `rows`.

    Parameters
    ----------
    rows : Rows, or what `eci.score` takes
        ``eci.datasets.read`` gives Rows, and takes what is not to be detected.
    encoder, progress
        As in `eci.score`.
    settings : AuditSettings, optional
    known : Judgements, optional
        What is known beside the rows; ``Judgements.read`` takes files.
    table : str or Path, optional
        Where the scores of every negative go, as Parquet.
    judge : Judge, optional
        Asks a chat model about the likely false negatives.

    Returns
    -------
    AuditResult
        ``result.flagged(issue)`` names the negatives, most severe first.

    Raises
    ------
    EciError
        As in `eci.score`; or the table cannot be written, or the chat model not be asked.
    """
    read_rows = rows if isinstance(rows, Rows) else rows_of(rows, ReadOptions())
    with prepared_encoder(encoder, progress=progress) as ready:
        path = Path(table) if table is not None else None
        return audit(read_rows, ready, settings, known=known, table=path, judge=judge, progress=progress)


def select(
    rows: Any,
    output: str | Path,
    encoder: str | Encoder = bundled.NAME,
    *,
    settings: SelectSettings,
    loading: ModelOptions | None = None,
    cache: bool | str | Path = True,
    progress: Progress = silent,
) -> SelectResult:
    """Write `rows` with the best k negatives of each query, out of all sources.

    Parameters
    ----------
    rows : Rows, or what `eci.score` takes
        ``eci.datasets.read`` gives Rows, and takes what is not to be detected.
    output : str or Path
        As in ``eci.datasets.write``.
    encoder, loading, cache, progress
        As in `eci.score`.
    settings : SelectSettings

    Returns
    -------
    SelectResult

    Raises
    ------
    EciError
        As in `eci.score`; or the output cannot be written.
    """
    read_rows = rows if isinstance(rows, Rows) else rows_of(rows, ReadOptions())
    # Before a model is loaded for what cannot be written.
    refuse(Path(output), settings.layout, read_rows.paths)
    with prepared_encoder(encoder, loading, cache, progress) as ready:
        found = select_rows(read_rows, output, ready, settings, progress=progress)
    found.settings.update(loading=asdict(loading or ModelOptions()), versions=versions())
    found.data.update(layout=read_rows.layout, files=read_rows.fingerprint())
    return found
