"""Rows that share a query become one, wherever they stand."""

import random
from collections import Counter
from itertools import chain

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.datasets import ReadOptions, from_object, merge_rows, read, require_positives, write
from eci.datasets.grouping import grouped
from eci.errors import DataError
from eci.examples import ROWS


def batch(*rows):
    return pa.RecordBatch.from_pylist(list(rows), schema=ROWS)


def row(query, positives="", negatives="", query_id=None, source="s", extra=None):
    return {
        "query_id": query_id,
        "query": query,
        "positives": [{"text": text} for text in positives],
        "negatives": [{"source": source, "text": text} for text in negatives],
        "extra": extra,
    }


def shown(merged):
    return [
        (
            r["query_id"],
            r["query"],
            "".join(d["text"] for d in r["positives"]),
            "".join(d["source"] + d["text"] for d in r["negatives"]),
        )
        for r in merged.to_pylist()
    ]


def test_example_by_hand():
    merged = merge_rows(
        batch(
            row("q", "a", "xx"),
            row("r", "b", ""),
            row("q", "a", "xy"),
            row("q", "c", "y", source="t"),
            row("q", "d", "z", query_id="1"),
        )
    )
    assert shown(merged) == [(None, "q", "ac", "sxsxsyty"), (None, "r", "b", ""), ("1", "q", "d", "sz")]
    assert merged.schema == ROWS


def test_an_id_that_reads_like_a_text_is_another_query():
    assert len(merge_rows(batch(row("q", "a"), row("other", "a", query_id="q")))) == 2


def test_titles_and_ids_tell_documents_apart():
    one = {
        **row("q"),
        "positives": [{"text": "a", "title": "T"}, {"text": "a", "title": "U"}, {"text": "a", "id": "1"}],
    }
    merged = merge_rows(batch(one, one)).to_pylist()[0]
    assert [(d["id"], d["title"]) for d in merged["positives"]] == [(None, "T"), (None, "U"), ("1", None)]


def test_first_extra_that_is_there():
    assert (
        merge_rows(batch(row("q"), row("q", extra="1"), row("q", extra="2"))).to_pylist()[0]["extra"] == "1"
    )


def test_how_a_negative_was_made_stays_with_it():
    made = {"source": "s", "text": "n", "extra": '{"kind":"swap"}'}
    plain = {"source": "s", "text": "m", "extra": None}
    rows = [{**row("q", "a"), "negatives": [each]} for each in (made, plain, {**made, "extra": None})]
    merged = merge_rows(batch(*rows)).to_pylist()[0]["negatives"]
    assert [(n["text"], n["extra"]) for n in merged] == [("n", '{"kind":"swap"}'), ("m", None)]


def test_nothing_and_tables_of_several_chunks():
    assert len(merge_rows(batch())) == 0
    assert len(merge_rows(pa.Table.from_batches([], schema=ROWS))) == 0
    chunks = pa.Table.from_batches([batch(row("q", "a", "x")), batch(row("q", "a", "y"))])
    assert shown(merge_rows(chunks)) == [(None, "q", "a", "sxsy")]


def test_query_without_positive():
    require_positives(batch(row("q", "a")), "rows.csv")
    with pytest.raises(DataError) as caught:
        require_positives(batch(row("q", "a"), row("lone", "", "x"), row("other")), "rows.csv")
    assert str(caught.value) == (
        "rows.csv: the query 'lone' has no positive, nor have 1 more. Give it one, or remove its rows."
    )


def naive(rows):
    """The definition, row by row."""
    queries = {}
    for index, r in enumerate(rows):
        key = ("id", r["query_id"]) if r["query_id"] is not None else ("text", r["query"])
        held = queries.setdefault(key, (r["query_id"], r["query"], [], []))
        for document in r["positives"]:
            if document["text"] not in held[2]:
                held[2].append(document["text"])
        for document in r["negatives"]:
            entry = document["source"] + document["text"]
            if not any(known == entry and earlier < index for known, earlier in held[3]):
                held[3].append((entry, index))
    return [(i, q, "".join(p), "".join(e for e, _ in n)) for i, q, p, n in queries.values()]


LETTERS = st.text("ab", max_size=3)
ROW = st.builds(
    row,
    st.sampled_from("qr"),
    LETTERS,
    LETTERS,
    st.sampled_from([None, None, "1", "q"]),
    st.sampled_from("st"),
)


@given(st.lists(ROW, max_size=8))
@settings(max_examples=200, deadline=None)
def test_as_defined(rows):
    assert shown(merge_rows(batch(*rows))) == naive(rows)


def triplets(path, pairs):
    made = [{"query": q, "positive": f"{q}+", "negative": n} for q, n in pairs]
    path.write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in made))
    return path


def written(source, tmp_path):
    """What conversion to the canonical layout gives, and its notes."""
    out = tmp_path / "out.jsonl"
    summary = write(source, out, "eci")
    return [
        (r["query"], [n["text"] for n in r["negatives"]])
        for r in map(orjson.loads, out.read_bytes().splitlines())
    ], summary


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_adjacent_rows_are_merged_in_passing_and_in_order(tmp_path, batch_rows):
    pairs = [(q, f"{q}{i}") for q in "cab" for i in range(3)]
    rows = read([triplets(tmp_path / "rows.jsonl", pairs)], ReadOptions(batch_rows=batch_rows))
    queries, summary = written(rows, tmp_path)
    assert queries == [(q, [f"{q}{i}" for i in range(3)]) for q in "cab"]
    assert summary.notes == []


