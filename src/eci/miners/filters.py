"""Which of a miner's candidates become negatives: margins, windows, sampling, copies, reuse."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eci.errors import EciError
from eci.ragged import Ragged
from eci.types import Flags, Floats, Integers

# Candidates beyond those asked for, where nothing but copies of positives can fall out.
_SPARE = 16
_MARGINS = ("absolute margin", "relative margin")


@dataclass(frozen=True)
class Filters:
    """What a candidate must satisfy to become a negative; names as in sentence-transformers' miner.

    Parameters
    ----------
    range_min, range_max : int
        Of the candidates that pass everything below, best first, skip the first `range_min` and drop
        what comes after the first `range_max`. `range_max` None stands for `reach`.
    min_score, max_score : float, optional
        Bounds of the score, themselves allowed.
    absolute_margin : float, optional
        Score of the candidate ≤ lowest score of a labelled positive − margin.
    relative_margin : float, optional
        Score of the candidate ≤ p − margin·|p|, p the lowest score of a labelled positive: right for
        negative scores too. 0.05 is NV-Retriever's TopK-PercPos 95 % (arXiv 2407.15831).
    sampling : {"top", "random"}
        The best k candidates, or k drawn uniformly.
    seed : int
        Of the draw, which depends on nothing but the seed, the query and the document.
    max_uses : int, optional
        Queries that a document may be a negative of, counted in the order of the queries.
    near_copy : float, optional
        Jaccard similarity of word 3-grams with a known document from which on a candidate
        is taken for its copy; None does not look for copies.
    keep_curated : bool
        Margins do not apply to negatives that were made by an edit or by breaking one requirement: they
        are near their positive on purpose. How often a margin would have removed one is counted.
    """

    range_min: int = 0
    range_max: int | None = None
    min_score: float | None = None
    max_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    sampling: Literal["top", "random"] = "top"
    seed: int = 0
    max_uses: int | None = None
    near_copy: float | None = 0.8
    keep_curated: bool = False

    def __post_init__(self) -> None:
        if self.range_min < 0 or (self.range_max is not None and self.range_max <= self.range_min):
            raise EciError(
                f"range_min must be 0 or more and range_max larger, got {self.range_min} "
                f"and {self.range_max}."
            )
        for name in ("min_score", "max_score", "absolute_margin", "relative_margin"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value):
                raise EciError(f"{name} must be a finite number, got {value}.")
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise EciError(
                f"min_score {self.min_score} is above max_score {self.max_score}: nothing can pass."
            )
        if self.sampling not in ("top", "random"):
            raise EciError(f"sampling is 'top' or 'random', got {self.sampling!r}.")
        if self.max_uses is not None and self.max_uses < 1:
            raise EciError(f"max_uses must be at least 1, got {self.max_uses}.")
        if self.near_copy is not None and not 0 < self.near_copy <= 1:
            raise EciError(f"near_copy lies above 0 and up to 1, got {self.near_copy}.")

    @property
    def by_margin(self) -> bool:
        """Whether scores of positives are needed."""
        return self.absolute_margin is not None or self.relative_margin is not None

    @property
    def by_score(self) -> bool:
        """Whether scores of candidates are needed."""
        return self.by_margin or self.min_score is not None or self.max_score is not None

    def reach(self, k: int, known: int) -> int:
        """`range_max`, or what stands for it: more than k where something may fall out.

        Parameters
        ----------
        k : int
            Negatives per query.
        known : int
            The most known documents of a query; counts with margins and bounds, as in
            sentence-transformers' miner.

        Raises
        ------
        EciError
            The window is narrower than k.
        """
        picky = self.by_score or self.sampling == "random" or self.max_uses is not None
        spare = (10 * k if picky else k + _SPARE) + (known if self.by_score else 0)
        reach = self.range_max or self.range_min + spare
        if reach - self.range_min < k:
            raise EciError(
                f"{k} negatives do not fit between range_min {self.range_min} and range_max {reach}. "
                "Ask for fewer, or widen the window."
            )
        return reach


@dataclass(frozen=True)
class Candidates:
    """Candidates of G lists (a query's, or those of one source of a query), best first.

    Parameters
    ----------
    documents : Ragged of G rows, int64
        Keys: equal for the same document.
    scores : ndarray of shape (n,)
        By whoever judges; NaN where there is none.
    floor : ndarray of shape (G,)
        Lowest score of a labelled positive, by the same judge; NaN where there is none.
    queries : ndarray of shape (G,), uint64
        A number for each query, which does not depend on the others. Lists of one query stand together.
    curated : ndarray of shape (n,), optional
        Which were made by an edit or by breaking one requirement; none if not given.
    """

    documents: Ragged
    scores: Floats
    floor: Floats
    queries: NDArray[np.uint64]
    curated: Flags | None = None


class Selector:
    """Selects negatives batch by batch and counts what it removes.

    Parameters
    ----------
    filters : Filters
    k : int, optional
        Negatives per list; all that pass when None.
    reach : int
        Candidates looked at, see `Filters.reach`.
    """

    def __init__(self, filters: Filters, k: int | None, reach: int) -> None:
        self.filters, self.k, self.reach = filters, k, reach
        self.removed: Counter[str] = Counter()
        # Curated negatives that a margin would have removed, by margin.
        self.exempt: Counter[str] = Counter()
        # Of each document, how many queries use it, and the last of them.
        self._uses: dict[int, tuple[int, int | None]] = {}

    def select(self, candidates: Candidates, copies: Callable[[Flags], Flags]) -> Flags:
        """Which candidates become negatives, of shape (n,).

        Parameters
        ----------
        candidates : Candidates
        copies : callable
            Takes a mask of candidates and tells which of those are copies of what is known. Asked no
            further down a list than is looked at.
        """
        passing = self._passing(candidates)
        if self.filters.near_copy is not None:
            self._drop_copies(candidates, passing, copies)
        window = self._window(candidates, passing)
        if self.filters.max_uses is not None:
            window = self._unworn(candidates, window)
        chosen = np.zeros(len(passing), dtype=np.bool_)
        chosen[window.values[window.within < (self.reach if self.k is None else self.k)]] = True
        return chosen

    def _drop_copies(self, candidates: Candidates, passing: Flags, copies: Callable[[Flags], Flags]) -> None:
        """Take copies out of what passes, as far down each list as somebody will look."""
        filters, limit = self.filters, self.reach
        if filters.sampling == "top" and filters.max_uses is None and self.k is not None:
            limit = min(limit, filters.range_min + self.k)
        checked = np.zeros_like(passing)
        while True:
            new = _first(candidates.documents, passing, limit) & ~checked
            if not new.any():
                return
            found = new & copies(new)
            self._remove("near copies of a positive", found)
            checked |= new
            passing &= ~found

    def _remove(self, words: str, out: Flags) -> None:
        if out.any():
            self.removed[words] += int(out.sum())

    def _passing(self, candidates: Candidates) -> Flags:
        """Which satisfy margins and bounds, counted in the order in which they apply."""
        filters, scores = self.filters, candidates.scores
        floor = np.repeat(candidates.floor, candidates.documents.lengths)
        passing = np.ones(len(scores), dtype=np.bool_)
        fails: dict[str, Flags] = {}
        if filters.absolute_margin is not None:
            fails[_MARGINS[0]] = scores + filters.absolute_margin > floor
        if filters.relative_margin is not None:
            fails[_MARGINS[1]] = scores > floor - filters.relative_margin * np.abs(floor)
        if filters.max_score is not None:
            fails["max score"] = scores > filters.max_score
        if filters.min_score is not None:
            fails["min score"] = scores < filters.min_score
        spared = candidates.curated if filters.keep_curated else None
        for words, fail in fails.items():
            out = passing & fail
            if spared is not None and words in _MARGINS:
                if kept := int((out & spared).sum()):
                    self.exempt[words] += kept
                out &= ~spared
            self._remove(words, out)
            passing &= ~out
        return passing

    def _window(self, candidates: Candidates, passing: Flags) -> Ragged:
        """Places of the candidates within the window, list by list, in the order in which to take them."""
        places = candidates.documents.with_values(np.arange(len(passing))).keep(passing)
        skipped, beyond = places.within < self.filters.range_min, places.within >= self.reach
        self._remove("range_min", skipped)
        if self.filters.range_max is not None:
            self._remove("range_max", beyond)
        window = places.keep(~skipped & ~beyond)
        if self.filters.sampling == "top":
            return window
        keys = _draws(
            candidates.queries[window.rows], candidates.documents.values[window.values], self.filters.seed
        )
        return window.with_values(window.values[np.lexsort((keys, window.rows))])

    def _unworn(self, candidates: Candidates, window: Ragged) -> Ragged:
        """The first k of each window whose document has uses left, which they then use."""
        limit, wanted = self.filters.max_uses or 0, self.k or self.reach
        taken = np.zeros(len(window.values), dtype=np.bool_)
        for number, query in enumerate(candidates.queries.tolist()):
            start, count = int(window.offsets[number]), 0
            for at, place in enumerate(window[number].tolist(), start):
                document = int(candidates.documents.values[place])
                uses, last = self._uses.get(document, (0, None))
                # Two sources of one query use a document once.
                if last != query:
                    if uses >= limit:
                        self.removed["documents used often enough"] += 1
                        continue
                    self._uses[document] = (uses + 1, query)
                taken[at] = True
                count += 1
                if count == wanted:
                    break
        return window.keep(taken)


def curated(extra: pa.Array) -> Flags:
    r"""Which negatives were made by an edit or by breaking one requirement, of shape (n,).

    Parameters
    ----------
    extra : Array of shape (n,), string
        JSON objects, null where there is nothing to tell.

    Examples
    --------
    >>> curated(pa.array(['{"edit":"number"}', '{"explanation":"an \\"edit\\": of it"}', None])).tolist()
    [True, False, False]
    """
    return made_by(extra, "edit", "broken_requirement")


def made_by(extra: pa.Array, *keys: str) -> Flags:
    """Which negatives have one of some keys in their ``extra``, of shape (n,).

    Parameters
    ----------
    extra : Array of shape (n,), string
        JSON objects, null where there is nothing to tell.
    keys : str
    """
    # Keys, not texts: quotation marks within texts are escaped.
    pattern = rf'"(?:{"|".join(map(re.escape, keys))})"\s*:'
    return np.asarray(pc.fill_null(pc.match_substring_regex(extra, pattern), False), dtype=np.bool_)


def _first(lists: Ragged, passing: Flags, limit: int) -> Flags:
    """The first `limit` that pass of each list."""
    places = lists.with_values(np.arange(len(passing))).keep(passing)
    first = np.zeros(len(passing), dtype=np.bool_)
    first[places.values[places.within < limit]] = True
    return first


def _draws(queries: NDArray[np.uint64], documents: Integers, seed: int) -> NDArray[np.uint64]:
    """Uniform 64-bit numbers by query and document: splitmix64 of the three."""
    with np.errstate(over="ignore"):
        mixed = queries ^ _mix(documents.astype(np.uint64) + _mix(np.uint64(seed) + np.uint64(1)))
        return _mix(mixed)


def _mix(value: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    value = (value + np.uint64(0x9E3779B97F4A7C15)) & np.uint64(2**64 - 1)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)), dtype=np.uint64)
