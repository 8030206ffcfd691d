"""Queries that a chat model writes for the passages of a corpus that has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from eci.atomic import atomic_path
from eci.chat.asking import ChatAsker
from eci.chat.counting import Estimate, estimate
from eci.chat.journal import Journal
from eci.chat.messages import ChatRequest
from eci.chat.settings import ChatSettings
from eci.datasets import folders, write
from eci.datasets.beir import write_corpus
from eci.datasets.columns import dumped
from eci.datasets.mined import mined_rows
from eci.datasets.rows import Rows
from eci.errors import DataError
from eci.examples import ROWS
from eci.generating.asking import ask_all
from eci.generating.checks import (
    contains,
    query_of,
    says_nothing,
    speaks_of_passage,
)
from eci.generating.passages import Passages
from eci.generating.query_only import PassageQuery
from eci.generating.result import not_answered
from eci.generating.steps import Generator, Paid, expected, found, opened
from eci.lexical import words
from eci.ragged import Ragged
from eci.results import count, plain
from eci.task import EMPTY, Corpus, Ranking, RetrievalTask, text_digests
from eci.types import Progress, silent

_BATCH = 1024
# Whose folders these are.
WRITER = "eci generate queries"
# Words of a query; a text of more is a document.
_LONGEST = 64


@dataclass(frozen=True)
class Queries:
    """Queries and their passages.

    Parameters
    ----------
    task : RetrievalTask
        The queries, the whole corpus, and the passage of each query as its positive.
    extra : list of dict
        How each query was made.
    rejected : dict of str to int
        Queries that were left out, by reason.
    unanswered : list of dict
        ``passage`` and ``reason`` of each passage without an answer.
    passages : int
        For which a query was asked.
    tokens : dict of str to int
        Of all answers: ``prompt`` and ``completion``.
    settings : dict
    """

    task: RetrievalTask
    extra: list[dict[str, Any]]
    rejected: dict[str, int]
    unanswered: list[dict[str, Any]]
    passages: int
    tokens: dict[str, int]
    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """The counts, as JSON values."""
        told = ("passages", "rejected", "unanswered", "tokens", "settings", "notes")
        return {"queries": len(self.task), **{name: getattr(self, name) for name in told}}

    def to_json(self) -> str:
        """The counts, as JSON of schema ``eci.queries/1``."""
        return orjson.dumps(
            {"schema": "eci.queries/1", **self.summary()}, option=orjson.OPT_INDENT_2
        ).decode()

    def table(self) -> str:
        """The counts for a person."""
        lines = [
            f"{count(self.passages, 'passage')} → {len(self.task):,} queries of "
            f"{count(len(self.task.corpus), 'document')}"
        ]
        lines += [f"  left out: {number:,} × {reason}" for reason, number in self.rejected.items()]
        lines += not_answered(self.unanswered, "passage")
        return "\n".join([*lines, *(f"· {note}" for note in self.notes)])


def write_queries(passages: Passages, asker: ChatAsker, *, progress: Progress = silent) -> Queries:
    """Have a query written for each passage.

    Of queries that say the same, after Unicode normalisation and in lower case, the first stays.

    Parameters
    ----------
    passages : Passages
    asker : ChatAsker
    progress : Progress

    Raises
    ------
    ChatError
        The model cannot be asked, or no longer; answers are kept.
    DataError
        No query is usable.
    """
    generator = PassageQuery()
    ask_all(generator, passages, asker, progress)
    rejected, paid = Counter[str](), Paid()
    texts: list[str] = []
    kept: list[tuple[int, dict[str, Any]]] = []
    unanswered: list[dict[str, Any]] = []
    for sample in passages:
        known = found(generator, sample, asker.journal, asker.settings)
        paid.add(known.calls)
        if known.missing is not None:
            unanswered.append({"passage": sample.name, "reason": known.missing})
            continue
        (draft,) = generator.drafts(sample, known.answers).texts
        record = {
            "generator": generator.name,
            "prompts": generator.describe()["prompts"],
            "model": asker.settings.model,
        }
        texts.append(query_of(draft.text))
        kept.append(
            (
                int(passages.places[sample.number]),
                {**record, "of": sample.positive_id, "tokens": known.tokens},
            )
        )
    usable = _usable(passages.corpus, texts, [place for place, _ in kept], rejected)
    if not usable:
        reasons = [f"{reason} {number:,}" for reason, number in rejected.items()]
        reasons += [f"no answer {len(unanswered):,}"] if unanswered else []
        raise DataError(
            f"No query is usable: {', '.join(reasons)}. Read what {asker.settings.model} answered in "
            f"{asker.journal.path}, or try another model."
        )
    task, extra = _task(passages.corpus, [(texts[at], *kept[at]) for at in usable])
    settings = {"generator": generator.describe(), "limit": passages.limit, "seed": passages.seed}
    described = plain({**settings, "chat": asdict(asker.settings)})
    return Queries(task, extra, dict(rejected), unanswered, len(passages), dict(paid.tokens), described)


def estimated_queries(
    passages: Passages, chat: ChatSettings, journal: Path, then: Generator | None = None
) -> Estimate:
    """What writing the queries would take, and negatives for them where a generator is given; asks nothing.

    Where a query is not written yet, its negatives are estimated with a stand-in.

    Parameters
    ----------
    passages : Passages
    chat : ChatSettings
    journal : Path
        May be missing.
    then : Generator, optional
    """
    generator = PassageQuery()

    def requests(known: Journal | None) -> Iterator[ChatRequest]:
        yield from expected(generator, passages, known, chat)
        if then is None:
            return
        for sample in passages:
            held = found(generator, sample, known, chat).answers if known else ()
            # Of their own number, so that they are not taken for one call.
            text = (
                query_of(held[0]["query"] or "")
                if held
                else f"{generator.stand_in(0)['query']} {sample.number}"
            )
            yield from expected(then, [replace(sample, query=text)], known, chat)

    with opened(journal) as known:
        return estimate(requests(known), chat, journal)


def write_folder(made: Queries, folder: Path, *, progress: Progress = silent) -> None:
    """Write queries as a BEIR folder; its ``rows.jsonl`` has each query with its passage, without negatives.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    task = made.task
    with atomic_path(folder) as temporary:
        (temporary / "qrels").mkdir(parents=True)
        write_corpus(task.corpus, temporary / "corpus.jsonl")
        names, texts = task.query_ids.to_pylist(), task.queries.to_pylist()
        documents = task.corpus.ids.take(pa.array(task.positives.values)).to_pylist()
        with (temporary / "queries.jsonl").open("wb") as out:
            for name, text in zip(names, texts, strict=True):
                out.write(orjson.dumps({"_id": name, "text": text}, option=orjson.OPT_APPEND_NEWLINE))
        with (temporary / "qrels" / "train.tsv").open("w", encoding="utf-8") as out:
            out.write("query-id\tcorpus-id\tscore\n")
            out.writelines(f"{name}\t{each}\t1\n" for name, each in zip(names, documents, strict=True))
        rows = Rows("eci", (), lambda _: _rows(made), 1)
        write(rows, temporary / "rows.jsonl", "eci", progress=progress)
        folders.mark(temporary, WRITER, "beir")


