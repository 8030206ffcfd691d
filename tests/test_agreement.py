from __future__ import annotations

import json
import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from eci import association, ranking
from eci.errors import DataError
from eci.metrics.eci import eci as score_of
from eci.results import Estimate, span
from eci.validation.agreement import Agreement, agree
from eci.validation.agreement_text import agreement_text, summary_text
from eci.validation.observations import Measurements, MetricValues
from eci.validation.pooling import Averaged, summarise
from eci.validation.resampling import (
    Ceiling,
    Resampled,
    Share,
    estimate,
    kendall,
    orders,
    partial,
    pearson,
    permutation_p,
    spearman,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "eci_v1_tables.json").read_text())
# Table 2's means over the twelve collections, which the file has to three digits.
NDCG = {
    "LLM": 0.16392,
    "LLM+BM25": 0.31917,
    "Cross-Encoder+LLM": 0.31133,
    "LLM+BM25+Cross-Encoder": 0.30217,
    "BM25": 0.32142,
    "Cross-Encoder": 0.32108,
    "BM25+Cross-Encoder": 0.33725,
}
LABELS = ("bm25", "dense", "llm", "random", "reranked")
LEVELS = np.array([0.50, 0.60, 0.40, 0.45, 0.55])
NONE = 0.47


def scores(levels, seeds=3, queries=200, noise=0.02, seed=0):
    """Of shape (S, K, n): levels, difficulty of queries, and noise that averages to 0 over the queries."""
    rng = np.random.default_rng(seed)
    spread = noise * rng.standard_normal((len(levels), seeds, queries))
    easy = 0.1 * rng.standard_normal(queries)
    parts = np.asarray(levels)[:, None, None] + spread - spread.mean(axis=2, keepdims=True)
    return parts + easy - easy.mean()


def trained(**changes):
    known = {
        "collection": "toy",
        "sources": (*LABELS, "none"),
        "seeds": (1, 2, 3),
        "scores": scores([*LEVELS, NONE]),
        "seconds": 1000.0,
    }
    return Measurements(**{**known, **changes})


def of(values, labels=LABELS):
    return dict(zip(labels, np.asarray(values, dtype=float).tolist(), strict=True))


CAPACITY = MetricValues("capacity", {**of([3.9, 3.2, 1.4, 3.9, 3.0]), "none": 0.0}, seconds=2.0)
PERFECT = MetricValues("perfect", {**of(LEVELS), "none": NONE}, seconds=4.0)


@pytest.fixture(scope="module")
def agreement():
    found = [
        CAPACITY,
        PERFECT,
        MetricValues("reversed", {**of(-LEVELS), "none": -NONE}),
        MetricValues("rate", of(1 - LEVELS), more_is_better=False),
        MetricValues("constant", of([0.1] * 5)),
        MetricValues("absent", of([math.nan] * 5)),
        MetricValues("blind", {"bm25": 2.0, "llm": 1.0, "random": 1.5, "reranked": 3.0}),
        MetricValues("verdicts", {**of([1, 2, 3, 4, 5]), "none": 2.0}, verdicts=VERDICTS),
    ]
    return agree(trained(), found, draws=300)


VERDICTS = {"bm25": "help", "dense": "help", "llm": "undecided", "random": "help", "reranked": "hurt"}


# Figures


@pytest.fixture
def tied():
    rng = np.random.default_rng(1)
    return rng.integers(0, 4, 9).astype(float), rng.integers(0, 5, (40, 9)).astype(float)


def test_correlations_equal_scipys(tied):
    stats = pytest.importorskip("scipy.stats")
    values, rows = tied
    for ours, theirs in ((pearson, "pearsonr"), (spearman, "spearmanr"), (kendall, "kendalltau")):
        expected = [getattr(stats, theirs)(values, row).statistic for row in rows]
        np.testing.assert_allclose(ours(values, rows), expected, atol=1e-12)


def test_correlations_equal_those_of_one_pair(tied):
    values, rows = tied
    for ours, theirs in ((pearson, association.pearson), (kendall, ranking.kendall)):
        np.testing.assert_allclose(ours(values, rows), [theirs(values, row) for row in rows], atol=1e-12)


@pytest.mark.parametrize("constant", [0.1, math.log1p(50), math.log1p(7), 0.0])
def test_constants_go_together_with_nothing(constant):
    """Also where the mean of equal numbers misses them by a last digit."""
    same, rows = np.full(12, constant), np.random.default_rng(0).random((3, 12))
    for found in (pearson, spearman, kendall):
        assert np.isnan(found(same, rows)).all()
        assert np.isnan(found(rows[0], same[None])).all()
    assert np.isnan(partial(rows[0], rows, same)).all()
    assert math.isnan(permutation_p(same, rows[0], orders(12, seed=0)))


