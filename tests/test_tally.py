from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eci.tally import GROUPS, Tally

columns = st.lists(
    st.tuples(st.integers(0, GROUPS - 1), st.one_of(st.just(math.nan), st.floats(-1e30, 1e30))), max_size=40
)


def of(entries):
    groups = np.array([group for group, _ in entries], dtype=np.int64)
    return Tally.of(groups, {"x": np.array([value for _, value in entries], dtype=np.float64)})


@given(columns, st.integers(1, 7), st.randoms())
def test_sums_do_not_depend_on_batches_or_order(entries, size, random):
    shuffled = list(entries)
    random.shuffle(shuffled)
    parts = [of(shuffled[i : i + size]) for i in range(0, len(shuffled), size)]
    added = sum(parts[1:], parts[0]) if parts else of([])
    assert added.by_group("x").tolist() == of(entries).by_group("x").tolist()
    assert {k: v.tolist() for k, v in added.replicates().items()} == {
        k: v.tolist() for k, v in of(entries).replicates().items()
    }


@given(columns)
def test_sums_equal_exact_arithmetic(entries):
    exact = sum((Fraction(value) for _, value in entries if not math.isnan(value)), Fraction(0))
    assert of(entries).total("x") == float(exact)


def test_replicates_leave_out_one_group_each():
    replicates = of([(0, 1.0), (0, 2.0), (3, 4.0)]).replicates()["x"]
    assert replicates.tolist() == [7.0, 4.0, *[7.0] * 2, 3.0, *[7.0] * (GROUPS - 4)]


def test_tallies_with_different_columns_add():
    groups = np.array([1])
    both = Tally.of(groups, {"a": np.ones(1)}) + Tally.of(groups, {"b": np.ones(1)})
    assert (both.total("a"), both.total("b"), both.total("c")) == (1.0, 1.0, 0.0)


def test_an_infinite_addend_is_refused():
    with pytest.raises(ValueError, match="finite"):
        Tally.of(np.array([0]), {"x": np.array([np.inf])})
