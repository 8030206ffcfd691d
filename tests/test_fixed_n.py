from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eci
from eci import metrics
from eci.errors import EciError
from eci.models.hashing import HashingEncoder
from eci.scoring import score
from eci.settings import Settings
from fakes import CountingEncoder, examples_of, make_rows, run_cli

ENCODER = HashingEncoder(64)


def cut(rows, n):
    """The first n of each source of each row, by loops."""
    found = []
    for row in rows:
        taken = Counter()
        kept = []
        for negative in row["negatives"]:
            taken[negative["source"]] += 1
            if taken[negative["source"]] <= n:
                kept.append(negative)
        found.append({**row, "negatives": kept})
    return found


def lists(examples):
    """The texts of each source of each query, by the key of the query."""
    found = {}
    for query, key in enumerate(examples.keys):
        for place in range(examples.negatives.offsets[query], examples.negatives.offsets[query + 1]):
            label = examples.sources[examples.source[place]]
            text = examples.documents[examples.negatives.values[place]]
            found.setdefault((key, label), []).append(text)
    return found


def row(number, **negatives):
    return {
        "query_id": f"q{number}",
        "query": f"query {number}",
        "positives": [{"text": f"right {number}"}],
        "negatives": [
            {"source": label, "text": text} for label, texts in negatives.items() for text in texts
        ],
    }


@pytest.mark.parametrize("n", [1, 3, 5, 100])
def test_top_is_as_if_the_rows_had_been_cut_before(n):
    rows = make_rows(30, {"bm25": 7, "dense": 4, "llm": 2})
    found, expected = score(examples_of(rows).limited(n), ENCODER), score(examples_of(cut(rows, n)), ENCODER)
    assert [entry.source for entry in found.sources] == [entry.source for entry in expected.sources]
    for entry in expected.sources:
        assert found[entry.source].negatives == entry.negatives
        for name, estimate in entry.values.items():
            # Documents stand in another order, which single precision sees where it sums over all of them.
            near = {"rel": 0 if name in metrics.OF_SUMS else 1e-5, "abs": 0, "nan_ok": True}
            assert asdict(found[entry.source].values[name]) == pytest.approx(asdict(estimate), **near), name
    assert found.data["documents"] == expected.data["documents"]
    assert found.data["negatives"] == expected.data["negatives"] == 30 * (min(n, 7) + min(n, 4) + min(n, 2))


def test_sources_that_alternate_in_a_row_are_cut_each_for_itself():
    one = row(0)
    one["negatives"] = [{"source": source, "text": text} for source, text in zip("abab", "wxyz", strict=True)]
    found = examples_of([one]).limited(1)
    assert sorted(text for texts in lists(found).values() for text in texts) == ["w", "x"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6), st.integers(1, 4))
@settings(deadline=None, max_examples=50)
def test_no_list_is_longer_and_cutting_again_changes_nothing(lengths, n):
    rows = [
        row(i, a=[f"a{i}-{j}" for j in range(a)], b=[f"b{j}" for j in range(b)])
        for i, (a, b) in enumerate(lengths)
    ]
    examples = examples_of(rows)
    for by in ("top", "sample"):
        once = examples.limited(n, by, seed=1)
        whole, kept = lists(examples), lists(once)
        assert {key: min(n, len(texts)) for key, texts in whole.items()} == {
            key: len(texts) for key, texts in kept.items()
        }
        assert all(set(texts) <= set(whole[key]) for key, texts in kept.items())
        assert lists(once.limited(n, by, seed=1)) == kept
        assert once.keys == examples.keys


def test_a_draw_depends_on_seed_query_and_document_and_not_on_any_order():
    rows = make_rows(40, {"bm25": 9, "dense": 6})
    turned = [{**row, "negatives": row["negatives"][::-1]} for row in rows[::-1]]
    one, two = (
        {key: sorted(texts) for key, texts in lists(examples_of(order).limited(3, "sample", 5)).items()}
        for order in (rows, turned)
    )
    assert one == two
    other = lists(examples_of(rows).limited(3, "sample", 6))
    assert sum(sorted(texts) != one[key] for key, texts in other.items()) > 60


def test_every_place_of_a_list_is_drawn_as_often():
    rows = [row(i, a=[f"{i} {j}" for j in range(6)]) for i in range(3000)]
    drawn = lists(examples_of(rows).limited(2, "sample"))
    counts = Counter(text.split()[1] for texts in drawn.values() for text in texts)
    # 1,000 each, standard deviation 26.
    assert all(abs(counts[str(place)] - 1000) < 130 for place in range(6))


def test_a_document_twice_in_a_list_is_two_chances():
    rows = [row(i, a=["twice", "twice", "x", "y"]) for i in range(2000)]
    drawn = list(lists(examples_of(rows).limited(1, "sample")).values())
    assert sum(texts == ["twice"] for texts in drawn) == pytest.approx(1000, abs=110)