def test_few_sources_have_no_correlation():
    rows = np.array([[1.0, 3.0, 2.0, 5.0]])
    for count, known in ((1, ""), (2, "τ"), (3, "τr"), (4, "τrp")):
        values, some = np.arange(count, dtype=float), rows[:, :count]
        assert math.isnan(kendall(values, some)[0]) == ("τ" not in known)
        assert math.isnan(pearson(values, some)[0]) == ("r" not in known)
        assert math.isnan(partial(values, some, values**2)[0]) == ("p" not in known)


def test_partial_is_the_correlation_of_residuals_and_the_textbook_formula():
    rng = np.random.default_rng(2)
    given, values, rows = rng.random(9), rng.random(9), rng.random((20, 9))
    line = np.column_stack([np.ones(9), given])

    def left(side):
        return side - line @ np.linalg.lstsq(line, side, rcond=None)[0]

    found = partial(values, rows, given)
    np.testing.assert_allclose(found, [np.corrcoef(left(values), left(row))[0, 1] for row in rows])
    for row, ours in zip(rows, found, strict=True):
        xy, xz, yz = (np.corrcoef(*pair)[0, 1] for pair in ((values, row), (values, given), (row, given)))
        assert ours == pytest.approx((xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2)))
    assert np.isnan(partial(2 * given + 1, rows, given)).all()


def test_orders_are_all_or_drawn():
    every = orders(4, seed=0)
    assert {tuple(order) for order in every.tolist()} == set(permutations(range(4)))
    assert len(every) == 24
    assert len(orders(8, seed=0)) == math.factorial(8)
    drawn = orders(9, seed=0)
    assert (np.sort(drawn, axis=1) == np.arange(9)).all()
    assert (drawn == orders(9, seed=0)).all()
    assert (drawn != orders(9, seed=1)).any()
    # Each thing comes to each place as often.
    assert np.abs([np.bincount(place) / len(drawn) - 1 / 9 for place in drawn.T]).max() < 0.02


def test_permutation_p_counts_every_order():
    rng = np.random.default_rng(3)
    values, measured = rng.random(6), rng.random(6)
    r = abs(np.corrcoef(values, measured)[0, 1])
    every = [abs(np.corrcoef(values, measured[list(order)])[0, 1]) for order in permutations(range(6))]
    expected = sum(other >= r - 1e-9 for other in every) / math.factorial(6)
    assert permutation_p(values, measured, orders(6, seed=0)) == pytest.approx(expected)


def test_permutation_p_of_many_sources_is_drawn_and_never_0():
    stats = pytest.importorskip("scipy.stats")
    values = np.arange(12.0)
    assert permutation_p(values, values, orders(12, seed=0)) == pytest.approx(1 / 10_000)
    measured = values + 8 * np.random.default_rng(4).standard_normal(12)
    assert permutation_p(values, measured, orders(12, seed=0)) == pytest.approx(
        stats.pearsonr(values, measured).pvalue, abs=0.02
    )


@pytest.mark.parametrize(("hits", "total"), [(0, 5), (3, 5), (5, 5), (40, 100)])
def test_share_has_the_interval_of_wilson(hits, total):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(hits, total).proportion_ci(method="wilson")
    found = Share.of(hits, total)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


# Draws


def test_the_first_row_is_the_figure_itself_and_the_draws_are_seeded():
    drawn = Resampled.of(scores(LEVELS), draws=300, seed=1)
    assert drawn.means.shape == (301, 5)
    assert drawn.by_seed.shape == (301, 5, 3)
    np.testing.assert_allclose(drawn.means[0], LEVELS)
    np.testing.assert_allclose(drawn.by_seed[0], np.repeat(LEVELS[:, None], 3, axis=1))
    again, other = (Resampled.of(scores(LEVELS), draws=300, seed=seed) for seed in (1, 2))
    assert (drawn.means == again.means).all()
    assert (drawn.means[1:] != other.means[1:]).all()


def test_sources_are_paired_in_every_draw():
    same = np.repeat(scores([0.5]), 2, axis=0)
    drawn = Resampled.of(same, draws=300, seed=0).means
    np.testing.assert_allclose(drawn[:, 0], drawn[:, 1])
    assert drawn[1:, 0].std() > 0.003


def test_draws_spread_as_queries_and_seeds_do():
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((1, 1, 400))
    found = Resampled.of(queries, draws=4000, seed=0).means[1:, 0].std()
    assert found == pytest.approx(queries.std() / 20, rel=0.05)
    seeds = rng.standard_normal((1, 5, 1)) * np.ones(7)
    found = Resampled.of(seeds, draws=4000, seed=0).means[1:, 0].std()
    assert found == pytest.approx(seeds.std() / math.sqrt(5), rel=0.05)


