"""Negatives that break exactly one requirement, after CausalNeg: an analysis, then the negatives."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from eci.chat.messages import ChatRequest
from eci.generating.samples import Sample
from eci.generating.steps import NO_FORM, Answers, Draft, Drafts, refuse_count, request
from eci.lexical import words
from eci.miners.prompts import ANALYSIS, FACETS, GENERATION, STRATEGIES

_REQUIREMENTS, _STRATEGIES = 8, 3
_MADE = ("rewritten_candidate", "generated_from_scratch")
_REFERENCE = re.compile(r"\bR(?:eq(?:uirement)?)?[ _-]?(\d+)([a-c]?)\b", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"\W*(\d+)\W*", re.ASCII)
_NOT_ONE = "breaks not exactly one requirement of the analysis"


@dataclass(frozen=True)
class Causal:
    """Analyses what makes an answer, then has requirements broken; satisfies ``steps.Generator``.

    Parameters
    ----------
    count : int
        Negatives of a sample, at most.
    """

    count: int = 3
    name: ClassVar[str] = "causal"

    def __post_init__(self) -> None:
        refuse_count(self.count)

    def describe(self) -> dict[str, Any]:
        """Name and prompts."""
        return {
            "name": self.name,
            "prompts": [ANALYSIS.version, GENERATION.version],
            "count": self.count,
        }

    def request(self, sample: Sample, answers: Answers) -> ChatRequest | None:
        """The analysis, then the generation."""
        shown = {"query": sample.query, "positive": sample.positive}
        if not answers:
            return request("analysis", sample, ANALYSIS, shown)
        if len(answers) > 1:
            return None
        numbered = [
            {"candidate": number, "text": each.text} for number, each in enumerate(sample.candidates, start=1)
        ]
        material = {"count": self.count, **shown, "analysis": analysis_of(answers[0]), "candidates": numbered}
        return request("negatives that break a requirement", sample, GENERATION, material)

    def drafts(self, sample: Sample, answers: Answers) -> Drafts:
        """The negatives that break one requirement, each with which and how."""
        analysis = analysis_of(answers[0])
        rejected: Counter[str] = Counter()
        kept: list[Draft] = []
        for written in answers[1]["negatives"]:
            if written is None:
                rejected[NO_FORM] += 1
            elif (broken := _broken(written, analysis["requirements"])) is None:
                rejected[_NOT_ONE] += 1
            else:
                kept.append(Draft(written["text"], {**broken, **_made(written, sample)}))
        return Drafts(tuple(kept), rejected)

    def words(self, sample: Sample) -> int:
        """Words of the negatives, each as long as the positive."""
        return self.count * len(words(sample.positive))

    def stand_in(self, step: int) -> Mapping[str, Any]:
        """An analysis of usual length: six requirements, three of them with two strategies."""
        sentence = (
            "A sentence of some twenty words that says in full what is required or what would be different."
        )
        ways = [dict.fromkeys(("id", "type", "direction", "why_not_answer"), sentence[:60])] * 2
        requirements = [
            {
                "id": f"R{number}",
                "facet": "constraint",
                "content": sentence,
                "critical": number <= 3,
                "strategies": ways if number <= 3 else [],
            }
            for number in range(1, 7)
        ]
        texts = dict.fromkeys(("core_need", "how_positive_answers", "answer_boundary"), sentence)
        return {**texts, "requirements": requirements} if step == 0 else {"negatives": []}


def analysis_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An analysis with requirements numbered R1, R2 … and strategies R1a, R1b ….

    What is neither critical nor has a strategy is left out, as is a strategy without direction. If nothing
    is left, one requirement stands in: that the need is met, which a change of intent or of entity breaks.

    Examples
    --------
    >>> way = {"id": "x", "type": "Entity Shift", "direction": "another fox", "why_not_answer": ""}
    >>> ways = [way, {**way, "direction": " "}]
    >>> node = {"id": "?", "facet": "colour", "content": "a red fox", "critical": False, "strategies": ways}
    >>> told = dict.fromkeys(("core_need", "how_positive_answers", "answer_boundary"), "…")
    >>> analysis = analysis_of({**told, "requirements": [node, {**node, "strategies": []}]})
    >>> [(each["id"], each["facet"]) for each in analysis["requirements"]]
    [('R1', 'other')]
    >>> [(each["id"], each["type"]) for each in analysis["requirements"][0]["strategies"]]
    [('R1a', 'entity_shift')]
    """
    kept = []
    for node in filter(None, answer["requirements"]):
        ways = [way for way in filter(None, node["strategies"]) if way["direction"].strip()][:_STRATEGIES]
        if node["content"].strip() and (node["critical"] or ways):
            kept.append((node, ways))
    requirements = [
        {
            "id": f"R{number}",
            "facet": _named(node["facet"], FACETS),
            "content": node["content"].strip(),
            "critical": node["critical"],
            "strategies": [_numbered(f"R{number}", place, way) for place, way in enumerate(ways)],
        }
        for number, (node, ways) in enumerate(kept[:_REQUIREMENTS], start=1)
    ]
    told = {name: answer[name].strip() for name in ("core_need", "how_positive_answers", "answer_boundary")}
    return {**told, "requirements": requirements or [_fallback(told["core_need"])]}


