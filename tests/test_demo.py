from __future__ import annotations

import json
from importlib.util import find_spec

import pyarrow as pa
import pytest

from eci.datasets import merge_rows, read
from fakes import run_cli

pytestmark = pytest.mark.model
pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
pytest.importorskip("bm25s", reason="the extra 'mine' is not installed")

REPORT = all(find_spec(module) for module in ("jinja2", "altair", "vl_convert"))


@pytest.fixture
def small_library(monkeypatch):
    """The demo's path in seconds: a sixth of the real collection's queries, of which the demo takes every second."""
    from eci.datasets import docstrings

    pairs = docstrings.docstring_pairs()
    chosen = {query: pairs[query] for query in list(pairs)[::6]}
    monkeypatch.setattr(docstrings, "docstring_pairs", lambda _folder: chosen)
    return chosen


def test_demo_mines_scores_and_tells(small_library, monkeypatch, capsys, tmp_path):
    code, out, err = run_cli(monkeypatch, capsys, "demo", "-o", str(tmp_path / "demo"))
    assert code == 0, err
    result = json.loads((tmp_path / "demo" / "result.json").read_text())
    totals = {source["source"]: source["negatives"] for source in result["sources"]}
    alone = {"random", "bm25", "late-interaction", "counterfactual"}
    assert {label for label in totals if "+" not in label} == alone
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    page = {"report.html", "report.rows.parquet"} if REPORT else set()
    assert names == {"result.json", "corpus.jsonl", *page, *(f"{label}.parquet" for label in totals)}
    assert result["settings"]["command"].startswith("eci score ")
    told = "Page for a browser: " if REPORT else "No page for a browser: A report needs "
    assert f"\n{told}" in out
    hybrids = [label.split("+") for label in totals if "+" in label]
    assert sorted(map(len, hybrids)) == [2, 2, 2, 3]
    for parts in hybrids:
        assert totals["+".join(parts)] == sum(totals[part] for part in parts)
    files = [tmp_path / "demo" / f"{label}.parquet" for label in sorted(alone)]
    rows = merge_rows(pa.Table.from_batches(list(read(files)))).to_pylist()
    assert [row["query"] for row in rows] == list(small_library)[::2]
    assert totals["random"] == 50 * len(rows)
    # BM25 finds fewer than 50 where fewer documents share a word with the query.
    assert 25 * len(rows) < totals["bm25"] < 50 * len(rows)
    # Some positives state no fact that a rule can change.
    assert len(rows) < totals["counterfactual"] < 3 * len(rows)
    for row in rows:
        positives = {positive["text"] for positive in row["positives"]}
        assert positives == set(small_library[row["query"]])
        assert not positives & {negative["text"] for negative in row["negatives"]}
        by_source = {label: [n for n in row["negatives"] if n["source"] == label] for label in alone}
        assert all(negative["score"] > 0 for negative in by_source["bm25"])
        reranked = by_source["late-interaction"]
        assert {n["id"] for n in reranked} <= {n["id"] for n in by_source["bm25"]}
        assert [n["rank"] for n in reranked] == list(range(1, len(reranked) + 1))
        assert [n["score"] for n in reranked] == sorted((n["score"] for n in reranked), reverse=True)
        for negative in by_source["counterfactual"]:
            edit = json.loads(negative["extra"])
            assert edit["of"] in {positive["id"] for positive in row["positives"]}
            assert negative["text"] not in positives
    cards = out[out.index("Five negatives worth reading") :]
    assert cards.count("  query     ") == cards.count("  negative  ") == 5
    again = out.splitlines()[-3:]
    assert again[0].startswith("  eci score ")
    assert again[2].startswith("  eci probe ")
    corpus = tmp_path / "demo" / "corpus.jsonl"
    assert again[2].endswith(f"--candidates {corpus}")
    # Edits of positives are trained with, and nobody searches them.
    assert result["data"]["alignment"]["candidates"] == len(corpus.read_text().splitlines())
    held = {json.loads(line)["text"] for line in corpus.read_text().splitlines()}
    assert {positive["text"] for row in rows for positive in row["positives"]} <= held
    assert not held & {n["text"] for row in rows for n in row["negatives"] if n["source"] == "counterfactual"}


def test_demo_twice_gives_the_same_result(small_library, monkeypatch, capsys, tmp_path):
    found = []
    for name in ("one", "two"):
        assert run_cli(monkeypatch, capsys, "demo", "-o", str(tmp_path / name))[0] == 0
        found.append(json.loads((tmp_path / name / "result.json").read_text())["sources"])
    assert found[0] == found[1]


@pytest.mark.skipif(not REPORT, reason="the extra 'report' is not installed")
def test_without_the_extra_one_line_names_it_and_nothing_is_written(monkeypatch, tmp_path):
    from eci.cli.demo import _page
    from eci.report import render
    from eci.report.writing import Behind
    from eci.types import silent

    monkeypatch.setitem(render._NEEDED, "no_such_module", "no-such-package")
    assert _page(None, tmp_path, Behind([]), silent) == (
        "No page for a browser: A report needs no-such-package. Install it with: pip install 'eci[report]'"
    )
    assert list(tmp_path.iterdir()) == []
