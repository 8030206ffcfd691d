"""Tokens and cost: estimated before, counted after."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from eci.atomic import require_folder
from eci.chat.entries import Anew, digest_of
from eci.chat.journal import Journal
from eci.chat.messages import ChatRequest
from eci.chat.settings import ChatSettings

# A token of English is four characters long, about.
_CHARACTERS = 4


def prompt_tokens(request: ChatRequest) -> int:
    """Tokens of a prompt and its schema, estimated: a quarter of the ASCII characters, and each other one.

    >>> prompt_tokens(ChatRequest("k", (("user", "eight of" + "漢字"),), {}, "n"))
    5
    """
    texts = [*(content for _, content in request.messages), json.dumps(request.schema)]
    plain = sum(len(text.encode("ascii", "ignore")) for text in texts)
    return ceil(plain / _CHARACTERS) + sum(map(len, texts)) - plain


@dataclass(frozen=True)
class Estimate:
    """What a run would ask, as `estimate` finds it.

    Parameters
    ----------
    model, host : str
    requests : int
    kept : int
        Of these, settled in the journal already, or given twice.
    prompt_tokens : int
        Of the others, estimated.
    completion_tokens : int
    measured : bool
        Whether the tokens of answers are the mean of the journal's; else they are the most there can be.
    cost : float, optional
        None without a price.
    first : tuple of ChatRequest
        The first that would be asked.
    """

    model: str
    host: str
    requests: int
    kept: int
    prompt_tokens: int
    completion_tokens: int
    measured: bool
    cost: float | None
    first: tuple[ChatRequest, ...]

    @property
    def calls(self) -> int:
        """Requests that would be sent; retries and repairs come on top."""
        return self.requests - self.kept

    def described(self) -> str:
        """The estimate in words."""
        known = f" ({self.kept:,} more are settled already)" if self.kept else ""
        bound = "by the answers so far" if self.measured else "at most"
        price = "no --price given" if self.cost is None else f"cost {self.cost:,.4f}"
        return (
            f"{self.model} at {self.host}: {self.calls:,} calls{known}, about "
            f"{self.prompt_tokens:,} tokens of prompts (a quarter of the characters, and all beyond ASCII), "
            f"{self.completion_tokens:,} of answers {bound}; {price}"
        )

    def prompts(self) -> str:
        """The first prompts, as the model would read them."""
        parts = []
        for request in self.first:
            parts.append(f"--- {request.key}")
            parts += [f"[{role}]\n{content}" for role, content in request.messages]
        return "\n".join(parts)


def estimate(
    requests: Iterable[ChatRequest], settings: ChatSettings, journal: Path | None = None, *, show: int = 3
) -> Estimate:
    """What asking would take, without asking anything.

    Parameters
    ----------
    requests : iterable of ChatRequest
    settings : ChatSettings
    journal : Path, optional
        What it has need not be asked; a file that is not there has nothing, and is not made.
    show : int
        First requests to keep, for a look at their prompts.

    Raises
    ------
    ChatError
        The journal cannot be read.
    OutputError
        Its folder does not exist.
    """
    if journal is not None:
        require_folder(journal)
    there = journal is not None and journal.is_file() and journal.stat().st_size > 0
    opened = Journal(journal) if journal is not None and there else None
    anew = Anew(float("inf") if settings.retry_failed else 0.0, settings.max_tokens)
    try:
        mean = opened.mean_completion(settings.model) if opened else None
        seen: set[bytes] = set()
        first: list[ChatRequest] = []
        total = tokens = 0
        for request in requests:
            total += 1
            digest = digest_of(request, settings)
            entry = opened.find(digest) if opened and digest not in seen else None
            settled = entry is not None and entry.state in ("answered", "failed") and not anew.covers(entry)
            if settled or digest in seen:
                continue
            seen.add(digest)
            tokens += prompt_tokens(request)
            if len(first) < show:
                first.append(request)
    finally:
        if opened:
            opened.close()
    completion = ceil(len(seen) * (settings.max_tokens if mean is None else mean))
    cost = settings.cost(tokens, completion)
    kept = total - len(seen)
    return Estimate(
        settings.model, settings.host, total, kept, tokens, completion, mean is not None, cost, tuple(first)
    )


@dataclass
class Counts:
    """What became of the requests of one run.

    Attributes
    ----------
    kept : int
        Settled by an earlier run.
    answered, failed, open : int
        Settled now, without a usable answer for good, and to be asked again by the next run.
    prompt_tokens, completion_tokens : int
        Of this run.
    retries, reasons : Counter
        Attempts beyond the first, and replies without an answer, by reason.
    """

    kept: int = 0
    answered: int = 0
    failed: int = 0
    open: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def replies(self) -> int:
        """Requests that have their reply."""
        return self.kept + self.answered + self.failed + self.open

    def described(self, settings: ChatSettings) -> str:
        """The counts in words, with the cost where a price is given."""
        cost = settings.cost(self.prompt_tokens, self.completion_tokens)
        lines = [
            f"{settings.model} at {settings.host}: {self.answered:,} answered, "
            f"{self.kept:,} known from earlier, {self.failed:,} without a usable answer, "
            f"{self.open:,} to be asked again",
            f"tokens now: {self.prompt_tokens:,} of prompts, {self.completion_tokens:,} of answers"
            + ("" if cost is None else f"; cost {cost:,.4f}"),
        ]
        for title, counter in (("asked again", self.retries), ("without an answer", self.reasons)):
            lines += [f"{title}: {count:,} × {reason}" for reason, count in counter.most_common(10)]
        return "\n".join(lines)
