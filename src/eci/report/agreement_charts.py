"""Figures of an experiment as Vega-Lite specifications."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eci.report.channels import ROW, WIDTH, beside, heading, legend, numbered, told
from eci.report.looks import INK, PALETTE, SHAPES, VERDICTS

if TYPE_CHECKING:
    import altair as alt


# What a colour and a shape are.
_DID = "what training did, by its 95 % interval"


def against(alt: Any, data: dict[str, Any]) -> alt.LayerChart:
    """Sources by what a metric said and what training gave; metric and collection can be chosen.

    The axis of a metric of which less is better is reversed: for all of them, further right is better. The
    parameter ``keyed`` writes beside the plot which number is which source.
    """
    metrics, cases = data["metrics"], data["cases"]
    metric = alt.param(
        name="metric",
        value=metrics[0]["name"] if metrics else "",
        bind=alt.binding_select(
            options=[entry["name"] for entry in metrics],
            labels=[entry["told"] for entry in metrics],
            name="Metric ",
        ),
    )
    collection = alt.param(
        name="collection", value=cases[0], bind=alt.binding_select(options=cases, name="on ")
    )
    shown = alt.Chart(alt.NamedData("values")).transform_filter(
        "datum.metric === metric && datum.collection === collection"
    )
    free = alt.Scale(zero=False)
    turned = f"indexof({json.dumps(data['lower'])}, metric) >= 0"
    before = f"[metric + ' before training', {turned} ? 'axis reversed: less is better' : 'more is better']"
    # Altair knows no title that is an expression; Vega-Lite does.
    x = alt.X(
        "x:Q",
        scale=alt.Scale(zero=False, nice=False, padding=14, reverse={"expr": turned}),
        axis={"title": {"expr": before}},
    )
    title = f"{data['measure']} after training"
    verdicts = list(VERDICTS)
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=verdicts, range=list(VERDICTS.values())),
        legend=legend(alt, _DID),
    )
    # Beside the colour, for who does not see it; in one legend with it.
    shape = alt.Shape(
        "verdict:N",
        scale=alt.Scale(domain=verdicts, range=list(SHAPES.values())),
        legend=legend(alt, _DID),
    )
    pointed = [alt.Tooltip("x:Q", title="metric", format=".4f"), *told(alt, "value", "low", "high")]
    bars = shown.mark_rule(strokeWidth=1.5, opacity=0.5).encode(
        x, alt.Y("low:Q", title=title, scale=free), y2="high:Q", color=colour
    )
    y = alt.Y("value:Q", title=title, scale=free)
    dots = shown.mark_point(filled=True, size=55, opacity=1).encode(
        x,
        y,
        color=colour,
        shape=shape,
        tooltip=["source:N", "verdict:N", *pointed],
    )
    lines, names = numbered(shown, "number:N", x=x, y=y)
    key = (
        shown.transform_filter("keyed")
        .transform_calculate(line="datum.number * 17", told="datum.number + '  ' + datum.source")
        .mark_text(align="left", baseline="middle", dx=18, fontSize=11, color=INK, limit=260)
        .encode(x=alt.value("width"), y=alt.Y("line:Q", scale=None, title=None), text="told:N")
    )
    none = (
        alt.Chart(alt.NamedData("none"))
        .transform_filter("datum.collection === collection")
        .mark_rule(strokeDash=[3, 3], opacity=0.7, color=INK)
        .encode(y=alt.Y("value:Q", title=title, scale=free))
    )
    return (
        (none + bars + dots + lines + names + key)
        .add_params(metric, collection, alt.param(name="keyed", value=False))
        .properties(
            width=WIDTH,
            height=max(400, 17 * len({entry["number"] for entry in data["values"]}) + 20),
            title=heading("metric + ' on ' + collection"),
        )
    )


def placed(values: Sequence[Mapping[str, Any]], lower: Collection[str]) -> list[dict[str, Any]]:
    """The points of `against`, each with the places of its number as `beside` gives them (``at``).

    Parameters
    ----------
    values : sequence of mapping
        With ``collection``, ``metric``, ``number``, ``x``, ``value``, ``low`` and ``high``.
    lower : collection of str
        Metrics whose axis is reversed.
    """
    drawn: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for point in values:
        drawn.setdefault((point["collection"], point["metric"]), []).append(point)
    found = []
    for (_, metric), points in drawn.items():
        across = _shares([point["x"] for point in points], [point["x"] for point in points])
        ends = [point[end] for point in points for end in ("low", "high", "value")]
        up = _shares([point["value"] for point in points], ends)
        turned = [1 - share if metric in lower else share for share in across]
        places = beside(list(zip(turned, up, strict=True)), [str(point["number"]) for point in points])
        found += [{**point, "at": at} for point, at in zip(points, places, strict=True)]
    return found


def _shares(values: Sequence[float], seen: Sequence[float | None]) -> list[float]:
    """Where on an axis that has room for all that is seen values lie, from 0 to 1."""
    known = [value for value in seen if value is not None and math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    room = (high - low) * 0.07 or 1.0
    return [(value - low + room) / (high - low + 2 * room) for value in values]


def seeds(alt: Any, data: dict[str, Any]) -> alt.FacetChart:
    """Sources by the measure of each training, and their means."""
    base = alt.Chart().encode(y=alt.Y("source:N", sort=data["order"], title=None))
    scale = alt.Scale(zero=False)
    dots = base.mark_point(filled=True, size=30, opacity=0.75, color=PALETTE[0]).encode(
        x=alt.X("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=4)),
        tooltip=["source:N", "seed:O", alt.Tooltip("value:Q", format=".4f")],
    )
    means = base.mark_tick(thickness=2, size=13, color=PALETTE[1]).encode(
        x=alt.X("mean(value):Q", title=None, scale=scale)
    )
    return (
        (dots + means)
        .properties(width=170, height=max(60, ROW * len(data["order"])))
        .facet(
            alt.Facet("collection:N", sort=data["panels"], title=None),
            columns=3,
            data=alt.NamedData("values"),
        )
        .resolve_scale(x="independent")
    )
