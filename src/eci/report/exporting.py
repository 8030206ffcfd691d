"""Figures as files, for slides and papers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from eci.report.charts import specification
from eci.report.data import Report
from eci.report.looks import INK

# Pixels for each of the drawing's.
_SCALE = 2


def keyed(specification: dict[str, Any]) -> dict[str, Any]:
    """The drawing with the key to its numbers in it, where it has one: a file has no table beside it."""
    known = [
        {**param, "value": True} if param["name"] == "keyed" else param
        for param in specification.get("params", ())
    ]
    return {**specification, "params": known} if known else specification


def export(report: Report, folder: Path) -> tuple[str, ...]:
    """Write each figure as SVG and PNG on white; gives the names of the files.

    Parameters
    ----------
    report : Report
    folder : Path
        Made if it is not there.
    """
    import vl_convert

    folder.mkdir(exist_ok=True)
    names = []
    for figure in report.figures:
        drawn = {**keyed(specification(figure)), "background": "white"}
        picture = _drawn(drawn).replace(INK, "#1c1f24")
        (folder / f"{figure.key}.svg").write_text(picture, encoding="utf-8")
        (folder / f"{figure.key}.png").write_bytes(vl_convert.svg_to_png(picture, scale=_SCALE))
        names += [f"{figure.key}.svg", f"{figure.key}.png"]
    return tuple(names)


def _drawn(specification: dict[str, Any]) -> str:
    """The figure as SVG; a label that is cut within a sign of two code units has a square for such signs."""
    import vl_convert

    try:
        picture: str = vl_convert.vegalite_to_svg(specification)
    except ValueError:
        plain_ = re.sub("[\U00010000-\U0010ffff]", "□", json.dumps(specification, ensure_ascii=False))
        picture = vl_convert.vegalite_to_svg(json.loads(plain_))
    return picture
