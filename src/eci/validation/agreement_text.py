"""Agreements as tables for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from eci.results import Estimate, count, listed, number, span
from eci.training.settings import NONE
from eci.validation.agreement import Agreement
from eci.validation.observations import CAPACITY, VERDICTS
from eci.validation.pooling import Averaged, Pooled, Summary
from eci.validation.resampling import Share


def agreement_text(found: Agreement) -> str:
    """The agreement as tables, metrics with the best tau first."""
    seeds = found.settings["seeds"]
    drawn = "queries and seeds are" if len(seeds) > 1 else "queries (there is one seed) are"
    heading = (
        f"{found.collection}: {found.measure} after training on {count(len(found.measured), 'source')}, "
        f"mean of {count(len(seeds), 'seed')} and {count(found.settings['queries'], 'query')}\n"
        f"  For 95 % intervals {drawn} drawn again; metrics and sources stay as they are."
    )
    parts = [heading, _measured(found), _rankings(found), _ceilings(found), _choices(found)]
    return "\n\n".join([*parts, *_confusions(found.verdicts)])


def summary_text(found: Summary) -> str:
    """The summary as tables, metrics with the best mean tau first."""
    rows: list[tuple[str, ...]] = [
        (
            "metric",
            "in",
            "τ",
            "95 %",
            "without one",
            "ρ",
            "minus capacity's τ",
            "95 %",
            "lost",
            "without one",
            "signs",
            "decided",
        )
    ]
    for entry in found.metrics:
        rows.append(
            (
                entry.metric,
                str(len(entry.kendall.values)),
                _signed(entry.kendall.mean),
                _between(entry.kendall, "{:+.2f}"),
                _span(entry.kendall, "{:+.2f}"),
                _signed(entry.spearman.mean),
                *_gain(entry),
                number(entry.regret.mean),
                _span(entry.regret),
                _share(entry.signs),
                _share(entry.signs_decided),
            )
        )
    allowed = (
        _signed(found.ceiling.mean),
        _between(found.ceiling, "{:+.2f}"),
        _span(found.ceiling, "{:+.2f}"),
    )
    rows.append(("what noise allows", "", *allowed, *[""] * 7))
    for label, regret in (("any source", found.regret_random), ("always none", found.regret_none)):
        rows.append((label, *[""] * 7, number(regret.mean), _span(regret), "", ""))
    rows.append(("always help", *[""] * 9, _share(found.helped), _share(found.helped_decided)))
    heading = (
        f"{found.measure}, mean over {count(len(found.collections), 'collection')}, "
        f"{listed(found.collections)}; without one: the range of the mean when one of them is left out"
    )
    return "\n\n".join([f"{heading}\n{_aligned(rows)}", *_confusions(found.verdicts)])


def _gain(entry: Pooled) -> tuple[str, str]:
    if entry.metric == CAPACITY:
        return "", ""
    return _signed(entry.kendall_gain.mean), _between(entry.kendall_gain, "{:+.2f}")


def _measured(found: Agreement) -> str:
    effects = {entry["source"]: entry for entry in found.effects}
    rows: list[tuple[str, ...]] = [("source", found.measure, "95 %", "minus none", "95 %", "effect")]
    for label, value in found.measured.items():
        cells = ["", "", ""]
        if label in effects:
            entry = effects[label]
            gain = Estimate(entry["gain"], entry["low"], entry["high"])
            cells = [f"{gain.value:+.4f}", _between(gain, "{:+.4f}"), entry["verdict"]]
        rows.append((label, number(value.value), _between(value, "{:.4f}"), *cells))
    return _aligned(rows)


def _rankings(found: Agreement) -> str:
    rows: list[tuple[str, ...]] = [
        ("metric", "sources", "τ", "95 %", "minus capacity's", "ρ", "r", "without one", "p", "given ln(1+N)")
    ]
    known = [entry for entry in found.metrics if entry.sources]
    for entry in known:
        ends = entry.association.range
        rows.append(
            (
                entry.metric,
                str(entry.sources),
                _signed(entry.kendall.value),
                _between(entry.kendall, "{:+.2f}"),
                "" if entry.metric == CAPACITY else _between(entry.kendall_gain, "{:+.2f}"),
                _signed(entry.spearman.value),
                _signed(entry.pearson.value),
                f"{_signed(ends[0][1])} … {_signed(ends[1][1])}" if ends else "–",
                number(entry.p, 3),
                _signed(entry.partial.value),
            )
        )
    tested = sum(not math.isnan(entry.p) for entry in known)
    absent = [entry.metric for entry in found.metrics if not entry.sources]
    notes = [
        f"  p is for r of one metric looked at alone: of {tested} that know nothing, {tested / 20:g} have "
        "p < 0.05."
        if tested
        else "  No metric has r, p or an interval of τ: these take three sources on which its values differ.",
        *([f"  Without a value of any source: {listed(absent)}."] if absent else []),
    ]
    return "\n".join(
        ["Does the metric rank the hard negatives (without none) as training does?", _aligned(rows), *notes]
    )


def _ceilings(found: Agreement) -> str:
    seeds = len(found.settings["seeds"])
    if seeds < 2:
        return "How much agreement noise allows takes two seeds to tell."
    lines = {
        "others": "one seed with the mean of the others",
        "pairs": "one seed with another one",
        "seeds": f"a perfect metric with the mean of {seeds} seeds, at these queries",
        "queries": "the same, the queries being a sample too",
    }
    rows: list[tuple[str, ...]] = [
        ("τ that noise allows", "without none", "95 % over queries", "with none", "95 % over queries")
    ]
    for name, label in lines.items():
        sides = [getattr(side, name) for side in (found.ceiling, found.ceiling_with_none)]
        cells = [cell for side in sides for cell in (_signed(side.value), _between(side, "{:+.2f}"))]
        rows.append((label, *cells))
    return f"{_aligned(rows)}\n  Hold τ of a metric against the last line; so few sources give it roughly."


def _choices(found: Agreement) -> str:
    best, value = next(iter(found.measured.items()))
    rows: list[tuple[str, ...]] = [
        ("metric", "first choice", "lost", "95 %", "minus capacity's", "signs", "decided", "cost")
    ]
    for entry in found.metrics:
        if not entry.choice:
            continue
        choice = " = ".join(entry.choice) if len(entry.choice) < 3 else f"{len(entry.choice)} tied"
        gain = "" if entry.metric == CAPACITY else _between(entry.regret_gain, "{:+.4f}")
        cost = "–" if math.isnan(entry.cost) else f"1 : {entry.cost:,.{0 if entry.cost >= 10 else 1}f}"
        lost = (number(entry.regret.value), _between(entry.regret, "{:.4f}"), gain)
        rows.append((entry.metric, choice, *lost, _share(entry.signs), _share(entry.signs_decided), cost))
    for label, choice, regret in (("–", "any source", found.regret_random), ("–", NONE, found.regret_none)):
        rows.append((label, choice, number(regret.value), _between(regret, "{:.4f}"), *[""] * 4))
    rows.append(("always help", *[""] * 4, _share(found.helped), _share(found.helped_decided), ""))
    return "\n".join(
        [
            f"What {found.measure} is lost by training on its first choice instead of {best}, "
            f"{number(value.value)}?",
            _aligned(rows, left=2),
            "  signs: sources whose difference to none has the sign the metric gives it; decided: of those "
            "that training decided.",
            "  cost: seconds of scoring : seconds of training.",
        ]
    )


def _confusions(verdicts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[str]:
    tables = []
    for name, counts in verdicts.items():
        rows: list[tuple[str, ...]] = [(f"{name} said", *(f"training: {done}" for done in VERDICTS))]
        rows += [(said, *(str(counts[said][done]) for done in VERDICTS)) for said in VERDICTS]
        tables.append(_aligned(rows))
    return tables


def _aligned(rows: Sequence[tuple[str, ...]], left: int = 1) -> str:
    """Rows under their heading, the first columns to the left and the others to the right."""
    widths = [max(map(span, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        blanks = [" " * (width - span(cell)) for cell, width in zip(row, widths, strict=True)]
        pairs = list(zip(row, blanks, strict=True))
        cells = [cell + blank for cell, blank in pairs[:left]] + [
            blank + cell for cell, blank in pairs[left:]
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "─" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"


def _between(found: Estimate | Averaged, form: str) -> str:
    return "–" if math.isnan(found.low) else f"{form.format(found.low)} … {form.format(found.high)}"


def _span(found: Averaged, form: str = "{:.4f}") -> str:
    ends = found.without.values()
    return f"{form.format(min(ends))} … {form.format(max(ends))}" if ends else "–"


def _share(found: Share) -> str:
    return f"{found.hits}/{found.total} ({found.low:.0%} … {found.high:.0%})" if found.total else "–"
