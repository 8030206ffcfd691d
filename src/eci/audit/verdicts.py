"""What a judge says of a negative, as a score and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci.results import count

# Low is severe; what was not asked or not answered is not flagged.
SCORES = {"better": 0.0, "worse": 0.75, "irrelevant": 1.0, "answer": 0.0, "no answer": 1.0}
UNJUDGED = 1.0


@dataclass(frozen=True)
class Verdict:
    """A judge's word on one document.

    Parameters
    ----------
    word : str
        One of `SCORES`.
    snippet : str, optional
        The part of the document that answers, where the judge was asked for one.
    """

    word: str
    snippet: str | None = None

    @property
    def confirms(self) -> bool:
        """Whether the document is an answer that nobody labelled."""
        return SCORES[self.word] == 0


def scores_of(verdicts: Mapping[int, Verdict], size: int) -> NDArray[np.float32]:
    """Scores of ``judged_false_negative``.

    Parameters
    ----------
    verdicts : mapping of int to Verdict
        By index of the negative.
    size : int
        Number of negatives n.

    Returns
    -------
    ndarray of shape (n,), float32
        0 for an answer, 0.75 for one that is relevant and less good, 1 for any other.

    Examples
    --------
    >>> scores_of({1: Verdict("better"), 2: Verdict("worse")}, 4).tolist()
    [1.0, 0.0, 0.75, 1.0]
    """
    found = np.full(size, UNJUDGED, dtype=np.float32)
    for negative, verdict in verdicts.items():
        found[negative] = SCORES[verdict.word]
    return found


def described(told: Mapping[str, Any]) -> str:
    """What a judge said, for a person; `told` is ``data["judge"]``."""
    model = told["model"]
    if not told["pairs"]:
        return f"Judge {model}: no {'' if told['every'] else 'likely false '}negative to ask about"
    if "dry_run" in told:
        return f"Nothing was asked. {told['dry_run']}"
    words = ", ".join(f"{word} {number:,}" for word, number in told["verdicts"].items())
    kept = f", {told['kept']:,} of them answered in an earlier run" if told["kept"] else ""
    cost = f", cost {told['cost']:,.4f}" if told["cost"] is not None else ""
    answered = f"{told['answered']:,} of {count(told['asked'], 'pair')} answered"
    lines = [
        f"Judge {model} ({told['by']}): {answered}; {words}",
        f"  {count(told['calls'], 'call')}{kept}; {told['prompt_tokens']:,} tokens of prompts and "
        f"{told['completion_tokens']:,} of answers in this run{cost}",
    ]
    beyond = told["pairs"] - told["asked"]
    if beyond:
        lines.append(f"  {count(beyond, 'less severe pair')} not asked")
    lines += [f"  no verdict on {count(number, 'pair')}: {why}" for why, number in told["unanswered"].items()]
    if told["open"]:
        lines.append(f"  {count(told['open'], 'pair')} left open: the same command again asks about them")
    lines += [f"  sent again {count(number, 'time')}: {why}" for why, number in told["retries"].items()]
    if told["labelled_shortened"]:
        shortened = count(told["labelled_shortened"], "labelled text")
        lines.append(f"  {shortened} shown up to 4,000 characters")
    if told["strangers"]:
        lines.append(f"  {count(told['strangers'], 'verdict')} on documents that were not asked about")
    return "\n".join(lines)
