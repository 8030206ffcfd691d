"""One pass over the rows: texts become numbers and vectors, and what only the text itself tells is noted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eci.audit.matching import Matches
from eci.audit.material import Material, pair_cosines
from eci.audit.store import Texts, VectorFile, one_width, token_limit
from eci.audit.wording import likeness
from eci.datasets.collection import Collection
from eci.datasets.columns import Documents
from eci.datasets.grouping import require_positives
from eci.datasets.identity import fingerprint
from eci.datasets.trec import relevant_pairs
from eci.miners.filters import made_by
from eci.ragged import Ragged
from eci.spilled import Column, tiles
from eci.task import EMPTY, text_digests
from eci.types import Encoder, Flags, Floats, Integers

# Copies have nearly the vector of what they are copies of; further away nobody compares words.
_AS_NEAR = 0.7


@dataclass(frozen=True)
class Judgements:
    """What is known about queries and documents beside the rows.

    Parameters
    ----------
    relevant : frozenset of (query id, document id)
        Never negatives.
    test_ids, test_texts : frozenset
        Ids of test queries, and digests of their texts.
    test_documents : frozenset of str
        Ids of the documents that are relevant to a test query.
    files : tuple of dict
        ``name``, ``bytes`` and ``sha256`` of what it was read from.
    """

    relevant: frozenset[tuple[str, str]] = frozenset()
    test_ids: frozenset[str] = frozenset()
    test_documents: frozenset[str] = frozenset()
    test_texts: frozenset[int] = frozenset()
    files: tuple[dict[str, Any], ...] = ()

    @classmethod
    def read(
        cls, qrels: Iterable[Path] = (), test_qrels: Iterable[Path] = (), test_queries: Iterable[Path] = ()
    ) -> Judgements:
        """Of files: judgements by query id and document id, and test queries with their texts."""
        qrels, test_qrels, test_queries = (tuple(paths) for paths in (qrels, test_qrels, test_queries))
        tested = relevant_pairs(test_qrels)
        texts: set[int] = set()
        for path in test_queries:
            texts.update(text_digests(None, Collection.load([path]).texts).tolist())
        asked, found = (frozenset(pair[side] for pair in tested) for side in (0, 1))
        files = tuple(fingerprint([*qrels, *test_qrels, *test_queries]))
        return cls(relevant_pairs(qrels), asked, found, frozenset(texts), files)

    def counts(self) -> dict[str, int]:
        """How many of each there are; 0 says that nothing was looked for."""
        return {
            "relevant pairs": len(self.relevant),
            "test queries by id": len(self.test_ids),
            "test queries by text": len(self.test_texts),
        }


@dataclass(frozen=True)
class Collected:
    """Everything about B rows with n negatives that later steps need, without their texts.

    Parameters
    ----------
    material : Material
    cut : ndarray of shape (D,), bool
        Documents that the encoder does not read to their end.
    estimated : int
        Documents of which that was estimated.
    sources : tuple of S str
    source : ndarray of shape (n,)
        Index into `sources`.
    likeness : ndarray of shape (n,)
        Share of words in common with a positive, 0…1.
    score : ndarray of shape (n,)
        NaN where there is none.
    scored : ndarray of shape (n,), bool
        Whether there is one.
    teacher : ndarray of shape (B,)
        Best score of a positive; NaN where none has one, and where several scorers scored the negatives.
    flags : dict of str to ndarray of shape (n,), bool
        ``edited``, ``repeats_query``, ``judged``, ``leaks``.
    asks_test : ndarray of shape (B,), bool
    incomparable : int
        Rows with a score of a positive that were not asked for their teacher, for the scores of their
        negatives have several scorers.
    unmatched : tuple of str
        What of the judgements met nothing in the rows.
    """

    material: Material
    cut: Flags
    estimated: int
    sources: tuple[str, ...]
    source: Integers
    likeness: Floats
    score: Floats
    scored: Flags
    teacher: Floats
    flags: dict[str, Flags]
    asks_test: Flags
    incomparable: int = 0
    unmatched: tuple[str, ...] = ()


# What is kept of rows, of positives and of negatives, in temporary files.
_COLUMNS = {
    "group": np.int64,
    "query": np.int64,
    "teacher": np.float64,
    "asks_test": np.bool_,
    "positives": np.int32,
    "positives of a row": np.int64,
    "negatives": np.int32,
    "negatives of a row": np.int64,
    "source": np.int32,
    "likeness": np.float64,
    "score": np.float64,
    "scored": np.bool_,
}
_FLAGS = ("edited", "repeats_query", "judged", "leaks")


class Collector:
    """Takes batches of canonical rows.

    Parameters
    ----------
    encoder : Encoder
    folder : Path
        Where vectors are kept until the work is done; the caller removes it.
    near_copy : float
        See `AuditSettings`.
    known : Judgements
    """

    def __init__(self, encoder: Encoder, folder: Path, near_copy: float, known: Judgements) -> None:
        self._near_copy, self._matches = near_copy, Matches(known)
        self._queries = Texts(encoder, "query", VectorFile(folder / "queries"))
        self._documents = Texts(encoder, "document", VectorFile(folder / "documents"), token_limit(encoder))
        self._sources: dict[str, int] = {}
        self._columns = {name: Column(dtype) for name, dtype in _COLUMNS.items()}
        self._flags = {name: Column(np.bool_) for name in _FLAGS}
        self._incomparable = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in rows.

        Raises
        ------
        DataError
            A row has no positive.
        """
        require_positives(batch, "the rows")
        positives = Documents.of(batch.column("positives"))
        negatives = Documents.of(batch.column("negatives"))
        group = text_digests(None, batch.column("query"))
        held: dict[str, NDArray[Any]] = {
            "group": group,
            "query": self._queries.add(group, batch.column("query")),
            "teacher": self._teacher(positives, negatives),
            "asks_test": self._matches.asks_test(batch, group),
        }
        sides, digests = [], []
        for name, side in (("positives", positives), ("negatives", negatives)):
            digests.append(text_digests(side.fields["title"], side.fields["text"]))
            sides.append(Ragged.from_lengths(self._documents.add(digests[-1], side.shown), side.lengths))
            held |= {name: sides[-1].values, f"{name} of a row": side.lengths}
        by_edit = edited(negatives)
        score = negatives.fields["score"]
        held |= {
            "source": self._coded(negatives.fields["source"]),
            "likeness": self._likeness(positives, negatives, sides, ~by_edit & (digests[1] != EMPTY)),
            "score": _floats(score),
            "scored": np.asarray(score.is_valid()),
        }
        for name, values in held.items():
            self._columns[name].add(values)
        alone = text_digests(None, negatives.fields["text"])
        asked = group[negatives.rows]
        repeats = ((asked == digests[1]) | (asked == alone)) & (digests[1] != EMPTY)
        flags = (by_edit, repeats, *self._matches.judged(batch, negatives))
        for name, found in zip(_FLAGS, flags, strict=True):
            self._flags[name].add(found)

    def done(self) -> Collected:
        """Everything that was taken in.

        Raises
        ------
        DataError
            No query and no document has text.
        """
        one_width(self._queries.file, self._documents.file)
        held = {name: column.done() for name, column in self._columns.items()}
        material = Material(
            queries=self._queries.file.table(),
            documents=self._documents.file.table(),
            positives=_lists(held["positives"], held["positives of a row"]),
            negatives=_lists(held["negatives"], held["negatives of a row"]),
            group=held["group"],
            digests=self._documents.digests(),
            query=held["query"],
        )
        return Collected(
            material=material,
            cut=self._documents.cut(),
            estimated=self._documents.estimated,
            sources=tuple(self._sources),
            **{
                name: held[name] for name in ("source", "likeness", "score", "scored", "teacher", "asks_test")
            },
            flags={name: column.done() for name, column in self._flags.items()},
            incomparable=self._incomparable,
            unmatched=self._matches.told(),
        )

    def close(self) -> None:
        """Close the files of vectors."""
        self._queries.file.close()
        self._documents.file.close()

    def _coded(self, source: pa.Array) -> Integers:
        coded = source.dictionary_encode()
        numbers = [
            self._sources.setdefault(name, len(self._sources)) for name in coded.dictionary.to_pylist()
        ]
        return np.asarray(np.array(numbers, dtype=np.int64)[np.asarray(coded.indices)])

    def _teacher(self, positives: Documents, negatives: Documents) -> Floats:
        """Best score of a positive, NaN where scores of the row's negatives are not of one scorer."""
        score = Ragged.from_lengths(_floats(positives.fields["score"]), positives.lengths)
        best = score.keep(np.isfinite(score.values)).maxima()
        # Who is not named is known by the source alone.
        source = pc.binary_join_element_wise("", negatives.fields["source"], "\n")
        scorer = pc.coalesce(negatives.fields["scorer"], source).dictionary_encode().indices
        codes = Ragged.from_lengths(np.asarray(pc.fill_null(scorer, -1), dtype=np.int64), negatives.lengths)
        codes = codes.keep(np.isfinite(_floats(negatives.fields["score"])))
        several = codes.maxima() > -codes.with_values(-codes.values).maxima()
        self._incomparable += int((several & np.isfinite(best)).sum())
        best[several] = np.nan
        return best

    def _likeness(
        self, positives: Documents, negatives: Documents, sides: list[Ragged], asked: Flags
    ) -> Floats:
        """Most words that each negative shares with a positive of its row, where their vectors are near."""
        vectors = self._documents.file.table()
        places = np.flatnonzero(asked)
        against = Ragged.from_lengths(np.arange(len(positives)), positives.lengths).take(
            negatives.rows[places]
        )
        numbers = against.with_values(sides[0].values[against.values])
        other = numbers.values != sides[1].values[places][numbers.rows]
        against, numbers = against.keep(other), numbers.keep(other)
        pairs = np.stack([sides[1].values[places][numbers.rows], numbers.values], axis=1)
        compared = against.keep(pair_cosines(vectors, vectors, pairs) >= _AS_NEAR)
        used = pa.array(places[compared.rows])
        texts = [negatives.shown.take(used), positives.shown.take(pa.array(compared.values))]
        coded = pa.concat_arrays(texts).dictionary_encode()
        two = np.asarray(coded.indices, dtype=np.int64).reshape(2, -1).T
        same = likeness(coded.dictionary.to_pylist(), two, self._near_copy)
        found = np.zeros(len(negatives))
        found[places] = np.nan_to_num(compared.with_values(same).maxima(), nan=0.0)
        return found


def edited(negatives: Documents) -> Flags:
    """Which negatives were made by editing a positive, of shape (n,)."""
    return made_by(negatives.fields["extra"], "edit")


def _lists(values: NDArray[Any], lengths: Integers) -> Ragged:
    """Rows of so many values each, whose offsets are in a file too."""
    offsets, end = Column(np.int64), 0
    offsets.add(np.zeros(1, dtype=np.int64))
    for tile in tiles(lengths):
        ends = end + np.cumsum(tile)
        offsets.add(ends)
        end = int(ends[-1])
    return Ragged(values, offsets.done())


def _floats(column: pa.Array) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
