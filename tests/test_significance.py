"""Randomisation tests, Holm's correction, and intervals of means."""

from __future__ import annotations

import json
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eci.errors import EciError, MissingDependency
from eci.results import Estimate
from eci.validation.evaluation import Evaluation
from eci.validation.measures import mean_interval
from eci.validation.significance import compare, holm, randomisation_test

stats = pytest.importorskip("scipy.stats", reason="the extra 'validate' is not installed")


def by_enumeration(differences):
    """Share of assignments of signs whose mean is as far from 0."""
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=len(differences))]
    return float(np.mean(np.array(sums) >= abs(np.sum(differences)) - 1e-12))


def evaluation(run, values, measure="nDCG@10"):
    per_query = {f"q{number}": float(value) for number, value in enumerate(values)}
    mean = Estimate(float(np.mean(values)), math.nan, math.nan)
    return Evaluation(run, {measure: mean}, len(per_query), {measure: per_query})


def test_by_hand():
    assert randomisation_test(np.array([0.3, 0.1, 0.2, 0.0, 0.4])) == 0.125
    assert randomisation_test(np.array([0.3, -0.3])) == 1.0


@pytest.mark.parametrize("nothing", [[], [0.0, 0.0], [0.0, 0.4]])
def test_nothing_to_tell_apart_is_no_difference(nothing):
    assert randomisation_test(np.array(nothing)) == 1.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-10, 10), min_size=2, max_size=9))
@example([1, 2, -3])
def test_few_differences_are_tested_exactly(tenths):
    # Tenths, as P@10 has them: many assignments have equal means, which rounding must not tell apart.
    differences = np.array(tenths) / 10
    assert randomisation_test(differences) == pytest.approx(by_enumeration(differences), abs=1e-12)


def test_many_differences_are_tested_at_random_near_the_exact_value():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.1, 0.25, 17)
    signs = 1 - 2 * ((np.arange(1 << 17)[:, None] >> np.arange(17)) & 1)
    exact = float(np.mean(abs(signs @ differences) >= abs(differences.sum()) - 1e-12))
    # Four standard errors of 10,000 draws.
    tolerance = 4 * math.sqrt(exact * (1 - exact) / 10_000)
    found = randomisation_test(differences)
    assert found == pytest.approx(exact, abs=tolerance)
    assert found == randomisation_test(differences)
    assert found != randomisation_test(differences, seed=1)
    assert randomisation_test(differences, resamples=99) * 100 == pytest.approx(
        round(randomisation_test(differences, resamples=99) * 100)
    )


def test_a_p_value_is_never_zero_and_has_no_direction():
    differences = np.full(40, 0.2)
    assert randomisation_test(differences) == pytest.approx(1 / 10_001)
    rng = np.random.default_rng(3)
    differences = rng.normal(0.05, 0.3, 60)
    assert randomisation_test(differences) == randomisation_test(-differences)


def test_alike_runs_are_told_apart_as_often_as_the_level_says():
    rng = np.random.default_rng(4)
    rejected = [randomisation_test(rng.choice([-0.5, -0.1, 0.0, 0.0, 0.1, 0.5], 60), resamples=199) <= 0.05
                for _ in range(300)]  # fmt: skip
    # Binomial(300, 0.05) lies in 4 … 28 with probability 0.9996.
    assert 4 <= sum(rejected) <= 28


def test_agrees_with_the_t_test_where_queries_are_many():
    differences = np.random.default_rng(5).normal(0.03, 0.3, 300)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert randomisation_test(differences) == pytest.approx(expected, abs=0.02)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_p_value_and_bonferroni_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    for before, after in zip(p_values, corrected, strict=True):
        assert before <= after <= min(1.0, before * len(p_values))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_interval_equals_scipys():
    values = np.random.default_rng(6).beta(0.5, 0.4, 37)
    found = mean_interval(values.tolist())
    low, high = stats.t.interval(0.95, 36, values.mean(), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high), abs=1e-9)


def test_interval_covers_as_often_as_it_says():
    # nDCG@10 of real collections is 0 for a third of the queries, 1 for a third, and between for the others.
    rng = np.random.default_rng(7)
    draws = np.where(rng.random((400, 300)) < 0.33, 0.0, np.where(rng.random((400, 300)) < 0.5, 1.0, 0.6))
    expected = 0.67 * 0.8
    covered = [found.low <= expected <= found.high for found in map(mean_interval, draws.tolist())]
    # Binomial(400, 0.95) lies in 362 … 395 with probability 0.999.
    assert 362 <= sum(covered) <= 395


def test_interval_of_one_query_is_unknown():
    found = mean_interval([0.5])
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_runs_are_compared_in_pairs():
    rng = np.random.default_rng(8)
    base = rng.random(80)
    values = {"base": base, "alike": base + rng.normal(0, 0.05, 80), "worse": base - rng.random(80) / 2}
    result = compare([evaluation(name, each) for name, each in values.items()])
    assert [(entry.run, entry.against) for entry in result.differences] == [
        ("alike", "base"),
        ("worse", "base"),
        ("worse", "alike"),
    ]
    for entry in result.differences:
        difference = values[entry.run] - values[entry.against]
        mean = mean_interval(difference.tolist())
        assert (entry.difference, entry.low, entry.high) == (mean.value, mean.low, mean.high)
        assert entry.p == randomisation_test(difference)
    assert [entry.p_holm for entry in result.differences] == holm([entry.p for entry in result.differences])
    told = json.loads(result.to_json())
    assert (told["schema"], told["measure"], told["resamples"], told["seed"]) == (
        "eci.evaluations/1",
        "nDCG@10",
        10_000,
        0,
    )
    assert (
        told["differences"][1]["p_holm"] == result.differences[1].p_holm < 0.05 < result.differences[0].p_holm
    )
    assert [entry["schema"] for entry in told["evaluations"]] == ["eci.evaluation/1"] * 3


def test_runs_that_cannot_be_compared_are_refused():
    one, two = evaluation("one", [0.1, 0.2]), evaluation("two", [0.1, 0.3])
    with pytest.raises(EciError, match="of different names, can be compared; got one, one"):
        compare([one, one])
    with pytest.raises(EciError, match="Two runs or more"):
        compare([one])
    with pytest.raises(EciError, match=r"one was not evaluated by AP, but by nDCG@10"):
        compare([one, two], "AP")
    with pytest.raises(EciError, match="three and one were evaluated on different queries"):
        compare([one, evaluation("three", [0.1, 0.2, 0.3])])


def test_scipy_is_asked_for_by_the_name_of_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.stats", None)
    with pytest.raises(MissingDependency, match=r"A significance test needs scipy.*eci\[validate\]"):
        randomisation_test(np.array([0.1, 0.2]))
