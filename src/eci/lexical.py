"""Words that texts share, weighted by how rare the words are."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eci.ragged import Ragged, divide
from eci.types import Floats, Integers

# Scripts written without spaces: each character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
# The same for ASCII texts, in a third of the time: letters and digits in lower case, spaces for all else.
_ASCII = "".join(sign.lower() if sign.isalnum() else " " for sign in map(chr, range(128)))
# Words of references, and pairs, that are looked up at a time: their tables stay in the cache of a core.
_LOOKED_UP = 4096


def words(text: str) -> list[str]:
    """Lower-cased runs of letters and digits; single characters in scripts without spaces.

    Examples
    --------
    >>> words("Re-rank the top_25: 東京!")
    ['re', 'rank', 'the', 'top', '25', '東', '京']
    """
    return text.translate(_ASCII).split() if text.isascii() else _WORD.findall(text.lower())


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
        number, unknown = self.numbers.get, self.unknown
        read = _ragged([number(word, unknown) for word in set(text)] for text in self.tokenizer(texts))
        return in_order(read, unknown)


class WordCounter:
    """Counts, as documents come, in how many of them each word occurs.

    Parameters
    ----------
    tokenizer : callable
    """

    def __init__(self, tokenizer: Tokenizer = by_words) -> None:
        self._tokenizer = tokenizer
        self._numbers = _Numbers()
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
        read = _ragged(map(found.__getitem__, set(text)) for text in told)
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
        return cls(in_order(met.with_values(number[met.values]), vocabulary.unknown), vocabulary)

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
        found = np.full(len(reference), np.nan)
        # Where the words of the references of a tile stand in them; -1 for all other words.
        place = np.full(self.vocabulary.unknown + 1, -1, dtype=np.int32)
        order = np.argsort(reference, kind="stable")
        starts = np.flatnonzero(np.diff(reference[order], prepend=-1))
        lengths = np.diff(starts, append=len(order))
        used = reference[order[starts]]
        for runs in _tiles(references.lengths[used] + lengths):
            pairs = order[starts[runs.start] : starts[runs.start] + lengths[runs].sum()]
            run = np.repeat(np.arange(runs.stop - runs.start), lengths[runs])
            found[pairs] = self._shares(references.take(used[runs]), run, document[pairs], place)
        return found

    def _shares(self, asked: Ragged, run: Integers, document: Integers, place: NDArray[np.int32]) -> Floats:
        """`overlap` of pairs of a row of `asked` and a document; `place` is left as it was."""
        weights = self.vocabulary.idf[asked.values]
        known = np.flatnonzero(asked.values < self.vocabulary.unknown)
        number = asked.values[known]
        place[number] = np.arange(len(known))
        within = np.full((len(asked), len(known)), -1, dtype=np.int32)
        within[asked.rows[known], place[number]] = asked.within[known]
        held = self.documents.take(document)
        column = place[held.values]
        place[number] = -1
        hits = np.flatnonzero(column >= 0)
        pair = held.rows[hits]
        at = within[run[pair], column[hits]]
        shared = Ragged.from_lengths(np.zeros(asked.lengths[run].sum()), asked.lengths[run])
        pair, at = pair[at >= 0], at[at >= 0]
        shared.values[shared.offsets[pair] + at] = weights[asked.offsets[run[pair]] + at]
        return divide(shared.sums(), asked.with_values(weights).sums()[run])


class _Numbers(dict[str, int]):
    """Numbers words as they are met."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


def _tiles(sizes: Integers) -> list[slice]:
    """Neighbours of at most `_LOOKED_UP` in all; what is larger is alone."""
    ends = np.cumsum(sizes)
    first, last = (ends - sizes) // _LOOKED_UP, ends // _LOOKED_UP
    cuts = [*np.flatnonzero(np.diff(first, prepend=-1) | np.diff(last, prepend=-1)).tolist(), len(sizes)]
    return [slice(start, end) for start, end in pairwise(cuts)]


def in_order(rows: Ragged, most: int) -> Ragged:
    """Each row in order; its numbers are no larger than `most`."""
    return rows.with_values(np.sort(rows.rows * (most + 1) + rows.values) % (most + 1))


def _idf(frequency: NDArray[Any], size: int) -> Floats:
    return np.asarray(np.log1p((size - frequency + 0.5) / (frequency + 0.5)))


def _ragged(rows: Iterable[Iterable[int]]) -> Ragged:
    # Compact while it grows: eight bytes a number.
    values, lengths = array("q"), array("q")
    for row in rows:
        before = len(values)
        values.extend(row)
        lengths.append(len(values) - before)
    return Ragged.from_lengths(np.array(values, dtype=np.int64), np.array(lengths, dtype=np.int64))
