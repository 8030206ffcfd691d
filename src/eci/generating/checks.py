"""What is wrong with a text that a model wrote, as far as the text alone tells it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from eci.lexical import words

# Of letters, in scripts that neither query nor positive uses.
_FOREIGN = 0.5
# A script of fewer letters is a formula or a name.
_USED = 0.05
# Short queries are topics, which a good negative names.
_SAYING = 4
# Control characters, and what turns the direction of a text or has no width; joiners are part of words.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufffd"
    "\U000e0000-\U000e007f]"
)
# What models write where they have nothing to say.
_NOTHING = frozenset(
    ("none", "null", "nil", "n/a", "na", "string", "text", "document", "query", "no query", "empty")
)
_ORDERED = r"(?:hard[- ]negative|negative|document|passage|text|example)"
_UNABLE = r"(?:can['’]t|cannot|won['’]t|am (?:unable|not able) to|['’]m (?:unable|not able) to)"
_DECLINED = (
    rf"\A\W*(?:(?:i['’]m |i am )?sorry,? but |unfortunately, |i apologi[sz]e,? but )?i ?{_UNABLE} "
    r"(?:write|create|generate|produce|help|assist|answer|provide|fulfil|comply)"
)
_META = re.compile(
    rf"{_DECLINED}|\A\W*(?:sure|certainly)[,!.:]"
    rf"|\A\W*(?:of course[,!.:] )?here(?: is|'s|’s| are) (?:an?|the|your|\w+) (?:\w+ )?{_ORDERED}s?\b"
    rf"|\A\W*{_ORDERED}(?: document)? ?(?:#?\d+\W*[:\n]|#?\W*:)"
    r"|\bas an ai\b|\bas a language model\b"
    r"|\bthis (?:document|passage|text) (?:does not|doesn['’]t) (?:\w+ )?(?:answer|address)\b",
    re.IGNORECASE,
)
_HARD = re.compile(r"\bhard[- ]negatives?\b", re.IGNORECASE)
_PASSAGE = re.compile(
    rf"{_DECLINED}|\bas an ai\b|\A\W*here(?: is|'s|’s) (?:an?|the|your) (?:\w+ )?(?:query|question)\b"
    r"|\bthis (?:passage|document|text|article|study|paper|excerpt|abstract)\b"
    r"|\bthe (?:above|given|provided|following) (?:passage|document|text|article|study|paper|abstract)\b"
    r"|\bthe (?:passage|excerpt)(?= (?:say|tell|describe|mention|discuss|state|about)|\W*\Z)"
    r"|\baccording to the (?:passage|document|text|article|abstract|excerpt)\b"
    r"|\b(?:in|by) the (?:passage|document|text|excerpt)\W*\Z",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\A\W*(?:search )?(?:query|question)[\s*]*:[\s*]*", re.IGNORECASE)


def cleaned(text: str) -> str:
    r"""A text without control characters but tabs and line breaks, and without white space around it.

    >>> cleaned(" a\x00b\r\nc ")
    'a b\nc'
    """
    return _CONTROL.sub(" ", text.replace("\r\n", "\n")).strip()


def contains(text: str, query: str) -> bool:
    """Whether a text repeats a query of four words or more.

    >>> contains("One asks: why are foxes  RED? Nobody knows.", "Why are foxes red?")
    True
    """
    return len(words(query)) >= _SAYING and _plain(query) in _plain(text)


def foreign(text: str, query: str, positive: str) -> bool:
    """Whether more than half of the letters are of scripts that neither query nor positive uses.

    It cannot tell two languages of one script apart.

    >>> [foreign(text, "why are foxes red", "Iron.") for text in ("Лисы рыжие", "Les renards sont roux")]
    [True, False]
    """
    own = _scripts(query) + _scripts(positive)
    used = {script for script, letters in own.items() if letters >= _USED * own.total()}
    written = _scripts(text)
    strange = sum(letters for script, letters in written.items() if script not in used)
    return bool(used) and strange > _FOREIGN * written.total()


def says_nothing(text: str) -> bool:
    """Whether a text has no word, or stands for none.

    >>> [says_nothing(text) for text in ("...", "N/A.", "None of it.")]
    [True, True, False]
    """
    return not words(text) or text.lower().strip(" .\"'()[]<>*") in _NOTHING


def speaks_of_itself(text: str, beside: str = "") -> bool:
    """Whether a text speaks to who ordered it; of hard negatives may speak what is `beside` texts about them.

    >>> speaks_of_itself("Here is a document about foxes:"), speaks_of_itself("Here is the fox again.")
    (True, False)
    """
    if _HARD.search(text) and not _HARD.search(beside):
        return True
    return _META.search(text) is not None


def speaks_of_passage(query: str) -> bool:
    """Whether a query speaks of the passage that it was written for, or to who ordered it.

    >>> speaks_of_passage("What does this study find?"), speaks_of_passage("what did the study of foxes find")
    (True, False)
    """
    return _PASSAGE.search(query) is not None


def query_of(text: str) -> str:
    r"""The query in what a model wrote, on one line.

    >>> query_of("Query:  why are\nfoxes red")
    'why are foxes red'
    """
    return " ".join(_LABEL.sub("", cleaned(text)).split())


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _scripts(text: str) -> Counter[str]:
    """Letters by script."""
    letters = Counter(text)
    scripts: Counter[str] = Counter()
    for letter, times in letters.items():
        if letter.isalpha():
            scripts[_script(letter)] += times
    return scripts


@lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
    # Names of letters begin with their script.
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
