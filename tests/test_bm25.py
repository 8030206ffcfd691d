from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import math
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eci.errors import DataError, EciError, MissingDependency, OutputError
from eci.lexical import words
from eci.miners import bm25
from eci.miners.bm25 import BM25Miner, BM25Settings, best
from eci.ragged import Ragged
from eci.task import Corpus, RetrievalTask

bm25s = pytest.importorskip("bm25s", reason="the extra 'mine' is not installed")

FOXES = [
    "the fox jumps over the dog",
    "a fox and a dog and a cat",
    "cats sleep all day",
    "stock markets fell sharply",
    "the fox hunts at night",
    "dogs bark at foxes",
]
PLAIN = BM25Settings(stopwords=None, tokenizer="unicode", backend="numpy")


def integers(rows):
    lengths = [len(row) for row in rows]
    return Ragged.from_lengths(np.array([value for row in rows for value in row], dtype=np.int64), lengths)


def task_of(texts, queries, positives=None, known=None):
    none = pa.nulls(len(texts), pa.string())
    corpus = Corpus(none, none, pa.array(texts, pa.string()))
    positives = integers(positives or [[] for _ in queries])
    known = positives if known is None else integers(known)
    return RetrievalTask(
        pa.nulls(len(queries), pa.string()), pa.array(queries, pa.string()), corpus, positives, known
    )


def everything(task):
    return np.arange(len(task))


def rows(ranking):
    return [row.tolist() for row in (ranking.documents[number] for number in range(len(ranking.documents)))]


def scores(ranking):
    return ranking.documents.with_values(ranking.scores)


def same(one, other):
    assert rows(one) == rows(other)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.ranks, other.ranks)


