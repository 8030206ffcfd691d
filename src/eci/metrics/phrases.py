"""Runs of three words that one of two sources keeps writing: boilerplate, in one wording or in several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eci.lexical import words
from eci.ragged import Ragged, divide
from eci.types import Flags, Floats, Integers

LENGTH = 3
# A run in fewer documents parts no source from another.
FEWEST = 5
# Runs that make the score: several openers that take turns are several runs.
MOST = 50
# Read of a text, about what encoders read of it.
_MOST_WORDS = 512


def runs(texts: Sequence[str]) -> Ragged:
    """Numbers of the distinct runs of `LENGTH` words of each of D texts; rare runs are left out.

    Examples
    --------
    >>> found = runs(["we note that dogs bark", "We note that. Cats!", "no"] * 5)
    >>> found.lengths[:3].tolist(), len(np.unique(found.values))
    ([3, 2, 0], 4)
    """
    read = [words(text)[:_MOST_WORDS] for text in texts]
    # Numbered in the order of the alphabet: of equally good runs the same is found in any order of texts.
    number = {word: place for place, word in enumerate(sorted({word for row in read for word in row}))}
    found, lengths = [], []
    for row in read:
        sequence = np.array([number[word] for word in row], dtype=np.int64)
        run = np.zeros(max(0, len(row) - LENGTH + 1), dtype=np.int64)
        for shift in range(LENGTH):
            run = run * len(number) + sequence[shift : shift + len(run)]
        found.append(np.unique(run))
        lengths.append(len(found[-1]))
    every = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
    _, place, times = np.unique(every, return_inverse=True, return_counts=True)
    kept = times[place.ravel()] >= FEWEST
    _, small = np.unique(place.ravel()[kept], return_inverse=True)
    numbers = np.zeros(len(every), dtype=np.int64)
    numbers[kept] = small.ravel()
    return Ragged.from_lengths(numbers, lengths).keep(kept)


def telltale(held: Ragged, document: Integers, second: Flags, fold: Integers) -> Floats:
    """How much the runs of a document speak for one source or the other, of shape (n,); chance gives 0.

    The sum, over the `MOST` runs that best part the sources elsewhere, of the difference between the shares
    of the first and of the second source's documents that hold the run. Runs and shares come from the other
    folds, and from documents that the own fold has not.

    Parameters
    ----------
    held : Ragged of D rows
        See `runs`.
    document, second, fold : ndarray of shape (n,)
        Document of each negative, whether it is of the second source, and its fold.
    """
    scores = np.zeros(len(document))
    kinds = int(held.values.max(initial=-1)) + 1
    for number in np.unique(fold) if kinds else ():
        own = fold == number
        taught = ~np.isin(document, document[own])
        shares = []
        for side in (~second, second):
            times = np.bincount(document[taught & side], minlength=len(held))
            counts = np.bincount(held.values, weights=times[held.rows], minlength=kinds)
            shares.append(divide(counts, np.full(kinds, times.sum())))
        apart = np.nan_to_num(shares[0] - shares[1])
        # In a stable order, so that swapping the sources finds the same runs.
        apart[np.argsort(-np.abs(apart), kind="stable")[MOST:]] = 0.0
        scores[own] = held.with_values(apart[held.values]).sums()[document[own]]
    return scores
