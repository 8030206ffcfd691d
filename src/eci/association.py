"""How far figures of sources go together with a measure of retrievers trained on them, on so few sources."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eci.errors import DataError
from eci.ranking import kendall
from eci.results import listed, span
from eci.types import Floats

_ENDINGS = {".csv": ",", ".tsv": "\t"}
_EXAMPLE = "Expected source and number, as in: bm25,0.321"


@dataclass(frozen=True)
class Measures:
    """One number a source, of retrievers that were trained on it.

    Parameters
    ----------
    values : dict of str to float
        More is better.
    name : str
        What they are: ``nDCG@10``.
    """

    values: Mapping[str, float]
    name: str = "measure"

    def __post_init__(self) -> None:
        for source, value in self.values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                hint = " Write it without quotes." if isinstance(value, str) else ""
                raise DataError(f"the {self.name} of {source!r} is no finite number: {value!r}.{hint}")

    @classmethod
    def read(cls, path: str | Path) -> Measures:
        """Read a ``.csv`` or ``.tsv`` of two columns, or a ``.json`` object of numbers by source.

        The first line of a table is a header, ``source`` and the name of the measure. The measure of a JSON
        object is named after the file.

        Raises
        ------
        DataError
            The file cannot be read as that; the message names the line.
        """
        path = Path(path)
        if path.suffix not in (*_ENDINGS, ".json"):
            raise DataError(f"{path}: measures are a .csv, .tsv or .json file.")
        try:
            text = path.read_bytes().decode("utf-8-sig")
            if path.suffix == ".json":
                return cls(_object(json.loads(text, object_pairs_hook=_unique)), path.stem)
            name, values = _table(csv.reader(io.StringIO(text), delimiter=_ENDINGS[path.suffix]))
            return cls(values, name)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        except (ValueError, csv.Error) as error:
            raise DataError(
                f"{path}: cannot be read as {path.suffix[1:].upper()} in UTF-8: {error}."
            ) from error

    @classmethod
    def given(
        cls, measures: Measures | Mapping[str, float] | str | Path | None, sources: Iterable[str]
    ) -> Measures | None:
        """Whatever stands for measures as measures of `sources`; None stays None."""
        if isinstance(measures, str | Path):
            try:
                return cls.read(measures).of(sources)
            except DataError as error:
                told = str(error)
                raise DataError(told if told.startswith(str(measures)) else f"{measures}: {told}") from error
        if isinstance(measures, Mapping):
            measures = cls(measures)
        return None if measures is None else measures.of(sources)

    def of(self, sources: Iterable[str]) -> Measures:
        """These measures in the order of `sources`.

        Raises
        ------
        DataError
            A source has none, or one belongs to no source.
        """
        sources = list(sources)
        lacking = [source for source in sources if source not in self.values]
        unknown = [source for source in self.values if source not in sources]
        if lacking or unknown:
            found = [f"no number for {listed(lacking)}"] if lacking else []
            found += [f"{listed(unknown)} in the measures is no source of the rows"] if unknown else []
            raise DataError(f"{self.name}: {'; '.join(found)}. The sources are {listed(sources)}.")
        return Measures({source: float(self.values[source]) for source in sources}, self.name)


@dataclass(frozen=True)
class Association:
    """How one figure goes together with the measures.

    Parameters
    ----------
    metric : str
    pearson, kendall : float
        Pearson's r and Kendall's tau-b over the sources; NaN where undefined.
    without : dict of str to float
        Pearson's r when one source is left out, by that source; empty below four sources.
    """

    metric: str
    pearson: float
    kendall: float
    without: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, metric: str, values: Mapping[str, float], measures: Measures) -> Association:
        """Of figures by source, of the same sources as the measures.

        Examples
        --------
        >>> measures = Measures({"a": 1, "b": 2, "c": 3, "d": 9}, "nDCG@10")
        >>> found = Association.of("eci", {"a": 1, "b": 2, "c": 3, "d": 0}, measures)
        >>> round(found.pearson, 2), round(found.without["d"], 2)
        (-0.61, 1.0)
        """
        labels = list(measures.values)
        one, two = (
            np.array([side[label] for label in labels], dtype=np.float64)
            for side in (values, measures.values)
        )
        without = {}
        if len(labels) > 3:
            for place, label in enumerate(labels):
                without[label] = pearson(np.delete(one, place), np.delete(two, place))
        return cls(metric, pearson(one, two), kendall(one, two), without)

    @property
    def range(self) -> tuple[tuple[str, float], tuple[str, float]] | None:
        """The least and the largest r with one source left out, each with that source."""
        known = {label: r for label, r in self.without.items() if not math.isnan(r)}
        if not known:
            return None
        least, most = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        return (least, known[least]), (most, known[most])

    @property
    def lever(self) -> str | None:
        """The source that moves r most when it is left out."""
        moved = {label: abs(r - self.pearson) for label, r in self.without.items()}
        known = {label: by for label, by in moved.items() if not math.isnan(by)}
        return max(known, key=known.__getitem__, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``low`` and ``high`` are the range with one source left out."""
        ends: Sequence[Any] = self.range or (None, None)
        low, high = ({"without": end[0], "pearson": end[1]} if end else None for end in ends)
        return {
            "metric": self.metric,
            "pearson": self.pearson,
            "kendall": self.kendall,
            "low": low,
            "high": high,
            "without": self.without,
        }


