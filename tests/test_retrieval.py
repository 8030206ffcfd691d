"""Judged collections, exact search, and runs in the TREC format."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.errors import DataError, EciError, EncoderError, OutputError
from eci.similarity import normalise
from eci.task import Corpus
from eci.validation import retrieval
from eci.validation.judged import JudgedCollection
from eci.validation.retrieval import Nearest, Run, id_places, search
from test_datasets_layouts import dump

CORPUS = [
    {"_id": "d1", "title": "Sky", "text": "The sky is blue."},
    {"_id": "d2", "title": "", "text": "Iron makes rust red."},
    {"_id": "d3", "text": ""},
    {"_id": "d10", "text": "Iron makes rust red."},
    {"_id": "q2", "text": "why  IS rust red? Nobody knows."},
    {"_id": "q1", "text": "shares a number with q1"},
    {"_id": "d1", "title": "Sky", "text": "The sky is blue."},
]
QUERIES = [
    {"_id": "q1", "text": "Why is the sky blue?"},
    {"_id": "q2", "text": "Why is rust red?"},
    {"_id": "q3", "text": "Unanswered?"},
    {"_id": "q4", "text": "Not judged"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq1\tgone\t1\nq2\td2\t1\nq3\td1\t0\n"


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "small"
    (home / "qrels").mkdir(parents=True)
    dump(home / "corpus.jsonl", CORPUS)
    dump(home / "queries.jsonl", QUERIES)
    (home / "qrels" / "test.tsv").write_text(QRELS)
    return home


class Table:
    """An encoder whose vectors are given, by text."""

    def __init__(self, queries, documents):
        self.vectors = {"query": queries, "document": documents}

    def encode_query(self, texts):
        return np.stack([self.vectors["query"][text] for text in texts])

    def encode_document(self, texts):
        return np.stack([self.vectors["document"][text] for text in texts])


def collection_of(ids, queries=3, qrels=None):
    """A collection whose texts are ids, with queries ``?0``, ``?1`` …"""
    wide = pa.large_string()
    documents = Corpus(pa.array(ids, wide), pa.nulls(len(ids), wide), pa.array(ids, wide))
    names = tuple(f"?{number}" for number in range(queries))
    judged = qrels or {name: {ids[0]: 1} for name in names}
    return JudgedCollection("made", "test", names, names, documents, judged)


def made(vectors, asked, ids):
    """A collection and the encoder that has the given vectors for it."""
    collection = collection_of(ids, len(asked))
    return collection, Table(
        dict(zip(collection.queries, asked, strict=True)), dict(zip(ids, vectors, strict=True))
    )


def by_loops(vectors, asked, ids, depth):
    """Ids of the nearest documents, one cosine at a time, in trec_eval's order."""
    vectors, asked = normalise(vectors), normalise(asked)
    ranked = []
    for query in asked:
        pairs = [
            (float(np.einsum("ij,ij->i", query[None], vector[None])[0]), name)
            for vector, name in zip(vectors, ids, strict=True)
        ]
        ranked.append([name for _, name in sorted(pairs, reverse=True)[:depth]])
    return ranked


def found(run):
    return [list(results) for results in run.results.values()]


def test_a_collection_is_read_as_trec_eval_would(folder):
    collection = JudgedCollection.read(folder)
    assert (collection.name, collection.split, len(collection)) == ("small", "test", 3)
    assert collection.query_ids == ("q1", "q2", "q3")
    assert collection.queries[1] == "Why is rust red?"
    assert collection.documents.ids.to_pylist() == ["d1", "d2", "d3", "d10", "q2", "q1"]
    assert collection.documents.shown()[:2] == ["Sky The sky is blue.", "Iron makes rust red."]
    assert collection.qrels == {"q1": {"d1": 2, "d2": 0, "gone": 1}, "q2": {"d2": 1}, "q3": {"d1": 0}}
    assert collection.itself.tolist() == [-1, 4, -1]
    assert [entry["name"] for entry in collection.files] == ["corpus.jsonl", "queries.jsonl", "test.tsv"]
    assert collection.notes == (
        "judgements: qrels/test.tsv",
        "document text is title + ' ' + text",
        "1 of 3 relevant documents are not in the corpus, and count as not found",
        "1 of 3 queries have no relevant document, and count 0",
        "1 of 6 documents have no text",
        "1 queries are documents too, and left out of their own results",
        "1 queries share their id with a document that is something else and stays; BEIR's own evaluation "
        "drops it",
    )


