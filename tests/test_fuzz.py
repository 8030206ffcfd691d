"""Spoilt files of every kind: one message, no traceback, nothing half-written. `benchmarks/fuzz.py` goes on for hours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fuzzing

for module in ("datasets", "lmdb", "jinja2", "pydantic", "safetensors", "ir_measures"):
    pytest.importorskip(module, reason=f"{module}, of the extras, is not installed")

# In this process a damaged cache could end all tests.
APART = "cache"
# Cases of these take a tenth of a second or more.
SLOW = {"vectors": 10, "report": 4, "report-rows": 12, "saved": 10, "folders": 8}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Good files of a target, made once."""
    made: dict[str, Path] = {}

    def of(target: str) -> Path:
        if target not in made:
            made[target] = tmp_path_factory.mktemp(target) / "good"
            fuzzing.prepared(target, made[target])
        return made[target]

    return of


@pytest.mark.parametrize("target", [name for name in fuzzing.TARGETS if name != APART])
def test_spoilt_files_are_refused_in_words_or_read(target, prepared, tmp_path):
    good = prepared(target)

    @settings(
        max_examples=SLOW.get(target, 25),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def check(rng):
        found = fuzzing.run(target, good, tmp_path, rng)
        assert not found.defect, f"{found.defect}: {found.message}"

    check()


def test_a_spoilt_cache_ends_no_process(tmp_path):
    script = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
    out = tmp_path / "fuzz.json"
    done = subprocess.run(
        [sys.executable, str(script), "cache", "--cases", "400", "-o", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_bytes())["targets"]["cache"]
    assert found["cases"] >= 400
    assert set(found["exit_codes"]) == {"0", "1"}
    assert found["defects"] == {}


def test_the_judge_of_cases_sees_what_is_wrong(tmp_path):
    def judged(code, err, made=()):
        case = tmp_path / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        for name in made:
            (case / name).write_text("")
        arguments = ["convert", "rows.jsonl", "-o", "OUT.jsonl"]
        return fuzzing.judged(code, "", err, case, {"rows.jsonl"}, arguments).defect

    assert judged(0, "", ["OUT.jsonl"]) == ""
    assert judged(1, "Error: rows.jsonl:1: is wrong.") == ""
    assert judged(0, "") == "no output"
    assert judged(1, "") == "no message"
    assert judged(1, "Error: it is wrong.") == "the message names no place"
    assert judged(1, "Error: rows.jsonl: wrong.", ["OUT.jsonl"]) == "output in spite of an error: OUT.jsonl"
    assert judged(1, "Error: rows.jsonl: wrong.", [".OUT.jsonl.x.tmp"]) == "left behind: .OUT.jsonl.x.tmp"
    assert judged(1, "Error: unexpected KeyError. This is a defect of eci") == "uncaught"
    assert judged(-9, "") == "exit code -9"
