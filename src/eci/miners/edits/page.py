"""A text made ready for the edit rules, and what the rules find in it."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

# How much text behind the last place to edit the rules may look at.
_AHEAD = 100
_RANGE = r"[\d.,%;\s–-]*(?:to|and)?[\d.,%\s–-]*"
# What is no statement of its own, or would be an odd one to change.
_HIDDEN = re.compile(
    rf"""
      (?:https?://|www\.|doi:|ftp://)\S+ | (?<!\S)\S{{1,64}}@\S+                    # addresses
    | ^[ ]*(?:>>>|\.\.\.[ ]).*(?:\n(?![ ]*\n).+)*                                   # examples of code
    | ^[ ]*[(\[]?(?:\d{{1,3}}|[a-zA-Z]|[ivx]{{1,4}})[.)\]](?=\s)                    # the marks of a list
    | \[[\d\s,;–-]+\] | \(\d{{1,3}}(?:\s?[,;–-]\s?\d{{1,3}})*\) | (?<!\w)\([ivx]+\) # citations, marks
    | \b[pP](?:[- ]values?)?(?:[ ](?:for[ ])?[a-z]+)?\s?(?:[<>=≤≥]|less[ ]than)+\s?\d?\.\d+   # p-values
    | \b9\d(?:\.\d+)?\s?%\s?(?:CIs?\b|(?:confidence|credible)[ ]interval)(?:[^()\[\];]{{0,20}}\d{_RANGE})?
    | \bCIs?\b[\s=:,]*(?:95%[\s:,]*)?[\d.]{_RANGE}                                  # intervals
    | (?:±|\+/-|\+[ ]or[ ]-)\s?[\d.,]+ | [x×]\s?10\S* | \b10[\^(]\S+                # spreads, powers of ten
    """,
    re.VERBOSE | re.MULTILINE,
)
# Words that are no part of an identifier, a path or a call.
_WORD = re.compile(r"(?<![\w.\\/@$=])[^\W\d_]+(?:['’][^\W\d_]+)?(?![\w(]|[.=/\\@]\w)")
_SENTENCE_END = re.compile(r"[.!?][)\"'”]?\s+(?=[A-Z(\[\"“])|\s\.\s+|\n\s*\n")


@dataclass(frozen=True)
class Fact:
    """Something that a text says once, and what could be said in its place.

    Parameters
    ----------
    kind : str
    spans : tuple of (int, int)
        Where it stands, first place first; more than one for a name that is repeated.
    options : tuple of str
        Other wordings, none equal to the present one.
    """

    kind: str
    spans: tuple[tuple[int, int], ...]
    options: tuple[str, ...]

    @property
    def start(self) -> int:
        """Where it stands first."""
        return self.spans[0][0]

    def told(self, text: str) -> str:
        """The present wording."""
        return text[slice(*self.spans[0])]

    def changed(self, text: str, option: str) -> str:
        """The text with another wording of this fact."""
        parts, done = [], 0
        for start, stop in self.spans:
            parts += [text[done:start], option]
            done = stop
        return "".join([*parts, text[done:]])


@dataclass(frozen=True)
class Page:
    """A text as the rules see it.

    Parameters
    ----------
    title : str
        Empty if there is none.
    text : str
    shown : str
        The part of `text` that can be edited and some characters more, with addresses, citations,
        p-values and the like blanked out by NUL: offsets are those of `text`.
    limit : range
        Offsets of what can be edited.
    words : tuple of str
        In lower case.
    spans : tuple of (int, int)
        Where each word begins and ends.
    sentences : tuple of int
        Where each sentence begins.
    """

    title: str
    text: str
    shown: str
    limit: range
    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    sentences: tuple[int, ...]

    @classmethod
    def of(cls, title: str | None, text: str, within: int) -> Page:
        """Of a document, whose first `within` characters can be edited.

        A title that the text repeats is no place to edit: the title itself stays.
        """
        title = title or ""
        shown = _HIDDEN.sub(lambda found: "\0" * len(found[0]), text[: within + _AHEAD])
        found = list(_WORD.finditer(shown))
        return cls(
            title,
            text,
            shown,
            range(len(title) if title and text.startswith(title) else 0, min(within, len(text))),
            tuple(word[0].lower() for word in found),
            tuple(word.span() for word in found),
            (0, *(end.end() for end in _SENTENCE_END.finditer(shown))),
        )

    def after(self, word: int) -> str:
        """The next word, or nothing if more than white space or a hyphen lies between."""
        return self.words[word + 1] if self._joined(word) else ""

    def before(self, word: int) -> str:
        """The word before, or nothing if more than white space or a hyphen lies between."""
        return self.words[word - 1] if self._joined(word - 1) else ""

    def hyphened(self, word: int) -> tuple[bool, bool]:
        """Whether a hyphen stands before a word, and behind it."""
        start, stop = self.spans[word]
        return self.shown[max(0, start - 1) : start] == "-", self.shown[stop : stop + 1] == "-"

    def _joined(self, word: int) -> bool:
        """Whether a word and the next one stand side by side."""
        if not 0 <= word < len(self.words) - 1:
            return False
        gap = self.shown[self.spans[word][1] : self.spans[word + 1][0]]
        return gap == "-" or gap.isspace()

    def sentence(self, place: int) -> str:
        """The sentence around a place."""
        number = bisect_right(self.sentences, place)
        stop = self.sentences[number] if number < len(self.sentences) else len(self.shown)
        return self.shown[self.sentences[number - 1] : stop]

    def fact(self, kind: str, start: int, stop: int, options: list[str]) -> list[Fact]:
        """A fact, if it lies where edits are allowed and there is another wording; else none."""
        told = self.text[start:stop]
        others = tuple(option for option in dict.fromkeys(options) if option != told)
        inside = others and start in self.limit and stop <= self.limit.stop
        return [Fact(kind, ((start, stop),), others)] if inside else []


def listed(text: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(text.split())


def like(told: str, new: str) -> str:
    """`new` in the case of `told`."""
    if told.isupper() and len(told) > 1:
        return new.upper()
    return new[:1].upper() + new[1:] if told[:1].isupper() else new


def takes_an(word: str) -> bool:
    """Whether the article before a word, a number or an acronym is *an*.

    Examples
    --------
    >>> [word for word in ("eight", "unit", "MRI", "DNA", "18", "hour") if takes_an(word)]
    ['eight', 'MRI', '18', 'hour']
    """
    if word[:1].isdigit():
        return bool(re.match(r"8|1[18](?!\d)", word))
    if word[:2].isupper() or len(word) == 1:
        return word[0] in "AEFHILMNORSXaefhilmnorsx"
    return re.match(r"(?!uni|use|usu|eu|one|once)[aeiou]|hour|honest", word.lower()) is not None
