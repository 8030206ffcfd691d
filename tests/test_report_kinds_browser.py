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
from test_report_browser import (  # noqa: F401
    CONTRASTS,
    CROWDED,
    OVERLAPS,
    Window,
    browser,
    cells,
    saved,
    status,
)

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
    [(kind, width, {}) for kind in WIDE for width in (320, 390, 768, 1440)],
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
    assert opened.view.evaluate(CROWDED) == []


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
    view.wait_for_function("document.querySelector('#status').textContent.startsWith('None')")
    assert status(view).startswith(f"None of the {total} rows of this page fits")
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


def chosen(view, metric, collection):
    figure = view.locator("#figure-against")
    figure.get_by_role("combobox").first.select_option(metric)
    figure.get_by_role("combobox").last.select_option(collection)
    view.wait_for_function(
        "said => document.querySelector('#figure-against .drawing svg').textContent.includes(said)",
        arg=f"{metric} on {collection}",
    )
    return figure


@pytest.mark.parametrize("opened", [WIDE["validation"]], indirect=True, ids=str)
def test_where_less_is_better_points_further_right_have_less(opened):
    for metric, less in (("violation_rate", True), ("signal", False)):
        figure = chosen(opened.view, metric, "nfcorpus")
        axis = figure.locator(".drawing svg").text_content()
        assert ("axis reversed: less is better" in axis) is less
        points = figure.locator(".drawing path[aria-roledescription='point']").evaluate_all(
            "paths => paths.map((e) => [e.getBoundingClientRect().left, "
            "Number(/metric: (-?[\\d.]+)/.exec(e.getAttribute('aria-label').replace('−', '-'))[1])])"
        )
        values = [value for _, value in sorted(points)]
        assert len(values) == 14
        assert values == sorted(values, reverse=less)


@pytest.mark.parametrize("opened", [WIDE["validation"]], indirect=True, ids=str)
def test_the_scatter_of_sources_is_saved_as_it_was_chosen_with_its_key(opened, tmp_path):
    view = opened.view
    figure = chosen(view, "violation_rate", "nfcorpus")
    assert "counterfactual" not in figure.locator(".drawing svg").text_content()
    letters = saved(view, "What a metric said, and what training gave", tmp_path)
    assert "violation_rate on nfcorpus" in letters
    assert "violation_rate before training" in letters
    assert "what training did, by its 95 % interval" in letters
    rows = view.locator("#table-against tbody tr").evaluate_all(
        "rows => rows.map((row) => [row.cells[0].textContent, row.cells[1].textContent])"
    )
    assert len(rows) == 14
    assert all(f"{number}  {source}" in letters for number, source in rows)


@pytest.mark.parametrize(
    "opened", [("validation", width, {}) for width in (320, 390, 1440)], indirect=True, ids=str
)
def test_numbers_of_points_do_not_meet_whatever_is_chosen(opened):
    view = opened.view
    figure = view.locator("#figure-against")
    for collection in ("scifact", "nfcorpus"):
        for metric in (
            figure.get_by_role("combobox")
            .first.locator("option")
            .evaluate_all("e => e.map((o) => o.value)")[::2]
        ):
            chosen(view, metric, collection)
            assert [text for text in view.evaluate(CROWDED) if text.startswith("against")] == [], metric


@pytest.mark.parametrize("opened", list(WIDE.values()), indirect=True, ids=str)
def test_it_prints(opened):
    opened.view.emulate_media(media="print")
    assert opened.view.locator("nav").is_hidden()
    assert opened.view.locator("#table-leaderboard").is_visible()
    assert opened.view.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("opened", [WIDE["validation"]], indirect=True, ids=str)
def test_on_paper_the_numbers_of_the_scatter_have_their_key(opened):
    key = opened.view.locator("#table-against tbody tr").last
    assert key.is_hidden()
    opened.view.emulate_media(media="print")
    opened.view.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert key.is_visible()
    assert opened.view.locator("#figure-against .behind > summary").is_hidden()
    opened.view.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert key.is_hidden()
