"""What `eci generate status` tells of a journal."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from eci.chat.entries import Entry
from eci.chat.journal import Journal
from eci.chat.messages import ChatRequest
from eci.chat.submitted import Ledger
from eci.errors import ChatError
from eci.generating.status import journal_status
from fakes import run_cli

URL = "http://there/v1"


def digest(number):
    return number.to_bytes(32, "big")


def fill(path):
    """Eight requests of two models: in each state, with reasons, and three in a batch of which one is answered."""
    journal = Journal(path)
    ends = [
        ("x", Entry("answered", value={}, prompt_tokens=10, completion_tokens=2)),
        ("x", Entry("failed", error="the model refuses: no", prompt_tokens=5, completion_tokens=1)),
        ("x", Entry("failed", error="the model refuses: never", prompt_tokens=5)),
        ("y", Entry("open", error="h answered 500: oops (sent 6 times; the next run asks again)")),
        ("y", Entry("answered", value={}, prompt_tokens=100, completion_tokens=20)),
        ("y", None),
        ("y", None),
        ("y", Entry("answered", value={}, prompt_tokens=1)),
    ]
    for number, (model, entry) in enumerate(ends):
        journal.claim(digest(number), ChatRequest(f"{number}", (("user", "q"),), {}, "n"), model)
        if entry:
            journal.keep(digest(number), entry)
    ledger = Ledger(journal, URL)
    ledger.keep(replace(ledger.begin([digest(number) for number in (5, 6, 7)], 9), file="f", id="batch_1"))
    ledger.begin([digest(6)], 9)  # not submitted yet
    return journal


@pytest.fixture
def journal(tmp_path):
    fill(tmp_path / "j.sqlite").close()
    return tmp_path / "j.sqlite"


def recent(time):
    return abs((datetime.now(timezone.utc) - datetime.fromisoformat(time)).total_seconds()) < 60


def test_everything_is_counted(journal):
    found = journal_status(journal, (1.0, 2.0))
    assert found.states == {"answered": 3, "failed": 2, "open": 1, "asked": 2}
    assert (found.prompt_tokens, found.completion_tokens) == (121, 23)
    assert found.cost == pytest.approx((121 + 2 * 23) / 1e6)
    assert found.models == [
        {"model": "x", "answered": 1, "requests": 3, "prompt_tokens": 20, "completion_tokens": 3},
        {"model": "y", "answered": 2, "requests": 5, "prompt_tokens": 101, "completion_tokens": 20},
    ]
    (batch,) = found.batches
    assert (batch["id"], batch["url"], batch["requests"]) == ("batch_1", URL, 2)
    assert recent(batch["since"])
    assert found.reasons == {"the model refuses": 2, "h answered 500": 1}
    assert recent(found.last_answer)


def test_the_ten_most_frequent_reasons_are_told(tmp_path):
    opened = Journal(tmp_path / "j.sqlite")
    for number in range(78):
        opened.claim(digest(number), ChatRequest("k", (), {}, "n"), "m")
        # The reason of number 0 once, that of number 1 twice …
        reason = next(reason for reason in range(12) if number < (reason + 1) * (reason + 2) // 2)
        opened.keep(digest(number), Entry("failed", error=f"reason {reason} ({number})"))
    opened.close()
    told = journal_status(tmp_path / "j.sqlite").reasons
    assert told == {f"reason {reason}": reason + 1 for reason in range(11, 1, -1)}


def test_a_journal_without_requests(tmp_path):
    Journal(tmp_path / "j.sqlite").close()
    found = journal_status(tmp_path / "j.sqlite")
    assert (sum(found.states.values()), found.models, found.last_answer) == (0, [], None)
    assert found.table().endswith("0 requests\ntokens: 0 of prompts, 0 of answers")


def test_it_is_told_as_a_table_and_as_json(journal, monkeypatch, capsys):
    before = journal.read_bytes()
    code, out, _ = run_cli(monkeypatch, capsys, "generate", "status", str(journal))
    assert code == 0
    for told in (
        "j.sqlite: 8 requests\n  3 answered\n  2 without a usable answer",
        "model y: 2 of 5 requests answered, 101 tokens of prompts, 20 of answers",
        f"batch batch_1 at {URL}: 2 requests without an answer yet, submitted 2",
        "without an answer: 2 × the model refuses\n",
        "last answer: 2",
        "tokens: 121 of prompts, 23 of answers\n",
    ):
        assert told in out
    code, out, _ = run_cli(monkeypatch, capsys, "generate", "status", str(journal), "--json")
    told = json.loads(out)
    assert (code, told["schema"], told["cost"]) == (0, "eci.journal/1", None)
    assert list(told["reasons"].items()) == [("the model refuses", 2), ("h answered 500", 1)]
    assert list(journal.parent.iterdir()) == [journal]
    assert journal.read_bytes() == before


def test_a_run_that_goes_on_is_looked_at(tmp_path):
    opened = fill(tmp_path / "j.sqlite")
    assert journal_status(tmp_path / "j.sqlite").states["answered"] == 3
    opened.close()


def test_an_empty_file_is_left_as_it_is(tmp_path, monkeypatch, capsys):
    path = tmp_path / "j.sqlite"
    path.touch()
    with pytest.raises(ChatError, match="is empty: no run has kept an answer there"):
        journal_status(path)
    code, _, err = run_cli(monkeypatch, capsys, "generate", "status", str(path))
    assert (code, "is empty" in err, path.stat().st_size) == (1, True, 0)


@pytest.mark.parametrize("column", ["since", "ended"])
@pytest.mark.parametrize("time", [1e12, -1e12, 1e18, 1e300, "soon"])
def test_a_time_that_is_none_is_damage(time, column, journal, monkeypatch, capsys):
    with closing(sqlite3.connect(journal)) as opened, opened:
        opened.execute(f"UPDATE {'answers' if column == 'ended' else 'batches'} SET {column} = ?", (time,))
    code, _, err = run_cli(monkeypatch, capsys, "generate", "status", str(journal))
    assert code == 1
    assert f"{journal} is damaged" in err


@pytest.mark.skipif(sys.platform == "win32", reason="no such names")
def test_names_do_not_steer_the_terminal(tmp_path):
    path = tmp_path / "j\x9b2J.sqlite"
    fill(path).close()
    assert "/j\ufffd2J.sqlite: 8 requests\n" in journal_status(path).table()
