"""Why the sources stand where they stand: the figures and tables that a result alone can give."""

from __future__ import annotations

import math
from typing import Any

from eci import metrics
from eci.report.costing import HOPELESS, further, needed
from eci.report.data import Column, Figure, Table, visible
from eci.report.deciding import per_query, triple
from eci.report.measured import CASES, KENDALL, NOISE_ALLOWS
from eci.results import Estimate, ScoreResult, number, percent

_LIGHTS = ("clear", "suspicious", "separable", "unknown")


def split(result: ScoreResult) -> Figure:
    """What of each source's ECI is number of negatives, and what is their quality."""
    parts = {"capacity": "capacity ln(1+N)", "efficiency": "efficiency", "eci": "eci, their product"}
    values = [
        {"source": visible(entry.source), "part": told, **_estimate(entry.values[name])}
        for entry in result.sources
        for name, told in parts.items()
    ]
    columns = (
        Column("Source"),
        Column("N", "number", 1),
        *(Column(told, "interval", 4) for told in parts.values()),
    )
    rows = tuple(
        (visible(entry.source), per_query(entry), *(triple(entry.values[name]) for name in parts))
        for entry in result.sources
    )
    best = {name: _first(result, name) for name in parts}
    return Figure(
        "split",
        "Capacity and efficiency",
        f"Three panels with a point and a 95 % interval a source. {best['capacity']} has most capacity, "
        f"{best['efficiency']} most efficiency, {best['eci']} the largest product.",
        "intervals",
        {"values": values, "panels": list(parts.values()), "order": labels_of(result)},
        Table("split", "Capacity and efficiency", columns, rows),
    )


def effects(result: ScoreResult) -> Figure:
    """What each source is expected to add to in-batch negatives alone."""
    queries = result.settings["queries_scored"]
    found = sorted(result.effects, key=lambda entry: -_lowest(number_of(entry["gain"])))
    level = percent(found[0]["confidence"])
    values, rows = [], []
    for entry in found:
        gain, low, high = (number_of(entry[name]) for name in ("gain", "low", "high"))
        label = visible(entry["source"])
        values.append({"source": label, "verdict": entry["verdict"], "value": gain, "low": low, "high": high})
        dot = result[entry["source"]].values["alignment_dot_gain"]
        undecided = entry["verdict"] == "undecided" and "in_memory" not in result.data
        more = needed(queries, gain, low, high) if undecided else math.nan
        rows.append(
            (
                label,
                entry["verdict"],
                (gain, low, high),
                triple(dot),
                further(queries, more) if more <= HOPELESS * queries else None,
            )
        )
    columns = (
        Column("Source"),
        Column("Expected", "light", told="At the simultaneous confidence that decides"),
        Column(f"Gain in cosine, {level}", "signed-interval"),
        Column("in dot product, 95 %", "signed-interval"),
        Column("More queries for an even chance", "count", told="To decide, if the gain stays what it is"),
    )
    none = Estimate(
        **{name: number_of(value) for name, value in result.data["alignment"]["none"]["alignment"].items()}
    )
    counts = {verdict: sum(entry["verdict"] == verdict for entry in found) for verdict in ("help", "hurt")}
    return Figure(
        "effects",
        "Beyond in-batch negatives alone",
        f"A point a source and its {level} interval, which all sources share, about the zero line: "
        f"{counts['help']} of {len(found)} sources lie wholly above it (help), {counts['hurt']} wholly below "
        f"(hurt). In-batch negatives alone have an alignment of {number(none.value, 3)}.",
        "effects",
        {"values": values, "order": [entry["source"] for entry in values]},
        Table(
            "effects",
            "Alignment with held-out queries, minus that of in-batch negatives alone",
            columns,
            tuple(rows),
            "The cosine alone decides the word. The dot product is the fall of the held-out loss that a step "
            "of unit rate promises: long gradients count more. A dash for more queries: decided, or more "
            f"than {HOPELESS} times as many.",
        ),
    )


def sweep(result: ScoreResult) -> Figure | None:
    """How ``eci_sem`` depends on its temperature; nothing where it cannot be had."""
    told = result.data["eci_sem"]
    temperatures = told["temperatures"]
    labels = labels_of(result)
    values = [
        {"source": visible(entry.source), "temperature": float(name), "value": at["values"][entry.source]}
        for name, at in temperatures.items()
        for entry in result.sources
        if math.isfinite(number_of(at["values"][entry.source]))
    ]
    if not values:
        return None
    taus = "; ".join(
        f"τ {name}: {number_of(at['kendall']):+.2f}"
        if math.isfinite(number_of(at["kendall"]))
        else f"τ {name}: –"
        for name, at in temperatures.items()
    )
    agreement = f"Kendall's τ of each order with that at {result.settings['temperature']}: {taus}."
    columns = (Column("Source"), *(Column(f"τ = {name}", "number", 4) for name in temperatures))
    rows = tuple(
        (visible(entry.source), *(number_of(at["values"][entry.source]) for at in temperatures.values()))
        for entry in result.sources
    )
    return Figure(
        "sweep",
        "eci_sem over its temperature",
        f"A line a source over {len(temperatures)} temperatures. Lines that cross are sources whose order "
        f"depends on τ. {agreement}",
        "sweep",
        {"values": values, "order": labels},
        Table(
            "sweep",
            f"{told['definition']}, our own definition, in nats per dimension",
            columns,
            rows,
            agreement,
        ),
    )


