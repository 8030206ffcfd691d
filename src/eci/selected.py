"""What selecting gives back: counts, their JSON form, and a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from eci.results import count, plain, span

SCHEMA = "eci.select/1"

# Gains of more picks are in the JSON.
_SHOWN = 10

_UNITS = {
    "eci_sem": "nats per dimension; a query's sum is its eci_sem_query",
    "alignment": "predicted fall of the held-out loss per unit of learning rate",
    "margin": "cosine with the query",
}


@dataclass(frozen=True)
class SelectResult:
    """What was selected, and out of what.

    Parameters
    ----------
    queries, negatives : int
        Rows, and negatives selected.
    sources : dict
        For each source its ``candidates``; how many of them the bound of the risk left out, ``risky``;
        how many were ``picked``; and their ``share`` of all picks. A negative that several sources bring is
        counted for each, so shares can sum to more than 1.
    short : dict of str to int
        Of the queries with fewer than k: how many got 0, 1, … negatives.
    gains : list of float
        Mean gain of the first pick, the second, …, over the queries that have one.
    merged : int
        Negatives that are the same document as another candidate of their query.
    left_out : dict of str to int
        Negatives that were no candidates or that the bound of the risk left out, and why.
    settings, encoder, data : dict
        Provenance.
    notes : list of str
    """

    queries: int
    negatives: int
    sources: dict[str, dict[str, float]]
    short: dict[str, int]
    gains: list[float]
    merged: int
    left_out: dict[str, int]
    settings: dict[str, Any]
    encoder: dict[str, Any]
    data: dict[str, Any]
    notes: list[str]

    def to_json(self) -> str:
        """Everything, as JSON of schema ``eci.select/1``."""
        told = {"schema": SCHEMA, **plain(asdict(self))}
        return json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)

    def table(self) -> str:
        """The counts for a person."""
        rows: list[tuple[str, ...]] = [
            ("source", "candidates", "left out for risk", "picked", "share of picks")
        ]
        bounded = self.settings["max_false_negative_risk"] is not None
        rows += [
            (
                label,
                f"{told['candidates']:,}",
                f"{told['risky']:,}",
                f"{told['picked']:,}",
                f"{told['share']:.1%}",
            )
            for label, told in self.sources.items()
        ]
        rows = rows if bounded else [row[:2] + row[3:] for row in rows]
        widths = [max(map(span, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                " " * (width - span(cell)) + cell if place else cell + " " * (width - span(cell))
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        rule = "─" * max(map(span, lines))
        return "\n".join([self._head(), "", lines[0], rule, *lines[1:], "", *self._told()])

    def _head(self) -> str:
        encoder = f"{self.encoder['name']} ({self.encoder.get('precision', 'unknown precision')})"
        by = f"by {self.settings['objective']}, encoder {encoder}"
        return f"{count(self.negatives, 'negative')} selected for {count(self.queries, 'query')} {by}"

    def _told(self) -> Iterator[str]:
        k, objective = self.settings["k"], self.settings["objective"]
        gains = [f"{gain:.3g}" for gain in self.gains]
        gains = gains if len(gains) <= _SHOWN else [*gains[: _SHOWN - 1], "…", gains[-1]]
        yield f"Mean gain by pick ({_UNITS[objective]}): {', '.join(gains)}"
        if self.short:
            short = ", ".join(f"{times:,} got {got}" for got, times in self.short.items())
            yield f"Queries with fewer than {k}: {short}"
        if self.merged:
            yield f"Same document as another of its query, so one candidate: {self.merged:,}"
        yield from (f"Left out, {why}: {times:,}" for why, times in self.left_out.items())
        yield from (f"· {note}" for note in self.notes)
