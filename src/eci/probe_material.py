"""What a probe trains on and ranks: vectors, folds, and the negatives of each source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eci import metrics
from eci.directions import drawn_order
from eci.embedding import Embedded
from eci.errors import EciError
from eci.examples import Examples
from eci.metrics import probe as core
from eci.probed import FEW
from eci.ragged import Ragged
from eci.results import count
from eci.settings import Corpora
from eci.tally import GROUPS
from eci.types import Encoder, Flags, Integers, Progress

# Two folds at a time are left out of what chooses the learning rate, and one more has to remain.
_FEWEST_FOLDS = 3
# With fewer queries that remember no document, all choose the learning rate: so few would choose by chance.
_FEWEST_UNSEEN = 100


@dataclass(frozen=True)
class ProbeSettings:
    """How to probe; stored in every result.

    Parameters
    ----------
    sample : int
        At most so many queries, drawn at random, are trained on and held out.
    pool : int
        At most so many documents are ranked: every positive, and others, drawn.
    hard_negatives : int
        At most so many negatives of a source are drawn for a query, anew in each epoch; best as many as a row
        of the training will have.
    batch : int
        Queries of a training batch.
    temperature : float
        τ.
    rates, epochs : tuple
        What the learning rate and the number of epochs are chosen from, ascending; see
        ``eci.metrics.probe.Choice``. By the queries whose positives are none in training, where 100 or more
        are so, else by all; ``data["chosen_by"]`` of the result says by which.
    folds : int
        Parts that the queries are held out in; each is a union of jackknife groups.
    seeds : int
        How many trainings are averaged: with `seed`, `seed` + 1, …
    seed : int
    confidence : float
        Of all verdicts together.
    """

    sample: int = 4000
    pool: int = 20_000
    hard_negatives: int = 1
    batch: int = 32
    temperature: float = 0.05
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    epochs: tuple[int, ...] = (2, 4, 8)
    folds: int = 5
    seeds: int = 3
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("sample", "pool", "hard_negatives", "seeds"):
            if getattr(self, name) < 1:
                raise EciError(f"{name} is at least 1, got {getattr(self, name)}")
        if self.batch < 2:
            raise EciError(f"a batch holds at least 2 queries, got {self.batch}: of 1 nothing is in-batch")
        if not _FEWEST_FOLDS <= self.folds <= GROUPS:
            raise EciError(f"folds lie between {_FEWEST_FOLDS} and {GROUPS}, got {self.folds}")
        low, high = metrics.TEMPERATURES
        if not low <= self.temperature <= high or not 0 < self.confidence < 1 or self.seed < 0:
            raise EciError(
                f"temperature lies between {low} and {high}, confidence between 0 and 1, seed at 0 or above"
            )
        for name, steps in (("rates", self.rates), ("epochs", self.epochs)):
            if not steps or min(steps) <= 0 or list(steps) != sorted(set(steps)):
                raise EciError(f"{name} are positive numbers, ascending, got {steps}")


@dataclass(frozen=True)
class Material:
    """What is trained on and ranked, in an order that does not depend on how it was read.

    Parameters
    ----------
    labels : tuple of 1 + S str
        ``none`` and the sources.
    negatives : tuple of 1 + S Ragged of Q rows
        Of ``none``, empty, and of each source: indices into the documents of the task.
    task : core.Task
    plan : core.Plan
    groups, folds : ndarray of shape (Q,)
    unseen : ndarray of shape (Q,)
        Queries none of whose positives is one in training.
    embedded : dict
        How many texts were asked of the encoder, by role.
    searched : int
        Documents that may be ranked.
    """

    labels: tuple[str, ...]
    negatives: tuple[Ragged, ...]
    task: core.Task
    plan: core.Plan
    groups: Integers
    folds: Integers
    unseen: Flags
    embedded: dict[str, int]
    searched: int

    @property
    def strangers(self) -> bool:
        """Whether so many are unseen that they choose the learning rate of every fold."""
        others = (self.unseen & (self.folds != fold) for fold in np.unique(self.folds))
        return min(int(of_fold.sum()) for of_fold in others) >= _FEWEST_UNSEEN

    @classmethod
    def of(
        cls,
        examples: Examples,
        encoder: Encoder,
        settings: ProbeSettings,
        corpora: Corpora,
        progress: Progress,
    ) -> Material:
        """Draw the queries, embed what they need, and deal the folds.

        Raises
        ------
        EciError
            The queries fall into too few folds.
        """
        queries = drawn_order(examples.keys, settings.seed)[: settings.sample]
        candidates = drawn(corpora.candidates, settings)
        groups = np.array([int.from_bytes(examples.keys[query][:8], "big") % GROUPS for query in queries])
        folds = groups % settings.folds
        if len(np.unique(folds)) < _FEWEST_FOLDS:
            raise EciError(
                f"{count(len(queries), 'query')} cannot be probed: queries are held out in folds, and these "
                f"fall into fewer than {_FEWEST_FOLDS}. Give more labelled queries, best {FEW} or more."
            )
        embedded = Embedded(examples, encoder, candidates)
        progress("embedding", 0, 0)
        embedded.prepare(queries)
        by_text, searched = embedded.by_text(), embedded.searched()
        positives = _in_order(examples.positives.take(queries), by_text)
        positives = positives.keep(~_repeated(positives))
        answers = np.unique(positives.values).tolist()
        places = examples.negatives.with_values(np.arange(len(examples.source))).take(queries)
        source, of_all = examples.source[places.values], examples.negatives.values[places.values]
        return cls(
            labels=("none", *examples.sources),
            negatives=tuple(
                _in_order(places.with_values(of_all).keep(source == number), by_text)
                for number in range(-1, len(examples.sources))
            ),
            task=core.Task(
                embedded.queries[queries],
                embedded.documents,
                positives,
                _pool(searched, positives.values, settings),
            ),
            plan=core.Plan(settings.batch, settings.hard_negatives, settings.temperature),
            groups=groups,
            folds=folds,
            unseen=core.unseen(positives, folds, len(embedded.documents)),
            embedded=embedded.asked,
            searched=len({*corpora.candidates, *(examples.documents[place] for place in answers)})
            if corpora.candidates
            else len(searched),
        )


def drawn(candidates: Sequence[str], settings: ProbeSettings) -> Sequence[str]:
    """As many candidates as may be ranked, in the order they have; none other needs a vector."""
    places = np.random.default_rng(settings.seed).permutation(len(candidates))[: settings.pool]
    return [candidates[place] for place in np.sort(places).tolist()]


def _in_order(rows: Ragged, by_text: Integers) -> Ragged:
    """The same documents of each row, in the order of `by_text`."""
    rank = np.empty(by_text.max() + 1, dtype=np.int64)
    rank[by_text] = np.arange(len(by_text))
    return rows.with_values(rows.values[np.lexsort((rank[rows.values], rows.rows))])


def _repeated(rows: Ragged) -> Flags:
    """Which values of sorted rows stand there already, of shape (n,)."""
    found = np.zeros(len(rows.values), dtype=np.bool_)
    found[1:] = (rows.values[1:] == rows.values[:-1]) & (rows.rows[1:] == rows.rows[:-1])
    return found


def _pool(searched: Integers, positives: Integers, settings: ProbeSettings) -> Integers:
    """The documents that are ranked: all positives, and as many others as there is room for, drawn."""
    kept = np.isin(searched, positives)
    others, room = np.flatnonzero(~kept), max(0, settings.pool - int(kept.sum()))
    kept[np.random.default_rng(settings.seed).permutation(others)[:room]] = True
    return searched[kept]
