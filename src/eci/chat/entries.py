"""What a journal knows of a request, and by what it finds it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from eci.chat.messages import ChatRequest
from eci.chat.settings import ChatSettings

# "open": no answer yet, and nobody asks. "asked": somebody does. The other two are final.
State: TypeAlias = Literal["open", "asked", "answered", "failed"]


@dataclass(frozen=True)
class Entry:
    """What the journal knows of a request.

    Parameters
    ----------
    state : {"open", "asked", "answered", "failed"}
    texts : tuple of str
        What the model wrote, before it was read; two where it was told what was wrong with the first.
    value : dict, optional
        The answer as read.
    error : str, optional
        Why there is none.
    prompt_tokens, completion_tokens, attempts : int
        Of all runs.
    cut_at : int, optional
        Most tokens that the last text could have, where it was cut off there.
    refused : bool
        Whether the model or the endpoint refused: then no text is an answer.
    ended : float
        When the row was last written after an attempt, in seconds since 1970; 0 if never.
    held : bool
        Whether somebody else asks now; one who has died does not.
    """

    state: State
    texts: tuple[str, ...] = ()
    value: dict[str, Any] | None = None
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 0
    cut_at: int | None = None
    refused: bool = False
    ended: float = 0.0
    held: bool = False


@dataclass(frozen=True)
class Anew:
    """Which requests without a usable answer are asked anew.

    Parameters
    ----------
    before : float
        Those that failed before this time, in seconds since 1970.
    max_tokens : int
        Those whose answer was cut off at fewer tokens.
    """

    before: float = 0.0
    max_tokens: int = 0

    def covers(self, entry: Entry) -> bool:
        """Whether a request is asked anew.

        >>> Anew(max_tokens=100).covers(Entry("failed", cut_at=50))
        True
        """
        return entry.state == "failed" and (
            entry.ended < self.before or (entry.cut_at is not None and entry.cut_at < self.max_tokens)
        )


@dataclass(frozen=True)
class Group:
    """Rows of one model in one state, and the tokens that they took."""

    model: str
    state: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Status:
    """How far the requests of a journal are.

    Parameters
    ----------
    groups : tuple of Group
    reasons : Counter of str
        Why there is no answer, in the words of each.
    last : float, optional
        When the last answer came, in seconds since 1970.
    """

    groups: tuple[Group, ...]
    reasons: Counter[str]
    last: float | None

    @property
    def states(self) -> dict[str, int]:
        """Rows by state, of all models."""
        found: Counter[str] = Counter()
        for group in self.groups:
            found[group.state] += group.requests
        return dict(found)

    @property
    def prompt_tokens(self) -> int:
        """Of all rows."""
        return sum(group.prompt_tokens for group in self.groups)

    @property
    def completion_tokens(self) -> int:
        """Of all rows."""
        return sum(group.completion_tokens for group in self.groups)


def digest_of(request: ChatRequest, settings: ChatSettings) -> bytes:
    """What tells one request from another: model, temperature, seed, schema, messages and sample.

    The order of the properties in the schema counts: models answer in it. The most tokens of an answer do
    not: one that was not cut off is the same with more.
    """
    told = [
        settings.model,
        settings.temperature,
        settings.seed,
        request.schema,
        request.messages,
        request.sample,
    ]
    return hashlib.sha256(json.dumps(told).encode()).digest()
