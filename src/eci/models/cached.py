"""Encoders and rerankers that look into the cache first and compute only what is not there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from eci.embedding import refuse_unusable
from eci.models.batching import refuse_unusable_scores
from eci.models.cache import EmbeddingCache
from eci.types import Floats, Integers, Progress, Role, Vectors, silent


class PlannedEncoder(Protocol):
    """An encoder that can be cached: it says how to batch texts, and what its vectors depend on."""

    def plan(self, texts: Sequence[str], /) -> list[Integers]:
        """Batches of indices into `texts`."""
        ...

    def fingerprint(self, role: Role, /) -> bytes:
        """16 bytes that change whenever a vector would."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a result stores of the encoder."""
        ...

    def tokens(self, texts: Sequence[str], /) -> list[list[str]]:
        """Tokens of each text."""
        ...

    def encode_query(self, texts: Sequence[str], /) -> Vectors:
        """Vectors of queries, of shape (n, d)."""
        ...

    def encode_document(self, texts: Sequence[str], /) -> Vectors:
        """Vectors of documents, of shape (n, d)."""
        ...


class PlannedReranker(Protocol):
    """A reranker that can be cached: it gives scores as they become ready, and says what they depend on."""

    def fingerprint(self) -> bytes:
        """16 bytes that change whenever a score would."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a result stores of the reranker."""
        ...

    def score_batches(
        self, queries: Sequence[str], documents: Sequence[str], pairs: Integers, /
    ) -> Iterator[tuple[Integers, Floats]]:
        """Batch by batch, places in `pairs` and the scores of those; each place once.

        Arguments as in `eci.task.Reranker.score_pairs`.
        """
        ...


class CachedEncoder:
    """An encoder that looks into the cache first and encodes each distinct text once.

    Parameters
    ----------
    encoder : PlannedEncoder
    cache : EmbeddingCache
    progress : Progress
        Told of every batch.
    """

    def __init__(self, encoder: PlannedEncoder, cache: EmbeddingCache, progress: Progress = silent) -> None:
        self.encoder = encoder
        self.cache = cache
        self.progress = progress
        self.hits = 0
        self.encoded = 0

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, of shape (n, d), float32."""
        return self._encode(texts, "query")

    def encode_document(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents, of shape (n, d), float32."""
        return self._encode(texts, "document")

    def describe(self) -> dict[str, Any]:
        """What a result stores of the encoder."""
        return self.encoder.describe()

    def identity(self) -> str:
        """A digest that changes whenever a vector would."""
        roles: tuple[Role, ...] = ("query", "document")
        return "".join(self.encoder.fingerprint(role).hex() for role in roles)

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """Tokens of the encoder's own tokenizer."""
        return self.encoder.tokens(texts)

    def _encode(self, texts: Sequence[str], role: Role) -> Vectors:
        digests, first, rows = _distinct(_digest(text) for text in texts)

        def encoded(missing: Integers) -> Iterator[tuple[Integers, Vectors]]:
            asked = [texts[place] for place in first[missing].tolist()]
            function = self.encoder.encode_query if role == "query" else self.encoder.encode_document
            for batch in self.encoder.plan(asked):
                chosen = [asked[place] for place in batch.tolist()]
                vectors = function(chosen)
                refuse_unusable(vectors, chosen)
                yield batch, vectors
                self.encoded += len(batch)

        store = _Store(self.cache, self.encoder.fingerprint(role), {**self.encoder.describe(), "role": role})
        vectors, kept = store.completed(digests, encoded, f"embedding {role} texts", self.progress)
        self.hits += kept
        return vectors if len(digests) == len(rows) else vectors[rows]


class CachedReranker:
    """A reranker that looks into the cache first and scores each distinct pair of texts once.

    Parameters
    ----------
    reranker : PlannedReranker
    cache : EmbeddingCache
    progress : Progress
        Told of every batch.
    """

    def __init__(self, reranker: PlannedReranker, cache: EmbeddingCache, progress: Progress = silent) -> None:
        self.reranker = reranker
        self.cache = cache
        self.progress = progress
        self.hits = 0
        self.scored = 0

    def describe(self) -> dict[str, Any]:
        """What a result stores of the reranker."""
        return self.reranker.describe()

    def identity(self) -> str:
        """A digest that changes whenever a score would."""
        return self.reranker.fingerprint().hex()

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str], pairs: Integers) -> Floats:
        """Scores of n pairs, of shape (n,), as float32 holds them.

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
        digests, first, rows = _distinct(_pair_digests(queries, documents, pairs))

        def scored(missing: Integers) -> Iterator[tuple[Integers, Vectors]]:
            asked = pairs[first[missing]]
            for batch, found in self.reranker.score_batches(queries, documents, asked):
                refuse_unusable_scores(found, queries, documents, asked[batch])
                yield batch, found[:, None].astype(np.float32)
                self.scored += len(batch)

        described = {**self.reranker.describe(), "role": "pair", "dimension": 1}
        store = _Store(self.cache, self.reranker.fingerprint(), described)
        scores, kept = store.completed(digests, scored, "reranking pairs", self.progress)
        self.hits += kept
        return scores.ravel()[rows].astype(np.float64)


@dataclass(frozen=True)
class _Store:
    """What the cache holds of one model, and how `info` is to describe that."""

    cache: EmbeddingCache
    fingerprint: bytes
    described: dict[str, Any]

    def completed(
        self,
        digests: list[bytes],
        compute: Callable[[Integers], Iterable[tuple[Integers, Vectors]]],
        stage: str,
        progress: Progress,
    ) -> tuple[Vectors, int]:
        """Vectors of n digests, of shape (n, d), and how many were there already.

        `compute` is given the places in `digests` that are missing, and gives batch by batch indices
        into these places and the vectors of those. Each batch is kept before the next one is asked for.
        """
        found, vectors = self.cache.get(self.fingerprint, digests)
        missing = np.flatnonzero(~found)
        kept, done = len(digests) - len(missing), 0
        if len(missing):
            self.cache.register(self.fingerprint, self.described)
            stage += f" ({kept:,} more are cached)" if kept else ""
            progress(stage, 0, len(missing))
            for batch, made in compute(missing):
                places = missing[batch]
                self.cache.put(self.fingerprint, [digests[place] for place in places.tolist()], made)
                if not vectors.shape[1]:
                    vectors = np.empty((len(digests), made.shape[1]), dtype=np.float32)
                vectors[places] = made
                done += len(batch)
                progress(stage, done, len(missing))
        return vectors, kept


def _distinct(digests: Iterable[bytes]) -> tuple[list[bytes], Integers, Integers]:
    """Each digest once, where each is first, and which of them each of the n is."""
    place: dict[bytes, int] = {}
    rows = np.array([place.setdefault(digest, len(place)) for digest in digests], dtype=np.int64)
    return list(place), np.unique(rows, return_index=True)[1], rows


def _pair_digests(queries: Sequence[str], documents: Sequence[str], pairs: Integers) -> Iterator[bytes]:
    asked = {place: _digest(queries[place]) for place in np.unique(pairs[:, 0]).tolist()}
    held = {place: _digest(documents[place]) for place in np.unique(pairs[:, 1]).tolist()}
    for query, document in pairs.tolist():
        yield hashlib.blake2b(asked[query] + held[document], digest_size=16).digest()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
