"""Training as a user asks for it: rows and a model's name in, a folder with a model and its card out."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eci.atomic import atomic_path, held, refuse_places, require_folder
from eci.datasets import read
from eci.datasets.rows import Rows
from eci.errors import EciError, OutputError
from eci.examples import Examples
from eci.models import bundled, pretrained
from eci.models.sentence_transformer import ModelOptions, SentenceTransformerEncoder
from eci.results import plain
from eci.training import card as cards
from eci.training import result as results
from eci.training import trainer
from eci.training.card import ModelCard
from eci.training.checkpoints import Checkpoints
from eci.training.finetune import Run, finetune
from eci.training.result import SCHEMA, TrainResult
from eci.training.rows import TrainingRows
from eci.training.settings import NONE, TrainSettings
from eci.types import Progress, silent

RESULT = "eci.json"


def train(
    rows: Rows | str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    model: Any = bundled.NAME,
    settings: TrainSettings | None = None,
    loading: ModelOptions | None = None,
    card: ModelCard | None = None,
    progress: Progress = silent,
) -> TrainResult:
    """Fine-tune a model on negatives of chosen sources.

    Parameters
    ----------
    rows : Rows, path, or sequence of paths
        What ``eci.datasets.read`` or ``from_object`` gave, or files and folders that ``read`` takes.
    output : str or Path
        The folder to make: the model, its ``README.md``, and ``eci.json``. Another model of `train` that has
        the name is replaced at the end; progress says so at the beginning, and the result too. Until it is
        there, checkpoints lie beside it in a folder whose name ends in ``.trainer``; the same call goes on
        with the last one, and ends with the same weights as if it had never been stopped.
    model : str or SentenceTransformer
        A name as for `eci.score`; or a model, which is trained in place.
    settings : TrainSettings, optional
    loading : ModelOptions, optional
        Of a model by name; precision and length are those of ``settings.training``.
    card : ModelCard, optional
    progress : Progress

    Returns
    -------
    TrainResult

    Raises
    ------
    DataError
        The rows lack what the settings ask for.
    OutputError
        The output cannot be written there, or a run with other settings was stopped on the way to it.
    EncoderError
        The model cannot be loaded.
    MissingDependency
        The extra ``train`` is not installed.
    """
    if not isinstance(rows, Rows):
        rows = read([rows] if isinstance(rows, str | Path) else rows)
    final, settings, card = Path(output), settings or TrainSettings(), card or ModelCard()
    trainer.require()
    folder = [Path(model)] if isinstance(model, str) and Path(model).exists() else []
    _refuse(final, [*rows.paths, *folder])
    replaced = _replaced(final)
    if replaced:
        progress(f"to be replaced at the end: {replaced}", 0, 0)
    progress("reading rows", 0, 0)
    examples = Examples.from_batches(rows)
    drawn = _drawn(examples, settings)
    start = _started(model, settings, loading, progress)
    told = _told(rows, examples, drawn, settings, start)
    work = final.parent / f".{final.name}.trainer"
    with held(work, final):
        checkpoints = Checkpoints(work, settings.checkpoint_every)
        checkpoints.begin({name: told[name] for name in ("model", "settings", "data")}, final)
        with _going_on(checkpoints):
            run = Run(settings.stopping, checkpoints, progress)
            trained = finetune(start.model, examples, drawn, settings.training, final, run)
        told |= {
            "trained": asdict(trained),
            "weights_blake2b": pretrained.digest_weights(start.model),
            "command": card.command,
            "notes": [*rows.notes, *results.notes(told["rows"], trained, settings)],
        }
        _save(start.model, final, plain(told), card)
        checkpoints.clear()
    return TrainResult(final, trained, plain(told), replaced)


@contextmanager
def _going_on(checkpoints: Checkpoints) -> Iterator[None]:
    """Leave checkpoints where the same call would go on with them: not where it would be refused again."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, EciError) or checkpoints.last() is None:
            checkpoints.clear()
        raise


def _drawn(examples: Examples, settings: TrainSettings) -> TrainingRows:
    drawn = TrainingRows.of(examples, settings.wanted(examples), settings.rows)
    return drawn.keep(~settings.stopping.held_out(examples)) if settings.stopping else drawn


