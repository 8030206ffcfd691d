"""Tables and plots of what `eci validate` found, for docs/validation.md.

    eci validate examples/weak-start.toml -o benchmarks/results/weak-start
    python benchmarks/validation.py benchmarks/results/weak-start/result.json --draw > tables.md

Prints the tables in Markdown; with --draw writes `docs/validation-NAME-COLLECTION-target.svg`: sources by
what a metric under the encoder that is trained says of them, and by what training on them gained. Plots need
altair and vl-convert-python (pip install 'eci[bench]').
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


def signed(value: float | None, form: str = "{:+.2f}") -> str:
    return "–" if value is None else form.format(value)


def share(found: dict[str, Any]) -> str:
    return f"{found['hits']}/{found['total']}" if found["total"] else "–"


def rankings(agreement: dict[str, Any]) -> str:
    """How every metric ranks the sources, and what is lost by its first choice."""
    rows = []
    for entry in agreement["metrics"]:
        known = [r for r in entry["without"].values() if r is not None]
        rows.append(
            [
                f"`{entry['metric']}`",
                within(entry["kendall"]),
                signed(entry["spearman"]["value"]),
                signed(entry["pearson"]["value"]),
                f"{min(known):+.2f} … {max(known):+.2f}" if known else "–",
                signed(entry["partial"]["value"]),
                ", ".join(entry["choice"]),
                within(entry["regret"], "{:.4f}"),
                share(entry["signs"]),
                share(entry["signs_decided"]),
                "–" if entry["cost"] is None else f"1 : {entry['cost']:.0f}",
            ]
        )
    heads = ["metric", "τ (95 %)", "ρ", "r", "r without one", "r given ln(1+N)", "first choice"]
    return table([*heads, f"{MEASURE} lost (95 %)", "signs", "of decided", "cost"], rows)


def by_measure(result: dict[str, Any], encoder: str) -> str:
    """Tau of every metric with every measure."""
    told = [(one, entry) for one in result["collections"] for entry in one["agreements"][encoder]]
    heads = ["metric", *(f"{one['collection']}, {entry['measure']}" for one, entry in told)]
    known = [{found["metric"]: found["kendall"]["value"] for found in entry["metrics"]} for _, entry in told]
    rows = [[f"`{name}`", *(signed(values[name]) for values in known)] for name in known[0]]
    ceilings = (signed(entry["ceiling"]["queries"]["value"]) for _, entry in told)
    return table(heads, [*rows, ["what noise allows", *ceilings]])


def summary(result: dict[str, Any]) -> str:
    """Means over the collections under each encoder."""
    heads, rows = ["metric"], []
    by_encoder = []
    for encoder, found in result["summaries"].items():
        heads += [f"{encoder}: τ (95 %)", "minus capacity's (95 %)", f"{MEASURE} lost", "signs of decided"]
        by_encoder.append({entry["metric"]: entry for entry in found["metrics"]})
    for name, first in by_encoder[0].items():
        if first["kendall"]["mean"] is None:
            continue
        row = [f"`{name}`"]
        for found in (entries[name] for entries in by_encoder):
            gain = "" if name == "capacity" else mean_within(found["kendall_gain"])
            lost = signed(found["regret"]["mean"], "{:.4f}")
            row += [mean_within(found["kendall"]), gain, lost, share(found["signs_decided"])]
        rows.append(row)
    return table(heads, rows)


def mean_within(averaged: dict[str, Any]) -> str:
    return within({**averaged, "value": averaged["mean"]})


def noise(result: dict[str, Any]) -> str:
    """How far tau could rise, by collection, over the sources without `none`."""
    kinds = {
        "others": "one seed with the mean of the others",
        "pairs": "one seed with another one",
        "seeds": "a perfect metric with the mean of all seeds, at these queries",
        "queries": "the same, the queries being a sample too",
    }
    found = [main_agreement(collection, "target")["ceiling"] for collection in result["collections"]]
    heads = ["τ that noise allows", *(collection["collection"] for collection in result["collections"])]
    return table(heads, [[said, *(within(each[kind]) for each in found)] for kind, said in kinds.items()])


def verdicts(result: dict[str, Any]) -> str:
    """What metrics said beside what training did, over all collections."""
    rows = [
        [f"`{metric}`", encoder, said, *(str(counts[done]) for done in ("help", "undecided", "hurt"))]
        for encoder, found in result["summaries"].items()
        for metric, table_of in found["verdicts"].items()
        for said, counts in table_of.items()
    ]
    return table(["metric", "under", "it said", "training: help", "undecided", "hurt"], rows)


def costs(result: dict[str, Any]) -> str:
    """Seconds of scoring beside those of training."""
    rows = [
        [
            collection["collection"],
            encoder,
            *(f"{spent[part]:.0f}" for part in ("embedding", "score", "probe")),
            f"{collection['seconds']['training']:,.0f}",
            f"{(spent['embedding'] + spent['score']) / collection['seconds']['training']:.1%}",
            f"{(spent['embedding'] + spent['probe']) / collection['seconds']['training']:.1%}",
        ]
        for collection in result["collections"]
        for encoder, spent in collection["seconds"]["scoring"].items()
    ]
    heads = ["collection", "encoder", "embedding, s", "metrics, s", "probe, s", "training, s"]
    return table([*heads, "metrics of training", "probe of training"], rows)


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
    print(f"# {result['name']}")
    for collection in result["collections"]:
        print(f"\n## {collection['collection']}\n\n{measured(collection)}")
        for encoder in collection["agreements"]:
            for entry in (main_agreement(collection, encoder), *collection["unseen"][encoder]):
                print(f"\n### {entry['collection']}, under {encoder}\n\n{rankings(entry)}")
        if options.draw:
            name = f"validation-{result['name']}-{collection['collection']}-target.svg"
            draw(collection, "target", DOCS / name)
    for encoder in result["collections"][0]["agreements"]:
        print(f"\n## τ with every measure, under {encoder}\n\n{by_measure(result, encoder)}")
    for head, made in (("What noise allows", noise), ("Cost", costs)):
        print(f"\n## {head}\n\n{made(result)}")
    if len(result["collections"]) > 1:
        print(f"\n## All collections\n\n{summary(result)}")
    print(f"\n## Verdicts\n\n{verdicts(result)}")


if __name__ == "__main__":
    main()
