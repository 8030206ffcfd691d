"""An audit as a report: which negatives are wrong, how often, and which rows to read first."""

from __future__ import annotations

from typing import Any

from eci.audit.issues import FAULTS, ISSUES, OF_ROWS
from eci.audit.result import AuditResult, IssueCount
from eci.audit.verdicts import described
from eci.report.cases import cases
from eci.report.data import Column, Report, Section, Table, visible
from eci.report.mending import decision, share
from eci.report.provenance import command_of, data_table, encoder_table, files_table, pairs, settings_table
from eci.report.suspecting import chances, shares
from eci.results import count


def audited(result: AuditResult) -> Report:
    """What a page says of an audit.

    Parameters
    ----------
    result : AuditResult
        Its scores are not needed: one that was read from JSON gives the same page.
    """
    sections = [_issues(result), _checks(result)]
    judge = result.data.get("judge")
    if judge and "dry_run" not in judge:
        sections.append(_judge(judge))
    encoder = visible(str(result.encoder.get("name", "unknown")))
    return Report(
        title="Which negatives are wrong",
        subject=(
            f"{count(result.rows, 'row')}, {count(result.negatives, 'negative')}, "
            f"{count(len(result.sources), 'source')}; texts compared by the frozen encoder {encoder}"
        ),
        decision=decision(result),
        sections=(*sections, _trust(result)),
        command=command_of(result.settings),
        explorer=cases(result),
    )


def _issues(result: AuditResult) -> Section:
    figures = [figure for figure in (shares(result), chances(result)) if figure]
    return Section(
        "issues",
        "Issues",
        "How often each issue occurs, and where. A fix mends what is marked so; the other issues are signs, "
        "or properties of the rows that somebody may want to know of.",
        tuple(figures),
        (_summary(result),),
    )


def _summary(result: AuditResult) -> Table:
    judged = bool(result.data.get("judge", {}).get("answered"))
    columns = (
        Column("Issue"),
        Column("Meaning"),
        Column("Negatives", "count"),
        Column("Share", "share-interval", 2, "Of all negatives; of an issue of rows, of all rows"),
        Column("Rows", "count"),
        Column("A fix mends it"),
    )
    rows = tuple(
        (
            entry.issue,
            ISSUES[entry.issue],
            entry.negatives,
            _share_of(entry, result),
            entry.rows,
            "yes" if entry.issue in FAULTS else "if named" if entry.issue not in OF_ROWS else "no",
        )
        for entry in result.summary
        if entry.rows
    )
    none = [
        entry.issue
        for entry in result.summary
        if not entry.rows and (judged or entry.issue != "judged_false_negative")
    ]
    notes = [f"None: {', '.join(none)}."] if none else []
    notes += [] if judged else ["No judge was asked (--judge)."]
    return Table("issues", "Issues that occur", columns, rows, " ".join(notes))


def _share_of(entry: IssueCount, result: AuditResult) -> tuple[float, float, float]:
    of_rows = entry.issue in OF_ROWS
    return share(*((entry.rows, result.rows) if of_rows else (entry.negatives, result.negatives)))


def _checks(result: AuditResult) -> Section:
    rows = tuple(
        (check.name, "passed" if check.passed else "failed", visible(check.told)) for check in result.checks
    )
    columns = (Column("Check"), Column("Result", "light"), Column("Found"))
    return Section(
        "checks",
        "Checks",
        "Six checks that are done by hand where there is no audit.",
        tables=(Table("checks", "The six checks", columns, rows),),
    )


def _judge(judge: dict[str, Any]) -> Section:
    cost = judge["cost"]
    about = [
        ("Model", judge["model"]),
        ("Way of asking", judge["by"]),
        ("Pairs to ask about", judge["pairs"]),
        ("Pairs asked about", judge["asked"]),
        ("Answered", judge["answered"]),
        *((f"Verdict: {word}", number) for word, number in judge["verdicts"].items()),
        ("Likely false negatives that it confirms", _percent(judge["agreement"])),
        ("Calls", judge["calls"]),
        ("Answered in an earlier run", judge["kept"]),
        ("Tokens of prompts, in this run", judge["prompt_tokens"]),
        ("Tokens of answers, in this run", judge["completion_tokens"]),
        ("Cost, in this run", None if cost is None else f"{cost:,.4f}"),
        ("Left open", judge["open"]),
    ]
    return Section(
        "judge",
        "Judge",
        "What a chat model said that was asked about negatives. Its word is no proof either; where it spoke, "
        "a fix follows it.",
        tables=(pairs("judge", "What was asked and answered", about),),
        notes=tuple(visible(line.strip()) for line in described(judge).splitlines()[2:]),
    )


def _trust(result: AuditResult) -> Section:
    data, learned = result.data, result.data["learned"]
    weights = [
        ("Learned from", learned["from"]),
        ("Queries with a second positive", learned["stand_ins"]),
        *learned["weights"].items(),
    ]
    counts = {"rows": result.rows, "negatives": result.negatives, "layout": data.get("layout")}
    return Section(
        "trust",
        "Where this comes from",
        "Intervals are Wilson's, 95 %, as if the negatives were drawn one by one. Those of one query are "
        "alike, so in truth they are wider.",
        tables=(
            encoder_table(result.encoder, result.settings),
            settings_table(result.settings),
            data_table(counts),
            pairs("known", "Known beside the rows", data["known"].items()),
            pairs("weights", "Weights of likely_false_negative", weights),
            files_table(data),
        ),
        notes=tuple(visible(str(note)) for note in data.get("notes", ())),
    )


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"
