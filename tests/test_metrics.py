from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from eci import metrics
from eci.metrics import Batch
from eci.metrics.eci import eci, eci_score, efficiency
from eci.tally import GROUPS, Tally

GOLDEN = json.loads((Path(__file__).parent / "golden" / "eci_v1_tables.json").read_text())
FROM_SIMILARITIES = tuple(
    name for name in metrics.OF_SUMS if not name.startswith("lexical") and name != "reranker_score"
)

similarity = st.floats(-1, 1, allow_nan=False, width=32)
row = st.tuples(st.lists(similarity, min_size=1, max_size=3), st.lists(similarity, max_size=6))
rows = st.lists(row, min_size=1, max_size=10)


def golden(table):
    return [pytest.param(entry, id=f"{table}-{entry['name']}") for entry in GOLDEN[table]]


@pytest.mark.parametrize("entry", golden("table1_bge_base"))
def test_table_1_from_its_own_figures(entry):
    assert float(eci(entry["n"], entry["s"], entry["d"])) == pytest.approx(
        entry["eci"], abs=GOLDEN["table1_tolerance"]
    )


@pytest.mark.parametrize("entry", [e for e in golden("table1_bge_base") if e.values[0]["arithmetic"]])
def test_table_5_arithmetic_mean_from_table_1(entry):
    sums = {
        name: np.array([value])
        for name, value in {
            "queries": 1.0,
            "n": entry["n"],
            "signal": entry["s"],
            "margin_max": entry["d"],
            "maximum": 1.0,
            "gradient": 1.0,
            "variance": 1.0,
            "violations": 0.0,
            "violations_95": 0.0,
            "negatives": 1.0,
            "infonce": 1.0,
        }.items()
    }
    found = metrics.baselines.values(sums)["arithmetic"][0]
    assert found == pytest.approx(entry["arithmetic"], abs=GOLDEN["table1_tolerance"])


@pytest.mark.parametrize("entry", golden("table4_n3"))
def test_table_4_at_three_negatives(entry):
    tolerance = GOLDEN["table4_tolerance"]
    assert float(efficiency(entry["s"], entry["d"])) == pytest.approx(entry["harmonic"], abs=tolerance)
    assert float(eci(3, entry["s"], entry["d"])) == pytest.approx(entry["eci"], abs=tolerance)


@pytest.mark.parametrize("entry", golden("table3_all_minilm_l6_v2") + golden("table3_mxbai_embed_large_v1"))
def test_table_3_and_its_five_rows_that_no_rounding_explains(entry):
    """Unreachable: no S and D that round to the printed ones give the printed ECI."""
    corners = [
        float(eci(entry["n"], entry["s"] + ds, entry["d"] + dd))
        for ds in (-5e-4, 5e-4)
        for dd in (-5e-4, 5e-4)
    ]
    reachable = min(corners) - 0.005 <= entry["eci"] <= max(corners) + 0.005
    assert reachable is not entry.get("unreachable", False)


def test_golden_table_3_has_five_unreachable_rows():
    entries = GOLDEN["table3_all_minilm_l6_v2"] + GOLDEN["table3_mxbai_embed_large_v1"]
    assert sum(entry.get("unreachable", False) for entry in entries) == 5


def test_published_correlation_is_matched_by_capacity_alone_and_falls_without_one_source():
    """The caveat that documentation repeats, from the paper's own tables 1 and 2."""
    ndcg = GOLDEN["table2_mean_ndcg10"]
    table = GOLDEN["table1_bge_base"]
    downstream = np.array([ndcg[entry["name"]] for entry in table])
    score = np.array([entry["eci"] for entry in table])
    size = np.array([math.log1p(entry["n"]) for entry in table])
    without = np.array([entry["name"] != "LLM" for entry in table])
    expected = GOLDEN["recomputed_from_tables_1_and_2"]
    # Table 2's means are at hand to three digits; the expected figures come from unrounded means.
    near = {"abs": 0.015}
    assert np.corrcoef(score, downstream)[0, 1] == pytest.approx(expected["eci"], **near)
    assert np.corrcoef(size, downstream)[0, 1] == pytest.approx(expected["capacity_only"], **near)
    assert np.corrcoef(score[without], downstream[without])[0, 1] == pytest.approx(
        expected["eci_without_llm"], **near
    )


def test_by_hand():
    """q1: S .6, D .9-.7=.2; q2: S .4, D .8-.5=.3; so S .5, D .25, N 2."""
    found = metrics.evaluate([[0.9, 0.1], [0.8]], [[0.5, 0.7], [0.3, 0.5]])
    assert found["signal"] == pytest.approx(0.5)
    assert found["margin_max"] == pytest.approx(0.25)
    assert found["margin_mean"] == pytest.approx(0.35)
    assert found["eci"] == pytest.approx(math.log(3) * (2 * 0.5 * 0.25 / 0.75))
    assert found["eci_query"] == pytest.approx(math.log(3) * (0.3 + 0.24 / 0.7) / 2)
    assert found["violation_rate"] == 0.0
    assert found["score_variance"] == pytest.approx(0.01)


@given(rows)
def test_fast_code_equals_the_loops(examples):
    positive, negative = [p for p, _ in examples], [n for _, n in examples]
    found, expected = metrics.evaluate(positive, negative), reference.metrics(positive, negative)
    for name in FROM_SIMILARITIES:
        if expected:
            assert found[name] == pytest.approx(expected[name], rel=1e-7, abs=1e-9), name
        else:
            assert math.isnan(found[name])


