"""What is submitted: files of requests, and the batches made of them, also those of earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count as numbers
from typing import IO

from eci.chat import batch_api
from eci.chat.batch_api import BatchApi, State
from eci.chat.patience import Patience
from eci.chat.spool import Spool
from eci.chat.submitted import Ledger, Submitted
from eci.errors import ChatError
from eci.results import count


@dataclass
class Running:
    """A batch that is waited for.

    Attributes
    ----------
    batch : Submitted
    wanted : set of bytes
        Digests of those of its requests that this run wants.
    told : str
        How it stood when that was told last.
    """

    batch: Submitted
    wanted: set[bytes]
    told: str = ""


@dataclass(frozen=True)
class Submitter:
    """Makes batches.

    A row of the ledger goes before each step at the endpoint, so that a run that is killed there is gone on
    from.

    Parameters
    ----------
    ledger : Ledger
    api : callable
        Gives the Batch API.
    patience : Patience
    max_tokens : int
        Most tokens of an answer.
    """

    ledger: Ledger
    api: Callable[[], BatchApi]
    patience: Patience
    max_tokens: int

    def submit(self, digests: Iterable[bytes], spool: Spool, most: int | None = None) -> Iterator[Running]:
        """Submit requests in as few batches as there can be, or, given `most`, one of so many at most."""
        batch, size, api = list[bytes](), 0, self.api()
        with spool.beside() as file:
            for digest in digests:
                line = api.line(digest, spool[digest])
                full = len(batch) == (most or batch_api.MOST_REQUESTS)
                if batch and (full or size + len(line) > batch_api.MOST_BYTES):
                    yield self._sent(batch, file)
                    if most:
                        return
                    file.seek(0)
                    file.truncate()
                    batch, size = [], 0
                file.write(line)
                batch.append(digest)
                size += len(line)
            yield self._sent(batch, file)

    def adopted(self, batch: Submitted, wanted: set[bytes]) -> Running | None:
        """A batch of an earlier run to wait for; None if there is none to be had now.

        One that never came to be is forgotten, and its requests are free. One that another process is just
        making is left to it.
        """
        if batch.id is None:
            taken = self.ledger.take(batch.number)
            if taken is None:
                return None
            batch = taken
        if batch.id is not None:
            told = f"batch {batch.id} of an earlier run is waited for: {count(len(wanted), 'request')}"
            self.patience.tell(told)
            return Running(batch, wanted)
        if batch.file is None:
            told = f"a run ended before its file was up: eci-{batch.token}.jsonl may lie at the endpoint"
            self.patience.tell(told)
            self.ledger.drop(batch, self.ledger.members(batch))
            return None
        try:
            return Running(self._created(batch), wanted)
        except ChatError as error:
            # The file of an earlier run may be gone by now; whether batches can be made, a new one tells.
            if error.retryable or self.ledger.members(batch):
                raise
            return None

    def _sent(self, digests: list[bytes], file: IO[bytes]) -> Running:
        batch = self.ledger.begin(digests, self.max_tokens)
        try:
            uploaded = self.patience.tried(lambda: self.api().upload(batch.token, file))
        except ChatError:
            # Without a file there is no batch.
            self.ledger.drop(batch, digests)
            raise
        batch = replace(batch, file=uploaded)
        self.ledger.keep(batch)
        batch = self._created(batch, new=True)
        self.patience.tell(
            f"batch {batch.id}: {count(len(digests), 'request')} submitted, to be answered within 24 hours; "
            "a run that is interrupted goes on waiting when it is started again"
        )
        return Running(batch, set(digests))

    def _created(self, batch: Submitted, *, new: bool = False) -> Submitted:
        """The batch with its id: made now, or found where an earlier try came through after all."""
        file = batch.file or ""
        tries = numbers()

        def create() -> State:
            found = None if new and next(tries) == 0 else self.api().find(batch.token, file)
            try:
                return found or self.api().create(file, batch.token)
            except ChatError as error:
                if not error.retryable:
                    self.patience.tell(f"file {file} lies at the endpoint, and no batch was made of it")
                    self.ledger.drop(batch, self.ledger.members(batch))
                raise

        state = self.patience.tried(create)
        batch = replace(batch, id=state.id)
        self.ledger.keep(batch)
        return batch
