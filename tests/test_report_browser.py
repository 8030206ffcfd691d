"""The page of a report in a real browser: nothing fetched, nothing run, everything reached by hand and by key."""

from __future__ import annotations

import os
import shutil
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

import eci
from eci import api
from eci.models.hashing import HashingEncoder
from eci.report import rows
from eci.report.render import page
from eci.report.summarise import summarise
from fakes import examples_of, make_rows
from test_report import HOSTILE, kept, score

for module in ("jinja2", "altair", "vl_convert"):
    pytest.importorskip(module, reason="the extra 'report' is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = os.environ.get("ECI_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
if CHROMIUM is None:
    pytest.skip("no Chromium here (ECI_CHROMIUM names one)", allow_module_level=True)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
LONG = "negatives-of-a-large-model-whose-name-somebody-wrote-out-in-full-and-then-the-date-of-the-run"
SOURCES = {"bm25": 7, "dense": 4, LONG: 3, "random": 2, "bm25+dense": 9, "<img src=x onerror=bad=1>": 2}
DRAWN = "!document.querySelector('figure.chart:not([data-drawn])')"


@pytest.fixture(scope="module")
def made():
    """Rows whose queries, positives and negatives are what somebody might try."""
    made_rows = make_rows(66, SOURCES, seed=5)
    for number, row in enumerate(made_rows):
        text = HOSTILE[number % len(HOSTILE)]
        row["query"] = f"{text} query-{number:03d}"
        row["positives"][0]["text"] += f" {text}"
        row["negatives"][0]["text"] = f"{text} negative-{number:03d}"
        row["negatives"][-1]["text"] = row["positives"][0]["text"]
    return made_rows


@pytest.fixture(scope="module")
def file(made, tmp_path_factory) -> Path:
    from eci.report.render import page

    folder = tmp_path_factory.mktemp("page")
    result = api.score(made, "hashing", settings=eci.Settings())
    result.settings["command"] = "eci score '</script><script>window.bad = 9</script>'"
    rows.keep(examples_of(made), HashingEncoder(), result, folder / "rows.parquet")
    sample = rows.read_sample(folder / "rows.parquet", 2_000, result)
    (folder / "page.html").write_text(page(summarise(result, sample)), encoding="utf-8")
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


class Window:
    """A page that is open, and what it asked for and complained of."""

    def __init__(self, browser, file: Path, width: int, height: int, **options) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.view = self.context.new_page()
        self.requests: list[str] = []
        self.told: list[str] = []
        self.view.on("request", lambda request: self.requests.append(request.url))
        self.view.on("console", lambda message: self.told.append(f"{message.type}: {message.text}"))
        self.view.on("pageerror", lambda error: self.told.append(str(error)))
        self.view.on("dialog", lambda dialog: self.told.append(f"dialog: {dialog.message}"))
        self.view.goto(file.as_uri())
        self.view.wait_for_selector("html[data-ready=yes]")
        self.view.wait_for_function(DRAWN)


@pytest.fixture(scope="module")
def window(browser, file):
    opened = Window(browser, file, 1440, 900)
    yield opened
    opened.context.close()


@pytest.fixture
def view(window):
    """The open page as it was when it was opened."""
    window.view.reload()
    window.view.wait_for_selector("html[data-ready=yes]")
    window.view.set_default_timeout(10_000)
    return window.view


def cells(view, table, column):
    return view.locator(f"#table-{table} tbody tr:visible td:nth-child({column})").all_inner_texts()


def status(view):
    return view.locator("#status").inner_text()


def test_it_loads_without_a_complaint_and_without_a_request(window, file):
    assert window.told == []
    assert set(window.requests) == {file.as_uri()}
    assert window.view.title() == window.view.locator("h1").inner_text()
    assert window.view.locator("figure.chart[data-drawn] .drawing svg").count() == 7


def test_hostile_texts_are_shown_and_run_nothing(view, window):
    assert view.evaluate("window.bad") is None
    assert view.evaluate("document.scripts.length") == 3
    assert view.locator("main img, main iframe, main a[href^=javascript]").count() == 0
    for text, shown in (
        ("<script>window.bad = 1", "<script>window.bad = 1</script>"),
        ("</script><script>window.bad = 2", "</script><script>window.bad = 2</script>"),
        ('onerror="window.bad = 3"', '<img src="http://127.0.0.1:1/x.png" onerror="window.bad = 3">'),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }} {% raw %} ${7 * 7}"),
        ("⟨u+202e⟩", "left ⟨U+202E⟩ thgir"),
        ("a␀b␛c", "a␀b␛c"),
        ("مرحبا", "👩‍👩‍👧 family"),
        ("&lt;b&gt;", "& &amp; &lt;b&gt; ]]>"),
    ):
        view.locator("#search").fill(text)
        view.wait_for_function(
            "shown => document.querySelector('#list article h3')?.innerText.includes(shown)", arg=shown
        )
        assert view.locator("#list article h3 mark").count() > 0
    view.locator("#search").fill("w" * 300)
    view.wait_for_function("document.querySelector('#list article h3 .cut')")
    view.locator("#figure-tradeoff .mark-symbol path").first.hover(force=True)
    assert "(10,010 characters)" in view.locator("#list article h3").first.inner_text()
    assert view.evaluate("window.bad") is None
    assert window.told == []


