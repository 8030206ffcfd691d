"""What a report says, where its rows come from, how much of them it holds, and that no text can do anything."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import html.parser
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import eci
from eci import api
from eci.datasets import read, write
from eci.directions import drawn_order
from eci.errors import DataError, MissingDependency, OutputError
from eci.metrics.eci import eci as eci_of
from eci.models.hashing import HashingEncoder
from eci.report import explaining, render, rows, writing
from eci.report.costing import needed
from eci.report.data import Column, visible
from eci.report.deciding import decision
from eci.report.exploring import ROOM, explorer
from eci.report.exporting import export
from eci.report.mapping import region
from eci.report.measured import CASES, KENDALL, NOISE_ALLOWS
from eci.report.render import cell, embedded, markdown, page
from eci.report.summarise import summarise
from eci.results import Estimate, ScoreResult
from fakes import examples_of, make_rows, run_cli

for module in ("jinja2", "altair", "vl_convert"):
    pytest.importorskip(module, reason="the extra 'report' is not installed")

GOLDEN = Path(__file__).parent / "golden" / "report.json"
HOSTILE = (
    "<script>window.bad = 1</script>",
    "</script><script>window.bad = 2</script>",
    '<img src="http://127.0.0.1:1/x.png" onerror="window.bad = 3">',
    "<!--<script>",
    '"><svg onload="window.bad = 4">',
    "javascript:alert(1) {{ 7 * 7 }} {% raw %} ${7 * 7}",
    "left \u202e thgir \u202c and \u2066 isolated",
    "W" * 10_000,
    "a\x00b\x1bc\u2028d\u2029e",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 family, e\u0301, \u0645\u0631\u062d\u0628\u0627, 你好",
    "& &amp; &lt;b&gt; ]]> ' \"",
)


def score(made, **options) -> ScoreResult:
    return api.score(made, "hashing", settings=eci.Settings(**options))


def kept(made, folder, result, most=2_000):
    file = folder / "kept.rows.parquet"
    rows.keep(examples_of(made), HashingEncoder(), result, file)
    return rows.read_sample(file, most, result)


@pytest.fixture(scope="module")
def made():
    return make_rows(60, {"bm25": 7, "dense": 4, "llm": 3}, seed=1)


@pytest.fixture(scope="module")
def result(made):
    return score(made)


@pytest.fixture(scope="module")
def sample(made, result, tmp_path_factory):
    return kept(made, tmp_path_factory.mktemp("rows"), result)


# ---- what is said


def rounded(value):
    """Numbers to five digits: what differs beyond them differs between machines."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, list | tuple) else value


