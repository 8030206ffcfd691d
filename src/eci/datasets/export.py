"""From canonical rows to the columns of a layout: one short function per layout.

What a layout cannot hold is counted in ``Outgoing.losses`` and never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.columns import Documents, dumped, repeated, to_python, together
from eci.datasets.fields import TEXT, TEXTS, listed
from eci.datasets.outgoing import NEGATIVES_PER_ROW, Outgoing
from eci.examples import NEGATIVE, POSITIVE
from eci.ragged import rising
from eci.types import Integers

Exporter: TypeAlias = Callable[[Outgoing], Mapping[str, pa.Array]]


def triplet(out: Outgoing) -> dict[str, pa.Array]:
    """max(P, N) rows a query: row j pairs positive j mod P with negative j mod N."""
    many = np.where(out.negatives.lengths > 0, np.maximum(out.positives.lengths, out.negatives.lengths), 0)
    out.lose("queries without negatives", int((many == 0).sum()))
    rows = np.repeat(np.arange(len(many)), many)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(many) - many, many)
    places = []
    for side, name in ((out.positives, "positives"), (out.negatives, "negatives")):
        _repeats(out, side, name)
        places.append(side.starts[rows] + within % np.maximum(side.lengths, 1)[rows])
    pairs = np.stack([places[0], places[1] + len(out.positives)], axis=1)
    return {
        "query": out.query.take(pa.array(rows)),
        "positive": out.texts(out.positives).take(pa.array(places[0])),
        "negative": out.texts(out.negatives).take(pa.array(places[1])),
        "scores": _scores(out, pairs.ravel(), np.full(len(rows), 2)),
    }


def n_tuple(out: Outgoing) -> dict[str, pa.Array]:
    """One row per positive, with all negatives of the query."""
    _repeats(out, out.positives, "positives")
    rows = out.positives.rows
    lengths, starts = out.negatives.lengths[rows], out.negatives.starts[rows]
    _uneven(out, lengths)
    texts = out.texts(out.negatives)
    columns = {"query": out.query.take(pa.array(rows)), "positive": out.texts(out.positives)}
    for number in range(max(1, int(lengths.max(initial=0)))):
        there = lengths > number
        columns[f"negative_{number + 1}"] = texts.take(
            pa.array(np.where(there, starts + number, 0), mask=~there)
        )
    spans = [[i, *range(start, stop)] for i, (start, stop) in enumerate(_spans(len(rows), starts, lengths))]
    at = np.array([place for span in spans for place in span], dtype=np.int64)
    return {**columns, "scores": _scores(out, at, lengths + 1)}


def labeled_pair(out: Outgoing) -> dict[str, pa.Array]:
    """One row per document, positives first."""
    for side, name in ((out.positives, "positives"), (out.negatives, "negatives")):
        _repeats(out, side, name)
    documents, labels, lengths = _mixed(out, out.texts(out.positives), out.texts(out.negatives))
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return {"query": out.query.take(pa.array(rows)), "document": documents, "label": labels}


def labeled_list(out: Outgoing) -> dict[str, pa.Array]:
    """One list of documents a row, positives first."""
    documents, labels, lengths = _mixed(out, out.texts(out.positives), out.texts(out.negatives))
    return {"query": out.query, "documents": listed(lengths, documents), "labels": listed(lengths, labels)}


def id_lists(out: Outgoing) -> dict[str, pa.Array]:
    """Ids, labels, and scores where every document of the row has one."""
    ids, labels, lengths = _mixed(out, out.positives.fields["id"], out.negatives.fields["id"])
    both, _, _ = _mixed(out, out.positives.fields["score"], out.negatives.fields["score"])
    scores, lost = Documents(lengths, {}).complete(both)
    out.lose("score", lost)
    return {
        "query_id": out.query_id,
        "document_ids": listed(lengths, ids),
        "labels": listed(lengths, labels),
        "scores": scores,
    }


def flagembedding(out: Outgoing) -> dict[str, pa.Array]:
    """Parallel lists; scores and ids for the rows in which all documents of a side have them."""
    return {
        "query": out.query,
        "pos": out.positives.lists(out.texts(out.positives)),
        "neg": out.negatives.lists(out.texts(out.negatives)),
        "pos_scores": out.complete(out.positives, "score"),
        "neg_scores": out.complete(out.negatives, "score"),
        "prompt": out.kept("prompt", TEXT),
        "type": out.kept("type", TEXT),
        "pos_id": out.complete(out.positives, "id"),
        "neg_id": out.complete(out.negatives, "id"),
    }


def tevatron(out: Outgoing) -> dict[str, pa.Array]:
    """Passages with id, title and text; the loader wants a title, so a missing one is empty."""
    _uneven(out, out.negatives.lengths)
    return {
        "query_id": out.query_id,
        "query": out.query,
        "positive_passages": _passages(out.positives),
        "negative_passages": _passages(out.negatives),
        "answers": out.kept("answers", TEXTS),
        "subset": out.kept("subset", TEXT),
    }


def tevatron_ids(out: Outgoing) -> dict[str, pa.Array]:
    """Ids; the texts go into the corpus."""
    _uneven(out, out.negatives.lengths)
    titles = [side.fields["title"] for side in (out.positives, out.negatives)]
    out.note(
        "documents with a title: {}; Tevatron's training takes the text alone of documents that it looks up "
        "by id, where the layout tevatron joins both",
        sum(len(column) - column.null_count for column in titles),
    )
    return {
        "query_id": out.query_id,
        "query_text": out.query,
        "positive_document_ids": out.positives.lists(out.positives.fields["id"]),
        "negative_document_ids": out.negatives.lists(out.negatives.fields["id"]),
    }


def nemo(out: Outgoing) -> dict[str, pa.Array]:
    """Ids with scores, one by one, so that none is lost."""
    type_ = pa.struct([("id", pa.string()), ("score", pa.float64())])
    return {
        "question_id": out.query_id,
        "question": out.query,
        "corpus_id": repeated("corpus", len(out.query)),
        "pos_doc": out.positives.records(type_),
        "neg_doc": out.negatives.records(type_),
    }


def msmarco(out: Outgoing) -> dict[str, pa.Array]:
    """Ids by source."""
    ids = to_python(out.negatives.lists(out.negatives.fields["id"]))
    sources = to_python(out.negatives.lists(out.negatives.fields["source"]))
    rows = []
    for row_ids, row_sources in zip(ids, sources, strict=True):
        systems: dict[str, list[str]] = {}
        for id_, source in zip(row_ids, row_sources, strict=True):
            systems.setdefault(source, []).append(id_)
        rows.append(list(systems.items()))
    return {
        "qid": out.query_id,
        "pos": out.positives.lists(out.positives.fields["id"]),
        "neg": pa.array(rows, pa.map_(pa.string(), pa.list_(pa.string()))),
    }


def ms_swift(out: Outgoing) -> dict[str, pa.Array]:
    """Chat messages; the ones before the query and the role of documents come from ``extra``."""
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    roles = [row.get("document_role", "user") for row in out.extra]
    messages = [
        [*row.get("messages", []), {"role": "user", "content": query}]
        for row, query in zip(out.extra, out.query.to_pylist(), strict=True)
    ]
    return {
        "messages": pa.array(messages, pa.list_(message)),
        "positive_messages": _chats(out.positives, out.texts(out.positives), roles, message),
        "negative_messages": _chats(out.negatives, out.texts(out.negatives), roles, message),
    }


def _passages(side: Documents) -> pa.ListArray:
    type_ = pa.struct([("docid", pa.string()), ("title", pa.string()), ("text", pa.string())])
    fields = {
        "docid": side.fields["id"],
        "title": pc.fill_null(side.fields["title"], ""),
        "text": side.fields["text"],
    }
    return Documents(side.lengths, fields).records(type_)


def _chats(side: Documents, texts: pa.Array, roles: list[str], message: pa.StructType) -> pa.ListArray:
    role = pa.array(roles, pa.string()).take(pa.array(side.rows))
    inner = listed(
        np.ones(len(texts), dtype=np.int64), pa.StructArray.from_arrays([role, texts], fields=list(message))
    )
    return side.lists(inner)


def _uneven(out: Outgoing, lengths: Integers) -> None:
    for length, number in zip(*np.unique(lengths, return_counts=True), strict=True):
        out.notes[f"{NEGATIVES_PER_ROW} {length}"] += int(number)


def _mixed(out: Outgoing, positive: pa.Array, negative: pa.Array) -> tuple[pa.Array, pa.Array, Integers]:
    """One column over positives and negatives of each row, their labels, and how many they are."""
    order, lengths = together(out.positives, out.negatives)
    labels = np.repeat(np.array([1, 0]), [len(positive), len(negative)])[order]
    return pa.concat_arrays([positive, negative]).take(pa.array(order)), pa.array(labels), lengths


def _spans(size: int, starts: Integers, lengths: Integers) -> list[tuple[int, int]]:
    """Where the negatives of each row stand behind `size` positives."""
    return list(zip((size + starts).tolist(), (size + starts + lengths).tolist(), strict=True))


def _scores(out: Outgoing, at: Integers, lengths: Integers) -> pa.ListArray:
    """Score lists of rows that repeat documents: `at` are places among all positives, then all negatives."""
    every = pa.concat_arrays([out.positives.fields["score"], out.negatives.fields["score"]])
    scores, _ = Documents(lengths, {}).complete(every.take(pa.array(at)))
    kept = np.unique(at[np.repeat(np.asarray(scores.is_valid()), lengths)])
    out.lose("score", len(every) - every.null_count - len(kept))
    return scores


def _repeats(out: Outgoing, side: Documents, name: str) -> None:
    """Documents that occur twice in a query: rows that are grouped again have them once."""
    if len(side) < 2:
        return
    codes = side.shown.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    pairs = rising(side.rows.astype(np.int64) * (int(codes.max(initial=0)) + 1) + codes)
    out.lose(f"repeated {name}", len(side) - len(pairs))


def eci(out: Outgoing) -> dict[str, pa.Array]:
    """All of it."""
    return {
        "query_id": out.query_id,
        "query": out.query,
        "positives": out.positives.records(POSITIVE),
        "negatives": out.negatives.records(NEGATIVE),
        "extra": dumped(out.extra),
    }
