"""Passages of a corpus that queries are written for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.collection import Collection, beside, refuse_rows
from eci.errors import DataError, EciError
from eci.generating.samples import Sample, printable
from eci.task import EMPTY, Corpus, numbers_of, text_digests


@dataclass(frozen=True)
class Passages:
    """Passages to write queries for, as samples without a query.

    Parameters
    ----------
    corpus : Corpus
    limit : int, optional
        So many passages, drawn by the seed and their ids; a larger limit has those of a smaller one.
    seed : int
    """

    corpus: Corpus
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise EciError(f"limit must be at least 1, got {self.limit}.")

    @cached_property
    def places(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The chosen passages that have text, rising indices into the corpus."""
        filled = np.flatnonzero(text_digests(self.corpus.titles, self.corpus.texts) != EMPTY)
        if self.limit is None or self.limit >= len(filled):
            return filled
        names = numbers_of(self.corpus.ids, self.corpus.texts)[filled].tolist()
        drawn = [hashlib.blake2b(b"%d %d" % (self.seed, name), digest_size=8).digest() for name in names]
        return np.sort(filled[np.argsort(np.array(drawn, dtype="S8"), kind="stable")[: self.limit]])

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Sample]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> Sample:
        place = int(self.places[number])
        (text,) = self.corpus.shown(np.array([place]))
        name = self.corpus.ids[place].as_py()
        return Sample(number, printable(name or text[:60]), "", text, name, seed=self.seed)


def read_corpus(path: str | Path) -> tuple[Corpus, Path]:
    """The documents of a BEIR folder or of a file, and the file that they are from.

    Raises
    ------
    DataError
        It has no documents, two of one id, ids that qrels cannot hold, or training rows.
    """
    chosen = beside(Path(path), "corpus") or Path(path)
    refuse_rows(chosen)
    held = Collection.load([chosen])
    first = held.find(held.ids) == np.arange(len(held))
    kept = pa.array(first)
    corpus = Corpus(*(column.filter(kept) for column in (held.ids, held.titles, held.texts)))
    if not len(corpus):
        raise DataError(f"{chosen}: has no documents. Give a corpus with an id and a text in each line.")
    bad = corpus.ids.filter(pc.match_substring_regex(corpus.ids, r"[\t\r\n]|\A\z"))
    if len(bad):
        raise DataError(
            f"{chosen}: the id {bad[0].as_py()!r} is empty, or holds a tab or a line break: qrels cannot "
            "hold it. Give that document another."
        )
    return corpus, chosen
