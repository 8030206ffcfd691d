"""What several runs of `eci validate` say together: one column for each collection and start.

    cd benchmarks/results
    python ../cases.py weak-start/result.json docstrings/result.json full-start/result.json > cases.md

Prints Markdown; docs/validation.md has most of it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import kendalltau

from validation import MEASURE, main_agreement, share, signed, table, within

# Those that no other source was made into by editing or planting.
FOUND = ("random", "bm25-10", "bm25-50", "dense-10", "dense-30-40", "dense-200-210", "dense-95", "reranked")
FOUND = (*FOUND, "bm25+dense-95")
NAMES = {"scifact": "SciFact", "nfcorpus": "NFCorpus"}
NAMED = ("probe", "alignment_gain", "eci", "capacity")
SAID = ("help", "undecided", "hurt")


@dataclass(frozen=True)
class Case:
    """A collection under one start."""

    name: str
    collection: dict[str, Any]
    judge: str | None

    @property
    def agreement(self) -> dict[str, Any]:
        return main_agreement(self.collection, "target")

    @property
    def metrics(self) -> dict[str, Any]:
        return {entry["metric"]: entry for entry in self.agreement["metrics"]}

    @property
    def judged(self) -> dict[str, Any]:
        """Agreement of the same metrics under another encoder."""
        found = main_agreement(self.collection, self.judge) if self.judge else {"metrics": []}
        return {entry["metric"]: entry for entry in found["metrics"]}


def heads(cases: list[Case], *first: str) -> list[str]:
    return [*first, *(case.name for case in cases)]


def overview(cases: list[Case]) -> str:
    """What was trained and how much its noise leaves to be said."""
    rows: dict[str, list[str]] = {
        "training runs on sources and none": [str(len(case.collection["cells"])) for case in cases],
        "chosen by `none` on a dev fifth": [
            ", ".join(f"{value:g}" for value in case.collection["chosen"].values()) for case in cases
        ],
        f"untrained {MEASURE}": [
            f"{next(iter(case.collection['untrained'].values()))[MEASURE]:.3f}" for case in cases
        ],
        "mean negatives of a query, lowest to highest source": [negatives(case) for case in cases],
        "sources that training decided: help, hurt": [
            f"{effects['help']}, {effects['hurt']}"
            for effects in (Counter(e["verdict"] for e in case.agreement["effects"]) for case in cases)
        ],
        "τ of one seed with the mean of the others": [
            within(case.agreement["ceiling"]["others"]) for case in cases
        ],
        "τ that noise allows a perfect metric": [
            within(case.agreement["ceiling"]["queries"]) for case in cases
        ],
    }
    return table(heads(cases, ""), [[name, *told] for name, told in rows.items()])


def negatives(case: Case) -> str:
    """N of the sources in order, from ln(1+N)."""
    from math import expm1

    found = sorted(
        expm1(value) for value in case.collection["metrics"]["target"]["capacity"].values() if value
    )
    ties = Counter(round(value, 1) for value in found)
    most, times = ties.most_common(1)[0]
    return f"{found[0]:.1f} … {found[-1]:.1f}, {times} × {most}"


def measured(cases: list[Case]) -> str:
    """What training on each source gave, and what it did compared with `none`."""
    effects = [{entry["source"]: entry for entry in case.agreement["effects"]} for case in cases]
    rows = []
    for source in cases[0].agreement["measured"]:
        row = [source]
        for case, of in zip(cases, effects, strict=True):
            value = f"{case.agreement['measured'][source]['value']:.4f}"
            if source in of:
                gain = {**of[source], "value": of[source]["gain"]}
                verdict = "" if gain["verdict"] == "undecided" else f" **{gain['verdict']}**"
                value += f", {within(gain, '{:+.4f}')}{verdict}"
            row.append(value)
        rows.append(row)
    return table(heads(cases, f"{MEASURE}, minus none (95 %)"), rows)


def rankings(cases: list[Case]) -> str:
    """τ of every metric, what its first choice loses, and its signs."""
    order = sorted(
        (name for name, entry in cases[0].metrics.items() if entry["kendall"]["value"] is not None),
        key=lambda name: -sum(case.metrics[name]["kendall"]["value"] for case in cases),
    )
    rows = []
    for name in order:
        signs = [case.metrics[name]["signs_decided"] for case in cases]
        told = summed(signs)
        rows.append(
            [
                f"`{name}`",
                *(signed(case.metrics[name]["kendall"]["value"]) for case in cases),
                ", ".join(f"{case.metrics[name]['regret']['value']:.4f}" for case in cases),
                share(told),
                share(summed([case.metrics[name]["signs"] for case in cases])),
                ", ".join(
                    signed(case.judged[name]["kendall"]["value"]) for case in cases if name in case.judged
                ),
            ]
        )
    rows += [
        [
            "what noise allows",
            *(signed(case.agreement["ceiling"]["queries"]["value"]) for case in cases),
            *("", "", "", ""),
        ],
        [
            "a source at random",
            *("" for _ in cases),
            ", ".join(f"{case.agreement['regret_random']['value']:.4f}" for case in cases),
            *("", "", ""),
        ],
        [
            "always `none`",
            *("" for _ in cases),
            ", ".join(f"{case.agreement['regret_none']['value']:.4f}" for case in cases),
            *("", "", ""),
        ],
        ["always help", *("" for _ in cases), "", *of_constants(cases), "", ""],
    ]
    last = ("lost by the first choice", "signs of decided", "of all", "under the full model")
    return table([*heads(cases, "τ"), *last], rows)


def summed(signs: list[dict[str, Any]]) -> dict[str, Any]:
    """Signs that were right, over the cases."""
    return {key: sum(each[key] for each in signs) for key in ("hits", "total")}


def of_constants(cases: list[Case]) -> list[str]:
    """Signs that one word for all has right, and one word for each case."""
    found = [case.agreement["helped_decided"] for case in cases]
    total = sum(each["total"] for each in found)
    best = sum(max(each["hits"], each["total"] - each["hits"]) for each in found)
    helped = sum(each["hits"] for each in found)
    return [f"{helped}/{total}; the better word of each case {best}/{total}"]


def gaps(cases: list[Case]) -> str:
    """How far metrics are above ln(1+N), with intervals."""
    names = [name for name in cases[0].metrics if cases[0].metrics[name]["kendall"]["value"] is not None]
    names = [name for name in names if name != "capacity"]
    above = {n: sum((case.metrics[n]["kendall_gain"]["low"] or -1) > 0 for case in cases) for n in names}
    order = sorted(names, key=lambda name: (-above[name], -cases[2].metrics[name]["kendall"]["value"]))
    rows = [
        [f"`{name}`", *(within(case.metrics[name]["kendall_gain"]) for case in cases), str(above[name])]
        for name in order
    ]
    return table([*heads(cases, "τ minus that of ln(1+N)"), "above 0"], rows)


def intervals(cases: list[Case]) -> str:
    """τ and regret of those named, with intervals."""
    rows = [
        [f"`{name}`, {what}", *(within(case.metrics[name][key], form) for case in cases)]
        for name in ("probe", "alignment", "alignment_gain", "eci_sem", "eci", "eci_mean_margin", "capacity")
        for what, key, form in (("τ", "kendall", "{:+.2f}"), ("lost", "regret", "{:.4f}"))
    ]
    return table(heads(cases, ""), rows)


def by_measure(cases: list[Case]) -> str:
    """τ with every measure."""
    rows = []
    for measure in (entry["measure"] for entry in cases[0].collection["agreements"]["target"]):
        row = [measure]
        for case in cases:
            found = next(e for e in case.collection["agreements"]["target"] if e["measure"] == measure)
            known = {entry["metric"]: entry["kendall"]["value"] for entry in found["metrics"]}
            told = ", ".join(signed(known[name]) for name in NAMED)
            row.append(f"{told}; {signed(found['ceiling']['queries']['value'])}")
        rows.append(row)
    return table(heads(cases, "probe, `alignment_gain`, `eci`, ln(1+N); noise allows"), rows)


def unseen(cases: list[Case]) -> str:
    """τ over test queries none of whose answers was a positive in training."""
    rows = []
    for case in cases:
        for found in case.collection["unseen"]["target"]:
            if found["measure"] == MEASURE:
                known = {entry["metric"]: entry for entry in found["metrics"]}
                told = [within(known[name]["kendall"]) for name in NAMED]
                ceiling = within(found["ceiling"]["queries"])
                decided = str(sum(entry["verdict"] != "undecided" for entry in found["effects"]))
                rows.append([case.name, f"{found['settings']['queries']:,}", *told, ceiling, decided])
    return table(["", "test queries", *(f"`{n}`" for n in NAMED), "noise allows", "sources decided"], rows)


def of_found(cases: list[Case]) -> str:
    """τ over the sources that were mined or mixed, without edits and planted positives."""
    rows = []
    for name in ("probe", "alignment", "alignment_gain", "eci_sem", "eci", "capacity"):
        row = [f"`{name}`"]
        for case in cases:
            values, gains = case.collection["metrics"]["target"][name], case.agreement["measured"]
            said = [values[source] for source in FOUND]
            row.append(signed(float(kendalltau(said, [gains[source]["value"] for source in FOUND])[0])))
        rows.append(row)
    return table(heads(cases, f"τ over {len(FOUND)} sources"), rows)


def verdicts(cases: list[Case]) -> str:
    """What metrics said beside what training did."""
    rows = []
    for case in cases:
        for said in SAID:
            row = [case.name, said]
            for metric in ("probe", "alignment_gain"):
                counts = case.agreement["verdicts"][metric][said]
                row.append(", ".join(str(counts[done]) for done in SAID))
            rows.append(row)
    ending = ": training helped, undecided, hurt"
    return table(["", "it said", f"probe{ending}", f"`alignment_gain`{ending}"], rows)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    cases = []
    for path in parser.parse_args().results:
        result = json.loads(path.read_text())
        for collection in result["collections"]:
            judges = [encoder for encoder in collection["agreements"] if encoder != "target"]
            layers = result["experiment"]["model"]["config"].get("num_hidden_layers", "all")
            name = f"{NAMES.get(collection['collection'], collection['collection'])}, {layers} layers"
            cases.append(Case(name, collection, judges[0] if judges else None))
    for told in (
        *(overview, measured, rankings, intervals, gaps, of_found),
        *(by_measure, unseen, verdicts),
    ):
        print(f"## {told.__doc__}\n\n{told(cases)}\n")


if __name__ == "__main__":
    main()
