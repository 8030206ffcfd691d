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
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_META = re.compile(
    r"hard[- ]negative"
    r"|\A\W*(?:sure|certainly|of course)[,!.:]"
    r"|\A\W*here (?:is|are) (?:an?|the|your|\w+) (?:\w+ )?(?:documents?|passages?|negatives?|texts?)\b"
    r"|\bas an ai\b|\bas a language model\b"
    r"|\bthis (?:document|passage|text) (?:does not|doesn['’]t) answer\b",
    re.IGNORECASE,
)


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


def speaks_of_itself(text: str) -> bool:
    """Whether a text speaks to who ordered it.

    >>> speaks_of_itself("Here is a document about foxes:"), speaks_of_itself("Here is the fox again.")
    (True, False)
    """
    return _META.search(text) is not None


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
