"""Requests put to a chat model in batches, which the endpoint answers within a day."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count as numbers
from threading import Event, Thread
from typing import IO, TYPE_CHECKING, TypeVar

from eci.chat import batch_api
from eci.chat.batch_api import BatchApi, Line, State
from eci.chat.entries import Entry, digest_of
from eci.chat.faults import Again, Aside, unreachable
from eci.chat.messages import ChatReply, ChatRequest
from eci.chat.parsing import refuse_unchecked
from eci.chat.sending import backoff, read, received
from eci.chat.submitted import Ledger, Submitted
from eci.errors import ChatError
from eci.results import count

if TYPE_CHECKING:
    from eci.chat.asking import ChatAsker

UNREADABLE = "the answer was not of the form asked for: a run without --batch tells the model so"
# Looks at a batch come so many times the backoff after each other, ever more up to the second.
_FIRST_LOOK, _LAST_LOOK, _SLOWER = 5.0, 60.0, 1.5
# So many failures in a row end a run that only waits: the network may be away for a while.
_LOST = 30
Outcome = TypeVar("Outcome")


@dataclass
class _Running:
    """A batch that is waited for, those of its requests that this run wants, and what was told of it."""

    batch: Submitted
    wanted: set[bytes]
    told: str = ""


class Batching:
    """One turn of a `eci.chat.asking.ChatAsker` in batches.

    Replies come when a batch has ended, and at once where the journal has them. Requests are all taken
    before one is submitted, and stay in memory. The first of a run goes singly: a key, a model or an option
    that is wrong is told now and not in a day, and in which shape the endpoint takes requests is known then.

    Parameters
    ----------
    asker : ChatAsker
    """

    def __init__(self, asker: ChatAsker) -> None:
        self._asker, self._settings, self._journal = asker, asker.settings, asker.journal
        self._ledger = Ledger(asker.journal, asker.settings.base_url)
        self._stopping = Event()
        self._asking: dict[bytes, list[ChatRequest]] = {}
        # Claimed by this run and not answered.
        self._mine: set[bytes] = set()
        self._running: dict[int, _Running] = {}
        self._noted: set[str] = set()
        self._reached = False

    def ask(self, requests: Iterable[ChatRequest]) -> Iterator[ChatReply]:
        """One reply for each request; as `eci.chat.asking.ChatAsker.ask`."""
        renewing = Thread(target=self._journal.renewing, args=(self._stopping,), daemon=True)
        renewing.start()
        try:
            for request in requests:
                refuse_unchecked(request.schema)
                digest = digest_of(request, self._settings)
                self._asking.setdefault(digest, []).append(request)
                if len(self._asking[digest]) == 1 and (reply := self._known(digest, request)):
                    yield from self._given(digest, reply)
            looks = 0
            while self._asking:
                replied = False
                for reply in self._turn():
                    replied = True
                    yield reply
                looks = 0 if replied else looks + 1
                if self._asking and not replied:
                    slower = min(_LAST_LOOK, _FIRST_LOOK * _SLOWER ** min(looks, 20))
                    self._stopping.wait(self._settings.backoff * slower)
        finally:
            self._stopping.set()
            self._ledger.release()
            self._journal.release()

    def _turn(self) -> Iterator[ChatReply]:
        """Claim, submit and look at everything once."""
        for digest in self._asking.keys() - self._mine:
            if reply := self._claimed(digest):
                yield from self._given(digest, reply)
        fresh = self._fresh()
        if fresh and not self._asker.opened().proven:
            yield from self._first(fresh)
        if fresh:
            self._submit(fresh)
        for number in list(self._running):
            yield from self._looked(number)

    # What is to be asked

    def _known(self, digest: bytes, request: ChatRequest) -> ChatReply | None:
        """The reply that is there without asking."""
        entry = self._journal.find(digest)
        if entry is None:
            return None
        reply = self._asker.settled(digest, request, entry)
        there = entry.texts and not entry.held and not self._asker.anew.covers(entry)
        if reply is None and there:
            return self._reply(request, replace(entry, state="open", error=UNREADABLE))
        return reply

    def _claimed(self, digest: bytes) -> ChatReply | None:
        request = self._asking[digest][0]
        if reply := self._known(digest, request):
            return reply
        entry = self._journal.claim(digest, request, self._settings.model, self._asker.anew)
        if entry.state == "asked" and not entry.held:
            self._mine.add(digest)
            return None
        if entry.held:
            self._note("requests are asked by another process, and waited for")
        return self._asker.settled(digest, request, entry)

    def _fresh(self) -> list[bytes]:
        """Requests that are in no batch; what an earlier run submitted is waited for."""
        placed = set().union(*(each.wanted for each in self._running.values()))
        left = self._mine - placed
        if not left:
            return []
        for batch in self._ledger.batches():
            wanted = self._ledger.members(batch) & left
            if wanted:
                left -= wanted
                self._adopt(batch, wanted, left)
        # In the order in which they came.
        return [digest for digest in self._asking if digest in left]

    def _adopt(self, batch: Submitted, wanted: set[bytes], left: set[bytes]) -> None:
        """Wait for a batch of an earlier run, whose requests come back if it was never made."""
        if batch.number in self._running:
            self._running[batch.number].wanted |= wanted
            return
        if batch.id is None:
            taken = self._ledger.take(batch.number)
            if taken is None:
                return
            batch = taken
        if batch.id is None:
            if batch.file is None:
                self._tell(
                    f"a run ended before its file was up: eci-{batch.token}.jsonl may lie at the endpoint"
                )
                self._ledger.drop(batch, self._ledger.members(batch))
                left |= wanted
                return
            batch = self._created(batch)
        else:
            self._tell(f"batch {batch.id} of an earlier run is waited for: {count(len(wanted), 'request')}")
        self._running[batch.number] = _Running(batch, wanted)

    def _first(self, fresh: list[bytes]) -> list[ChatReply]:
        """The reply to one request, sent by itself and taken from the list; the next if it is not taken."""
        while True:
            digest = fresh.pop(0)
            try:
                reply = self._asker.asked(digest, self._asking[digest][0], self._stopping)
            except Aside:
                fresh.append(digest)
                continue
            finally:
                self._asker.tell()
            if reply is None:
                self._mine.discard(digest)
                return []
            return self._given(digest, reply)

    # Submitting

    def _submit(self, fresh: list[bytes]) -> None:
        api, digests, size = self._api(), list[bytes](), 0
        with tempfile.TemporaryFile() as file:
            for digest in fresh:
                line = api.line(digest, self._asking[digest][0])
                full = len(digests) == batch_api.MOST_REQUESTS or size + len(line) > batch_api.MOST_BYTES
                if digests and full:
                    self._sent(digests, file)
                    file.seek(0)
                    file.truncate()
                    digests, size = [], 0
                file.write(line)
                digests.append(digest)
                size += len(line)
            self._sent(digests, file)

    def _sent(self, digests: list[bytes], file: IO[bytes]) -> None:
        batch = self._ledger.begin(digests, self._settings.max_tokens)
        try:
            uploaded = self._tried(lambda: self._api().upload(batch.token, file), self._settings.attempts)
        except ChatError:
            # Without a file there is no batch.
            self._ledger.drop(batch, digests)
            raise
        batch = replace(batch, file=uploaded)
        self._ledger.keep(batch)
        batch = self._created(batch, new=True)
        self._running[batch.number] = _Running(batch, set(digests))
        self._tell(
            f"batch {batch.id}: {count(len(digests), 'request')} submitted, to be answered within 24 hours; "
            "a run that is interrupted goes on waiting when it is started again"
        )

    def _created(self, batch: Submitted, *, new: bool = False) -> Submitted:
        """The batch with its id: made now, or found where an earlier try came through after all."""
        file = batch.file or ""
        tries = numbers()

        def create() -> State:
            found = None if new and next(tries) == 0 else self._api().find(batch.token)
            try:
                return found or self._api().create(file, batch.token)
            except ChatError as error:
                if not error.retryable:
                    self._tell(f"file {file} lies at the endpoint, and no batch was made of it")
                    self._ledger.drop(batch, self._ledger.members(batch))
                raise

        state = self._tried(create, self._settings.attempts)
        batch = replace(batch, id=state.id)
        self._ledger.keep(batch)
        return batch

    # Waiting

    def _looked(self, number: int) -> Iterator[ChatReply]:
        """The replies of a batch, if it has ended."""
        running = self._running[number]
        batch = running.batch
        state = self._tried(lambda: self._api().state(batch.id or ""), _LOST)
        told = f"batch {batch.id}: {state.status}"
        # A tenth more is worth a line.
        if (mark := f"{state.status} {10 * state.done // max(1, state.total)}") != running.told:
            running.told = mark
            self._tell(told + (f", {state.done:,} of {count(state.total, 'request')}" if state.total else ""))
        if not state.ended:
            return
        lines = self._tried(lambda: list(self._api().lines(state)), _LOST)
        del self._running[number]
        known, first = self._ledger.members(batch), dict[bytes, Line]()
        for line in lines:
            if line.digest is not None:
                first.setdefault(line.digest, line)
        strange = len(lines) - sum(
            digest in known or self._journal.find(digest) is not None for digest in first
        )
        if strange:
            self._tell(
                f"{told}: {count(strange, 'line')} of its files passed over, which answer no request of it"
            )
        why = state.why or "no answer came"
        why = f"{why} (batch {batch.id} {state.status}; the next run submits it again)"
        kept = [
            (digest, reply)
            for digest in running.wanted
            if (reply := self._kept(digest, first.get(digest) or Line(digest, error=why), batch))
        ]
        self._ledger.drop(batch, [digest for digest, _ in kept])
        for digest, reply in kept:
            yield from self._given(digest, reply)

    def _kept(self, digest: bytes, line: Line, batch: Submitted) -> ChatReply | None:
        """Write down what came of a request; None where somebody else took it over: theirs counts."""
        request = self._asking[digest][0]
        entry = self._journal.find(digest) or Entry("asked")
        entry = replace(entry, attempts=entry.attempts + 1)
        answer = line.answer
        if answer is not None:
            entry = read(request, received(entry, answer, batch.max_tokens), answer)
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
        return self._asker.shared(reply, self._asking.pop(digest))

    def _api(self) -> BatchApi:
        return BatchApi(self._asker.opened(), self._settings)

    def _tried(self, call: Callable[[], Outcome], most: int) -> Outcome:
        """What a call gives, made again so many times in all where it fails for the moment."""
        for failures in numbers(1):
            try:
                outcome = call()
            except Again as fault:
                if fault.unreachable and (failures >= most or not self._reached):
                    raise unreachable(self._settings, fault.reason) from None
                if failures >= most:
                    raise ChatError(
                        f"The Batch API cannot be used now: {fault.reason.rstrip('.')}.",
                        hint="Run the same again later: what is submitted is waited for, and not again.",
                        retryable=True,
                    ) from None
                self._note(f"asked again: {fault.reason}")
                self._stopping.wait(backoff(self._settings, failures, fault.after, 0.0))
            else:
                self._reached = True
                return outcome
        raise AssertionError

    def _note(self, told: str) -> None:
        if told not in self._noted:
            self._noted.add(told)
            self._tell(told)

    def _tell(self, told: str) -> None:
        self._asker.progress(told, 0, 0)
