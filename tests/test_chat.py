"""Settings, pace, reading of answers, and what faults mean: all without an endpoint."""

from __future__ import annotations

import base64
import html
import json
import math
import subprocess
import sys
import threading
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.chat.counting import prompt_tokens
from eci.chat.entries import digest_of
from eci.chat.faults import Again, BadRequest, Declined, fault_of
from eci.chat.limits import Pace
from eci.chat.masking import Mask, whole
from eci.chat.messages import ChatRequest
from eci.chat.parsing import Misfit, parsed
from eci.chat.schemas import asked_for, refuse_unchecked
from eci.chat.sending import backoff
from eci.chat.settings import ChatSettings
from eci.errors import ChatError

VERDICTS = {
    "type": "object",
    "properties": {
        "reasoning": {"type": "string"},
        "verdicts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "document": {"type": "integer", "minimum": 1},
                    "verdict": {"type": "string", "enum": ["better", "worse"]},
                    "quote": {"type": ["string", "null"]},
                },
                "required": ["document", "verdict", "quote"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["reasoning", "verdicts"],
    "additionalProperties": False,
}


def test_the_errors_draw_a_tree():
    error = ChatError("It broke.", hint="Mend it.", retryable=True)
    assert (str(error), error.hint, error.retryable) == ("It broke. Mend it.", "Mend it.", True)
    assert not ChatError("It broke.", hint="Mend it.").retryable


# Settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": " "}, "has no name"),
        ({"base_url": "localhost:8000/v1"}, "no http"),
        ({"base_url": "http://"}, "no http"),
        ({"base_url": "http://host:port/v1"}, "no http"),
        ({"base_url": "https://me:sk-12345678@host/v1"}, "environment variable OPENAI_API_KEY"),
        ({"base_url": "https://host/v1?key=sk-12345678"}, "more than scheme, host, port and path"),
        ({"concurrency": 0}, "concurrency must be at least 1, got 0"),
        ({"rpm": 0}, "rpm must be at least 1"),
        ({"max_tokens": -1}, "max_tokens must be at least 1"),
        ({"timeout": 0.0}, "timeout must be above 0"),
        ({"timeout": math.nan}, "timeout must be above 0"),
        ({"timeout": math.inf}, "at most a day"),
        ({"backoff": math.inf}, "at most a day"),
        ({"base_url": "http://127.0.0.1:9/v1\n"}, "no http"),
        ({"base_url": "http://127.0.0.1:9/v1\x00"}, "no http"),
        ({"base_url": "http://ho st/v1"}, "no http"),
        ({"base_url": "http://a..b/v1"}, "no http"),
        ({"base_url": f"http://{'a' * 70}/v1"}, "no http"),
        ({"key_env": "sk-12345678"}, r"no name of an environment variable.*\(--key-env\)"),
        ({"key_env": ""}, "no name of an environment variable"),
        ({"temperature": math.nan}, "No temperature"),
        ({"price": (1.0, -1.0)}, "No price"),
        ({"price": (1.0, math.nan)}, "No price"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, said):
    with pytest.raises(ChatError, match=said) as caught:
        ChatSettings(**{"model": "m", **given})
    assert "sk-12345678" not in str(caught.value)


def test_cost_is_by_the_million_and_none_without_a_price():
    assert ChatSettings("m").cost(1, 1) is None
    assert ChatSettings("m", price=(3.0, 15.0)).cost(1_000_000, 100_000) == 4.5


# Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    rpm=st.integers(1, 300),
    tpm=st.integers(50, 5000),
    requests=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 3)), min_size=1, max_size=120),
)
@settings(deadline=None, max_examples=60)
def test_no_minute_lets_more_through_than_the_limits_and_a_second(rpm, tpm, requests):
    clock = Clock()
    pace = Pace(rpm, tpm, clock)
    sent = []
    for tokens, idle in requests:
        clock.now += idle
        sent.append((clock.now + pace.reserve(tokens), tokens))
    assert [when for when, _ in sent] == sorted(when for when, _ in sent)
    for begin, _ in sent:
        inside = [tokens for when, tokens in sent if begin <= when < begin + 60 - 1e-6]
        assert len(inside) <= rpm * 61 / 60 + 1
        assert sum(inside) <= tpm * 61 / 60 + 60