def test_batches_stay_as_large_as_they_are(tmp_path):
    """The query at the end of a batch comes with the next batch, not alone."""
    rows = [row(f"q{number}", "a", "b") for number in range(20)]
    batches = [batch(*rows[start : start + 6]) for start in range(0, 20, 6)]
    found = grouped(batches, tmp_path, 6)
    assert [len(each) for each in found.batches(Counter())] == [5, 6, 6, 2, 1]
    # One query over three batches, and over the whole of one.
    rows[5:13] = [row("same", "a", "b")] * 8
    batches = [batch(*rows[start : start + 6]) for start in range(0, 20, 6)]
    found = [each["query"].to_pylist() for each in grouped(batches, tmp_path, 6).batches(Counter())]
    assert [len(each) for each in found] == [5, 5, 2, 1]
    apart = [f"q{number}" for number in (*range(5), *range(13, 20))]
    assert list(chain(*found)) == [*apart[:5], "same", *apart[5:]]


def test_scattered_rows_go_through_several_files(tmp_path):
    rows = [row(f"query {i % 50}", "p", f"{i:03}"[:1]) for i in range(1000)]
    found = grouped([batch(*rows[:500]), batch(*rows[500:])], tmp_path, 3, bucket_bytes=20_000)
    merged = list(found.batches(Counter()))
    assert len(list(tmp_path.iterdir())) > 2
    assert max(map(len, merged)) == 3
    assert sorted(r for each in merged for r in shown(each)) == sorted(naive(rows))
    assert "another order" in found.note


def test_scattered_rows_are_brought_together(tmp_path):
    pairs = [(f"query {i % 50}", f"negative {i}") for i in range(1000)]
    random.Random(0).shuffle(pairs)
    queries, summary = written(read([triplets(tmp_path / "rows.jsonl", pairs)]), tmp_path)
    expected = {}
    for q, n in pairs:
        expected.setdefault(q, []).append(n)
    assert dict(queries) == expected
    assert len(queries) == 50
    assert summary.notes == [
        "the rows of a query are not adjacent: they were brought together, in another order"
    ]
    assert (
        written(read([tmp_path / "rows.jsonl"]), tmp_path)[0] == queries
    )  # the order is the same every time
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]


def test_files_with_the_same_queries_become_sources_of_one_query(tmp_path):
    for name, negative in (("bm25", "x"), ("dense", "y")):
        rows = [{"query": q, "pos": ["p"], "neg": [negative + q]} for q in ("a", "b")]
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    write(read([tmp_path / "bm25.jsonl", tmp_path / "dense.jsonl"]), tmp_path / "out.jsonl", "eci")
    found = [orjson.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [
        (r["query"], [(n["source"], n["text"]) for n in r["negatives"]])
        for r in sorted(found, key=lambda r: r["query"])
    ] == [
        ("a", [("bm25", "xa"), ("dense", "ya")]),
        ("b", [("bm25", "xb"), ("dense", "yb")]),
    ]


def test_rows_of_one_list_file_stay_apart(tmp_path):
    rows = [{"query": "a", "pos": ["p"], "neg": ["x"]}] * 2
    assert write(from_object(rows), tmp_path / "out.jsonl", "eci").rows == 2


def test_extras_of_further_rows_are_counted(tmp_path):
    rows = [{"query": "a", "positive": "p", "negative": n, "url": n} for n in "xyz"]
    assert write(from_object(rows), tmp_path / "out.jsonl", "eci").losses == {
        "extra of further rows of a query": 2
    }


def test_flat_query_without_positive(tmp_path):
    rows = [{"query": "a", "document": "x", "label": 0}, {"query": "b", "document": "x", "label": 1}]
    with pytest.raises(
        DataError, match=r"^the rows: the query 'a' has no positive\. Give it one, or remove its rows\.$"
    ):
        write(from_object(rows), tmp_path / "out.jsonl", "eci")
    assert list(tmp_path.iterdir()) == []


def test_progress_tells_how_many_queries_there_are_as_soon_as_that_is_known(tmp_path):
    pairs = [(q, f"{q}{i}") for q in "cab" for i in range(3)]
    rows = read([triplets(tmp_path / "rows.jsonl", pairs)], ReadOptions(batch_rows=3))
    calls = []
    write(rows, tmp_path / "out.parquet", "n-tuple", progress=lambda *call: calls.append(call))
    assert [call for call in calls if call[0] == "rows read"] == [("rows read", n, 0) for n in (3, 6, 9)]
    told = [call[1:] for call in calls if call[0] == "queries looked at"]
    assert told == [call[1:] for call in calls if call[0] == "queries written"] == [(1, 3), (2, 3)]


def test_of_rows_that_stand_apart_it_tells_what_it_does_and_how_many_queries_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.datasets.writing._BATCH_ROWS", 1)
    monkeypatch.setattr("eci.datasets.scattered._SORTED", 2)
    pairs = [("a", "x"), ("b", "y"), ("c", "u"), ("a", "z"), ("c", "v")]
    rows = read([triplets(tmp_path / "rows.jsonl", pairs)], ReadOptions(batch_rows=2))
    calls = []
    summary = write(rows, tmp_path / "out.parquet", "n-tuple", progress=lambda *call: calls.append(call))
    assert [call for call in calls if call[0] == "rows read"] == [("rows read", n, 0) for n in (2, 4, 5)]
    assert [call[1:] for call in calls if call[0] == "rows brought together"] == [(2, 5), (4, 5)]
    told = [call[1:] for call in calls if call[0] == "queries looked at"]
    assert told == [call[1:] for call in calls if call[0] == "queries written"] == [(1, 3), (2, 3)]
    assert summary.rows == 3
