"""Tables and plots of what `eci validate` found, for docs/validation.md.

    eci validate examples/weak-start.toml -o weak-start
    python benchmarks/validation.py weak-start/result.json

Prints the tables in Markdown; with --draw writes `docs/validation-NAME-COLLECTION-ENCODER.svg`: sources by
what a metric says of them and by what training on them gave. Plots need altair and vl-convert-python
(pip install 'eci[bench]').
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
MEASURE = "nDCG@10"
DRAWN = ("capacity", "eci", "eci_mean_margin", "signal", "eci_sem", "alignment", "alignment_gain", "probe")
WIDE, HIGH, COLUMNS = 190, 150, 4


def main_agreement(collection: dict[str, Any], encoder: str) -> dict[str, Any]:
    """The agreement with the main measure under one encoder."""
    return next(entry for entry in collection["agreements"][encoder] if entry["measure"] == MEASURE)


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def within(estimate: dict[str, float | None], form: str = "{:+.2f}") -> str:
    """A value and its interval."""
    if estimate["value"] is None:
        return "–"
    if estimate["low"] is None:
        return form.format(estimate["value"])
    return (
        f"{form.format(estimate['value'])} ({form.format(estimate['low'])} … {form.format(estimate['high'])})"
    )


def measured(collection: dict[str, Any]) -> str:
    """What training on each source gave, and what it did compared with `none`."""
    found = main_agreement(collection, "target")
    effects = {entry["source"]: entry for entry in found["effects"]}
    rows = []
    for source, estimate in found["measured"].items():
        each = [
            cell["tests"][next(iter(cell["tests"]))][MEASURE]
            for cell in collection["cells"]
            if cell["source"] == source
        ]
        effect = effects.get(source)
        gain = "" if effect is None else within({**effect, "value": effect["gain"]}, "{:+.4f}")
        told = "" if effect is None else effect["verdict"]
        rows.append(
            [source, f"{estimate['value']:.4f}", " ".join(f"{value:.4f}" for value in each), gain, told]
        )
    return table(["source", MEASURE, "seeds", "minus none (95 %)", "effect"], rows)


def rankings(collection: dict[str, Any]) -> str:
    """How every metric ranks the sources, and what is lost by its first choice."""
    rows = []
    for encoder in collection["agreements"]:
        for entry in main_agreement(collection, encoder)["metrics"]:
            known = [r for r in entry["without"].values() if r is not None]
            ends = f"{min(known):+.2f} … {max(known):+.2f}" if known else "–"
            rows.append(
                [
                    f"`{entry['metric']}`",
                    encoder,
                    within(entry["kendall"]),
                    "–" if entry["pearson"]["value"] is None else f"{entry['pearson']['value']:+.2f}",
                    ends,
                    "–" if entry["partial"]["value"] is None else f"{entry['partial']['value']:+.2f}",
                    ", ".join(entry["choice"]),
                    within(entry["regret"], "{:.4f}"),
                    f"{entry['signs']['hits']}/{entry['signs']['total']}" if entry["signs"]["total"] else "–",
                ]
            )
    rows.sort(key=lambda row: (row[2] == "–", -float(row[2].split()[0]) if row[2] != "–" else 0))
    heads = ["metric", "under", "τ (95 %)", "r", "r without one", "r given ln(1+N)", "first choice"]
    return table([*heads, "nDCG@10 lost (95 %)", "signs"], rows)


def summary(result: dict[str, Any]) -> str:
    """Means over the collections."""
    rows = []
    for encoder, found in result["summaries"].items():
        for entry in found["metrics"]:
            if entry["kendall"]["mean"] is None:
                continue
            each = entry["kendall"]["values"]
            rows.append(
                [
                    f"`{entry['metric']}`",
                    encoder,
                    f"{entry['kendall']['mean']:+.2f}",
                    " ".join(f"{each.get(name, float('nan')):+.2f}" for name in found["collections"]),
                    f"{entry['regret']['mean']:.4f}",
                    f"{entry['signs']['hits']}/{entry['signs']['total']}" if entry["signs"]["total"] else "–",
                ]
            )
    rows.sort(key=lambda row: -float(row[2]))
    return table(["metric", "under", "mean τ", "by collection", "mean nDCG@10 lost", "signs"], rows)


def points(collection: dict[str, Any], scores: dict[str, Any], encoder: str) -> list[dict[str, Any]]:
    """Each source by each drawn metric and by what training on it gained."""
    effects = main_agreement(collection, encoder)["effects"]
    return [
        {"metric": name, "value": scores[name][entry["source"]], **entry}
        for name in DRAWN
        for entry in effects
        if scores.get(name, {}).get(entry["source"]) is not None
    ]


def draw(collection: dict[str, Any], encoder: str, path: Path) -> None:
    """Write the plot of a collection."""
    import altair as alt

    rows = points(collection, collection["metrics"][encoder], encoder)
    charts = []
    for name in DRAWN:
        own = alt.Data(values=[row for row in rows if row["metric"] == name])
        if not own.values:
            continue
        across = alt.X("value:Q", title=name, scale=alt.Scale(zero=False))
        marks = alt.Chart(own, width=WIDE, height=HIGH)
        spread = marks.mark_rule(opacity=0.35).encode(
            across, alt.Y("low:Q", title=f"{MEASURE} minus none"), alt.Y2("high:Q")
        )
        dots = marks.mark_point(filled=True, size=45).encode(
            across,
            alt.Y("gain:Q"),
            alt.Color(
                "source:N",
                sort=list(main_agreement(collection, encoder)["measured"]),
                scale=alt.Scale(scheme="tableau20"),
            ),
        )
        charts.append(spread + dots)
    title = (
        f"{collection['collection']}: {MEASURE} minus that of none after training (95 %), by what metrics "
        f"under {encoder} say before"
    )
    alt.concat(*charts, columns=COLUMNS, title=title).save(str(path), format="svg")


def main() -> None:
    """Print the tables of one result, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--draw", action="store_true", help="write the plots to docs/")
    options = parser.parse_args()
    result = json.loads(options.result.read_text())
    for collection in result["collections"]:
        print(f"\n### {collection['collection']}\n\n{measured(collection)}\n\n{rankings(collection)}")
        for encoder in collection["agreements"] if options.draw else ():
            label = "target" if encoder == "target" else "judge"
            draw(
                collection,
                encoder,
                DOCS / f"validation-{result['name']}-{collection['collection']}-{label}.svg",
            )
    if len(result["collections"]) > 1:
        print(f"\n### Both\n\n{summary(result)}")


if __name__ == "__main__":
    main()
