"""Semantic negatives: the nearest documents by cosine."""

from __future__ import annotations

import sys
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from eci.embedding import encode
from eci.errors import EciError, EncoderError, MissingDependency
from eci.ragged import Ragged
from eci.similarity import lengths, normalise, own_documents, unusable
from eci.task import Ranking, RetrievalTask, unknown
from eci.types import Encoder, Floats, Integers, Progress, Role, Vectors, silent

# Texts given to the encoder at a time, and documents compared at a time on a GPU.
_TEXTS = 1 << 14
_TILE = 1 << 14
_RECALL_QUERIES = 200
_NEIGHBOURS = 32
_EF = 128


@dataclass(frozen=True)
class DenseSettings:
    """How the nearest documents are searched.

    Parameters
    ----------
    search : {"flat", "hnsw", "ivf"}
        ``flat`` compares with every document and is exact. The others are FAISS indices for corpora
        where that takes too long; what they miss is measured (`DenseMiner.recall`).
    device : str, optional
        Where exact search runs: a CUDA device of torch, or ``cpu`` (FAISS). Chosen when None.
    seed : int
        Of the queries that the recall is measured on.
    """

    search: Literal["flat", "hnsw", "ivf"] = "flat"
    device: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.search not in ("flat", "hnsw", "ivf"):
            raise EciError(f"search is 'flat', 'hnsw' or 'ivf', got {self.search!r}.")


