"""Cross-encoders that sentence-transformers loads: one model reads query and document together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from eci.errors import EncoderError
from eci.models import bundled, pretrained
from eci.models.batching import collected, of_used, planned, text_keys, token_bound, token_lengths
from eci.models.pretrained import Precision
from eci.models.sentence_transformer import ModelOptions
from eci.types import Floats, Integers

_KIND = pretrained.Kind(
    "CrossEncoder",
    "A cross-encoder by name",
    "cross-encoder",
    f"Give a folder, a hub name, or 'late-interaction' for token vectors of the embedded {bundled.NAME}.",
)
# What a checkpoint without a trained scoring layer says it is.
_HEADLESS = ("Model", "ForMaskedLM", "ForPreTraining")
# In a saved configuration, what changes no score.
_INCIDENTAL = ("_name_or_path", "transformers_version", "id2label", "label2id")


class CrossEncoderReranker:
    """A ``CrossEncoder`` with what reranking and the cache need: batches, a precision, a fingerprint.

    Parameters
    ----------
    model : sentence_transformers.CrossEncoder
    name : str
        How results call the model.
    precision : {"auto", "float32", "bfloat16"}
        As in `ModelOptions`. The last layer, which makes the score, is computed in float32 in any case:
        the 8 bits of a bfloat16 score would make many candidates equal.

    Raises
    ------
    EncoderError
        The model gives several numbers a pair.
    """

    def __init__(self, model: Any, name: str, precision: Precision = "auto") -> None:
        if model.num_labels != 1:
            raise EncoderError(
                f"{name} gives {model.num_labels} numbers a pair, a reranker gives one: it classifies pairs. "
                "Use a cross-encoder that was trained with num_labels=1."
            )
        self.model = model
        self.name = name
        self.precision = pretrained.resolve_precision(precision, model.device.type)
        self.weights = pretrained.digest_weights(model)
        self.batch_tokens = token_bound(model.device.type)

    @classmethod
    def load(cls, name: str, options: ModelOptions | None = None) -> CrossEncoderReranker:
        """Load a model by name: a local folder, or a name on the hub.

        Raises
        ------
        EncoderError
            There is no such model, it cannot be loaded or is refused, the hub cannot be reached, or the
            options are for encoders only.
        MissingDependency
            sentence-transformers is not installed.
        """
        options = options or ModelOptions()
        if options.truncate_dim is not None or options.prompts is not None:
            raise EncoderError(
                f"truncate_dim and prompts are options of encoders; {name!r} is loaded as a cross-encoder, "
                "which scores pairs. Leave them out."
            )
        arguments = {
            "device": options.device,
            "revision": options.revision,
            "trust_remote_code": options.trust_remote_code,
            "max_length": options.max_seq_length,
        }
        model = pretrained.load_named(name, _KIND, arguments)
        _refuse_untrained(model, name)
        return cls(model, pretrained.shown_name(name), options.precision)

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str], pairs: Integers) -> Floats:
        """Scores of n pairs, of shape (n,), through the model's own activation function.

        Parameters
        ----------
        queries, documents : sequence of str
        pairs : ndarray of shape (n, 2)
            Index of a query and of a document.

        Raises
        ------
        EncoderError
            A score is not finite; the message names the pair.
        """
        return collected(self.score_batches(queries, documents, pairs), queries, documents, pairs)

    def score_batches(
        self, queries: Sequence[str], documents: Sequence[str], pairs: Integers
    ) -> Iterator[tuple[Integers, Floats]]:
        """Places in `pairs` and the scores of those, batch by batch, the longest pairs first."""
        for batch in self._plan(queries, documents, pairs):
            yield batch, self._predict([[queries[q], documents[d]] for q, d in pairs[batch].tolist()])

    def fingerprint(self) -> bytes:
        """16 bytes that change whenever something changes that changes a score."""
        import torch

        config = getattr(self.model, "config", None)
        settings = config.to_dict() if config is not None else {}
        with torch.inference_mode():
            # Two functions may share a name; what they make of scores tells them apart.
            curve = self.model.activation_fn(torch.linspace(-12, 12, 97)).tolist()
        described = {
            **self.describe(),
            "name": None,
            "versions": None,
            "layers": str(self.model),
            "config": repr(sorted((key, value) for key, value in settings.items() if key not in _INCIDENTAL)),
            "tokenizer": pretrained.tokenizer_rules(self.model.tokenizer),
            "activation": curve,
        }
        return pretrained.digest_of(described)

    def describe(self) -> dict[str, Any]:
        """What a result stores of the reranker."""
        activation = self.model.activation_fn
        kind = activation if hasattr(activation, "__qualname__") else type(activation)
        return {
            "name": self.name,
            "weights_blake2b": self.weights,
            "architecture": type(self.model.model).__name__,
            "activation": f"{kind.__module__}.{kind.__qualname__}",
            "max_seq_length": _limit(self.model),
            "prompt": _prompt(self.model),
            "precision": self.precision,
            "versions": pretrained.versions(),
        }

    def _plan(self, queries: Sequence[str], documents: Sequence[str], pairs: Integers) -> list[Integers]:
        """Batches of places in `pairs`, longest first, each at most `batch_tokens` when padded."""
        tokenizer, limit = self.model.tokenizer, _limit(self.model)

        def lengths(texts: Sequence[str]) -> Integers:
            return token_lengths(tokenizer, texts, limit, special=False)

        added = tokenizer.num_special_tokens_to_add(pair=True) + int(lengths([_prompt(self.model)])[0])
        total = added + of_used(lengths, queries, pairs[:, 0]) + of_used(lengths, documents, pairs[:, 1])
        keys = [of_used(text_keys, queries, pairs[:, 0]), of_used(text_keys, documents, pairs[:, 1])]
        return planned(np.minimum(total, limit or total.max(initial=0)), keys, self.batch_tokens)

    def _predict(self, texts: list[list[str]]) -> Floats:
        import torch

        device = self.model.device.type

        def exactly(layer: Any, inputs: Any, _: Any) -> Any:
            with torch.autocast(device, enabled=False):
                bias = None if layer.bias is None else layer.bias.float()
                return torch.nn.functional.linear(inputs[0].float(), layer.weight.float(), bias)

        with ExitStack() as held:
            held.enter_context(pretrained.autocast(device, self.precision))
            if self.precision != "float32" and (last := _last_layer(self.model)) is not None:
                held.enter_context(last.register_forward_hook(exactly))
            scores = self.model.predict(texts, batch_size=len(texts), show_progress_bar=False)
        return np.asarray(scores, dtype=np.float64)


def _refuse_untrained(model: Any, name: str) -> None:
    """sentence-transformers gives a random scoring layer to a model that was saved without one."""
    saved = (getattr(getattr(model, "config", None), "architectures", None) or [""])[0]
    # Further modules bring a scoring layer of their own; older versions of the library have none.
    modules = len(model) if hasattr(model, "__len__") else 1
    if saved.endswith(_HEADLESS) and modules == 1:
        raise EncoderError(
            f"{name} has no trained scoring layer (it was saved as {saved}): its scores would be random. "
            f"Use a cross-encoder; if it is an encoder, 'late-interaction:{name}' compares its token vectors."
        )


def _last_layer(model: Any) -> Any:
    """The linear layer that makes one number, where there is one."""
    import torch

    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    return next((layer for layer in reversed(layers) if layer.out_features == 1), None)


def _limit(model: Any) -> int | None:
    """Most tokens that are read of a pair."""
    # Older versions of sentence-transformers call it max_length.
    limit = model.max_seq_length if hasattr(model, "max_seq_length") else model.max_length
    return None if limit is None else int(min(limit, 2**31))


def _prompt(model: Any) -> str:
    """What the model puts before each pair."""
    return str((getattr(model, "prompts", None) or {}).get(getattr(model, "default_prompt_name", None)) or "")