def test_split_is_test_else_the_only_one(folder):
    qrels = folder / "qrels"
    (qrels / "train.tsv").write_text("q4\td1\t1\n")
    assert JudgedCollection.read(folder).split == "test"
    named = JudgedCollection.read(folder, "train")
    assert named.query_ids == ("q4",)
    assert not any(note.startswith("judgements:") for note in named.notes)
    (qrels / "test.tsv").unlink()
    assert JudgedCollection.read(folder).split == "train"
    (qrels / "dev.tsv").write_text("q1\td1\t1\n")
    with pytest.raises(DataError, match=r"has no split 'test', but dev, train\. Choose with --split"):
        JudgedCollection.read(folder)
    with pytest.raises(DataError, match=r"has no split 'test'\. It has: dev, train"):
        JudgedCollection.read(folder, "test")


def test_compressed_judgements(folder):
    (folder / "qrels" / "test.tsv").unlink()
    with gzip.open(folder / "qrels" / "test.tsv.gz", "wt") as handle:
        handle.write(QRELS)
    assert JudgedCollection.read(folder).split == "test"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lost\td1\t1", r"queries.jsonl: the query 'lost', which test.tsv judges, has no text here"),
        ("q1\td9\t0.5", r"query 'q1' grades document 'd9' 0.5\. Grades are whole numbers"),
        ("q1\td1\t1", r"query 'q1' has two grades for document 'd1'"),
        ("q1\td1", r"test.tsv:7: has 2 columns"),
    ],
)
def test_unusable_judgements_are_refused(folder, line, message):
    path = folder / "qrels" / "test.tsv"
    path.write_text(QRELS + line + "\n")
    with pytest.raises(DataError, match=message):
        JudgedCollection.read(folder)


def test_a_folder_that_is_no_collection_is_refused(tmp_path):
    with pytest.raises(DataError, match="a BEIR collection has corpus.jsonl, queries.jsonl and qrels/"):
        JudgedCollection.read(tmp_path)


def test_some_of_the_queries(folder):
    collection = JudgedCollection.read(folder)
    some = collection.only(["q2", "q1"])
    assert some.query_ids == ("q1", "q2")
    assert some.queries == collection.queries[:2]
    assert list(some.qrels) == ["q1", "q2"]
    assert some.itself.tolist() == [-1, 4]
    assert some.documents is collection.documents
    assert some.notes[-1] == "2 of the 3 judged queries"
    with pytest.raises(DataError, match=r"small \(test\): the query 'q4' is not judged in it"):
        collection.only({"q1", "q4"})
    with pytest.raises(DataError, match="no query is chosen"):
        collection.only([])


def test_a_judged_document_of_the_querys_id_is_not_the_query_itself():
    collection = collection_of(["?0", "?1", "a"], 2, {"?0": {"?0": 1}, "?1": {"a": 1}})
    assert collection.itself.tolist() == [-1, 1]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 60),
    depth=st.integers(1, 70),
    distinct=st.integers(1, 60),
)
def test_search_equals_loops_in_any_tiles(seed, size, depth, distinct):
    rng = np.random.default_rng(seed)
    # Few distinct vectors make many ties, and near ones differ in the last bits alone.
    pool = rng.standard_normal((distinct, 8)).astype(np.float32)
    vectors = pool[rng.integers(0, distinct, size)] * np.float32(1 + 1e-7 * rng.integers(0, 3))
    ids = [f"d{number}" for number in rng.permutation(size)]
    asked = rng.standard_normal((5, 8)).astype(np.float32)
    collection, encoder = made(vectors, asked, ids)
    expected = by_loops(vectors, asked, ids, depth)
    with pytest.MonkeyPatch.context() as patch:
        for documents, queries in ((1 << 14, 1 << 8), (7, 2), (1, 1), (size, 3)):
            patch.setattr(retrieval, "_DOCUMENTS", documents)
            patch.setattr(retrieval, "_QUERIES", queries)
            assert found(search(encoder, collection, depth=depth)) == expected


