"""What charts have in common: sizes, colours, legends, what is told under the pointer."""

from __future__ import annotations

from typing import Any

from eci.report.looks import PALETTE

ROW = 22
WIDTH = 640


def colours(alt: Any, order: list[str], field: str = "source", channel: Any = None) -> Any:
    """A colour for each name, in their order; they begin again after the last."""
    shades = [PALETTE[place % len(PALETTE)] for place in range(len(order))]
    return (channel or alt.Color)(
        f"{field}:N",
        scale=alt.Scale(domain=order, range=shades),
        legend=legend(alt),
    )


def legend(alt: Any) -> Any:
    """A legend that the page folds into as many columns as fit."""
    return alt.Legend(columns=3, symbolLimit=60, labelLimit=170, symbolOpacity=1)


def dashes(alt: Any, order: list[str]) -> Any:
    """What tells lines apart where colours begin again."""
    kinds = ([1, 0], [6, 3], [2, 2])
    shades = [kinds[place // len(PALETTE) % len(kinds)] for place in range(len(order))]
    return alt.StrokeDash("source:N", scale=alt.Scale(domain=order, range=shades), legend=legend(alt))


def told(alt: Any, *names: str) -> list[Any]:
    """Figures under the pointer, to three digits."""
    return [alt.Tooltip(f"{name}:Q", format=".3f") for name in names]
