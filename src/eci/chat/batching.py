"""Requests put to a chat model in batches, which the endpoint answers within a day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from threading import Event, Thread
from typing import TYPE_CHECKING

from eci.chat.batch_api import BatchApi, Line, State
from eci.chat.entries import Entry, digest_of
from eci.chat.faults import Aside
from eci.chat.looking import Observer
from eci.chat.messages import ChatReply, ChatRequest, Requests, Source
from eci.chat.patience import Patience
from eci.chat.schemas import refuse_unchecked
from eci.chat.sending import read, received
from eci.chat.spool import Spool
from eci.chat.submitted import Ledger
from eci.chat.submitting import Running, Submitter
from eci.errors import ChatError
from eci.results import count

if TYPE_CHECKING:
    from eci.chat.asking import ChatAsker

UNREADABLE = "the answer was not of the form asked for: a run without --batch tells the model so"
# Looks at a batch come so many times the backoff after each other, ever more up to the second.
_FIRST_LOOK, _LAST_LOOK, _SLOWER = 5.0, 60.0, 1.5
# So many requests go singly until one is answered; and so many batches in a row are not taken, each of half
# as many requests as the one before, until no further is tried.
_SINGLY, _CROWDED = 3, 12


class Batching:
    """One turn of a `eci.chat.asking.ChatAsker` in batches.

    Replies come when a batch has ended, and at once where the journal has them. All requests that there are
    go into batches together. The first of a run goes singly: a key, a model or an option that is wrong is
    told now and not in a day, and in which shape the endpoint takes requests is known then.

    Parameters
    ----------
    asker : ChatAsker
    """

    def __init__(self, asker: ChatAsker) -> None:
        self._asker, self._settings, self._journal = asker, asker.settings, asker.journal
        self._stopping = Event()
        self._ledger = Ledger(asker.journal, asker.settings.base_url)
        self._patience = Patience(asker.settings, self._stopping, lambda told: asker.progress(told, 0, 0))
        self._submitter = Submitter(self._ledger, self._api, self._patience, asker.settings.max_tokens)
        self._observer = Observer(self._ledger, self._api, self._patience, asker.settings)
        self._asking = Spool(asker.journal.path.parent)
        # Claimed by this run and not answered.
        self._mine: set[bytes] = set()
        self._elsewhere: set[bytes] = set()
        self._running: dict[int, Running] = {}
        self._singles = self._crowded = 0
        # Most requests of a batch, one of which is then submitted at a time: where not all are taken at once.
        self._most: int | None = None

    def ask(self, requests: Requests) -> Iterator[ChatReply]:
        """One reply for each request; as `eci.chat.asking.ChatAsker.ask`."""
        source, looks = Source(requests), 0
        renewing = Thread(target=self._journal.renewing, args=(self._stopping,), daemon=True)
        renewing.start()
        try:
            with self._asking:
                while True:
                    replied = False
                    for reply in self._turn(source):
                        replied = True
                        yield reply
                    looks = 0 if replied else looks + 1
                    if replied:
                        continue
                    if not self._asking:
                        return
                    slower = min(_LAST_LOOK, _FIRST_LOOK * _SLOWER ** min(looks, 20))
                    self._stopping.wait(self._settings.backoff * slower)
        except OSError as error:
            raise ChatError(
                f"{self._journal.path.parent}: requests and answers cannot be put aside there: {error}.",
                hint="Free space, or choose another place for the journal (--journal). No answer is lost.",
            ) from error
        finally:
            self._stopping.set()
            self._ledger.release()
            self._journal.release()

    def _turn(self, source: Source) -> Iterator[ChatReply]:
        """Take, claim, submit and look at everything once."""
        while (request := source.take()) is not None:
            yield from self._taken(request)
        for digest in self._asking.digests() - self._mine:
            if reply := self._claimed(digest):
                yield from self._given(digest, reply)
        fresh = self._fresh()
        if fresh and self._singles < _SINGLY and not (self._asker.usable and self._asker.opened().proven):
            # What depends on its answer may go with the others.
            yield from self._singly(fresh)
            return
        if fresh and not (self._most and self._running):
            for running in self._submitter.submit(fresh, self._asking, self._most):
                self._running[running.batch.number] = running
        for number in list(self._running):
            yield from self._looked(number)

    # What is to be asked

    def _taken(self, request: ChatRequest) -> list[ChatReply]:
        refuse_unchecked(request.schema)
        digest = digest_of(request, self._settings)
        if digest not in self._asking.digests() and (reply := self._known(digest, request)):
            return self._asker.shared(reply, [request])
        self._asking.add(digest, request)
        return []

    def _known(self, digest: bytes, request: ChatRequest) -> ChatReply | None:
        """The reply that is there without asking."""
        entry = self._journal.find(digest)
        return self._found(digest, request, entry) if entry else None

    def _found(self, digest: bytes, request: ChatRequest, entry: Entry) -> ChatReply | None:
        reply = self._asker.settled(digest, request, entry)
        there = entry.texts and not entry.held and not self._asker.anew.covers(entry)
        if reply is None and there:
            return self._reply(request, replace(entry, state="open", error=UNREADABLE))
        return reply

    def _claimed(self, digest: bytes) -> ChatReply | None:
        """The reply that has come meanwhile; else the request is claimed, or another process asks it."""
        request = self._asking[digest]
        if digest in self._elsewhere:
            entry = self._journal.find(digest)
            if entry and (entry.held or (reply := self._found(digest, request, entry))):
                return None if entry.held else reply
        entry = self._journal.claim(digest, request, self._settings.model, self._asker.anew)
        if entry.held:
            self._elsewhere.add(digest)
            self._patience.note("requests are asked by another process, and waited for")
        elif entry.state == "asked":
            self._mine.add(digest)
        else:
            return self._asker.settled(digest, request, entry)
        return None

    def _fresh(self) -> list[bytes]:
        """Requests that are in no batch; what an earlier run submitted is waited for."""
        left = set(self._mine)
        for running in self._running.values():
            left -= running.wanted
        for batch in self._ledger.batches() if left else ():
            members = self._ledger.members(batch)
            wanted = members & left
            if not wanted:
                continue
            if batch.number in self._running:
                self._running[batch.number].wanted |= wanted
            elif adopted := self._submitter.adopted(batch, wanted):
                self._running[batch.number] = adopted
            elif not self._ledger.members(batch):
                # It never came to be.
                continue
            left -= wanted
        # In the order in which they came.
        return [digest for digest in self._asking if digest in left] if left else []

    def _singly(self, fresh: list[bytes]) -> list[ChatReply]:
        """The reply to one request, sent by itself; to the next if the endpoint does not take it."""
        self._singles += 1
        for digest in cycle(fresh):
            try:
                reply = self._asker.asked(digest, self._asking[digest], self._stopping)
            except Aside:
                continue
            finally:
                self._asker.tell()
            if reply is not None:
                if self._asker.useless.total() >= _SINGLY and not self._asker.usable:
                    raise ChatError(
                        f"None of the first {_SINGLY} answers of {self._settings.model} is usable, so no "
                        f"batch was submitted; of the last: {reply.error}.",
                        hint="Try another model, or a larger --max-tokens.",
                    )
                return self._given(digest, reply)
            self._mine.discard(digest)
            break
        return []

    # What came back

    def _looked(self, number: int) -> Iterator[ChatReply]:
        """The replies of a batch, if it has ended."""
        running = self._running[number]
        state = self._observer.state(running)
        if state is not None and not state.ended:
            return
        del self._running[number]
        if state is None:
            return
        if state.crowded_out:
            self._shrink(running, state)
            return
        self._crowded = 0
        yield from self._answered(running, state)

    def _shrink(self, running: Running, state: State) -> None:
        """Have the requests of a batch that was not taken submitted in smaller ones, one after the other."""
        self._ledger.drop(running.batch, self._ledger.members(running.batch))
        self._crowded += 1
        smallest = len(running.wanted) == 1 and not self._running
        if smallest or self._crowded > _CROWDED:
            raise ChatError(
                f"{self._settings.host} takes no batch now: {state.why.rstrip('.')}.",
                hint="Run the same again when other batches have ended: no answer is lost.",
                retryable=True,
            )
        self._most = max(1, len(running.wanted) // 2)
        self._patience.tell(
            f"batch {running.batch.id} was not taken ({state.why}): its requests go one batch after the "
            f"other, of {count(self._most, 'request')} at most"
        )

    def _answered(self, running: Running, state: State) -> Iterator[ChatReply]:
        batch, left, strange = running.batch, set(running.wanted), 0
        known, done = self._ledger.members(batch), list[bytes]()
        why = state.why or "no answer came"
        why = f"{why} (batch {batch.id} {state.status}; the next run submits it again)"
        with self._asking.beside() as file:
            for line in self._observer.lines(batch, state, file):
                digest = line.digest
                if digest not in left:
                    strange += digest is None or (digest not in known and self._journal.find(digest) is None)
                    continue
                left.discard(digest)
                if reply := self._kept(digest, line, batch.max_tokens):
                    done.append(digest)
                    yield from self._given(digest, reply)
        for digest in left:
            if reply := self._kept(digest, Line(digest, error=why), batch.max_tokens):
                done.append(digest)
                yield from self._given(digest, reply)
        self._ledger.drop(batch, done)
        if strange:
            told = f"{count(strange, 'line')} of its files passed over, which answer no request of it"
            self._patience.tell(f"batch {batch.id}: {state.status}: {told}")

    def _kept(self, digest: bytes, line: Line, max_tokens: int) -> ChatReply | None:
        """Write down what came of a request; None where somebody else took it over: theirs counts."""
        request = self._asking[digest]
        entry = self._journal.find(digest) or Entry("asked")
        entry = replace(entry, attempts=entry.attempts + 1)
        answer = line.answer
        if answer is not None:
            entry = read(request, received(entry, answer, max_tokens), answer)
            if entry.state == "asked":
                entry = replace(entry, state="open", error=UNREADABLE)
        else:
            entry = replace(
                entry, state="failed" if line.declined else "open", error=line.error, refused=line.declined
            )
        if not self._journal.keep(digest, entry):
            self._mine.discard(digest)
            return None
        tokens = (answer.prompt_tokens, answer.completion_tokens) if answer else (0, 0)
        self._asker.counts.prompt_tokens += tokens[0]
        self._asker.counts.completion_tokens += tokens[1]
        return self._reply(request, entry, *tokens)

    # What they have in common

    def _reply(self, request: ChatRequest, entry: Entry, prompt: int = 0, completion: int = 0) -> ChatReply:
        self._asker.count(entry)
        return ChatReply(request, entry.value, entry.error, prompt, completion, open=entry.state == "open")

    def _given(self, digest: bytes, reply: ChatReply) -> list[ChatReply]:
        self._mine.discard(digest)
        self._elsewhere.discard(digest)
        return self._asker.shared(reply, self._asking.take(digest))

    def _api(self) -> BatchApi:
        return BatchApi(self._asker.opened(), self._settings)