def alike(one, two, where="report"):
    """Equal, numbers to a relative 1e-3."""
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            alike(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(two), where
        for place, (left, right) in enumerate(zip(one, two, strict=True)):
            alike(left, right, f"{where}[{place}]")
    elif isinstance(one, float) or isinstance(two, float):
        assert one == pytest.approx(two, rel=1e-3, abs=1e-6), where
    else:
        assert one == two, where


def test_the_report_of_a_tiny_result_is_the_golden_one():
    small = score(make_rows(24, {"bm25": 3, "dense": 2}, seed=3))
    small.settings["versions"] = {"eci": "0"}
    small.settings["command"] = "eci score rows.jsonl"
    told = rounded(summarise(small).to_dict())
    # Curves are tested by their formula.
    for section in told["sections"]:
        for figure in section["figures"]:
            figure["data"].pop("curves", None)
    alike(json.loads(GOLDEN.read_text(encoding="utf-8")), told)


def test_the_headline_says_who_leads_how_sure_and_never_that_it_predicts(result):
    found = decision(result)
    assert found.headline.startswith(
        ("dense leads by eci, with a", "bm25 leads by eci", "Not decided by eci")
    )
    assert "probability" in found.headline
    assert "not known to predict training" in found.caution
    assert "docs/validation.md" in found.caution
    assert found.decided is result.decided
    assert [head for head, _ in found.sentences] == [
        "By the figures",
        "Against in-batch negatives alone",
        "By other metrics",
        "To be surer",
    ]
    assert not any(text.startswith("null: ") for text in found.warnings)


def test_a_probability_of_one_is_not_certainty(result):
    sure = dataclasses.replace(
        result,
        decided=True,
        sources=tuple(
            dataclasses.replace(entry, probability_best=float(entry.rank == 1)) for entry in result.sources
        ),
    )
    assert ", with a probability above 0.99; against " in decision(sure).headline


@pytest.mark.parametrize("verdict", ["help", "hurt", "undecided"])
def test_the_headline_says_what_the_leader_is_expected_to_do(result, verdict):
    effects = tuple({**entry, "verdict": verdict} for entry in result.effects)
    told = {"help": "expected to help", "hurt": "expected to hurt", "undecided": "undecided"}[verdict]
    headline = decision(dataclasses.replace(result, effects=effects)).headline
    assert headline.endswith(f"against in-batch negatives alone it is {told}.")


def test_many_pairs_that_can_be_told_apart_make_one_warning(result):
    pair = {**result.shortcuts[0], "light": "separable"}
    pairs = [{**pair, "first": one, "second": two} for one, two in (("a", "b"), ("a", "c"), ("b", "c"))]
    told = [f"{each['first']} and {each['second']} differ in length whatever the query." for each in pairs]
    many = dataclasses.replace(result, shortcuts=tuple(pairs), warnings=("Careful.", *told))
    assert decision(many).warnings == (
        "Careful.",
        "3 of 3 pairs of sources can be told apart whatever the query: trained together, a model can learn the "
        "source instead of relevance (a / b, a / c, b / c).",
    )
    few = dataclasses.replace(many, shortcuts=tuple(pairs[:2]), warnings=tuple(told[:2]))
    assert decision(few).warnings == tuple(told[:2])


@settings(deadline=None)
@given(
    difference=st.floats(1e-3, 1),
    half=st.floats(1e-3, 1),
    queries=st.integers(1, 10**6),
    sign=st.sampled_from((-1, 1)),
)
def test_with_the_queries_needed_the_interval_just_reaches_zero(difference, half, queries, sign):
    found = needed(queries, sign * difference, sign * difference - half, sign * difference + half)
    assert half * math.sqrt(queries / found) == pytest.approx(difference)


def test_no_difference_is_never_separated_and_no_interval_says_nothing():
    assert needed(100, 0.0, -0.1, 0.1) == math.inf
    assert math.isnan(needed(100, 0.1, math.nan, math.nan))


def test_rivals_that_differ_too_little_are_told_so(result):
    close = {"source": "b", "difference": 0.001, "low": -0.1, "high": 0.1, "confidence": 0.95}
    far = {"source": "c", "difference": 0.1, "low": -0.1, "high": 0.3, "confidence": 0.95}
    undecided = dataclasses.replace(result, decided=False, comparisons=(close, far), effects=())
    told = dict(decision(undecided).sentences)["To be surer"]
    assert told == (
        "60 queries were scored. Further queries for an even chance, if differences stay what they are, to separate "
        f"{result.best.source} from b more than 100 times as many, c about 180. "
        "The rows hold no more: it takes rows of further queries."
    )  # an interval twice the difference takes four times the queries


def test_who_is_undecided_beside_in_batch_negatives_has_a_price_too(result):
    gains = {"bm25": (0.1, 0.05, 0.15), "dense": (0.1, -0.1, 0.3), "llm": (math.nan,) * 3}
    effects = tuple(
        {
            "source": source,
            "verdict": "help" if source == "bm25" else "undecided",
            "gain": gain,
            "low": low,
            "high": high,
            "confidence": 0.98,
        }
        for source, (gain, low, high) in gains.items()
    )
    found = decision(dataclasses.replace(result, decided=True, comparisons=(), effects=effects))
    told = dict(found.sentences)["To be surer"]
    assert "to tell help from hurt for " in told
    assert "dense about 180" in told
    assert "llm (no interval, too few queries)" in told
    assert "bm25" not in told
    # Beyond memory these figures are of the queries held, and more rows would change nothing.
    beyond = dataclasses.replace(result, effects=effects, data={**result.data, "in_memory": 30})
    assert "tell help from hurt" not in dict(decision(beyond).sentences)["To be surer"]
    assert {row[4] for row in explaining.effects(beyond).table.rows} == {None}
    shown = explaining.effects(dataclasses.replace(result, effects=effects))
    assert "its 98 % interval" in shown.description
    assert [column.label for column in shown.table.columns[2:4]] == [
        "Gain in cosine, 98 %",
        "in dot product, 95 %",
    ]
    assert {row[0]: row[4] for row in shown.table.rows} == {"bm25": None, "dense": 180, "llm": None}


def test_an_easy_source_that_leads_by_its_margin_is_told_so(result):
    def moved(entry, signal):
        return dataclasses.replace(
            entry, values={**entry.values, "signal": Estimate(signal, signal - 0.1, signal + 0.1)}
        )

    first, *rest = result.sources
    for signal, easy in ((0.0, True), (0.9, False)):
        sources = (moved(first, signal), *(moved(entry, 0.5) for entry in rest))
        told = dict(decision(dataclasses.replace(result, sources=sources)).sentences)["By other metrics"]
        assert told.startswith("First is ")
        assert f" by {'eci_sem'}" in told
        assert ("easy negatives win" in told) is easy


def test_sources_are_compared_over_the_queries_that_all_cover():
    rows = make_rows(60, {"bm25": 4, "dense": 3}, seed=1)
    for row in rows[::2]:
        row["negatives"] = [each for each in row["negatives"] if each["source"] == "bm25"]
    found = score(rows)
    told = dict(decision(found).sentences)["Over the queries that all sources cover"]
    for entry in found.sources:
        common = entry.common["eci"]
        assert f"{entry.source} {common.value:.4f} ({common.low:.4f} … {common.high:.4f})" in told
    assert [row[-1] for row in decision(found).leaderboard.rows] == [entry.queries for entry in found.sources]


def test_queries_that_were_not_scored_are_offered(made):
    told = dict(decision(score(made, sample=30)).sentences)["To be surer"]
    assert told.endswith("The rows hold 60: --all scores them.")


def test_what_training_said_is_what_the_documentation_says():
    text = (Path(__file__).parents[1] / "docs" / "validation.md").read_text(encoding="utf-8")
    table = text[text.index("| τ | SciFact, 3 layers |") :]
    lines = table[: table.index("\n\n")].splitlines()
    assert tuple(lines[0].split(" | ")[1:6]) == CASES
    found = {}
    for line in lines[2:]:
        cells = line.split(" | ")
        if not cells[1].strip():
            continue
        found[cells[0].strip("|` ")] = tuple(float(value) for value in cells[1:6])
    assert found.pop("what noise allows") == NOISE_ALLOWS
    assert found == KENDALL


def test_curves_are_of_equal_eci_at_their_n(result, sample):
    figure = next(figure for figure in summarise(result, sample).figures if figure.key == "tradeoff")
    curves = figure.data["curves"]
    assert {entry["n"] for entry in curves} == {"7", "4", "3"}
    by_level: dict[tuple[str, str], list[float]] = {}
    for entry in curves:
        value = float(eci_of(float(entry["n"]), entry["signal"], entry["margin"]))
        by_level.setdefault((entry["n"], entry["level"]), []).append(value)
    for (_, level), values in by_level.items():
        assert values == pytest.approx(
            [float(level)] * len(values), rel=0.06
        )  # levels are told to two digits
        assert max(values) - min(values) < 1e-3


def test_the_region_holds_the_truth_in_nineteen_of_twenty_samples():
    rng = np.random.default_rng(0)
    groups, times, rho = 20, 1_000, 0.6
    draws = rng.multivariate_normal([0.0, 0.0], [[1.0, rho], [rho, 1.0]], size=(times, groups))
    means, held = draws.mean(axis=1), 0
    for mean, draw in zip(means, draws, strict=True):
        covariance = np.cov(draw.T) / groups
        half = 2.093024 * np.sqrt(np.diag(covariance))
        correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        estimates = [Estimate(m, m - h, m + h) for m, h in zip(mean, half, strict=True)]
        corners = region(*estimates, correlation, groups)
        ahead = np.roll(corners, -1, axis=0)
        cross = corners[:, 0] * ahead[:, 1] - corners[:, 1] * ahead[:, 0]
        held += bool(np.all(cross > 0) or np.all(cross < 0))  # the origin lies on one side of every edge
    assert held / times == pytest.approx(0.95, abs=0.02)


def test_without_intervals_there_is_no_region():
    lone = Estimate(0.5, math.nan, math.nan)
    assert region(lone, lone, 0.0, 20).shape == (0, 2)
    assert region(Estimate(0.5, 0.4, 0.6), Estimate(0.5, 0.4, 0.6), 0.0, 2).shape == (0, 2)


def test_distributions_are_shares_that_sum_to_one(result, sample):
    figure = next(figure for figure in summarise(result, sample).figures if figure.key == "distributions")
    sums: dict[tuple[str, str], float] = {}
    for entry in figure.data["values"]:
        key = (entry["source"], entry["side"])
        sums[key] = sums.get(key, 0.0) + entry["share"]
    assert len(sums) == 6
    assert list(sums.values()) == pytest.approx([1.0] * 6, abs=1e-3)


def test_without_rows_the_page_says_what_it_lacks_and_how_to_get_it(result):
    told = summarise(result)
    assert told.explorer is None
    assert {figure.key for figure in told.figures}.isdisjoint({"distributions", "pair"})
    assert "eci report takes them with --rows" in told.sections[0].notes[0]


def test_several_encoders_have_a_section_with_every_rank(made):
    class Other(HashingEncoder):
        def encode_query(self, texts):
            return super().encode_query([text[::-1] for text in texts])

        encode_document = encode_query

    found = api.compare(made, ["hashing", Other()], settings=eci.Settings(shortcuts=False))
    told = summarise(found)
    section = next(section for section in told.sections if section.key == "encoders")
    assert len(section.figures[0].data["values"]) == 6
    assert section.figures[0].table.columns[1].label == f"{found.encoders[0]}: rank"
    tables = {table.key: table for table in section.tables}
    assert len(tables["agreement"].rows) == 1
    assert len(tables["weights"].rows) == 2
    verdicts = [{entry["source"]: entry["verdict"] for entry in each.effects} for each in found.results]
    assert tables["expected"].rows == tuple(
        (entry.source, *(each[entry.source] for each in verdicts)) for entry in found.results[0].sources
    )
    sentence = dict(told.decision.sentences)["By other encoders"]
    one, other = (each.best.source for each in found.results)
    assert sentence.startswith(f"{int(one == other)} of 1 other encoder")
    assert (f"puts {other} first" in sentence) or one == other
    differ = [source for source in verdicts[0] if verdicts[0][source] != verdicts[1][source]]
    assert ("On help or hurt all say the same" in sentence) is (not differ)
    assert ("encoders differ for" in sentence) is bool(differ)


@pytest.mark.parametrize(
    ("count", "sources"), [(1, {"a": 1}), (3, {"a": 2, "b": 1}), (12, {"only": 2}), (40, {"a": 1, "b": 9})]
)
def test_small_and_single_results_make_a_page(count, sources, tmp_path):
    rows_ = make_rows(count, sources)
    found = score(rows_)
    text = page(summarise(found, kept(rows_, tmp_path, found)))
    assert text.startswith("<!DOCTYPE html>")
    assert text == page(
        summarise(
            ScoreResult.from_json(found.to_json()),
            rows.read_sample(tmp_path / "kept.rows.parquet", 2_000, found),
        )
    )


# ---- where the rows come from


def test_kept_rows_are_those_that_were_scored_in_the_order_of_the_draw(made, result, tmp_path):
    sample = kept(made, tmp_path, result)
    examples, encoder = examples_of(made), HashingEncoder()
    order = drawn_order(examples.keys, 0)
    assert sample.queries == tuple(examples.queries[number] for number in order)
    assert sample.total == len(sample) == 60
    vector = {text: value / np.linalg.norm(value) for text, value in _vectors(encoder, examples)}
    for row, number in enumerate(order[:12].tolist()):
        query = vector[examples.queries[number]]
        own = [examples.documents[place] for place in examples.negatives[number]]
        assert [sample.documents[place] for place in sample.negatives[row]] == own
        cosines = [float(query @ vector[text]) for text in own]
        places = slice(*sample.negatives.offsets[row : row + 2])
        assert sample.similarity[places] == pytest.approx(cosines, abs=1e-6)
        labels = [
            examples.sources[place]
            for place in examples.source[slice(*examples.negatives.offsets[number : number + 2])]
        ]
        assert [sample.sources[place] for place in sample.source[places]] == labels
        best = max(float(query @ vector[examples.documents[place]]) for place in examples.positives[number])
        assert sample.best[row] == pytest.approx(best, abs=1e-6)
        flags = dict(zip(rows.FLAGS, sample.flags[places].T, strict=True))
        assert flags["above_positive"].tolist() == [cosine >= best for cosine in cosines]
        assert flags["above_95"].tolist() == [cosine >= best - 0.05 * abs(best) for cosine in cosines]


def _vectors(encoder, examples):
    texts = [*examples.queries, *examples.documents]
    return zip(texts, np.asarray(encoder.encode_document(texts), dtype=np.float64), strict=True)


def test_the_means_of_kept_rows_are_the_figures_of_the_result(result, sample):
    for entry in result.sources:
        own = sample.of(entry.source)
        assert np.nanmean(own.means()) == pytest.approx(entry.values["signal"].value, abs=1e-6)
        margins = np.maximum(0.0, sample.best - own.maxima())
        assert np.nanmean(margins) == pytest.approx(entry.values["margin_max"].value, abs=1e-6)
        assert len(own.values) == entry.negatives


def test_the_first_rows_are_the_sample_however_many_are_read(made, result, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_BLOCK", 7)
    whole = kept(made, tmp_path, result)
    few = rows.read_sample(tmp_path / "kept.rows.parquet", 10, result)
    assert few.queries == whole.queries[:10]
    assert (len(few), few.total) == (10, 60)
    assert few.similarity.tolist() == whole.similarity[: len(few.similarity)].tolist()
    texts = [few.documents[place] for place in few.negatives.values]
    assert texts == [whole.documents[place] for place in whole.negatives.values[: len(texts)]]


def test_copies_repetitions_and_empty_texts_are_flagged(tmp_path):
    rows_ = [
        {
            "query_id": f"q{number}",
            "query": f"question {number}",
            "positives": [{"text": f"The answer {number}"}],
            "negatives": [
                {"source": "a", "text": f"the  ANSWER {number}"},
                {"source": "a", "text": "other"},
                {"source": "a", "text": "other"},
                {"source": "b", "text": "other"},
                {"source": "b", "text": f"more {number}"},
            ],
        }
        for number in range(30)
    ]
    sample = kept(rows_, tmp_path, score(rows_, shortcuts=False))
    flags = dict(zip(rows.FLAGS, sample.flags.T, strict=True))
    assert flags["identical_to_positive"].tolist() == [True, False, False, False, False] * 30
    assert flags["duplicate_in_row"].tolist() == [False, False, True, False, False] * 30
    assert not flags["empty"].any()


def test_a_negative_below_a_positive_that_points_away_is_not_flagged(tmp_path):
    class Angles:
        """Texts that end in their cosine with every query."""

        def encode_query(self, texts):
            return np.array([[1.0, 0.0]] * len(texts))

        def encode_document(self, texts):
            cosines = np.array([float(text.split()[-1]) for text in texts])
            return np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)

    negatives = {"-0.41": (True, True), "-0.42": (False, True), "-0.45": (False, False)}
    rows_ = [
        {
            "query_id": f"q{number}",
            "query": f"question {number}",
            "positives": [{"text": f"answer {number} -0.415"}],
            "negatives": [{"source": "a", "text": f"other {number} {cosine}"} for cosine in negatives],
        }
        for number in range(20)
    ]
    found = api.score(rows_, Angles(), settings=eci.Settings(shortcuts=False))
    rows.keep(examples_of(rows_), Angles(), found, tmp_path / "rows.parquet")
    sample = rows.read_sample(tmp_path / "rows.parquet", 100, found)
    flags = dict(zip(rows.FLAGS, sample.flags.T, strict=True))
    pairs = list(zip(flags["above_positive"].tolist(), flags["above_95"].tolist(), strict=True))
    assert pairs == list(negatives.values()) * 20


def test_a_fixed_n_and_a_drawn_sample_are_kept_as_they_were_scored(made, tmp_path):
    found = score(made, fixed_n=2, sample=20)
    sample = kept(made, tmp_path, found)
    assert len(sample) == found.settings["queries_scored"] == 20
    for source in sample.sources:
        assert set(sample.of(source).lengths.tolist()) == {2}


def test_rows_of_another_result_or_another_kind_are_refused(made, result, tmp_path):
    kept(made, tmp_path, result)
    file = tmp_path / "kept.rows.parquet"
    with pytest.raises(DataError, match="belong to another result"):
        rows.read_sample(file, 10, score(made, seed=1))
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="holds no rows of a report"):
        rows.read_sample(tmp_path / "other.parquet", 10, result)
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(DataError, match="no Parquet file that can be read"):
        rows.read_sample(tmp_path / "text.parquet", 10, result)


