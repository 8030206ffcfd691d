"""Fixtures: where the shared real data lies, and a cache of its own for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def data() -> Path:
    """The folder of real collections named by ECI_DATA."""
    chosen = os.environ.get("ECI_DATA")
    if not chosen:
        pytest.skip("ECI_DATA names no folder of real collections")
    return Path(chosen)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or fills the user's cache."""
    folder = tmp_path / "embedding-cache"
    monkeypatch.setenv("ECI_CACHE", str(folder))
    return folder


@pytest.fixture
def bare_environment(monkeypatch):
    """Nothing that the client of openai takes from where it runs."""
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """In the full job a whole file that cannot run here (no Chromium, an extra that is missing) is a failure."""
    report = yield
    if os.environ.get("ECI_FULL") and report.outcome == "skipped":
        report.outcome, report.longrepr = "failed", f"needed by the full job: {report.longrepr[2]}"
    return report
