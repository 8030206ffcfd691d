"""Figures as Vega-Lite specifications."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eci.errors import MissingDependency
from eci.report.agreement_charts import against, seeds
from eci.report.channels import ROW, WIDTH, colours, dashes, heading, legend, numbered, told
from eci.report.data import Figure
from eci.report.looks import CONFIG, INK, LIGHTS, PALETTE, SHAPES, SIGNS, VERDICTS

if TYPE_CHECKING:
    import altair as alt


def specification(figure: Figure) -> dict[str, Any]:
    """The Vega-Lite specification of a figure.

    Raises
    ------
    MissingDependency
        Altair is not installed.
    """
    try:
        import altair as alt
    except ImportError as error:
        raise MissingDependency("A report", "altair", "report") from error
    chart = CHARTS[figure.kind](alt, figure.data)
    made: dict[str, Any] = chart.to_dict(validate=False)
    # In their order: that of a set differs from run to run.
    named = [
        name
        for name, rows in figure.data.items()
        if rows and isinstance(rows, list) and isinstance(rows[0], dict)
    ]
    # Values go in as they are: Altair would look at, and copy, each of them.
    # What Vega gives to who does not see the drawing.
    made["description"] = f"{figure.title}. {figure.description}"
    return {**made, "datasets": {name: figure.data[name] for name in named}, "config": CONFIG}


def _tradeoff(alt: Any, data: dict[str, Any]) -> alt.LayerChart:
    sizes = [entry["n"] for entry in data["sizes"]]
    chosen = alt.param(
        name="size",
        value=sizes[0] if sizes else "",
        bind=alt.binding_select(
            options=sizes, labels=[entry["told"] for entry in data["sizes"]], name="Curves of equal ECI at "
        ),
    )
    frames = {axis: alt.Scale(domain=list(ends), nice=False) for axis, ends in data["limits"].items()}
    x = alt.X("signal:Q", title="signal: mean cosine of query and negative", scale=frames["signal"])
    y = alt.Y("margin:Q", title="margin: positive over the hardest negative", scale=frames["margin"])
    curves = alt.Chart(alt.NamedData("curves")).transform_filter("datum.n === size")
    line = curves.mark_line(strokeDash=[3, 3], strokeWidth=1, color=INK, opacity=0.45).encode(
        x, y, detail="level:N"
    )
    ends = (
        curves.transform_aggregate(last="argmax(signal)", groupby=["level"])
        .transform_calculate(signal="datum.last.signal", margin="datum.last.margin")
        .mark_text(align="right", baseline="bottom", dy=-3, fontSize=10.5, color=INK, opacity=0.7)
        .encode(x, y, text="level:N")
    )
    colour = colours(alt, data["order"], "label")
    regions = (
        alt.Chart(alt.NamedData("regions"))
        .mark_line(interpolate="linear-closed", strokeWidth=1.2, fillOpacity=0.14)
        .encode(x, y, order="corner:Q", color=colour, fill=colours(alt, data["order"], "label", alt.Fill))
    )
    points = alt.Chart(alt.NamedData("points"))
    dots = points.mark_point(filled=True, size=60, opacity=1).encode(
        x, y, color=colour, tooltip=["label:N", "n:N", *told(alt, "signal", "margin", "eci")]
    )
    lines, names = numbered(points, "rank:N", x=x, y=y)
    return (
        (line + ends + regions + dots + lines + names)
        .add_params(chosen)
        .properties(width=WIDTH, height=380, title=heading("'Dashed: equal ECI at N = ' + size"))
    )


def _intervals(alt: Any, data: dict[str, Any]) -> alt.FacetChart:
    base = alt.Chart().encode(
        y=alt.Y("source:N", sort=data["order"], title=None),
    )
    shares = {"format": data["format"], "labelOverlap": True, "labelFlush": False} if "format" in data else {}
    x = alt.X("value:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=4, **shares))
    bars = base.mark_rule(strokeWidth=2, color=PALETTE[0]).encode(x=alt.X("low:Q", title=None), x2="high:Q")
    dots = base.mark_point(filled=True, size=45, opacity=1, color=PALETTE[0]).encode(
        x=x, tooltip=["source:N", "part:N", *told(alt, "value", "low", "high")]
    )
    height = max(60, ROW * len(data["order"]))
    return (
        (bars + dots)
        .properties(width=170, height=height)
        .facet(
            alt.Facet("part:N", sort=data["panels"], title=None),
            columns=3,
            data=alt.NamedData("values"),
        )
        .resolve_scale(x="independent")
    )


def _effects(alt: Any, data: dict[str, Any]) -> alt.LayerChart:
    verdicts = list(VERDICTS)
    base = alt.Chart(alt.NamedData("values")).encode(
        y=alt.Y("source:N", sort=data["order"], title=None),
        color=alt.Color(
            "verdict:N",
            scale=alt.Scale(domain=verdicts, range=list(VERDICTS.values())),
            legend=legend(alt),
        ),
    )
    shape = alt.Shape(
        "verdict:N", scale=alt.Scale(domain=verdicts, range=list(SHAPES.values())), legend=legend(alt)
    )
    title = "gain in alignment over in-batch negatives alone"
    bars = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(
        x="value:Q", shape=shape, tooltip=["source:N", "verdict:N", *told(alt, "value", "low", "high")]
    )
    zero = alt.Chart(alt.Data(values=[{"x": 0}])).mark_rule(opacity=0.6, color=INK).encode(x="x:Q")
    return (zero + bars + dots).properties(width=WIDTH, height=max(60, ROW * len(data["order"])))


def _distributions(alt: Any, data: dict[str, Any]) -> alt.FacetChart:
    sides = {"best positive": PALETTE[0], "negatives": PALETTE[1]}
    return (
        alt.Chart()
        .mark_area(interpolate="step", fillOpacity=0.3, line={"strokeWidth": 1.3})
        .encode(
            x=alt.X("at:Q", title=None, axis=alt.Axis(tickCount=5)),
            y=alt.Y("share:Q", stack=None, title=None, axis=alt.Axis(tickCount=2, format="~%")),
            color=alt.Color(
                "side:N",
                scale=alt.Scale(domain=list(sides), range=list(sides.values())),
                legend=legend(alt),
            ),
            tooltip=[
                "source:N",
                "side:N",
                alt.Tooltip("at:Q", format=".2f"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
        .properties(width=280, height=64)
        .facet(
            alt.Facet("source:N", sort=data["order"], title=None),
            columns=2,
            spacing={"row": 14, "column": 26},
            data=alt.NamedData("values"),
        )
    )


def _pair(alt: Any, data: dict[str, Any]) -> alt.LayerChart:
    free = alt.Scale(zero=False)
    points = (
        alt.Chart(alt.NamedData("values"))
        .mark_circle(size=16, opacity=0.45, color=PALETTE[0])
        .encode(
            alt.X("x:Q", scale=free, title=data["axes"][0]),
            alt.Y("y:Q", scale=free, title=data["axes"][1]),
            tooltip=[alt.Tooltip("query:Q", title="query no."), *told(alt, "x", "y")],
        )
    )
    both = [[entry[axis] for entry in data["values"]] or [0.0, 1.0] for axis in ("x", "y")]
    low, high = max(map(min, both)), min(map(max, both))
    diagonal = (
        alt.Chart(alt.Data(values=[{"x": low, "y": low}, {"x": high, "y": high}]))
        .mark_line(opacity=0.6, color=INK, strokeWidth=1)
        .encode(x="x:Q", y="y:Q")
    )
    many = f"{len(data['values']):,} queries with negatives of both"
    return (points + diagonal).properties(width=WIDTH, height=380, title={"text": many})


def _sweep(alt: Any, data: dict[str, Any]) -> alt.Chart:
    return (
        alt.Chart(alt.NamedData("values"))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "temperature:Q",
                title="temperature τ",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(values=sorted({entry["temperature"] for entry in data["values"]}), format="~g"),
            ),
            y=alt.Y("value:Q", title="eci_sem, nats per dimension", scale=alt.Scale(zero=True)),
            color=colours(alt, data["order"]),
            strokeDash=dashes(alt, data["order"]),
            tooltip=["source:N", "temperature:Q", alt.Tooltip("value:Q", format=".4f")],
        )
        .properties(width=WIDTH, height=300)
    )


def _chances(alt: Any, data: dict[str, Any]) -> alt.LayerChart:
    lines = (
        alt.Chart(alt.NamedData("values"))
        .mark_line(interpolate="step-before")
        .encode(
            x=alt.X("at:Q", title="probability of at least", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y(
                "share:Q",
                title="share of the source's negatives",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~%", tickCount=5),
            ),
            color=colours(alt, data["order"]),
            strokeDash=dashes(alt, data["order"]),
            tooltip=["source:N", alt.Tooltip("at:Q", format=".3f"), alt.Tooltip("share:Q", format=".2%")],
        )
    )
    bound = (
        alt.Chart(alt.Data(values=[{"at": data["bound"]}]))
        .mark_rule(color=INK, opacity=0.6, strokeDash=[3, 3])
        .encode(x="at:Q")
    )
    return (bound + lines).properties(width=WIDTH, height=300)


def _lights(alt: Any, data: dict[str, Any]) -> alt.LayerChart:
    order = [
        label
        for label in data["order"]
        if any(label in (entry["first"], entry["second"]) for entry in data["values"])
    ]
    both = [
        {**entry, "first": entry[one], "second": entry[two], "sign": SIGNS[entry["light"]]}
        for entry in data["values"]
        for one, two in (("first", "second"), ("second", "first"))
    ]
    base = alt.Chart(alt.Data(values=both)).encode(
        x=alt.X("first:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("second:N", sort=order, title=None),
    )
    scale = alt.Scale(domain=list(LIGHTS), range=list(LIGHTS.values()))
    cells = base.mark_rect(cornerRadius=3, opacity=0.75).encode(
        color=alt.Color("light:N", scale=scale, legend=legend(alt, columns=4)),
        tooltip=["first:N", "second:N", "light:N"],
    )
    signs = base.mark_text(fontSize=12, color=INK).encode(text="sign:N")
    return (cells + signs).properties(width=min(WIDTH, 90 + 44 * len(order)), height=max(80, 28 * len(order)))


def _ranks(alt: Any, data: dict[str, Any]) -> alt.Chart:
    # Names beside each other where each has room; else aslant.
    room = WIDTH / max(1, len(data["encoders"])) / 6.5
    aslant = max(map(len, data["encoders"]), default=0) > room
    return (
        alt.Chart(alt.NamedData("values"))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "encoder:N",
                sort=data["encoders"],
                title=None,
                axis=alt.Axis(labelAngle=-35 if aslant else 0),
            ),
            y=alt.Y(
                "rank:Q",
                title="rank",
                scale=alt.Scale(reverse=True, zero=False),
                axis=alt.Axis(tickMinStep=1, format="d"),
            ),
            color=colours(alt, data["order"]),
            strokeDash=dashes(alt, data["order"]),
            tooltip=["encoder:N", "source:N", "rank:Q"],
        )
        .properties(width=WIDTH, height=max(160, ROW * len(data["order"])))
    )


CHARTS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "tradeoff": _tradeoff,
    "intervals": _intervals,
    "effects": _effects,
    "distributions": _distributions,
    "pair": _pair,
    "sweep": _sweep,
    "lights": _lights,
    "ranks": _ranks,
    "chances": _chances,
    "against": against,
    "seeds": seeds,
}
