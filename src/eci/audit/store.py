"""Vectors of very many texts, each text once, in a file that is read where it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eci.audit.numbering import Numbering
from eci.embedding import encode
from eci.errors import DataError
from eci.spilled import Column, closed, told_if_full
from eci.task import EMPTY
from eci.types import Encoder, Flags, Integers, Role, Vectors

# Tokens that a model puts around a text.
_SPECIAL = 2
# Documents are numbered in 32 bits.
_MOST = 2**31 - 1
# Texts that are tokenized to see whether they are cut; of later ones their words are counted.
_ASKED = 10_000


class VectorFile:
    """Vectors in the order in which they were added, on disk: those of a million need not fit in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: Any = path.open("wb")
        # Zero vectors that wait for the first other one, which tells how long they are.
        self._waiting = 0
        self.count = self.dimension = 0

    def close(self) -> None:
        """Write no more; what was given out stays readable until the file is gone."""
        closed(self._handle)

    def add(self, vectors: Vectors) -> None:
        """Append vectors of shape (n, d)."""
        self.widen(vectors.shape[1])
        self.count += len(vectors)
        with told_if_full():
            self._handle.write(np.ascontiguousarray(vectors, dtype=np.float32).data)

    def add_zeros(self, number: int) -> None:
        """Append so many vectors of zeros."""
        self.count += number
        self._waiting += number
        if self.dimension:
            self.widen(self.dimension)

    def widen(self, dimension: int) -> None:
        """Say how long vectors are."""
        self.dimension = dimension
        with told_if_full():
            self._handle.write(bytes(4 * dimension * self._waiting))
        self._waiting = 0

    def table(self) -> Vectors:
        """All of them, of shape (count, d); d is 0 as long as it is not known."""
        with told_if_full():
            self._handle.flush()
        if not self.count or not self.dimension:
            return np.empty((self.count, self.dimension), dtype=np.float32)
        return np.asarray(np.memmap(self._path, np.float32, "r", shape=(self.count, self.dimension)))


def one_width(*files: VectorFile) -> None:
    """Give files of zeros alone the length of the others' vectors.

    Raises
    ------
    DataError
        No file has any other vector.
    """
    width = max(file.dimension for file in files)
    if not width:
        raise DataError("no query and no document of the rows has text. There is nothing to compare.")
    for file in files:
        file.widen(width)


class Texts:
    """Numbers distinct texts as they come, and embeds each of them once.

    Parameters
    ----------
    encoder : Encoder
    role : {"query", "document"}
    file : VectorFile
    limit : int, optional
        Tokens that the encoder reads; without it no text is asked for its length.

    Attributes
    ----------
    estimated : int
        Texts whose tokens were estimated from their words, for 10,000 others had been tokenized.
    """

    def __init__(self, encoder: Encoder, role: Role, file: VectorFile, limit: int | None = None) -> None:
        self._encoder, self._role, self.file, self._limit = encoder, role, file, limit
        self._numbering, self._digests, self._cut = Numbering(), Column(np.int64), Column(np.bool_)
        # Texts that were tokenized, their words, and their tokens.
        self._words = np.zeros(3, dtype=np.int64)
        self.estimated = 0

    def __len__(self) -> int:
        return len(self._numbering)

    def add(self, digests: Integers, texts: pa.Array) -> Integers:
        """The number of each of n texts, of shape (n,); texts of one digest are one text.

        Raises
        ------
        DataError
            There are more distinct texts than can be numbered.
        """
        numbers, new = self._numbering.add(digests)
        if len(self) > _MOST:
            raise DataError(f"the rows have more than {_MOST:,} distinct texts. Audit them in parts.")
        if len(new):
            self._digests.add(digests[new])
            self._embed(digests[new] == EMPTY, texts.take(pa.array(new)).to_pylist())
        return numbers

    def digests(self) -> Integers:
        """The digest of each distinct text, when all are there."""
        return self._digests.done()

    def cut(self) -> Flags:
        """Which of the distinct texts the encoder does not read to their end, when all are there."""
        return self._cut.done()

    def _embed(self, empty: Flags, texts: list[str]) -> None:
        told = [text for text, nothing in zip(texts, empty.tolist(), strict=True) if not nothing]
        if told:
            found = encode(self._encoder, told, self._role)
            vectors = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
            vectors[~empty] = found
            self.file.add(vectors)
        else:
            self.file.add_zeros(len(texts))
        self._cut.add(self._too_long(texts))

    def _too_long(self, texts: list[str]) -> Flags:
        cut = np.zeros(len(texts), dtype=np.bool_)
        if self._limit is None:
            return cut
        room = self._limit - _SPECIAL
        # Each token has a character, and each word a token: most texts need no tokenizing.
        words = np.array([len(text.split()) if len(text) > room else 0 for text in texts])
        cut[words > room] = True
        asked, told = np.split(
            np.flatnonzero((words > 0) & (words <= room)), [max(0, _ASKED - self._words[0])]
        )
        cut[told] = words[told] * self._words[2] > room * self._words[1]
        self.estimated += len(told)
        if len(asked):
            tokens: list[list[str]] = self._encoder.tokens([texts[place] for place in asked.tolist()])  # type: ignore[attr-defined]
            lengths = np.array([len(row) for row in tokens])
            cut[asked] = lengths > room
            self._words += np.array([len(asked), words[asked].sum(), lengths.sum()])
        return cut


def token_limit(encoder: Encoder) -> int | None:
    """How many tokens an encoder reads of a text, where it tells that and has a tokenizer."""
    described: dict[str, Any] = getattr(encoder, "describe", dict)()
    limit = described.get("max_seq_length") if hasattr(encoder, "tokens") else None
    return int(limit) if isinstance(limit, int | float) and 0 < limit < 2**31 else None
