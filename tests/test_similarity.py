from __future__ import annotations

import numpy as np
import pytest

from eci import similarity
from eci.ragged import Ragged
from eci.similarity import lengths, normalise, own_documents, unusable


def drawn(dimension, queries=40, documents=90):
    rng = np.random.default_rng(dimension)
    asked, held = (
        normalise(rng.standard_normal((size, dimension), dtype=np.float32)) for size in (queries, documents)
    )
    sizes = rng.integers(0, 9, queries)
    return asked, held, Ragged.from_lengths(rng.integers(0, documents, sizes.sum()), sizes)


@pytest.fixture(params=[1, 2, 5])
def threads(request, monkeypatch):
    """So many threads, however little there is to do."""
    monkeypatch.setattr(similarity, "_threads", lambda: request.param)
    monkeypatch.setattr(similarity, "_TILES_OF_A_THREAD", 1)
    monkeypatch.setattr(similarity, "_TILE_BYTES", 1)
    return request.param


@pytest.mark.parametrize("dimension", [1, 3, 17, 64, 384])
def test_cosines_do_not_depend_on_threads_or_on_what_is_beside(dimension, threads):
    queries, documents, own = drawn(dimension)
    assert min(2, threads) <= len(similarity._parts(len(own.values), dimension)) <= threads
    found = own_documents(queries, documents, own)
    for query, document, value in zip(own.rows, own.values, found.values, strict=True):
        alone = own_documents(queries[[query]], documents, Ragged.from_lengths(np.array([document]), [1]))
        assert alone.values[0] == value
        assert value == pytest.approx(float(queries[query] @ documents[document].astype(float)), abs=1e-6)
    assert found.offsets.tolist() == own.offsets.tolist()


def test_nobody_has_documents():
    own = Ragged.from_lengths(np.empty(0, dtype=np.int64), [0, 0])
    found = own_documents(np.eye(2, dtype=np.float32), np.empty((0, 2), dtype=np.float32), own)
    assert len(found) == 2
    assert found.values.dtype == np.float32


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_document_that_is_not_there(wrong):
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(IndexError, match="between 0 and 2"):
        own_documents(vectors, vectors, Ragged.from_lengths(np.array([0, wrong]), [1, 1, 0]))


@pytest.mark.parametrize(("told", "expected"), [("1", 1), ("0", 3), ("", 3), ("two", 3), ("64", 3)])
def test_threads_are_those_the_process_may_have(told, expected, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert similarity._threads() == expected


def test_lengths_do_not_depend_on_what_is_beside():
    vectors = np.random.default_rng(0).standard_normal((300, 100)).astype(np.float16)
    made = normalise(vectors)
    assert made.dtype == np.float32
    for place in (0, 127, 128, 299):
        assert np.array_equal(normalise(vectors[[place]])[0], made[place])
        assert lengths(vectors)[place] == pytest.approx(np.linalg.norm(vectors[place].astype(float)))
    assert np.abs(lengths(made) - 1).max() < 1e-6


def test_vectors_that_are_of_no_use():
    vectors = np.ones((300, 2))
    vectors[[3, 200, 299]] = [[0, 0], [np.nan, 1], [1e200, 1]]
    assert unusable(vectors).tolist() == [3, 200, 299]