def test_tiles_change_no_digit_where_cosines_are_nearly_equal():
    rng = np.random.default_rng(0)
    # A model that has collapsed: cosines differ by little more than the rounding of their sums.
    documents = normalise(rng.standard_normal(384) + 1e-3 * rng.standard_normal((3000, 384)))
    queries = normalise(documents[:40] + 1e-3 * rng.standard_normal((40, 384)))
    order, nobody = id_places(pa.array([f"d{number}" for number in range(3000)])), np.full(40, -1)
    runs = []
    for size in (3000, 700, 64):
        best = Nearest.none(40, 100, order)
        for start in range(0, 3000, size):
            best = best.among(queries, documents[start : start + size], start, nobody)
        runs.append(best)
    for other in runs[1:]:
        assert np.array_equal(other.places, runs[0].places)
        assert np.array_equal(other.scores, runs[0].scores)


def test_order_of_the_corpus_is_irrelevant():
    rng = np.random.default_rng(1)
    vectors = np.repeat(rng.standard_normal((10, 4)), 3, axis=0)
    asked, ids = (
        rng.standard_normal((4, 4)),
        [f"é{number}" if number % 2 else f"z{number}" for number in range(30)],
    )
    mixed = rng.permutation(30)
    runs = [
        search(*reversed(made(vectors[order], asked, [ids[place] for place in order])), depth=7)
        for order in (np.arange(30), mixed)
    ]
    assert runs[0].results == runs[1].results


def test_equal_cosines_fall_by_id_descending_and_strictly():
    ids = ["10", "9", "a", "B", "é"]
    collection, encoder = made(np.ones((5, 3)), np.ones((1, 3)), ids)
    results = search(encoder, collection, depth=4).results["?0"]
    assert list(results) == ["é", "a", "B", "9"]
    scores = np.array(list(results.values()), dtype=np.float32)
    assert (np.diff(scores) < 0).all()
    assert scores == pytest.approx([1.0] * 4, abs=1e-6)


def test_the_query_itself_is_left_out_and_the_rest_fills_its_place(folder):
    collection = JudgedCollection.read(folder)
    texts = collection.documents.shown()
    encoder = Table(dict.fromkeys(collection.queries, np.ones(2)), dict.fromkeys(texts, np.ones(2)))
    run = search(encoder, collection, depth=6)
    assert found(run) == [
        ["q2", "q1", "d3", "d2", "d10", "d1"],
        ["q1", "d3", "d2", "d10", "d1"],
        ["q2", "q1", "d3", "d2", "d10", "d1"],
    ]
    assert run.name == run.encoder["name"] == "Table"


def test_unusable_encoders_and_depths_are_refused():
    collection, encoder = made(np.ones((3, 4)), np.ones((2, 5)), ["a", "b", "c"])
    with pytest.raises(EncoderError, match="queries of 5 dimensions and documents of 4"):
        search(encoder, collection)
    with pytest.raises(EciError, match="at least 1; got 0"):
        search(encoder, collection, depth=0)
    collection, encoder = made(np.array([[1.0], [np.nan]]), np.ones((1, 1)), ["a", "b"])
    with pytest.raises(EncoderError, match=r"non-finite vector for 1 of 2 texts, first for 'b'"):
        search(encoder, collection)


def test_progress_is_told_of_every_part(monkeypatch):
    monkeypatch.setattr(retrieval, "_DOCUMENTS", 2)
    collection, encoder = made(np.ones((3, 1)), np.ones((1, 1)), ["a", "b", "c"])
    told = []
    search(encoder, collection, progress=lambda *entry: told.append(entry))
    assert told == [("searching documents", 2, 3), ("searching documents", 3, 3)]


