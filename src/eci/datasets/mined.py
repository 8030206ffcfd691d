"""What a miner found, as canonical rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from eci.datasets.columns import Documents, dumped, repeated, untitled
from eci.examples import NEGATIVE, POSITIVE, ROWS
from eci.ragged import Ragged
from eci.task import Corpus, Ranking, RetrievalTask, Written
from eci.types import Integers


def mined_rows(
    task: RetrievalTask,
    queries: Integers,
    ranking: Ranking,
    source: str,
    positive_scores: Ragged | None = None,
) -> pa.RecordBatch:
    """One row per query: its positives, and what was found for it.

    Parameters
    ----------
    task : RetrievalTask
    queries : ndarray of shape (R,)
        Indices into the queries of the task.
    ranking : Ranking
        Of R rows, in the order of `queries`.
    source : str
        The label of the negatives.
    positive_scores : Ragged of R rows, optional
        Scores of the positives of each query, by who scored the ranking; NaN for none.

    Returns
    -------
    RecordBatch
        With the schema ``examples.ROWS``. Written negatives have how they were made in ``extra``.
        The texts of a call must stay below 2 GiB, so ask for some thousand queries at a time.
    """
    chosen = pa.array(queries)
    positives = task.positives.take(queries)
    known = _texts(task.corpus, positives.values)
    if positive_scores is not None:
        known["score"] = pa.array(positive_scores.values, pa.float64(), from_pandas=True)
    found, size = ranking.documents, len(ranking.documents.values)
    negatives = {
        **_found_texts(task.corpus, found.values, ranking.written),
        "source": repeated(source, size),
        "rank": pa.array(ranking.ranks),
        "score": pa.array(ranking.scores, pa.float64(), from_pandas=True),
        "scorer": repeated(ranking.scorer, size),
    }
    arrays = [
        task.query_ids.take(chosen).cast(pa.string()),
        task.queries.take(chosen).cast(pa.string()),
        Documents(positives.lengths, known).records(POSITIVE),
        Documents(found.lengths, negatives).records(NEGATIVE),
        pa.nulls(len(chosen), pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=ROWS)


def _texts(corpus: Corpus, places: Integers) -> dict[str, pa.Array]:
    taken = corpus.take(places)
    return {"id": taken.ids, "title": untitled(taken.titles), "text": taken.texts}


def _found_texts(corpus: Corpus, places: Integers, written: tuple[Written, ...]) -> dict[str, pa.Array]:
    """Texts of the corpus, and in between those that lie in no corpus."""
    outside = places >= len(corpus)
    held = _texts(corpus, places[~outside])
    if not outside.any():
        return held
    made = _made([written[place] for place in (places[outside] - len(corpus)).tolist()])
    held["extra"] = pa.nulls(len(held["text"]), pa.string())
    # Where each entry stands when the texts of the corpus come first and the written ones after them.
    at = np.argsort(np.argsort(outside, kind="stable"), kind="stable")
    return {
        name: pa.concat_arrays([column.cast(pa.string()), made[name]]).take(pa.array(at))
        for name, column in held.items()
    }


def _made(negatives: list[Written]) -> dict[str, pa.Array]:
    records = [dict(each.record) for each in negatives]
    titles = [record.pop("title", None) for record in records]
    return {
        "id": pa.array([each.id for each in negatives], pa.string()),
        "title": untitled(pa.array(titles, pa.string())),
        "text": pa.array([each.text for each in negatives], pa.string()),
        "extra": dumped(records),
    }
