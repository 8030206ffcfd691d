"""Rows of any layout as canonical Arrow record batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eci.datasets import beir, hub
from eci.datasets.collection import Collection, beside
from eci.datasets.conversion import Identities, bound, converted
from eci.datasets.files import Input, nemo_corpora, open_file, open_folder, read_objects, tables
from eci.datasets.layouts import BEIR, Layout
from eci.datasets.parts import Context
from eci.datasets.rows import Journal, ReadOptions, Rows
from eci.errors import DataError, LayoutError

_KINDS = ("corpus", "queries")


def read(paths: Sequence[str | Path], options: ReadOptions = ReadOptions()) -> Rows:  # noqa: B008
    """Rows of files and folders in any layout.

    Parameters
    ----------
    paths : sequence of str or Path
        Files, folders and hub names (``hf://owner/name/config/split``) of one layout; or a BEIR folder
        followed by TREC runs.
    options : ReadOptions
        What is not to be detected.

    Returns
    -------
    Rows
        An iterable of record batches with the schema ``examples.ROWS``. Rows of flat layouts are not
        grouped by query yet; see ``grouping.merge_rows``.

    Raises
    ------
    DataError
        A file cannot be read as what it claims to be; the message names file, line and what to do.
    LayoutError
        The layout is unknown, ambiguous or mixed.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "bm25.jsonl"
    >>> _ = path.write_text('{"query": "q", "pos": ["right"], "neg": ["near", "far"]}')
    >>> rows = read([path])
    >>> rows.layout, [negative["source"] for batch in rows for negative in batch["negatives"][0].as_py()]
    ('flagembedding', ['bm25', 'bm25'])
    """
    if not paths:
        raise DataError("no files were given.")
    folder = None if hub.is_hub_name(paths[0]) else Path(paths[0])
    if folder is not None and folder.is_dir() and (options.layout == BEIR or beir.is_folder(folder)):
        if options.layout not in (None, BEIR):
            raise LayoutError(f"{folder}: is a BEIR collection, and no rows of layout '{options.layout}'.")
        return _read_beir([Path(path) for path in paths], options)
    if options.layout == BEIR:
        raise LayoutError(
            f"{paths[0]}: layout 'beir' starts with a folder that has corpus.jsonl, queries.jsonl and qrels/."
        )
    return _rows([_open(path, options) for path in paths], options)


def from_object(rows: object, options: ReadOptions = ReadOptions()) -> Rows:  # noqa: B008
    """Rows that are in memory already.

    Parameters
    ----------
    rows : object
        A ``datasets`` Dataset or IterableDataset, a pyarrow Table or RecordBatch, a polars or pandas
        DataFrame, or a list of dicts.
    options : ReadOptions
        As for ``read``; negatives without a source get ``sources[0]``, or ``rows``.
    """
    label = "rows"
    kind = type(rows).__module__.partition(".")[0]
    thing: Any = rows
    if kind == "datasets":
        return _rows([hub.dataset_input(thing, "", label)], options)
    if kind == "polars":
        thing = (thing.collect() if hasattr(thing, "collect") else thing).to_arrow()
    elif kind == "pandas":
        thing = pa.Table.from_pandas(thing, preserve_index=False)
    if isinstance(thing, (pa.Table, pa.RecordBatch)):
        table = pa.Table.from_batches([thing]) if isinstance(thing, pa.RecordBatch) else thing
        return _rows([Input("", label, lambda size: tables(iter(table.to_batches(size)), ""))], options)
    if isinstance(thing, (list, tuple)) and all(isinstance(row, Mapping) for row in thing):
        plain = [_plain(row) for row in thing]
        return _rows([Input("", label, lambda size: read_objects(plain, size))], options)
    raise DataError(
        f"rows cannot be read from {type(rows).__name__}. Give a datasets.Dataset, a pyarrow Table, a polars "
        "or pandas DataFrame, or a list of dicts."
    )


def _open(path: str | Path, options: ReadOptions) -> Input:
    if hub.is_hub_name(path):
        return hub.hub_input(str(path), options.split)
    where = Path(path)
    if not where.is_dir():
        return open_file(where)
    if hub.is_saved(where):
        return hub.saved_input(where, options.split)
    return open_folder(where)


def _read_beir(paths: list[Path], options: ReadOptions) -> Rows:
    found = beir.find(paths[0], paths[1:], options.split, options.corpus, options.queries)
    labels = _labels([""] * len(found.runs), options.sources)

    def batches(journal: Journal) -> Iterator[pa.RecordBatch]:
        yield from beir.rows(found, labels, options.batch_rows, journal.told)

    return Rows(BEIR, found.files, batches, 1)


def _rows(inputs: list[Input], options: ReadOptions) -> Rows:
    first = next(inputs[0].chunks(options.batch_rows), None)
    if first is None:
        raise DataError(f"{inputs[0].where or 'the input'}: has no rows.")
    layout, _ = bound(first, options.layout)
    labels = _labels([each.label for each in inputs], options.sources)
    if not options.sources and "source" not in layout.holds:
        _refuse_equal(labels)
    texts = [{kind: _text_files(each, kind, layout, options) for kind in _KINDS} for each in inputs]
    beside_rows = (path for own in texts for paths in own.values() for path in paths if path.is_file())
    files = list(dict.fromkeys([*(file for each in inputs for file in each.files), *beside_rows]))
    context = Context("", bool(options.sources), options.positive_score)
    loaded_texts = _Loaded()

    def batches(journal: Journal) -> Iterator[pa.RecordBatch]:
        seen = Identities(layout)
        for each, label, paths in zip(inputs, labels, texts, strict=True):
            journal.told += each.notes
            documents, queries = (loaded_texts[paths[kind]] if paths[kind] else None for kind in _KINDS)
            own = replace(context, label=label, documents=documents, queries=queries)
            empty = True
            for batch in converted(each, layout, own, options, journal):
                seen.check(batch)
                empty = False
                yield batch.rows
            if empty:
                raise DataError(f"{each.where or 'the input'}: has no rows.")

    def corpus() -> Collection | None:
        several = {own["corpus"] for own in texts}
        return loaded_texts[several.pop()] if len(several) == 1 and () not in several else None

    return Rows(layout.name, files, batches, len(inputs), corpus)


class _Loaded(dict[tuple[Path, ...], Collection]):
    """Collections by their files, read when first asked for; another process reads them again."""

    def __missing__(self, paths: tuple[Path, ...]) -> Collection:
        self[paths] = Collection.load(paths)
        return self[paths]

    def __reduce__(self) -> tuple[type[_Loaded], tuple[()]]:
        return _Loaded, ()


def _text_files(each: Input, kind: str, layout: Layout, options: ReadOptions) -> tuple[Path, ...]:
    """Where the texts are that the rows of an input name by id."""
    if kind not in layout.by_id:
        return ()
    given = options.corpus if kind == "corpus" else options.queries
    paths = (given,) if given else nemo_corpora(each.files) if layout.name == "nemo" else ()
    found = beside(each.folder, kind)
    paths = paths or ((found,) if found else ())
    if not paths:
        what = "documents" if kind == "corpus" else "queries"
        raise DataError(
            f"{each.where or 'the input'}: rows of layout '{layout.name}' name their {what} by id. Give the "
            f"texts with --{kind} FILE, or put {kind}.jsonl beside the rows."
        )
    return paths


def _refuse_equal(labels: list[str]) -> None:
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise DataError(
            f"two inputs would both be the source '{twice}'. Name them with --source, once per input in "
            "order; one --source for all makes them one source."
        )


def _labels(stems: list[str], sources: tuple[str, ...]) -> list[str]:
    if len(sources) in (0, 1):
        return list(sources) * len(stems) or stems
    if len(sources) != len(stems):
        raise DataError(
            f"{len(stems)} files and {len(sources)} source labels: give one for all, or one for each."
        )
    return list(sources)


def _plain(value: Any) -> Any:
    """Built-in types in the place of subclasses, tuples and numpy values, as rows in memory often hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, str):
        return str(value)
    return _plain(value.tolist()) if isinstance(value, (np.generic, np.ndarray)) else value