def test_the_identity_of_a_result_survives_its_json_and_its_command(result):
    again = ScoreResult.from_json(result.to_json())
    again.settings["command"] = "another"
    assert rows.identity(again) == rows.identity(result)


def test_rows_that_changed_after_scoring_make_no_page(made, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    found = api.score(file, "hashing", settings=eci.Settings(shortcuts=False))
    file.write_text("".join(json.dumps(row) + "\n" for row in made[:-1]))
    with pytest.raises(DataError, match="changed since they were scored"):
        writing.write(found, tmp_path / "page.html", writing.Behind(file, "hashing"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


# ---- how much of them the page holds


def shown_bytes(told):
    texts = [*told["documents"], *(part for query in told["queries"] for part in query[:2])]
    return sum(len(embedded(text)) for text in texts)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(room=st.integers(0, 40_000))
def test_texts_stay_within_their_room(result, sample, room):
    told = explorer(result, sample, room)
    assert shown_bytes(told) <= room
    assert told["told"] == len(told["queries"]) <= told["held"] == len(sample)
    for _, _, positives, by_source in told["queries"]:
        used = [number for number, _ in positives]
        used += [number for part in by_source if part for number, _, _ in part[2]]
        assert all(0 <= number < len(told["documents"]) for number in used)
    assert len(told["figures"]["best"]) == len(sample)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=3, max_size=3))
def test_no_text_is_larger_in_the_page_than_it_was_counted(texts):
    from eci.report.exploring import size

    for text in (*texts, *HOSTILE):
        assert len(embedded(visible(text[:600])).encode()) <= size(text, 600)


def test_with_room_enough_every_query_is_told_with_its_hardest_negatives(result, sample):
    told = explorer(result, sample)
    assert (told["told"], told["held"], told["total"]) == (60, 60, 60)
    assert told["sources"] == [entry.source for entry in result.sources]
    for row, (_, query, _, by_source) in enumerate(told["queries"]):
        assert query == sample.queries[row]
        for place, source in enumerate(told["sources"]):
            own = np.sort(sample.of(source)[row])[::-1]
            count, _, shown = by_source[place]
            assert count == len(own)
            assert [cosine for _, cosine, _ in shown] == np.rint(own[:5] * 1000).astype(int).tolist()


def test_less_room_first_costs_negatives_then_characters_then_queries(result, sample):
    plans = [explorer(result, sample, room) for room in (ROOM, 40_000, 18_000, 3_000)]
    sizes = [(told["negatives"], told["characters"], told["told"]) for told in plans]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == (5, 600, 60)
    assert sizes[-1][2] < 60


# ---- that no text can do anything


class Reader(html.parser.HTMLParser):
    """Collects what a browser would fetch, run, or show as a handler."""

    def __init__(self):
        super().__init__()
        self.scripts: list[tuple[dict, str]] = []
        self.handlers: list[str] = []
        self.links: list[str] = []
        self.policy = ""
        self._open: dict | None = None

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.handlers += [name for name in found if name.startswith("on")]
        self.links += [value for name, value in found.items() if name in ("src", "href") and value]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]
        if tag == "script":
            self._open = found
            self.scripts.append((found, ""))

    def handle_endtag(self, tag):
        if tag == "script":
            self._open = None

    def handle_data(self, data):
        if self._open is not None:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)


