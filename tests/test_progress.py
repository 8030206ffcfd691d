"""Progress in a log: how long it still takes is told by this run's own speed."""

from __future__ import annotations

import pytest

from eci.cli import progress as module
from eci.cli.progress import StderrProgress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def told(clock, capsys, *calls):
    with StderrProgress() as progress:
        for seconds, done, total in calls:
            clock[0] = 100.0 + seconds
            progress("cells", done, total)
    return capsys.readouterr().err.splitlines()


def test_what_was_there_before_does_not_count_as_speed(clock, capsys):
    lines = told(clock, capsys, (0, 80, 100), (20, 80, 100), (40, 84, 100), (200, 100, 100))
    assert lines == [
        "cells: 80 of 100",
        "cells: 80 of 100",
        "cells: 84 of 100, 160 s left",
        "cells: 100 of 100",
    ]


def test_a_log_gets_a_line_now_and_then_and_the_last_one(clock, capsys):
    lines = told(clock, capsys, (0, 0, 10), (5, 1, 10), (16, 2, 10), (20, 9, 10), (21, 10, 10))
    assert lines == ["cells: 0 of 10", "cells: 2 of 10, 64 s left", "cells: 10 of 10"]