def test_lists_that_are_short_are_counted_and_queries_without_any_are_not():
    examples = examples_of([row(0, a=["u", "v", "w"], b=["x"]), row(1, a=["u"]), row(2)])
    assert examples.short(3) == {"a": 1, "b": 1}
    assert examples.short(1) == {}


def test_only_what_is_kept_is_embedded():
    rows = make_rows(20, {"bm25": 7})
    encoder = CountingEncoder()
    eci.score(rows, encoder, settings=Settings(fixed_n=2))
    expected = {text for each in cut(rows, 2) for text in (n["text"] for n in each["negatives"])}
    expected |= {text for each in rows for text in (each["query"], each["positives"][0]["text"])}
    assert set(encoder.seen) == expected


def test_a_result_says_that_it_is_a_view_and_what_fell_short():
    rows = make_rows(30, {"bm25": 7, "llm": 2})
    result = eci.score(rows, "hashing", settings=Settings(fixed_n=3, fixed_n_by="sample", seed=4))
    assert (result.settings["fixed_n"], result.settings["fixed_n_by"]) == (3, "sample")
    assert result.data["fixed_n_short"] == {"llm": 30}
    assert result.verdict.startswith("At most 3 negatives (sample): ")
    assert result.data["notes"][-2:] == [
        "fixed N: at most 3 negatives of each source of each query, drawn by seed",
        "queries that have fewer than 3 negatives of a source: llm 30",
    ]
    drawn = score(examples_of(rows).limited(3, "sample", 4), HashingEncoder(), Settings(seed=4))
    assert result["bm25"].values["eci"] == drawn["bm25"].values["eci"]
    assert eci.ScoreResult.from_json(result.to_json()).verdict == result.verdict


def test_results_of_whole_rows_are_as_they_were():
    result = eci.score(make_rows(30), "hashing")
    assert result.settings["fixed_n"] is None
    assert "fixed_n_short" not in result.data
    assert "At most" not in result.verdict


def test_the_top_of_a_hybrid_is_the_top_of_its_first_part():
    rows = make_rows(30, {"bm25": 5, "dense": 5})
    for each in rows:
        each["negatives"] += [{**n, "source": "bm25+dense"} for n in each["negatives"]]
    result = eci.score(rows, "hashing", settings=Settings(fixed_n=3))
    assert result["bm25+dense"].values["eci"] == result["bm25"].values["eci"]
    assert result["bm25+dense"].values["eci"] != result["dense"].values["eci"]


def test_equal_n_takes_capacity_out_of_the_ranking():
    rows = make_rows(30, {"bm25": 9, "dense": 3})
    result = eci.score(rows, "hashing", settings=Settings(fixed_n=3))
    assert not any("N differs" in text for text in result.warnings)
    assert {entry.values["capacity"].value for entry in result.sources} == {np.log(4)}


@pytest.mark.parametrize(("n", "by"), [(0, "top"), (-1, "top"), (2.5, "top"), (True, "top"), (3, "best")])
def test_what_makes_no_sense_is_refused(n, by):
    with pytest.raises(EciError, match=r"fixed N (is a whole number|takes its negatives by top or sample)"):
        Settings(fixed_n=n, fixed_n_by=by)
    with pytest.raises(EciError, match="fixed N"):
        examples_of(make_rows(3)).limited(n, by)


@pytest.fixture
def rows_file(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in make_rows(40, {"bm25": 7, "dense": 2})))
    return str(file)


def test_command(monkeypatch, capsys, rows_file):
    code, out, _ = run_cli(monkeypatch, capsys, "score", rows_file, "--encoder", "hashing", "--fixed-n", "3")
    assert code == 0
    assert "At most 3 negatives (top): " in out
    assert "· queries that have fewer than 3 negatives of a source: dense 40" in out
    found = {}
    for by, seed in (("top", "0"), ("sample", "0"), ("sample", "1")):
        options = ("--fixed-n", "3", "--fixed-n-by", by, "--seed", seed)
        _, out, _ = run_cli(
            monkeypatch, capsys, "score", rows_file, "--encoder", "hashing", "--json", *options
        )
        found[by, seed] = json.loads(out)
        assert found[by, seed]["settings"]["fixed_n_by"] == by
    values = [
        next(s for s in each["sources"] if s["source"] == "bm25")["values"]["eci"]["value"]
        for each in found.values()
    ]
    assert len(set(values)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fixed-n", "0"), "0 is not in the range"),
        (("--fixed-n", "3", "--fixed-n-by", "best"), "'best' is not"),
        (("--fixed-n-by", "sample"), "--fixed-n-by says which negatives --fixed-n keeps"),
    ],
)
def test_usage_errors_exit_2(monkeypatch, capsys, rows_file, arguments, message):
    code, out, err = run_cli(monkeypatch, capsys, "score", rows_file, "--encoder", "hashing", *arguments)
    assert (code, out) == (2, "")
    assert message in err
