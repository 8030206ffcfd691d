"""What is in the drawings themselves: what was chosen, keys, scales, levels and the places of labels."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eci.metrics import LOWER_IS_BETTER
from eci.metrics.eci import eci as eci_of
from eci.report.agreement_charts import placed
from eci.report.channels import beside
from eci.report.charts import specification
from eci.report.exporting import export
from eci.report.mapping import step
from eci.report.summarise import summarise
from eci.report.validated import validated
from fakes import make_rows
from test_report import kept, score

for module in ("jinja2", "altair", "vl_convert"):
    pytest.importorskip(module, reason="the extra 'report' is not installed")

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
SOURCES = {"bm25": 7, "dense": 4, "llm": 3}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    made = make_rows(60, SOURCES, seed=1)
    result = score(made)
    return summarise(result, kept(made, tmp_path_factory.mktemp("rows"), result))


@pytest.fixture(scope="module")
def experiment():
    return validated(json.loads((RESULTS / "weak-start" / "result.json").read_bytes()))


def figure_of(report, key):
    return next(figure for figure in report.figures if figure.key == key)


@pytest.fixture(scope="module")
def files(report, experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    export(report, folder)
    export(experiment, folder)
    return {
        path.stem: " ".join(part for part in ET.parse(path).getroot().itertext() if part.strip())
        for path in folder.glob("*.svg")
    }


# ---- what was chosen is in the drawing


def test_files_say_what_they_show(files, report, experiment):
    size = figure_of(report, "tradeoff").data["sizes"][0]["n"]
    assert f"Dashed: equal ECI at N = {size}" in files["tradeoff"]
    data = figure_of(experiment, "against").data
    metric, case = data["metrics"][0]["name"], data["cases"][0]
    assert f"{metric} on {case}" in files["against"]
    assert f"{metric} before training" in files["against"]
    assert "what training did, by its 95 % interval" in files["against"]
    first, second = (axis.split(":")[0] for axis in figure_of(report, "pair").data["axes"])
    assert f"{first}: hardest negative" in files["pair"]
    assert f"{second}: hardest negative" in files["pair"]
    assert "60 queries with negatives of both" in files["pair"]


def test_files_of_numbered_points_have_their_key(files, experiment):
    rows = figure_of(experiment, "against").table.rows
    assert len(rows) == 14
    assert all(f"{row[0]}  {row[1]}" in files["against"] for row in rows)


def test_on_the_page_the_key_is_left_to_the_table(experiment):
    params = {param["name"]: param for param in specification(figure_of(experiment, "against"))["params"]}
    assert params["keyed"]["value"] is False
    assert set(params) == {"metric", "collection", "keyed"}


@pytest.mark.parametrize("metric", ["violation_rate", "violation_rate_95", "signal"])
def test_further_right_is_better_for_every_metric(experiment, metric):
    import vl_convert

    drawn = specification(figure_of(experiment, "against"))
    params = [{**p, "value": metric} if p["name"] == "metric" else p for p in drawn["params"]]
    letters = vl_convert.vegalite_to_svg({**drawn, "params": params})
    assert ("axis reversed: less is better" in letters) is (metric in LOWER_IS_BETTER)
    marks = [
        entry
        for entry in ET.fromstring(letters).iter()
        if entry.get("aria-roledescription") == "point" and "metric:" in entry.get("aria-label", "")
    ]
    found = sorted(
        (
            float(entry.get("transform").split("(")[1].split(",")[0]),
            float(entry.get("aria-label").split("metric: ")[1].split(";")[0].replace("−", "-")),
        )
        for entry in marks
    )
    values = [value for _, value in found]
    assert len(values) == 14
    assert values == sorted(values, reverse=metric in LOWER_IS_BETTER)


# ---- scales and levels


@given(st.floats(1e-6, 1e6), st.integers(1, 12))
def test_steps_are_round_and_few(span, most):
    size = step(span, most)
    assert span / size <= most * (1 + 1e-6)
    assert span / size > most / 2.6  # the next finer step would be too many
    assert float(f"{size / 10 ** math.floor(math.log10(size) + 1e-9):.6g}") in (1, 2, 2.5, 5)


def test_curves_have_round_levels_and_end_at_the_frame(report):
    data = figure_of(report, "tradeoff").data
    (left, right), (bottom, top) = data["limits"]["signal"], data["limits"]["margin"]
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for entry in data["curves"]:
        curves.setdefault((entry["n"], entry["level"]), []).append((entry["signal"], entry["margin"]))
    by_size: dict[str, list[float]] = {}
    for (size, level), points in curves.items():
        by_size.setdefault(size, []).append(float(level))
        for x, y in (points[0], points[-1]):
            assert min(abs(x - left), abs(x - right), abs(y - bottom), abs(y - top)) < 1e-5
        for x, y in points:
            assert left - 1e-6 <= x <= right + 1e-6
            assert bottom - 1e-6 <= y <= top + 1e-6
            assert float(eci_of(float(size), x, y)) == pytest.approx(float(level), abs=2e-4)
    assert set(by_size) == {"7", "4", "3"}
    for levels in by_size.values():
        apart = {round(after - before, 9) for before, after in pairwise(levels)}
        assert 2 <= len(levels) <= 6
        assert len(apart) == 1


def test_points_and_regions_lie_within_the_frame(report):
    data = figure_of(report, "tradeoff").data
    for entry in data["points"] + data["regions"]:
        for axis, (low, high) in data["limits"].items():
            assert low <= entry[axis] <= high


def test_distributions_have_one_scale_and_show_it(report):
    drawn = specification(figure_of(report, "distributions"))
    assert "resolve" not in drawn
    assert drawn["spec"]["encoding"]["y"]["axis"]["format"] == "~%"


# ---- labels


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=16))
def test_labels_meet_neither_each_other_nor_their_point(points):
    labels = [str(number) for number in range(1, len(points) + 1)]
    places = np.array(beside(points, labels), dtype=float)
    for plot, columns in (((480, 340), slice(0, 2)), ((210, 340), slice(2, 4))):
        middles = np.array(points) * plot * np.array([1, -1]) + [0, plot[1]] + places[:, columns]
        halves = np.array([[3.5 * len(label), 5.5] for label in labels])
        met = 0
        for one in range(len(points)):
            assert np.abs(places[one, columns]).max() >= 7  # beside the point, not on it
            for two in range(one):
                met += bool((np.abs(middles[one] - middles[two]) < halves[one] + halves[two]).all())
        # Sixteen on one spot find their places, too.
        assert met == 0


def test_numbers_of_a_reversed_axis_are_placed_where_they_are_drawn():
    points = [
        {"collection": "a", "metric": metric, "number": at, "x": x, "value": 0.5, "low": 0.4, "high": 0.6}
        for metric in ("signal", "violation_rate")
        for at, x in enumerate((0.0, 1.0), start=1)
    ]
    found = placed(points, LOWER_IS_BETTER)
    assert [point["metric"] for point in found] == [point["metric"] for point in points]
    plain, turned = found[:2], found[2:]
    assert [point["at"] for point in plain] == [point["at"] for point in turned[::-1]]


def test_the_table_of_the_scatter_says_whose_it_is(report):
    told = figure_of(report, "pair").table
    assert told.title.split(": ")[1].startswith(f"{told.rows[0][0]}, which leads")
    assert {row[0] for row in told.rows} == {told.rows[0][0]}


def test_labels_that_every_object_has_draw_and_signs_of_two_units_are_cut_whole(tmp_path):
    for sources in (
        {"constructor": 3, "toString": 2, "__proto__": 2, "hasOwnProperty": 1},
        {"\U0001f600" * 60: 3, "b" * 60: 2},
    ):
        result = score(make_rows(30, sources))
        names = export(summarise(result), tmp_path / "figures")
        for name in names:
            assert (tmp_path / "figures" / name).stat().st_size > 1_000
