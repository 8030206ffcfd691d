"""Rows with the best negatives of each query: candidates out, picks in."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from eci.atomic import scratch_folder
from eci.audit.risk import Edited
from eci.barred import Barred
from eci.choosing import Choosing, Chosen
from eci.datasets import write
from eci.datasets.columns import Documents, in_parts
from eci.datasets.grouping import Batches, grouped
from eci.datasets.mixed import Found, leads
from eci.datasets.rows import Rows
from eci.datasets.scanning import portions
from eci.datasets.writing import refuse
from eci.errors import DataError
from eci.examples import NEGATIVE, POSITIVE, ROWS
from eci.finished import Decided, Finished, Known, finished
from eci.ragged import Ragged
from eci.selected import SelectResult
from eci.selection import Picks, SelectSettings
from eci.spilled import Column
from eci.task import text_digests
from eci.types import Encoder, Flags, Floats, Integers, Progress, silent

_BATCH = 4096
_NO_GAIN = (
    "picks without gain, where nothing better is left: as similar to the query as its positive or more, or "
    "with all of its words"
)


def select_rows(
    rows: Rows,
    out: str | Path,
    encoder: Encoder,
    settings: SelectSettings,
    *,
    progress: Progress = silent,
) -> SelectResult:
    """Select negatives and write rows with them.

    Up to 10,000 queries the texts and their vectors are held in memory; of more, and where no risk is
    bounded, only those of 4,096 queries at a time, and ``alignment`` is held out on the 10,000 drawn first.
    Two negatives are the same as in `mixing.mix`. What any row that asks the same has as a positive is no
    candidate, nor is a document without text or the query itself.

    Parameters
    ----------
    rows : Rows
        What ``datasets.read`` or ``from_object`` gave.
    out : str or Path
        As in ``datasets.write``. A negative's ``rank`` is its place among the picks; in ``extra`` it has its
        ``gain``, the ``sources`` that brought it and their ``ranks``. Score and scorer stay. Until it is
        there, what was decided lies beside it in a folder whose name ends in ``.work``: the same call goes
        on from there, another one replaces it.
    encoder : Encoder
        Frozen.
    settings : SelectSettings
    progress : Progress

    Returns
    -------
    SelectResult

    Raises
    ------
    DataError
        The rows have no negative, have a source of the label's name, or nothing is left of them.
    """
    final, passes = Path(out), list[_Pass]()
    refuse(final, settings.layout, rows.paths)
    with finished(final) as done, scratch_folder(final) as work:
        known = Known(rows)
        found = grouped(known, work, _BATCH, corpus=rows.corpus, progress=progress)
        barred, by_edit = Barred(), Edited()
        bounded = settings.max_false_negative_risk is not None
        again = _Again(found.batches, (barred.note, by_edit.note) if bounded else (barred.note,))
        # The risk of a negative needs the rows of all others.
        with portions(again, 0, held=sys.maxsize if bounded else None, progress=progress) as queries:
            _refuse(queries.sources, settings)
            choosing = Choosing(queries, encoder, settings, by_edit, progress)
            decided_by = {"select": asdict(settings), "rows": known.digest}
            done.begin(decided_by, encoder)

            def selected(_: Any) -> Iterator[pa.RecordBatch]:
                passes.append(_Pass(choosing, barred))
                return passes[-1].rows(found.agreed(Counter()), done)

            kept = Rows("eci", rows.paths, selected, 1)
            kept.size = len(queries)
            written = write(kept, final, settings.layout, progress=progress)
    notes = [*rows.notes, *([found.note] if found.note else []), *written.told(settings.layout)]
    return passes[-1].result(notes)


def _refuse(sources: Sequence[str], settings: SelectSettings) -> None:
    """Raise a `DataError` unless there is something to select, by a name of its own."""
    if not sources:
        raise DataError("No row has a negative. There is nothing to select from.")
    if settings.label in sources:
        raise DataError(
            f"the inputs have a source '{settings.label}' already, and scoring would take both for one. "
            "Name the selected negatives with --label."
        )


class _Again:
    """Batches that can be gone through again, noted the first time."""

    def __init__(self, batches: Batches, notes: Iterable[Callable[[pa.RecordBatch], None]]) -> None:
        self._batches, self._notes = batches, tuple(notes)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        notes, self._notes = self._notes, ()
        for batch in self._batches(Counter()):
            for note in notes:
                note(batch)
            yield batch


class _Pass:
    """One pass over the rows, and what it counts."""

    def __init__(self, choosing: Choosing, barred: Barred) -> None:
        self._choosing, self._barred = choosing, barred
        self._settings, self._sources = choosing.settings, choosing.queries.sources
        self._queries = 0
        self._counts: Counter[str] = Counter()
        # Of the sources: candidates, those left out for their risk, picks.
        self._of_sources = np.zeros((3, len(self._sources)), dtype=np.int64)
        self._sizes: Counter[int] = Counter()
        self._gains: list[Column] = []

    def rows(self, batches: Iterator[pa.RecordBatch], done: Finished) -> Iterator[pa.RecordBatch]:
        """The rows with what is selected of their negatives."""
        yield from done.rows(in_parts(batches, _BATCH), self)
        if not self._gains:
            why = ", ".join(f"{words}: {times:,}" for words, times in self._left_out().items())
            advice = " eci audit flags from 0.8 on; take a larger bound." if self._counts["risky"] else ""
            raise DataError(f"No negative is left to select. Left out, {why}.{advice}")

    def _left_out(self) -> dict[str, int]:
        named = [
            ("known", "positives of their query"),
            ("risky", f"risk above {self._settings.max_false_negative_risk}"),
        ]
        named += [(reason, reason) for reason in Barred.REASONS]
        return {words: self._counts[name] for name, words in named if self._counts[name]}

    def counts(self) -> dict[str, Any]:
        """What was counted so far, but for the gains."""
        return {
            "queries": self._queries,
            "counts": self._counts,
            "of_sources": self._of_sources.tolist(),
            "sizes": [[size, times] for size, times in self._sizes.items()],
        }

    def take_up(self, batch: pa.RecordBatch, decided: Decided, counts: dict[str, Any]) -> pa.RecordBatch:
        """The rows that were worked out before, counted."""
        self._choosing.note(batch)
        self._queries, self._counts = counts["queries"], Counter(counts["counts"])
        self._of_sources = np.array(counts["of_sources"], dtype=np.int64).reshape(self._of_sources.shape)
        self._sizes = Counter(dict(counts["sizes"]))
        chosen = Ragged.from_lengths(decided["chosen"], decided["lengths"])
        self._keep_gains(chosen.with_values(decided["gains"]))
        return self._written(batch, self._found(batch), chosen, decided["gains"])[0]

    def work(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Decided]:
        """The rows with what is selected of their negatives, and what that is."""
        chosen_by, found = self._choosing.of(batch), self._found(batch)
        asked = chosen_by.queries(batch)
        candidates, places, merged = self._candidates(
            found, text_digests(None, batch.column("query")), chosen_by
        )
        self._counts["merged"] += merged
        risky = np.zeros(len(places), dtype=np.bool_)
        if self._choosing.risk is not None:
            risky = self._choosing.risk.exceeded(asked, candidates)
        picks = chosen_by.selector.choose(asked, candidates, risky)
        chosen = picks.chosen.with_values(places[picks.chosen.values])
        made, lost = self._written(batch, found, chosen, picks.gains)
        self._count(found, places, risky, picks, lost)
        return made, {"chosen": chosen.values, "lengths": chosen.lengths, "gains": picks.gains}

    def _found(self, batch: pa.RecordBatch) -> Found:
        positives, negatives = (Documents.of(batch.column(name)) for name in ("positives", "negatives"))
        return Found.of(positives, negatives, self._sources)

    def _written(
        self, batch: pa.RecordBatch, found: Found, chosen: Ragged, gains: Floats
    ) -> tuple[pa.RecordBatch, int]:
        """The rows with chosen places of ``found.lists``, and how many positives lost their score."""
        positives, lost = found.known_once(batch)
        mixed = found.mixed(chosen, self._settings.label, once=True)
        fields = {**mixed.fields, "extra": _with_gains(mixed.fields["extra"], gains)}
        arrays = {name: batch.column(name) for name in ROWS.names}
        arrays.update(
            positives=positives.records(POSITIVE), negatives=replace(mixed, fields=fields).records(NEGATIVE)
        )
        return pa.RecordBatch.from_arrays(list(arrays.values()), schema=ROWS), lost

    def _candidates(self, found: Found, asked: Integers, chosen_by: Chosen) -> tuple[Ragged, Integers, int]:
        """The distinct documents that may be negatives of each query, `asked` being the digests of these.

        Numbers in the examples, places in ``found.lists``, and how many others of it were the same.
        """
        named = np.asarray(found.negatives.fields["id"].is_valid())[found.at]
        first, best = leads(found.lists.values, named)
        first, best = first[first >= 0], best[first >= 0]
        row = found.lists.rows[first] // len(found.parts)
        order = np.argsort(row, kind="stable")
        # The text is the one that will be written.
        written = pa.array(found.at[best[order]])
        shown = found.negatives.shown.take(written)
        lists = Ragged.from_lengths(chosen_by.documents(shown), np.bincount(row, minlength=len(asked)))
        alone = text_digests(None, found.negatives.fields["text"].take(written))
        why = self._barred.reasons(asked[lists.rows], text_digests(None, shown), alone)
        self._counts.update({reason: int((why == at).sum()) for at, reason in enumerate(Barred.REASONS)})
        free = why < 0
        return lists.keep(free), first[order][free], len(found.lists.values) - len(first)

    def _count(self, found: Found, places: Integers, risky: Flags, picks: Picks, lost: int) -> None:
        number = found.lists.values
        held = np.zeros((1 + int(number.max(initial=-1)), len(found.parts)), dtype=np.bool_)
        held[number, found.part] = True
        of_candidate = held[number[places]]
        picked = np.zeros(len(places), dtype=np.bool_)
        picked[picks.chosen.values] = True
        for line, mask in enumerate((np.ones_like(picked), risky, picked)):
            self._of_sources[line] += of_candidate[mask].sum(axis=0)
        self._queries += len(picks.chosen)
        self._counts.update(
            known=len(found.negatives) - len(number),
            risky=int(risky.sum()),
            none=int((picks.gains == 0).sum()),
            scores=lost,
        )
        sizes, times = np.unique(picks.chosen.lengths, return_counts=True)
        self._sizes.update(dict(zip(sizes.tolist(), times.tolist(), strict=True)))
        self._keep_gains(picks.chosen.with_values(picks.gains))

    def _keep_gains(self, gains: Ragged) -> None:
        for place in range(int(gains.lengths.max(initial=0))):
            if place == len(self._gains):
                self._gains.append(Column(np.float64))
            self._gains[place].add(gains.values[gains.within == place])

    def result(self, notes: list[str]) -> SelectResult:
        """What this pass, which is over, has selected."""
        settings, encoder = self._settings, self._choosing.encoder
        picked = sum(map(len, self._gains))
        sources = {
            label: {
                **dict(zip(("candidates", "risky", "picked"), told, strict=True)),
                "share": told[2] / picked,
            }
            for label, told in zip(self._sources, self._of_sources.T.tolist(), strict=True)
        }
        told = [
            (self._counts["none"] if settings.objective == "eci_sem" else 0, _NO_GAIN),
            (self._counts["scores"], "scores of positives left out, for the sources differ"),
        ]
        return SelectResult(
            queries=self._queries,
            negatives=picked,
            sources=sources,
            short={str(got): times for got, times in sorted(self._sizes.items()) if got < settings.k},
            # Exact sums, so that the order of the rows changes no digit.
            gains=[math.fsum(gains.done()) / len(gains) for gains in self._gains],
            merged=self._counts["merged"],
            left_out=self._left_out(),
            settings=asdict(settings),
            encoder={"name": type(encoder).__name__, **getattr(encoder, "describe", dict)()},
            data=self._choosing.told(),
            notes=[
                *(f"{words}: {times:,}" for times, words in told if times),
                *self._choosing.notes(),
                *notes,
            ],
        )


def _with_gains(extra: pa.Array, gains: Floats) -> pa.Array:
    """JSON objects, each with the gain of its pick."""
    texts = pa.array(gains).cast(pa.string())
    told = pc.binary_join_element_wise(pc.utf8_slice_codeunits(extra, 0, -1), ',"gain":', texts, "}", "")
    # A row that was selected before has a gain already.
    twice = np.flatnonzero(np.asarray(pc.match_substring(extra, '"gain":')))
    if len(twice):
        objects = told.to_pylist()
        for place in twice.tolist():
            objects[place] = orjson.dumps(
                {**orjson.loads(objects[place]), "gain": float(gains[place])}
            ).decode()
        told = pa.array(objects, pa.string())
    return told
