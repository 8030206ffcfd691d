"""What the benchmarks share: whole processes with a clock, sides that run in turn, and the machine."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("eci", "numpy", "pyarrow", "torch", "sentence-transformers", "bm25s", "faiss-cpu")


def eci_command(*arguments: object) -> list[str]:
    """The command line of this interpreter's `eci`."""
    return [sys.executable, "-c", "from eci.cli import run; run()", *map(str, arguments)]


def timed(command: list[str], **environment: str) -> tuple[dict[str, float], str]:
    """Wall and processor seconds and peak MiB of a whole process, `surroundings`, and what it printed."""
    beside, before = surroundings(), time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    ) as process:
        output = process.stdout.read().decode() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}. Run it alone to see why.")
    cost = {
        "wall_s": round(time.perf_counter() - before, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_mib": round(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)),
        **beside,
    }
    return cost, output


def surroundings() -> dict[str, float]:
    """Load average, which counts our own runs before, and the share of the cores that others have now."""
    before = _processor_times()
    time.sleep(0.2)
    idle, whole = (now - then for now, then in zip(_processor_times(), before, strict=True))
    return {"load": round(os.getloadavg()[0], 2), "others": round(1 - idle / whole, 3) if whole else 0.0}


def _processor_times() -> tuple[int, int]:
    """Idle and all ticks of the machine; zero where the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0, 0
    ticks = [int(number) for number in stat.read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def machine() -> dict[str, Any]:
    """Processor, cores, memory and versions."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def in_turn(
    result: Path, pairs: int, sizes: Sequence[int | str], sides: Mapping[str, Callable[[Any], dict[str, Any]]]
) -> dict[str, Any]:
    """Run each side at each size so many times, one after the other; finished runs are kept in `result`.

    Parameters
    ----------
    result : Path
    pairs : int
        Runs of each side at each size.
    sizes : sequence of int or str
    sides : mapping of str to callable
        Takes a size and gives the figures of a run, those of `surroundings` among them.

    Returns
    -------
    dict
        `runs` and `medians` by size and side, the machine and the command.
    """
    state = json.loads(result.read_text()) if result.exists() else {}
    runs = state.setdefault("runs", {})
    for pair in range(pairs):
        for size in sizes:
            for side, run in sides.items():
                own = runs.setdefault(str(size), {}).setdefault(side, [])
                if len(own) > pair:
                    continue
                own.append(run(size))
                print(f"{size} {side}: {own[-1]}", file=sys.stderr, flush=True)
                state["medians"] = {
                    name: {label: medians(found) for label, found in each.items()}
                    for name, each in runs.items()
                }
                state |= {"command": called_with(), "machine": machine()}
                keep(result, state)
    return state


def medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The median of each figure of some runs."""
    numbers = [name for name, value in runs[0].items() if isinstance(value, (int, float))]
    return {name: round(statistics.median(run[name] for run in runs), 6) for name in numbers}


def keep(path: Path, told: Any) -> None:
    """Write JSON under another name, then under its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f".{path.name}.tmp")
    written.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written.replace(path)


def called_with() -> str:
    """What this process was called with, as from the folder of the repository."""
    return " ".join(["python", *sys.argv]).replace(f"{RESULTS.parents[1]}{os.sep}", "")


def beir_folder(name: str) -> Path:
    """The folder of a BEIR collection."""
    found = Path(os.environ.get("ECI_DATA", "")) / name
    if not (found / "corpus.jsonl").is_file():
        raise SystemExit(f"Set ECI_DATA to a folder that holds the BEIR collection {name}.")
    return found


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the line through the logarithms: 1 where what is measured grows as the size does."""
    x, y = ([math.log(number) for number in side] for side in (sizes, values))
    return statistics.linear_regression(x, y).slope
