"""What is said of known holes in packages: silence of the service is not a clean bill."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / ".ci" / "audit.py"
if not PATH.exists():
    pytest.skip("this is no checkout: .ci is not there", allow_module_level=True)
spec = importlib.util.spec_from_file_location("eci_ci_audit", PATH)
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

CLEAN = {"name": "numpy", "version": "2.0", "vulns": []}
HOLE = {"name": "pyarrow", "version": "17.0", "vulns": [{"id": "PYSEC-2099-1", "fix_versions": ["18.0"]}]}
SKIPPED = {"name": "orjson", "skip_reason": "Dependency not found on PyPI and could not be audited"}
OWN = {"name": "eci", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize("report", [None, {}, {"dependencies": []}, {"dependencies": [SKIPPED, OWN]}])
def test_nothing_asked_is_told_as_such(report):
    code, told = audit.judged(report)
    assert code == audit.UNASKED
    assert told.startswith("NOT ASKED")
    assert "No known" not in told


def test_some_that_were_not_asked_about_are_named():
    code, told = audit.judged({"dependencies": [CLEAN, SKIPPED, OWN]})
    assert code == audit.UNASKED
    assert told.startswith("NOT ASKED about 1 of 3 packages: orjson.")


def test_holes_and_none():
    assert audit.judged({"dependencies": [CLEAN, OWN]}) == (0, "No known holes in 1 packages.")
    code, told = audit.judged({"dependencies": [CLEAN, SKIPPED, HOLE]})
    assert code == 1
    assert "pyarrow 17.0: PYSEC-2099-1" in told
