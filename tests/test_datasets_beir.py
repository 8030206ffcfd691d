"""BEIR folders with TREC runs: what becomes a negative, and what is counted instead."""

import gzip

import orjson
import pyarrow as pa
import pytest

from eci.datasets import ReadOptions, read
from eci.errors import DataError, LayoutError

CORPUS = {"d1": "one", "d2": "two", "d3": "", "d4": "four", "q2": "the query itself"}
QUERIES = {"q1": "first", "q2": "The  query itself", "q3": "third"}
TRAIN = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\nq3\tgone\t1\nq1\tgone\t1\n"
BM25 = "q1 Q0 d2 1 9.5 bm25\nq1 Q0 d1 2 9 bm25\nq1 Q0 d3 3 8 bm25\nq2 Q0 q2 1 5 bm25\nq2 Q0 d4 2 4 bm25\n"


def dump(path, texts, **more):
    path.write_bytes(b"".join(orjson.dumps({"_id": i, **more, "text": t}) + b"\n" for i, t in texts.items()))


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "small"
    (home / "qrels").mkdir(parents=True)
    dump(home / "corpus.jsonl", CORPUS, title="T")
    dump(home / "queries.jsonl", QUERIES)
    (home / "qrels" / "train.tsv").write_text(TRAIN)
    (tmp_path / "bm25.trec").write_text(BM25)
    return home


def rows_of(found):
    return pa.Table.from_batches(list(found)).to_pylist()


def negatives(found):
    return {
        r["query_id"]: [(n["source"], n["id"], n["rank"], n["score"]) for n in r["negatives"]]
        for r in rows_of(found)
    }


def test_example_by_hand(folder, tmp_path):
    found = read([folder, tmp_path / "bm25.trec"])
    rows = rows_of(found)
    assert found.layout == "beir"
    assert [(r["query_id"], r["query"]) for r in rows] == [("q1", "first"), ("q2", "The  query itself")]
    assert rows[0]["positives"] == [{"id": "d1", "title": "T", "text": "one", "score": None}]
    assert [r["extra"] for r in rows] == ['{"grades":[2]}', None]
    assert rows[0]["negatives"][1] == {
        "source": "bm25", "id": "d3", "title": "T", "text": "", "rank": 3, "score": 8.0, "scorer": "bm25",
        "extra": None,
    }  # fmt: skip
    assert [[n["id"] for n in r["negatives"]] for r in rows] == [["d2", "d3"], ["d4"]]
    assert found.notes == [
        "small: judgements: qrels/train.tsv",
        "small: 2 of 5 judgements point to documents that the corpus lacks; the first is 'gone'",
        "small: 1 of 3 queries have no positive in the corpus and are left out",
        "small: document text is title + ' ' + text",
        "small: 1 of 5 entries of run 'bm25' are the query itself and are left out",
        "small: 1 of 5 entries of run 'bm25' are known positives and no negatives",
    ]
    assert [f["name"] for f in found.files] == ["corpus.jsonl", "queries.jsonl", "train.tsv", "bm25.trec"]


def test_a_tag_that_would_garble_a_terminal_is_refused(folder, tmp_path):
    run = tmp_path / "bm25.trec"
    run.write_text(BM25.replace(" bm25\n", " bm\x0725\n", 1))
    with pytest.raises(DataError) as caught:
        rows_of(read([folder, run]))
    assert str(caught.value) == (
        f"{run}: the run's tag 'bm\\x0725' is empty or holds characters that do not print. Correct it, or name "
        "the source with --source."
    )
    named = read([folder, run], ReadOptions(sources=("bm25",)))
    assert {source for each in negatives(named).values() for source, *_ in each} == {"bm25"}


def test_two_runs_of_one_tag_are_not_silently_one_source(folder, tmp_path):
    (tmp_path / "again.trec").write_text(BM25)
    with pytest.raises(
        DataError, match=r"bm25.trec and .*again.trec both hold the run 'bm25'. Name them apart"
    ):
        rows_of(read([folder, tmp_path / "bm25.trec", tmp_path / "again.trec"]))


def test_a_document_that_only_shares_the_number_of_the_query_stays(folder, tmp_path):
    dump(folder / "corpus.jsonl", {**CORPUS, "q2": "something else", "q1": ""})
    (tmp_path / "bm25.trec").write_text("q2 Q0 q2 1 5 bm25\nq2 Q0 d4 2 4 bm25\nq1 Q0 q1 1 3 bm25\n")
    found = read([folder, tmp_path / "bm25.trec"])
    assert [[n["id"] for n in row["negatives"]] for row in rows_of(found)] == [["q1"], ["q2", "d4"]]
    assert not [note for note in found.notes if "itself" in note]


