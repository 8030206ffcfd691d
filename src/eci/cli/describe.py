"""A result for a person: leaderboard, verdict, baselines, directions, what to be careful of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isnan

from eci.comparison import Comparison
from eci.results import Estimate, ScoreResult, count, number, percent, span


def describe(result: ScoreResult) -> str:
    """The result for a person: leaderboard, verdict, baselines, what to be careful of, provenance."""
    encoder = result.encoder
    parts = [
        f"{summary(result)}; encoder {encoder['name']} ({encoder.get('precision', 'unknown precision')})",
        result.table(),
        result.verdict,
    ]
    if result.baselines:
        parts.append(_baseline_lines(result))
    parts.append(_effect_lines(result))
    parts.append(_semantic_lines(result))
    if result.shortcuts:
        parts.append(_shortcut_lines(result))
    return "\n\n".join([*parts, *careful({encoder["name"]: result})])


def describe_comparison(comparison: Comparison) -> str:
    """A table for each encoder, how far they agree, and what to be careful of."""
    results = dict(zip(comparison.encoders, comparison.results, strict=True))
    parts = [summary(comparison.results[0])]
    for label, result in results.items():
        parts += [f"{label} ({result.encoder.get('precision', 'unknown precision')})"]
        parts += [result.table(), result.verdict]
    parts.append(
        comparison.agreement_text() + "\nBaselines, eci_sem and the agreement by every other metric: --json."
    )
    return "\n\n".join([*parts, *careful(results)])


def summary(result: ScoreResult) -> str:
    """How much was scored."""
    queries, documents = count(result.data["queries"], "query"), count(result.data["documents"], "document")
    return (
        f"{result.settings['queries_scored']:,} of {queries}, {documents}, "
        f"{count(len(result.sources), 'source')}"
    )


def careful(results: dict[str, ScoreResult]) -> list[str]:
    """Warnings and notes as one block: those of all encoders once, others with their encoder."""
    told: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for label, result in results.items():
        for text in result.warnings:
            if not text.startswith("null: "):
                # Sources stand in the order of each ranking: what differs in that alone is told once.
                words = tuple(sorted(re.findall(r"[^\s,():]+", text)))
                told.setdefault(words, []).append((label, text))
    lines = [
        f"! {found[0][1]}" if len(found) == len(results) else f"! {label}: {text}"
        for found in told.values()
        for label, text in (found[:1] if len(found) == len(results) else found)
    ]
    lines += [f"· {text}" for text in next(iter(results.values())).data.get("notes", ())]
    return ["\n".join(lines)] if lines else []


def _effect_lines(result: ScoreResult) -> str:
    """What each source is expected to add to in-batch negatives."""
    ranked = sorted(result.effects, key=lambda entry: (isnan(entry["gain"]), -entry["gain"]))
    told = result.data["alignment"]
    none, ranked_texts = Estimate(**told["none"]["alignment"]), f"{told['candidates']:,}"
    searched = (
        f"the {ranked_texts} documents of the corpus and positives"
        if told["found"]
        else f"the {ranked_texts} texts of the rows; --candidates ranks a corpus instead"
    )
    # What decides help or hurt shares its error over the sources, so its intervals are the wider ones.
    level = percent(ranked[0]["confidence"])
    rows = [("source", "", f"gain in cosine, {level}", "in dot product, 95 %")]
    for entry in ranked:
        dot = result[entry["source"]].values["alignment_dot_gain"]
        rows.append(
            (
                entry["source"],
                entry["verdict"],
                _signed(entry["gain"], entry["low"], entry["high"]),
                _signed(dot.value, dot.low, dot.high),
            )
        )
    return "\n".join(
        [
            "Expected beyond in-batch negatives alone: alignment of a training step with held-out queries; "
            f"without hard negatives {_range(none, 3)}",
            *_columns(rows),
            f"  Held-out queries rank {searched}.",
            "  Held against training its sign was right in 35 of 42 cases, that of 'eci probe' in 42: "
            "docs/validation.md.",
        ]
    )


def _signed(value: float, low: float, high: float) -> str:
    return "–" if isnan(value) else f"{value:+.3f}" + ("" if isnan(low) else f" ({low:+.3f} … {high:+.3f})")


def _semantic_lines(result: ScoreResult) -> str:
    """Each source by eci_sem, and whether their order depends on the temperature."""
    told = result.data["eci_sem"]
    by_value = {entry.source: entry.values["eci_sem"].value for entry in result.sources}
    ranked = sorted(
        result.sources, key=lambda entry: (isnan(by_value[entry.source]), -by_value[entry.source])
    )
    rows: list[tuple[str, ...]] = [
        ("source", "eci_sem", "within queries", "quality tr A", "diversity, effective rank")
    ]
    for entry in ranked:
        found = entry.values
        rows.append(
            (
                entry.source,
                *(_range(found[name], 4) for name in ("eci_sem", "eci_sem_query", "eci_sem_trace")),
                _range(found["eci_sem_effective_rank"], 1),
            )
        )
    used = str(result.settings["temperature"])
    others = {name: entry["kendall"] for name, entry in told["temperatures"].items() if name != used}
    swept = ", ".join(
        f"{'–' if tau is None or isnan(tau) else f'{tau:+.2f}'} at {name}" for name, tau in others.items()
    )
    lines = [f"{told['definition']}, our own definition, in nats per dimension", *_columns(rows)]
    if len(ranked) > 1:
        lines.append(f"  Kendall's τ with its order at temperature {used}: {swept}")
    return "\n".join(lines)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, their cells under each other."""
    widths = [max(span(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell + " " * (width - span(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


# More pairs than this, and only those are printed that are not clear.
_MOST_PAIRS = 10


def _shortcut_lines(result: ScoreResult) -> str:
    """Which sources can be told apart without looking at the query."""
    few = len(result.shortcuts) <= _MOST_PAIRS
    shown = [entry for entry in result.shortcuts if few or entry["light"] in ("suspicious", "separable")]
    clear = sum(entry["light"] == "clear" for entry in result.shortcuts)
    rows, unknown = [], []
    for entry in shown:
        row = (f"{entry['first']} / {entry['second']}", entry["light"])
        if entry["light"] == "unknown":
            unknown.append(f"  {row[0]}: unknown, {entry['note']}")
            continue
        cue = max(entry["cues"], key=lambda name: abs(entry["cues"][name]["value"] - 0.5))
        pure = max(estimate["value"] for estimate in entry["pure"])
        probe, surface = Estimate(**entry["probe"]), Estimate(**entry["cues"][cue])
        told = (f"probe {_range(probe, 2)}", f"{cue} {_range(surface, 2)}")
        rows.append((*row, *told, f"in pure clusters {pure:.0%}"))
    lines = [
        "Source shortcuts: what tells sources apart without looking at the query (AUC, chance is 0.5); "
        f"{clear} of {count(len(result.shortcuts), 'pair')} clear"
    ]
    return "\n".join([*lines, *(_columns(rows) if rows else ()), *unknown])


def _range(estimate: Estimate, digits: int) -> str:
    return (
        f"{number(estimate.value, digits)} ({number(estimate.low, digits)} … {number(estimate.high, digits)})"
    )


def _baseline_lines(result: ScoreResult) -> str:
    metric = result.settings["metric"]
    told = []
    for entry in result.baselines:
        tau = "–" if isnan(entry["kendall"]) else f"{entry['kendall']:+.2f}"
        told.append(f"{entry['metric']}: {entry['first']} (τ {tau})")
    return (
        f"Simpler figures, what each puts first, and Kendall's τ of its ranking with {metric}:\n  "
        + "\n  ".join("; ".join(told[start : start + 3]) for start in range(0, len(told), 3))
        + f"\nNone of them, nor {metric}, is known to predict training; 'eci probe' did best so far: "
        "docs/validation.md."
    )
