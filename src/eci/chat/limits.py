"""How soon the next request may go."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock

# Seconds of a limit that may be used at once after a pause.
_BURST = 1.0
_MINUTE = 60.0


class Pace:
    """Spaces requests and tokens out over the minute; threads share one.

    Two clocks run ahead of the time, one for requests and one for tokens, each by what was let through (the
    generic cell rate algorithm). A minute lets through its limit and one second's worth more, never a burst
    of the whole limit: endpoints count in shorter spans too. In a pause both clocks stand still.

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
        self._until, self._paused = 0.0, 0.0
        self._lock = Lock()

    def reserve(self, tokens: float) -> float:
        """Seconds until one more request of so many tokens may go; its place is then taken."""
        with self._lock:
            return self._reserved(tokens)

    def turn(self, tokens: float, stopping: Event) -> bool:
        """Wait until one more request of so many tokens may go, and for pauses that come meanwhile.

        Returns
        -------
        bool
            Whether it may go; False where the run ends.
        """
        with self._lock:
            wait, paused = self._reserved(tokens), self._paused
        while wait > 0:
            if stopping.wait(wait):
                return False
            with self._lock:
                wait, paused = self._paused - paused, self._paused
        return not stopping.is_set()

    def settle(self, tokens: float) -> None:
        """Take so many tokens more, or fewer where negative, than were reserved."""
        with self._lock:
            self._free[1] += tokens * self._spans[1]

    def pause(self, seconds: float) -> None:
        """Let nothing through for some seconds, as the endpoint asked; two pauses at a time are one."""
        with self._lock:
            now = self._clock()
            more = max(0.0, now + seconds - max(now, self._until))
            self._until = max(self._until, now + seconds)
            self._paused += more
            self._free = [free + more for free in self._free]

    def _reserved(self, tokens: float) -> float:
        now = self._clock()
        limited = [place for place, span in enumerate(self._spans) if span]
        wait = max(0.0, self._until - now, *(self._free[place] - now for place in limited))
        for place in limited:
            # From its own slot: one that waits for tokens is no request of now.
            begin = max(self._free[place], now + wait - _BURST)
            self._free[place] = begin + (1.0, tokens)[place] * self._spans[place]
        return wait
