"""What is looked for, in which words, and with which bounds."""

from __future__ import annotations

from dataclasses import dataclass

from eci.errors import EciError

# A score lies in 0…1, low is severe; an issue is flagged from here down.
FLAGGED = 0.5

ISSUES = {
    "identical_to_positive": "the text of a positive of its row, but for case and white space",
    "near_positive": "nearly the words of a positive of its row",
    "known_positive": "relevant by the judgements, or a positive of another row that asks the same",
    "likely_false_negative": "looks like an unlabelled answer, all signs taken together",
    "judged_false_negative": "an answer that nobody labelled, by the chat model that was asked",
    "above_positive": "at least as near to the query as its nearest positive",
    "above_95": "at least as near to the query as 95 % of its nearest positive's cosine",
    "teacher_above_positive": "scored above the best positive, in rows of one scorer",
    "reciprocal_neighbours": "it and its nearest positive are each other's nearest in the row",
    "too_easy": "takes next to no part in the loss",
    "duplicate_in_row": "its row has it before, from the same source",
    "empty": "has no text",
    "too_long": "the encoder does not read its end",
    "non_finite_score": "its score is no finite number",
    "reused": "a negative of too many rows",
    "repeats_query": "the text of its query",
    "leaks": "its row asks a test query, or it is relevant to one",
    "too_few_negatives": "its row has too few different negatives",
    "repeated_query_id": "its row's query has another row",
}
# Said of a row, and so of all its negatives.
OF_ROWS = ("too_few_negatives", "repeated_query_id")
# What likely_false_negative puts together: counted, but nothing to mend by itself.
DETECTORS = ("above_positive", "above_95", "teacher_above_positive", "reciprocal_neighbours")
# What a fix is made for unless issues are named.
FAULTS = (
    "identical_to_positive",
    "near_positive",
    "known_positive",
    "likely_false_negative",
    "judged_false_negative",
    "duplicate_in_row",
    "empty",
    "non_finite_score",
    "repeats_query",
)


@dataclass(frozen=True)
class AuditSettings:
    """Where the bounds lie.

    Parameters
    ----------
    false_negative : float
        Probability from which on a negative is likely a false one, were there as many answers as others.
    near_copy : float
        Jaccard similarity of two texts' word 3-grams, or of their sets of words, from which on one is nearly
        the other.
    temperature : float
        τ of the softmax, for ``too_easy``.
    min_negatives : int
        Different negatives that a row needs.
    max_uses : int, optional
        Rows that may have one document as a negative; if not given ten times as many as have the
        mean one, and at least 10.
    worst : int
        Rows to show with their texts.
    """

    false_negative: float = 0.8
    near_copy: float = 0.8
    temperature: float = 0.05
    min_negatives: int = 1
    max_uses: int | None = None
    worst: int = 10

    def __post_init__(self) -> None:
        for name in ("false_negative", "near_copy"):
            if not 0 < getattr(self, name) < 1:
                raise EciError(f"{name} lies between 0 and 1, got {getattr(self, name)}.")
        if not 0 < self.temperature < float("inf"):
            raise EciError(f"temperature must be above 0, got {self.temperature}.")
        for name, least in (("min_negatives", 0), ("max_uses", 1), ("worst", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise EciError(f"{name} must be at least {least}, got {value}.")


def refuse_unknown(issue: str) -> None:
    """Raise an `EciError` unless there is such an issue."""
    if issue not in ISSUES:
        raise EciError(f"there is no issue '{issue}'. Known: {', '.join(ISSUES)}.")
