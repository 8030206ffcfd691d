"""``eci mine`` and ``eci filter`` as a user meets them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fakes import run_cli

pytest.importorskip("bm25s", reason="the extra 'mine' is not installed")

DOCUMENTS = [
    {"_id": "d1", "title": "Foxes", "text": "The red fox hunts at night in the forest."},
    {"_id": "d2", "title": "", "text": "A red fox was seen near 12 farms in 1999 by the river."},
    {"_id": "d3", "title": "", "text": "Stock markets fell sharply after the news."},
    {"_id": "d4", "title": "", "text": "The fox is not a dog but hunts like one."},
    {"_id": "d5", "title": "", "text": ""},
    {"_id": "d6", "title": "", "text": "Markets and stock rose 5 percent in March 2004."},
]


@pytest.fixture
def collection(tmp_path):
    """A BEIR folder of six documents, one of them empty, and a judgement that points nowhere."""
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(each) + "\n" for each in DOCUMENTS))
    queries = [{"_id": "q1", "text": "red fox at night"}, {"_id": "q2", "text": "stock markets fell"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(each) + "\n" for each in queries))
    head = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "train.tsv").write_text(f"{head}q1\td1\t1\nq2\td3\t1\nq2\tgone\t1\n")
    (folder / "qrels" / "test.tsv").write_text(f"{head}q1\td4\t1\n")
    return folder


def negatives(path):
    rows = pq.read_table(path).to_pylist()
    return {row["query_id"]: [negative["id"] for negative in row["negatives"]] for row in rows}


def test_bm25_keeps_out_what_any_split_calls_relevant(collection, monkeypatch, capsys, tmp_path):
    out = tmp_path / "bm25.parquet"
    code, told, err = run_cli(
        monkeypatch, capsys, "mine", "bm25", str(collection), "--split", "train", "-k", "3", "-o", str(out)
    )
    assert code == 0, err
    # d1 is the positive, d4 is relevant in another split, d3 and d6 share no word with q1.
    assert negatives(out) == {"q1": ["d2"], "q2": ["d6"]}
    assert "bm25: 2 queries, 5 documents" in told
    assert "short rows: 2 of 2 have fewer than 3, least 1" in told
    assert "empty documents: 1" in told
    assert "gone" in told
    settings = json.loads((tmp_path / "bm25.parquet.mine.json").read_text())["settings"]
    assert settings["miner"]["name"] == "bm25"
    assert settings["command"].startswith("eci mine bm25")
    assert {file["name"].split("/")[-1] for file in settings["files"]} >= {"corpus.jsonl", "queries.jsonl"}


def test_files_named_one_by_one_know_only_the_judgements_given(collection, monkeypatch, capsys, tmp_path):
    out = tmp_path / "a.parquet"
    arguments = ["--queries", "queries.jsonl", "--corpus", "corpus.jsonl", "--qrels", "qrels/train.tsv"]
    named = [str(collection / each) if not each.startswith("--") else each for each in arguments]
    assert run_cli(monkeypatch, capsys, "mine", "bm25", *named, "-k", "3", "-o", str(out))[0] == 0
    assert set(negatives(out)["q1"]) == {"d2", "d4"}
    more = [*named, "--qrels", str(collection / "qrels" / "test.tsv")]
    assert run_cli(monkeypatch, capsys, "mine", "bm25", *more, "-k", "3", "-o", str(out))[0] == 0
    assert negatives(out)["q1"] == ["d2"]


def test_pairs_are_their_own_corpus(monkeypatch, capsys, tmp_path):
    pairs = [{"query": f"about {n}", "positive": f"answer number {n} about things"} for n in range(6)]
    rows = tmp_path / "pairs.jsonl"
    rows.write_text("".join(json.dumps(each) + "\n" for each in pairs))
    out = tmp_path / "t.jsonl"
    code, _, err = run_cli(
        monkeypatch, capsys, "mine", "random", str(rows), "-k", "2", "--to", "triplet", "-o", str(out)
    )
    assert code == 0, err
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(written) == 12
    assert {row["negative"] for row in written} <= {each["positive"] for each in pairs}
    assert all(row["negative"] != row["positive"] for row in written)


def test_dense_and_rerank_and_teacher_by_name(collection, monkeypatch, capsys, tmp_path):
    out = tmp_path / "dense.parquet"
    base = [str(collection), "--split", "train", "-o", str(out)]
    code, told, err = run_cli(monkeypatch, capsys, "mine", "dense", *base, "-k", "9", "--encoder", "hashing")
    assert code == 0, err
    assert sorted(negatives(out)["q1"]) == ["d2", "d3", "d6"]
    for search in ("hnsw", "ivf"):
        code, told, err = run_cli(
            monkeypatch, capsys, "mine", "dense", *base, "-k", "2", "--encoder", "hashing", "--search", search
        )
        assert code == 0, err
        assert "recall" in told
    code, told, err = run_cli(
        monkeypatch,
        capsys,
        *["mine", "bm25", *base, "-k", "3", "--teacher", "hashing", "--max-score", "0.99"],
    )
    assert code == 0, err
    scorers = {n["scorer"] for row in pq.read_table(out).to_pylist() for n in row["negatives"]}
    assert scorers == {"hashing-256"}


def test_the_python_of_the_documentation(collection, monkeypatch, tmp_path, capsys):
    page = (Path(__file__).parent.parent / "docs" / "mining.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1)
    pytest.importorskip("Stemmer", reason="the extra 'mine' is not installed")
    monkeypatch.chdir(tmp_path)
    collection.rename(tmp_path / "scifact")
    exec(compile(code, "mining.md", "exec"), {})
    assert capsys.readouterr().out.startswith("bm25: 2 queries, 5 documents, 2 candidates → ")


@pytest.mark.model
def test_three_models_share_the_cache(collection, own_cache, monkeypatch, capsys, tmp_path):
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    out = tmp_path / "reranked.parquet"
    arguments = ["mine", "rerank", str(collection), "--split", "train", "--pool", "dense", "-k", "3"]
    arguments += ["--teacher", "all-MiniLM-L6-v2", "-o", str(out)]
    code, _, err = run_cli(monkeypatch, capsys, *arguments)
    assert code == 0, err
    assert sorted(negatives(out)["q1"]) == ["d2", "d3", "d6"]
    assert next(iter(negatives(out).values()))[0] == "d2"
    first = out.read_bytes()
    assert run_cli(monkeypatch, capsys, *arguments)[0] == 0
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none/out.parquet", "the folder"),
        ("out.csv", ".csv cannot hold the lists of eci"),
        ("small/corpus.jsonl", "is read from"),
        ("small", "is read from"),
        ("taken", "is a folder that eci did not write"),
    ],
)
def test_an_output_that_cannot_be_is_told_before_a_model_is_loaded(
    collection, monkeypatch, capsys, name, words
):
    (collection.parent / "taken").mkdir()
    (collection.parent / "taken" / "file").touch()
    out, model = str(collection.parent / name), "no such model!"
    for command in (
        ["mine", "dense", str(collection), "--split", "train", "-k", "1", "--encoder", model],
        ["mine", "rerank", str(collection), "--split", "train", "-k", "1", "--reranker", model],
    ):
        code, _, err = run_cli(monkeypatch, capsys, *command, "-o", out)
        assert (code, words in err, model in err) == (1, True, False)


@pytest.mark.parametrize("target", ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"])
def test_what_is_read_is_not_overwritten(collection, monkeypatch, capsys, target):
    file = collection / target
    before = file.read_bytes()
    out = ["-o", str(file), *(["--to", "triplet"] if target.endswith("tsv") else [])]
    code, _, err = run_cli(
        monkeypatch, capsys, "mine", "random", str(collection), "--split", "train", "-k", "1", *out
    )
    assert (code, "is read from. Write to another name." in err) == (1, True)
    assert file.read_bytes() == before


@pytest.mark.extra("encode")
def test_options_for_models_are_refused_where_they_do_nothing_or_fit_two(
    collection, rows, monkeypatch, capsys, tmp_path
):
    out = tmp_path / "out.parquet"
    for command in (
        ["mine", "random", str(collection), "--split", "train", "-k", "1"],
        ["filter", str(rows)],
    ):
        code, _, err = run_cli(
            monkeypatch, capsys, *command, "--truncate-dim", "5", "--prompt", "query=q: ", "-o", str(out)
        )
        assert code == 2
        assert "No model is loaded, so --truncate-dim, --prompt would do nothing." in err
    command = [
        "mine",
        "dense",
        str(collection),
        "--split",
        "train",
        "-k",
        "1",
        "--encoder",
        "all-MiniLM-L6-v2",
    ]
    code, _, err = run_cli(
        monkeypatch, capsys, *command, "--max-seq-length", "9", "--teacher", "hashing", "-o", str(out)
    )
    assert code == 2
    assert "--max-seq-length would go to all-MiniLM-L6-v2 and to hashing." in err
    code, _, err = run_cli(monkeypatch, capsys, *command, "--teacher", "reranker:", "-o", str(out))
    assert (code, "lacks a name" in err) == (2, True)
    code, _, err = run_cli(monkeypatch, capsys, *command, "--device", "cuda:77", "-o", str(out))
    assert (code, "The device 'cuda:77' cannot be used" in err) == (1, True)
    assert not out.exists()


def test_filter_drops_what_mining_never_gives(tmp_path, monkeypatch, capsys):
    rows = [
        {"query": "the query", "pos": ["p"], "neg": ["The  Query", "", "a", "A", "b"]},
        {"query": "other", "pos": ["b"], "neg": ["a", "b"]},
    ]
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, told, err = run_cli(
        monkeypatch, capsys, "filter", str(source), "-o", str(out), "--to", "flagembedding"
    )
    assert code == 0, err
    assert [json.loads(line)["neg"] for line in out.read_text().splitlines()] == [["a", "b"], ["a"]]
    for line in ("known positives: 1", "the query itself: 1", "empty texts: 1", "repeated texts: 1"):
        assert f"removed by {line}\n" in told


def test_two_sources_of_a_query_use_a_document_once(tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        rows = [{"query": f"q{n}", "pos": [f"p{n}"], "neg": ["x", f"{name}{n}"]} for n in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    code, _, err = run_cli(
        monkeypatch,
        capsys,
        *["filter", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--max-uses", "2", "-o", str(out)],
    )
    assert code == 0, err
    kept = [[n["text"] for n in json.loads(line)["negatives"]] for line in out.read_text().splitlines()]
    assert [sorted(row) for row in kept] == [["a0", "b0", "x", "x"], ["a1", "b1", "x", "x"], ["a2", "b2"]]


def test_counterfactual_negatives_say_what_was_changed(collection, monkeypatch, capsys, tmp_path):
    pairs = [{"query": "when", "positive": "It was founded in 1972 and has 340 employees."}]
    pairs.append({"query": "what", "positive": "The drug does not increase the risk in 12 patients."})
    rows, out = tmp_path / "pairs.jsonl", tmp_path / "c.jsonl"
    rows.write_text("".join(json.dumps(each) + "\n" for each in pairs))
    code, _, err = run_cli(
        monkeypatch, capsys, "mine", "counterfactual", str(rows), "-k", "2", "-o", str(out)
    )
    assert code == 0, err
    for line in out.read_text().splitlines():
        row = json.loads(line)
        for negative in row["negatives"]:
            extra = (
                negative["extra"] if isinstance(negative["extra"], dict) else json.loads(negative["extra"])
            )
            assert extra["edit"] in ("number", "date", "unit", "negation", "entity")
            assert extra["to"] in negative["text"]
            assert negative["text"] != row["positives"][0]["text"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["mine", "bm25", "-k", "3", "-o", "x.parquet"], 1, "nothing to mine for"),
        (["mine", "bm25", "FOLDER", "-o", "x.parquet"], 2, "'-k'"),
        (["mine", "bm25", "FOLDER", "-k", "0", "-o", "x.parquet"], 2, "0 is not in the range"),
        (["mine", "nonsense"], 2, "No such command"),
        (["mine", "bm25", "FOLDER", "-k", "3", "-o", "x.parquet", "--split", "dev"], 1, "dev"),
        (
            ["mine", "bm25", "FOLDER", "-k", "3", "-o", "no/x.parquet", "--split", "train"],
            1,
            "does not exist",
        ),
        (
            ["mine", "bm25", "FOLDER", "-k", "3", "-o", "x", "--split", "train", "--to", "y"],
            1,
            "unknown layout",
        ),
        (["mine", "bm25", "FOLDER", "-k", "3", "-o", "x", "--split", "train", "--k1", "-1"], 1, "k1"),
        (
            ["mine", "bm25", "FOLDER", "-k", "3", "-o", "x", "--split", "train", "--range-max", "2"],
            1,
            "do not fit",
        ),
        (
            ["mine", "random", "FOLDER", "-k", "3", "-o", "x", "--split", "train", "--max-score", "1"],
            1,
            "--teacher",
        ),
        (
            ["mine", "dense", "FOLDER", "-k", "3", "-o", "x", "--encoder", "no/such/folder"],
            1,
            "no/such/folder",
        ),
        (["filter", "gone.jsonl", "-o", "x.jsonl"], 1, "gone.jsonl"),
    ],
)
def test_bad_input_is_one_clear_message(collection, monkeypatch, capsys, tmp_path, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    given = [str(collection) if each == "FOLDER" else each for each in arguments]
    found, _, err = run_cli(monkeypatch, capsys, *given)
    assert found == code, err
    assert words in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("x*"))


def test_repeated_corpus_ids_are_refused_by_name(collection, monkeypatch, capsys, tmp_path):
    with (collection / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "d1", "title": "", "text": "Another text"}) + "\n")
    code, _, err = run_cli(
        monkeypatch, capsys, "mine", "bm25", str(collection), "-k", "1", "-o", str(tmp_path / "x.parquet")
    )
    assert code == 1
    assert "the id 'd1' has two different texts" in err


ROWS = [
    {
        "query_id": "q1",
        "query": "red fox",
        "positives": [{"id": "p1", "text": "the red fox", "score": 0.8}],
        "negatives": [
            {"source": "a", "id": "n1", "text": "The  red FOX", "rank": 1, "score": 0.1},
            {"source": "a", "id": "n2", "text": "too close", "rank": 3, "score": 0.79},
            {"source": "a", "id": "n3", "text": "fine", "rank": 4, "score": 0.5},
            {"source": "a", "id": "n4", "text": "judged elsewhere", "rank": 5, "score": 0.4},
            {"source": "b", "id": "n2", "text": "too close", "rank": 1, "score": 0.79},
        ],
    },
    {
        "query_id": "q2",
        "query": "dog",
        "positives": [{"id": "p2", "text": "the dog", "score": -0.4}],
        "negatives": [
            {"source": "b", "id": "n5", "text": "cat", "score": -0.39},
            {"source": "b", "id": "n6", "text": "mouse", "score": -0.5},
        ],
    },
]


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def kept(path):
    return {
        row["query_id"]: [(n["source"], n["id"]) for n in row["negatives"]]
        for row in map(json.loads, path.read_text().splitlines())
    }


def test_filter_by_the_scores_in_the_rows(rows, monkeypatch, capsys, tmp_path):
    out, qrels = tmp_path / "out.jsonl", tmp_path / "more.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\tn4\t1\nq1\tn3\t0\n")
    code, told, err = run_cli(
        monkeypatch,
        capsys,
        *["filter", str(rows), "--relative-margin", "0.05", "--qrels", str(qrels), "-k", "2", "-o", str(out)],
    )
    assert code == 0, err
    # −0.4 − 0.05·0.4 = −0.42: what scores −0.39 goes.
    assert kept(out) == {"q1": [("a", "n3")], "q2": [("b", "n6")]}
    assert "removed by known positives: 2" in told
    assert "removed by relative margin: 3" in told
    assert "a: 4 → 1 negative; of 1 query 0 left with none, 1 with fewer than 2" in told
    assert "b: 3 → 1 negative; of 2 queries 1 left with none, 2 with fewer than 2" in told


def test_a_draw_is_the_same_in_every_process(collection, rows, tmp_path):
    """Python hashes texts anew in every process; what is drawn does not follow it."""
    many = [{"query": f"q {n}", "pos": ["p"], "neg": [f"text {m}" for m in range(30)]} for n in range(9)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in many))
    base = ["-k", "2", "--sampling", "random", "-o"]
    commands = [
        ["filter", str(rows), *base, str(tmp_path / "filtered.jsonl")],
        ["mine", "random", str(collection), "--split", "train", *base, str(tmp_path / "drawn.jsonl")],
    ]
    found = []
    for seed in ("1", "2"):
        for command in commands:
            program = [sys.executable, "-c", "from eci.cli import main; main()", *command]
            subprocess.run(program, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        found.append([Path(command[-1]).read_bytes() for command in commands])
    assert found[0] == found[1]


def test_filter_leaves_other_sources_alone(rows, monkeypatch, capsys, tmp_path):
    out = tmp_path / "out.jsonl"
    code, _, err = run_cli(
        monkeypatch, capsys, "filter", str(rows), "--only", "a", "--max-score", "0.6", "-o", str(out)
    )
    assert code == 0, err
    assert kept(out)["q1"] == [("a", "n3"), ("a", "n4"), ("b", "n2")]
    assert kept(out)["q2"] == [("b", "n5"), ("b", "n6")]


def test_a_teacher_s_scores_replace_those_of_the_rows(rows, monkeypatch, capsys, tmp_path):
    from eci.embedding import encode
    from eci.models.hashing import HashingEncoder

    out = tmp_path / "out.jsonl"
    code, _, err = run_cli(
        monkeypatch, capsys, "filter", str(rows), "--teacher", "hashing", "--max-score", "2", "-o", str(out)
    )
    assert code == 0, err
    for row in map(json.loads, out.read_text().splitlines()):
        entries = row["positives"] + row["negatives"]
        query = encode(HashingEncoder(), [row["query"]], "query")
        vectors = encode(HashingEncoder(), [entry["text"] for entry in entries], "document")
        assert [entry["score"] for entry in entries] == pytest.approx((vectors @ query[0]).tolist(), abs=1e-6)
        assert {negative["scorer"] for negative in row["negatives"]} == {"hashing-256"}


def test_filter_refuses_what_it_cannot_judge(rows, monkeypatch, capsys, tmp_path):
    bare = [{**ROWS[1], "positives": [{"id": "p2", "text": "the dog"}]}]
    file, out = tmp_path / "bare.jsonl", tmp_path / "out.jsonl"
    file.write_text(json.dumps(bare[0]) + "\n")
    cases = [
        ([str(file), "--relative-margin", "0.1"], "positives of the query 'dog' carry no scores"),
        ([str(rows), "--only", "c"], "No negative is of the source 'c'. Sources here: a, b"),
        ([str(rows), "--max-score", "-1"], "No negative is left. Removed by: known positives 1, max score 6"),
    ]
    for arguments, words in cases:
        code, _, err = run_cli(monkeypatch, capsys, "filter", *arguments, "-o", str(out))
        assert code == 1
        assert words in err
        assert not out.exists()
