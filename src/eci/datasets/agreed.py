"""Scores of positives on which all parts of a query agree."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from eci.datasets.columns import Documents
from eci.datasets.identity import codes, hashes, keys_of
from eci.ragged import Ragged, rising
from eci.task import text_digests
from eci.types import Floats, Integers


def agreed(rows: pa.RecordBatch, merged: pa.RecordBatch) -> pa.ListArray:
    """What rows say of the scores of positives.

    Parameters
    ----------
    rows : RecordBatch
        All rows of some queries, as they are in the inputs.
    merged : RecordBatch
        What `grouping.merge_rows` made of them.

    Returns
    -------
    ListArray of float64
        Of each positive of `merged` the score that every part of its query gives, a part being a source with
        negatives there: NaN where one gives none or another, null where no row has any. Rows without
        negatives may contradict, but stand for no part.
    """
    positives = Documents.of(merged.column("positives"))
    score = np.full(len(positives), np.nan)
    none = np.ones(len(positives), dtype=np.bool_)
    keys, said, parts = _said(rows)
    if len(keys):
        asked = _keys(merged, positives, np.arange(len(positives)))
        at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        none = keys[at] != asked
        complete = parts[at] == _sources(merged).lengths[positives.rows]
        score = np.where(complete, said[at], np.nan)
    offsets = np.concatenate([[0], np.cumsum(positives.lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(score, mask=none))


def _said(rows: pa.RecordBatch) -> tuple[Integers, Floats, Integers]:
    """Positives with a score: rising keys, the score or NaN where rows differ, how many parts give it."""
    positives = Documents.of(rows.column("positives"))
    given = positives.fields["score"]
    scored = np.flatnonzero(np.asarray(given.is_valid()))
    if not len(scored):
        return np.empty(0, dtype=np.int64), np.empty(0), np.empty(0, dtype=np.int64)
    score = np.asarray(given.take(pa.array(scored)))
    distinct, key = np.unique(_keys(rows, positives, scored), return_inverse=True)
    least, most = np.full(len(distinct), np.inf), np.full(len(distinct), -np.inf)
    np.minimum.at(least, key, score)
    np.maximum.at(most, key, score)
    own = _sources(rows).take(positives.rows[scored])
    width = 1 + int(own.values.max(initial=0))
    parts = np.bincount(rising(key[own.rows] * width + own.values) // width, minlength=len(distinct))
    return distinct, np.where(least == most, least, np.nan), parts


def _sources(batch: pa.RecordBatch) -> Ragged:
    """Numbers of the distinct sources of each row's negatives."""
    negatives = Documents.of(batch.column("negatives"))
    source = codes(negatives.fields["source"])
    width = 1 + int(source.max(initial=0))
    row, number = np.divmod(rising(negatives.rows * width + source), width)
    return Ragged.from_lengths(number, np.bincount(row, minlength=len(batch)))


def _keys(batch: pa.RecordBatch, positives: Documents, at: Integers) -> Integers:
    """Hashes of query and text for the positives at the given places, the same within one run only."""
    texts = text_digests(None, positives.shown.take(pa.array(at)))
    with np.errstate(over="ignore"):
        return texts + hashes(keys_of(batch))[positives.rows[at]] * np.int64(0x5851F42D4C957F2D)
