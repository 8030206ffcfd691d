"""What an audit gives back: dataclasses, their JSON form, and a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci.audit.findings import Findings
from eci.audit.issues import DETECTORS, ISSUES, OF_ROWS, refuse_unknown
from eci.audit.verdicts import described
from eci.errors import EciError
from eci.examples import shorten
from eci.results import count, of_schema, plain, span
from eci.types import Integers

SCHEMA = "eci.audit/1"


@dataclass(frozen=True)
class IssueCount:
    """How often an issue occurs.

    Parameters
    ----------
    issue : str
    rows : int
        Rows that have it, themselves or in a negative.
    negatives : int
        Negatives that have it; of an issue of rows, all negatives of those.
    share : float
        Of all negatives; of an issue of rows, of all rows. 0…1.
    """

    issue: str
    rows: int
    negatives: int
    share: float


@dataclass(frozen=True)
class Check:
    """One of the six checks that are done by hand where there is no audit.

    Parameters
    ----------
    name : str
    passed : bool
    told : str
        What was found.
    """

    name: str
    passed: bool
    told: str


@dataclass(frozen=True)
class AuditResult:
    """What is wrong with mined rows.

    Parameters
    ----------
    rows, negatives : int
    summary : tuple of IssueCount
        In the order of ``issues.ISSUES``.
    checks : tuple of Check
    sources : dict
        For each source its ``negatives``, the ``shares`` of them that have each issue, how many are
        ``mendable``, and ``chances``: counts by probability of an answer, in equal bins from 0 to 1, of those
        that were asked.
    worst : tuple of dict
        Rows with their texts, worst first: ``row``, ``query_id``, ``query``, ``positives``, the one
        nearest to the negative first, ``place``, ``source``, ``id``, ``negative``, and ``issues``, which are
        scores by name; where a judge answered also ``verdict``, with its ``word`` and ``snippet``.
    encoder, settings, data : dict
        Provenance; ``data["learned"]`` tells the weights of ``likely_false_negative``,
        ``data["mendable"]`` what ``--fix drop`` takes out unless issues are named, ``data["known"]`` how much
        was known beside the rows, ``data["judge"]`` what a judge was asked and said.
    warnings : tuple of str
    findings : Findings, optional
        Every score of every negative, in temporary files that go with it. Not part of the JSON form.
    """

    rows: int
    negatives: int
    summary: tuple[IssueCount, ...]
    checks: tuple[Check, ...]
    sources: dict[str, dict[str, Any]]
    worst: tuple[dict[str, Any], ...] = ()
    encoder: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    findings: Findings | None = field(default=None, compare=False, repr=False)

    def __getitem__(self, issue: str) -> IssueCount:
        refuse_unknown(issue)
        return next(entry for entry in self.summary if entry.issue == issue)

    def flagged(self, issue: str) -> tuple[Integers, Integers]:
        """The negatives with an issue, most severe first: their rows and their places in these, from 0.

        Raises
        ------
        EciError
            There is no such issue, or the result was read from JSON.
        """
        refuse_unknown(issue)
        if self.findings is None:
            raise EciError("a result that was read from JSON holds no scores. Read the table beside it.")
        found: list[tuple[NDArray[Any], ...]] = []
        for start, _, part in self.findings.parts():
            flagged = np.flatnonzero(part.flags(issue))
            lists, scores = part.lists, part.of_negatives(issue)
            found.append((start + lists.rows[flagged], lists.within[flagged], scores[flagged]))
        rows, places, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(scores, kind="stable")
        return rows[order], places[order]

    def exceeded(self, limits: Mapping[str, float]) -> list[str]:
        """In words, which issues have a larger share than their limit."""
        return [
            f"{issue}: {self[issue].share:.4%} of the {'rows' if issue in OF_ROWS else 'negatives'}, "
            f"more than {limit:.4%}"
            for issue, limit in limits.items()
            if self[issue].share > limit
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists in the form ``eci.audit/1``."""
        told = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "findings"}
        for name in ("summary", "checks"):
            told[name] = [asdict(entry) for entry in told[name]]
        made: dict[str, Any] = plain(told)
        return {"schema": SCHEMA, **made}

    def to_json(self, indent: int | None = 2) -> str:
        """The result as JSON text (``eci.audit/1``)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> AuditResult:
        """Read back what `to_json` wrote, without the scores.

        Raises
        ------
        ValueError
            The text is not a result of the schema ``eci.audit/1``.
        """
        loaded = of_schema(text, SCHEMA, [each.name for each in fields(cls) if each.name != "findings"])
        loaded["summary"] = tuple(IssueCount(**entry) for entry in loaded["summary"])
        loaded["checks"] = tuple(Check(**entry) for entry in loaded["checks"])
        for name in ("worst", "warnings"):
            loaded[name] = tuple(loaded[name])
        return cls(**loaded)

    def table(self) -> str:
        """Issues that occur, with counts and what they mean."""
        lines = [("issue", "negatives", "share", "rows", "")]
        for entry in self.summary:
            if entry.rows:
                name = f"  {entry.issue}" if entry.issue in DETECTORS else entry.issue
                share = f"{entry.share:.2%}" + (" of rows" if entry.issue in OF_ROWS else "")
                lines.append((name, f"{entry.negatives:,}", share, f"{entry.rows:,}", ISSUES[entry.issue]))
        widths = [max(span(line[place]) for line in lines) for place in range(4)]
        shown = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line[:4], widths, strict=True))
            )
            + (f"  {line[4]}" if line[4] else "")
            for line in lines
        ]
        unasked = () if self.data.get("judge", {}).get("answered") else ("judged_false_negative",)
        none = [entry.issue for entry in self.summary if not entry.rows and entry.issue not in unasked]
        return "\n".join([*shown, *([f"none: {', '.join(none)}"] if none else [])])

    def described(self) -> str:
        """Everything for a person: counts, checks, worst rows, what to be careful of."""
        encoder = self.encoder.get("name", "unknown")
        head = f"{count(self.rows, 'row')}, {count(self.negatives, 'negative')}; encoder {encoder}"
        checks = [f"{'✓' if check.passed else '✗'} {check.name}: {check.told}" for check in self.checks]
        notes = [f"! {text}" for text in self.warnings] + [f"· {text}" for text in self.data.get("notes", ())]
        judge = [described(self.data["judge"])] if "judge" in self.data else []
        worst = [_shown(entry) for entry in self.worst]
        parts = [head, self.table(), "\n".join(checks), *judge, *(["Worst rows:", *worst] if worst else [])]
        return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def _shown(entry: Mapping[str, Any]) -> str:
    name = f" {entry['query_id']}" if entry["query_id"] is not None else ""
    told = ", ".join(f"{issue} {score:.2f}" for issue, score in entry["issues"].items())
    verdict = entry.get("verdict")
    snippet = f": “{shorten(verdict['snippet'], 90)}”" if verdict and verdict["snippet"] else ""
    return "\n".join(
        [
            f"row {entry['row']}{name}, negative {entry['place']} of {entry['source']}: {told}",
            f"  query     {shorten(entry['query'], 100)}",
            *(f"  positive  {shorten(text, 100)}" for text in entry["positives"][:2]),
            f"  negative  {shorten(entry['negative'], 100) or '(no text)'}",
            *([f"  judge     {verdict['word']}{snippet}"] if verdict else []),
        ]
    )
