"""What is looked at: how batches stand, and what the files of those that have ended say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from eci.chat.batch_api import Absent, BatchApi, Line, State
from eci.chat.patience import DAY, Patience
from eci.chat.settings import ChatSettings
from eci.chat.submitted import Ledger, Submitted
from eci.chat.submitting import Running
from eci.errors import ChatError
from eci.results import count


@dataclass(frozen=True)
class Observer:
    """Looks at batches.

    Parameters
    ----------
    ledger : Ledger
    api : callable
        Gives the Batch API.
    patience : Patience
    settings : ChatSettings
    """

    ledger: Ledger
    api: Callable[[], BatchApi]
    patience: Patience
    settings: ChatSettings

    def state(self, running: Running) -> State | None:
        """How a batch stands; None if it is gone, and with ``retry_failed`` given up for that.

        Raises
        ------
        ChatError
            It is gone, or the endpoint cannot be asked.
        """
        batch = running.batch
        try:
            state = self.patience.tried(
                lambda: self.api().state(batch.id or ""), most=DAY, absent=self.settings.attempts
            )
        except Absent:
            self._give_up(batch)
            return None
        # A tenth more is worth a line.
        if (mark := f"{state.status} {10 * state.done // max(1, state.total)}") != running.told:
            running.told = mark
            done = f", {state.done:,} of {count(state.total, 'request')}" if state.total else ""
            self.patience.tell(f"batch {batch.id}: {state.status}{done}")
        return state

    def lines(self, batch: Submitted, state: State, file: IO[bytes]) -> Iterator[Line]:
        """What the files of a batch say of its requests, each put into `file` first.

        A file that is no longer there says nothing, which is told.
        """
        for name in state.files:
            try:
                # Where there is none yet, there may be one soon.
                self.patience.tried(
                    lambda name=name: self.api().download(name, file),  # type: ignore[misc]
                    most=DAY,
                    absent=self.settings.attempts,
                )
            except Absent:
                self.patience.tell(
                    f"batch {batch.id}: {self.settings.host} has its file {name} no longer, nor what it said"
                )
                continue
            file.seek(0)
            for line in file:
                if line.strip():
                    yield self.api().line_of(line)

    def _give_up(self, batch: Submitted) -> None:
        members = self.ledger.members(batch)
        waiting = count(len(members), "request")
        if not self.settings.retry_failed:
            raise ChatError(
                f"{self.settings.host} knows nothing of batch {batch.id}, or of its answers, for which "
                f"{waiting} wait.",
                hint=f"If the key in {self.settings.key_env} is of another project than that which submitted "
                "it, use the key of that one. If it was deleted, --retry-failed submits its requests anew.",
            )
        self.ledger.drop(batch, members)
        self.patience.tell(f"batch {batch.id} is gone: its {waiting} are asked anew")
