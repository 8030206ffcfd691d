"""Vectors that were computed elsewhere: matrices on disk, read row by row as texts are asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eci.errors import EncoderError
from eci.examples import joined, shorten
from eci.seen import Seen
from eci.spilled import TILE
from eci.types import Integers, Role, Vectors

_FILES: dict[Role, str] = {"query": "queries", "document": "corpus"}
_KINDS = (".npy", ".safetensors")
# Of the tensors of a safetensors file; numpy has no bfloat16, whose 16 bits are the upper ones of a float32.
_TENSORS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# As the library of safetensors has it.
_MOST_HEADER = 100_000_000


class PrecomputedEncoder:
    """Looks vectors up by text.

    A folder holds ``corpus.parquet`` with a column ``text``, maybe ``title``, and ``corpus.npy`` or
    ``corpus.safetensors`` with as many rows, the vectors in the same order; and so ``queries``. Matrices are
    float32, float16 or, in safetensors, bfloat16, and are not read into memory.

    Parameters
    ----------
    name : str
    tables : dict of role to Table
    """

    def __init__(self, name: str, tables: dict[Role, Table]) -> None:
        self._name, self._tables = name, tables

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        # Hashes of texts are those of one process: another one opens the folder itself.
        return PrecomputedEncoder.load, (str(self._tables["document"].path.parent.absolute()),)

    @staticmethod
    def is_folder(name: str) -> bool:
        """Whether a name is that of a folder of vectors."""
        folder = Path(name)
        return any((folder / f"{file}{kind}").is_file() for file in _FILES.values() for kind in _KINDS)

    @classmethod
    def load(cls, name: str) -> PrecomputedEncoder:
        """Open the matrices of a folder, and number their texts.

        Raises
        ------
        EncoderError
            A file is missing, or is none that can be read, or there are not as many vectors as texts.
        """
        return cls(Path(name).resolve().name, {role: Table.load(Path(name), role) for role in _FILES})

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, of shape (n, d), float32."""
        return self._tables["query"].of(texts)

    def encode_document(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents, of shape (n, d), float32."""
        return self._tables["document"].of(texts)

    def describe(self) -> dict[str, Any]:
        """What a result stores of the vectors."""
        tables = self._tables
        return {
            "name": self._name,
            "dimension": int(tables["document"].matrix.shape[1]),
            "precision": "/".join(sorted({table.precision for table in tables.values()})),
            "vectors": {_FILES[role]: len(table.matrix) for role, table in tables.items()},
            "vectors_blake2b": {_FILES[role]: table.digest for role, table in tables.items()},
        }


@dataclass(frozen=True)
class Table:
    """Vectors of texts.

    Parameters
    ----------
    path : Path
    matrix : ndarray of shape (n, d)
    precision : str
    rows : Seen
        The row of each text, by its hash.
    digest : str
        Of the file of the matrix.
    """

    path: Path
    matrix: NDArray[Any]
    precision: str
    rows: Seen
    digest: str

    @classmethod
    def load(cls, folder: Path, role: Role) -> Table:
        """The vectors of one side of a folder."""
        found = [path for kind in _KINDS if (path := folder / f"{_FILES[role]}{kind}").is_file()]
        if len(found) != 1:
            raise EncoderError(
                f"{folder}: holds {len(found)} files of the vectors of {_FILES[role]}. Put one there: "
                f"{_FILES[role]}.npy or {_FILES[role]}.safetensors, one row for each row of "
                f"{_FILES[role]}.parquet."
            )
        path = found[0]
        matrix, precision = _opened(path)
        texts, rows = _rows(folder / f"{_FILES[role]}.parquet")
        if texts != len(matrix):
            raise EncoderError(
                f"{path}: has {len(matrix):,} vectors for the {texts:,} texts of {_FILES[role]}.parquet. "
                "Give each text one, in the same order."
            )
        return cls(path, matrix, precision, rows, _digest(path))

    def of(self, texts: Sequence[str]) -> Vectors:
        """Vectors of n texts, of shape (n, d), float32.

        Raises
        ------
        EncoderError
            A text has none; the message names it.
        """
        asked = np.fromiter(map(hash, texts), np.int64, len(texts))
        known, rows = self.rows.find(asked)
        lost = np.flatnonzero(~known)
        if len(lost):
            raise EncoderError(
                f"{self.path}: has no vector for {len(lost):,} of {len(asked):,} texts, first for "
                f"{shorten(texts[lost[0]])!r}. Texts are looked up as they are, title and text joined by a "
                "space: compute those that are missing, too."
            )
        chosen = self.matrix[rows]
        if self.precision == "bfloat16":
            return (chosen.astype(np.uint32) << 16).view(np.float32)
        return chosen.astype(np.float32, copy=False)


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _opened(path: Path) -> tuple[NDArray[Any], str]:
    """A matrix on disk, and its precision."""
    try:
        if path.suffix == ".npy":
            matrix: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
            precision = str(matrix.dtype)
        else:
            matrix, precision = _tensor(path)
    except Exception as error:  # NumPy reads a head as Python, which fails in many ways
        raise EncoderError(
            f"{path}: is no matrix that can be read ({_first_line(error)}). Write it again."
        ) from error
    if matrix.ndim != 2 or precision not in ("float32", "float16", "bfloat16"):
        raise EncoderError(
            f"{path}: holds {precision} of shape {matrix.shape}. Expected float32, float16 or, in "
            "safetensors, bfloat16, with a row for each text."
        )
    return matrix, precision


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _tensor(path: Path) -> tuple[NDArray[Any], str]:
    """The only tensor of a safetensors file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= min(_MOST_HEADER, path.stat().st_size - 8):
            raise ValueError("it has no header")
        header = json.loads(file.read(size))
    tensors = {name: told for name, told in header.items() if name != "__metadata__"}
    if len(tensors) != 1:
        raise ValueError(f"it holds {len(tensors)} tensors, expected one")
    ((_, told),) = tensors.items()
    if told["dtype"] not in _TENSORS:
        raise ValueError(f"its tensor is {told['dtype']}")
    first, shape = told["data_offsets"][0], tuple(told["shape"])
    if first < 0 or min(shape, default=0) < 0:
        raise ValueError("its header counts below 0")
    start = 8 + size + int(first)
    matrix = np.memmap(path, _TENSORS[told["dtype"]], "r", start, shape)
    return matrix, {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[told["dtype"]]


def _rows(path: Path) -> tuple[int, Seen]:
    """How many texts a Parquet file has, and the row of each; the first, of a text that is there twice."""
    rows, waiting, number = Seen(), list[Integers](), 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            columns = [name for name in ("title", "text") if name in file.schema_arrow.names]
            if "text" not in columns:
                raise EncoderError(f"{path}: has no column 'text'. Put the texts of the vectors there.")
            for batch in file.iter_batches(columns=columns):
                text = batch.column("text").cast(pa.string())
                if "title" in columns:
                    title = batch.column("title").cast(pa.string())
                    text = joined(pc.if_else(pc.equal(title, ""), None, title), text)
                waiting.append(np.fromiter(map(hash, text.to_pylist()), np.int64, len(text)))
                if sum(map(len, waiting)) >= TILE:
                    number, waiting = _number(rows, waiting, number), []
    except FileNotFoundError as error:
        raise EncoderError(f"{path}: is missing. It tells which text each vector is of.") from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise EncoderError(
            f"{path}: is no Parquet file that can be read ({_first_line(error)}). Write it again."
        ) from error
    return _number(rows, waiting, number), rows


def _number(rows: Seen, keys: list[Integers], start: int) -> int:
    """Number hashes of texts from `start` on; gives the next number."""
    end = start + sum(map(len, keys))
    if end > start:
        rows.add(np.concatenate(keys), np.arange(start, end))
    return end
