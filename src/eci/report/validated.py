"""An experiment as a report: which metric ranked sources as training did, and what its choice was worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eci.report.agreeing import (
    Case,
    against,
    agreement,
    choices,
    costs,
    hits,
    measured,
    seeds,
    under_others,
    verdicts,
)
from eci.report.data import Column, Decision, Report, Section, Table, visible
from eci.report.provenance import command_of, pairs
from eci.results import count, listed
from eci.validation.observations import CAPACITY

# Metrics of the table beside the verdict.
_FIRST = 10
_LN = "ln(1+N)"


def validated(result: Mapping[str, Any]) -> Report:
    """What a page says of an experiment.

    Parameters
    ----------
    result : mapping
        JSON of schema ``eci.validation/1``, as ``eci validate`` writes it.
    """
    cases = Case.all(result)
    summary = result["summaries"][cases[0].encoder]
    plan = result["experiment"]
    sources = len(cases[0].agreement["effects"]) or len(cases[0].agreement["measured"])
    return Report(
        title="Which metric told what training would do",
        subject=(
            f"{_model(plan['model'])} trained on {count(sources, 'source')} with "
            f"{count(len(plan['seeds']), 'seed')}, judged by {summary['measure']} on "
            f"{listed([case.name for case in cases])}"
        ),
        decision=_decision(cases, summary),
        sections=(
            Section(
                "metrics",
                "Metrics",
                "Kendall's τ of each metric's order of the sources with that by training, without none. "
                "Intervals are 95 %: test queries and seeds are drawn again, sources and metrics stay.",
                (against(cases, summary),),
                (agreement(cases, summary), choices(cases), *under_others(result)),
            ),
            Section(
                "training",
                "Training",
                "What training on each source gave, and how much of it is the luck of a seed.",
                (seeds(cases),),
                (measured(cases),),
            ),
            Section(
                "signs",
                "Help or hurt",
                "Whether the sign that a metric gives to the difference from in-batch negatives was right.",
                tables=(hits(summary), verdicts(summary)),
            ),
            Section("cost", "Cost", "What a metric takes beside training.", tables=(costs(result),)),
            _trust(result),
        ),
        command=command_of(result),
    )


def _decision(cases: list[Case], summary: Mapping[str, Any]) -> Decision:
    best = summary["metrics"][0]
    known = [entry for entry in summary["metrics"] if entry["kendall"]["mean"] is not None]
    if not known:
        headline = "Not decided: no metric has a τ with training; that takes two sources on which it differs."
    else:
        headline = (
            f"{best['metric']} agreed best with training on {_places(cases)}, Kendall's τ "
            f"{_mean(best['kendall'])}; {_apart(best)}."
        )
    return Decision(
        headline=headline,
        decided=bool(known) and _separated(best["kendall_gain"]),
        caution=(
            f"The best of {count(len(known), 'metric')} was picked by these very figures, so its τ is too "
            f"high for others. Noise allows a perfect metric {_mean(summary['ceiling'])}. What held for "
            "these sources, collections and this model may not hold for others."
        ),
        sentences=(
            *((f"On {case.name}", _told(case)) for case in cases),
            ("What its first choice loses", _lost(best, summary)),
            ("Help or hurt", _hits(best, summary)),
            ("What training decided", _effects(cases)),
        ),
        leaderboard=_leaderboard(cases, summary),
        warnings=tuple(_warnings(cases)),
    )


def _model(plan: Mapping[str, Any]) -> str:
    changed = ", ".join(f"{name} {value}" for name, value in (plan.get("config") or {}).items())
    return visible(f"{plan['name']} ({changed})" if changed else str(plan["name"]))


def _places(cases: list[Case]) -> str:
    return cases[0].name if len(cases) == 1 else f"{len(cases)} collections together"


def _mean(found: Mapping[str, Any]) -> str:
    """An estimate of one collection, or the mean over several, in a sentence."""
    value = found["mean"] if "mean" in found else found["value"]
    if value is None:
        return "–"
    interval = "" if found["low"] is None else f" ({found['low']:+.2f} … {found['high']:+.2f})"
    return f"{value:+.2f}{interval}"


def _separated(gain: Mapping[str, Any]) -> bool:
    return gain["low"] is not None and (gain["low"] > 0 or gain["high"] < 0)


def _apart(entry: Mapping[str, Any]) -> str:
    if entry["metric"] == CAPACITY:
        return f"that is {_LN} itself, the number of negatives"
    gain = entry["kendall_gain"]
    if gain["low"] is None:
        return f"whether that is more than {_LN} alone cannot be told"
    told = f"{_mean(gain)} over {_LN} alone"
    return f"{told}, separated from it" if _separated(gain) else f"{told}, not separated from it"


def _told(case: Case) -> str:
    known = [entry for entry in case.agreement["metrics"] if entry["kendall"]["value"] is not None]
    if not known:
        return "No metric has a τ."
    best = known[0]
    ceiling = case.agreement["ceiling"]["queries"]
    allowed = "" if ceiling["value"] is None else f" Noise allows {_mean(ceiling)}."
    return f"{best['metric']} agreed best, τ {_mean(best['kendall'])}; {_apart(best)}.{allowed}"


def _lost(best: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    def lost(found: Mapping[str, Any]) -> str:
        if found["mean"] is None:
            return "–"
        interval = "" if found["low"] is None else f" ({found['low']:.4f} … {found['high']:.4f})"
        return f"{found['mean']:.4f}{interval}"

    return (
        f"Training on what {best['metric']} puts first loses {lost(best['regret'])} of {summary['measure']} "
        f"against the best source, any source {lost(summary['regret_random'])}, always in-batch negatives "
        f"alone {lost(summary['regret_none'])}. The best is picked by the same noise, so all are too large."
    )


def _hits(best: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    mine, always = best["signs_decided"], summary["helped_decided"]
    if not always["total"]:
        return "Training decided of no source whether it helps."
    said = (
        f"{best['metric']} has {mine['hits']} of {mine['total']} right"
        if mine["total"]
        else f"{best['metric']} has no opinion"
    )
    return (
        f"Of the sources for which training decided it, {said}; saying help of all has {always['hits']} of "
        f"{always['total']}."
    )


def _effects(cases: list[Case]) -> str:
    told = []
    for case in cases:
        found = [entry["verdict"] for entry in case.agreement["effects"]]
        told.append(
            f"{case.name}: {found.count('help')} of {count(len(found), 'source')} help, "
            f"{found.count('hurt')} hurt"
        )
    return f"{'; '.join(told)}; of the others it is open."


def _warnings(cases: list[Case]) -> list[str]:
    told = []
    drawn = len(cases[0].agreement["settings"]["seeds"])
    if drawn < 2:
        told.append("One seed: how much of the order is its luck cannot be told, nor what noise allows.")
    fewest = min(len(case.agreement["measured"]) for case in cases) - 1
    if fewest < 8:
        told.append(f"{count(fewest, 'source')}: so few give τ roughly.")
    return told


def _leaderboard(cases: list[Case], summary: Mapping[str, Any]) -> Table:
    """The metrics with the best mean τ, and what they have to beat."""
    metrics = summary["metrics"]
    shown = [*metrics[:_FIRST], *(entry for entry in metrics[_FIRST:] if entry["metric"] == CAPACITY)]
    taus = [
        {entry["metric"]: entry["kendall"]["value"] for entry in case.agreement["metrics"]} for case in cases
    ]
    several = len(cases) > 1

    def cells(found: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        return found["mean"], found["low"], found["high"]

    rows = [
        (
            entry["metric"],
            cells(entry["kendall"]),
            cells(entry["kendall"]),
            *((values.get(entry["metric"]) for values in taus) if several else ()),
            entry["regret"]["mean"],
        )
        for entry in shown
    ]
    ceilings = [case.agreement["ceiling"]["queries"]["value"] for case in cases] if several else []
    rows.append(("what noise allows", cells(summary["ceiling"]), cells(summary["ceiling"]), *ceilings, None))
    columns = (
        Column("Metric"),
        Column(
            "Mean τ" if several else "τ",
            "signed-interval",
            2,
            "Kendall's τ with training, and its 95 % interval",
        ),
        Column("95 % interval", "bar", 2, "The same, drawn on one scale for all metrics"),
        *(Column(f"τ, {case.name}", "signed", 2) for case in (cases if several else ())),
        Column("Lost", "number", 4, f"{summary['measure']} lost by training on its first choice"),
    )
    return Table(
        "leaderboard",
        f"Metrics by agreement with {summary['measure']} after training",
        columns,
        tuple(rows),
        f"capacity is {_LN}. All metrics are below." if len(shown) < len(metrics) else f"capacity is {_LN}.",
    )


def _made(source: Mapping[str, Any]) -> str:
    if source.get("into"):
        return f"{source['into']}, with {source['share']:.0%} of its negatives replaced by positives"
    return str(source.get("make") or source.get("rows") or "–")


def _trust(result: Mapping[str, Any]) -> Section:
    plan = result["experiment"]
    text = json.dumps(plan, sort_keys=True, ensure_ascii=False)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    about = [
        ("Name", result["name"]),
        ("Digest of the plan (BLAKE2b of its JSON)", digest),
        ("Judges beside the model itself", plan.get("judges") or None),
        *((f"Version of {name}", version) for name, version in result["versions"].items()),
    ]
    tuned = {name for one in result["collections"] for name in one.get("chosen") or {}}
    trained = [
        *((f"model: {name}", value) for name, value in plan["model"].items()),
        *((name, plan[name]) for name in ("seeds", "hard_negatives", "rows", "tuning", "stopping")),
        *(
            (f"training: {name} on {one['collection']}, tuned", one["chosen"][name])
            for name in sorted(tuned)
            for one in result["collections"]
        ),
        *((f"training: {name}", value) for name, value in plan["training"].items() if name not in tuned),
    ]
    sources = tuple((visible(entry["name"]), visible(_made(entry))) for entry in plan["sources"])
    return Section(
        "trust",
        "Where this comes from",
        "Everything is in result.json, cell by cell; docs/validation.md says how each figure is made.",
        tables=(
            pairs("plan", "Plan and versions", about),
            pairs("settings", "Model and training", trained),
            Table("made", "Sources", (Column("Source"), Column("Made by")), sources),
        ),
    )
