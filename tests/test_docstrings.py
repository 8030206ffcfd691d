from __future__ import annotations

import pytest

from eci.datasets.docstrings import Collection, docstring_pairs
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


def test_the_installed_library_gives_a_collection_of_useful_size():
    collection = Collection.of(docstring_pairs())
    assert len(collection.documents) >= 3000
    assert len(set(collection.documents)) == len(collection.documents)
    assert len(collection.queries) == len(collection.positives)
    assert collection.positives.lengths.min() >= 1


def test_a_document_of_two_queries_is_kept_once():
    collection = Collection.of({"a": ["x", "y"], "b": ["y"]})
    assert collection.documents == ["x", "y"]
    assert [collection.positives[i].tolist() for i in range(2)] == [[0, 1], [1]]
