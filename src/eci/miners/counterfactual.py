"""Negatives made of a labelled positive by changing one fact that it states; no model takes part."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np

from eci.errors import EciError
from eci.lexical import words
from eci.miners.edits import KINDS, RULES, Entities, Fact, Page, Rule
from eci.ragged import Ragged
from eci.task import Ranking, RetrievalTask, Written
from eci.types import Integers

# Documents that names are taken from, and characters of each.
_SAMPLE = 2000
_SAMPLED = 2000
# Shorter words say little about what a query asks.
_TELLING = 4


@dataclass(frozen=True)
class CounterfactualSettings:
    """What to change in a positive.

    Parameters
    ----------
    kinds : tuple of str
        Of ``edits.KINDS``.
    seed : int
        Decides which facts are changed, and to what.
    within : int
        Only facts in the first so many characters of a document's text: encoders cut long texts.
    """

    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    within: int = 1000

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise EciError(
                f"kinds of edits are some of {', '.join(KINDS)}, each once; "
                f"got {', '.join(map(repr, self.kinds)) or 'none'}."
            )
        if self.within < 1:
            raise EciError(f"within must be at least 1 character, got {self.within}.")


@dataclass(frozen=True)
class _Document:
    """A positive: its facts, and the telling words of the sentence around each.

    `name` is its id, else a digest of its text; `of` is its id, else its index.
    """

    name: str
    of: str | int
    title: str | None
    text: str
    facts: tuple[tuple[Fact, frozenset[str]], ...]


@dataclass(frozen=True)
class _Asked:
    """A query, and what its negatives may not say."""

    key: str
    text: str
    words: frozenset[str]

    @classmethod
    def of(cls, task: RetrievalTask, query: int) -> _Asked:
        text = task.queries[query].as_py()
        return cls(task.query_ids[query].as_py() or text, text.casefold(), frozenset(words(text)))

    def says(self, kind: str, option: str) -> bool:
        """Whether an edit would bring in what the query names."""
        if kind == "entity":
            return option.casefold() in self.text
        return kind != "negation" and self.words.issuperset(words(option))


class CounterfactualMiner:
    """Copies of a labelled positive in which one number, date, unit, negation or name is another.

    Such a negative has the words of the positive and states something else. A fact in a sentence that
    shares words with the query is more often chosen: elsewhere a change may leave the answer as it was.

    Parameters
    ----------
    task : RetrievalTask
    settings : CounterfactualSettings
    """

    label = "counterfactual"

    def __init__(self, task: RetrievalTask, settings: CounterfactualSettings | None = None) -> None:
        self.task, self.settings = task, settings or CounterfactualSettings()

    def describe(self) -> dict[str, Any]:
        """Name and settings."""
        return {"name": "counterfactual", **asdict(self.settings), "kinds": list(self.settings.kinds)}

    def mine(self, queries: Integers, depth: int) -> Ranking:
        """At most `depth` edits of each query's positives, kinds taking turns; fewer where few facts fit."""
        read = _Reader(self.task, self._rules, self.settings.within)
        written: list[Written] = []
        lengths = []
        for query in queries.tolist():
            made = list(self._made(read, query, depth))
            written += made
            lengths.append(len(made))
        documents = len(self.task.corpus) + np.arange(len(written), dtype=np.int64)
        ranks = [np.arange(1, length + 1, dtype=np.int64) for length in lengths]
        return Ranking(
            Ragged.from_lengths(documents, lengths),
            np.concatenate(ranks) if ranks else np.empty(0, dtype=np.int64),
            np.full(len(written), np.nan),
            "counterfactual",
            tuple(written),
        )

    def score_positives(self, queries: Integers) -> Ragged:  # noqa: ARG002
        """Rules give no scores."""
        raise EciError(
            "Counterfactual negatives have no scores to compare. Name a --teacher that gives them."
        )

    @cached_property
    def _rules(self) -> dict[str, Rule]:
        return {kind: RULES[kind] if kind in RULES else self._entities() for kind in self.settings.kinds}

    def _entities(self) -> Entities:
        size = len(self.task.corpus)
        drawn = np.random.default_rng(_number(f"names\0{self.settings.seed}"))
        places = np.sort(drawn.choice(size, min(_SAMPLE, size), replace=False))
        texts = self.task.corpus.take(places).texts.to_pylist()
        return Entities.of((text[:_SAMPLED] for text in texts), self.settings.seed)

    def _made(self, read: _Reader, query: int, depth: int) -> Iterator[Written]:
        asked = _Asked.of(self.task, query)
        taken = set().union(*(read.forms(known) for known in self.task.known[query].tolist()))
        documents = [read.document(positive) for positive in self.task.positives[query].tolist()]
        left = depth
        for document, fact, option in _turns(asked, documents, self.settings):
            if left < 1:
                return
            text = fact.changed(document.text, option)
            forms = _forms(document.title, text)
            if not asked.says(fact.kind, option) and taken.isdisjoint(forms):
                taken |= forms
                left -= 1
                yield _written(document, fact, option, text)


