"""Another number in the place of one that says how many or how much."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from eci.miners.edits.page import Fact, Page, like, listed, takes_an

_NUMBER = r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?"
# What may follow a number after a hyphen; anything else makes it part of a name: 5-HT, 2-deoxyglucose.
_TAILS = (
    "fold|year|month|week|day|hour|minute|second|min|point|item|degree|percent|bit|byte|mm|cm|inch|foot|ft|"
    "mile|person|dimensional|step|character|line|element|parameter|digit|h|mg|kg|kb|bp|kDa|ml"
)
_FOUND = re.compile(
    rf"(?:^|(?<=[\s(<>=≤≥~≈$€£]))(?P<low>{_NUMBER})(?:(?:\s?[-–]\s?|\sto\s)(?P<high>{_NUMBER}))?"
    rf"(?![\w(^]|[.,:/–-]\d|\.\w|-(?!{_TAILS}))"
)
_SIGNS = frozenset("<>=≤≥~≈$€£")
_PREVIOUS = re.compile(r"([^\W\d_]+)\s$")
_NEXT = re.compile(r"\s?-?(%|°|[^\W\d_]+)")
# A confidence interval that is hidden follows: another number would lie outside it.
_ESTIMATE = re.compile(r"[%\w\s/·.-]{0,12}[(\[,;:]\s*\0")
# A number of several: another one would leave "1, 2 and 7 years".
_LISTED = re.compile(r"\d[\w.%]*,?\s?(?:and|or|to|,|versus|vs\.?)\s?$|\bor\s$")
_YEAR = re.compile(r"1[6-9]\d\d|20\d\d")
_ABBREVIATED = listed("% mg kg g ml l h mm cm km")
_COUNTED = _ABBREVIATED | listed(
    "° percent per fold year years yr yrs month months week weeks wk wks day days hour hours hr hrs min "
    "minute minutes second seconds sec ms µg ug ng dl m nm µm hz khz mhz ghz kb mb gb tb byte bytes bit "
    "bits mmol nmol µmol mol kcal bp kda da inch inches foot feet ft mile miles point points degree "
    "degrees times million billion thousand patients mice women men people subjects participants children "
    "individuals cases controls studies trials items elements characters lines arguments"
)
# Words that lead in an amount whatever follows, and words that do where a noun follows.
_AMOUNTS = listed(
    "of than by least most about approximately nearly almost over under from between was were is are be "
    "equals equal averaged exceeded exceeding exceed total totaling only maximum minimum median mean "
    "average aged age until roughly around up down below above ph week weeks day days month months year "
    "hour hours another further additional remaining default or hr rr auc hrs bmi ratio rate"
)
_OPENERS = listed(
    "the in for with at all these those and after before within during every each per had has have using "
    "into on other first last next that which we across among both involving a an to as"
)
# A number after these names something; it does not count.
_NAMES = listed(
    "fig figs figure figures table tables eq equation equations section sections chapter chapters ref "
    "refs reference references no nos vol volume p pp page pages step steps appendix theorem lemma item "
    "type types grade grades stage stages phase phases class version versions python pep rfc iso issue "
    "bug line column port case model part group groups chromosome exon intron codon residue position "
    "level number utf latin unicode base ipv sha md article rule protocol cohort visit trial experiment "
    "run mode"
)
_NO_PLURALS = listed("is was has as vs")
_BEFORE_NO_COUNT = _NAMES | {"or", "between", "to", "one"}
_AFTER_NO_COUNT = listed(
    "first second third fourth fifth sixth seventh eighth ninth thirds quarter quarters half halves "
    "fourths fifths sided tailed sample way or and to one"
)
_FACTORS = (0.4, 0.5, 0.6, 0.7, 1.4, 1.5, 1.8, 2.2, 2.7)
# A smaller difference would hardly be another fact.
_LEAST_CHANGE = 0.15


@dataclass(frozen=True)
class _Amount:
    """A number in digits, the words beside it, and what its meaning allows in its place.

    `low` and `high` are bounds, themselves excluded.
    """

    written: str
    previous: str
    following: str
    low: float
    high: float

    @classmethod
    def of(cls, written: str, previous: str, following: str) -> _Amount:
        value, low, high = _value(written), 1.0, inf
        share_or_age = following in {"%", "percent", "per", "years", "year", "yr", "yrs"}
        if previous == "ph":
            high = 14
        elif value < 1:
            low, high = 0, 1
        elif value <= 100 and (share_or_age or previous in {"aged", "age", "ages"}):
            low, high = 0, 98
        return cls(written, previous, following, low, high)

    def others(self, low: float = 0, high: float = inf) -> list[str]:
        """Plausible other numbers in the same format, between bounds."""
        value, decimals = _value(self.written), len(self.written.partition(".")[2])
        between = [
            other for other in _near(self.written) if max(low, self.low) < other < min(high, self.high)
        ]
        told = [other for other in between if abs(other - value) > _LEAST_CHANGE * value]
        options = [f"{other:{',' if ',' in self.written else ''}.{decimals}f}" for other in told]
        if self.previous in {"a", "an"}:
            return [option for option in options if takes_an(option) == takes_an(self.written)]
        return options


def numbers(page: Page) -> Iterator[Fact]:
    """Numbers in digits and in letters."""
    for found in _FOUND.finditer(page.shown):
        before = _PREVIOUS.search(page.shown, max(0, found.start() - 24), found.start())
        after = _NEXT.match(page.shown, found.end())
        previous, following = before[1] if before else "", after[1].lower() if after else ""
        if _counts(page.shown, found, previous, following):
            yield from _in_digits(page, found, previous.lower(), following)
    for place, word in enumerate(page.words):
        if word in _STEPS:
            yield from _in_letters(page, place, word)


def _in_digits(page: Page, found: re.Match[str], previous: str, following: str) -> Iterator[Fact]:
    amount = _Amount.of(found["low"], previous, following)
    if found["high"] is None:
        yield from page.fact("number", *found.span("low"), amount.others())
    elif _value(found["low"]) < _value(found["high"]):
        # A range stays one.
        options = amount.others(high=_value(found["high"]))
        yield from page.fact("number", *found.span("low"), options)
        options = _Amount.of(found["high"], previous, following).others(low=_value(found["low"]))
        yield from page.fact("number", *found.span("high"), options)


def _counts(shown: str, found: re.Match[str], previous: str, following: str) -> bool:
    """Whether a number says how many or how much."""
    number, start, word = found["low"], found.start(), previous.lower()
    names = word in _NAMES or (previous[:1].isupper() and word not in _AMOUNTS | _OPENERS)
    listed = _LISTED.search(shown, max(0, start - 16), start)
    if names or listed or _value(number) == 0 or _ESTIMATE.match(shown, found.end()):
        return False
    if _YEAR.fullmatch(number) and (following not in _COUNTED or word in {"in", "since", "of", "and"}):
        return False
    if number == "1":
        return following in _ABBREVIATED
    compared = shown[max(0, start - 2) : start].rstrip()[-1:] in _SIGNS
    if compared or following in _COUNTED or word in _AMOUNTS or not number.isdigit():
        return True
    leads_in = word in _OPENERS or word.endswith(("ed", "ing", "ly"))
    return leads_in and following.endswith("s") and following not in _NO_PLURALS


def _near(written: str) -> list[float]:
    """Numbers of about the same size, as round as the one that is written."""
    value, decimals = _value(written), len(written.partition(".")[2])
    if decimals:
        grain = 10.0**-decimals
    elif value <= 12:
        return [value + step for step in (-3, -2, -1, 1, 2, 3, 4) if value + step >= 2]
    elif value >= 16 and value == 2 ** (int(value).bit_length() - 1):
        return [value / 4, value / 2, value * 2, value * 4]
    else:
        digits = written.replace(",", "")
        grain = 10.0 ** min(len(digits) - len(digits.rstrip("0")), len(digits) - 2)
    return [round(value * factor / grain) * grain for factor in _FACTORS]


def _in_letters(page: Page, place: int, word: str) -> list[Fact]:
    before, after = page.before(place), page.after(place)
    compound = page.hyphened(place)[0] or after in _STEPS
    if compound or after in _AFTER_NO_COUNT or before in _BEFORE_NO_COUNT:
        return []
    start, stop = page.spans[place]
    others = ["two", "three"] if after == "dimensional" else _STEPS[word]
    options = [like(page.text[start:stop], option) for option in others]
    if before in {"a", "an"}:
        options = [option for option in options if takes_an(option) == takes_an(word)]
    return page.fact("number", start, stop, options)


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _steps(ladder: str, reach: int) -> dict[str, list[str]]:
    words = ladder.split()
    return {
        word: [other for there, other in enumerate(words) if 0 < abs(there - here) <= reach]
        for here, word in enumerate(words)
    }


_STEPS = {
    **_steps("two three four five six seven eight nine ten eleven twelve", 3),
    **_steps("twenty thirty forty fifty sixty seventy eighty ninety", 2),
    **_steps("twofold threefold fourfold fivefold sixfold", 3),
    "twice": ["three times", "four times"],
}