def pearson(a: Floats, b: Floats) -> float:
    """Pearson's r of two lists of values, of shape (S,); NaN below three, or where one is constant.

    Examples
    --------
    >>> round(pearson(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])), 3)
    0.5
    """
    one, two = (values - values.mean() for values in (a, b))
    scale = math.sqrt(float((one**2).sum() * (two**2).sum()))
    # What a mean of equal values leaves need not be 0: twelve times 0.1.
    constant = len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0
    return math.nan if constant or scale == 0 else float((one * two).sum() / scale)


def association_text(measures: Measures, found: Sequence[Association]) -> str:
    """The associations as text, one figure a line."""
    rows = [("", "r", "τ", "r without one", "moved most by")]
    for entry in found:
        ends = " … ".join(_signed(r) for _, r in entry.range or ()) or "–"
        rows.append((entry.metric, _signed(entry.pearson), _signed(entry.kendall), ends, entry.lever or "–"))
    widths = [max(span(row[place]) for row in rows) for place in range(5)]
    padded = (
        [cell + " " * (width - span(cell)) for cell, width in zip(row, widths, strict=True)] for row in rows
    )
    lines = ["  ".join(cells).rstrip() for cells in padded]
    return "\n".join(
        [
            f"Beside {measures.name} of {len(measures.values)} sources: Pearson's r, Kendall's τ, and r when "
            "one source is left out",
            lines[0],
            "─" * max(map(span, lines)),
            *lines[1:],
            "  So few sources prove nothing: where leaving one out moves r far, that one makes it.",
        ]
    )


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.3f}"


def _table(lines: Iterable[list[str]]) -> tuple[str, dict[str, float]]:
    name, values = "", dict[str, float]()
    for number, cells in enumerate(lines, start=1):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != 2:
            raise DataError(f"line {number} has {len(cells)} cells. {_EXAMPLE}.")
        label, value = (cell.strip() for cell in cells)
        if not name:
            if label != "source" or not value:
                raise DataError(f"line {number} is no header. Expected source and a name: source,nDCG@10.")
            name = value
            continue
        if label in values:
            raise DataError(f"line {number}: {label!r} stands there twice.")
        try:
            values[label] = float(value)
        except ValueError as error:
            raise DataError(f"line {number}: {value!r} is no number. {_EXAMPLE}.") from error
    if not name:
        raise DataError("is empty. Expected a header, source,nDCG@10, and a line for each source.")
    return name, values


def _object(loaded: Any) -> dict[str, float]:
    if not isinstance(loaded, dict):
        raise DataError('expected an object of numbers by source: {"bm25": 0.321}.')
    return loaded


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        labels = [label for label, _ in pairs]
        raise DataError(f"{next(label for label in found if labels.count(label) > 1)!r} stands there twice.")
    return found
