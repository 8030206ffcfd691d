from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from eci.models.cache import EmbeddingCache
from fakes import make_rows, run_cli

ECI = [sys.executable, "-c", "from eci.cli import run; run()"]


@pytest.fixture
def eci(monkeypatch, capsys):
    return lambda *arguments: run_cli(monkeypatch, capsys, *map(str, arguments))


@pytest.fixture
def rows_file(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in make_rows(60, {"bm25": 7, "dense": 3})))
    return file


def flagembedding(file, rows, source):
    with file.open("w") as out:
        for row in rows:
            chosen = [n["text"] for n in row["negatives"] if n["source"] == source]
            out.write(
                json.dumps({"query": row["query"], "pos": [row["positives"][0]["text"]], "neg": chosen})
                + "\n"
            )
    return file


def test_leaderboard_verdict_baselines_and_warnings_on_stdout(eci, rows_file):
    code, out, err = eci("score", rows_file, "--encoder", "hashing")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "60 of 60 queries, 322 documents, 2 sources; encoder hashing-256 (float32)"
    for column in (
        "source",
        "eci",
        "95 % interval",
        "P(first)",
        "N",
        "signal",
        "margin",
        "mean margin",
        "violations",
        "ln(1+N)",
    ):
        assert column in lines[2]
    assert lines[4].startswith("1  bm25")
    assert "ranks first by eci" in out or "Not decided between" in out
    assert "capacity: bm25 (τ +1.00)" in out
    assert "! ln(1+N) alone can make the ranking, for N differs by more than 2×" in out
    assert "reading rows" in err
    assert "reading rows" not in out


def test_json_holds_everything_needed_to_obtain_it_again(eci, rows_file, tmp_path):
    code, out, _ = eci("score", rows_file, "--encoder", "hashing", "--json", "-o", tmp_path / "result.json")
    found = json.loads(out)
    assert code == 0
    assert found == json.loads((tmp_path / "result.json").read_text())
    assert found["schema"] == "eci.score/1"
    assert found["settings"]["command"].startswith(f"eci score {rows_file} --encoder hashing")
    assert found["data"]["files"][0]["name"] == "rows.jsonl"
    assert len(found["data"]["files"][0]["sha256"]) == 64
    assert set(found["settings"]["versions"]) == {"python", "eci", "numpy", "pyarrow"}
    assert found["sources"][0]["values"]["eci"]["low"] < found["sources"][0]["values"]["eci"]["high"]