def test_tables_sort_by_click_and_by_key_and_say_so(view):
    order = cells(view, "leaderboard", 2)
    assert sorted(order) == sorted(SOURCES)
    source = view.get_by_role("button", name="Sort by Source").first
    source.click()
    ascending = cells(view, "leaderboard", 2)
    assert ascending == view.evaluate("texts => texts.sort((a, b) => a.localeCompare(b))", order)
    assert view.locator("#table-leaderboard th").nth(1).get_attribute("aria-sort") == "ascending"
    value = view.locator("#table-leaderboard th button").nth(2)
    value.focus()
    view.keyboard.press("Enter")
    values = [float(text.split()[0]) for text in cells(view, "leaderboard", 3)]
    assert values == sorted(values, reverse=True)
    view.keyboard.press("Enter")
    assert view.locator("#table-leaderboard th").nth(2).get_attribute("aria-sort") == "ascending"
    assert [float(text.split()[0]) for text in cells(view, "leaderboard", 3)] == sorted(values)
    assert view.locator("#table-leaderboard th[aria-sort]").count() == 1


def test_long_tables_filter(view):
    table = view.locator("#table-settings")
    before = table.locator("tbody tr:visible").count()
    table.get_by_label("Filter").fill("temperature")
    assert before > 12
    assert cells(view, "settings", 1) == ["temperature"]
    table.get_by_label("Filter").fill("")
    assert table.locator("tbody tr:visible").count() == before


def test_rows_are_paged(view):
    assert status(view) == "Queries 1–10 of 66"
    first = view.locator("#list article h3").first.inner_text()
    assert view.get_by_role("button", name="Previous page").is_disabled()
    view.get_by_role("button", name="Next page").click()
    assert status(view) == "Queries 11–20 of 66"
    assert view.locator("#list article h3").first.inner_text() != first
    view.get_by_role("button", name="Last page").click()
    assert status(view) == "Queries 61–66 of 66"
    assert view.get_by_role("button", name="Next page").is_disabled()
    view.get_by_role("button", name="First page").click()
    assert view.locator("#list article h3").first.inner_text() == first


def test_a_text_is_found_in_queries_and_in_documents(view):
    view.get_by_label("Search").fill("query-041")
    view.wait_for_function("document.querySelector('#status').textContent === 'Queries 1–1 of 1'")
    view.get_by_label("Search").fill("NEGATIVE-042")
    view.wait_for_function("document.querySelector('#list')?.textContent.includes('query-042')")
    assert status(view) == "Queries 1–1 of 1"
    view.get_by_label("Search").fill("nowhere to be found")
    view.wait_for_function("document.querySelector('#status').textContent.startsWith('None')")
    assert status(view) == "None of the 66 queries of this page fits."
    assert view.get_by_label("Search").get_attribute("placeholder") == "Words in the 66 queries of this page"
    assert "usually page.rows.parquet beside it" in view.locator("#rows-lead").inner_text()