def lights(result: ScoreResult) -> Figure | None:
    """Which two sources can be told apart without looking at the query."""
    if not result.shortcuts:
        return None
    values, rows = [], []
    for entry in result.shortcuts:
        first, second = visible(entry["first"]), visible(entry["second"])
        probe = entry.get("probe") or {}
        cues = entry.get("cues") or {}
        strongest = max(cues, key=lambda name: abs((cues[name]["value"] or 0.5) - 0.5), default="")
        values.append({"first": first, "second": second, "light": entry["light"]})
        rows.append(
            (
                first,
                second,
                entry["light"],
                tuple(number_of(probe.get(name)) for name in ("value", "low", "high")),
                strongest,
                tuple(number_of(cues.get(strongest, {}).get(name)) for name in ("value", "low", "high")),
                max((number_of(part["value"]) for part in entry.get("pure") or ()), default=math.nan),
                visible(str(entry.get("note", ""))),
            )
        )
    columns = (
        Column("First"),
        Column("Second"),
        Column("Light", "light"),
        Column("Probe, AUC", "interval", 2, "Of a linear probe on document vectors; chance is 0.5"),
        Column("Strongest cue"),
        Column("its AUC", "interval", 2),
        Column("In pure clusters", "share", 1),
        Column("Note"),
    )
    counts = {light: sum(entry["light"] == light for entry in result.shortcuts) for light in _LIGHTS}
    told = ", ".join(f"{times} {light}" for light, times in counts.items() if times)
    return Figure(
        "lights",
        "Source shortcuts",
        f"A grid of {len(values)} pairs of sources by whether they can be told apart without looking at the "
        f"query: {told}.",
        "lights",
        {"values": values, "order": labels_of(result)},
        Table("lights", "Pairs of sources", columns, tuple(rows)),
    )


def everything(result: ScoreResult) -> Table:
    """Every metric of every source."""
    columns = tuple(Column(name, "interval", 4) for name in metrics.NAMES if name in result.best.values)
    rows = tuple(
        (visible(entry.source), *(triple(entry.values[column.label]) for column in columns))
        for entry in result.sources
    )
    return Table(
        "everything",
        "Every metric of every source",
        (Column("Source"), *columns),
        rows,
        "Each over the queries that have negatives of the source; definitions: docs/metrics.md.",
    )


def baselines(result: ScoreResult) -> Table:
    """What simpler figures put first, and what training said of each."""
    metric = str(result.settings["metric"])
    own = ((metric, visible(result.best.source), 1.0, *_measured(metric)),)
    rows = tuple(
        (entry["metric"], visible(entry["first"]), number_of(entry["kendall"]), *_measured(entry["metric"]))
        for entry in result.baselines
    )
    probe = (("eci probe", "not run here", None, *_measured("probe")),)
    noise = (("what noise allows a perfect metric", "", None, *NOISE_ALLOWS),)
    return Table(
        "baselines",
        "Simpler figures, and what training said of each",
        (
            Column("Figure"),
            Column("Puts first"),
            Column(f"Kendall's τ with {metric}", "signed", 2),
            *(Column(case, "signed", 2, "Kendall's τ with nDCG@10 after training") for case in CASES),
        ),
        own + rows + probe + noise,
        "The five columns on the right are measured on other data: Kendall's τ of the figure's ranking of 14 "
        "sources with nDCG@10 after training on them (docs/validation.md).",
    )


def _measured(metric: str) -> tuple[float | None, ...]:
    return KENDALL.get(metric, (None,) * len(CASES))


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _first(result: ScoreResult, metric: str) -> str:
    ranked = sorted(result.sources, key=lambda entry: -_lowest(entry.values[metric].value))
    return visible(ranked[0].source)


def _lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def labels_of(result: ScoreResult) -> list[str]:
    """The sources as they are shown, best first."""
    return [visible(entry.source) for entry in result.sources]


def number_of(value: Any) -> float:
    """A number of a result that may have been read from JSON."""
    return math.nan if value is None else float(value)
