from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eci.metrics import BOUNDS
from eci.models.hashing import HashingEncoder
from eci.ranking import kendall, ranking
from eci.results import ScoreResult
from eci.scoring import score
from eci.settings import Settings
from fakes import examples_of, make_rows

ENCODER = HashingEncoder(64)


def scored(rows, **settings):
    return score(examples_of(rows), ENCODER, Settings(**settings))


def warned(result, text):
    return [warning for warning in result.warnings if text in warning]


def test_sources_are_ordered_by_the_metric_best_first():
    result = scored(make_rows(60, {"a": 3, "b": 12, "c": 6}))
    values = [entry.values["eci"].value for entry in result.sources]
    assert values == sorted(values, reverse=True)
    assert [entry.rank for entry in result.sources] == [1, 2, 3]
    assert sum(entry.probability_best for entry in result.sources) == pytest.approx(1)


def test_fewer_violations_rank_first():
    result = scored(make_rows(60, {"a": 3, "b": 3}), metric="violation_rate")
    assert (
        result.sources[0].values["violation_rate"].value <= result.sources[1].values["violation_rate"].value
    )
    difference = result.comparisons[0]
    assert difference["difference"] <= 0
    assert difference["low"] <= difference["difference"] <= difference["high"]


def test_decided_by_a_clear_difference_and_the_verdict_names_it():
    result = scored(make_rows(300, {"small": 1, "large": 12}), metric="capacity")
    assert result.decided
    assert result.best.source == "large"
    assert result.verdict.startswith(
        "large ranks first by capacity, ahead of every other source; it leads small by"
    )
    assert result.best.probability_best == 1.0


def test_no_spread_over_few_queries_is_no_certainty():
    rows = make_rows(2, {"b": 1})
    for row in rows:
        row["negatives"] = [{"source": "b", "text": row["query"]}, {"source": "a", "text": "nothing alike"}]
    result = scored(rows, metric="signal")
    assert result.best.source == "b"
    assert not result.decided
    assert result.verdict.endswith("so few queries decide nothing.")


def test_the_error_is_shared_out_over_all_other_sources():
    result = scored(make_rows(60, {"a": 3, "b": 5, "c": 6, "d": 4}))
    assert [entry["confidence"] for entry in result.comparisons] == pytest.approx([1 - 0.05 / 3] * 3)


def test_a_source_without_a_value_has_lost():
    rows = make_rows(200, {"large": 8, "small": 1})
    rows[0]["negatives"].append({"source": "rare", "text": "x"})
    for row in rows:
        row["positives"][0]["score"] = 2.0
        for negative in row["negatives"]:
            given = {"large": 1.0, "small": 0.0}.get(negative["source"])
            negative["score"] = given if given is None else given + len(negative["text"]) / 1000
    result = scored(rows, metric="reranker_score")
    assert [entry.source for entry in result.sources] == ["large", "small", "rare"]
    assert result.decided
    assert result.best.probability_best > 0.99
    assert math.isnan(result["rare"].probability_best)


def test_one_lone_query_of_a_source_does_not_unsettle_the_others():
    rows = make_rows(200, {"large": 8, "small": 1})
    rows[0]["negatives"].append({"source": "rare", "text": "x"})
    result = scored(rows, metric="capacity")
    assert result["large"].probability_best == 1.0
    assert result["small"].probability_best == 0.0
    assert warned(result, "null: probability_best of rare")


def test_warns_when_the_common_queries_put_another_source_first():
    rows = make_rows(40, {"a": 2, "b": 4})
    for row in rows[20:]:
        row["negatives"] = [{"source": "a", "text": f"{n} more"} for n in range(9)]
    result = scored(rows, metric="capacity")
    assert result.best.source == "a"
    assert warned(result, "Over the queries that every source covers, b ranks first instead.")


def test_intervals_end_where_the_metric_does():
    for entry in scored(make_rows(6, {"a": 2, "b": 3})).sources:
        for name, estimate in entry.values.items():
            low, high = BOUNDS.get(name, (0.0, math.inf))
            if not math.isnan(estimate.low):
                assert low <= estimate.low <= estimate.value <= estimate.high <= high, name


def test_warns_of_empty_texts_and_counts_identical_ones_among_the_drawn_queries_only():
    rows = make_rows(30, {"a": 3})
    for row in rows:
        row["negatives"][0]["text"] = row["positives"][0]["text"]
    rows[3]["negatives"][1]["text"] = " "
    result = scored(rows, sample=10)
    assert result.data["identical_to_positive"] == {"a": 10}
    assert warned(result, "Empty texts are among the queries and documents: 1.")


def test_equal_sources_are_not_decided_and_share_the_first_place():
    rows = make_rows(60, {"a": 4})
    for row in rows:
        row["negatives"] += [{**n, "source": "b"} for n in row["negatives"]]
    result = scored(rows)
    assert not result.decided
    assert (
        result.verdict
        == "Not decided between a and b by eci: a minus b is 0.0000 (95 % interval 0.0000 … 0.0000)."
    )
    assert result.best.probability_best == pytest.approx(0.5)
    constant = scored(rows, metric="capacity")
    assert {entry["metric"] for entry in constant.baselines if math.isnan(entry["kendall"])} >= {"signal"}


