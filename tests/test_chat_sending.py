"""What comes of odd answers, waits, limits and claims on the way of a request."""

from __future__ import annotations

import base64
import html
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import quote

import pytest

from chat_server import COMPLETION_TOKENS, PROMPT_TOKENS, SCHEMA, ChatServer, answer_to, completion, well
from eci.chat import sending
from eci.chat.asking import ChatAsker
from eci.chat.entries import digest_of
from eci.chat.faults import Again
from eci.chat.journal import Journal
from eci.chat.limits import Pace
from eci.chat.messages import ChatRequest
from eci.chat.responses import Answer
from eci.chat.settings import ChatSettings
from eci.errors import ChatError

KEY = "sk-nobody/Abc+def==0123456789"
ANSWER = json.dumps(answer_to("question 0"))


@pytest.fixture(autouse=True)
def key(monkeypatch, bare_environment):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def request(number, **given):
    return ChatRequest(f"row {number}", (("user", f"question {number}"),), SCHEMA, "sum", **given)


def requests(count):
    return (request(number) for number in range(count))


@contextmanager
def asker(folder, url="http://127.0.0.1:9/v1", endpoint=None, progress=None, **given):
    journal = Journal(folder / "j.sqlite")
    settings = ChatSettings("gpt-x", url, **{"backoff": 0.002, "timeout": 10.0, "concurrency": 4, **given})
    told = {} if progress is None else {"progress": progress}
    opened = ChatAsker(settings, journal, endpoint=endpoint, **told)
    try:
        yield opened
    finally:
        opened.close()
        journal.close()


def ask(folder, server, count=1, **given):
    with asker(folder, server.url, **given) as opened:
        return list(opened.ask(requests(count)))


class Scripted:
    """An endpoint without a network: gives what it is told to, raises what is an exception."""

    def __init__(self, *outcomes):
        self.outcomes, self.asked, self.explained = list(outcomes), [], 0

    def ask(self, request, messages, shape=None):
        self.asked.append(messages)
        outcome = self.outcomes.pop(0) if self.outcomes else Answer(ANSWER)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def explain(self):
        self.explained += 1

    def close(self):
        pass


# Odd answers


def whole(**given):
    return {**completion(ANSWER), **given}


def choice(**given):
    answer = completion(ANSWER)
    return {**answer, "choices": [{**answer["choices"][0], **given}]}


def usage(**counts):
    return json.dumps(whole(usage={"prompt_tokens": 1, "completion_tokens": 1, **counts}))


@pytest.mark.extra("chat")
@pytest.mark.parametrize(
    "body",
    [
        whole(choices="abc"),
        whole(choices={"a": 1}),
        whole(choices=[None]),
        whole(choices=["x"]),
        whole(choices=[]),
        choice(message="hello"),
        choice(message=None),
        choice(message={"content": 5}),
        choice(finish_reason="error", message={"content": ""}),
        choice(error={"code": 429, "message": "upstream"}),
        whole(error={"code": True, "message": "upstream"}),
        {"error": "overloaded"},
        [1],
        "null",
        "",
        "<html>",
        "[" * 100_000,
    ],
    ids=lambda body: str(body)[:60],
)
def test_an_odd_body_is_asked_again_and_is_no_reason_to_fail(tmp_path, body):
    with ChatServer(lambda _, nth, __: (200, body) if nth < 3 else "ok") as server:
        (reply,) = ask(tmp_path, server)
        assert server.asked == {"question 0": 3}
    assert reply.value == answer_to("question 0")
    assert len(reply.retries) == 2


@pytest.mark.extra("chat")
@pytest.mark.parametrize(
    ("body", "counts"),
    [
        (whole(usage="x"), (0, 0)),
        (whole(usage=[1]), (0, 0)),
        (whole(usage=None), (0, 0)),
        (usage(prompt_tokens={}), (0, 1)),
        (usage(prompt_tokens="abc"), (0, 1)),
        (usage(prompt_tokens=10**30), (0, 1)),
        (usage(prompt_tokens=-5, completion_tokens=2.0), (0, 2)),
        (usage(prompt_tokens=float("nan")), (0, 1)),
        (usage(completion_tokens=float("inf")), (1, 0)),
    ],
    ids=str,
)
def test_counts_that_cannot_be_are_none(tmp_path, body, counts):
    with ChatServer(lambda *_: (200, body)) as server:
        (reply,) = ask(tmp_path, server, tpm=10**6)
    assert reply.value == answer_to("question 0")
    assert (reply.prompt_tokens, reply.completion_tokens) == counts


