"""Selection of negatives against loops, and what each filter says it removed."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eci.errors import EciError
from eci.miners.copies import near_copies
from eci.miners.filters import Candidates, Filters, Selector, curated
from eci.ragged import Ragged


def candidates(rows, floor, documents=None, queries=None):
    scores = Ragged.from_rows(rows)
    documents = np.arange(len(scores.values)) if documents is None else np.asarray(documents)
    queries = np.arange(len(rows)) if queries is None else queries
    return Candidates(
        scores.with_values(documents), scores.values, np.asarray(floor, float), np.asarray(queries, np.uint64)
    )


def select(filters, k, given, copies=np.zeros_like, reach=None):
    selector = Selector(filters, k, reach or filters.range_max or 10**6)
    return selector.select(given, copies), selector


def loop(row, floor, filters, k, copies=()):
    """What the docstring of `Filters` says, one candidate after the other; places in the row."""
    passing = []
    for place, score in enumerate(row):
        if filters.absolute_margin is not None and score + filters.absolute_margin > floor:
            continue
        if filters.relative_margin is not None and score > floor - filters.relative_margin * abs(floor):
            continue
        if filters.max_score is not None and score > filters.max_score:
            continue
        if filters.min_score is not None and score < filters.min_score:
            continue
        if place in copies:
            continue
        passing.append(place)
    return passing[filters.range_min : filters.range_max][:k]


scores = st.floats(-1, 1).map(lambda x: round(x, 2))
optional = st.none() | scores
settings = st.builds(
    Filters,
    range_min=st.integers(0, 3),
    range_max=st.none() | st.integers(4, 9),
    absolute_margin=optional,
    relative_margin=optional,
    max_score=st.none() | st.floats(0, 1),
    min_score=st.none() | st.floats(-1, -0.01),
)


@given(
    st.lists(st.lists(scores, max_size=12), min_size=1, max_size=5), settings, st.integers(1, 5), st.data()
)
def test_selection_is_what_a_loop_selects(rows, filters, k, data):
    rows = [sorted(row, reverse=True) for row in rows]
    floor = data.draw(st.lists(scores, min_size=len(rows), max_size=len(rows)))
    size = sum(map(len, rows))
    copied = data.draw(st.sets(st.integers(0, max(0, size - 1)), max_size=4))
    mask = np.isin(np.arange(size), list(copied))
    chosen, _ = select(filters, k, candidates(rows, floor), lambda asked: asked & mask)
    start, expected = 0, []
    for row, low in zip(rows, floor, strict=True):
        own = {place - start for place in copied}
        expected += [start + place for place in loop(row, low, filters, k, own)]
        start += len(row)
    assert np.flatnonzero(chosen).tolist() == expected


def test_what_lies_outside_the_window_is_counted():
    lists = candidates([[0.9, 0.8, 0.7, 0.6, 0.5], [0.4]], [1.0, 1.0])
    chosen, selector = select(Filters(range_min=1, range_max=3), 5, lists)
    assert np.flatnonzero(chosen).tolist() == [1, 2]
    assert selector.removed == {"range_min": 2, "range_max": 2}
    # What lies beyond k alone was not removed by a filter.
    assert select(Filters(), 2, lists)[1].removed == {}


def test_a_negative_floor_is_lowered_by_the_margin_not_raised():
    # −0.4·0.95 = −0.38 would let −0.39 pass; −0.4 − 0.05·0.4 = −0.42 does not.
    chosen, selector = select(Filters(relative_margin=0.05), 5, candidates([[-0.39, -0.41, -0.43]], [-0.4]))
    assert chosen.tolist() == [False, False, True]
    assert selector.removed == {"relative margin": 2}


def test_each_filter_counts_what_the_earlier_ones_left():
    filters = Filters(absolute_margin=0.1, max_score=0.5, min_score=0.2)
    given_ = candidates([[0.9, 0.75, 0.6, 0.4, 0.1]], [0.8])
    chosen, selector = select(filters, 5, given_)
    assert chosen.tolist() == [False, False, False, True, False]
    assert selector.removed == {"absolute margin": 2, "max score": 1, "min score": 1}


def test_copies_are_asked_only_for_what_would_be_taken():
    asked = []

    def copies(mask):
        asked.append(np.flatnonzero(mask).tolist())
        return mask & (np.arange(6) < 2)

    chosen, selector = select(Filters(), 2, candidates([[6, 5, 4, 3, 2, 1]], [9]), copies)
    assert np.flatnonzero(chosen).tolist() == [2, 3]
    assert asked == [[0, 1], [2, 3]]
    assert selector.removed["near copies of a positive"] == 2


def test_random_sampling_depends_on_seed_query_and_document_alone():
    rows = [np.linspace(1, 0, 40).tolist()] * 2
    both, _ = select(Filters(sampling="random", seed=3), 5, candidates(rows, [2, 2], queries=[7, 8]))
    alone, _ = select(
        Filters(sampling="random", seed=3),
        5,
        candidates(rows[1:], [2], documents=range(40, 80), queries=[8]),
    )
    other, _ = select(Filters(sampling="random", seed=4), 5, candidates(rows, [2, 2], queries=[7, 8]))
    assert both[40:].tolist() == alone.tolist()
    assert both.tolist() != other.tolist()
    assert both[:40].tolist() != both[40:].tolist()
    assert both.sum() == 10


def test_random_sampling_is_uniform():
    size, queries, k = 20, 4000, 5
    documents = np.tile(np.arange(size), queries)
    given_ = candidates([[0.0] * size] * queries, [1.0] * queries, documents, np.arange(queries) * 977)
    chosen, _ = select(Filters(sampling="random"), k, given_)
    counts = np.bincount(documents[chosen], minlength=size)
    expected = queries * k / size
    # χ² with 19 degrees of freedom exceeds 43.8 once in a thousand draws; the seed is fixed.
    assert ((counts - expected) ** 2 / expected).sum() < 43.8


def test_a_document_is_used_no_more_often_than_allowed_across_batches():
    selector = Selector(Filters(max_uses=2, near_copy=None), 1, 10)
    given_ = candidates([[0.9, 0.8]] * 3, [1.0] * 3, documents=[7, 8] * 3)
    first = selector.select(given_, np.zeros_like)
    others = replace(given_, queries=given_.queries + np.uint64(3))
    second = selector.select(others, np.zeros_like)
    assert first.tolist() == [True, False, True, False, False, True]
    assert second.tolist() == [False, True, False, False, False, False]
    assert selector.removed["documents used often enough"] == 6


def test_with_a_limit_of_uses_copies_are_left_out_too():
    selector = Selector(Filters(max_uses=1), 1, 10)
    chosen = selector.select(candidates([[0.9, 0.8]], [1.0]), lambda mask: mask & np.array([True, False]))
    assert chosen.tolist() == [False, True]
    assert selector.removed["near copies of a positive"] == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"range_min": -1}, "range_min"),
        ({"range_min": 5, "range_max": 5}, "range_max"),
        ({"min_score": 0.5, "max_score": 0.4}, "nothing can pass"),
        ({"relative_margin": float("nan")}, "relative_margin must be a finite number"),
        ({"sampling": "best"}, "'top' or 'random'"),
        ({"max_uses": 0}, "max_uses"),
        ({"near_copy": 1.5}, "near_copy"),
    ],
)
def test_impossible_filters_are_refused(wrong, words):
    with pytest.raises(EciError, match=words):
        Filters(**wrong)


def test_a_window_narrower_than_k_is_refused():
    with pytest.raises(EciError, match="6 negatives do not fit between range_min 5 and range_max 10"):
        Filters(range_min=5, range_max=10).reach(6, known=1)


def test_the_reach_is_that_of_sentence_transformers_where_filters_are_on():
    assert Filters(range_min=2, relative_margin=0.1).reach(5, known=3) == 2 + 50 + 3
    assert Filters(range_max=40).reach(5, known=3) == 40


letters = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


@given(st.lists(letters, min_size=1, max_size=8), st.data(), st.sampled_from([0.1, 1 / 3, 0.5, 0.8, 1.0]))
def test_near_copies_are_those_of_sets_of_words(texts, data, threshold):
    place = st.integers(0, len(texts) - 1)
    pairs = data.draw(st.lists(st.tuples(place, place), max_size=12))

    def grams(text):
        found = text.split()
        size = min(3, len(found))
        return {tuple(found[at : at + size]) for at in range(len(found) - size + 1)}

    expected = []
    for one, two in pairs:
        first, second = grams(texts[one]), grams(texts[two])
        expected.append(len(first & second) / len(first | second) >= threshold)
    found = near_copies(texts, np.array(pairs, dtype=np.int64).reshape(-1, 2), threshold)
    assert found.tolist() == expected


def test_near_copies_are_those_that_share_enough_of_their_phrases():
    rng = np.random.default_rng(0)
    base = [f"w{number}" for number in range(200)]
    texts = [" ".join(base)]
    for changed in (0, 1, 4, 8, 16, 60):
        copy = list(base)
        for place in rng.choice(200, changed, replace=False):
            copy[place] = "other"
        texts.append(" ".join(copy))
    pairs = np.array([[0, number] for number in range(len(texts))] * 3)
    expected = [True, True, True, True, False, False, False] * 3
    assert near_copies(texts, pairs, 0.8).tolist() == expected
    assert near_copies(texts, pairs[:, ::-1], 0.8).tolist() == expected


def test_near_copies_on_the_bound():
    short = "a b c d e f g h i j"
    texts = [short, f"{short} longer longest", "a a a", "a a a a"]
    pairs = np.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    assert near_copies(texts, pairs, 0.8).tolist() == [True] * 4
    assert near_copies(texts, pairs, 1.0).tolist() == [False, False, True, True]
    # 0.55 * 100 is more than 55 in floating point.
    names = [f"n{number}" for number in range(57)] + [f"longer{number}" for number in range(45)]
    texts = [" ".join(names), " ".join(names[:57]), " ".join(names[:56])]
    pairs = np.array([[0, 1], [1, 0], [0, 2], [2, 0]])
    assert near_copies(texts, pairs, 0.55).tolist() == [True, True, False, False]


def test_a_long_text_is_gone_through_once():
    rng = np.random.default_rng(0)
    long, *short = (" ".join(f"w{n}" for n in rng.integers(0, 9999, size)) for size in (200_000, *[60] * 200))
    start = time.process_time()
    assert not near_copies([long, *short], np.array([[0, n] for n in range(1, 201)]), 0.8).any()
    once = time.process_time()
    near_copies([long, short[0]], np.array([[1, 0]]), 0.8)
    assert once - start < 20 * (time.process_time() - once)


def test_short_and_empty_texts_are_compared_by_their_words():
    texts = ["red fox", "Red  Fox!", "blue", "", "one two three four"]
    pairs = np.array([[0, 1], [0, 2], [3, 4], [0, 4]])
    assert near_copies(texts, pairs, 0.8).tolist() == [True, False, False, False]


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=1, max_size=12),
    st.floats(-1, 1),
    st.booleans(),
)
def test_margins_spare_what_is_curated_and_count_it(drawn, floor, keep):
    scores, made = (list(side) for side in zip(*drawn, strict=True))
    filters = Filters(absolute_margin=0.1, max_score=0.5, near_copy=None, keep_curated=keep)
    given_ = replace(candidates([scores], [floor]), curated=np.array(made))
    chosen, selector = select(filters, None, given_)
    close = [score + 0.1 > floor for score in scores]
    spared = [near and own and keep for near, own in zip(close, made, strict=True)]
    expected = [
        (not near or spare) and score <= 0.5 for score, near, spare in zip(scores, close, spared, strict=True)
    ]
    assert chosen.tolist() == expected
    assert selector.exempt.total() == sum(spared)
    assert selector.removed["absolute margin"] == sum(close) - sum(spared)


def test_both_margins_spare_and_without_the_option_neither_does():
    given_ = replace(candidates([[0.9, 0.2]], [0.8]), curated=np.array([True, True]))
    for keep, left in ((True, [True, True]), (False, [False, True])):
        filters = Filters(absolute_margin=0.0, relative_margin=0.1, keep_curated=keep)
        chosen, selector = select(filters, 2, given_)
        assert chosen.tolist() == left
        assert dict(selector.exempt) == ({"absolute margin": 1, "relative margin": 1} if keep else {})
    assert select(Filters(absolute_margin=0.0, keep_curated=True), 2, candidates([[0.9]], [0.8]))[
        0
    ].tolist() == [False]


def test_curated_is_a_key_of_extra_and_no_text_in_it():
    extra = pa.array(
        [
            '{"edit":"date"}',
            '{"title":"t","broken_requirement" : {"id":"R1"}}',
            '{"explanation":"\\"edit\\": {}"}',
            '{"domain":"edit"}',
            '{"sources":["broken_requirement"]}',
            None,
        ]
    )
    assert curated(extra).tolist() == [True, True, False, False, False, False]
