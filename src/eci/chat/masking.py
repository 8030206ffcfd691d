"""What an endpoint sends, without the key and without characters that no terminal or file should get."""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from urllib.parse import quote

# Local servers take such as "EMPTY" or "ollama" for a key: no secret, and words of answers.
_SHORTEST_KEY = 8
_CONTROLS = {"Cc", "Cf"}
_UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Joiners are part of words, and of emoji.
_SHOWN = {"\n", "\t", "\u200c", "\u200d"}


def whole(text: str) -> str:
    """A text without halves of surrogate pairs, which no file takes; answers that were cut off have them."""
    return text.encode("utf-8", "replace").decode()


def shown(text: str) -> str:
    r"""A text as a terminal may get it: what it would not print, but for line breaks and tabs, as U+FFFD.

    >>> shown("tab\t and \x1b[2J and \x9b2J and \u202e")
    'tab\t and �[2J and �2J and �'
    """
    return "".join(each if _harmless(each) else "\ufffd" for each in text)


def _harmless(character: str) -> bool:
    return character in _SHOWN or unicodedata.category(character) not in _UNSHOWN


class Mask:
    r"""Takes a key out of texts, in whatever way it is written.

    Upper or lower case, and each character as it is, as in a URL, as in JSON, as in HTML; or all of it in
    base 64.

    Parameters
    ----------
    key : str
        Keys of fewer than 8 characters are placeholders and left alone.

    Examples
    --------
    >>> mask = Mask("sk-a/b+c=123")
    >>> mask('{"got": "sk-a\\/b+c=123", "for": "/v1?key=SK-a%2Fb%2bc%3d123"}')
    '{"got": "[key]", "for": "/v1?key=[key]"}'
    """

    def __init__(self, key: str) -> None:
        self._found = None
        if len(key) >= _SHORTEST_KEY:
            forms = ["".join(map(_written, key)), *_coded(key)]
            self._found = re.compile("|".join(forms), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """The text, with ``[key]`` for the key and without halves of surrogate pairs."""
        text = whole(text)
        return text if self._found is None else self._found.sub("[key]", text)

    def line(self, text: str, most: int) -> str:
        """The text on one line of so many characters, without characters that steer a terminal."""
        kept = (each for each in text if each.isspace() or unicodedata.category(each) not in _CONTROLS)
        shown = self(" ".join("".join(kept).split()))
        return shown if len(shown) <= most else shown[: most - 1] + "…"


def _written(character: str) -> str:
    code = ord(character)
    ways = {
        character,
        quote(character, safe=""),
        f"%{code:02x}",
        f"\\u{code:04x}",
        f"\\{character}",
        html.escape(character),
        f"&#{code};",
        f"&#x{code:x};",
    }
    # The longest first: a key that ends in a backslash is no reason to leave the rest of an escape.
    return f"(?:{'|'.join(re.escape(way) for way in sorted(ways, key=lambda way: (-len(way), way)))})"


def _coded(key: str) -> list[str]:
    coded = {base64.b64encode(key.encode()).decode(), base64.urlsafe_b64encode(key.encode()).decode()}
    return [re.escape(each.rstrip("=")) + "=*" for each in sorted(coded)]
