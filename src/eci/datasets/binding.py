"""Which key of a row plays which part: fixed keys by name, free ones by what they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from eci.datasets.chunks import Shape
from eci.datasets.fields import (
    ID,
    IDS,
    LABEL,
    LABELS,
    NUMBER,
    NUMBERS,
    OBJECT,
    TEXT,
    TEXTS,
    WHOLE,
    Column,
    Kind,
    Many,
    Record,
    Systems,
)

Binding: TypeAlias = tuple[Column, ...]


QUERY_NAMES = ("query", "anchor", "question", "query_text", "sentence1")


POSITIVE_NAMES = ("positive", "pos", "positive_text", "answer")


NEGATIVE_NAMES = ("negative", "neg", "negative_text", "hard_negative")


DOCUMENT_NAMES = ("document", "passage", "text", "doc", "sentence2", "answer")


DOCUMENTS_NAMES = ("documents", "docs", "passages", "texts")


_NUMBERED = re.compile(r"negative_(\d+)")


# Keys of negatives in any layout: rows that have one are no bare pairs.
_NEGATIVE_KEYS = {*NEGATIVE_NAMES, "negatives", "negative_passages", "label", "labels"}


# Texts that name something and say nothing.
_ID_NAMES = {"_id", "id", "docid", "doc_id", "document_id", "pid", "qid", "passage_id"}


def fixed(columns: Sequence[Column], marks: str, shape: Shape) -> Binding | None:
    """All `columns`, where the keys in `marks` are there."""
    listed = "cell" not in shape.values()
    return tuple(columns) if listed and set(marks.split()) <= shape.keys() else None


def triplet(shape: Shape) -> Binding | None:
    """Three columns of texts, by name or in order."""
    texts = _texts(shape, "scores")
    names = _pick(texts, QUERY_NAMES, POSITIVE_NAMES, NEGATIVE_NAMES)
    if names is None or numbered(shape) or _judgement(shape, texts):
        return None
    return (*_named(names, "query", "positive", "negative"), *_FLAT_OPTIONS)


def pair(shape: Shape) -> Binding | None:
    """A query with positives and nothing else: lists of a layout that lacks its negatives, or two texts."""
    if set(shape) & _NEGATIVE_KEYS or numbered(shape):
        return None
    for columns, marks in (
        (ECI, "query positives"),
        (FLAGEMBEDDING, "query pos"),
        (TEVATRON, "query positive_passages"),
    ):
        found = fixed(columns, marks, shape)
        # A flat row may call its one positive pos.
        if found is not None and shape[marks.split()[1]] != "text":
            return tuple(column for column in found if column.role not in _NEGATIVE_KEYS)
    texts = _texts(shape)
    names = _pick(texts, QUERY_NAMES, (*POSITIVE_NAMES, *DOCUMENT_NAMES))
    # Title and text of a document with an id are no query and its positive.
    if names is None or (set(shape) & _ID_NAMES and names[0] not in QUERY_NAMES):
        return None
    return (*_named(names, "query", "positive"), _FLAT_OPTIONS[0])


def n_tuple(shape: Shape) -> Binding | None:
    """Two columns of texts and ``negative_1 … negative_n``."""
    many = numbered(shape)
    texts = [key for key in _texts(shape, "scores") if key not in many]
    names = _pick(texts, QUERY_NAMES, POSITIVE_NAMES)
    if names is None or not many:
        return None
    negatives = [Column(key, TEXT, required=False) for key in many]
    return (*_named(names, "query", "positive"), *negatives, *_FLAT_OPTIONS)


def labeled_pair(shape: Shape) -> Binding | None:
    """Two columns of texts and a label or a score."""
    judged = [key for key in ("label", "score") if shape.get(key) in ("number", "cell")]
    texts = _texts(shape, *judged)
    names = _pick(texts, QUERY_NAMES, DOCUMENT_NAMES)
    if names is None or not judged or set(shape) & {*NEGATIVE_NAMES, *POSITIVE_NAMES[:3]}:
        return None
    kinds = {"label": LABEL, "score": NUMBER}
    only = len(judged) == 1
    return (
        *_named(names, "query", "document"),
        *(Column(key, kinds[key], required=only) for key in judged),
        *_FLAT_OPTIONS[:2],
    )


def labeled_list(shape: Shape) -> Binding | None:
    """A text, a list of texts, and a list of labels or scores."""
    judged = [key for key in ("labels", "scores") if shape.get(key) in ("numbers", "list")]
    lists = [key for key, held in shape.items() if held in ("texts", "list") and key not in judged]
    queries = _pick(_texts(shape), QUERY_NAMES)
    documents = _pick(lists, DOCUMENTS_NAMES)
    if queries is None or documents is None or not judged or "document_ids" in shape:
        return None
    kinds = {"labels": LABELS, "scores": NUMBERS}
    only = len(judged) == 1
    return (
        Column("query", TEXT, key=queries[0]),
        Column("documents", TEXTS, key=documents[0]),
        *(Column(key, kinds[key], required=only) for key in judged),
        Column("query_id", ID, required=False),
    )


def id_lists(shape: Shape) -> Binding | None:
    """An id, a list of ids, and a list of labels or scores."""
    if not {"query_id", "document_ids"} <= shape.keys() or not {"scores", "labels"} & shape.keys():
        return None
    only = not {"scores", "labels"} <= shape.keys()
    judged = [
        Column(key, kind, only) for key, kind in (("labels", LABELS), ("scores", NUMBERS)) if key in shape
    ]
    return (Column("query_id", ID), Column("document_ids", IDS), *judged)


def _texts(shape: Shape, *but: str) -> list[str]:
    aside = {*but, *_ID_NAMES, "query_id", "source"}
    return [key for key, held in shape.items() if held in ("text", "cell") and key not in aside]


def _pick(keys: list[str], *names: Sequence[str]) -> list[str] | None:
    """One key for each of `names`: by name where each has just one, else in order where that fits them."""
    named = [[key for key in keys if key in group] for group in names]
    if all(len(found) == 1 for found in named):
        return [found[0] for found in named]
    known = {key for found in named for key in found}
    fits = len(keys) == len(names) and all(
        key in found or key not in known for key, found in zip(keys, named, strict=True)
    )
    return keys if fits else None


def _judgement(shape: Shape, texts: list[str]) -> bool:
    """Whether a lone ``label`` or ``score`` stands beside columns whose names do not tell a triplet."""
    judged = any(shape.get(key) in ("number", "cell") for key in ("label", "score"))
    return judged and not set(texts) & set(NEGATIVE_NAMES)


def numbered(shape: Shape) -> list[str]:
    """The keys ``negative_1 … negative_n`` in the order of their numbers."""
    keys = [key for key in shape if _NUMBERED.fullmatch(key)]
    return sorted(keys, key=lambda key: int(key.removeprefix("negative_")))


def _named(keys: Sequence[str], *roles: str) -> list[Column]:
    return [Column(role, TEXT, key=key) for role, key in zip(roles, keys, strict=True)]


def _maybe(role: str, kind: Kind) -> Column:
    return Column(role, kind, required=False)


_FLAT_OPTIONS = (_maybe("query_id", ID), _maybe("source", TEXT), _maybe("scores", NUMBERS))


_POSITIVES = Record(
    "positives", (_maybe("id", ID), _maybe("title", TEXT), Column("text", TEXT), _maybe("score", NUMBER))
)


_NEGATIVES = Record(
    "negatives",
    (
        _maybe("source", TEXT),
        *_POSITIVES.keys[:3],
        _maybe("rank", WHOLE),
        _maybe("score", NUMBER),
        _maybe("scorer", TEXT),
        _maybe("extra", OBJECT),
    ),
)


_PASSAGES = Many(Record("passages", (_maybe("docid", ID), _maybe("title", TEXT), Column("text", TEXT))))


_SCORED_IDS = Many(Record("documents", (Column("id", ID), _maybe("score", NUMBER))))


_MESSAGES = Many(Record("messages", (Column("role", TEXT), Column("content", TEXT))))


ECI = (
    _maybe("query_id", ID), Column("query", TEXT), Column("positives", Many(_POSITIVES)),
    Column("negatives", Many(_NEGATIVES)), _maybe("extra", OBJECT),
)  # fmt: skip


FLAGEMBEDDING = (
    Column("query", TEXT), Column("pos", TEXTS), Column("neg", TEXTS), _maybe("pos_scores", NUMBERS),
    _maybe("neg_scores", NUMBERS), _maybe("pos_id", IDS), _maybe("neg_id", IDS), _maybe("query_id", ID),
)  # fmt: skip


TEVATRON = (
    _maybe("query_id", ID), Column("query", TEXT), Column("positive_passages", _PASSAGES),
    Column("negative_passages", _PASSAGES),
)  # fmt: skip


TEVATRON_IDS = (
    Column("query_id", ID), Column("query_text", TEXT), Column("positive_document_ids", IDS),
    Column("negative_document_ids", IDS),
)  # fmt: skip


NEMO = (
    _maybe("question_id", ID), Column("question", TEXT), _maybe("corpus_id", ID),
    Column("pos_doc", _SCORED_IDS), Column("neg_doc", _SCORED_IDS),
)  # fmt: skip


MSMARCO = (Column("qid", ID), Column("pos", IDS), Column("neg", Systems(IDS)))


MS_SWIFT = (
    Column("messages", _MESSAGES), Column("positive_messages", Many(_MESSAGES)),
    _maybe("negative_messages", Many(_MESSAGES)),
)  # fmt: skip


HEADERS = {*QUERY_NAMES, *POSITIVE_NAMES, *NEGATIVE_NAMES, *DOCUMENT_NAMES, "label", "score"}
