"""Drafts of some queries held against what is known, against each other, and against their positives."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa

from eci.errors import EciError
from eci.generating.candidates import same_as_known
from eci.generating.checks import cleaned, contains, foreign, says_nothing, speaks_of_itself
from eci.generating.samples import Sample
from eci.generating.steps import Draft
from eci.lexical import words
from eci.miners.copies import near_copies
from eci.miners.reranked import judged
from eci.ragged import Ragged
from eci.task import EMPTY, Ranking, Reranker, RetrievalTask, Written, text_digests
from eci.types import Integers

# So many times as long as the positive, or as so many words, is no document of its kind.
_LONGER, _LEAST = 4, 50
LONG = "too long"
SHORT, CONTAINS, FOREIGN, META = "too short", "contains the query", "another script", "speaks of itself"
NEAR_COPY, COPY, ABOVE = "near copy of a positive", "near copy of a candidate", "scores as high as a positive"


@dataclass(frozen=True)
class Checks:
    """What becomes of what is written.

    Empty texts, repetitions, and texts that are the query or known to answer it are always left out.

    Parameters
    ----------
    min_words : int
        Texts of fewer words are marked.
    near_copy : float
        Jaccard similarity of word 3-grams with a positive, or with what is rewritten, from which on a text is
        marked.
    drop_flagged : bool
        Leave out what would be marked.
    """

    min_words: int = 8
    near_copy: float = 0.8
    drop_flagged: bool = False

    def __post_init__(self) -> None:
        if self.min_words < 0:
            raise EciError(f"min_words must be 0 or more, got {self.min_words}.")
        if not 0 < self.near_copy <= 1:
            raise EciError(f"near_copy lies above 0 and up to 1, got {self.near_copy}.")


@dataclass
class Negative:
    """A draft on its way into a row.

    Parameters
    ----------
    row : int
        Its query, among those that are looked at together.
    sample : Sample
    draft : Draft
    text : str
        The draft without control characters.
    flags : list of str
        What is wrong with it.
    digest : int
        Of the text, as ``text_digests`` has it; set by the inspector.
    score : float
        By a teacher; NaN without one.
    """

    row: int
    sample: Sample
    draft: Draft
    text: str
    flags: list[str] = field(default_factory=list)
    digest: int = EMPTY
    score: float = float("nan")

    @classmethod
    def of(cls, row: int, sample: Sample, draft: Draft) -> Negative:
        """A draft as it came."""
        return cls(row, sample, draft, cleaned(draft.text))


@dataclass(frozen=True)
class Inspector:
    """Holds drafts against the task that they were written for.

    Parameters
    ----------
    task : RetrievalTask
    checks : Checks
    teacher : Reranker, optional
    rejected : Counter of str
        Where is counted what is left out.
    """

    task: RetrievalTask
    checks: Checks
    teacher: Reranker | None
    rejected: Counter[str]

    def inspect(self, queries: Integers, negatives: list[Negative]) -> tuple[list[Negative], Ragged | None]:
        """The negatives that stay, and the teacher's scores of the positives where there is one.

        Parameters
        ----------
        queries : ndarray of shape (R,)
            Indices into the queries of the task.
        negatives : list of Negative
            In the order of their rows.
        """
        usable = self._usable(queries, negatives)
        for each in usable:
            each.flags += _of_text(each, self.checks.min_words)
        self._mark_copies(queries, usable)
        scores = self._score(queries, usable)
        if not self.checks.drop_flagged:
            return usable, scores
        # One that has two faults is left out for the first.
        self.rejected.update(each.flags[0] for each in usable if each.flags)
        return [each for each in usable if not each.flags], scores

    def _usable(self, queries: Integers, negatives: Sequence[Negative]) -> list[Negative]:
        """Without what is empty, known or the query."""
        lengths = np.bincount([each.row for each in negatives], minlength=len(queries))
        texts = pa.array([each.text for each in negatives], pa.large_string())
        digests = Ragged.from_lengths(text_digests(None, texts), lengths)
        known = same_as_known(self.task, queries, digests)
        asked = text_digests(None, self.task.queries.take(pa.array(queries)))
        kept = []
        for each, digest, is_known in zip(negatives, digests.values.tolist(), known.tolist(), strict=True):
            if digest == EMPTY:
                self.rejected["empty"] += 1
            elif says_nothing(each.text):
                self.rejected["says nothing"] += 1
            elif is_known:
                self.rejected["known to answer the query"] += 1
            elif digest == asked[each.row]:
                self.rejected["the query itself"] += 1
            else:
                each.digest = digest
                kept.append(each)
        return kept

    def _mark_copies(self, queries: Integers, negatives: Sequence[Negative]) -> None:
        """Mark near copies of a labelled positive of their query, and of what they were to rewrite."""
        rows = np.array([each.row for each in negatives], dtype=np.int64)
        positives = self.task.positives.take(queries[rows])
        places, back = np.unique(positives.values, return_inverse=True)
        shown = [[each.text for each in negative.sample.candidates] for negative in negatives]
        candidates = Ragged.from_lengths(
            np.arange(sum(map(len, shown))) + len(places), [len(each) for each in shown]
        )
        texts = [*self.task.corpus.shown(places), *chain.from_iterable(shown)]
        for flag, against in ((NEAR_COPY, positives.with_values(back.ravel())), (COPY, candidates)):
            pairs = np.stack([against.rows, len(negatives) + against.values], axis=1)
            near = near_copies([each.text for each in negatives] + texts, pairs, self.checks.near_copy)
            for each, found in zip(negatives, against.with_values(near).sums(), strict=True):
                each.flags += [flag] if found else []

    def _score(self, queries: Integers, negatives: Sequence[Negative]) -> Ragged | None:
        """Give negatives the teacher's scores; those of the positives."""
        if self.teacher is None:
            return None
        ranking = ranking_of(self.task, len(queries), [(each, {}) for each in negatives], "")
        ranking, positives = judged(self.task, self.teacher, queries, ranking)
        floor = -positives.with_values(-positives.values).maxima()
        for each, score in zip(negatives, ranking.scores.tolist(), strict=True):
            each.score = score
            each.flags += [ABOVE] if score >= floor[each.row] else []
        return positives


def ranking_of(
    task: RetrievalTask, rows: int, negatives: Sequence[tuple[Negative, dict[str, object]]], scorer: str
) -> Ranking:
    """Negatives as a ranking of texts that no corpus holds, each with its record."""
    lengths = np.bincount([each.row for each, _ in negatives], minlength=rows)
    places = len(task.corpus) + np.arange(len(negatives), dtype=np.int64)
    documents = Ragged.from_lengths(places, lengths)
    written = tuple(Written(_id(each.text), each.text, record) for each, record in negatives)
    scores = np.array([each.score for each, _ in negatives], dtype=np.float64)
    return Ranking(documents, documents.within + 1, scores, scorer, written)


def _id(text: str) -> str:
    # By the text as it is: of two that differ in case, each has a name of its own.
    return f"written~{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _of_text(negative: Negative, min_words: int) -> list[str]:
    """What the text alone tells."""
    text, sample = negative.text, negative.sample
    found = {
        SHORT: len(words(text)) < min_words,
        CONTAINS: contains(text, sample.query),
        FOREIGN: foreign(text, sample.query, sample.positive),
        META: speaks_of_itself(text, f"{sample.query} {sample.positive}"),
        LONG: len(words(text)) > _LONGER * max(_LEAST, len(words(sample.positive))),
    }
    return [flag for flag, there in found.items() if there]