def test_rows_are_chosen_by_flag_and_source_and_ordered_by_hardness(view):
    view.get_by_label("Flag").select_option(label="identical to positive")
    assert status(view) == "Queries 1–10 of 66"  # every query's last negative is its positive
    view.locator("#of-source").select_option(label="bm25")
    assert status(view) == "None of the 66 queries of this page fits."
    view.get_by_label("Flag").select_option(label="any or none")
    view.locator("#order").select_option(label="hardest negative first")
    assert view.get_by_role("checkbox", name="bm25", exact=True).is_checked()
    gaps = view.locator("#list article").evaluate_all(
        """articles => articles.map((article) => {
             const cosine = (box) => Math.max(...[...box.querySelectorAll('.cosine')].map((e) => Number(e.textContent)));
             const own = [...article.querySelectorAll('.source')].find((e) => e.querySelector('h4 bdi').textContent === 'bm25');
             return cosine(own) - cosine(article.querySelector('.positives'));
           })"""
    )
    assert gaps == sorted(gaps, reverse=True)
    assert len(gaps) == 10


def test_sources_are_switched_side_by_side(view):
    heads = view.locator("#list article").first.locator(".source h4 bdi")
    assert heads.count() == 4
    shown = heads.all_inner_texts()
    box = view.get_by_role("checkbox", name=shown[0], exact=True)
    box.uncheck()
    assert heads.all_inner_texts() == shown[1:]
    last = view.locator("#explorer fieldset label").last
    last.locator("input").check()
    assert heads.all_inner_texts()[-1] == last.inner_text().strip()


def test_what_was_found_is_shown_though_its_source_is_not_ticked(view):
    for box in view.locator("#explorer fieldset input").all():
        box.uncheck()
    assert view.locator("#list .source").count() == 0
    view.get_by_label("Search").fill("NEGATIVE-042")
    view.wait_for_function("document.querySelector('#list .source mark')")
    assert view.locator("#list .source").count() == 1
    assert view.locator("#list .source mark").inner_text() == "negative-042"
    view.get_by_label("Search").fill("")
    view.wait_for_function("document.querySelector('#status').textContent.endsWith('of 66')")
    view.get_by_label("Flag").select_option(label="identical to positive")
    shown = view.locator("#list article").evaluate_all(
        "articles => articles.map((e) => [e.querySelectorAll('.source').length, "
        "e.querySelectorAll('.source .flag').length])"
    )
    assert [columns for columns, _ in shown] == [1] * 10  # only the source of the last negative
    assert all(flags for _, flags in shown)
    view.get_by_label("Flag").select_option(label="any or none")
    view.locator("#of-source").select_option(label="random")
    assert view.get_by_role("checkbox", name="random", exact=True).is_checked()
    heads = view.locator("#list article .source h4 bdi").all_inner_texts()
    assert heads == ["random"] * 10


def test_a_hit_far_to_the_side_is_brought_into_its_card(browser, file):
    window = Window(browser, file, 390, 900)
    try:
        view = window.view
        last = view.locator("#explorer fieldset label").last
        view.locator("#of-source").select_option(label=last.inner_text().strip())
        view.wait_for_function("document.querySelector('#list .source.hit')")
        beyond = view.locator("#list .source.hit").evaluate_all(
            "boxes => boxes.filter((e) => e.getBoundingClientRect().left > e.parentElement.getBoundingClientRect().right - 40).length"
        )
        assert beyond == 0
    finally:
        window.context.close()


def test_a_scatter_of_other_sources_and_figures_is_drawn(view):
    view.wait_for_function(DRAWN)
    figure = view.locator("#figure-pair")
    before = figure.locator(".drawing").inner_html()
    figure.get_by_role("combobox", name="upwards").select_option(label="random")
    figure.get_by_role("combobox", name="Show").select_option(label="margin")
    view.wait_for_function(
        "document.querySelector('#figure-pair .drawing svg').textContent.includes('random: margin')"
    )
    assert figure.locator(".drawing").inner_html() != before
    caption = figure.locator("figcaption p").inner_text()
    across = figure.get_by_role("combobox", name="across").evaluate("e => e.selectedOptions[0].textContent")
    assert caption == (
        f"A point a query: the margin of its positive over the hardest negative by {across} to the right, "
        "by random upwards, about the diagonal; 66 queries with negatives of both."
    )
    assert caption in figure.locator(".drawing").get_attribute("aria-label")
    leader = view.locator("#table-leaderboard tbody tr td").nth(1).inner_text()
    assert f": {leader}, which leads," in figure.locator("figcaption").last.text_content()


