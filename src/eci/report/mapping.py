"""Signal against margin: each source with its region of uncertainty, and the curves of equal ECI at its N."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eci.intervals import student_quantile
from eci.metrics.eci import capacity
from eci.report.channels import beside
from eci.report.data import Column, Figure, Table, visible
from eci.report.deciding import per_query, triple
from eci.report.rows import Sample
from eci.results import Estimate, ScoreResult
from eci.types import Floats

_CORNERS = 48
# At most so many curves, and steps of an axis.
_MOST = 6
_STEPS = 20
_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)


def tradeoff(result: ScoreResult, sample: Sample | None) -> Figure:
    """Signal against margin, a point a source.

    Parameters
    ----------
    result : ScoreResult
    sample : Sample, optional
        Tells how signal and margin vary together, which tilts the regions; without it they stand upright.
    """
    known = [entry for entry in result.sources if np.isfinite(entry.values["eci"].value)]
    points, regions = [], []
    for entry in known:
        signal, margin = entry.values["signal"], entry.values["margin_max"]
        label, size = f"{entry.rank} {visible(entry.source)}", f"{per_query(entry):.1f}".removesuffix(".0")
        points.append(
            {
                "label": label,
                "rank": entry.rank,
                "signal": signal.value,
                "margin": margin.value,
                "eci": entry.values["eci"].value,
                "n": size,
            }
        )
        tilt = 0.0 if sample is None else correlation(sample, entry.source)
        outline = region(signal, margin, tilt, int(result.settings["groups"]))
        regions += [
            {"label": label, "corner": corner, "signal": x, "margin": y}
            for corner, (x, y) in enumerate(outline.round(6).tolist())
        ]
    limits = {axis: _limits([entry[axis] for entry in points + regions]) for axis in ("signal", "margin")}
    curves, sizes = _curves(known, limits)
    for point, at in zip(points, _ranks_beside(points, limits), strict=True):
        point["at"] = at
    columns = (
        Column("Source"),
        Column("N", "number", 1),
        Column("Signal", "interval"),
        Column("Margin", "interval"),
        Column("eci", "interval", 4),
    )
    rows = tuple(
        (
            visible(entry.source),
            per_query(entry),
            *(triple(entry.values[name]) for name in ("signal", "margin_max", "eci")),
        )
        for entry in result.sources
    )
    how = (
        "tilted by how both vary together over the sampled queries"
        if sample
        else "upright, for no rows tell how both vary together"
    )
    return Figure(
        "tradeoff",
        "Signal against margin",
        "A point a source, with its rank: the mean cosine of its negatives with the query to the right, the "
        "margin of the positive over its hardest negative upwards; around it the 95 % region of both, "
        f"{how}. Dashed: equal ECI at the chosen number of negatives. Up and to the right is more ECI.",
        "tradeoff",
        {
            "points": points,
            "regions": regions,
            "curves": curves,
            "sizes": sizes,
            "limits": limits,
            "order": [point["label"] for point in points],
        },
        Table("tradeoff", "Signal and margin", columns, rows),
    )


def region(signal: Estimate, margin: Estimate, correlation: float, groups: int) -> Floats:
    """The 95 % region of two means that were estimated together.

    Hotelling's T² with ν = groups − 1: T² = 2ν/(ν − 1) · F(2, ν − 1), whose quantile has a closed form,
    F = (m/2)(0.05^(−2/m) − 1) for m = ν − 1.

    Parameters
    ----------
    signal, margin : Estimate
        With 95 % intervals of Student's t.
    correlation : float
        -1…1.
    groups : int
        Of queries behind the intervals.

    Returns
    -------
    ndarray of shape (K, 2)
        Corners of its outline; none without intervals.

    Examples
    --------
    >>> flat = region(Estimate(0.5, 0.4, 0.6), Estimate(0.2, 0.1, 0.3), 0.0, 20)
    >>> flat.shape, round(float(flat[:, 0].max()), 3)  # wider than the interval of one alone
    ((48, 2), 0.631)
    """
    freedom = groups - 1
    half = [max(each.high - each.value, each.value - each.low) for each in (signal, margin)]
    if freedom < 2 or not np.isfinite(half).all():
        return np.empty((0, 2))
    rest = freedom - 1
    quantile = rest / 2 * (0.05 ** (-2 / rest) - 1)
    wider = np.sqrt(2 * freedom / rest * quantile) / student_quantile(0.975, freedom)
    angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    along = np.cos(angle)
    across = correlation * along + np.sqrt(1 - correlation**2) * np.sin(angle)
    return np.stack([signal.value + wider * half[0] * along, margin.value + wider * half[1] * across], axis=1)


def correlation(sample: Sample, source: str) -> float:
    """Pearson's correlation of signal and margin over the sampled queries; 0 where it is undefined."""
    own = sample.of(source)
    filled = own.lengths > 0
    signal = own.means()[filled]
    margin = np.maximum(0.0, sample.best - own.maxima())[filled]
    if filled.sum() < 3 or signal.std() == 0 or margin.std() == 0:
        return 0.0
    return float(np.corrcoef(signal, margin)[0, 1])