def test_a_steady_stream_gets_the_whole_limit():
    clock = Clock()
    pace = Pace(rpm=120, clock=clock)
    for _ in range(1200):
        clock.now += pace.reserve(0)
    assert clock.now - 1000 == pytest.approx(600, abs=2)


def test_without_limits_nothing_waits_but_for_a_pause():
    clock = Clock()
    pace = Pace(clock=clock)
    assert {pace.reserve(10**9) for _ in range(1000)} == {0.0}
    pace.pause(7)
    assert pace.reserve(1) == 7
    clock.now += 7
    assert pace.reserve(1) == 0


def test_what_was_reserved_too_much_is_given_back():
    clock = Clock()
    pace = Pace(tpm=60, clock=clock)
    pace.reserve(31)
    assert pace.reserve(0) == 30
    pace.settle(-30)
    assert pace.reserve(0) == 0


@given(
    rpm=st.integers(1, 300),
    tpm=st.integers(50, 5000),
    requests=st.lists(st.tuples(st.integers(0, 20_000), st.floats(0, 3)), min_size=1, max_size=120),
)
@settings(deadline=None, max_examples=60)
def test_requests_that_wait_for_tokens_keep_the_limit_of_requests_too(rpm, tpm, requests):
    clock = Clock()
    pace = Pace(rpm, tpm, clock)
    sent = []
    for tokens, idle in requests:
        clock.now += idle
        sent.append(clock.now + pace.reserve(tokens))
    for begin in sent:
        assert sum(begin <= when < begin + 60 - 1e-6 for when in sent) <= rpm * 61 / 60 + 1


def test_after_one_that_waits_for_tokens_no_burst_of_requests_follows():
    pace = Pace(10, 1000, Clock())
    sent = [pace.reserve(10_000), *(pace.reserve(10) for _ in range(63))]
    assert sent[1] == pytest.approx(599)
    assert max(sum(begin <= when < begin + 60 - 1e-6 for when in sent) for begin in sent) <= 11


class Ticking:
    """An event whose waits pass the clock on; what is due is done on the way."""

    def __init__(self, clock, due=()):
        self.clock, self.due, self.waits = clock, list(due), []

    def wait(self, seconds):
        self.waits.append(seconds)
        end = self.clock.now + seconds
        while self.due and self.due[0][0] <= end:
            self.clock.now, act = self.due.pop(0)
            act()
        self.clock.now = end
        return False

    def is_set(self):
        return False


def test_whoever_waits_for_its_turn_waits_for_the_pauses_that_come_meanwhile():
    clock = Clock()
    pace = Pace(60, None, clock)
    assert [pace.reserve(0) for _ in range(3)] == [0, 0, 1]
    # Its slot is at 2 s; at 1.5 s all are paused for 5 s, and at 3 s, within that, for 5 s.
    ticking = Ticking(clock, [(1001.5, lambda: pace.pause(5)), (1003.0, lambda: pace.pause(5))])
    assert pace.turn(0, ticking)
    assert clock.now == pytest.approx(1000 + 2 + 6.5)
    # Those behind it are as far apart as before.
    assert pace.reserve(0) == pytest.approx(1)


def test_a_turn_ends_where_the_run_does():
    stopping = threading.Event()
    pace = Pace()
    assert pace.turn(5, stopping)
    stopping.set()
    assert not pace.turn(5, stopping)
    pace.pause(60)
    assert not pace.turn(5, stopping)


@pytest.mark.parametrize("failures", range(1, 30))
def test_backoffs_double_up_to_a_minute_and_differ_by_request(failures):
    chosen = ChatSettings("m", backoff=0.5)
    longest = min(60, 0.5 * 2 ** (failures - 1))
    assert backoff(chosen, failures, None, 0.0) == longest
    assert backoff(chosen, failures, None, 0.5) == 0.75 * longest
    assert backoff(chosen, failures, 7.0, 0.25) == 8.75


# Keys


