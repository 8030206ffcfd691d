"""What a scripted chat model writes for `eci generate` and says to `eci audit`, by what it is asked."""

from __future__ import annotations

import json
from typing import Any

from chat_server import completion

FAULTS = ("429", "429-after", "500", "502-html", "reset", "reset-early", "cut-response")
SHAPES = ("fence", "thinking", "spare", "plain")
BAD = ("truncated", "wrong-keys")
FINAL = ("refusal", "filter", "too-long", "empty", "length")


def words_of(text: str) -> str:
    return " ".join(text.split()[:6])


def kind_of(asked: dict[str, Any]) -> str:
    if "passage" in asked:
        return "query"
    if "analysis" in asked:
        return "generation"
    return "listed" if "count" in asked else "analysis"


def answer(asked: dict[str, Any], count: int | None = None) -> dict[str, Any]:
    """A usable answer to the user message, which its texts decide."""
    if "documents" in asked:
        said = [{"document": each["document"], "verdict": "irrelevant"} for each in asked["documents"]]
        return {"reasoning": "", "verdicts": said}
    kind = kind_of(asked)
    if kind == "query":
        return {"query": f"who wrote about {words_of(asked['passage'])}"}
    if kind == "analysis":
        way = {"id": "w", "type": "Entity-Shift", "direction": "somebody else", "why_not_answer": "not asked"}
        node = {"id": "n", "facet": "entity", "content": f"is about {words_of(asked['query'])}"}
        requirements = [
            {**node, "critical": True, "strategies": [way, {**way, "type": "no such type"}]},
            {**node, "critical": False, "strategies": []},
            {**node, "facet": "Constraint", "critical": True, "strategies": [way]},
        ]
        told = dict.fromkeys(("core_need", "how_positive_answers", "answer_boundary"), "told")
        return {**told, "requirements": requirements}
    texts = [
        f"{kind} document {number} that is near {words_of(asked['query'])} and says nothing of it {number}"
        for number in range(asked["count"] if count is None else count)
    ]
    if kind == "listed":
        first = "reasoning" if "domain" in asked else "definition"
        return {first: "thought", "negatives": texts}
    candidates = asked["candidates"]
    return {
        "negatives": [
            {
                "requirement": f"R{1 + number % 2}",
                "strategy": f"R{1 + number % 2}a",
                "source": "rewritten_candidate" if candidates else "generated_from_scratch",
                "candidate": 1 if candidates else 0,
                "text": text,
                "explanation": "it is about somebody else",
            }
            for number, text in enumerate(texts)
        ]
    }


def said(value: dict[str, Any], shape: str = "plain") -> tuple[int, dict[str, Any]]:
    """A response that says an answer, in one of `SHAPES` or `BAD`, or in one of `FINAL` none."""
    text = json.dumps(value)
    if shape == "spare":
        text = json.dumps({**value, "confidence": 1})
    content = {
        "fence": f"Sure!\n```json\n{text}\n```\nAnything else?",
        "thinking": f'<think>Maybe {{"negatives": 0}}?</think>{text}',
        "truncated": text[:-3],
        "wrong-keys": '{"answer": 1}',
        "empty": "",
        "length": text[:-3],
    }.get(shape, text)
    if shape == "too-long":
        error = {"message": "maximum context length is 10", "code": "context_length_exceeded"}
        return 400, {"error": error}
    if shape == "refusal":
        return 200, completion(None, refusal="I will not say.")
    finish = {"filter": "content_filter", "length": "length"}.get(shape, "stop")
    return 200, completion("{" if shape == "filter" else content, finish=finish)


def asked_in(body: dict[str, Any]) -> dict[str, Any]:
    """The user message of a request; below it the form of the answer may be explained."""
    asked: dict[str, Any] = json.loads(body["messages"][1]["content"].split("\n")[0])
    return asked


def well(question: str, nth: int, body: dict[str, Any]) -> Any:
    """The script without faults."""
    return said(answer(asked_in(body)))
