"""The rows behind a result: every scored query with its documents, similarities and flags, as Parquet.

Queries stand in the order in which they are drawn, so the first of them are a random sample, whoever reads.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eci.directions import drawn_order
from eci.embedding import encode
from eci.errors import DataError, OutputError
from eci.examples import Examples
from eci.ragged import Ragged
from eci.results import ScoreResult
from eci.similarity import own_documents
from eci.types import Encoder, Flags, Floats, Integers, Progress, silent

# As `eci audit` names them; the page has room for what needs no second look at the data.
FLAGS = {
    "above_positive": "at least as near to the query as its nearest positive",
    "above_95": "at least as near to the query as 95 % of its nearest positive's cosine",
    "identical_to_positive": "the text of a positive of its query, but for case and white space",
    "duplicate_in_row": "its query has it before, from the same source",
    "empty": "has no text",
}
ROWS = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("positives", pa.list_(pa.struct([("text", pa.string()), ("similarity", pa.float32())]))),
        (
            "negatives",
            pa.list_(
                pa.struct(
                    [
                        ("source", pa.string()),
                        ("text", pa.string()),
                        ("similarity", pa.float32()),
                        *((flag, pa.bool_()) for flag in FLAGS),
                    ]
                )
            ),
        ),
    ]
)
# Queries whose texts and vectors are in memory at a time.
_BLOCK = 512
# A text that many queries have for a negative is written once a block, not once a query.
_MOST_DISTINCT = 64 << 20
_TEXTS = ("positives.list.element.text", "negatives.list.element.text", "negatives.list.element.source")
_KEY = b"eci.score"
_AGAIN = "Write it again with: eci score ROWS --report page.html"


@dataclass(frozen=True)
class Sample:
    """The first queries of the rows behind a result.

    Parameters
    ----------
    labels, queries : tuple of B str
    documents : tuple of D str
        Unique texts.
    positives, negatives : Ragged of B rows
        Indices into `documents`.
    nearness : ndarray of shape (m,)
        Cosine of each positive with its query.
    similarity : ndarray of shape (n,)
        Cosine of each negative with its query.
    sources : tuple of S str
    source : ndarray of shape (n,)
        Index into `sources`.
    flags : ndarray of shape (n, len(FLAGS)), bool
    total : int
        Queries in the file.
    """

    labels: tuple[str, ...]
    queries: tuple[str, ...]
    documents: tuple[str, ...]
    positives: Ragged
    nearness: Floats
    negatives: Ragged
    similarity: Floats
    sources: tuple[str, ...]
    source: Integers
    flags: Flags
    total: int

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def best(self) -> Floats:
        """Cosine of each query's most similar positive, of shape (B,)."""
        return self.positives.with_values(self.nearness).maxima()

    def of(self, source: str) -> Ragged:
        """Cosines of the negatives of one source, B rows; empty ones where it has none, or is unknown."""
        mine = self.source == (self.sources.index(source) if source in self.sources else -1)
        return self.negatives.with_values(self.similarity).keep(mine)


def keep(
    examples: Examples, encoder: Encoder, result: ScoreResult, path: Path, progress: Progress = silent
) -> None:
    """Write the rows that a result was made of.

    Parameters
    ----------
    examples : Examples
        As they were scored, but for the limit to a fixed N.
    encoder : Encoder
        Best one with a cache that has seen the texts.
    result : ScoreResult
    path : Path
        A Parquet file.
    progress : Progress
    """
    settings = result.settings
    if settings["fixed_n"] is not None:
        examples = examples.limited(settings["fixed_n"], settings["fixed_n_by"], settings["seed"])
    order = drawn_order(examples.keys, settings["seed"])[: settings["queries_scored"]]
    schema = ROWS.with_metadata({_KEY: identity(result).encode()})
    same = examples.identical()
    made = {"compression": "zstd", "dictionary_pagesize_limit": _MOST_DISTINCT}
    with pq.ParquetWriter(path, schema, **made) as out:
        for start in range(0, len(order), _BLOCK):
            progress("keeping rows", start, len(order))
            out.write_batch(_block(examples, encoder, order[start : start + _BLOCK], same))
    progress("keeping rows", len(order), len(order))


def read_sample(path: Path, most: int, result: ScoreResult) -> Sample:
    """The first `most` queries of what `keep` wrote for this result.

    Raises
    ------
    DataError
        The file is none that `keep` writes, or belongs to another result.
    """
    try:
        found = pq.read_schema(path)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no Parquet file that can be read ({_first_line(error)}).") from error
    known = (found.metadata or {}).get(_KEY)
    if known is None or not found.equals(ROWS):
        raise DataError(
            f"{path}: holds no rows of a report. 'eci score … --report page.html' writes them to "
            "page.rows.parquet."
        )
    if known.decode() != identity(result):
        raise DataError(
            f"{path}: these rows belong to another result. Give the file that was written beside the "
            "page in the run that wrote this result."
        )
    try:
        with pq.ParquetFile(path, read_dictionary=_TEXTS) as file:
            total = file.metadata.num_rows
            groups, had = [], 0
            for group in range(file.metadata.num_row_groups):
                if had < most:
                    groups.append(file.read_row_group(group))
                    had += len(groups[-1])
            sample = _sample(groups, min(most, total), total)
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(f"{path}: is damaged ({_first_line(error)}). {_AGAIN}") from error
    strange = set(sample.sources).difference(entry.source for entry in result.sources)
    if strange or None in (*sample.labels, *sample.queries, *sample.documents):
        raise DataError(f"{path}: is damaged (sources or texts that are none of the result's). {_AGAIN}")
    return sample