def test_a_point_of_the_scatter_opens_its_query(view):
    view.wait_for_function(DRAWN)
    view.get_by_role("button", name="Last page").click()
    view.locator("#search").fill("query-041")
    view.wait_for_function("document.querySelector('#status').textContent === 'Queries 1–1 of 1'")
    # Not by the mouse: figures below may still be drawn, and move what is under it.
    view.locator("#figure-pair .drawing path[aria-roledescription='circle']").nth(12).dispatch_event("click")
    view.wait_for_function("document.querySelector('#status').textContent.endsWith('of 66')")
    assert view.locator("#search").input_value() == ""


def test_curves_of_another_n_are_drawn(view):
    view.wait_for_function(DRAWN)
    figure = view.locator("#figure-tradeoff")
    before = figure.locator(".drawing svg").inner_html()
    chosen = figure.get_by_role("combobox").input_value()
    figure.get_by_role("combobox").select_option(next(n for n in ("9", "2") if n != chosen))
    view.wait_for_function(
        "before => document.querySelector('#figure-tradeoff .drawing svg').innerHTML !== before", arg=before
    )


def saved(view, title, tmp_path) -> str:
    """The letters of a figure that was saved."""
    with view.expect_download() as download:
        view.get_by_role("button", name=f"Save {title} as SVG").click()
    download.value.save_as(tmp_path / "saved.svg")
    return " ".join(ET.parse(tmp_path / "saved.svg").getroot().itertext())


def test_a_figure_is_saved_as_it_was_chosen_and_stays_so_when_it_is_drawn_anew(window, view, tmp_path):
    view.wait_for_function(DRAWN)
    figure = view.locator("#figure-tradeoff")
    box = figure.get_by_role("combobox")
    other = box.evaluate("e => [...e.options].at(-1).label.split(' ')[2]")
    assert f"equal ECI at N = {other} " not in f"{figure.locator('.drawing svg').text_content()} "
    box.select_option(index=box.locator("option").count() - 1)
    said = f"Dashed: equal ECI at N = {other}"
    view.wait_for_function(
        "said => document.querySelector('#figure-tradeoff .drawing svg').textContent.includes(said)", arg=said
    )
    assert said in saved(view, "Signal against margin", tmp_path)
    width = figure.get_attribute("data-width")
    try:
        view.set_viewport_size({"width": 390, "height": 800})
        view.wait_for_function(
            "was => document.querySelector('#figure-tradeoff').dataset.width !== was", arg=width
        )
        view.wait_for_function(
            "said => document.querySelector('#figure-tradeoff .drawing svg').textContent.includes(said)",
            arg=said,
        )
        assert box.evaluate("e => e.selectedOptions[0].label.split(' ')[2]") == other
    finally:
        view.set_viewport_size({"width": 1440, "height": 900})


def test_the_scatter_is_saved_as_it_was_chosen(view, tmp_path):
    view.wait_for_function(DRAWN)
    figure = view.locator("#figure-pair")
    figure.get_by_role("combobox", name="upwards").select_option(label="random")
    figure.get_by_role("combobox", name="Show").select_option(label="mean of the negatives")
    assert "random: mean of the negatives" in saved(view, "Query by query", tmp_path)


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_figures_are_saved(view, kind, tmp_path):
    view.wait_for_function(DRAWN)
    with view.expect_download() as download:
        view.get_by_role("button", name=f"Save Capacity and efficiency as {kind.upper()}").click()
    assert download.value.suggested_filename == f"split.{kind}"
    download.value.save_as(tmp_path / "saved")
    data = (tmp_path / "saved").read_bytes()
    assert data.startswith(b"\x89PNG" if kind == "png" else b"<svg")
    assert b"currentColor" not in data


