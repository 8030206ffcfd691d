"""What trainers cannot take: left out and counted, or told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from eci.datasets.columns import Documents, lengths_of
from eci.datasets.outgoing import NEGATIVES_PER_ROW, Outgoing
from eci.examples import NEGATIVE

_TEVATRON = ("tevatron", "tevatron-ids")
# Their loaders fail on a row without negatives.
NEEDY = ("flagembedding", *_TEVATRON)
_LOADERS = {"flagembedding": "FlagEmbedding", "tevatron": "Tevatron"}


def cut(batch: pa.RecordBatch, layout: str, negatives: int | None, losses: Counter[str]) -> pa.RecordBatch:
    """The rows that a layout can train on, each with as many negatives as asked for.

    Parameters
    ----------
    batch : RecordBatch
        Canonical rows, one a query.
    layout : str
        Rows without negatives are left out where the layout's own loader fails on them.
    negatives : int, optional
        Every row gets its first so many; rows with fewer are left out.
    losses : Counter
        Counts what is left out.
    """
    column = batch.column("negatives")
    lengths = lengths_of(column)
    least = negatives or int(layout in NEEDY)
    short = int((lengths < least).sum())
    if short:
        losses[
            "queries without negatives" if least == 1 else f"queries with fewer than {least} negatives"
        ] += short
        batch = batch.filter(pa.array(lengths >= least))
    if negatives is None or lengths.max(initial=0) <= negatives:
        return batch
    found = Documents.of(batch.column("negatives"))
    first = np.arange(len(found)) - found.starts[found.rows] < negatives
    losses[f"negatives after the first {negatives} of their query"] += int((~first).sum())
    place = batch.schema.get_field_index("negatives")
    return batch.set_column(place, "negatives", found.keep(first).records(NEGATIVE))


def unscored(out: Outgoing) -> Outgoing:
    """The rows without scores, which are counted as lost."""
    sides = []
    for side in (out.positives, out.negatives):
        scores = side.fields["score"]
        out.lose("score", len(scores) - scores.null_count)
        sides.append(replace(side, fields={**side.fields, "score": pa.nulls(len(scores), scores.type)}))
    return replace(out, positives=sides[0], negatives=sides[1])


def told(layout: str, rows: int, filled: Mapping[str, int], notes: Counter[str]) -> list[str]:
    """Notes for the reader of the summary.

    Parameters
    ----------
    layout : str
    rows : int
        Rows written.
    filled : mapping of str to int
        Of each column, the rows that have a value.
    notes : Counter
        What exporters noted: words with ``{}`` for their number, and rows by number of negatives.
    """
    lengths = {int(k.split()[1]): n for k, n in notes.items() if k.startswith(NEGATIVES_PER_ROW)}
    found = [words.format(f"{n:,}") for words, n in notes.items() if not words.startswith(NEGATIVES_PER_ROW)]
    some = [f"{name} ({n:,})" for name, n in filled.items() if 0 < n < rows]
    if some and layout in _LOADERS:
        found.append(
            f"keys that only some of {rows:,} rows have: {', '.join(some)}; {_LOADERS[layout]}'s loader "
            "wants a key in every row or in none"
        )
    if layout in ("triplet", "n-tuple") and filled.get("scores"):
        found.append(
            "column scores: labels for sentence-transformers 5.2 or later; before, it is trained on as text, "
            "so rename it to score"
        )
    if len(lengths) > 1:
        found.append(_short(layout, lengths))
    return found


def _short(layout: str, lengths: Mapping[int, int]) -> str:
    longest = max(lengths)
    short = sum(number for length, number in lengths.items() if length < longest)
    words = f"rows with fewer negatives than the longest ({longest}): {short:,}; "
    if layout in _TEVATRON:
        return words + "Tevatron's loader pads short lists by repetition"
    kept = {length: sum(n for other, n in lengths.items() if other >= length) for length in lengths}
    best = max(kept, key=lambda length: (length * kept[length], -length))
    rows = f"{kept[best]:,} of {sum(lengths.values()):,} rows"
    return (
        f"{words}they end in null, on which sentence-transformers fails, or before 5.4 trains on the word "
        f"None. For training give every row as many: eci convert --negatives {best} keeps {rows}; or write "
        "triplet, which has no gaps"
    )
