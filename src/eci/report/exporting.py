"""Figures as files, for slides and papers."""

from __future__ import annotations

from pathlib import Path

from eci.report.charts import specification
from eci.report.data import Report
from eci.report.looks import INK

# Pixels for each of the drawing's.
_SCALE = 2


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
        drawn = {**specification(figure), "background": "white"}
        picture = vl_convert.vegalite_to_svg(drawn).replace(INK, "#1c1f24")
        (folder / f"{figure.key}.svg").write_text(picture, encoding="utf-8")
        (folder / f"{figure.key}.png").write_bytes(vl_convert.svg_to_png(picture, scale=_SCALE))
        names += [f"{figure.key}.svg", f"{figure.key}.png"]
    return tuple(names)
