"""Threads that work through requests, so many at a time."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Generic, TypeVar

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


class Crew(Generic[Task, Outcome]):
    """Threads that do one piece of work each, begun as they are needed.

    Parameters
    ----------
    work : callable
        Gives the outcome of a task, or None if it is to be taken up again later.
    most : int
        Threads.
    stopping : Event
        Set by `stop`; work that waits watches it.
    """

    def __init__(self, work: Callable[[Task], Outcome | None], most: int, stopping: Event) -> None:
        self._work, self._most, self._stopping = work, most, stopping
        self._todo: SimpleQueue[Task | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[Task, Outcome | BaseException]] = SimpleQueue()
        self._threads: list[Thread] = []

    def put(self, task: Task) -> None:
        """Have a task done."""
        self._todo.put(task)
        if len(self._threads) < self._most:
            # Daemons: whoever interrupts a run does not wait for answers under way.
            thread = Thread(target=self._run, daemon=True, name="eci-chat")
            self._threads.append(thread)
            thread.start()

    def ready(self) -> bool:
        """Whether `take` would not wait."""
        return not self._done.empty()

    def take(self, seconds: float) -> tuple[Task, Outcome] | None:
        """The next task that is done, and its outcome; None if none is in time. Raises what the work did."""
        try:
            task, outcome = self._done.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        return task, outcome

    def stop(self, *, wait: bool) -> None:
        """Begin no more tasks; wait for those that are being done, or do not."""
        self._stopping.set()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _run(self) -> None:
        while True:
            task = self._todo.get()
            if task is None or self._stopping.is_set():
                return
            try:
                outcome: Outcome | BaseException | None = self._work(task)
            except BaseException as error:  # noqa: BLE001
                # At once: until it is raised, another request would be sent.
                self._stopping.set()
                outcome = error
            if outcome is None:
                self._todo.put(task)
            else:
                self._done.put((task, outcome))
