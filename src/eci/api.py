"""The main job in one call: rows and an encoder's name in, a result out."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eci import scoring
from eci.datasets import ReadOptions, from_object, read
from eci.errors import DataError
from eci.examples import Examples
from eci.models import bundled
from eci.models.loading import prepared_encoder
from eci.models.sentence_transformer import ModelOptions
from eci.results import ScoreResult
from eci.scoring import Settings
from eci.types import Encoder, Progress, silent

__all__ = ["prepared_encoder", "score"]


def score(
    rows: Any,
    encoder: str | Encoder = bundled.NAME,
    *,
    settings: Settings | None = None,
    reading: ReadOptions | None = None,
    loading: ModelOptions | None = None,
    cache: bool | str | Path = True,
    progress: Progress = silent,
) -> ScoreResult:
    """Score the sources of hard negatives in `rows` with a frozen encoder.

    Parameters
    ----------
    rows : path, list of paths, list of dicts, datasets.Dataset, or a polars, pandas or pyarrow table
        Training rows in any layout of docs/data.md.
    encoder : str or Encoder
        A model's name or folder; ``"hashing"`` for the encoder without weights; or an object with
        ``encode_query`` and ``encode_document``, such as a ``SentenceTransformer``.
    settings, reading, loading : optional
        How to score, how to read the rows, how to load the model.
    cache : bool, str or Path
        Whether to keep vectors on disk, or where.
    progress : Progress

    Returns
    -------
    ScoreResult
        Best source first.

    Raises
    ------
    EciError
        Rows, model or cache cannot be used; the message says what to do.
    """
    reading = reading or ReadOptions()
    read_rows = _read(rows, reading)
    progress("reading rows", 0, 0)
    examples = Examples.from_batches(read_rows)
    if not examples.sources and read_rows.notes:
        raise DataError(f"No row has a negative. The reader noted: {'; '.join(read_rows.notes)}.")
    with prepared_encoder(encoder, loading, cache, progress) as ready:
        result = scoring.score(examples, ready, settings, progress)
    result.settings["reading"] = {
        key: str(value) if isinstance(value, Path) else value for key, value in asdict(reading).items()
    }
    result.settings["loading"] = asdict(loading or ModelOptions())
    result.data.update(layout=read_rows.layout, files=read_rows.fingerprint(), notes=list(read_rows.notes))
    result.settings["versions"] = {
        "python": platform.python_version(),
        **{name: version(name) for name in ("eci", "numpy", "pyarrow")},
    }
    return result


def _read(rows: Any, options: ReadOptions) -> Any:
    if isinstance(rows, str | Path):
        return read([rows], options)
    if isinstance(rows, Sequence) and rows and all(isinstance(entry, str | Path) for entry in rows):
        return read(rows, options)
    return from_object(rows, options)
