"""Filters for negatives that are there already, wherever they came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eci.atomic import scratch_folder
from eci.datasets import write
from eci.datasets.columns import Documents, in_parts
from eci.datasets.grouping import grouped, require_positives
from eci.datasets.rows import Rows
from eci.datasets.writing import refuse
from eci.errors import DataError, EciError
from eci.examples import NEGATIVE, POSITIVE, ROWS, shorten
from eci.finished import Decided, Finished, Known, finished
from eci.miners.copies import near_copies
from eci.miners.filters import Candidates, Filters, Selector, curated
from eci.miners.reranked import checked
from eci.ragged import Ragged, rising
from eci.results import count
from eci.task import EMPTY, Reranker, numbers_of, text_digests
from eci.types import Flags, Floats, Progress, silent

_BATCH = 1024
_NO_END = 2**62


@dataclass(frozen=True)
class FilterSettings:
    """What to keep of the negatives of each source.

    Parameters
    ----------
    filters : Filters
        ``range_min`` and ``range_max`` count the negatives of one source of one query, in the order in
        which they stand.
    k : int, optional
        Most negatives of each source per query; all that pass when None.
    sources : tuple of str
        The sources to filter; those that are not named pass untouched. All when empty.
    layout : str
        Of the output, one of ``datasets.LAYOUT_NAMES``.
    """

    filters: Filters = field(default_factory=Filters)
    k: int | None = None
    sources: tuple[str, ...] = ()
    layout: str = "eci"

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise EciError(f"k must be at least 1, got {self.k}.")


@dataclass(frozen=True)
class FilterResult:
    """What was kept and removed.

    Parameters
    ----------
    queries : int
    sources : dict
        For each source: its negatives before and after, the queries that had some, and those that are
        left with none or with fewer than k.
    removed : dict of str to int
        Negatives that each filter removed, in the order in which the filters apply.
    settings : dict
    notes : list of str
    exempt : dict of str to int
        Curated negatives that a margin would have removed, see ``Filters.keep_curated``.
    """

    queries: int
    sources: dict[str, dict[str, int]]
    removed: dict[str, int]
    settings: dict[str, Any]
    notes: list[str]
    exempt: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """Everything, as JSON of schema ``eci.filter/1``."""
        return orjson.dumps({"schema": "eci.filter/1", **asdict(self)}, option=orjson.OPT_INDENT_2).decode()

    def table(self) -> str:
        """The counts for a person."""
        lines = [count(self.queries, "query")]
        for label, told in self.sources.items():
            lines.append(
                f"{label}: {told['before']:,} → {count(told['after'], 'negative')}; of "
                f"{count(told['queries'], 'query')} {told['empty']:,} left with none"
                + (f", {told['short']:,} with fewer than {self.settings['k']}" if self.settings["k"] else "")
            )
        lines += [f"  removed by {name}: {number:,}" for name, number in self.removed.items()]
        lines += [f"  curated, spared by {name}: {number:,}" for name, number in self.exempt.items()]
        return "\n".join([*lines, *(f"· {note}" for note in self.notes)])


def filter_rows(
    rows: Rows,
    out: str | Path,
    settings: FilterSettings,
    *,
    teacher: Reranker | None = None,
    judged: frozenset[tuple[str, str]] = frozenset(),
    progress: Progress = silent,
) -> FilterResult:
    """Filter negatives and write what is left.

    Parameters
    ----------
    rows : Rows
        What ``datasets.read`` or ``from_object`` gave.
    out : str or Path
        As in ``datasets.write``. Until it is there, what was decided lies beside it in a folder whose name
        ends in ``.work``: the same call goes on from there, another one replaces it. Not so with
        ``max_uses``, which counts over all batches before.
    settings : FilterSettings
    teacher : Reranker, optional
        Scores negatives and positives; else the scores of the rows count. Its scores are written.
    judged : frozenset of (query id, document id)
        Pairs that judgements call relevant: never negatives.
    progress : Progress

    Returns
    -------
    FilterResult

    Raises
    ------
    DataError
        A filter needs scores that the rows lack; a source to filter is not there; nothing is left.
    OutputError
        The output cannot be written there, or another run is writing it.
    """
    passes: list[_Pass] = []
    final = Path(out)
    refuse(final, settings.layout, rows.paths)
    with finished(final) as done, scratch_folder(final) as work:
        known = Known(rows)
        found = grouped(known, work, _BATCH, corpus=rows.corpus, progress=progress)
        # Uses are counted over all rows before.
        if settings.filters.max_uses is None:
            decided_by = {"filter": asdict(settings), "judged": sorted(judged), "rows": known.digest}
            done.begin(decided_by, teacher)

        def selected(_: Any) -> Iterator[pa.RecordBatch]:
            passes.append(_Pass(settings, teacher, judged))
            return passes[-1].rows(found.batches(Counter()), done)

        kept = Rows("eci", rows.paths, selected, 1)
        kept.size = found.queries
        written = write(kept, final, settings.layout, progress=progress)
    last = passes[-1]
    return FilterResult(
        queries=last.queries,
        sources={label: dict(told) for label, told in last.sources.items()},
        removed={name: number for name, number in last.selector.removed.items() if number},
        settings={**asdict(settings), "teacher": teacher.describe() if teacher else None},
        notes=[*rows.notes, *([found.note] if found.note else []), *written.told(settings.layout)],
        exempt=dict(last.selector.exempt),
    )


class _Pass:
    """One pass over the rows, and what it counts."""

    def __init__(
        self, settings: FilterSettings, teacher: Reranker | None, judged: frozenset[tuple[str, str]]
    ) -> None:
        self.settings, self.teacher, self.judged = settings, teacher, judged
        filters = settings.filters
        self.selector = Selector(filters, settings.k, filters.range_max or _NO_END)
        self.queries = 0
        self.sources: dict[str, Counter[str]] = {}

    def rows(self, batches: Iterator[pa.RecordBatch], done: Finished) -> Iterator[pa.RecordBatch]:
        """The rows with what is left of their negatives."""
        yield from done.rows(in_parts(batches, _BATCH), self)
        absent = [label for label in self.settings.sources if label not in self.sources]
        if absent:
            raise DataError(
                f"No negative is of the source '{absent[0]}'. Sources here: {', '.join(self.sources)}."
            )
        if not sum(told["after"] for told in self.sources.values()):
            removed = ", ".join(f"{name} {number:,}" for name, number in self.selector.removed.items())
            raise DataError(f"No negative is left. Removed by: {removed or 'nothing; there were none'}.")

    def counts(self) -> dict[str, Any]:
        """What was counted so far."""
        return {
            "queries": self.queries,
            "sources": self.sources,
            "removed": self.selector.removed,
            "exempt": self.selector.exempt,
        }

    def take_up(self, batch: pa.RecordBatch, decided: Decided, counts: dict[str, Any]) -> pa.RecordBatch:
        """The rows that were worked out before, counted."""
        self.queries = counts["queries"]
        self.sources = {label: Counter(told) for label, told in counts["sources"].items()}
        self.selector.removed, self.selector.exempt = Counter(counts["removed"]), Counter(counts["exempt"])
        positives, negatives = (Documents.of(batch.column(name)) for name in ("positives", "negatives"))
        scores = decided["positives"], decided["negatives"]
        return _kept(batch, *self._rescored(positives, negatives, scores), decided["keep"])

    def work(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Decided]:
        """The rows with what is left of their negatives, and which are left, with the scores."""
        require_positives(batch, "the rows")
        self.queries += len(batch)
        positives = Documents.of(batch.column("positives"))
        negatives = Documents.of(batch.column("negatives"))
        labels = negatives.fields["source"].dictionary_encode()
        names = labels.dictionary.to_pylist()
        source = np.asarray(labels.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
        wanted = [not self.settings.sources or name in self.settings.sources for name in names]
        asked = np.array(wanted, dtype=np.bool_)[source]
        scores = self._scores(batch, positives, negatives, asked)
        positives, negatives = self._rescored(positives, negatives, scores)
        # One list for each source of each query, in the order in which its negatives stand.
        order = np.lexsort((source, negatives.rows))
        order = order[asked[order]]
        owner = negatives.rows[order] * max(1, len(names)) + source[order]
        lists, lengths = np.unique(owner, return_counts=True)
        row_of_list = lists // max(1, len(names))
        digests = text_digests(negatives.fields["title"], negatives.fields["text"])
        free = np.ones(len(order), dtype=np.bool_)
        for words, out in (
            ("known positives", self._known(batch, positives, negatives, digests)[order]),
            ("the query itself", _asked(batch, negatives, digests)[order]),
            ("empty texts", (digests == EMPTY)[order]),
            ("repeated texts", _repeated(owner, digests[order])),
        ):
            if gone := int((free & out).sum()):
                self.selector.removed[words] += gone
            free &= ~out
        documents = Ragged.from_lengths(digests[order], lengths).keep(free)
        order = order[free]
        floor = -Ragged.from_lengths(-scores[0], positives.lengths).maxima()
        numbers = numbers_of(batch.column("query_id"), batch.column("query"))
        made = curated(negatives.fields["extra"])[order]
        candidates = Candidates(documents, scores[1][order], floor[row_of_list], numbers[row_of_list], made)

        def copies(mask: Flags) -> Flags:
            return self._copies(positives, negatives, order, mask)

        chosen = self.selector.select(candidates, copies)
        keep = ~asked
        keep[order[chosen]] = True
        self._count(names, source, negatives.rows, keep)
        own = scores if self.teacher is not None else (np.empty(0), np.empty(0))
        decided = {"keep": keep, "positives": own[0], "negatives": own[1]}
        return _kept(batch, positives, negatives, keep), decided

    def _scores(
        self, batch: pa.RecordBatch, positives: Documents, negatives: Documents, asked: Flags
    ) -> tuple[Floats, Floats]:
        """Scores of positives and of negatives; NaN where nobody asks."""
        if self.teacher is None:
            own = [_floats(side.fields["score"]) for side in (positives, negatives)]
            filters = self.settings.filters
            judged = np.isin(positives.rows, negatives.rows[asked])
            for side, rows, missing in (
                ("positives", positives.rows, np.isnan(own[0]) & judged & filters.by_margin),
                ("negatives", negatives.rows, np.isnan(own[1]) & asked & filters.by_score),
            ):
                if missing.any():
                    query = batch.column("query")[int(rows[missing][0])].as_py()
                    raise DataError(
                        f"The {side} of the query {shorten(query)!r} carry no scores, and the filter needs "
                        "them. Name a --teacher that gives them."
                    )
            return own[0], own[1]
        texts = pa.concat_arrays([positives.shown, negatives.shown]).dictionary_encode()
        place = np.asarray(texts.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
        pairs = np.stack([np.concatenate([positives.rows, negatives.rows]), place], axis=1)
        ask = np.concatenate([np.ones(len(positives), dtype=np.bool_), asked])
        scores = np.full(len(pairs), np.nan)
        scores[ask] = checked(
            self.teacher, batch.column("query").to_pylist(), texts.dictionary.to_pylist(), pairs[ask]
        )
        return scores[: len(positives)], scores[len(positives) :]

    def _rescored(
        self, positives: Documents, negatives: Documents, scores: tuple[Floats, Floats]
    ) -> tuple[Documents, Documents]:
        """The documents with the scores of a teacher, if there is one, and the teacher as who gave them."""
        if self.teacher is None:
            return positives, negatives
        name = str(self.teacher.describe().get("name", type(self.teacher).__name__))
        given = pa.array(~np.isnan(scores[1]))
        theirs = pc.if_else(given, pa.array(scores[1]), negatives.fields["score"])
        scorer = pc.if_else(given, name, negatives.fields["scorer"])
        return (
            replace(positives, fields={**positives.fields, "score": pa.array(scores[0])}),
            replace(negatives, fields={**negatives.fields, "score": theirs, "scorer": scorer}),
        )

    def _known(
        self,
        batch: pa.RecordBatch,
        positives: Documents,
        negatives: Documents,
        digests: NDArray[np.int64],
    ) -> Flags:
        """Which negatives are a positive of their query, by its text or by other judgements."""
        of_positives = text_digests(positives.fields["title"], positives.fields["text"])
        held = set(zip(positives.rows.tolist(), of_positives.tolist(), strict=True))
        known = np.fromiter(
            (pair in held for pair in zip(negatives.rows.tolist(), digests.tolist(), strict=True)),
            np.bool_,
            len(negatives),
        )
        if self.judged:
            ids, of_query = negatives.fields["id"].to_pylist(), batch.column("query_id").to_pylist()
            for place, (row, name) in enumerate(zip(negatives.rows.tolist(), ids, strict=True)):
                known[place] |= (of_query[row], name) in self.judged
        return known

    def _copies(
        self, positives: Documents, negatives: Documents, order: NDArray[np.int64], mask: Flags
    ) -> Flags:
        """Which of the asked negatives are near copies of a positive; edits of one are so on purpose."""
        edited = pc.fill_null(pc.match_substring(negatives.fields["extra"], '"edit"'), False)
        asked = np.flatnonzero(mask & ~np.asarray(edited)[order])
        places = order[asked]
        against = Ragged.from_lengths(np.arange(len(positives)), positives.lengths).take(
            negatives.rows[places]
        )
        texts = negatives.shown.take(pa.array(places)).to_pylist() + positives.shown.to_pylist()
        pairs = np.stack(
            [np.repeat(np.arange(len(places)), against.lengths), against.values + len(places)], 1
        )
        near = near_copies(texts, pairs, self.settings.filters.near_copy or 1.0)
        found = np.zeros(len(mask), dtype=np.bool_)
        found[asked] = against.with_values(near).sums() > 0
        return found

    def _count(
        self, names: list[str], source: NDArray[np.int64], rows: NDArray[np.int64], keep: Flags
    ) -> None:
        for code, name in enumerate(names):
            mine = source == code
            before, after = rising(rows[mine]), np.bincount(rows[mine & keep], minlength=1 + rows.max())
            told = self.sources.setdefault(name, Counter(before=0, after=0, queries=0, empty=0, short=0))
            told["before"] += int(mine.sum())
            told["after"] += int((mine & keep).sum())
            told["queries"] += len(before)
            told["empty"] += int((after[before] == 0).sum())
            told["short"] += int((after[before] < (self.settings.k or 0)).sum())


def _kept(batch: pa.RecordBatch, positives: Documents, negatives: Documents, keep: Flags) -> pa.RecordBatch:
    columns = [batch.column("query_id"), batch.column("query"), positives.records(POSITIVE)]
    columns += [negatives.keep(keep).records(NEGATIVE), batch.column("extra")]
    return pa.RecordBatch.from_arrays(columns, schema=ROWS)


def _asked(batch: pa.RecordBatch, negatives: Documents, digests: NDArray[np.int64]) -> Flags:
    """Which negatives say what their query says, with or without their title."""
    queries = text_digests(None, batch.column("query"))[negatives.rows]
    alone = text_digests(None, negatives.fields["text"])
    return np.asarray((queries == digests) | (queries == alone), dtype=np.bool_)


def _repeated(lists: NDArray[np.int64], documents: NDArray[np.int64]) -> Flags:
    """Which documents stand in their list already."""
    order = np.lexsort((np.arange(len(lists)), documents, lists))
    same = (lists[order][1:] == lists[order][:-1]) & (documents[order][1:] == documents[order][:-1])
    found = np.zeros(len(lists), dtype=np.bool_)
    found[order[1:][same]] = True
    return found


def _floats(column: pa.Array) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
