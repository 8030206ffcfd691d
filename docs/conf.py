"""How the site is built: ``make docs``. The source is the whole repository, so that relative links hold."""

from __future__ import annotations

from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

project = "eci"
author = "the authors of eci"
version = release = version_of("eci")
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "benchmarks/**"]
# benchmarks/README.md has the same tables.
exclude_patterns = ["benchmarks/results/bench.md"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
# Of what the code blocks show nothing is for a lexer: command lines and their output.
highlight_language = "none"
# Tables that a benchmark writes begin where they are put into another page.
suppress_warnings = ["myst.header"]
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
# Progress, and what libraries miss in a kernel without widgets, with paths of the machine.
nb_output_stderr = "remove"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"eci {release}"
html_show_sphinx = False


def _front_page(app: Any, error: Exception | None) -> None:
    """The address of the site itself leads to its first page."""
    if error is None:
        target = f"{root_doc}.html"
        leads = f'<meta http-equiv="refresh" content="0; url={target}">'
        page = f'<!doctype html>{leads}<a href="{target}">eci</a>\n'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def setup(app: Any) -> None:
    """Connect what is done at the end."""
    app.connect("build-finished", _front_page)
