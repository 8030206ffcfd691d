"""Run by `make docs`: every code block of README, CONTRIBUTING and docs is executed, or listed with the reason.

Commands run in this process, page by page, in a folder where everything lies that a page takes as given, small.
"""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import release_smoke
from chat_server import ChatServer
from fakes import run_cli
from writer_script import well

pytestmark = [pytest.mark.extra("all"), pytest.mark.timeout(1200)]

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Beginnings of lines that are not run here, and who runs them or why nobody does.
NOT_RUN = {
    "pip install": "make release-check installs the wheel with each extra",
    "eci demo": "tests/test_demo.py runs it",
    "make ": "each of these is a job of its own",
    "export ECI_DATA=": "set here",
    "python benchmarks/": "most take minutes to hours; make bench-all runs those that measure",
    "ECI_DATA=DIR python benchmarks/": "minutes to hours; make bench-all",
    "eci score rows.parquet --engine ray --ray-address auto": "needs a cluster that runs",
    "eci validate examples/weak-start.toml -o weak-start --device": "hours of training",
    "eci validate examples/docstrings.toml": "hours of training",
    "eci validate examples/full-start.toml": "hours of training",
}
# Beginnings of blocks that show something else than code.
SHOWN = ("   source             eci ", "rows on disk ──datasets──▶")
# Blocks whose output is compared elsewhere, by the page.
COMPARED = {
    ("data.md", "console"): "tests/test_datasets_docs.py",
    ("data.md", "python"): "tests/test_datasets_docs.py",
}
PLAN = release_smoke.PLAN.replace("$HERE/beir", "$ECI_DATA/scifact").replace(
    '"tiny"', '"intfloat/e5-base-v2"'
)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def is_listed(line: str) -> bool:
    return line.startswith(tuple(NOT_RUN))