OVERLAPS = """() => {
  const boxes = (list) => [...list].filter((e) => e.getClientRects().length).map((e) => [e, e.getBoundingClientRect()]);
  const found = [];
  const groups = document.querySelectorAll(
    'header, main, section, .decision, .reading dl, .figures, figure, figcaption, .controls, .pager, fieldset, article, .sources, .pairs, tr');
  for (const group of groups) {
    const own = boxes(group.children);
    own.forEach(([a, one], place) => own.slice(place + 1).forEach(([b, two]) => {
      const x = Math.min(one.right, two.right) - Math.max(one.left, two.left);
      const y = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
      if (x > 1 && y > 1) found.push(`${a.tagName}.${a.className} and ${b.tagName}.${b.className}`);
    }));
  }
  return found;
}"""


# Letters of a drawing that meet others, or are cut at its edge or cut short; those aslant are left out.
CROWDED = """() => {
  const found = [];
  for (const svg of document.querySelectorAll('.drawing svg')) {
    const name = svg.closest('figure').dataset.key;
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].filter((e) => {
      const angle = /rotate\\((-?[\\d.]+)/.exec(e.getAttribute('transform') || '');
      return e.textContent.trim() && getComputedStyle(e).opacity !== '0' && !(angle && Number(angle[1]) % 90);
    }).map((e) => [e.textContent, e.getBoundingClientRect()]);
    texts.forEach(([text, one], place) => {
      if (one.left < frame.left - 1 || one.right > frame.right + 1 || one.top < frame.top - 1 || one.bottom > frame.bottom + 1)
        found.push(`${name}: ${text} is cut`);
      texts.slice(place + 1).forEach(([other, two]) => {
        const x = Math.min(one.right, two.right) - Math.max(one.left, two.left);
        const y = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
        if (x > 1 && y > 3) found.push(`${name}: ${text} meets ${other}`);
      });
    });
  }
  return found;
}"""


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_nothing_overlaps_and_nothing_leaves_the_page(browser, file, width):
    window = Window(browser, file, width, 900)
    try:
        assert window.view.evaluate("document.documentElement.scrollWidth") <= width
        assert window.view.evaluate(OVERLAPS) == []
        assert window.view.evaluate(CROWDED) == []
        assert window.told == []
        if width == 1440:
            bottom = window.view.locator("#decision").bounding_box()
            assert bottom["y"] + bottom["height"] < 900
    finally:
        window.context.close()


def shades(view, table):
    return view.locator(f"#table-{table} .edges").evaluate(
        "e => ['before', 'after'].map((side) => getComputedStyle(e, '::' + side).opacity)"
    )


def test_a_table_that_goes_on_sideways_shows_it(browser, file):
    window = Window(browser, file, 390, 900)
    try:
        view = window.view
        assert shades(view, "everything") == ["0", "1"]
        box = view.locator("#table-everything .scroll")
        box.evaluate("e => { e.scrollLeft = 200; }")
        view.wait_for_function("document.querySelector('#table-everything .edges.before')")
        view.wait_for_timeout(400)
        assert shades(view, "everything") == ["1", "1"]
        box.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
        view.wait_for_function("!document.querySelector('#table-everything .edges.after')")
        for table in view.locator("figure.table:visible .scroll").all():
            wide = table.evaluate("e => e.scrollLeft + e.clientWidth < e.scrollWidth - 1")
            assert ("after" in table.locator("..").get_attribute("class").split()) is wide
    finally:
        window.context.close()


def test_on_a_small_screen_the_decision_is_seen_without_scrolling(browser, file):
    window = Window(browser, file, 390, 900)
    try:
        board = window.view.locator("#table-leaderboard")
        right = board.locator(".scroll").evaluate("e => e.getBoundingClientRect().right")
        for name in ("95 % interval", "P(first)", "In-batch +"):
            head = board.locator("th", has=window.view.get_by_role("button", name=f"Sort by {name}"))
            box = head.bounding_box()
            assert box["x"] + box["width"] <= right + 1, name
    finally:
        window.context.close()


