"""Rows beside what is known of their queries and documents, by id and by text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from eci.datasets.columns import Documents
from eci.results import count
from eci.types import Flags, Integers

if TYPE_CHECKING:
    from eci.audit.collecting import Judgements


class Matches:
    """Looks rows up, and counts what it found: judgements of other ids match nothing, and say so nowhere.

    Parameters
    ----------
    known : Judgements
    """

    def __init__(self, known: Judgements) -> None:
        self._known = known
        self._queries = frozenset(query for query, _ in known.relevant)
        self._counts: Counter[str] = Counter()

    def judged(self, batch: pa.RecordBatch, negatives: Documents) -> tuple[Flags, Flags]:
        """Which negatives judgements call relevant to their query, and which to a query of the test set."""
        judged, leaks = np.zeros((2, len(negatives)), dtype=np.bool_)
        known = self._known
        if not known.relevant and not known.test_documents:
            return judged, leaks
        ids, queries = negatives.fields["id"].to_pylist(), batch.column("query_id").to_pylist()
        for place, (row, name) in enumerate(zip(negatives.rows.tolist(), ids, strict=True)):
            judged[place] = (queries[row], name) in known.relevant
            leaks[place] = name in known.test_documents
        self._counts.update(
            rows=len(queries),
            nameless_rows=queries.count(None),
            nameless_negatives=ids.count(None),
            judged_rows=sum(name in self._queries for name in queries),
            test_negatives=int(leaks.sum()),
        )
        return judged, leaks

    def asks_test(self, batch: pa.RecordBatch, group: Integers) -> Flags:
        """Which rows ask a query of the test set, by its id or its words."""
        known = self._known
        found = np.fromiter(
            (
                name in known.test_ids or digest in known.test_texts
                for name, digest in zip(batch.column("query_id").to_pylist(), group.tolist(), strict=True)
            ),
            np.bool_,
            len(group),
        )
        self._counts["test_rows"] += int(found.sum())
        return found

    def told(self) -> tuple[str, ...]:
        """What of the judgements met nothing here, for a person."""
        known, counts, told = self._known, self._counts, []
        rows = counts["rows"]
        if known.relevant and counts["judged_rows"] < rows:
            told.append(
                f"Judgements: {counts['judged_rows']:,} of {count(rows, 'row')} have a query id that is in "
                f"them ({count(len(self._queries), 'query')}). Of the others they say nothing."
            )
        if counts["nameless_rows"] or counts["nameless_negatives"]:
            told.append(
                f"Judgements go by ids, and {count(counts['nameless_rows'], 'row')} and "
                f"{count(counts['nameless_negatives'], 'negative')} have none: there they can find nothing."
            )
        if known.test_ids and not counts["test_rows"] and not counts["test_negatives"]:
            told.append(
                f"Of the test set's {count(len(known.test_ids), 'query')} and "
                f"{count(len(known.test_documents), 'document')} no id occurs here. That is as it should "
                "be if nothing leaks, and as it would be with ids of another kind."
            )
        if known.test_texts and not known.test_ids and not counts["test_rows"]:
            told.append(f"None of the {count(len(known.test_texts), 'test query')} is asked here.")
        return tuple(told)