def random_task(seed, documents=60, queries=12):
    """Documents of few words, so that many scores are equal; two labelled positives a query."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 31)

    def text(length):
        return " ".join(f"w{word}" for word in rng.choice(30, size=length, p=weights / weights.sum()))

    asked = [text(rng.integers(1, 6)) + " unheard" for _ in range(queries)]
    positives = rng.integers(0, documents, size=(queries, 2)).tolist()
    return task_of([text(rng.integers(1, 9)) for _ in range(documents)], asked, positives)


def naive(texts, query, k1, b, method):
    """BM25 of every document, word by word."""
    split = [words(text) for text in texts]
    average = sum(map(len, split)) / len(split)
    total = [0.0] * len(split)
    for word in words(query):
        holders = sum(word in document for document in split)
        if not holders:
            continue
        odds = (len(split) - holders + 0.5) / (holders + 0.5)
        idf = {
            "lucene": math.log(1 + odds),
            "robertson": max(0.0, math.log(odds)),
            "atire": math.log(len(split) / holders),
        }[method]
        for number, document in enumerate(split):
            count = Counter(document)[word]
            damped = count + k1 * (1 - b + b * len(document) / average)
            if count:
                total[number] += idf * count / damped * (k1 + 1 if method == "atire" else 1)
    return total


# What is found


@pytest.mark.parametrize("method", ["lucene", "robertson", "atire"])
@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.0, 0.0), (0.9, 1.0)])
def test_scores_are_those_of_a_naive_loop(method, k1, b):
    task = random_task(1)
    task = replace(task, known=integers([[]] * len(task)))
    miner = BM25Miner(task, replace(PLAIN, k1=k1, b=b, method=method))
    found = miner.mine(everything(task), 1000)
    positives = miner.score_positives(everything(task))
    for number, query in enumerate(task.queries.to_pylist()):
        expected = naive(task.corpus.shown(), query, k1, b, method)
        assert set(rows(found)[number]) == {place for place, score in enumerate(expected) if score > 0}
        np.testing.assert_allclose(
            scores(found)[number], [expected[d] for d in rows(found)[number]], rtol=1e-5
        )
        np.testing.assert_allclose(
            positives[number], [expected[d] for d in task.positives[number]], rtol=1e-5
        )


def test_positives_have_exactly_the_scores_they_have_as_finds():
    task = random_task(2)
    everywhere = replace(task, known=integers([[]] * len(task)))
    found = BM25Miner(everywhere, PLAIN).mine(everything(task), 1000)
    asked = np.array([7, 0, 7])
    positives = BM25Miner(task, PLAIN).score_positives(asked)
    assert positives.lengths.tolist() == [2, 2, 2]
    for row, number in enumerate(asked):
        table = dict(zip(rows(found)[number], scores(found)[number].tolist(), strict=True))
        assert positives[row].tolist() == [table.get(place, 0.0) for place in task.positives[number]]


def test_known_documents_are_left_out_of_the_depth_that_was_looked_at():
    task = task_of(FOXES, ["fox dog", "stock markets"], [[0], [3]], [[0, 4], [3]])
    found = BM25Miner(task).mine(everything(task), 2)
    assert rows(BM25Miner(replace(task, known=integers([[], []]))).mine(everything(task), 2)) == [[1, 0], [3]]
    assert rows(found) == [[1], []]
    assert found.ranks.tolist() == [1]
    assert found.scorer == "bm25"
    assert found.scores.dtype == np.float64
    assert found.documents.values.dtype == np.int64


def test_what_shares_no_word_is_no_find():
    task = task_of(FOXES, ["zebra", "the of", "", "fox zebra"], [[0], [1], [2], [3]])
    miner = BM25Miner(task)
    found = miner.mine(everything(task), 50)
    assert found.documents.lengths[:3].tolist() == [0, 0, 0]
    assert sorted(rows(found)[3]) == [0, 1, 4]
    assert miner.score_positives(everything(task)).values.tolist() == [0, 0, 0, 0]
    assert len(miner.mine(np.empty(0, dtype=np.int64), 50).documents) == 0
    assert len(miner.score_positives(np.empty(0, dtype=np.int64))) == 0


def test_a_title_counts_as_text():
    corpus = Corpus(pa.nulls(2), pa.array(["Foxes", None]), pa.array(["They hunt.", "They bark."]))
    none = integers([[]])
    task = RetrievalTask(pa.array(["q"]), pa.array(["foxes"]), corpus, none, none)
    assert rows(BM25Miner(task).mine(np.array([0]), 5)) == [[0]]


# Ties


def shuffled():
    """120 distinct texts of the same five words, and as many of six."""
    same_words = [" ".join(order) for order in itertools.permutations("red fox dog cat owl".split())]
    return [text for pair in same_words for text in (pair + " hen", pair)]


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5]), max_size=40), st.integers(1, 45))
def test_best_is_a_full_sort_without_what_is_not_positive(values, depth):
    documents, found = best(np.array(values, dtype=np.float32), depth)
    order = sorted((-score, place) for place, score in enumerate(values) if score > 0)[:depth]
    assert documents.tolist() == [place for _, place in order]
    assert found.tolist() == [-score for score, _ in order]


@pytest.mark.parametrize("depth", [1, 7, 119, 120, 121, 240, 500])
def test_ties_are_in_the_order_of_the_corpus(depth):
    task = task_of(shuffled(), ["fox owl"])
    # Shorter documents score higher: the odd places first.
    expected = [*range(1, 240, 2), *range(0, 240, 2)][:depth]
    assert rows(BM25Miner(task, PLAIN).mine(np.array([0]), depth)) == [expected]


@pytest.mark.parametrize("threads", [1, 2])
def test_numba_finds_exactly_what_numpy_finds(threads):
    numba = pytest.importorskip("numba")
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("numba has one thread here")
    tied = task_of(shuffled(), ["fox owl", "zebra", "hen", "red", ""], [[3]] * 5)
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        for task in (tied, random_task(3), random_task(4, documents=4)):
            by_numpy, by_numba = (
                BM25Miner(task, replace(PLAIN, backend=name)) for name in ("numpy", "numba")
            )
            for depth in (1, 3, 10, 119, 120, 500):
                same(by_numpy.mine(everything(task), depth), by_numba.mine(everything(task), depth))
            assert rows(by_numba.mine(np.array([1]), 1)) == rows(by_numpy.mine(np.array([1]), 1))
    finally:
        numba.set_num_threads(before)


def test_queries_asked_beside_change_nothing():
    task = random_task(5)
    miner = BM25Miner(task, PLAIN)
    whole = miner.mine(everything(task), 7)
    for number in range(len(task)):
        alone = miner.mine(np.array([number]), 7)
        assert rows(alone)[0] == rows(whole)[number]
        assert alone.scores.tolist() == scores(whole)[number].tolist()


# Settings


@pytest.mark.parametrize(
    ("settings", "query", "expected"),
    [
        ({}, "foxes dog", [0, 1, 5]),
        ({"stemmer": "english"}, "foxes", [0, 1, 4, 5]),
        ({"stopwords": None}, "the", [0, 4]),
        ({"stopwords": ("FOX",)}, "fox the", [0, 4]),
        ({"stopwords": ()}, "at", [4, 5]),
        ({"stopwords": "german"}, "the", [0, 4]),
        ({"tokenizer": "unicode", "stopwords": None}, "A", [1]),
        ({"tokenizer": r"[a-z]{5,}"}, "stock foxes cat", [3, 5]),
        ({"tokenizer": r"\b(d)\w*"}, "d", [0, 1, 2, 5]),
        ({"tokenizer": r"\w*"}, "fox", [0, 1, 4]),
        # Of "s" this stemmer leaves nothing.
        ({"tokenizer": "unicode", "stemmer": "porter"}, "fox's", [0, 1, 4, 5]),
    ],
)
def test_settings_decide_what_a_word_is(settings, query, expected):
    task = task_of(FOXES, [query])
    found = BM25Miner(task, BM25Settings(**settings)).mine(np.array([0]), 50)
    assert sorted(rows(found)[0]) == expected


def test_scripts_without_spaces_need_the_unicode_tokenizer():
    task = task_of(["狐狸跳过狗", "猫在睡觉", "股市下跌"], ["狐狸"])
    assert rows(BM25Miner(task, BM25Settings(tokenizer="unicode")).mine(np.array([0]), 5)) == [[0]]
    assert rows(BM25Miner(task, BM25Settings()).mine(np.array([0]), 5)) == [[]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1": -0.1}, r"k1 of BM25 is a number of 0 or more, got -0\.1"),
        ({"k1": math.inf}, "got inf"),
        ({"k1": math.nan}, "got nan"),
        ({"b": 1.01}, r"b of BM25 lies between 0 and 1, got 1\.01"),
        ({"b": math.nan}, "b of BM25"),
        ({"method": "bm25+"}, r"method of BM25 is one of lucene, robertson, atire; got 'bm25\+'"),
        ({"backend": "jax"}, "backend of BM25 is one of auto, numpy, numba; got 'jax'"),
        ({"tokenizer": "word"}, "Unknown tokenizer 'word'. Known: words, unicode, or a regular expression"),
        ({"tokenizer": ""}, "Unknown tokenizer ''"),
        ({"tokenizer": "[a-z"}, r"'\[a-z' is no regular expression: unterminated character set"),
        ({"tokenizer": r"(\w)(\w+)"}, r"has 2 groups.*Write \(\?:…\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(EciError, match=message):
        BM25Settings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"stopwords": "klingon"},
            "No stopwords of 'klingon' are known. Known: .*german.*; or give the words",
        ),
        ({"stemmer": "klingon"}, "Unknown stemmer 'klingon'. Known: .*english"),
    ],
)
def test_languages_that_nobody_knows_are_refused_before_the_texts_are_read(settings, message):
    with pytest.raises(EciError, match=message):
        BM25Miner(task_of([], []), BM25Settings(**settings))


@pytest.mark.parametrize("texts", [["the", "of and"], [""], []])
def test_a_corpus_without_words_is_refused(texts, tmp_path):
    with pytest.raises(EciError, match=rf"None of {len(texts)} documents has a word for BM25 .*'en'"):
        BM25Miner(task_of(texts, ["fox"]), index=tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        ("bm25s", {}, r"BM25 needs bm25s.*eci\[mine\]"),
        ("Stemmer", {"stemmer": "english"}, r"Stemming for BM25 needs PyStemmer.*eci\[mine\]"),
        ("numba", {"backend": "numba"}, r"The numba backend of BM25 needs numba.*eci\[numba\]"),
    ],
)
def test_missing_packages_are_named(module, settings, message, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=message):
        BM25Miner(task_of(FOXES, ["fox"]), BM25Settings(**settings))


def test_auto_takes_numba_where_it_pays_and_is_there(monkeypatch):
    task = task_of(FOXES, ["fox"])
    assert BM25Miner(task).describe()["backend"] == "numpy"
    monkeypatch.setattr(bm25, "_NUMBA_PAYS", 6)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "numba", None)
        assert BM25Miner(task).describe()["backend"] == "numpy"
    pytest.importorskip("numba")
    assert BM25Miner(task).describe()["backend"] == "numba"
    monkeypatch.setattr(bm25, "_NUMBA_PAYS", 7)
    assert BM25Miner(task).describe()["backend"] == "numpy"


def test_it_describes_everything_that_decides_as_json():
    settings = BM25Settings(k1=0.9, b=0.4, stopwords=("an",), stemmer="english", backend="numpy")
    described = BM25Miner(task_of(FOXES, ["fox"]), settings).describe()
    assert json.loads(json.dumps(described)) == {
        "name": "bm25",
        "bm25s": importlib.metadata.version("bm25s"),
        "PyStemmer": importlib.metadata.version("PyStemmer"),
        "k1": 0.9,
        "b": 0.4,
        "method": "lucene",
        "stopwords": ["an"],
        "stemmer": "english",
        "tokenizer": "words",
        "backend": "numpy",
    }


def test_bm25s_shows_no_bars_and_no_log(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    task = task_of(FOXES, ["fox", ""])
    for _ in range(2):
        miner = BM25Miner(task, index=tmp_path / "index")
        miner.mine(everything(task), 2)
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


# The index on disk


class Stages:
    def __init__(self):
        self.met = []

    def __call__(self, stage, done, total):
        self.met.append(stage)


def test_an_index_is_mapped_from_disk_and_finds_the_same(tmp_path):
    task, folder = random_task(6), tmp_path / "index"
    settings = replace(PLAIN, stemmer="english")
    expected = BM25Miner(task, settings).mine(everything(task), 9)
    first, second = Stages(), Stages()
    same(BM25Miner(task, settings, folder, first).mine(everything(task), 9), expected)
    assert "building the BM25 index" in first.met
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = BM25Miner(task, settings, folder, second)
    same(again.mine(everything(task), 9), expected)
    assert second.met == []
    assert isinstance(again._data.base, np.memmap)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    assert [path.name for path in tmp_path.iterdir() if path.name != "embedding-cache"] == ["index"]
    assert {path.suffix for path in folder.iterdir()} == {".json", ".npy"}


def test_the_backend_does_not_decide_the_index(tmp_path):
    pytest.importorskip("numba")
    task, stages = task_of(FOXES, ["fox"]), Stages()
    BM25Miner(task, BM25Settings(backend="numba"), tmp_path / "index")
    assert (
        BM25Miner(task, BM25Settings(backend="numpy"), tmp_path / "index", stages).describe()["backend"]
        == "numpy"
    )
    assert stages.met == []


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        (BM25Settings(k1=1.2), FOXES),
        (BM25Settings(stopwords=None), FOXES),
        (BM25Settings(stemmer="english"), FOXES),
        (BM25Settings(), [*FOXES[:-1], "dogs bark at a fox"]),
        (BM25Settings(), FOXES[::-1]),
        (BM25Settings(), [*FOXES[:-2], FOXES[-2] + FOXES[-1]]),
        (BM25Settings(), [*FOXES[:-2], FOXES[-2] + "dogs", " bark at foxes"]),
    ],
)
def test_another_index_of_eci_is_built_anew_and_that_is_told(settings, texts, tmp_path):
    folder, stages = tmp_path / "index", Stages()
    BM25Miner(task_of(FOXES, ["fox"]), index=folder)
    task = task_of(texts, ["fox dogs"])
    found = BM25Miner(task, settings, folder, stages).mine(np.array([0]), 9)
    assert stages.met[0] == f"building the BM25 index {folder} anew: other texts, settings or versions"
    same(found, BM25Miner(task, settings).mine(np.array([0]), 9))
    stages.met.clear()
    BM25Miner(task, settings, folder, stages)
    assert stages.met == []


def test_an_index_of_another_version_is_built_anew(tmp_path):
    folder, stages = tmp_path / "index", Stages()
    BM25Miner(task_of(FOXES, ["fox"]), index=folder)
    mark = json.loads((folder / "eci.json").read_text())
    (folder / "eci.json").write_text(json.dumps({**mark, "bm25s": "0.0.1"}))
    BM25Miner(task_of(FOXES, ["fox"]), index=folder, progress=stages)
    assert "anew" in stages.met[0]
    assert json.loads((folder / "eci.json").read_text()) == mark


def test_a_place_that_is_not_ours_is_left_alone(tmp_path):
    task = task_of(FOXES, ["fox"])
    file, foreign, ours = tmp_path / "file", tmp_path / "foreign", tmp_path / "ours"
    file.write_text("thesis")
    with pytest.raises(OutputError, match=r"file: is a file\. Give the name of a folder"):
        BM25Miner(task, index=file)
    for name, content in (("thesis.txt", "thesis"), ("eci.json", '{"schema": "other"}'), ("eci.json", "[1]")):
        foreign.mkdir(exist_ok=True)
        (foreign / name).write_text(content)
        with pytest.raises(OutputError, match=r"foreign: holds files that are no BM25 index of eci"):
            BM25Miner(task, index=foreign)
        assert (foreign / name).read_text() == content
        (foreign / name).unlink()
    BM25Miner(task, index=ours)
    (ours / "thesis.txt").write_text("thesis")
    with pytest.raises(OutputError, match="ours: holds files that are no BM25 index"):
        BM25Miner(task, BM25Settings(k1=1.2), index=ours)
    assert (ours / "thesis.txt").read_text() == "thesis"
    with pytest.raises(OutputError, match=r"the folder .*nowhere does not exist"):
        BM25Miner(task, index=tmp_path / "nowhere" / "index")
    # The empty folder left over from above.
    assert rows(BM25Miner(task, index=foreign).mine(np.array([0]), 1)) == [[1]]


@pytest.mark.parametrize("name", ["data.csc.index.npy", "indptr.csc.index.npy", "vocab.index.json"])
def test_a_truncated_index_says_so(name, tmp_path):
    folder = tmp_path / "index"
    BM25Miner(task_of(FOXES, ["fox"]), index=folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-4])
    with pytest.raises(DataError, match=rf"index is damaged \({name} has .* Delete the folder"):
        BM25Miner(task_of(FOXES, ["fox"]), index=folder)
    (folder / name).write_bytes(b"\x80" * len(whole))
    with pytest.raises(DataError, match=r"index is damaged \(.* Delete the folder"):
        BM25Miner(task_of(FOXES, ["fox"]), index=folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"index is damaged \({name}: No such file.* Delete the folder"):
        BM25Miner(task_of(FOXES, ["fox"]), index=folder)


def test_a_truncated_mark_says_so(tmp_path):
    folder = tmp_path / "index"
    BM25Miner(task_of(FOXES, ["fox"]), index=folder)
    (folder / "eci.json").write_bytes((folder / "eci.json").read_bytes()[:40])
    with pytest.raises(DataError, match=r"index is damaged \(eci.json is not JSON\). Delete the folder"):
        BM25Miner(task_of(FOXES, ["fox"]), index=folder)


def test_no_pickle_is_read(tmp_path):
    folder, task = tmp_path / "index", task_of(FOXES, ["fox"])
    BM25Miner(task, index=folder)
    np.save(folder / "data.csc.index.npy", np.array([{}], dtype=object), allow_pickle=True)
    mark = json.loads((folder / "eci.json").read_text())
    mark["files"]["data.csc.index.npy"] = (folder / "data.csc.index.npy").stat().st_size
    (folder / "eci.json").write_bytes(orjson.dumps(mark))
    with pytest.raises(DataError, match="index is damaged .*object"):
        BM25Miner(task, index=folder)


def test_what_stops_midway_leaves_nothing_and_keeps_the_old(tmp_path):
    folder = tmp_path / "index"

    def stop(stage, done, total):
        if stage == "building the BM25 index":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BM25Miner(task_of(FOXES, ["fox"]), index=folder, progress=stop)
    assert not list(tmp_path.glob("*index*"))
    BM25Miner(task_of(FOXES, ["fox"]), index=folder)
    with pytest.raises(KeyboardInterrupt):
        BM25Miner(task_of(FOXES, ["fox"]), BM25Settings(k1=1.2), folder, stop)
    stages = Stages()
    BM25Miner(task_of(FOXES, ["fox"]), index=folder, progress=stages)
    assert stages.met == []
    assert [path.name for path in tmp_path.glob("*index*")] == ["index"]


def test_a_full_disk_is_told(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    task = task_of([f"fox{number}" for number in range(3000)], ["fox7"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(OutputError, match="index: no space left to write it"):
            BM25Miner(task, index=tmp_path / "index")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*index*"))


# Real text


def test_scifact_as_bare_bm25s_ranks_it(data):
    texts = [
        f"{document['title']} {document['text']}"
        for document in map(orjson.loads, (data / "scifact" / "corpus.jsonl").read_bytes().splitlines())
    ]
    queries = [
        query["text"]
        for query in map(orjson.loads, (data / "scifact" / "queries.jsonl").read_bytes().splitlines())
    ][:150]
    task = task_of(texts, queries)
    found = BM25Miner(task).mine(everything(task), 50)
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(queries, show_progress=False)
    documents, values = index.retrieve(tokens, k=51, show_progress=False)
    tied = 0
    for number in range(len(queries)):
        np.testing.assert_array_equal(scores(found)[number], values[number][:50][values[number][:50] > 0])
        # Distinct scores fix the order; equal ones are ours to order.
        alone = np.array([np.sum(values[number] == score) == 1 for score in scores(found)[number]])
        np.testing.assert_array_equal(
            found.documents[number][alone], documents[number][:50][: len(alone)][alone]
        )
        tied += int((~alone).sum())
    assert tied < 0.02 * len(found.scores)
