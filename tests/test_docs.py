"""Links in the documentation lead somewhere, and commands it shows exist."""

from __future__ import annotations

import fnmatch
import posixpath
import re
import runpy
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name} links to {target}"
            if anchor:
                assert anchor in anchors(file), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_that_are_shown_exist(page):
    from eci.cli import main

    context = main.make_context("eci", ["score"], resilient_parsing=True)
    for line in re.findall(r"^(?:\$ )?eci (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        name, *arguments = line.split()
        if name.startswith("-"):
            continue
        command = main.get_command(context, name)
        if isinstance(command, click.Group) and not command.params:
            command = command.get_command(context, arguments[0])
        assert command is not None, f"{page.name} shows 'eci {line}'"
        options = {option for parameter in command.params for option in parameter.opts}
        for argument in arguments:
            if argument.startswith("--"):
                assert argument.split("=")[0] in options | {"--help", "--yes", "--json"}, (
                    f"{page.name}: eci {line}"
                )


def test_examples_in_the_documentation_give_what_they_show():
    import doctest

    import eci

    page = ROOT / "docs" / "metrics.md"
    text = page.read_text(encoding="utf-8").replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {"eci": eci}, page.name, str(page), 0)
    outcome = doctest.DocTestRunner().run(examples)
    assert outcome.attempted >= 1
    assert outcome.failed == 0


def test_python_in_the_readme_runs(tmp_path, monkeypatch):
    import json

    import eci
    from fakes import make_rows

    pytest.importorskip("pandas")

    rows = [
        json.dumps({**row, "negatives": row["negatives"][:3]}) + "\n" for row in make_rows(10, {"train": 3})
    ]
    for name in ("train", "bm25", "dense"):
        (tmp_path / f"{name}.jsonl").write_text("".join(rows).replace('"train"', f'"{name}"'))
    monkeypatch.chdir(tmp_path)
    score = eci.score
    # The weights of the models that it names are not at hand; everything else is as shown.
    monkeypatch.setattr(
        eci,
        "score",
        lambda rows, *_, settings=None, **__: score(rows, "hashing", settings=settings),
        raising=False,
    )
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"eci": eci})
    assert (
        eci.ScoreResult.from_json((tmp_path / "result.json").read_text(encoding="utf-8")).best.source
        == "train"
    )


def test_the_reference_has_every_public_name():
    import eci

    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto\w+:: eci\.(\w+)$", page, re.MULTILINE)
    assert sorted(named) == sorted(eci.__all__)


def test_every_page_is_on_the_site():
    trees = re.findall(
        r"```{toctree}\n(.*?)```", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.DOTALL
    )
    lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    listed = [re.sub(r"^.*<(.*)>$", r"\1", line) for line in lines]
    left_out = runpy.run_path(str(ROOT / "docs" / "conf.py"))["exclude_patterns"]
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.ipynb")]
    pages += (ROOT / "benchmarks").rglob("*.md")
    names = {page.relative_to(ROOT).as_posix() for page in pages} - {"docs/index.md", *left_out}
    assert len(names) > 15
    for name in names:
        entry = posixpath.relpath(name.rsplit(".", 1)[0], "docs")
        assert any(fnmatch.fnmatch(entry, pattern) for pattern in listed), f"{name} is on no page of the site"


def test_the_tutorial_holds_no_output():
    import json

    cells = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
