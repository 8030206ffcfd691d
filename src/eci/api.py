"""The main jobs in one call each: rows and names of encoders in, a result out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from eci import probing
from eci.ablation import Ablation, AblationSettings
from eci.association import Measures
from eci.comparison import Comparison
from eci.datasets import ReadOptions
from eci.distributed import engaged
from eci.errors import EciError, EncoderError
from eci.jobs import job, rows_of, versions
from eci.models import bundled
from eci.models.loading import prepared_encoder
from eci.models.sentence_transformer import ModelOptions
from eci.probe_material import ProbeSettings
from eci.probed import ProbeResult
from eci.results import ScoreResult, listed
from eci.settings import Settings
from eci.types import Encoder, Progress, silent

__all__ = ["ablate", "compare", "prepared_encoder", "probe", "rows_of", "score", "versions"]


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
        Whether to keep vectors on disk, or where; there, too, is what has been scored of rows beyond memory,
        so that a killed run goes on where it was.
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
    settings = settings or Settings()
    with (
        engaged(settings.ray, [encoder], loading, cache, progress),
        job(rows, settings.seed, reading, loading, cache, progress) as task,
    ):
        return task.scored(encoder, settings)


def compare(
    rows: Any,
    encoders: Sequence[str | Encoder],
    *,
    settings: Settings | None = None,
    reading: ReadOptions | None = None,
    loading: ModelOptions | None = None,
    cache: bool | str | Path = True,
    progress: Progress = silent,
) -> Comparison:
    """Score the same rows with several encoders, and see how far the rankings agree.

    Parameters
    ----------
    rows, settings, reading, cache, progress
        As in `score`; rows are read once. With ``until_decided`` each encoder may stop at another round.
    encoders : sequence of str or Encoder
        As in `score`. Each is released before the next one is loaded.
    loading : optional
        Holds for every encoder.

    Returns
    -------
    Comparison
        Results in the order of the encoders.

    Raises
    ------
    EciError
        As in `score`, naming the encoder; or an encoder is there twice.
    """
    chosen = _several(encoders)
    labels = _labels(chosen)
    settings = settings or Settings()
    results: dict[str, ScoreResult] = {}
    with (
        engaged(settings.ray, chosen, loading, cache, progress),
        job(rows, settings.seed, reading, loading, cache, progress) as task,
    ):
        for label, encoder in zip(labels, chosen, strict=True):
            with _told_of(label, results, cache):
                results[label] = task.scored(encoder, settings, results)
    return Comparison(tuple(results), tuple(results.values()))


def ablate(
    rows: Any,
    encoders: str | Encoder | Sequence[str | Encoder] = bundled.NAME,
    *,
    settings: AblationSettings | None = None,
    reading: ReadOptions | None = None,
    loading: ModelOptions | None = None,
    cache: bool | str | Path = True,
    progress: Progress = silent,
) -> Ablation:
    """Vary one choice at a time, and see what becomes of the ranking of the sources.

    Parameters
    ----------
    rows, reading, cache, progress
        As in `score`; rows are read once.
    encoders : str, Encoder, or a sequence of them
        All make the first table, the first one all other tables. Its vectors stay in memory until those
        are made.
    settings : AblationSettings, optional
    loading : optional
        Holds for every encoder.

    Returns
    -------
    Ablation

    Raises
    ------
    EciError
        As in `compare`; or the measures do not fit the sources.
    """
    options = settings or AblationSettings()
    if options.scoring.ray is not None:
        raise EciError("An ablation holds its queries in memory and leaves Ray nothing: score without ray.")
    chosen = _several(encoders)
    labels = _labels(chosen)
    with job(rows, options.scoring.seed, reading, loading, cache, progress, beyond=False) as task:
        measures = Measures.given(options.measures, task.queries.sources)
        found = replace(task.ablated(labels[0], chosen[0], options), measures=measures)
        for label, encoder in zip(labels[1:], chosen[1:], strict=True):
            with _told_of(label, found.encoders, cache):
                found.encoders[label] = task.scored(encoder, options.scoring, found.encoders)
    return found


def probe(
    rows: Any,
    encoder: str | Encoder = bundled.NAME,
    *,
    settings: ProbeSettings | None = None,
    reading: ReadOptions | None = None,
    loading: ModelOptions | None = None,
    cache: bool | str | Path = True,
    progress: Progress = silent,
) -> ProbeResult:
    """Train a linear map on frozen vectors with each source, and try it on held-out queries.

    Parameters
    ----------
    rows, encoder, reading, loading, cache, progress
        As in `score`. Documents of ``reading.candidates`` are ranked, in the place of those of the rows.
    settings : ProbeSettings, optional

    Returns
    -------
    ProbeResult
        Best source first.

    Raises
    ------
    EciError
        As in `score`; or there are too few queries to hold any out.
    """
    settings = settings or ProbeSettings()
    with (
        job(rows, settings.seed, reading, loading, cache, progress, beyond=False) as task,
        prepared_encoder(encoder, loading, cache, progress) as ready,
    ):
        found = probing.probe(task.queries.held, ready, settings, progress, task.corpora)
        task.tell(found)
    return found


def _several(encoders: str | Encoder | Sequence[str | Encoder]) -> list[str | Encoder]:
    return list(encoders) if isinstance(encoders, Sequence) and not isinstance(encoders, str) else [encoders]


def _labels(encoders: Sequence[str | Encoder]) -> tuple[str, ...]:
    """How to call each encoder; refuses one that is there twice."""
    if not encoders:
        raise EciError("no encoder is named: give at least one.")
    labels: list[str] = []
    known: list[str | Encoder] = []
    for encoder in encoders:
        label = encoder if isinstance(encoder, str) else _name(encoder)
        same: str | Encoder = encoder
        if isinstance(encoder, str):
            folder = Path(encoder)
            same = bundled.NAME if bundled.is_default(encoder) else encoder
            same = str(folder.resolve()) if folder.is_dir() else same
        if any(same is other or (isinstance(same, str) and same == other) for other in known):
            raise EciError(f"the encoder {label} is named twice: there is nothing to compare it with.")
        known.append(same)
        times = sum(other.partition(" #")[0] == label for other in labels)
        labels.append(f"{label} #{times + 1}" if times else label)
    return tuple(labels)


def _name(encoder: Encoder) -> str:
    described: dict[str, Any] = getattr(encoder, "describe", dict)()
    return str(described.get("name", type(encoder).__name__))


@contextmanager
def _told_of(label: str, before: dict[str, ScoreResult], cache: bool | str | Path) -> Iterator[None]:
    """Name the encoder in an error, and tell what becomes of the encoders before it."""
    try:
        yield
    except EciError as error:
        told = f" Scored before it, and not written: {listed(tuple(before))}" if before else ""
        # Only models have weights, and only their vectors are cached.
        if cache and any("weights_blake2b" in result.encoder for result in before.values()):
            told += "; the vectors of models are in the cache, and need no second embedding"
        told += "." if told else ""
        raise EncoderError(f"encoder {label}: {error}{told}") from error
