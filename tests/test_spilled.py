"""Numbers on disk, and keys that were met before."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci import seen, spilled
from eci.errors import OutputError
from eci.seen import Seen
from eci.spilled import Column, distinct, mapped

NUMBERS = st.lists(st.integers(-5, 20), max_size=40)


@pytest.fixture(autouse=True, params=[3, 1 << 20], ids=["on disk", "in memory"])
def tile(request, monkeypatch):
    """So many numbers are looked at in one go; fewer are kept in memory."""
    monkeypatch.setattr(spilled, "TILE", request.param)
    monkeypatch.setattr(seen, "TILE", request.param)


@settings(max_examples=50)
@given(st.lists(NUMBERS, max_size=8))
def test_a_column_holds_what_was_appended(parts):
    column = Column(np.int64)
    for part in parts:
        column.add(np.array(part, dtype=np.int64))
    told = [number for part in parts for number in part]
    assert len(column) == len(told)
    values = column.done(writable=True)
    assert values.tolist() == told
    assert distinct(values).tolist() == sorted(set(told))


@settings(max_examples=50)
@given(st.lists(st.lists(st.tuples(st.integers(-5, 20), st.integers(0, 2)), max_size=20), max_size=8))
def test_keys_are_known_from_the_first_time_on_with_their_first_value(parts):
    known, first = Seen(), dict[int, int]()
    for part in parts:
        keys, values = (np.array([pair[side] for pair in part], dtype=np.int64) for side in (0, 1))
        before = set(first)
        for key, value in part:
            first.setdefault(key, value)
        met, differs = known.add(keys, values)
        assert met.tolist() == [key in before for key, _ in part]
        assert differs.tolist() == [first[key] != value for key, value in part]
    assert len(known) == len(first)
    asked = np.arange(-6, 22)
    there, values = known.find(asked)
    assert there.tolist() == [key in first for key in asked.tolist()]
    assert values.tolist() == [first.get(key, 0) for key in asked.tolist()]


def test_a_full_disk_is_told_before_anything_is_written(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(
        OutputError, match=r"no space left for temporary files\. Free some space, or set TMPDIR"
    ):
        mapped(10, np.int64)


def test_systems_that_cannot_reserve_write_zeros(monkeypatch):
    monkeypatch.delattr("os.posix_fallocate", raising=False)
    assert mapped(10, np.float32).tolist() == [0.0] * 10


def test_many_keys_are_on_disk(monkeypatch):
    monkeypatch.setattr(seen, "TILE", 3)
    known = Seen()
    for start in range(0, 16, 2):
        known.add(np.array([start, start + 1]), np.zeros(2, dtype=np.int64))
    (keys, values), *_ = known._levels
    assert len(keys) > 3
    assert isinstance(keys.base, np.memmap)
    assert isinstance(values.base, np.memmap)
