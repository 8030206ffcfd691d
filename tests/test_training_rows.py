"""Rows drawn for training: of which texts, how many, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.errors import DataError, EciError
from eci.training.rows import Drawing, TrainingRows
from fakes import examples_of, make_rows


def uneven(queries=30, seed=0):
    """Rows of two sources whose lists have other lengths for each query, some of them none."""
    rng = np.random.default_rng(seed)
    rows = make_rows(queries, {"bm25": 6, "llm": 3}, seed)
    for row in rows:
        most = {"bm25": int(rng.integers(0, 7)), "llm": int(rng.integers(0, 4))}
        row["negatives"] = [n for n in row["negatives"] if n["rank"] <= most[n["source"]]]
        row["positives"] += [{"text": f"{row['query']} also {n}"} for n in range(int(rng.integers(0, 3)))]
    return rows


def lists(examples, source):
    place = examples.sources.index(source)
    return examples.negatives.keep(examples.source == place)


def same(one, other):
    return (
        np.array_equal(one.query, other.query)
        and np.array_equal(one.positive, other.positive)
        and all(
            np.array_equal(a.values, b.values) and np.array_equal(a.offsets, b.offsets)
            for a, b in zip(one.negatives, other.negatives, strict=True)
        )
    )


@given(
    seed=st.integers(0, 50),
    wanted=st.sampled_from([{"bm25": 1}, {"bm25": 4}, {"llm": 2, "bm25": 3}, {}]),
    rows=st.integers(0, 3),
    positives=st.integers(0, 2),
)
@settings(max_examples=40, deadline=None)
def test_rows_hold_what_their_query_has_and_nothing_twice(seed, wanted, rows, positives):
    examples = examples_of(uneven(seed=seed % 5))
    drawn = TrainingRows.of(examples, wanted, Drawing(rows, positives, seed))
    assert drawn.parts == tuple(wanted)
    for row, (query, positive) in enumerate(zip(drawn.query, drawn.positive, strict=True)):
        assert positive in examples.positives[query]
        for label, part in zip(drawn.parts, drawn.negatives, strict=True):
            own = lists(examples, label)[query]
            assert set(part[row]) <= set(own)
            assert len(set(part[row])) == len(part[row]) == min(wanted[label], len(set(own)))
    counted = np.minimum(examples.positives.lengths, positives or 99)
    expected = counted * (rows or 1)
    found = np.bincount(drawn.query, minlength=len(expected))
    assert (found == expected).all() if rows else (found >= expected).all()


def test_the_same_seed_draws_the_same_and_the_same_positives_whatever_the_source():
    examples = examples_of(uneven())
    one = TrainingRows.of(examples, {"bm25": 2}, Drawing(seed=3))
    assert same(one, TrainingRows.of(examples, {"bm25": 2}, Drawing(seed=3)))
    assert not same(one, TrainingRows.of(examples, {"bm25": 2}, Drawing(seed=4)))
    for wanted in ({}, {"llm": 1}, {"bm25": 5, "llm": 1}):
        other = TrainingRows.of(examples, wanted, Drawing(seed=3))
        assert np.array_equal(one.query, other.query)
        assert np.array_equal(one.positive, other.positive)


def test_as_many_rows_as_use_every_negative_once():
    examples = examples_of(uneven())
    for number in (1, 2, 4):
        drawn = TrainingRows.of(examples, {"bm25": number}, Drawing(rows=0))
        for query in range(len(examples.queries)):
            used = np.concatenate([drawn.negatives[0][row] for row in np.flatnonzero(drawn.query == query)])
            own = lists(examples, "bm25")[query]
            assert set(used) == set(own)
            if number == 1:
                assert len(used) == len(own)


def test_keep_takes_the_rows_of_the_marked_queries():
    examples = examples_of(uneven())
    drawn = TrainingRows.of(examples, {"bm25": 2}, Drawing(rows=2))
    marked = np.arange(len(examples.queries)) % 3 == 0
    kept = drawn.keep(marked)
    assert set(kept.query) == set(np.flatnonzero(marked))
    assert len(kept) + len(drawn.keep(~marked)) == len(drawn)
    places = np.flatnonzero(marked[drawn.query])
    assert all(
        np.array_equal(kept.negatives[0][n], drawn.negatives[0][place]) for n, place in enumerate(places)
    )


def test_no_row_is_padded():
    pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
    examples = examples_of(uneven(90))
    drawn = TrainingRows.of(examples, {"bm25": 2, "llm": 2}, Drawing())
    made = drawn.datasets(examples)
    columns = drawn.columns(["llm"])
    assert list(made) == list(columns) == ["2-2", "2-1", "2-0", "1-2", "1-1", "1-0", "0-2", "0-1", "0-0"]
    assert sum(map(len, made.values())) == len(drawn)
    assert columns["2-1"] == (False, False, True)
    assert columns["0-0"] == ()
    texts = {examples.queries[query]: query for query in range(len(examples.queries))}
    for name, dataset in made.items():
        mined, generated = map(int, name.split("-"))
        names = ["anchor", "positive", *(f"negative_{n + 1}" for n in range(mined + generated))]
        assert dataset.column_names == names
        for row in dataset:
            query = texts[row["anchor"]]
            assert row["positive"] in [examples.documents[n] for n in examples.positives[query]]
            for column, made_up in zip(names[2:], columns[name], strict=True):
                own = lists(examples, "llm" if made_up else "bm25")[query]
                assert row[column] in [examples.documents[n] for n in own]


def test_in_batch_negatives_alone_are_pairs():
    pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
    examples = examples_of(uneven())
    drawn = TrainingRows.of(examples, {}, Drawing())
    (only,) = drawn.datasets(examples).values()
    assert only.column_names == ["anchor", "positive"]
    assert len(only) == len(examples.queries)
    assert drawn.columns(["llm"]) == {"0": ()}


def test_refusals():
    examples = examples_of(uneven())
    with pytest.raises(DataError, match="no source dense and x. They have bm25 and llm"):
        TrainingRows.of(examples, {"dense": 1, "x": 1}, Drawing())
    with pytest.raises(EciError, match="at least one negative of each source"):
        TrainingRows.of(examples, {"bm25": 0}, Drawing())
    with pytest.raises(EciError, match="0 or more, got -1 and 1"):
        Drawing(rows=-1)
