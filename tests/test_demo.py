from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from fakes import run_cli

pytestmark = pytest.mark.model
pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
pytest.importorskip("bm25s", reason="the extra 'mine' is not installed")


@pytest.fixture
def small_library(monkeypatch):
    """The demo's path in seconds: every twelfth query of the real collection."""
    from eci.datasets import docstrings

    pairs = docstrings.docstring_pairs()
    chosen = {query: pairs[query] for query in list(pairs)[::12]}
    monkeypatch.setattr(docstrings, "docstring_pairs", lambda: chosen)
    return chosen


def test_demo_mines_scores_and_tells(small_library, monkeypatch, capsys, tmp_path):
    code, out, err = run_cli(monkeypatch, capsys, "demo", "-o", str(tmp_path / "demo"))
    assert code == 0, err
    result = json.loads((tmp_path / "demo" / "result.json").read_text())
    labels = {"random", "bm25", "dense", "bm25+dense", "random+bm25", "random+dense"}
    assert {source["source"] for source in result["sources"]} == labels
    sizes = {source["source"]: source["negatives"] / source["queries"] for source in result["sources"]}
    assert (sizes["random"], sizes["dense"], sizes["random+dense"]) == (50, 25, 75)
    # BM25 finds fewer than 50 where fewer documents share a word with the query.
    assert 25 < sizes["bm25"] < 50
    totals = {source["source"]: source["negatives"] for source in result["sources"]}
    assert totals["bm25+dense"] == totals["bm25"] + totals["dense"]
    rows = pq.read_table(tmp_path / "demo" / "rows.parquet").to_pylist()
    assert len(rows) == len(small_library)
    for row in rows:
        positives = {positive["text"] for positive in row["positives"]}
        assert positives == set(small_library[row["query"]])
        assert not positives & {negative["text"] for negative in row["negatives"]}
        assert all(n["score"] > 0 for n in row["negatives"] if n["source"] == "bm25")
        dense = [n for n in row["negatives"] if n["source"] == "dense"]
        assert [n["rank"] for n in dense] == list(range(1, 26))
        assert [n["score"] for n in dense] == sorted((n["score"] for n in dense), reverse=True)
    cards = out[out.index("Five negatives worth reading") :]
    assert cards.count("  query     ") == cards.count("  negative  ") == 5
    assert "eci score" in out.splitlines()[-1]


def test_demo_twice_gives_the_same_result(small_library, monkeypatch, capsys, tmp_path):
    found = []
    for name in ("one", "two"):
        assert run_cli(monkeypatch, capsys, "demo", "-o", str(tmp_path / name))[0] == 0
        found.append(json.loads((tmp_path / name / "result.json").read_text())["sources"])
    assert found[0] == found[1]
