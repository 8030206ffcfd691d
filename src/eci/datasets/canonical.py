"""From the columns of a layout to canonical ones: one short function per layout.

Each takes the columns of a chunk by role and a ``Context``, and returns ``Parts``. Where values do not
fit *together* (scores and documents of different number, an id without a text) it raises ``RowProblem``
with the row, and the reader adds the place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from eci.datasets.columns import Documents, lengths_of, spread, to_python
from eci.datasets.parts import (
    Columns,
    Context,
    Parts,
    RowProblem,
    aligned,
    carries_its_own,
    filled_sources,
    flat_negatives,
    found_documents,
    found_queries,
    judged,
    judged_lists,
    labelled,
)
from eci.examples import NEGATIVE
from eci.types import Flags


def eci(columns: Columns, context: Context) -> Parts:
    """``positives`` and ``negatives`` are records already; only sources may be missing."""
    negatives = Documents.of(columns["negatives"])
    fields = {**negatives.fields, "source": filled_sources(negatives.fields["source"], context)}
    return Parts(
        columns["query"],
        Documents.of(columns["positives"]),
        Documents(negatives.lengths, fields),
        columns.get("query_id"),
    )


def triplet(columns: Columns, context: Context) -> Parts:
    """One positive and one negative a row."""
    one = np.ones(len(columns["query"]), dtype=np.int64)
    scores = columns.get("scores")
    if scores is not None:
        aligned(scores, 2 * one, "'scores' must hold two numbers, of the positive and of the negative")
    both = spread(scores, 2 * one, pa.float64())
    pairs = [both.take(pa.array(np.arange(len(one)) * 2 + i)) for i in range(2)]
    return Parts(
        columns["query"],
        Documents(one, {"text": columns["positive"], "score": pairs[0]}),
        flat_negatives(columns, context, Documents(one, {"text": columns["negative"], "score": pairs[1]})),
        columns.get("query_id"),
    )


def pair(columns: Columns, context: Context) -> Parts:
    """Queries with positives; the lists of a layout that holds negatives have none."""
    size = len(columns["query"])
    for role, other, whole in (
        ("positives", "negatives", eci),
        ("pos", "neg", flagembedding),
        ("positive_passages", "negative_passages", tevatron),
    ):
        if role in columns:
            type_ = pa.list_(NEGATIVE) if whole is eci else columns[role].type
            return whole({**columns, other: pa.nulls(size, type_)}, context)
    one = np.ones(size, dtype=np.int64)
    none = Documents(0 * one, {"text": pa.nulls(0, pa.string())})
    return Parts(
        columns["query"],
        Documents(one, {"text": columns["positive"]}),
        labelled(none, context),
        columns.get("query_id"),
    )


def n_tuple(columns: Columns, context: Context) -> Parts:
    """One positive and ``negative_1 … negative_n`` a row; null where a row has fewer."""
    size = len(columns["query"])
    wide = [columns[role] for role in columns if role.startswith("negative_")]
    grid = np.arange(size)[:, None] + size * np.arange(len(wide))[None, :]
    stacked = pa.concat_arrays(wide).take(pa.array(grid.ravel()))
    there = np.asarray(stacked.is_valid())
    lengths = there.reshape(size, len(wide)).sum(axis=1)
    scores, first = columns.get("scores"), pa.nulls(size, pa.float64())
    rest = pa.nulls(int(lengths.sum()), pa.float64())
    if scores is not None:
        scores = _without_holes(scores, there.reshape(size, len(wide)))
        aligned(
            scores, lengths + 1, "'scores' must hold one number for the positive and one for each negative"
        )
        entries = spread(scores, lengths + 1, pa.float64())
        starts = np.cumsum(lengths + 1) - (lengths + 1)
        first = entries.take(pa.array(starts))
        rest = entries.take(pa.array(np.setdiff1d(np.arange(len(entries)), starts)))
    return Parts(
        columns["query"],
        Documents(np.ones(size, dtype=np.int64), {"text": columns["positive"], "score": first}),
        flat_negatives(columns, context, Documents(lengths, {"text": stacked.drop_null(), "score": rest})),
        columns.get("query_id"),
    )


def labeled_pair(columns: Columns, context: Context) -> Parts:
    """One document a row, relevant or not."""
    one = np.ones(len(columns["query"]), dtype=np.int64)
    good, scores = judged(columns.get("label"), columns.get("score"), one, "score", context)
    documents = Documents(one, {"text": columns["document"], "score": scores})
    negatives = documents.keep(~good)
    source = columns.get("source")
    kept = {"source": source.filter(pa.array(~good))} if source is not None else {}
    return Parts(
        columns["query"],
        documents.keep(good),
        flat_negatives(kept, context, negatives),
        columns.get("query_id"),
    )


def labeled_list(columns: Columns, context: Context) -> Parts:
    """A list of documents a row, with labels or scores."""
    lengths = lengths_of(columns["documents"])
    good, scores = judged_lists(columns, lengths, "documents", context)
    documents = Documents(lengths, {"text": columns["documents"].flatten(), "score": scores})
    return Parts(
        columns["query"],
        documents.keep(good),
        labelled(documents.keep(~good), context),
        columns.get("query_id"),
    )


def id_lists(columns: Columns, context: Context) -> Parts:
    """A list of document ids a row, with labels or scores; all texts are elsewhere."""
    lengths = lengths_of(columns["document_ids"])
    good, scores = judged_lists(columns, lengths, "document_ids", context)
    found = found_documents(columns["document_ids"], context)
    documents = Documents(lengths, {**found.fields, "score": scores})
    query = found_queries(columns["query_id"], context)
    return Parts(query, documents.keep(good), labelled(documents.keep(~good), context), columns["query_id"])


def flagembedding(columns: Columns, context: Context) -> Parts:
    """``pos`` and ``neg`` are lists of texts, with parallel lists of scores and ids."""
    sides = []
    for side in ("pos", "neg"):
        lengths = lengths_of(columns[side])
        fields = {"text": columns[side].flatten()}
        for role, name, type_ in (
            (f"{side}_scores", "score", pa.float64()),
            (f"{side}_id", "id", pa.string()),
        ):
            values = columns.get(role)
            if values is not None:
                aligned(values, lengths, f"'{role}' must hold one entry for each of '{side}'")
                fields[name] = spread(values, lengths, type_)
        sides.append(Documents(lengths, fields))
    return Parts(columns["query"], sides[0], labelled(sides[1], context), columns.get("query_id"))


def tevatron(columns: Columns, context: Context) -> Parts:
    """Passages with id, title and text."""
    sides = []
    for role in ("positive_passages", "negative_passages"):
        opened = Documents.of(columns[role])
        fields = {
            "id": opened.fields["docid"],
            "title": opened.fields["title"],
            "text": opened.fields["text"],
        }
        sides.append(Documents(opened.lengths, fields))
    return Parts(columns["query"], sides[0], labelled(sides[1], context), columns.get("query_id"))


def tevatron_ids(columns: Columns, context: Context) -> Parts:
    """Lists of positive and of negative document ids."""
    positives = found_documents(columns["positive_document_ids"], context)
    negatives = labelled(found_documents(columns["negative_document_ids"], context), context)
    return Parts(columns["query_text"], positives, negatives, columns["query_id"])


def nemo(columns: Columns, context: Context) -> Parts:
    """Lists of ``{id, score}``."""
    sides = []
    for role in ("pos_doc", "neg_doc"):
        opened = Documents.of(columns[role])
        found = found_documents(opened.lists(opened.fields["id"]), context)
        sides.append(Documents(opened.lengths, {**found.fields, "score": opened.fields["score"]}))
    return Parts(columns["question"], sides[0], labelled(sides[1], context), columns.get("question_id"))


def msmarco(columns: Columns, context: Context) -> Parts:
    """Lists of passage ids by system; each system is a source."""
    systems = columns["neg"]
    names = systems.keys
    if context.forced and len(names):
        raise carries_its_own(names[0].as_py())
    per_system = lengths_of(systems.items)
    per_row = np.diff(np.asarray(systems.offsets))
    rows = np.repeat(np.arange(len(per_row)), per_row)
    lengths = np.bincount(rows, weights=per_system, minlength=len(per_row)).astype(np.int64)
    leaf = Documents(lengths, {"id": systems.items.flatten()})
    found = found_documents(leaf.lists(leaf.fields["id"]), context)
    source = names.take(pa.array(np.repeat(np.arange(len(names)), per_system)))
    positives = found_documents(columns["pos"], context)
    return Parts(
        found_queries(columns["qid"], context),
        positives,
        Documents(lengths, {**found.fields, "source": source}),
        columns["qid"],
    )


def ms_swift(columns: Columns, context: Context) -> Parts:
    """Chat messages: the query is the last one, a document is a list of one."""
    messages = Documents.of(columns["messages"])
    empty = np.flatnonzero(messages.lengths == 0)
    if len(empty):
        raise RowProblem(empty[0], "'messages' is empty. Its last message must be the query.")
    last = messages.starts + messages.lengths - 1
    query = messages.fields["content"].take(pa.array(last))
    positives, roles = _messages(columns["positive_messages"], "positive_messages")
    absent = columns.get("negative_messages")
    if absent is None:
        absent = pa.nulls(len(query), columns["positive_messages"].type)
    negatives, more_roles = _messages(absent, "negative_messages")
    extra: list[dict[str, Any]] = []
    for row, (before, *row_roles) in enumerate(
        zip(to_python(columns["messages"]), to_python(roles), to_python(more_roles), strict=True)
    ):
        if before[-1].get("role") != "user":
            raise RowProblem(row, "'messages' must end with the message of role 'user' that is the query.")
        used = {role for side in row_roles for role in side or []}
        if len(used) > 1:
            raise RowProblem(
                row, f"the documents have several roles ({', '.join(sorted(used))}). Give them one."
            )
        role = {"document_role": used.pop()} if used - {"user"} else {}
        extra.append({**({"messages": before[:-1]} if len(before) > 1 else {}), **role})
    return Parts(query, positives, labelled(negatives, context), columns.get("query_id"), extra)


def _messages(column: pa.ListArray, role: str) -> tuple[Documents, pa.ListArray]:
    lengths = lengths_of(column)
    inner = column.flatten()
    bad = np.flatnonzero(lengths_of(inner) != 1)
    if len(bad):
        row = int(np.repeat(np.arange(len(lengths)), lengths)[bad[0]])
        raise RowProblem(row, f"'{role}' must hold one message a document: [[{{…}}], [{{…}}]].")
    leaf = Documents.of(inner)
    documents = Documents(lengths, {"text": leaf.fields["content"]})
    return documents, documents.lists(leaf.fields["role"])


def _without_holes(scores: pa.ListArray, there: Flags) -> pa.ListArray:
    """Scores that count the missing negatives too lose those entries."""
    lengths = lengths_of(scores)
    wide = (lengths == there.shape[1] + 1) & ~there.all(axis=1)
    if not wide.any():
        return scores
    keep = np.ones(int(lengths.sum()), dtype=bool)
    starts = np.cumsum(lengths) - lengths
    for row in np.flatnonzero(wide):
        keep[starts[row] + 1 : starts[row] + lengths[row]] = there[row]
    return (
        Documents(lengths, {"score": scores.flatten()})
        .keep(keep)
        .lists(scores.flatten().filter(pa.array(keep)))
    )
