"""What is asked of a chat model, and what came back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class ChatRequest:
    """One question to a chat model, whose answer is a JSON object.

    Parameters
    ----------
    key : str
        Whose question it is: given back with the reply, and no part of what decides whether it was asked.
    messages : tuple of (role, content)
    schema : mapping
        JSON schema of the answer, an object with ``additionalProperties: false`` and all properties required.
    name : str
        Name of the schema: letters, digits, ``_`` and ``-``.
    sample : int
        Tells further answers to the same messages apart.
    """

    key: str
    messages: tuple[tuple[str, str], ...]
    schema: Mapping[str, Any] = field(hash=False)
    name: str
    sample: int = 0


@dataclass(frozen=True)
class ChatReply:
    """What became of a request.

    Parameters
    ----------
    request : ChatRequest
    value : dict, optional
        The answer, which has the form of the schema; None if there is none.
    error : str, optional
        Why there is none, in words.
    prompt_tokens, completion_tokens : int
        What the endpoint counted in this run, all attempts together; 0 where it does not say.
    kept : bool
        Whether an earlier run had asked already.
    open : bool
        Whether there is no answer for a reason that may pass: the next run asks again.
    retries : tuple of str
        Why it was sent again in this run, each time.
    """

    request: ChatRequest
    value: dict[str, Any] | None
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    kept: bool = False
    open: bool = False
    retries: tuple[str, ...] = ()


class Asker(Protocol):
    """Puts requests to a chat model."""

    def ask(self, requests: Iterable[ChatRequest]) -> Iterator[ChatReply]:
        """One reply for each request, as they come in; requests are taken as there is room for more."""
        ...
