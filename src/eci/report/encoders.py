"""The same rows by several encoders: where each puts every source, and how far they agree."""

from __future__ import annotations

from eci.comparison import Comparison
from eci.report.data import Column, Figure, Section, Table, visible
from eci.report.deciding import triple
from eci.report.explaining import labels_of, number_of


def encoders(comparison: Comparison) -> Section:
    """The ranking of the sources by each encoder, and how far they agree."""
    metric = comparison.metric
    names = [visible(name) for name in comparison.encoders]
    base = comparison.results[0]
    values = [
        {"encoder": name, "source": visible(entry.source), "rank": entry.rank}
        for name, result in zip(names, comparison.results, strict=True)
        for entry in result.sources
    ]
    rows = tuple(
        (
            visible(entry.source),
            *(
                cell
                for result in comparison.results
                for cell in (result[entry.source].rank, triple(result[entry.source].values[metric]))
            ),
        )
        for entry in base.sources
    )
    columns = tuple(
        column
        for name in names
        for column in (Column(f"{name}: rank", "count"), Column(f"{name}: {metric}", "interval", 4))
    )
    agreement = tuple(
        (*map(visible, entry["encoders"]), number_of(entry["kendall"][metric]))
        for entry in comparison.agreement
    )
    return Section(
        "encoders",
        "Encoders",
        f"The same rows by {len(names)} encoders. All else on this page is by the first, {names[0]}.",
        (
            Figure(
                "encoders",
                f"Rank by {metric}, encoder by encoder",
                f"A line a source over {len(names)} encoders, rank 1 on top. Lines that cross are sources on "
                "whose order encoders disagree.",
                "ranks",
                {"values": values, "encoders": names, "order": labels_of(base)},
                Table("encoders", f"Rank and {metric} by encoder", (Column("Source"), *columns), rows),
            ),
        ),
        (
            Table(
                "agreement",
                f"Kendall's τ of the rankings by {metric}",
                (Column("Encoder"), Column("Encoder"), Column("Kendall's τ", "signed", 2)),
                agreement,
            ),
        ),
    )
