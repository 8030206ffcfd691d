"""Cases of spoilt input, for as long as one likes: no traceback, no hang, no partial file, no lost process.

    python benchmarks/fuzz.py rows --minutes 30
    python benchmarks/fuzz.py all --minutes 10
    python benchmarks/fuzz.py rows --case 1234    # one case again, with what it printed

A case is told by its number: what is spoilt, and how, is drawn from it. Cases run in processes that are
forked once all is imported, and may take 20 seconds and 4 GiB. What `tests/fuzzing.py` calls a defect, a
process that died, and one that did not end are written to ``benchmarks/results/fuzz.json``, with the numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import fuzzing

RESULTS = Path(__file__).parent / "results" / "fuzz.json"
_SECONDS, _BYTES, _ROUND = 20.0, 4 << 30, 400


def cases(target: str, good: Path, first: int, until: float, writing: int) -> None:
    """Run cases until a round or the time is over; each tells its number before, and its outcome after."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    with tempfile.TemporaryDirectory(dir=good.parent) as place:
        for number in range(first, first + _ROUND):
            if time.monotonic() > until:
                break
            os.write(writing, json.dumps([number]).encode() + b"\n")
            found = one(target, good, Path(place), number)
            os.write(writing, json.dumps([number, found.code, found.message, found.defect]).encode() + b"\n")
    os.write(writing, b"[]\n")


def one(target: str, good: Path, place: Path, number: int) -> fuzzing.Outcome:
    try:
        return fuzzing.run(target, good, place, random.Random(f"{target} {number}"))
    except BaseException as error:  # noqa: BLE001  whatever it is, it is a defect
        return fuzzing.Outcome(-1, f"{type(error).__name__}: {error}"[:160], "escaped from the command line")


def hunted(target: str, minutes: float, first: int, most: float) -> dict[str, Any]:
    """Fuzz one target for some time, or until there were `most` cases."""
    began = time.monotonic()
    until = began + 60 * minutes
    outcomes: Counter[str] = Counter()
    defects: dict[str, list[Any]] = {}
    number, done = first, 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        good = Path(folder) / "good"
        fuzzing.prepared(target, good)
        while time.monotonic() < until and done < most:
            told, fate = forked(target, good, number, until)
            for entry in told:
                if len(entry) == 4:
                    done += 1
                    outcomes[f"{entry[1]} {entry[2]}"] += 1
                    if entry[3]:
                        _keep(defects, f"{entry[3]}: {entry[2]}", entry[0])
            begun = [entry[0] for entry in told if len(entry) == 1]
            number = begun[-1] + 1 if begun else number + 1
            if fate:
                done += 1
                outcomes[fate] += 1
                _keep(defects, fate, begun[-1] if begun else number)
            for rest in Path(folder).iterdir():
                if rest != good:
                    shutil.rmtree(rest, ignore_errors=True)
            print(
                f"{target}: {done:,} cases, {len(outcomes)} outcomes, {len(defects)} defects", file=sys.stderr
            )
    return {
        "cases": done,
        "seconds": round(time.monotonic() - began, 1),
        "first_case": first,
        "distinct_outcomes": len(outcomes),
        "exit_codes": dict(Counter(told.split(" ")[0] for told in outcomes.elements())),
        "defects": {what: {"cases": len(held), "first": held[:5]} for what, held in sorted(defects.items())},
    }


def _keep(defects: dict[str, list[Any]], what: str, number: int) -> None:
    defects.setdefault(what, []).append(number)


def forked(target: str, good: Path, first: int, until: float) -> tuple[list[list[Any]], str]:
    """A round in a process of its own: what it told, and how it died if it did."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            cases(target, good, first, until, writing)
        finally:
            os._exit(0)
    os.close(writing)
    told, rest, fate = [], b"", ""
    while True:
        ready, _, _ = select.select([reading], [], [], _SECONDS)
        block = os.read(reading, 1 << 16) if ready else b""
        if not block:
            fate = "" if ready else f"no end after {_SECONDS:.0f} s"
            break
        *lines, rest = (rest + block).split(b"\n")
        told += [json.loads(line) for line in lines]
    os.close(reading)
    if fate:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not fate and told[-1:] != [[]]:
        fate = f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended too early"
    return [entry for entry in told if entry], fate


def again(target: str, number: int) -> None:
    """One case, with what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good"
        fuzzing.prepared(target, good)
        held = fuzzing.invoked

        def shown(arguments: list[str], *rest: Any, **options: Any) -> tuple[int, str, str]:
            found = held([*arguments, "--debug"], *rest, **options)
            print("eci", *arguments, found[1][-2000:], found[2][-4000:], sep="\n")
            return found

        fuzzing.invoked = shown
        print(one(target, good, Path(folder), number))
        if os.environ.get("KEEP"):
            shutil.copytree(Path(folder) / "case", os.environ["KEEP"], dirs_exist_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", choices=[*fuzzing.TARGETS, "all"])
    parser.add_argument("--minutes", type=float, default=5.0, help="for each target")
    parser.add_argument("--cases", type=float, default=math.inf, help="most for each target, about")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="run this case alone, and show what it prints")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    # Everything that commands import, so that no case pays for it.
    import datasets

    import eci.repairing
    import eci.report.render
    import eci.validation.experiment  # noqa: F401

    datasets.disable_progress_bars()
    if given.case is not None:
        again(given.target, given.case)
        return
    known = json.loads(given.output.read_bytes()) if given.output.exists() else {"targets": {}}
    for target in fuzzing.TARGETS if given.target == "all" else (given.target,):
        known["targets"][target] = hunted(target, given.minutes, given.first, given.cases)
        known["versions"] = {name: version(name) for name in ("pyarrow", "orjson", "numpy", "lmdb")}
        known["python"], known["machine"] = platform.python_version(), f"{os.cpu_count()} cores"
        given.output.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(json.dumps({target: known["targets"][target]}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
