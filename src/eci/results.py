"""What scoring gives back: dataclasses, their JSON form, and a leaderboard for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from unicodedata import east_asian_width

SCHEMA = "eci.score/1"

_HEADINGS = (
    "",
    "source",
    "{metric}",
    "95 % interval",
    "P(first)",
    "N",
    "queries",
    "signal",
    "margin",
    "mean margin",
    "violations",
    "ln(1+N)",
)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where it cannot be had."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SourceResult:
    """One source of negatives.

    Parameters
    ----------
    source : str
    rank : int
        1 is best by the chosen metric.
    probability_best : float
        Probability that the source ranks first, 0…1; NaN where intervals cannot be had.
    queries, negatives : int
        Queries with at least one negative of this source, and those negatives.
    coverage : float
        Queries with this source's negatives / all queries, 0…1.
    values, common : dict of str to Estimate
        Metrics over this source's queries, and over the queries that every source covers.
    """

    source: str
    rank: int
    probability_best: float
    queries: int
    negatives: int
    coverage: float
    values: dict[str, Estimate]
    common: dict[str, Estimate]


@dataclass(frozen=True)
class ScoreResult:
    """Sources, best first, with everything needed to obtain the numbers again.

    Parameters
    ----------
    verdict : str
        The finding in one sentence.
    decided : bool
        Whether the first place is separated from every other source.
    sources : tuple of SourceResult
        Best first.
    comparisons : tuple of dict
        The first source minus each other one: ``source``, ``difference``, ``low``, ``high``, at the
        simultaneous confidence that decides.
    baselines : tuple of dict
        For each trivial baseline the source it puts first, and Kendall's tau-b of its ranking with
        the metric's.
    effects : tuple of dict
        For each source whether its negatives are expected to ``help`` or ``hurt`` compared with in-batch
        negatives alone, or ``undecided``: ``source``, ``verdict``, ``gain`` (``alignment_gain``), ``low``,
        ``high``, at the simultaneous confidence that decides.
    shortcuts : tuple of dict
        For each two sources whether a loss can tell them apart by origin instead of by relevance: ``first``,
        ``second``, ``light`` (clear, suspicious, separable, unknown), ``because``, and the figures of
        ``eci.metrics.shortcut.Shortcut``.
    encoder, settings, data : dict
        Provenance.
    warnings : tuple of str
    """

    verdict: str
    decided: bool
    sources: tuple[SourceResult, ...]
    comparisons: tuple[dict[str, Any], ...] = ()
    baselines: tuple[dict[str, Any], ...] = ()
    effects: tuple[dict[str, Any], ...] = ()
    shortcuts: tuple[dict[str, Any], ...] = ()
    encoder: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> SourceResult:
        """The source in the first place, decided or not."""
        return self.sources[0]

    def __getitem__(self, source: str) -> SourceResult:
        for result in self.sources:
            if result.source == source:
                return result
        raise KeyError(f"no source {source!r}; there are {', '.join(r.source for r in self.sources)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists in the form ``eci.score/1``; undefined numbers are None."""
        made: dict[str, Any] = plain(asdict(self))
        return {"schema": SCHEMA, **made}

    def to_json(self, indent: int | None = 2) -> str:
        """The result as JSON text (``eci.score/1``)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> ScoreResult:
        """Read back what `to_json` wrote.

        Raises
        ------
        ValueError
            The text is not a result of the schema ``eci.score/1``.
        """
        loaded = of_schema(text, SCHEMA, [entry.name for entry in fields(cls)])
        sources = tuple(_source(entry) for entry in loaded.pop("sources"))
        for name in ("comparisons", "baselines", "effects", "shortcuts", "warnings"):
            loaded[name] = tuple(loaded[name])
        return cls(sources=sources, **loaded)

    def to_frame(self) -> Any:
        """One row a source as a pandas DataFrame: ``eci``, ``eci_low``, ``eci_high``, … (needs pandas)."""
        import pandas as pd

        rows = [
            {
                **{name: getattr(entry, name) for name in _COLUMNS},
                **{name: estimate.value for name, estimate in entry.values.items()},
                **{f"{name}_low": estimate.low for name, estimate in entry.values.items()},
                **{f"{name}_high": estimate.high for name, estimate in entry.values.items()},
            }
            for entry in self.sources
        ]
        return pd.DataFrame(rows).set_index("source")

    def table(self) -> str:
        """The leaderboard as text, best first."""
        metric = str(self.settings.get("metric", "eci"))
        rows = [tuple(heading.format(metric=metric) for heading in _HEADINGS)]
        rows += [_row(entry, metric) for entry in self.sources]
        widths = [max(span(row[place]) for row in rows) for place in range(len(_HEADINGS))]
        lines = [
            "  ".join(
                cell + " " * (width - span(cell)) if place == 1 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])

    def __repr__(self) -> str:
        return f"{self.table()}\n\n{self.verdict}"


_COLUMNS = ("source", "rank", "probability_best", "queries", "negatives", "coverage")


def _row(entry: SourceResult, metric: str) -> tuple[str, ...]:
    values = entry.values
    chosen = values[metric]
    queries = f"{entry.queries:,}" + ("" if entry.coverage == 1 else f" ({entry.coverage:.1%})")
    return (
        str(entry.rank),
        entry.source,
        number(chosen.value),
        f"{number(chosen.low)} … {number(chosen.high)}",
        number(entry.probability_best, 2),
        f"{entry.negatives / entry.queries:.1f}".removesuffix(".0") if entry.queries else "–",
        queries,
        *(number(values[name].value, 3) for name in ("signal", "margin_max", "margin_mean")),
        "–" if math.isnan(values["violation_rate"].value) else f"{values['violation_rate'].value:.1%}",
        number(values["capacity"].value, 3),
    )


def span(text: str) -> int:
    """Columns of a terminal that a text takes; East Asian characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def percent(confidence: float) -> str:
    """The confidence of an interval, in words.

    Examples
    --------
    >>> percent(0.95), percent(1 - 0.05 / 4), percent(1 - 0.05 / 36)
    ('95 %', '98.75 %', '99.86 %')
    """
    return f"{100 * confidence:.4g} %"


