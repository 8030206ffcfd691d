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
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from eci.errors import DataError
from eci.ragged import Ragged
from eci.task import Corpus, RetrievalTask

# Tests and vendored packages document themselves, not the library.
_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip"}
# The first paragraph; of a docstring that is one paragraph, the first sentence.
_SUMMARY = re.compile(r"(?s)(.*?)\n\s*\n(.*)")
_SENTENCE = re.compile(r"(?s)(.*?[.!?])\s+(.*)")
_QUERY_WORDS = 3
_POSITIVE_WORDS = 5

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstring_task(folder: Path | None = None, every: int = 1) -> RetrievalTask:
    """Docstrings as a task: queries ``q0``, ``q1`` …, documents ``doc0``, ``doc1`` …, in order of the files.

    Of documents that differ in case or white space alone the first stays, so numbers may be missing.

    Parameters
    ----------
    folder : Path, optional
        As in `docstring_pairs`.
    every : int
        2 takes every second query, with its positives.

    Raises
    ------
    DataError
        The folder holds no docstring of a summary and a body.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "m.py").write_text("'''Turn the widget. It is turned by hand, and slowly.'''")
    >>> task = docstring_task(folder)
    >>> task.query_ids[0].as_py(), task.queries[0].as_py(), task.corpus.ids.to_pylist(), task.corpus.shown()
    ('q0', 'Turn the widget.', ['doc0'], ['It is turned by hand, and slowly.'])
    """
    pairs = dict(islice(docstring_pairs(folder).items(), None, None, every))
    numbers: dict[str, int] = {}
    places = [numbers.setdefault(body, len(numbers)) for bodies in pairs.values() for body in bodies]
    wide, size = pa.large_string(), len(numbers)
    ids = pa.array([f"doc{number}" for number in range(size)], wide)
    corpus = Corpus(ids, pa.nulls(size, wide), pa.array(list(numbers), wide))
    lengths = [len(bodies) for bodies in pairs.values()]
    positives = Ragged.from_lengths(np.array(places, dtype=np.int64), lengths)
    nothing = Ragged.from_lengths(np.empty(0, dtype=np.int64), [0] * len(pairs))
    query_ids = pa.array([f"q{number}" for number in range(len(pairs))], pa.string())
    return RetrievalTask.of(query_ids, pa.array(list(pairs), pa.string()), corpus, positives, nothing)


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
