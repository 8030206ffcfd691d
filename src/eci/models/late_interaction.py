"""Late interaction: every token of a query looks for its nearest token of a document (MaxSim).

The score of ColBERT (Khattab & Zaharia 2020, equation 3) is a sum over the tokens of the query; here it
is their mean, so that it is a cosine, -1…1, whatever the length of the query. The order of the documents
of a query is the same.

As in ColBERT, the tokens that the tokenizer adds at both ends take part and padding does not. What ColBERT
learns in training has no place in an encoder that was trained to be pooled: there are no marker tokens,
queries are not filled up with masks, vectors are not projected, and punctuation takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eci.errors import EncoderError
from eci.models import bundled, pretrained
from eci.models.batching import collected
from eci.models.sentence_transformer import ModelOptions, SentenceTransformerEncoder
from eci.ragged import Ragged
from eci.types import Floats, Integers

# Query tokens that are compared with a document at once.
_TOKENS_AT_ONCE = 1 << 14


class LateInteractionReranker:
    """MaxSim over the token vectors of an encoder.

    In memory are the token vectors of all queries of a call (float16 where the encoder computes in
    bfloat16: 768 bytes a token at 384 dimensions) and those of one batch of documents.

    Parameters
    ----------
    encoder : SentenceTransformerEncoder

    Raises
    ------
    EncoderError
        The encoder gives no token vectors.
    """

    def __init__(self, encoder: SentenceTransformerEncoder) -> None:
        self.encoder = encoder
        self.name = f"late-interaction:{encoder.name}"
        for function in (encoder.model.encode_query, encoder.model.encode_document):
            self._refuse_without_tokens(function)

    @classmethod
    def load(cls, name: str = bundled.NAME, options: ModelOptions | None = None) -> LateInteractionReranker:
        """MaxSim over an encoder that is loaded by name, as `SentenceTransformerEncoder.load` does.

        Raises
        ------
        EncoderError
            There is no such model, it cannot be loaded, or it gives no token vectors.
        MissingDependency
            sentence-transformers is not installed.
        """
        if options is not None and options.truncate_dim is not None:
            raise EncoderError(
                "truncate_dim shortens vectors of texts; late interaction compares vectors of tokens. "
                "Leave it out."
            )
        return cls(SentenceTransformerEncoder.load(name, options))

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str], pairs: Integers) -> Floats:
        """Scores of n pairs, -1…1, of shape (n,).

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
        """Places in `pairs` and the scores of those; each batch has some documents with all their queries."""
        asked, query = np.unique(pairs[:, 0], return_inverse=True)
        wanted, document = np.unique(pairs[:, 1], return_inverse=True)
        tokens = self._query_tokens([queries[place] for place in asked.tolist()])
        # Row i holds the places of the pairs of document i.
        places = Ragged.from_lengths(np.argsort(document, kind="stable"), np.bincount(document))
        texts = [documents[place] for place in wanted.tolist()]
        for batch in self.encoder.plan(texts):
            vectors = self._token_vectors(
                self.encoder.model.encode_document, [texts[i] for i in batch.tolist()]
            )
            chosen = places.take(batch)
            yield chosen.values, tokens.scores(vectors, chosen.with_values(query[chosen.values]))

    def fingerprint(self) -> bytes:
        """16 bytes that change whenever something changes that changes a score."""
        encoder = [self.encoder.fingerprint(role).hex() for role in ("query", "document")]
        return pretrained.digest_of({"score": "mean MaxSim, all tokens", "encoder": encoder})

    def describe(self) -> dict[str, Any]:
        """What a result stores of the reranker."""
        return {
            **self.encoder.describe(),
            "name": self.name,
            "score": "mean over the query's tokens of the largest cosine with a token of the document",
        }

    def _query_tokens(self, texts: list[str]) -> _QueryTokens:
        import torch

        kept = torch.float32 if self.encoder.precision == "float32" else torch.float16
        vectors: list[Any] = [None] * len(texts)
        for batch in self.encoder.plan(texts):
            found = self._token_vectors(self.encoder.model.encode_query, [texts[i] for i in batch.tolist()])
            for place, own in zip(batch.tolist(), found, strict=True):
                vectors[place] = own.to(kept)
        lengths = [len(own) for own in vectors]
        together = torch.cat(vectors) if vectors else torch.empty((0, 0))
        return _QueryTokens(together, Ragged.from_lengths(np.arange(sum(lengths)), lengths))

    def _token_vectors(self, function: Callable[..., Any], texts: list[str]) -> list[Any]:
        """A tensor of shape (tokens, d) for each text: L2-normalised float32, without padding."""
        import torch

        device = self.encoder.model.device.type
        with pretrained.autocast(device, self.encoder.precision):
            # token_embeddings alone would keep the padding of models that pad on the left.
            features = function(texts, batch_size=len(texts), show_progress_bar=False, output_value=None)
        with torch.inference_mode():
            vectors = torch.stack([each["token_embeddings"] for each in features]).float()
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
            return [own[each["attention_mask"].bool()] for own, each in zip(vectors, features, strict=True)]

    def _refuse_without_tokens(self, function: Callable[..., Any]) -> None:
        features = function(["text"], show_progress_bar=False, output_value=None)[0]
        if "token_embeddings" not in features or "attention_mask" not in features:
            modules = " + ".join(type(module).__name__ for module in self.encoder.model)
            raise EncoderError(
                f"{self.encoder.name} ({modules}) gives no vectors of tokens, which late interaction "
                "compares. Use a model of a transformer and a pooling module."
            )


@dataclass(frozen=True)
class _QueryTokens:
    """Token vectors of Q queries.

    Parameters
    ----------
    vectors : Tensor of shape (T, d)
        L2-normalised.
    rows : Ragged of Q rows
        Indices into `vectors`.
    """

    vectors: Any
    rows: Ragged

    def scores(self, documents: list[Any], queries: Ragged) -> Floats:
        """Scores of documents with their queries, of shape (n,).

        Parameters
        ----------
        documents : list of Tensors of shape (tokens, d)
            L2-normalised.
        queries : Ragged with a row for each document
            Its queries; n in all.
        """
        import torch

        best = []
        with torch.inference_mode():
            for number, document in enumerate(documents):
                tokens = torch.from_numpy(self.rows.take(queries[number]).values)
                for part in tokens.split(_TOKENS_AT_ONCE):
                    similarity = self.vectors[part.to(self.vectors.device)].float() @ document.T
                    # Nothing is nearest where there is nothing; the caller refuses such a pair.
                    nothing = similarity.new_full((len(part),), torch.nan)
                    best.append(similarity.amax(dim=1) if len(document) else nothing)
            largest = torch.cat(best).cpu().numpy()
        return Ragged.from_lengths(largest, self.rows.lengths[queries.values]).means()