def number(value: float, digits: int = 4) -> str:
    """A number for people; "–" where it is undefined, scientific where it is large."""
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}f}" if abs(value) < 10_000 else f"{value:.3e}"


def count(number: int, noun: str) -> str:
    """A number of things: "1 query", "2 queries"."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def listed(labels: Sequence[str]) -> str:
    """Labels in a sentence: "a, b and c"."""
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)


def plain(value: Any) -> Any:
    """Dicts and lists for JSON; None in the place of a number that is not finite."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def of_schema(text: str | bytes, schema: str, keys: Iterable[str]) -> dict[str, Any]:
    """What a JSON text of a schema holds, without the schema's name.

    Raises
    ------
    ValueError
        It is not of this schema, or lacks one of the keys.
    """
    loaded = json.loads(text)
    found = loaded.pop("schema", None) if isinstance(loaded, dict) else type(loaded).__name__
    if found != schema:
        raise ValueError(f"expected schema {schema!r}, found {found!r}")
    lacking = sorted(set(keys) - loaded.keys())
    if lacking:
        raise ValueError(f"schema {schema!r} has the keys {', '.join(lacking)} too")
    return dict(loaded)


def filled(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a JSON text with NaN in the place of null, as `plain` wrote it."""
    return {name: math.nan if value is None else value for name, value in entry.items()}


def _source(entry: dict[str, Any]) -> SourceResult:
    kinds = {
        kind: {name: Estimate(**filled(estimate)) for name, estimate in entry[kind].items()}
        for kind in ("values", "common")
    }
    return SourceResult(**{**filled(entry), **kinds})