def hostile_rows(count=30):
    """Every hostile text as a query, a positive and a negative."""
    rows_ = make_rows(count, {"bm25": 3, "<b>x</b>": 2})
    for number, row in enumerate(rows_):
        text = HOSTILE[number % len(HOSTILE)]
        row["query_id"] = f"{text[:50]}{number}"
        row["query"] = f"{text} {number}"
        row["positives"][0]["text"] += text
        row["negatives"][0]["text"] = text + str(number)
    return rows_


def test_a_page_of_hostile_rows_has_three_scripts_no_handlers_and_fetches_nothing(tmp_path):
    made = hostile_rows()
    found = score(made)
    found.settings["command"] = "eci score '</code><script>window.bad = 5</script>'"
    found.encoder["name"] = HOSTILE[0]
    text = page(summarise(found, kept(made, tmp_path, found)))
    reader = Reader()
    reader.feed(text)
    assert len(reader.scripts) == 3
    assert not reader.handlers
    outside = {link for link in reader.links if not link.startswith("#")}
    assert outside == {"docs/validation.md", "docs/metrics.md"}
    (kind, data), *programs = reader.scripts
    assert kind == {"type": "application/json", "id": "data"}
    assert not set("<>&\u2028\u2029").intersection(data)
    assert "\x00" not in text
    shown = json.loads(data)["explorer"]
    assert any("<script>window.bad = 1</script>" in str(query[1]) for query in shown["queries"])
    digests = re.findall(r"'sha256-([^']+)'", reader.policy)
    assert digests == [
        base64.b64encode(hashlib.sha256(program.encode()).digest()).decode() for _, program in programs
    ]
    assert reader.policy.startswith("default-src 'none'; ")


