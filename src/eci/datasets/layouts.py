"""The layouts of rows: their keys, how they are recognised, what they hold.

A layout is a record; ``LAYOUTS`` maps names to them. Layouts with fixed keys are recognised by these
alone, so that a wrong value is an error about that value and not "unknown layout". Flat layouts have
free names and are recognised by what their columns hold, and only where no layout with fixed keys is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from eci.datasets import canonical, export
from eci.datasets.binding import (
    ECI,
    FLAGEMBEDDING,
    HEADERS,
    MS_SWIFT,
    MSMARCO,
    NEMO,
    TEVATRON,
    TEVATRON_IDS,
    Binding,
    fixed,
    id_lists,
    labeled_list,
    labeled_pair,
    n_tuple,
    numbered,
    pair,
    triplet,
)
from eci.datasets.chunks import Shape
from eci.datasets.export import Exporter
from eci.datasets.outgoing import ALL, Outgoing
from eci.datasets.parts import Columns, Context, Parts
from eci.errors import LayoutError


@dataclass(frozen=True)
class Layout:
    """One shape of rows.

    Parameters
    ----------
    name : str
        As in ``--layout``.
    keys : str
        The keys in words, for messages.
    bind : callable
        From a ``Shape`` to the columns to read, or None where the rows are of another layout.
    to_canonical : callable
        From columns to canonical parts.
    from_canonical : callable
        From canonical rows to columns.
    holds : frozenset of str
        The canonical values that survive: ``query_id``, ``positive id`` …, see ``export.VALUES``.
    flat : bool
        Whether the rows of a query are several, and to be grouped.
    by_id : frozenset of str
        Which texts are outside the rows: ``corpus``, ``queries``.
    keeps : tuple of str
        Keys of ``extra`` that the layout itself has.
    """

    name: str
    keys: str
    bind: Callable[[Shape], Binding | None]
    to_canonical: Callable[[Columns, Context], Parts]
    from_canonical: Exporter
    holds: frozenset[str]
    flat: bool = False
    by_id: frozenset[str] = frozenset()
    keeps: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Callable[[str], Layout], tuple[str]]:
        # There is one of each name, in every process.
        return _named, (self.name,)


def _named(name: str) -> Layout:
    return LAYOUTS[name]


_CORPUS = frozenset({"corpus"})
_BOTH = frozenset({"corpus", "queries"})

LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "eci", "query, positives: [{text}], negatives: [{source, text}]",
            partial(fixed, ECI, "query positives negatives"),
            canonical.eci, export.eci, ALL,
        ),
        Layout(
            "triplet", "three columns of texts in order: query, positive, negative", triplet,
            canonical.triplet, export.triplet, frozenset({"score"}), flat=True,
        ),
        Layout(
            "n-tuple", "query, positive, negative_1 … negative_n", n_tuple,
            canonical.n_tuple, export.n_tuple, frozenset({"score"}), flat=True,
        ),
        Layout(
            "labeled-pair", "query, document, label (0 or 1) or score", labeled_pair,
            canonical.labeled_pair, export.labeled_pair, frozenset(), flat=True,
        ),
        Layout(
            "labeled-list", "query, documents: [text], labels: [0 or 1] or scores", labeled_list,
            canonical.labeled_list, export.labeled_list, frozenset(),
        ),
        Layout(
            "id-lists", "query_id, document_ids: [id], scores or labels", id_lists,
            canonical.id_lists, export.id_lists, frozenset({"query_id", "id", "title", "score"}), by_id=_BOTH,
        ),
        Layout(
            "flagembedding", "query, pos: [text], neg: [text]",
            partial(fixed, FLAGEMBEDDING, "query pos neg"),
            canonical.flagembedding, export.flagembedding, frozenset({"id", "score"}),
            keeps=("prompt", "type"),
        ),
        Layout(
            "tevatron", "query_id, query, positive_passages, negative_passages: [{docid, title, text}]",
            partial(fixed, TEVATRON, "query positive_passages negative_passages"),
            canonical.tevatron, export.tevatron, frozenset({"query_id", "id", "title"}),
            keeps=("answers", "subset"),
        ),
        Layout(
            "tevatron-ids", "query_id, query_text, positive_document_ids, negative_document_ids",
            partial(fixed, TEVATRON_IDS, "positive_document_ids negative_document_ids"),
            canonical.tevatron_ids, export.tevatron_ids, frozenset({"query_id", "id", "title"}),
            by_id=_CORPUS,
        ),
        Layout(
            "nemo", "question_id, question, pos_doc: [{id}], neg_doc: [{id}]",
            partial(fixed, NEMO, "question pos_doc neg_doc"),
            canonical.nemo, export.nemo, frozenset({"query_id", "id", "title", "score"}), by_id=_CORPUS,
        ),
        Layout(
            "msmarco-hard-negatives", "qid, pos: [id], neg: {system: [id]}",
            partial(fixed, MSMARCO, "qid pos neg"),
            canonical.msmarco, export.msmarco, frozenset({"query_id", "source", "id", "title"}), by_id=_BOTH,
        ),
        Layout(
            "ms-swift", "messages, positive_messages, negative_messages",
            partial(fixed, MS_SWIFT, "messages positive_messages"),
            canonical.ms_swift, export.ms_swift, frozenset(), keeps=("messages", "document_role"),
        ),
    )
}  # fmt: skip
BEIR = "beir"


class NoNegatives(LayoutError):  # noqa: N818
    """The rows are queries with positives alone: enough to mine negatives for, and nothing to score."""


def _unwritten(_: Outgoing) -> Mapping[str, pa.Array]:
    raise LayoutError("layout 'pair' is read and not written.")


# Not among LAYOUTS, so that rows whose negatives are missing are refused unless they are asked for.
PAIR = Layout(
    "pair", "query and positive, or positives as a list", pair,
    canonical.pair, _unwritten, frozenset({"source"}),
)  # fmt: skip
WRITTEN = (*LAYOUTS, BEIR)
NAMES = (*WRITTEN, PAIR.name)


def named(name: str) -> Layout:
    """The layout of a name.

    Raises
    ------
    LayoutError
        There is none; the message lists the known ones.
    """
    if name not in LAYOUTS:
        hint = (
            " It is read from a folder with corpus.jsonl, queries.jsonl and qrels/." if name == BEIR else ""
        )
        raise LayoutError(f"unknown layout '{name}' for rows. Known: {', '.join(WRITTEN)}.{hint}")
    return LAYOUTS[name]


def detect(shape: Shape) -> tuple[Layout, Binding] | None:
    """The layout of rows of this shape, None where it is none or several."""
    found = candidates(shape)
    return found[0] if len(found) == 1 else None


def candidates(shape: Shape) -> list[tuple[Layout, Binding]]:
    """Every layout that the rows may be of; those with fixed keys go before those with free names."""
    fixed_keys: list[tuple[Layout, Binding]] = []
    free_names: list[tuple[Layout, Binding]] = []
    for layout in LAYOUTS.values():
        bound = layout.bind(shape)
        if bound is not None:
            (free_names if layout.flat or layout.name == "labeled-list" else fixed_keys).append(
                (layout, bound)
            )
    return fixed_keys or free_names


def bind(shape: Shape, place: str, name: str | None) -> tuple[Layout, Binding]:
    """The layout and the columns of rows, detected or as the user says.

    Raises
    ------
    LayoutError
        The keys fit no layout, several, or not the one that was named.
    NoNegatives
        They would fit if negatives were there.
    """
    keys = ", ".join(shape)
    if name is not None:
        layout = PAIR if name == PAIR.name else named(name)
        bound = layout.bind(shape)
        if bound is None:
            raise LayoutError(f"{place}: the keys are {keys}. Layout '{name}' needs {layout.keys}.")
        return layout, bound
    if "cell" in shape.values() and not set(shape) & HEADERS and not numbered(shape):
        raise LayoutError(
            f"{place}: the first line must be a header such as query,positive,negative; it is: {keys[:200]}."
        )
    found = candidates(shape)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(layout.name for layout, _ in found)
        raise LayoutError(f"{place}: the keys {keys} fit several layouts: {names}. Choose one with --layout.")
    known = "; ".join(f"{layout.name} ({layout.keys})" for layout in LAYOUTS.values())
    words = f"{place}: the keys {keys} fit no layout. Considered: {known}."
    if PAIR.bind(shape) is not None:
        raise NoNegatives(f"{words} Queries with positives and no negatives are what eci mine reads.")
    raise LayoutError(words)
