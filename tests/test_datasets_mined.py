"""What was found for queries, as rows: against naive loops, and through files."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eci.datasets import read, write
from eci.datasets.mined import mined_rows
from eci.datasets.rows import Rows
from eci.examples import ROWS
from eci.ragged import Ragged
from eci.task import Corpus, Ranking, RetrievalTask, Written

WIDE = pa.large_string()


def ragged(rows):
    return Ragged.from_lengths(
        np.array([v for row in rows for v in row], dtype=np.int64), list(map(len, rows))
    )


def make_task(positives, documents, query_ids=None):
    """`documents` are tuples of id, title and text."""
    ids, titles, texts = (pa.array(column, WIDE) for column in zip(*documents, strict=True))
    names = query_ids or [f"q{n}" for n in range(len(positives))]
    queries = pa.array([f"query {n}" for n in range(len(positives))])
    known = ragged(positives)
    return RetrievalTask(pa.array(names, pa.string()), queries, Corpus(ids, titles, texts), known, known)


def make_ranking(rows, scores=None, written=(), scorer="okapi"):
    documents = ragged(rows)
    size = len(documents.values)
    given_scores = np.full(size, np.nan) if scores is None else np.array(scores, dtype=np.float64)
    return Ranking(documents, documents.within + 1, given_scores, scorer, tuple(written))


DOCUMENTS = [("d0", "T", "zero"), (None, None, "one"), ("d2", "", "two")]


def test_example_by_hand():
    task = make_task([[0], [1, 2]], DOCUMENTS, [None, "b"])
    made = Written("d2#1", "three", {"title": "U", "kind": "number", "from": [2, 3]})
    plain = Written("d2#2", "four", {})
    ranking = make_ranking([[4, 0], [2, 3, 1]], [0.5, 0.25, 3, np.nan, -1], [made, plain])
    scores = Ragged.from_lengths(np.array([0.9, np.nan, 2.0]), [2, 1])
    batch = mined_rows(task, np.array([1, 0]), ranking, "mine", scores)
    assert batch.schema == ROWS
    rows = batch.to_pylist()
    assert [(row["query_id"], row["query"], row["extra"]) for row in rows] == [
        ("b", "query 1", None),
        (None, "query 0", None),
    ]
    assert rows[0]["positives"] == [
        {"id": None, "title": None, "text": "one", "score": 0.9},
        {"id": "d2", "title": None, "text": "two", "score": None},
    ]
    assert rows[1]["positives"] == [{"id": "d0", "title": "T", "text": "zero", "score": 2.0}]
    base = {"source": "mine", "scorer": "okapi", "title": None, "extra": None}
    assert rows[0]["negatives"] == [
        {**base, "id": "d2#2", "text": "four", "rank": 1, "score": 0.5},
        {**base, "id": "d0", "title": "T", "text": "zero", "rank": 2, "score": 0.25},
    ]
    extra = rows[1]["negatives"][1].pop("extra")
    assert json.loads(extra) == {"kind": "number", "from": [2, 3]}
    assert rows[1]["negatives"] == [
        {**base, "id": "d2", "text": "two", "rank": 1, "score": 3.0},
        {k: v for k, v in {**base, "id": "d2#1", "title": "U", "text": "three", "rank": 2, "score": None}.items() if k != "extra"},
        {**base, "id": None, "text": "one", "rank": 3, "score": -1.0},
    ]  # fmt: skip
    assert made.record == {"title": "U", "kind": "number", "from": [2, 3]}


def test_queries_without_finds_and_no_queries():
    task = make_task([[0], [1, 2]], DOCUMENTS)
    batch = mined_rows(task, np.array([0, 1]), make_ranking([[], []]), "mine")
    assert [(len(row["positives"]), row["negatives"]) for row in batch.to_pylist()] == [(1, []), (2, [])]
    assert batch.column("positives").flatten().field("score").null_count == 3
    none = mined_rows(task, np.array([], dtype=np.int64), make_ranking([]), "mine")
    assert (len(none), none.schema) == (0, ROWS)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-(2**53), 2**53), lambda inner: st.lists(inner, max_size=2)
)


@st.composite
def mined(draw):
    """A task, which of its queries were asked, and what was found for them."""
    texts = draw(st.lists(TEXTS, min_size=3, max_size=8, unique=True))
    titles = draw(st.lists(st.none() | TEXTS, min_size=len(texts), max_size=len(texts)))
    documents = [(f"d{n}", title, text) for n, (title, text) in enumerate(zip(titles, texts, strict=True))]
    place = st.integers(0, len(texts) - 1)
    asked = draw(st.lists(st.lists(place, min_size=1, max_size=3, unique=True), min_size=1, max_size=5))
    task = make_task(asked, documents)
    queries = np.array(draw(st.permutations(range(len(asked)))), dtype=np.int64)
    records = draw(st.lists(st.dictionaries(TEXTS, VALUES, max_size=2), max_size=3))
    written = [
        Written(f"w{n}", draw(TEXTS), {**record, **({"title": draw(TEXTS)} if draw(st.booleans()) else {})})
        for n, record in enumerate(records)
    ]
    places = st.integers(0, len(texts) + len(written) - 1)
    rows = [draw(st.lists(places, max_size=4, unique=True)) for _ in queries]
    size = sum(map(len, rows))
    score = st.floats(allow_infinity=False)
    ranking = make_ranking(rows, draw(st.lists(score, min_size=size, max_size=size)), written, draw(TEXTS))
    positives = task.positives.take(queries)
    held = draw(st.lists(score, min_size=len(positives.values), max_size=len(positives.values)))
    return task, queries, ranking, positives.with_values(np.array(held)) if draw(st.booleans()) else None


def number(value):
    return None if np.isnan(value) else value


def naive(task, queries, ranking, positive_scores):
    corpus = list(
        zip(*(c.to_pylist() for c in (task.corpus.ids, task.corpus.titles, task.corpus.texts)), strict=True)
    )
    rows = []
    for row, query in enumerate(queries):
        positives = []
        for at, place in enumerate(task.positives[query]):
            score = None if positive_scores is None else number(positive_scores[row][at])
            positives.append(
                {**dict(zip(("id", "title", "text"), corpus[place], strict=True)), "score": score}
            )
        negatives = []
        start = ranking.documents.offsets[row]
        for at, place in enumerate(ranking.documents[row]):
            common = {
                "source": "mine",
                "rank": at + 1,
                "score": number(ranking.scores[start + at]),
                "scorer": ranking.scorer,
                "extra": None,
            }
            if place < len(corpus):
                negatives.append({**common, **dict(zip(("id", "title", "text"), corpus[place], strict=True))})
            else:
                made = ranking.written[place - len(corpus)]
                rest = {key: value for key, value in made.record.items() if key != "title"}
                told = {
                    "id": made.id,
                    "title": made.record.get("title"),
                    "text": made.text,
                    "extra": rest or None,
                }
                negatives.append({**common, **told})
        rows.append(
            {
                "query_id": f"q{query}",
                "query": f"query {query}",
                "positives": positives,
                "negatives": negatives,
                "extra": None,
            }
        )
    return rows


def opened(batches):
    """Rows with what negatives tell as objects."""
    rows = pa.Table.from_batches(list(batches)).to_pylist()
    for row in rows:
        for negative in row["negatives"]:
            negative["extra"] = negative["extra"] and json.loads(negative["extra"])
    return rows


@given(mined())
@settings(max_examples=150, deadline=None)
def test_as_defined(found):
    assert opened([mined_rows(found[0], found[1], found[2], "mine", found[3])]) == naive(*found)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet", ""])
@given(found=mined())
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_through_files(tmp_path_factory, ending, found):
    if not ending:
        pytest.importorskip("datasets")
    batch = mined_rows(found[0], found[1], found[2], "mine", found[3])
    out = tmp_path_factory.mktemp("mined") / f"rows{ending}"
    summary = write(Rows("eci", (), lambda _: iter([batch]), 1), out, "eci")
    assert (summary.rows, summary.negatives, summary.losses) == (len(batch), len(found[2].ranks), {})
    assert opened(read([out])) == naive(*found)


def test_parts_of_a_ranking_are_rows_of_the_whole():
    rng = np.random.default_rng(0)
    task = make_task([[n % 7] for n in range(20)], [(f"d{n}", None, f"text {n}") for n in range(7)])
    ranking = make_ranking(
        [rng.permutation(8)[: n % 5].tolist() for n in range(20)], written=[Written("w", "x", {})]
    )
    whole = mined_rows(task, np.arange(20), ranking, "mine")
    for step in (1, 3, 20):
        parts = [
            mined_rows(
                task,
                np.arange(first, min(first + step, 20)),
                ranking.part(first, min(first + step, 20)),
                "mine",
            )
            for first in range(0, 20, step)
        ]
        assert pa.Table.from_batches(parts).to_pylist() == whole.to_pylist()
