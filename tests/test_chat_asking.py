"""Asking a real HTTP endpoint whose faults are scripted."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import sys
import threading
import time
import traceback
import tracemalloc
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest

from chat_server import COMPLETION_TOKENS, PROMPT_TOKENS, SCHEMA, ChatServer, answer_to, well
from eci.chat.asking import ChatAsker
from eci.chat.counting import estimate
from eci.chat.crew import Crew
from eci.chat.endpoint import Endpoint
from eci.chat.entries import Entry, digest_of
from eci.chat.faults import Again
from eci.chat.journal import Journal
from eci.chat.messages import ChatRequest
from eci.chat.responses import Answer
from eci.chat.settings import ChatSettings
from eci.chat.submitted import Ledger
from eci.errors import ChatError, DataError, MissingDependency

KEY = "sk-of-nobody-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch, bare_environment):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def request(number, **given):
    messages = (("system", "Answer."), ("user", f"question {number}"))
    return ChatRequest(f"row {number}", messages, SCHEMA, "sum", **given)


def requests(count):
    return (request(number) for number in range(count))


@contextmanager
def asker(folder, url="http://127.0.0.1:9/v1", endpoint=None, **given):
    journal = Journal(folder / "j.sqlite")
    settings = ChatSettings("gpt-x", url, **{"backoff": 0.002, "timeout": 10.0, "concurrency": 4, **given})
    opened = ChatAsker(settings, journal, endpoint=endpoint)
    try:
        yield opened
    finally:
        opened.close()
        journal.close()


def by_question(replies):
    return {reply.request.key.replace("row", "question"): reply for reply in replies}


def ask(folder, server, count=1, **given):
    with asker(folder, server.url, **given) as opened:
        return list(opened.ask(requests(count)))


# One request


@pytest.mark.extra("chat")
@pytest.mark.parametrize("shape", ["ok", "fence", "thinking", "spare"])
def test_answers_in_any_dress_are_read(tmp_path, shape):
    with ChatServer(lambda *_: shape) as server:
        (reply,) = ask(tmp_path, server)
    assert (reply.value, reply.error, reply.kept) == (answer_to("question 0"), None, False)
    assert (reply.prompt_tokens, reply.completion_tokens) == (PROMPT_TOKENS, COMPLETION_TOKENS)
    assert server.asked == {"question 0": 1}


@pytest.mark.extra("chat")
def test_half_a_character_harms_nothing(tmp_path):
    from chat_server import completion

    content = '{"reason": "half \\ud83d of \ud83d it", "number": 1}'
    with ChatServer(lambda *_: (200, completion(content))) as server:
        for kept in (False, True):
            (reply,) = ask(tmp_path, server)
            assert (reply.value, reply.kept) == ({"reason": "half ? of ? it", "number": 1}, kept)


@pytest.mark.extra("chat")
def test_what_is_sent(tmp_path):
    with ChatServer() as server:
        ask(tmp_path, server, temperature=0.5, max_tokens=77, seed=3)
    (body,) = server.bodies
    assert body == {
        "model": "gpt-x",
        "messages": [{"role": "system", "content": "Answer."}, {"role": "user", "content": "question 0"}],
        "temperature": 0.5,
        "max_tokens": 77,
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "sum", "schema": SCHEMA, "strict": True},
        },
    }
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.extra("chat")
@pytest.mark.parametrize(
    "fault",
    [
        "429",
        "429-after",
        "500",
        "502-html",
        "reset",
        "reset-early",
        "cut-response",
        (200, {"error": {"code": 503}}),
    ],
    ids=str,
)
def test_a_passing_fault_is_asked_again(tmp_path, fault):
    with (
        ChatServer(lambda _, nth, __: fault if nth < 3 else "ok") as server,
        asker(tmp_path, server.url) as opened,
    ):
        began = time.monotonic()
        (reply,) = opened.ask(requests(1))
    assert reply.value == answer_to("question 0")
    assert server.asked == {"question 0": 3}
    assert sum(opened.counts.retries.values()) == 2
    assert (time.monotonic() - began >= 0.1) or fault != "429-after"


@pytest.mark.extra("chat")
def test_silence_is_given_up_and_asked_again(tmp_path):
    with ChatServer(lambda _, nth, __: "timeout" if nth == 1 else "ok") as server:
        (reply,) = ask(tmp_path, server, timeout=0.6)
    assert reply.value == answer_to("question 0")
    assert server.asked == {"question 0": 2}


@pytest.mark.extra("chat")
def test_attempts_are_bounded_and_the_next_run_asks_again(tmp_path):
    with ChatServer(lambda *_: "500") as server:
        (reply,) = ask(tmp_path, server, attempts=3)
        assert reply.value is None
        assert reply.error.endswith("answered 500: oops (sent 3 times; the next run asks again)")
        server.script = well
        (reply,) = ask(tmp_path, server, attempts=3)
    assert (reply.value, reply.error, reply.kept) == (answer_to("question 0"), None, False)
    assert server.asked == {"question 0": 4}


@pytest.mark.extra("chat")
@pytest.mark.parametrize("fault", ["wrong-keys", "truncated"])
def test_the_model_is_told_once_what_is_wrong(tmp_path, fault):
    with ChatServer(lambda _, nth, __: fault if nth == 1 else "ok") as server:
        (reply,) = ask(tmp_path, server)
    assert (reply.value, reply.prompt_tokens) == (answer_to("question 0"), 2 * PROMPT_TOKENS)
    first, second = (body["messages"] for body in server.bodies)
    assert [each["role"] for each in second] == ["system", "user", "assistant", "user"]
    assert second[:2] == first
    why = "reason, number missing" if fault == "wrong-keys" else "no whole JSON object"
    assert why in second[3]["content"]
    assert json.dumps(SCHEMA) in second[3]["content"]


@pytest.mark.extra("chat")
@pytest.mark.parametrize(
    ("fault", "said", "times"),
    [
        ("wrong-keys", "not of the form asked for, nor after the model was told so (the object: reason", 2),
        ("empty", "the answer is empty", 1),
        ("refusal", "the model refuses: I will not say.", 1),
        ("filter", "content filter stopped the answer", 1),
        ("filter-400", "content filter refused the prompt", 1),
        ("length", "the answer was cut off at 2,048 tokens", 1),
        ("too-long", "the prompt is too long", 1),
    ],
)
def test_what_no_repetition_mends_is_final_until_wanted(tmp_path, fault, said, times):
    with ChatServer(lambda *_: fault) as server:
        (reply,) = ask(tmp_path, server)
        assert reply.value is None
        assert said in reply.error
        (again,) = ask(tmp_path, server)
        assert (again.error, again.kept) == (reply.error, True)
        assert server.asked == {"question 0": times}
        server.script = well
        (mended, twice) = ask_twice(tmp_path, server, retry_failed=True)
    assert (mended.value, mended.kept, twice.kept) == (answer_to("question 0"), False, True)
    assert server.asked == {"question 0": times + 1}
    assert (mended.prompt_tokens, twice.prompt_tokens) == (PROMPT_TOKENS, 0)


def ask_twice(folder, server, **given):
    with asker(folder, server.url, **given) as opened:
        return [*opened.ask(requests(1)), *opened.ask(requests(1))]


@pytest.mark.extra("chat")
def test_retrying_what_failed_does_so_once_a_run(tmp_path):
    with ChatServer(lambda *_: "empty") as server:
        ask(tmp_path, server)
        ask_twice(tmp_path, server, retry_failed=True)
    assert server.asked == {"question 0": 2}


@pytest.mark.extra("chat")
def test_an_answer_that_can_be_read_by_now_is_not_asked_again(tmp_path):
    with ChatServer(lambda *_: "wrong-keys") as server:
        ask(tmp_path, server)
        journal = Journal(tmp_path / "j.sqlite")
        text = json.dumps(json.dumps(answer_to("question 0")))
        journal._connection.execute("UPDATE answers SET texts = ?", (f"[{text}]",))
        journal.close()
        (reply,) = ask(tmp_path, server)
    assert (reply.value, reply.error, reply.kept) == (answer_to("question 0"), None, True)
    assert server.asked == {"question 0": 2}


@pytest.mark.extra("chat")
def test_after_a_kill_before_the_repair_only_that_is_asked(tmp_path):
    with ChatServer() as server:
        with asker(tmp_path, server.url) as opened:
            digest_and_claim(opened, ("no JSON",))
        (reply,) = ask(tmp_path, server)
    assert reply.value == answer_to("question 0")
    assert [each["role"] for each in server.bodies[0]["messages"]] == ["system", "user", "assistant", "user"]


def digest_and_claim(opened, texts):
    from dataclasses import replace

    from eci.chat.entries import digest_of

    digest = digest_of(request(0), opened.settings)
    entry = opened.journal.claim(digest, request(0), "gpt-x")
    opened.journal.keep(digest, replace(entry, texts=texts))
    opened.journal.release()


# What an endpoint does not understand


@pytest.mark.extra("chat")
@pytest.mark.parametrize("message", ["response_format is not supported", "Bad request"])
def test_without_response_format_the_schema_goes_into_the_prompt(tmp_path, message):
    def script(question, nth, body):
        return (400, {"error": {"message": message}}) if "response_format" in body else "fence"

    with ChatServer(script) as server:
        replies = ask(tmp_path, server, 30, concurrency=2)
    assert all(reply.value for reply in replies)
    assert sum("response_format" in body for body in server.bodies) <= 2
    assert json.dumps(SCHEMA) in server.bodies[-1]["messages"][-1]["content"]


@pytest.mark.extra("chat")
def test_an_endpoint_that_ignores_the_schema_is_told_it_from_then_on(tmp_path):
    def script(question, nth, body):
        return "ok" if json.dumps(SCHEMA) in body["messages"][-1]["content"] else "wrong-keys"

    with ChatServer(script) as server:
        replies = ask(tmp_path, server, 20, concurrency=1)
    assert all(reply.value for reply in replies)
    assert server.asked.total() == 21


@pytest.mark.extra("chat")
def test_the_limit_of_tokens_goes_by_the_name_that_is_taken(tmp_path):
    told = (400, {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."}})
    with ChatServer(lambda q, n, body: told if "max_tokens" in body else "ok") as server:
        replies = ask(tmp_path, server, 5, concurrency=1)
    assert all(reply.value for reply in replies)
    assert [("max_completion_tokens" in body) for body in server.bodies] == [False] + 5 * [True]


@pytest.mark.extra("chat")
def test_a_bad_request_among_good_ones_is_that_requests_own(tmp_path):
    def script(question, nth, body):
        return (400, {"error": "odd"}) if question == "question 7" else "ok"

    with ChatServer(script) as server:
        replies = by_question(ask(tmp_path, server, 12, concurrency=1))
    assert [question for question, reply in replies.items() if reply.error] == ["question 7"]
    assert replies["question 7"].error.endswith("answered 400: odd")


# Ends of a run


@pytest.mark.extra("chat")
@pytest.mark.parametrize(
    ("fault", "said", "retryable"),
    [
        ((401, {"error": {"message": f"Incorrect API key: {KEY}"}}), r"OPENAI_API_KEY \(--key-env\)", False),
        ((404, {"error": {"message": "no model `gpt-x`"}}), "Asked was the model 'gpt-x' at http", False),
        (
            (400, {"error": {"message": "'temperature' does not support 0"}}),
            r"does not support 0\. No req",
            False,
        ),
        ((429, {"error": {"message": "m", "code": "insufficient_quota"}}), "Add credit", True),
        ((429, {}, {"Retry-After": "7200"}), "asks to wait 7,200 seconds", True),
    ],
    ids=["key", "model", "parameter", "quota", "hours"],
)
def test_what_holds_for_all_ends_the_run_at_once(tmp_path, fault, said, retryable):
    with ChatServer(lambda *_: fault) as server, asker(tmp_path, server.url) as opened:
        with pytest.raises(ChatError, match=said) as caught:
            list(opened.ask(itertools.islice(requests(10**9), 10**6)))
        assert caught.value.retryable is retryable
        # Each of the four may be at its second question when the first reply says so.
        assert server.asked.total() <= 4 * 4
        # Some may be claimed and not sent yet.
        states = opened.journal.status().states
        assert set(states) == {"open"}
        assert len(server.asked) <= states["open"] <= len(server.asked) + 4


@pytest.mark.extra("chat")
def test_no_endpoint_ends_the_run_at_once(tmp_path):
    with asker(tmp_path) as opened, pytest.raises(ChatError, match="No connection to 127.0.0.1:9: .*refused"):
        list(opened.ask(requests(100)))


def test_an_endpoint_that_goes_away_ends_the_run_and_loses_nothing(tmp_path):
    answers, all_answered = itertools.count(1), threading.Event()

    class Gone(Fast):
        def ask(self, request, messages, shape=None):
            if int(request.key.split()[1]) >= 20:
                # What is not sent yet when the run ends is not sent.
                assert all_answered.wait(30)
                raise Again("connection refused", unreachable=True)
            found = super().ask(request, messages, shape)
            if next(answers) == 20:
                all_answered.set()
            return found

    with asker(tmp_path, endpoint=Gone(), attempts=2) as opened:
        with pytest.raises(ChatError, match="No connection to 127.0.0.1:9: connection refused"):
            list(opened.ask(requests(10**6)))
        assert opened.counts.retries["connection refused"] >= 1
        assert opened.journal.status().states["answered"] == 20


@pytest.mark.extra("chat")
def test_an_endpoint_that_answers_no_more_ends_the_run(tmp_path):
    def script(question, nth, body):
        return "ok" if int(question.split()[1]) < 30 else "500"

    with ChatServer(script) as server, asker(tmp_path, server.url, attempts=2) as opened:
        with pytest.raises(ChatError, match=r"last 28 requests none was answered; .*answered 500: oops"):
            list(opened.ask(requests(10**6)))
        assert opened.journal.status().states["answered"] == 30


@pytest.mark.extra("chat")
def test_answers_under_way_are_kept_when_the_run_ends(tmp_path):
    def script(question, nth, body):
        if question == "question 3":
            # What is not sent yet when the run ends is not sent.
            while server.asked.total() < 4:
                time.sleep(0.01)
            return (401, "")
        time.sleep(0.3)
        return "ok"

    with ChatServer(script) as server, asker(tmp_path, server.url) as opened:
        with pytest.raises(ChatError):
            list(opened.ask(requests(4)))
        assert opened.journal.status().states == {"answered": 3, "open": 1}


@pytest.mark.extra("chat")
def test_errors_of_whoever_asks_pass_through_and_keep_what_is_under_way(tmp_path):
    def broken():
        yield from requests(3)
        while server.asked.total() < 3:
            time.sleep(0.01)
        raise DataError("a row cannot be read")

    with ChatServer(latency=0.2) as server, asker(tmp_path, server.url) as opened:
        with pytest.raises(DataError):
            list(opened.ask(broken()))
        assert opened.journal.status().states == {"answered": 3}


def test_the_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with asker(tmp_path) as opened, pytest.raises(MissingDependency, match=r"pip install 'eci\[chat\]'"):
        list(opened.ask(requests(1)))


@pytest.mark.extra("chat")
@pytest.mark.parametrize("key", ["sk 1", "sk-é", "sk\x01"])
def test_a_key_that_cannot_be_one_is_not_sent_nor_shown(tmp_path, monkeypatch, key):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ChatError, match="MY_KEY holds no key") as caught:
        Endpoint(ChatSettings("m", key_env="MY_KEY"))
    assert key not in str(caught.value)


@pytest.mark.extra("chat")
def test_without_a_key_a_local_endpoint_is_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with ChatServer() as server:
        (reply,) = ask(tmp_path, server)
    assert reply.value
    assert KEY not in str(server.headers)


@pytest.mark.extra("chat")
def test_the_key_is_nowhere_to_be_found(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    faults = {1: (429, {"error": {"message": f"slow down, {KEY}"}}), 2: "reset", 3: "wrong-keys", 4: "ok"}

    def script(question, nth, body):
        if question == "question 3":
            return (200, {"error": {"message": KEY, "code": 400}}) if nth == 1 else "ok"
        return (
            (401, {"error": {"message": f"wrong: {KEY}"}})
            if question == "question 9"
            else faults[min(nth, 4)]
        )

    with ChatServer(script) as server, asker(tmp_path, server.url, concurrency=1) as opened:
        replies = []
        with pytest.raises(ChatError) as caught:
            replies.extend(opened.ask(requests(10)))
        assert KEY in str(server.headers)
        shown = [
            repr(replies),
            *traceback.format_exception(caught.value),
            repr(opened.settings),
            str(opened.counts),
        ]
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert KEY not in "".join([*shown, caplog.text, *capfd.readouterr()])
    assert len(files) >= 1
    assert not any(KEY.encode() in content for content in files)


# Many requests


@pytest.mark.extra("chat")
def test_a_thousand_requests_through_every_fault(tmp_path):
    passing = [
        "429",
        "429-after",
        "500",
        "502-html",
        "reset",
        "reset-early",
        "cut-response",
        "wrong-keys",
        "truncated",
    ]
    lasting = ["empty", "refusal", "filter", "filter-400", "length", "too-long"]

    def script(question, nth, body):
        number = int(question.split()[1])
        if number % 100 == 99:
            return lasting[number // 100 % len(lasting)]
        if number in (50, 550):
            return "500"
        if number == 150 and nth == 1:
            return "timeout"
        if number % 3 == 0 and nth <= 1 + number % 2:
            return passing[(number // 3 + nth) % 7 if nth > 1 else number // 3 % len(passing)]
        return ["ok", "fence", "thinking"][number % 3]

    with ChatServer(script) as server:
        with asker(tmp_path, server.url, concurrency=16, timeout=4.0, attempts=4) as opened:
            replies = by_question(opened.ask(requests(1000)))
        counts = opened.counts
        assert len(replies) == 1000
        for question, reply in replies.items():
            number = int(question.split()[1])
            if number % 100 == 99:
                assert reply.value is None
                assert reply.error
            elif number in (50, 550):
                assert "sent 4 times" in reply.error
            else:
                assert reply.value == answer_to(question)
                assert server.answered[question] == 1
        assert (counts.answered, counts.failed, counts.open) == (988, 10, 2)
        assert counts.reasons.total() == 12
        assert "2 to be asked again" in counts.described(opened.settings)
        before = Counter(server.asked)
        server.script = well
        with asker(tmp_path, server.url) as opened:
            again = by_question(opened.ask(requests(1000)))
        assert server.asked - before == {"question 50": 1, "question 550": 1}
        assert sum(reply.kept for reply in again.values()) == 998
        assert {q: r.error for q, r in again.items() if r.error} == {
            q: r.error for q, r in replies.items() if r.error and "sent" not in r.error
        }


@pytest.mark.extra("chat")
def test_no_more_than_the_limit_are_under_way_and_requests_are_taken_as_needed(tmp_path):
    taken = []

    def watched():
        for one in requests(10**9):
            taken.append(one)
            yield one

    with ChatServer(latency=0.02) as server, asker(tmp_path, server.url, concurrency=5) as opened:
        replies = opened.ask(watched())
        for number, _ in enumerate(itertools.islice(replies, 60), 1):
            assert len(taken) <= number + 2 * 5
        replies.close()
    assert server.most == 5


@pytest.mark.extra("chat")
def test_the_same_request_is_asked_once(tmp_path):
    with ChatServer(latency=0.05) as server, asker(tmp_path, server.url) as opened:
        replies = list(opened.ask([request(1), request(1), request(2), request(1, sample=1), request(1)]))
    assert len(replies) == 5
    assert server.asked == {"question 1": 2, "question 2": 1}
    assert sum(reply.prompt_tokens for reply in replies if not reply.kept) == 3 * PROMPT_TOKENS
    assert opened.counts.prompt_tokens == 3 * PROMPT_TOKENS
    assert (opened.counts.answered, opened.counts.kept) == (3, 2)


@pytest.mark.extra("chat")
def test_what_depends_on_replies_is_asked_in_the_same_turn_with_no_thread_idle(tmp_path):
    replies, begun, polled = [], [], []

    def chained():
        while len(begun) < 40:
            if len(begun) < 20 + len(replies):
                begun.append(len(begun))
                yield request(begun[-1])
            else:
                polled.append(len(replies))
                yield None

    with ChatServer(latency=0.05) as server, asker(tmp_path, server.url, concurrency=8) as opened:
        for reply in opened.ask(chained()):
            replies.append(reply)
    assert sorted(reply.request.key for reply in replies) == sorted(f"row {number}" for number in range(40))
    assert server.most == 8
    # After each reply, and not in a loop.
    assert len(polled) <= len(replies) + 1


def test_a_source_that_waits_for_nothing_is_at_its_end(tmp_path):
    with asker(tmp_path, endpoint=Fast()) as opened:
        assert list(opened.ask(itertools.repeat(None))) == []
        given = itertools.chain(requests(3), itertools.repeat(None))
        assert len(list(opened.ask(given))) == 3


@pytest.mark.extra("chat")
def test_requests_a_minute_are_kept(tmp_path):
    with ChatServer() as server:
        began = time.monotonic()
        ask(tmp_path, server, 30, rpm=600)
        assert time.monotonic() - began >= 1.8


@pytest.mark.extra("chat")
def test_sixty_four_can_be_under_way(tmp_path):
    together = threading.Barrier(64)

    def script(question, nth, body):
        # None is answered before all are there.
        together.wait(30)
        return "ok"

    with ChatServer(script) as server, asker(tmp_path, server.url, concurrency=64, timeout=60.0) as opened:
        replies = list(opened.ask(requests(128)))
    assert all(reply.value for reply in replies)
    assert server.most == 64


class Fast:
    """An endpoint without a network."""

    def ask(self, request, messages, shape=None):
        return Answer(json.dumps(answer_to(request.key)), prompt_tokens=1, completion_tokens=1)

    def close(self):
        pass


def test_memory_does_not_grow_with_the_requests(tmp_path):
    def many():
        for number in range(3000):
            yield ChatRequest(f"row {number}", (("user", f"{number} {'word ' * 400}"),), SCHEMA, "sum")

    with asker(tmp_path, endpoint=Fast()) as opened:
        tracemalloc.start()
        try:
            held = []
            for number, _ in enumerate(opened.ask(many())):
                if number in (1000, 2900):
                    gc.collect()
                    held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    # 1,900 prompts of 2 kB would be 4 MB.
    assert held[1] - held[0] < 300_000


# Before and after


def test_estimates_ask_nothing_and_make_nothing(tmp_path):
    path = tmp_path / "j.sqlite"
    settings = ChatSettings("gpt-x", "http://127.0.0.1:9/v1", price=(1.0, 2.0), max_tokens=100)
    found = estimate([*requests(10), request(3)], settings, path, show=2)
    assert not path.exists()
    assert (found.requests, found.kept, found.shared, found.calls) == (11, 0, 1, 10)
    assert found.completion_tokens == 1000
    assert found.cost == pytest.approx((found.prompt_tokens + 2 * 1000) / 1e6)
    assert "10 calls (1 shares a call)" in found.described()
    assert "1,000 of answers at most" in found.described()
    assert found.prompts().startswith("--- row 0\n[system]\nAnswer.\n[user]\nquestion 0\n--- row 1")
    assert "no --price" in estimate(requests(1), ChatSettings("m")).described()


@pytest.mark.parametrize("character", ["\x1b", "\x9b", "\r", "\x00", "\u202e", "\ufeff", "\ud800", "\ue000"])
def test_prompts_are_shown_without_what_steers_a_terminal(character):
    asked = ChatRequest(
        f"row {character}", (("user", f"a{character}b\n\tc d 漢\u3000字 नि\u200d"),), SCHEMA, "sum"
    )
    shown = estimate([asked], ChatSettings("m")).prompts()
    assert shown == "--- row \ufffd\n[user]\na\ufffdb\n\tc d 漢\u3000字 नि\u200d"


@pytest.mark.extra("chat")
def test_estimates_leave_the_journal_as_it_is(tmp_path):
    with ChatServer() as server:
        ask(tmp_path, server, 5)
    path = tmp_path / "j.sqlite"
    before, inside = path.read_bytes(), path.stat().st_mtime_ns
    assert estimate(requests(8), ChatSettings("gpt-x"), path).kept == 5
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, inside)
    assert list(tmp_path.iterdir()) == [path]


def test_estimates_tell_what_waits_in_a_batch(tmp_path):
    settings = ChatSettings("gpt-x", "http://127.0.0.1:9/v1", batch=True)
    with asker(tmp_path) as opened:
        ledger = Ledger(opened.journal, settings.base_url)
        digests = [digest_of(each, settings) for each in requests(6)]
        for digest, each in zip(digests, requests(6), strict=True):
            opened.journal.claim(digest, each, "gpt-x")
        opened.journal.keep(digests[0], Entry("answered", value={}))
        ledger.keep(replace(ledger.begin(digests[:4], 9), file="file-0", id="batch_0"))
        # Of one that never came to be, nothing is paid.
        ledger.begin(digests[4:5], 9)
    given = (list(requests(7)) * 2, settings, tmp_path / "j.sqlite")
    found = estimate(*given)
    assert (found.calls, found.kept, found.waiting, found.shared) == (3, 2, 3, 6)
    assert "3 calls (2 more are settled already, 3 wait in a batch, 6 share a call)" in found.described()
    found = estimate(given[0], replace(settings, batch=False), given[2])
    assert (found.calls, found.waiting, found.shared) == (6, 3, 6)
    assert "3 of the calls are in a batch already, and paid for twice without --batch" in found.described()
    # At another endpoint nothing of it is known.
    assert estimate(given[0], replace(settings, base_url="http://127.0.0.1:8/v1"), given[2]).calls == 6


@pytest.mark.extra("chat")
def test_estimates_know_what_is_kept_and_what_answers_take(tmp_path):
    with ChatServer(lambda q, *_: "empty" if q == "question 1" else "ok") as server:
        ask(tmp_path, server, 5)
        settings = ChatSettings("gpt-x", server.url)
        found = estimate(requests(8), settings, tmp_path / "j.sqlite")
        again = estimate(requests(8), ChatSettings("gpt-x", retry_failed=True), tmp_path / "j.sqlite")
    assert (found.calls, found.kept, found.completion_tokens, found.measured) == (
        3,
        5,
        3 * COMPLETION_TOKENS,
        True,
    )
    assert [one.key for one in found.first] == ["row 5", "row 6", "row 7"]
    assert again.calls == 4


def test_a_claim_made_after_the_run_was_given_up_is_given_back(tmp_path):
    stopping = threading.Event()
    stopping.set()
    with ChatServer() as server, asker(tmp_path, server.url) as opened:
        request = next(iter(requests(1)))
        assert opened.asked(digest_of(request, opened.settings), request, stopping) is None
        assert opened.journal.status().states == {"open": 1}
        assert server.asked.total() == 0


def test_after_the_error_that_ends_a_run_no_task_is_begun():
    begun = []

    def work(task):
        begun.append(task)
        raise ValueError(task)

    crew = Crew(work, 1, threading.Event())
    for task in range(50):
        crew.put(task)
    # Whoever raises the error comes late.
    time.sleep(0.2)
    with pytest.raises(ValueError, match="0"):
        crew.take(5)
    crew.stop(wait=True)
    assert begun == [0]


@pytest.mark.extra("chat")
def test_a_model_that_never_gives_the_form_is_not_paid_to_the_end(tmp_path):
    with ChatServer(lambda *_: "wrong-keys") as server, asker(tmp_path, server.url) as opened:
        with pytest.raises(ChatError, match=r"Of the last 28 answers of gpt-x to one") as caught:
            list(opened.ask(requests(500)))
        assert 28 <= len(server.asked) <= 28 + 4
        assert not caught.value.retryable
    # One that is usable says that others may be, if they do not take too long.
    with ChatServer(lambda q, *_: "ok" if q == "question 450" else "wrong-keys") as server:
        folder = tmp_path / "other"
        folder.mkdir()
        with asker(folder, server.url) as opened:
            assert [reply.value is None for reply in opened.ask([request(450)])] == [False]
        with asker(folder, server.url) as opened:
            replies = list(opened.ask(requests(100)))
            assert len(replies) == 100
            assert all(reply.value is None for reply in replies)
            with pytest.raises(ChatError, match=r"Of the last 112 answers of gpt-x"):
                list(opened.ask(requests(500)))
            # Of another prompt nothing is known.
            others = (replace(request(number), name="other", sample=1) for number in range(500))
            with pytest.raises(ChatError, match=r"Of the last 28 answers of gpt-x"):
                list(opened.ask(others))


@pytest.mark.extra("chat")
def test_what_is_refused_says_nothing_of_the_model(tmp_path):
    with ChatServer(lambda *_: "refusal") as server, asker(tmp_path, server.url) as opened:
        replies = list(opened.ask(requests(200)))
    assert len(replies) == 200
    assert all("refuses" in reply.error for reply in replies)


@pytest.mark.extra("chat")
def test_what_answers_take_is_told_by_prompt(tmp_path):
    with ChatServer() as server:
        ask(tmp_path, server, 5)
    others = [replace(request(number), name="other") for number in range(10, 13)]
    settings = ChatSettings("gpt-x", max_tokens=1000)
    found = estimate([*requests(8), *others], settings, tmp_path / "j.sqlite")
    assert (found.calls, found.measured) == (6, False)
    assert found.completion_tokens == 3 * COMPLETION_TOKENS + 3 * 1000
    assert "of answers at most" in found.described()
    found = estimate(requests(8), settings, tmp_path / "j.sqlite")
    assert (found.completion_tokens, found.measured) == (3 * COMPLETION_TOKENS, True)