def test_files_are_sources_of_their_own_and_pair_by_query_text(eci, tmp_path):
    rows = make_rows(50, {"bm25": 5, "dense": 5})
    files = [flagembedding(tmp_path / f"{name}.jsonl", rows, name) for name in ("bm25", "dense")]
    code, out, _ = eci("score", *files, "--encoder", "hashing", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["data"]["queries"] == 50
    assert {s["source"]: s["coverage"] for s in found["sources"]} == {"bm25": 1.0, "dense": 1.0}


def test_source_labels_can_be_given(eci, tmp_path):
    rows = make_rows(30, {"bm25": 5})
    file = flagembedding(tmp_path / "train.jsonl", rows, "bm25")
    _, out, _ = eci("score", file, "--source", "lexical", "--encoder", "hashing", "--json")
    assert [s["source"] for s in json.loads(out)["sources"]] == ["lexical"]


@pytest.mark.parametrize(
    ("arguments", "scored"),
    [((), 500), (("--all",), 500), (("--sample", "50"), 50), (("--until", "decided"), 200)],
)
def test_how_many_queries_are_scored(eci, tmp_path, arguments, scored):
    rows = make_rows(500, {"a": 3})
    for row in rows:
        row["negatives"] += [{"source": "b", "text": "nothing alike"}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = eci("score", file, "--encoder", "hashing", "--json", *arguments)
    assert code == 0
    assert json.loads(out)["settings"]["queries_scored"] == scored


def test_metric_and_target_and_temperature_reach_the_result(eci, rows_file):
    _, out, _ = eci(
        "score",
        rows_file,
        "--encoder",
        "hashing",
        "--json",
        "--metric",
        "signal",
        "--target",
        "e5",
        "--temperature",
        "0.1",
        "--seed",
        "3",
    )
    found = json.loads(out)
    assert found["settings"]["metric"] == "signal"
    assert (found["settings"]["temperature"], found["settings"]["seed"]) == (0.1, 3)
    assert found["encoder"]["target"] == "e5"
    assert any("to fine-tune e5" in warning for warning in found["warnings"])


@pytest.mark.parametrize("size", ["1", "7", "10000"])
def test_batches_change_nothing(eci, rows_file, size):
    _, out, _ = eci("score", rows_file, "--encoder", "hashing", "--json", "--batch-rows", size)
    _, expected, _ = eci("score", rows_file, "--encoder", "hashing", "--json")
    assert json.loads(out)["sources"] == json.loads(expected)["sources"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metric", "ecy"), "Unknown metric 'ecy'. Known: eci,"),
        (("--sample", "5", "--all"), "exclude each other"),
        (("--sample", "0"), "0 is not in the range"),
        (("--sample", "1" + "0" * 30), "is too large"),
        (("--seed", "-1"), "-1 is not in the range"),
        (("--seed", str(2**32)), "is not in the range"),
        (("--until", "bored"), "'bored' is not"),
        (("--prompt", "x"), "--prompt takes query=TEXT or document=TEXT"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_usage_errors_exit_2(eci, rows_file, arguments, message):
    code, out, err = eci("score", rows_file, "--encoder", "hashing", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def bad_inputs(folder: Path):
    good = json.dumps({"query": "q", "pos": ["p"], "neg": ["n"]})

    def file(name, content, encoding="utf-8"):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return [str(path)]

    eci_row = {"query_id": "1", "query": "a", "positives": [{"id": "d", "text": "p"}], "negatives": []}
    other_query = {**eci_row, "query": "b"}
    other_text = {**eci_row, "query_id": "2", "positives": [{"id": "d", "text": "other"}]}
    (folder / "folder").mkdir()
    return {
        "empty file": (file("empty.jsonl", ""), "empty.jsonl"),
        "truncated line": (file("cut.jsonl", good + "\n" + good[:-9] + "\n"), "cut.jsonl:2:"),
        "neg is a string": (
            file("neg.jsonl", json.dumps({"query": "q", "pos": ["p"], "neg": "n"})),
            "neg.jsonl:1: 'neg' must be a list",
        ),
        "pos is a string": (
            file("pos.jsonl", json.dumps({"query": "q", "pos": "p", "neg": ["n"]})),
            "pos.jsonl:1: 'pos' must be a list",
        ),
        "missing key": (
            file("key.jsonl", good + "\n" + json.dumps({"query": "q", "neg": ["n"]})),
            "key.jsonl:2:",
        ),
        "unknown keys": (file("odd.jsonl", json.dumps({"foo": 1, "bar": 2})), "odd.jsonl"),
        "two layouts": (file("two.jsonl", good + "\n" + json.dumps(eci_row)), "two.jsonl:2:"),
        "no positive": (
            file("none.jsonl", json.dumps({"query": "q", "pos": [], "neg": ["n"]})),
            "none.jsonl:1:",
        ),
        "NaN score": (
            file("nan.jsonl", '{"query":"q","pos":["p"],"neg":["n"],"pos_scores":[1.0],"neg_scores":[NaN]}'),
            "nan.jsonl:1:",
        ),
        "10 MB text": (
            file("long.jsonl", json.dumps({"query": "q", "pos": ["p"], "neg": ["x" * 10_000_000]})),
            "long.jsonl:1:",
        ),
        "query id twice": (
            file("qid.jsonl", json.dumps(eci_row) + "\n" + json.dumps(other_query)),
            "qid.jsonl:2:",
        ),
        "document id twice": (
            file("did.jsonl", json.dumps(eci_row) + "\n" + json.dumps(other_text)),
            "did.jsonl:2:",
        ),
        "not UTF-8": (
            file("latin.jsonl", '{"query":"é","pos":["p"],"neg":["n"]}', "latin-1"),
            "latin.jsonl:1:",
        ),
        "folder": ([str(folder / "folder")], "folder"),
        "absent file": ([str(folder / "absent.jsonl")], "absent.jsonl"),
        "unknown layout": ([*file("good.jsonl", good), "--layout", "tripled"], "tripled"),
        "no negatives": (
            file("bare.jsonl", json.dumps({"query": "q", "pos": ["p"], "neg": []})),
            "No row has a negative",
        ),
    }


CASES = [
    "empty file",
    "truncated line",
    "neg is a string",
    "pos is a string",
    "missing key",
    "unknown keys",
    "two layouts",
    "no positive",
    "NaN score",
    "10 MB text",
    "query id twice",
    "document id twice",
    "not UTF-8",
    "folder",
    "absent file",
    "unknown layout",
    "no negatives",
]


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_clear_message_and_exit_1(eci, tmp_path, case):
    arguments, message = bad_inputs(tmp_path)[case]
    code, out, err = eci("score", *arguments, "--encoder", "hashing", "-o", tmp_path / "result.json")
    assert code == 1
    assert out == ""
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "This is a defect of eci" not in errors[0]
    assert "Traceback" not in err
    assert not list(tmp_path.glob("*result.json*"))


def test_all_bad_inputs_are_tried(tmp_path):
    assert list(bad_inputs(tmp_path)) == CASES


@pytest.mark.parametrize("place", [0, 4])
def test_debug_shows_the_traceback_wherever_it_stands(eci, tmp_path, place):
    arguments = ["score", tmp_path / "absent.jsonl", "--encoder", "hashing"]
    arguments.insert(place, "--debug")
    code, _, err = eci(*arguments)
    assert code == 1
    assert "Traceback (most recent call last)" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_disk_full_on_stdout_is_told(rows_file):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*ECI, "score", str(rows_file), "--encoder", "hashing"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_inputs_of_one_name_are_not_silently_one_source(eci, tmp_path):
    files = []
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        files.append(flagembedding(tmp_path / folder / "train.jsonl", make_rows(9, {folder: 3}), folder))
    code, _, err = eci("score", *files, "--encoder", "hashing")
    assert code == 1
    assert "two inputs would both be the source 'train'. Name them with --source" in err
    _, out, _ = eci("score", *files, "--encoder", "hashing", "--json", "--source", "x", "--source", "y")
    assert {source["source"] for source in json.loads(out)["sources"]} == {"x", "y"}


def test_why_no_negative_was_read_is_told(eci, tmp_path):
    home = tmp_path / "small"
    (home / "qrels").mkdir(parents=True)
    (home / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "t"}\n')
    (home / "queries.jsonl").write_text('{"_id": "q", "text": "t"}\n')
    (home / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    (tmp_path / "run.trec").write_text("q Q0 unknown 1 1.0 run\n")
    _, _, err = eci("score", home, tmp_path / "run.trec", "--encoder", "hashing")
    assert "No row has a negative. The reader noted: " in err
    assert "1 of 1 entries of run 'run' point to documents that the corpus lacks" in err


def test_options_that_would_be_ignored_are_refused(eci, rows_file):
    code, _, err = eci("score", rows_file, "--encoder", "hashing", "--truncate-dim", "2")
    assert code == 1
    assert "Loading options are for models that are loaded by name" in err


def test_output_where_nothing_can_be_written(eci, rows_file, tmp_path):
    code, _, err = eci("score", rows_file, "--encoder", "hashing", "-o", tmp_path / "absent" / "result.json")
    assert code == 1
    assert "round" not in err, "told before the work, not after it"
    assert "absent" in err.splitlines()[-1]
    assert "unexpected" not in err


def test_ctrl_c_leaves_no_traceback_and_no_output(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in make_rows(150, {"a": 20})))
    code = """
import os, signal
from eci.cli import run
from eci.models.hashing import HashingEncoder
whole = HashingEncoder.encode_document
def some(self, texts):
    os.kill(os.getpid(), signal.SIGINT)
    return whole(self, texts)
HashingEncoder.encode_document = some
run()
"""
    arguments = ["score", str(file), "--encoder", "hashing", "-o", str(tmp_path / "result.json")]
    started = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, check=False, text=True
    )
    out, err = started.stdout, started.stderr
    assert err.startswith("reading rows")
    assert started.returncode == 130
    assert out == ""
    assert err.strip().splitlines()[-1].startswith("Interrupted.")
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_a_closed_pipe_is_no_error(rows_file):
    command = f"{sys.executable} -c 'from eci.cli import run; run()' score {rows_file} --encoder hashing --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_cache_info_and_clear(eci):
    pytest.importorskip("lmdb", reason="the extra 'encode' is not installed")
    assert eci("cache", "info")[1].endswith("0 vectors, 0.0 MB\n")
    code, out, _ = eci("cache", "clear", "--yes")
    assert code == 0
    assert out.startswith("Freed ")
    assert json.loads(eci("cache", "info", "--json")[1])["vectors"] == 0


def test_cache_info_shows_what_an_encoder_of_somebodys_own_tells(eci):
    pytest.importorskip("lmdb", reason="the extra 'encode' is not installed")
    with closing(EmbeddingCache()) as cache:
        cache.register(b"1" * 16, {"name": "mine"})
        cache.put(b"1" * 16, [b"2" * 16], np.ones((1, 3), dtype=np.float32))
    assert eci("cache", "info")[1].splitlines()[-1].split(maxsplit=1) == ["1", "mine, unknown precision"]


def test_cache_clear_asks_first(eci, monkeypatch):
    eci("cache", "info")
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        code, _, err = eci("cache", "clear")
    assert code == 1
    assert "Delete all cached vectors in" in err
    assert err.strip().endswith("Nothing was done.")


@pytest.mark.model
def test_embedded_encoder_cold_warm_and_without_cache_give_the_same(eci, rows_file, own_cache):
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    found = []
    for arguments in ((), (), ("--no-cache",)):
        code, out, err = eci("score", rows_file, "--json", *arguments)
        assert code == 0
        found.append((json.loads(out)["sources"], "embedding" in err))
    assert found[0][0] == found[1][0] == found[2][0]
    assert [embedded for _, embedded in found] == [True, False, True]
