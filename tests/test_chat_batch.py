"""Requests in batches, against a real HTTP server whose files and batches are scripted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pyarrow as pa
import pytest

from chat_server import COMPLETION_TOKENS, PROMPT_TOKENS, ChatServer, answer_to, completion
from eci.chat import batch_api
from eci.chat.asking import ChatAsker
from eci.chat.batching import UNREADABLE
from eci.chat.journal import Journal
from eci.chat.messages import ChatRequest
from eci.chat.settings import ChatSettings
from eci.chat.submitted import Ledger
from eci.datasets import from_object, write
from eci.errors import ChatError
from eci.examples import ROWS
from fakes import make_rows, run_cli
from test_generate import rows_of
from writer_script import well

SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "number": {"type": "integer"}},
    "required": ["reason", "number"],
    "additionalProperties": False,
}
KEY = "sk-of-nobody-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def request(number):
    return ChatRequest(f"row {number}", (("user", f"question {number}"),), SCHEMA, "sum")


class Told(list):
    def __call__(self, stage, done, total, /):
        if not done and not total:
            self.append(stage)

    def has(self, part):
        return any(part in each for each in self)


@contextmanager
def asker(folder, url, **given):
    journal, told = Journal(folder / "j.sqlite"), Told()
    settings = ChatSettings("m", url, **{"backoff": 0.001, "timeout": 10.0, "batch": True, **given})
    opened = ChatAsker(settings, journal, progress=told)
    try:
        yield opened
    finally:
        opened.close()
        journal.close()


def ask(folder, server, count=6, **given):
    """Replies by the number of the request, the counts, and what was told."""
    with asker(folder, server.url, **given) as opened:
        replies = {
            int(reply.request.key.split()[1]): reply for reply in opened.ask(map(request, range(count)))
        }
        return replies, opened.counts, opened.progress


def waiting(folder, server):
    journal = Journal(folder / "j.sqlite")
    found = Ledger(journal, server.url).waiting()
    journal.close()
    return found


def answers(replies):
    return {number: reply.value for number, reply in replies.items()}


EXPECTED = {number: answer_to(f"question {number}") for number in range(6)}


def test_all_but_the_first_go_in_one_batch(tmp_path):
    with ChatServer() as server:
        server.batches.plan = lambda look, batch: ("validating", "in_progress", "completed")[min(look, 3) - 1]
        replies, counts, told = ask(tmp_path, server)
        assert answers(replies) == EXPECTED
        assert server.batches.calls == {"upload": 1, "create": 1, "look": 3, "content": 1}
        assert [body["messages"][0]["content"] for body in server.bodies] == ["question 0"]
        lines = [json.loads(line) for line in server.batches.files["file-0"].splitlines()]
        assert len({line["custom_id"] for line in lines}) == 5
        # A request of a batch is what it would be alone.
        for number, line in enumerate(lines, start=1):
            message = {"role": "user", "content": f"question {number}"}
            assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
            assert line["body"] == {**server.bodies[0], "messages": [message]}
        (batch,) = server.batches.batches.values()
        assert (batch["endpoint"], batch["completion_window"]) == ("/v1/chat/completions", "24h")
        assert server.batches.names == [f"eci-{batch['metadata']['eci']}.jsonl"]
        assert waiting(tmp_path, server) == {}
        assert (counts.answered, counts.prompt_tokens, counts.completion_tokens) == (
            6,
            6 * PROMPT_TOKENS,
            6 * COMPLETION_TOKENS,
        )
        assert told.has("batch batch_0: 5 requests submitted")
        assert told.has("batch batch_0: in_progress")
        # What is kept costs nothing, with and without --batch.
        for given in ({}, {"batch": False}):
            again, counts, _ = ask(tmp_path, server, **given)
            assert answers(again) == EXPECTED
            assert (counts.kept, counts.answered) == (6, 0)
        assert server.asked.total() == 6


def test_the_answers_are_those_of_single_requests(tmp_path):
    for name, batch in (("one", True), ("two", False)):
        (tmp_path / name).mkdir()
        with ChatServer(lambda question, *_: "fence" if question.endswith("2") else "ok") as server:
            ask(tmp_path / name, server, batch=batch)
    rows = []
    for name in ("one", "two"):
        journal = Journal(tmp_path / name / "j.sqlite")
        with journal.transaction() as file:
            rows.append(
                file.execute("SELECT digest, state, key, texts, value, attempts FROM answers ORDER BY digest")
            )
            rows[-1] = rows[-1].fetchall()
        journal.close()
    assert rows[0] == rows[1]


def test_one_request_makes_no_batch(tmp_path):
    with ChatServer() as server:
        assert answers(ask(tmp_path, server, 1)[0]) == {0: EXPECTED[0]}
        assert not server.batches.calls


@pytest.mark.parametrize(("name", "most"), [("MOST_REQUESTS", 2), ("MOST_BYTES", 1200)])
def test_files_have_their_bounds(tmp_path, monkeypatch, name, most):
    monkeypatch.setattr(batch_api, name, most)
    with ChatServer() as server:
        assert answers(ask(tmp_path, server)[0]) == EXPECTED
        files = [text for file, text in server.batches.files.items() if "output" not in file]
        assert sum(len(text.splitlines()) for text in files) == 5
        assert len(files) >= 3
        assert all(len(text) <= batch_api.MOST_BYTES for text in files)
        assert all(len(text.splitlines()) <= batch_api.MOST_REQUESTS for text in files)


def test_the_same_request_is_in_a_batch_once(tmp_path):
    with ChatServer() as server, asker(tmp_path, server.url) as opened:
        replies = list(opened.ask([request(number % 3) for number in range(9)]))
        assert sorted(reply.request.key for reply in replies) == sorted(f"row {n % 3}" for n in range(9))
        assert (server.asked.total(), opened.counts.kept) == (3, 6)


def test_the_shape_of_the_first_answer_is_that_of_the_batch(tmp_path):
    def script(question, nth, body):
        if "max_tokens" in body:
            return 400, {"error": {"message": "use max_completion_tokens"}}
        return "ok"

    with ChatServer(script) as server:
        assert answers(ask(tmp_path, server)[0]) == EXPECTED
        assert b'"max_completion_tokens": 2048' in server.batches.files["file-0"]


def test_what_is_wrong_for_all_is_told_before_a_batch(tmp_path):
    with ChatServer(lambda *_: (400, {"error": {"message": "no such temperature"}})) as server:
        with pytest.raises(ChatError, match="no such temperature"):
            ask(tmp_path, server)
        assert not server.batches.calls


# Runs that end before their batch


@pytest.fixture
def slow():
    """A server whose batches go on until `ready` is set in its plan."""
    with ChatServer() as server:
        server.ready = False
        server.batches.plan = lambda look, batch: "completed" if server.ready else "in_progress"
        yield server


def until(happened):
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_chat_batch import ask
from types import SimpleNamespace
replies, _, told = ask(Path(sys.argv[1]), SimpleNamespace(url=sys.argv[2]))
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_run_that_ends_while_it_waits_goes_on_waiting(tmp_path, slow, request, how):
    command = [sys.executable, "-c", CHILD, str(tmp_path), slow.url, str(request.path.parent)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        until(lambda: slow.batches.calls["look"] > 1)
        process.send_signal(getattr(signal, how))
        process.communicate(timeout=20)
    assert waiting(tmp_path, slow) == {"batch_0": 5}
    slow.ready = True
    replies, counts, told = ask(tmp_path, slow)
    assert answers(replies) == EXPECTED
    assert told.has("batch batch_0 of an earlier run is waited for: 5 requests")
    assert (slow.batches.calls["upload"], slow.batches.calls["create"]) == (1, 1)
    assert (counts.answered, counts.kept, slow.asked.total()) == (5, 1, 6)
    assert waiting(tmp_path, slow) == {}


def stop_waiting(folder, server, count=6):
    """A run that goes away once its batch is submitted."""

    class Gone(Exception):
        pass

    def gone(stage, done, total):
        if "submitted" in stage:
            raise Gone

    with asker(folder, server.url) as opened:
        opened.progress = gone
        with pytest.raises(Gone):
            list(opened.ask(map(request, range(count))))


def test_a_run_for_more_submits_the_rest_alone_and_one_for_less_leaves_the_others(tmp_path, slow):
    stop_waiting(tmp_path, slow, 5)
    slow.ready = True
    assert answers(ask(tmp_path, slow, 3)[0]) == {number: EXPECTED[number] for number in range(3)}
    assert waiting(tmp_path, slow) == {"batch_0": 2}
    replies, _, told = ask(tmp_path, slow)
    assert answers(replies) == EXPECTED
    # The rest is one request, and goes singly.
    assert (slow.batches.calls["create"], slow.asked.total()) == (1, 6)
    assert not told.has("passed over")


def test_without_batch_what_is_submitted_is_asked_and_then_forgotten(tmp_path, slow):
    stop_waiting(tmp_path, slow)
    assert answers(ask(tmp_path, slow, batch=False)[0]) == EXPECTED
    assert waiting(tmp_path, slow) == {}
    _, counts, _ = ask(tmp_path, slow)
    assert counts.kept == 6
    assert not slow.batches.calls["look"]


def end_at(folder, server, call, late):
    """A run that is killed at a call, before or after it came through: a server that never answers again."""
    server.batches.faults = {call: ["late" if late else (500, {})] * 9, "list": [(500, {})] * 9}
    with pytest.raises(ChatError, match="cannot be used now") as caught:
        ask(folder, server, attempts=1)
    assert caught.value.retryable
    server.batches.faults = {}


@pytest.mark.parametrize("late", [False, True])
def test_between_upload_and_batch_nothing_is_submitted_twice(tmp_path, slow, late):
    end_at(tmp_path, slow, "create", late)
    slow.ready = True
    replies, _, _ = ask(tmp_path, slow)
    assert answers(replies) == EXPECTED
    # No file is left over either.
    assert (slow.batches.calls["upload"], len(slow.batches.batches), slow.asked.total()) == (1, 1, 6)


def test_of_a_run_killed_in_its_upload_a_file_may_be_left_and_is_told(tmp_path, slow):
    journal = Journal(tmp_path / "j.sqlite")
    ledger = Ledger(journal, slow.url)
    with asker(tmp_path, slow.url) as opened:
        from eci.chat.entries import digest_of

        batch = ledger.begin([digest_of(request(n), opened.settings) for n in range(1, 6)], 9)
    ledger.release()
    journal.close()
    slow.ready = True
    replies, _, told = ask(tmp_path, slow)
    assert answers(replies) == EXPECTED
    assert told.has(f"eci-{batch.token}.jsonl may lie at the endpoint")
    assert (len(slow.batches.batches), waiting(tmp_path, slow)) == (1, {})


def test_a_batch_that_another_process_is_just_submitting_is_left_to_it(tmp_path, slow):
    journals = [Journal(tmp_path / "j.sqlite") for _ in range(2)]
    first, second = (Ledger(journal, slow.url) for journal in journals)
    batch = first.begin([b"d"], 9)
    assert second.take(batch.number) is None
    first.release()
    assert second.take(batch.number) == batch
    second.drop(batch, [b"d"])
    assert first.take(batch.number) is None
    for journal in journals:
        journal.close()


def test_a_batch_at_another_endpoint_is_not_looked_for_here(tmp_path, slow):
    stop_waiting(tmp_path, slow)
    with ChatServer() as other:
        assert answers(ask(tmp_path, other)[0]) == EXPECTED
        assert len(other.batches.batches) == 1


# Batches that end otherwise


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_of_a_batch_that_ends_early_what_is_there_is_kept(tmp_path, status):
    with ChatServer() as server:
        server.batches.plan = lambda look, batch: status
        replies, counts, _ = ask(tmp_path, server)
        came = {number for number, reply in replies.items() if reply.value}
        assert came == {0, 1, 3, 5}
        assert all(replies[number].open and "not in time" in replies[number].error for number in (2, 4))
        assert (counts.answered, counts.open) == (4, 2)
        server.batches.plan = lambda look, batch: "completed"
        replies, counts, _ = ask(tmp_path, server)
        assert answers(replies) == EXPECTED
        assert (counts.kept, counts.answered) == (4, 2)
        # One of the two went singly.
        assert len(server.batches.files["file-3"].splitlines()) == 1


def test_a_batch_that_is_not_taken_leaves_all_open(tmp_path):
    with ChatServer() as server:
        server.batches.plan = lambda look, batch: "failed"
        replies, counts, _ = ask(tmp_path, server)
        assert {reply.error for number, reply in replies.items() if number} == {
            "too much enqueued (batch batch_0 failed; the next run submits it again)"
        }
        assert (counts.open, counts.reasons) == (5, {"too much enqueued": 5})
        server.batches.plan = lambda look, batch: "completed"
        assert answers(ask(tmp_path, server)[0]) == EXPECTED


def test_errors_of_single_lines_are_what_they_would_be_alone(tmp_path):
    faults = {"1": "429", "2": "too-long", "3": "refusal", "4": "wrong-keys", "5": "length"}

    def script(question, nth, body):
        return faults.get(question[-1], "ok") if nth == 1 else "ok"

    with ChatServer(script) as server:
        replies, counts, _ = ask(tmp_path, server)
        assert (counts.answered, counts.failed, counts.open) == (1, 3, 2)
        assert {number for number, reply in replies.items() if reply.open} == {1, 4}
        assert "slow down" in replies[1].error
        assert "the prompt is too long" in replies[2].error
        assert replies[3].error == "the model refuses: I will not say."
        assert replies[4].error == UNREADABLE
        assert "cut off at 2,048 tokens" in replies[5].error
        # What could not be read is not put into a batch again, but repaired without one.
        replies, _, _ = ask(tmp_path, server)
        assert (replies[1].value, replies[4].error) == (EXPECTED[1], UNREADABLE)
        assert server.asked["question 4"] == 1
        replies, _, _ = ask(tmp_path, server, batch=False)
        assert replies[4].value == EXPECTED[4]
        assert "That answer cannot be used" in server.bodies[-1]["messages"][-1]["content"]


def test_lines_that_nobody_asked_for_are_passed_over_and_told(tmp_path):
    with ChatServer() as server:
        body = {"choices": [{"message": {"content": "{}"}}]}
        strange = {"custom_id": "ab" * 32, "response": {"status_code": 200, "body": body}, "error": None}
        server.batches.strange = [json.dumps(strange), '{"custom_id": 3}', "no JSON", "[]"]
        replies, _, told = ask(tmp_path, server)
        assert answers(replies) == EXPECTED
        assert told.has("4 lines of its files passed over")
    journal = Journal(tmp_path / "j.sqlite")
    assert journal.find(b"\xab" * 32) is None
    journal.close()


def test_passing_faults_are_waited_out(tmp_path):
    with ChatServer() as server:
        fault = (503, {"error": {"message": "busy"}})
        server.batches.faults = {name: [fault] for name in ("upload", "create", "look", "content")}
        replies, _, told = ask(tmp_path, server)
        assert answers(replies) == EXPECTED
        assert told.has("busy")
        assert len(server.batches.batches) == 1


def test_a_batch_that_was_made_although_it_failed_is_found(tmp_path):
    with ChatServer() as server:
        server.batches.faults = {"create": ["late"]}
        assert answers(ask(tmp_path, server)[0]) == EXPECTED
        assert (len(server.batches.batches), server.batches.calls["create"]) == (1, 1)


def test_an_endpoint_without_batches_says_so(tmp_path):
    with ChatServer() as server:
        server.batches.faults = {"upload": [(404, {"detail": "Not Found"})]}
        with pytest.raises(ChatError, match="has nothing there: it may have none") as caught:
            ask(tmp_path, server)
        assert "Without --batch" in caught.value.hint
        # Nothing stands in the way of either way to go on.
        assert answers(ask(tmp_path, server)[0]) == EXPECTED


def test_a_batch_that_is_refused_is_forgotten_and_its_file_told(tmp_path):
    with ChatServer() as server:
        server.batches.faults = {"create": [(400, {"error": {"message": "no window"}})]}
        with asker(tmp_path, server.url) as opened:
            with pytest.raises(ChatError, match="answered 400: no window"):
                list(opened.ask(map(request, range(6))))
            assert opened.progress.has("file file-0 lies at the endpoint")
        assert answers(ask(tmp_path, server)[0]) == EXPECTED


def test_the_key_is_nowhere(tmp_path):
    def script(question, nth, body):
        return "refusal"

    with ChatServer() as server:
        server.batches.echo = KEY
        server.batches.plan = lambda look, batch: "expired"
        server.batches.faults = {"create": ["late"], "look": ["late"]}
        replies, counts, told = ask(tmp_path, server)
        shown = f"{replies} {told} {counts}"
        assert "[key]" in shown
        assert KEY not in shown
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_what_depends_on_an_answer_comes_in_a_second_batch(tmp_path):
    with ChatServer() as server, asker(tmp_path, server.url) as opened:
        for turn in (range(4), range(4, 8)):
            assert len(list(opened.ask(map(request, turn)))) == 4
        # The first of all went singly, none after it.
        files = [server.batches.files[f"file-{place}"].splitlines() for place in (0, 2)]
        assert [len(lines) for lines in files] == [3, 4]


# On the command line


COMMAND = [sys.executable, "-c", "from eci.cli import run; run()"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(8)))
    return tmp_path


def causal(server, *more):
    return ["generate", "causal", "pairs.jsonl", "--model", "m", "--base-url", server.url, *more]


def test_what_is_generated_in_batches_is_what_single_requests_generate(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        single = causal(server, "-o", "single.jsonl", "--journal", "single.sqlite")
        assert run_cli(monkeypatch, capsys, *single)[0] == 0
        whole, server.bodies[:] = len(server.bodies), []
        code, _, err = run_cli(monkeypatch, capsys, *causal(server, "-o", "batch.jsonl", "--batch"))
        assert code == 0, err
        # The analyses, then what depends on them.
        sizes = [len(text.splitlines()) for name, text in server.batches.files.items() if "-o" not in name]
        assert (whole, sizes, len(server.bodies)) == (16, [7, 8], 1)
        assert (folder / "batch.jsonl").read_bytes() == (folder / "single.jsonl").read_bytes()
        for told in (
            "7 requests submitted",
            "batch_1: completed, 8 of 8",
            "16 answered, 0 known from earlier",
        ):
            assert told in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_command_tells_how_to_go_on(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        server.batches.plan = lambda look, batch: "in_progress"
        arguments = causal(server, "-o", "out.jsonl", "--batch")
        with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True) as process:
            until(lambda: server.batches.calls["look"])
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "the same command again waits for it" in err
        assert "batch batch_0 has 7 requests whose answers are not here yet" in err
        server.batches.plan = lambda look, batch: "completed"
        code, _, err = run_cli(monkeypatch, capsys, *arguments)
        assert code == 0, err
        assert "batch batch_0 of an earlier run is waited for: 7 requests" in err
        assert len(server.batches.batches) == 2
        assert server.asked.total() == 16


def test_without_batch_the_user_is_told_what_is_under_way(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        server.batches.faults = {"look": [(401, {"error": {"message": "no such key"}})]}
        code, _, err = run_cli(monkeypatch, capsys, *causal(server, "-o", "out.jsonl", "--batch"))
        assert (code, "no such key" in err) == (1, True)
        code, _, err = run_cli(monkeypatch, capsys, *causal(server, "-o", "out.jsonl"))
        assert code == 0, err
        assert "7 requests whose answers are not here yet: without --batch they are asked, and paid" in err


def test_a_judge_may_be_asked_in_batches(tmp_path, monkeypatch, capsys):
    rows = from_object(pa.Table.from_pylist(make_rows(6, {"s": 3}), schema=ROWS))
    write(rows, tmp_path / "rows.jsonl", "eci")
    monkeypatch.chdir(tmp_path)

    def script(question, nth, body):
        told = json.loads(question)
        verdicts = [{"document": each["document"], "verdict": "worse"} for each in told["documents"]]
        return 200, completion(json.dumps({"reasoning": "", "verdicts": verdicts}))

    with ChatServer(script) as server:
        given = ["audit", "rows.jsonl", "--encoder", "hashing", "--false-negative", "1e-9", "--judge", "m"]
        chat = ["--base-url", server.url, "--batch", "--price", "1,1", "--fix", "drop", "-o", "clean.jsonl"]
        code, told, err = run_cli(monkeypatch, capsys, *given, *chat)
        assert code == 0, err
        assert "5 requests submitted" in err
        assert (server.asked.total(), len(server.bodies), len(server.batches.batches)) == (6, 1, 1)
        assert "18 of 18 pairs answered" in told