def test_one_source_has_nothing_to_be_compared_with():
    result = scored(make_rows(40, {"only": 4}))
    assert not result.decided
    assert result.verdict == "Only one source, only: there is nothing to compare it with."
    assert result.baselines == ()


def test_too_few_queries_for_an_interval_is_not_a_decision():
    result = scored(make_rows(1, {"a": 1, "b": 3}))
    assert not result.decided
    assert "no interval: too few queries" in result.verdict
    assert math.isnan(result.best.probability_best)
    assert warned(result, "null: probability_best of")
    assert warned(result, "null: intervals of")
    assert warned(result, "Only 1 query: below 200 the intervals are too narrow")


def test_warns_when_n_differs_by_more_than_twice():
    assert warned(scored(make_rows(30, {"a": 3, "b": 7})), "before believing it. N: b 7, a 3.")
    assert not warned(scored(make_rows(30, {"a": 3, "b": 6})), "N differs")


def test_warns_of_negatives_above_and_identical_to_a_positive():
    rows = make_rows(30, {"a": 3, "b": 3})
    rows[4]["negatives"][0]["text"] = rows[4]["positives"][0]["text"].upper()
    rows[5]["negatives"][0]["text"] = rows[5]["query"]
    result = scored(rows)
    assert warned(result, "Negatives identical to a positive of their query: a 1. Remove them.")
    assert warned(result, "Negatives above their positive, perhaps false negatives: ")
    assert result.data["identical_to_positive"] == {"a": 1, "b": 0}


def test_warns_of_another_target_only():
    assert warned(
        scored(make_rows(30), target="e5-base"),
        "Scored with hashing-64, to fine-tune e5-base: a ranking by another encoder",
    )
    assert not warned(scored(make_rows(30), target="org/Hashing-64"), "to fine-tune")
    assert not warned(scored(make_rows(30)), "to fine-tune")


def test_undefined_values_are_null_with_a_reason():
    result = scored(make_rows(30))
    loaded = json.loads(result.to_json())
    assert loaded["sources"][0]["values"]["reranker_score"] == {"value": None, "low": None, "high": None}
    assert warned(result, "null: reranker_score of")


def test_baselines_are_held_against_the_metric():
    result = scored(make_rows(60, {"a": 3, "b": 12}))
    found = {entry["metric"]: entry for entry in result.baselines}
    assert found["capacity"]["first"] == "b"
    assert set(found) == {
        "capacity",
        "signal",
        "margin_max",
        "arithmetic",
        "gradient_norm",
        "score_variance",
        "violation_rate",
        "infonce_loss",
        "lexical_overlap_query",
    }


def test_json_round_trip_and_frame_and_repr():
    pytest.importorskip("pandas")
    result = scored(make_rows(50, {"a": 3, "b": 5}))
    assert ScoreResult.from_json(result.to_json()).to_json() == result.to_json()
    frame = result.to_frame()
    assert frame.loc["a", "eci"] == result["a"].values["eci"].value
    assert frame.loc["a", "signal_low"] < frame.loc["a", "signal"] < frame.loc["a", "signal_high"]
    assert result.verdict in repr(result)
    assert repr(result).splitlines()[2].startswith("1")
    with pytest.raises(KeyError, match="no source 'c'; there are"):
        result["c"]


@pytest.mark.parametrize(
    ("text", "found"), [('{"schema": "other/1"}', "'other/1'"), ("[]", "'list'"), ("{}", "None")]
)
def test_other_json_is_refused(text, found):
    with pytest.raises(ValueError, match=f"schema 'eci.score/1', found {found}"):
        ScoreResult.from_json(text)


def test_json_that_lacks_something_is_refused():
    with pytest.raises(ValueError, match="has the keys baselines, comparisons, data, decided,"):
        ScoreResult.from_json('{"schema": "eci.score/1"}')


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=7))
def test_kendall_is_tau_b(pairs):
    a, b = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    concordant = discordant = ties_a = ties_b = 0
    for i in range(len(a)):
        for j in range(i):
            sign = np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])
            concordant, discordant = concordant + (sign > 0), discordant + (sign < 0)
            ties_a, ties_b = ties_a + (a[i] == a[j]), ties_b + (b[i] == b[j])
    total = len(a) * (len(a) - 1) / 2
    scale = math.sqrt((total - ties_a) * (total - ties_b))
    expected = (concordant - discordant) / scale if scale else math.nan
    assert kendall(a, b) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_ranking_puts_undefined_values_last():
    assert ranking(np.array([1.0, np.nan, 3.0, 1.0])) == (2, 0, 3, 1)


def test_other_separated_sources_do_not_hide_the_rival():
    rows = make_rows(200, {"a": 8})
    for row in rows:
        row["negatives"] += [{**n, "source": "b"} for n in row["negatives"]]
        row["negatives"] += [{**n, "source": "worse"} for n in row["negatives"][:1]]
    result = scored(rows, metric="capacity")
    assert result.verdict.startswith("Not decided between a and b by capacity")
    assert "worse" not in result.verdict
