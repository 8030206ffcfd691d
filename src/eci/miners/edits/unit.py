"""Another unit of the same dimension behind a number."""

from __future__ import annotations

import re
from collections.abc import Iterator

from eci.miners.edits.page import Fact, Page

# Neighbours can stand for each other. The first lines also have a plural.
_SPELLED = """
second minute hour day week month year, nanogram microgram milligram gram kilogram, inch foot yard mile,
millimeter centimeter meter kilometer, millimetre centimetre metre, milliliter liter, millilitre litre,
microsecond millisecond second, bit byte, kilobyte megabyte gigabyte, pound kilogram
"""
_SHORT = """
pg ng µg mg g kg, lb kg, µl ml l, µL mL L, nm µm mm cm m km, ft m, ms sec min h, min hr, wk yr,
Hz kHz MHz GHz, hz khz mhz ghz, KB MB GB TB, kB MB, KiB MiB GiB, nM µM mM, nmol µmol mmol,
mg/dl mmol/l, mg/dL mmol/L, °C °F,
Da kDa, kcal kJ, kPa MPa, mW W kW, mV V kV
"""
_PLURALS = {"inch": "inches", "foot": "feet"}


def _neighbours() -> dict[str, list[str]]:
    singular = [ladder.split() for ladder in _SPELLED.split(",")]
    plural = [[_PLURALS.get(unit, f"{unit}s") for unit in ladder] for ladder in singular]
    found: dict[str, list[str]] = {}
    for ladder in [*singular, *plural, *(ladder.split() for ladder in _SHORT.split(","))]:
        for here, unit in enumerate(ladder):
            found.setdefault(unit, []).extend(ladder[max(0, here - 1) : here] + ladder[here + 1 : here + 2])
    # The micro sign has a twin, the Greek letter.
    return found | {unit.replace("µ", "μ"): others for unit, others in found.items()}


_OTHERS = _neighbours()
# "num" is what corpora without digits write for a number.
_WORDS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|eighteen|twenty|thirty|forty|fifty|sixty|"
    "several|few|num"
)
_FOUND = re.compile(
    rf"(?:(?:(?<![\w.,–-])|(?<=\d[–-]))(?P<digits>\d[\d.,]*)(?<!,)(?P<gap>[ \u00a0-]?)|\b(?:{_WORDS})[ -])"
    rf"(?P<unit>{'|'.join(sorted(map(re.escape, _OTHERS), key=len, reverse=True))})"
    # Neither m2 nor kg/m² nor mm Hg nor the minus of an exponent.
    r"(?![\w(²³^'’]|\s?[-−⁻]\d|/m|\s[Hh]g|\s[x×]\s|\.\w)"
)
# 10,000 g is what a centrifuge does.
_GRAVITY = re.compile(r"[×x]\s?[\d,]+[ ]?$|,000[ ]?$")
# Where a unit that comes in would say the same twice: "between 1 month and 1 year".
_NEARBY = 30
_OFTEN = {"daily": ["weekly", "monthly"], "weekly": ["daily", "monthly"], "monthly": ["weekly", "yearly"]}
_BEFORE_OFTEN = {"once", "twice", "times", "thrice", "dose", "doses"}


def units(page: Page) -> Iterator[Fact]:
    """Units behind a number in digits or letters, and how often something is done."""
    for found in _FOUND.finditer(page.shown):
        start, stop = found.span("unit")
        unit = found["unit"]
        attached = len(unit) == 1 and unit != "h" and found["gap"] == ""
        if attached or (unit == "g" and _GRAVITY.search(page.shown, max(0, start - 12), start)):
            continue
        around = page.shown[max(0, start - _NEARBY) : start] + "\0" + page.shown[stop : stop + _NEARBY]
        yield from page.fact(
            "unit", start, stop, [other for other in _OTHERS[unit] if not _says(around, other)]
        )
    for place, word in enumerate(page.words):
        if word in _OFTEN and page.before(place) in _BEFORE_OFTEN:
            yield from page.fact("unit", *page.spans[place], _OFTEN[word])


def _says(text: str, unit: str) -> bool:
    """Whether a text has a unit, one or many."""
    return re.search(rf"(?<!\w){re.escape(unit.rstrip('s'))}s?(?!\w)", text) is not None
