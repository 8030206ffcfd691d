"""Tables that put ways to rank the same sources side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eci import metrics
from eci.ranking import kendall
from eci.results import Estimate, ScoreResult, number, span
from eci.types import Floats


@dataclass(frozen=True)
class Column:
    """One way to rank the sources.

    Parameters
    ----------
    name : str
    metric : str
    values : dict of str to Estimate
        By source.
    kendall : float
        Kendall's tau-b of its ranking with that of the table's first column; NaN where undefined.
    """

    name: str
    metric: str
    values: dict[str, Estimate]
    kendall: float


@dataclass(frozen=True)
class Table:
    """Columns that differ in one choice; the first is what `eci.score` gives.

    Parameters
    ----------
    choice : str
        ``encoder``, ``fixed_n``, ``aggregation``, ``temperature`` or ``heuristic``.
    title : str
    columns : tuple of Column
    notes : tuple of str
    """

    choice: str
    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    def text(self, width: int = 100) -> str:
        """The table in blocks of columns that fit into `width`."""
        labels = ["source", *self.columns[0].values, "Kendall's τ with the first"]
        cells = [_cells(entry, first=place == 0) for place, entry in enumerate(self.columns)]
        blocks = "\n\n".join(_blocks(labels, cells, width))
        return "\n".join([self.title, blocks, *(f"  {note}" for note in self.notes)])


def table_of(
    choice: str, title: str, found: Sequence[tuple[str, str, ScoreResult]], notes: tuple[str, ...] = ()
) -> Table:
    """A table of columns with a name, a metric and the result to take it from; sources as in the first."""
    labels = [entry.source for entry in found[0][2].sources]
    signed = [
        (-1.0 if metric in metrics.LOWER_IS_BETTER else 1.0) * column(result, metric, labels)
        for _, metric, result in found
    ]
    columns = tuple(
        Column(
            name,
            metric,
            {label: result[label].values[metric] for label in labels},
            kendall(signed[0], values),
        )
        for (name, metric, result), values in zip(found, signed, strict=True)
    )
    return Table(choice, title, columns, notes)


def column(result: ScoreResult, metric: str, labels: Sequence[str]) -> Floats:
    """One metric of the given sources, of shape (S,)."""
    return np.array([result[label].values[metric].value for label in labels])


def _cells(entry: Column, *, first: bool) -> list[str]:
    known = [abs(found.value) for found in entry.values.values() if not math.isnan(found.value)]
    largest = max(known, default=0.0)
    digits = min(9, max(1, 3 - math.floor(math.log10(largest)))) if largest > 0 else 4
    tau = "" if first else "–" if math.isnan(entry.kendall) else f"{entry.kendall:+.2f}"
    return [entry.name, *(_cell(found, digits) for found in entry.values.values()), tau]


def _cell(found: Estimate, digits: int) -> str:
    half = max(found.high - found.value, found.value - found.low)
    if math.isnan(half):
        return number(found.value, digits)
    told = number(half, digits) if abs(found.value) < 10_000 else f"{half:.1e}"
    return f"{number(found.value, digits)} ± {told}"


def _blocks(labels: list[str], cells: list[list[str]], width: int) -> Iterator[str]:
    """Rows under their labels, in as many blocks of columns as it takes."""
    first = max(map(span, labels))
    sizes = [max(map(span, entry)) for entry in cells]
    start = 0
    while start < len(cells):
        end, total = start + 1, first + 2 + sizes[start]
        while end < len(cells) and total + 2 + sizes[end] <= width:
            total, end = total + 2 + sizes[end], end + 1
        rows = [
            label
            + " " * (first - span(label))
            + "".join(
                "  " + " " * (sizes[place] - span(cells[place][row])) + cells[place][row]
                for place in range(start, end)
            )
            for row, label in enumerate(labels)
        ]
        # The last row compares with the first column: of one column alone there is nothing to say.
        rows = [rows[0], "─" * total, *rows[1:-1], *([rows[-1]] if len(cells) > 1 else [])]
        yield "\n".join(row.rstrip() for row in rows)
        start = end