def test_estimate_passes_over_undefined_draws():
    drawn = np.concatenate([np.linspace(0.0, 2.0, 95), np.full(5, math.nan)])
    assert estimate(np.array([1.0, *drawn])) == Estimate(1.0, pytest.approx(0.05), pytest.approx(1.95))
    # Of more than 5 % nobody knows where they would be.
    found = estimate(np.array([1.0, *drawn[1:]]))
    assert (found.value, math.isnan(found.low), math.isnan(found.high)) == (1.0, True, True)
    assert math.isnan(estimate(np.array([1.0, math.nan])).low)
    assert math.isnan(estimate(np.array([math.nan, 1.0])).high)


def experiment(rng, truth, *, queries=150, seeds=3):
    """Scores with difficulty of queries, and noise of source × query, source × seed, and all three."""
    shape = (len(truth), seeds, queries)
    return (
        0.5
        + np.asarray(truth)[:, None, None]
        + 0.3 * rng.standard_normal((1, 1, queries))
        + 0.1 * rng.standard_normal((shape[0], 1, queries))
        + 0.003 * rng.standard_normal((*shape[:2], 1))
        + 0.05 * rng.standard_normal(shape)
    )


def test_intervals_cover_differences_and_what_such_an_experiment_gives():
    rng = np.random.default_rng(5)
    # The same noise at the level of the means, to know what tau comes to on average.
    noise = math.sqrt(0.1**2 / 150 + 0.003**2 / 3 + 0.05**2 / 450)
    covered = {"difference": [], "tau": [], "noiseless tau": []}
    for _ in range(120):
        truth = 0.01 * rng.standard_normal(8)
        values = truth + 0.005 * rng.standard_normal(8)
        means = Resampled.of(experiment(rng, truth), draws=300, seed=0).means
        found = estimate(means[:, 0] - means[:, 1])
        covered["difference"].append(found.low <= truth[0] - truth[1] <= found.high)
        found = estimate(kendall(values, means))
        expected = kendall(values, truth + noise * rng.standard_normal((300, 8))).mean()
        covered["tau"].append(found.low <= expected <= found.high)
        covered["noiseless tau"].append(found.low <= kendall(values, truth[None])[0] <= found.high)
    shares = {name: float(np.mean(hits)) for name, hits in covered.items()}
    assert 0.88 <= shares["difference"] <= 0.995
    assert 0.88 <= shares["tau"] <= 0.995
    # What the docstring disclaims: tau with the noise taken away is not what these intervals are for.
    assert shares["noiseless tau"] < shares["tau"]


# The ceiling


def test_without_noise_there_is_no_ceiling():
    found = Ceiling.of(Resampled.of(scores(LEVELS, noise=0.0), draws=100, seed=0))
    for kind in ("others", "pairs", "seeds", "queries"):
        assert getattr(found, kind).value == pytest.approx(1.0, abs=1e-5)
        assert getattr(found, kind).low == pytest.approx(1.0, abs=1e-5)


def test_noise_alone_agrees_with_nothing():
    rng = np.random.default_rng(6)
    found = [Ceiling.of(Resampled.of(rng.random((12, 3, 50)), draws=20, seed=0)) for _ in range(60)]
    assert abs(np.mean([entry.others.value for entry in found])) < 0.06
    assert abs(np.mean([entry.pairs.value for entry in found])) < 0.06
    # Reliabilities below 0 count as 0, so chance leaves something on average.
    assert np.mean([entry.queries.value for entry in found]) < 0.3
    assert sum(entry.queries.value == 0 for entry in found) > 20


def test_ceilings_are_what_a_perfect_metric_reaches():
    rng = np.random.default_rng(7)
    reached = {"seeds": [], "queries": []}
    told = {"seeds": [], "queries": []}
    for _ in range(80):
        truth, at_queries = 0.01 * rng.standard_normal(40), 0.1 * rng.standard_normal((40, 1, 150))
        noise = 0.02 * rng.standard_normal((40, 3, 1)) + 0.05 * rng.standard_normal((40, 3, 150))
        made = truth[:, None, None] + at_queries + noise
        mean = made.mean(axis=(1, 2))[None]
        found = Ceiling.of(Resampled.of(made, draws=1, seed=0))
        reached["queries"].append(kendall(truth, mean)[0])
        reached["seeds"].append(kendall(truth + at_queries.mean(axis=(1, 2)), mean)[0])
        for kind, values in told.items():
            values.append(getattr(found, kind).value)
    for kind, values in told.items():
        assert np.mean(values) == pytest.approx(np.mean(reached[kind]), abs=0.04)
    assert np.mean(told["queries"]) < np.mean(told["seeds"]) - 0.05


