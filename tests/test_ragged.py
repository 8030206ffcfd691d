from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eci.ragged import Ragged

numbers = st.floats(-50, 50, allow_nan=False, width=32)
ragged_rows = st.lists(st.lists(numbers, max_size=6), min_size=1, max_size=12)


@given(ragged_rows)
def test_reductions_equal_loops_with_empty_rows_anywhere(rows):
    ragged = Ragged.from_rows(rows)
    for row, total, mean, largest, lse, place in zip(
        rows,
        ragged.sums(),
        ragged.means(),
        ragged.maxima(),
        ragged.logsumexp(),
        ragged.argmaxima(),
        strict=True,
    ):
        assert total == pytest.approx(math.fsum(row), abs=1e-9)
        if row:
            assert mean == pytest.approx(math.fsum(row) / len(row), abs=1e-9)
            assert largest == max(row)
            assert ragged.values[place] == max(row)
            expected = max(row) + math.log(math.fsum(math.exp(x - max(row)) for x in row))
            assert lse == pytest.approx(expected, abs=1e-9)
        else:
            assert math.isnan(mean)
            assert math.isnan(largest)
            assert lse == -math.inf
            assert place == -1


@given(ragged_rows, st.data())
def test_take_and_keep_equal_list_operations(rows, draw):
    ragged = Ragged.from_rows(rows)
    chosen = draw.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    taken = ragged.take(np.array(chosen, dtype=np.int64))
    assert [taken[i].tolist() for i in range(len(taken))] == [rows[i] for i in chosen]
    mask = np.array(
        draw.draw(st.lists(st.booleans(), min_size=len(ragged.values), max_size=len(ragged.values))), bool
    )
    kept = ragged.keep(mask)
    flags = iter(mask)
    assert [kept[i].tolist() for i in range(len(kept))] == [[x for x in row if next(flags)] for row in rows]


@pytest.mark.parametrize("offsets", [[], [1, 2], [0, 3], [0, 2, 1, 2]])
def test_offsets_that_do_not_describe_the_values_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets must rise from 0 to 2"):
        Ragged(np.zeros(2), np.array(offsets, dtype=np.int64))


def test_argmaxima_takes_the_first_of_equal_entries():
    assert Ragged.from_rows([[1, 3, 3], [2, 2]]).argmaxima().tolist() == [1, 3]
