"""The worst rows of an audit as a page holds them: a query, its positives, one negative, its issues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eci.audit.issues import FAULTS, ISSUES
from eci.audit.result import AuditResult
from eci.report.data import visible
from eci.report.exploring import ROOM, cut, size

# Characters shown of each text, from the most to the least.
_LENGTHS = (2_000, 1_000, 500, 250)
_POSITIVES = 3


def cases(result: AuditResult, room: int = ROOM) -> dict[str, Any] | None:
    """What the page needs to leaf through the worst rows; nothing where there is none.

    Parameters
    ----------
    result : AuditResult
    room : int
        Bytes for texts. Less of each text, then fewer rows are shown until they fit.

    Returns
    -------
    dict
        ``issues``, those that occur in the rows, with their meaning and whether a fix mends them;
        ``sources``; ``verdicts``, the words of a judge; ``cases``, worst first, with texts, or a text that
        was cut with its length; ``left``: rows for which there is no room.
    """
    worst = result.worst
    if not worst:
        return None
    for characters in _LENGTHS:
        fitting = _fitting(worst, characters, room)
        if fitting == len(worst):
            break
    shown = worst[:fitting]
    issues = [issue for issue in ISSUES if any(issue in entry["issues"] for entry in shown)]
    sources = sorted({str(entry["source"]) for entry in shown})
    places = {issue: place for place, issue in enumerate(issues)}
    return {
        "issues": [[issue, ISSUES[issue], issue in FAULTS] for issue in issues],
        "sources": [visible(source) for source in sources],
        "verdicts": sorted({entry["verdict"]["word"] for entry in shown if entry.get("verdict")}),
        "characters": characters,
        "left": len(worst) - len(shown),
        "cases": [
            {
                "row": entry["row"],
                "place": entry["place"],
                "label": _cut(entry["query_id"], characters),
                "query": cut(entry["query"], characters),
                "positives": [cut(text, characters) for text in entry["positives"][:_POSITIVES]],
                "more": max(0, len(entry["positives"]) - _POSITIVES),
                "source": sources.index(str(entry["source"])),
                "id": _cut(entry["id"], characters),
                "negative": cut(entry["negative"] or "", characters),
                "issues": [[places[issue], score] for issue, score in entry["issues"].items()],
                "verdict": _verdict(entry.get("verdict"), characters),
            }
            for entry in shown
        ],
    }


def _fitting(worst: Sequence[Mapping[str, Any]], characters: int, room: int) -> int:
    """How many of the first rows fit."""
    used = 0
    for place, entry in enumerate(worst):
        snippet = (entry.get("verdict") or {}).get("snippet")
        texts = [entry["query"], entry["negative"], entry["query_id"], entry["id"], snippet]
        used += sum(size(text or "", characters) for text in (*texts, *entry["positives"][:_POSITIVES]))
        if used > room:
            return place
    return len(worst)


def _verdict(told: Mapping[str, Any] | None, characters: int) -> list[Any] | None:
    return [told["word"], _cut(told["snippet"], characters)] if told else None


def _cut(text: str | None, characters: int) -> Any:
    return None if text is None else cut(text, characters)
