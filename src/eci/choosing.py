"""What chooses among the negatives of queries that are in memory, or that pass by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from eci.audit.risk import Edited, FalseNegativeRisk, Same
from eci.examples import Examples, document_texts, query_key
from eci.portions import Portions
from eci.seen import Seen
from eci.selection import Common, Selector, SelectSettings
from eci.types import Encoder, Integers, Progress


class Chosen:
    """Queries with what chooses among their negatives."""

    def __init__(
        self,
        examples: Examples,
        encoder: Encoder,
        settings: SelectSettings,
        common: Common | None = None,
    ) -> None:
        self.examples, self.selector = examples, Selector(examples, encoder, settings, common)
        self._query = {key: place for place, key in enumerate(examples.keys)}
        self._document = {text: place for place, text in enumerate(examples.documents)}

    def queries(self, batch: pa.RecordBatch) -> Integers:
        """The number of the query of each row."""
        ids, texts = batch.column("query_id").to_pylist(), batch.column("query").to_pylist()
        return np.array([self._query[query_key(*each)] for each in zip(ids, texts, strict=True)], np.int64)

    def documents(self, shown: pa.Array) -> Integers:
        """The number of each document."""
        coded = shown.dictionary_encode()
        numbers = np.array([self._document[text] for text in coded.dictionary.to_pylist()], dtype=np.int64)
        return numbers[np.asarray(coded.indices, dtype=np.int64)]


class Choosing:
    """What chooses: for all queries together where they are in memory, else for those of each batch."""

    def __init__(
        self,
        queries: Portions,
        encoder: Encoder,
        settings: SelectSettings,
        by_edit: Edited,
        progress: Progress,
    ) -> None:
        self.queries, self.encoder, self.settings = queries, encoder, settings
        self.risk: FalseNegativeRisk | None = None
        self._common: Common | None = None
        self._whole: Chosen | None = None
        self._seen = Seen()
        if queries.pieces is not None:
            self._common = Common(queries, encoder, settings, progress)
            return
        held, bound = queries.held, settings.max_false_negative_risk
        self._whole = Chosen(held, encoder, settings)
        if bound is not None:
            of_edits = by_edit.among(held.documents)
            embedded = self._whole.selector.embedded
            self.risk = FalseNegativeRisk(held, Same.of(held), embedded, of_edits, bound)

    def of(self, batch: pa.RecordBatch) -> Chosen:
        """For the queries of a batch."""
        if self._whole is not None:
            return self._whole
        examples = Examples.from_batches([batch])
        self._count(examples.documents)
        return Chosen(examples, self.encoder, self.settings, self._common)

    def note(self, batch: pa.RecordBatch) -> None:
        """Count the documents of a batch for which others have chosen."""
        if self._whole is None:
            for side in ("positives", "negatives"):
                self._count(document_texts(batch.column(side).flatten()).unique().to_pylist())

    def _count(self, documents: Sequence[str]) -> None:
        keys = np.fromiter(map(hash, documents), np.int64, len(documents))
        self._seen.add(keys, np.zeros_like(keys))

    @property
    def documents(self) -> int:
        """How many distinct documents there are, when all batches have been asked for or noted."""
        return len(self._seen) if self._whole is None else len(self._whole.examples.documents)

    def told(self) -> dict[str, Any]:
        """Of what the figures are, for a result."""
        held = {} if self._whole is not None else {"in_memory": len(self.queries.held.queries)}
        risk = {"risk": self.risk.learned} if self.risk else {}
        return {"rows": self.queries.rows, "documents": self.documents, **held, **risk}

    def notes(self) -> Iterator[str]:
        """What to know about the choice, for a person."""
        if self._whole is None and self.settings.objective == "alignment":
            held, size = len(self.queries.held.queries), len(self.queries)
            yield f"alignment ranks the documents of {held:,} of {size:,} queries, drawn at random, for these"
        if self.risk is not None:
            yield from self.risk.notes()