def _numbered(requirement: str, place: int, way: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{requirement}{'abc'[place]}",
        "type": _named(way["type"], STRATEGIES),
        "direction": way["direction"].strip(),
        "why_not_answer": way["why_not_answer"].strip(),
    }


def _fallback(need: str) -> dict[str, Any]:
    other = "does not meet what is needed"
    ways = [
        ("R1a", "intent_drift", "the same subject, for another purpose than the one asked for"),
        ("R1b", "entity_shift", "a related subject in the place of the one asked about"),
    ]
    return {
        "id": "R1",
        "facet": "information_need",
        "content": need or "The document gives what the query asks for.",
        "critical": True,
        "strategies": [
            {"id": name, "type": kind, "direction": direction, "why_not_answer": other}
            for name, kind, direction in ways
        ],
    }


def _broken(written: Mapping[str, Any], requirements: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Which requirement a negative breaks and by which strategy; None if not exactly one of the analysis."""
    named, strategy = _named_in(written["requirement"]), _named_in(written["strategy"])
    if alone := _NUMBER.fullmatch(written["requirement"]):
        named = {f"R{int(alone[1])}"}
    # A strategy belongs to one requirement.
    owners = {name.rstrip("abc") for name in named | strategy}
    requirement = next((each for each in requirements if {each["id"]} == owners), None)
    if requirement is None:
        return None
    broken = {name: requirement[name] for name in ("id", "facet", "content", "critical")}
    names = named | strategy | ({_named(written["strategy"], STRATEGIES)} - {"other"})
    way = next((each for each in requirement["strategies"] if names & {each["id"], each["type"]}), None)
    chosen = {"strategy": {name: way[name] for name in ("id", "type", "direction")}} if way else {}
    return {"broken_requirement": broken, **chosen}


def _named_in(text: str) -> set[str]:
    """Requirements (R1) and strategies (R1a) that a text names, however they are written.

    >>> sorted(_named_in("r1, or Requirement 02b: another fox")), _named_in("the fox")
    (['R1', 'R2b'], set())
    """
    return {f"R{int(number)}{way.lower()}" for number, way in _REFERENCE.findall(text)}


def _made(written: Mapping[str, Any], sample: Sample) -> dict[str, Any]:
    """How a negative was made, from which candidate, and why it is none of the answers."""
    number = written["candidate"]
    from_candidate = 1 <= number <= len(sample.candidates)
    told = written["source"].strip().lower().replace(" ", "_")
    made = told if told in _MADE else _MADE[not from_candidate]
    if made == _MADE[0] and not from_candidate:
        # What it says it rewrote is not there.
        made = _MADE[1]
    record: dict[str, Any] = {"of": sample.positive_id, "made": made}
    if made == _MADE[0]:
        candidate = sample.candidates[number - 1]
        record["candidate"] = candidate.id or number
    return {**record, "explanation": written["explanation"].strip()}


def _named(text: str, names: Sequence[str]) -> str:
    plain = "_".join(text.lower().replace("-", " ").replace("_", " ").split())
    return plain if plain in names else "other"
