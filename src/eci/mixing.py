"""Hybrids: negatives of several sources as one source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa

from eci.atomic import scratch_folder, temporary_folder
from eci.datasets import ReadOptions, Rows, read
from eci.datasets.columns import Documents
from eci.datasets.grouping import grouped
from eci.datasets.mixed import Found
from eci.datasets.rows import Journal
from eci.datasets.survey import Survey, Surveyed
from eci.errors import DataError, EciError
from eci.examples import NEGATIVE, POSITIVE, ROWS, is_label
from eci.miners.hybrid import budget, concat, union
from eci.ragged import Ragged
from eci.types import Flags, Progress, silent

# Queries that come out of temporary files at a time.
_BATCH = 1024
Mode: TypeAlias = Literal["union", "concat", "budget"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class MixSummary:
    """What became of the negatives of the parts.

    Parameters
    ----------
    label : str
        The source of the hybrid.
    parts : tuple of str
        The sources it is made of, in order.
    rows, negatives : int
        In the hybrid; a row is a query.
    given, kept : dict of str to int
        Negatives of each part in the inputs, and in the hybrid. A document that several parts found
        is kept once, by the part whose turn it was.
    left_out : dict of str to int
        Negatives of sources that are no parts.
    merged : int
        Negatives that are kept as another one, for it is the same document.
    known : int
        Negatives left out, for they are positives of their query.
    short, filled : int
        With a budget: queries that have fewer than k, and queries in which a part gave more than its
        share, for another ran dry.
    single, empty : int
        Queries for which one part alone has negatives, and queries without any in the hybrid.
    scores : int
        Positives that lost their score, for not every part of their query has the same.
    """

    label: str = ""
    parts: tuple[str, ...] = ()
    rows: int = 0
    negatives: int = 0
    given: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    merged: int = 0
    known: int = 0
    short: int = 0
    filled: int = 0
    single: int = 0
    empty: int = 0
    scores: int = 0


@dataclass(frozen=True)
class _Settings:
    mode: Mode
    k: int | None
    label: str | None
    sources: tuple[str, ...] | None
    shares: tuple[float, ...] | None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise EciError(f"unknown mode '{self.mode}'. Known: {', '.join(MODES)}.")
        if self.k is not None and self.k < 1:
            raise EciError(f"k must be at least 1, got {self.k}.")
        if self.mode == "budget" and self.k is None:
            raise EciError("a budget needs k, the negatives per query.")
        if self.shares is not None and self.mode != "budget":
            raise EciError(f"shares divide a budget; the mode is {self.mode}. Leave them out.")
        if self.shares is not None and not all(isfinite(share) and share > 0 for share in self.shares):
            told = ":".join(f"{share:g}" for share in self.shares)
            raise EciError(f"shares must be above 0, got {told}. Leave a part out with sources.")
        if self.label is not None and not is_label(self.label):
            raise EciError(f"the label {self.label!r} is empty or holds characters that do not print.")
        twice = next((name for name in self.sources or () if (self.sources or ()).count(name) > 1), None)
        if twice is not None:
            raise EciError(f"the source '{twice}' is named twice. A part can be in a hybrid once.")


def mix(
    rows: Rows | str | Path | Sequence[str | Path],
    *,
    mode: Mode,
    k: int | None = None,
    label: str | None = None,
    sources: Sequence[str] | None = None,
    shares: Sequence[float] | None = None,
    reading: ReadOptions | None = None,
) -> Mixture:
    """Make the sources of `rows` one hybrid source.

    ``concat`` puts the lists one after the other, and a document that two parts found stands twice.
    ``union`` has each document once, by the best place that any part gives it, ties in the order of the
    parts. ``budget`` has k documents a query, each once: the parts take turns by their shares, and what
    a part that runs dry leaves is taken by the others. Two documents are the same if they have the same
    id, or the same text after Unicode normalisation (NFKC), in lower case and with white space
    collapsed. A document that any row of the query has as a positive is left out.

    Parameters
    ----------
    rows : Rows, path, or sequence of paths
        What ``datasets.read`` gave or takes; rows of one query may stand anywhere.
    mode : {"union", "concat", "budget"}
    k : int, optional
        Negatives per query: needed for ``budget``, at most so many of the others.
    label : str, optional
        The source of the hybrid; the names of the parts joined by ``+`` when None.
    sources : sequence of str, optional
        The parts, in order; when None all sources, in the order in which rows have them.
    shares : sequence of float, optional
        Weights of the parts in a budget, above 0; equal when None.
    reading : ReadOptions, optional
        How paths are read.

    Returns
    -------
    Mixture
        Nothing but the start of the rows is read before its rows are gone through.

    Raises
    ------
    EciError
        A setting is none, or does not fit another.
    DataError
        While the rows are gone through: the inputs lack a source, hold one only, or hold one of the
        hybrid's name.

    Examples
    --------
    >>> from eci.datasets import from_object
    >>> found = [("bm25", "near"), ("bm25", "far"), ("dense", "near"), ("dense", "close")]
    >>> negatives = [{"source": source, "text": text} for source, text in found]
    >>> row = {"query": "q", "positives": [{"text": "right"}], "negatives": negatives}
    >>> mixture = mix(from_object([row]), mode="union")
    >>> [(n["text"], n["source"]) for batch in mixture.rows for n in batch["negatives"][0].as_py()]
    [('near', 'bm25+dense'), ('far', 'bm25+dense'), ('close', 'bm25+dense')]
    >>> mixture.summary.merged
    1
    """
    settings = _Settings(
        mode, k, label, tuple(sources) if sources else None, tuple(shares) if shares else None
    )
    if not isinstance(rows, Rows):
        rows = read([rows] if isinstance(rows, str | Path) else rows, reading or ReadOptions())
    return Mixture(rows, settings)


class Mixture:
    """A hybrid: its rows, and what became of the negatives it is made of.

    Attributes
    ----------
    rows : Rows
        One row per query, to be given to ``datasets.write``. Each pass reads the inputs anew.
    summary : MixSummary
        Of the last complete pass over `rows`.
    beside : Path, optional
        The output beside which temporary files of a pass are, if rows of a query stand apart; they are
        in the system's place for them when None.
    progress : Progress
        Told the rows read, and those brought together, before the first comes out.
    """

    def __init__(self, source: Rows, settings: _Settings) -> None:
        self.rows = Rows("eci", source.paths, self._batches, 1)
        self.summary = MixSummary()
        self.beside: Path | None = None
        self.progress: Progress = silent
        self._source, self._settings = source, settings

    def _batches(self, journal: Journal) -> Iterator[pa.RecordBatch]:
        losses: Counter[str] = Counter()
        beside = self.beside
        with scratch_folder(beside) if beside else temporary_folder("eci-rows") as work:
            stream = Surveyed(self._source, self._settings.sources)
            found = grouped(stream, work, _BATCH, corpus=self._source.corpus, progress=self.progress)
            self.rows.size = found.queries
            plan = _Plan.of(self._settings, stream.survey)
            tally = _Tally(len(plan.parts))
            for batch in found.agreed(losses):
                yield _mixed(batch, plan, tally)
        told = [f"{what}, not kept: {number:,}" for what, number in losses.items()]
        journal.told += [*self._source.notes, *([found.note] if found.note else []), *told]
        self.summary = tally.summary(plan, stream.survey)


@dataclass(frozen=True)
class _Plan:
    settings: _Settings
    parts: tuple[str, ...]
    label: str

    @classmethod
    def of(cls, settings: _Settings, survey: Survey) -> _Plan:
        """Decide on parts and label.

        Raises
        ------
        DataError
            They do not fit what the inputs hold.
        """
        there = [*survey.numbers, *survey.left_out]
        held = ", ".join(f"'{name}'" for name in there) or "no negatives"
        parts = settings.sources or survey.order()
        absent = next((name for name in parts if name not in survey.numbers), None)
        if absent is not None:
            raise DataError(f"the inputs have no source '{absent}'. They have {held}.")
        if len(parts) < 2:
            got = f"'{parts[0]}' alone" if parts else "none"
            raise DataError(
                f"a hybrid needs two sources or more, got {got}. The inputs have {held}; inputs whose rows "
                "name no source are one each, by their name or --source, and mined ones by eci mine --label."
            )
        if settings.shares is not None and len(settings.shares) != len(parts):
            raise DataError(
                f"{len(settings.shares)} shares for {len(parts)} parts ({', '.join(parts)}): give each one."
            )
        label = settings.label or "+".join(parts)
        if label in there:
            raise DataError(
                f"the inputs have a source '{label}' already, and scoring would take both for one. "
                "Name the hybrid with --label."
            )
        return cls(settings, parts, label)

    @property
    def least(self) -> int:
        """What a row has at least, if it is not short."""
        return (self.settings.k or 0) if self.settings.mode == "budget" else 0

    def choose(self, lists: Ragged) -> tuple[Ragged, Flags]:
        """Places in ``lists.values``, and rows that were filled up."""
        size, k = len(self.parts), self.settings.k
        if self.settings.mode == "budget":
            return budget(lists, size, k or 0, self.settings.shares or (1.0,) * size)
        chosen = (union if self.settings.mode == "union" else concat)(lists, size)
        if k is not None:
            chosen = chosen.keep(chosen.within < k)
        return chosen, np.zeros(len(chosen), dtype=np.bool_)


class _Tally:
    """Counts of one pass."""

    def __init__(self, parts: int) -> None:
        self.given = np.zeros(parts, dtype=np.int64)
        self.kept = np.zeros(parts, dtype=np.int64)
        self.counts: Counter[str] = Counter()

    def summary(self, plan: _Plan, survey: Survey) -> MixSummary:
        given, kept = (dict(zip(plan.parts, each.tolist(), strict=True)) for each in (self.given, self.kept))
        counts = {name: int(number) for name, number in self.counts.items()}
        return MixSummary(
            plan.label, plan.parts, given=given, kept=kept, left_out=dict(survey.left_out), **counts
        )


def _mixed(batch: pa.RecordBatch, plan: _Plan, tally: _Tally) -> pa.RecordBatch:
    """The rows of the hybrid for a batch in which each query is one row."""
    positives, negatives = (Documents.of(batch.column(name)) for name in ("positives", "negatives"))
    found = Found.of(positives, negatives, plan.parts)
    chosen, filled = plan.choose(found.lists)
    positives, lost = found.known_once(batch)
    once = plan.settings.mode != "concat"
    sizes = np.bincount(found.lists.values)
    tally.given += found.given.sum(axis=0)
    tally.kept += np.bincount(found.part[chosen.values], minlength=len(plan.parts))
    tally.counts.update(
        rows=len(batch),
        negatives=len(chosen.values),
        merged=int((sizes[found.lists.values[chosen.values]] - 1).sum()) if once else 0,
        known=len(negatives) - len(found.lists.values),
        short=int((chosen.lengths < plan.least).sum()),
        filled=int(filled.sum()),
        single=int(((found.given > 0).sum(axis=1) == 1).sum()),
        empty=int((chosen.lengths == 0).sum()),
        scores=lost,
    )
    mixed = found.mixed(chosen, plan.label, once=once)
    arrays = {name: batch.column(name) for name in ROWS.names}
    arrays.update(positives=positives.records(POSITIVE), negatives=mixed.records(NEGATIVE))
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=ROWS)
