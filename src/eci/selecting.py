"""Rows with the best negatives of each query: candidates out, picks in."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from eci.atomic import scratch_folder
from eci.audit.risk import Barred, Edited, FalseNegativeRisk, Same
from eci.datasets import write
from eci.datasets.columns import Documents
from eci.datasets.grouping import grouped
from eci.datasets.mixed import Found, leads
from eci.datasets.rows import Rows
from eci.datasets.survey import Survey, Surveyed
from eci.datasets.writing import refuse
from eci.errors import DataError
from eci.examples import NEGATIVE, POSITIVE, ROWS, Examples, query_key
from eci.ragged import Ragged
from eci.selected import SelectResult
from eci.selection import Picks, Selector, SelectSettings
from eci.task import text_digests
from eci.types import Encoder, Flags, Integers, Progress, silent

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

    The texts of all rows and their vectors are held in memory; rows pass by. Two negatives are the same as in
    `mixing.mix`. What any row that asks the same has as a positive is no candidate, nor is a document without
    text or the query itself.

    Parameters
    ----------
    rows : Rows
        What ``datasets.read`` or ``from_object`` gave.
    out : str or Path
        As in ``datasets.write``. A negative's ``rank`` is its place among the picks; in ``extra`` it has its
        ``gain``, the ``sources`` that brought it and their ``ranks``. Score and scorer stay.
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
    with scratch_folder(final) as work:
        stream = Surveyed(rows, None)
        batches, note = grouped(stream, work, _BATCH)
        progress("reading rows", 0, 0)
        by_edit = Edited()
        examples = Examples.from_batches(by_edit.watched(batches(Counter())))
        _refuse(examples, settings)
        selector = Selector(examples, encoder, settings)
        same = Same.of(examples)
        barred, risk = Barred(examples, same), None
        if settings.max_false_negative_risk is not None:
            of_edits = by_edit.among(examples.documents)
            bound = settings.max_false_negative_risk
            risk = FalseNegativeRisk(examples, same, selector.embedded, of_edits, bound)

        def selected(_: Any) -> Iterator[pa.RecordBatch]:
            passes.append(_Pass(examples, selector, (barred, risk), stream.survey))
            return passes[-1].rows(batches(Counter()))

        kept = Rows("eci", rows.paths, selected, 1)
        written = write(kept, final, settings.layout, progress=progress)
    notes = [*rows.notes, *([note] if note else []), *written.told(settings.layout)]
    return passes[-1].result(settings, encoder, notes)


def _refuse(examples: Examples, settings: SelectSettings) -> None:
    """Raise a `DataError` unless there is something to select, by a name of its own."""
    if not examples.sources:
        raise DataError("No row has a negative. There is nothing to select from.")
    if settings.label in examples.sources:
        raise DataError(
            f"the inputs have a source '{settings.label}' already, and scoring would take both for one. "
            "Name the selected negatives with --label."
        )


class _Pass:
    """One pass over the rows, and what it counts."""

    def __init__(
        self,
        examples: Examples,
        selector: Selector,
        left_out: tuple[Barred, FalseNegativeRisk | None],
        survey: Survey,
    ) -> None:
        self._examples, self._selector, self._agreement = examples, selector, survey.agreement()
        self._barred, self._risk = left_out
        self._bound = selector.settings.max_false_negative_risk
        self._query = {key: place for place, key in enumerate(examples.keys)}
        self._document = {text: place for place, text in enumerate(examples.documents)}
        self._label, self._k = selector.settings.label, selector.settings.k
        self._queries = 0
        self._counts: Counter[str] = Counter()
        # Of the sources: candidates, those left out for their risk, picks.
        self._of_sources = np.zeros((3, len(examples.sources)), dtype=np.int64)
        self._sizes: Counter[int] = Counter()
        self._gains: list[array[float]] = []

    def rows(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows with what is selected of their negatives."""
        for large in batches:
            for start in range(0, len(large), _BATCH):
                yield self._selected(large.slice(start, _BATCH))
        if not self._gains:
            why = ", ".join(f"{words}: {times:,}" for words, times in self._left_out().items())
            advice = " eci audit flags from 0.8 on; take a larger bound." if self._counts["risky"] else ""
            raise DataError(f"No negative is left to select. Left out, {why}.{advice}")

    def _left_out(self) -> dict[str, int]:
        named = [("known", "positives of their query"), ("risky", f"risk above {self._bound}")]
        named += [(reason, reason) for reason in Barred.REASONS]
        return {words: self._counts[name] for name, words in named if self._counts[name]}

    def _selected(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        positives, negatives = (Documents.of(batch.column(name)) for name in ("positives", "negatives"))
        found = Found.of(positives, negatives, self._examples.sources)
        ids, texts = batch.column("query_id").to_pylist(), batch.column("query").to_pylist()
        asked = np.array([self._query[query_key(*each)] for each in zip(ids, texts, strict=True)], np.int64)
        candidates, places, merged = self._candidates(found, asked)
        self._counts["merged"] += merged
        risky = np.zeros(len(places), dtype=np.bool_)
        if self._risk is not None:
            risky = self._risk.exceeded(asked, candidates)
        picks = self._selector.choose(asked, candidates, risky)
        chosen = picks.chosen.with_values(places[picks.chosen.values])
        positives, lost = found.known_once(batch, self._agreement)
        self._count(found, places, risky, picks, lost)
        mixed = found.mixed(chosen, self._label, once=True)
        fields = {**mixed.fields, "extra": _with_gains(mixed.fields["extra"], picks)}
        arrays = {name: batch.column(name) for name in ROWS.names}
        arrays.update(
            positives=positives.records(POSITIVE), negatives=replace(mixed, fields=fields).records(NEGATIVE)
        )
        return pa.RecordBatch.from_arrays(list(arrays.values()), schema=ROWS)

    def _candidates(self, found: Found, asked: Integers) -> tuple[Ragged, Integers, int]:
        """The distinct documents that may be negatives of each query.

        Numbers in the examples, places in ``found.lists``, and how many others of it were the same.
        """
        named = np.asarray(found.negatives.fields["id"].is_valid())[found.at]
        first, best = leads(found.lists.values, named)
        first, best = first[first >= 0], best[first >= 0]
        row = found.lists.rows[first] // len(found.parts)
        order = np.argsort(row, kind="stable")
        # The text is the one that will be written.
        written = pa.array(found.at[best[order]])
        shown = found.negatives.shown.take(written).dictionary_encode()
        numbers = np.array([self._document[text] for text in shown.dictionary.to_pylist()], dtype=np.int64)
        documents = numbers[np.asarray(shown.indices, dtype=np.int64)]
        lists = Ragged.from_lengths(documents, np.bincount(row, minlength=len(asked)))
        alone = text_digests(None, found.negatives.fields["text"].take(written))
        why = self._barred.reasons(asked, lists, alone)
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
            scores=lost,
        )
        sizes, times = np.unique(picks.chosen.lengths, return_counts=True)
        self._sizes.update(dict(zip(sizes.tolist(), times.tolist(), strict=True)))
        for place in range(int(sizes.max(initial=0))):
            if place == len(self._gains):
                self._gains.append(array("d"))
            self._gains[place].frombytes(picks.gains[picks.chosen.within == place].tobytes())

    def result(self, settings: SelectSettings, encoder: Encoder, notes: list[str]) -> SelectResult:
        """What this pass, which is over, has selected."""
        picked = sum(map(len, self._gains))
        sources = {
            label: {
                **dict(zip(("candidates", "risky", "picked"), told, strict=True)),
                "share": told[2] / picked,
            }
            for label, told in zip(self._examples.sources, self._of_sources.T.tolist(), strict=True)
        }
        none = sum(int((np.asarray(gains) == 0).sum()) for gains in self._gains)
        told = [
            (none if settings.objective == "eci_sem" else 0, _NO_GAIN),
            (self._counts["scores"], "scores of positives left out, for the sources differ"),
        ]
        return SelectResult(
            queries=self._queries,
            negatives=picked,
            sources=sources,
            short={str(got): times for got, times in sorted(self._sizes.items()) if got < settings.k},
            # Exact sums, so that the order of the rows changes no digit.
            gains=[math.fsum(gains) / len(gains) for gains in self._gains],
            merged=self._counts["merged"],
            left_out=self._left_out(),
            settings=asdict(settings),
            encoder={"name": type(encoder).__name__, **getattr(encoder, "describe", dict)()},
            data={
                "rows": self._examples.rows,
                "documents": len(self._examples.documents),
                **({"risk": self._risk.learned} if self._risk else {}),
            },
            notes=[
                *(f"{words}: {times:,}" for times, words in told if times),
                *(self._risk.notes() if self._risk else ()),
                *notes,
            ],
        )


def _with_gains(extra: pa.Array, picks: Picks) -> pa.Array:
    """JSON objects, each with the gain of its pick."""
    gains = pa.array(picks.gains).cast(pa.string())
    told = pc.binary_join_element_wise(pc.utf8_slice_codeunits(extra, 0, -1), ',"gain":', gains, "}", "")
    # A row that was selected before has a gain already.
    twice = np.flatnonzero(np.asarray(pc.match_substring(extra, '"gain":')))
    if len(twice):
        texts = told.to_pylist()
        for place in twice.tolist():
            texts[place] = orjson.dumps(
                {**orjson.loads(texts[place]), "gain": float(picks.gains[place])}
            ).decode()
        told = pa.array(texts, pa.string())
    return told
