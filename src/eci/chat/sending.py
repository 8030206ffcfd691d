"""One request on its way: sent until it is answered, declined, or given up for now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event

from eci.chat.endpoint import Endpoint, Messages, Reshape, Shape
from eci.chat.entries import Entry
from eci.chat.faults import Again, Declined, unreachable
from eci.chat.journal import Journal
from eci.chat.limits import Pace
from eci.chat.messages import ChatRequest
from eci.chat.parsing import Misfit, parsed
from eci.chat.responses import Answer
from eci.chat.schemas import form_of
from eci.chat.settings import ChatSettings
from eci.results import count

_LONGEST_BACKOFF = 60.0
# Seconds that one request waits in all because the endpoint asks it to.
_LONGEST_WAIT = 600.0
REPAIR = "the answer was not of the form asked for"


class Stopped(Exception):  # noqa: N818
    """The run ends; nobody reads this reply."""


@dataclass
class Sent:
    """A request that is being sent.

    Attributes
    ----------
    digest : bytes
    request : ChatRequest
    entry : Entry
        What the journal has of it.
    prompt_tokens, completion_tokens : int
        Of this run.
    retries : list of str
        Why it was sent again in this run, each time.
    failures : int
        Attempts that failed for the moment.
    waited : float
        Seconds that the endpoint asked to wait.
    """

    digest: bytes
    request: ChatRequest
    entry: Entry
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: list[str] = field(default_factory=list)
    failures: int = 0
    waited: float = 0.0


@dataclass(frozen=True)
class Sender:
    """Sends requests that the journal has as claimed; threads share one.

    Parameters
    ----------
    settings : ChatSettings
    endpoint : Endpoint
    journal : Journal
    pace : Pace
    note : callable
        Is told why a request is sent again.
    stopping : Event
        Set where the run ends; whoever waits watches it.
    """

    settings: ChatSettings
    endpoint: Endpoint
    journal: Journal
    pace: Pace
    note: Callable[[str], None]
    stopping: Event

    def send(self, sent: Sent, expected: float) -> bool:
        """Send a request of so many tokens until its entry is "answered", "failed" or "open".

        Returns
        -------
        bool
            Whether it came to that; False where the claim was lost to somebody else.

        Raises
        ------
        Stopped
            The run ends.
        Aside
            It is to be sent again after others.
        ChatError
            The run cannot go on.
        """
        shape: Shape | None = None
        while True:
            if not self.pace.turn(expected, self.stopping):
                raise Stopped
            entry = replace(sent.entry, attempts=sent.entry.attempts + 1)
            try:
                answer = self.endpoint.ask(sent.request, _messages(sent.request, entry), shape)
            except Reshape as other:
                shape = other.shape
                continue
            except Declined as fault:
                sent.entry = replace(entry, state="failed", error=fault.reason, refused=True)
            except Again as fault:
                sent.entry = entry
                self._put_off(sent, fault)
            else:
                sent.entry = entry
                if not self._received(sent, answer, expected):
                    return False
            if not self.journal.keep(sent.digest, sent.entry):
                return False
            if sent.entry.state != "asked":
                return True

    def _put_off(self, sent: Sent, fault: Again) -> None:
        """Wait before a further attempt, or give the request up for now."""
        if fault.after:
            # Told to wait, it has not failed.
            sent.waited += fault.after
        else:
            sent.failures += 1
        if sent.failures >= self.settings.attempts or sent.waited > _LONGEST_WAIT:
            if fault.unreachable:
                raise unreachable(self.settings, fault.reason)
            error = f"{fault.reason} (sent {count(len(sent.retries) + 1, 'time')}; the next run asks again)"
            sent.entry = replace(sent.entry, state="open", error=error)
            return
        sent.retries.append(kind(fault.reason))
        self.note(fault.reason)
        if fault.after:
            # Everybody waits: the limit is not that of one request.
            self.pace.pause(fault.after)
        # Requests that failed together are not sent together again.
        share = sent.digest[len(sent.retries) % len(sent.digest)] / 256
        if self.stopping.wait(backoff(self.settings, sent.failures, fault.after, share)):
            raise Stopped

    def _received(self, sent: Sent, answer: Answer, expected: float) -> bool:
        """Write an answer down, then read it; whether the claim was not lost."""
        used = answer.prompt_tokens + answer.completion_tokens
        if used:
            self.pace.settle(used - expected)
        sent.prompt_tokens += answer.prompt_tokens
        sent.completion_tokens += answer.completion_tokens
        sent.entry = received(sent.entry, answer, self.settings.max_tokens)
        if not self.journal.keep(sent.digest, sent.entry):
            return False
        sent.entry = read(sent.request, sent.entry, answer)
        if sent.entry.state == "asked":
            sent.retries.append(REPAIR)
            self.note(REPAIR)
            self.endpoint.explain()
        return True


def backoff(settings: ChatSettings, failures: int, after: float | None, share: float) -> float:
    """Seconds to wait before a further attempt.

    Parameters
    ----------
    settings : ChatSettings
    failures : int
        Attempts that failed so far, from 1.
    after : float or None
        Seconds that the endpoint asks to wait.
    share : float
        Where in its span the wait lies, from 0 to 1.

    Returns
    -------
    float
        Half to all of the backoff, which doubles up to a minute; or from what is asked for to twice that.

    Examples
    --------
    >>> [backoff(ChatSettings("m"), failures, None, 0) for failures in (1, 2, 3, 4000)]
    [1.0, 2.0, 4.0, 60.0]
    >>> backoff(ChatSettings("m"), 1, None, 1), backoff(ChatSettings("m"), 1, 3.0, 0.5)
    (0.5, 4.5)
    """
    if after:
        return after * (1 + share)
    # Doubled more often than that, no backoff is below a minute but 0.
    doubled = settings.backoff * 2.0 ** min(failures - 1, 60)
    return min(_LONGEST_BACKOFF, doubled) * (1 - share / 2)


def kind(reason: str) -> str:
    """A reason without what differs from request to request."""
    return reason.partition(" (")[0].partition(": ")[0]


def received(entry: Entry, answer: Answer, max_tokens: int) -> Entry:
    """An entry with an answer of at most so many tokens, not read yet."""
    return replace(
        entry,
        texts=(*entry.texts, answer.text) if answer.text else entry.texts,
        prompt_tokens=entry.prompt_tokens + answer.prompt_tokens,
        completion_tokens=entry.completion_tokens + answer.completion_tokens,
        cut_at=max_tokens if answer.cut else None,
        refused=bool(answer.refusal),
    )


def read(request: ChatRequest, entry: Entry, answer: Answer) -> Entry:
    """What an answer makes of an entry; "asked" if the model is to be told what is wrong with it."""
    if answer.refusal:
        return replace(entry, state="failed", error=answer.refusal)
    try:
        return replace(entry, state="answered", value=parsed(answer.text, request.schema, cut=answer.cut))
    except Misfit as misfit:
        if answer.cut:
            error = f"the answer was cut off at {entry.cut_at:,} tokens (--max-tokens allows more)"
        elif not answer.text.strip():
            error = "the answer is empty"
        elif len(entry.texts) > 1:
            error = f"the answer is not of the form asked for, nor after the model was told so ({misfit})"
        else:
            return entry
    return replace(entry, state="failed", error=error)


def _messages(request: ChatRequest, entry: Entry) -> Messages:
    """What to send: the request, and after an answer that could not be read, what is wrong with it."""
    if not entry.texts:
        return request.messages
    try:
        parsed(entry.texts[-1], request.schema)
        why = "it was not of the form asked for"
    except Misfit as misfit:
        why = str(misfit)
    told = f"That answer cannot be used: {why}. {form_of(request.schema)}"
    return (*request.messages, ("assistant", entry.texts[-1]), ("user", told))