@dataclass(frozen=True)
class _Reader:
    """Documents, each read once in a call."""

    task: RetrievalTask
    rules: Mapping[str, Rule]
    within: int
    documents: dict[int, _Document] = field(default_factory=dict)
    normal: dict[int, frozenset[str]] = field(default_factory=dict)

    def document(self, index: int) -> _Document:
        if index not in self.documents:
            self.documents[index] = self._read(index)
        return self.documents[index]

    def forms(self, index: int) -> frozenset[str]:
        if index not in self.normal:
            corpus = self.task.corpus
            self.normal[index] = _forms(corpus.titles[index].as_py(), corpus.texts[index].as_py())
        return self.normal[index]

    def _read(self, index: int) -> _Document:
        corpus = self.task.corpus
        title, text = corpus.titles[index].as_py(), corpus.texts[index].as_py()
        page = Page.of(title, text, self.within)
        facts = [fact for rule in self.rules.values() for fact in rule(page)]
        telling: dict[str, frozenset[str]] = {}
        around = [page.sentence(fact.start) for fact in facts]
        for sentence in around:
            if sentence not in telling:
                telling[sentence] = _telling(sentence)
        near = (telling[sentence] for sentence in around)
        own = corpus.ids[index].as_py()
        name = own or hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return _Document(name, own or index, title, text, tuple(zip(facts, near, strict=True)))


def _turns(
    asked: _Asked, documents: Sequence[_Document], settings: CounterfactualSettings
) -> Iterator[tuple[_Document, Fact, str]]:
    """Edits in the order in which to try them: kind after kind, and every fact before any fact again."""
    start = hashlib.blake2b(f"{settings.seed}\0{asked.key}".encode(), digest_size=8)
    queues: dict[str, list[tuple[float, int, _Document, Fact]]] = {kind: [] for kind in settings.kinds}
    for document in documents:
        for fact, near in document.facts:
            number = _number(f"\0{document.name}\0{fact.kind}\0{fact.start}", start)
            # Weighted sampling without replacement (Efraimidis and Spirakis 2006).
            order = -math.log((number + 1) / 2**64) / (1 + len(near & asked.words)) ** 2
            queues[fact.kind].append((order, number, document, fact))
    kinds = sorted(queues, key=lambda kind: _number(f"\0{kind}", start))
    rows = zip_longest(*(sorted(queues[kind], key=lambda each: each[:2]) for kind in kinds))
    ordered = [each for row in rows for each in row if each is not None]
    for turn in range(max((len(fact.options) for *_, fact in ordered), default=0)):
        for _, number, document, fact in ordered:
            if turn < len(fact.options):
                yield document, fact, fact.options[(number + turn) % len(fact.options)]


def _written(document: _Document, fact: Fact, option: str, text: str) -> Written:
    told = hashlib.blake2b(option.encode(), digest_size=4).hexdigest()
    record = {
        "edit": fact.kind,
        "from": fact.told(document.text),
        "to": option,
        "start": fact.start,
        "of": document.of,
    }
    if document.title:
        record["title"] = document.title
    return Written(f"{document.name}~{fact.kind}-{fact.start}-{told}", text, record)


def _forms(title: str | None, text: str) -> frozenset[str]:
    """A text without and with its title, as texts are compared to tell whether they are the same."""
    plain = _normal(text)
    return frozenset((plain, f"{_normal(title)} {plain}".strip())) if title else frozenset((plain,))


def _normal(text: str) -> str:
    return " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).lower().split())


def _telling(text: str) -> frozenset[str]:
    return frozenset(word for word in words(text) if len(word) >= _TELLING)


def _number(text: str, start: hashlib.blake2b | None = None) -> int:
    """A number below 2⁶⁴ that the text, after what `start` holds, decides."""
    digest = start.copy() if start else hashlib.blake2b(digest_size=8)
    digest.update(text.encode())
    return int.from_bytes(digest.digest(), "big")
