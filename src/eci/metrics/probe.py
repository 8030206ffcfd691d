"""Probe: a linear map on frozen vectors, trained with the negatives of a source, tried on other queries.

Ours, and published nowhere; the cheap middle between a metric and a fine-tuning. The map is that of
`eci.metrics.alignment`, f_W(x) = (x + xW)/‖x + xW‖ for queries and documents alike (rows), from W = 0. It is
trained with the multiple-negatives ranking loss: a query's candidates are the positives and the drawn hard
negatives of its whole batch, but for what another query brings and the query has as a positive. Held-out
queries rank a pool of documents, and nDCG@10 says what W has learned.

Folds of queries are held out in turn. Learning rate and epochs are chosen for each fold among the others,
by what in-batch negatives alone reach there: never by a source, never on the queries held out. See `Grid` for
which of the others count.

Steps are those of Adam (Kingma & Ba 2015, algorithm 1) with one second moment for the whole of W, so that a
step is about as long as the learning rate (Frobenius norm). Plain gradient steps would be longer for a source
whose loss is larger, and no learning rate would be fair to all; a second moment for each entry of W would
make the result depend on the axes that the vectors are written in, which mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np

from eci.ragged import Ragged
from eci.types import Flags, Floats, Integers, Progress, Vectors, silent

CUTOFF = 10

# β₁, β₂ and ε of Adam. The gradients of one matrix have few outliers: 50 steps are memory enough.
_MOMENTUM, _MEMORY, _LEAST = 0.9, 0.98, 1e-12

# Cells of a tile of queries × pool.
_CELLS = 2_000_000


@dataclass(frozen=True)
class Task:
    """What is learned and tried.

    Parameters
    ----------
    queries : ndarray of shape (Q, d)
        L2-normalised.
    documents : ndarray of shape (D, d)
        L2-normalised.
    positives : Ragged of Q rows
        Indices into `documents`; at least one a row, none twice.
    pool : ndarray of shape (M,)
        The documents that are ranked; every positive is among them.
    """

    queries: Vectors
    documents: Vectors
    positives: Ragged
    pool: Integers

    @cached_property
    def ranked(self) -> tuple[Vectors, Ragged]:
        """Vectors of the pool, and the positives as indices into it."""
        place = np.full(len(self.documents), -1, dtype=np.int64)
        place[self.pool] = np.arange(len(self.pool))
        return self.documents[self.pool], self.positives.with_values(place[self.positives.values])


@dataclass(frozen=True)
class Plan:
    """How batches are made.

    Parameters
    ----------
    batch : int
        Queries of a batch; batches of an epoch are as equal as can be.
    hard : int
        At most so many negatives of the source are drawn for a query, anew each epoch.
    temperature : float
        τ.
    """

    batch: int = 32
    hard: int = 4
    temperature: float = 0.05


@dataclass(frozen=True)
class Choice:
    """How far to train: the learning rate (Frobenius length of a step), and for how many epochs."""

    rate: float
    epochs: int


@dataclass(frozen=True)
class Batch:
    """B queries and their M candidates; candidate i < B is the positive that query i is trained towards.

    Parameters
    ----------
    queries : ndarray of shape (B, d)
    candidates : ndarray of shape (M, d)
    excluded : ndarray of shape (B, M), bool
        Which candidates another query brings although they are positives of this one.
    """

    queries: Vectors
    candidates: Vectors
    excluded: Flags


@dataclass(frozen=True)
class Tried:
    """What a source has taught.

    Parameters
    ----------
    ndcg : ndarray of shape (Q,)
        nDCG@10 of each query, by the map trained without its fold.
    before, after : float
        Mean loss of the queries trained on, before and after training, nats.
    """

    ndcg: Floats
    before: float
    after: float


def moved(vectors: Vectors, weight: Vectors) -> tuple[Vectors, Vectors]:
    """f_W of n vectors, of shape (n, d), and the lengths ‖x + xW‖, of shape (n, 1)."""
    raw = vectors + vectors @ weight
    length = np.sqrt(np.einsum("ij,ij->i", raw, raw))[:, None]
    return raw / length, length


def losses(weight: Vectors, batch: Batch, temperature: float = 0.05) -> Floats:
    """Multiple-negatives ranking loss of each query of a batch, of shape (B,), nats."""
    size = len(batch.queries)
    shown = moved(np.concatenate([batch.queries, batch.candidates]), weight)[0]
    return _cross_entropy(shown[:size] @ shown[size:].T, batch.excluded, temperature)[0]


def gradient(weight: Vectors, batch: Batch, temperature: float = 0.05) -> Vectors:
    """Gradient of the mean loss of a batch with respect to W, of shape (d, d).

    With y = u/‖u‖ and u = x + xW: ∂L/∂u = (∂L/∂y − (∂L/∂y·y) y)/‖u‖, and ∂L/∂W = Σ xᵀ ∂L/∂u. At W = 0 this is
    the gradient of ``alignment.training``, over B.
    """
    size = len(batch.queries)
    given = np.concatenate([batch.queries, batch.candidates])
    shown, length = moved(given, weight)
    asked, candidates = shown[:size], shown[size:]
    pull = _cross_entropy(asked @ candidates.T, batch.excluded, temperature)[1]
    pull[np.arange(size), np.arange(size)] -= 1
    pull /= np.asarray(temperature * size, dtype=pull.dtype)
    towards = np.concatenate([pull @ candidates, pull.T @ asked])
    towards -= np.einsum("ij,ij->i", towards, shown)[:, None] * shown
    return np.asarray(given.T @ (towards / length))


def trained(
    task: Task, rows: Integers, negatives: Ragged, plan: Plan, choice: Choice, seed: int
) -> Iterator[Vectors]:
    """W after each epoch, of shape (d, d).

    Parameters
    ----------
    task : Task
    rows : ndarray
        The queries to train on.
    negatives : Ragged of Q rows
        Hard negatives, indices into ``task.documents``; a query without any has in-batch negatives alone.
    plan, choice
        How, and how far.
    seed : int
        Of the order of the queries and of the positives and negatives drawn. The first two are the same
        whatever the negatives.
    """
    dimension = task.queries.shape[1]
    weight, mean = np.zeros((2, dimension, dimension), dtype=task.queries.dtype)
    square, step = 0.0, 0
    for epoch in range(choice.epochs):
        for batch in batches(task, rows, negatives, plan, (seed, epoch)):
            found, step = gradient(weight, batch, plan.temperature), step + 1
            mean = _MOMENTUM * mean + (1 - _MOMENTUM) * found
            square = _MEMORY * square + (1 - _MEMORY) * float(np.vdot(found, found))
            size = np.sqrt(square / (1 - _MEMORY**step)) + _LEAST
            weight = weight - float(choice.rate / size / (1 - _MOMENTUM**step)) * mean
        yield weight


def batches(
    task: Task, rows: Integers, negatives: Ragged, plan: Plan, seed: tuple[int, int]
) -> Iterator[Batch]:
    """The batches of one epoch; `seed` is a seed and the number of the epoch."""
    order, positive, negative = (np.random.default_rng((*seed, kind)) for kind in range(3))
    # Drawn for every query, so that it does not matter which are held out.
    drawn = positive.random(len(task.positives)) * task.positives.lengths
    target = task.positives.values[task.positives.offsets[:-1] + drawn.astype(np.int64)]
    by_draw = np.lexsort((negative.random(len(negatives.values)), negatives.rows))
    hard = negatives.with_values(negatives.values[by_draw]).keep(negatives.within < plan.hard)
    shuffled = order.permutation(rows)
    for part in np.array_split(shuffled, max(1, round(len(rows) / plan.batch))):
        own = hard.take(part)
        columns = np.concatenate([target[part], own.values])
        owner = np.concatenate([np.arange(len(part)), own.rows])
        known = np.zeros((len(part), len(task.documents)), dtype=np.bool_)
        right = task.positives.take(part)
        known[right.rows, right.values] = True
        excluded = known[:, columns] & (owner != np.arange(len(part))[:, None])
        yield Batch(task.queries[part], task.documents[columns], excluded)


def ndcg(weight: Vectors, task: Task, rows: Integers) -> Floats:
    """nDCG@10 of the given queries against the whole pool, every positive of gain 1; 0…1.

    Sorting is by falling cosine; of equal ones the first of the pool comes first.
    """
    pool, positives = task.ranked
    shown, asked = moved(pool, weight)[0], moved(task.queries[rows], weight)[0]
    depth = min(CUTOFF, len(pool))
    discount = 1 / np.log2(np.arange(2, CUTOFF + 2))
    found = np.empty(len(rows))
    step = max(1, _CELLS // len(pool))
    for start in range(0, len(rows), step):
        tile = slice(start, start + step)
        right = positives.take(rows[tile])
        similarity = asked[tile] @ shown.T
        relevant = np.zeros(similarity.shape, dtype=np.bool_)
        relevant[right.rows, right.values] = True
        top = np.sort(np.argpartition(-similarity, depth - 1, axis=1)[:, :depth], axis=1)
        best = np.argsort(-np.take_along_axis(similarity, top, axis=1), axis=1, kind="stable")
        top = np.take_along_axis(top, best, axis=1)
        ideal = np.cumsum(discount)[np.minimum(right.lengths, CUTOFF) - 1]
        found[tile] = np.take_along_axis(relevant, top, axis=1) @ discount[:depth] / ideal
    return found


@dataclass(frozen=True)
class Grid:
    """What learning rate and epochs are chosen from, and by which queries.

    Parameters
    ----------
    rates, epochs : sequence
        Ascending.
    unseen : bool
        Only queries none of whose positives was one in training count: others gain by remembering documents,
        the more the longer the training.
    """

    rates: Sequence[float]
    epochs: Sequence[int]
    unseen: bool = False


def chosen(
    task: Task, folds: Integers, plan: Plan, grid: Grid, seed: int, progress: Progress = silent
) -> dict[int, Choice]:
    """Learning rate and epochs for each fold, by in-batch negatives alone on the other folds.

    W is trained without two folds at a time and tried on both: what it reaches on the one speaks for the
    other. So each fold's choice is cross-validated over all other folds, and has seen none of its queries.

    Parameters
    ----------
    task : Task
    folds : ndarray of shape (Q,)
        At least three of them hold queries.
    plan : Plan
    grid : Grid
        Of equal choices the first is taken.
    seed : int
    progress : Progress
    """
    filled = np.unique(folds).tolist()
    rates, lengths = grid.rates, grid.epochs
    reached = {fold: np.zeros((len(rates), len(lengths))) for fold in filled}
    none = _nothing(len(folds))
    runs = list(product(combinations(filled, 2), enumerate(rates)))
    for done, ((one, two), (place, rate)) in enumerate(runs):
        progress("choosing the learning rate", done, len(runs))
        out = np.isin(folds, (one, two))
        rows, held = np.flatnonzero(~out), np.flatnonzero(out)
        if grid.unseen:
            held = held[_strange(task, rows)[held]]
        run = trained(task, rows, none, plan, Choice(rate, lengths[-1]), seed)
        for epoch, weight in enumerate(run, start=1):
            if epoch in lengths:
                values = ndcg(weight, task, held)
                for fold, other in ((one, two), (two, one)):
                    reached[fold][place, lengths.index(epoch)] += values[folds[held] == other].sum()
    progress("choosing the learning rate", len(runs), len(runs))
    best = {fold: np.unravel_index(int(np.argmax(sums)), sums.shape) for fold, sums in reached.items()}
    return {fold: Choice(rates[int(at[0])], lengths[int(at[1])]) for fold, at in best.items()}


def tried(
    task: Task, folds: Integers, negatives: Ragged, plan: Plan, choices: dict[int, Choice], seed: int
) -> Tried:
    """Train without each fold in turn, and rank for its queries.

    Parameters
    ----------
    task : Task
    folds : ndarray of shape (Q,)
    negatives : Ragged of Q rows
        See `trained`.
    plan : Plan
    choices : dict of int to Choice
        For each fold that holds queries.
    seed : int
    """
    found, before, after = np.empty(len(folds)), [], []
    for fold, choice in choices.items():
        rows, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        *_, weight = trained(task, rows, negatives, plan, choice, seed)
        found[held] = ndcg(weight, task, held)
        for batch in batches(task, rows, negatives, plan, (seed, choice.epochs)):
            before.append(losses(np.zeros_like(weight), batch, plan.temperature))
            after.append(losses(weight, batch, plan.temperature))
    return Tried(found, float(np.concatenate(before).mean()), float(np.concatenate(after).mean()))


def unseen(positives: Ragged, folds: Integers, documents: int) -> Flags:
    """Queries none of whose positives is a positive of a query outside their fold, of shape (Q,)."""
    own = folds[positives.rows]
    width = int(folds.max()) + 1
    of_fold = np.zeros((documents, width), dtype=np.bool_)
    of_fold[positives.values, own] = True
    shared = of_fold.sum(axis=1) > 1
    return np.asarray(positives.with_values(shared[positives.values]).sums() == 0)


def _strange(task: Task, rows: Integers) -> Flags:
    """Queries none of whose positives is one of the given queries, of shape (Q,)."""
    known = np.zeros(len(task.documents), dtype=np.bool_)
    known[task.positives.take(rows).values] = True
    return np.asarray(task.positives.with_values(known[task.positives.values]).sums() == 0)


def _nothing(queries: int) -> Ragged:
    """No hard negatives of so many queries."""
    return Ragged(np.empty(0, dtype=np.int64), np.zeros(queries + 1, dtype=np.int64))


def _cross_entropy(similarity: Vectors, excluded: Flags, temperature: float) -> tuple[Floats, Vectors]:
    """Losses of shape (B,) and the softmax of shape (B, M); candidate i is right for query i."""
    logits = similarity / np.asarray(temperature, dtype=similarity.dtype)
    right = logits[np.arange(len(logits)), np.arange(len(logits))]
    logits[excluded] = -np.inf
    largest = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - largest)
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(np.log(total)[:, 0] + largest[:, 0] - right), weights / total
