"""Figures of an experiment as Vega-Lite specifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eci.report.channels import ROW, WIDTH, legend, told
from eci.report.looks import INK, PALETTE, VERDICTS

if TYPE_CHECKING:
    import altair as alt


def against(alt: Any, data: dict[str, Any]) -> alt.LayerChart:
    """Sources by what a metric said and what training gave; metric and collection can be chosen."""
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
    x = alt.X("x:Q", title="what the metric said before training", scale=free)
    title = f"{data['measure']} after training"
    verdicts = list(VERDICTS)
    colour = alt.Color(
        "verdict:N", scale=alt.Scale(domain=verdicts, range=list(VERDICTS.values())), legend=legend(alt)
    )
    pointed = [alt.Tooltip("x:Q", title="metric", format=".4f"), *told(alt, "value", "low", "high")]
    bars = shown.mark_rule(strokeWidth=1.5, opacity=0.5).encode(
        x, alt.Y("low:Q", title=title, scale=free), y2="high:Q", color=colour
    )
    dots = shown.mark_point(filled=True, size=55, opacity=1).encode(
        x,
        alt.Y("value:Q", title=title, scale=free),
        color=colour,
        tooltip=["source:N", "verdict:N", *pointed],
    )
    names = shown.mark_text(align="left", dx=6, dy=-5, fontSize=11, color=INK).encode(
        x, alt.Y("value:Q", title=title, scale=free), text="number:N"
    )
    none = (
        alt.Chart(alt.NamedData("none"))
        .transform_filter("datum.collection === collection")
        .mark_rule(strokeDash=[3, 3], opacity=0.7, color=INK)
        .encode(y=alt.Y("value:Q", title=title, scale=free))
    )
    return (none + bars + dots + names).add_params(metric, collection).properties(width=WIDTH, height=400)


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
