"""The first thing on an audit's page: how many negatives look wrong by what, and what a fix takes out."""

from __future__ import annotations

from typing import Any

from eci.audit.issues import FAULTS, OF_ROWS
from eci.audit.result import AuditResult
from eci.report.data import Column, Decision, Table, visible
from eci.report.measured import RIGHT
from eci.results import count
from eci.validation.resampling import Share

# Faults that the headline names.
_NAMED = 3


def decision(result: AuditResult) -> Decision:
    """What a reader decides on: whether to mend, and what that takes out."""
    return Decision(
        headline=_headline(result),
        decided=True,
        caution=_caution(result),
        sentences=tuple(_sentences(result)),
        leaderboard=_leaderboard(result),
        warnings=tuple(visible(text) for text in result.warnings),
    )


def share(hits: int, total: int) -> tuple[float, float, float]:
    """A cell of kind ``share-interval``: Wilson's interval, as if all were independent."""
    found = Share.of(hits, total)
    return (hits / total if total else float("nan"), found.low, found.high)


def _headline(result: AuditResult) -> str:
    told = result.data["mendable"]
    if not told["negatives"]:
        return f"None of {count(result.negatives, 'negative')} looks wrong by what a fix mends."
    faults = _faults(result)
    named = ", ".join(
        spoken(issue) + (f" {number:,}" if len(faults) > 1 else "") for issue, number in faults[:_NAMED]
    )
    rest = f" and {count(len(faults) - _NAMED, 'other fault')}" if len(faults) > _NAMED else ""
    return (
        f"{told['negatives']:,} of {count(result.negatives, 'negative')} "
        f"({told['negatives'] / result.negatives:.1%}) look wrong: {named}{rest}."
    )


def _faults(result: AuditResult) -> list[tuple[str, int]]:
    """Faults that occur, the most frequent first."""
    found = [(issue, number) for issue, number in result.data["mendable"]["issues"].items() if number]
    return sorted(found, key=lambda each: -each[1])


def _caution(result: AuditResult) -> str:
    told = "No score is proof: read the worst rows below before anything is dropped."
    if not result.data["mendable"]["issues"]["likely_false_negative"]:
        return told
    low, high = RIGHT[result.data["learned"]["from"]]
    weights = {"these rows": "weights learned from the same rows", "other collections": "borrowed weights"}
    return (
        f"{told} Where answers were hidden to be found again, {low:.0%} to {high:.0%} of what was flagged as "
        f"likely false negative was one, with {weights[result.data['learned']['from']]} as here "
        "(docs/audit.md)."
    )


def _sentences(result: AuditResult) -> list[tuple[str, str]]:
    known = result.data["known"]
    found = [("What a fix takes out", _taken(result))]
    left = [
        f"{spoken(entry.issue)} {entry.share:.1%}{' of rows' if entry.issue in OF_ROWS else ''}"
        for entry in result.summary
        if entry.rows and entry.issue not in FAULTS and entry.issue != "leaks"
    ]
    if left:
        found.append(
            (
                "What it leaves",
                f"{', '.join(left)}: signs and properties, not faults. --issue names what to mend.",
            )
        )
    found.append(("Leaks of a test set", _leaks(result)))
    if not known["relevant pairs"]:
        found.append(
            (
                "What was known",
                "No judgements were given (--qrels): only positives of the rows count as known.",
            )
        )
    if "judge" in result.data:
        judge = result.data["judge"]
        said = "Nothing was asked (--dry-run)." if "dry_run" in judge else _said(judge)
        found.append(("The judge", visible(said)))
    if "fix" in result.data:
        done = result.data["fix"]
        found.append(("Done in this run", visible(_done(done))))
    return found


def _leaks(result: AuditResult) -> str:
    known, leaks = result.data["known"], result["leaks"]
    if not known["test queries by id"] and not known["test queries by text"]:
        return "Not looked for: no test set was given (--test-qrels, --test-queries)."
    if not leaks.rows:
        return "None: no row asks a test query, and no negative is relevant to one."
    return (
        f"{count(leaks.negatives, 'negative')} ({leaks.share:.1%}) of {count(leaks.rows, 'row')}: the row "
        "asks a test query, or the negative is relevant to one."
    )


def _taken(result: AuditResult) -> str:
    told = result.data["mendable"]
    if not told["negatives"]:
        return "Nothing: eci audit … --fix drop would write the rows as they are."
    emptied = (
        f"{count(told['emptied'], 'row')} {'is' if told['emptied'] == 1 else 'are'} left with none"
        if told["emptied"]
        else "no row is left with none"
    )
    return (
        f"eci audit … --fix drop -o clean.parquet takes out {count(told['negatives'], 'negative')} of "
        f"{count(told['rows'], 'row')}; {emptied}. --fix demote puts them last in their row. Every change is "
        "kept beside the output, and --undo puts it back."
    )


def _said(judge: dict[str, Any]) -> str:
    words = ", ".join(f"{word} {number:,}" for word, number in judge["verdicts"].items())
    agreed = (
        "" if judge["agreement"] is None else f" It confirms {judge['agreement']:.0%} of what was flagged."
    )
    asked = count(judge["asked"], "pair")
    return f"{judge['model']} answered {judge['answered']:,} of {asked}: {words}.{agreed}"


def _done(done: dict[str, Any]) -> str:
    told = [
        f"{count(done[name], 'negative')} {name}"
        for name in ("dropped", "relabelled", "demoted")
        if done[name]
    ]
    return (
        f"--fix {done['action']}: {', '.join(told) or 'nothing to mend'} in {count(done['rows'], 'row')}, "
        f"{count(done['emptied'], 'row')} left with none; every change in {done['log']}. The figures here "
        "are those before it."
    )


def _leaderboard(result: AuditResult) -> Table:
    """The sources, the one with most to mend first."""
    sources = sorted(
        result.sources.items(),
        key=lambda each: (-each[1]["mendable"] / max(1, each[1]["negatives"]), each[0]),
    )
    cells = {name: share(told["mendable"], told["negatives"]) for name, told in sources}
    columns = (
        Column("Source"),
        Column("Negatives", "count"),
        Column("To mend", "share-interval", 1, "Negatives that a fix changes unless issues are named"),
        Column("95 % interval", "bar", 4, "The same, drawn on one scale for all sources"),
    )
    rows = tuple(
        (
            visible(name),
            told["negatives"],
            cells[name],
            cells[name],
        )
        for name, told in sources
    )
    return Table("leaderboard", "Sources, the one with most to mend first", columns, rows)


def spoken(issue: str) -> str:
    """An issue in a sentence."""
    return issue.replace("_", " ")
