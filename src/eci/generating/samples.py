"""What negatives are written for: a query and one of its positives at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eci.errors import EciError
from eci.generating.candidates import Candidate, Candidates
from eci.ragged import Ragged
from eci.task import RetrievalTask
from eci.types import Integers


@dataclass(frozen=True)
class Sample:
    """A query and one of its positives.

    Parameters
    ----------
    number : int
        Its place among all samples.
    name : str
        How messages name it.
    query, positive : str
        Texts; of a passage that a query is written for, the query is empty and the positive the passage.
    positive_id : str, optional
    drawn : int
        A number below 2⁶⁴ that the seed, the query and the positive decide, and nothing else.
    seed : int
        Another one makes another call of the same prompt.
    candidates : tuple of Candidate
        Documents of the corpus that may be rewritten.
    """

    number: int
    name: str
    query: str
    positive: str
    positive_id: str | None
    drawn: int = 0
    seed: int = 0
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class Samples:
    """The samples of a task, made one by one as they are wanted.

    Parameters
    ----------
    task : RetrievalTask
    positives : int
        Of each query, in the order of the task, at most.
    limit : int, optional
        Only the first so many queries.
    seed : int
    candidates : Candidates, optional
    """

    task: RetrievalTask
    positives: int = 1
    limit: int | None = None
    seed: int = 0
    candidates: Candidates | None = None

    def __post_init__(self) -> None:
        for name in ("positives", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise EciError(f"{name} must be at least 1, got {value}.")

    @property
    def queries(self) -> int:
        """How many queries have samples: the first of the task."""
        return len(self.task) if self.limit is None else min(self.limit, len(self.task))

    @cached_property
    def documents(self) -> Ragged:
        """The positive of each sample, an index into the corpus, in a row for each query."""
        mine = self.task.positives.take(np.arange(self.queries))
        return mine.keep(mine.within < self.positives)

    @cached_property
    def _rows(self) -> Integers:
        return self.documents.rows

    def __len__(self) -> int:
        return len(self.documents.values)

    def __iter__(self) -> Iterator[Sample]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> Sample:
        task, row = self.task, int(self._rows[number])
        document = int(self.documents.values[number])
        query = task.queries[row].as_py()
        (positive,) = task.corpus.shown(np.array([document]))
        named = task.corpus.ids[document].as_py()
        key = "\0".join((str(self.seed), task.query_ids[row].as_py() or query, named or positive))
        drawn = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
        found = self.candidates.of(row) if self.candidates is not None else ()
        return Sample(number, printable(task.name_of(row)), query, positive, named, drawn, self.seed, found)

    def of(self, query: int) -> list[Sample]:
        """The samples of a query."""
        first, last = self.documents.offsets[query : query + 2].tolist()
        return [self[number] for number in range(first, last)]


def printable(text: str) -> str:
    """A name without characters that a terminal takes for orders."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
