from __future__ import annotations

import numpy as np
import pytest

import reference
from eci.intervals import Jackknife, student_quantile
from eci.tally import GROUPS


def grouped(rng, queries, sources=2, shift=0.0):
    """Replicates of means, as the fast code gets them, and the numbers by group for the loops."""
    groups = rng.integers(0, GROUPS, size=queries)
    data = rng.normal(size=(sources, queries)) + rng.normal(size=queries)
    data[0] += shift
    replicates = np.array(
        [
            [row.mean(), *[row[groups != g].mean() if (groups != g).any() else np.nan for g in range(GROUPS)]]
            for row in data
        ]
    )
    return groups, data, replicates, np.bincount(groups, minlength=GROUPS)


@pytest.mark.parametrize("queries", [3, 9, 200])
def test_half_width_is_that_of_the_loops(queries):
    groups, data, replicates, sizes = grouped(np.random.default_rng(queries), queries)
    jackknife = Jackknife.of(replicates, sizes)
    filled = np.count_nonzero(sizes)
    for row, half in zip(data, jackknife.half_widths(), strict=True):
        _, error = reference.jackknife([row[groups == g] for g in range(GROUPS)], np.mean)
        assert half == pytest.approx(student_quantile(0.975, filled - 1) * error, rel=1e-9)


def test_difference_is_paired():
    groups, data, replicates, sizes = grouped(np.random.default_rng(1), 400)
    difference, half = Jackknife.of(replicates, sizes).difference(0, 1)
    _, error = reference.jackknife([(data[0] - data[1])[groups == g] for g in range(GROUPS)], np.mean)
    assert difference == pytest.approx((data[0] - data[1]).mean(), abs=1e-12)
    assert half == pytest.approx(student_quantile(0.975, GROUPS - 1) * error, rel=1e-9)
    # The queries are correlated between the sources; an unpaired interval would be much wider.
    widths = Jackknife.of(replicates, sizes).half_widths()
    assert half < 0.8 * np.hypot(*widths)


def test_student_quantile_equals_published_tables():
    # NIST/SEMATECH e-Handbook, table 1.3.6.7.2.
    table = {(0.95, 1): 6.314, (0.975, 2): 4.303, (0.99, 5): 3.365, (0.975, 19): 2.093, (0.999, 10): 4.144}
    for (probability, freedom), quantile in table.items():
        assert student_quantile(probability, freedom) == pytest.approx(quantile, abs=5e-4)
        assert student_quantile(1 - probability, freedom) == pytest.approx(-quantile, abs=5e-4)
    assert np.isnan(student_quantile(0.975, 0))


def test_probability_first_follows_the_difference():
    rng = np.random.default_rng(2)
    _, _, equal, sizes = grouped(rng, 400)
    equal[1] = equal[0]
    assert Jackknife.of(equal, sizes).probability_first() == pytest.approx([0.5, 0.5])
    _, _, apart, sizes = grouped(rng, 400, shift=1.0)
    assert Jackknife.of(apart, sizes).probability_first()[0] > 0.999


def test_probability_first_of_two_is_the_t_probability_of_their_difference():
    _, _, replicates, sizes = grouped(np.random.default_rng(4), 300, shift=0.05)
    jackknife = Jackknife.of(replicates, sizes)
    first = jackknife.probability_first(seed=0)[0]
    difference, half = jackknife.difference(0, 1)
    statistic = difference / (half / student_quantile(0.975, GROUPS - 1))
    grid = np.linspace(0.001, 0.999, 999)
    expected = np.interp(statistic, [student_quantile(p, GROUPS - 1) for p in grid], grid)
    assert first == pytest.approx(expected, abs=0.01)


def test_one_group_gives_no_interval_and_no_probability():
    replicates = np.full((2, 1 + GROUPS), 0.5)
    jackknife = Jackknife.of(replicates, np.eye(GROUPS, dtype=np.int64)[0] * 7)
    assert np.isnan(jackknife.half_widths()).all()
    assert np.isnan(jackknife.probability_first()).all()


def test_a_source_without_an_interval_takes_no_part_in_the_first_place():
    _, _, replicates, sizes = grouped(np.random.default_rng(4), 300, shift=1.0)
    lone = np.full((1, 1 + GROUPS), 9.0)
    lone[0, 3] = np.nan
    probability = Jackknife.of(np.vstack([replicates, lone]), sizes).probability_first()
    assert probability[0] > 0.999
    assert np.isnan(probability[2])
    assert np.isnan(Jackknife.of(replicates[:1], sizes).probability_first()).all()
