"""What could run code that comes with a model: refused unless a user trusts it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from eci.errors import EncoderError

# Weights that are unpickled, and the names of which one is loaded in their place where it is there.
_PICKLED = {
    "pytorch_model*.bin": ("model.safetensors", "model.safetensors.index.json"),
    "adapter_model.bin": ("adapter_model.safetensors",),
}
# Entries whose values sentence-transformers imports, older versions of it without a question.
_IMPORTED = {"type", "activation_function", "activation_fn", "tokenizer_class"}
_OWN = re.compile(r"(sentence_transformers|torch\.nn)(\.[A-Za-z_]\w*)+")
_MOST_BYTES = 10_000_000


def refuse_untrusted(folder: Path) -> None:
    """Raise an `EncoderError` if loading a model could run code that came with it.

    Parameters
    ----------
    folder : Path
        Of the model, or of its configuration alone.

    Raises
    ------
    EncoderError
        A module is a class of neither sentence-transformers nor torch, lies outside the folder, or has
        weights that are a pickle; the message names the file and what to do.
    """
    for path in _files(folder, "*.json"):
        # A vocabulary: it names no class, and takes long to read.
        if path.name in ("tokenizer.json", "vocab.json"):
            continue
        if path.stat().st_size > _MOST_BYTES:
            raise EncoderError(
                f"{path}: has more than {_MOST_BYTES // 1_000_000} MB, which no configuration has. "
                "Fetch the model again."
            )
        told = _loaded(path)
        for name in _classes(told, path.name):
            if not _OWN.fullmatch(name):
                raise EncoderError(
                    f"{path}: names the class {name[:80]!r}, which is none of sentence-transformers: loading "
                    "it would run code that comes with the model. Look at that code, and pass "
                    "--trust-remote-code (trust_remote_code=True) if you trust it."
                )
        for place in _places(told, path.name):
            if _leads_out(place) or not (folder / place).resolve().is_relative_to(folder.resolve()):
                raise EncoderError(
                    f"{path}: names {place[:80]!r}, which lies outside the folder of the model. "
                    "Correct it, or fetch the model again."
                )
    for pattern, safe in _PICKLED.items():
        for path in _files(folder, pattern):
            if not any((path.parent / name).is_file() for name in safe):
                raise EncoderError(
                    f"{path}: weights in a pickle, which can run code when it is read, and there are none in "
                    "safetensors beside it. Save the model again where you trust it, as safetensors: "
                    "SentenceTransformer(FOLDER).save(NEW), or CrossEncoder; then name NEW."
                )


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    """Those of the model and of its modules; what else lies in the folder is not loaded."""
    yield from sorted(folder.glob(pattern))
    names = folder / "modules.json"
    for entry in _entries(_loaded(names)) if names.is_file() else ():
        place = str(entry.get("path") or "")
        if place and not _leads_out(place):
            yield from sorted((folder / place).rglob(pattern))


def _loaded(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: is no JSON ({error}). Fetch the model again.") from error


def _classes(told: Any, name: str) -> Iterator[str]:
    """Names of classes that a configuration has sentence-transformers import."""
    if name == "modules.json":
        yield from (str(entry.get("type")) for entry in _entries(told))
    elif isinstance(told, dict):
        types = told.get("types")
        if name == "router_config.json" and isinstance(types, dict):
            yield from map(str, types.values())
        for holder in (told, told.get("sentence_transformers")):
            if isinstance(holder, dict):
                # Names without a point are those of functions that transformers knows.
                yield from (value for key, value in holder.items() if key in _IMPORTED and "." in str(value))


def _places(told: Any, name: str) -> Iterator[str]:
    if name == "modules.json":
        yield from (str(entry.get("path", "")) for entry in _entries(told))
    elif name == "router_config.json" and isinstance(told, dict) and isinstance(told.get("types"), dict):
        yield from map(str, told["types"])


def _entries(told: Any) -> list[dict[str, Any]]:
    return [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []


def _leads_out(place: str) -> bool:
    kinds = (PurePosixPath(place), PureWindowsPath(place))
    return "\0" in place or any(path.is_absolute() or ".." in path.parts for path in kinds)
