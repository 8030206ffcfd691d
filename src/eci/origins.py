"""Which sources of some examples can be told apart by where their negatives come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from eci.embedding import Embedded
from eci.examples import Examples
from eci.metrics.contrast import Contrast
from eci.metrics.shortcut import compare
from eci.similarity import own_documents
from eci.types import Integers, Progress, silent


def shortcuts(
    examples: Examples, embedded: Embedded, groups: Integers, seed: int, progress: Progress = silent
) -> Iterator[dict[str, Any]]:
    """``metrics.shortcut.compare`` of each two sources, over the queries that are embedded.

    A source "a+b" of which "a" and "b" are sources too is compared by its parts alone.

    Parameters
    ----------
    examples : Examples
    embedded : Embedded
    groups : ndarray of shape (Q,)
        Jackknife group of each query.
    seed : int
    progress : Progress

    Yields
    ------
    dict
        ``first`` and ``second``, two sources, and the fields of a ``Shortcut``.
    """
    pairs = list(combinations(_alone(examples.sources), 2))
    if not pairs:
        return
    queries = np.flatnonzero(embedded.has_query)
    rows = examples.negatives.take(queries)
    places = examples.negatives.with_values(np.arange(len(examples.source))).take(queries).values
    source = examples.source[places]
    similarity = own_documents(embedded.queries[queries], embedded.documents, rows).values
    order = np.array([int.from_bytes(key[:8], "big") for key in examples.keys], dtype=np.uint64)[queries]
    for done, (first, second) in enumerate(pairs):
        progress("comparing sources two by two", done, len(pairs))
        own = np.flatnonzero((source == first) | (source == second))
        contrast = Contrast(
            query=rows.rows[own],
            second=source[own] == second,
            document=rows.values[own],
            similarity=similarity[own],
            groups=groups[queries],
            order=order,
        )
        found = compare(contrast, embedded.documents, examples.documents, seed=seed)
        yield {"first": examples.sources[first], "second": examples.sources[second], **asdict(found)}
    progress("comparing sources two by two", len(pairs), len(pairs))


def _alone(sources: tuple[str, ...]) -> list[int]:
    """The sources that are not joined out of others."""
    return [
        number
        for number, label in enumerate(sources)
        if "+" not in label or not set(label.split("+")) <= set(sources)
    ]
