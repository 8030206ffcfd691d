"""Rows of training data: thirteen layouts in, canonical Arrow batches out, and back."""

from eci.datasets.grouping import merge_rows, require_positives
from eci.datasets.layouts import NAMES as LAYOUT_NAMES
from eci.datasets.reading import from_object, read
from eci.datasets.rows import ReadOptions, Rows
from eci.datasets.writing import WriteSummary, write

__all__ = [
    "LAYOUT_NAMES",
    "ReadOptions",
    "Rows",
    "WriteSummary",
    "from_object",
    "merge_rows",
    "read",
    "require_positives",
    "write",
]
