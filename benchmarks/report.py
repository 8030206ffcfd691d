"""What a page of 20 sources and 2,000 queries weighs, and how long it takes to write and to open.

    python benchmarks/report.py                     # benchmarks/results/report.json

Texts are made of the words of Python's own docstrings, of about 1,000 characters; vectors cost nothing.
Opening is measured in headless Chromium, where Playwright and a browser are there (--browser PATH).
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from eci import api
from eci.datasets import ReadOptions
from eci.datasets.docstrings import docstring_task
from eci.examples import Examples
from eci.report import rows
from eci.report.render import page
from eci.report.summarise import MOST, summarise
from eci.settings import Settings

RESULTS = Path(__file__).parent / "results"
_DIMENSION = 64


class Known:
    """Vectors that were drawn before, found by their text."""

    def __init__(self, texts: list[str], seed: int) -> None:
        self.places = {text: place for place, text in enumerate(texts)}
        drawn = np.random.default_rng(seed).standard_normal((len(self.places), _DIMENSION))
        self.vectors = drawn.astype(np.float32) + 0.5

    def encode_query(self, texts):
        return self.vectors[[self.places[text] for text in texts]]

    encode_document = encode_query


def material(sources: int, queries: int, negatives: int, seed: int = 0) -> tuple[list[dict], Known]:
    """Rows of so many sources, and an encoder that knows their texts."""
    rng = np.random.default_rng(seed)
    shown = docstring_task(every=5).corpus.shown()
    vocabulary = np.array(sorted({word for text in shown for word in text.split() if len(word) < 20}))
    pool = [" ".join(rng.choice(vocabulary, size=rng.integers(60, 240))) for _ in range(10 * queries)]
    asked = [" ".join(rng.choice(vocabulary, size=9)) + f" {number}" for number in range(queries)]
    made = []
    for number, query in enumerate(asked):
        drawn = rng.integers(0, len(pool), size=(sources, negatives))
        made.append(
            {
                "query_id": f"q{number}",
                "query": query,
                "positives": [{"text": pool[number]}],
                "negatives": [
                    {"source": f"source-{source:02d}", "text": pool[place]}
                    for source in range(sources)
                    for place in drawn[source]
                ],
            }
        )
    return made, Known([*asked, *pool], seed)


def opened(path: Path, browser: str) -> dict[str, float]:
    """Seconds until the page answers, until all figures are drawn, and of a search."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        view = window.new_page(viewport={"width": 1440, "height": 900})
        began = time.perf_counter()
        view.goto(path.as_uri())
        view.wait_for_selector("html[data-ready=yes]")
        ready = time.perf_counter() - began
        view.wait_for_function("!document.querySelector('figure.chart:not([data-drawn])')")
        drawn = time.perf_counter() - began
        searched = view.evaluate(
            """() => { const box = document.querySelector('#order'); const began = performance.now();
                       box.value = 'hard'; box.dispatchEvent(new Event('change'));
                       return (performance.now() - began) / 1000; }"""
        )
        window.close()
    return {"ready_s": round(ready, 2), "drawn_s": round(drawn, 2), "sorted_s": round(searched, 3)}


def _since(began: float, worked: float) -> dict[str, float]:
    """Seconds that went by, and that this process computed in them: others may share its cores."""
    return {
        "wall_s": round(time.perf_counter() - began, 2),
        "cpu_s": round(time.process_time() - worked, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=20)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--negatives", type=int, default=10)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--output", type=Path, default=RESULTS / "report.json")
    options = parser.parse_args()
    made, encoder = material(options.sources, options.queries, options.negatives)
    result = api.score(made, encoder, settings=Settings(shortcuts=False))
    found = {key: getattr(options, key) for key in ("sources", "queries", "negatives")}
    with tempfile.TemporaryDirectory() as folder:
        path, beside = Path(folder) / "page.html", Path(folder) / "page.rows.parquet"
        examples = Examples.from_batches(api.rows_of(made, ReadOptions()))
        began, worked = time.perf_counter(), time.process_time()
        rows.keep(examples, encoder, result, beside)
        found["rows"] = _since(began, worked)
        began, worked = time.perf_counter(), time.process_time()
        path.write_text(page(summarise(result, rows.read_sample(beside, MOST, result))), encoding="utf-8")
        found["page"] = _since(began, worked)
        found.update(
            page_mb=round(path.stat().st_size / 1e6, 2), rows_mb=round(beside.stat().st_size / 1e6, 1)
        )
        if Path(options.browser).exists():
            found["opening"] = opened(path, options.browser)
    found["machine"] = {"processor": platform.machine(), "python": platform.python_version()}
    options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
