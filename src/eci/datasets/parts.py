"""What the functions of ``canonical`` are made of: judging, labelling, and texts by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.collection import Collection
from eci.datasets.columns import Documents, lengths_of, repeated, spread
from eci.errors import DataError, LayoutError
from eci.types import Flags, Integers

Columns: TypeAlias = Mapping[str, pa.Array]


class RowProblem(Exception):  # noqa: N818
    """Values of row `row` do not fit together; `kind` is the error that it becomes."""

    def __init__(self, row: int, words: str, kind: type[DataError] = DataError) -> None:
        super().__init__(words)
        self.row, self.words, self.kind = int(row), words, kind


@dataclass(frozen=True)
class Context:
    """What the columns alone do not say.

    Parameters
    ----------
    label : str
        The source of negatives that carry none.
    forced : bool
        Whether the user named that source.
    positive_score : float, optional
        Documents scored at or above are positives, in layouts with scores instead of labels.
    documents, queries : Collection, optional
        Texts by id, for layouts that name them by id.
    """

    label: str
    forced: bool = False
    positive_score: float | None = None
    documents: Collection | None = None
    queries: Collection | None = None


@dataclass(frozen=True)
class Parts:
    """Canonical columns of B rows, still open; `extra` has what a layout keeps beside them."""

    query: pa.Array
    positives: Documents
    negatives: Documents
    query_id: pa.Array | None = None
    extra: list[dict[str, Any]] = field(default_factory=list)


def labelled(negatives: Documents, context: Context) -> Documents:
    """Negatives of the one source that the file stands for."""
    return Documents(
        negatives.lengths, {**negatives.fields, "source": repeated(context.label, len(negatives))}
    )


def flat_negatives(columns: Columns, context: Context, negatives: Documents) -> Documents:
    """Negatives of a flat layout, whose rows may have a key ``source``."""
    source = columns.get("source")
    if source is None:
        return labelled(negatives, context)
    per_entry = source.take(pa.array(negatives.rows)) if len(source) == len(negatives.lengths) else source
    return Documents(negatives.lengths, {**negatives.fields, "source": filled_sources(per_entry, context)})


def filled_sources(source: pa.Array, context: Context) -> pa.Array:
    """Sources with the label of the file where a negative has none."""
    if context.forced and source.null_count < len(source):
        raise carries_its_own(source.drop_null()[0].as_py())
    return pc.fill_null(source, context.label) if source.null_count else source


def carries_its_own(source: str) -> RowProblem:
    """The refusal of ``--source`` for rows that name their sources."""
    return RowProblem(0, f"the rows name their own sources ('{source}'). Leave --source out.", LayoutError)


def aligned(values: pa.ListArray, lengths: Integers, words: str) -> None:
    """Refuse lists that are there and not as long as `lengths`, of shape (B,), says."""
    wrong = np.flatnonzero((lengths_of(values) != lengths) & np.asarray(values.is_valid()))
    if len(wrong):
        row = wrong[0]
        raise RowProblem(
            row, f"{words} ({lengths[row]}), got {lengths_of(values)[row]}. Complete it, or leave it out."
        )


def judged_lists(columns: Columns, lengths: Integers, role: str, context: Context) -> tuple[Flags, pa.Array]:
    """Which documents of lists are positives, and their scores; see ``judged``."""
    flat: dict[str, pa.Array | None] = {"labels": None, "scores": None}
    for name in flat:
        values = columns.get(name)
        if values is not None:
            aligned(values, lengths, f"'{name}' must hold one entry for each of '{role}'")
            flat[name] = spread(values, lengths, pa.float64())
    return judged(flat["labels"], flat["scores"], lengths, "scores", context)


def judged(
    labels: pa.Array | None, scores: pa.Array | None, lengths: Integers, key: str, context: Context
) -> tuple[Flags, pa.Array]:
    """Which documents are positives, of shape (n,), and their scores."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    label = np.full(len(rows), np.nan) if labels is None else labels.to_numpy(zero_copy_only=False)
    score = np.full(len(rows), np.nan) if scores is None else scores.to_numpy(zero_copy_only=False)
    nothing = np.flatnonzero(np.isnan(label) & np.isnan(score))
    if len(nothing):
        raise RowProblem(
            rows[nothing[0]],
            f"a document has neither label nor score. Give each a label 0 or 1, or a '{key}'.",
        )
    unlabelled = np.isnan(label)
    if context.positive_score is not None:
        return np.where(unlabelled, score >= context.positive_score, label == 1), pa.array(
            score, from_pandas=True
        )
    graded = np.flatnonzero(unlabelled & (score != 0) & (score != 1))
    if len(graded):
        raise RowProblem(
            rows[graded[0]],
            f"'{key}' holds graded values ({score[graded[0]]:.6g}). Say from which value on a document is a "
            "positive: --positive-score VALUE",
            LayoutError,
        )
    judged = np.where(unlabelled, score, label) == 1
    return judged, pa.array(np.where(unlabelled, np.nan, score), from_pandas=True)


def found_documents(ids: pa.ListArray, context: Context) -> Documents:
    """The documents that lists of ids name."""
    collection = context.documents
    if collection is None:  # the reader loads it for every layout with ids
        raise LayoutError("this layout names documents by id and needs a corpus.")
    documents = Documents(lengths_of(ids), {"id": ids.flatten()})
    at = collection.find(documents.fields["id"])
    lost = np.flatnonzero(at < 0)
    if len(lost):
        raise RowProblem(
            documents.rows[lost[0]],
            f"the document '{documents.fields['id'][lost[0]]}' is not in {collection.name}. "
            "Give the whole corpus with --corpus.",
        )
    return Documents(documents.lengths, collection.take(at))


def found_queries(ids: pa.Array, context: Context) -> pa.Array:
    """The texts of the queries of the given ids."""
    collection = context.queries
    if collection is None:
        raise LayoutError("this layout names queries by id and needs their texts.")
    at = collection.find(ids)
    lost = np.flatnonzero(at < 0)
    if len(lost):
        raise RowProblem(
            lost[0],
            f"the query '{ids[lost[0]]}' is not in {collection.name}. Give all queries with --queries.",
        )
    return collection.take(at)["text"]
