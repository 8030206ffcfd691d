"""Links in the documentation lead somewhere, and commands it shows exist."""

from __future__ import annotations

import re
from pathlib import Path

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
        assert command is not None, f"{page.name} shows 'eci {name}'"
        options = {option for parameter in command.params for option in parameter.opts}
        for argument in arguments:
            if argument.startswith("--"):
                assert argument.split("=")[0] in options | {"--help", "--yes", "--json"}, (
                    f"{page.name}: eci {line}"
                )
