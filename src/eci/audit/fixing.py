"""Rows mended by what an audit found, with a log from which the original can be had again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eci.atomic import atomic_path, refuse_places, temporary_folder
from eci.audit.changes import LOG, last_line, log_of, write_line
from eci.audit.content import Content
from eci.audit.findings import Findings
from eci.audit.issues import FAULTS, ISSUES, OF_ROWS, refuse_unknown
from eci.audit.running import by_query, passing
from eci.audit.summing import borrowed
from eci.datasets.columns import Documents
from eci.datasets.rows import Rows
from eci.datasets.writing import refuse, write
from eci.errors import EciError
from eci.examples import NEGATIVE, POSITIVE, ROWS
from eci.results import count
from eci.task import text_digests
from eci.types import Flags, Progress, silent

Action: TypeAlias = Literal["drop", "relabel", "demote"]
ACTIONS: tuple[Action, ...] = get_args(Action)
# Issues of a negative that is an answer which nobody labelled; other faults have nothing to be relabelled.
_ANSWERS = ("known_positive", "likely_false_negative", "judged_false_negative")


@dataclass(frozen=True)
class Fixed:
    """What a fix did.

    Parameters
    ----------
    action : str
    rows : int
        Rows that were changed.
    dropped, relabelled, demoted : int
        Negatives.
    emptied : int
        Rows that are left without a negative.
    issues : dict of str to int
        Negatives that were changed for each issue; one can have several.
    warnings : tuple of str
        What to be careful of before the rows are used.
    log : Path
        Every change, for ``eci audit --undo``.
    """

    action: str
    rows: int
    dropped: int
    relabelled: int
    demoted: int
    emptied: int
    issues: dict[str, int]
    warnings: tuple[str, ...]
    log: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a result's JSON."""
        return {**asdict(self), "log": str(self.log)}

    def told(self) -> str:
        """The counts for a person."""
        done = {"dropped": self.dropped, "relabelled": self.relabelled, "demoted": self.demoted}
        changes = ", ".join(f"{count(number, 'negative')} {name}" for name, number in done.items() if number)
        left = f"; {count(self.emptied, 'row')} left with none" if self.emptied else ""
        lines = [
            f"{changes or 'nothing to mend'} in {count(self.rows, 'row')}{left}; every change in {self.log}",
            *(f"  {issue}: {number:,}" for issue, number in self.issues.items() if number),
            *(f"! {text}" for text in self.warnings),
        ]
        return "\n".join(lines)


def refuse_fix(rows: Rows, out: Path, action: str, issues: tuple[str, ...]) -> None:
    """What `fix` refuses, for who has an audit to do before it."""
    if action not in ACTIONS:
        raise EciError(f"a fix is one of {', '.join(ACTIONS)}, got {action!r}.")
    for issue in issues:
        refuse_unknown(issue)
        if issue in OF_ROWS:
            raise EciError(
                f"{issue} is said of rows, and a fix mends negatives. Known: "
                f"{', '.join(each for each in ISSUES if each not in OF_ROWS)}."
            )
    refuse(out, "eci", rows.paths)
    refuse_places((out, log_of(out)), rows.paths)


def fix(
    rows: Rows,
    found: Findings,
    out: Path,
    action: Action,
    issues: tuple[str, ...] = (),
    *,
    progress: Progress = silent,
) -> Fixed:
    """Write the rows without their flagged negatives, or with these in another place.

    Parameters
    ----------
    rows : Rows
        The rows that were audited.
    found : Findings
        Of the audit, for the same rows.
    out : Path
        Gets canonical rows; `log_of` it gets the changes.
    action : {"drop", "relabel", "demote"}
        Take flagged negatives out; make those positives that are known or likely answers, and take the others
        out; or put them behind the others of their row.
    issues : tuple of str
        What to act on; without any ``issues.FAULTS``, where a judge's verdict on a likely false negative
        stands in its place. A guess alone makes no positive: without any, "relabel" leaves likely false
        negatives where they are unless a judge confirmed them.
    progress : Progress

    Raises
    ------
    EciError
        There is no such action or issue.
    OutputError
        It cannot be written there.
    """
    refuse_fix(rows, out, action, issues)
    acted_on = tuple(dict.fromkeys(issues)) or _faults(action)
    with ExitStack() as stack:
        log = stack.enter_context(atomic_path(log_of(out)))
        work = stack.enter_context(temporary_folder("eci-audit"))
        batches, _, _ = by_query(rows, work, progress)
        passes: list[_Pass] = []

        def mended(_: Any) -> Iterator[pa.RecordBatch]:
            with log.open("wb") as handle:
                header = {"schema": LOG, "action": action, "issues": acted_on, "fixed": out.name}
                write_line(
                    handle, {**header, "original": rows.fingerprint(), "row_groups": _row_groups(rows)}
                )
                passes.append(_Pass(found, _Chosen(action, issues), handle))
                for done, batch in passing(batches):
                    yield passes[-1].mended(batch)
                    progress("rows mended", done, len(found))

        write(Rows("eci", rows.paths, mended, 1), out, "eci")
        done = passes[-1].done
        with log.open("ab") as handle:
            write_line(handle, last_line(done["rows"], out, passes[-1].content.digest()))
    names = ("rows", "dropped", "relabelled", "demoted", "emptied")
    counts = {issue: passes[-1].issues[issue] for issue in acted_on}
    return Fixed(
        action=action,
        issues=counts,
        warnings=tuple(_warnings(found, counts, action, passes[-1].likely)),
        log=log_of(out),
        **{name: done[name] for name in names},
    )


def _faults(action: Action) -> tuple[str, ...]:
    """What is acted on where nothing is named."""
    return tuple(issue for issue in FAULTS if action != "relabel" or issue != "likely_false_negative")


