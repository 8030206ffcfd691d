from __future__ import annotations

import numpy as np
import pytest

from eci.miners import mine_bm25, mine_dense, mine_random
from eci.ragged import Ragged
from eci.similarity import normalise

CORPUS = [
    "the fox jumps over the dog",
    "a fox and a dog and a cat",
    "cats sleep all day",
    "stock markets fell sharply",
    "the fox hunts at night",
    "dogs bark at foxes",
]


def rows(ranking):
    return [ranking.documents[i].tolist() for i in range(len(ranking.documents))]


def test_bm25_finds_words_and_leaves_known_positives_out():
    known = Ragged.from_lengths(np.array([0, 3]), [1, 1])
    ranking = mine_bm25(["fox dog", "stock markets"], CORPUS, known, 2)
    assert set(rows(ranking)[0]) <= {1, 4}
    assert 0 not in rows(ranking)[0]
    assert 3 not in rows(ranking)[1]
    assert ranking.scorer == "bm25"
    assert ranking.scores[0] >= ranking.scores[1] > 0


def test_bm25_returns_what_the_corpus_has():
    known = Ragged.from_lengths(np.array([0, 1]), [2])
    assert sorted(rows(mine_bm25(["fox sleep markets bark"], CORPUS, known, 50))[0]) == [2, 3, 4, 5]


def test_bm25_finds_nothing_where_no_word_is_shared():
    none = Ragged.from_lengths(np.array([], dtype=np.int64), [0, 0])
    ranking = mine_bm25(["fox", "zebra"], CORPUS, none, 50)
    assert sorted(rows(ranking)[0]) == [0, 1, 4]
    assert rows(ranking)[1] == []
    assert len(ranking.scores) == 3


def test_dense_equals_a_full_sort_without_known_positives():
    rng = np.random.default_rng(0)
    queries, corpus = normalise(rng.normal(size=(23, 8))), normalise(rng.normal(size=(40, 8)))
    known = Ragged.from_lengths(rng.integers(0, 40, size=46), np.full(23, 2))
    ranking = mine_dense(queries, corpus, known, 7, "m")
    for number, found in enumerate(rows(ranking)):
        order = np.argsort(-(corpus @ queries[number]))
        assert found == [d for d in order if d not in set(known[number])][:7]
    first = ranking.documents[0][0]
    assert ranking.scores[0] == pytest.approx(corpus[first] @ queries[0], abs=1e-6)


def test_dense_tiles_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    queries, corpus = normalise(rng.normal(size=(9, 4))), normalise(rng.normal(size=(30, 4)))
    known = Ragged.from_lengths(np.arange(9), np.ones(9, dtype=np.int64))
    whole = rows(mine_dense(queries, corpus, known, 5, "m"))
    monkeypatch.setattr("eci.miners.dense._TILE", 60)
    assert rows(mine_dense(queries, corpus, known, 5, "m")) == whole


def test_random_is_seeded_without_repetition_or_known_positives():
    known = Ragged.from_lengths(np.arange(10), np.ones(10, dtype=np.int64))
    one, same, other = (rows(mine_random(30, known, 12, seed)) for seed in (1, 1, 2))
    assert one == same != other
    for number, row in enumerate(one):
        assert len(set(row)) == 12
        assert number not in row
