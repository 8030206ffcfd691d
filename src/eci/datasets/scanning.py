"""Rows to score: into memory where they fit, else some of their queries, and a way to see the others pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eci.atomic import temporary_folder
from eci.datasets.columns import in_parts
from eci.datasets.scattered import Corpus, Spread, together
from eci.directions import draws
from eci.examples import Examples
from eci.portions import PASSING, Portions, row_keys
from eci.ragged import rising
from eci.spilled import Column, distinct, told_if_full
from eci.types import Progress, silent

# With 20 negatives of 1,000 characters each, their texts and vectors of 384 dimensions take about 1 GB.
HELD = 10_000


@contextmanager
def portions(
    rows: Iterable[pa.RecordBatch],
    seed: int,
    *,
    held: int | None = None,
    corpus: Corpus | None = None,
    progress: Progress = silent,
) -> Iterator[Portions]:
    """Queries of rows, in memory up to `held` of them.

    Parameters
    ----------
    rows : iterable of RecordBatch
        Canonical rows that can be gone through again.
    seed : int
        Of the draw of those held, where there are more.
    held : int, optional
        `HELD` if not given.
    corpus : callable, optional
        `Rows.corpus` of the rows.
    progress : Progress

    Yields
    ------
    Portions
        What is not in memory can be had until the end of the block.

    Raises
    ------
    DataError
        The rows cannot be read, or a query held has no positive.
    """
    scan = _Scan(seed, HELD if held is None else held)
    for batch in rows:
        scan.add(batch)
        progress("rows read", scan.rows, 0)
    scan.drop()
    held_, scan.kept = Examples.from_batches(scan.kept), []
    if scan.whole:
        yield Portions.of(held_, seed)
        return
    scattered, scan.spread = scan.spread.scattered, Spread()

    def told(written: int) -> None:
        if written < scan.rows:
            progress("rows brought together", written, scan.rows)

    with temporary_folder("eci-rows") as work:
        yield Portions(
            held=held_,
            sources=tuple(sorted(scan.sources)),
            draws=scan.draws(),
            seed=seed,
            rows=scan.rows,
            negatives=scan.negatives,
            pieces=_Pieces(rows, scattered, work, corpus, told),
        )


class _Pieces:
    """Tables of whole queries, anew with every call; can be sent to another process of this machine."""

    def __init__(
        self,
        rows: Iterable[pa.RecordBatch],
        scattered: int | None,
        folder: Path,
        corpus: Corpus | None,
        told: Callable[[int], None],
    ) -> None:
        self._given, self._corpus, self._told = (rows, scattered, folder), corpus, told
        self._brought: Callable[[], Iterator[pa.Table]] | None = None

    def __call__(self) -> Iterator[pa.Table]:
        return self._made()()

    def __getstate__(self) -> dict[str, Any]:
        # Rows that were brought together are read from their files, by whomever.
        return {"_brought": self._made()}

    def _made(self) -> Callable[[], Iterator[pa.Table]]:
        # Rows are brought together when somebody asks for them: many do with those held.
        if self._brought is None:
            with told_if_full():
                self._brought = together(*self._given, PASSING, corpus=self._corpus, told=self._told)[0]
        return self._brought


class _Scan:
    """Goes through rows once and keeps those of the queries that are drawn first."""

    def __init__(self, seed: int, held: int) -> None:
        self._seed, self._held = seed, held
        self.kept: list[pa.RecordBatch] = []
        self.spread = Spread()
        self.sources: set[str] = set()
        self.rows = self.negatives = 0
        self.whole = True
        # Draws of the queries in `kept`, and of all.
        self._drawn: list[NDArray[np.uint64]] = []
        self._all = Column(np.uint64)
        self._last = np.uint64(2**64 - 1)
        # Rows in `kept` after the last drop, and those since.
        self._left = self._size = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """The next rows."""
        self.spread.add(batch)
        self.rows += len(batch)
        entries = batch.column("negatives").flatten()
        self.negatives += len(entries)
        self.sources.update(entries.field("source").unique().to_pylist())
        drawn = draws(row_keys(batch), self._seed)
        self._all.add(rising(drawn))
        inside = drawn <= self._last
        if inside.any():
            self.kept.append(batch if inside.all() else batch.filter(pa.array(inside)))
            self._drawn.append(drawn[inside])
            self._size += int(inside.sum())
        # Rows of one query may be many: they are counted as queries when there may be too many of those.
        if self._size > max(self._held, self._left) // 4:
            self.drop()

    def drop(self) -> None:
        """Keep no more queries than are to be held."""
        queries = rising(np.concatenate(self._drawn)) if self._drawn else np.empty(0)
        if len(queries) > self._held:
            self._last, self.whole = queries[self._held - 1], False
            chosen = [drawn <= self._last for drawn in self._drawn]
            left = (
                batch if inside.all() else batch.filter(pa.array(inside))
                for batch, inside in zip(self.kept, chosen, strict=True)
            )
            # Of a long input each batch has a few rows here, and what they are in takes more room than they.
            self.kept = list(in_parts(left, PASSING))
            drawn = np.concatenate([drawn[inside] for drawn, inside in zip(self._drawn, chosen, strict=True)])
            self._drawn = np.split(drawn, np.cumsum([len(batch) for batch in self.kept])[:-1])
        self._left, self._size = sum(map(len, self.kept)), 0

    def draws(self) -> NDArray[np.uint64]:
        """Those of all queries, rising."""
        return distinct(self._all.done(writable=True))
