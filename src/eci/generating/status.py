"""How far the requests in a journal are."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import orjson

from eci.chat.entries import Group, Status
from eci.chat.journal import Journal
from eci.chat.masking import shown
from eci.chat.opening import damaged
from eci.chat.sending import kind
from eci.chat.submitted import UnderWay, under_way
from eci.results import count

_WORDS = {
    "answered": "answered",
    "failed": "without a usable answer (--retry-failed asks again)",
    "open": "to be asked again by the next run",
    "asked": "being asked, or left by a run that was killed",
}
# Reasons that are told.
_MOST = 10
_EPOCH = datetime.fromtimestamp(0, timezone.utc)


@dataclass(frozen=True)
class JournalStatus:
    """Requests of a journal by state, their tokens and their cost.

    Parameters
    ----------
    journal : str
    states : dict of str to int
        ``answered``, ``failed``, ``open`` and ``asked``.
    prompt_tokens, completion_tokens : int
        Of all requests and attempts.
    cost : float, optional
        None without a price.
    models : list of dict
        ``model``, ``requests``, ``answered``, ``prompt_tokens`` and ``completion_tokens`` of each model.
    batches : list of dict
        ``id``, ``url``, ``requests`` without an answer and ``since`` of each batch under way.
    reasons : dict of str to int
        Why there is no answer, the ten most frequent.
    last_answer : str, optional
        When the last answer came. Times are of ISO 8601, in UTC.
    """

    journal: str
    states: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    models: list[dict[str, str | int]]
    batches: list[dict[str, str | int]]
    reasons: dict[str, int]
    last_answer: str | None

    def to_json(self) -> str:
        """Everything, as JSON of schema ``eci.journal/1``."""
        return orjson.dumps({"schema": "eci.journal/1", **asdict(self)}, option=orjson.OPT_INDENT_2).decode()

    def table(self) -> str:
        """The counts for a person."""
        lines = [f"{self.journal}: {count(sum(self.states.values()), 'request')}"]
        lines += [f"  {number:,} {_WORDS[state]}" for state, number in self.states.items() if number]
        for each in self.models:
            told = f"{each['answered']:,} of {count(int(each['requests']), 'request')} answered"
            tokens = f"{each['prompt_tokens']:,} tokens of prompts, {each['completion_tokens']:,} of answers"
            lines.append(f"model {each['model']}: {told}, {tokens}")
        for each in self.batches:
            waiting = count(int(each["requests"]), "request")
            told = f"{waiting} without an answer yet, submitted {each['since']}"
            lines.append(f"batch {each['id']} at {each['url']}: {told}")
        lines += [f"without an answer: {number:,} × {reason}" for reason, number in self.reasons.items()]
        if self.last_answer:
            lines.append(f"last answer: {self.last_answer}")
        cost = "" if self.cost is None else f"; cost {self.cost:,.4f}"
        tokens = f"{self.prompt_tokens:,} of prompts, {self.completion_tokens:,} of answers"
        lines.append(f"tokens: {tokens}{cost}")
        return shown("\n".join(lines))


def journal_status(path: Path, price: tuple[float, float] | None = None) -> JournalStatus:
    """Requests of a journal by state; nothing is written, and a run that goes on is not disturbed.

    Parameters
    ----------
    path : Path
    price : (float, float), optional
        Of a million tokens of prompts and of answers.

    Raises
    ------
    ChatError
        The file is not there, empty or no journal.
    """
    opened = Journal(path, read_only=True)
    try:
        return _told(path, opened.status(), under_way(opened), price)
    except (TypeError, ValueError, ArithmeticError) as error:  # SQLite keeps any value in any column
        raise damaged(path, str(error)) from error
    finally:
        opened.close()


def _told(
    path: Path, found: Status, batches: list[UnderWay], price: tuple[float, float] | None
) -> JournalStatus:
    prompts, completions = found.prompt_tokens, found.completion_tokens
    return JournalStatus(
        journal=str(path),
        states={state: found.states.get(state, 0) for state in _WORDS},
        prompt_tokens=prompts,
        completion_tokens=completions,
        cost=None if price is None else (prompts * price[0] + completions * price[1]) / 1_000_000,
        models=_models(found.groups),
        batches=[_batch(each) for each in batches],
        reasons=_reasons(found),
        last_answer=None if found.last is None else _time(found.last),
    )


def _models(groups: tuple[Group, ...]) -> list[dict[str, str | int]]:
    models: dict[str, Counter[str]] = {}
    for group in groups:
        counts = models.setdefault(group.model, Counter(answered=0))
        counts["requests"] += group.requests
        counts["answered"] += group.requests if group.state == "answered" else 0
        counts["prompt_tokens"] += group.prompt_tokens
        counts["completion_tokens"] += group.completion_tokens
    return [{"model": model, **counts} for model, counts in models.items()]


def _batch(batch: UnderWay) -> dict[str, str | int]:
    return {"id": batch.id, "url": batch.url, "requests": batch.requests, "since": _time(batch.since)}


def _reasons(found: Status) -> dict[str, int]:
    """The reasons without what differs from request to request."""
    counts: Counter[str] = Counter()
    for reason, number in found.reasons.items():
        counts[kind(reason)] += number
    return dict(counts.most_common(_MOST))


def _time(seconds: float) -> str:
    # Not fromtimestamp, which leaves it to the system what error is told of a time that is none.
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="seconds")