@pytest.mark.extra("chat")
def test_a_content_may_come_in_parts(tmp_path):
    parts = [{"type": "text", "text": ANSWER[:9]}, None, {"type": "image"}, {"text": ANSWER[9:]}]
    with ChatServer(lambda *_: (200, choice(message={"content": parts}))) as server:
        (reply,) = ask(tmp_path, server)
    assert reply.value == answer_to("question 0")


WRITTEN = {
    "plain": KEY,
    "upper": KEY.upper(),
    "url": quote(KEY, safe=""),
    "html": html.escape(KEY),
    "json": KEY.replace("/", "\\/"),
    "unicode": "".join(f"\\u{ord(each):04x}" for each in KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
}


@pytest.mark.extra("chat")
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("where", ["content", "refusal", "error", "first"])
def test_a_key_that_comes_back_is_kept_nowhere(tmp_path, written, where):
    bodies = {
        "content": completion(f'{{"reason": "it is {written}", "number": 1}}'),
        "refusal": completion(None, refusal=f"not for {written}"),
        "error": completion(f"{written}{written}"),
        "first": {"error": {"message": f"who is {written}", "code": 400}},
    }
    told = []
    with (
        ChatServer(lambda *_: (200, bodies[where])) as server,
        asker(tmp_path, server.url, attempts=2, progress=lambda *each: told.append(each)) as opened,
    ):
        try:
            told += opened.ask(requests(1))
        except ChatError as error:
            told.append(error)
        told.append(opened.counts)
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir()).decode("utf-8", "replace")
    for text in (str(told), files):
        for secret in (KEY, *WRITTEN.values()):
            assert secret.rstrip("=").lower() not in text.lower()
    assert "[key]" in str(told) + files


# What is final, and what is not


@pytest.mark.extra("chat")
@pytest.mark.parametrize(
    "body", [choice(finish_reason="content_filter"), choice(message={"content": ANSWER, "refusal": "no"})]
)
def test_what_was_refused_is_no_answer_of_the_next_run(tmp_path, body):
    with ChatServer(lambda *_: (200, body)) as server:
        for kept in (False, True):
            (reply,) = ask(tmp_path, server)
            assert (reply.value, reply.kept) == (None, kept)
            assert reply.error
        assert server.asked.total() == 1


@pytest.mark.extra("chat")
def test_a_larger_limit_asks_again_what_was_cut_off_and_nothing_else(tmp_path):
    def script(question, nth, body):
        if question == "question 2":
            return "empty"
        return "length" if question == "question 3" and body["max_tokens"] < 4096 else "ok"

    with ChatServer(script) as server:
        ask(tmp_path, server, 6)
        assert server.asked.total() == 6
        ask(tmp_path, server, 6, max_tokens=1000)
        assert server.asked.total() == 6
        replies = ask(tmp_path, server, 6, max_tokens=4096)
        assert server.asked.total() == 7
        again = ask(tmp_path, server, 6)
        assert server.asked.total() == 7
    for found in (replies, again):
        assert [reply.request.key for reply in found if reply.error] == ["row 2"]


@pytest.mark.extra("chat")
def test_a_draft_that_was_cut_off_is_no_answer(tmp_path):
    draft = f"Maybe {ANSWER}? Let me check whether"
    with ChatServer(lambda *_: (200, completion(draft, finish="length"))) as server:
        for _ in range(2):
            (reply,) = ask(tmp_path, server)
            assert reply.error == "the answer was cut off at 2,048 tokens (--max-tokens allows more)"


@pytest.mark.extra("chat")
def test_tokens_are_those_of_this_run(tmp_path):
    with ChatServer(lambda _, nth, __: "empty" if nth <= 2 else "ok") as server:
        for _ in range(3):
            with asker(tmp_path, server.url, retry_failed=True) as opened:
                (reply,) = opened.ask(requests(1))
            found = (reply.prompt_tokens, reply.completion_tokens)
            assert found == (PROMPT_TOKENS, COMPLETION_TOKENS)
            assert found == (opened.counts.prompt_tokens, opened.counts.completion_tokens)
        (reply,) = ask(tmp_path, server)
    assert (reply.value, reply.kept, reply.prompt_tokens) == (answer_to("question 0"), True, 0)


