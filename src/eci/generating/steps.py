"""What every way to write negatives has in common: the steps of its calls, and drafts at their end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from eci.chat.entries import Entry, digest_of
from eci.chat.journal import Journal
from eci.chat.messages import ChatRequest
from eci.chat.messages import material as as_json
from eci.chat.settings import ChatSettings
from eci.errors import EciError
from eci.generating.samples import Sample
from eci.miners.prompts import Prompt

Answers: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Draft:
    """A negative as the model wrote it.

    Parameters
    ----------
    text : str
    record : mapping
        How it was made, as JSON values, beside what every negative of the run has.
    """

    text: str
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drafts:
    """What the answers for a sample say.

    Parameters
    ----------
    texts : tuple of Draft
        All of them, also beyond those that were asked for.
    rejected : Counter of str
        Drafts that are none, by reason.
    """

    texts: tuple[Draft, ...]
    rejected: Counter[str] = field(default_factory=Counter)


NO_FORM = "of another form than asked for"


class Generator(Protocol):
    """A way to write negatives: by one call for a sample, or by several that build on each other."""

    @property
    def name(self) -> str:
        """What `extra` and the command line call it."""
        ...

    @property
    def count(self) -> int:
        """Negatives asked for, of a sample."""
        ...

    def describe(self) -> dict[str, Any]:
        """Everything that decides the requests, as JSON values."""
        ...

    def request(self, sample: Sample, answers: Answers, /) -> ChatRequest | None:
        """The call after those that were answered; None after the last."""
        ...

    def drafts(self, sample: Sample, answers: Answers, /) -> Drafts:
        """The negatives in the answers to all calls."""
        ...

    def words(self, sample: Sample, /) -> int:
        """Words of the negatives in an answer of the length that is asked for, or of the positive's."""
        ...

    def stand_in(self, step: int, /) -> Mapping[str, Any]:
        """An answer of usual length to a call, to estimate those after it."""
        ...


def listed(answer: Mapping[str, Any], record: Mapping[str, Any]) -> Drafts:
    """The drafts of a list of texts."""
    drafts = tuple(Draft(text, record) for text in answer["negatives"] if text is not None)
    return Drafts(drafts, +Counter({NO_FORM: len(answer["negatives"]) - len(drafts)}))


def refuse_count(count: int) -> None:
    """Raise an `EciError` unless so many negatives can be asked for."""
    if not 1 <= count <= 20:
        raise EciError(f"From 1 to 20 negatives are asked for in one call, got {count}.")


def request(key: str, sample: Sample, prompt: Prompt, material: Mapping[str, Any]) -> ChatRequest:
    """A call for a sample; `number_of` finds the sample again."""
    named = f"{sample.number}: {key} for {sample.name}"
    messages = (("system", prompt.system), ("user", as_json(material)))
    # What answers take is told by name: of more documents, more.
    name = f"{prompt.name}_{material['count']}" if "count" in material else prompt.name
    return ChatRequest(named, messages, prompt.schema, name, sample.seed)


def number_of(asked: ChatRequest) -> int:
    """The number of the sample that a call is for."""
    return int(asked.key.partition(":")[0])


@dataclass(frozen=True)
class Call:
    """A call, by the first bytes of what a journal finds it by, and its tokens of all attempts."""

    digest: bytes
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Found:
    """What a journal has for a sample.

    Parameters
    ----------
    answers : tuple of mapping
        To the calls so far.
    missing : str, optional
        Why there is no further answer although one was asked for; None after the last call.
    calls : tuple of Call
        As far as they were asked.
    """

    answers: tuple[Mapping[str, Any], ...]
    missing: str | None
    calls: tuple[Call, ...]

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens of its calls: ``prompt`` and ``completion``."""
        return {
            "prompt": sum(call.prompt_tokens for call in self.calls),
            "completion": sum(call.completion_tokens for call in self.calls),
        }


class Paid:
    """Tokens of calls, each counted once: samples of one prompt share an answer.

    Attributes
    ----------
    tokens : Counter of str
        ``prompt`` and ``completion``.
    """

    def __init__(self) -> None:
        self.tokens = Counter(prompt=0, completion=0)
        self._seen: set[bytes] = set()

    def add(self, calls: Iterable[Call]) -> None:
        """Count those calls that were not there before."""
        for call in calls:
            if call.digest not in self._seen:
                self._seen.add(call.digest)
                self.tokens.update(prompt=call.prompt_tokens, completion=call.completion_tokens)


def found(generator: Generator, sample: Sample, journal: Journal, settings: ChatSettings) -> Found:
    """What a journal has for a sample; nothing is asked."""
    answers: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[Call, ...] = ()
    while (asked := generator.request(sample, answers)) is not None:
        digest = digest_of(asked, settings)
        entry = journal.find(digest) or Entry("open")
        calls = (*calls, Call(digest[:12], entry.prompt_tokens, entry.completion_tokens))
        if entry.value is None:
            return Found(answers, entry.error or "it was not asked", calls)
        answers = (*answers, entry.value)
    return Found(answers, None, calls)


def expected(
    generator: Generator, samples: Iterable[Sample], journal: Journal | None, settings: ChatSettings
) -> Iterator[ChatRequest]:
    """All calls of a run; those that depend on answers that are not there are made with a stand-in."""
    for sample in samples:
        answers: tuple[Mapping[str, Any], ...] = ()
        while (asked := generator.request(sample, answers)) is not None:
            yield asked
            entry = journal.find(digest_of(asked, settings)) if journal else None
            value = entry.value if entry else None
            answers = (*answers, generator.stand_in(len(answers)) if value is None else value)


@contextmanager
def opened(journal: Path) -> Iterator[Journal | None]:
    """A journal to read alone; None where there is no such file or nothing in it, and it stays so."""
    there = journal.is_file() and journal.stat().st_size > 0
    known = Journal(journal, read_only=True) if there else None
    try:
        yield known
    finally:
        if known:
            known.close()
