"""A few strikes of each kind at commands at work; `benchmarks/faults.py` does many."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, signals and limits of Linux")
for module in ("sentence_transformers", "lmdb", "openai", "accelerate", "ir_measures", "bm25s"):
    pytest.importorskip(module, reason=f"{module}, of the extras, is not installed")

TESTS = Path(__file__).parent
ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False
STRIKES = (
    "kill/score/3/0",
    "kill/mine/3/0",
    "kill/audit/2/0",
    "kill/generate/2/0",
    "kill/filter/2/0",
    "kill/select/2/0",
    "limit/score/2/0",
    "limit/convert/2/0",
    "jump/generate/1/0",
    "together/score/1/0",
    "damage/score/6/0",
    "truncate/-/8/0",
)
# What was begun is not taken away.
SABOTAGE = """
import json, shutil, eci.atomic, faulting
faulting.material()
eci.atomic.remove = lambda path: None
try:
    print(json.dumps(faulting.strikes("limit", "convert", 6).as_dict()))
finally:
    shutil.rmtree(faulting.material())
"""


def told(*command):
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=TESTS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found():
    return told("faulting.py", *STRIKES)


@pytest.mark.parametrize("strike", STRIKES)
def test_nothing_is_lost(strike, found):
    assert found[strike]["lost"] == []
    assert found[strike]["tried"] == found[strike]["survived"] == int(strike.split("/")[2])
    if not strike.startswith(("damage", "kill")):
        assert found[strike]["struck"] >= 1


def test_strikes_met_commands_at_work(found):
    assert sum(found[strike]["struck"] for strike in STRIKES if strike.startswith("kill")) >= 4


@pytest.mark.skipif(not ROOT, reason="only root can run commands as somebody else")
def test_who_may_not_is_told():
    found = told("faulting.py", "deny/-/10/0")["deny/-/10/0"]
    assert found["lost"] == []
    assert found["told"] == 10


def test_a_strike_that_leaves_something_behind_is_lost():
    assert any("left behind" in each for each in told("-c", SABOTAGE)["lost"])
