"""Alignment against torch, sentence-transformers' loss, naive loops, and what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from eci.metrics import alignment
from eci.metrics.alignment import BATCH, held_out, training, values
from eci.ragged import Ragged
from eci.tally import GROUPS

DIMENSION = 12


def unit(rng, *shape):
    found = rng.standard_normal(shape)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def scene(seed=0, queries=60, documents=200, most=4, groups=4):
    """Queries near their positives, ragged negatives and positives, groups of uneven size."""
    rng = np.random.default_rng(seed)
    asked = unit(rng, queries, DIMENSION)
    table = unit(rng, documents, DIMENSION)
    rows = [
        rng.choice(queries, size=rng.integers(1, 3), replace=False) for _ in range(queries)
    ]  # the first documents serve as positives, of several queries each
    positives = Ragged.from_lengths(np.concatenate(rows), [len(row) for row in rows])
    table[:queries] = 0.6 * asked + 0.8 * table[:queries]
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    lengths = rng.integers(0, most + 1, queries)
    negatives = Ragged.from_lengths(rng.integers(queries, documents, lengths.sum()), lengths)
    return {
        "groups": rng.integers(0, groups, queries),
        "queries": asked,
        "documents": table,
        "positive": positives.values[positives.offsets[:-1]],
        "negatives": negatives,
        "known": positives,
    }


def batches(groups):
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        yield from np.array_split(own, max(1, round(len(own) / BATCH)))


def naive_training(found, temperature=0.05, hard=True):
    """Sums by group, from the definition: one query and one candidate at a time."""
    sums = np.zeros((GROUPS, DIMENSION, DIMENSION))
    for batch in batches(found["groups"]):
        for i in batch:
            candidates, wanted = [], None
            for j in batch:
                if j == i:
                    wanted = len(candidates)
                if j == i or found["positive"][j] not in found["known"][i]:
                    candidates.append(found["positive"][j])
            for j in batch if hard else ():
                candidates += [n for n in found["negatives"][j] if j == i or n not in found["known"][i]]
            vectors = [found["documents"][d] for d in candidates]
            sums[found["groups"][i]] += reference.cross_entropy_pull(
                found["queries"][i], vectors, [wanted], temperature
            )
    return sums


@pytest.mark.parametrize(("seed", "groups"), [(0, 4), (1, 4), (2, 2), (3, 1)])
def test_training_equals_naive_loops(seed, groups):
    found = scene(seed, groups=groups)
    # Hard negatives that are positives, of the query itself and of others.
    found["negatives"].values[::3] = np.random.default_rng(seed).integers(
        0, 60, len(found["negatives"].values[::3])
    )
    hard, plain = training(**found)
    assert hard.matrices == pytest.approx(naive_training(found), abs=1e-9)
    assert plain.matrices == pytest.approx(naive_training(found, hard=False), abs=1e-9)
    assert hard.queries.tolist() == np.bincount(found["groups"], minlength=GROUPS).tolist()


def test_held_out_equals_naive_loops(monkeypatch):
    found = scene(3)
    arguments = found["groups"], found["queries"], found["known"], found["documents"]
    expected = np.zeros((GROUPS, DIMENSION, DIMENSION))
    for i, group in enumerate(found["groups"]):
        expected[group] += reference.cross_entropy_pull(
            found["queries"][i], list(found["documents"]), set(found["known"][i].tolist()), 0.05
        )
    assert held_out(*arguments).matrices == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr(alignment, "_CELLS", 450)
    monkeypatch.setattr(alignment, "_TILE", 7)
    assert held_out(*arguments).matrices == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_losses_equal_automatic_differentiation(dtype):
    torch = pytest.importorskip("torch")
    found = scene(1)
    asked, documents = (found[name].astype(dtype) for name in ("queries", "documents"))
    arguments = {**found, "queries": asked, "documents": documents}
    hard, plain = training(**arguments)
    held = held_out(found["groups"], asked, found["known"], documents)

    def differentiated(loss_of):
        weights = torch.zeros(DIMENSION, DIMENSION, dtype=torch.float64, requires_grad=True)
        q, d = (
            torch.nn.functional.normalize(x + x @ weights, dim=-1)
            for x in (torch.tensor(asked).double(), torch.tensor(documents).double())
        )
        loss_of(q, d).backward()
        return weights.grad.numpy()

    def ranking(q, d, hard):
        total = 0.0
        for batch in batches(found["groups"]):
            for place, i in enumerate(batch):
                columns = list(found["positive"][batch])
                owner = list(range(len(batch)))
                for row, j in enumerate(batch if hard else ()):
                    columns += found["negatives"][j].tolist()
                    owner += [row] * len(found["negatives"][j])
                kept = [
                    at
                    for at, (column, row) in enumerate(zip(columns, owner, strict=True))
                    if row == place or column not in found["known"][i]
                ]
                scores = q[i] @ d[[columns[at] for at in kept]].T / 0.05
                total = total + torch.nn.functional.cross_entropy(
                    scores[None], torch.tensor([kept.index(place)])
                )
        return total

    def listwise(q, d):
        scores = q @ d.T / 0.05
        total = 0.0
        for i in range(len(q)):
            right = scores[i, torch.tensor(found["known"][i])]
            total = total - torch.logsumexp(right, 0) + torch.logsumexp(scores[i], 0)
        return total

    for made, loss in (
        (hard, lambda q, d: ranking(q, d, True)),
        (plain, lambda q, d: ranking(q, d, False)),
        (held, listwise),
    ):
        expected = differentiated(loss)
        error = np.abs(made.matrices.sum(axis=0) - expected).max() / np.abs(expected).max()
        assert error < (1e-5 if dtype is np.float32 else 1e-10)


def test_training_equals_the_loss_of_sentence_transformers():
    torch = pytest.importorskip("torch")
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    rng = np.random.default_rng(0)
    asked, documents = unit(rng, 40, DIMENSION), unit(rng, 160, DIMENSION)
    groups, positive = np.repeat([3, 8], 20), np.arange(40)
    negatives = Ragged.from_lengths(np.arange(40, 160), [3] * 40)
    made, _ = training(groups, asked, documents, positive, negatives, Ragged.from_lengths(positive, [1] * 40))
    weights = torch.zeros(DIMENSION, DIMENSION, dtype=torch.float64, requires_grad=True)
    loss = losses.MultipleNegativesRankingLoss(torch.nn.Identity(), scale=20.0)
    total = 0.0
    for batch in batches(groups):
        columns = [asked[batch], documents[batch]]
        columns += [documents[negatives.take(batch).values[place::3]] for place in range(3)]
        mapped = [torch.nn.functional.normalize(x + x @ weights, dim=-1) for x in map(torch.tensor, columns)]
        total = total + loss.compute_loss_from_embeddings(mapped, None) * len(batch)
    total.backward()
    assert made.matrices.sum(axis=0) == pytest.approx(weights.grad.numpy(), abs=1e-9)


def test_values_equal_their_definition():
    found = scene(5, queries=200, documents=300, groups=GROUPS)
    hard, plain = training(**found)
    held = held_out(found["groups"], found["queries"], found["known"], found["documents"])
    made = values(hard, plain, held)
    for place in (0, 1, 6):
        kept = [group for group in range(GROUPS) if group != place - 1]
        counts = hard.queries[kept]
        g, none, v = (each.matrices[kept] for each in (hard, plain, held))
        dot, without = reference.across(g, v, counts), reference.across(none, v, counts)
        lengths = [math.sqrt(reference.across(each, each, counts)) for each in (g, none, v)]
        cosine, cosine_without = dot / lengths[0] / lengths[2], without / lengths[1] / lengths[2]
        assert {name: column[place] for name, column in made.items()} == pytest.approx(
            {
                "alignment": cosine,
                "alignment_dot": dot,
                "alignment_gain": cosine - cosine_without,
                "alignment_dot_gain": dot - without,
            },
            rel=1e-9,
        )


def test_the_dot_predicts_what_a_small_step_does():
    """Moving by −η·g of one group changes the held-out loss of another by −η·g·g_v, to first order in η."""
    found = scene(2, queries=120, groups=2)
    hard, plain = training(**found)
    held = held_out(found["groups"], found["queries"], found["known"], found["documents"])

    def loss(step, group):
        q, d = (x + x @ step for x in (found["queries"], found["documents"]))
        q, d = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, d))
        scores = q @ d.T / 0.05
        own = np.flatnonzero(found["groups"] == group)
        return sum(
            np.logaddexp.reduce(scores[i]) - np.logaddexp.reduce(scores[i][found["known"][i]]) for i in own
        )

    rate, falls = 1e-7, 0.0
    for group in (0, 1):
        step = -rate * hard.matrices[group]
        falls += loss(np.zeros_like(step), 1 - group) - loss(step, 1 - group)
    pairs = 2 * hard.queries[0] * hard.queries[1]
    assert falls / rate / pairs == pytest.approx(values(hard, plain, held)["alignment_dot"][0], rel=1e-3)


def related(seed=0, queries=400):
    """Relevance lives in four dimensions, topic in eight that queries and positives share by half.

    The first documents are positives, the next ones relevant too, the last on topic and not relevant.
    """
    rng = np.random.default_rng(seed)

    def texts(*parts):
        joined = np.concatenate(parts, axis=1)
        return joined / np.linalg.norm(joined, axis=1, keepdims=True)

    def noise(width):
        return rng.standard_normal((queries, width))

    relevance, topic, first = noise(4), noise(8), np.arange(queries)
    asked, positive = texts(relevance, topic), texts(relevance + 0.7 * noise(4), topic + noise(8))
    unlabelled = texts(relevance + 0.3 * noise(4), topic + noise(8))
    on_topic = texts(noise(4), topic + 0.3 * noise(8))
    known = np.stack([first, first + queries], axis=1)
    return {
        "groups": first % GROUPS,
        "queries": asked,
        "documents": np.concatenate([positive, unlabelled, on_topic]),
        "positive": first,
        "negatives": Ragged.from_lengths(first + 2 * queries, [1] * queries),
        "known": Ragged.from_lengths(known.ravel(), [2] * queries),
    }


def part_of(found, own, groups):
    return {
        **found,
        "groups": groups,
        "queries": found["queries"][own],
        "positive": found["positive"][own],
        "negatives": found["negatives"].take(own),
        "known": found["known"].take(own),
    }


def measured(found):
    held = held_out(found["groups"], found["queries"], found["known"], found["documents"])
    return values(*training(**found), held), held


def test_estimates_do_not_grow_with_the_number_of_queries():
    """A plain cosine of noisy gradients does: of 240 queries it is a fraction of what it is of 2,400."""
    whole = related(0, 2400)
    rng = np.random.default_rng(0)
    small, plain = [], []
    for _ in range(20):
        # Batches of 16 in both cases.
        part = part_of(whole, rng.choice(2400, 240, replace=False), np.arange(240) % 15)
        found, held = measured(part)
        small.append(found["alignment"][0])
        g, v = training(**part)[0].matrices[:7].sum(axis=0), held.matrices[7:15].sum(axis=0)
        plain.append((g * v).sum() / math.sqrt((g * g).sum() * (v * v).sum()))
    truth = measured(whole)[0]["alignment"][0]
    assert np.mean(small) == pytest.approx(truth, abs=0.05)
    assert np.mean(plain) < truth - 0.15


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_what_must_not_change_it(seed):
    found = scene(seed, queries=40)
    rng = np.random.default_rng(seed)

    def figures(scene_):
        return {name: column[0] for name, column in measured(scene_)[0].items()}

    expected = figures(found)
    rotation = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))[0]
    turned = {
        **found,
        "queries": found["queries"] @ rotation,
        "documents": found["documents"] @ rotation,
    }
    order = rng.permutation(len(found["documents"]))
    moved = np.argsort(order)
    relabelled = {
        **found,
        "documents": found["documents"][order],
        "positive": moved[found["positive"]],
        "negatives": found["negatives"].with_values(moved[found["negatives"].values]),
        "known": found["known"].with_values(moved[found["known"].values]),
    }
    for other in (turned, relabelled):
        assert figures(other) == pytest.approx(expected, rel=1e-7, abs=1e-10, nan_ok=True)


def test_gradients_add():
    found = scene(4)
    whole, _ = training(**found)
    parts = None
    for group in np.unique(found["groups"]):
        own = np.flatnonzero(found["groups"] == group)
        piece, _ = training(
            found["groups"][own],
            found["queries"][own],
            found["documents"],
            found["positive"][own],
            found["negatives"].take(own),
            found["known"].take(own),
        )
        parts = piece if parts is None else piece + parts
    assert parts.matrices == pytest.approx(whole.matrices, abs=1e-12)
    assert parts.queries.tolist() == whole.queries.tolist()


def test_helpful_and_harmful_negatives_are_told_apart():
    found, first = related(), np.arange(400)

    def gains(negatives):
        made, _ = measured({**found, "negatives": Ragged.from_lengths(negatives, [1] * 400)})
        return made["alignment_gain"][0], made["alignment_dot_gain"][0]

    hard, drawn, false = (
        gains(negatives)
        for negatives in (first + 800, np.random.default_rng(0).permutation(400) + 800, first + 400)
    )
    assert min(hard[0], drawn[0]) > -0.05 > -0.3 > false[0]
    assert hard[1] > 0.4 > drawn[1] > 0.05 > -0.05 > false[1]
    # A copy of each positive beside it takes from nobody's share: the loss is that of the batch alone.
    assert gains(first) == pytest.approx((0, 0), abs=1e-9)


def test_what_is_missing_is_undefined():
    found = scene(0)
    nothing = {
        **found,
        "negatives": found["negatives"].keep(np.zeros(len(found["negatives"].values), dtype=bool)),
    }
    hard, plain = training(**nothing)
    assert np.array_equal(hard.matrices, plain.matrices)
    held = held_out(found["groups"], found["queries"], found["known"], found["documents"])
    assert values(hard, plain, held)["alignment_dot_gain"][0] == 0.0
    # Every query in one group: there is no other to be held against.
    alone = {**found, "groups": np.zeros_like(found["groups"])}
    assert all(np.isnan(column).all() for column in measured(alone)[0].values())
    # Vectors that are all alike: what is left of the gradients is rounding.
    alike = {**found, "queries": np.ones_like(found["queries"]) / np.sqrt(DIMENSION)}
    alike["documents"] = (np.ones_like(found["documents"]) / np.sqrt(DIMENSION)).astype(np.float32)
    made = measured(alike)[0]
    assert np.isnan(made["alignment"]).all()
    assert np.isnan(made["alignment_gain"]).all()
    assert made["alignment_dot"][0] == pytest.approx(0, abs=1e-6)
    empty = Ragged.from_lengths(np.empty(0, dtype=np.int64), [])
    none = np.empty(0, dtype=np.int64)
    hard, plain = training(none, np.empty((0, DIMENSION)), found["documents"], none, empty, empty)
    assert all(np.isnan(column).all() for column in values(hard, plain, held).values())


def test_memory_is_bounded():
    """100,000 hard negatives at d = 1,024: the matrices and one batch; a pool of 20,000: one tile."""
    import tracemalloc

    rng = np.random.default_rng(0)
    documents = unit(rng, 500, 1024).astype(np.float32)
    queries = unit(rng, 2000, 1024).astype(np.float32)
    positive = rng.integers(0, 500, 2000)
    known = Ragged.from_lengths(positive, [1] * 2000)
    negatives = Ragged.from_lengths(rng.integers(0, 500, 100_000), [50] * 2000)
    groups = np.arange(2000) % GROUPS
    tracemalloc.start()
    hard, plain = training(groups, queries, documents, positive, negatives, known)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < hard.matrices.nbytes + plain.matrices.nbytes + 150_000_000
    pool = unit(rng, 20_000, 64).astype(np.float32)
    tracemalloc.start()
    held_out(groups, queries[:, :64].copy(), known, pool)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150_000_000
