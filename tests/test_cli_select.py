"""``eci select`` as a user calls it."""

from __future__ import annotations

import json

import pytest

from eci.datasets import from_object, read, write
from fakes import make_rows, run_cli


@pytest.fixture
def files(tmp_path):
    """Two files, each a source."""
    rows = make_rows(20, {"bm25": 6, "dense": 5})
    paths = []
    for source in ("bm25", "dense"):
        own = [{**row, "negatives": [n for n in row["negatives"] if n["source"] == source]} for row in rows]
        paths.append(tmp_path / f"{source}.jsonl")
        write(from_object(own), paths[-1], "eci")
    return [str(path) for path in paths]


def test_select_writes_the_picks_and_prints_what_they_are(files, tmp_path, monkeypatch, capsys):
    out = tmp_path / "train.parquet"
    code, stdout, stderr = run_cli(
        monkeypatch, capsys, "select", *files, "--k", "3", "--encoder", "hashing", "-o", str(out)
    )
    assert code == 0, stderr
    lines = stdout.splitlines()
    assert lines[0] == "60 negatives selected for 20 queries by eci_sem, encoder hashing-256 (float32)"
    assert [line.split()[0] for line in lines[4:6]] == ["bm25", "dense"]
    assert lines[-1] == str(out)
    rows = [row for batch in read([out]) for row in batch.to_pylist()]
    assert len(rows) == 20
    assert all([each["rank"] for each in row["negatives"]] == [1, 2, 3] for row in rows)


def test_json_is_a_result_of_its_schema_with_the_command(files, tmp_path, monkeypatch, capsys):
    code, stdout, _ = run_cli(
        monkeypatch,
        capsys,
        *("select", *files, "--k", "2", "--encoder", "hashing", "--objective", "margin"),
        *("--max-false-negative-risk", "0.9", "--label", "best", "--temperature", "0.1", "--to", "triplet"),
        *("-o", str(tmp_path / "train.jsonl"), "--json"),
    )
    told = json.loads(stdout)
    assert code == 0
    assert told["schema"] == "eci.select/1"
    assert told["settings"]["command"].startswith("eci select ")
    chosen = {name: told["settings"][name] for name in ("k", "objective", "label", "layout", "temperature")}
    assert chosen == {
        "k": 2,
        "objective": "margin",
        "label": "best",
        "layout": "triplet",
        "temperature": 0.1,
    }
    assert told["settings"]["max_false_negative_risk"] == 0.9
    assert [entry["name"] for entry in told["data"]["files"]] == ["bm25.jsonl", "dense.jsonl"]
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == told["negatives"]


def test_every_objective_runs_from_the_command_line(files, tmp_path, monkeypatch, capsys):
    for objective in ("eci_sem", "alignment", "margin"):
        out = str(tmp_path / f"{objective}.jsonl")
        code, stdout, stderr = run_cli(
            monkeypatch,
            capsys,
            *("select", *files, "-k", "2", "--encoder", "hashing", "--objective", objective, "-o", out),
        )
        assert code == 0, stderr
        assert f"by {objective}," in stdout
        assert len([row for batch in read([out]) for row in batch.to_pylist()]) == 20


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-o", "x.jsonl"), 2, "Missing option '--k'"),
        (("--k", "0", "-o", "x.jsonl"), 2, "0 is not in the range"),
        (("--k", "2"), 2, "Missing option '-o'"),
        (("--k", "2", "--objective", "best", "-o", "x.jsonl"), 2, "'best' is not one of"),
        (("--k", "2", "--max-false-negative-risk", "2", "-o", "x.jsonl"), 2, "is not in the range"),
        (("--k", "2", "--to", "parchment", "-o", "x.jsonl"), 1, "parchment"),
        (("--k", "2", "--label", "bm25", "-o", "x.jsonl"), 1, "have a source 'bm25' already"),
        (("--k", "2", "--precision", "float32", "--device", "cpu", "-o", "x.jsonl"), 1, "Loading options"),
    ],
)
def test_what_is_refused_leaves_nothing(files, tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, _, stderr = run_cli(monkeypatch, capsys, "select", *files, "--encoder", "hashing", *arguments)
    assert found == code
    assert message in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bm25.jsonl", "dense.jsonl"]


def test_an_input_is_not_written_over(files, monkeypatch, capsys):
    code, _, stderr = run_cli(
        monkeypatch, capsys, "select", *files, "--k", "2", "--encoder", "hashing", "-o", files[0]
    )
    assert code == 1
    assert "is read from. Write to another name." in stderr
