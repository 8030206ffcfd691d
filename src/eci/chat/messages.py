"""What is asked of a chat model, and what came back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import orjson


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


# What begins marks of turns in the templates of models.
_MARKS = re.compile(r"<(?=[|/｜<A-Za-z])|\[(?=/?[A-Z][A-Z_]+\]|gMASK\])")


def material(value: Any) -> str:
    r"""Texts of a collection, and what is said of them, as one JSON object for a prompt.

    Quotation marks, line breaks and control characters are escaped, so no text can end its own string or look
    like another field; so is what begins a mark such as ``<|im_end|>``, which some servers would heed.

    >>> material({"query": 'a"}\n{"x": "\0<|im_end|> p < 5'})
    '{"query":"a\\"}\\n{\\"x\\": \\"\\u0000\\u003c|im_end|> p < 5"}'
    """
    return _MARKS.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(value).decode())


# None: there is nothing to ask now, but a reply that is awaited may bring more.
Requests: TypeAlias = Iterable[ChatRequest | None]


class Asker(Protocol):
    """Puts requests to a chat model."""

    def ask(self, requests: Requests) -> Iterator[ChatReply]:
        """One reply for each request, as they come in; requests are taken as there is room for more.

        Requests may depend on replies. Where there is none to give before a further reply, the iterable
        gives None: it is asked again after that reply, and until it ends. None while no reply is awaited
        ends it too.
        """
        ...


class Source:
    """Requests as an `Asker` takes them.

    Parameters
    ----------
    requests : iterable of ChatRequest or None

    Examples
    --------
    >>> source = Source(["first", None, "second"])
    >>> source.take(), source.take(), source.ended, source.take(), source.take(), source.ended
    ('first', None, False, 'second', None, True)
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = iter(requests)
        self.ended = False

    def take(self) -> ChatRequest | None:
        """The next one, if there is one now."""
        if self.ended:
            return None
        try:
            return next(self._requests)
        except StopIteration:
            self.ended = True
            return None
