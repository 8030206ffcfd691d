"""Words that texts share, weighted by how rare the words are."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eci.ragged import Ragged, divide
from eci.types import Floats, Integers

# Scripts written without spaces: each character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Lower-cased runs of letters and digits; single characters in scripts without spaces.

    Examples
    --------
    >>> words("Re-rank the top_25: 東京!")
    ['re', 'rank', 'the', 'top', '25', '東', '京']
    """
    return _WORD.findall(text.lower())


def trigrams(text: str) -> list[str]:
    """Every three neighbouring characters of a text in lower case, runs of white space as one space.

    Examples
    --------
    >>> trigrams("Re  top")
    ['re ', 'e t', ' to', 'top']
    """
    plain = " ".join(text.lower().split())
    return [plain[start : start + 3] for start in range(len(plain) - 2)] or ([plain] if plain else [])


# Turns texts into their tokens, each list in the order of its text.
Tokenizer: TypeAlias = Callable[[Sequence[str]], Iterable[Collection[str]]]


def by_words(texts: Sequence[str]) -> Iterable[list[str]]:
    """The tokens that `words` finds."""
    return map(words, texts)


def by_trigrams(texts: Sequence[str]) -> Iterable[list[str]]:
    """The tokens that `trigrams` finds."""
    return map(trigrams, texts)


@dataclass(frozen=True)
class Lexicon:
    """The distinct words of a set of documents, and how much each weighs.

    Parameters
    ----------
    documents : Ragged of D rows
        Word numbers of each document, each once, rising.
    idf : ndarray of shape (V,)
        ln(1 + (D − df + ½)/(df + ½)), the form BM25 uses: never negative.
    numbers : dict of str to int
        Word to word number, 0…V-1.
    tokenizer : callable
        What found the words.
    size : int
        Documents that the frequencies were counted over.

    Examples
    --------
    >>> lexicon = Lexicon.of(["red fox", "red dog", "blue cat"])
    >>> pairs = np.array([0, 0]), np.array([0, 1])
    >>> lexicon.overlap(lexicon.look_up(["red fox"]), *pairs).round(3).tolist()
    [1.0, 0.324]
    """

    documents: Ragged
    idf: Floats
    numbers: dict[str, int]
    tokenizer: Tokenizer
    size: int

    @classmethod
    def of(
        cls, documents: Sequence[str], tokenizer: Tokenizer = by_words, corpus: Sequence[str] | None = None
    ) -> Lexicon:
        """Read the documents once, and count in how many of them, or of `corpus`, each word occurs."""
        found: dict[str, int] = {}

        def read(texts: Sequence[str]) -> Ragged:
            return _ragged({found.setdefault(word, len(found)) for word in text} for text in tokenizer(texts))

        met = read(documents)
        counted = met if corpus is None else read(corpus)
        # Numbered in the order of the alphabet, so that the order of documents changes no rounding.
        alphabet = sorted(found)
        number = np.empty(len(found), dtype=np.int64)
        number[[found[word] for word in alphabet]] = np.arange(len(found))
        table = np.sort(met.rows * (len(found) + 1) + number[met.values]) % (len(found) + 1)
        frequency = np.bincount(number[counted.values], minlength=len(found))
        places = {word: place for place, word in enumerate(alphabet)}
        return cls(met.with_values(table), _idf(frequency, len(counted)), places, tokenizer, len(counted))

    def look_up(self, texts: Sequence[str]) -> Ragged:
        """Distinct word numbers of other texts, rising; each word that no document holds is a V."""
        unknown = len(self.numbers)
        return _ragged(
            sorted(self.numbers.get(word, unknown) for word in set(text)) for text in self.tokenizer(texts)
        )

    def overlap(self, references: Ragged, reference: Integers, document: Integers) -> Floats:
        """Σ idf of the words that a reference shares with a document / Σ idf of the reference's words.

        Parameters
        ----------
        references : Ragged of R rows
            Word numbers, as from `look_up` or ``documents``.
        reference, document : ndarray of shape (n,)
            The pairs: rows of `references` and of ``documents``.

        Returns
        -------
        ndarray of shape (n,)
            0…1; NaN where the reference has no words.
        """
        # A word that no document holds weighs what one of document frequency 0 would.
        idf = np.append(self.idf, _idf(np.zeros(1), self.size))
        asked = references.take(reference)
        weights = idf[asked.values]
        held = self._holds(np.repeat(document, asked.lengths), asked.values)
        total = asked.with_values(weights).sums()
        shared = asked.with_values(weights * held).sums()
        return divide(shared, total)

    def _holds(self, document: Integers, word: Integers) -> NDArray[np.bool_]:
        width = len(self.numbers) + 1
        table = self.documents.rows * width + self.documents.values
        asked = document * width + word
        if len(table) == 0:
            return np.zeros(len(asked), dtype=np.bool_)
        place = np.minimum(np.searchsorted(table, asked), len(table) - 1)
        return np.asarray(table[place] == asked)


def _idf(frequency: NDArray[Any], size: int) -> Floats:
    return np.asarray(np.log1p((size - frequency + 0.5) / (frequency + 0.5)))


def _ragged(rows: Iterable[Collection[int]]) -> Ragged:
    # Compact while it grows: eight bytes a number.
    values, lengths = array("q"), array("q")
    for row in rows:
        values.extend(row)
        lengths.append(len(row))
    return Ragged.from_lengths(np.array(values, dtype=np.int64), np.array(lengths, dtype=np.int64))
