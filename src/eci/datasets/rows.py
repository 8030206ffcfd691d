"""Rows that can be gone through again and again, and how they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from eci.datasets.identity import fingerprint
from eci.datasets.layouts import NAMES
from eci.datasets.scattered import Corpus
from eci.errors import DataError, LayoutError
from eci.examples import is_label


@dataclass(frozen=True)
class ReadOptions:
    """How rows are read.

    Parameters
    ----------
    layout : str, optional
        One of ``layouts.NAMES``; detected if not given.
    sources : tuple of str
        The source of negatives that carry none: one for all files, or one per file in order. Without
        it the stem of the file.
    corpus, queries : Path, optional
        Texts for layouts that name them by id; looked for beside the rows if not given.
    split : str, optional
        The qrels of a BEIR folder, or the split of a saved ``DatasetDict``.
    positive_score : float, optional
        In layouts with graded scores instead of labels: documents at or above are positives.
    batch_rows : int
        Most rows in a batch. Text formats also end a batch after about 32 MB.
    candidates : Path, optional
        For scoring: the corpus that held-out queries rank in ``alignment`` and ``probe``.
    idf_corpus : Path, optional
        For scoring: a corpus to count the frequencies of words over.
    """

    layout: str | None = None
    sources: tuple[str, ...] = ()
    corpus: Path | None = None
    queries: Path | None = None
    split: str | None = None
    positive_score: float | None = None
    batch_rows: int = 4096
    candidates: Path | None = None
    idf_corpus: Path | None = None

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in NAMES:
            raise LayoutError(f"unknown layout '{self.layout}'. Known: {', '.join(NAMES)}.")
        wrong = next((label for label in self.sources if not is_label(label)), None)
        if wrong is not None:
            raise DataError(
                f"the source {wrong!r} is empty or holds characters that do not print. Give another name."
            )
        if self.batch_rows < 1:
            raise DataError(f"batch_rows must be at least 1, got {self.batch_rows}.")


@dataclass
class Journal:
    """What one pass over the rows has to tell."""

    told: list[str] = field(default_factory=list)
    strangers: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """All of it in sentences."""
        notes = list(self.told)
        if self.kept:
            notes.append(f"keys without a column, kept in 'extra': {_counted(self.kept)}")
        if self.strangers:
            notes.append(f"keys not read: {_counted(self.strangers)}")
        return notes


class Rows:
    """Canonical rows that can be gone through again and again; each pass reads the files anew.

    Attributes
    ----------
    layout : str
        The layout that the rows have on disk.
    files : list of dict
        ``name`` and ``bytes`` of every file that is read.
    notes : list of str
        What the reader left out, kept aside or chose; complete when a pass has ended.
    inputs : int
        How many paths the user gave.
    size : int
        How many rows there are; 0 before a pass has ended, unless whoever made them knows.
    corpus : callable
        Gives the documents that rows name by id, which are read if they are not in memory yet; None where
        rows have their texts, or inputs have several corpora.
    """

    def __init__(
        self,
        layout: str,
        paths: Sequence[Path],
        batches: Callable[[Journal], Iterator[pa.RecordBatch]],
        inputs: int,
        corpus: Corpus = lambda: None,
    ) -> None:
        self.layout = layout
        self.paths: tuple[Path, ...] = tuple(paths)
        self.files: list[dict[str, Any]] = [{"name": p.name, "bytes": p.stat().st_size} for p in paths]
        self.notes: list[str] = []
        self.inputs, self.size = inputs, 0
        self._batches, self.corpus = batches, corpus

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        journal, rows = Journal(), 0
        self.notes.clear()
        for batch in self._batches(journal):
            rows += len(batch)
            yield batch
        if not rows:
            raise DataError(f"{', '.join(str(p) for p in self.paths) or 'the input'}: has no rows.")
        self.notes[:] = journal.notes()
        self.size = rows

    def fingerprint(self) -> list[dict[str, Any]]:
        """Name, size and SHA-256 of every file that is read."""
        return fingerprint(self.paths)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{key} ({number:,})" for key, number in counts.most_common())
