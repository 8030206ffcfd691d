"""Colours and letters of figures.

Lines and letters are drawn in ``currentColor``: one drawing serves the light page, the dark one and paper.
"""

from __future__ import annotations

from typing import Any

INK = "currentColor"
# After Okabe and Ito, on white as on black. People who see colours differently tell the first four apart, and
# the next four; the fifth looks to some like the first: `channels.dashes`.
PALETTE = ("#0a84c6", "#d9822b", "#12996b", "#c0609b", "#8d6bd1", "#b58900", "#d1495b", "#5f8f9f")
VERDICTS = {"help": "#12996b", "undecided": "#8a8f98", "hurt": "#d1495b"}
SHAPES = {"help": "triangle-up", "undecided": "circle", "hurt": "triangle-down"}
# Beside the colour, for who does not see it.
SIGNS = {"clear": "·", "suspicious": "?", "separable": "!", "unknown": "–"}
LIGHTS = {"clear": "#12996b", "suspicious": "#d9a12b", "separable": "#d1495b", "unknown": "#8a8f98"}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_AXIS = {
    "domainColor": INK,
    "domainOpacity": 0.4,
    "gridColor": INK,
    "gridOpacity": 0.1,
    "tickColor": INK,
    "tickOpacity": 0.4,
    "labelColor": INK,
    "labelOpacity": 0.85,
    "labelFontSize": 11.5,
    "labelLimit": 190,
    "titleColor": INK,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "titleLimit": 380,
}
CONFIG: dict[str, Any] = {
    "background": None,
    "font": _FONT,
    "axis": _AXIS,
    "axisX": {"titleLimit": 640, "labelFlush": False, "labelSeparation": 6},
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "titleLimit": 640,
        "labelFontSize": 11.5,
        "orient": "top",
        "title": None,
    },
    "header": {
        "labelColor": INK,
        "labelFontSize": 12,
        "title": None,
        "labelAnchor": "start",
        "labelLimit": 240,
    },
    "title": {
        "color": INK,
        "anchor": "start",
        "fontSize": 12,
        "fontWeight": "normal",
        "limit": 760,
        "offset": 8,
    },
    "view": {"stroke": None},
    "range": {"category": list(PALETTE)},
    "text": {"color": INK},
    "rule": {"color": INK},
}
