"""Another name in the place of one that a text speaks of, wherever it stands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from eci.miners.edits.date import DATE_NAMES
from eci.miners.edits.page import Fact, Page, listed, takes_an

_OPTIONS = 6
# A word or a dotted identifier, with hyphenated parts that are codes: IL-6, TNF-α, os.path.join().
_TOKEN = re.compile(
    r"(?<![\w.)/\\@#&-])[^\W\d]\w*(?:\.[^\W\d]\w*)*(?:\(\))?(?:-(?:\d+[A-Za-z]?|[A-ZΑ-Ωα-ω])(?!\w))*"
    r"(?![\w(\[=@/\\]|\.\w|-[\dA-Z])"
)
# The shape of a name: MRI and PET alike, ValueError and KeyError, IL-6 and TNF-2.
_RUNS = (
    (r"[A-Z]{2,}", "AA"),
    (r"[B-Z]", "A"),
    (r"[a-z]{2,}", "aa"),
    (r"[b-z]", "a"),
    (r"\d+", "0"),
    (r"[α-ωΑ-Ω]+", "α"),
)
_FAMILY = re.compile(r"(?:Error|Exception|Warning|ese|ish|an|ic|s)$")
_LEFT = re.compile(r"(?:(\S+)\s)?(\S+)\s$")
_RIGHT = re.compile(r"(['’]s)?([ \n]|-)([A-Za-z]{2,})")
# What can follow a name after a hyphen without being a part of a longer one.
_TAILS = listed(
    "dependent independent deficient infected negative positive treated specific induced mediated "
    "expressing producing associated null knockout mutant based style encoded aware compatible"
)
# A name in front of its short form, or of that of words that begin with it: "Parkinson's disease (PD)".
_SHORTENED = re.compile(r"(?:['’]s)?[^.,;()]{0,25}\([A-Z][\w-]*\)|\s\(|,?\s(?:also|formerly)\b")
_FUNCTION = listed(
    "and or in of to is are was were with for on by at as from that which has have had but the an into "
    "than after before during when while can could may will would should not also did does we this these "
    "both via using if it its be been being might must so then only between among without within under "
    "over"
)
# Headings, abbreviations of statistics and citation, and what everything consists of.
_HEADINGS = listed(
    "none true false there those our no however also see use used "
    "as id background methods method results result conclusion conclusions objective objectives design "
    "setting patients participants interventions intervention measurements main outcome outcomes measures "
    "context purpose aim aims findings interpretation funding introduction study discussion limitations "
    "limitation data material materials selection source sources primary importance significance summary "
    "rationale hypothesis note todo xxx warning example examples returns return raises type phase stage "
    "group class level fig figure table eq dr mr mrs prof ci or hr rr sd se sem irr ors hrs cis vs ie eg "
    "et al ph am pm bc ad ii iii iv vi vii viii ix xi xii dna rna atp mrna cdna pubmed medline embase "
    "cochrane"
)
_NO_NAMES = DATE_NAMES | _FUNCTION | _HEADINGS


@dataclass(frozen=True)
class _Name:
    """A name in a text: where it stands, and what else stands in such a place."""

    text: str
    spans: tuple[tuple[int, int], ...]
    place: str


@dataclass(frozen=True)
class Entities:
    """Swaps names against those of other documents.

    Parameters
    ----------
    pool : mapping of str to tuple of str
        Names by the kind of place they stand in: their shape and a word beside them.
    seed : int
        Which of them a text is offered.
    """

    pool: Mapping[str, tuple[str, ...]]
    seed: int

    @classmethod
    def of(cls, texts: Iterable[str], seed: int) -> Entities:
        """Offer the names of the given texts."""
        pool: dict[str, dict[str, None]] = {}
        for text in texts:
            for name in _names(text):
                pool.setdefault(name.place, {})[name.text] = None
        return cls({place: tuple(sorted(names)) for place, names in pool.items()}, seed)

    def __call__(self, page: Page) -> Iterator[Fact]:
        """Names that the title lacks, each with all its places as one fact."""
        for name in _names(page.text):
            start, stop = name.spans[0]
            inside = start in page.limit and stop <= page.limit.stop and "\0" not in page.shown[start:stop]
            if inside and name.text not in page.title and _swappable(page.text, name):
                options = self._options(page.text, name)
                if options:
                    yield Fact("entity", name.spans, options)

    def _options(self, text: str, name: _Name) -> tuple[str, ...]:
        """Names for the same place that the text lacks, beginning at one that chance decides."""
        names = self.pool.get(name.place, ())
        folded, options = text.casefold(), []
        digest = hashlib.blake2b(f"{self.seed}\0{name.text}\0{text[:200]}".encode(), digest_size=8).digest()
        begin = int.from_bytes(digest, "big") % max(1, len(names))
        for other in names[begin:] + names[:begin]:
            if other.casefold() not in folded and takes_an(other) == takes_an(name.text):
                options.append(other)
                if len(options) == _OPTIONS:
                    break
        return tuple(options)


def _names(text: str) -> list[_Name]:
    """Names in the order in which they first stand in a text."""
    places: dict[str, list[tuple[int, int]]] = {}
    kinds: dict[str, str] = {}
    for found in _TOKEN.finditer(text):
        name = found[0]
        if name.islower() and "_" not in name and "." not in name:
            continue
        places.setdefault(name, []).append(found.span())
        if name not in kinds and (kind := _kind(text, found)):
            kinds[name] = kind
    return [_Name(name, tuple(places[name]), kind) for name, kind in kinds.items()]


def _kind(text: str, found: re.Match[str]) -> str:
    """The shape of a name and a word or two beside it; nothing where it is no name that can be swapped."""
    name = found[0]
    left = _LEFT.search(text, max(0, found.start() - 32), found.start())
    right = _RIGHT.match(text, found.end())
    lead, before = (left[1] or "", left[2]) if left else ("", "")
    after = right[3] if right else ""
    part = right is not None and right[2] == "-" and after not in _TAILS
    cited = before == "as" or after == "et"
    if part or cited or not _is_name(name, before, after):
        return ""
    family = _FAMILY.search(name)
    shape = _shape(name) + (family[0] if family and name[0].isupper() and not name.isupper() else "")
    if right and after.islower() and after not in _FUNCTION:
        return f"{shape} _{right[1] or ''} {after}"
    if before in _FUNCTION:
        return f"{shape} {lead} {before} _" if lead.islower() and lead not in _FUNCTION else ""
    return f"{shape} {before} _" if before.islower() and before.isalpha() else ""


def _is_name(name: str, before: str, after: str) -> bool:
    """Whether a word with a capital, a dot or an underscore names something, between two words."""
    folded = name.casefold()
    if len(name) < 2 or folded in _NO_NAMES or folded.rstrip("s") in _NO_NAMES:
        return False
    if "_" in name or "." in name:
        return name[0] != "_" and all(len(part) > 1 for part in name.split("."))
    if name.isupper():
        heading = any(word.isupper() and len(word) > 1 for word in (before, after))
        return len(name) <= 8 and not heading
    if not name[1:].islower():
        return True
    # A capital at the start of a sentence, or among capitals, says little.
    alone = before.casefold() in _FUNCTION or not before[:1].isupper()
    amid = before[-1:].islower() or before[-1:] == ","
    return name.isalpha() and len(name) > 3 and amid and alone and before != "the" and not after[:1].isupper()


def _swappable(text: str, name: _Name) -> bool:
    """Whether a name stands alone everywhere, and nowhere beside a short form, its own or of its words."""
    if text.count(name.text) > len(name.spans):
        return False
    word = name.text[1:].islower()
    return not any(
        text[start - 1 : stop + 1] == f"({name.text})"
        or _SHORTENED.match(text, stop)
        or (word and text[stop : stop + 1] == " " and text[stop + 1 : stop + 2].isupper())
        for start, stop in name.spans
    )


def _shape(name: str) -> str:
    for runs, letter in _RUNS:
        name = re.sub(runs, letter, name)
    return name
