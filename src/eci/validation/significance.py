"""Whether runs differ on the queries they share: paired randomisation tests, with Holm's correction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from eci.errors import EciError, MissingDependency
from eci.results import plain
from eci.types import Floats
from eci.validation.evaluation import Evaluation
from eci.validation.measures import mean_interval

SCHEMA = "eci.evaluations/1"

# Up to here every assignment of signs is tried: 2¹⁶ = 65,536.
_EXACT = 16
_BATCH = 1_000


@dataclass(frozen=True)
class Difference:
    """One run minus another, over the same queries.

    Parameters
    ----------
    run, against : str
        Names of the runs.
    difference, low, high : float
        Mean over queries of `run` minus `against`, with its 95 % interval, paired and not corrected for
        the number of pairs.
    p, p_holm : float
        Two-sided, of `randomisation_test`; and corrected for all pairs of runs (`holm`).
    """

    run: str
    against: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class RunComparison:
    """Evaluations of several runs on the same queries, and how each two differ.

    Parameters
    ----------
    evaluations : tuple of Evaluation
        The first one is the baseline.
    measure : str
        What the runs are compared by.
    differences : tuple of Difference
        Of all pairs; of each the later run minus the earlier one.
    resamples, seed : int
        Of the randomisation tests.
    """

    evaluations: tuple[Evaluation, ...]
    measure: str
    differences: tuple[Difference, ...]
    resamples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists in the form ``eci.evaluations/1``; undefined numbers are None."""
        return {
            "schema": SCHEMA,
            "measure": self.measure,
            "test": "paired randomisation, two-sided",
            "resamples": self.resamples,
            "seed": self.seed,
            "differences": plain([asdict(entry) for entry in self.differences]),
            "evaluations": [entry.to_dict() for entry in self.evaluations],
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The comparison as JSON text (``eci.evaluations/1``)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)


def compare(
    evaluations: Sequence[Evaluation], measure: str = "nDCG@10", *, resamples: int = 10_000, seed: int = 0
) -> RunComparison:
    """Test the difference between each two runs by one measure.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Of two runs or more, of different names, on the same queries.
    measure : str
        One of the measures of the evaluations.
    resamples, seed : int
        Of `randomisation_test`.

    Raises
    ------
    EciError
        Runs share a name, or not their queries or the measure.
    """
    _refuse_unlike(evaluations, measure)
    values = [np.array(list(entry.per_query[measure].values())) for entry in evaluations]
    pairs = list(combinations(range(len(values)), 2))
    tested = [
        randomisation_test(values[two] - values[one], resamples=resamples, seed=seed) for one, two in pairs
    ]
    found = []
    for (one, two), p, corrected in zip(pairs, tested, holm(tested), strict=True):
        mean = mean_interval((values[two] - values[one]).tolist())
        names = evaluations[two].run, evaluations[one].run
        found.append(Difference(*names, mean.value, mean.low, mean.high, p, corrected))
    return RunComparison(tuple(evaluations), measure, tuple(found), resamples, seed)


def randomisation_test(differences: Floats, *, resamples: int = 10_000, seed: int = 0) -> float:
    """p-value of a mean difference, by exchanging the two runs in queries at random.

    If the runs are alike, each query's difference is as likely with either sign. The p-value is the share of
    assignments of signs whose mean is as far from 0 as the one found: of all assignments where at most 16
    differences are not 0, else of `resamples` random ones and the one found, (b + 1)/(m + 1) (Smucker, Allan,
    Carterette 2007, CIKM, 623–632). Of the differences 0.3, 0.1, 0.2, 0 and 0.4 two of 2⁴ assignments are as
    far, all + and all −: p = 0.125.

    Parameters
    ----------
    differences : ndarray of shape (n,)
        One run minus the other in each query.
    resamples, seed : int

    Raises
    ------
    MissingDependency
        SciPy is not installed.
    """
    try:
        from scipy.stats import permutation_test
    except ImportError as error:
        raise MissingDependency("A significance test", "scipy", "validate") from error
    moved = differences[differences != 0]
    if len(moved) < 2:
        return 1.0
    exact = len(moved) <= _EXACT
    found = permutation_test(
        (moved,),
        # Rounded: equal means of other signs differ in their last digits, and would count or not by chance.
        lambda sample, axis: np.round(abs(sample.mean(axis=axis)), 12),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=2**_EXACT if exact else resamples,
        batch=_BATCH,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected so that all of them hold together (Holm 1979, Scand. J. Statist. 6, 65–70).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in corrected]


def _refuse_unlike(evaluations: Sequence[Evaluation], measure: str) -> None:
    names = [entry.run for entry in evaluations]
    if len(set(names)) < max(2, len(names)):
        raise EciError(
            f"Two runs or more, of different names, can be compared; got {', '.join(names) or 'none'}."
        )
    for entry in evaluations:
        if measure not in entry.per_query:
            raise EciError(
                f"{entry.run} was not evaluated by {measure}, but by {', '.join(entry.per_query)}. "
                "Name one of those."
            )
        if list(entry.per_query[measure]) != list(evaluations[0].per_query[measure]):
            raise EciError(
                f"{entry.run} and {evaluations[0].run} were evaluated on different queries. "
                "Evaluate both on the same."
            )
