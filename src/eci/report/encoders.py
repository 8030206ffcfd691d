"""The same rows by several encoders: where each puts every source, and how far they agree."""

from __future__ import annotations

from eci.comparison import Comparison
from eci.report.data import Column, Figure, Section, Table, visible
from eci.report.deciding import triple
from eci.report.explaining import labels_of, number_of
from eci.results import count, listed


def differing(comparison: Comparison) -> str:
    """In a sentence, whether the other encoders say the same."""
    base, *others = comparison.results
    same = [result for result in others if result.best.source == base.best.source]
    told = f"{len(same)} of {count(len(others), 'other encoder')} "
    told += f"{'puts' if len(same) == 1 else 'put'} {visible(base.best.source)} first, too"
    firsts = [
        f"{visible(name)} puts {visible(result.best.source)} first"
        for name, result in zip(comparison.encoders[1:], others, strict=True)
        if result not in same
    ]
    verdicts = _verdicts(comparison)
    open_ = [visible(source) for source, said in verdicts.items() if len(set(said)) > 1]
    end = (
        f"On help or hurt encoders differ for {listed(open_)}"
        if open_
        else "On help or hurt all say the same"
    )
    return f"{'; '.join([told, *firsts])}. {end} (section Encoders)."


def _verdicts(comparison: Comparison) -> dict[str, list[str]]:
    """By source, best first by the first encoder, what each encoder expects."""
    found = [{entry["source"]: entry["verdict"] for entry in result.effects} for result in comparison.results]
    return {
        entry.source: [each.get(entry.source, "unknown") for each in found]
        for entry in comparison.results[0].sources
    }


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
            Table(
                "expected",
                "Expected beyond in-batch negatives alone, by encoder",
                (Column("Source"), *(Column(name, "light") for name in names)),
                tuple((visible(source), *said) for source, said in _verdicts(comparison).items()),
            ),
            Table(
                "weights",
                "The encoders",
                (
                    Column("Encoder"),
                    Column("Digest of its weights (BLAKE2b)"),
                    Column("Precision"),
                    Column("Dimension", "count"),
                ),
                tuple(
                    (
                        name,
                        str(result.encoder.get("weights_blake2b", "–")),
                        str(result.encoder.get("precision", "–")),
                        result.encoder.get("dimension"),
                    )
                    for name, result in zip(names, comparison.results, strict=True)
                ),
            ),
        ),
    )