def step(span: float, most: int) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that goes into a span at most so many times.

    Examples
    --------
    >>> step(0.9, 6), step(0.41, 6), step(1.3, 6)
    (0.2, 0.1, 0.25)
    """
    least = span / most
    power = 10.0 ** math.floor(math.log10(least))
    return round(next(size for size in _ROUND if size * power >= least * (1 - 1e-9)) * power, 12)


def _limits(values: list[float]) -> tuple[float, float]:
    """Round ends of an axis that has room for all values, and for the letters beside them."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = (high - low) * 0.04 or 0.5
    size = step(high - low + 2 * room, 2 * _MOST)
    # Nothing below 0 is shown where nothing lies there.
    first = low - room if low < 0 else max(0.0, low - room)
    return round(math.floor(first / size) * size, 12), round(math.ceil((high + room) / size) * size, 12)


def _ranks_beside(points: list[dict[str, Any]], limits: dict[str, tuple[float, float]]) -> list[list[int]]:
    """Where the rank of each point stands."""
    within = [
        tuple((point[axis] - low) / (high - low) for axis, (low, high) in limits.items()) for point in points
    ]
    return beside([(x, y) for x, y in within], [str(point["rank"]) for point in points])


def _harmonic(first: float, second: float) -> float:
    return 2 * first * second / (first + second) if first + second else 0.0


def _levels(least: float, most: float) -> list[float]:
    """Round ones between both."""
    if most <= least:
        return []
    apart = step(most - least, _MOST)
    numbers = np.arange(math.floor(least / apart + 1e-9) + 1, math.ceil(most / apart - 1e-9))
    levels: list[float] = (apart * numbers).round(12).tolist()
    return levels


def _curves(
    known: list[Any], limits: dict[str, tuple[float, float]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Curves of equal ECI for each number of negatives that some source has, from frame to frame."""
    by_size: dict[str, list[str]] = {}
    sizes: dict[str, float] = {}
    for entry in known:
        name = f"{per_query(entry):.1f}".removesuffix(".0")
        by_size.setdefault(name, []).append(visible(entry.source))
        sizes.setdefault(name, per_query(entry))
    (left, right), (bottom, top) = ([max(0.0, end) for end in limits[axis]] for axis in ("signal", "margin"))
    curves = []
    for name, size in sizes.items():
        weight = float(capacity(size))
        for level in _levels(weight * _harmonic(left, bottom), weight * _harmonic(right, top)):
            half = level / weight / 2
            # On it margin = half · signal / (signal − half), and the other way round.
            first = max(left, half * top / (top - half))
            last = min(right, half * bottom / (bottom - half)) if bottom > half else right
            signal = np.linspace(first, last, _STEPS)
            # Even steps along the steep part and along the flat one.
            signal = np.sort(np.concatenate([signal, np.geomspace(first, last, _STEPS)]))
            margin = np.clip(half * signal / (signal - half), bottom, top)
            curves += [
                {"n": name, "level": f"{level:g}", "signal": x, "margin": y}
                for x, y in zip(signal.round(6).tolist(), margin.round(6).tolist(), strict=True)
            ]
    options = [
        {"n": name, "told": f"N = {name} ({', '.join(labels[:3])}{', …' if len(labels) > 3 else ''})"}
        for name, labels in by_size.items()
    ]
    return curves, options
