"""Pages of an audit and of an experiment in a real browser: they load, search, sort, fit and print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eci.audit.issues import AuditSettings
from eci.audit.running import audit
from eci.datasets import from_object
from eci.models.hashing import HashingEncoder
from eci.report.auditing import audited
from eci.report.render import page
from eci.report.validated import validated
from fakes import make_rows
from test_report import HOSTILE
from test_report_browser import CONTRASTS, OVERLAPS, Window, browser, cells, status  # noqa: F401

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = make_rows(44, {"bm25": 4, "dense": 3, "<b>" + "long" * 30: 2}, seed=3)
    for number, row in enumerate(made):
        text = HOSTILE[number % len(HOSTILE)]
        row["query"] = f"{text} query-{number:03d}"
        row["positives"][0]["text"] += f" {text}"
        place = number % len(row["negatives"])
        row["negatives"][place]["text"] = row["positives"][0]["text"]
    found = audit(from_object(made), HashingEncoder(), AuditSettings(worst=200))
    found.settings["command"] = "eci audit '</script><script>window.bad = 9</script>'"
    worst = list(found.worst)
    worst[0] = {**worst[0], "verdict": {"word": "better", "snippet": HOSTILE[0]}}
    object.__setattr__(found, "worst", tuple(worst))
    (folder / "audit.html").write_text(page(audited(found)), encoding="utf-8")
    loaded = json.loads((RESULTS / "weak-start" / "result.json").read_bytes())
    loaded["name"] = HOSTILE[1]
    loaded["command"] = f"eci validate '{HOSTILE[2]}'"
    (folder / "validation.html").write_text(page(validated(loaded)), encoding="utf-8")
    return {kind: folder / f"{kind}.html" for kind in ("audit", "validation")}


@pytest.fixture
def opened(browser, files, request):  # noqa: F811
    kind, width, options = request.param
    window = Window(browser, files[kind], width, 900, **options)
    yield window
    window.context.close()


WIDE = {kind: (kind, 1440, {}) for kind in ("audit", "validation")}


@pytest.mark.parametrize(
    "opened",
    [(kind, width, {}) for kind in WIDE for width in (390, 768, 1440)],
    indirect=True,
    ids=str,
)
def test_it_loads_without_a_complaint_fits_and_nothing_overlaps(opened):
    assert opened.told == []
    assert len(set(opened.requests)) == 1
    assert opened.view.evaluate("window.bad") is None
    assert opened.view.locator("main img, main iframe").count() == 0
    width = opened.view.viewport_size["width"]
    assert opened.view.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.view.evaluate(OVERLAPS) == []


@pytest.mark.parametrize(
    "opened",
    [(kind, 1440, {"color_scheme": scheme}) for kind in WIDE for scheme in ("light", "dark")],
    indirect=True,
    ids=str,
)
def test_letters_stand_out_in_light_and_in_dark(opened):
    found = opened.view.evaluate(CONTRASTS)
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("opened", [WIDE["audit"]], indirect=True, ids=str)
def test_rows_of_an_audit_are_searched_filtered_ordered_and_paged(opened):
    view = opened.view
    view.set_default_timeout(10_000)
    total = view.evaluate("JSON.parse(document.getElementById('data').textContent).explorer.cases.length")
    assert status(view) == f"Rows 1–10 of {total}"
    assert view.locator("#list article .judged").first.inner_text().startswith("Judge: better <script>")
    view.get_by_role("button", name="Next page").click()
    assert status(view) == f"Rows 11–20 of {total}"
    view.locator("#issue").select_option(label="identical to positive")
    assert view.locator("#list article").count() == 10
    assert all("identical to positive" in text for text in view.locator("#list .flags").all_inner_texts())
    view.locator("#verdict").select_option(label="better")
    assert status(view) == "Rows 1–1 of 1"
    view.locator("#verdict").select_option(label="any or none")
    view.locator("#issue").select_option(label="any issue")
    view.locator("#order").select_option(label="as in the rows")
    rows = [int(text.split()[1]) for text in view.locator("#list article .id").all_inner_texts()]
    assert rows == sorted(rows)
    view.get_by_label("Search").fill("query-041")
    view.wait_for_function("document.querySelector('#status').textContent === 'Rows 1–1 of 1'")
    assert view.locator("#list article h3 mark").inner_text() == "query-041"
    view.get_by_label("Search").fill("nowhere to be found")
    view.wait_for_function("document.querySelector('#status').textContent === 'No row fits.'")
    assert opened.told == []


@pytest.mark.parametrize("opened", [WIDE["validation"]], indirect=True, ids=str)
def test_metrics_sort_and_filter_and_another_metric_is_drawn(opened):
    view = opened.view
    view.set_default_timeout(10_000)
    head = view.locator("#table-leaderboard th button").nth(3)
    head.click()
    values = [float(text) for text in cells(view, "leaderboard", 4)]
    assert values == sorted(values, reverse=True)
    view.locator("#table-agreement").get_by_label("Filter").fill("capacity")
    assert cells(view, "agreement", 1) == ["capacity"]
    figure = view.locator("#figure-against")
    before = figure.locator(".drawing svg").inner_html()
    figure.get_by_role("combobox").first.select_option("signal")
    view.wait_for_function(
        "before => document.querySelector('#figure-against .drawing svg').innerHTML !== before", arg=before
    )
    between = figure.locator(".drawing svg").inner_html()
    figure.get_by_role("combobox").last.select_option("nfcorpus")
    view.wait_for_function(
        "before => document.querySelector('#figure-against .drawing svg').innerHTML !== before", arg=between
    )
    assert opened.told == []


@pytest.mark.parametrize("opened", list(WIDE.values()), indirect=True, ids=str)
def test_it_prints(opened):
    opened.view.emulate_media(media="print")
    assert opened.view.locator("nav").is_hidden()
    assert opened.view.locator("#table-leaderboard").is_visible()
    assert opened.view.pdf(format="A4").startswith(b"%PDF")
