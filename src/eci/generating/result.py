"""What was written, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from eci.results import count

# Reasons, and samples without an answer, that are told to a person; the JSON has all.
_TOLD = 5


@dataclass(frozen=True)
class GenerateResult:
    """What was written, from what, and what was left out.

    Parameters
    ----------
    source : str
        Label of the negatives.
    queries, samples, answered, negatives : int
        How many there were; a sample is a query and one of its positives.
    fewer : int
        Samples whose answers gave fewer negatives than were asked for, and were not made up.
    cut : int
        Negatives beyond those asked for.
    rejected, flagged : dict of str to int
        Negatives that were left out and that were marked in ``extra``, by reason.
    lengths : dict of int to int
        How many queries have how many negatives.
    unanswered : list of dict
        ``sample``, ``query``, ``positive`` and ``reason`` of every sample without a usable answer.
    tokens : dict of str to int
        Of all answers in the output, whenever they were paid for: ``prompt`` and ``completion``.
    settings : dict
        Everything that decides the result.
    notes : list of str
        What was left out or noticed while reading and writing.
    """

    source: str
    queries: int
    samples: int
    answered: int
    negatives: int
    fewer: int
    cut: int
    rejected: dict[str, int]
    flagged: dict[str, int]
    lengths: dict[int, int]
    unanswered: list[dict[str, Any]]
    tokens: dict[str, int]
    settings: dict[str, Any]
    notes: list[str]

    def to_json(self) -> str:
        """Everything, as JSON of schema ``eci.generate/1``."""
        told = {"schema": "eci.generate/1", **asdict(self)}
        return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()

    def table(self) -> str:
        """The counts for a person."""
        asked = self.settings["generator"]["count"]
        lines = [
            f"{self.source}: {count(self.queries, 'query')}, {count(self.samples, 'sample')}, "
            f"{self.answered:,} answered → {count(self.negatives, 'negative')} (up to {asked} of each)"
        ]
        lines += [f"  left out: {number:,} × {reason}" for reason, number in self.rejected.items()]
        lines += [f"  marked: {number:,} × {reason}" for reason, number in self.flagged.items()]
        if self.fewer:
            lines.append(f"  {self.fewer:,} of {self.answered:,} answered gave fewer than {asked}")
        if self.cut:
            lines.append(f"  {count(self.cut, 'negative')} beyond that cut off")
        if self.lengths.get(0):
            lines.append(f"  {self.lengths[0]:,} of {count(self.queries, 'query')} are left with none")
        lines += not_answered(self.unanswered, "query")
        return "\n".join([*lines, *(f"· {note}" for note in self.notes)])


def not_answered(unanswered: list[dict[str, Any]], what: str) -> list[str]:
    """The first of what has no answer, with reasons, and how many more there are."""
    lines = [f"  no answer for {what} {each[what]}: {each['reason']}" for each in unanswered[:_TOLD]]
    rest = len(unanswered) - len(lines)
    return [*lines, *([f"  no answer for {rest:,} more, which the summary lists"] if rest else [])]