def refuse(path: Path) -> None:
    """Raise an `OutputError` where something stands that `keep` did not write: nobody typed this name.

    Parameters
    ----------
    path : Path
        Where rows are to be written.
    """
    if path.is_dir():
        raise OutputError(
            f"{path}: is a folder, and the rows of the page are to stand there. Name another page."
        )
    if path.exists():
        try:
            own = _KEY in (pq.read_schema(path).metadata or {})
        except (OSError, pa.ArrowException, UnicodeDecodeError):
            own = False
        if not own:
            raise OutputError(
                f"{path}: is no file of eci, and the rows of the page are to stand there. Move it, or name "
                "another page."
            )


def identity(result: ScoreResult) -> str:
    """A digest of a result whatever command asked for it, 32 hexadecimal digits."""
    told = result.to_dict()
    told["settings"].pop("command", None)
    text = json.dumps(told, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _block(examples: Examples, encoder: Encoder, queries: Integers, same: Flags) -> pa.RecordBatch:
    places = examples.negatives.with_values(np.arange(len(examples.source))).take(queries)
    positives = examples.positives.take(queries)
    negatives = places.with_values(examples.negatives.values[places.values])
    used, numbers = np.unique(np.concatenate([positives.values, negatives.values]), return_inverse=True)
    texts = [examples.documents[number] for number in used.tolist()]
    positives = positives.with_values(numbers[: len(positives.values)])
    negatives = negatives.with_values(numbers[len(positives.values) :])
    asked = encode(encoder, [examples.queries[number] for number in queries.tolist()], "query")
    documents = encode(encoder, texts, "document")
    near = own_documents(asked, documents, positives)
    similarity = own_documents(asked, documents, negatives)
    source = examples.source[places.values]
    found = {
        **_flags(texts, negatives, source, near.maxima()[negatives.rows], similarity.values),
        "identical_to_positive": same[places.values],
    }
    column = pa.array(texts, pa.string())
    labels = pa.array(examples.sources, pa.string())
    kinds = [ROWS.field(name).type.value_type for name in ("positives", "negatives")]
    return pa.RecordBatch.from_arrays(
        [
            pa.array([examples.labels[number] for number in queries.tolist()], pa.string()),
            pa.array([examples.queries[number] for number in queries.tolist()], pa.string()),
            _lists(positives, kinds[0], column.take(pa.array(positives.values)), near.values),
            _lists(
                negatives,
                kinds[1],
                labels.take(pa.array(source)),
                column.take(pa.array(negatives.values)),
                similarity.values,
                *(found[flag] for flag in FLAGS),
            ),
        ],
        schema=ROWS,
    )


def _lists(rows: Ragged, kind: pa.DataType, *columns: Any) -> pa.ListArray:
    arrays = [pa.array(column, field.type) for column, field in zip(columns, kind, strict=True)]
    return pa.ListArray.from_arrays(
        pa.array(rows.offsets, pa.int32()), pa.StructArray.from_arrays(arrays, fields=list(kind))
    )


def _flags(
    texts: list[str], negatives: Ragged, source: Integers, best: Floats, similarity: Floats
) -> dict[str, Flags]:
    """Those of `FLAGS` that a block of rows can tell, for each negative, of shape (n,)."""
    lists = (negatives.rows * (int(source.max(initial=0)) + 1) + source) * len(texts) + negatives.values
    again = np.ones(len(lists), dtype=np.bool_)
    again[np.unique(lists, return_index=True)[1]] = False
    empty = np.array([not text.strip() for text in texts], dtype=np.bool_)
    return {
        "above_positive": similarity >= best,
        # Right for negative cosines too, as `violation_rate_95` has it.
        "above_95": similarity >= best - 0.05 * np.abs(best),
        "duplicate_in_row": again,
        "empty": empty[negatives.values],
    }


def _sample(groups: list[pa.Table], size: int, total: int) -> Sample:
    """The first `size` rows of row groups, in each of which Arrow has numbered the texts."""
    table = (pa.concat_tables(groups) if groups else ROWS.empty_table())[:size].unify_dictionaries()
    sides = [table.column(name).combine_chunks() for name in ("positives", "negatives")]
    entries = [side.flatten() for side in sides]
    texts, split = _numbered([entry.field("text") for entry in entries]), len(entries[0])
    labels, numbers = _numbered([entries[1].field("source")])
    # The dictionary is that of whole row groups.
    held, source = np.unique(numbers, return_inverse=True)
    return Sample(
        labels=tuple(table.column("query_id").to_pylist()),
        queries=tuple(table.column("query").to_pylist()),
        documents=texts[0],
        positives=Ragged.from_lengths(texts[1][:split], sides[0].value_lengths().to_numpy()),
        nearness=entries[0].field("similarity").to_numpy(),
        negatives=Ragged.from_lengths(texts[1][split:], sides[1].value_lengths().to_numpy()),
        similarity=entries[1].field("similarity").to_numpy(),
        sources=tuple(labels[number] for number in held.tolist()),
        source=source,
        flags=np.stack(
            [entries[1].field(flag).to_numpy(zero_copy_only=False).astype(np.bool_) for flag in FLAGS], axis=1
        ),
        total=total,
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _numbered(columns: list[pa.DictionaryArray]) -> tuple[tuple[str, ...], Integers]:
    """The distinct texts of columns, and the number of each entry's text."""
    joined = pa.chunked_array(columns).unify_dictionaries().combine_chunks()
    # Of one chunk and of several Arrow makes different kinds of arrays.
    array = joined if isinstance(joined, pa.DictionaryArray) else joined.chunk(0)
    return tuple(array.dictionary.to_pylist()), array.indices.to_numpy(zero_copy_only=False).astype(np.int64)