def test_a_window_that_shrinks_draws_its_figures_again(browser, file):
    window = Window(browser, file, 1440, 900)
    try:
        window.view.set_viewport_size({"width": 390, "height": 800})
        window.view.wait_for_function(
            "[...document.querySelectorAll('.drawing svg')].every((e) => e.getBoundingClientRect().right <= 390)"
        )
        window.view.wait_for_function("document.querySelector('#figure-sweep').dataset.width < 390")
        assert window.view.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        window.context.close()


CONTRASTS = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((value) => {
    const part = Number(value) / 255;
    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const light = (text) => { const [r, g, b] = channels(text); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const found = {};
  for (const name of ['body', '.subject', 'nav a', '.light-undecided', 'h2.small', 'th', '.cut', '.flag', 'footer']) {
    const element = document.querySelector(name);
    if (!element) continue;
    const ink = light(getComputedStyle(element).color);
    found[name] = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_in_light_and_in_dark(browser, file, scheme):
    window = Window(browser, file, 1440, 900, color_scheme=scheme)
    try:
        found = window.view.evaluate(CONTRASTS)
        assert len(found) >= 7
        assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
        paper = window.view.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(21, 23, 26)") is (scheme == "dark")
    finally:
        window.context.close()


def test_keys_reach_everything_and_everything_has_a_name(view):
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.textContent") == "To the decision"
    view.keyboard.press("Enter")
    # To follow it is a step of its own.
    view.wait_for_url(lambda url: url.endswith("#decision"))
    nameless = view.evaluate(
        """() => [...document.querySelectorAll('button, input, select, [role=img], [role=region], [role=group]')]
             .filter((e) => !(e.getAttribute('aria-label') || e.closest('label')?.textContent.trim() || e.textContent.trim()))
             .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert view.evaluate("[...document.querySelectorAll('.scroll')].every((e) => e.tabIndex === 0)")
    assert view.locator("[role=status]").count() == 1
    levels = [
        int(name[1]) for name in view.locator("h1, h2, h3, h4").evaluate_all("e => e.map((h) => h.tagName)")
    ]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_it_prints_without_controls(window, view):
    view.wait_for_function(DRAWN)
    view.emulate_media(media="print")
    assert view.locator("nav").is_hidden()
    assert view.locator("#search").is_hidden()
    assert view.locator("#list article:visible").count() == 3
    told = view.locator(".on-paper")
    assert told.inner_text().startswith("On paper: the first three of these queries, with 4 of 6 sources (")
    assert view.locator("#figure-split .behind").is_hidden()
    assert view.locator("#table-leaderboard").is_visible()
    assert (
        view.evaluate("getComputedStyle(document.querySelector('#table-baselines .scroll')).overflowX")
        == "visible"
    )
    data = view.pdf(format="A4")
    view.emulate_media(media="screen")
    assert data.startswith(b"%PDF")


def test_without_scripts_the_decision_and_the_tables_are_there(browser, file):
    context = browser.new_context(java_script_enabled=False)
    try:
        view = context.new_page()
        view.goto(file.as_uri())
        assert view.locator("#table-leaderboard tbody tr").count() == len(SOURCES)
        assert view.locator("#table-leaderboard td.bar svg circle").count() == len(SOURCES)
        assert view.locator("#table-everything tbody tr").count() == len(SOURCES)
    finally:
        context.close()


@pytest.mark.parametrize("width", [390, 1440])
def test_names_that_every_object_has_and_names_without_a_break(browser, tmp_path, width):
    made = make_rows(
        30,
        {
            "constructor": 3,
            "toString": 2,
            "__proto__": 2,
            "x" * 60: 2,
            "\U0001f600" * 40: 1,
            "\u4f60" * 70: 1,
        },
    )
    result = score(made)
    page_ = tmp_path / "page.html"
    page_.write_text(page(summarise(result, kept(made, tmp_path, result))), encoding="utf-8")
    opened = Window(browser, page_, width, 900)
    assert opened.told == []
    assert opened.view.locator("figure.chart[data-drawn] .drawing svg").count() == 7
    assert opened.view.evaluate("document.documentElement.scrollWidth") <= width
    boxes = opened.view.locator("fieldset input[type=checkbox]")
    assert min(boxes.nth(place).bounding_box()["width"] for place in range(boxes.count())) >= 10
    opened.context.close()
