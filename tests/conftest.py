"""Where the shared real data lies, a cache of its own for every test, and which tests may be skipped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

# Why a test may be skipped even by the full job: nothing that could be installed would let it run.
ALLOWED = (
    "root may write everywhere",
    "numba has one thread here",
    "signals",
    "fork",
    "no such names",
    "no /dev/full here",
    "needs /proc",
    "could not import 'fcntl'",
    "could not import 'resource'",
)

# A shell has what it runs in the background ignore Ctrl-C, and so would every process that a test starts.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)


def lacking(extra: str) -> Iterator[str]:
    """The distributions of an extra that are not installed, as the metadata of eci names them."""
    for text in requires("eci") or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        try:
            version(requirement.name)
        except PackageNotFoundError:
            yield requirement.name


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that is marked with an extra which is not installed: ``@pytest.mark.extra("chat")``."""
    for mark in item.iter_markers("extra"):
        for extra in mark.args:
            if missing := sorted(set(lacking(extra))):
                pytest.skip(f"the extra {extra!r} is not installed: {', '.join(missing)}")


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
    return without_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """In the full job so is a single test."""
    return without_skips((yield))


def without_skips(report):
    """The report, failed if the full job asks why it was skipped and gets no reason of `ALLOWED`."""
    if os.environ.get("ECI_FULL") and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2])
        if not reason.removeprefix("Skipped: ").startswith(ALLOWED):
            report.outcome, report.longrepr = "failed", f"needed by the full job: {reason}"
    return report
