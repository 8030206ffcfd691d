"""The rows that a page holds: figures of every sampled query, and texts of as many as there is room for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from eci.ragged import Ragged
from eci.report.data import visible
from eci.report.rows import FLAGS, Sample
from eci.report.sampled import per_query
from eci.results import ScoreResult
from eci.types import Floats, Integers

# Bytes of texts in the page, as they stand in it.
ROOM = 4_500_000
# Similarities are told as thousandths: a third of the characters.
_SCALE = 1000
_POSITIVES = 3
# What the numbers beside a document, and of a query and source, take in the page.
_BESIDE = 14
# Characters that `eci.report.render` writes as six.
_ESCAPED = "<>&"


@dataclass(frozen=True)
class Plan:
    """How much of a query is shown.

    Parameters
    ----------
    negatives : int
        The hardest of each source.
    characters : int
        Of each text.
    """

    negatives: int
    characters: int


_PLANS = (Plan(5, 600), Plan(3, 400), Plan(2, 300), Plan(1, 240), Plan(1, 160))


def explorer(result: ScoreResult, sample: Sample, room: int = ROOM) -> dict[str, Any]:
    """What the page needs to leaf through a sample.

    Parameters
    ----------
    result : ScoreResult
    sample : Sample
    room : int
        Bytes for texts. Fewer negatives, then less of each text, then fewer queries are shown until they fit.

    Returns
    -------
    dict
        ``sources`` in the order of the result; ``flags``, name and meaning; ``figures`` of all queries in
        thousandths; ``documents``, texts, or a text that was cut with its length; ``queries`` with id, text,
        positives as [document, cosine], and for each source 0 or
        [negatives, flags, [[document, cosine, flags], …]];
        ``held``, ``told``, ``total``: queries with figures, with texts too, and in the file.
    """
    order = [entry.source for entry in result.sources]
    ordered = _Ordered.of(sample)
    lengths = np.array([len(text) for text in sample.documents], dtype=np.int64)
    for plan in _PLANS:
        chosen = ordered.chosen(plan.negatives)
        shown = np.unique(sample.negatives.values[chosen.negatives.values])
        # What cannot fit need not be measured to the byte.
        if plan != _PLANS[-1] and np.minimum(lengths[shown], plan.characters).sum() > room:
            continue
        fitting = int(np.searchsorted(np.cumsum(_costs(sample, chosen, plan)), room, side="right"))
        if fitting == len(sample):
            break
    texts = _Texts(sample, plan.characters)
    return {
        "sources": [visible(source) for source in order],
        "flags": [[name, told] for name, told in FLAGS.items()],
        "figures": {
            "best": _thousandths(sample.best),
            **{
                name: [_thousandths(per_query(sample, source)[name]) for source in order]
                for name in ("hardest", "signal")
            },
        },
        "queries": _queries(sample, chosen, order, fitting, texts),
        "documents": texts.shown,
        "negatives": plan.negatives,
        "characters": plan.characters,
        "held": len(sample),
        "told": fitting,
        "total": sample.total,
    }


@dataclass(frozen=True)
class _Chosen:
    """Places of the positives and negatives that are shown, row by row."""

    positives: Ragged
    negatives: Ragged


@dataclass(frozen=True)
class _Ordered:
    """Places by row, source and falling similarity, and the rank of each within its row and source."""

    positives: tuple[Ragged, Integers]
    negatives: tuple[Ragged, Integers]

    @classmethod
    def of(cls, sample: Sample) -> _Ordered:
        one = np.zeros(len(sample.nearness), dtype=np.int64)
        return cls(
            _nearest(sample.positives, one, sample.nearness),
            _nearest(sample.negatives, sample.source, sample.similarity),
        )

    def chosen(self, most: int) -> _Chosen:
        """The nearest positives of each query, and the hardest negatives of each source."""
        (positives, place), (negatives, rank) = self.positives, self.negatives
        return _Chosen(positives.keep(place < _POSITIVES), negatives.keep(rank < most))


def _nearest(rows: Ragged, kind: Integers, similarity: Floats) -> tuple[Ragged, Integers]:
    order = np.lexsort((-similarity, kind, rows.rows))
    lists = rows.rows[order] * (int(kind.max(initial=0)) + 1) + kind[order]
    rank = Ragged.from_lengths(order, np.unique(lists, return_counts=True)[1]).within
    return rows.with_values(order), rank


def _costs(sample: Sample, chosen: _Chosen, plan: Plan) -> Integers:
    """Bytes that each query adds to the page, documents by the first query that shows them, of shape (B,)."""
    places = (
        (chosen.positives.rows, sample.positives.values[chosen.positives.values]),
        (chosen.negatives.rows, sample.negatives.values[chosen.negatives.values]),
    )
    rows = np.concatenate([side[0] for side in places])
    documents = np.concatenate([side[1] for side in places])
    first = np.full(len(sample.documents), len(sample), dtype=np.int64)
    np.minimum.at(first, documents, rows)
    shown = np.flatnonzero(first < len(sample))
    sizes = [size(sample.documents[number], plan.characters) for number in shown.tolist()]
    costs = np.bincount(first[shown], np.array(sizes, dtype=np.float64), minlength=len(sample))
    costs += _BESIDE * (np.bincount(rows, minlength=len(sample)) + len(sample.sources))
    costs += [
        size(label, plan.characters) + size(query, plan.characters)
        for label, query in zip(sample.labels, sample.queries, strict=True)
    ]
    return costs.astype(np.int64)


def size(text: str, characters: int) -> int:
    """Bytes that a text takes in the page when no more of it is shown."""
    shown = visible(text[:characters])
    written = len(json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace"))
    return written + 5 * sum(map(shown.count, _ESCAPED)) + 8


def cut(text: str, characters: int) -> str | list[str | int]:
    """A text; or what there is room for of it, and its length."""
    if len(text) <= characters:
        return visible(text)
    return [visible(text[:characters]), len(text)]


class _Texts:
    """Documents as the page holds them, numbered as they are asked for."""

    def __init__(self, sample: Sample, characters: int) -> None:
        self._documents, self._characters = sample.documents, characters
        self._numbers: dict[int, int] = {}
        self.shown: list[str | list[str | int]] = []

    def number(self, document: int) -> int:
        """Where in `shown` a document stands."""
        if document not in self._numbers:
            self._numbers[document] = len(self.shown)
            self.shown.append(self.cut(self._documents[document]))
        return self._numbers[document]

    def cut(self, text: str) -> str | list[str | int]:
        """A text, or as much of it as is shown of any."""
        return cut(text, self._characters)


def _queries(
    sample: Sample, chosen: _Chosen, order: list[str], fitting: int, texts: _Texts
) -> list[list[Any]]:
    """The first `fitting` queries with their texts."""
    bits = sample.flags.astype(np.int64) @ (1 << np.arange(len(FLAGS)))
    width = len(sample.sources)
    lists = sample.negatives.rows * width + sample.source
    counts = np.bincount(lists, minlength=len(sample) * width)
    united = np.zeros(len(sample) * width, dtype=np.int64)
    np.bitwise_or.at(united, lists, bits)
    columns = {source: place for place, source in enumerate(order)}
    recode = [columns.get(source, -1) for source in sample.sources]
    nearness, similarity = _thousandths(sample.nearness), _thousandths(sample.similarity)
    found = []
    for row in range(fitting):
        positives = [
            [texts.number(int(sample.positives.values[place])), nearness[place]]
            for place in chosen.positives[row].tolist()
        ]
        by_source: list[Any] = [0] * len(order)
        for place in chosen.negatives[row].tolist():
            number = int(sample.source[place])
            column, at = recode[number], row * width + number
            by_source[column] = by_source[column] or [int(counts[at]), int(united[at]), []]
            by_source[column][2].append(
                [texts.number(int(sample.negatives.values[place])), similarity[place], int(bits[place])]
            )
        found.append([texts.cut(sample.labels[row]), texts.cut(sample.queries[row]), positives, by_source])
    return found


def _thousandths(values: Floats) -> list[int | None]:
    """Values in thousandths, None where undefined."""
    known = np.isfinite(values)
    rounded = np.rint(np.where(known, values, 0.0) * _SCALE).astype(np.int64).tolist()
    return [value if there else None for value, there in zip(rounded, known.tolist(), strict=True)]
