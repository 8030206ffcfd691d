"""The probe: its gradient against differences and alignment, its protocol, and what it finds where it was planted."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from eci import probe_material
from eci.directions import drawn_order
from eci.errors import EciError, EncoderError
from eci.examples import Examples
from eci.intervals import Jackknife
from eci.metrics import alignment, probe
from eci.metrics.probe import (
    Choice,
    Grid,
    Plan,
    Task,
    Tried,
    batches,
    chosen,
    gradient,
    losses,
    ndcg,
    trained,
    tried,
)
from eci.models.hashing import HashingEncoder
from eci.probe_material import ProbeSettings
from eci.probed import ProbedSource, ProbeResult, cautions, sentence, verdict_of
from eci.probing import probe as probe_rows
from eci.ragged import Ragged
from eci.results import Estimate
from eci.settings import Corpora
from eci.tally import GROUPS
from fakes import batch_of, examples_of, make_rows, run_cli

QUICK = ProbeSettings(seeds=1, rates=(0.03, 0.1), epochs=(2, 4))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def ragged(rows):
    return Ragged.from_lengths(
        np.array([v for row in rows for v in row], dtype=np.int64), [len(r) for r in rows]
    )


def scene(seed=0, queries=20, documents=90, dimension=8, dtype=np.float64):
    """A task, negatives of one source, some of which are positives of some query, and folds."""
    rng = np.random.default_rng(seed)
    positives = [
        sorted(rng.choice(40, size=rng.integers(1, 4), replace=False).tolist()) for _ in range(queries)
    ]
    negatives = ragged(
        [rng.choice(documents, size=rng.integers(0, 6), replace=False) for _ in range(queries)]
    )
    task = Task(
        unit(rng.standard_normal((queries, dimension))).astype(dtype),
        unit(rng.standard_normal((documents, dimension))).astype(dtype),
        ragged(positives),
        np.arange(5, documents) if min(map(min, positives)) >= 5 else np.arange(documents),
    )
    return task, negatives, np.arange(queries) % 5


def one_batch(seed=0, hard=99, **sizes):
    task, negatives, _ = scene(seed, **sizes)
    (batch,) = batches(task, np.arange(len(task.queries)), negatives, Plan(batch=99, hard=hard), (seed, 0))
    return task, negatives, batch


def naive_losses(weight, batch, temperature):
    found = []
    for i, query in enumerate(batch.queries):
        q = unit(query + query @ weight)
        scores = [float(q @ unit(d + d @ weight)) / temperature for d in batch.candidates]
        kept = [score for score, out in zip(scores, batch.excluded[i], strict=True) if not out]
        found.append(-scores[i] + math.log(sum(math.exp(score) for score in kept)))
    return found


def test_losses_equal_naive_loops():
    _, _, batch = one_batch(1)
    assert batch.excluded.any()
    weight = 0.3 * np.random.default_rng(5).standard_normal((8, 8))
    for temperature in (0.05, 1.0):
        expected = naive_losses(weight, batch, temperature)
        assert losses(weight, batch, temperature) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gradient_equals_finite_differences(seed):
    _, _, batch = one_batch(seed)
    rng = np.random.default_rng(seed)
    weight, step = 0.3 * rng.standard_normal((8, 8)), 1e-6
    found = gradient(weight, batch, 0.2)
    for row, column in rng.integers(0, 8, (12, 2)):
        there, back = weight.copy(), weight.copy()
        there[row, column] += step
        back[row, column] -= step
        slope = (losses(there, batch, 0.2).mean() - losses(back, batch, 0.2).mean()) / (2 * step)
        assert found[row, column] == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("none", [False, True])
def test_at_zero_the_gradient_is_that_of_alignment(dtype, none):
    task, negatives, batch = one_batch(2, dtype=dtype)
    if none:
        negatives = ragged([[]] * 20)
        (batch,) = batches(task, np.arange(20), negatives, Plan(batch=99), (2, 0))
    # The batch tells no numbers: its queries and targets are recognised by their vectors.
    order = np.argmax(batch.queries @ task.queries.T, axis=1)
    target = np.argmax(batch.candidates[:20] @ task.documents.T, axis=1)
    expected = alignment.training(
        np.zeros(20, dtype=np.int64),
        task.queries[order],
        task.documents,
        target,
        negatives.take(order),
        task.positives.take(order),
    )[0]
    found = gradient(np.zeros((8, 8), dtype=dtype), batch)
    assert found.dtype == dtype
    assert 20 * found == pytest.approx(expected.matrices[0], abs=1e-9 if dtype is np.float64 else 2e-4)


def test_an_epoch_has_every_query_once_and_shares_its_draws_with_every_source():
    task, negatives, _ = scene(3, queries=50)
    rows = np.arange(7, 50)
    plan = Plan(batch=8, hard=2)
    own, none = (list(batches(task, rows, given, plan, (0, 0))) for given in (negatives, ragged([[]] * 50)))
    assert [len(batch.queries) for batch in own] == [len(batch.queries) for batch in none]
    assert {len(batch.queries) for batch in own} <= {8, 9}
    for one, other in zip(own, none, strict=True):
        size = len(one.queries)
        assert np.array_equal(one.queries, other.queries)
        assert np.array_equal(one.candidates[:size], other.candidates)
    order = np.concatenate([np.argmax(batch.queries @ task.queries.T, axis=1) for batch in own])
    assert sorted(order.tolist()) == rows.tolist()
    for batch in own:
        queries = np.argmax(batch.queries @ task.queries.T, axis=1)
        drawn = np.argmax(batch.candidates @ task.documents.T, axis=1)
        expected = [min(2, len(negatives[query])) for query in queries]
        assert len(drawn) == len(queries) + sum(expected)
        ends = len(queries) + np.cumsum(expected)
        for query, end, count in zip(queries, ends, expected, strict=True):
            mine = drawn[end - count : end].tolist()
            assert len(set(mine)) == count
            assert set(mine) <= set(negatives[query].tolist())
    again, later, other = (
        [batch.candidates for batch in batches(task, rows, negatives, plan, seed)]
        for seed in ((0, 0), (0, 1), (1, 0))
    )
    assert all(np.array_equal(a, b.candidates) for a, b in zip(again, own, strict=True))
    assert all(not np.array_equal(again[0], different[0]) for different in (later, other))


def test_what_another_query_brings_is_excluded_where_it_is_a_positive_and_ones_own_negative_is_not():
    eye = np.eye(4)
    # Documents 0 and 1 both answer query 0; query 1 brings 1 as its positive, and query 0 has 1 as a negative.
    task = Task(eye[:2], eye, ragged([[0, 1], [1]]), np.arange(4))
    (batch,) = batches(task, np.arange(2), ragged([[1], [2]]), Plan(), (0, 0))
    queries, documents = batch.queries.argmax(axis=1), batch.candidates.argmax(axis=1)
    first = queries.tolist().index(0)
    owner = [*queries.tolist(), *queries.tolist()]
    for place, (document, whose) in enumerate(zip(documents.tolist(), owner, strict=True)):
        assert batch.excluded[first, place] == (whose != 0 and document in (0, 1))


def naive_ndcg(weight, task, query):
    q = unit(task.queries[query] + task.queries[query] @ weight)
    scores = {d: float(q @ unit(task.documents[d] + task.documents[d] @ weight)) for d in task.pool.tolist()}
    best = sorted(scores, key=lambda d: -scores[d])[:10]
    right = set(task.positives[query].tolist())
    gain = sum(1 / math.log2(rank + 1) for rank, d in enumerate(best, 1) if d in right)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(10, len(right)) + 1))


@pytest.mark.parametrize(("documents", "cells"), [(90, 2_000_000), (90, 250), (45, 1)])
def test_ndcg_equals_naive_loops_in_tiles_of_any_size(monkeypatch, documents, cells):
    monkeypatch.setattr(probe, "_CELLS", cells)
    task, _, _ = scene(4, documents=documents)
    task = replace(task, pool=np.random.default_rng(0).permutation(task.pool))
    weight = 0.3 * np.random.default_rng(1).standard_normal((8, 8))
    rows = np.array([3, 0, 17, 8])
    assert ndcg(weight, task, rows) == pytest.approx(
        [naive_ndcg(weight, task, row) for row in rows], rel=1e-12
    )


def test_ndcg_of_a_pool_smaller_than_its_cutoff_and_of_more_positives_than_it():
    eye = np.eye(3)
    small = Task(eye[:1], eye, ragged([[1]]), np.arange(3))
    assert ndcg(np.zeros((3, 3)), small, np.array([0])) == pytest.approx([1 / math.log2(3)])
    many = Task(eye[:1], np.repeat(eye[:1], 14, axis=0), ragged([range(14)]), np.arange(14))
    assert ndcg(np.zeros((3, 3)), many, np.array([0])) == pytest.approx([1.0])


def test_a_step_is_as_long_as_the_learning_rate_whatever_the_loss():
    task, negatives, _ = scene(5)
    for temperature in (0.05, 5.0):
        plan = Plan(batch=99, temperature=temperature)
        (weight,) = trained(task, np.arange(20), negatives, plan, Choice(0.07, 1), 0)
        assert np.linalg.norm(weight) == pytest.approx(0.07, rel=1e-9)


def test_the_axes_of_the_vectors_do_not_matter():
    task, negatives, folds = scene(6, queries=40)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]
    turned = replace(task, queries=task.queries @ turn, documents=task.documents @ turn)
    plan, rows = Plan(batch=8), np.arange(40)
    one, other = ([*trained(each, rows, negatives, plan, Choice(0.1, 3), 0)][-1] for each in (task, turned))
    assert turn.T @ one @ turn == pytest.approx(other, abs=1e-9)
    choices = dict.fromkeys(range(5), Choice(0.1, 2))
    found = [tried(each, folds, negatives, plan, choices, 0).ndcg for each in (task, turned)]
    assert found[0] == pytest.approx(found[1], abs=1e-12)


def test_training_lowers_its_loss_and_none_is_a_source_without_negatives():
    task, negatives, folds = scene(7, queries=60, dimension=16)
    choices = dict.fromkeys(range(5), Choice(0.1, 6))
    hard = tried(task, folds, negatives, Plan(batch=8), choices, 0)
    none = tried(task, folds, ragged([[]] * 60), Plan(batch=8), choices, 0)
    assert hard.before > none.before
    assert hard.after < hard.before - 0.2
    assert none.after < none.before - 0.2
    unused = tried(task, folds, negatives, Plan(batch=8, hard=0), choices, 0)
    assert np.array_equal(unused.ndcg, none.ndcg)


def test_nothing_of_a_held_out_query_reaches_its_own_map():
    task, negatives, folds = scene(8, queries=40)
    choices = {fold: Choice(0.1 + 0.01 * fold, 2) for fold in range(5)}
    held = folds == 2
    # Its negatives, and its positives, become others.
    changed = ragged(
        [[11, 12] if held[i] else row for i, row in enumerate(map(negatives.__getitem__, range(40)))]
    )
    first = tried(task, folds, negatives, Plan(batch=8), choices, 3).ndcg
    second = tried(task, folds, changed, Plan(batch=8), choices, 3).ndcg
    assert np.array_equal(first[held], second[held])
    assert not np.array_equal(first[~held], second[~held])
    grid = Grid((0.01, 0.3), (1, 3))
    swapped = task.queries.copy()
    swapped[held] = -swapped[held]
    picked, unmoved = (
        chosen(each, folds, Plan(batch=8), grid, 0)[2] for each in (task, replace(task, queries=swapped))
    )
    assert picked == unmoved


def test_the_choice_is_what_in_batch_negatives_reach_on_the_other_folds():
    task, _, folds = scene(9, queries=60)
    grid, plan, none = ((0.02, 0.5), (1, 3)), Plan(batch=8), ragged([[]] * 60)
    found = chosen(task, folds, plan, Grid(*grid), 4)
    assert sorted(found) == [0, 1, 2, 3, 4]
    for fold in (0, 3):
        reached = {}
        for rate in grid[0]:
            for epochs in grid[1]:
                total = 0.0
                for other in set(range(5)) - {fold}:
                    rows = np.flatnonzero((folds != fold) & (folds != other))
                    *_, weight = trained(task, rows, none, plan, Choice(rate, epochs), 4)
                    total += ndcg(weight, task, np.flatnonzero(folds == other)).sum()
                reached[Choice(rate, epochs)] = total
        assert found[fold] == max(reached, key=reached.get)


def test_what_a_fold_itself_would_choose_does_not_count(monkeypatch):
    task, _, folds = scene(0, queries=25)
    # Fold 2 gains most from short training, all others a little from long training.
    monkeypatch.setattr(probe, "trained", lambda *given: iter(np.arange(1, given[4].epochs + 1)))
    monkeypatch.setattr(
        probe,
        "ndcg",
        lambda epoch, task, rows: np.where(folds[rows] == 2, 1.0 * (epoch == 1), 0.1 * (epoch == 3)),
    )
    found = chosen(task, folds, Plan(), Grid((0.1,), (1, 3)), 0)
    assert {fold: choice.epochs for fold, choice in found.items()} == {0: 1, 1: 1, 2: 3, 3: 1, 4: 1}


def test_queries_with_a_positive_that_is_one_in_training_do_not_choose(monkeypatch):
    """Long training remembers documents, and short training finds others: by all queries, long is best."""
    owners = [[number] for number in range(30)] + [[30], [30], [31], [31]] * 10
    task = Task(np.ones((70, 2)), np.ones((32, 2)), ragged(owners), np.arange(32))
    folds = np.arange(70) % 5
    monkeypatch.setattr(probe, "trained", lambda *given: iter(np.arange(1, given[4].epochs + 1)))
    monkeypatch.setattr(
        probe, "ndcg", lambda epoch, task, rows: np.where(rows < 30, 1.0 * (epoch == 1), 1.0 * (epoch == 3))
    )
    for unseen, epochs in ((False, 3), (True, 1)):
        found = chosen(task, folds, Plan(), Grid((0.1,), (1, 3), unseen), 0)
        assert {choice.epochs for choice in found.values()} == {epochs}


def test_unseen_queries_choose_where_they_are_enough(monkeypatch, world, found):
    assert found.data["chosen_by"] == "unseen"
    monkeypatch.setattr(probe_material, "_FEWEST_UNSEEN", 200)
    assert probe_rows(examples_of(world.rows), world, QUICK).data["chosen_by"] == "all"


def test_unseen_queries_share_no_positive_with_another_fold():
    positives = ragged([[0, 1], [1], [2], [2], [3], [0, 4]])
    folds = np.array([0, 1, 2, 2, 0, 0])
    # Document 1 lies in folds 0 and 1; document 2 twice in one fold, and 0 too.
    assert probe.unseen(positives, folds, 5).tolist() == [False, False, True, True, True, True]


class World:
    """Vectors of a topic, a fact and a style; answers share topic and fact with their query.

    Others of the topic, ``topical``, have another fact, which in-batch negatives do not teach to look at. The
    style says nothing. ``answer0`` has the very fact; as a negative it teaches that a fact is a bad sign.
    """

    def __init__(self, queries=200, seed=0):
        rng = np.random.default_rng(seed)
        topic, fact = 2 * unit(rng.standard_normal((queries, 8))), unit(rng.standard_normal((queries, 4)))
        self.table = {}
        for kind in ("query", *(f"{name}{j}" for name in ("topical", "answer") for j in range(4))):
            noise = rng.standard_normal((queries, 4))
            shown = (
                unit(noise)
                if kind[:3] == "top"
                else fact + (0.0 if kind in ("query", "answer0") else 0.6) * noise
            )
            style = 0.8 * unit(rng.standard_normal((queries, 4)))
            vectors = unit(np.hstack([topic, 0.6 * shown, style])).astype(np.float32)
            self.table.update({f"{kind} of {i}": vector for i, vector in enumerate(vectors)})
        self.rows = [
            {
                "query_id": f"q{i}",
                "query": f"query of {i}",
                "positives": [{"text": f"answer{j} of {i}"} for j in range(4)],
                "negatives": [
                    *({"source": "topical", "text": f"topical{j} of {i}"} for j in range(4)),
                    {"source": "planted", "text": f"answer0 of {i}"},
                ],
            }
            for i in range(queries)
        ]

    def encode_query(self, texts):
        return np.stack([self.table[text] for text in texts])

    encode_document = encode_query


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def found(world):
    return probe_rows(examples_of(world.rows), world, QUICK)


def without_times(result):
    told = result.to_dict()
    for entry in (told["none"], *told["sources"]):
        del entry["seconds"]
    del told["data"]["seconds_choosing"]
    return told


def test_negatives_that_teach_help_and_planted_positives_hurt(found):
    assert [(entry.source, entry.verdict) for entry in found.sources] == [
        ("topical", "help"),
        ("planted", "hurt"),
    ]
    assert found["topical"].gain.low > 0 > found["planted"].gain.high
    assert found.none.verdict == "help"
    assert found.untrained.value < found.none.ndcg.value < found["topical"].ndcg.value
    assert found["topical"].gain_unseen == found["topical"].gain  # every query has its own positives
    assert found.verdict == (
        "Beyond in-batch negatives alone topical helps; planted hurts. topical comes first, ahead of every "
        "other source."
    )
    # This world is learnt best by training for long, and `QUICK` allows little.
    assert [re.sub(r" chosen, .*", "", told) for told in found.warnings] == [
        "In 5 of 5 folds the learning rate",
        "In 5 of 5 folds the number of epochs",
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_in_other_worlds(seed):
    other = World(seed=seed)
    found = probe_rows(examples_of(other.rows), other, QUICK)
    assert {entry.source: entry.verdict for entry in found.sources} == {"topical": "help", "planted": "hurt"}


def test_figures_fit_together(found):
    for entry in found.sources:
        assert entry.gain.value == pytest.approx(entry.ndcg.value - found.none.ndcg.value, abs=1e-12)
        assert entry.ndcg.low < entry.ndcg.value < entry.ndcg.high
        assert entry.gain.low < entry.gain.value < entry.gain.high
        assert (entry.queries, entry.coverage) == (200, 1.0)
        assert entry.loss_after < entry.loss_before
        assert entry.seconds > 0
    assert found.none.gain.value == pytest.approx(found.none.ndcg.value - found.untrained.value, abs=1e-12)
    assert (found.none.negatives, found["topical"].negatives, found["planted"].negatives) == (0, 800, 200)
    (gap,) = found.comparisons
    assert gap["source"] == "planted"
    assert gap["difference"] == pytest.approx(
        found["topical"].ndcg.value - found["planted"].ndcg.value, abs=1e-12
    )
    assert gap["confidence"] == 0.95
    assert [entry["fold"] for entry in found.chosen] == [0, 1, 2, 3, 4]
    assert {entry["rate"] for entry in found.chosen} <= set(QUICK.rates)
    assert found.settings["hard_negatives"] == 1
    assert found.data["pool"] == found.data["documents"] == 1600
    assert found.data["embedded"] == {"queries": 200, "documents": 1600}


def test_the_order_of_rows_positives_and_negatives_is_irrelevant(world):
    rng = np.random.default_rng(0)
    rows = []
    for number in rng.permutation(len(world.rows)):
        row = world.rows[number]
        positives, negatives = (
            [row[name][k] for k in rng.permutation(len(row[name]))] for name in ("positives", "negatives")
        )
        # A query in two rows, the second of which repeats a positive.
        rows.append({**row, "positives": positives, "negatives": negatives[:2]})
        rows.append({**row, "positives": positives[:1], "negatives": negatives[2:]})
    batches_ = [batch_of(rows[:150]), batch_of(rows[150:])]
    # Fewer than there are, so that it matters which are drawn.
    settings = replace(QUICK, hard_negatives=2)
    again = without_times(probe_rows(Examples.from_batches(batches_), world, settings))
    expected = without_times(probe_rows(examples_of(world.rows), world, settings))
    assert again["data"].pop("rows") == 400
    assert expected["data"].pop("rows") == 200
    assert again == expected


def test_a_positive_listed_twice_counts_once(world, found):
    rows = [{**row, "positives": [*row["positives"], row["positives"][0]]} for row in world.rows]
    assert without_times(probe_rows(examples_of(rows), world, QUICK)) == without_times(found)


def test_seeds_are_averaged(world, monkeypatch):
    def counted(task, folds, negatives, plan, choices, seed):
        assert plan == Plan(batch=16, hard=2, temperature=0.1)
        return Tried(np.full(len(folds), 0.1 * seed), 2.0 + seed, 1.0 + seed)

    monkeypatch.setattr(probe, "tried", counted)
    settings = replace(
        QUICK, rates=(0.1,), epochs=(1,), seeds=3, seed=4, batch=16, hard_negatives=2, temperature=0.1
    )
    result = probe_rows(examples_of(world.rows), world, settings)
    for entry in (result.none, *result.sources):
        assert (entry.ndcg.value, entry.loss_before, entry.loss_after) == pytest.approx((0.5, 7.0, 6.0))


def test_intervals_are_the_paired_jackknife_of_the_queries_own_figures(world, monkeypatch):
    examples = examples_of(world.rows)
    rng = np.random.default_rng(0)
    level = rng.random(200)
    given = {size: np.clip(level + shift + 0.1 * rng.standard_normal(200), 0, 1) for size, shift in
             ((0, 0.0), (800, 0.03), (200, -0.01))}  # fmt: skip
    monkeypatch.setattr(probe, "tried", lambda *to: Tried(given[len(to[2].values)], 1.0, 1.0))
    result = probe_rows(examples, world, replace(QUICK, rates=(0.1,), epochs=(1,), confidence=0.9))
    order = drawn_order(examples.keys, 0)
    groups = np.array([int.from_bytes(examples.keys[query][:8], "big") % GROUPS for query in order])
    replicates = [
        [of.mean(), *(of[groups != group].mean() for group in range(GROUPS))]
        for of in (given[0], given[800], given[200])
    ]
    jackknife = Jackknife.of(np.array(replicates), np.bincount(groups, minlength=GROUPS))
    # 90 % for both gains together; the one comparison has it alone; what is printed of nDCG has 95 %.
    for place, name in ((1, "topical"), (2, "planted")):
        value, half = jackknife.difference(place, 0, 0.95)
        assert result[name].gain.value == pytest.approx(value, abs=1e-12)
        assert (result[name].gain.low, result[name].gain.high) == pytest.approx((value - half, value + half))
        half = jackknife.half_widths()[place]
        assert result[name].ndcg.high - result[name].ndcg.value == pytest.approx(half)
    value, half = jackknife.difference(1, 2, 0.9)
    assert (result.comparisons[0]["low"], result.comparisons[0]["high"]) == pytest.approx(
        (value - half, value + half)
    )


def test_fewer_queries_and_documents_than_there_are(world):
    settings = replace(QUICK, sample=80, pool=400, rates=(0.1,), epochs=(1,))
    result = probe_rows(examples_of(world.rows), world, settings)
    assert (result.data["probed"], result.data["pool"], result.data["queries"]) == (80, 400, 200)
    assert result.data["notes"][0] == "80 of 200 queries were drawn"
    assert result.data["notes"][1].endswith(
        "documents are ranked: all positives, others drawn as there is room"
    )
    assert result.warnings[0].startswith("Only 80 queries: below 200 ")
    # Positives are never left out, even where they are more than the pool.
    least = probe_rows(examples_of(world.rows), world, replace(settings, pool=1))
    assert least.data["pool"] == 320


def test_candidates_and_positives_are_ranked_and_nothing_that_only_rows_hold(world):
    rows = [{**row, "negatives": row["negatives"][:1]} for row in world.rows]
    settings = replace(QUICK, rates=(0.1,), epochs=(1,))
    more = tuple(f"topical3 of {i}" for i in range(200))
    own = tuple(row["negatives"][0]["text"] for row in rows)
    plain, wide, without = (
        probe_rows(examples_of(rows), world, settings, corpora=given)
        for given in (None, Corpora((*own, *more)), Corpora(more))
    )
    assert plain.data["notes"] == [
        "the 1,000 documents of the rows are ranked; --candidates ranks those of a corpus instead"
    ]
    assert wide.data["notes"] == []
    assert (plain.data["pool"], wide.data["pool"]) == (1000, 1200)
    assert wide.untrained.value < plain.untrained.value
    assert without.data["notes"] == [
        "200 texts of negatives that the candidates lack: trained with, not ranked"
    ]
    assert without.data["pool"] == 1000
    assert without["topical"].loss_before == wide["topical"].loss_before
    assert without.untrained.value > wide.untrained.value


def test_candidates_that_are_another_corpus_are_told(world):
    settings = replace(QUICK, rates=(0.1,), epochs=(1,))
    other = Corpora([f"topical3 of {i}" for i in range(200)])
    result = probe_rows(examples_of(world.rows), world, settings, corpora=other)
    assert result.data["found"] == {"positives": 800, "in_candidates": 0}
    assert "Only 0 of 800 positives are documents of the candidates" in " ".join(result.warnings)
    assert ProbeResult.from_json(result.to_json()).data == result.data


def test_no_more_candidates_are_embedded_than_may_be_ranked(world):
    rows = [{**row, "negatives": row["negatives"][:1]} for row in world.rows]
    settings = replace(QUICK, rates=(0.1,), epochs=(1,), pool=900)
    more = [f"{kind}{j} of {i}" for kind in ("answer", "topical") for j in range(4) for i in range(200)]
    result = probe_rows(examples_of(rows), world, settings, corpora=Corpora(more))
    # 1,000 documents of the rows, and of the 600 that only the corpus has those that were drawn.
    assert 1000 < result.data["embedded"]["documents"] < 1500
    assert result.data["pool"] == 900
    assert result.data["notes"] == [
        "900 of 1,600 documents are ranked: all positives, others drawn as there is room"
    ]


def test_shared_positives_and_missing_negatives_are_told(world):
    rows = [dict(row) for row in world.rows]
    for row in rows[:150]:
        row["positives"] = [*row["positives"], {"text": "answer3 of 199"}]
    for row in rows[100:]:
        row["negatives"] = row["negatives"][:4]
    result = probe_rows(examples_of(rows), world, replace(QUICK, rates=(0.1,), epochs=(2,)))
    shared, partial = (text for text in result.warnings if not text.startswith("Training with in-batch"))
    # The one that has it of its own shares it too.
    assert shared.startswith(
        "151 of 200 queries have a positive that is one in training too: part of what they gain"
    )
    assert "The other 49 do not: training with in-batch negatives alone brings them +0." in shared
    assert partial.startswith("Not every query has negatives of every source (planted 50.0% of the queries)")
    assert result["planted"].queries == 100
    assert not math.isnan(result["topical"].gain_unseen.low)
    assert result["topical"].gain_unseen != result["topical"].gain


@pytest.mark.parametrize(
    ("queries", "given", "message"),
    [
        (12, {"bm25": 0}, "No row has a negative"),
        (2, {"bm25": 2}, "2 queries cannot be probed: .*fewer than 3. Give more labelled queries"),
    ],
)
def test_rows_that_cannot_be_probed_are_refused(queries, given, message):
    with pytest.raises(EciError, match=message):
        probe_rows(examples_of(make_rows(queries, given)), HashingEncoder(8), QUICK)


def test_what_is_no_encoder_is_refused():
    with pytest.raises(EncoderError, match="str is no encoder"):
        probe_rows(examples_of(make_rows(12)), "all-MiniLM-L6-v2", QUICK)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample": 0}, "sample is at least 1, got 0"),
        ({"pool": 0}, "pool is at least 1"),
        ({"hard_negatives": 0}, "hard_negatives is at least 1"),
        ({"seeds": 0}, "seeds is at least 1"),
        ({"batch": 1}, "a batch holds at least 2 queries"),
        ({"folds": 2}, "folds lie between 3 and 20, got 2"),
        ({"folds": 21}, "folds lie between"),
        ({"temperature": 0.0}, "temperature lies between"),
        ({"confidence": 1.0}, "confidence between 0 and 1"),
        ({"seed": -1}, "seed at 0 or above"),
        ({"rates": ()}, "rates are positive numbers, ascending"),
        ({"rates": (0.1, 0.03)}, "rates are positive numbers, ascending"),
        ({"epochs": (0, 2)}, "epochs are positive numbers, ascending"),
    ],
)
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(EciError, match=message):
        ProbeSettings(**given)


def estimate(value, half=0.01):
    return Estimate(value, value - half, value + half)


def source(label, ndcg, gain, *, unseen=None, coverage=1.0):
    interval = estimate(gain)
    return ProbedSource(
        source=label,
        verdict=verdict_of(interval),
        queries=round(300 * coverage),
        negatives=0 if label == "none" else round(600 * coverage),
        coverage=coverage,
        ndcg=estimate(ndcg),
        gain=interval,
        gain_unseen=interval if unseen is None else unseen,
        loss_before=2.0,
        loss_after=1.5,
        seconds=1.25,
    )


def result_of(none, sources=(), untrained=0.5, unseen=300):
    return ProbeResult(
        "v",
        tuple(sources),
        none,
        estimate(untrained),
        (),
        (),
        data={"probed": 300, "unseen": unseen, "found": {}},
    )


def test_the_json_form_is_read_back_equal(found):
    text = found.to_json()
    assert json.loads(text)["schema"] == "eci.probe/1"
    again = ProbeResult.from_json(text)
    assert again.to_json() == text
    assert again["topical"] == found["topical"]
    assert again.none == found.none
    assert again.comparisons == found.comparisons
    unknown = Estimate(math.nan, math.nan, math.nan)
    some = result_of(source("none", 0.5, 0.1, unseen=unknown), [source("a", 0.5, 0.0, unseen=unknown)])
    assert json.loads(some.to_json())["sources"][0]["gain_unseen"]["low"] is None
    assert math.isnan(ProbeResult.from_json(some.to_json())["a"].gain_unseen.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected schema 'eci.probe/1', found 'list'"),
        ('{"schema": "eci.score/1"}', "found 'eci.score/1'"),
        (
            '{"schema": "eci.probe/1", "verdict": ""}',
            "has the keys chosen, comparisons, .*untrained, warnings too",
        ),
    ],
)
def test_other_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        ProbeResult.from_json(text)


def test_an_unknown_source_is_named(found):
    with pytest.raises(KeyError, match="no source 'dense'; there are topical, planted"):
        found["dense"]


def test_the_table_has_none_and_the_untrained_encoder_where_they_stand():
    sources = [source("bm25", 0.7, 0.1), source("密集", 0.55, -0.05)]
    lines = result_of(source("none", 0.6, 0.1), sources).table().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["1", "none", "2", "untrained"]
    assert "+0.1000 (+0.0900 … +0.1100)  help" in lines[2]
    assert "-0.0500 (-0.0600 … -0.0400)  hurt" in lines[4]
    assert lines[2].endswith("2  2.00 → 1.50      1.2")
    # What none gains is over another yardstick, and stands elsewhere.
    assert "+0.1" not in lines[3]


def test_the_sentence_says_what_helps_what_hurts_and_what_remembers():
    a, b, c = source("a", 0.7, 0.1), source("b", 0.6, 0.0), source("c", 0.5, -0.1)
    apart = {"source": "b", "low": 0.05}, {"source": "c", "low": -0.05}
    assert sentence((a,), ()) == "Beyond in-batch negatives alone a helps."
    assert sentence((a, b, c), apart) == (
        "Beyond in-batch negatives alone a helps; c hurts; b is undecided. "
        "a comes first, not separated from c."
    )
    remembered = replace(a, gain_unseen=estimate(0.0))
    assert sentence((remembered, b), apart[:1]) == (
        "Beyond in-batch negatives alone a helps; b is undecided. Where no positive was one in training, "
        "a and b are undecided. a comes first, ahead of every other source."
    )
    unknown = replace(a, gain_unseen=Estimate(math.nan, math.nan, math.nan))
    assert sentence((unknown,), ()) == "Beyond in-batch negatives alone a helps."


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (result_of(source("none", 0.4, -0.1)), "alone lowers nDCG@10 of held-out queries: -0.1000 .* from 0.5000. "),
        (result_of(source("none", 0.5, 0.0)), "alone does not measurably raise nDCG@10"),
        (result_of(source("none", 0.97, 0.1)), "nDCG@10 is 0.970 without hard negatives: little is left to gain"),
        (result_of(source("none", 0.02, 0.1)), "nDCG@10 is 0.020: hardly a positive is found"),
        (result_of(source("none", 0.5, 0.1), unseen=100), "200 of 300 queries .* The other 100 do not: .* brings them"),
        (
            result_of(source("none", 0.5, 0.1, unseen=Estimate(math.nan, math.nan, math.nan)), unseen=2),
            "298 of 300 queries .* The other 2 are too few to tell",
        ),
        (result_of(source("none", 0.5, 0.1), [source("a", 0.6, 0.1, coverage=0.5)]), r"\(a 50.0% of the queries\)"),
    ],
)  # fmt: skip
def test_cautions(result, message):
    (told,) = cautions(result)
    assert re.search(message, told), told


@pytest.mark.parametrize(
    ("grids", "chosen_ones", "told"),
    [
        ({"rates": (0.1, 0.3, 1.0), "epochs": (2, 4, 8)}, [(0.3, 4)] * 5, []),
        (
            {"rates": (0.1, 0.3, 1.0), "epochs": (2, 4, 8)},
            [(1.0, 4)] * 3 + [(0.3, 2)] * 2,
            ["In 3 of 5 folds the learning rate chosen, 1, is the largest of those tried: a larger one may"],
        ),
        (
            {"rates": (0.1, 0.3), "epochs": (2, 4)},
            [(0.1, 4)] * 5,
            [
                "In 5 of 5 folds the learning rate chosen, 0.1, is the smallest of those tried: a smaller one",
                "In 5 of 5 folds the number of epochs chosen, 4, is the largest of those tried: a larger one",
            ],
        ),
        # Where there is nothing to choose from, the user has chosen.
        ({"rates": (0.1,), "epochs": (2,)}, [(0.1, 2)] * 5, []),
    ],
)
def test_choices_at_the_edge_of_the_grid_are_told(grids, chosen_ones, told):
    picked = tuple({"fold": fold, "rate": r, "epochs": e} for fold, (r, e) in enumerate(chosen_ones))
    result = replace(result_of(source("none", 0.5, 0.1)), chosen=picked, settings=grids)
    found = list(cautions(result))
    assert len(found) == len(told)
    assert all(text.startswith(begin) for text, begin in zip(found, told, strict=True))


def test_nothing_to_be_careful_of():
    assert not list(cautions(result_of(source("none", 0.5, 0.1), [source("a", 0.6, 0.1)])))


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in make_rows(60, {"bm25": 3, "dense": 2})))
    return path


def test_the_command_prints_a_table_and_writes_the_result(monkeypatch, capsys, tmp_path, rows_file):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        "\n".join(json.dumps({"_id": str(n), "text": f"a document of a corpus {n}"}) for n in range(30))
    )
    written = tmp_path / "probe.json"
    code, out, err = run_cli(
        monkeypatch, capsys, "probe", str(rows_file), "--encoder", "hashing", "--seeds", "1", "--candidates", str(corpus),
        "--hard-negatives", "2", "-o", str(written),
    )  # fmt: skip
    assert code == 0, err
    assert out.startswith("60 queries held out in 5 folds, 1 seed, ")
    assert "gain over none" in out
    assert "Beyond in-batch negatives alone " in out
    assert "by them the learning rate was chosen, on all queries: " in " ".join(out.split())
    assert "! Only 60 queries" in out
    assert "choosing the learning rate" in err
    result = ProbeResult.from_json(written.read_text())
    assert (result.settings["hard_negatives"], result.settings["seeds"]) == (2, 1)
    assert result.settings["command"].startswith("eci probe ")
    assert {entry.source for entry in result.sources} == {"bm25", "dense"}
    assert result.data["pool"] == 60 + 30


def test_the_command_prints_json_and_refuses_what_cannot_be(monkeypatch, capsys, rows_file):
    code, out, _ = run_cli(
        monkeypatch, capsys, "probe", str(rows_file), "--encoder", "hashing", "--seeds", "1", "--json"
    )
    assert code == 0
    assert json.loads(out)["schema"] == "eci.probe/1"
    code, _, err = run_cli(
        monkeypatch, capsys, "probe", str(rows_file), "--encoder", "hashing", "--sample", "2"
    )
    assert code == 1
    assert "2 queries cannot be probed" in err
