"""Requests put to a chat model, many at a time, each answer kept as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from threading import Event, Lock

from eci.chat.counting import Counts, prompt_tokens
from eci.chat.crew import Crew
from eci.chat.endpoint import Answer, Endpoint, Messages, form_of
from eci.chat.faults import Again, Declined, unreachable
from eci.chat.journal import Entry, Journal, digest_of
from eci.chat.limits import Pace
from eci.chat.messages import ChatReply, ChatRequest
from eci.chat.parsing import Misfit, parsed, refuse_unchecked
from eci.chat.settings import ChatSettings
from eci.errors import ChatError
from eci.types import Progress, silent

_LONGEST_BACKOFF = 60.0
# So many requests in a row without an answer say that no more will be answered.
_HOPELESS = 20
# Seconds between looks at what another process asks.
_LOOK = 0.25


class ChatAsker:
    """Asks a chat model; satisfies ``eci.chat.messages.Asker``.

    Replies come in the order in which they are ready. What an earlier run settled is not asked again; what
    another process asks is waited for. Requests are taken as there is room for more, so their number does not
    matter. Every answer is in the journal before it is given out.

    Parameters
    ----------
    settings : ChatSettings
    journal : Journal
    progress : Progress
    endpoint : Endpoint, optional
        Opened when the first request has to be sent, if not given.

    Attributes
    ----------
    counts : Counts
        Of all requests so far.
    """

    def __init__(
        self,
        settings: ChatSettings,
        journal: Journal,
        *,
        progress: Progress = silent,
        endpoint: Endpoint | None = None,
    ) -> None:
        self.settings, self.journal, self.counts = settings, journal, Counts()
        self._progress, self._endpoint = progress, endpoint
        self._pace = Pace(settings.rpm, settings.tpm)
        self._lock, self._opening = Lock(), Lock()
        self._began = time.time()
        self._unanswered = 0

    def close(self) -> None:
        """Close the connections; the journal stays open."""
        if self._endpoint is not None:
            self._endpoint.close()

    def ask(self, requests: Iterable[ChatRequest]) -> Iterator[ChatReply]:
        """One reply for each request, as they come in.

        A request that has the digest of one under way shares its answer; it counts as kept.

        Raises
        ------
        ChatError
            The run cannot go on, for the key, the model, the endpoint or the journal, or no request is
            answered any more. What came in is kept.
        """
        stopping = Event()
        sharing: dict[bytes, list[ChatRequest]] = {}
        crew: Crew[tuple[bytes, ChatRequest], ChatReply] = Crew(
            lambda task: self._reply(*task, stopping), self.settings.concurrency, stopping
        )
        # As many again wait, so that no thread does.
        window, pending = 2 * self.settings.concurrency, 0
        try:
            for request in requests:
                refuse_unchecked(request.schema)
                digest = digest_of(request, self.settings)
                if digest not in sharing:
                    crew.put((digest, request))
                sharing.setdefault(digest, []).append(request)
                pending += 1
                while pending >= window or crew.ready():
                    for reply in self._taken(crew, sharing):
                        pending -= 1
                        yield reply
            while pending:
                for reply in self._taken(crew, sharing):
                    pending -= 1
                    yield reply
        except Exception:
            # What is under way is paid for.
            crew.stop(wait=True)
            raise
        finally:
            crew.stop(wait=False)
            self.journal.release()

    def _taken(
        self, crew: Crew[tuple[bytes, ChatRequest], ChatReply], sharing: dict[bytes, list[ChatRequest]]
    ) -> list[ChatReply]:
        (digest, _), reply = crew.take()
        first, *others = sharing.pop(digest)
        shared = [
            replace(reply, request=other, prompt_tokens=0, completion_tokens=0, kept=True) for other in others
        ]
        with self._lock:
            self.counts.kept += len(shared)
            replies = self.counts.replies
        self._progress("answers", replies, 0)
        return [replace(reply, request=first), *shared]

    def _reply(self, digest: bytes, request: ChatRequest, stopping: Event) -> ChatReply | None:
        """The reply to a request; None if another process asks it now."""
        entry = self.journal.find(digest)
        reply = self._settled(digest, request, entry) if entry else None
        if reply is None and not (entry and entry.held):
            reply = self._asked(digest, request, stopping)
        if reply is None:
            stopping.wait(_LOOK)
        return reply

    def _settled(self, digest: bytes, request: ChatRequest, entry: Entry) -> ChatReply | None:
        """The reply that the journal holds, if it holds one."""
        if entry.state == "failed" and self.settings.retry_failed and entry.ended < self._began:
            return None
        if entry.state != "answered" and entry.texts:
            # The answer was there, and could not be read; now it may be.
            try:
                value = parsed(entry.texts[-1], request.schema)
            except Misfit:
                pass
            else:
                entry = replace(entry, state="answered", value=value, error=None)
                self.journal.keep(digest, entry)
        if entry.state not in ("answered", "failed"):
            return None
        with self._lock:
            self.counts.kept += 1
            if entry.error:
                self.counts.reasons[_kind(entry.error)] += 1
        return _reply_of(request, entry, kept=True)

    def _asked(self, digest: bytes, request: ChatRequest, stopping: Event) -> ChatReply | None:
        endpoint, expected, reason = self._opened(), self._expected(request), ""
        again_before = self._began if self.settings.retry_failed else 0.0
        failures = 0
        while failures < self.settings.attempts:
            self._wait(self._pace.reserve(expected), stopping)
            # Also before a further attempt: it keeps the claim young.
            entry = self.journal.claim(digest, request, self.settings.model, failed_before=again_before)
            if entry.state != "asked" or entry.held:
                self._pace.settle(-expected)
                return self._settled(digest, request, entry)
            entry = replace(entry, attempts=entry.attempts + 1)
            try:
                answer = endpoint.ask(request, _messages(request, entry))
            except Declined as fault:
                return self._settle(digest, request, replace(entry, state="failed", error=fault.reason))
            except Again as fault:
                failures, reason = failures + 1, fault.reason
                self.journal.keep(digest, entry)
                with self._lock:
                    self.counts.retries[_kind(reason)] += failures < self.settings.attempts
                if failures < self.settings.attempts:
                    self._wait(self._backoff(fault, failures, digest), stopping)
                elif fault.unreachable:
                    raise unreachable(self.settings, reason) from None
            else:
                entry = self._counted(entry, answer, expected)
                entry = self._read(request, entry, answer)
                if entry.state != "asked":
                    return self._settle(digest, request, entry)
                self.journal.keep(digest, entry)
                endpoint.explain()
        error = f"{reason} (sent {failures} times; the next run asks again)"
        return self._settle(digest, request, replace(entry, state="open", error=error))

    def _read(self, request: ChatRequest, entry: Entry, answer: Answer) -> Entry:
        """What an answer makes of an entry; "asked" if the model is to be told what is wrong with it."""
        if answer.refusal:
            return replace(entry, state="failed", error=answer.refusal)
        try:
            return replace(entry, state="answered", value=parsed(answer.text, request.schema))
        except Misfit as misfit:
            if answer.cut:
                error = (
                    f"the answer was cut off at {self.settings.max_tokens} tokens (--max-tokens allows more)"
                )
            elif not answer.text.strip():
                error = "the answer is empty"
            elif len(entry.texts) > 1:
                error = f"the answer is not of the form asked for, nor after the model was told so ({misfit})"
            else:
                return entry
        return replace(entry, state="failed", error=error)

    def _counted(self, entry: Entry, answer: Answer, expected: float) -> Entry:
        with self._lock:
            self.counts.prompt_tokens += answer.prompt_tokens
            self.counts.completion_tokens += answer.completion_tokens
            if entry.texts:
                self.counts.retries["the answer was not of the form asked for"] += 1
        used = answer.prompt_tokens + answer.completion_tokens
        if used:
            self._pace.settle(used - expected)
        return replace(
            entry,
            texts=(*entry.texts, answer.text) if answer.text else entry.texts,
            prompt_tokens=entry.prompt_tokens + answer.prompt_tokens,
            completion_tokens=entry.completion_tokens + answer.completion_tokens,
        )

    def _settle(self, digest: bytes, request: ChatRequest, entry: Entry) -> ChatReply:
        self.journal.keep(digest, entry)
        with self._lock:
            self.counts.answered += entry.state == "answered"
            self.counts.failed += entry.state == "failed"
            self.counts.open += entry.state == "open"
            if entry.error:
                self.counts.reasons[_kind(entry.error)] += 1
            self._unanswered = self._unanswered + 1 if entry.state == "open" else 0
            hopeless = self._unanswered >= _HOPELESS + 2 * self.settings.concurrency
        if hopeless:
            raise ChatError(
                f"Of the last {self._unanswered} requests none was answered; of the last: {entry.error}.",
                hint=f"See what ails {self.settings.host}, then run the same again: no answer is lost.",
                retryable=True,
            )
        return _reply_of(request, entry, kept=False)

    def _backoff(self, fault: Again, failures: int, digest: bytes) -> float:
        """Seconds to wait before a further attempt."""
        if fault.after:
            # Everybody waits: the limit is not that of one request.
            self._pace.pause(fault.after)
            return 0.0
        longest = min(_LONGEST_BACKOFF, self.settings.backoff * 2.0 ** (failures - 1))
        # Requests that failed together are not sent together again.
        return longest * (1 - digest[failures % len(digest)] / 512)

    def _expected(self, request: ChatRequest) -> float:
        """Tokens that a request will take, about: those of the answers so far, or the most there can be."""
        with self._lock:
            answered = self.counts.answered + self.counts.failed
            tokens = self.counts.completion_tokens
        return prompt_tokens(request) + (
            tokens / answered if answered and tokens else self.settings.max_tokens
        )

    def _opened(self) -> Endpoint:
        with self._opening:
            if self._endpoint is None:
                self._endpoint = Endpoint(self.settings)
            return self._endpoint

    @staticmethod
    def _wait(seconds: float, stopping: Event) -> None:
        if stopping.wait(seconds):
            raise _Stopped


class _Stopped(Exception):  # noqa: N818
    """The run ends; nobody reads this reply."""


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


def _reply_of(request: ChatRequest, entry: Entry, *, kept: bool) -> ChatReply:
    return ChatReply(
        request, entry.value, entry.error, entry.prompt_tokens, entry.completion_tokens, kept=kept
    )


def _kind(reason: str) -> str:
    """A reason without what differs from request to request."""
    return reason.partition(" (")[0].partition(": ")[0]
