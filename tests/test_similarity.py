from __future__ import annotations

import numpy as np
import pytest

from eci import compiled, similarity
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


@pytest.fixture
def paid(monkeypatch):
    """numba at once, however few pairs were compared."""
    pytest.importorskip("numba", reason="numba, of the extra of its name, is not installed")
    monkeypatch.setattr(similarity, "_PAYS", -1)
    if compiled.kernel() is None:
        pytest.skip("einsum sums in another order on this processor")


@pytest.fixture
def by_numpy(monkeypatch):
    def made(*given):
        with monkeypatch.context() as patch:
            patch.setattr(similarity, "_PAYS", 2**62)
            return own_documents(*given).values

    return made


@pytest.mark.parametrize("dimension", [16, 48, 384, 768])
@pytest.mark.parametrize("pairs", [0, 1, 3, 4, 5, 259])
def test_numba_gives_the_same_bits(dimension, pairs, paid, by_numpy, threads, calls):
    queries, documents, own = drawn(dimension, 100)
    own = Ragged(own.values[:pairs], np.minimum(own.offsets, pairs))
    expected = by_numpy(queries, documents, own)
    assert calls == []
    assert own_documents(queries, documents, own).values.tobytes() == expected.tobytes()
    assert sum(calls) == pairs


def test_numba_takes_what_is_mapped_or_not_in_one_piece(tmp_path, paid, by_numpy, calls):
    queries, documents, own = drawn(64)
    expected = by_numpy(queries, documents, own)
    np.save(tmp_path / "documents.npy", documents)
    mapped = np.load(tmp_path / "documents.npy", mmap_mode="r")
    apart = Ragged(np.repeat(own.values, 2)[::2], own.offsets)
    short = Ragged(own.values.astype(np.int32), own.offsets)
    for held, lists in ((mapped, own), (documents, apart), (documents, short)):
        assert own_documents(queries, held, lists).values.tobytes() == expected.tobytes()
    assert len(calls) == 3
    # Not: vectors with gaps, other dimensions.
    gaps = np.repeat(documents, 2, axis=0)[::2]
    assert own_documents(queries, gaps, own).values.tobytes() == expected.tobytes()
    own_documents(queries[:, :40].copy(), documents[:, :40].copy(), own)
    wide = np.ones((1, compiled.MOST + compiled.BLOCK), dtype=np.float32)
    own_documents(wide, wide, Ragged.from_lengths(np.array([0]), [1]))
    with pytest.raises(ValueError, match="same as the output|shape|dimension|out"):
        own_documents(queries, documents[:, :32].copy(), own)
    assert len(calls) == 3


def test_numba_is_asked_once_it_pays(paid, monkeypatch, calls):
    given = drawn(16)
    monkeypatch.setattr(similarity, "_PAYS", 2 * len(given[2].values))
    monkeypatch.setattr(similarity._Compared, "pairs", 0)
    found = [own_documents(*given).values.tobytes() for _ in range(4)]
    assert len(set(found)) == 1
    assert len(calls) == 2


@pytest.fixture
def calls(monkeypatch):
    """The pairs of each call of the compiled kernel."""
    kernel, made = compiled.kernel(), []

    def counted(queries, documents, rows, chosen, out):
        made.append(len(out))
        kernel(queries, documents, rows, chosen, out)

    if kernel is not None:
        monkeypatch.setattr(compiled, "kernel", lambda: counted)
    return made


def test_without_numba_and_where_sums_differ_numpy_computes(monkeypatch):
    def none():
        raise ImportError("no numba")

    def other(queries, documents, rows, chosen, out):
        out[:] = (queries[rows] * documents[chosen]).astype(np.float64).sum(axis=1)

    assert compiled.kernel.__wrapped__() is None or callable(compiled.kernel())

    def broken():
        raise NotImplementedError("not usable in pure Python")

    for found in (none, broken, lambda: other):
        monkeypatch.setattr(compiled, "_compiled", found)
        assert compiled.kernel.__wrapped__() is None