@example(list(HOSTILE))
@settings(deadline=None)
@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=4)))
def test_what_is_embedded_reads_back_and_ends_no_script(value):
    text = embedded(value)
    assert not set("<>&\u2028\u2029").intersection(text)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair has no bytes
        return
    assert json.loads(text) == value


@settings(deadline=None)
@given(st.text())
def test_nothing_invisible_or_turning_is_left(text):
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", visible(text))


def test_markdown_holds_the_decision_and_no_markup_of_the_data(tmp_path):
    made = hostile_rows()
    found = score(made)
    found.settings["command"] = "eci score `rm`\n```\n# out"
    text = markdown(summarise(found, kept(made, tmp_path, found)))
    assert text.startswith("## ")
    assert "<b>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "not known to predict training" in text
    assert text.rstrip().endswith("````")
    table = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert len(table) == 1
    assert len(re.findall(r"(?<!\\)\|", table[0])) == 8


# ---- cells, figures, commands


@pytest.mark.parametrize(
    ("value", "column", "told"),
    [
        ((0.5, 0.4, 0.6), Column("", "interval", 2), "0.50 (0.40 … 0.60)"),
        ((0.5, math.nan, math.nan), Column("", "interval", 2), "0.50"),
        ((None, None, None), Column("", "signed-interval"), "–"),
        ((0.5, -0.4, 0.6), Column("", "signed-interval", 1), "+0.5 (-0.4 … +0.6)"),
        (0.256, Column("", "share", 1), "25.6%"),
        (12345, Column("", "count"), "12,345"),
        (math.nan, Column("", "number"), "–"),
        (None, Column("", "text"), ""),
    ],
)
def test_cells(value, column, told):
    assert cell(value, column) == told