def _rows(made: Queries) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(made.task), _BATCH):
        queries = np.arange(start, min(start + _BATCH, len(made.task)))
        none = Ragged.from_lengths(np.empty(0, dtype=np.int64), np.zeros(len(queries), dtype=np.int64))
        batch = mined_rows(made.task, queries, Ranking(none, none.within, none.values * 1.0, ""), "")
        extra = dumped(made.extra[start : start + len(queries)])
        yield pa.RecordBatch.from_arrays([*batch.columns[:-1], extra], schema=ROWS)


def _usable(corpus: Corpus, texts: Sequence[str], places: Sequence[int], rejected: Counter[str]) -> list[int]:
    """Which queries are fit to be asked, and not there before."""
    digests = text_digests(None, pa.array(texts, pa.large_string())).tolist()
    held = corpus.take(np.array(places, dtype=np.int64))
    passages = [text_digests(titles, held.texts).tolist() for titles in (held.titles, None)]
    shown = held.shown()
    seen: set[int] = set()
    kept = []
    for at, (digest, *own) in enumerate(zip(digests, *passages, strict=True)):
        if digest == EMPTY or says_nothing(texts[at]):
            rejected["the model found nothing to ask"] += 1
        elif digest in own:
            rejected["the passage itself"] += 1
        elif why := _unfit(texts[at], shown[at]):
            rejected[why] += 1
        elif digest in seen:
            rejected["asks what another asks"] += 1
        else:
            seen.add(digest)
            kept.append(at)
    return kept


def _unfit(query: str, passage: str) -> str | None:
    """Why a text is no query for a passage, if it is none."""
    if len(words(query)) > _LONGEST:
        return f"more than {_LONGEST} words"
    if speaks_of_passage(query):
        return "speaks of the passage"
    return "copied from the passage" if contains(passage, query) else None


def _task(
    corpus: Corpus, made: Sequence[tuple[str, int, dict[str, Any]]]
) -> tuple[RetrievalTask, list[dict[str, Any]]]:
    """A task of queries, places of their passages, and records."""
    places = np.array([place for _, place, _ in made], dtype=np.int64)
    ids = [f"{name}~query" for name in corpus.ids.take(pa.array(places)).to_pylist()]
    positives = Ragged.from_lengths(places, np.ones(len(made), dtype=np.int64))
    nothing = positives.keep(np.zeros(len(made), dtype=np.bool_))
    queries = pa.array([text for text, _, _ in made], pa.string())
    task = RetrievalTask.of(pa.array(ids, pa.string()), queries, corpus, positives, nothing)
    return task, [{"query": record} for _, _, record in made]
