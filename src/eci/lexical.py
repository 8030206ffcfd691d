"""Words that texts share, weighted by how rare the words are."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
class Vocabulary:
    """Words, and in how many of a set of documents each occurs.

    Parameters
    ----------
    numbers : dict of str to int
        Word to word number, 0…V-1 in the order of the alphabet, so that the order of documents changes no
        rounding.
    idf : ndarray of shape (V + 1,)
        ln(1 + (D − df + ½)/(df + ½)), the form BM25 uses: never negative. The last is that of a word that
        no document holds.
    size : int
        D, the documents that the frequencies were counted over.
    tokenizer : callable
        What found the words.
    """

    numbers: dict[str, int]
    idf: Floats
    size: int
    tokenizer: Tokenizer

    @property
    def unknown(self) -> int:
        """The number of every word that is not here."""
        return len(self.numbers)

    def read(self, texts: Sequence[str]) -> Ragged:
        """Distinct word numbers of each text, rising."""
        return _ragged(
            sorted(self.numbers.get(word, self.unknown) for word in set(text))
            for text in self.tokenizer(texts)
        )


class WordCounter:
    """Counts, as documents come, in how many of them each word occurs.

    Parameters
    ----------
    tokenizer : callable
    """

    def __init__(self, tokenizer: Tokenizer = by_words) -> None:
        self._tokenizer = tokenizer
        self._numbers: dict[str, int] = {}
        self._counts = array("q")
        self._size = 0

    def add(self, texts: Sequence[str], counted: bool = True) -> Ragged:
        """Read documents; when not `counted`, their words are known and no more.

        Returns
        -------
        Ragged
            For `vocabulary`: the words of each text, numbered as they came.
        """
        found, told = self._numbers, self._tokenizer(texts)
        read = _ragged({found.setdefault(word, len(found)) for word in text} for text in told)
        self._counts.extend([0] * (len(found) - len(self._counts)))
        if counted:
            counts = np.frombuffer(self._counts, dtype=np.int64)
            counts += np.bincount(read.values, minlength=len(counts))
            self._size += len(read)
        return read

    def vocabulary(self) -> tuple[Vocabulary, Integers]:
        """Everything that was read, and the number there of each word as `add` numbered them."""
        alphabet = sorted(self._numbers)
        number = np.empty(len(alphabet), dtype=np.int64)
        number[[self._numbers[word] for word in alphabet]] = np.arange(len(alphabet))
        frequency = np.zeros(len(alphabet) + 1)
        frequency[number] = np.frombuffer(self._counts, dtype=np.int64)
        places = {word: place for place, word in enumerate(alphabet)}
        return Vocabulary(places, _idf(frequency, self._size), self._size, self._tokenizer), number


@dataclass(frozen=True)
class Lexicon:
    """The distinct words of D documents, and how much each weighs.

    Parameters
    ----------
    documents : Ragged of D rows
        Word numbers of each document, each once, rising.
    vocabulary : Vocabulary

    Examples
    --------
    >>> lexicon = Lexicon.of(["red fox", "red dog", "blue cat"])
    >>> pairs = np.array([0, 0]), np.array([0, 1])
    >>> lexicon.overlap(lexicon.vocabulary.read(["red fox"]), *pairs).round(3).tolist()
    [1.0, 0.324]
    """

    documents: Ragged
    vocabulary: Vocabulary

    @classmethod
    def of(
        cls, documents: Sequence[str], tokenizer: Tokenizer = by_words, corpus: Sequence[str] | None = None
    ) -> Lexicon:
        """Read the documents once, and count in how many of them, or of `corpus`, each word occurs."""
        counter = WordCounter(tokenizer)
        met = counter.add(documents, counted=corpus is None)
        if corpus is not None:
            counter.add(corpus)
        vocabulary, number = counter.vocabulary()
        width = max(1, vocabulary.unknown)
        return cls(met.with_values(np.sort(met.rows * width + number[met.values]) % width), vocabulary)

    def overlap(self, references: Ragged, reference: Integers, document: Integers) -> Floats:
        """Σ idf of the words that a reference shares with a document / Σ idf of the reference's words.

        Parameters
        ----------
        references : Ragged of R rows
            Word numbers, as from ``vocabulary.read`` or ``documents``.
        reference, document : ndarray of shape (n,)
            The pairs: rows of `references` and of ``documents``.

        Returns
        -------
        ndarray of shape (n,)
            0…1; NaN where the reference has no words. A word that is not in the vocabulary weighs what one
            that no document holds does, and nobody shares it.
        """
        asked = references.take(reference)
        weights = self.vocabulary.idf[asked.values]
        held = self._holds(np.repeat(document, asked.lengths), asked.values)
        total = asked.with_values(weights).sums()
        shared = asked.with_values(weights * held).sums()
        return divide(shared, total)

    def _holds(self, document: Integers, word: Integers) -> NDArray[np.bool_]:
        if not len(self._table):
            return np.zeros(len(word), dtype=np.bool_)
        asked = document * (self.vocabulary.unknown + 1) + word
        place = np.minimum(np.searchsorted(self._table, asked), len(self._table) - 1)
        return np.asarray((self._table[place] == asked) & (word < self.vocabulary.unknown))

    @cached_property
    def _table(self) -> Integers:
        """Document and word in one number, rising, of shape (m,)."""
        return np.asarray(self.documents.rows * (self.vocabulary.unknown + 1) + self.documents.values)


def _idf(frequency: NDArray[Any], size: int) -> Floats:
    return np.asarray(np.log1p((size - frequency + 0.5) / (frequency + 0.5)))


def _ragged(rows: Iterable[Collection[int]]) -> Ragged:
    # Compact while it grows: eight bytes a number.
    values, lengths = array("q"), array("q")
    for row in rows:
        values.extend(row)
        lengths.append(len(row))
    return Ragged.from_lengths(np.array(values, dtype=np.int64), np.array(lengths, dtype=np.int64))