def test_figures_become_files_that_stand_alone(result, sample, tmp_path):
    report = summarise(result, sample)
    names = export(report, tmp_path / "figures")
    assert {name.removesuffix(".svg") for name in names if name.endswith(".svg")} == {
        "tradeoff",
        "pair",
        "effects",
        "split",
        "distributions",
        "sweep",
        "lights",
    }
    for name in names:
        data = (tmp_path / "figures" / name).read_bytes()
        if name.endswith(".png"):
            assert data.startswith(b"\x89PNG")
        else:
            assert ET.fromstring(data).tag.endswith("svg")
            assert b"currentColor" not in data


def test_every_figure_has_a_description_and_a_table_of_the_same(result, sample):
    for figure in summarise(result, sample).figures:
        assert len(figure.description) > 60
        assert figure.table is not None
        assert all(len(row) == len(figure.table.columns) for row in figure.table.rows)


@pytest.fixture
def rows_file(made, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return file


def test_score_writes_a_page_and_report_makes_the_same_of_its_result(
    rows_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given_ = ("score", rows_file.name, "--encoder", "hashing", "--report", "a.html", "-o", "a.json")
    code, out, err = run_cli(monkeypatch, capsys, *given_)
    assert (code, "60 of 60 queries" in out) == (0, True)
    assert "Page: a.html; its rows: a.rows.parquet" in err
    code, out, _ = run_cli(
        monkeypatch, capsys, "report", "a.json", "--rows", "a.rows.parquet", "-o", "b.html"
    )
    assert (code, out) == (0, "")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    code, _, err = run_cli(monkeypatch, capsys, "report", "a.json", "-o", "c.md", "--figures", "figures")
    assert (code, err) == (0, "figures: 10 files\n")
    assert (tmp_path / "c.md").read_text().startswith("## ")
    drawn = sorted(path.suffix for path in (tmp_path / "figures").iterdir())
    assert drawn == [".json", *[".png"] * 5, *[".svg"] * 5]


def test_scoring_by_several_encoders_without_a_cache_has_a_page_too(rows_file, tmp_path, monkeypatch, capsys):
    arguments = ("--encoder", "hashing", "--no-cache", "--no-shortcuts", "--fixed-n", "2", "--sample", "30")
    code, _, _ = run_cli(
        monkeypatch, capsys, "score", str(rows_file), *arguments, "--report", str(tmp_path / "a.html")
    )
    assert code == 0
    assert pq.read_metadata(tmp_path / "a.rows.parquet").num_rows == 30


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("report", "none.json", "-o", "a.html"), 2, "does not exist"),
        (("report", "rows.jsonl"), 2, "Say what to make"),
        (("report", "rows.jsonl", "-o", "a.txt"), 2, "ends in .html or .md"),
        (("report", "rows.jsonl", "-o", "a.html"), 1, "is no JSON"),
        (("score", "rows.jsonl", "--report", "a.pdf"), 2, "ends in .html"),
        (("score", "rows.jsonl", "--report", "a.html", "-o", "a.html"), 1, "is to be written twice"),
        (("score", "rows.jsonl", "--report", "none/a.html"), 1, "does not exist"),
        (("score", "rows.jsonl", "a.rows.parquet", "--report", "a.html"), 1, "is read from"),
        (("report", "rows.jsonl", "-o", "a.html", "--figures", "mine"), 1, "folder that eci did not write"),
        (("report", "rows.jsonl", "-o", "b.html", "--figures", "b.html"), 1, "written twice"),
        (("report", "rows.jsonl", "-o", "b.html", "--figures", "none/figures"), 1, "none does not exist"),
        (
            ("report", "rows.jsonl", "--figures", "beir"),
            1,
            "beir: would be replaced, and was written by eci convert",
        ),
    ],
)
def test_what_cannot_be_done_is_told_before_the_work(
    arguments, code, told, rows_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("mine/thesis.txt", "a.rows.parquet"):
        (tmp_path / name).write_text("thesis")
    write(read([rows_file]), tmp_path / "beir", "beir")
    found, _, err = run_cli(monkeypatch, capsys, *arguments)
    assert found == code
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "thesis"
    assert (tmp_path / "beir" / "corpus.jsonl").exists()
    assert not (tmp_path / "b.html").exists()
    assert told in err
    assert "reading rows" not in err


def test_a_missing_package_is_told_before_the_work(rows_file, tmp_path, monkeypatch, capsys):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr("eci.report.render.find_spec", lambda name: None if name == "altair" else real(name))
    code, _, err = run_cli(monkeypatch, capsys, "score", str(rows_file), "--report", str(tmp_path / "a.html"))
    assert code == 1
    assert "A report needs altair. Install it with: pip install 'eci[report]'" in err
    assert "reading rows" not in err
    with pytest.raises(MissingDependency):
        page(summarise(score(make_rows(5, {"a": 1}))))


def test_a_full_or_forbidden_folder_leaves_neither_page_nor_rows(made, result, tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        writing.write(result, tmp_path / "none" / "page.html", writing.Behind(made, "hashing"))
    assert not list(tmp_path.iterdir())


# ---- what is not as it is to be


def test_a_source_that_begins_behind_the_sample_is_no_part_of_it(tmp_path):
    made = make_rows(60, {"bm25": 3}, seed=2)
    order = drawn_order(examples_of(made).keys, 0)
    made[order[-1]]["negatives"].append({"source": "rare", "text": "only here"})
    result = score(made)
    file = tmp_path / "kept.rows.parquet"
    rows.keep(examples_of(made), HashingEncoder(), result, file)
    few = rows.read_sample(file, 59, result)
    assert few.sources == ("bm25",)
    assert rows.read_sample(file, 60, result).sources == ("bm25", "rare")
    assert "rare" in page(summarise(result, few))


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["data"].pop("alignment"),
        lambda found: found["settings"].pop("groups"),
        lambda found: found["sources"][0].update(rank="first"),
        lambda found: found["encoder"].pop("name"),
        lambda found: found["data"].update(eci_sem=1.0),
        lambda found: found.update(sources=[]),
    ],
)
def test_a_result_that_was_changed_or_is_older_is_told_so(result, tmp_path, monkeypatch, capsys, change):
    told = json.loads(result.to_json())
    change(told)
    file = tmp_path / "result.json"
    file.write_text(json.dumps(told))
    code, _, err = run_cli(monkeypatch, capsys, "report", str(file), "-o", str(tmp_path / "page.html"))
    assert code == 1
    assert "Traceback" not in err
    assert "defect" not in err
    assert str(file) in err
    assert not (tmp_path / "page.html").exists()


