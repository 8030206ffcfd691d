"""Findings beside ids and texts: the table of all negatives, and the worst rows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eci.audit.findings import Findings
from eci.audit.issues import FAULTS, FLAGGED, ISSUES, OF_ROWS
from eci.datasets.columns import Documents
from eci.types import Flags, Integers

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("place", pa.int32()),
        ("query_id", pa.string()),
        ("source", pa.string()),
        ("id", pa.string()),
        *((f"is_{issue}", pa.bool_()) for issue in ISSUES),
        *((f"{issue}_score", pa.float32()) for issue in ISSUES),
    ]
)


class Table:
    """Writes one line for each negative, batch by batch, and one without a place for a row that has none.

    Parameters
    ----------
    path : Path, optional
        Nothing is written without it.
    found : Findings
    """

    def __init__(self, path: Path | None, found: Findings) -> None:
        self._found, self._row = found, 0
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd") if path else None

    def __enter__(self) -> Table:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Write the lines of some rows."""
        start, self._row = self._row, self._row + len(batch)
        if self._writer is None:
            return
        negatives = Documents.of(batch.column("negatives"))
        lines = np.maximum(negatives.lengths, 1)
        row = np.repeat(np.arange(len(batch)), lines)
        bare = negatives.lengths[row] == 0
        # Places of the negatives of this batch; those of lines that have none are masked.
        place = np.cumsum(~bare) - 1
        at = pa.array(np.maximum(place, 0), mask=bare)
        within = place - negatives.starts[row]
        columns = [
            pa.array(start + row),
            pa.array(within.astype(np.int32), mask=bare),
            batch.column("query_id").take(pa.array(row)),
            *(negatives.fields[name].take(at) for name in ("source", "id")),
        ]
        part = self._found.part(start, self._row)
        scores = [
            found[row] if issue in OF_ROWS else _taken(found, place, bare)
            for issue, found in part.scores.items()
        ]
        columns += [pa.array(values <= FLAGGED) for values in scores]
        columns += [pa.array(values) for values in scores]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))


class Worst:
    """The texts of the worst rows, found as the rows pass by.

    A row is as bad as its worst negative, and that as bad as the sum of 1.5 minus the score over its faults:
    each counts 1, and up to one half more the lower its score is.
    """

    def __init__(self, found: Findings, number: int) -> None:
        self._found, self._row = found, 0
        # Rows, their worst negatives, how bad these are, and how likely answers.
        worst: tuple[NDArray[Any], ...] = ()
        for start, first, part in found.parts():
            here = _worst(part, start, first)
            worst = tuple(np.concatenate(both) for both in zip(worst, here, strict=True)) if worst else here
            _, _, badness, likely = worst
            order = np.lexsort((likely, -badness))[:number]
            worst = tuple(each[order] for each in worst)
        self._negative = dict(zip(*(each.tolist() for each in worst[:2]), strict=True)) if worst else {}
        self._texts: dict[int, dict[str, Any]] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the texts of those of the worst rows that are here."""
        start, self._row = self._row, self._row + len(batch)
        for row in self._negative:
            if start <= row < self._row:
                self._texts[row] = self._told(batch.slice(row - start, 1), row)

    def found(self) -> tuple[dict[str, Any], ...]:
        """Worst first."""
        return tuple(self._texts[row] for row in self._negative)

    def _told(self, batch: pa.RecordBatch, row: int) -> dict[str, Any]:
        number = self._negative[row]
        part = self._found.part(row, row + 1)
        place = number - int(self._found.offsets[row])
        positives = Documents.of(batch.column("positives"))
        negatives = Documents.of(batch.column("negatives"))
        shown = positives.shown.to_pylist()
        shown.insert(0, shown.pop(int(part.nearest[place])))
        scores = {issue: float(part.of_negatives(issue)[place]) for issue in ISSUES}
        verdict = part.verdicts.get(place)
        return {
            "row": row,
            "query_id": batch.column("query_id")[0].as_py(),
            "query": batch.column("query")[0].as_py(),
            "positives": shown,
            "place": place,
            "source": negatives.fields["source"][place].as_py(),
            "id": negatives.fields["id"][place].as_py(),
            "negative": negatives.shown[place].as_py(),
            "issues": {issue: round(score, 4) for issue, score in scores.items() if score <= FLAGGED},
            **({"verdict": asdict(verdict)} if verdict else {}),
        }


def _worst(part: Findings, start: int, first: int) -> tuple[NDArray[Any], ...]:
    """Rows that have a fault, the worst negative of each, its badness, and its ``likely_false_negative``."""
    badness = np.zeros(part.negatives, dtype=np.float32)
    for issue in FAULTS:
        badness += np.where(part.faults(issue), 1.5 - part.of_negatives(issue), np.float32(0))
    worst = part.lists.with_values(badness).argmaxima()
    rows = np.flatnonzero(worst >= 0)
    rows = rows[badness[worst[rows]] > 0]
    places = worst[rows]
    # What a judge calls an answer is so without degree.
    likely = part.of_negatives("likely_false_negative")[places]
    return start + rows, first + places, badness[places], likely


def _taken(values: NDArray[np.float32], places: Integers, bare: Flags) -> NDArray[np.float32]:
    """Values at places, 1 where there is no negative to speak of."""
    found = np.ones(len(places), dtype=np.float32)
    found[~bare] = values[places[~bare]]
    return found
