"""What `make release-check` tries in fresh environments, as far as it can be told in this one."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, files, requires

import pytest
from packaging.requirements import Requirement

import release_smoke
from eci.cli import _COMMANDS
from fakes import run_cli

REFUSED = [tried for tried in release_smoke.LINES if tried.needs]


@cache
def modules_of_extras() -> set[str]:
    """What the extras that users install bring to import, of what is here."""
    found = set()
    for text in requires("eci"):
        requirement = Requirement(text)
        extras = set(re.findall(r"extra == ['\"]([^'\"]+)", str(requirement.marker)))
        if extras - release_smoke.DEVELOPMENT and requirement.name != "eci":
            found |= modules_of(requirement.name)
    return found


def modules_of(distribution: str) -> set[str]:
    try:
        brought = files(distribution) or []
    except PackageNotFoundError:
        return set()
    code = (file for file in brought if file.suffix in (".py", ".so", ".pyd"))
    return {file.parts[0].partition(".")[0] for file in code} - {""}


def test_every_extra_and_every_command_is_tried():
    offered = set(re.findall(r"extra == ['\"]([^'\"]+)", " ".join(requires("eci"))))
    needed = set().union(*(tried.needs for tried in release_smoke.LINES))
    assert offered - release_smoke.DEVELOPMENT - {"all"} == needed
    assert {tried.arguments.split()[0] for tried in release_smoke.LINES} == {"--version", *_COMMANDS}


def test_an_extra_brings_what_its_extras_bring():
    assert release_smoke.everything_in(["validate"]) >= {"validate", "train", "mine", "encode", "datasets"}
    assert release_smoke.everything_in(["chat"]) == {"chat"}
    assert release_smoke.everything_in([]) == set()


@pytest.mark.parametrize("tried", REFUSED, ids=lambda tried: tried.arguments)
def test_a_command_without_its_extra_names_it(tried, tmp_path, monkeypatch, capsys):
    for module in modules_of_extras():
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERE", str(tmp_path))
    release_smoke.write_inputs()
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    if tried.arguments.startswith("report"):
        run_cli(monkeypatch, capsys, "score", "rows.jsonl", "--encoder", "hashing", "-o", "result.json")
    arguments = tried.arguments.replace("TINY", "all-MiniLM-L6-v2").replace("CHAT", "http://127.0.0.1:9/v1")
    code, out, err = run_cli(monkeypatch, capsys, *arguments.split())
    assert (code, out) == (1, "")
    named = re.findall(
        r"^Error: .+ needs .+\. Install it with: pip install 'eci\[([^\]]+)\]'$", err, re.MULTILINE
    )
    assert len(named) == 1, err
    assert release_smoke.everything_in(named[0].split(",")) & tried.needs
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} - before
    assert not [path for path in made if path.name != "result.json"]
