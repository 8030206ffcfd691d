"""Figures and tables of an experiment: metrics beside training, by collection, source and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eci.metrics import LOWER_IS_BETTER
from eci.report.agreement_charts import placed
from eci.report.data import Column, Figure, Table, visible
from eci.training.settings import NONE


@dataclass(frozen=True)
class Case:
    """A test set of a collection, by the main measure.

    Parameters
    ----------
    name : str
    encoder : str
        Whose vectors the metrics had.
    agreement : mapping
        As `eci.validation.agreement.Agreement.to_dict` has it.
    values : mapping of str to mapping
        By metric what it says of each source.
    runs : tuple of (str, int, float)
        Source, seed and measure of each training.
    """

    name: str
    encoder: str
    agreement: Mapping[str, Any]
    values: Mapping[str, Mapping[str, float | None]]
    runs: tuple[tuple[str, int, float], ...]

    @classmethod
    def all(cls, result: Mapping[str, Any]) -> list[Case]:
        """Of all collections, under the first encoder: the one that is trained."""
        found = []
        for one in result["collections"]:
            encoder = next(iter(one["agreements"]))
            measure = result["summaries"][encoder]["measure"]
            own = [entry for entry in one["agreements"][encoder] if entry["measure"] == measure]
            for entry, test in zip(own, one["untrained"], strict=True):
                runs = tuple(
                    (visible(cell["source"]), cell["seed"], cell["tests"][test][measure])
                    for cell in one["cells"]
                )
                found.append(cls(visible(entry["collection"]), encoder, entry, one["metrics"][encoder], runs))
        return found


def against(cases: list[Case], summary: Mapping[str, Any]) -> Figure:
    """Each source by what a metric says of it and what training gave; the page lets another be chosen."""
    known = [entry for entry in summary["metrics"] if entry["kendall"]["mean"] is not None]
    order = [source for source in cases[0].agreement["measured"] if source != NONE]
    numbers = {source: place for place, source in enumerate(order, start=1)}
    values = [
        {
            "collection": case.name,
            "metric": entry["metric"],
            "source": visible(source),
            "number": numbers[source],
            "verdict": verdict,
            "x": case.values[entry["metric"]][source],
            **case.agreement["measured"][source],
        }
        for case in cases
        for entry in known
        for source, verdict in _verdicts(case).items()
        if case.values.get(entry["metric"], {}).get(source) is not None
    ]
    none = [
        {"collection": case.name, "value": case.agreement["measured"][NONE]["value"]}
        for case in cases
        if NONE in case.agreement["measured"]
    ]
    return Figure(
        "against",
        "What a metric said, and what training gave",
        f"A point a source: the metric before training to the right, {summary['measure']} after it upwards, "
        "with its 95 % interval; the dashed line is in-batch negatives alone. Points that rise to the right "
        "are a metric that told: where less of it is better, the axis is reversed. Numbers are those of the "
        "table. Others can be chosen.",
        "against",
        {
            "values": placed(values, LOWER_IS_BETTER),
            "none": none,
            "metrics": [
                {"name": entry["metric"], "told": f"{entry['metric']} (τ {entry['kendall']['mean']:+.2f})"}
                for entry in known
            ],
            "lower": sorted(LOWER_IS_BETTER),
            "cases": [case.name for case in cases],
            "measure": summary["measure"],
        },
        Table(
            "against",
            f"Sources by {summary['measure']} after training",
            (Column("No.", "count"), Column("Source"), *(Column(case.name, "interval", 4) for case in cases)),
            tuple(
                (
                    numbers[source],
                    visible(source),
                    *(_triple(case.agreement["measured"].get(source)) for case in cases),
                )
                for source in order
            ),
        ),
    )


def agreement(cases: list[Case], summary: Mapping[str, Any]) -> Table:
    """τ of every metric on every collection."""
    by_case = [{entry["metric"]: entry for entry in case.agreement["metrics"]} for case in cases]
    rows = [
        (
            entry["metric"],
            entry["kendall"]["mean"],
            *(_triple(found[entry["metric"]]["kendall"]) for found in by_case),
        )
        for entry in summary["metrics"]
    ]
    ceilings = (_triple(case.agreement["ceiling"]["queries"]) for case in cases)
    rows.append(("what noise allows", summary["ceiling"]["mean"], *ceilings))
    columns = (
        Column("Metric"),
        Column("Mean", "signed", 2),
        *(Column(case.name, "signed-interval", 2) for case in cases),
    )
    return Table("agreement", "Kendall's τ with training", columns, tuple(rows))


def choices(cases: list[Case]) -> Table:
    """What every metric puts first, and what is lost by that."""
    rows = []
    for case in cases:
        for entry in case.agreement["metrics"]:
            if entry["choice"]:
                choice = (
                    ", ".join(entry["choice"]) if len(entry["choice"]) < 4 else f"{len(entry['choice'])} tied"
                )
                lost, gain = _triple(entry["regret"]), _triple(entry["regret_gain"])
                rows.append((case.name, entry["metric"], visible(choice), lost, gain, entry["cost"]))
        for name, regret in (("any source", "regret_random"), ("always none", "regret_none")):
            rows.append((case.name, "–", name, _triple(case.agreement[regret]), (None, None, None), None))
    columns = (
        Column("Collection"),
        Column("Metric"),
        Column("First choice"),
        Column("Lost", "interval", 4, "Of the measure, against the best source, none included"),
        Column("Minus capacity's", "signed-interval", 4, "Less than 0 is better than ln(1+N)"),
        Column("Training : scoring", "count", told="Seconds of training for each second of scoring"),
    )
    return Table("choices", "First choices, and what they lose", columns, tuple(rows))


def under_others(result: Mapping[str, Any]) -> tuple[Table, ...]:
    """The mean τ under each encoder, where there are several."""
    summaries = result["summaries"]
    if len(summaries) < 2:
        return ()
    found = [{entry["metric"]: entry["kendall"] for entry in told["metrics"]} for told in summaries.values()]
    rows = tuple(
        (name, *((each[name]["mean"], each[name]["low"], each[name]["high"]) for each in found))
        for name in found[0]
    )
    columns = (Column("Metric"), *(Column(visible(name), "signed-interval", 2) for name in summaries))
    note = "target is the model as it is before it is trained."
    return (Table("encoders", "Mean τ, by the encoder whose vectors the metric had", columns, rows, note),)


def seeds(cases: list[Case]) -> Figure:
    """The measure of each training, seed by seed."""
    values = [
        {"collection": case.name, "source": source, "seed": seed, "value": value}
        for case in cases
        for source, seed, value in case.runs
    ]
    rows = []
    for case in cases:
        for source in map(visible, case.agreement["measured"]):
            own = [value for name, _, value in case.runs if name == source]
            rows.append(
                (case.name, source, len(own), sum(own) / len(own), min(own), max(own), max(own) - min(own))
            )
    columns = (
        Column("Collection"),
        Column("Source"),
        Column("Seeds", "count"),
        *(Column(name, "number", 4) for name in ("Mean", "Lowest", "Highest", "Spread")),
    )
    return Figure(
        "seeds",
        "Seed by seed",
        "A panel a collection, a line a source, best first by the first collection; a point is one training, "
        "the stroke their mean. Where points of two sources mix, one seed cannot tell them apart.",
        "seeds",
        {
            "values": values,
            "panels": [case.name for case in cases],
            "order": [visible(source) for source in cases[0].agreement["measured"]],
        },
        Table("seeds", "Spread over the seeds", columns, tuple(rows)),
    )


def measured(cases: list[Case]) -> Table:
    """What training on each source gave, and whether it helped."""
    rows = []
    for source in cases[0].agreement["measured"]:
        cells: list[Any] = []
        for case in cases:
            effect = next((entry for entry in case.agreement["effects"] if entry["source"] == source), None)
            cells.append(_triple(case.agreement["measured"].get(source)))
            cells.append(_triple({**effect, "value": effect["gain"]} if effect else None))
            cells.append(effect["verdict"] if effect else "yardstick")
        rows.append((visible(source), *cells))
    columns = [Column("Source")]
    for case in cases:
        columns += [
            Column(f"{case.name}: {case.agreement['measure']}", "interval", 4),
            Column("minus none", "signed-interval", 4),
            Column("it", "light", told="By its own 95 % interval"),
        ]
    return Table("measured", "After training", tuple(columns), tuple(rows))


def hits(summary: Mapping[str, Any]) -> Table:
    """How often each metric had the sign right."""
    rows = [
        (entry["metric"], *_hits(entry["signs"]), *_hits(entry["signs_decided"]))
        for entry in summary["metrics"]
        if entry["signs"]["total"]
    ]
    rows.append(("saying help of all", *_hits(summary["helped"]), *_hits(summary["helped_decided"])))
    columns = (
        Column("Metric"),
        Column("Right", "share-interval", 0, "Wilson's interval, as if sources were independent"),
        Column("of", "count"),
        Column("Right of those that training decided", "share-interval", 0),
        Column("of", "count"),
    )
    return Table("hits", "Signs that were right, all collections together", columns, tuple(rows))


def verdicts(summary: Mapping[str, Any]) -> Table:
    """What metrics said beside what training did."""
    rows = tuple(
        (metric, said, *(counts[done] for done in ("help", "undecided", "hurt")))
        for metric, told in summary["verdicts"].items()
        for said, counts in told.items()
    )
    columns = (
        Column("Metric"),
        Column("It said", "light"),
        *(Column(f"training: {done}", "count") for done in ("help", "undecided", "hurt")),
    )
    return Table("verdicts", "Verdicts beside what training did", columns, rows)


def costs(result: Mapping[str, Any]) -> Table:
    """Seconds of scoring beside those of training."""
    rows = []
    for one in result["collections"]:
        training = one["seconds"]["training"]
        for encoder, spent in one["seconds"]["scoring"].items():
            parts = [spent[part] for part in ("embedding", "score", "probe")]
            whole = (spent["embedding"] + spent["score"], spent["embedding"] + spent["probe"])
            shares = (part / training if training else None for part in whole)
            rows.append((visible(one["collection"]), visible(encoder), *parts, training, *shares))
    columns = (
        Column("Collection"),
        Column("Encoder"),
        *(Column(f"{part}, s", "count") for part in ("embedding", "metrics", "probe", "all training")),
        Column("Metrics of training", "share", 1),
        Column("Probe of training", "share", 1),
    )
    return Table("cost", "Seconds", columns, tuple(rows))


def _verdicts(case: Case) -> dict[str, str]:
    return {entry["source"]: entry["verdict"] for entry in case.agreement["effects"]} or dict.fromkeys(
        (source for source in case.agreement["measured"] if source != NONE), "undecided"
    )


def _triple(found: Mapping[str, Any] | None) -> tuple[Any, Any, Any]:
    return (found["value"], found["low"], found["high"]) if found else (None, None, None)


def _hits(found: Mapping[str, Any]) -> tuple[tuple[Any, Any, Any], int]:
    share = found["hits"] / found["total"] if found["total"] else None
    return (share, found["low"], found["high"]), found["total"]
