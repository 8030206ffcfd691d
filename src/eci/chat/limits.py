"""How soon the next request may go."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

# Seconds of a limit that may be used at once after a pause.
_BURST = 1.0
_MINUTE = 60.0


class Pace:
    """Spaces requests and tokens out over the minute; threads share one.

    Two clocks run ahead of the time, one for requests and one for tokens, each by what was let through (the
    generic cell rate algorithm). A minute lets through its limit and one second's worth more, never a burst
    of the whole limit: endpoints count in shorter spans too.

    Parameters
    ----------
    rpm, tpm : int, optional
        Most requests and most tokens a minute.
    clock : callable
        Seconds that only grow.

    Examples
    --------
    >>> pace = Pace(rpm=60, clock=lambda: 0.0)
    >>> [pace.reserve(100) for _ in range(4)]
    [0.0, 0.0, 1.0, 2.0]
    """

    def __init__(
        self, rpm: int | None = None, tpm: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._spans = [_MINUTE / rpm if rpm else 0.0, _MINUTE / tpm if tpm else 0.0]
        self._free = [clock() - _BURST] * 2
        self._lock = Lock()

    def reserve(self, tokens: float) -> float:
        """Seconds until one more request of so many tokens may go; its place is then taken."""
        with self._lock:
            now = self._clock()
            wait = max(0.0, *(free - now for free in self._free))
            for place, amount in enumerate((1.0, tokens)):
                begin = max(self._free[place], now - _BURST)
                self._free[place] = begin + amount * self._spans[place]
            return wait

    def settle(self, tokens: float) -> None:
        """Take so many tokens more, or fewer where negative, than were reserved."""
        with self._lock:
            self._free[1] += tokens * self._spans[1]

    def pause(self, seconds: float) -> None:
        """Let nothing through for some seconds, as the endpoint asked."""
        with self._lock:
            until = self._clock() + seconds
            self._free = [max(free, until) for free in self._free]
