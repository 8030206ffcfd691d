"""A chat model is asked about the likely false negatives, or about all negatives, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from eci.audit.findings import Findings
from eci.audit.flagged import Flagged, FlaggedTexts, calls
from eci.audit.material import Material
from eci.audit.prompts import WAYS, Question, Way
from eci.audit.verdicts import Verdict, scores_of
from eci.chat.counting import estimate
from eci.chat.messages import Asker, ChatReply, ChatRequest
from eci.chat.settings import ChatSettings
from eci.datasets.grouping import Batches
from eci.errors import ChatError, EciError
from eci.ragged import Ragged
from eci.results import count, plain
from eci.spilled import Column
from eci.types import Progress

# Reasons that are told by name.
_REASONS = 10


@dataclass(frozen=True)
class Judge:
    """Who is asked whether negatives are answers, and how.

    Parameters
    ----------
    asker : Asker, optional
        Such as ``eci.chat.asking.ChatAsker``. Without one nobody is asked: the result tells what would be,
        and about what it would cost.
    chat : ChatSettings
        Which model is asked, and what its tokens cost.
    by : {"rlhn", "arhn"}
        Whether a document answers as well as the labelled ones (arXiv 2505.16967, one stage, up to 25
        documents in a call), or whether a snippet of it answers (arXiv 2604.11092, without the ranking
        that follows there: a snippet need not be as good an answer as what is labelled).
    limit : int, optional
        Most pairs of a query and a document to ask about, the most severe first.
    every : bool
        Ask about every negative that has text and is not known to answer, not about likely answers alone.
    journal : Path, optional
        Where the asker keeps its answers: what is there costs nothing, and is not estimated.
    """

    asker: Asker | None
    chat: ChatSettings
    by: str = "rlhn"
    limit: int | None = None
    every: bool = False
    journal: Path | None = None

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise EciError(f"a judge judges by {' or '.join(WAYS)}, got {self.by!r}.")
        if self.limit is not None and self.limit < 1:
            raise EciError(f"the limit of a judge must be at least 1, got {self.limit}.")


def judged(
    found: Findings, material: Material, batches: Batches, judge: Judge, progress: Progress
) -> tuple[Findings, dict[str, Any]]:
    """Findings with what a judge says of the negatives that it is to judge.

    Parameters
    ----------
    found : Findings
    material : Material
        Of the same rows.
    batches : callable
        Gives the rows again; not called where there is nothing to ask.
    judge : Judge
    progress : Progress

    Returns
    -------
    findings : Findings
        With scores of ``judged_false_negative``.
    told : dict
        What was asked and answered, for ``AuditResult.data["judge"]``.

    Raises
    ------
    ChatError
        The judge cannot be asked, or no longer. What it answered is kept by the asker.
    """
    pairs, way = Flagged.of(found, material, judge.limit, every=judge.every), WAYS[judge.by]
    told: dict[str, Any] = {
        "model": judge.chat.model,
        "by": judge.by,
        "limit": judge.limit,
        "every": judge.every,
        "chat": plain(asdict(judge.chat)),
        "pairs": pairs.total,
    }
    if not len(pairs):
        return found, {**told, **_Tally(way).to_dict(judge)}
    progress("reading the flagged pairs", 0, 0)
    texts = FlaggedTexts.read(batches(Counter()), pairs, material, way.labelled)
    questions = _Questions(pairs, texts, calls(pairs, texts, way.most), judge)
    expected = estimate(questions.requests(), judge.chat, judge.journal)
    made = {each.name: getattr(expected, each.name) for each in fields(expected) if each.name != "first"}
    shown = {"labelled_left_out": texts.left_out, "labelled_shortened": texts.shortened}
    told |= {**shown, "estimate": {**made, "calls": expected.calls}}
    if judge.asker is None:
        told["dry_run"] = f"{expected.described()}. The first prompts:\n{expected.prompts()}"
        return found, {**told, **_Tally(way).to_dict(judge)}
    progress(f"asking {expected.described()}", 0, 0)
    tally = _asked(questions, judge.asker, way, progress)
    verdicts = {
        negative: verdict
        for pair, verdict in tally.verdicts.items()
        for negative in pairs.negatives[pair].tolist()
    }
    found, scores = replace(found, verdicts=verdicts), Column(np.float32)
    for _, _, part in found.parts():
        scores.add(scores_of(part.verdicts, part.negatives))
    found = replace(found, scores={**found.scores, "judged_false_negative": scores.done()})
    return found, {**told, **tally.to_dict(judge)}


def refuse_unanswered(told: Mapping[str, Any]) -> None:
    """Raise a `ChatError` if a judge left too much unanswered for rows to be mended by its word.

    Parameters
    ----------
    told : mapping
        ``AuditResult.data["judge"]``.
    """
    hint = "Without --fix, the result tells what there is so far."
    if told["open"]:
        raise ChatError(
            f"Nothing was mended: {count(told['open'], 'pair')} of {told['asked']:,} got no answer from the "
            f"judge, for reasons that may pass ({next(iter(told['unanswered']))}).",
            hint=f"All answers are kept: the same command again asks the rest. {hint}",
            retryable=True,
        )
    if told["asked"] and not told["answered"]:
        raise ChatError(
            f"Nothing was mended: the judge gave no verdict on any of {count(told['asked'], 'pair')} "
            f"({next(iter(told['unanswered']))}).",
            hint=f"Choose another model; --retry-failed asks this one again. {hint}",
        )


@dataclass(frozen=True)
class _Questions:
    """Calls, made one by one as they are wanted."""

    pairs: Flagged
    texts: FlaggedTexts
    calls: Ragged
    judge: Judge

    def __len__(self) -> int:
        return len(self.calls)

    def question(self, call: int) -> Question:
        own = self.calls[call]
        row = int(self.pairs.query[own[0]])
        documents = tuple(self.texts.documents[each] for each in self.pairs.document[own].tolist())
        return Question(self.texts.queries[row], self.texts.labelled.get(row, ()), documents)

    def request(self, call: int) -> ChatRequest:
        return WAYS[self.judge.by].request(str(call), f"audit_{self.judge.by}", self.question(call))

    def requests(self) -> Iterator[ChatRequest]:
        return map(self.request, range(len(self)))


class _Tally:
    """Replies as they come in."""

    def __init__(self, way: Way) -> None:
        self.verdicts: dict[int, Verdict] = {}
        self._missing: Counter[str] = Counter()
        self._words = Counter(dict.fromkeys(way.words, 0))
        self._counts: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self.calls = 0
        self._way = way

    def add(self, reply: ChatReply, pairs: list[int], question: Question) -> None:
        """Take in the reply to a question about some pairs."""
        self.calls += 1
        self._counts["kept"] += reply.kept
        self._retries.update(reply.retries)
        if not reply.kept:
            self._counts["prompt_tokens"] += reply.prompt_tokens
            self._counts["completion_tokens"] += reply.completion_tokens
        self._counts["open"] += len(pairs) * reply.open
        if reply.value is None:
            self._missing[reply.error or "no answer"] += len(pairs)
            return
        answer = self._way.read(reply.value, question)
        self._counts["strangers"] += answer.strangers
        for place, verdict in answer.verdicts.items():
            self.verdicts[pairs[place]] = verdict
            self._words[verdict.word] += 1
        self._missing.update(answer.missing.values())

    def to_dict(self, judge: Judge) -> dict[str, Any]:
        """The counts."""
        answered, confirmed = len(self.verdicts), sum(each.confirms for each in self.verdicts.values())
        reasons = dict(self._missing.most_common(_REASONS))
        rest = self._missing.total() - sum(reasons.values())
        tokens = self._counts["prompt_tokens"], self._counts["completion_tokens"]
        return {
            "asked": answered + self._missing.total(),
            "answered": answered,
            "verdicts": dict(self._words),
            "confirmed": confirmed,
            "agreement": confirmed / answered if answered and not judge.every else None,
            "unanswered": {**reasons, **({"other reasons": rest} if rest else {})},
            "open": self._counts["open"],
            "retries": dict(self._retries),
            "calls": self.calls,
            **{name: self._counts[name] for name in ("strangers", "kept")},
            **dict(zip(("prompt_tokens", "completion_tokens"), tokens, strict=True)),
            "cost": judge.chat.cost(*tokens),
        }


def _asked(questions: _Questions, asker: Asker, way: Way, progress: Progress) -> _Tally:
    tally = _Tally(way)
    try:
        for done, reply in enumerate(asker.ask(questions.requests()), start=1):
            call = int(reply.request.key)
            tally.add(reply, questions.calls[call].tolist(), questions.question(call))
            progress("calls answered", done, len(questions))
    except ChatError as error:
        if not tally.calls:
            raise
        kept = f"Answers to {tally.calls:,} of {count(len(questions), 'call')} are kept"
        hint = f"{error.hint} {kept}: the same command again asks the rest."
        raise ChatError(error.what, hint=hint, retryable=error.retryable) from error
    return tally
