"""What charts have in common: sizes, colours, legends, what is told under the pointer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eci.report.looks import INK, PALETTE
from eci.types import Floats

ROW = 22
WIDTH = 640
# What axes leave of a drawing for its points, on a screen and on a small one, in pixels; a plot narrower than
# _NARROW takes the places of the second.
_PLOTS = ((480.0, 340.0), (210.0, 340.0))
_NARROW = 400
# Half a figure's width and height, half a point, and how far from its point a label may go, in pixels.
_FIGURE, _HEIGHT, _POINT = 3.8, 6.0, 5.0
_RADII = (10, 14, 19, 25, 32, 40)
_ANGLES = 16


def colours(alt: Any, order: list[str], field: str = "source", channel: Any = None) -> Any:
    """A colour for each name, in their order; they begin again after the last."""
    shades = [PALETTE[place % len(PALETTE)] for place in range(len(order))]
    return (channel or alt.Color)(
        f"{field}:N",
        scale=alt.Scale(domain=order, range=shades),
        legend=legend(alt),
    )


def legend(alt: Any, title: str | None = None, columns: int = 3) -> Any:
    """A legend that the page folds into as many columns as fit."""
    return alt.Legend(columns=columns, symbolLimit=60, labelLimit=170, symbolOpacity=1, title=title)


def heading(expression: str) -> dict[str, Any]:
    """A line over a drawing that says what was chosen: an expression of Vega over the chart's parameters."""
    return {"text": {"expr": expression}}


def dashes(alt: Any, order: list[str]) -> Any:
    """What tells lines apart where colours begin again, or look alike to some people."""
    kinds = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
    shades = [kinds[place // (len(PALETTE) // 2) % len(kinds)] for place in range(len(order))]
    return alt.StrokeDash("source:N", scale=alt.Scale(domain=order, range=shades), legend=legend(alt))


def told(alt: Any, *names: str) -> list[Any]:
    """Figures under the pointer, to three digits."""
    return [alt.Tooltip(f"{name}:Q", format=".3f") for name in names]


def beside(points: Sequence[tuple[float, float]], labels: Sequence[str]) -> list[list[int]]:
    """Where labels stand so that they meet neither each other nor a point.

    The most crowded point is served first, and takes the nearest place that is free.

    Parameters
    ----------
    points : sequence of (float, float)
        From 0 to 1 across the plot, and from 0 to 1 up it.
    labels : sequence of str
        Short ones; one for each point.

    Returns
    -------
    list of list of int
        For each point the offset of its label's middle in pixels, to the right and downwards: on a wide plot,
        then on a narrow one.

    Examples
    --------
    >>> beside([(0.5, 0.5)], ["1"])
    [[9, -4, 9, -4]]
    """
    sides = [_placed(np.array(points, dtype=np.float64).reshape(-1, 2), labels, plot) for plot in _PLOTS]
    return [[*wide, *narrow] for wide, narrow in zip(*sides, strict=True)]


def _placed(points: Floats, labels: Sequence[str], plot: tuple[float, float]) -> list[tuple[int, int]]:
    centres = points * np.array(plot) * [1, -1] + [0, plot[1]]
    halves = np.array([[_FIGURE * len(label), _HEIGHT] for label in labels]).reshape(-1, 2)
    # From the upper right on.
    angles = np.arange(_ANGLES) * 2 * np.pi / _ANGLES - np.pi / 4
    steps = np.concatenate([np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius for radius in _RADII])
    far = np.repeat(np.array(_RADII), _ANGLES)
    gaps = np.linalg.norm(centres[:, None] - centres, axis=2)
    taken = np.empty((0, 2))
    sizes = np.empty((0, 2))
    chosen = np.zeros((len(points), 2))
    for place in np.argsort(np.sort(gaps, axis=1)[:, :5].sum(axis=1), kind="stable").tolist():
        # Long labels need more room to the sides.
        wide = max(0.0, halves[place, 0] - _HEIGHT)
        offsets = steps + np.sign(np.round(steps[:, :1], 6)) * [[wide, 0.0]]
        middles = centres[place] + offsets
        over = _met(middles, halves[place], taken, sizes)
        on = _met(middles, halves[place], centres, np.full_like(centres, _POINT))
        out = ((middles < halves[place]) | (middles > np.array(plot) - halves[place])).any(axis=1)
        best = int(np.argmin(1e6 * over + 1e4 * on + 1e4 * out + far))
        chosen[place] = offsets[best]
        taken = np.vstack([taken, middles[best]])
        sizes = np.vstack([sizes, halves[place]])
    return [(int(x), int(y)) for x, y in np.rint(chosen).tolist()]


def _met(middles: Floats, half: Floats, others: Floats, halves: Floats) -> Floats:
    """How many of the other boxes each candidate overlaps, of shape (K,)."""
    apart = np.abs(middles[:, None] - others) >= half + halves
    met: Floats = (~apart.any(axis=2)).sum(axis=1).astype(np.float64)
    return met


def numbered(shown: Any, text: str, **where: Any) -> tuple[Any, Any]:
    """Labels at the places of `beside` (in the field ``at``), and thin lines to those that stand far off."""
    first = f"width < {_NARROW} ? 2 : 0"
    across, down = f"datum.at[{first}]", f"datum.at[({first}) + 1]"
    names = shown.mark_text(
        align="center",
        baseline="middle",
        dx={"expr": across},
        dy={"expr": down},
        fontSize=11,
        color=INK,
    ).encode(text=text, **where)
    far = f"abs({across}) + abs({down}) > 24"
    lines = shown.mark_rule(
        strokeWidth=0.7,
        color=INK,
        opacity={"expr": f"{far} ? 0.45 : 0"},
        x2Offset={"expr": f"0.7 * {across}"},
        y2Offset={"expr": f"0.7 * {down}"},
    ).encode(**where, x2=where["x"].shorthand.split(":")[0], y2=where["y"].shorthand.split(":")[0])
    return lines, names