class DenseMiner:
    """The documents nearest to each query. Holds D × d float32 and never a similarity for every pair.

    Parameters
    ----------
    task : RetrievalTask
    encoder : Encoder
        Made the vectors, or makes them.
    settings : DenseSettings
    vectors : tuple of ndarray of shape (Q, d) and (D, d), optional
        Of the queries and documents of `task`, in its order, where they are there already.
    progress : Progress

    Raises
    ------
    EncoderError
        Vectors are not finite, have no length, or do not fit the task or each other.
    """

    label = "dense"

    def __init__(
        self,
        task: RetrievalTask,
        encoder: Encoder,
        settings: DenseSettings = DenseSettings(),
        vectors: tuple[Vectors, Vectors] | None = None,
        progress: Progress = silent,
    ) -> None:
        self.task, self.encoder, self.settings, self.progress = task, encoder, settings, progress
        if vectors is None:
            self.queries = _encoded(encoder, task.queries, "query")
            self.documents = _encoded(encoder, task.corpus, "document")
        else:
            self.queries = _fitting(vectors[0], len(task), "queries")
            self.documents = _fitting(vectors[1], len(task.corpus), "documents")
        if self.queries.shape[1] != self.documents.shape[1]:
            raise EncoderError(
                f"Vectors of queries have {self.queries.shape[1]} dimensions, those of documents "
                f"{self.documents.shape[1]}; a cosine needs the same."
            )
        # Encoders and vectors from elsewhere have no fingerprint of their own.
        self._checksum = zlib.crc32(self.documents.data, zlib.crc32(self.queries.data))
        self.index = None if settings.search == "flat" else self._index()

    def describe(self) -> dict[str, Any]:
        """Encoder, a checksum of its vectors, and search."""
        encoder = {"name": type(self.encoder).__name__, **getattr(self.encoder, "describe", dict)()}
        settings = asdict(self.settings)
        told = {"encoder": encoder, "vectors_crc32": f"{self._checksum:08x}"}
        return {"name": "dense", **settings, "device": self._device(), **told}

    def mine(self, queries: Integers, depth: int) -> Ranking:
        """The nearest documents, by cosine; equally near ones in the order of the corpus."""
        found = self._nearest(self.queries[queries], min(depth, len(self.task.corpus)))
        lengths = (found >= 0).sum(axis=1)
        rows = Ragged.from_lengths(found[found >= 0], lengths)
        scores = self._scores(queries, rows)
        order = np.lexsort((rows.values, -scores, rows.rows))
        rows = rows.with_values(rows.values[order])
        return unknown(rows, scores[order], self.task.known.take(queries), self._name())

    def score_positives(self, queries: Integers) -> Ragged:
        """Cosines of the labelled positives."""
        positives = self.task.positives.take(queries)
        return positives.with_values(self._scores(queries, positives))

    def recall(self, depth: int) -> float:
        """Share of the `depth` nearest documents that the index finds, over 200 queries drawn."""
        size = min(_RECALL_QUERIES, len(self.task))
        drawn = np.random.default_rng(self.settings.seed).choice(len(self.task), size, replace=False)
        depth = min(depth, len(self.task.corpus))
        exact = _flat(self.queries[drawn], self.documents, depth)
        found = self._nearest(self.queries[drawn], depth)
        hits = sum(len(np.intersect1d(*pair)) for pair in zip(exact, found, strict=True))
        return hits / exact.size

    def _scores(self, queries: Integers, rows: Ragged) -> Floats:
        # A value must not depend on how many queries were searched beside it, as products of matrices do.
        return own_documents(self.queries[queries], self.documents, rows).values.astype(np.float64)

    def _nearest(self, queries: Vectors, depth: int) -> Integers:
        """Indices of shape (R, depth); -1 where an approximate index finds no more."""
        if self.index is not None:
            return np.asarray(self.index.search(queries, depth)[1])
        if self._device() == "cpu":
            return _flat(queries, self.documents, depth)
        return nearest_by_torch(queries, self.documents, depth, self._device())

    def _index(self) -> Any:
        faiss = _faiss()
        size, dimension = self.documents.shape
        if self.settings.search == "hnsw":
            self.progress("building the HNSW index", 0, 0)
            index = faiss.IndexHNSWFlat(dimension, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = index.hnsw.efSearch = _EF
            threads = faiss.omp_get_max_threads()
            # Several threads would build another graph in every run.
            faiss.omp_set_num_threads(1)
            index.add(self.documents)
            faiss.omp_set_num_threads(threads)
            return index
        self.progress("building the IVF index", 0, 0)
        lists = max(1, min(int(4 * np.sqrt(size)), size // 39))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1  # fewer are told of on stderr
        index.train(self.documents)
        index.add(self.documents)
        index.nprobe = max(1, lists // 16)
        return index

    def _device(self) -> str:
        if self.settings.device is not None:
            return self.settings.device
        # Whoever encodes has loaded it; to ask for a device alone is not worth the seconds.
        torch = sys.modules.get("torch")
        return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"

    def _name(self) -> str:
        return str(self.describe()["encoder"]["name"])


def nearest_by_torch(queries: Vectors, documents: Vectors, depth: int, device: str) -> Integers:
    """Indices of the nearest documents by tiles of documents, of shape (R, depth), best first.

    Parameters
    ----------
    queries, documents : ndarray of shape (R, d) and (D, d)
        L2-normalised.
    depth : int
        At most D.
    device : str
        Of torch. Holds 16,384 documents and their similarities at a time.
    """
    import torch

    asked = torch.from_numpy(queries).to(device)
    best: Any = torch.empty((len(queries), 0), device=device)
    places: Any = torch.empty((len(queries), 0), dtype=torch.int64, device=device)
    for start in range(0, len(documents), _TILE):
        similarity = asked @ torch.from_numpy(documents[start : start + _TILE]).to(device).T
        scores, found = torch.topk(similarity, min(depth, similarity.shape[1]), dim=1)
        scores, found = torch.cat([best, scores], dim=1), torch.cat([places, found + start], dim=1)
        best, chosen = torch.topk(scores, min(depth, scores.shape[1]), dim=1)
        places = torch.gather(found, 1, chosen)
    return np.asarray(places.cpu().numpy())


def _flat(queries: Vectors, documents: Vectors, depth: int) -> Integers:
    faiss = _faiss()
    return np.asarray(faiss.knn(queries, documents, depth, metric=faiss.METRIC_INNER_PRODUCT)[1])


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependency("Dense mining", "faiss-cpu", "mine") from error
    return faiss


def _encoded(encoder: Encoder, texts: Any, role: Role) -> Vectors:
    """Vectors of all texts, encoded in parts that bound what lies beside them in memory."""
    found: Vectors | None = None
    for start in range(0, len(texts), _TEXTS):
        part = slice(start, start + _TEXTS)
        shown = texts[part].to_pylist() if role == "query" else texts.shown(part)
        vectors = encode(encoder, shown, role)
        if found is None:
            found = np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
        found[part] = vectors
    if found is None:
        raise EciError(f"There are no {role} texts to encode.")
    return found


def _fitting(vectors: Vectors, size: int, what: str) -> Vectors:
    if vectors.ndim != 2 or len(vectors) != size:
        raise EncoderError(
            f"The vectors given for the {what} have shape {vectors.shape}; the task has {size:,} {what}, "
            f"so ({size}, d) is expected."
        )
    bad = unusable(vectors)
    if len(bad):
        raise EncoderError(
            f"{len(bad):,} of the vectors given for the {what} are zero or not finite, first number {bad[0]}."
        )
    if vectors.dtype == np.float32 and vectors.flags.c_contiguous and _unit(vectors):
        return vectors
    return normalise(vectors)


def _unit(vectors: Vectors) -> bool:
    """Whether all have length 1, as near as float32 tells."""
    return bool(np.all(np.abs(lengths(vectors) - 1) <= 2 * np.finfo(np.float32).eps))
