"""Calls that are made again where they fail for the moment."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count as numbers
from threading import Event
from typing import TypeVar

from eci.chat.batch_api import Absent
from eci.chat.faults import Again, unreachable
from eci.chat.sending import backoff
from eci.chat.settings import ChatSettings
from eci.errors import ChatError

# A minute apart, so many tries are a day: as long as the network is away, nothing is lost by waiting.
DAY = 1_440
Outcome = TypeVar("Outcome")


class Patience:
    """Makes calls of the Batch API until they come through.

    Parameters
    ----------
    settings : ChatSettings
    stopping : Event
        Set where the run ends.
    tell : callable
        Is told what goes wrong on the way, once each.
    """

    def __init__(self, settings: ChatSettings, stopping: Event, tell: Callable[[str], None]) -> None:
        self._settings, self._stopping, self.tell = settings, stopping, tell
        self._noted: set[str] = set()
        self._reached = False

    def note(self, told: str) -> None:
        """Tell something once."""
        if told not in self._noted:
            self._noted.add(told)
            self.tell(told)

    def tried(self, call: Callable[[], Outcome], *, most: int | None = None, absent: int = 1) -> Outcome:
        """What a call gives.

        Parameters
        ----------
        call : callable
        most : int, optional
            How often it is made at most; as often as a request is sent, if not given.
        absent : int
            How often that there is nothing must be said before it is believed.

        Raises
        ------
        ChatError
            It does not come through.
        """
        most = most or self._settings.attempts
        for failures in numbers(1):
            try:
                outcome = call()
            except Absent:
                self._reached = True
                if failures >= absent:
                    raise
                after = None
            except Again as fault:
                if fault.unreachable and (failures >= most or not self._reached):
                    raise unreachable(self._settings, fault.reason) from None
                if failures >= most:
                    raise ChatError(
                        f"The Batch API cannot be used now: {fault.reason.rstrip('.')}.",
                        hint="Run the same again later: what is submitted is waited for, and not again.",
                        retryable=True,
                    ) from None
                self.note(f"asked again: {fault.reason}")
                after = fault.after
            else:
                self._reached = True
                return outcome
            self._stopping.wait(backoff(self._settings, failures, after, 0.0))
        raise AssertionError
