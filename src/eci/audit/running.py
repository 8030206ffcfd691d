"""An audit from rows to result: one pass for numbers and vectors, one for ids and texts.

A judge needs one more between them, for the texts of what is flagged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from eci.atomic import atomic_path, refuse_places, temporary_folder
from eci.audit.collecting import Collector, Judgements
from eci.audit.detecting import findings
from eci.audit.findings import Findings
from eci.audit.issues import AuditSettings
from eci.audit.judging import Judge, judged
from eci.audit.result import AuditResult
from eci.audit.summing import Counts, by_source, checks, summary, warnings
from eci.audit.tabulating import Table, Worst
from eci.datasets.grouping import Batches, grouped
from eci.datasets.layouts import LAYOUTS
from eci.datasets.rows import Rows
from eci.spilled import told_if_full
from eci.types import Encoder, Progress, silent

_BATCH_ROWS = 4096


def audit(
    rows: Rows,
    encoder: Encoder,
    settings: AuditSettings | None = None,
    *,
    known: Judgements | None = None,
    table: Path | None = None,
    judge: Judge | None = None,
    progress: Progress = silent,
) -> AuditResult:
    """Find what is wrong with the negatives of rows.

    Parameters
    ----------
    rows : Rows
        What ``datasets.read`` or ``from_object`` gave.
    encoder : Encoder
    settings : AuditSettings, optional
    known : Judgements, optional
        What is known beside the rows.
    table : Path, optional
        Where the scores of every negative go, as Parquet.
    judge : Judge, optional
        Who is asked about the likely false negatives.
    progress : Progress

    Returns
    -------
    AuditResult

    Raises
    ------
    DataError
        The rows cannot be read, or a query has no positive.
    OutputError
        The table cannot be written there, or would replace what is read.
    ChatError
        The judge cannot be asked, or no longer.
    """
    settings, known = settings or AuditSettings(), known or Judgements()
    if table is not None:
        kept = judge.journal if judge is not None else None
        refuse_places([table], [*rows.paths, *([kept] if kept else [])])
    with ExitStack() as stack:
        # Opened first: a place that cannot be written to is told before the work.
        written = stack.enter_context(atomic_path(table)) if table else None
        work = stack.enter_context(temporary_folder("eci-audit"))
        batches, note, merged = by_query(rows, work, progress)
        collector = Collector(encoder, work, settings.near_copy, known)
        stack.callback(collector.close)
        for done, batch in passing(batches):
            collector.add(batch)
            progress("rows read", done, 0)
        collected = collector.done()
        found = findings(collected, settings, merged, progress)
        data: dict[str, Any] = {"learned": found.learned}
        if judge is not None:
            found, data["judge"] = judged(found, collected.material, batches, judge, progress)
        counts = Counts.of(found, collected, settings.false_negative)
        worst = _told(batches, found, written, settings.worst, progress)
        data |= {
            "files": rows.fingerprint(),
            "layout": rows.layout,
            "notes": [*rows.notes, *([note] if note else [])],
            "mendable": counts.mended,
            "known": known.counts(),
            "judgements": list(known.files),
        }
        return AuditResult(
            rows=counts.rows,
            negatives=counts.negatives,
            summary=summary(counts),
            checks=checks(counts, collected, merged),
            sources=by_source(counts, collected.sources),
            worst=worst,
            encoder=getattr(encoder, "describe", dict)(),
            settings=asdict(settings),
            data=data,
            warnings=warnings(found, counts, collected, data.get("judge")),
            findings=found,
        )


def _told(
    batches: Batches, found: Findings, table: Path | None, number: int, progress: Progress
) -> tuple[dict[str, Any], ...]:
    """Write the table, if there is to be one, and give the worst rows with their texts."""
    worst = Worst(found, number)
    with Table(table, found) as scores:
        for done, batch in passing(batches):
            scores.add(batch)
            worst.add(batch)
            progress("rows written" if table else "rows searched for the worst", done, len(found))
    return worst.found()


def passing(batches: Batches) -> Iterator[tuple[int, pa.RecordBatch]]:
    """All batches, each with the number of rows up to its end."""
    done = 0
    for batch in batches(Counter()):
        done += len(batch)
        yield done, batch


def by_query(rows: Rows, work: Path, progress: Progress) -> tuple[Batches, str | None, bool]:
    """One row a query where the layout has a row a negative, or there are several inputs; else as they are.

    Returns
    -------
    batches : callable
        Every call starts a new pass.
    note : str or None
    merged : bool
        Whether rows were brought together.
    """
    if (rows.layout in LAYOUTS and LAYOUTS[rows.layout].flat) or rows.inputs > 1:
        with told_if_full():
            found = grouped(rows, work / "rows", _BATCH_ROWS, corpus=rows.corpus, progress=progress)
        return found.batches, found.note, True
    return (lambda _: iter(rows)), None, False