def test_json_without_end_is_no_defect(tmp_path, monkeypatch, capsys):
    file = tmp_path / "deep.json"
    file.write_text("[" * 200_000)
    code, _, err = run_cli(monkeypatch, capsys, "report", str(file), "-o", str(tmp_path / "page.html"))
    assert (code, "is no JSON" in err) == (1, True)


def test_damaged_rows_are_told_so(made, result, tmp_path):
    kept(made, tmp_path, result)
    file = tmp_path / "kept.rows.parquet"
    whole = file.read_bytes()
    for place in range(200, len(whole) - 3_000, 997):
        file.write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
        # Whatever is damaged, nothing else is raised; what only changes a figure cannot be seen.
        with contextlib.suppress(DataError):
            rows.read_sample(file, 2_000, result)


def test_rows_of_other_sources_are_refused(made, result, tmp_path):
    kept(made, tmp_path, result)
    file = tmp_path / "kept.rows.parquet"
    table = pq.read_table(file)
    entries = table.column("negatives").to_pylist()
    for entry in entries[0]:
        entry["source"] = "another"
    changed = table.set_column(3, table.schema.field(3), pa.array(entries, table.schema.field(3).type))
    pq.write_table(changed, file)
    with pytest.raises(DataError, match="is damaged"):
        rows.read_sample(file, 2_000, result)


