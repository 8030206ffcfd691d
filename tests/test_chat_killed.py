"""Runs that are killed, interrupted or share a journal: nothing is lost, and little is paid twice."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from chat_server import ChatServer, answer_to
from eci.chat.journal import Journal

pytestmark = pytest.mark.extra("chat")
TESTS = Path(__file__).parent
CONCURRENCY = 8
# Prints a line for each reply as it comes.
CHILD = f"""
import sys
from pathlib import Path
from eci.chat.asking import ChatAsker
from eci.chat.journal import Journal
from eci.chat.messages import ChatRequest
from eci.chat.settings import ChatSettings

journal, url, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
schema = {{"type": "object", "properties": {{"reason": {{"type": "string"}}, "number": {{"type": "integer"}}}}}}
requests = (
    ChatRequest(f"row {{number}}", (("user", f"question {{number}}"),), schema, "sum") for number in range(count)
)
asker = ChatAsker(ChatSettings("m", url, concurrency={CONCURRENCY}), Journal(journal))
for reply in asker.ask(requests):
    sys.stdout.write(f"{{reply.request.messages[0][1]}}|{{reply.kept}}|{{reply.value}}\\n")
    sys.stdout.flush()
"""


@contextmanager
def child(journal, url, count):
    command = [sys.executable, "-c", CHILD, str(journal), url, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def server_with_log(latency, log):
    command = [sys.executable, str(TESTS / "chat_server.py"), str(latency), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def answered(journal):
    """The answers in the journal, read by SQLite alone; one may have come and not been looked at."""
    with sqlite3.connect(journal) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute("SELECT key, texts FROM answers WHERE texts <> '[]'").fetchall()
    connection.close()
    return dict(rows)


def test_of_killed_runs_no_answer_is_lost(tmp_path):
    journal, log, count = tmp_path / "j.sqlite", tmp_path / "log", 300
    rng = random.Random(0)
    before: dict[str, str] = {}
    kills = 3
    with server_with_log(0.03, log) as url:
        for _ in range(kills):
            with child(journal, url, count) as process:
                seen = [process.stdout.readline() for _ in range(len(before) + rng.randrange(20, 70))]
                time.sleep(rng.random() / 50)
                process.send_signal(signal.SIGKILL)
            after = answered(journal)
            assert before.items() <= after.items()
            # What was given out had been kept.
            assert {line.split("|")[0].replace("question", "row") for line in seen} <= after.keys()
            before = after
        assert 60 <= len(before) < count
        with child(journal, url, count) as process:
            lines = process.stdout.read().splitlines()
            assert process.wait() == 0, process.stderr.read()
        asked = Counter(log.read_text().splitlines())
    assert sum("|True|" in line for line in lines) == len(before)
    assert sorted(lines) == sorted(
        f"question {number}|{f'row {number}' in before}|{answer_to(f'question {number}')}"
        for number in range(count)
    )
    assert len(asked) == count
    # Paid twice is at most what was under way when a run was killed.
    assert asked.total() - count <= kills * CONCURRENCY


def test_two_processes_share_a_journal(tmp_path):
    count = 200
    with ChatServer(latency=0.03) as server:
        with (
            child(tmp_path / "j.sqlite", server.url, count) as first,
            child(tmp_path / "j.sqlite", server.url, count) as second,
        ):
            replies = [process.communicate(timeout=60) for process in (first, second)]
        assert server.asked == {f"question {number}": 1 for number in range(count)}
    for out, err in replies:
        assert len(out.splitlines()) == count, err
    now = sum(out.count("|False|") for out, _ in replies)
    assert now == count


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_run_stops_at_once_and_keeps_its_answers(tmp_path):
    def script(question, nth, body):
        return "ok" if int(question.split()[1]) < 20 else "timeout"

    with ChatServer(script) as server, child(tmp_path / "j.sqlite", server.url, 100) as process:
        for _ in range(20):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        # The requests under way would take 30 seconds.
        _, err = process.communicate(timeout=20)
        assert "KeyboardInterrupt" in err
    journal = Journal(tmp_path / "j.sqlite")
    states = journal.status().states
    journal.close()
    assert states["answered"] == 20
    # Given up, so that the next run need not wait for them.
    assert set(states) == {"answered", "open"}