@given(rows, st.randoms())
def test_order_of_negatives_and_queries_is_irrelevant(examples, random):
    shuffled = [(p, random.sample(n, len(n))) for p, n in examples]
    random.shuffle(shuffled)
    found = metrics.evaluate(*zip(*examples, strict=True))
    again = metrics.evaluate(*zip(*shuffled, strict=True))
    for name in FROM_SIMILARITIES:
        assert again[name] == pytest.approx(found[name], rel=1e-9, abs=1e-10, nan_ok=True)


@given(rows)
def test_bounds_and_jensen(examples):
    found = metrics.evaluate(*zip(*examples, strict=True))
    if math.isnan(found["eci"]):
        assert all(not n for _, n in examples)
        return
    assert 0 <= found["eci"] <= found["capacity"] * 2
    assert found["margin_max"] >= 0
    assert 0 <= found["violation_rate"] <= 1
    assert found["infonce_loss"] >= 0
    # The harmonic mean is concave, so at equal N the average of queries is at most the average's value.
    if len({len(n) for _, n in examples if n}) == 1 and all(sum(n) >= 0 for _, n in examples):
        assert found["eci_query"] <= found["eci"] + 1e-9


@given(rows, st.integers(1, 4))
def test_tallies_of_batches_add_to_the_tally_of_all(examples, size):
    positive, negative = [p for p, _ in examples], [n for _, n in examples]
    whole = Batch.from_similarities(positive, negative)
    parts = Tally()
    for start in range(0, len(examples), size):
        part = Batch.from_similarities(positive[start : start + size], negative[start : start + size])
        groups = (np.arange(len(part.groups)) + start) % GROUPS
        parts += metrics.tally(Batch(groups, part.positive, part.negative))
    expected = metrics.tally(whole).replicates()
    assert {name: sums.tolist() for name, sums in parts.replicates().items()} == {
        name: sums.tolist() for name, sums in expected.items()
    }


def test_a_query_without_negatives_adds_nothing():
    with_empty = metrics.evaluate([[0.9], [0.2], [0.8]], [[0.5], [], [0.6]])
    without = metrics.evaluate([[0.9], [0.8]], [[0.5], [0.6]])
    assert with_empty == pytest.approx(without, nan_ok=True)


def test_no_negatives_at_all_is_undefined_and_not_a_crash():
    assert all(math.isnan(value) for value in metrics.evaluate([[0.9]], [[]]).values())
    assert float(eci(0, 0.5, 0.2)) == 0.0


def test_violation_beyond_95_percent_is_right_for_negative_scores():
    found = metrics.evaluate([[-0.4]], [[-0.41, -0.43]])
    assert found["violation_rate"] == 0.0
    assert found["violation_rate_95"] == 0.5  # above −0.4 − 0.05·0.4 = −0.42


def test_mean_margin_is_clamped_only_after_averaging():
    positive, negative = [[0.9], [0.1]], [[0.5], [0.3]]
    assert metrics.evaluate(positive, negative)["margin_mean"] == pytest.approx((0.4 - 0.2) / 2)
    assert metrics.evaluate(positive, negative)["margin_max"] == pytest.approx(0.4 / 2)


def test_eci_score_readings():
    positive, negative = [[0.9], [0.8]], [[0.5, 0.7], [0.3, 0.5]]
    found = metrics.evaluate(positive, negative)
    assert eci_score(np.array(positive), np.array(negative)) == found["eci"]
    assert eci_score(positive, negative, margin="mean") == found["eci_mean_margin"]
    assert eci_score(positive, negative, average="query") == found["eci_query"]
    with pytest.raises(ValueError, match="margin is 'max' or 'mean'"):
        eci_score(positive, negative, margin="soft")
    with pytest.raises(ValueError, match="no average='query'"):
        eci_score(positive, negative, margin="mean", average="query")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_similarities_that_are_no_numbers_are_refused_and_named(bad):
    with pytest.raises(ValueError, match="query 1 has a negative whose similarity is not a finite number"):
        metrics.evaluate([[0.9], [0.9]], [[0.5], [0.1, bad]])
    with pytest.raises(ValueError, match="query 0 has a positive whose"):
        eci_score([[bad], [0.9]], [[0.5], [0.1]])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf, 1e-5])
def test_temperatures_that_overflow_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature lies between 0.002 and 100"):
        metrics.evaluate([[0.9]], [[0.5]], temperature=temperature)


@given(rows)
def test_values_lie_within_their_stated_bounds(examples):
    for name, value in metrics.evaluate(*zip(*examples, strict=True)).items():
        low, high = metrics.BOUNDS.get(name, (0.0, math.inf))
        assert math.isnan(value) or low - 1e-12 <= value <= high + 1e-12, name


def test_a_query_without_positive_is_refused():
    with pytest.raises(ValueError, match="query 1 has no positive"):
        metrics.evaluate([[0.9], []], [[0.5], [0.3]])
    with pytest.raises(ValueError, match="as many queries"):
        metrics.evaluate([[0.9]], [[0.5], [0.3]])


@pytest.mark.parametrize("temperature", [0.01, 0.05, 1.0])
def test_temperature_reaches_gradient_and_loss(temperature):
    positive, negative = [[0.9], [0.5]], [[0.5, 0.7], [0.6]]
    found = metrics.evaluate(positive, negative, temperature=temperature)
    expected = reference.metrics(positive, negative, temperature)
    for name in ("gradient_norm", "gradient_norm_estimate", "infonce_loss"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)