@pytest.mark.parametrize("kind", ["folder", "text", "parquet"])
def test_what_stands_where_the_rows_are_to_stand_is_kept(rows_file, tmp_path, monkeypatch, capsys, kind):
    place = tmp_path / "page.rows.parquet"
    if kind == "folder":
        place.mkdir()
    elif kind == "text":
        place.write_text("my data")
    else:
        pq.write_table(pa.table({"mine": [1, 2]}), place)
    before = None if kind == "folder" else place.read_bytes()
    page_ = tmp_path / "page.html"
    code, out, err = run_cli(
        monkeypatch,
        capsys,
        "score",
        str(rows_file),
        "--encoder",
        "hashing",
        "--no-cache",
        "--report",
        str(page_),
    )
    assert code == 1
    assert out == ""
    assert str(place) in err
    assert not page_.exists()
    assert before is None or place.read_bytes() == before


def test_rows_of_an_earlier_page_are_written_again(rows_file, tmp_path, monkeypatch, capsys):
    page_ = tmp_path / "page.html"
    for _ in range(2):
        code, _, err = run_cli(
            monkeypatch,
            capsys,
            "score",
            str(rows_file),
            "--encoder",
            "hashing",
            "--no-cache",
            "--no-shortcuts",
            "--report",
            str(page_),
        )
        assert code == 0, err


@pytest.mark.parametrize(
    ("urls", "address"),
    [
        (None, "docs/validation.md"),
        (["Homepage, https://example.org"], "docs/validation.md"),
        (["Documentation, https://example.org/eci/"], "https://example.org/eci/docs/validation.md"),
    ],
)
def test_documents_are_links_to_where_the_package_says_they_are(result, monkeypatch, urls, address):
    class Told:
        def get_all(self, name):
            return {"Project-URL": urls}[name]

    monkeypatch.setattr(render, "metadata", lambda _: Told())
    render._address.cache_clear()
    try:
        report = summarise(result)
        assert f'<a href="{address}">docs/validation.md</a>' in page(report)
        assert f"[docs/validation.md]({address})" in markdown(report)
    finally:
        render._address.cache_clear()


def test_a_probability_without_all_sources_says_so(result):
    first, *rest = result.sources
    unsure = (*rest[:-1], dataclasses.replace(rest[-1], probability_best=math.nan))
    headline = decision(dataclasses.replace(result, sources=(first, *unsure))).headline
    assert " among the sources that have an interval" in headline
