"""Encoders that sentence-transformers loads, in batches bounded by tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eci.errors import EncoderError
from eci.models import bundled, pretrained
from eci.models.batching import planned, text_keys, token_bound, token_lengths
from eci.models.pretrained import Precision
from eci.types import Integers, Role, Vectors

_KIND = pretrained.Kind(
    "SentenceTransformer",
    "An encoder by name",
    "sentence-transformers",
    f"Give a folder, a hub name, or {bundled.NAME}, which is embedded.",
)


@dataclass(frozen=True)
class ModelOptions:
    """How to load a model: sentence-transformers' own arguments, and the precision.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        ``auto`` is bfloat16 on GPUs and CPUs that compute in it, else float32. bfloat16 is automatic
        mixed precision: weights, sums and similarities stay float32.
    device, revision, truncate_dim, trust_remote_code, prompts, config_kwargs, model_kwargs
        As in ``sentence_transformers.SentenceTransformer``: ``config_kwargs={"num_hidden_layers": 3}`` keeps
        the first layers of a model.
    max_seq_length : int, optional
        Tokens read of each text; the model's own limit when None.
    """

    precision: Precision = "auto"
    device: str | None = None
    revision: str | None = None
    truncate_dim: int | None = None
    trust_remote_code: bool = False
    prompts: dict[str, str] | None = None
    config_kwargs: dict[str, Any] | None = None
    model_kwargs: dict[str, Any] | None = None
    max_seq_length: int | None = None


class SentenceTransformerEncoder:
    """A ``SentenceTransformer`` with what scoring and the cache need: a plan, a precision, a fingerprint.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
    name : str
        How results call the model.
    precision : {"auto", "float32", "bfloat16"}
    changes : mapping, optional
        What was loaded otherwise than the model's own configuration says.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        precision: Precision = "auto",
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        if model.similarity_fn_name not in (None, "cosine", "dot"):
            raise EncoderError(
                f"{name} compares by {model.similarity_fn_name!r}; metrics here are cosines. "
                "Use a model whose similarity function is cosine or dot."
            )
        self.model = model
        self.name = name
        self.precision = pretrained.resolve_precision(precision, model.device.type)
        self.weights = pretrained.digest_weights(model)
        self.changes = dict(changes or {})
        self.batch_tokens = token_bound(model.device.type)

    @classmethod
    def load(
        cls, name: str = bundled.NAME, options: ModelOptions | None = None
    ) -> SentenceTransformerEncoder:
        """Load a model by name: a local folder, the embedded default, or a name on the hub.

        Raises
        ------
        EncoderError
            There is no such model, it cannot be loaded, has no limit of tokens to set, or the hub cannot be
            reached.
        MissingDependency
            sentence-transformers is not installed.
        """
        options = options or ModelOptions()
        arguments = {
            key: value
            for key, value in asdict(options).items()
            if key not in ("precision", "max_seq_length") and value is not None
        }
        default = bundled.is_default(name) and options.revision is None
        model = pretrained.load_named(str(bundled.find()) if default else name, _KIND, arguments)
        if options.max_seq_length is not None:
            limit_tokens(model, options.max_seq_length)
        changes = {key: value for key, value in arguments.items() if key in ("config_kwargs", "model_kwargs")}
        shown = bundled.NAME if default else pretrained.shown_name(name)
        return cls(model, shown, options.precision, changes)

    def plan(self, texts: Sequence[str]) -> list[Integers]:
        """Batches of indices into `texts`: longest first, each at most `batch_tokens` when padded."""
        lengths = token_lengths(self._tokenizer, texts, self.model.max_seq_length)
        return planned(lengths, [text_keys(texts)], self.batch_tokens)

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, of shape (n, d), float32, not yet normalised."""
        return self._encode(self.model.encode_query, texts)

    def encode_document(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents, of shape (n, d), float32, not yet normalised."""
        return self._encode(self.model.encode_document, texts)

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The pieces that the model's tokenizer makes of each text, without special tokens or a limit.

        Raises
        ------
        EncoderError
            The model has no tokenizer.
        """
        if self._tokenizer is None:
            raise EncoderError(f"{self.name} has no tokenizer of its own. Use another tokenizer.")
        return [self._tokenizer.tokenize(text, verbose=False) for text in texts]

    def fingerprint(self, role: Role) -> bytes:
        """16 bytes that change whenever something changes that changes a vector."""
        shared = not any(self.model.prompts.values()) and not self._routes
        described = {
            **self.describe(),
            "name": None,
            "versions": None,
            "role": None if shared else role,
            "tokenizer": pretrained.tokenizer_rules(self._tokenizer),
        }
        return pretrained.digest_of(described)

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
            "versions": pretrained.versions(),
            **self.changes,
        }

    @property
    def _tokenizer(self) -> Any:
        return getattr(self.model, "tokenizer", None)

    @property
    def _routes(self) -> bool:
        return any(type(module).__name__ in ("Router", "Asym") for module in self.model)

    def _encode(self, function: Callable[..., Any], texts: Sequence[str]) -> Vectors:
        with pretrained.autocast(self.model.device.type, self.precision):
            vectors = function(list(texts), batch_size=max(1, len(texts)), show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def limit_tokens(model: Any, limit: int) -> None:
    """Let a ``SentenceTransformer`` read at most so many tokens of each text.

    Raises
    ------
    EncoderError
        It reads texts whole, and cannot be limited.
    """
    try:
        model.max_seq_length = limit
    except AttributeError as error:
        raise EncoderError(
            f"{type(model[0]).__name__}, on which the model is built, reads texts whole: it has no limit of "
            f"tokens to set to {limit}. Leave out --max-seq-length (max_seq_length)."
        ) from error


def _dimension(model: Any) -> int:
    ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
    return int(ask())
