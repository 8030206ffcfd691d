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
from eci.chat.masking import shown
from eci.chat.messages import ChatRequest
from eci.chat.settings import ChatSettings
from eci.chat.submitted import Ledger
from eci.results import count

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
        Of these, settled in the journal already.
    shared : int
        Of these, the same as one before them: one call answers all.
    waiting : int
        Of these, submitted in a batch by an earlier run. A run in batches waits for them; another asks, and
        pays for, them again.
    calls : int
        Requests that would be sent; retries and repairs come on top.
    prompt_tokens : int
        Of the calls, estimated.
    completion_tokens : int
    measured : bool
        Whether the tokens of answers are the mean of those that the journal has to the same prompts; else
        they are, of some prompt or all, the most there can be.
    cost : float, optional
        None without a price.
    first : tuple of ChatRequest
        The first that would be asked.
    """

    model: str
    host: str
    requests: int
    kept: int
    shared: int
    waiting: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    measured: bool
    cost: float | None
    first: tuple[ChatRequest, ...]

    def described(self) -> str:
        """The estimate in words."""
        waited_for = self.requests - self.kept - self.shared - self.calls
        notes = [f"{self.kept:,} more {_verb(self.kept, 'are')} settled already"] if self.kept else []
        notes += [f"{waited_for:,} {_verb(waited_for, 'wait')} in a batch"] if waited_for else []
        notes += [f"{self.shared:,} {_verb(self.shared, 'share')} a call"] if self.shared else []
        if self.waiting > waited_for:
            told = f"{self.waiting:,} of the calls {_verb(self.waiting, 'are')} in a batch already"
            notes.append(f"{told}, and paid for twice without --batch")
        known = f" ({', '.join(notes)})" if notes else ""
        bound = "by the answers so far" if self.measured else "at most"
        price = "no --price given" if self.cost is None else f"cost {self.cost:,.4f}"
        return (
            f"{self.model} at {self.host}: {count(self.calls, 'call')}{known}, about "
            f"{self.prompt_tokens:,} tokens of prompts (a quarter of the characters, and all beyond ASCII), "
            f"{self.completion_tokens:,} of answers {bound}; {price}"
        )

    def prompts(self) -> str:
        """The first prompts, as the model would read them but for what would steer a terminal."""
        parts = []
        for request in self.first:
            parts.append(f"--- {request.key}")
            parts += [f"[{role}]\n{content}" for role, content in request.messages]
        return shown("\n".join(parts))


def _verb(number: int, plural: str) -> str:
    singular = "is" if plural == "are" else f"{plural}s"
    return singular if number == 1 else plural


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
    opened = Journal(journal, read_only=True) if journal is not None and there else None
    try:
        known = _Known(settings, opened)
        first: list[ChatRequest] = []
        calls = Counter[str]()
        total = tokens = 0
        for request in requests:
            total += 1
            if known.covers(request):
                continue
            calls[request.name] += 1
            tokens += prompt_tokens(request)
            if len(first) < show:
                first.append(request)
        means = {name: opened.mean_completion(settings.model, name) if opened else None for name in calls}
    finally:
        if opened:
            opened.close()
    # An answer to one prompt says nothing of how long those to another are.
    parts = (number * (means[name] or settings.max_tokens) for name, number in calls.items())
    completion = ceil(sum(parts))
    return Estimate(
        model=settings.model,
        host=settings.host,
        requests=total,
        kept=known.kept,
        shared=known.shared,
        waiting=known.waiting,
        calls=calls.total(),
        prompt_tokens=tokens,
        completion_tokens=completion,
        measured=bool(calls) and None not in means.values(),
        cost=settings.cost(tokens, completion),
        first=tuple(first),
    )


class _Known:
    """Which requests need no call, and why."""

    def __init__(self, settings: ChatSettings, journal: Journal | None) -> None:
        self._settings, self._journal = settings, journal
        self._anew = Anew(float("inf") if settings.retry_failed else 0.0, settings.max_tokens)
        self._submitted = Ledger(journal, settings.base_url).digests() if journal else set()
        self._seen: set[bytes] = set()
        self.kept = self.shared = self.waiting = 0

    def covers(self, request: ChatRequest) -> bool:
        digest = digest_of(request, self._settings)
        if digest in self._seen:
            self.shared += 1
            return True
        entry = self._journal.find(digest) if self._journal else None
        if entry is not None and entry.state in ("answered", "failed") and not self._anew.covers(entry):
            self.kept += 1
            return True
        self._seen.add(digest)
        if digest not in self._submitted:
            return False
        self.waiting += 1
        return self._settings.batch


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
            lines += [f"{title}: {number:,} × {reason}" for reason, number in counter.most_common(10)]
        return "\n".join(lines)
