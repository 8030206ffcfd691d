"""Rows of training data: thirteen layouts in, canonical Arrow batches out, and back."""

from eci.datasets.grouping import merge_rows, require_positives
from eci.datasets.layouts import WRITTEN as LAYOUT_NAMES
from eci.datasets.reading import from_object, read
from eci.datasets.rows import ReadOptions, Rows
from eci.datasets.tasks import TaskRead, read_task, task_from_object
from eci.datasets.writing import WriteSummary, write

__all__ = [
    "LAYOUT_NAMES",
    "ReadOptions",
    "Rows",
    "TaskRead",
    "WriteSummary",
    "from_object",
    "merge_rows",
    "read",
    "read_task",
    "require_positives",
    "task_from_object",
    "write",
]
