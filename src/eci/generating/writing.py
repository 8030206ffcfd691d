"""Answers that a journal holds, as rows in the order of the queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from eci.chat.asking import ChatAsker
from eci.datasets.columns import dumped
from eci.datasets.mined import mined_rows
from eci.examples import ROWS
from eci.generating.inspecting import Checks, Inspector, Negative, ranking_of
from eci.generating.samples import Samples
from eci.generating.steps import Found, Generator, Paid, found
from eci.task import Reranker
from eci.types import Integers

_QUERIES = 256


@dataclass
class Tally:
    """Counts of one pass."""

    answered: int = 0
    negatives: int = 0
    fewer: int = 0
    cut: int = 0
    paid: Paid = field(default_factory=Paid)
    rejected: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    unanswered: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Assembly:
    """One pass over the answers.

    Parameters
    ----------
    generator : Generator
    samples : Samples
    asker : ChatAsker
        Its journal has the answers; nothing is asked.
    label : str
    checks : Checks
    teacher : Reranker, optional
        Scores positives and negatives.
    queries : list of dict, optional
        ``extra`` of the row of each query of the task.
    tally : Tally
    """

    generator: Generator
    samples: Samples
    asker: ChatAsker
    label: str
    checks: Checks
    teacher: Reranker | None = None
    queries: list[dict[str, Any]] | None = None
    tally: Tally = field(default_factory=Tally)

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Canonical rows, one for each query; one without a usable answer has no negatives."""
        for start in range(0, self.samples.queries, _QUERIES):
            yield self._batch(np.arange(start, min(start + _QUERIES, self.samples.queries)))

    def _batch(self, queries: Integers) -> pa.RecordBatch:
        task, tally, answers = self.samples.task, self.tally, dict[int, Found]()
        written = [
            negative
            for row, query in enumerate(queries.tolist())
            for negative in self._of(row, query, answers)
        ]
        inspector = Inspector(task, self.checks, self.teacher, tally.rejected)
        usable, scores = inspector.inspect(queries, written)
        negatives = self._first(usable)
        tally.flagged.update(flag for each in negatives for flag in each.flags)
        shares = Counter(each.sample.number for each in negatives)
        tally.fewer += sum(shares[number] < self.generator.count for number in answers)
        records = [(each, self._record(each, answers, shares)) for each in negatives]
        scorer = self.generator.name
        if self.teacher is not None:
            scorer = str(self.teacher.describe().get("name", type(self.teacher).__name__))
        ranking = ranking_of(task, len(queries), records, scorer)
        tally.negatives += len(negatives)
        tally.lengths.update(ranking.documents.lengths.tolist())
        batch = mined_rows(task, queries, ranking, self.label, scores)
        if self.queries is None:
            return batch
        extra = dumped([self.queries[query] for query in queries.tolist()])
        return pa.RecordBatch.from_arrays([*batch.columns[:-1], extra], schema=ROWS)

    def _first(self, negatives: list[Negative]) -> list[Negative]:
        """As many of each sample as were asked for, and none twice for a query."""
        places, seen = Counter[int](), set[tuple[int, int]]()
        first = []
        for each in negatives:
            number, text = each.sample.number, (each.row, each.digest)
            if places[number] == self.generator.count:
                self.tally.cut += 1
            elif text in seen:
                self.tally.rejected["repeats another"] += 1
            else:
                places[number] += 1
                seen.add(text)
                first.append(each)
        return first

    def _of(self, row: int, query: int, answers: dict[int, Found]) -> Iterator[Negative]:
        """What was written for a query."""
        tally = self.tally
        for sample in self.samples.of(query):
            known = found(self.generator, sample, self.asker.journal, self.asker.settings)
            tally.paid.add(known.calls)
            if known.missing is not None:
                told = {"query": sample.name, "positive": sample.positive_id, "reason": known.missing}
                tally.unanswered.append({"sample": sample.number, **told})
                continue
            tally.answered += 1
            answers[sample.number] = known
            drafts = self.generator.drafts(sample, known.answers)
            tally.rejected.update(drafts.rejected)
            yield from (Negative.of(row, sample, draft) for draft in drafts.texts)

    def _record(self, negative: Negative, answers: dict[int, Found], shares: Counter[int]) -> dict[str, Any]:
        """How a negative was made; the tokens of its calls are shared by those that were kept."""
        told = self.generator.describe()
        known, share = answers[negative.sample.number], shares[negative.sample.number]
        record = {
            "generator": self.generator.name,
            "prompts": told["prompts"],
            "model": self.asker.settings.model,
            **{name: value for name, value in negative.draft.record.items() if value is not None},
            "tokens": {name: round(tokens / share, 1) for name, tokens in known.tokens.items()},
        }
        return record | ({"flags": negative.flags} if negative.flags else {})
