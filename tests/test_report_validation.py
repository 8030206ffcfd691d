"""The page of an experiment: its verdict, its tables and figures, held against the committed results."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from eci.report.agreeing import Case
from eci.report.render import markdown, page
from eci.report.validated import validated
from fakes import run_cli
from test_report import HOSTILE, alike, rounded

for module in ("jinja2", "altair", "vl_convert"):
    pytest.importorskip(module, reason="the extra 'report' is not installed")

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
NAMES = ("weak-start", "docstrings", "full-start")
GOLDEN = Path(__file__).parent / "golden" / "report-validation.json"


def load(name):
    return json.loads((RESULTS / name / "result.json").read_bytes())


@pytest.fixture(scope="module", params=NAMES)
def result(request):
    return load(request.param)


def table(report, key):
    held = [told for section in report.sections for told in section.tables]
    held += [figure.table for figure in report.figures if figure.table]
    return next(told for told in held if told.key == key)


def small():
    """A result of one collection with four sources, three metrics and two encoders."""
    found = load("weak-start")
    one = found["collections"][1]
    kept = ("none", "random", "bm25-10", "dense-10", "reranked")
    metrics = ("probe", "eci", "capacity")
    for entries in one["agreements"].values():
        for entry in entries:
            entry["measured"] = {name: entry["measured"][name] for name in kept}
            entry["effects"] = [each for each in entry["effects"] if each["source"] in kept]
            entry["metrics"] = [each for each in entry["metrics"] if each["metric"] in metrics]
    for summary in found["summaries"].values():
        summary["collections"] = ["nfcorpus"]
        summary["metrics"] = [each for each in summary["metrics"] if each["metric"] in metrics]
    one["cells"] = [cell for cell in one["cells"] if cell["source"] in kept]
    found["experiment"]["sources"] = [e for e in found["experiment"]["sources"] if e["name"] in kept]
    return {**found, "collections": [one], "command": "eci validate plan.toml -o out"}


def test_the_report_of_a_small_experiment_is_the_golden_one():
    alike(json.loads(GOLDEN.read_text(encoding="utf-8")), rounded(validated(small()).to_dict()))


def test_the_headline_says_who_agreed_best_how_sure_and_whether_apart_from_the_number(result):
    best = result["summaries"]["target"]["metrics"][0]
    report = validated(result)
    headline = report.decision.headline
    assert headline.startswith(f"{best['metric']} agreed best with training on ")
    tau, gain = best["kendall"], best["kendall_gain"]
    assert f"{tau['mean']:+.2f} ({tau['low']:+.2f} … {tau['high']:+.2f})" in headline
    apart = gain["low"] > 0 or gain["high"] < 0
    assert headline.endswith(", separated from it." if apart else ", not separated from it.")
    assert report.decision.decided is apart
    assert f"{result['summaries']['target']['ceiling']['mean']:+.2f}" in report.decision.caution


def test_a_best_metric_that_is_the_number_itself_is_told_so():
    found = small()
    metrics = found["summaries"]["target"]["metrics"]
    metrics.sort(key=lambda entry: entry["metric"] != "capacity")
    assert validated(found).decision.headline.endswith("; that is ln(1+N) itself, the number of negatives.")


def test_no_tau_is_not_decided():
    found = small()
    nothing = {"mean": None, "low": None, "high": None, "values": {}, "without": {}}
    for entry in found["summaries"]["target"]["metrics"]:
        entry["kendall"] = entry["kendall_gain"] = nothing
    for entry in found["collections"][0]["agreements"]["target"]:
        for metric in entry["metrics"]:
            metric["kendall"] = {"value": None, "low": None, "high": None}
    report = validated(found)
    assert report.decision.headline.startswith("Not decided: ")
    assert report.decision.decided is False
    assert page(report).startswith("<!DOCTYPE html>")


def test_all_metrics_stand_beside_what_noise_allows(result):
    report = validated(result)
    rows = table(report, "agreement").rows
    summary = result["summaries"]["target"]
    assert [row[0] for row in rows] == [*(e["metric"] for e in summary["metrics"]), "what noise allows"]
    cases = Case.all(result)
    assert len(rows[0]) == 2 + len(cases)
    for place, case in enumerate(cases):
        by_name = {entry["metric"]: entry["kendall"] for entry in case.agreement["metrics"]}
        assert rows[0][2 + place][0] == by_name[rows[0][0]]["value"]


def test_points_are_the_metric_and_the_measure_of_each_source(result):
    figure = next(figure for figure in validated(result).figures if figure.key == "against")
    assert figure.data["metrics"][0]["name"] == result["summaries"]["target"]["metrics"][0]["metric"]
    for case in Case.all(result):
        points = {
            point["source"]: point
            for point in figure.data["values"]
            if point["metric"] == "signal" and point["collection"] == case.name
        }
        assert "none" not in points
        assert len(points) == 14
        for source, point in points.items():
            assert point["x"] == case.values["signal"][source]
            assert point["value"] == case.agreement["measured"][source]["value"]
            assert point["low"] <= point["value"] <= point["high"]


def test_seeds_are_those_that_were_trained(result):
    figure = next(figure for figure in validated(result).figures if figure.key == "seeds")
    runs = sum(len(one["cells"]) for one in result["collections"])
    assert len(figure.data["values"]) == runs
    for case in Case.all(result):
        for source, told in case.agreement["measured"].items():
            own = [value for name, _, value in case.runs if name == source]
            assert math.isclose(sum(own) / len(own), told["value"], rel_tol=1e-3)


def test_hits_costs_and_verdicts_are_the_results(result):
    report = validated(result)
    summary = result["summaries"]["target"]
    always = table(report, "hits").rows[-1]
    assert (always[0], always[4]) == ("saying help of all", summary["helped_decided"]["total"])
    encoders = sum(len(one["seconds"]["scoring"]) for one in result["collections"])
    assert len(table(report, "cost").rows) == encoders
    assert len(table(report, "verdicts").rows) == 3 * len(summary["verdicts"])


def test_other_encoders_have_a_table_where_there_are_any(result):
    held = [told.key for section in validated(result).sections for told in section.tables]
    assert ("encoders" in held) is (len(result["summaries"]) > 1)


def test_the_plan_has_a_digest_that_changes_with_it(result):
    def digest(loaded):
        return dict(table(validated(loaded), "plan").rows)["Digest of the plan (BLAKE2b of its JSON)"]

    other = json.loads(json.dumps(result))
    other["experiment"]["training"]["epochs"] = 7
    assert len(digest(result)) == 32
    assert digest(result) == digest(json.loads(json.dumps(result))) != digest(other)


def test_where_from_has_the_rates_that_were_taken_and_how_sources_were_made(result):
    tables = {table.key: dict(table.rows) for table in validated(result).sections[-1].tables}
    for one in result["collections"]:
        told = tables["settings"][f"training: learning_rate on {one['collection']}, tuned"]
        assert float(told) == one["chosen"]["learning_rate"]
    assert "training: learning_rate" not in tables["settings"]
    planted = next(entry for entry in result["experiment"]["sources"] if entry["into"])
    assert tables["made"][planted["name"]] == (
        f"{planted['into']}, with {planted['share']:.0%} of its negatives replaced by positives"
    )
    assert "–" not in tables["made"].values()


def test_hostile_names_are_data_on_the_page():
    text = json.dumps(small(), ensure_ascii=False)
    for name, bad in zip(("random", "bm25-10", "dense-10", "reranked"), HOSTILE, strict=False):
        text = text.replace(json.dumps(name), json.dumps(bad))
    made = page(validated(json.loads(text)))
    parts = made.split("<script")
    assert len(parts) == 4
    assert "window.bad" not in parts[0].replace("&lt;script&gt;window.bad", "").replace("window.bad = 3", "")
    assert "<img src=" not in parts[0]


def test_markdown_has_the_verdict_and_the_tables():
    text = markdown(validated(small()))
    assert text.startswith("## probe agreed best with training on nfcorpus")
    for part in ("### Kendall's τ with training", "### Signs that were right", "eci validate plan.toml"):
        assert part in text


def test_a_page_and_figures_come_from_a_result_on_disk(tmp_path, monkeypatch, capsys):
    file = tmp_path / "result.json"
    file.write_text(json.dumps(small()), encoding="utf-8")
    given = ("report", str(file), "-o", str(tmp_path / "v.html"), "--figures", str(tmp_path / "drawn"))
    code, _, err = run_cli(monkeypatch, capsys, *given)
    assert code == 0, err
    assert {"against.svg", "seeds.png"} <= {path.name for path in (tmp_path / "drawn").iterdir()}
    lacking = small()
    del lacking["summaries"]
    file.write_text(json.dumps(lacking), encoding="utf-8")
    code, _, err = run_cli(monkeypatch, capsys, *given)
    assert code == 1
    assert "lacks what this eci writes into eci.validation/1" in err


@pytest.mark.parametrize(
    ("page_", "told"), [("plan.toml", "ends in .html"), ("no/v.html", "the folder no does not exist")]
)
def test_what_would_stop_a_page_is_told_before_an_experiment(tmp_path, monkeypatch, capsys, page_, told):
    example = Path(__file__).parents[1] / "examples" / "weak-start.toml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECI_DATA", str(tmp_path))
    Path("plan.toml").write_bytes(example.read_bytes())
    code, _, err = run_cli(
        monkeypatch, capsys, "validate", "plan.toml", "--check", "-o", "out", "--report", page_
    )
    assert code in (1, 2)
    assert told in err, err