def _warnings(found: Findings, counts: Mapping[str, int], action: Action, likely: int) -> Iterator[str]:
    if counts.get("likely_false_negative"):
        yield from borrowed(found)
    if action == "relabel" and likely and "likely_false_negative" not in counts:
        yield (
            f"{count(likely, 'likely false negative')} left in place: nobody has judged them. --judge asks "
            "a chat model, --issue likely_false_negative relabels them all the same, --fix drop takes them "
            "out."
        )


def _row_groups(rows: Rows) -> list[int] | None:
    """Rows in each group of a Parquet file, on which its bytes depend; None for any other rows."""
    if len(rows.paths) != 1 or rows.paths[0].suffix != ".parquet":
        return None
    told = pq.read_metadata(rows.paths[0])
    return [told.row_group(number).num_rows for number in range(told.num_row_groups)]


@dataclass(frozen=True)
class _Chosen:
    """What to act on."""

    action: Action
    issues: tuple[str, ...]

    def flags(self, found: Findings) -> dict[str, Flags]:
        """The negatives of some rows to act on, by issue, each of shape (n,)."""
        if self.issues:
            return {issue: found.flags(issue) for issue in self.issues}
        return {issue: found.faults(issue) for issue in _faults(self.action)}

    @staticmethod
    def answers(found: Findings, flags: Mapping[str, Flags]) -> Flags:
        """Which of them are answers that nobody labelled, of shape (n,)."""
        copies = found.flags("identical_to_positive") | found.flags("duplicate_in_row") | found.flags("empty")
        answers = [flags[issue] for issue in _ANSWERS if issue in flags]
        return np.asarray(np.any([np.zeros_like(copies), *answers], axis=0) & ~copies)


class _Pass:
    """One pass over the rows: mends them, counts, and logs."""

    def __init__(self, found: Findings, chosen: _Chosen, log: IO[bytes]) -> None:
        self.done: Counter[str] = Counter()
        self.issues: Counter[str] = Counter()
        self.likely = 0
        self.content = Content()
        self._found, self._chosen, self._action = found, chosen, chosen.action
        self._log, self._row = log, 0

    def mended(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch as they are to be."""
        self.content.add(batch)
        start, self._row = self._row, self._row + len(batch)
        part = self._found.part(start, self._row)
        flags = self._chosen.flags(part)
        self.issues.update({issue: int(mask.sum()) for issue, mask in flags.items()})
        self.likely += int(part.faults("likely_false_negative").sum())
        chosen = np.any(list(flags.values()), axis=0)
        if not chosen.any():
            return batch
        positives = Documents.of(batch.column("positives"))
        negatives = Documents.of(batch.column("negatives"))
        answers = np.zeros_like(chosen)
        if self._action == "relabel":
            answers = _once(negatives, chosen & self._chosen.answers(part, flags))
        for row in np.unique(negatives.rows[chosen]).tolist():
            self._note(batch, start, row, int(part.offsets[row]), (chosen, answers, flags))
        kept = negatives.keep(~chosen)
        if self._action == "demote":
            order = np.lexsort((chosen, negatives.rows))
            places = pa.array(order)
            moved = {name: column.take(places) for name, column in negatives.fields.items()}
            kept = Documents(negatives.lengths, moved)
        sides = [_extended(positives, negatives.keep(answers)), kept.records(NEGATIVE)]
        self.done["emptied"] += int(((kept.lengths == 0) & (negatives.lengths > 0)).sum())
        columns = [batch.column("query_id"), batch.column("query"), *sides, batch.column("extra")]
        return pa.RecordBatch.from_arrays(columns, schema=ROWS)

    def _note(
        self,
        batch: pa.RecordBatch,
        start: int,
        row: int,
        offset: int,
        flags: tuple[Flags, Flags, Mapping[str, Flags]],
    ) -> None:
        """Log the changes of one row."""
        chosen, answers, issues = flags
        negatives = batch.column("negatives")[row].as_py()
        changes = []
        for place, record in enumerate(negatives):
            at = offset + place
            if chosen[at]:
                done = {"drop": "dropped", "relabel": "dropped", "demote": "demoted"}[self._action]
                done = "relabelled" if answers[at] else done
                self.done[done] += 1
                why = [issue for issue, found in issues.items() if found[at]]
                changes.append({"place": place, "done": done, "issues": why, "negative": record})
        self.done["rows"] += 1
        told = {"row": start + row, "query_id": batch.column("query_id")[row].as_py()}
        write_line(self._log, {**told, "changes": changes})


def _once(negatives: Documents, flags: Flags) -> Flags:
    """The first of those flagged that have one text in a row: two sources may bring the same."""
    places = np.flatnonzero(flags)
    held = negatives.keep(flags)
    texts = text_digests(held.fields["title"], held.fields["text"])
    order = np.lexsort((places, texts, held.rows))
    new = np.diff(held.rows[order], prepend=-1) != 0
    new |= np.diff(texts[order], prepend=texts[order[:1]]) != 0
    found = np.zeros_like(flags)
    found[places[order[new]]] = True
    return found


def _extended(positives: Documents, added: Documents) -> pa.ListArray:
    """Positives with more of them at the end of each row."""
    if not len(added):
        return positives.records(POSITIVE)
    rows = np.concatenate([positives.rows, added.rows])
    order = pa.array(np.argsort(rows, kind="stable"))
    # A positive's score is its judge's: the score of a negative may be its miner's.
    scores = {"score": pa.nulls(len(added), pa.float64())}
    fields = {
        name: pa.concat_arrays([positives.fields[name], {**added.fields, **scores}[name]]).take(order)
        for name in ("id", "title", "text", "score")
    }
    return Documents(positives.lengths + added.lengths, fields).records(POSITIVE)
