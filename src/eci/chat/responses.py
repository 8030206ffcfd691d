"""What stands in the response of an endpoint that claims to have answered."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eci.chat.faults import SHOWN, Again, message_of
from eci.chat.masking import Mask

# No answer has as many tokens: such a count says nothing.
_MOST_TOKENS = 1_000_000_000


@dataclass(frozen=True)
class Answer:
    """What a model wrote, before it is read.

    Parameters
    ----------
    text : str
    cut : bool
        Whether it ends where its tokens ran out.
    refusal : str
        Why the model or the endpoint's filter gives no answer; empty if it does.
    prompt_tokens, completion_tokens : int
    """

    text: str
    cut: bool = False
    refusal: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


def answer_of(text: str, host: str, mask: Mask, fault: Callable[[int, Any], Exception]) -> Answer:
    """The answer in a response with status 200.

    Parameters
    ----------
    text : str
        The response.
    host : str
    mask : Mask
    fault : callable
        What a status and a body with an error mean: routers tell a failure of the server behind them in a
        response that is well by its status.

    Raises
    ------
    Again
        It is no such response.
    """
    try:
        response = json.loads(text)
    except (ValueError, RecursionError):
        raise Again(f"{host} sent what is no whole JSON") from None
    if not isinstance(response, dict):
        response = {}
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = choice.get("error") or response.get("error")
    if error or choice.get("finish_reason") == "error" or (not choice and message_of(response, mask)):
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        raise fault(status, {"error": error} if error else response)
    message = choice.get("message")
    if not isinstance(message, dict) or not _known(message.get("content")):
        raise Again(f"{host} sent an answer of an unknown form")
    usage = response.get("usage")
    return Answer(
        mask(_joined(message.get("content"))),
        choice.get("finish_reason") == "length",
        _refusal(choice.get("finish_reason"), message.get("refusal"), mask),
        _tokens(usage, "prompt_tokens"),
        _tokens(usage, "completion_tokens"),
    )


def _known(content: Any) -> bool:
    return content is None or isinstance(content, str | list)


def _joined(content: Any) -> str:
    """The text of a content, which may come in parts."""
    if not isinstance(content, list):
        return content or ""
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(part for part in parts if isinstance(part, str))


def _refusal(reason: Any, refusal: Any, mask: Mask) -> str:
    if reason == "content_filter":
        return "the endpoint's content filter stopped the answer"
    return f"the model refuses: {mask.line(str(refusal), SHOWN)}" if refusal else ""


def _tokens(usage: Any, name: str) -> int:
    """A count that the endpoint gives, or 0 where it gives none that can be."""
    told = usage.get(name) if isinstance(usage, Mapping) else None
    if not isinstance(told, int | float) or not math.isfinite(told):
        return 0
    return int(told) if 0 <= told <= _MOST_TOKENS else 0
