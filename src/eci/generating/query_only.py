"""Negatives for a query alone, or for query and positive, after Don't Retrieve, Generate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from eci.chat.messages import ChatRequest
from eci.generating.samples import Sample
from eci.generating.steps import Answers, Draft, Drafts, listed, refuse_count, request
from eci.lexical import words
from eci.miners.prompts import PASSAGE_QUERY, QUERY_ONLY, QUERY_POSITIVE, Prompt

# A query of usual length, where none is there yet.
_QUERY = "a question of usual length about what a passage of the collection tells"


@dataclass(frozen=True)
class QueryOnly:
    """Writes negatives without the corpus; satisfies ``eci.generating.steps.Generator``.

    Parameters
    ----------
    count : int
        Negatives of a sample.
    with_positive : bool
        Show the positive, as the later versions of the paper do.
    """

    count: int = 1
    with_positive: bool = False

    def __post_init__(self) -> None:
        refuse_count(self.count)

    @property
    def name(self) -> str:
        """``query-only``, or ``query-positive`` for the later version."""
        return "query-positive" if self.with_positive else "query-only"

    @property
    def _prompt(self) -> Prompt:
        return QUERY_POSITIVE if self.with_positive else QUERY_ONLY

    def describe(self) -> dict[str, Any]:
        """Name and prompt."""
        return {"name": self.name, "prompts": [self._prompt.version], "count": self.count}

    def request(self, sample: Sample, answers: Answers) -> ChatRequest | None:
        """The one call."""
        if answers:
            return None
        shown = {"positive": sample.positive} if self.with_positive else {}
        material = {"count": self.count, "query": sample.query, **shown}
        return request("negatives", sample, self._prompt, material)

    def drafts(self, sample: Sample, answers: Answers) -> Drafts:
        """The negatives."""
        return listed(answers[-1], {"of": sample.positive_id} if self.with_positive else {})

    def words(self, sample: Sample) -> int:
        """Words of the negatives, each as long as the positive."""
        return self.count * len(words(sample.positive))

    def stand_in(self, step: int) -> Mapping[str, Any]:  # noqa: ARG002
        """Of the one call, after which there is none."""
        return {"definition": "", "negatives": []}


@dataclass(frozen=True)
class PassageQuery:
    """Writes a query for a passage, which is the positive of a sample; its one draft is that query."""

    name: ClassVar[str] = "passage-query"
    count: ClassVar[int] = 1

    def describe(self) -> dict[str, Any]:
        """Name and prompt."""
        return {"name": self.name, "prompts": [PASSAGE_QUERY.version]}

    def request(self, sample: Sample, answers: Answers) -> ChatRequest | None:
        """The one call."""
        return None if answers else request("query", sample, PASSAGE_QUERY, {"passage": sample.positive})

    def drafts(self, sample: Sample, answers: Answers) -> Drafts:  # noqa: ARG002
        """The query."""
        return Drafts((Draft(answers[-1]["query"] or ""),))

    def words(self, sample: Sample) -> int:  # noqa: ARG002
        """Of a query of usual length."""
        return len(_QUERY.split())

    def stand_in(self, step: int) -> Mapping[str, Any]:  # noqa: ARG002
        """A query of usual length."""
        return {"query": _QUERY}
