"""Canonical rows on their way out, and an account of what does not come along."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from eci.datasets.columns import Documents, loaded
from eci.datasets.fields import Column, Kind, build
from eci.datasets.wording import problem

VALUES = ("query_id", "source", "id", "title", "rank", "score", "scorer", "extra")


ALL = frozenset(VALUES)


NEGATIVES_PER_ROW = "#negatives"  # a note with a number: not for readers as it is


@dataclass(frozen=True)
class Outgoing:
    """Canonical rows, opened, and what is lost and noteworthy on the way."""

    query_id: pa.Array
    query: pa.Array
    positives: Documents
    negatives: Documents
    extra: list[dict[str, Any]]
    losses: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, batch: pa.RecordBatch, losses: Counter[str], notes: Counter[str]) -> Outgoing:
        """Open a canonical batch."""
        sides = [Documents.of(batch.column(name)) for name in ("positives", "negatives")]
        extra = loaded(batch.column("extra"))
        return cls(batch.column("query_id"), batch.column("query"), sides[0], sides[1], extra, losses, notes)

    def lose(self, what: str, number: int) -> None:
        """Count values that do not come along."""
        if number:
            self.losses[what] += int(number)

    def note(self, words: str, number: int) -> None:
        """Count rows or values that the reader of the summary should know of."""
        if number:
            self.notes[words] += int(number)

    def texts(self, side: Documents) -> pa.Array:
        """The texts of documents with their titles joined in front, which is noted."""
        titles = side.fields["title"]
        self.note("titles joined in front of their texts: {}", len(titles) - titles.null_count)
        return side.shown

    def complete(self, side: Documents, name: str) -> pa.ListArray:
        """Lists of a value, for the rows in which every document has it."""
        column, lost = side.complete(side.fields[name])
        self.lose(name, lost)
        return column

    def kept(self, key: str, kind: Kind) -> pa.Array:
        """A key of ``extra`` as a column; values of another kind are lost."""
        column = Column(key, kind, required=False)
        values = [row.get(key) for row in self.extra]
        fits = [problem(value, column) is None for value in values]
        self.lose(f"extra.{key}", fits.count(False))
        good = [value if fit else None for value, fit in zip(values, fits, strict=True)]
        return build(good, column, Counter())


def with_ids(out: Outgoing) -> Outgoing:
    """Give an id to every query and document that has none: a digest of its text."""
    sides = []
    for side in (out.positives, out.negatives):
        fields = dict(side.fields)
        out.note(
            "documents without an id: {}; they got the first 16 hex digits of the SHA-256 of their text",
            fields["id"].null_count,
        )
        fields["id"] = _filled(fields["id"], side)
        sides.append(Documents(side.lengths, fields))
    out.note(
        "queries without an id: {}; they got the first 16 hex digits of the SHA-256 of their text",
        out.query_id.null_count,
    )
    query_id = _filled(out.query_id, Documents(np.ones(len(out.query), dtype=np.int64), {"text": out.query}))
    return replace(out, query_id=query_id, positives=sides[0], negatives=sides[1])


def count_losses(out: Outgoing, holds: frozenset[str], keeps: tuple[str, ...]) -> None:
    """Count the values that a layout has no place for."""
    if "query_id" not in holds:
        out.lose("query_id", len(out.query_id) - out.query_id.null_count)
    for name in VALUES[1:-1]:
        columns = [side.fields[name] for side in (out.positives, out.negatives) if name in side.fields]
        # A title that has no place of its own is joined to the text, which is noted and no loss.
        if name not in holds and name != "title":
            out.lose(name, sum(len(column) - column.null_count for column in columns))
    if "extra" not in holds:
        told = out.negatives.fields.get("extra")
        out.lose("extra of negatives", 0 if told is None else len(told) - told.null_count)
        for row in out.extra:
            for key in row:
                if key not in keeps:
                    out.lose(f"extra.{key}", 1)


def _filled(ids: pa.Array, side: Documents) -> pa.Array:
    missing = np.flatnonzero(np.asarray(ids.is_null()))
    if not len(missing):
        return ids
    at = pa.array(missing)
    texts = side.fields["text"].take(at).to_pylist()
    titles = side.fields["title"].take(at).to_pylist() if "title" in side.fields else [None] * len(texts)
    values = np.array(ids.to_pylist(), dtype=object)
    values[missing] = [
        digest(text if title is None else f"{title}\0{text}")
        for title, text in zip(titles, texts, strict=True)
    ]
    return pa.array(values.tolist(), pa.string())


def digest(text: str) -> str:
    """An id made of a text: 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
