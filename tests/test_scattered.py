"""Rows that stand apart: what goes through temporary files, and that it comes back as it was."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.datasets import ReadOptions, read, scattered
from eci.datasets.collection import Collection
from eci.datasets.scattered import together
from eci.examples import ROWS

TEXTS = {"a": ("Title", "the text of a"), "b": (None, "the text of b"), "": (None, "under no name")}


def corpus(texts=TEXTS):
    columns = [list(texts), [title for title, _ in texts.values()], [text for _, text in texts.values()]]
    return Collection("corpus", *(pa.array(column, pa.large_string()) for column in columns))


def through(rows, folder, *, given=corpus, batch_rows=2, scattered=1, bucket_bytes=1000):
    """Rows as they come back, sorted."""
    batches = [
        pa.RecordBatch.from_pylist(rows[start : start + batch_rows], schema=ROWS)
        for start in range(0, len(rows), batch_rows)
    ]
    pieces = together(batches, scattered, folder, 3, bucket_bytes, given)[0]
    found = [table.to_pylist() for table in pieces()]
    assert [table.to_pylist() for table in pieces()] == found
    return sorted((row for each in found for row in each), key=json.dumps)


documents = st.tuples(
    st.sampled_from(["a", "b", "c", "", None]),
    st.sampled_from(["Title", None, "", "Other"]),
    st.sampled_from(["the text of a", "the text of b", "under no name", "", "another"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("qrs"), st.lists(documents, max_size=4)), min_size=1, max_size=9))
def test_whatever_rows_say_comes_back(tmp_path_factory, drawn):
    """Documents of an id that the corpus lacks, with another text or title than there, and with no id."""
    rows = []
    for query, found in drawn:
        texts = [{"id": id_, "title": title, "text": text} for id_, title, text in found]
        positives = [{**each, "score": 0.5} for each in texts[:1]]
        negatives = [
            {"source": "s", **each, "rank": 3, "score": None, "scorer": "m", "extra": None}
            for each in texts[1:]
        ]
        rows.append(
            {"query_id": None, "query": query, "positives": positives, "negatives": negatives, "extra": None}
        )
    assert through(rows, tmp_path_factory.mktemp("rows")) == sorted(rows, key=json.dumps)


def document(id_, text, title=None):
    return {"id": id_, "title": title, "text": text}


def test_texts_that_are_in_memory_by_id_are_not_written():
    rows = pa.RecordBatch.from_pylist(
        [
            {
                "query": "q",
                "positives": [document("a", "the text of a", "Title")],
                "negatives": [
                    document("b", "the text of b"),
                    document("b", "another text of b"),
                    document("z", "the text of b"),
                    document(None, "the text of b"),
                ],
            }
        ],
        schema=ROWS,
    )
    left = scattered._Texts(corpus).without(rows).to_pylist()[0]
    assert [(each["title"], each["text"]) for each in left["positives"]] == [(None, None)]
    assert [each["text"] for each in left["negatives"]] == [
        None,
        "another text of b",
        "the text of b",
        "the text of b",
    ]


def rows_by_id(folder, sources, numbers=range(40)):
    (folder / "corpus.jsonl").write_text(
        "".join(
            json.dumps({"_id": f"d{number}", "text": f"text {number} " * 50}) + "\n" for number in range(50)
        )
    )
    for place, source in enumerate(sources):
        (folder / f"{source}.jsonl").write_text(
            "".join(
                json.dumps(
                    {
                        "query_id": f"q{number}",
                        "query_text": f"query {number}",
                        "positive_document_ids": [f"d{number}"],
                        "negative_document_ids": [f"d{(number * 7 + place) % 50}"],
                    }
                )
                + "\n"
                for number in numbers
            )
        )
    return [folder / f"{source}.jsonl" for source in sources]


def test_files_of_rows_by_id_hold_no_texts(tmp_path):
    rows = read(rows_by_id(tmp_path, ["bm25", "dense"]), ReadOptions(batch_rows=7))
    batches = list(rows)
    size = sum(batch.nbytes for batch in batches)
    as_they_are, whole = (
        through(
            [row for batch in batches for row in batch.to_pylist()],
            tmp_path / name,
            given=given,
            scattered=size,
        )
        for name, given in (("short", rows.corpus), ("long", None))
    )
    assert as_they_are == whole
    assert len(as_they_are) == 80
    stored = []
    for name in ("short", "long"):
        tables = [pa.ipc.open_stream(path.read_bytes()).read_all() for path in (tmp_path / name).iterdir()]
        stored.append([json.dumps(table.to_pylist()) for table in tables])
    assert not any("text 1" in table for table in stored[0])
    assert any("text 1" in table for table in stored[1])


def test_rows_know_their_corpus(tmp_path):
    both = rows_by_id(tmp_path, ["bm25", "dense"])
    rows = read(both)
    # Asked for before anything was read, as in another process.
    assert rows.corpus().ids.to_pylist()[:2] == ["d0", "d1"]
    assert rows.corpus() is rows.corpus()
    (tmp_path / "other").mkdir()
    third = rows_by_id(tmp_path / "other", ["llm"])
    assert read([*both, *third]).corpus() is None
    (tmp_path / "texts.jsonl").write_text('{"query": "q", "pos": ["p"], "neg": ["n"]}\n')
    assert read([tmp_path / "texts.jsonl"]).corpus() is None


def test_files_leave_room_for_others(monkeypatch):
    resource = pytest.importorskip("resource", reason="Windows has no limits")
    for most, expected in ((256, 128), (1024, 512), (3, 2), (resource.RLIM_INFINITY, 500)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, most=most: (most, most))
        assert scattered._openable() == expected
    monkeypatch.setattr(scattered, "resource", None)
    assert scattered._openable() == 500


def test_a_large_file_is_read_in_several_goes(tmp_path, monkeypatch):
    rows = read(rows_by_id(tmp_path, ["bm25", "dense"]), ReadOptions(batch_rows=7))
    told = [row for batch in rows for row in batch.to_pylist()]
    size = pa.RecordBatch.from_pylist(told, schema=ROWS).nbytes
    sizes = {"given": None, "batch_rows": 80, "scattered": 8 * (size // 8), "bucket_bytes": size // 8}
    whole = through(told, tmp_path / "whole", **sizes)
    read_at_once, part = [], scattered._part

    def watched(*of):
        read_at_once.append(part(*of))
        return read_at_once[-1]

    monkeypatch.setattr(scattered, "_MOST_BUCKETS", 2)
    monkeypatch.setattr(scattered, "_part", watched)
    assert through(told, tmp_path / "parts", **sizes) == whole
    assert [len(list((tmp_path / name).iterdir())) for name in ("whole", "parts")] == [8, 2]
    queries = [set(table["query_id"].to_pylist()) for table in read_at_once[: len(read_at_once) // 2]]
    assert len(queries) == 8
    assert all(2 <= len(found) <= 8 for found in queries)
    assert sum(map(len, queries)) == len(set().union(*queries)) == 40


def test_texts_that_are_left_out_ask_for_no_more_goes(tmp_path, monkeypatch):
    long = {f"d{n}": (None, f"text {n} " * 1000) for n in range(40)}
    rows = [
        {
            "query_id": f"q{n % 40}",
            "query": "q",
            "positives": [{**document(name, long[name][1]), "score": None}],
            "negatives": [],
            "extra": None,
        }
        for n, name in enumerate([*long, *long])
    ]
    read_at_once, part = [], scattered._part

    def watched(*of):
        read_at_once.append(of)
        return part(*of)

    monkeypatch.setattr(scattered, "_part", watched)
    sizes = {"batch_rows": 80, "scattered": 700_000, "bucket_bytes": 50_000}
    monkeypatch.setattr(scattered, "_MOST_BUCKETS", 2)
    for texts, least, most in ((None, 12, 18), (lambda: corpus(long), 2, 2)):
        assert through(rows, tmp_path, given=texts, **sizes) == sorted(rows, key=json.dumps)
        assert least <= len(read_at_once) // 2 <= most
        read_at_once.clear()


@pytest.mark.parametrize(("name", "bound"), [("_MOST_BUCKETS", 3), ("_openable", lambda: 3)])
def test_there_are_never_more_files_than_a_process_may_open(tmp_path, monkeypatch, name, bound):
    monkeypatch.setattr(scattered, name, bound)
    rows = [
        {
            "query_id": f"q{n % 20}",
            "query": "q",
            "positives": [],
            "negatives": [],
            "extra": None,
        }
        for n in range(60)
    ]
    found = through(rows, tmp_path / "rows", scattered=10_000)
    assert len(list((tmp_path / "rows").iterdir())) == 3
    assert found == sorted(rows, key=json.dumps)