def _refuse(final: Path, read_from: Sequence[Path]) -> None:
    """Raise an `OutputError` if the output may not take that name."""
    require_folder(final)
    refuse_places([final], read_from)
    if final.exists() and not final.is_dir():
        raise OutputError(f"{final}: is a file, and the output is a folder. Give another name.")
    if final.is_dir() and any(final.iterdir()) and _made_before(final) is None:
        raise OutputError(
            f"{final}: is a folder that eci train did not write. Give another name, or remove it."
        )


def _made_before(folder: Path) -> dict[str, Any] | None:
    """What a folder that `train` made says of itself."""
    try:
        found = json.loads((folder / RESULT).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("schema") == SCHEMA else None


def _replaced(final: Path) -> str:
    """The model that has the name so far, in words; empty if none has."""
    found = _made_before(final)
    if found is None:
        return ""
    model, sources = found.get("model"), found.get("sources")
    name = model.get("name", "a model") if isinstance(model, dict) else "a model"
    on = " and ".join(map(str, sources)) if isinstance(sources, list) and sources else "unknown sources"
    return f"{name} fine-tuned on {on}"


def _started(
    model: Any, settings: TrainSettings, loading: ModelOptions | None, progress: Progress
) -> SentenceTransformerEncoder:
    """The model to start from."""
    import torch

    training = settings.training
    # A model may have parameters that its files lack, which are drawn.
    torch.manual_seed(training.seed)
    if not isinstance(model, str):
        name = str(getattr(model.model_card_data, "base_model", None) or type(model).__name__)
        return SentenceTransformerEncoder(model, name, training.precision)
    progress(f"loading {model}", 0, 0)
    loading = replace(
        loading or ModelOptions(), precision=training.precision, max_seq_length=training.max_seq_length
    )
    start = SentenceTransformerEncoder.load(model, _plainly_attentive(loading))
    if bundled.is_default(start.name):
        start.model.model_card_data.base_model = bundled.REPOSITORY
    return start


def _plainly_attentive(loading: ModelOptions) -> ModelOptions:
    """Without fused attention where its gradient is slower than the plain one's: in bfloat16 on CPUs."""
    from sentence_transformers.util import get_device_name

    device = loading.device or get_device_name()
    reduced = pretrained.resolve_precision(loading.precision, device) == "bfloat16"
    if device != "cpu" or not reduced or loading.model_kwargs is not None:
        return loading
    return replace(loading, model_kwargs={"attn_implementation": "eager"})


def _told(
    rows: Rows,
    examples: Examples,
    drawn: TrainingRows,
    settings: TrainSettings,
    start: SentenceTransformerEncoder,
) -> dict[str, Any]:
    """What is known before the first step, as ``eci.train/1``."""
    described, sources = start.describe(), list(drawn.parts) or [NONE]
    libraries = ("eci", "accelerate", "datasets", "sentence-transformers", "torch", "transformers")
    return {
        "schema": SCHEMA,
        "sources": sources,
        "model": {key: described[key] for key in described if key not in ("versions", "precision")},
        "settings": {
            "sources": sources,
            "hard_negatives": settings.hard_negatives if drawn.parts else 0,
            "training": {**asdict(settings.training), "precision": start.precision},
            "rows": asdict(settings.rows),
            "stopping": asdict(settings.stopping) if settings.stopping else None,
        },
        "rows": results.counts(examples, drawn, settings),
        "data": {"layout": rows.layout, "files": rows.fingerprint(), "texts": _digest(examples)},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
    }


def _digest(examples: Examples) -> str:
    """16 hexadecimal digits of all that rows are drawn from, which may be no file."""
    digest = hashlib.blake2b(digest_size=8)
    for texts in (examples.queries, examples.documents, examples.sources):
        digest.update(json.dumps(texts).encode())
    for lists in (examples.positives, examples.negatives):
        digest.update(lists.values.tobytes() + lists.offsets.tobytes())
    digest.update(examples.source.tobytes() + b"".join(examples.keys))
    return digest.hexdigest()


def _save(model: Any, final: Path, told: dict[str, Any], card: ModelCard) -> None:
    cards.prepare(model, told)
    with atomic_path(final) as temporary:
        with pretrained.quiet():
            model.save_pretrained(str(temporary))
        cards.complete(temporary, told, card)
        text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / RESULT).write_text(text + "\n", encoding="utf-8")
