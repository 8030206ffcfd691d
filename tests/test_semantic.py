"""eci_sem/open-1 against its known values, naive loops, and what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from eci.metrics.semantic import Information, log_volume, per_query, weights
from eci.ragged import Ragged
from eci.tally import GROUPS


def unit(rng, *shape):
    found = rng.standard_normal(shape)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def triples(seed=0, queries=30, dimension=6, most=5):
    """Queries with a near positive and negatives around both."""
    rng = np.random.default_rng(seed)
    asked = unit(rng, queries, dimension)
    found = []
    for q in asked:
        p = unit(rng, dimension) * 0.4 + q
        own = []
        for _ in range(rng.integers(0, most + 1)):
            n = 0.8 * q + 0.7 * unit(rng, dimension)
            own.append((n / np.linalg.norm(n), float(rng.random())))
        found.append((q, p / np.linalg.norm(p), own))
    return found


def arrays(found, dimension, temperature=0.05):
    documents = [n for _, _, own in found for n, _ in own]
    rows = Ragged.from_lengths(np.arange(len(documents)), [len(own) for _, _, own in found])
    asked, positive = (np.array([triple[part] for triple in found]) for part in (0, 1))
    table = np.array(documents).reshape(-1, dimension)
    margins = [(q @ p) - (q @ n) for q, p, own in found for n, _ in own]
    overlaps = [overlap for _, _, own in found for _, overlap in own]
    assert len(asked) == len(positive)
    return positive, table, rows, weights(margins, overlaps, temperature)


def information(found, dimension, groups=None):
    groups = np.arange(len(found)) % GROUPS if groups is None else groups
    return Information.of(groups, *arrays(found, dimension))


@pytest.mark.parametrize("seed", range(5))
def test_equals_naive_loops(seed):
    found = triples(seed)
    values = information(found, 6).values()
    expected = reference.eci_sem(found, 6)
    assert np.nanmean(per_query(*arrays(found, 6))) == pytest.approx(expected.pop("eci_sem_query"), rel=1e-9)
    assert {name: column[0] for name, column in values.items()} == pytest.approx(expected, rel=1e-9)
    assert information(found, 6).score() == values["eci_sem"][0]
    for group in (0, 7):
        rest = [triple for number, triple in enumerate(found) if number % GROUPS != group]
        expected = reference.eci_sem(rest, 6)
        del expected["eci_sem_query"]
        del expected["eci_sem_effective_rank"]
        without = {name: values[name][1 + group] for name in expected}
        assert without == pytest.approx(expected, rel=1e-9)


def test_the_rank_without_a_group_is_right_to_first_order():
    found = triples(3, queries=600)
    ranks = information(found, 6).values()["eci_sem_effective_rank"]
    expected = []
    for group in range(GROUPS):
        rest = [triple for number, triple in enumerate(found) if number % GROUPS != group]
        expected.append(reference.eci_sem(rest, 6)["eci_sem_effective_rank"])
    # What is of second order moves all of them nearly alike, which no interval sees.
    assert np.std(ranks[1:]) == pytest.approx(np.std(expected), rel=0.2)
    assert np.corrcoef(ranks[1:], expected)[0, 1] > 0.95


def test_residuals_in_every_direction_alike():
    dimension, weight = 8, 0.3
    rows = math.sqrt(weight / (2 * dimension)) * np.concatenate([np.eye(dimension), -np.eye(dimension)])
    assert log_volume(rows) == pytest.approx(math.log1p(weight), abs=1e-12)
    assert log_volume(rows, ridge=2.0) == pytest.approx(math.log1p(weight / 2), abs=1e-12)


def test_residuals_all_alike():
    residual, weight = np.array([0.3, -0.4, 0.0, 0.5]), 0.2
    rows = np.repeat(math.sqrt(weight / 6) * residual[None], 6, axis=0)
    expected = math.log1p(4 * weight * float(residual @ residual)) / 4
    assert log_volume(rows) == pytest.approx(expected, abs=1e-12)


def test_negatives_above_their_positive_are_worth_exactly_nothing():
    q, p = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    values = information([(q, p, [(q, 0.0), (p, 0.0)])], 2).values()
    assert (values["eci_sem"][0], values["eci_sem_trace"][0]) == (0.0, 0.0)
    assert math.isnan(values["eci_sem_effective_rank"][0])
    assert per_query(*arrays([(q, p, [(q, 0.0), (p, 0.0)])], 2)).tolist() == [0.0]


def test_the_weight_peaks_where_the_definition_says():
    margins = np.linspace(-0.5, 0.5, 200_001)
    found = weights(margins, np.zeros_like(margins), 0.05)
    assert margins[found.argmax()] == pytest.approx(1.3170 * 0.05, abs=1e-5)
    assert found.max() == pytest.approx(0.3849, abs=1e-4)
    assert weights([0.05], [0.25], 0.05) == pytest.approx(0.75 * weights([0.05], [0.0], 0.05))
    assert weights([0.05], [np.nan], 0.05) == weights([0.05], [0.0], 0.05)
    assert weights([40.0, -40.0], [0.0, 0.0], 0.002).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("rows", "dimension"), [(3, 7), (7, 7), (40, 7)])
def test_gram_and_direct_route_agree(rows, dimension):
    found = np.random.default_rng(rows).standard_normal((rows, dimension))
    direct = np.linalg.slogdet(np.eye(dimension) + dimension * found.T @ found)[1] / dimension
    gram = np.linalg.slogdet(np.eye(rows) + dimension * found @ found.T)[1] / dimension
    assert abs(log_volume(found) - direct) < 1e-8
    assert abs(log_volume(found) - gram) < 1e-8


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_bounds_and_what_must_not_change_it(seed, parts):
    found, rng = triples(seed, queries=12), np.random.default_rng(seed)
    groups = np.arange(len(found)) % GROUPS
    whole = information(found, 6, groups=groups)
    value = {name: column[0] for name, column in whole.values().items()}
    if not any(own for _, _, own in found):
        assert all(math.isnan(each) for each in value.values())
        return
    # Between nothing and the volume of a matrix with the same trace and no preferred direction.
    assert 0 <= value["eci_sem"] <= math.log1p(value["eci_sem_trace"]) + 1e-12
    twice = (whole + whole).values()
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    turned = [(q @ rotation, p @ rotation, [(n @ rotation, x) for n, x in own]) for q, p, own in found]
    shuffled = [(q, p, [own[place] for place in rng.permutation(len(own))]) for q, p, own in found]
    cut = np.array_split(np.arange(len(found)), parts)
    pieces = [information([found[i] for i in part], 6, groups=groups[part]) for part in cut]
    added = pieces[0]
    for piece in pieces[1:]:
        added = piece + added
    for other in (twice, information(turned, 6).values(), information(shuffled, 6).values(), added.values()):
        assert {name: column[0] for name, column in other.items()} == pytest.approx(
            value, rel=1e-7, abs=1e-12, nan_ok=True
        )


def test_nothing_is_undefined():
    empty = [(np.array([1.0, 0.0]), np.array([0.0, 1.0]), [])]
    assert all(np.isnan(column).all() for column in information(empty, 2).values().values())
    assert np.isnan(information(empty, 2).score())
    assert np.isnan(per_query(*arrays(empty, 2))).tolist() == [True]


def test_many_triples_of_many_dimensions_fit():
    """100,000 triples at d = 1,024: the matrices and one tile, never a table of residuals."""
    import tracemalloc

    rng = np.random.default_rng(0)
    documents = unit(rng, 500, 1024).astype(np.float32)
    rows = Ragged.from_lengths(rng.integers(0, 500, 100_000), [50] * 2000)
    groups = np.arange(2000) % GROUPS
    weight = np.full(100_000, 0.1)
    positive = documents[rng.integers(0, 500, 2000)]
    tracemalloc.start()
    found = Information.of(groups, positive, documents, rows, weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.queries.sum() == 2000
    assert peak < found.matrices.nbytes + 150_000_000
