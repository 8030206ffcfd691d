"""Requests in batches, against a real HTTP server whose files and batches are scripted."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pytest

from chat_server import COMPLETION_TOKENS, PROMPT_TOKENS, SCHEMA, ChatServer, _Handler, answer_to, completion
from eci.chat import batch_api
from eci.chat.asking import ChatAsker
from eci.chat.batch_api import BatchApi
from eci.chat.batching import UNREADABLE
from eci.chat.entries import digest_of
from eci.chat.journal import Journal
from eci.chat.messages import ChatRequest
from eci.chat.settings import ChatSettings
from eci.chat.spool import Spool
from eci.chat.submitted import Ledger
from eci.datasets import from_object, write
from eci.errors import ChatError
from eci.examples import ROWS
from fakes import make_rows, run_cli
from test_generate import rows_of
from writer_script import well

pytestmark = pytest.mark.extra("chat")

KEY = "sk-of-nobody-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch, bare_environment):
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
        # Such as a file that does not pass the endpoint's look at it.
        server.batches.plan = lambda look, batch: "failed"
        whole = server.batches._look

        def look(chat, parts, data):
            error = {"code": "invalid_json_line", "message": "no JSON in line 3"}
            return {**whole(chat, parts, data), "errors": {"data": [error]}}

        server.batches._look = look
        replies, counts, _ = ask(tmp_path, server)
        assert {reply.error for number, reply in replies.items() if number} == {
            "no JSON in line 3 (batch batch_0 failed; the next run submits it again)"
        }
        assert (counts.open, counts.reasons) == (5, {"no JSON in line 3": 5})
        server.batches._look, server.batches.plan = whole, lambda look, batch: "completed"
        assert answers(ask(tmp_path, server)[0]) == EXPECTED


def lines_of(server, batch):
    return len(server.batches.files[batch["input_file_id"]].splitlines())


def test_where_not_all_are_taken_at_once_smaller_batches_go_one_after_the_other(tmp_path):
    with ChatServer() as server:
        ended = []

        def plan(look, batch):
            if lines_of(server, batch) > 2:
                return "failed"
            # None is submitted while another is under way.
            assert all(each["id"] in ended for each in list(server.batches.batches.values())[1:-1])
            if look == 2:
                ended.append(batch["id"])
            return "in_progress" if look == 1 else "completed"

        server.batches.plan = plan
        replies, _, told = ask(tmp_path, server)
        assert answers(replies) == EXPECTED
        sizes = [lines_of(server, batch) for batch in server.batches.batches.values()]
        assert (sizes, server.asked.total()) == ([5, 2, 2, 1], 6)
        assert told.has("was not taken (too much enqueued): its requests go one batch after the other, of 2")


def test_where_no_batch_is_taken_at_all_the_run_ends_and_goes_on_later(tmp_path):
    with ChatServer() as server:
        server.batches.plan = lambda look, batch: "failed"
        with pytest.raises(ChatError, match="takes no batch now: too much enqueued") as caught:
            ask(tmp_path, server)
        assert caught.value.retryable
        assert [lines_of(server, batch) for batch in server.batches.batches.values()] == [5, 2, 1]
        server.batches.plan = lambda look, batch: "completed"
        replies, counts, _ = ask(tmp_path, server)
        assert (answers(replies), counts.kept, waiting(tmp_path, server)) == (EXPECTED, 1, {})


# What is gone


def test_a_batch_that_is_gone_is_told_and_submitted_anew_where_wanted(tmp_path, slow):
    stop_waiting(tmp_path, slow)
    gone = slow.batches.batches.pop("batch_0")
    slow.ready = True
    with pytest.raises(
        ChatError, match="knows nothing of batch batch_0, .* for which 5 requests wait"
    ) as caught:
        ask(tmp_path, slow)
    assert "another project" in caught.value.hint
    assert "--retry-failed" in caught.value.hint
    assert waiting(tmp_path, slow) == {"batch_0": 5}
    # It was a matter of the key.
    slow.batches.batches["batch_0"] = gone
    assert answers(ask(tmp_path, slow)[0]) == EXPECTED
    assert len(slow.batches.batches) == 1


def test_a_batch_that_is_gone_for_good_is_given_up_with_retry_failed(tmp_path, slow):
    stop_waiting(tmp_path, slow)
    slow.batches.batches["batch_0"] = None
    slow.ready = True
    replies, _, told = ask(tmp_path, slow, retry_failed=True)
    assert answers(replies) == EXPECTED
    assert told.has("batch batch_0 is gone: its 5 requests are asked anew")
    assert waiting(tmp_path, slow) == {}


def test_answers_whose_file_is_gone_are_asked_again_by_the_next_run(tmp_path, slow):
    stop_waiting(tmp_path, slow)
    slow.ready = True
    slow.batches.faults = {"content": [(404, {"error": {"message": "No such File object"}})] * 9}
    replies, counts, told = ask(tmp_path, slow)
    assert (counts.kept, counts.open) == (1, 5)
    assert "the next run submits it again" in replies[3].error
    assert told.has("has its file file-output-batch_0 no longer")
    slow.batches.faults = {}
    assert answers(ask(tmp_path, slow)[0]) == EXPECTED
    assert waiting(tmp_path, slow) == {}


@pytest.mark.parametrize("call", ["content", "look"])
def test_what_is_not_there_yet_is_looked_for_again(tmp_path, call):
    with ChatServer() as server:
        server.batches.faults = {call: [(404, {"error": {"message": "none"}})] * 2}
        assert answers(ask(tmp_path, server)[0]) == EXPECTED
        assert len(server.batches.batches) == 1


@pytest.mark.parametrize("times", [2, 100])
def test_answers_whose_file_is_not_named_yet_are_waited_for(tmp_path, slow, times):
    stop_waiting(tmp_path, slow)
    slow.ready = True
    whole, looks = slow.batches._look, []

    def look(chat, parts, data):
        looks.append(parts)
        unnamed = {"output_file_id": None} if len(looks) <= times else {}
        return {**whole(chat, parts, data), **unnamed}

    slow.batches._look = look
    if times > 50:
        with pytest.raises(ChatError, match="or of its answers, for which 5 requests wait"):
            ask(tmp_path, slow)
        assert waiting(tmp_path, slow) == {"batch_0": 5}
        slow.batches._look = whole
    assert answers(ask(tmp_path, slow)[0]) == EXPECTED
    assert (len(slow.batches.batches), slow.asked.total()) == (1, 6)


def test_a_file_of_an_earlier_run_that_is_gone_is_made_anew(tmp_path, slow):
    end_at(tmp_path, slow, "create", False)
    slow.ready = True
    slow.batches.faults = {"create": [(400, {"error": {"message": "no such file"}})]}
    replies, _, told = ask(tmp_path, slow)
    assert answers(replies) == EXPECTED
    assert told.has("file file-0 lies at the endpoint")
    assert (slow.batches.calls["upload"], len(slow.batches.batches), slow.asked.total()) == (2, 1, 6)


# What is not lost and not paid twice


def test_a_network_that_is_away_for_long_is_waited_for(tmp_path):
    with ChatServer() as server:
        server.batches.faults = {name: [(503, {})] * 100 for name in ("look", "content")}
        assert answers(ask(tmp_path, server, backoff=0.0)[0]) == EXPECTED


def test_a_download_that_breaks_off_is_made_again(tmp_path, monkeypatch):
    broken = []
    send = _Handler._send

    def half(self, status, text, headers, most=None):
        if self.path.endswith("/content") and not broken:
            broken.append(self.path)
            most, self.close_connection = len(text) // 2, True
        send(self, status, text, headers, most)

    monkeypatch.setattr(_Handler, "_send", half)
    with ChatServer() as server:
        replies, counts, told = ask(tmp_path, server)
        assert (answers(replies), counts.answered, len(broken)) == (EXPECTED, 6, 1)
        assert told.has("asked again: the connection to")


def test_the_same_endpoint_written_otherwise_has_the_same_batches(tmp_path, slow):
    stop_waiting(tmp_path, slow)
    slow.ready = True
    with asker(tmp_path, f"{slow.url}/") as opened:
        assert len(list(opened.ask(map(request, range(6))))) == 6
    assert (len(slow.batches.batches), slow.asked.total()) == (1, 6)


def test_a_batch_is_found_by_its_file_where_tokens_are_not_given_back(tmp_path, slow):
    end_at(tmp_path, slow, "create", True)
    del slow.batches.batches["batch_0"]["metadata"]
    slow.ready = True
    assert answers(ask(tmp_path, slow)[0]) == EXPECTED
    assert (len(slow.batches.batches), slow.asked.total()) == (1, 6)


def test_two_lines_for_one_request_are_one_answer(tmp_path):
    with ChatServer() as server:
        whole = server.batches._answer

        def answer(chat, batch, lines):
            whole(chat, batch, lines)
            name = batch["output_file_id"]
            good = server.batches.files[name].splitlines()
            # In another order, and each with an error after it.
            failed = [{**json.loads(line), "response": None, "error": {"message": "no"}} for line in good]
            both = [*good[::-1], *(json.dumps(each).encode() for each in failed)]
            server.batches.files[name] = b"\n".join(both)

        server.batches._answer = answer
        replies, counts, _ = ask(tmp_path, server)
        assert (answers(replies), counts.answered, counts.open) == (EXPECTED, 6, 0)


def test_an_id_that_is_the_key_is_no_id(tmp_path):
    with ChatServer() as server:
        server.batches._upload = lambda *_: {"id": KEY}
        with pytest.raises(ChatError, match="sent no id"):
            ask(tmp_path, server)
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_after_a_first_request_that_is_declined_the_next_goes_singly(tmp_path):
    script = {"question 0": "too-long", "question 1": "filter-400"}
    with ChatServer(lambda question, *_: script.get(question, "ok")) as server:
        _, counts, _ = ask(tmp_path, server)
        assert (counts.failed, counts.answered) == (2, 4)
        assert [body["messages"][0]["content"][-1] for body in server.bodies] == ["0", "1", "2"]
        assert len(server.batches.batches) == 1


def killed_at(step, folder, url):
    """A run that is killed before it writes or sends something for the so-many-th time; whether it was."""
    child = os.fork()
    if child == 0:
        left = [step]

        def before(work):
            def stepping(*given, **named):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return work(*given, **named)

            return stepping

        try:
            for owner, names in (
                (Journal, ("claim", "keep", "release")),
                (Ledger, ("begin", "keep", "drop", "take", "release")),
                (BatchApi, ("upload", "create", "find", "state", "download")),
            ):
                for name in names:
                    setattr(owner, name, before(getattr(owner, name)))
            with asker(folder, url) as opened:
                list(opened.ask(map(request, range(3))))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_at_any_step_no_batch_is_paid_for_twice_and_nothing_is_lost(tmp_path):
    for step in itertools.count(1):
        folder = tmp_path / str(step)
        folder.mkdir()
        with ChatServer() as server:
            dead = killed_at(step, folder, server.url)
            replies, _, _ = ask(folder, server, 3)
            assert answers(replies) == {number: EXPECTED[number] for number in range(3)}
            # But for the one that goes singly, whose answer may have come after the kill.
            assert [server.asked[f"question {number}"] for number in (1, 2)] == [1, 1], step
            assert waiting(folder, server) == {}
        if not dead:
            break
    assert step > 15


def test_of_two_processes_with_the_same_requests_one_pays(tmp_path, slow):
    with asker(tmp_path, slow.url) as first, asker(tmp_path, slow.url) as second:
        found = {}

        def work(name, opened):
            found[name] = {reply.request.key: reply.value for reply in opened.ask(map(request, range(6)))}

        threads = [threading.Thread(target=work, args=each) for each in (("one", first), ("two", second))]
        for thread in threads:
            thread.start()
        until(lambda: slow.batches.calls["look"] > 1)
        slow.ready = True
        for thread in threads:
            thread.join(30)
    assert found["one"] == found["two"] == {f"row {number}": value for number, value in EXPECTED.items()}
    assert set(slow.asked.values()) == {1}


# What depends on replies, and what is held meanwhile


def chained(count, replies):
    """Requests the second half of which each need the reply to one of the first."""
    begun = 0
    while begun < 2 * count:
        if begun < count + len(replies):
            begun += 1
            yield request(begun - 1)
        else:
            yield None


def test_what_depends_on_replies_is_asked_in_the_same_turn(tmp_path):
    with ChatServer() as server, asker(tmp_path, server.url) as opened:
        replies = []
        for reply in opened.ask(chained(4, replies)):
            replies.append(reply)
        assert len(replies) == 8
        # One singly, the three others with what depends on it, then what depends on these.
        sizes = [lines_of(server, batch) for batch in server.batches.batches.values()]
        assert (sizes, server.asked.total()) == ([4, 3], 8)


def test_a_source_that_waits_for_nothing_is_at_its_end(tmp_path):
    with ChatServer() as server, asker(tmp_path, server.url) as opened:
        assert list(opened.ask(itertools.repeat(None))) == []


def test_requests_that_wait_are_not_held_in_memory(tmp_path):
    with Spool(tmp_path) as spool:
        tracemalloc.start()
        try:
            for number in range(2000):
                whole = ChatRequest(
                    f"row {number}", (("user", f"{number} {'é' * 10_000}"),), SCHEMA, "sum", 3
                )
                spool.add(digest_of(whole, ChatSettings("m")), whole)
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert held < 2000 * 400
        assert list(tmp_path.iterdir()) == []
        digest = digest_of(whole, ChatSettings("m"))
        spool.add(digest, replace(whole, key="another"))
        assert spool[digest] == whole
        assert spool.take(digest) == [whole, replace(whole, key="another")]
        assert (digest in spool.digests(), len(spool)) == (False, 1999)


def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "beside", full)
    with ChatServer() as server, pytest.raises(ChatError, match="No space left on device.*No answer is lost"):
        ask(tmp_path, server)


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


def test_no_batch_is_submitted_to_a_model_whose_answers_are_of_no_use(tmp_path):
    with ChatServer(lambda *_: "wrong-keys") as server, asker(tmp_path, server.url) as opened:
        with pytest.raises(ChatError, match=r"None of the first 3 answers of m is usable, so no batch was"):
            list(opened.ask(map(request, range(50))))
        assert len(server.asked) == 3
        assert not server.batches.files


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
        # The analyses, with what depends on that which went singly; then what depends on them.
        sizes = [len(text.splitlines()) for name, text in server.batches.files.items() if "-o" not in name]
        assert (whole, sizes, len(server.bodies)) == (16, [8, 7], 1)
        assert (folder / "batch.jsonl").read_bytes() == (folder / "single.jsonl").read_bytes()
        for told in (
            "8 requests submitted",
            "batch_1: completed, 7 of 7",
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
        assert "batch batch_0 has 8 requests whose answers are not here yet" in err
        server.batches.plan = lambda look, batch: "completed"
        code, _, err = run_cli(monkeypatch, capsys, *arguments)
        assert code == 0, err
        assert "batch batch_0 of an earlier run is waited for: 8 requests" in err
        assert len(server.batches.batches) == 2
        assert server.asked.total() == 16


def test_without_batch_the_user_is_told_what_is_under_way(folder, monkeypatch, capsys):
    with ChatServer(well) as server:
        server.batches.faults = {"look": [(401, {"error": {"message": "no such key"}})]}
        code, _, err = run_cli(monkeypatch, capsys, *causal(server, "-o", "out.jsonl", "--batch"))
        assert (code, "no such key" in err) == (1, True)
        code, _, err = run_cli(monkeypatch, capsys, *causal(server, "-o", "out.jsonl"))
        assert code == 0, err
        assert "8 requests whose answers are not here yet: without --batch they are asked, and paid" in err


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
