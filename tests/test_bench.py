"""The command that runs the benchmarks: what is done is kept, what is lacking is told, tables come from the JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

SCRIPT = """
import argparse
from pathlib import Path
from running import in_turn

parser = argparse.ArgumentParser()
parser.add_argument("--pairs", type=int)
parser.add_argument("--result", type=Path)
options = parser.parse_args()
log = Path(__file__).with_name("log")

def side(label, factor):
    def run(size):
        with log.open("a") as file:
            print(label, size, file=file)
        if Path(__file__).with_name("broken").exists() and size == 20:
            raise SystemExit(3)
        return {"wall_s": factor * size**2, "load": 0.1, "others": 0.5}
    return run

in_turn(options.result, options.pairs, [10, 20, 40], {"ours": side("ours", 1), "theirs": side("theirs", 3)})
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """The module, with one benchmark that takes no time."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    import bench
    import compared

    (tmp_path / "quick.py").write_text(SCRIPT)
    (tmp_path / "README.md").write_text(f"before\n{bench.BEGIN}\nstale\n{bench.END}\nafter\n")
    made = [
        compared.Benchmark(
            name,
            title,
            (("quick.py",),),
            compared.sides("ours", "theirs", "square", "a peer", "wall_s"),
            compared.growth("squares", "ours", "wall_s"),
            data,
        )
        for name, title, data in (("quick", "Squares", False), ("real", "Real data", True))
    ]
    monkeypatch.delenv("ECI_DATA", raising=False)
    for name, value in (
        ("HERE", tmp_path),
        ("RESULTS", tmp_path),
        ("FOLDER", tmp_path / "runs"),
        ("BENCHMARKS", made),
    ):
        monkeypatch.setattr(bench, name, value)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
        bench.main()
        return json.loads((tmp_path / "bench.json").read_text("utf-8"))["benchmarks"]

    yield call
    for name in ("bench", "compared", "running"):
        sys.modules.pop(name, None)


def test_tables_come_from_the_runs(bench, tmp_path):
    found = bench("--pairs", "2")
    first, growth = found["quick"]["compared"][0], found["quick"]["growth"][0]
    assert (first["size"], first["ours"], first["ratio"]) == (10, [100, 100], 3)
    assert growth["exponent"] == 2
    page = (tmp_path / "README.md").read_text("utf-8")
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "stale" not in page
    assert "| square | 10 | 100 s | 300 s | a peer | 3.00 (3.00 … 3.00) | 2 |" in page
    assert "| squares | 10 · 20 · 40 | 100 · 400 · 1.6e+03 | 2.00 |" in page
    assert "Other work was running" in page
    assert "Not run: ECI_DATA names no folder" in page
    assert bench("--tables")
    assert (tmp_path / "README.md").read_text("utf-8") == page


def test_what_is_done_is_not_run_again(bench, tmp_path):
    log = tmp_path / "log"
    bench("quick", "--pairs", "1")
    assert len(log.read_text().split("\n")) == 7
    bench("quick", "--pairs", "1")
    assert len(log.read_text().split("\n")) == 7
    bench("quick", "--pairs", "2")
    assert len(log.read_text().split("\n")) == 13
    bench("quick", "--pairs", "1", "--again")
    assert len(log.read_text().split("\n")) == 19


def test_a_benchmark_that_breaks_off_goes_on_where_it_was(bench, tmp_path):
    broken, log = tmp_path / "broken", tmp_path / "log"
    broken.touch()
    with pytest.raises(SystemExit, match="failed: quick"):
        bench("quick", "--pairs", "1")
    assert "ended with status 3" in (tmp_path / "bench.md").read_text("utf-8")
    broken.unlink()
    bench("quick", "--pairs", "1")
    ran = log.read_text().split("\n")[:-1]
    assert ran == ["ours 10", "theirs 10", "ours 20", "ours 20", "theirs 20", "ours 40", "theirs 40"]


def test_other_code_begins_anew(bench, tmp_path, monkeypatch):
    bench("quick", "--pairs", "1")
    monkeypatch.setattr("bench.fingerprint", lambda: "other")
    assert bench("quick", "--pairs", "1")["quick"]["fingerprint"] == "other"
    assert len((tmp_path / "log").read_text().split("\n")) == 13


def test_a_benchmark_that_is_not_there(bench, capsys):
    with pytest.raises(SystemExit):
        bench("quikc")
    assert "no benchmark is called quikc; there are quick, real" in capsys.readouterr().err