def test_a_written_run_reads_back_in_its_order(tmp_path):
    rng = np.random.default_rng(2)
    vectors = np.repeat(rng.standard_normal((20, 6)), 2, axis=0)
    collection, encoder = made(vectors, rng.standard_normal((3, 6)), [f"d{number}" for number in range(40)])
    run = search(encoder, collection, depth=25)
    run.write(tmp_path / "mine.trec")
    lines = (tmp_path / "mine.trec").read_text().splitlines()
    assert len(lines) == 75
    query, q0, document, rank, score, tag = lines[0].split(" ")
    assert (query, q0, rank, tag) == ("?0", "Q0", "1", "Table")
    assert np.float32(score) == np.float32(run.results["?0"][document])
    again = Run.read(tmp_path / "mine.trec", collection)
    assert (again.name, again.depth, again.encoder, again.notes) == ("mine", 25, {}, ())
    assert again.files[0]["name"] == "mine.trec"
    assert found(again) == found(run)
    for query, results in run.results.items():
        kept = np.array(list(results.values()), dtype=np.float32)
        assert np.array_equal(kept, np.array(list(again.results[query].values()), dtype=np.float32))


def test_what_a_trec_run_cannot_hold_is_refused(tmp_path):
    with pytest.raises(OutputError, match="cannot hold the id 'q 1'"):
        Run("mine", {"q 1": {"d1": 1.0}}, 1).write(tmp_path / "mine.trec")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="does not exist"):
        Run("mine", {"q1": {"d1": 1.0}}, 1).write(tmp_path / "absent" / "mine.trec")


def test_names_with_white_space_make_one_tag(tmp_path):
    Run("my model", {"q1": {"d1": 1.0}}, 1).write(tmp_path / "mine.trec")
    assert (tmp_path / "mine.trec").read_text() == "q1 Q0 d1 1 1 my-model\n"


def test_a_run_from_elsewhere_is_read_and_its_doubts_told(folder):
    path = folder / "bm25.trec"
    path.write_text(
        "q1 Q0 d1 1 0.5 x\nq1 Q0 d2 2 0.5 x\nq1 Q0 gone 3 0.4 x\n"
        "q2 Q0 q2 1 9 x\nq2 Q0 d10 2 1 x\nq2 Q0 d2 3 2 x\nq9 Q0 d1 1 1 x\n"
    )
    run = Run.read(path, JudgedCollection.read(folder))
    assert run.results == {"q1": {"d1": 0.5, "d2": 0.5, "gone": 0.4}, "q2": {"d10": 1.0, "d2": 2.0}}
    assert (run.name, run.depth) == ("bm25", 3)
    assert run.notes == (
        "1 of 7 entries belong to queries that are not judged",
        "1 of 7 entries are the query itself, and left out",
        "1 of 6 entries are documents that the corpus lacks",
        "1 of 2 queries have documents of equal score: trec_eval orders them by id, descending, and RR@k of "
        "ir-measures ascending",
        "1 of 2 queries have ranks that contradict their scores; scores count, as in trec_eval",
    )


def test_a_run_of_three_columns(folder):
    path = folder / "short.txt"
    path.write_text("q1\td1\t0.5\nq1\td2\t0.25\n")
    run = Run.read(path, JudgedCollection.read(folder))
    assert run.results == {"q1": {"d1": 0.5, "d2": 0.25}}
    assert run.notes == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 Q0 d1 1 1 x\nq1 Q0 d1 2 0.5 x\n", "query 'q1' has document 'd1' twice"),
        ("q8 Q0 d1 1 1 x\n", r"none of the 3 judged queries of small \(test\); its first query is 'q8'"),
        ("q1 Q0 d1 1 nan x\n", "'score' must be a finite number, got 'nan'"),
        ("", "has no rows"),
    ],
)
def test_unusable_runs_are_refused(folder, text, message):
    path = folder / "bad.trec"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Run.read(path, JudgedCollection.read(folder))


def test_an_absent_run_is_refused(folder):
    with pytest.raises(DataError, match=r"absent.trec: no such run"):
        Run.read(folder / "absent.trec", JudgedCollection.read(folder))