KEY = 'sk-Ab/cd+ef=="0123&4567'


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        KEY.upper(),
        KEY.lower(),
        quote(KEY, safe=""),
        quote(KEY, safe="").lower(),
        quote(KEY),
        json.dumps(KEY)[1:-1],
        json.dumps(KEY)[1:-1].replace("/", "\\/"),
        "".join(f"\\u{ord(each):04X}" for each in KEY),
        html.escape(KEY),
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    ],
)
def test_a_key_is_taken_out_however_it_is_written(written):
    mask = Mask(KEY)
    assert mask(f"before {written} after").replace("=", "") == "before [key] after"
    assert mask.line(f"before {written}\n after", 100).replace("=", "") == "before [key] after"
    assert "".join(mask.line("\u200b\x00".join(written), 100).split("=")) == "[key]"


@given(st.text(max_size=50))
def test_texts_without_the_key_stay_as_they_are(text):
    assert Mask(KEY)(text) == whole(text)
    assert Mask("ollama")(f"{text} ollama") == whole(f"{text} ollama")


def test_a_line_steers_no_terminal_and_is_cut():
    line = Mask("").line("a\x1b[31m red\u202e\x00 \n\t b " + "c" * 100, 20)
    assert line == "a[31m red b " + "c" * 7 + "…"


# Reading


@given(
    verdicts=st.lists(
        st.fixed_dictionaries(
            {
                "document": st.integers(1, 99),
                "verdict": st.sampled_from(["better", "worse"]),
                "quote": st.none() | st.text(),
            }
        ),
        max_size=4,
    ),
    reasoning=st.text(),
    before=st.text(st.characters(exclude_characters="{")),
    after=st.text(st.characters(exclude_characters="{")),
)
@settings(deadline=None, max_examples=80)
def test_an_answer_is_found_in_any_text(verdicts, reasoning, before, after):
    value = {"reasoning": reasoning, "verdicts": verdicts}
    assert parsed(before + json.dumps(value, indent=1) + after, VERDICTS) == value
    assert parsed(f'{{"a": {{}} {before}{json.dumps(value)}', VERDICTS) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no whole JSON object"),
        ("[1, 2]", "no whole JSON object"),
        ('{"reasoning": "cut', "no whole JSON object"),
        ('{"x' * 100_000, "no whole JSON object"),
        ('{"reasoning": "a", "verdicts": []} or {"reasoning": "b", "verdicts": []}', "two JSON objects"),
        ('<think>{"reasoning": "", "verdicts": []}</think>', "no whole JSON object"),
        ('<think>{"reasoning": "", "verdicts": []} but', "no whole JSON object"),
        ('Well {"reasoning": "", "verdicts": []} no</think> so', "no whole JSON object"),
        ('{"reasoning": NaN, "verdicts": []}', "reasoning: expected string, got null"),
        ('{"a": ' * 5000, "no whole JSON object"),
        ('{"verdicts": []}', "the object: reasoning missing"),
        ('{"reasoning": 1.5, "verdicts": []}', "reasoning: expected string, got number"),
        ('{"reasoning": "", "verdicts": {}}', "verdicts: expected array, got object"),
        ('{"reasoning": "", "verdicts": [{}]}', r"verdicts\[0\]: document, verdict, quote missing"),
        (
            '{"reasoning": "", "verdicts": [{"document": true, "verdict": "better", "quote": null}]}',
            r"verdicts\[0\].document: expected integer, got boolean",
        ),
        (
            '{"reasoning": "", "verdicts": [{"document": 0, "verdict": "better", "quote": null}]}',
            "document: 0 is out of range",
        ),
        (
            '{"reasoning": "", "verdicts": [{"document": 1, "verdict": "best", "quote": null}]}',
            r'verdict: expected one of \["better", "worse"\], got "best"',
        ),
        (
            '{"reasoning": "", "verdicts": [{"document": 1, "verdict": "better", "quote": 1.5}]}',
            "quote: expected string or null, got number",
        ),
    ],
)
def test_what_is_wrong_is_told(text, said):
    with pytest.raises(Misfit, match=said):
        parsed(text, VERDICTS)