@pytest.mark.extra("chat")
def test_an_answer_is_written_down_before_it_is_read(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a fault of the reader")

    with ChatServer() as server:
        with asker(tmp_path, server.url) as opened, monkeypatch.context() as patched:
            patched.setattr(sending, "parsed", broken)
            with pytest.raises(RuntimeError):
                list(opened.ask(requests(1)))
        (reply,) = ask(tmp_path, server)
        assert server.asked.total() == 1
    assert reply.value == answer_to("question 0")


# A first request that is not taken


@pytest.mark.extra("chat")
@pytest.mark.parametrize("concurrency", [1, 4])
def test_one_request_that_is_not_taken_ends_no_run(tmp_path, concurrency):
    def script(question, nth, body):
        return (400, {"error": "odd prompt"}) if question == "question 0" else "ok"

    with ChatServer(script) as server:
        replies = ask(tmp_path, server, 20, concurrency=concurrency)
    (failed,) = (reply for reply in replies if reply.error)
    assert failed.request.key == "row 0"
    assert failed.error.endswith("answered 400: odd prompt")


@pytest.mark.extra("chat")
def test_where_none_is_taken_the_run_ends(tmp_path):
    with ChatServer(lambda *_: (400, {"error": "'temperature' is not supported"})) as server:
        with asker(tmp_path, server.url) as opened, pytest.raises(ChatError, match="--chat-temperature"):
            list(opened.ask(requests(1)))
        # Each with response_format and without.
        assert server.asked.total() == 6
        assert json.loads(json.dumps(server.bodies[-1]))["temperature"] == 0
        server.script = lambda _, __, body: (400, "") if "temperature" in body else "ok"
        (reply,) = ask(tmp_path, server, temperature=None)
    assert reply.value


@pytest.mark.extra("chat")
@pytest.mark.parametrize("first", ["response_format", "max_tokens"])
def test_an_endpoint_may_know_neither_schemas_nor_the_name_of_the_limit(tmp_path, first):
    said = {
        "response_format": (400, {"error": {"message": "response_format not supported"}}),
        "max_tokens": (400, {"error": {"message": "use max_completion_tokens"}}),
    }
    order = sorted(said, key=lambda name: name != first)

    def script(question, nth, body):
        return next((said[name] for name in order if name in body), "ok")

    with ChatServer(script) as server:
        replies = ask(tmp_path, server, 6, concurrency=1)
        assert server.asked.total() == 8
    assert all(reply.value for reply in replies)


# Limits and waits


class Counting(Pace):
    """A pace that lets everything through and says what was asked of it."""

    def __init__(self, rpm, tpm):
        super().__init__()
        self.limits, self.turns, self.settled, self.pauses = (rpm, tpm), [], [], []

    def turn(self, tokens, stopping):
        self.turns.append(tokens)
        return True

    def settle(self, tokens):
        self.settled.append(tokens)

    def pause(self, seconds):
        self.pauses.append(seconds)


@pytest.fixture
def pace(monkeypatch):
    made = []
    monkeypatch.setattr("eci.chat.asking.Pace", lambda *given: made.append(Counting(*given)) or made[-1])
    return made


@pytest.mark.extra("chat")
def test_limits_reach_the_pace_and_every_request_passes_by_it(tmp_path, pace):
    def script(question, nth, body):
        if "response_format" in body:
            return (400, {"error": {"message": "response_format not supported"}})
        return {2: "500", 3: "wrong-keys"}.get(nth, "ok")

    with ChatServer(script) as server:
        ask(tmp_path, server, 3, rpm=5, tpm=7, concurrency=1)
        (counting,) = pace
        assert counting.limits == (5, 7)
        assert len(counting.turns) == server.asked.total() == 6


def test_what_was_used_is_settled_with_what_was_expected(tmp_path, pace):
    outcomes = [Again("no"), Answer("no JSON", prompt_tokens=30, completion_tokens=12), Answer(ANSWER)]
    with asker(tmp_path, endpoint=Scripted(*outcomes), max_tokens=100) as opened:
        list(opened.ask(requests(1)))
    (counting,) = pace
    expected = counting.turns[0]
    assert expected > 100
    assert counting.turns == [expected] * 3
    # What says no counts stays as it was expected.
    assert counting.settled == [42 - expected]


def test_all_wait_where_the_endpoint_asks_one_to(tmp_path, pace):
    with asker(tmp_path, endpoint=Scripted(Again("slow", after=0.01), Again("no"))) as opened:
        list(opened.ask(requests(1)))
    assert pace[0].pauses == [0.01]


class Recording(threading.Event):
    """An event that is waited for without waiting."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return self.is_set()


def sent_through(tmp_path, endpoint, stopping, **given):
    settings = ChatSettings("m", **given)
    journal = Journal(tmp_path / "j.sqlite")
    digest = digest_of(request(0), settings)
    sent = sending.Sent(digest, request(0), journal.claim(digest, request(0), "m"))
    notes = []
    try:
        sender = sending.Sender(settings, endpoint, journal, Counting(None, None), notes.append, stopping)
        assert sender.send(sent, 0.0)
    finally:
        journal.close()
    return sent, notes


def test_waits_grow_and_lie_between_half_and_all_of_the_backoff(tmp_path):
    stopping = Recording()
    endpoint = Scripted(*[Again("no")] * 9)
    sent, notes = sent_through(tmp_path, endpoint, stopping, attempts=9, backoff=2.0)
    assert (sent.entry.state, sent.failures, len(endpoint.asked)) == ("open", 9, 9)
    assert notes == ["no"] * 8
    assert len(stopping.waits) == 8
    for wait, longest in zip(stopping.waits, [2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert longest / 2 <= wait <= longest
    assert len({wait / 60 for wait in stopping.waits[5:]}) > 1


def test_a_wait_that_is_asked_for_is_no_attempt_and_is_bounded(tmp_path):
    stopping = Recording()
    endpoint = Scripted(*[Again("slow", after=50.0)] * 100)
    sent, _ = sent_through(tmp_path, endpoint, stopping, attempts=2)
    assert (sent.entry.state, sent.failures) == ("open", 0)
    assert sent.entry.error == "slow (sent 13 times; the next run asks again)"
    assert len(stopping.waits) == 12
    assert all(50 <= wait <= 100 for wait in stopping.waits)
    assert len(set(stopping.waits)) > 6


@pytest.mark.extra("chat")
def test_a_crowd_at_a_narrow_door_gets_through(tmp_path):
    lock, rate = threading.Lock(), 20.0
    state = {"tokens": 1.0, "then": time.monotonic(), "refused": 0}

    def script(question, nth, body):
        with lock:
            now = time.monotonic()
            state["tokens"] = min(2.0, state["tokens"] + (now - state["then"]) * rate)
            state["then"] = now
            if state["tokens"] >= 1:
                state["tokens"] -= 1
                return "ok"
            state["refused"] += 1
            return (429, {"error": {"message": "slow"}}, {"Retry-After": "0.1"})

    with ChatServer(script) as server, asker(tmp_path, server.url, concurrency=8, attempts=2) as opened:
        replies = list(opened.ask(requests(60)))
    assert all(reply.value for reply in replies)
    assert state["refused"] > 0
    assert opened.counts.retries.total() == state["refused"]


@pytest.mark.extra("chat")
def test_what_is_left_open_says_so_and_why_it_was_sent_again(tmp_path):
    told = []
    with ChatServer(lambda _, nth, __: {1: "500", 2: "wrong-keys"}.get(nth, "429")) as server:
        with asker(tmp_path, server.url, attempts=2, progress=lambda *each: told.append(each)) as opened:
            (reply,) = opened.ask(requests(1))
        assert (reply.value, reply.open) == (None, True)
        host = f"127.0.0.1:{server.port} answered"
        assert reply.retries == (f"{host} 500", "the answer was not of the form asked for")
        assert reply.prompt_tokens == PROMPT_TOKENS
        assert (f"asked again: {host} 500: oops", 0, 0) in told
        assert told[-1] == ("answers", 1, 0)
        server.script = well
        (reply,) = ask(tmp_path, server)
    assert (reply.open, reply.retries) == (False, ())


@pytest.mark.extra("chat")
def test_of_requests_that_are_the_same_one_was_sent_again(tmp_path):
    with (
        ChatServer(lambda _, nth, __: "500" if nth == 1 else "ok", latency=0.05) as server,
        asker(tmp_path, server.url) as opened,
    ):
        replies = list(opened.ask([request(1)] * 3))
        assert server.asked.total() == 2
    assert sorted(len(reply.retries) for reply in replies) == [0, 0, 1]
    assert sorted(reply.prompt_tokens for reply in replies) == [0, 0, PROMPT_TOKENS]


@pytest.mark.extra("chat")
def test_each_reason_is_told_once(tmp_path):
    told = []
    with (
        ChatServer(lambda _, nth, __: "500" if nth == 1 else "ok") as server,
        asker(tmp_path, server.url, progress=lambda stage, *_: told.append(stage)) as opened,
    ):
        list(opened.ask(requests(20)))
    assert sum(stage.startswith("asked again") for stage in told) == 1


# Claims


def test_what_another_process_asks_is_told_and_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.chat.asking._TELL", 0.01)
    other = Journal(tmp_path / "j.sqlite")
    told = []

    def progress(stage, done, total):
        told.append(stage)
        if "another process" in stage:
            entry = other.find(digest)
            other.keep(digest, replace(entry, state="answered", value={"reason": "", "number": 7}))

    with asker(tmp_path, endpoint=Scripted(), progress=progress) as opened:
        digest = digest_of(request(0), opened.settings)
        other.claim(digest, request(0), "m")
        (reply,) = opened.ask(requests(1))
    other.close()
    assert told[0] == "1 request asked by another process, and waited for"
    assert (reply.value["number"], reply.kept) == (7, True)


def test_whoever_lost_the_claim_writes_over_no_answer(tmp_path):
    other = Journal(tmp_path / "j.sqlite")

    class Slow(Scripted):
        def ask(self, request, messages, shape=None):
            # While this is under way, the claim is taken for dead and the request answered by another.
            other._connection.execute("UPDATE answers SET since = 0")
            entry = other.claim(digest, request, "m")
            assert (entry.state, entry.held) == ("asked", False)
            other.keep(digest, replace(entry, state="answered", value={"reason": "", "number": 7}))
            return super().ask(request, messages, shape)

    for outcome in (Again("no"), Answer("no JSON"), Answer(ANSWER, prompt_tokens=3)):
        with asker(tmp_path, endpoint=Slow(outcome)) as opened:
            digest = digest_of(request(0), opened.settings)
            (reply,) = opened.ask(requests(1))
            assert (reply.value["number"], reply.kept) == (7, True)
            assert (opened.counts.kept, opened.counts.answered) == (1, 0)
        assert other.find(digest).value["number"] == 7
        other._connection.execute("DELETE FROM answers")
    other.close()


def test_claims_are_renewed_as_long_as_a_run_lasts(tmp_path):
    journal = Journal(tmp_path / "j.sqlite", stale_after=0.5)
    other = Journal(tmp_path / "j.sqlite", stale_after=0.5)
    released = threading.Event()

    class Slow(Scripted):
        def ask(self, request, messages, shape=None):
            released.wait(20)
            return super().ask(request, messages, shape)

    opened = ChatAsker(ChatSettings("m"), journal, endpoint=Slow())
    replies = []
    thread = threading.Thread(target=lambda: replies.extend(opened.ask(requests(1))))
    thread.start()
    digest = digest_of(request(0), opened.settings)
    try:
        # Renewed at least three times, and not stale for the other at any of them.
        seen = set()
        deadline = time.monotonic() + 20
        while len(seen) < 4 and time.monotonic() < deadline:
            row = other._connection.execute("SELECT since FROM answers").fetchone()
            seen |= {row[0]} if row else set()
            time.sleep(0.02)
    finally:
        released.set()
        thread.join()
    assert len(seen) >= 4
    assert replies[0].value == answer_to("question 0")
    assert other.find(digest).state == "answered"
    journal.close()
    other.close()


@pytest.mark.extra("chat")
def test_half_characters_and_nothings_in_a_request_harm_nothing(tmp_path):
    odd = ChatRequest("row \ud83d\x00", (("user", "nul \x00 and \ud83d"),), SCHEMA, "sum")
    with ChatServer() as server, asker(tmp_path, server.url) as opened:
        (reply,) = opened.ask([odd])
    assert reply.value
    assert server.bodies[0]["messages"][0]["content"] == "nul \x00 and ?"
