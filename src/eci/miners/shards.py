"""Candidates of some queries on disk, so that a killed run goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from eci.atomic import atomic_path
from eci.ragged import Ragged
from eci.task import Ranking, Written
from eci.types import Integers

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
