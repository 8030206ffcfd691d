"""A real retrieval collection that every machine has: Python's own documentation strings.

A query is the summary of a docstring of the installed standard library (its first paragraph, or its
first sentence where it has but one paragraph), its positive is the rest of that docstring. Source files
are parsed, never imported.
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eci.errors import DataError
from eci.ragged import Ragged

# Tests and vendored packages document themselves, not the library.
_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip"}
# The first paragraph; of a docstring that is one paragraph, the first sentence.
_SUMMARY = re.compile(r"(?s)(.*?)\n\s*\n(.*)")
_SENTENCE = re.compile(r"(?s)(.*?[.!?])\s+(.*)")
_QUERY_WORDS = 3
_POSITIVE_WORDS = 5

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Collection:
    """Queries, documents, and which documents answer which query.

    Parameters
    ----------
    queries : list of B str
    documents : list of D str
        Distinct texts.
    positives : Ragged of B rows
        Indices into `documents`.
    """

    queries: list[str]
    documents: list[str]
    positives: Ragged

    @classmethod
    def of(cls, pairs: dict[str, list[str]]) -> Collection:
        """From queries with their positives; a document that answers two queries is kept once."""
        numbers: dict[str, int] = {}
        rows = [[numbers.setdefault(body, len(numbers)) for body in bodies] for bodies in pairs.values()]
        values = np.array([number for row in rows for number in row], dtype=np.int64)
        return cls(list(pairs), list(numbers), Ragged.from_lengths(values, [len(row) for row in rows]))


def docstring_pairs(folder: Path | None = None) -> dict[str, list[str]]:
    """Queries with their positives, in the order of the files.

    Parameters
    ----------
    folder : Path, optional
        A tree of Python files; the installed standard library when None.

    Returns
    -------
    dict of str to list of str
        Summary line to the distinct bodies of the docstrings that begin with it.

    Raises
    ------
    DataError
        The folder holds no docstring of a summary and a body.
    """
    root = folder or Path(sysconfig.get_path("stdlib"))
    pairs: dict[str, list[str]] = {}
    for file in sorted(root.rglob("*.py")):
        if _SKIPPED.isdisjoint(file.relative_to(root).parts):
            for summary, body in _docstrings(file):
                bodies = pairs.setdefault(summary, [])
                if body not in bodies:
                    bodies.append(body)
    if not pairs:
        raise DataError(f"{root} holds no Python files with docstrings of a summary line and a body.")
    return pairs


def _docstrings(file: Path) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # the standard library ships a few files that are not meant to parse
    for node in ast.walk(tree):
        if isinstance(node, _Documented):
            text = ast.get_docstring(node) or ""
            parts = _SUMMARY.match(text) or _SENTENCE.match(text)
            if parts:
                summary, body = " ".join(parts[1].split()), parts[2].strip()
                if len(summary.split()) >= _QUERY_WORDS and len(body.split()) >= _POSITIVE_WORDS:
                    yield summary, body
