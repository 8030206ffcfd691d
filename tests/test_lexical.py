from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from eci import lexical
from eci.lexical import Lexicon, words

texts = st.lists(st.text("abc XYé東1_-", max_size=12), min_size=1, max_size=6)


@given(texts, texts)
def test_overlap_equals_the_loops(documents, queries):
    lexicon = Lexicon.of(documents)
    left, right = (a.ravel() for a in np.indices((len(queries), len(documents))))
    found = lexicon.overlap(lexicon.vocabulary.read(queries), left, right)
    for q, d, value in zip(left, right, found, strict=True):
        expected = reference.overlap(queries[q], documents[d], documents, words)
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(texts, texts, st.randoms())
def test_overlap_does_not_depend_on_what_is_beside(documents, queries, random):
    lexicon = Lexicon.of(documents)
    read = lexicon.vocabulary.read(queries)
    left, right = (a.ravel() for a in np.indices((len(queries), len(documents))))
    found = lexicon.overlap(read, left, right)
    order = np.array(random.sample(range(len(left)), len(left)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lexical, "_LOOKED_UP", 2)
        assert np.array_equal(lexicon.overlap(read, left[order], right[order]), found[order], equal_nan=True)


def test_words_that_nobody_holds_weigh_and_are_not_shared():
    lexicon = Lexicon.of(["red fox"])
    found = lexicon.overlap(
        lexicon.vocabulary.read(["red new newer", "new", "red"]), np.arange(3), np.zeros(3, dtype=np.int64)
    )
    red, new = lexicon.vocabulary.idf[[lexicon.vocabulary.numbers["red"], lexicon.vocabulary.unknown]]
    assert found.tolist() == [pytest.approx(red / (red + 2 * new)), 0, 1]


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_of_any_text(text):
    assert words(text) == words(text + " é")[:-1]


def test_rare_words_weigh_more():
    lexicon = Lexicon.of(["the fox", "the dog", "the cat", "the owl"])
    shares_rare, shares_common = lexicon.overlap(
        lexicon.vocabulary.read(["the fox"]), np.array([0, 0]), np.array([0, 1])
    )
    assert shares_rare == 1.0
    assert shares_common < 0.2


def test_a_reference_without_words_is_undefined():
    lexicon = Lexicon.of(["fox"])
    assert math.isnan(lexicon.overlap(lexicon.vocabulary.read(["--"]), np.array([0]), np.array([0]))[0])


def test_documents_without_any_word():
    lexicon = Lexicon.of(["", "--"])
    assert lexicon.overlap(lexicon.vocabulary.read(["fox"]), np.array([0, 0]), np.array([0, 1])).tolist() == [
        0,
        0,
    ]


def test_scripts_without_spaces_are_split_into_characters():
    assert words("東京タワー x2") == ["東", "京", "タ", "ワ", "ー", "x2"]
