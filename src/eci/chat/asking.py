"""Requests put to a chat model, many at a time, each answer kept as it comes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue
from threading import Event, Lock, Thread

from eci.chat.batching import Batching
from eci.chat.counting import Counts, prompt_tokens
from eci.chat.crew import Crew
from eci.chat.endpoint import Endpoint
from eci.chat.entries import Anew, Entry, digest_of
from eci.chat.faults import Aside
from eci.chat.journal import Journal
from eci.chat.limits import Pace
from eci.chat.messages import ChatReply, ChatRequest, Requests, Source
from eci.chat.parsing import Misfit, parsed
from eci.chat.schemas import refuse_unchecked
from eci.chat.sending import Sender, Sent, kind
from eci.chat.settings import ChatSettings
from eci.errors import ChatError
from eci.results import count
from eci.types import Progress, silent

# So many requests in a row without an answer say that no more will be answered.
_HOPELESS = 20
_PATIENT = 4
_ELSEWHERE = "another process"
# Seconds between looks at what another process asks, and at what there is to tell.
_LOOK, _TELL = 0.25, 1.0


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
        Also told why requests are sent again, once for each reason, and that another process is waited for.
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
        self.progress, self._endpoint = progress, endpoint
        self._pace = Pace(settings.rpm, settings.tpm)
        self._lock, self._opening = Lock(), Lock()
        self.anew = Anew(time.time() if settings.retry_failed else 0.0, settings.max_tokens)
        self._unanswered = 0
        # By prompt: answers of no use since the last that was of some, and whether any was.
        self.useless, self.usable = Counter[str](), set[str]()
        self._notes: SimpleQueue[str] = SimpleQueue()
        self._noted: set[str] = set()
        self._elsewhere: set[bytes] = set()

    def close(self) -> None:
        """Close the connections; the journal stays open."""
        if self._endpoint is not None:
            self._endpoint.close()

    def ask(self, requests: Requests) -> Iterator[ChatReply]:
        """One reply for each request, as they come in; as `eci.chat.messages.Asker.ask`.

        A request that has the digest of one under way shares its answer; it counts as kept.

        Raises
        ------
        ChatError
            The run cannot go on, for the key, the model, the endpoint or the journal, or no request is
            answered any more. What came in is kept.
        """
        return Batching(self).ask(requests) if self.settings.batch else self._singly(requests)

    def _singly(self, requests: Requests) -> Iterator[ChatReply]:
        stopping = Event()
        sharing: dict[bytes, list[ChatRequest]] = {}
        crew: Crew[tuple[bytes, ChatRequest], ChatReply] = Crew(
            lambda task: self._reply(*task, stopping), self.settings.concurrency, stopping
        )
        Thread(target=self.journal.renewing, args=(stopping,), daemon=True, name="eci-claims").start()
        # As many again wait, so that no thread does.
        window, pending = 2 * self.settings.concurrency, 0
        source = Source(requests)
        try:
            while True:
                request = source.take() if pending < window else None
                if request is not None:
                    refuse_unchecked(request.schema)
                    digest = digest_of(request, self.settings)
                    if digest not in sharing:
                        crew.put((digest, request))
                    sharing.setdefault(digest, []).append(request)
                    pending += 1
                    if not crew.ready():
                        continue
                if not pending:
                    return
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
        while (taken := crew.take(_TELL)) is None:
            self.tell()
        self.tell()
        (digest, _), reply = taken
        return self.shared(reply, sharing.pop(digest))

    def shared(self, reply: ChatReply, requests: list[ChatRequest]) -> list[ChatReply]:
        """The replies to requests of one digest; all but the first cost nothing."""
        first, *others = requests
        free = replace(reply, prompt_tokens=0, completion_tokens=0, kept=True, retries=())
        shared = [replace(free, request=other) for other in others]
        with self._lock:
            self.counts.kept += len(shared)
            replies = self.counts.replies
        self.progress("answers", replies, 0)
        return [replace(reply, request=first), *shared]

    def _reply(self, digest: bytes, request: ChatRequest, stopping: Event) -> ChatReply | None:
        """The reply to a request; None if another process asks it now, or others are to go first."""
        entry = self.journal.find(digest)
        reply = self.settled(digest, request, entry) if entry else None
        if reply is None and not (entry and entry.held):
            with suppress(Aside):
                reply = self.asked(digest, request, stopping)
        elif reply is None:
            self._elsewhere.add(digest)
        if reply is None:
            stopping.wait(_LOOK)
        else:
            self._elsewhere.discard(digest)
        return reply

    def settled(self, digest: bytes, request: ChatRequest, entry: Entry) -> ChatReply | None:
        """The reply that the journal holds, if it holds one."""
        if self.anew.covers(entry):
            return None
        if entry.state != "answered" and entry.texts and not entry.refused and not entry.held:
            # The answer was there, and could not be read; now it may be. Who holds it is just reading it.
            try:
                value = parsed(entry.texts[-1], request.schema, cut=entry.cut_at is not None)
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
                self.counts.reasons[kind(entry.error)] += 1
        return ChatReply(request, entry.value, entry.error, kept=True)

    def asked(self, digest: bytes, request: ChatRequest, stopping: Event) -> ChatReply | None:
        """The reply to a request that is sent now; None if another process sends it.

        Raises
        ------
        Aside
            It is to be sent again after others.
        ChatError
            The run cannot go on.
        """
        entry = self.journal.claim(digest, request, self.settings.model, self.anew)
        if entry.state != "asked" or entry.held:
            return self.settled(digest, request, entry)
        if stopping.is_set():
            # The run may have given up its claims before this one was made.
            self.journal.release(digest)
            return None
        sent = Sent(digest, request, entry)
        sender = Sender(self.settings, self.opened(), self.journal, self._pace, self._note, stopping)
        try:
            done = sender.send(sent, self._expected(request))
        finally:
            with self._lock:
                self.counts.prompt_tokens += sent.prompt_tokens
                self.counts.completion_tokens += sent.completion_tokens
                self.counts.retries.update(sent.retries)
        if not done:
            # Somebody else took the request over; what they make of it counts.
            return None
        entry = sent.entry
        self.count(entry)
        self._refuse_hopeless(entry, request.name)
        return ChatReply(
            request,
            entry.value,
            entry.error,
            sent.prompt_tokens,
            sent.completion_tokens,
            open=entry.state == "open",
            retries=tuple(sent.retries),
        )

    def count(self, entry: Entry) -> None:
        """Count what became of a request now."""
        with self._lock:
            self.counts.answered += entry.state == "answered"
            self.counts.failed += entry.state == "failed"
            self.counts.open += entry.state == "open"
            if entry.error:
                self.counts.reasons[kind(entry.error)] += 1

    def _refuse_hopeless(self, entry: Entry, name: str) -> None:
        """Raise a `ChatError` if nothing is answered any more, or nothing in a form that is of use."""
        most = _HOPELESS + 2 * self.settings.concurrency
        with self._lock:
            self._unanswered = self._unanswered + 1 if entry.state == "open" else 0
            hopeless = self._unanswered >= most
            if entry.state == "answered":
                self.usable.add(name)
                self.useless[name] = 0
            # What is refused says something of the texts, not of the model.
            self.useless[name] += entry.state == "failed" and not entry.refused
            useless, usable = self.useless[name], name in self.usable
        if useless >= most and not usable:
            usable = self.journal.mean_completion(self.settings.model, name) is not None
        # Who has answered well before is given longer.
        bound = _PATIENT * most if usable else most
        if useless >= bound:
            # Not how many: answers that were under way come back in any order.
            raise ChatError(
                f"Of the last {bound} answers of {self.settings.model} to one prompt none was usable; of "
                f"the last: {entry.error}.",
                hint="Try another model, or a larger --max-tokens. The same without --retry-failed goes on "
                "with the rest.",
            )
        if hopeless:
            raise ChatError(
                f"Of the last {self._unanswered} requests none was answered; of the last: {entry.error}.",
                hint=f"See what ails {self.settings.host}, then run the same again: no answer is lost.",
                retryable=True,
            )

    def _expected(self, request: ChatRequest) -> float:
        """Tokens that a request will take, about: those of the answers so far, or the most there can be."""
        with self._lock:
            answered = self.counts.answered + self.counts.failed
            tokens = self.counts.completion_tokens
        return prompt_tokens(request) + (
            tokens / answered if answered and tokens else self.settings.max_tokens
        )

    def _note(self, reason: str) -> None:
        with self._lock:
            if kind(reason) not in self._noted:
                self._noted.add(kind(reason))
                self._notes.put(f"asked again: {reason}")

    def tell(self) -> None:
        """Tell what there is to tell; only who asked for replies does, not the threads."""
        waited = len(self._elsewhere)
        if waited and _ELSEWHERE not in self._noted:
            self._noted.add(_ELSEWHERE)
            self.progress(f"{count(waited, 'request')} asked by {_ELSEWHERE}, and waited for", 0, 0)
        while not self._notes.empty():
            self.progress(self._notes.get(), 0, 0)

    def opened(self) -> Endpoint:
        """The endpoint, opened when it is first needed."""
        with self._opening:
            if self._endpoint is None:
                self._endpoint = Endpoint(self.settings)
            return self._endpoint
