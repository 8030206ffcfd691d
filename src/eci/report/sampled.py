"""Figures of single queries: how similar positives and negatives are, and two sources query by query."""

from __future__ import annotations

from typing import Any

import numpy as np

from eci.report.data import Column, Figure, Table, visible
from eci.report.rows import Sample
from eci.results import ScoreResult
from eci.types import Floats

_BINS = 48
# What the scatter can put on its axes.
SHOWN = {"hardest": "hardest negative", "signal": "mean of the negatives", "margin": "margin"}


def per_query(sample: Sample, source: str) -> dict[str, Floats]:
    """Figures of each sampled query by one source, each of shape (B,); NaN where it has none of it."""
    own = sample.of(source)
    hardest = own.maxima()
    return {
        "hardest": hardest,
        "signal": own.means(),
        "margin": np.maximum(0.0, sample.best - hardest),
    }


def distributions(result: ScoreResult, sample: Sample) -> Figure:
    """How similar to the query positives and negatives are, source by source."""
    known = [entry.source for entry in result.sources if entry.source in sample.sources]
    both = np.concatenate([sample.nearness, sample.similarity, [0.0]])
    edges = np.linspace(both.min(), np.nextafter(both.max(), 2), _BINS + 1)
    middles = ((edges[1:] + edges[:-1]) / 2).round(4).tolist()
    values, rows = [], []
    for source in known:
        own = sample.of(source)
        sides = {"best positive": sample.best[own.lengths > 0], "negatives": own.values}
        for side, found in sides.items():
            counts = np.histogram(found, edges)[0] / max(1, len(found))
            values += [
                {"source": visible(source), "side": side, "at": at, "share": share}
                for at, share in zip(middles, counts.round(5).tolist(), strict=True)
            ]
        rows.append(
            (
                visible(source),
                len(sides["best positive"]),
                *np.quantile(sides["best positive"], (0.1, 0.5, 0.9)).tolist(),
                len(own.values),
                *np.quantile(own.values, (0.1, 0.5, 0.9)).tolist(),
            )
        )
    columns = (
        Column("Source"),
        Column("Queries", "count"),
        *(Column(f"positive, {at}", "number", 3) for at in ("10 %", "median", "90 %")),
        Column("Negatives", "count"),
        *(Column(f"negatives, {at}", "number", 3) for at in ("10 %", "median", "90 %")),
    )
    return Figure(
        "distributions",
        "How near positives and negatives are to the query",
        "A panel a source with two outlines: the share of best positives, and of negatives, by their cosine "
        "with the query. The more they overlap, the harder the negatives, or the more of them are answers "
        "that nobody labelled.",
        "distributions",
        {"values": values, "order": [visible(source) for source in known]},
        Table("distributions", "Cosine with the query, deciles and median", columns, tuple(rows)),
    )


def pair(result: ScoreResult, sample: Sample) -> Figure | None:
    """Two sources query by query; the page lets others be chosen. Nothing where there is only one."""
    known = [entry.source for entry in result.sources if entry.source in sample.sources]
    if len(known) < 2:
        return None
    rows: list[tuple[Any, ...]] = []
    first = per_query(sample, known[0])["hardest"]
    for other in known[1:]:
        second = per_query(sample, other)["hardest"]
        both = np.isfinite(first) & np.isfinite(second)
        ahead = first[both] > second[both]
        rows.append(
            (
                visible(known[0]),
                visible(other),
                int(both.sum()),
                float(ahead.mean()) if both.any() else None,
                float((first - second)[both].mean()) if both.any() else None,
            )
        )
    second = per_query(sample, known[1])["hardest"]
    shared = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    columns = (
        Column("First"),
        Column("Second"),
        Column("Queries with both", "count"),
        Column("First has the harder one", "share", 1),
        Column("Mean difference", "signed", 3),
    )
    return Figure(
        "pair",
        "Query by query",
        f"A point a query: the cosine of its hardest negative by {visible(known[0])} to the right, by "
        f"{visible(known[1])} upwards, about the diagonal; {len(shared):,} queries with negatives of both.",
        "pair",
        {
            "values": [
                {"x": round(float(first[at]), 4), "y": round(float(second[at]), 4), "query": int(at)}
                for at in shared.tolist()
            ],
            "axes": [f"{visible(source)}: {SHOWN['hardest']}" for source in known[:2]],
        },
        Table(
            "pair",
            f"Hardest negative of each query: {visible(known[0])}, which leads, against each other source",
            columns,
            tuple(rows),
        ),
    )
