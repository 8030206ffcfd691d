"""What a report says, before anything is drawn: plain values in sections, tables and figures."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from eci.results import plain

SCHEMA = "eci.report/1"

Cell: TypeAlias = Any
# Text and light are str; number, signed, share and count are numbers, NaN or None where there is none; the
# intervals, drawn as a bar or not, are (value, low, high).
Kind: TypeAlias = Literal[
    "text",
    "light",
    "number",
    "signed",
    "share",
    "count",
    "interval",
    "signed-interval",
    "share-interval",
    "bar",
]

_CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


# What every object of JavaScript has: Vega keeps labels as keys, and would take these for labels it has met.
# Such a text is told with a word joiner behind it, which nobody sees.
_INHERITED = frozenset(
    (
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
        *(
            f"__{name}__"
            for name in ("proto", "defineGetter", "defineSetter", "lookupGetter", "lookupSetter")
        ),
    )
)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    label : str
    kind : Kind
        How its cells are told and sorted; ``bar`` is an interval that is drawn.
    digits : int
        After the point.
    told : str
        What the label means, for who asks.
    """

    label: str
    kind: Kind = "text"
    digits: int = 3
    told: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; each row as long as `columns`.

    Parameters
    ----------
    key, title, note : str
    columns : tuple of Column
    rows : tuple of tuple
    pairs : bool
        Whether it is names and their values, and narrow.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    pairs: bool = False


@dataclass(frozen=True)
class Figure:
    """What a chart shows.

    Parameters
    ----------
    key : str
        Names its place in the page and its files.
    title, description : str
        The description says what is to be seen, for who does not see it.
    kind : str
        Which of ``eci.report.charts.CHARTS`` draws it.
    data : dict
        What that takes.
    table : Table, optional
        The same figures, to read.
    """

    key: str
    title: str
    description: str
    kind: str
    data: dict[str, Any]
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading."""

    key: str
    title: str
    lead: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What a reader decides on.

    Parameters
    ----------
    headline : str
        The verdict in one sentence, with its probability.
    decided : bool
    caution : str
        What no reader of the headline may miss.
    sentences : tuple of (str, str)
        What is said of it, each under a short heading.
    leaderboard : Table
    warnings : tuple of str
        Those that bear on the decision, most important first.
    """

    headline: str
    decided: bool
    caution: str
    sentences: tuple[tuple[str, str], ...]
    leaderboard: Table
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything that a page says, in the order in which it says it.

    Parameters
    ----------
    title, subject : str
        What was done, and over what.
    decision : Decision
    sections : tuple of Section
    command : str, optional
        The command line that obtains the result again.
    explorer : dict, optional
        Rows to leaf through, as `eci.report.exploring.explorer` or `eci.report.cases.cases` makes them.
    """

    title: str
    subject: str
    decision: Decision
    sections: tuple[Section, ...]
    command: str | None = None
    explorer: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Of all sections."""
        return tuple(figure for section in self.sections for figure in section.figures)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists in the form ``eci.report/1``; undefined numbers are None."""
        made: dict[str, Any] = plain(asdict(self))
        return {"schema": SCHEMA, **made}


def visible(text: str) -> str:
    r"""Text with what cannot be seen, or would turn the direction of what follows, as a sign for it.

    Examples
    --------
    >>> visible("a\x00b"), visible("left\u202eright")
    ('a␀b', 'left⟨U+202E⟩right')
    """
    shown = _CONTROLS.sub(_sign, text)
    return f"{shown}\u2060" if shown in _INHERITED else shown


def _sign(found: re.Match[str]) -> str:
    number = ord(found[0])
    return chr(0x2400 + number) if number < 0x20 else f"⟨U+{number:04X}⟩"