def commands(page: Path) -> list[str]:
    """The lines of all blocks without a language, but for what is only shown."""
    lines = []
    for language, text in blocks(page):
        if language == "" and not text.startswith(SHOWN):
            lines += [line for line in text.splitlines() if line.strip()]
    return lines


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with all that pages take as given: a collection, rows, runs, vectors, models, a plan."""
    folder = tmp_path_factory.mktemp("given")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ECI_CACHE", str(folder / "cache"))
        _make_collection(folder)
        _make_rows(patch)
        _make_vectors(folder)
        _make_models(folder)
    (folder / "plan.toml").write_text(PLAN)
    shutil.copytree(ROOT / "examples", folder / "examples")
    results = folder / "benchmarks" / "results" / "weak-start"
    results.mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks" / "results" / "weak-start" / "result.json", results)
    return folder


def _make_collection(folder):
    release_smoke.write_inputs()
    (folder / "beir").rename(folder / "scifact")
    shutil.copytree(folder / "scifact", folder / "nfcorpus")
    shutil.copytree(folder / "scifact" / "qrels", folder / "qrels")
    shutil.copy(folder / "scifact" / "corpus.jsonl", folder)


def _make_rows(patch):
    """Random negatives under the names of every source, so that no page leans on another."""
    names = "train bm25 dense llm random edited causal reranked ce"
    for seed, label in enumerate(names.split()):
        for kind in ("jsonl", "parquet"):
            options = f"-k 4 --seed {seed} --label {label} -o {label}.{kind}"
            _run(patch, f"mine random scifact --split train {options}")
    _run(patch, "convert bm25.jsonl llm.jsonl -o rows.jsonl")
    _run(patch, "convert bm25.parquet llm.parquet -o rows.parquet")
    for label in ("bm25", "dense"):
        _run(patch, f"convert {label}.parquet -o run-{label} --to beir")
        shutil.copy(f"run-{label}/runs/{label}.trec", f"{label}.trec")


def _run(patch, arguments):
    from eci import cli

    patch.setattr("sys.argv", ["eci", *arguments.split()])
    cli.run()


def _make_vectors(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from eci.datasets import read
    from eci.examples import Examples
    from eci.models.hashing import HashingEncoder

    examples = Examples.from_batches(read([folder / "rows.parquet"]))
    (folder / "vectors").mkdir()
    encoder = HashingEncoder()
    for name, column, encode in (
        ("queries", examples.queries, encoder.encode_query),
        ("corpus", examples.documents, encoder.encode_document),
    ):
        texts = list(column)
        pq.write_table(pa.table({"text": texts}), folder / "vectors" / f"{name}.parquet")
        np.save(folder / "vectors" / f"{name}.npy", np.asarray(encode(texts), dtype=np.float32))
    pq.write_table(pa.table({"id": ["none"], "text": ["none"]}), folder / "corpus.parquet")


def _make_models(folder):
    from test_rerankers import make_cross_encoder

    release_smoke.write_model()
    (folder / "intfloat").mkdir()
    (folder / "tiny").rename(folder / "intfloat" / "e5-base-v2")
    (folder / "cross-encoder").mkdir()
    make_cross_encoder(folder / "cross-encoder" / "ms-marco-MiniLM-L-6-v2")


@pytest.fixture
def here(given, tmp_path, monkeypatch):
    """A copy of it to work in."""
    folder = tmp_path / "here"
    shutil.copytree(given, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ECI_DATA", str(folder))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


def run_line(monkeypatch, capsys, line: str, address: str) -> None:
    """Run a command line as a shell would, with the scripted chat model in the place of any other."""
    _, *arguments = shlex.split(line, comments=True)
    into = arguments[arguments.index(">") + 1] if ">" in arguments else None
    if into:
        arguments = arguments[: arguments.index(">")]
    arguments = [re.sub(r"^http://localhost:\d+/v1$", address, argument) for argument in arguments]
    asks = (arguments[:1] == ["generate"] and arguments[1] != "status") or "--judge" in arguments
    if asks and "--base-url" not in arguments:
        arguments += ["--base-url", address]
    code, out, err = run_cli(monkeypatch, capsys, *arguments)
    # --fail-on ends with 1 where the share is exceeded, which is what it is for.
    assert code == 0 or ("--fail-on" in arguments and code == 1), f"{line}\n{out}{err}"
    if into:
        Path(into).write_text(out, encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_run_in_their_order(page, here, monkeypatch, capsys):
    with ChatServer(well) as server:
        for line in commands(page):
            if not is_listed(line):
                assert line.startswith("eci "), (
                    f"{page.name}: what is {line!r}? Run it, or list it in NOT_RUN."
                )
                run_line(monkeypatch, capsys, line, server.url)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")],
    ids=lambda page: page.name,
)
def test_python_runs(page, here, monkeypatch):
    import eci

    if (page.name, "python") in COMPARED:
        pytest.skip(f"compared by {COMPARED[page.name, 'python']}")
    with ChatServer(well) as server:
        names = {"eci": eci, "np": np}
        for language, text in blocks(page):
            if language == "python" and text.startswith(">>>"):
                examples = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), 0)
                outcome = doctest.DocTestRunner().run(examples, clear_globs=False)
                names.update(examples.globs)
                assert (outcome.attempted >= 1, outcome.failed) == (True, 0)
            elif language == "python":
                exec(compile(text.replace("http://localhost:8000/v1", server.url), page.name, "exec"), names)


def test_every_block_is_of_a_kind_that_is_executed():
    kinds = {(page.name, language) for page in PAGES for language, _ in blocks(page)}
    known = {"", "python", "{toctree}", "{eval-rst}"}
    assert {(page, language) for page, language in kinds if language not in known} == {("data.md", "console")}
    assert set(COMPARED) <= kinds


def test_what_is_not_run_is_there():
    lines = [line for page in PAGES for line in commands(page)]
    assert [listed for listed in NOT_RUN if not any(line.startswith(listed) for line in lines)] == []
    every = [text for page in PAGES for _, text in blocks(page)]
    assert all(any(text.startswith(shown) for text in every) for shown in SHOWN)
