"""A report as a page that needs nothing but itself, and as Markdown."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import metadata, version
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from eci.errors import MissingDependency
from eci.report.charts import specification
from eci.report.data import Column, Report, Table
from eci.results import number, plain

_NEEDED = {"jinja2": "jinja2", "altair": "altair", "vl_convert": "vl-convert-python"}
_SIGNS = {
    "help": "▲",
    "hurt": "▼",
    "undecided": "○",
    "clear": "●",
    "suspicious": "◐",
    "separable": "✕",
    "unknown": "–",
    "yardstick": "–",
    "passed": "✓",
    "failed": "✕",
}
_IN_MARKDOWN = ("effects", "issues", "checks", "judge", "agreement", "hits")
_DOCUMENT = re.compile(r"(docs/[a-z]+\.md)")
# What would end the block of data, open a comment in it, or end a line in JavaScript before ECMAScript 2019.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def require() -> None:
    """Raise `MissingDependency` unless a page can be made: before the work, not after it."""
    for module, package in _NEEDED.items():
        if find_spec(module) is None:
            raise MissingDependency("A report", package, "report")


def page(report: Report) -> str:
    """The report as HTML: one file, no request, no text of the data run as anything.

    Raises
    ------
    MissingDependency
        Jinja2, Altair or vl-convert is not installed.
    """
    require()
    figures = {figure.key: specification(figure) for figure in report.figures}
    data = {"figures": plain(figures), "explorer": report.explorer}
    scripts = [_bundle(), _template("report.js")]
    styles = _template("report.css")
    return str(
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            data=embedded(data),
            scripts=scripts,
            styles=styles,
            policy=_policy(scripts),
            version=version("eci"),
        )
    )


def markdown(report: Report) -> str:
    """The decision and where it comes from as Markdown, for a pull request or the card of a data set."""
    from eci.datasets.card import bullets, escaped, fenced, table

    def tabled(told: Table) -> str:
        # What a bar draws stands beside it in figures.
        shown = [place for place, column in enumerate(told.columns) if column.kind != "bar"]
        heads = [escaped(told.columns[place].label) for place in shown]
        rows = [[escaped(cell(row[place], told.columns[place])) for place in shown] for row in told.rows]
        return table(heads, rows)

    def linked(text: str) -> str:
        return _DOCUMENT.sub(lambda found: f"[{found[1]}]({_address()}{found[1]})", escaped(text))

    decision = report.decision
    tables = [
        *(figure.table for section in report.sections for figure in section.figures if figure.table),
        *(told for section in report.sections for told in section.tables),
    ]
    shown = [told for told in tables if told.key in _IN_MARKDOWN and told.rows]
    trust = [section for section in report.sections if section.key == "trust"]
    parts = [
        f"## {escaped(decision.headline)}",
        escaped(report.subject) + ".",
        f"> {linked(decision.caution)}",
        tabled(decision.leaderboard),
        *(f"**{escaped(head)}**: {linked(told)}" for head, told in decision.sentences),
        *(["Careful:"] if decision.warnings else []),
        *bullets(decision.warnings),
        *(part for told in shown for part in (f"### {escaped(told.title)}", tabled(told))),
        *(part for section in trust for part in (f"### {escaped(section.title)}", linked(section.lead))),
        *(
            tabled(told)
            for section in trust
            for told in section.tables
            if told.key in ("encoder", "files", "plan") and told.rows
        ),
        *([fenced("console", report.command)] if report.command else []),
    ]
    return "\n\n".join(parts) + "\n"


def embedded(data: Any) -> str:
    r"""Data as JSON that can stand in a script element of any kind.

    Examples
    --------
    >>> print(embedded("</script>"))
    "\u003c/script\u003e"
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES).encode("utf-8", "replace").decode()


def cell(value: Any, column: Column) -> str:
    """A cell as text; "–" where there is nothing.

    Examples
    --------
    >>> cell((0.5, 0.4, 0.6), Column("signal", "interval", 2)), cell(0.125, Column("coverage", "share", 1))
    ('0.50 (0.40 … 0.60)', '12.5%')
    """
    kind, digits = column.kind, column.digits
    if kind in ("interval", "signed-interval", "share-interval", "bar"):
        low, high = (_figure(end, kind, digits) for end in value[1:])
        middle = _figure(value[0], kind, digits)
        return middle if low == "–" else f"{middle} ({low} … {high})"
    if kind in ("text", "light"):
        return "" if value is None else str(value)
    return _figure(value, kind, digits)


def _figure(value: float | None, kind: str, digits: int) -> str:
    if value is None or math.isnan(value):
        return "–"
    if kind == "count":
        return f"{value:,.0f}"
    if kind.startswith("share"):
        return f"{value:.{digits}%}"
    told = number(value, digits)
    return f"+{told}" if kind.startswith("signed") and value >= 0 else told


@dataclass(frozen=True)
class Scale:
    """Where on a bar, in percent, a value lies."""

    low: float
    high: float

    @classmethod
    def of(cls, cells: Sequence[Sequence[float | None]]) -> Scale:
        """The scale on which all intervals of a column have room."""
        known = [value for triple in cells for value in triple if value is not None and math.isfinite(value)]
        low, high = min(known, default=0.0), max(known, default=1.0)
        room = (high - low or 1.0) * 0.04
        return cls(low - room, high + room)

    def at(self, value: float | None) -> float | None:
        """Percent from the left; None where there is no value."""
        if value is None or not math.isfinite(value):
            return None
        return round(100 * (value - self.low) / (self.high - self.low), 2)


def _scales(table: Table) -> dict[int, Scale]:
    return {
        place: Scale.of([row[place] for row in table.rows])
        for place, column in enumerate(table.columns)
        if column.kind == "bar"
    }


def _sortable(value: Any) -> str:
    """What a cell is sorted by."""
    first = value[0] if isinstance(value, tuple | list) else value
    if first is None or (isinstance(first, float) and math.isnan(first)):
        return ""
    return repr(float(first)) if isinstance(first, int | float) else str(first)


def _breaking(text: str) -> Any:
    """Text, escaped, with places where a long name may be broken."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[+_/])", text))


def _linked(text: str) -> Any:
    """Text, escaped, in which names of documents are links."""
    from markupsafe import Markup, escape

    parts = _DOCUMENT.split(text)
    linked = (
        Markup('<a href="{}">{}</a>').format(_address() + part, part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
    return Markup().join(linked)


@cache
def _address() -> str:
    """Where the documentation is, as the package tells; beside the page where it does not."""
    told = metadata("eci").get_all("Project-URL") or []
    urls = dict(entry.split(", ", 1) for entry in told)
    found = urls.get("Documentation", "").rstrip("/")
    return f"{found}/" if found else ""


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is fetched, and no script runs but these; Vega makes functions of its expressions."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'unsafe-eval' {allowed}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # A carriage return would become a line feed on the page, and its digest another.
    return bundle.replace("\r\n", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _template(name: str) -> str:
    return (files("eci.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Any:
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        loader=DictLoader({"page.html": _template("page.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        cell=cell,
        sortable=_sortable,
        scales=_scales,
        breaking=_breaking,
        linked=_linked,
        sign=lambda light: _SIGNS[light],
    )
    return environment
