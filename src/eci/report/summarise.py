"""A result, and the rows behind it where they are at hand, as a report."""

from __future__ import annotations

from eci.comparison import Comparison
from eci.report.data import Column, Figure, Report, Section, Table, visible
from eci.report.deciding import decision
from eci.report.encoders import differing, encoders
from eci.report.explaining import baselines, effects, everything, lights, split, sweep
from eci.report.exploring import explorer
from eci.report.mapping import tradeoff
from eci.report.provenance import command_of, data_table, encoder_table, files_table, settings_table
from eci.report.rows import Sample
from eci.report.sampled import distributions, pair
from eci.results import ScoreResult, count

# Queries of which a page holds figures; a random sample of all.
MOST = 2_000

CAVEAT = (
    "Published: a correlation of 0.91 of ECI with nDCG@10, over seven sources; ln(1+N) alone has 0.90 there, "
    "and ECI falls to 0.52 when one source, the LLM's, is left out (docs/validation.md)."
)


def summarise(result: ScoreResult | Comparison, sample: Sample | None = None) -> Report:
    """What a page says of a result.

    Parameters
    ----------
    result : ScoreResult or Comparison
        Of a comparison everything is told of the first encoder, and how the others rank.
    sample : Sample, optional
        Rows of it, of `eci.report.rows.read_sample`.
    """
    first = first_of(result)
    sections = [_why(first, sample)]
    others: tuple[tuple[str, str], ...] = ()
    if isinstance(result, Comparison) and len(result.results) > 1:
        sections.append(encoders(result))
        others = (("By other encoders", differing(result)),)
    sections += [_figures(first), _trust(first, sample)]
    data = first.data
    return Report(
        title="Which hard negatives to train on",
        subject=(
            f"{first.settings['queries_scored']:,} of {count(data['queries'], 'query')}, "
            f"{count(data['documents'], 'document')}, {count(len(first.sources), 'source')}; scored before "
            f"training with the frozen encoder {visible(str(first.encoder['name']))}"
        ),
        decision=decision(first, others),
        sections=tuple(sections),
        command=command_of(first.settings),
        explorer=explorer(first, sample) if sample else None,
    )


def first_of(result: ScoreResult | Comparison) -> ScoreResult:
    """The result that a page is about: that of the first encoder."""
    return result.results[0] if isinstance(result, Comparison) else result


def _why(result: ScoreResult, sample: Sample | None) -> Section:
    known = len(result.sources) > 0 and any(entry.queries for entry in result.sources)
    drawn: list[Figure | None] = [
        tradeoff(result, sample) if known else None,
        pair(result, sample) if sample else None,
        effects(result) if result.effects else None,
        split(result),
        distributions(result, sample) if sample else None,
        sweep(result),
        lights(result),
    ]
    notes = []
    if sample is None:
        notes.append(
            "Without rows there are no distributions, no scatter of queries and no texts. "
            "eci score … --report writes them beside its page; eci report takes them with --rows."
        )
    elif sample.total > len(sample):
        notes.append(
            f"Figures of single queries show {len(sample):,} of {sample.total:,} queries, drawn at random."
        )
    if not result.shortcuts and len(result.sources) > 1:
        notes.append("Sources were not compared for shortcuts (--no-shortcuts).")
    return Section(
        "why",
        "Why",
        "What the ranking is made of, and what speaks against it. Points are estimates, bars 95 % intervals "
        "where no other level is named.",
        tuple(figure for figure in drawn if figure),
        notes=tuple(notes),
    )


def _figures(result: ScoreResult) -> Section:
    return Section(
        "figures",
        "All figures",
        "Every metric, and the simple ones that a ranking has to beat.",
        tables=(everything(result), baselines(result)),
    )


def _trust(result: ScoreResult, sample: Sample | None) -> Section:
    encoder, settings, data = result.encoder, result.settings, result.data
    covered = tuple(
        (visible(entry.source), entry.queries, entry.negatives, entry.coverage) for entry in result.sources
    )
    lacking = tuple(
        visible(text.removeprefix("null: ")) for text in result.warnings if text.startswith("null: ")
    )
    notes = [*lacking, *(visible(str(note)) for note in data.get("notes", ()))]
    if sample:
        notes.append(
            f"Rows: {sample.total:,} queries in the Parquet file, in the order in which they were drawn."
        )
    return Section(
        "trust",
        "Where this comes from",
        CAVEAT,
        tables=(
            encoder_table(encoder, settings),
            settings_table(settings),
            data_table(data),
            files_table(data),
            Table(
                "coverage",
                "Coverage",
                (
                    Column("Source"),
                    Column("Queries", "count"),
                    Column("Negatives", "count"),
                    Column("Coverage", "share", 1),
                ),
                covered,
                "Queries with negatives of the source, of all queries.",
            ),
        ),
        notes=tuple(notes),
    )
