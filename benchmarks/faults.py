"""What commands survive: kills, full disks, missing rights, clocks that jump, shared and damaged caches.

    python benchmarks/faults.py                  # all; what is in the results already is not done again
    python benchmarks/faults.py --kinds kill damage

A strike survives if each output is absent or whole after it, an error is one message of eci, and the same
command run again gives the same bytes as an undisturbed run, with the same number of vectors cached (see
``tests/faulting.py``). Strikes are drawn from the number of their portion, so that each can be done again:
``python tests/faulting.py kill/score/10/3``. Results: ``benchmarks/results/faults.json``, and a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "faults.json"
TESTS = Path(__file__).parents[1] / "tests"
_PORTION, _SECONDS = 10, 1800
# Strikes of each kind at each command.
PLAN = {
    "kill": dict.fromkeys(("mine", "score", "audit", "generate", "validate", "filter", "mix", "select"), 50),
    "fill": dict.fromkeys(("mine", "score", "audit", "generate", "convert", "filter", "select"), 10),
    "limit": dict.fromkeys(("mine", "score", "audit", "generate", "convert", "filter", "select"), 10),
    "deny": {"-": 10},
    "jump": dict.fromkeys(("mine", "score", "audit", "generate"), 10),
    "together": dict.fromkeys(("mine", "score"), 10),
    "damage": dict.fromkeys(("mine", "score"), 100),
    "truncate": {"-": 200},
}
_NAMES = {
    "kill": "kill -9 at a random moment",
    "fill": "full disk (tmpfs)",
    "limit": "full disk (RLIMIT_FSIZE)",
    "deny": "permission denied",
    "jump": "clock jumps",
    "together": "2 to 4 processes, one cache",
    "damage": "bits flipped in the cache",
    "truncate": "Parquet cut short",
}


def struck(kind: str, name: str, number: int, portion: int) -> dict[str, Any]:
    """One portion of strikes, in a process of its own."""
    told = f"{kind}/{name}/{number}/{portion}"
    command = [sys.executable, str(TESTS / "faulting.py"), told]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])[told]
    return found


def table(portions: dict[str, dict[str, Any]]) -> str:
    """Markdown, with a line for each kind and command."""
    lines = [
        "| fault | command | tried | met at work | ended with a message | survived | lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, commands in PLAN.items():
        for name in commands:
            mine = [each for key, each in portions.items() if key.startswith(f"{kind} {name} ")]
            if mine:
                sums = [
                    sum(each[count] for each in mine) for count in ("tried", "struck", "told", "survived")
                ]
                lost = sum(len(each["lost"]) for each in mine)
                shown = {"truncate": "convert, score", "deny": "convert, score, mine, validate"}.get(
                    kind, name
                )
                lines.append(f"| {_NAMES[kind]} | {shown} | {' | '.join(map(str, sums))} | {lost} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=list(PLAN), default=list(PLAN))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    known: dict[str, Any] = json.loads(given.output.read_bytes()) if given.output.exists() else {}
    portions = known.setdefault("portions", {})
    known["versions"] = {name: version(name) for name in ("lmdb", "pyarrow", "torch")}
    known["python"], known["machine"] = platform.python_version(), f"{os.cpu_count()} cores, {sys.platform}"
    for kind in given.kinds:
        for name, total in PLAN[kind].items():
            for place in range(0, total, _PORTION):
                key = f"{kind} {name} {place // _PORTION}"
                if key in portions:
                    continue
                seed = place if kind == "deny" else place // _PORTION
                portions[key] = struck(kind, name, min(_PORTION, total - place), seed)
                given.output.write_text(
                    json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
                )
                print(key, json.dumps(portions[key]), file=sys.stderr, flush=True)
    print(table(portions))


if __name__ == "__main__":
    main()
