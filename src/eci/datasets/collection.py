"""Documents and queries that rows name by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eci.datasets.chunks import Chunk
from eci.datasets.columns import untitled
from eci.datasets.fields import ID, TEXT, Column
from eci.datasets.files import COLLECTIONS, FORMATS, open_file, open_folder, read_cells, stem
from eci.datasets.identity import hashes, text_hashes
from eci.datasets.opening import lines_of, opened
from eci.errors import DataError
from eci.examples import joined
from eci.types import Flags, Integers

_ID_KEYS = ("_id", "id", "docid", "doc_id", "document_id", "pid", "query_id", "qid", "passage_id")
_ROW_KEYS = ("positives", "positive", "pos", "negatives", "negative", "neg", "positive_passages")
_TEXT_KEYS = ("text", "document", "passage", "query", "contents", "content", "question")


@dataclass(frozen=True)
class Collection:
    """Texts by id, in Arrow columns.

    Parameters
    ----------
    name : str
        The file, for messages.
    ids, titles, texts : Array of shape (n,), large_string
        Columns; ``titles`` is null where a document has none.
    """

    name: str
    ids: pa.Array
    titles: pa.Array
    texts: pa.Array

    @classmethod
    def load(cls, paths: Sequence[Path], wanted: NDArray[np.int64] | None = None) -> Collection:
        """Read files or folders of texts.

        Parameters
        ----------
        paths : sequence of Path
            JSON lines, Parquet, CSV or TSV; a TSV may lack the header.
        wanted : ndarray, optional
            Hashes of the ids to keep (``identity.hashes``); all if not given.

        Raises
        ------
        DataError
            The file cannot be read, or gives one id two texts.
        """
        parts = [_columns(chunk, wanted) for path in paths for chunk in _chunks(path)]
        table = pa.concat_tables(parts) if parts else _columns(None, wanted)
        columns = [table[name].combine_chunks() for name in table.column_names]
        del parts, table
        # Chunks were as large as what they are in now, and Arrow keeps their memory for more of them.
        pa.default_memory_pool().release_unused()
        return cls(", ".join(map(str, paths)), *columns)._checked()

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, ids: pa.Array) -> Integers:
        """Index of each id, of shape (n,); -1 where it is not here."""
        if not len(self):
            return np.full(len(ids), -1, dtype=np.int64)
        keys, order = self._sorted
        wanted = hashes(ids)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, order[at], -1)

    def take(self, indices: Integers) -> dict[str, pa.Array]:
        """Id, title and text of the given entries."""
        chosen = pa.array(indices)
        columns = {"id": self.ids, "title": self.titles, "text": self.texts}
        return {name: column.take(chosen).cast(pa.string()) for name, column in columns.items()}

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], Integers]:
        keys = hashes(self.ids)
        order = np.argsort(keys, kind="stable")
        return keys[order], order

    def _checked(self) -> Collection:
        keys, order = self._sorted
        same = np.flatnonzero(keys[1:] == keys[:-1])
        if not len(same):
            return self
        texts = text_hashes(self.titles, self.texts)[order]
        clash = same[texts[same] != texts[same + 1]]
        if len(clash):
            raise DataError(
                f"{self.name}: the id '{self.ids[order[clash[0]]]}' has two different texts. Correct it."
            )
        return self


def document_texts_of(path: Path) -> list[str]:
    """The documents of a corpus as an encoder sees them, title and text joined; ids are not looked at.

    Parameters
    ----------
    path : Path
        As for `Collection.load`; or a folder that holds the corpus, such as that of a BEIR collection.

    Raises
    ------
    DataError
        The file cannot be read, holds no document, or holds training rows.
    """
    path = beside(path, "corpus") or path
    refuse_rows(path)
    found = Collection.load([path])
    texts: list[str] = joined(found.titles, found.texts).to_pylist()
    if not texts:
        raise DataError(f"{path}: has no documents.")
    return texts


def refuse_rows(path: Path) -> None:
    """Raise a `DataError` if a file has training rows, whose queries would pass for documents."""
    for chunk in islice(_chunks(path), 1):
        rows = [key for key in _ROW_KEYS if key in chunk.shape()]
        if rows:
            raise DataError(f"{path}: holds training rows (with '{rows[0]}'), no documents. Give the corpus.")


def beside(folder: Path | None, kind: str) -> Path | None:
    """A collection of the given kind, ``corpus`` or ``queries``, in a folder; None if there is none."""
    names = ("queries",) if kind == "queries" else COLLECTIONS[:-1]
    if folder is None or not folder.is_dir():
        return None
    entries = sorted(folder.iterdir())
    for name in names:
        for entry in entries:
            readable = entry.is_dir() or any(entry.name.removesuffix(".gz").endswith(e) for e in FORMATS)
            if readable and (entry.name if entry.is_dir() else stem(entry)) == name:
                return entry
    return None


def _chunks(path: Path) -> Iterable[Chunk]:
    if path.is_dir():
        return open_folder(path).chunks(20_000)
    if path.name.removesuffix(".gz").endswith((".tsv", ".csv")) and path.exists():
        with opened(path) as handle:
            first = next(lines_of(handle, path), b"").decode(errors="replace").rstrip("\r\n")
        cells = first.removeprefix("\ufeff").split("\t" if ".tsv" in path.name else ",")
        if not set(cells) & set(_ID_KEYS) and len(cells) in (2, 3):
            header = ("id", "text") if len(cells) == 2 else ("id", "title", "text")
            return read_cells(path, 20_000, header)
    return open_file(path).chunks(20_000)


def _columns(chunk: Chunk | None, wanted: NDArray[np.int64] | None) -> pa.Table:
    names, wide = ("ids", "titles", "texts"), pa.large_string()
    if chunk is None:
        return pa.table([pa.array([], wide)] * 3, names=list(names))
    shape = chunk.shape()
    ids = next((key for key in _ID_KEYS if key in shape), None)
    texts = next((key for key in _TEXT_KEYS if key in shape), None)
    if ids is None or texts is None:
        raise DataError(
            f"{chunk.place(0)}: no id and text to be found among the keys {', '.join(shape)}. "
            f"Known ids: {', '.join(_ID_KEYS)}; known texts: {', '.join(_TEXT_KEYS)}."
        )
    columns = (
        Column("ids", ID, key=ids),
        Column("titles", TEXT, False, key="title"),
        Column("texts", TEXT, key=texts),
    )
    read = chunk.read(columns, Counter())
    titles = untitled(read["titles"]) if "titles" in read else pa.nulls(len(chunk), pa.string())
    table = pa.table([read["ids"].cast(wide), titles.cast(wide), read["texts"].cast(wide)], names=list(names))
    return table if wanted is None else table.filter(pa.array(among(hashes(read["ids"]), wanted)))


def among(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> Flags:
    """Which keys are in the sorted array `wanted`."""
    if not len(wanted):
        return np.zeros(len(keys), dtype=bool)
    return np.asarray(wanted[np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)] == keys)