def test_ceilings_of_real_rankings_are_averages_over_seeds():
    made = scores(LEVELS, seeds=4, noise=0.0) + 0.1 * np.random.default_rng(8).standard_normal((5, 4, 1))
    means = made.mean(axis=2).T
    found = Ceiling.of(Resampled.of(made, draws=10, seed=0))
    rest = [np.delete(means, place, axis=0).mean(axis=0) for place in range(4)]
    others = [ranking.kendall(one, other) for one, other in zip(means, rest, strict=True)]
    pairs = [ranking.kendall(means[a], means[b]) for a in range(4) for b in range(a)]
    assert found.others.value == pytest.approx(np.mean(others))
    assert found.pairs.value == pytest.approx(np.mean(pairs))


def test_ceiling_at_these_queries_steps_up_by_spearman_brown():
    made = np.random.default_rng(9).standard_normal((10, 1)) + np.random.default_rng(10).standard_normal(
        (10, 4)
    )
    made = (made - made.mean(axis=0)) / made.std(axis=0)
    single = np.mean([np.corrcoef(made[:, a], made[:, b])[0, 1] for a in range(4) for b in range(a)])
    # Kristof's form for few sources: (α (S − 3) + 2) / (S − 1).
    reliability = (4 * single / (1 + 3 * single) * 7 + 2) / 9
    found = Ceiling.of(Resampled.of(np.repeat(made[:, :, None], 2, axis=2), draws=1, seed=0))
    assert found.seeds.value == pytest.approx(2 / math.pi * math.asin(math.sqrt(reliability)))


