"""The journal: claims, what is kept, files that are none."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from eci.chat import claims
from eci.chat.entries import Anew, Entry, Group
from eci.chat.journal import _COUNTED, _REASONS, Journal
from eci.chat.messages import ChatRequest
from eci.errors import ChatError, OutputError

REQUEST = ChatRequest("row 1", (("user", "question"),), {"type": "object"}, "n")


@pytest.fixture
def journal(tmp_path):
    opened = Journal(tmp_path / "j.sqlite")
    yield opened
    opened.close()


def claim(journal, digest=b"d", **given):
    return journal.claim(digest, REQUEST, "m", **given)


def test_what_is_kept_is_found_again_by_another_run(journal, tmp_path):
    assert journal.find(b"d") is None
    entry = claim(journal)
    assert (entry.state, entry.held) == ("asked", False)
    done = replace(
        entry, state="answered", texts=("{", '{"é": 1}'), value={"é": 1}, prompt_tokens=5, completion_tokens=3
    )
    journal.keep(b"d", done)
    other = Journal(tmp_path / "j.sqlite")
    found = other.find(b"d")
    assert replace(found, ended=0.0) == done
    assert abs(found.ended - time.time()) < 10
    assert claim(other) == found
    other.close()
    status = journal.status()
    assert status.groups == (Group("m", "answered", 1, 5, 3),)
    assert abs((status.last or 0) - time.time()) < 10
    assert (journal.mean_completion("m", "n"), journal.mean_completion("m", "o")) == (3.0, None)


def test_a_claim_keeps_others_away_until_it_is_given_up(journal, tmp_path):
    other = Journal(tmp_path / "j.sqlite")
    claim(journal)
    assert claim(journal).held is False
    assert other.find(b"d").held
    assert claim(other).held
    journal.release()
    assert not other.find(b"d").held
    assert claim(other).held is False
    assert claim(journal).held
    other.close()


def test_of_many_threads_one_gets_the_claim(tmp_path):
    journals = [Journal(tmp_path / "j.sqlite") for _ in range(8)]
    won = []
    threads = [threading.Thread(target=lambda one=one: won.append(not claim(one).held)) for one in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    for one in journals:
        one.close()


def dead_pid():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.mark.parametrize(
    ("owner", "held"),
    [
        (lambda: f"{platform.node()}/{dead_pid()}/aa/bb", False),
        (lambda: f"{platform.node()}/{os.getpid()}/aa/bb", False),
        (lambda: f"{platform.node()}/{os.getppid()}/aa/bb", True),
        (lambda: "elsewhere/1/aa/bb", True),
        (claims.new_owner, True),
        (lambda: "?", False),
    ],
    ids=["dead", "number come again", "alive", "another host", "another of this process", "unreadable"],
)
def test_the_claim_of_a_dead_process_is_taken_over(journal, owner, held):
    claim(journal)
    journal._connection.execute("UPDATE answers SET owner = ?", (owner(),))
    assert claim(journal).held is held


def test_an_old_claim_is_taken_over(tmp_path):
    first, second = (Journal(tmp_path / "j.sqlite", stale_after=100) for _ in range(2))
    claim(first)
    assert claim(second).held
    first._connection.execute("UPDATE answers SET since = since - 101")
    assert not claim(second).held
    first.close()
    second.close()


def test_a_claim_that_is_renewed_is_not_old(tmp_path):
    first, second = (Journal(tmp_path / "j.sqlite", stale_after=100) for _ in range(2))
    claim(first)
    claim(second, b"e")
    first._connection.execute("UPDATE answers SET since = since - 101")
    first.renew()
    assert claim(second).held
    assert not claim(first, b"e").held
    first.close()
    second.close()


@pytest.mark.parametrize("state", ["asked", "open", "failed"])
def test_who_lost_a_claim_writes_over_nothing(tmp_path, state):
    slow, quick = (Journal(tmp_path / "j.sqlite", stale_after=100) for _ in range(2))
    mine = claim(slow)
    slow._connection.execute("UPDATE answers SET since = since - 101")
    theirs = claim(quick)
    assert not slow.keep(b"d", replace(mine, state=state, error="timeout", attempts=1))
    assert slow.find(b"d").held
    # An answer is worth more than a claim.
    assert slow.keep(b"d", replace(mine, state="answered", value={"x": 1}))
    assert not quick.keep(b"d", replace(theirs, state=state, attempts=1))
    assert not quick.keep(b"d", replace(theirs, state="answered", value={"x": 2}))
    slow.release()
    quick.release()
    assert (quick.find(b"d").state, quick.find(b"d").value) == ("answered", {"x": 1})
    slow.close()
    quick.close()


def test_what_was_cut_off_is_asked_anew_with_more_tokens_alone(journal):
    journal.keep(b"d", replace(claim(journal), state="failed", texts=("{",), cut_at=100))
    journal.keep(b"e", replace(claim(journal, b"e"), state="failed", texts=("no",), refused=True))
    for anew in (Anew(), Anew(max_tokens=100)):
        assert claim(journal, anew=anew).state == "failed"
    assert claim(journal, b"e", anew=Anew(max_tokens=10**6)).refused
    again = claim(journal, anew=Anew(max_tokens=101))
    assert (again.state, again.texts, again.cut_at) == ("asked", (), None)
    assert claim(journal, b"e", anew=Anew(time.time() + 60)).refused is False


def test_what_failed_for_good_is_asked_again_only_where_wanted(journal):
    journal.keep(b"d", replace(claim(journal), state="failed", texts=("no",), error="why", prompt_tokens=9))
    assert claim(journal).state == "failed"
    assert claim(journal, anew=Anew(time.time() - 60)).state == "failed"
    again = claim(journal, anew=Anew(time.time() + 60))
    assert again == Entry("asked", prompt_tokens=9, ended=again.ended)


def test_what_has_no_answer_yet_goes_on_where_it_was(journal):
    journal.keep(b"d", replace(claim(journal), state="open", texts=("no",), error="429", attempts=6))
    again = claim(journal)
    assert (again.state, again.texts, again.error, again.attempts) == ("asked", ("no",), None, 6)


def damaged(path):
    path.write_bytes(b"no database " * 500)


def foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()


def newer(path):
    Journal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 4")
    connection.close()


def cut(path):
    journal = Journal(path)
    for number in range(200):
        claim(journal, bytes([number]) * 32)
    journal.close()
    os.truncate(path, 3 * 4096)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (damaged, "damaged or no journal"),
        (foreign, "is a database, but no journal of answers"),
        (newer, "is a journal of version 4; this eci reads version 3"),
        (cut, "damaged"),
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path, make, said):
    path = tmp_path / "j.sqlite"
    make(path)
    before = path.read_bytes()
    with pytest.raises(ChatError, match=said) as caught:
        Journal(path).find(b"\x00" * 32)
    assert "--journal" in caught.value.hint
    assert path.read_bytes()[100:] == before[100:]


def test_a_row_that_cannot_be_read_is_told(journal):
    claim(journal)
    journal._connection.execute("UPDATE answers SET texts = '['")
    with pytest.raises(ChatError, match=r"j\.sqlite is damaged"):
        journal.find(b"d")


def test_places_that_cannot_hold_a_journal_are_told(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        Journal(tmp_path / "none" / "j.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ChatError, match="cannot be used"):
        Journal(tmp_path / "folder")


# Looked at without being touched


def files(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def answered(path, count=3):
    journal = Journal(path)
    for number in range(count):
        digest = bytes([number]) * 32
        journal.keep(digest, replace(claim(journal, digest), state="answered", value={"n": number}))
    return journal


def test_a_look_at_a_journal_writes_nothing(tmp_path):
    path = tmp_path / "j.sqlite"
    answered(path).close()
    before = files(tmp_path)
    found = Journal(path, read_only=True)
    assert found.status().states == {"answered": 3}
    assert found.find(b"\0" * 32).value == {"n": 0}
    with pytest.raises(ChatError, match="readonly"):
        claim(found)
    found.close()
    assert files(tmp_path) == before
    assert list(before) == ["j.sqlite"]


def test_a_look_at_a_journal_in_use_sees_what_is_there(tmp_path):
    path = tmp_path / "j.sqlite"
    writing = answered(path)
    found = Journal(path, read_only=True)
    assert found.status().states == {"answered": 3}
    claim(writing, b"e" * 32)
    assert found.status().states == {"answered": 3, "asked": 1}
    found.close()
    writing.close()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_chat_journal import answered
journal = answered(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_look_after_a_kill_sees_the_log(tmp_path, request):
    path = tmp_path / "j.sqlite"
    subprocess.run([sys.executable, "-c", KILLED, str(path), str(request.path.parent)], check=False)
    before = files(tmp_path)
    assert "j.sqlite-wal" in before
    found = Journal(path, read_only=True)
    assert found.status().states == {"answered": 3}
    found.close()
    after = files(tmp_path)
    assert after["j.sqlite"] == before["j.sqlite"]
    assert after["j.sqlite-wal"] == before["j.sqlite-wal"]


def test_a_look_takes_no_lock_from_a_run_of_the_same_process(tmp_path):
    path = tmp_path / "j.sqlite"
    writing = answered(path)
    for _ in range(2):
        Journal(path, read_only=True).close()
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "print(c.execute('SELECT COUNT(*) FROM answers').fetchone()[0]); c.close()"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=True)
    # Were it the last to have it open, as far as it can see, it would take the log away.
    assert (done.stdout.split(), (tmp_path / "j.sqlite-wal").exists()) == ([b"3"], True)
    writing.close()


def test_a_name_of_a_file_is_no_address(tmp_path):
    path = tmp_path / "j?mode=rwc#%41 é.sqlite"
    answered(path).close()
    found = Journal(path, read_only=True)
    assert found.status().states == {"answered": 3}
    found.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (damaged, "damaged or no journal"),
        (foreign, "is a database, but no journal of answers"),
        (newer, "is a journal of version 4"),
        (lambda path: path.touch(), "is empty: no run has kept an answer there"),
        (lambda path: None, "there is no such journal"),
        (lambda path: path.mkdir(), "there is no such journal"),
    ],
)
def test_a_look_at_what_is_no_journal_is_refused(tmp_path, make, said):
    path = tmp_path / "j.sqlite"
    make(path)
    before = {each.name: each.stat().st_size for each in tmp_path.iterdir()}
    with pytest.raises(ChatError, match=said) as caught:
        Journal(path, read_only=True)
    assert "--journal" in caught.value.hint
    assert {each.name: each.stat().st_size for each in tmp_path.iterdir()} == before


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_log_that_cannot_be_read_is_told(tmp_path):
    path = tmp_path / "j.sqlite"
    writing = answered(path)
    (tmp_path / "copy").mkdir()
    for name in ("j.sqlite", "j.sqlite-wal"):
        (tmp_path / "copy" / name).write_bytes((tmp_path / name).read_bytes())
    writing.close()
    (tmp_path / "copy").chmod(0o500)
    try:
        with pytest.raises(ChatError, match="cannot be used.*copy it and all files of its name"):
            Journal(tmp_path / "copy" / "j.sqlite", read_only=True)
    finally:
        (tmp_path / "copy").chmod(0o700)


def test_what_is_counted_is_read_from_indices(tmp_path):
    found = answered(tmp_path / "j.sqlite")
    for query in (_COUNTED, _REASONS):
        (plan,) = {row[3] for row in found._connection.execute(f"EXPLAIN QUERY PLAN {query}")}
        assert "COVERING INDEX" in plan
    found.close()


def test_a_journal_of_before_is_counted_too(tmp_path):
    path = tmp_path / "j.sqlite"
    found = answered(path)
    for index in ("counted", "reasons"):
        found._connection.execute(f"DROP INDEX {index}")
    found.close()
    for read_only in (True, False):
        found = Journal(path, read_only=read_only)
        assert found.status().states == {"answered": 3}
        found.close()
