"""The tutorial's code, run from the first cell to the last as a reader runs it; `make docs` shows what it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.ipynb"


def code() -> str:
    cells = json.loads(TUTORIAL.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.extra("all")
def test_the_tutorial_runs_and_its_repair_is_scored(tmp_path):
    script = tmp_path / "tutorial.py"
    script.write_text(code(), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env=os.environ | {"ECI_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<html" in page
    assert "bm25" in page
    first, repaired = (tmp_path / name for name in ("bm25.parquet", "clean.parquet"))
    assert first.stat().st_size > repaired.stat().st_size > 0
    # Text of a flagged negative, and tables of both scores, of which the second has the repaired file.
    assert "\nnegative  " in ran.stdout
    assert ran.stdout.count("95 % interval  P(first)") == 2
