"""The opposite of what is said: a negation added or taken away, or a word swapped for its opposite."""

from __future__ import annotations

from collections.abc import Iterator

from eci.lexical import words
from eci.miners.edits.opposites import FIXED, NEXT, OPPOSITES, PREVIOUS
from eci.miners.edits.page import Fact, Page, like, listed, takes_an

# How far around a word its opposite, or itself, shows that two are compared: "before and after".
_CONTRAST = 40
_BE = listed("is are was were")
_MODALS = listed("can could will would should may might must")
_HAVE = listed("has have had")
_AUXILIARIES = _BE | _MODALS | _HAVE
_DO = listed("do does did")
_PARTICIPLES = listed("been shown found become made led taken given seen gone grown known")
# Also nouns, and a verb in the imperative.
_AMBIGUOUS = listed("may might will can must")
_BEFORE_NOUN = frozenset(["", "the", "in", "a", "its", "of"])
# After these a "not" is there already, or would not deny the sentence.
_NO_NOT = listed(
    "not no never only just merely also both either neither nor hardly rarely none to yet still then "
    "there it he she they we you i this these any so thus that and or but as all nothing without"
)
# A sentence that has these before its verb states no finding, or denies it already.
_OPEN = listed(
    "whether how why explore investigate aim aims objective objectives purpose goal designed not no cannot"
)
_OPENED = 14
# A denial goes on with these in a way that a statement does not: "not … but", "no … or".
_PATTERN = listed("any anything either nor until yet but rather only ever at instead")
_NOT_ALONE = listed("only just merely necessarily all both every yet less more even always")
_NO_ALONE = listed("longer more one matter such")
_SHORT = {"can't": "can", "won't": "will", "cannot": "can", "shan't": "shall"}
_UNCOUNTED = listed("evidence proof support consensus indication need")
_SINGULAR = _UNCOUNTED | listed(
    "effect difference association correlation change increase decrease relationship relation impact role "
    "interaction benefit improvement reduction link influence response trend sign way advantage"
)
# Capitals are a part of these words.
_LITERALS = frozenset({"true", "false"})


def negations(page: Page) -> Iterator[Fact]:
    """Auxiliaries, negations and words that have an opposite."""
    for place, word in enumerate(page.words):
        if word in OPPOSITES:
            yield from _opposite(page, place, word)
        elif word in _AUXILIARIES:
            yield from _denied(page, place, word)
        elif word == "no":
            yield from _some(page, place)
        elif word == "not" or word in _SHORT or word.endswith(("n't", "n’t")):
            yield from _affirmed(page, place, word)


def _opposite(page: Page, place: int, word: str) -> list[Fact]:
    start, stop = page.spans[place]
    told, new, before = page.text[start:stop], OPPOSITES[word], page.before(place)
    around = page.shown[max(0, start - _CONTRAST) : start] + " " + page.shown[stop : stop + _CONTRAST]
    compared = not {word, new}.isdisjoint(words(around))
    if compared or not _opposable(page, place, word):
        return []
    if told.istitle() and before and word not in _LITERALS:
        return []  # part of a name
    if before in {"a", "an"} and takes_an(word) != takes_an(new):
        start, new = page.spans[place - 1][0], f"{'an' if takes_an(new) else 'a'} {new}"
    return page.fact("negation", start, stop, [like(page.text[start:stop], new)])


def _opposable(page: Page, place: int, word: str) -> bool:
    """Whether a word has the sense that has an opposite."""
    before, after = page.before(place), page.after(place)
    if f"{before} {word}" in FIXED or f"{word} {after}" in FIXED or (before == after == "as"):
        return False
    if before in {"not", "no", "non", "or"} or after == "or":
        return False
    if (word in NEXT and after not in NEXT[word]) or (word in PREVIOUS and before not in PREVIOUS[word]):
        return False
    return not (word == "without" and after.endswith("ing")) and not (
        word.endswith("ed") and page.hyphened(place)[0]
    )


def _denied(page: Page, place: int, word: str) -> list[Fact]:
    """*is* → *is not*, where a statement is made and nothing denies it yet."""
    start, stop = page.spans[place]
    told, before, after = page.text[start:stop], page.before(place), page.after(place)
    if word in _HAVE:
        auxiliary = (after in _PARTICIPLES or after.endswith("ed")) and before not in _MODALS | {"to"}
    elif word in _MODALS:
        noun = told.isupper() or (word in _AMBIGUOUS and before in _BEFORE_NOUN)
        auxiliary = not noun and not after.endswith(("ed", "ing", "s"))
    else:
        auxiliary = before != "there"
    denied = after in _NO_NOT or (after.startswith("un") and not after.startswith(("und", "uni", "unt")))
    if not after or not auxiliary or denied or any(page.hyphened(place)) or not _states(page, start, stop):
        return []
    return page.fact("negation", start, stop, ["cannot" if told == "can" else f"{told} not"])


def _states(page: Page, start: int, stop: int) -> bool:
    """Whether the sentence around a verb states something and does not deny it elsewhere."""
    sentence = page.sentence(start)
    lead = page.shown[max(0, start - 120) : start].lower()[-len(sentence) :].split()[-_OPENED:]
    rest = page.shown[stop : stop + 60].lower().split()[:5]
    return not sentence.rstrip().endswith("?") and _OPEN.isdisjoint(lead) and {"not", "no"}.isdisjoint(rest)


def _affirmed(page: Page, place: int, word: str) -> list[Fact]:
    """*is not*, *isn't* → *is*, where the negation denies a verb and nothing else."""
    before, after = page.before(place), page.after(place)
    if not after or after in _NOT_ALONE or any(page.hyphened(place)) or _patterned(page, place):
        return []
    start, stop = page.spans[place]
    if word == "not":
        if before not in _AUXILIARIES | _DO:
            return []
        start, end = page.spans[place - 1]
        return page.fact("negation", start, stop, [page.text[start:end]])
    told = page.text[start:stop]
    return page.fact("negation", start, stop, [like(told, _SHORT.get(word.replace("’", "'"), told[:-3]))])


def _some(page: Page, place: int) -> list[Fact]:
    """*no effect* → *an effect*, *no effects* → *some effects*."""
    start, stop = page.spans[place]
    noun = place + 1
    while noun < place + 3 and page.words[noun : noun + 1] and not _heads(page.words[noun]):
        noun += 1
    phrase = page.words[place + 1 : noun + 1]
    side_by_side = all(page.after(each) for each in range(place, noun))
    if not phrase or not side_by_side or not _heads(phrase[-1]) or not _NO_ALONE.isdisjoint(phrase):
        return []
    told = page.text[start:stop]
    if told == "NO" or any(page.hyphened(place)) or _patterned(page, place):
        return []
    many = phrase[-1] in _UNCOUNTED or phrase[-1] not in _SINGULAR
    return page.fact(
        "negation", start, stop, [like(told, "some" if many else "an" if takes_an(phrase[0]) else "a")]
    )


def _heads(word: str) -> bool:
    """Whether a word is the noun that "no" belongs to, as far as its form tells."""
    plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "as"))
    return word in _SINGULAR or plural


def _patterned(page: Page, place: int) -> bool:
    """Whether the rest of the clause goes with a denial only."""
    stop = page.spans[place][1]
    rest = page.shown[stop : stop + 80].replace(";", ".").replace(":", ".").replace("\0", ".")
    return not _PATTERN.isdisjoint(rest.partition(".")[0].lower().replace(",", " ").split())
