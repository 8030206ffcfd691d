"""All benchmarks that have a peer, one after the other, and the tables of what they found.

    make bench          # python benchmarks/bench.py
    python benchmarks/bench.py kernel mine --pairs 3
    python benchmarks/bench.py mine --again
    python benchmarks/bench.py --tables

Each benchmark is a script of its own that keeps finished runs under results/bench/; one that is stopped goes
on where it was. What is done under the same versions, code and processor is not run again without --again.
Writes results/bench.json, results/bench.md and the tables of README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import eci
from compared import BENCHMARKS, Benchmark
from running import RESULTS, exponent, keep, machine

HERE = Path(__file__).parent
FOLDER = RESULTS / "bench"
BEGIN, END = "<!-- bench: begin, written by benchmarks/bench.py -->", "<!-- bench: end -->"
# Runs beside other work are worth less: where it has more of the cores than this, the tables say so.
_BUSY = 0.2


def fingerprint() -> str:
    """What decides whether a result is of this code: versions, code, processor."""
    told = machine()
    digest = hashlib.blake2b(json.dumps([told["processor"], told["cores"], told["versions"]]).encode())
    package = Path(eci.__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def files(benchmark: Benchmark) -> list[Path]:
    """Where the runs of each call are kept."""
    names = [benchmark.name, *(f"{benchmark.name}-{at}" for at in range(2, len(benchmark.calls) + 1))]
    return [FOLDER / f"{name}.json" for name in names]


def run(benchmark: Benchmark, pairs: int, threads: str | None) -> dict[str, Any]:
    """Call the script; what it needs and lacks is told."""
    if benchmark.data and not (Path(os.environ.get("ECI_DATA", "")) / "scifact" / "corpus.jsonl").is_file():
        return {"skipped": "ECI_DATA names no folder that holds the BEIR collection scifact"}
    began, commands = time.perf_counter(), []
    for arguments, result in zip(benchmark.calls, files(benchmark), strict=True):
        script, *rest = arguments
        given = [script, *rest, "--pairs", str(pairs), "--result", str(result)]
        commands.append(f"python benchmarks/{' '.join([script, *rest])} --pairs {pairs}")
        environment = os.environ | ({"OMP_NUM_THREADS": threads} if threads else {})
        done = subprocess.run([sys.executable, HERE / given[0], *given[1:]], check=False, env=environment)
        if done.returncode:
            return {"failed": f"{commands[-1]} ended with status {done.returncode}"}
    return {"seconds": round(time.perf_counter() - began, 1), "commands": commands}


def noted(told: Any, what: str) -> Iterator[float]:
    """A figure of every run, wherever it stands in the results."""
    if isinstance(told, dict):
        for name, value in told.items():
            if name == what or name.endswith(f"_{what}"):
                yield value
            elif name not in ("median", "medians"):
                yield from noted(value, what)
    elif isinstance(told, list):
        for value in told:
            yield from noted(value, what)


def described(benchmark: Benchmark) -> dict[str, Any]:
    """What the kept runs say."""
    found = [json.loads(path.read_text("utf-8")) for path in files(benchmark)]
    return {
        "machine": found[0]["machine"],
        **{
            what: {"median": statistics.median(noted(found, what)), "most": max(noted(found, what))}
            for what in ("load", "others")
        },
        "compared": [
            {
                **asdict(entry),
                "median_ours": statistics.median(entry.ours),
                "median_theirs": statistics.median(entry.theirs),
                "ratio": round(statistics.median(entry.ratios), 3),
                "ratios": [round(min(entry.ratios), 3), round(max(entry.ratios), 3)],
            }
            for entry in benchmark.compared(found)
        ],
        "growth": [
            {"what": what, "sizes": sizes, "values": values, "exponent": round(exponent(sizes, values), 2)}
            for what, sizes, values in benchmark.grows(found)
            if len(sizes) > 1
        ],
    }


def tables(state: dict[str, Any]) -> str:
    """The results in Markdown."""
    parts = []
    for benchmark in BENCHMARKS:
        told = state["benchmarks"].get(benchmark.name, {})
        why = told.get("skipped") or told.get("failed")
        parts.append(f"### {benchmark.title}")
        if "compared" not in told:
            parts.append(f"Not run: {why or 'nobody asked'}.")
            continue
        parts += [f"Not run again: {why}." for _ in range(bool(why))]
        parts += [table(rows) for rows in (compared_rows(told), growth_rows(told)) if len(rows) > 1]
        parts.append(ran(told))
    return "\n\n".join(parts)


def compared_rows(told: dict[str, Any]) -> list[list[str]]:
    rows = [["what", "size", "eci", "peer", "", "ratio", "pairs"]]
    for entry in told["compared"]:
        low, high = entry["ratios"]
        share = entry["unit"] != "s"
        shown = [
            f"{100 * number:.0f} %" if share else f"{number:.2f}" for number in (entry["ratio"], low, high)
        ]
        size = f"{entry['size']:,}" if isinstance(entry["size"], int) else entry["size"]
        ours, theirs = (f"{entry[side]:,.3g} {entry['unit']}" for side in ("median_ours", "median_theirs"))
        ratio = f"{shown[0]} ({shown[1]} … {shown[2]})"
        rows.append([entry["what"], size, ours, theirs, entry["peer"], ratio, str(len(entry["ours"]))])
    return rows


def growth_rows(told: dict[str, Any]) -> list[list[str]]:
    rows = [["what grows", "sizes", "medians", "exponent"]]
    for entry in told["growth"]:
        sizes, values = (
            " · ".join(f"{number:,.{digits}}" for number in entry[name])
            for name, digits in (("sizes", "0f"), ("values", "3g"))
        )
        rows.append([entry["what"], sizes, values, f"{entry['exponent']:.2f}"])
    return rows


def ran(told: dict[str, Any]) -> str:
    """Where and how it was run, and whether something else was running."""
    on, others = told["machine"], told["others"]
    versions = ", ".join(f"{name} {number}" for name, number in on["versions"].items() if number)
    beside = " **Other work was running: the figures say little.**" if others["median"] > _BUSY else ""
    commands = " and ".join(f"`{command}`" for command in told["commands"])
    return (
        f"{commands}: {on['cores']} cores of {on['processor']}, {on['memory_gib']} GiB, "
        f"Python {on['python']}, {versions}; code {told['fingerprint']}; before a run others had "
        f"{100 * others['median']:.0f} % of the cores (most {100 * others['most']:.0f} %).{beside}"
    )


def table(rows: Sequence[list[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def publish(state: dict[str, Any]) -> None:
    """Write the JSON, the Markdown, and the tables of the README."""
    keep(RESULTS / "bench.json", state)
    text = tables(state)
    (RESULTS / "bench.md").write_text(f"{text}\n", encoding="utf-8")
    readme = HERE / "README.md"
    before, _, rest = readme.read_text("utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{readme} lacks the lines\n{BEGIN}\n{END}\nPut them where the tables belong.")
    readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all if none is given"
    )
    parser.add_argument("--pairs", type=int, default=5, help="runs of each side at each size")
    parser.add_argument("--threads", help="OMP_NUM_THREADS of every side")
    parser.add_argument("--again", action="store_true", help="forget finished runs first")
    parser.add_argument(
        "--tables", action="store_true", help="run nothing: write the tables of what is there"
    )
    options = parser.parse_args()
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    result = RESULTS / "bench.json"
    state = json.loads(result.read_text("utf-8")) if result.exists() else {"benchmarks": {}}
    code = fingerprint()
    for benchmark in BENCHMARKS:
        if options.tables or (options.names and benchmark.name not in options.names):
            continue
        known = state["benchmarks"].get(benchmark.name, {})
        asked = {"fingerprint": code, "pairs": options.pairs, "threads": options.threads}
        if not options.again and "compared" in known and {name: known[name] for name in asked} == asked:
            print(f"{benchmark.name}: done", file=sys.stderr)
            continue
        begun = f"{code} {options.threads}"
        if options.again or known.get("begun") != begun:
            for path in files(benchmark):
                path.unlink(missing_ok=True)
        state["benchmarks"][benchmark.name] = {**known, "begun": begun}
        keep(result, state)
        print(f"{benchmark.name}: running", file=sys.stderr)
        told = run(benchmark, options.pairs, options.threads)
        if "commands" in told:
            told = {**told, **described(benchmark), **asked}
        state["benchmarks"][benchmark.name] = {**told, "begun": begun}
        publish(state)
    publish(state)
    failed = [name for name, told in state["benchmarks"].items() if "failed" in told]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
