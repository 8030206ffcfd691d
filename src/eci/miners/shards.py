"""Candidates of some queries on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from eci.atomic import atomic_path, remove
from eci.errors import OutputError
from eci.ragged import Ragged
from eci.task import Ranking, RetrievalTask, Written
from eci.types import Integers

# Rows of a table that are digested at a time.
_DIGESTED = 1 << 14
# What a killed run may have been about to write, too.
_OURS = re.compile(r"(job\.json|\d{9}\.(arrow|tmp))|\..*\.tmp")
_WRITTEN = pa.struct([("id", pa.string()), ("text", pa.string()), ("record", pa.string())])


def save(path: Path, ranking: Ranking, positives: Ragged) -> None:
    """Write the finds of R queries and the scores of their positives, R rows or none; all or nothing."""
    texts = [
        {"id": each.id, "text": each.text, "record": orjson.dumps(dict(each.record)).decode()}
        for each in ranking.written
    ]
    table = {
        "documents": pa.array(ranking.documents.values),
        "offsets": pa.array(ranking.documents.offsets),
        "ranks": pa.array(ranking.ranks),
        "scores": pa.array(ranking.scores),
        "positives": pa.array(positives.values, pa.float64()),
        "positive_offsets": pa.array(positives.offsets),
        "written": pa.array(texts, _WRITTEN),
    }
    columns = [pa.ListArray.from_arrays([0, len(column)], column) for column in table.values()]
    batch = pa.RecordBatch.from_arrays(columns, list(table)).replace_schema_metadata(
        {"scorer": ranking.scorer}
    )
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as handle,
        pa.ipc.new_file(handle, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def load(path: Path) -> tuple[Ranking, Ragged]:
    """What `save` wrote."""
    with pa.memory_map(str(path)) as handle, pa.ipc.open_file(handle) as reader:
        batch = reader.get_batch(0)
        columns = {name: batch.column(name).flatten() for name in batch.schema.names}
        arrays = {name: np.array(column) for name, column in columns.items() if name != "written"}
        written = tuple(
            Written(each["id"], each["text"], orjson.loads(each["record"]))
            for each in columns["written"].to_pylist()
        )
        scorer = batch.schema.metadata[b"scorer"].decode()
    documents = Ragged(_whole(arrays["documents"]), _whole(arrays["offsets"]))
    ranking = Ranking(documents, _whole(arrays["ranks"]), arrays["scores"], scorer, written)
    return ranking, Ragged(arrays["positives"], _whole(arrays["positive_offsets"]))


def _whole(array: Integers) -> Integers:
    return np.asarray(array, dtype=np.int64)


def prepare(folder: Path, decided_by: Mapping[str, Any]) -> None:
    """Have no shards of another job in a folder: they stay if all that decided them is the same.

    Raises
    ------
    OutputError
        The folder holds something else.
    """
    told = json.dumps(decided_by, sort_keys=True, default=str)
    mark = folder / "job.json"
    strange = [path.name for path in folder.iterdir() if not _OURS.fullmatch(path.name)]
    if strange:
        raise OutputError(f"{folder}: is for work of eci, and holds {min(strange)}. Move that away first.")
    if not mark.is_file() or mark.read_text(encoding="utf-8") != told:
        for shard in folder.iterdir():
            remove(shard)
        with atomic_path(mark) as temporary:
            temporary.write_text(told, encoding="utf-8")


def digest(task: RetrievalTask) -> str:
    """Of everything in a task that decides what is mined."""
    digest = hashlib.blake2b(digest_size=16)
    corpus = task.corpus
    for table in (
        pa.table([task.query_ids, task.queries], ["ids", "texts"]),
        pa.table([corpus.ids, corpus.titles, corpus.texts], ["ids", "titles", "texts"]),
    ):
        for batch in table.to_batches(max_chunksize=_DIGESTED):
            digest.update(batch.serialize())
    for rows in (task.positives, task.known):
        digest.update(rows.values.tobytes() + rows.offsets.tobytes())
    return digest.hexdigest()
