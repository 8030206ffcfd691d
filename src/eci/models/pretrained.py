"""What all models that sentence-transformers loads share: finding them, precision, what identifies them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from eci.errors import EncoderError, MissingDependency
from eci.models.trusted import refuse_untrusted

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Kind:
    """A kind of model, and how to speak of it.

    Parameters
    ----------
    constructor : str
        Its name in ``sentence_transformers``.
    what : str
        What a user asks for: ``"An encoder by name"``.
    organisation : str
        Where the hub keeps the models that are named without an organisation.
    hint : str
        What to give when a name is no model.
    """

    constructor: str
    what: str
    organisation: str
    hint: str


def load_named(name: str, kind: Kind, arguments: dict[str, Any]) -> Any:
    """Load a model from a folder, or from the hub, which is asked one quick question first.

    Raises
    ------
    EncoderError
        There is no such model, it cannot be loaded, or the hub cannot be reached.
    MissingDependency
        sentence-transformers is not installed.
    """
    if not name.strip():
        # A path would take it for the folder of the process.
        raise EncoderError(f"The name of a model is empty. {kind.hint}")
    if Path(name).is_dir():
        return _load(name, kind, arguments)
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
    except ImportError as error:
        raise MissingDependency(kind.what, "sentence-transformers", "encode") from error
    try:
        return _load(name, kind, {**arguments, "local_files_only": True})
    except EncoderError:
        repository = name if "/" in name else f"{kind.organisation}/{name}"
        try:
            # Loading would retry for a minute where no hub is.
            HfApi().model_info(repository, revision=arguments.get("revision"), timeout=10)
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise EncoderError(
                f"There is no model {name!r}: neither a folder here nor on the hub. {kind.hint}"
            ) from error
        except HfHubHTTPError as error:
            raise EncoderError(f"The hub refused {name!r}: {_first_line(error)}. {kind.hint}") from error
        except Exception as error:
            raise EncoderError(
                f"{name!r} is no folder here and not in the hub's local cache, and the hub cannot be reached "
                f"({type(error).__name__}: {_first_line(error)}). {kind.hint}"
            ) from error
    return _load(name, kind, arguments)


def shown_name(name: str) -> str:
    """How results call a model that is loaded by `name`: a folder by its last part."""
    return Path(name).name if Path(name).is_dir() else name


def resolve_precision(precision: Precision, device: str) -> Literal["float32", "bfloat16"]:
    """What ``auto`` means on a device; `device` as in ``torch.device.type``."""
    if precision != "auto":
        return precision
    import torch

    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if device == "cpu" and _cpu_computes_bfloat16() else "float32"


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """Automatic mixed precision where `precision` is bfloat16."""
    import torch

    if precision == "float32":
        return nullcontext()
    context: AbstractContextManager[Any] = torch.autocast(device, dtype=torch.bfloat16)
    return context


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of transformers, which shows one for each file of weights, and no warnings.

    One of these lists weights that do not fit: of a model that is cut to its first layers, all the others.
    A user who asked transformers for more than warnings goes on getting it.
    """
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.ERROR if verbosity == logging.WARNING else verbosity)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def digest_weights(model: Any) -> str:
    """A digest of all parameters and buffers of a ``torch.nn.Module``."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    state: Iterable[tuple[str, Any]] = sorted(model.state_dict().items())
    for name, tensor in state:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tokenizer_rules(tokenizer: Any) -> Any:
    """How a tokenizer cuts texts, as JSON values where it tells."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        return repr(tokenizer)
    rules = json.loads(backend.to_str())
    # Set by whatever was encoded last; the limit that counts is max_seq_length.
    return {name: rule for name, rule in rules.items() if name not in ("truncation", "padding")}


def digest_of(described: dict[str, Any]) -> bytes:
    """16 bytes that change with any of the values."""
    return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).digest()


def versions() -> dict[str, str]:
    """Versions of the libraries that compute."""
    return {name: version(name) for name in ("sentence-transformers", "transformers", "torch")}


def _load(path: str, kind: Kind, arguments: dict[str, Any]) -> Any:
    try:
        import sentence_transformers
    except ImportError as error:
        raise MissingDependency(kind.what, "sentence-transformers", "encode") from error
    _refuse_absent(arguments.get("device"))
    if not arguments.get("trust_remote_code"):
        arguments = _wary(path, kind, arguments)
    try:
        with quiet():
            return getattr(sentence_transformers, kind.constructor)(path, **arguments)
    except Exception as error:
        raise EncoderError(
            f"The model {path!r} cannot be loaded ({type(error).__name__}: {_first_line(error)}). "
            "Expected a folder or a hub name that sentence-transformers can load."
        ) from error


def _wary(path: str, kind: Kind, arguments: dict[str, Any]) -> dict[str, Any]:
    """What to load a model with that is not trusted, once its configuration has been looked at.

    Raises
    ------
    EncoderError
        Loading it could run code that comes with it.
    """
    from huggingface_hub import snapshot_download

    folder = Path(path)
    if not folder.is_dir():
        repository = path if "/" in path else f"{kind.organisation}/{path}"
        try:
            folder = Path(
                snapshot_download(
                    repository,
                    revision=arguments.get("revision"),
                    allow_patterns=["*.json"],
                    local_files_only=arguments.get("local_files_only", False),
                )
            )
        except Exception:  # noqa: BLE001  what is not there cannot be loaded either, which is told below
            folder = Path()
    if folder.name:
        refuse_untrusted(folder)
    return {**arguments, "model_kwargs": {**(arguments.get("model_kwargs") or {}), "use_safetensors": True}}


def _refuse_absent(device: str | None) -> None:
    """Raise an `EncoderError` if torch has no such device here."""
    import torch

    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EncoderError(
            f"The device {device!r} cannot be used: {_first_line(error)}. Give another, or leave it out."
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no details")


def _cpu_computes_bfloat16() -> bool:
    """AVX512-BF16 or AMX, as torch reports them; without a report, no."""
    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