def test_runs_of_three_columns_gzipped_and_with_blanks_and_labels(folder, tmp_path):
    (tmp_path / "dense.trec.gz").write_bytes(gzip.compress(b"q1 d4 0.5\nq1 d2 0.25\n"))
    (tmp_path / "wide.trec").write_text("q1   Q0   d4   1   0.5   my-tag\nq2\tQ0\td4\t1\t3\tother\n")
    both = [folder, tmp_path / "dense.trec.gz", tmp_path / "wide.trec"]
    assert negatives(read(both)) == {
        "q1": [("dense", "d4", None, 0.5), ("dense", "d2", None, 0.25), ("my-tag", "d4", 1, 0.5)],
        "q2": [("other", "d4", 1, 3.0)],
    }
    assert {n[0] for n in negatives(read(both, ReadOptions(sources=("x", "y"))))["q1"]} == {"x", "y"}


def test_what_runs_hold_beside_negatives_is_counted(folder, tmp_path):
    run = tmp_path / "odd.trec"
    run.write_text("q9 Q0 d1 1 1 r\nq3 Q0 d1 1 1 r\nq1 Q0 gone 1 1 r\nq1 Q0 d4 2 1 r\nq1 Q0 d4 3 0 r\n")
    found = read([folder, run])
    assert negatives(found) == {"q1": [("r", "d4", 2, 1.0)], "q2": []}
    assert found.notes[4:] == [
        "small: 2 of 5 entries of run 'r' belong to queries without positives here",
        "small: 1 of 5 entries of run 'r' point to documents that the corpus lacks",
        "small: 1 of 5 entries of run 'r' repeat a document and are left out",
    ]


def test_runs_of_the_folder_and_no_runs(folder):
    found = read([folder])
    assert negatives(found) == {"q1": [], "q2": []}
    assert "small: no runs were given, so the rows have no negatives" in found.notes
    (folder / "runs").mkdir()
    (folder / "runs" / "a.trec").write_text("q1 d4 1\n")
    assert negatives(read([folder])) == {"q1": [("a", "d4", None, 1.0)], "q2": []}


def test_splits(folder, tmp_path):
    qrels = folder / "qrels"
    (qrels / "test.tsv").write_text("q2\td4\t1\n")
    (qrels / "dev.tsv").write_text("q3 0 d4 1\n")
    assert list(negatives(read([folder]))) == ["q1", "q2"]
    assert list(negatives(read([folder], ReadOptions(split="test")))) == ["q2"]
    assert list(negatives(read([folder], ReadOptions(split="dev")))) == ["q3"]
    (qrels / "train.tsv").unlink()
    found = read([folder])
    assert list(negatives(found)) == ["q2"]
    assert found.notes[0] == "small: judgements: qrels/test.tsv"
    (qrels / "test.tsv").unlink()
    assert list(negatives(read([folder]))) == ["q3"]
    with pytest.raises(DataError, match=r"qrels: has no split 'train'\. It has: dev\.$"):
        read([folder], ReadOptions(split="train"))


@pytest.mark.parametrize("batch_rows", [1, 4096])
def test_batches_do_not_change_the_rows(folder, tmp_path, batch_rows):
    found = read([folder, tmp_path / "bm25.trec"], ReadOptions(batch_rows=batch_rows))
    assert max(len(batch) for batch in found) == min(batch_rows, 2)
    assert negatives(found) == {
        "q1": [("bm25", "d2", 1, 9.5), ("bm25", "d3", 3, 8.0)],
        "q2": [("bm25", "d4", 2, 4.0)],
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("q1 Q0 d1 1 9\n", "run.trec:1: has 5 columns. Expected 6 (query q0 document rank score tag) or 3 (query document score)."),
        ("q1 d1 9\nq1 d2\n", "run.trec:2: has 2 columns, the first line 3: query document score."),
        ("q1 d1 9\nq1 d2 high\n", "run.trec:2: 'score' must be a finite number, got 'high'."),
        ("q1 d1 9\nq1 d2 nan\n", "run.trec:2: 'score' must be a finite number, got 'nan'."),
        ("q1 Q0 d1 1.5 9 r\n", "run.trec:1: 'rank' must be a whole number, got '1.5'."),
        ("", "run.trec: has no rows."),
    ],
)  # fmt: skip
def test_bad_run(folder, tmp_path, text, words):
    run = tmp_path / "run.trec"
    run.write_text(text)
    with pytest.raises(DataError) as caught:
        list(read([folder, run]))
    assert str(caught.value) == f"{tmp_path}/{words}"


def test_bad_collections(folder, tmp_path):
    with pytest.raises(
        DataError, match=r"none\.trec: no such run\. After a BEIR folder come files of TREC runs\.$"
    ):
        read([folder, tmp_path / "none.trec"])
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(DataError, match=r"train\.tsv: has no rows\.$"):
        list(read([folder]))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t0\n")
    with pytest.raises(DataError, match=r"train\.tsv: no query has a positive that is in .*corpus\.jsonl\.$"):
        list(read([folder]))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq7\td1\t1\n")
    with pytest.raises(DataError, match=r"queries\.jsonl: the judged query 'q7' has no text here"):
        list(read([folder]))
    with pytest.raises(LayoutError, match=r"small: is a BEIR collection, and no rows of layout 'triplet'\.$"):
        read([folder], ReadOptions(layout="triplet"))
    with pytest.raises(LayoutError, match=r"layout 'beir' starts with a folder that has corpus\.jsonl"):
        read([tmp_path / "bm25.trec"], ReadOptions(layout="beir"))
