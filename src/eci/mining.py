"""Negatives for a retrieval task: a miner's candidates, filtered and written as rows.

Two steps. The first asks the miner shard by shard and keeps every finished shard on disk: a killed run
goes on where it was. The second filters the candidates and writes rows; it costs little and is done
again if it was cut off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from eci.atomic import held, remove, work_folder
from eci.datasets import write
from eci.datasets.mined import mined_rows
from eci.datasets.rows import Rows
from eci.errors import DataError, EciError
from eci.examples import is_label
from eci.miners import shards
from eci.miners.copies import copies_of_known
from eci.miners.dense import DenseMiner
from eci.miners.filters import Candidates, Filters, Selector
from eci.miners.reranked import RerankMiner, judged
from eci.ragged import Ragged
from eci.results import count
from eci.resuming import identity_of
from eci.task import Miner, Ranking, Reranker, RetrievalTask, numbers_of
from eci.types import Flags, Integers, Progress, silent

_SHARD = 2048
# A judge reads each document once a shard, and its scores of a killed shard are in the cache.
_JUDGED_SHARD = 8192
_ROWS = 256


@dataclass(frozen=True)
class MineSettings:
    """What to keep of what a miner finds.

    Parameters
    ----------
    k : int
        Negatives per query, at most.
    filters : Filters
    label : str, optional
        The source of the negatives; the miner's own label when None.
    layout : str
        Of the output, one of ``datasets.LAYOUT_NAMES``.
    """

    k: int
    filters: Filters = field(default_factory=Filters)
    label: str | None = None
    layout: str = "eci"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise EciError(f"k must be at least 1, got {self.k}.")
        if self.label is not None and not is_label(self.label):
            raise EciError(
                f"The label {self.label!r} is empty or holds characters that do not print. "
                "Leave it out for the miner's own."
            )


@dataclass(frozen=True)
class MineResult:
    """What was mined, from what, and what was removed on the way.

    Parameters
    ----------
    source : str
        Label of the negatives.
    queries, documents, candidates, negatives : int
        How many there were; candidates are what the miner found without known documents.
    removed : dict of str to int
        Candidates that each filter removed, in the order in which the filters apply.
    lengths : dict of int to int
        How many queries have how many negatives.
    settings : dict
        Miner, filters, k, and everything else that decides the result.
    notes : list of str
        What was left out or noticed while reading and writing.
    exempt : dict of str to int
        Curated negatives that a margin would have removed, see ``Filters.keep_curated``.
    """

    source: str
    queries: int
    documents: int
    candidates: int
    negatives: int
    removed: dict[str, int]
    lengths: dict[int, int]
    settings: dict[str, Any]
    notes: list[str]
    exempt: dict[str, int] = field(default_factory=dict)

    @property
    def short(self) -> int:
        """Queries with fewer than k negatives."""
        return sum(number for length, number in self.lengths.items() if length < self.settings["k"])

    def to_json(self) -> str:
        """Everything, as JSON of schema ``eci.mine/1``."""
        told = {"schema": "eci.mine/1", **asdict(self), "short": self.short}
        return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()

    def table(self) -> str:
        """The counts for a person."""
        k = self.settings["k"]
        lines = [
            f"{self.source}: {count(self.queries, 'query')}, {count(self.documents, 'document')}, "
            f"{count(self.candidates, 'candidate')} → {count(self.negatives, 'negative')} (k = {k})"
        ]
        lines += [f"  removed by {name}: {number:,}" for name, number in self.removed.items()]
        lines += [f"  curated, spared by {name}: {number:,}" for name, number in self.exempt.items()]
        if self.short:
            least = min(self.lengths)
            lines.append(
                f"  short rows: {self.short:,} of {self.queries:,} have fewer than {k}, least {least}"
            )
            if self.removed.keys() - {"range_min", "near copies of a positive"}:
                reach = self.settings["filters"]["range_max"]
                lines.append(f"  looked at: --range-max {reach:,}; a larger one may find more")
        return "\n".join([*lines, *(f"· {note}" for note in self.notes)])


def mine(
    task: RetrievalTask,
    miner: Miner,
    out: str | Path,
    settings: MineSettings,
    *,
    teacher: Reranker | None = None,
    read_from: Sequence[Path] = (),
    progress: Progress = silent,
) -> MineResult:
    """Mine negatives and write them as rows.

    Parameters
    ----------
    task : RetrievalTask
    miner : Miner
        Made for `task`.
    out : str or Path
        As in ``datasets.write``. Until it is there, finished shards lie beside it in a folder whose
        name ends in ``.work``; the same call uses them, another one replaces them.
    settings : MineSettings
    teacher : Reranker, optional
        Scores candidates and positives in the place of the miner; the order stays the miner's.
    read_from : sequence of Path
        The files of the task, which `out` may not replace.
    progress : Progress

    Returns
    -------
    MineResult

    Raises
    ------
    DataError
        No candidate passes the filters.
    OutputError
        The output cannot be written there, or another run is writing it.
    EciError
        The miner gives no scores and a filter needs them, or what miner and teacher raise.
    """
    final = Path(out)
    job = _Job(task, miner, settings, teacher)
    work = work_folder(final)
    passes: list[_Tally] = []
    rows = Rows("eci", read_from, lambda _: job.rows(work, passes, progress), 1)
    with held(work, final):
        written = write(rows, final, settings.layout, progress=progress)
        remove(work)
    tally = passes[-1]
    counts = (f"{what}: {number:,}" for what, number in task.counts.items())
    return MineResult(
        source=job.label,
        queries=len(task),
        documents=len(task.corpus),
        candidates=tally.candidates,
        negatives=tally.negatives,
        removed={name: number for name, number in tally.selector.removed.items() if number},
        lengths=dict(sorted(tally.lengths.items())),
        settings=job.describe(),
        notes=[*counts, *job.recall(), *written.told(settings.layout)],
        exempt=dict(tally.selector.exempt),
    )


@dataclass
class _Tally:
    """Counts of one pass over the candidates; a writer may make several, which share `selector` and `chosen`.

    `chosen` holds a bit for each candidate of each shard: which ones the selector took.
    """

    selector: Selector
    chosen: dict[int, NDArray[np.uint8]]
    candidates: int = 0
    negatives: int = 0
    lengths: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Job:
    task: RetrievalTask
    miner: Miner
    settings: MineSettings
    teacher: Reranker | None

    @property
    def label(self) -> str:
        return self.settings.label or self.miner.label

    @property
    def reach(self) -> int:
        return self.settings.filters.reach(self.settings.k, self._known)

    @property
    def _known(self) -> int:
        return int(self.task.known.lengths.max(initial=0))

    @property
    def _judged(self) -> bool:
        """Whether the scores are a judge's, who is to score the positives too."""
        return self.teacher is not None or isinstance(self.miner, RerankMiner)

    @cached_property
    def _judges(self) -> list[dict[str, Any]]:
        """Who scores, told from all others; one that has no `identity_of` is nobody another run knows."""
        named = [self.teacher, getattr(self.miner, "reranker", None)]
        return [identity_of(judge) or {"unknown": uuid4().hex} for judge in named if judge is not None]

    @property
    def _shard_size(self) -> int:
        return _JUDGED_SHARD if self._judged else _SHARD

    def describe(self) -> dict[str, Any]:
        """Everything that decides the rows."""
        return {
            "k": self.settings.k,
            "label": self.label,
            "layout": self.settings.layout,
            "filters": {**asdict(self.settings.filters), "range_max": self.reach},
            "miner": self.miner.describe(),
            "teacher": self.teacher.describe() if self.teacher else None,
            "versions": _versions(),
        }

    def rows(self, work: Path, passes: list[_Tally], progress: Progress) -> Iterator[pa.RecordBatch]:
        """Filtered rows, batch by batch; the writer has refused what it cannot write before it asks."""
        self._prepare(work)
        if passes:
            tally = _Tally(passes[0].selector, passes[0].chosen)
        else:
            tally = _Tally(Selector(self.settings.filters, self.settings.k, self.reach), {})
        passes.append(tally)
        for start in range(0, len(self.task), self._shard_size):
            queries = np.arange(start, min(start + self._shard_size, len(self.task)))
            ranking, positives = self._shard(work / f"{start:09}.arrow", queries, progress)
            if start not in tally.chosen:
                tally.chosen[start] = np.packbits(self._select(tally.selector, queries, ranking, positives))
            mask = np.unpackbits(tally.chosen[start], count=len(ranking.ranks)).astype(np.bool_)
            kept = ranking.keep(mask)
            tally.candidates += len(mask)
            tally.negatives += len(kept.ranks)
            tally.lengths.update(kept.documents.lengths.tolist())
            for first in range(0, len(queries), _ROWS):
                last = min(first + _ROWS, len(queries))
                scores = positives.take(np.arange(first, last)) if self._judged else None
                yield mined_rows(self.task, queries[first:last], kept.part(first, last), self.label, scores)
        if not tally.negatives:
            removed = ", ".join(f"{name} {number:,}" for name, number in tally.selector.removed.items())
            raise DataError(
                f"Of {tally.candidates:,} candidates of {self.label} none became a negative. Removed by: "
                f"{removed or 'nothing; the miner found none'}. Loosen the filters, or widen range_max."
            )

    def recall(self) -> list[str]:
        """What an approximate index misses, in words."""
        if not isinstance(self.miner, DenseMiner) or self.miner.index is None:
            return []
        depth = min(self.reach + self._known, len(self.task.corpus))
        share, search = self.miner.recall(depth), self.miner.settings.search
        return [f"recall of the {search} index: {share:.4f} of the {depth:,} nearest documents"]

    def _prepare(self, work: Path) -> None:
        """Have no shards of another job."""
        decided_by = {
            "miner": self.miner.describe(),
            "judges": self._judges,
            "teacher": self.teacher is not None,
            "task": shards.digest(self.task),
            "shard": self._shard_size,
            "depth": self.reach + self._known,
            "positives": self._judged or self.settings.filters.by_margin,
            "scores": self.settings.filters.by_score,
            "versions": _versions(),
        }
        shards.prepare(work, decided_by)

    def _shard(self, path: Path, queries: Integers, progress: Progress) -> tuple[Ranking, Ragged]:
        """Candidates and scores of positives of some queries: from disk, or found and kept there."""
        if not path.is_file():
            stage = f"mining {self.label}"
            progress(stage, int(queries[0]), len(self.task))
            shards.save(path, *self._candidates(queries))
            progress(stage, int(queries[-1]) + 1, len(self.task))
        return shards.load(path)

    def _candidates(self, queries: Integers) -> tuple[Ranking, Ragged]:
        depth = self.reach + self._known
        if self.teacher is not None:
            return judged(self.task, self.teacher, queries, self.miner.mine(queries, depth))
        if isinstance(self.miner, RerankMiner):
            return self.miner.judged(queries, depth)
        found = self.miner.mine(queries, depth)
        if self.settings.filters.by_score and np.isnan(found.scores).any():
            raise EciError(
                f"{self.label} negatives carry no scores to filter by. Name a --teacher that gives them."
            )
        if self.settings.filters.by_margin:
            return found, self.miner.score_positives(queries)
        return found, Ragged.from_lengths(np.empty(0), np.zeros(len(queries), dtype=np.int64))

    def _keys(self, ranking: Ranking) -> Integers:
        """A number for each candidate that its document decides, of shape (n,)."""
        filters, corpus = self.settings.filters, self.task.corpus
        if filters.sampling == "top" and filters.max_uses is None:
            return ranking.documents.values
        places, back = np.unique(ranking.documents.values, return_inverse=True)
        held = corpus.take(places[places < len(corpus)])
        made = [ranking.written[place - len(corpus)].id for place in places[places >= len(corpus)].tolist()]
        written = pa.array(made, pa.string())
        found = np.concatenate([numbers_of(held.ids, held.texts), numbers_of(written, written)])
        return found.view(np.int64)[back]

    def _select(self, selector: Selector, queries: Integers, ranking: Ranking, positives: Ragged) -> Flags:
        floor = -positives.with_values(-positives.values).maxima()
        keys = ranking.documents.with_values(self._keys(ranking))
        # What lies in no corpus was made by an edit.
        made = ranking.documents.values >= len(self.task.corpus)
        candidates = Candidates(keys, ranking.scores, floor, self.task.numbers(queries), made)
        known = self.task.known.take(queries)

        def copies(asked: Flags) -> Flags:
            # Written texts are close to their positive on purpose.
            held = asked & (ranking.documents.values < len(self.task.corpus))
            threshold = self.settings.filters.near_copy or 1.0
            return copies_of_known(self.task, ranking.documents, held, known, threshold)

        return selector.select(candidates, copies)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("eci", "numpy", "pyarrow")}
