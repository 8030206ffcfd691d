"""Figures of an audit: how often what is wrong in which source, and how likely negatives are answers."""

from __future__ import annotations

import numpy as np

from eci.audit.issues import FAULTS
from eci.audit.result import AuditResult
from eci.report.data import Column, Figure, Table, visible
from eci.validation.resampling import Share

_TOLD = (0.5, 0.8, 0.9, 0.95)


def shares(result: AuditResult) -> Figure | None:
    """The share of each issue in each source; nothing where no negative has any."""
    occurring = sorted(
        (entry for entry in result.summary if entry.negatives), key=lambda entry: entry.issue not in FAULTS
    )
    if not occurring:
        return None
    names = [entry.issue.replace("_", " ") for entry in occurring]
    values, rows = [], []
    for source, told in result.sources.items():
        cells = []
        for entry, name in zip(occurring, names, strict=True):
            total = told["negatives"]
            found = Share.of(round(told["shares"][entry.issue] * total), total)
            value = found.hits / total if total else None
            known = {"value": value, "low": found.low, "high": found.high}
            values.append({"source": visible(source), "part": name, **known})
            cells.append(tuple(known.values()))
        rows.append((visible(source), *cells))
    columns = (Column("Source"), *(Column(name, "share-interval", 2) for name in names))
    return Figure(
        "shares",
        "Issue by issue",
        "A panel an issue, with the share of each source's negatives that have it and its 95 % interval; "
        "first what a fix mends, then signs and properties. Panels have scales of their own.",
        "intervals",
        {
            "values": values,
            "panels": names,
            "order": [visible(source) for source in result.sources],
            "format": "%",
        },
        Table("shares", "Share of each source's negatives", columns, tuple(rows)),
    )


def chances(result: AuditResult) -> Figure | None:
    """The share of each source's negatives by probability of an answer; nothing where none was asked."""
    values, rows = [], []
    for source, told in result.sources.items():
        counts = np.asarray(told["chances"])
        if not counts.sum():
            continue
        above = counts[::-1].cumsum()[::-1] / counts.sum()
        bounds = np.arange(len(counts)) / len(counts)
        values += [
            {"source": visible(source), "at": round(at, 4), "share": round(value, 6)}
            for at, value in zip(bounds.tolist(), above.tolist(), strict=True)
            if value
        ]
        rows.append(
            (
                visible(source),
                int(counts.sum()),
                *(float(above[np.searchsorted(bounds, at - 1e-9)]) for at in _TOLD),
            )
        )
    if not rows:
        return None
    bound = result.settings["false_negative"]
    columns = (
        Column("Source"),
        Column("Negatives asked", "count"),
        *(Column(f"at {at:g} or more", "share", 2) for at in _TOLD),
    )
    return Figure(
        "chances",
        "How likely negatives are answers that nobody labelled",
        f"A line a source: the share of its negatives (upwards, each step ten times as many) with at least "
        f"this probability. What lies right of the upright line at {bound:g} is flagged; --false-negative "
        "moves it. The probability is that of a world with as many answers as others: the order counts.",
        "chances",
        {"values": values, "order": [row[0] for row in rows], "bound": bound},
        Table("chances", "Share of negatives by probability", columns, tuple(rows)),
    )
