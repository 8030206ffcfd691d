"""Models by name or as objects, ready for use, with their cache opened and closed again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eci.errors import EciError
from eci.models import bundled
from eci.models.cross_encoder import CrossEncoderReranker
from eci.models.hashing import HashingEncoder
from eci.models.late_interaction import LateInteractionReranker
from eci.models.precomputed import PrecomputedEncoder
from eci.models.sentence_transformer import ModelOptions, SentenceTransformerEncoder
from eci.task import Reranker
from eci.types import Encoder, Progress, silent

if TYPE_CHECKING:
    from eci.models.cache import EmbeddingCache

_LATE = "late-interaction"


@contextmanager
def prepared_encoder(
    encoder: str | Encoder = bundled.NAME,
    loading: ModelOptions | None = None,
    cache: bool | str | Path = True,
    progress: Progress = silent,
) -> Iterator[Any]:
    """An encoder ready for scoring, with its cache opened and closed again; see `eci.score`."""
    loading = loading or ModelOptions()
    precomputed = isinstance(encoder, str) and PrecomputedEncoder.is_folder(encoder)
    if encoder == "hashing" or precomputed or not isinstance(encoder, str):
        _refuse_loading_options(loading, "encoder")
    if encoder == "hashing":
        yield HashingEncoder()
        return
    if precomputed:
        progress(f"opening the vectors of {encoder}", 0, 0)
        yield PrecomputedEncoder.load(str(encoder))
        return
    if isinstance(encoder, str):
        progress(f"loading {encoder}", 0, 0)
        planned = SentenceTransformerEncoder.load(encoder, loading)
    elif _is_a("SentenceTransformer", encoder):
        name = _name(encoder, "SentenceTransformer")
        planned = SentenceTransformerEncoder(encoder, name, loading.precision)
    else:
        yield encoder
        return
    from eci.models.cached import CachedEncoder

    with _opened(cache) as kept:
        yield CachedEncoder(planned, kept, progress)


@contextmanager
def prepared_reranker(
    reranker: str | Reranker = _LATE,
    loading: ModelOptions | None = None,
    cache: bool | str | Path = True,
    progress: Progress = silent,
) -> Iterator[Reranker]:
    """A reranker ready for scoring pairs, with its cache opened and closed again.

    Parameters
    ----------
    reranker : str or Reranker
        ``"late-interaction"`` compares token vectors of the embedded encoder,
        ``"late-interaction:MODEL"`` those of another one; any other name is that of a cross-encoder. Or a
        ``sentence_transformers.CrossEncoder``, or any object with ``score_pairs`` and ``describe``, which
        is used as it is.
    loading : ModelOptions, optional
        For models that are loaded by name.
    cache : bool, str or Path
        Whether to keep scores on disk, or where.
    progress : Progress

    Raises
    ------
    EciError
        Model or cache cannot be used; the message says what to do.
    """
    loading = loading or ModelOptions()
    if not isinstance(reranker, str):
        _refuse_loading_options(loading, "reranker")
    planned: LateInteractionReranker | CrossEncoderReranker
    if isinstance(reranker, str):
        progress(f"loading {reranker}", 0, 0)
        kind, _, model = reranker.partition(":")
        if kind == _LATE:
            planned = LateInteractionReranker.load(model or bundled.NAME, loading)
        else:
            planned = CrossEncoderReranker.load(reranker, loading)
    elif _is_a("CrossEncoder", reranker):
        planned = CrossEncoderReranker(reranker, _name(reranker, "CrossEncoder"), loading.precision)
    elif hasattr(reranker, "score_pairs") and hasattr(reranker, "describe"):
        yield reranker
        return
    else:
        raise EciError(
            f"A reranker is a name, a sentence_transformers.CrossEncoder or an object with score_pairs and "
            f"describe; got {type(reranker).__name__}."
        )
    from eci.models.cached import CachedReranker

    with _opened(cache) as kept:
        yield CachedReranker(planned, kept, progress)


@contextmanager
def _opened(cache: bool | str | Path) -> Iterator[EmbeddingCache]:
    from eci.models.cache import EmbeddingCache, temporary_cache

    if cache is False:
        with temporary_cache() as kept:
            yield kept
        return
    opened = EmbeddingCache(None if cache is True else Path(cache))
    try:
        yield opened
    finally:
        opened.close()


def _refuse_loading_options(loading: ModelOptions, what: str) -> None:
    if loading != ModelOptions(loading.precision):
        raise EciError(f"Loading options are for models that are loaded by name; this {what} has its own.")


def _is_a(constructor: str, model: Any) -> bool:
    """Whether `model` is of that class of sentence-transformers, which is not imported to find out."""
    library = sys.modules.get("sentence_transformers")
    return library is not None and isinstance(model, getattr(library, constructor))


def _name(model: Any, otherwise: str) -> str:
    return str(getattr(model.model_card_data, "base_model", None) or otherwise)
