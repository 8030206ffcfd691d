"""`eci generate` from the command line: trial, resumption, interruption, and what other commands make of it."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest

from chat_server import ChatServer
from fakes import run_cli
from test_generate import corpus_of, rows_of
from writer_script import asked_in, said, well

CHILD = [sys.executable, "-c", "from eci.cli import run; run()"]
READ, PASSAGES = "is read from", "--queries-from-passages"
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with rows of ten queries."""
    monkeypatch.chdir(tmp_path)
    pairs(tmp_path, 10)
    return tmp_path


def pairs(folder, count):
    lines = [json.dumps(row) + "\n" for row in rows_of(count)]
    (folder / "pairs.jsonl").write_text("".join(lines))


def command(server, kind, *more, rows="pairs.jsonl", out="out.jsonl"):
    return ["generate", kind, rows, "--model", "m", "--base-url", server.url, "-o", out, *more]


@pytest.mark.extra("chat")
def test_a_dry_run_asks_nothing_and_tells_what_it_would_take(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        for kind, calls in (("attribute", 10), ("query-only", 10), ("causal", 20)):
            arguments = command(server, kind, "--dry-run", "--price", "1,10")
            code, out, _ = run_cli(monkeypatch, capsys, *arguments)
            assert code == 0
            assert f"{calls} calls" in out
            assert "cost " in out
            assert "what became of thing 0" in out
        assert "causal" not in out or "negatives that break a requirement" in out
        code, out, _ = run_cli(
            monkeypatch,
            capsys,
            *command(
                server, "query-only", "--queries-from-passages", "--dry-run", rows=str(corpus_of(folder))
            ),
        )
        assert (code, "24 calls" in out) == (0, True)
        assert server.bodies == []
    assert not (folder / "eci.answers.sqlite").exists()
    assert not (folder / "out.jsonl").exists()


@pytest.mark.extra("chat")
def test_a_trial_then_all_then_nothing_more_to_ask(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        code, out, err = run_cli(monkeypatch, capsys, *command(server, "causal", "--limit", "3"))
        assert code == 0
        assert "llm-causal: 3 queries, 3 samples, 3 answered → 9 negatives (up to 3 of each)" in out
        assert "answers are kept in eci.answers.sqlite" in err
        assert len(server.bodies) == 6
        code, out, _ = run_cli(monkeypatch, capsys, *command(server, "causal", "--dry-run"))
        assert "14 calls (6 more are settled already)" in out
        code, out, err = run_cli(monkeypatch, capsys, *command(server, "causal", "--json", "--label", "llm"))
        assert (code, len(server.bodies)) == (0, 20)
        result = json.loads(out)
        first = (folder / "out.jsonl").read_bytes()
        run_cli(monkeypatch, capsys, *command(server, "causal", "--label", "llm"))
        assert len(server.bodies) == 20
    assert (folder / "out.jsonl").read_bytes() == first
    assert result["schema"] == "eci.generate/1"
    assert result["settings"]["candidates"] == "bm25"
    assert result["settings"]["files"][0]["name"] == "pairs.jsonl"
    assert result["settings"]["command"].startswith("eci generate causal")
    beside = json.loads((folder / "out.jsonl.generate.json").read_text())
    assert beside["negatives"] == result["negatives"] == 30
    code, out, _ = run_cli(monkeypatch, capsys, "generate", "status", "--price", "1,2", "--json")
    told = json.loads(out)
    assert told["states"]["answered"] == 20
    assert told["cost"] == pytest.approx((told["prompt_tokens"] + 2 * told["completion_tokens"]) / 1e6)
    code, out, _ = run_cli(monkeypatch, capsys, "generate", "status")
    assert "20 requests" in out
    assert "20 answered" in out


@pytest.mark.extra("chat")
def test_queries_for_a_corpus_and_negatives_for_them(folder, monkeypatch, capsys):
    corpus = str(corpus_of(folder))
    with ChatServer(well) as server:
        code, out, _ = run_cli(monkeypatch, capsys, *command(server, "queries", rows=corpus, out="made"))
        assert code == 0
        assert "12 passages → 12 queries of 12 documents" in out
        # Its own folder it replaces, and nobody else does.
        code, _, err = run_cli(monkeypatch, capsys, *command(server, "queries", rows=corpus, out="made"))
        assert code == 0, err
        code, _, err = run_cli(
            monkeypatch, capsys, "convert", "made/rows.jsonl", "--to", "beir", "-o", "made"
        )
        assert code == 1
        assert (folder / "made" / "corpus.jsonl").exists()
        assert json.loads((folder / "made.generate.json").read_text())["schema"] == "eci.queries/1"
        code, out, _ = run_cli(monkeypatch, capsys, "mine", "bm25", "made", "-k", "2", "-o", "bm25.jsonl")
        assert code == 0
        arguments = command(server, "query-only", "--queries-from-passages", "--json", rows=corpus)
        code, out, _ = run_cli(monkeypatch, capsys, *arguments)
        assert code == 0
        # The queries were asked for already.
        assert [list(asked_in(body)) for body in server.bodies[12:]] == [["count", "query"]] * 12
    told = json.loads(out)
    assert (told["queries"], told["negatives"], told["settings"]["queries"]["queries"]) == (12, 12, 12)
    row = json.loads((folder / "out.jsonl").read_text().splitlines()[3])
    assert row["query_id"] == "p3~query"
    assert row["extra"]["query"]["prompts"] == ["passage-query/1"]


@pytest.mark.extra("chat")
def test_what_is_written_goes_on_through_the_other_commands(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        for kind in ("attribute", "causal"):
            assert run_cli(monkeypatch, capsys, *command(server, kind, out=f"{kind}.jsonl"))[0] == 0
    both = ["attribute.jsonl", "causal.jsonl"]
    code, out, _ = run_cli(
        monkeypatch, capsys, "score", *both, "pairs.jsonl", "--encoder", "hashing", "--json"
    )
    assert code == 0
    assert {each["source"] for each in json.loads(out)["sources"]} == {"llm-attribute", "llm-causal", "bm25"}
    assert run_cli(monkeypatch, capsys, "audit", "causal.jsonl", "--encoder", "hashing")[0] == 0
    code, _, _ = run_cli(monkeypatch, capsys, "mix", *both, "--mode", "union", "-o", "mixed.jsonl")
    assert code == 0
    code, _, _ = run_cli(monkeypatch, capsys, "convert", "mixed.jsonl", "-o", "mixed.parquet")
    assert code == 0
    mixed = [json.loads(line) for line in (folder / "mixed.jsonl").read_text().splitlines()]
    prompts = {prompt for row in mixed for each in row["negatives"] for prompt in each["extra"]["prompts"]}
    assert prompts == {"attribute/1", "causal-analysis/1", "causal-generation/1"}
    for more in ((), ("--keep-curated",)):
        arguments = [
            "filter",
            "mixed.parquet",
            "--teacher",
            "hashing",
            "--absolute-margin",
            "1.9",
            "-o",
            "left.jsonl",
        ]
        code, out, err = run_cli(monkeypatch, capsys, *arguments, *more)
        if more:
            assert "curated, spared by absolute margin: 30" in out
            left = [json.loads(line) for line in (folder / "left.jsonl").read_text().splitlines()]
            assert {"broken_requirement" in n["extra"] for row in left for n in row["negatives"]} == {True}
        else:
            assert (code, "No negative is left" in err) == (1, True)


@pytest.mark.extra("chat")
@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--candidate-limit", "0", "--candidates", "pairs.jsonl"], "shows none of the --candidates"),
        (["--device", "cpu"], "No model is loaded"),
        (["--price", "1"], "--price takes IN,OUT"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder, monkeypatch, capsys, more, match):
    with ChatServer(well) as server:
        code, _, err = run_cli(monkeypatch, capsys, *command(server, "causal", *more))
        assert (code, server.bodies) == (2, [])
    assert match in err


def test_queries_from_passages_take_one_corpus(folder, monkeypatch, capsys):
    corpus = str(corpus_of(folder))
    with ChatServer(well) as server:
        for rows, more, told in (
            (corpus, ["--split", "train"], "--split would do nothing"),
            (corpus, ["--corpus", corpus], "Give one path"),
            ("pairs.jsonl", [], "holds training rows"),
        ):
            arguments = command(server, "query-only", "--queries-from-passages", *more, rows=rows)
            code, _, err = run_cli(monkeypatch, capsys, *arguments)
            assert code in (1, 2)
            assert told in err
        assert server.bodies == []


def test_errors_before_the_first_call(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        for arguments, told in (
            (command(server, "attribute", rows="missing.jsonl"), "missing.jsonl"),
            (command(server, "attribute", out="none/out.jsonl"), "does not exist"),
            (command(server, "attribute", out="pairs.jsonl"), "is read from"),
            (command(server, "queries", out="made.jsonl"), "is a folder"),
            (command(server, "attribute", "--domains", "missing"), "one domain a line"),
            (["generate", "status", "missing.sqlite"], "no such journal"),
            (command(server, "query-only", "--positives", "2"), "would ask the same again"),
            (command(server, "attribute", "--seed", "9" * 20), "--seed"),
        ):
            code, _, err = run_cli(monkeypatch, capsys, *arguments)
            assert code in (1, 2)
            assert told in err
        assert server.bodies == []


@pytest.mark.parametrize(
    ("kind", "out", "more", "said"),
    [
        ("attribute", "a.jsonl", ["--journal", "a.jsonl"], READ),
        ("attribute", "a.jsonl", ["--journal", "a.jsonl.generate.json"], READ),
        ("attribute", "eci.answers.sqlite-wal", [], READ),
        ("attribute", "folder", ["--to", "beir", "--journal", "folder/a.sqlite"], READ),
        ("attribute", "domains.jsonl", ["--domains", "domains.jsonl"], READ),
        ("attribute", "domains", ["--domains", "domains.generate.json"], "eci did not write it"),
        (
            "attribute",
            "mine",
            [],
            "mine.generate.json: is where settings and counts go, and eci did not write",
        ),
        ("attribute", "paid.jsonl", [], "paid.jsonl: is a database, such as answers are kept in"),
        ("causal", "pairs.jsonl", ["--candidates", "other.jsonl"], READ),
        ("causal", "other.jsonl", ["--candidates", "other.jsonl"], READ),
        ("queries", "folder", ["--journal", "folder/a.sqlite"], READ),
        ("query-only", "folder", [PASSAGES, "--to", "beir", "--journal", "folder/a.sqlite"], READ),
    ],
)
def test_neither_the_journal_nor_what_is_read_is_replaced(folder, monkeypatch, capsys, kind, out, more, said):
    (folder / "other.jsonl").write_bytes((folder / "pairs.jsonl").read_bytes())
    for name in ("domains.jsonl", "domains.generate.json"):
        (folder / name).write_text('["bee keeping"]')
    (folder / "mine.generate.json").write_text('{"schema": "other"}')
    sqlite3.connect(folder / "paid.jsonl").execute("CREATE TABLE answers (text)").connection.close()
    (folder / "folder").mkdir()
    corpus = kind == "queries" or PASSAGES in more
    rows = str(corpus_of(folder)) if corpus else "pairs.jsonl"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with ChatServer(well) as server:
        code, _, err = run_cli(monkeypatch, capsys, *command(server, kind, *more, rows=rows, out=out))
        assert (code, server.bodies) == (1, [])
    assert said in err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.extra("chat")
def test_no_command_writes_over_a_journal(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        assert run_cli(monkeypatch, capsys, *command(server, "attribute", "--journal", "paid.jsonl"))[0] == 0
    before = (folder / "paid.jsonl").read_bytes()
    for arguments in (
        ["convert", "out.jsonl", "--to", "eci", "-o", "paid.jsonl"],
        ["score", "out.jsonl", "--encoder", "hashing", "-o", "paid.jsonl"],
        ["audit", "out.jsonl", "--encoder", "hashing", "--fix", "drop", "-o", "paid.jsonl"],
        ["mine", "random", "pairs.jsonl", "-k", "1", "-o", "paid.jsonl"],
    ):
        code, _, err = run_cli(monkeypatch, capsys, *arguments)
        assert (code, "paid.jsonl: is a database" in err) == (1, True)
    assert (folder / "paid.jsonl").read_bytes() == before


@pytest.mark.extra("chat")
def test_what_cannot_come_out_well_is_told_before_it_is_asked(folder, monkeypatch, capsys):
    lines = (folder / "pairs.jsonl").read_text().splitlines()
    (folder / "some.jsonl").write_text("\n".join(lines[:4]) + "\n")
    candidates = ("causal", "--candidates", "some.jsonl")
    crowded = ("attribute", "-k", "20", "--max-tokens", "100")
    with ChatServer(well) as server:
        for arguments, told in (
            (candidates, "some.jsonl: has candidates for 4 of 10 queries; for the others"),
            (crowded, "of 10 of 10 samples more is asked for than 100 tokens hold"),
        ):
            code, out, _ = run_cli(monkeypatch, capsys, *command(server, *arguments, "--dry-run"))
            assert (code, f"· {told}" in out, server.bodies) == (0, True, [])
        code, out, err = run_cli(monkeypatch, capsys, *command(server, *candidates))
        assert (code, "warning: some.jsonl: has candidates for 4 of 10" in err) == (0, True)
        assert "· some.jsonl: has candidates for 4 of 10" in out


@pytest.mark.extra("chat")
def test_another_seed_is_another_call(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        for kind, calls in (("query-only", 10), ("causal", 20), ("attribute", 10)):
            before = len(server.bodies)
            for seed, sent in (("0", calls), ("0", 0), ("1", calls)):
                assert run_cli(monkeypatch, capsys, *command(server, kind, "--seed", seed))[0] == 0
                assert len(server.bodies) - before == sent
                before = len(server.bodies)


@pytest.mark.extra("chat")
def test_files_that_decide_what_is_asked_are_in_the_summary(folder, monkeypatch, capsys):
    (folder / "domains.txt").write_text("bee keeping\n")
    with ChatServer(well) as server:
        for kind, name in (("attribute", "domains.txt"), ("causal", "pairs.jsonl")):
            option = "--domains" if kind == "attribute" else "--candidates"
            code, out, _ = run_cli(monkeypatch, capsys, *command(server, kind, option, name, "--json"))
            assert code == 0
            files = json.loads(out)["settings"]["files"]
            assert [each["name"] for each in files] == ["pairs.jsonl", name]
            assert all(len(each["sha256"]) == 64 for each in files)


def states(journal):
    try:
        with closing(sqlite3.connect(journal)) as connection:
            return dict(connection.execute("SELECT state, COUNT(*) FROM answers GROUP BY state").fetchall())
    except sqlite3.OperationalError:
        return {}


def waited(journal, least):
    end = time.monotonic() + 60
    while states(journal).get("answered", 0) < least:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.extra("chat")
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_run_goes_on_to_the_same_bytes_and_the_key_is_nowhere(folder, monkeypatch, capfd):
    pairs(folder, 60)
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    journal, concurrency = folder / "eci.answers.sqlite", 4
    told = []
    with ChatServer(well, latency=0.02) as server:
        arguments = command(server, "causal", "--concurrency", str(concurrency))
        for stop, least in ((signal.SIGKILL, 20), (signal.SIGINT, 60)):
            with subprocess.Popen(
                [*CHILD, *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                waited(journal, least)
                process.send_signal(stop)
                told += process.communicate(timeout=30)
        assert process.returncode == 130
        assert "the same command again asks for the rest" in told[-1]
        assert not (folder / "out.jsonl").exists()
        last = subprocess.run(
            [*CHILD, *arguments], env=environment, capture_output=True, text=True, check=True
        )
        told += [last.stdout, last.stderr]
        # Paid twice is at most what was under way.
        assert 120 <= len(server.bodies) <= 120 + 2 * concurrency
        whole = (folder / "out.jsonl").read_bytes()
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        again = command(server, "causal", "--journal", "other.sqlite", out="whole.jsonl")
        assert run_cli(monkeypatch, capfd, *again)[0] == 0
        assert all(headers["authorization"] == f"Bearer {KEY}" for headers in server.headers)
    assert (folder / "whole.jsonl").read_bytes() == whole
    assert states(journal) == {"answered": 120}
    assert not any(KEY in text for text in told)
    assert not any(KEY.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.extra("chat")
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ten_kills_at_random_moments_lose_nothing(folder):
    pairs(folder, 150)
    journal, concurrency, draw = folder / "eci.answers.sqlite", 4, random.Random(7)

    def answers():
        with closing(sqlite3.connect(journal)) as connection:
            found = connection.execute("SELECT digest, value FROM answers WHERE state = 'answered'")
            return dict(found.fetchall())

    with ChatServer(well, latency=0.02) as server:
        arguments = [*CHILD, *command(server, "causal", "--concurrency", str(concurrency))]
        known = {}
        for _ in range(10):
            with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                waited(journal, len(known) + 1)
                time.sleep(draw.uniform(0, 0.1))
                assert process.poll() is None
                process.kill()
            kept = answers()
            assert known.items() <= kept.items()
            known = kept
        subprocess.run(arguments, capture_output=True, check=True)
        # Paid twice is at most what was under way when a run was killed.
        asked = Counter(json.dumps(body, sort_keys=True) for body in server.bodies)
        assert len(asked) == 300
        assert 300 <= asked.total() <= 300 + 10 * concurrency
        subprocess.run(
            [*arguments, "--journal", "o.sqlite", "-o", "whole.jsonl"], capture_output=True, check=True
        )
    assert known.items() < answers().items()
    assert (folder / "whole.jsonl").read_bytes() == (folder / "out.jsonl").read_bytes()


@pytest.mark.extra("chat")
def test_domains_of_a_file_are_drawn_from(folder, monkeypatch, capsys):
    (folder / "domains.txt").write_text("salt mining\nbee keeping\n")
    with ChatServer(well) as server:
        code, _, _ = run_cli(monkeypatch, capsys, *command(server, "attribute", "--domains", "domains.txt"))
        assert code == 0
        assert {asked_in(body)["domain"] for body in server.bodies} == {"salt mining", "bee keeping"}


@pytest.mark.extra("chat")
def test_an_endpoint_that_refuses_everything_leaves_no_output(folder, monkeypatch, capsys):
    with ChatServer(lambda *_: said({}, "refusal")) as server:
        code, _, err = run_cli(monkeypatch, capsys, *command(server, "attribute"))
    assert code == 1
    assert "No negative of llm-attribute is usable: no answer 10" in err
    assert not (folder / "out.jsonl").exists()