LENIENT = {
    "type": "object",
    "properties": {
        "why": {"type": "string", "default": ""},
        "sure": {"type": "boolean", "default": False},
        "number": {"type": "integer", "default": 0},
        "texts": {"type": "array", "items": {"type": "string", "default": None}},
    },
    "required": ["why", "sure", "number", "texts"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"texts": ["a"]}', {"texts": ["a"]}),
        (
            '{"texts": ["a", null, 1.5, {"x": 1, "y": "b"}, {"text": "c"}, ["d"]]}',
            {"texts": ["a", None, None, None, "c", "d"]},
        ),
        ('{"why": null, "sure": "maybe", "number": "many", "texts": []}', {"texts": []}),
        ('{"why": ["x", "y"], "sure": null, "number": 1.5, "texts": []}', {"texts": []}),
        (
            '{"why": 1, "sure": "Yes", "number": "#7", "texts": []}',
            {"why": "1", "sure": True, "number": 7, "texts": []},
        ),
        ('{"sure": 1, "number": 7.0, "texts": []}', {"sure": True, "number": 7, "texts": []}),
        ('{"Why ": "w", "TEXTS": ["a"]}', {"why": "w", "texts": ["a"]}),
        ('{"answer": {"why": "w", "texts": ["a"]}}', {"why": "w", "texts": ["a"]}),
        ('{"texts": ["two\nlines\there"]}', {"texts": ["two\nlines\there"]}),
        ('{"texts": ["a"], "spare": NaN}', {"texts": ["a"]}),
    ],
)
def test_what_nothing_depends_on_costs_no_answer(text, value):
    assert parsed(text, LENIENT) == {"why": "", "sure": False, "number": 0, **value}


@pytest.mark.parametrize(
    "text",
    [
        '{"texts": [null, null]}',
        '{"texts": null}',
        '{"why": "w"}',
        '{"texts": "a"}',
        '{"a": {"b": {"texts": []}}}',
    ],
)
def test_what_the_answer_is_about_has_to_be_there(text):
    with pytest.raises(Misfit):
        parsed(text, LENIENT)


def test_no_endpoint_is_told_what_may_be_missing():
    refuse_unchecked(LENIENT)
    told = asked_for(LENIENT)
    assert "default" not in json.dumps(told)
    assert told["required"] == LENIENT["required"]
    assert told["properties"]["texts"] == {"type": "array", "items": {"type": "string"}}


GOOD = '{"reasoning": "</think> is said in it <think>", "verdicts": []}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f'<think>{{"reasoning": "", "verdicts": []}}?</think>{GOOD}',
        f'{{"reasoning": "", "verdicts": []}}?</thinking>{GOOD}',
        f"{GOOD} once more: {GOOD}",
        f"<think>hm</think>\n{GOOD}\n<think>should I",
    ],
)
def test_reasoning_is_no_answer(text):
    assert parsed(text, VERDICTS) == json.loads(GOOD)


def test_of_a_text_that_was_cut_off_only_its_end_is_an_answer():
    for text in (GOOD, f"so {GOOD}\n```\n"):
        assert parsed(text, VERDICTS, cut=True) == json.loads(GOOD)
    for text in (f"Maybe {GOOD}? Let me", f"{GOOD} {{"):
        assert parsed(text, VERDICTS) == json.loads(GOOD)
        with pytest.raises(Misfit, match="cut off"):
            parsed(text, VERDICTS, cut=True)


def test_a_text_of_braces_is_given_up(monkeypatch):
    tries, decode = [], json.JSONDecoder.raw_decode

    def counted(decoder, text, idx=0):
        tries.append(1)
        return decode(decoder, text, idx)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    for text in ('{"a":' * 30_000, '{"x' * 100_000, '{"a":[' * 30_000):
        tries.clear()
        with pytest.raises(Misfit):
            parsed(text, VERDICTS)
        assert len(tries) <= 1000
    # Formulas are no reason to overlook the answer behind them.
    formulas = r"\frac{a}{b} + x_{i} " * 5000
    assert parsed(formulas + GOOD, VERDICTS) == json.loads(GOOD)


def test_numbers_of_items_are_checked():
    schema = {"type": "object", "properties": {"three": {"type": "array", "minItems": 3, "maxItems": 3}}}
    assert parsed('{"three": [1, 2, 3]}', schema) == {"three": [1, 2, 3]}
    with pytest.raises(Misfit, match="three: expected 3 to 3 items, got 2"):
        parsed('{"three": [1, 2]}', schema)


def test_a_schema_that_says_more_than_is_checked_is_refused():
    refuse_unchecked(VERDICTS)
    with pytest.raises(ChatError, match="with pattern are not checked"):
        refuse_unchecked(
            {"type": "object", "properties": {"a": {"type": "array", "items": {"pattern": "x"}}}}
        )


# Faults


