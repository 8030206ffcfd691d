"""Files that the trainers themselves ship, and real collections; see ECI_DATA."""

import json

import pyarrow as pa
import pytest

from eci.datasets import merge_rows, read, write

FLAGEMBEDDING = {"msmarco": 25 * 10, "nli": 10, "nq": 979, "toy": 70}
COLLECTIONS = {
    "scifact": ("train", 809, 919, 0),
    "nfcorpus": ("train", 2563, 110_075, 500),
    "cranfield": ("test", 225, 1837, 0),
}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", FLAGEMBEDDING)
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_flagembedding_comes_back_the_same(data, tmp_path, name, ending):
    source = data / "flagembedding" / f"{name}.jsonl"
    summary = write(read([source]), tmp_path / f"canonical{ending}", "eci")
    assert (summary.rows, summary.negatives, summary.losses, summary.notes) == (
        10,
        FLAGEMBEDDING[name],
        {},
        [],
    )
    write(read([tmp_path / f"canonical{ending}"]), tmp_path / "back.jsonl", "flagembedding")
    assert lines(tmp_path / "back.jsonl") == lines(source)


def test_ms_swift_comes_back_the_same(data, tmp_path):
    source = data / "ms-swift" / "causalneg_example.jsonl"
    write(read([source]), tmp_path / "canonical.parquet", "eci")
    write(read([tmp_path / "canonical.parquet"]), tmp_path / "back.jsonl", "ms-swift")
    assert lines(tmp_path / "back.jsonl") == lines(source)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_collections(data, tmp_path, name):
    split, queries, judgements, absent = COLLECTIONS[name]
    qrels = [
        line.split("\t") for line in (data / name / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]
    ]
    documents = [row["_id"] for row in lines(data / name / "corpus.jsonl")]
    run = tmp_path / "run.trec"
    asked = dict.fromkeys(row[0] for row in qrels)
    run.write_text(
        "".join(
            f"{q} Q0 {documents[(7 * i + k) % len(documents)]} {k + 1} {-k} some\n"
            for i, q in enumerate(asked)
            for k in range(20)
        )
    )
    found = read([data / name, run])
    table = pa.Table.from_batches(list(found))
    assert len(table) == queries
    assert len(table["positives"].combine_chunks().flatten()) == judgements
    assert any("judgements point to documents" in note for note in found.notes) == bool(absent)
    if absent:
        assert (
            f"nfcorpus: {absent} of 110,575 judgements point to documents that the corpus lacks; "
            "the first is 'MED-4787'" in found.notes
        )
    known = {(q, d) for q, d, score in qrels if float(score) > 0}
    retrieved = {tuple(line.split()[0:3:2]) for line in run.read_text().splitlines()}
    there = {row["query_id"] for row in table.to_pylist()}
    expected = {(q, d) for q, d in retrieved - known if q in there and d in set(documents)}
    # Ids of queries and documents coincide by number in Cranfield; nothing is the query itself there.
    assert {(row["query_id"], n["id"]) for row in table.to_pylist() for n in row["negatives"]} == expected


def test_collection_comes_back_the_same(data, tmp_path):
    run = tmp_path / "run.trec"
    run.write_text(
        "".join(
            f"{q} Q0 {d} {k} {1 / k} some\n"
            for q in ("0", "2", "4")
            for k, d in enumerate(("4983", "5836", "7912"), 1)
        )
    )
    first = read([data / "scifact", run])
    write(first, tmp_path / "again", "beir")
    assert pa.Table.from_batches(list(read([tmp_path / "again"]))).equals(pa.Table.from_batches(list(first)))


def test_every_layout_of_a_trainers_file(data, tmp_path):
    source = data / "flagembedding" / "nq.jsonl"
    expected = [row["neg"] for row in lines(source)]
    for layout, name in (
        ("triplet", "t.csv"),
        ("n-tuple", "n.csv"),
        ("labeled-pair", "p.tsv"),
        ("labeled-list", "l.parquet"),
        ("tevatron", "t.jsonl"),
        ("nemo", "nemo"),
        ("id-lists", "ids"),
    ):
        summary = write(read([source]), tmp_path / name, layout)
        merged = merge_rows(pa.Table.from_batches(list(read([tmp_path / name]))))
        found = [[n["text"] for n in row["negatives"]] for row in merged.to_pylist()]
        lost = sum(map(len, expected)) - sum(map(len, found))
        assert lost == summary.losses.get("repeated negatives", 0)
        assert [dict.fromkeys(row) for row in found] == [dict.fromkeys(row) for row in expected]