def test_ceiling_over_queries_equals_a_three_way_analysis_of_variance():
    made = experiment(np.random.default_rng(11), 0.1 * np.arange(4), queries=6)
    sources, seeds, queries = made.shape
    total = made.mean()
    s, k, q = (made.mean(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    sk, sq, kq = (made.mean(axis=axis) for axis in (2, 1, 0))
    squares = dict.fromkeys(("s", "sk", "sq", "skq"), 0.0)
    for a in range(sources):
        squares["s"] += seeds * queries * (s[a] - total) ** 2
        for b in range(seeds):
            squares["sk"] += queries * (sk[a, b] - s[a] - k[b] + total) ** 2
            for c in range(queries):
                rest = sk[a, b] + sq[a, c] + kq[b, c] - s[a] - k[b] - q[c] + total
                squares["skq"] += (made[a, b, c] - rest) ** 2
        for c in range(queries):
            squares["sq"] += seeds * (sq[a, c] - s[a] - q[c] + total) ** 2
    freedom = {"s": 1, "sk": seeds - 1, "sq": queries - 1, "skq": (seeds - 1) * (queries - 1)}
    mean = {name: value / (freedom[name] * (sources - 1)) for name, value in squares.items()}
    reliability = 1 - (mean["sk"] + mean["sq"] - mean["skq"]) / mean["s"] / 3
    found = Ceiling.of(Resampled.of(made, draws=1, seed=0))
    assert 0.1 < reliability < 0.999
    assert found.queries.value == pytest.approx(2 / math.pi * math.asin(math.sqrt(reliability)))
    at_these = 1 - mean["sk"] / mean["s"] / 3
    assert found.seeds.value == pytest.approx(2 / math.pi * math.asin(math.sqrt(at_these)))


@pytest.mark.parametrize("shape", [(5, 1, 20), (1, 3, 20), (3, 3, 20)])
def test_one_seed_or_few_sources_have_no_ceiling(shape):
    found = Ceiling.of(Resampled.of(np.random.default_rng(0).random(shape), draws=5, seed=0))
    assert math.isnan(found.others.value) == (shape != (3, 3, 20))
    assert math.isnan(found.seeds.value)
    assert math.isnan(found.queries.value)


# Agreement


def test_a_metric_equal_to_the_measure_is_perfect(agreement):
    found = agreement["perfect"]
    for figure in (found.kendall, found.spearman, found.pearson, found.partial):
        assert figure.value == pytest.approx(1.0)
        assert figure.low > 0.99
    assert found.p == pytest.approx(2 / 120), "the opposite order reaches |r| = 1 too"
    assert found.choice == ("dense",)
    assert found.regret == Estimate(0.0, 0.0, 0.0)
    assert (found.signs.hits, found.signs.total) == (5, 5)
    assert found.sources == 5
    assert found.cost == 250.0


def test_a_reversed_metric_is_as_bad_as_can_be(agreement):
    found = agreement["reversed"]
    assert found.kendall.value == found.spearman.value == -1.0
    assert found.choice == ("llm",)
    assert found.regret.value == pytest.approx(0.2)
    assert 0.19 < found.regret.low < 0.2 < found.regret.high < 0.21
    assert found.signs.hits == 0
    assert found.signs_decided.total == 5


def test_lower_is_better_is_turned(agreement):
    assert agreement["rate"].kendall.value == 1.0
    assert agreement["rate"].choice == ("dense",)
    assert agreement["rate"].signs.total == 0, "it has no opinion on none"


def test_a_constant_metric_has_no_rank_and_chooses_by_chance(agreement):
    found = agreement["constant"]
    assert math.isnan(found.kendall.value)
    assert math.isnan(found.p)
    assert found.choice == LABELS
    assert found.regret == agreement.regret_random
    assert found.regret.value == pytest.approx(0.60 - LEVELS.mean())


def test_an_absent_metric_is_undefined(agreement):
    found = agreement["absent"]
    assert found.sources == 0
    assert found.choice == ()
    assert math.isnan(found.regret.value)
    assert math.isnan(found.kendall.value)
    assert math.isnan(found.cost)


def test_a_metric_is_compared_where_it_has_values(agreement):
    found = agreement["blind"]
    assert found.sources == 4
    assert found.choice == ("reranked",)
    assert found.regret.value == pytest.approx(0.05), "the best source is one that it does not know"
    rest = [0, 2, 3, 4]
    blind, capacity = np.array([2.0, 1.0, 1.5, 3.0]), np.array([3.9, 1.4, 3.9, 3.0])
    assert found.kendall.value == 1.0
    gain = ranking.kendall(blind, LEVELS[rest]) - ranking.kendall(capacity, LEVELS[rest])
    assert found.kendall_gain.value == pytest.approx(gain)


def test_metrics_are_sorted_and_undefined_ones_last(agreement):
    names = [found.metric for found in agreement.metrics]
    assert names[:3] == ["blind", "perfect", "rate"]
    assert names[-3:] == ["reversed", "absent", "constant"]
    with pytest.raises(KeyError, match="no metric 'eci'; there are blind, perfect"):
        agreement["eci"]


def test_leaving_out_a_source_equals_the_association(agreement):
    found, means = agreement["capacity"], association.Measures(of(LEVELS), "nDCG@10")
    expected = association.Association.of("capacity", of([3.9, 3.2, 1.4, 3.9, 3.0]), means)
    assert found.pearson.value == pytest.approx(expected.pearson)
    assert found.without == pytest.approx(expected.without)
    assert found.association.lever == expected.lever
    assert found.association.range[0][1] == pytest.approx(expected.range[0][1])


def test_ties_share_the_regret(agreement):
    found = agreement["capacity"]
    assert found.choice == ("bm25", "random")
    assert found.regret.value == pytest.approx(0.6 - (0.50 + 0.45) / 2)


def test_none_is_chosen_only_by_a_metric_with_an_opinion_on_it():
    metrics = [MetricValues("high", {**of(LEVELS), "none": 9.0}), MetricValues("silent", of(LEVELS))]
    found = agree(trained(), metrics, draws=50)
    assert found["high"].choice == ("none",)
    assert found["high"].regret == found.regret_none
    assert found["high"].regret.value == pytest.approx(0.13)
    assert found["high"].kendall.value == 1.0, "none is no part of the ranking"
    assert found["silent"].choice == ("dense",)


def test_regret_counts_none_as_a_source_to_train_on():
    found = agree(trained(scores=scores([*LEVELS, 0.7])), [PERFECT], draws=50)
    assert found["perfect"].regret.value == pytest.approx(0.1)
    assert found.regret_none.value == 0.0
    assert next(iter(found.measured)) == "none"


def test_everything_is_compared_with_capacity_draw_by_draw(agreement):
    assert agreement["capacity"].kendall_gain == agreement["capacity"].regret_gain == Estimate(0.0, 0.0, 0.0)
    found = agreement["perfect"]
    assert found.kendall_gain.value == pytest.approx(1.0 - agreement["capacity"].kendall.value)
    assert found.regret_gain.value == pytest.approx(-agreement["capacity"].regret.value)
    assert found.regret_gain.high < 0
    alone = agree(trained(), [PERFECT], draws=50)["perfect"]
    assert math.isnan(alone.kendall_gain.value)
    assert math.isnan(alone.partial.value)


def test_capacity_of_some_sources_is_compared_over_these():
    some = {"bm25": 3.9, "llm": 1.4, "random": 3.0, "reranked": 2.5}
    values = np.array([0.3, 0.9, 0.1, 0.4, 0.2])
    found = agree(trained(), [MetricValues("capacity", some), MetricValues("eci", of(values))], draws=50)[
        "eci"
    ]
    rest, capacity = [0, 2, 3, 4], np.array(list(some.values()))
    tau = [ranking.kendall(side, LEVELS[rest]) for side in (values[rest], capacity)]
    assert found.kendall_gain.value == pytest.approx(tau[0] - tau[1])
    assert found.kendall.value == pytest.approx(ranking.kendall(values, LEVELS)) != tau[0]
    assert found.partial.value == pytest.approx(partial(values[rest], LEVELS[None, rest], capacity)[0])


def test_ceilings_are_over_the_sources_they_say():
    made = scores([*LEVELS, NONE], noise=0.5)
    made += 0.05 * np.random.default_rng(0).standard_normal((6, 3, 1))
    found = agree(trained(scores=made), [PERFECT], draws=50)
    assert found.ceiling == Ceiling.of(Resampled.of(made[:5], draws=50, seed=0))
    assert found.ceiling_with_none == Ceiling.of(Resampled.of(made, draws=50, seed=0)) != found.ceiling


def test_effects_are_decided_by_their_interval():
    levels = [0.50, 0.60, 0.40, 0.471, 0.469]
    found = agree(trained(scores=scores([*levels, NONE], noise=0.1)), [PERFECT], draws=300)
    assert {entry["source"]: entry["verdict"] for entry in found.effects} == {
        "bm25": "help",
        "dense": "help",
        "llm": "hurt",
        "random": "undecided",
        "reranked": "undecided",
    }
    entry = found.effects[1]
    assert entry["gain"] == pytest.approx(0.13)
    assert 0 < entry["low"] < entry["gain"] < entry["high"]
    assert (found.helped.hits, found.helped.total) == (3, 5)
    assert (found.helped_decided.hits, found.helped_decided.total) == (2, 3)
    assert (found["perfect"].signs_decided.hits, found["perfect"].signs_decided.total) == (3, 3)


def test_verdicts_are_counted_against_what_training_did(agreement):
    # llm and random hurt, the others help.
    assert agreement.verdicts == {
        "verdicts": {
            "help": {"help": 2, "undecided": 0, "hurt": 1},
            "undecided": {"help": 0, "undecided": 0, "hurt": 1},
            "hurt": {"help": 1, "undecided": 0, "hurt": 0},
        }
    }
    # 1 < 2 for none, 2 = 2, 3 > 2, 4 > 2, 5 > 2: of these only the last is right.
    assert (agreement["verdicts"].signs.hits, agreement["verdicts"].signs.total) == (1, 5)


def test_without_none_there_is_no_help_and_no_hurt():
    found = agree(
        trained(sources=LABELS, scores=scores(LEVELS)), [PERFECT, MetricValues("v", {}, verdicts=VERDICTS)]
    )
    assert found.effects == ()
    assert math.isnan(found.regret_none.value)
    assert found["perfect"].signs.total == found.helped.total == 0
    assert found.ceiling == found.ceiling_with_none
    assert sum(sum(row.values()) for row in found.verdicts["v"].values()) == 0
    assert "always help" in agreement_text(found)


def test_order_of_sources_and_metrics_changes_nothing_but_draws_do():
    turn = [5, 3, 1, 0, 2, 4]
    labels = (*LABELS, "none")
    made = scores([*LEVELS, NONE])
    other = trained(sources=tuple(labels[place] for place in turn), scores=made[turn])
    one, two = agree(trained(), [CAPACITY, PERFECT], draws=200), agree(other, [PERFECT, CAPACITY], draws=200)
    for name in ("capacity", "perfect"):
        assert one[name].kendall == two[name].kendall
        assert one[name].regret == pytest.approx(two[name].regret)
        assert one[name].p == two[name].p
    assert agree(trained(), [CAPACITY], draws=200, seed=1)["capacity"].regret != one["capacity"].regret


# Published figures


def published():
    rows = GOLDEN["table1_bge_base"]
    made = Measurements(
        "BEIR", tuple(NDCG), (0,), np.repeat(np.array(list(NDCG.values()))[:, None, None], 2, axis=2)
    )
    computed = {row["name"]: float(score_of(row["n"], row["s"], row["d"])) for row in rows}
    values = {
        "eci": computed,
        "capacity": {row["name"]: math.log1p(row["n"]) for row in rows},
        "signal": {row["name"]: row["s"] for row in rows},
        "arithmetic": {row["name"]: math.log1p(row["n"]) * (row["s"] + row["d"]) / 2 for row in rows},
    }
    return agree(made, [MetricValues(name, found) for name, found in values.items()], draws=10)


def test_table_6_from_the_published_figures():
    found, told = published(), GOLDEN["recomputed_from_tables_1_and_2"]
    for name, key in (("eci", "eci"), ("capacity", "capacity_only"), ("arithmetic", "arithmetic")):
        assert found[name].pearson.value == pytest.approx(told[key], abs=6e-4)
    assert found["signal"].pearson.value == pytest.approx(told["signal"], abs=6e-3)
    assert found["eci"].spearman.value == pytest.approx(told["spearman_eci"], abs=6e-3)
    assert found["eci"].kendall.value == pytest.approx(told["kendall_eci"], abs=6e-3)
    assert found["eci"].without["LLM"] == pytest.approx(told["eci_without_llm"], abs=6e-3)
    assert found["eci"].association.lever == "LLM"
    assert found["eci"].p == pytest.approx(0.021, abs=1e-3)
    assert found["eci"].choice == ("BM25+Cross-Encoder",)
    assert found["eci"].regret.value == 0.0


def test_one_seed_is_told():
    text = agreement_text(published())
    assert "mean of 1 seed and 2 queries" in text
    assert "queries (there is one seed) are drawn again" in text
    assert "takes two seeds to tell" in text


# Several collections


@pytest.fixture(scope="module")
def agreements():
    metrics = [CAPACITY, PERFECT, MetricValues("verdicts", {**of(range(5)), "none": 0.0}, verdicts=VERDICTS)]
    other = scores([*LEVELS[::-1], NONE], seed=3)
    return [
        agree(trained(), metrics, draws=50),
        agree(trained(collection="other", scores=other), metrics[:2], draws=50),
        agree(trained(collection="third"), [*metrics, MetricValues("absent", {})], draws=50),
    ]


def test_summary_averages_and_leaves_one_out(agreements):
    found = summarise(agreements)
    pooled = {entry.metric: entry for entry in found.metrics}
    tau = [entry["perfect"].kendall.value for entry in agreements]
    assert tau == [1.0, pytest.approx(ranking.kendall(LEVELS, LEVELS[::-1])), 1.0]
    assert pooled["perfect"].kendall.mean == pytest.approx(np.mean(tau))
    assert pooled["perfect"].kendall.without == pytest.approx(
        {"toy": np.mean(tau[1:]), "other": 1.0, "third": np.mean(tau[:2])}
    )
    assert pooled["perfect"].regret.mean == pytest.approx(
        np.mean([e["perfect"].regret.value for e in agreements])
    )
    assert pooled["verdicts"].kendall.values.keys() == {"toy", "third"}
    assert pooled["perfect"].signs.total == 15
    assert pooled["perfect"].signs.hits == sum(entry["perfect"].signs.hits for entry in agreements)
    assert found.helped.total == 15
    assert found.verdicts["verdicts"]["help"] == {"help": 4, "undecided": 0, "hurt": 2}
    assert math.isnan(pooled["absent"].kendall.mean)
    assert pooled["absent"].kendall.without == {}
    assert [entry.metric for entry in found.metrics][-1] == "absent"
    assert found.ceiling.values["other"] == agreements[1].ceiling.queries.value


def test_limits_of_a_mean_add_as_squares():
    rng = np.random.default_rng(0)
    truth, half = np.array([0.2, 0.5, 0.9]), np.array([0.1, 0.3, 0.2])
    covered = 0
    for values in truth + half / 1.96 * rng.standard_normal((2000, 3)):
        found = Averaged.of(
            (str(place), Estimate(value, value - wide, value + wide))
            for place, (value, wide) in enumerate(zip(values, half, strict=True))
        )
        covered += found.low <= truth.mean() <= found.high
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)
    lopsided = Averaged.of([("a", Estimate(1.0, 0.7, 1.1)), ("b", Estimate(0.0, -0.4, 0.0))])
    assert (lopsided.low, lopsided.high) == pytest.approx((0.5 - 0.25, 0.5 + 0.05))
    without = Averaged.of([("a", Estimate(1.0, 0.7, 1.1)), ("b", Estimate(0.0, math.nan, math.nan))])
    assert without.mean == 0.5
    assert math.isnan(without.low)
    assert math.isnan(without.high)


def test_one_collection_cannot_be_left_out(agreements):
    found = summarise(agreements[:1])
    tau = agreements[0]["perfect"].kendall
    assert found.metrics[0].kendall == Averaged(1.0, tau.low, tau.high, {"toy": 1.0}, {})
    assert found.collections == ("toy",)


@pytest.mark.parametrize(
    ("chosen", "changes", "message"),
    [
        ([], {}, "on different collections, found none"),
        ([0, 0], {}, r"found nDCG@10 on toy and toy\."),
        ([0, 1], {"measure": "P@10"}, r"found P@10 and nDCG@10 on toy and other\."),
    ],
)
def test_what_cannot_be_summarised_is_refused(agreements, chosen, changes, message):
    some = [agreements[place] for place in chosen]
    if changes:
        some[0] = Agreement(**{**vars(some[0]), **changes})
    with pytest.raises(DataError, match=message):
        summarise(some)


# What comes out, and what is refused


def test_json_has_no_undefined_numbers(agreement, agreements):
    made = json.loads(json.dumps(agreement.to_dict(), allow_nan=False))
    assert made["schema"] == "eci.agreement/1"
    assert made["metrics"][1]["metric"] == "perfect"
    assert made["metrics"][1]["kendall"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert made["metrics"][1]["signs"]["total"] == 5
    assert made["metrics"][-1]["kendall"]["value"] is None
    assert made["settings"] == {
        "draws": 300,
        "seed": 0,
        "seeds": [1, 2, 3],
        "queries": 200,
        "training_seconds": 1000.0,
    }
    pooled = json.loads(json.dumps(summarise(agreements).to_dict(), allow_nan=False))
    assert pooled["metrics"][0]["kendall"].keys() == {"mean", "low", "high", "values", "without"}


def test_text_has_every_table_and_its_columns_in_line(agreement):
    text = agreement_text(agreement)
    blocks = text.split("\n\n")
    assert blocks[0].startswith("toy: nDCG@10 after training on 6 sources, mean of 3 seeds and 200 queries")
    assert "Without a value of any source: absent." in blocks[2]
    assert "of 6 that know nothing, 0.3 have p < 0.05" in blocks[2]
    assert "instead of dense, 0.6000?" in blocks[4]
    assert "bm25 = random" in blocks[4]
    assert "5 tied" in blocks[4]
    assert "1 : 250" in blocks[4]
    assert blocks[5].startswith("verdicts said")
    for block in blocks[1:]:
        lines = block.split("\n")
        rule = next(place for place, line in enumerate(lines) if line.startswith("─"))
        rows = [line for line in lines[rule - 1 :] if line[0] not in " ─"]
        assert max(map(span, rows)) == span(lines[rule])
    best = next(line for line in blocks[2].split("\n") if line.startswith("perfect"))
    assert best.split()[:3] == ["perfect", "5", "+1.00"]


def test_two_sources_have_tau_and_no_interval_of_it():
    """It is −1 or 1, and undefined where they tie: its draws would say "+1.00 … +1.00"."""
    two = {"sources": ("a", "b", "none"), "scores": scores([0.5, 0.4, 0.45])}
    found = agree(
        trained(**two),
        [MetricValues("eci", {"a": 2.0, "b": 1.0}), MetricValues("capacity", {"a": 1.0, "b": 2.0})],
        draws=50,
    )
    assert (found["eci"].kendall.value, found["capacity"].kendall.value) == (1.0, -1.0)
    for figure in (
        found["eci"].kendall,
        found["eci"].kendall_gain,
        found.ceiling.others,
        found.ceiling.pairs,
    ):
        assert not math.isnan(figure.value)
        assert math.isnan(figure.low)
        assert math.isnan(figure.high)
    # Of three, none among them, there are orders between.
    assert not math.isnan(found.ceiling_with_none.others.low)
    text = agreement_text(found)
    assert "+1.00 … +1.00" not in text.split("\n\n")[2]
    assert "of 0 that know nothing" not in text
    assert "No metric has r, p or an interval of τ: these take three sources" in text


def test_text_of_the_summary(agreements):
    text = summary_text(summarise(agreements))
    assert text.startswith("nDCG@10, mean over 3 collections, toy, other and third; without one")
    assert "what noise allows" in text
    assert "verdicts said" in text
    assert len({span(line) for line in text.split("\n") if line.startswith("─")}) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": (*LABELS, "bm25")}, "nDCG@10 on toy: source bm25 stands there twice"),
        ({"seeds": (1, 2, 2)}, "seed 2 stands there twice"),
        ({"seeds": (1, 2)}, r"6 sources and 2 seeds, found \(6, 3, 200\)"),
        ({"seeds": (), "scores": np.zeros((6, 0, 5))}, r"found \(6, 0, 5\)"),
        ({"scores": np.zeros((6, 3))}, r"expected scores of shape \(sources, seeds, queries\)"),
        ({"scores": np.zeros((6, 3, 1))}, "two test queries"),
        ({"sources": ("none",), "scores": np.zeros((1, 3, 9))}, "needs a source beside none"),
        (
            {"scores": np.where(np.arange(6)[:, None, None] == 2, np.nan, scores([*LEVELS, NONE]))},
            "no finite score of source 'llm', seed 1, query number 0",
        ),
    ],
)
def test_scores_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        trained(**changes)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([CAPACITY, CAPACITY], "capacity stands there twice"),
        ([MetricValues("eci", {"dpr": 1.0})], "eci: not trained on dpr, only on bm25, dense, llm"),
        ([MetricValues("eci", {}, verdicts={"dpr": "help"})], "eci: not trained on dpr"),
        ([MetricValues("eci", {"bm25": math.inf})], "eci: infinite for bm25"),
        ([MetricValues("eci", {}, verdicts={"bm25": "good"})], "no verdict good. Verdicts are help"),
    ],
)
def test_metrics_that_do_not_fit_are_refused(metrics, message):
    with pytest.raises(DataError, match=message):
        agree(trained(), metrics)


def test_an_opinion_on_none_may_stand_there_where_none_was_not_trained():
    assert agree(trained(sources=LABELS, scores=scores(LEVELS)), [PERFECT], draws=5)["perfect"].sources == 5
