from __future__ import annotations

import numpy as np
import pytest

from eci.errors import DataError
from eci.examples import Examples
from fakes import batch_of, examples_of, make_rows


def negatives_of(examples, query):
    places = range(examples.negatives.offsets[query], examples.negatives.offsets[query + 1])
    return [
        (examples.sources[examples.source[place]], examples.documents[examples.negatives.values[place]])
        for place in places
    ]


def row(query_id, query, positives, negatives, **extra):
    return {
        "query_id": query_id,
        "query": query,
        "positives": [p if isinstance(p, dict) else {"text": p} for p in positives],
        "negatives": [{"source": source, "text": text, **extra} for source, text in negatives],
    }


def test_each_text_is_kept_once_and_rows_keep_their_order():
    examples = examples_of(
        [row("1", "a", ["p"], [("x", "n"), ("y", "n"), ("x", "p2")]), row("2", "b", ["p2"], [])]
    )
    assert sorted(examples.documents) == ["n", "p", "p2"]
    assert examples.sources == ("x", "y")
    assert negatives_of(examples, 0) == [("x", "n"), ("y", "n"), ("x", "p2")]
    assert examples.covered().tolist() == [[True, True], [False, False]]


def test_rows_that_share_a_query_are_one_query():
    examples = examples_of(
        [
            row(None, "a", ["p1"], [("x", "n1")]),
            row(None, "b", ["p3"], [("x", "n1")]),
            row(None, "a", ["p1", "p2"], [("x", "n1"), ("x", "n2"), ("y", "n1")]),
        ]
    )
    assert examples.queries == ("a", "b")
    assert [examples.documents[i] for i in examples.positives[0]] == ["p1", "p2"]
    assert negatives_of(examples, 0) == [("x", "n1"), ("x", "n2"), ("y", "n1")]
    assert negatives_of(examples, 1) == [("x", "n1")]
    assert examples.rows == 3


def test_a_negative_twice_within_a_row_stays_twice():
    examples = examples_of(
        [row("1", "a", ["p"], [("x", "n"), ("x", "n")]), row("1", "a", ["p"], [("x", "n")])]
    )
    assert negatives_of(examples, 0) == [("x", "n"), ("x", "n")]


def test_same_text_under_two_ids_is_two_queries_and_ids_decide():
    examples = examples_of([row("1", "a", ["p"], [("x", "n")]), row("2", "a", ["p"], [("x", "n")])])
    assert len(examples.queries) == 2


def test_batches_do_not_matter():
    rows = make_rows(30) + make_rows(30)
    whole = Examples.from_batches([batch_of(rows)])
    parts = Examples.from_batches([batch_of(rows[i : i + 7]) for i in range(0, len(rows), 7)])
    assert sorted(whole.documents) == sorted(parts.documents)
    assert whole.queries == parts.queries
    assert len(whole.queries) == 30
    for query in range(30):
        assert negatives_of(whole, query) == negatives_of(parts, query)


def test_title_and_text_are_joined_as_beir_does():
    positive = {"title": "Title", "text": "body"}
    empty = {"title": "", "text": " body "}
    examples = examples_of([row("1", "a", [positive, empty, {"text": " bare "}], [])])
    assert examples.documents == ("Title body", "body", " bare ")


def test_only_a_score_that_the_positives_have_too_is_a_teachers():
    judged = row("1", "a", [{"text": "p", "score": 9.0}], [("x", "n")], score=3.0)
    mined = row("2", "b", ["p"], [("x", "n")], score=3.0)
    assert examples_of([judged, mined]).teacher.tolist() == pytest.approx([3.0, np.nan], nan_ok=True)


def test_identical_ignores_case_and_white_space_and_other_queries():
    examples = examples_of(
        [
            row("1", "a", ["The  Fox"], [("x", "the fox "), ("x", "the dog")]),
            row("2", "b", ["p"], [("x", "the fox ")]),
        ]
    )
    assert examples.identical().tolist() == [True, False, False]


def test_identical_needs_more_than_the_last_word():
    negatives = ["red FOX\n", " ", "blue fox", "Fox", "\tRED\u2003fox"]
    examples = examples_of([row("1", "a", ["red fox", ""], [("x", text) for text in negatives])])
    assert examples.identical().tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("label", ["", "  ", "e\x1b[31mvil", "two\nlines"])
def test_labels_that_would_garble_a_terminal_are_refused(label):
    with pytest.raises(DataError, match="is empty or holds characters that do not print. Rename it"):
        examples_of([row("1", "a", ["p"], [(label, "n")])])


def test_no_rows_and_no_positive_are_refused_by_name():
    with pytest.raises(DataError, match="no rows"):
        Examples.from_batches([])
    with pytest.raises(DataError, match=r"Query 'q7' has no positive \(1 such queries\)"):
        examples_of([row("q1", "a", ["p"], []), row("q7", "b", [], [("x", "n")])])
