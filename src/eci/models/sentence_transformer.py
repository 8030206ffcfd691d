"""Encoders that sentence-transformers loads, in batches bounded by tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eci.errors import EncoderError, MissingDependency
from eci.models import bundled
from eci.types import Integers, Role, Vectors

Precision = Literal["auto", "float32", "bfloat16"]

_CPU_TOKENS = 2048
_GPU_TOKENS = 65_536
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class ModelOptions:
    """How to load a model: sentence-transformers' own arguments, and the precision.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        ``auto`` is bfloat16 on GPUs and CPUs that compute in it, else float32. bfloat16 is automatic
        mixed precision: weights, sums and similarities stay float32.
    device, revision, truncate_dim, trust_remote_code, prompts
        As in ``sentence_transformers.SentenceTransformer``.
    max_seq_length : int, optional
        Tokens read of each text; the model's own limit when None.
    """

    precision: Precision = "auto"
    device: str | None = None
    revision: str | None = None
    truncate_dim: int | None = None
    trust_remote_code: bool = False
    prompts: dict[str, str] | None = None
    max_seq_length: int | None = None


class SentenceTransformerEncoder:
    """A ``SentenceTransformer`` with what scoring and the cache need: a plan, a precision, a fingerprint.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
    name : str
        How results call the model.
    precision : {"auto", "float32", "bfloat16"}
    """

    def __init__(self, model: Any, name: str, precision: Precision = "auto") -> None:
        if model.similarity_fn_name not in (None, "cosine", "dot"):
            raise EncoderError(
                f"{name} compares by {model.similarity_fn_name!r}; metrics here are cosines. "
                "Use a model whose similarity function is cosine or dot."
            )
        self.model = model
        self.name = name
        self.precision = _resolve(precision, model.device.type)
        self.weights = _digest_weights(model)
        self.batch_tokens = _CPU_TOKENS if model.device.type == "cpu" else _GPU_TOKENS

    @classmethod
    def load(
        cls, name: str = bundled.NAME, options: ModelOptions | None = None
    ) -> SentenceTransformerEncoder:
        """Load a model by name: a local folder, the embedded default, or a name on the hub.

        Raises
        ------
        EncoderError
            There is no such model, it cannot be loaded, or the hub cannot be reached.
        MissingDependency
            sentence-transformers is not installed.
        """
        options = options or ModelOptions()
        arguments = {
            key: value
            for key, value in asdict(options).items()
            if key not in ("precision", "max_seq_length") and value is not None
        }
        if bundled.is_default(name) and options.revision is None:
            model, name = _load(str(bundled.find()), arguments), bundled.NAME
        elif Path(name).is_dir():
            model = _load(name, arguments)
        else:
            model = _load_from_hub(name, arguments)
        if options.max_seq_length is not None:
            model.max_seq_length = options.max_seq_length
        return cls(model, Path(name).name if Path(name).is_dir() else name, options.precision)

    def plan(self, texts: Sequence[str]) -> list[Integers]:
        """Batches of indices into `texts`: longest first, each at most `batch_tokens` when padded.

        The batches after any batch do not depend on the ones before it, so a run that goes on after
        a kill makes the very batches that the first run would have made.
        """
        lengths = self._lengths(texts)
        digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
        order = sorted(range(len(texts)), key=lambda place: (-lengths[place], digests[place]))
        batches, start = [], 0
        while start < len(order):
            size = max(1, self.batch_tokens // max(1, lengths[order[start]]))
            batches.append(np.array(order[start : start + size], dtype=np.int64))
            start += size
        return batches

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, of shape (n, d), float32, not yet normalised."""
        return self._encode(self.model.encode_query, texts)

    def encode_document(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents, of shape (n, d), float32, not yet normalised."""
        return self._encode(self.model.encode_document, texts)

    def fingerprint(self, role: Role) -> bytes:
        """16 bytes that change whenever something changes that changes a vector."""
        shared = not any(self.model.prompts.values()) and not self._routes
        described = {
            **self.describe(),
            "name": None,
            "versions": None,
            "role": None if shared else role,
            "tokenizer": _tokenizer_rules(self._tokenizer),
        }
        return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).digest()

    def describe(self) -> dict[str, Any]:
        """What a result stores of the encoder."""
        return {
            "name": self.name,
            "weights_blake2b": self.weights,
            "architecture": str(self.model),
            "dimension": _dimension(self.model),
            "max_seq_length": self.model.max_seq_length,
            "prompts": dict(self.model.prompts),
            "default_prompt_name": self.model.default_prompt_name,
            "truncate_dim": self.model.truncate_dim,
            "precision": self.precision,
            "versions": {name: version(name) for name in ("sentence-transformers", "transformers", "torch")},
        }

    @property
    def _tokenizer(self) -> Any:
        return getattr(self.model, "tokenizer", None)

    @property
    def _routes(self) -> bool:
        return any(type(module).__name__ in ("Router", "Asym") for module in self.model)

    def _encode(self, function: Callable[..., Any], texts: Sequence[str]) -> Vectors:
        with self._autocast():
            vectors = function(list(texts), batch_size=max(1, len(texts)), show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        if self.precision == "float32":
            return nullcontext()
        context: AbstractContextManager[Any] = torch.autocast(self.model.device.type, dtype=torch.bfloat16)
        return context

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        limit = self.model.max_seq_length or 2**31
        # Words beyond the limit are never read; their characters need no tokenizing to be counted.
        cut = [text[: 64 * limit] for text in texts]
        if callable(self._tokenizer):
            found = self._tokenizer(cut, add_special_tokens=True, truncation=False, verbose=False)
            return [min(limit, len(numbers)) for numbers in found["input_ids"]]
        return [min(limit, 1 + len(text) // _CHARACTERS_PER_TOKEN) for text in texts]


def _load(path: str, arguments: dict[str, Any]) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise MissingDependency("An encoder by name", "sentence-transformers", "encode") from error
    shows_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return SentenceTransformer(path, **arguments)
    except Exception as error:
        raise EncoderError(
            f"The model {path!r} cannot be loaded ({type(error).__name__}: {_first_line(error)}). "
            "Expected a folder or a hub name that sentence-transformers can load."
        ) from error
    finally:
        if shows_bars:
            logging.enable_progress_bar()


def _load_from_hub(name: str, arguments: dict[str, Any]) -> Any:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
    except ImportError as error:
        raise MissingDependency("An encoder by name", "sentence-transformers", "encode") from error
    try:
        return _load(name, {**arguments, "local_files_only": True})
    except EncoderError:
        repository = name if "/" in name else f"sentence-transformers/{name}"
        hint = f"Give a folder, a hub name, or leave --encoder out for the embedded {bundled.NAME}."
        try:
            # One quick question first: loading would retry for a minute where no hub is.
            HfApi().model_info(repository, revision=arguments.get("revision"), timeout=10)
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise EncoderError(
                f"There is no model {name!r}: neither a folder here nor on the hub. {hint}"
            ) from error
        except HfHubHTTPError as error:
            raise EncoderError(f"The hub refused {name!r}: {_first_line(error)}. {hint}") from error
        except Exception as error:
            raise EncoderError(
                f"{name!r} is no folder here and not in the hub's local cache, and the hub cannot be reached "
                f"({type(error).__name__}: {_first_line(error)}). {hint}"
            ) from error
    return _load(name, arguments)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no details")


def _resolve(precision: Precision, device: str) -> Literal["float32", "bfloat16"]:
    if precision != "auto":
        return precision
    import torch

    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if device == "cpu" and _cpu_computes_bfloat16() else "float32"


def _cpu_computes_bfloat16() -> bool:
    """AVX512-BF16 or AMX, as torch reports them; without a report, no."""
    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _dimension(model: Any) -> int:
    ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
    return int(ask())


def _tokenizer_rules(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        return repr(tokenizer)
    rules = json.loads(backend.to_str())
    # Set by whatever was encoded last; the limit that counts is max_seq_length.
    return {name: rule for name, rule in rules.items() if name not in ("truncation", "padding")}


def _digest_weights(model: Any) -> str:
    import torch

    digest = hashlib.blake2b(digest_size=16)
    state: Iterable[tuple[str, Any]] = sorted(model.state_dict().items())
    for name, tensor in state:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
