"""What agreement is computed from: what training gave each source, and what a metric said of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from eci.errors import DataError
from eci.results import listed
from eci.training.settings import NONE
from eci.types import Floats

# What every other metric has to beat, and what the partial correlation is given: ln(1+N).
CAPACITY = "capacity"
VERDICTS = ("help", "undecided", "hurt")


@dataclass(frozen=True)
class Measurements:
    """One measure of retrievers that were trained on each source.

    Parameters
    ----------
    collection : str
    sources : tuple of S str
        ``none``, in-batch negatives alone, may be one of them.
    seeds : tuple of K int
    scores : ndarray of shape (S, K, n)
        The measure by source, seed and test query; more is better.
    measure : str
    seconds : float
        What all the training took; NaN if unknown.

    Raises
    ------
    DataError
        The scores have another shape or are not finite, a source or seed stands there twice, or there is no
        source but ``none``, or no second query.
    """

    collection: str
    sources: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: Floats
    measure: str = "nDCG@10"
    seconds: float = math.nan

    def __post_init__(self) -> None:
        told, shape = f"{self.measure} on {self.collection}", np.shape(self.scores)
        for noun, labels in (("source", self.sources), ("seed", self.seeds)):
            twice = [str(label) for label, times in Counter(labels).items() if times > 1]
            if twice:
                raise DataError(f"{told}: {noun} {listed(twice)} stands there twice. Give each one once.")
        if len(shape) != 3 or shape[:2] != (len(self.sources), len(self.seeds)) or not shape[1]:
            raise DataError(
                f"{told}: expected scores of shape (sources, seeds, queries) of {len(self.sources)} sources "
                f"and {len(self.seeds)} seeds, found {shape}."
            )
        if not set(self.sources) - {NONE} or shape[2] < 2:
            raise DataError(f"{told}: needs a source beside none, and two test queries; found {shape}.")
        bad = np.argwhere(~np.isfinite(self.scores))
        if len(bad):
            source, seed, query = bad[0].tolist()
            raise DataError(
                f"{told}: no finite score of source {self.sources[source]!r}, seed {self.seeds[seed]}, query "
                f"number {query}. A query without results counts 0."
            )


@dataclass(frozen=True)
class MetricValues:
    """What one metric says of the sources.

    Parameters
    ----------
    metric : str
    values : dict of str to float
        By source; absent or NaN where undefined. A value of ``none`` is an opinion on it.
    more_is_better : bool
        False for the metrics in ``eci.metrics.LOWER_IS_BETTER``.
    verdicts : dict of str to str
        ``help``, ``hurt`` or ``undecided`` by source, where the metric gives verdicts.
    seconds : float
        What scoring all sources took; NaN if unknown.
    """

    metric: str
    values: Mapping[str, float]
    more_is_better: bool = True
    verdicts: Mapping[str, str] = field(default_factory=dict)
    seconds: float = math.nan

    def of(self, sources: Sequence[str]) -> Floats:
        """The values of the sources, of shape (S,), so signed that more is better; NaN where undefined.

        Raises
        ------
        DataError
            A value or verdict is of no source, or is no value or verdict.
        """
        unknown = [label for label in {**self.values, **self.verdicts} if label not in (*sources, NONE)]
        if unknown:
            raise DataError(f"{self.metric}: not trained on {listed(unknown)}, only on {listed(sources)}.")
        infinite = [label for label, value in self.values.items() if math.isinf(value)]
        if infinite:
            raise DataError(
                f"{self.metric}: infinite for {listed(infinite)}. Give NaN where it is undefined."
            )
        wrong = sorted(set(self.verdicts.values()).difference(VERDICTS))
        if wrong:
            raise DataError(f"{self.metric}: no verdict {listed(wrong)}. Verdicts are {listed(VERDICTS)}.")
        sign = 1.0 if self.more_is_better else -1.0
        return sign * np.array([self.values.get(label, math.nan) for label in sources], dtype=np.float64)