def fault(status, body, headers=None, key="sk-12345678", **given):
    settings = ChatSettings("gpt-x", **given)
    return fault_of(status, body, headers or {}, settings, mask=Mask(key), key=bool(key))


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (
            401,
            {"error": {"message": "Wrong key sk-12345678"}},
            ChatError,
            r"401: Wrong key \[key\]\. Check the key in",
        ),
        (403, "no", ChatError, "--key-env"),
        (403, {"message": "your input was flagged"}, Declined, "content filter refused"),
        (402, {"error": "pay"}, ChatError, "Add credit"),
        (429, {"message": "m", "code": "insufficient_quota"}, ChatError, "Add credit"),
        (
            404,
            {"detail": "Not Found"},
            ChatError,
            r"404: Not Found\. Asked was the model 'gpt-x' at https://api",
        ),
        (400, {"message": "m", "code": "context_length_exceeded"}, Declined, "the prompt is too long"),
        (500, {"error": {"message": "the request exceeds the available context size"}}, Declined, "too long"),
        (413, "", Declined, "too long"),
        (400, {"message": "m", "code": "content_filter"}, Declined, "content filter"),
        (400, {"object": "error", "message": "top_k what"}, BadRequest, "top_k what"),
        (400, {"message": "top\x1b[31m\u202e_k \x00what"}, BadRequest, r"top\[31m_k what"),
        (429, {"message": "slow"}, Again, "answered 429: slow"),
        (408, None, Again, "answered 408"),
        (503, "<html>\n<b>x</b>", Again, "503: <html> <b>x</b>"),
    ],
)
def test_a_status_and_its_body_say_what_to_do(status, body, kind, said):
    found = fault(status, body)
    assert type(found) is kind
    with pytest.raises(kind, match=said):
        raise found
    assert "sk-12345678" not in str(found)


def test_without_a_key_it_is_told_where_one_goes():
    with pytest.raises(ChatError, match="Put a key into the environment variable MY_KEY"):
        raise fault(401, "", key="", key_env="MY_KEY")


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_the_wait_that_is_asked_for_is_read(headers, after):
    assert fault(429, "", headers).after == after


@pytest.mark.parametrize("wait", ["3600", "inf", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_wait_of_hours_ends_the_run(wait):
    found = fault(429, "daily limit", {"retry-after": wait})
    assert isinstance(found, ChatError)
    assert found.retryable
    assert "asks to wait" in str(found)


# Digests and estimates


def request(key="k", text="question", sample=0, schema=VERDICTS, name="v"):
    return ChatRequest(key, (("user", text),), schema, name, sample)


def test_the_digest_is_of_what_decides_the_answer_alone():
    base, plain = ChatSettings("m"), request()
    same = [
        (request(key="other"), base),
        (request(name="other"), base),
        (plain, ChatSettings("m", "http://localhost/v1", "KEY", concurrency=3, rpm=5, price=(1, 1))),
        (plain, ChatSettings("m", max_tokens=5)),
    ]
    turned = {**VERDICTS, "properties": dict(reversed(VERDICTS["properties"].items()))}
    others = [
        (request(text="other"), base),
        (request(sample=1), base),
        (request(schema=turned), base),
        (ChatRequest("k", (("system", "question"),), VERDICTS, "v"), base),
        (plain, ChatSettings("n")),
        (plain, ChatSettings("m", temperature=None)),
        (plain, ChatSettings("m", seed=1)),
    ]
    assert {digest_of(*each) for each in same} == {digest_of(plain, base)}
    assert len({digest_of(*each) for each in others} | {digest_of(plain, base)}) == len(others) + 1


def test_tokens_are_a_quarter_of_the_characters():
    schema = {"type": "object"}
    assert prompt_tokens(ChatRequest("k", (("user", "x" * 82),), schema, "n")) == (82 + 18) // 4


def test_other_characters_are_a_token_each():
    plain = prompt_tokens(ChatRequest("k", (("user", "xxxx"),), {}, "n"))
    assert prompt_tokens(ChatRequest("k", (("user", "xxxx" + "漢字" * 2000),), {}, "n")) == plain + 4000


def test_nothing_is_loaded_before_it_is_needed():
    code = "import eci.chat.asking, eci.cli.chatting, sys; print('openai' in sys.modules, 'httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
