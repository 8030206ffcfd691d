"""Another year, month, day of the week or full date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

from eci.miners.edits.page import Fact, Page, like, listed

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_SHORT = tuple(month[:3] for month in _MONTHS)
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DATE_NAMES = frozenset([*_MONTHS, *_SHORT, *_WEEKDAYS])
# Also verbs or adjectives; in lower case, or with nothing of a date around, they are taken for those.
_DOUBTFUL = frozenset(["march", "august", *_SHORT])
_ISO = re.compile(r"(?<![\w./-])([12]\d{3})-(\d\d)-(\d\d)(?![\d-])")
_YEAR = re.compile(
    r"(?:(?<![\w.,/$€£=+-])|(?<=\d{4}-))(1\d{3}|20\d{2})(s?)(?![\w%(]|[.,:/]\d|-\d\d-|\s?[-–]\s?\d{1,3}\b(?!\d))"
)
_BEFORE_YEAR = re.compile(
    r"(?:\b(?:in|since|until|till|from|between|years?|early|late|mid|circa|during|by|before|after),?\s|\()$",
    re.IGNORECASE,
)
# The second year of a period.
_BEFORE_LAST_YEAR = re.compile(r"\b(?:1\d{3}|20\d\d)(?:\s?[-–]\s?|,?\s(?:to|and|through|until|till|or)\s)$")
_DATED = re.compile(
    rf"(?:\b(?:{'|'.join(_MONTHS)}|{'|'.join(_SHORT)}|year|years)\b\.?,?\s(?:\d\d?,\s)?)$", re.IGNORECASE
)
_AFTER_YEAR = re.compile(
    r"\s*(?:$|[.,;:)\]\n–-]|(?:and|to|through|until|or|with|by|at|in|the|was|were|is|we|a|an|for|on|as|of|has|have|"
    r"from|which|that|but|when|after|before|among|using|had)\b)"
)
# How far another year can stand that belongs to the same period.
_NEIGHBOUR = 14
_NEARBY_DAY = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?\s$")
_NEXT_DAY = re.compile(r"\.?\s(\d{1,4})\b")
_DATE_WORDS = listed("in since of until from between to on early late mid by and")


def dates(page: Page) -> Iterator[Fact]:
    """Full dates (2004-02-29), years, months and days of the week."""
    for found in _ISO.finditer(page.shown):
        yield from page.fact("date", *found.span(), _iso(found))
    for found in _YEAR.finditer(page.shown):
        if _is_year(page.shown, found):
            yield from page.fact("date", *found.span(1), _years(page.shown, found))
    for place, word in enumerate(page.words):
        if word in DATE_NAMES:
            yield from _named(page, place, word)


def _iso(found: re.Match[str]) -> list[str]:
    try:
        told = date(*(int(part) for part in found.groups()))
    except ValueError:
        return []
    moved = [told + timedelta(days=days) for days in (-400, -91, -17, 11, 46, 380)]
    return [day.isoformat() for day in moved if 1000 <= day.year <= 2099]


def _is_year(shown: str, found: re.Match[str]) -> bool:
    """Whether four digits are a year: what stands around must say so."""
    start, stop = max(0, found.start() - 24), found.start()
    if found[2]:
        return found[1].endswith("0") and found[1] >= "1500"
    if not _AFTER_YEAR.match(shown, found.end()):
        return False
    if shown[stop - 1 : stop] == "(" and shown[found.end() : found.end() + 1] == ")":
        return False  # "Southwell (1914)" cites
    if _DATED.search(shown, start, stop) or _BEFORE_LAST_YEAR.search(shown, start, stop):
        return True
    return found[1] >= "1800" and bool(_BEFORE_YEAR.search(shown, start, stop))


def _years(shown: str, found: re.Match[str]) -> list[str]:
    """Years nearby, on the same side of another year that stands close: a period stays one."""
    told = int(found[1])
    if found[2]:
        return [f"{told + step}" for step in (-20, -10, 10, 20) if 1000 <= told + step <= 2090]
    around = shown[max(0, found.start() - _NEIGHBOUR) : found.start()]
    behind = shown[found.end() : found.end() + _NEIGHBOUR]
    lows = [int(year) for year in re.findall(r"\b(?:1\d{3}|20\d\d)\b", around)]
    highs = [int(year) for year in re.findall(r"\b(?:1\d{3}|20\d\d)\b", behind)]
    low, high = max([999, *lows]), min([2100, *highs])
    return [f"{told + step}" for step in (-9, -6, -4, -3, 3, 5, 7, 8) if low < told + step < high]


def _named(page: Page, place: int, word: str) -> list[Fact]:
    start, stop = page.spans[place]
    told = page.text[start:stop]
    day_before = _NEARBY_DAY.search(page.shown, max(0, start - 5), start)
    next_day = _NEXT_DAY.match(page.shown, stop)
    dated = bool(day_before or next_day)
    shortened = word in _SHORT and word != "may"
    fits = dated or (not shortened and page.before(place) in _DATE_WORDS)
    if word in _DOUBTFUL and not (told[0].isupper() and fits):
        return []
    day = int(day_before[1]) if day_before else int(next_day[1]) if next_day and int(next_day[1]) < 32 else 1
    return page.fact("date", start, stop, [like(told, option) for option in _options(word, day)])


def _options(word: str, day: int) -> list[str]:
    ladder = next(names for names in (_WEEKDAYS, _MONTHS, _SHORT) if word in names)
    long_enough = [True] * 7 if ladder is _WEEKDAYS else [day <= length for length in _LENGTHS]
    return [name for name, fits in zip(ladder, long_enough, strict=True) if fits and name != word]
