"""Every call of a run, each as soon as what it depends on is answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from eci.chat.messages import Asker, ChatRequest
from eci.errors import ChatError
from eci.generating.samples import Sample
from eci.generating.steps import Generator, number_of
from eci.types import Progress


class Sequenced(Protocol):
    """Samples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Sample: ...


def ask_all(generator: Generator, samples: Sequenced, asker: Asker, progress: Progress) -> None:
    """Have every call of every sample answered, or settled without an answer.

    The answers are where the asker keeps them; here only those are held on which a call under way depends, so
    memory does not grow with the samples. A call that depends on an answer goes before samples that have not
    begun.

    Parameters
    ----------
    generator : Generator
    samples : sequence of Sample
    asker : Asker
    progress : Progress

    Raises
    ------
    ChatError
        The model cannot be asked, or no longer. What it answered is kept.
    """
    run = _Run(generator, samples)
    stage = f"asking for {generator.name}"
    progress(stage, 0, len(samples))
    try:
        for reply in asker.ask(run.requests()):
            run.take(number_of(reply.request), reply.value)
            progress(stage, run.done, len(samples))
    except ChatError as error:
        if not run.replies:
            raise
        hint = f"{error.hint} The answers so far are kept: the same command again asks the rest."
        raise ChatError(error.what, hint=hint, retryable=error.retryable) from error


class _Run:
    """Which calls are due."""

    def __init__(self, generator: Generator, samples: Sequenced) -> None:
        self._generator, self._samples = generator, samples
        self._answers: dict[int, tuple[Mapping[str, Any], ...]] = {}
        self.waiting: deque[ChatRequest] = deque()
        self.begun = self.done = self.asked = self.replies = 0

    def requests(self) -> Iterator[ChatRequest | None]:
        """Those that are due; None while only answers can bring more."""
        while self.waiting or self.begun < len(self._samples) or self.replies < self.asked:
            due = self._due()
            if due is not None:
                self.asked += 1
                yield due
            elif self.begun == len(self._samples):
                yield None

    def _due(self) -> ChatRequest | None:
        if self.waiting:
            return self.waiting.popleft()
        if self.begun == len(self._samples):
            return None
        self.begun += 1
        return self._generator.request(self._samples[self.begun - 1], ())

    def take(self, number: int, value: Mapping[str, Any] | None) -> None:
        self.replies += 1
        answers = self._answers.pop(number, ())
        further = None
        if value is not None:
            answers = (*answers, value)
            further = self._generator.request(self._samples[number], answers)
        if further is None:
            self.done += 1
        else:
            self._answers[number] = answers
            self.waiting.append(further)
