from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eci.datasets.docstrings import docstring_pairs, docstring_task
from eci.errors import DataError

SOURCE = '''
"""Frobnicate the given widgets.

The widgets are turned one after the other.
"""

class A:
    """Hold a single widget. It is turned by hand, and slowly."""

    def same(self):
        """Frobnicate the given widgets.

        Another body with enough words here.
        """

def no_body():
    """Only a summary line here."""

def short():
    """Too short. One two three four five."""
'''


def test_summaries_become_queries_and_bodies_positives(tmp_path):
    (tmp_path / "m.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("def (:")
    assert docstring_pairs(tmp_path) == {
        "Frobnicate the given widgets.": [
            "The widgets are turned one after the other.",
            "Another body with enough words here.",
        ],
        "Hold a single widget.": ["It is turned by hand, and slowly."],
    }


def test_tests_and_installed_packages_are_not_the_library(tmp_path):
    for folder in ("test", "site-packages"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.py").write_text(SOURCE)
    with pytest.raises(DataError, match="holds no Python files with docstrings"):
        docstring_pairs(tmp_path)


def test_the_installed_library_gives_a_task_of_useful_size():
    task = docstring_task()
    assert len(task.corpus) >= 3000
    assert len(task) == len(task.positives) >= 2500
    assert task.positives.lengths.min() >= 1


def test_task_keeps_queries_documents_and_their_order(tmp_path):
    (tmp_path / "m.py").write_text(SOURCE)
    more = SOURCE.replace("turned one after", "TURNED  one after").replace("Hold a single", "Lift a single")
    (tmp_path / "n.py").write_text(more)
    task = docstring_task(tmp_path)
    assert task.query_ids.to_pylist() == ["q0", "q1", "q2"]
    assert task.queries.to_pylist() == [
        "Frobnicate the given widgets.",
        "Hold a single widget.",
        "Lift a single widget.",
    ]
    # doc2 says the same as doc0.
    assert task.corpus.ids.to_pylist() == ["doc0", "doc1", "doc3"]
    assert [task.positives[query].tolist() for query in range(3)] == [[0, 1], [2], [2]]
    assert task.counts == {"documents whose text another has": 1}
    with pytest.raises(DataError, match="holds no Python files with docstrings"):
        docstring_task(tmp_path / "absent")


def test_task_of_a_real_package():
    folder = Path(asyncio.__file__).parent
    task, pairs = docstring_task(folder), docstring_pairs(folder)
    assert task.queries.to_pylist() == list(pairs)
    assert len(task.corpus) >= 100
    shown = task.corpus.shown()
    for query, bodies in enumerate(pairs.values()):
        expected = {" ".join(body.lower().split()) for body in bodies}
        assert {" ".join(shown[place].lower().split()) for place in task.positives[query]} == expected
