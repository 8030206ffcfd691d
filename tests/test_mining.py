"""From a task to rows: miners, filters and the writer together."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eci.datasets import write
from eci.errors import DataError, EciError, EncoderError, OutputError
from eci.miners.bm25 import BM25Miner
from eci.miners.dense import DenseMiner, DenseSettings, nearest_by_torch
from eci.miners.filters import Filters
from eci.miners.random import RandomMiner
from eci.miners.reranked import EncoderReranker, RerankMiner
from eci.mining import MineSettings, mine
from eci.ragged import Ragged
from eci.task import Corpus, Ranking, RetrievalTask, Written
from fakes import CountingEncoder

for extra in ("faiss", "bm25s", "datasets"):
    pytest.importorskip(extra, reason="an extra, 'mine' or 'datasets', is not installed")


def task_of(queries, documents, positives, others=None):
    """A task; documents and queries are texts with ids d0…, q0…."""
    nothing = Ragged.from_lengths(np.empty(0, dtype=np.int64), [0] * len(queries))
    wide = pa.large_string()
    return RetrievalTask.of(
        pa.array([f"q{n}" for n in range(len(queries))]),
        pa.array(queries),
        Corpus(
            pa.array([f"d{n}" for n in range(len(documents))], wide),
            pa.nulls(len(documents), wide),
            pa.array(documents, wide),
        ),
        Ragged.from_lengths(np.concatenate(positives).astype(np.int64), [len(p) for p in positives]),
        nothing
        if others is None
        else Ragged.from_lengths(np.concatenate(others).astype(np.int64), [len(p) for p in others]),
    )


def random_task(queries=30, documents=60, seed=0):
    rng = np.random.default_rng(seed)
    positives = [rng.choice(documents, size=rng.integers(1, 4), replace=False) for _ in range(queries)]
    return task_of(
        [f"what about number {n}" for n in range(queries)],
        [f"document number {n} about {n * n}" for n in range(documents)],
        positives,
    )


def rows_of(path):
    return pq.read_table(path).to_pylist()


class Reversing:
    """A reranker that likes what its queries do not: it counts characters."""

    def __init__(self, value=None):
        self.value, self.calls = value, 0

    def describe(self):
        return {"name": "reversing", "value": self.value}

    def score_pairs(self, queries, documents, pairs):
        self.calls += 1
        scores = np.array([len(documents[d]) - len(queries[q]) for q, d in pairs], dtype=float)
        return scores if self.value is None else np.full(len(pairs), self.value)


def test_empty_texts_leave_the_task_and_equal_texts_stay_once():
    task = task_of(
        ["what is Blue", "fox", "nothing"],
        ["Red fox", "", "red  FOX", "blue", "what is blue", "\u00a0"],
        [[3], [2], [1]],
        [[0], [], []],
    )
    assert task.corpus.shown() == ["red  FOX", "blue", "what is blue"]
    assert task.corpus.ids.to_pylist() == ["d2", "d3", "d4"]
    assert task.query_ids.to_pylist() == ["q0", "q1"]
    assert [task.positives[n].tolist() for n in range(2)] == [[1], [0]]
    # The other judgement moved to the text that stayed; the query's own text is no negative of it.
    assert sorted(task.known[0].tolist()) == [0, 1, 2]
    assert task.counts == {
        "empty documents": 2,
        "documents whose text another has": 1,
        "documents that are the query itself": 1,
        "queries without a positive that has text": 1,
    }


def test_queries_of_one_text_share_what_is_known_and_keep_their_positives():
    task = task_of(["same", "other", "Same"], ["a", "b", "c", "d"], [[0], [1], [2]], [[], [], [3]])
    assert [task.positives[n].tolist() for n in range(3)] == [[0], [1], [2]]
    assert [sorted(task.known[n].tolist()) for n in range(3)] == [[0, 2, 3], [1], [0, 2, 3]]
    assert task.counts == {"queries whose text another id has, which share what is known": 1}


def test_two_labelled_positives_of_one_text_count_once():
    task = task_of(["q"], ["same", "Same", "other"], [[0, 1]])
    assert task.positives[0].tolist() == [0]
    assert task.known[0].tolist() == [0]


def test_random_negatives_are_unknown_distinct_and_the_query_s_own(tmp_path):
    task = random_task()
    mine(task, RandomMiner(task, 5), tmp_path / "a.parquet", MineSettings(7))
    for row in rows_of(tmp_path / "a.parquet"):
        ids = [negative["id"] for negative in row["negatives"]]
        assert len(set(ids)) == 7
        assert not set(ids) & {positive["id"] for positive in row["positives"]}
        assert [negative["rank"] for negative in row["negatives"]] == list(range(1, 8))
        assert {negative["score"] for negative in row["negatives"]} == {None}
    # The draw for a query does not depend on the queries beside it.
    alone = RandomMiner(task, 5).mine(np.array([11]), 20)
    whole = RandomMiner(task, 5).mine(np.arange(30), 20)
    assert alone.documents[0].tolist() == whole.documents[11].tolist()
    assert alone.documents[0].tolist() != RandomMiner(task, 6).mine(np.array([11]), 20).documents[0].tolist()


def test_dense_is_a_full_sort_without_what_is_known():
    task, encoder = random_task(), CountingEncoder(8)
    miner = DenseMiner(task, encoder)
    found = miner.mine(np.arange(len(task)), 15)
    similarity = miner.queries @ miner.documents.T
    for number in range(len(task)):
        order = np.argsort(-similarity[number])[:15]
        known = set(task.known[number].tolist())
        assert found.documents[number].tolist() == [d for d in order if d not in known]
    rows = found.documents.rows
    assert found.scores == pytest.approx(similarity[rows, found.documents.values], abs=1e-6)
    assert found.scorer == "counting-1"
    scores = miner.score_positives(np.array([3, 4]))
    assert scores.lengths.tolist() == task.positives.take(np.array([3, 4])).lengths.tolist()
    assert scores[0] == pytest.approx(similarity[3, task.positives[3]], abs=1e-6)


def test_dense_shards_change_nothing():
    task = random_task()
    miner = DenseMiner(task, CountingEncoder(8))
    whole = miner.mine(np.arange(30), 12)
    parts = [miner.mine(np.arange(start, start + 10), 12) for start in (0, 10, 20)]
    assert (
        np.concatenate([part.documents.values for part in parts]).tolist() == whole.documents.values.tolist()
    )
    assert np.concatenate([part.scores for part in parts]).tolist() == whole.scores.tolist()


def test_equally_near_documents_come_in_the_order_of_the_corpus():
    task = task_of(["q"], [f"document {n}" for n in range(6)], [[5]])
    vectors = np.ones((1, 4), np.float32), np.ones((6, 4), np.float32)
    found = DenseMiner(task, CountingEncoder(4), vectors=vectors).mine(np.array([0]), 6)
    assert found.documents[0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.extra("encode")
def test_tiles_of_a_device_find_what_faiss_finds(monkeypatch):
    monkeypatch.setattr("eci.miners.dense._TILE", 7)
    miner = DenseMiner(random_task(), CountingEncoder(8))
    tiled = nearest_by_torch(miner.queries, miner.documents, 9, "cpu")
    assert tiled.tolist() == np.argsort(-(miner.queries @ miner.documents.T), axis=1)[:, :9].tolist()
    on_device = DenseMiner(miner.task, CountingEncoder(8), DenseSettings(device="cpu:0")).mine(
        np.arange(30), 9
    )
    assert on_device.documents.values.tolist() == miner.mine(np.arange(30), 9).documents.values.tolist()


@pytest.mark.parametrize("search", ["hnsw", "ivf"])
def test_an_approximate_index_tells_its_recall(search):
    rng = np.random.default_rng(0)
    task = random_task(100, 3000)
    vectors = rng.standard_normal((len(task), 16)), rng.standard_normal((3000, 16))
    miner = DenseMiner(task, CountingEncoder(16), DenseSettings(search), vectors)
    exact = DenseMiner(task, CountingEncoder(16), vectors=vectors)
    assert exact.recall(20) == 1.0
    queries = np.arange(len(task))
    found, truth = miner._nearest(miner.queries, 20), exact._nearest(exact.queries, 20)
    shares = [len(set(a) & set(b)) / 20 for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
    assert miner.recall(20) == pytest.approx(np.mean(shares))
    assert 0.2 < miner.recall(20) <= 1
    again = DenseMiner(task, CountingEncoder(16), DenseSettings(search), vectors)
    assert (
        again.mine(queries, 20).documents.values.tolist() == miner.mine(queries, 20).documents.values.tolist()
    )


@pytest.mark.parametrize(
    ("queries", "documents", "words"),
    [
        (np.ones((30, 4)), np.ones((60, 5)), "queries have 4 dimensions, those of documents 5"),
        (np.ones((29, 4)), np.ones((60, 4)), r"\(29, 4\); the task has 30 queries"),
        (np.ones((30, 4)), np.ones(60), r"shape \(60,\); the task has 60 documents"),
        (np.ones((30, 4)), np.full((60, 4), np.nan), "60 of the vectors given for the documents are zero"),
        (np.zeros((30, 4)), np.ones((60, 4)), "30 of the vectors given for the queries are zero"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(queries, documents, words):
    with pytest.raises(EncoderError, match=words):
        DenseMiner(random_task(), CountingEncoder(4), vectors=(queries, documents))


def test_a_reranker_reorders_its_pool_and_no_more():
    task = random_task()
    pool = RandomMiner(task, 1)
    miner = RerankMiner(task, pool, Reversing(), candidates=10)
    found = miner.mine(np.arange(len(task)), 4)
    most = int(task.known.lengths.max())
    for number in range(len(task)):
        first = pool.mine(np.array([number]), 10 + most).documents[0][:10].tolist()
        length = {place: len(task.corpus.shown(np.array([place]))[0]) for place in first}
        assert found.documents[number].tolist() == sorted(first, key=lambda d: -length[d])[:4]
    assert found.scorer == "reversing"
    assert found.ranks.tolist() == [1, 2, 3, 4] * len(task)


def test_reranked_rows_carry_the_scores_of_their_positives_and_dense_rows_do_not(tmp_path):
    task = random_task()
    mine(task, RerankMiner(task, RandomMiner(task), Reversing(), 9), tmp_path / "a.parquet", MineSettings(3))
    mine(task, DenseMiner(task, CountingEncoder(8)), tmp_path / "b.parquet", MineSettings(3))
    for row in rows_of(tmp_path / "a.parquet"):
        for entry in row["positives"] + row["negatives"]:
            assert entry["score"] == len(entry["text"]) - len(row["query"])
    assert {p["score"] for row in rows_of(tmp_path / "b.parquet") for p in row["positives"]} == {None}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(value):
    task = random_task()
    with pytest.raises(
        EncoderError, match=r"The reranker gave (nan|inf) for .* pairs, first for the query 'what"
    ):
        RerankMiner(task, RandomMiner(task), Reversing(value), 5).mine(np.arange(3), 5)


def test_a_teacher_scores_what_another_found(tmp_path):
    task, encoder = random_task(), CountingEncoder(8)
    filters = Filters(relative_margin=0.1, range_max=30)
    teacher = EncoderReranker(encoder)
    result = mine(task, RandomMiner(task), tmp_path / "a.parquet", MineSettings(5, filters), teacher=teacher)
    judge = DenseMiner(task, encoder)
    similarity = judge.queries @ judge.documents.T
    ids = task.corpus.ids.to_pylist()
    kept = 0
    for number, row in enumerate(rows_of(tmp_path / "a.parquet")):
        low = min(similarity[number, task.positives[number]])
        for negative in row["negatives"]:
            cosine = similarity[number, ids.index(negative["id"])]
            assert negative["score"] == pytest.approx(cosine, abs=1e-6)
            assert cosine <= low - 0.1 * abs(low) + 1e-6
            kept += 1
        ranks = [negative["rank"] for negative in row["negatives"]]
        assert ranks == sorted(ranks)
    assert kept == result.negatives
    assert result.removed["relative margin"] > 0
    assert result.short == sum(len(row["negatives"]) < 5 for row in rows_of(tmp_path / "a.parquet")) > 0
    assert "looked at: --range-max 30; a larger one may find more" in result.table()


def test_near_copies_of_a_positive_are_no_negatives(tmp_path):
    words = " ".join(f"word{n}" for n in range(60))
    documents = [words, words + " more", "Altogether different text", words.replace("word30", "x")]
    task = task_of(["q"], documents, [[0]])
    vectors = np.ones((1, 4), np.float32), np.ones((4, 4), np.float32)
    miner = DenseMiner(task, CountingEncoder(4), vectors=vectors)
    result = mine(task, miner, tmp_path / "a.parquet", MineSettings(3))
    assert [n["id"] for n in rows_of(tmp_path / "a.parquet")[0]["negatives"]] == ["d2"]
    assert result.removed == {"near copies of a positive": 2}
    assert result.short == 1
    mine(task, miner, tmp_path / "b.parquet", MineSettings(3, Filters(near_copy=None)))
    assert len(rows_of(tmp_path / "b.parquet")[0]["negatives"]) == 3


def test_k_beyond_the_corpus_gives_what_there_is(tmp_path):
    task = random_task(4, 10)
    result = mine(task, DenseMiner(task, CountingEncoder(8)), tmp_path / "a.parquet", MineSettings(500))
    lengths = [len(row["negatives"]) for row in rows_of(tmp_path / "a.parquet")]
    assert lengths == [10 - len(known) for known in (task.known[n] for n in range(4))]
    assert result.short == 4
    assert "short rows: 4 of 4 have fewer than 500" in result.table()


def test_when_nothing_passes_nothing_is_written_and_the_reason_is_told(tmp_path):
    task = random_task()
    miner = DenseMiner(task, CountingEncoder(8))
    with pytest.raises(DataError, match=r"none became a negative. Removed by: max score [\d,]+"):
        mine(task, miner, tmp_path / "a.parquet", MineSettings(3, Filters(max_score=-1)))
    assert not (tmp_path / "a.parquet").exists()


def test_filters_by_score_refuse_a_miner_without_scores(tmp_path):
    task = random_task()
    for filters in (Filters(max_score=0.5), Filters(relative_margin=0.05)):
        with pytest.raises(EciError, match="carry no scores to filter by. Name a --teacher"):
            mine(task, RandomMiner(task), tmp_path / "a.parquet", MineSettings(3, filters))


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(tmp_path):
    task, reranker = random_task(), Reversing()
    miner = RerankMiner(task, RandomMiner(task), reranker, 9)
    with pytest.raises(OutputError, match="does not exist"):
        mine(task, miner, tmp_path / "no" / "a.parquet", MineSettings(3))
    with pytest.raises(EciError, match="unknown layout"):
        mine(task, miner, tmp_path / "a.parquet", MineSettings(3, layout="nonsense"))
    assert reranker.calls == 0


class Interrupting:
    """A miner that stops the run after some shards and remembers what it was asked."""

    label = "random"

    def __init__(self, inner, shards):
        self.inner, self.left, self.asked = inner, shards, []

    def describe(self):
        return self.inner.describe()

    def mine(self, queries, depth):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked.append(int(queries[0]))
        return self.inner.mine(queries, depth)


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.mining._SHARD", 7)
    task, out = random_task(), tmp_path / "a.parquet"
    stopped = Interrupting(RandomMiner(task), 2)
    with pytest.raises(KeyboardInterrupt):
        mine(task, stopped, out, MineSettings(3))
    assert not out.exists()
    resumed = Interrupting(RandomMiner(task), 99)
    mine(task, resumed, out, MineSettings(3))
    assert stopped.asked == [0, 7]
    assert resumed.asked == [14, 21, 28]
    mine(task, RandomMiner(task), tmp_path / "b.parquet", MineSettings(3))
    assert out.read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize("change", ["seed", "task", "depth"])
def test_shards_of_another_job_are_not_used(tmp_path, monkeypatch, change):
    monkeypatch.setattr("eci.mining._SHARD", 7)
    task, out = random_task(), tmp_path / "a.parquet"
    with pytest.raises(KeyboardInterrupt):
        mine(task, Interrupting(RandomMiner(task), 2), out, MineSettings(3))
    other = random_task(seed=1) if change == "task" else task
    miner = Interrupting(RandomMiner(other, 1 if change == "seed" else 0), 99)
    filters = Filters(range_max=50) if change == "depth" else Filters()
    mine(other, miner, out, MineSettings(3, filters))
    assert miner.asked == [0, 7, 14, 21, 28]


def test_shards_of_other_vectors_are_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.mining._SHARD", 7)
    task, out, rng = random_task(), tmp_path / "a.parquet", np.random.default_rng(0)
    given = [(rng.standard_normal((len(task), 4)), rng.standard_normal((len(task.corpus), 4))) for _ in "ab"]
    first, second = (
        DenseMiner(task, CountingEncoder(4), vectors=(queries.astype("f4"), documents.astype("f4")))
        for queries, documents in given
    )
    with pytest.raises(KeyboardInterrupt):
        mine(task, Interrupting(first, 2), out, MineSettings(3))
    miner = Interrupting(second, 99)
    mine(task, miner, out, MineSettings(3))
    assert miner.asked == [0, 7, 14, 21, 28]


@pytest.mark.parametrize("as_teacher", [False, True])
@pytest.mark.parametrize(("first", "then", "taken_up"), [("a", "a", 2), ("a", "b", 0), (None, None, 0)])
def test_candidates_of_a_judge_are_taken_up_only_if_it_is_known_again(
    tmp_path, monkeypatch, as_teacher, first, then, taken_up
):
    """Two judges that describe themselves alike may be two models: a tokenizer is in no description."""
    monkeypatch.setattr("eci.mining._JUDGED_SHARD", 7)

    class Judge(Reversing):
        def __init__(self, digest, limit=99):
            super().__init__()
            self.digest, self.limit = digest, limit

        def identity(self):
            return self.digest

        def score_pairs(self, queries, documents, pairs):
            if self.calls == self.limit:
                raise KeyboardInterrupt
            return super().score_pairs(queries, documents, pairs)

    task, out = random_task(), tmp_path / ("a" if as_teacher else "a.parquet")

    def run(judge):
        if as_teacher:
            return mine(task, RandomMiner(task), out, MineSettings(3, layout="beir"), teacher=judge)
        return mine(task, RerankMiner(task, RandomMiner(task), judge, 9), out, MineSettings(3))

    with pytest.raises(KeyboardInterrupt):
        run(Judge(first, 2))
    judge = Judge(then)
    run(judge)
    # However often the writer asks for the rows, one run judges each shard once.
    assert judge.calls == 5 - taken_up


def test_shards_without_scores_are_not_taken_for_scored_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.mining._SHARD", 7)
    task, out = random_task(), tmp_path / "a.parquet"
    wide = Filters(range_max=20)
    with pytest.raises(KeyboardInterrupt):
        mine(task, Interrupting(RandomMiner(task), 2), out, MineSettings(3, wide))
    with pytest.raises(EciError, match="carry no scores to filter by"):
        mine(task, RandomMiner(task), out, MineSettings(3, replace(wide, max_score=0.5)))


@pytest.mark.parametrize("filters", [Filters(max_uses=1), Filters(sampling="random")])
def test_written_negatives_are_the_same_whatever_the_shards(tmp_path, monkeypatch, filters):
    task, found = random_task(), []
    for size in (7, 100):
        monkeypatch.setattr("eci.mining._SHARD", size)
        mine(task, Writing(task), tmp_path / "a.parquet", MineSettings(1, filters))
        found.append(rows_of(tmp_path / "a.parquet"))
    assert found[0] == found[1]
    assert all(len(row["negatives"]) == 1 for row in found[0])


def test_a_draw_is_the_same_whatever_other_queries_know(tmp_path):
    """How deep the search goes for the sake of other queries does not decide what is drawn."""
    small, large = (drawn_task(extra) for extra in (0, 30))
    for miner, filters in ((RandomMiner, Filters()), (BM25Miner, Filters(sampling="random"))):
        rows = []
        for task in (small, large):
            mine(task, miner(task), tmp_path / "a.parquet", MineSettings(3, filters))
            rows.append(rows_of(tmp_path / "a.parquet")[0])
        assert rows[0] == rows[1]
    few, many = (RandomMiner(small).mine(np.array([0]), depth) for depth in (5, 40))
    assert many.documents.values[: len(few.ranks)].tolist() == few.documents.values.tolist()


def drawn_task(extra):
    """A query with one positive, and another with many more known documents in one of two tasks."""
    texts = [f"common words {number} and more of them {number * 7}" for number in range(90)]
    ids = pa.array([f"d{number}" for number in range(90)], pa.large_string())
    corpus = Corpus(ids, pa.nulls(90, pa.large_string()), pa.array(texts, pa.large_string()))
    positives = Ragged.from_lengths(np.arange(2 + extra), [1, 1 + extra])
    nothing = Ragged.from_lengths(np.empty(0, dtype=np.int64), [0, 0])
    queries = pa.array(["common words", "more common words"])
    return RetrievalTask.of(pa.array(["q0", "q1"]), queries, corpus, positives, nothing)


def test_a_second_run_with_the_same_output_is_refused(tmp_path):
    pytest.importorskip("fcntl")
    task, out = random_task(), tmp_path / "a.parquet"

    class Meanwhile(RandomMiner):
        def mine(self, queries, depth):
            with pytest.raises(OutputError, match="another run is writing it"):
                mine(task, RandomMiner(task, 1), out, MineSettings(3))
            return super().mine(queries, depth)

    mine(task, Meanwhile(task), out, MineSettings(3))
    mine(task, RandomMiner(task), tmp_path / "b.parquet", MineSettings(3))
    assert out.read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_killed_without_warning_the_next_run_computes_only_what_is_missing(tmp_path):
    script = textwrap.dedent("""
        import os, signal, sys
        import numpy as np
        sys.path.insert(0, sys.argv[2])
        from test_mining import Interrupting, random_task
        import eci.mining
        from eci.miners.random import RandomMiner
        eci.mining._SHARD = 7
        task = random_task()
        class Killing(Interrupting):
            def mine(self, queries, depth):
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().mine(queries, depth)
        eci.mining.mine(task, Killing(RandomMiner(task), 3), sys.argv[1], eci.mining.MineSettings(3))
    """)
    out, here = tmp_path / "a.parquet", str(__import__("pathlib").Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", script, str(out), here], check=False, capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    assert len(list((tmp_path / ".a.parquet.work").glob("*.arrow"))) == 3
    task = random_task()
    resumed = Interrupting(RandomMiner(task), 99)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eci.mining._SHARD", 7)
        mine(task, resumed, out, MineSettings(3))
    assert resumed.asked == [21, 28]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


class Writing:
    """A miner whose negatives are in no corpus."""

    label = "made"

    def __init__(self, task):
        self.task = task

    def describe(self):
        return {"name": "made"}

    def mine(self, queries, depth):
        count = len(queries)
        texts = [Written(f"w{n}", self.task.corpus.shown(self.task.positives[n][:1])[0] + "!", {"edit": "end"})
                 for n in queries]  # fmt: skip
        documents = Ragged.from_lengths(len(self.task.corpus) + np.arange(count), [1] * count)
        return Ranking(documents, np.ones(count, np.int64), np.full(count, np.nan), "made", tuple(texts))


def test_written_negatives_keep_how_they_were_made_and_are_no_copies(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.mining._SHARD", 7)
    task = random_task()
    result = mine(task, Writing(task), tmp_path / "a.parquet", MineSettings(2))
    for number, row in enumerate(rows_of(tmp_path / "a.parquet")):
        (negative,) = row["negatives"]
        assert negative["id"] == f"w{number}"
        assert negative["extra"] == '{"edit":"end"}'
    assert result.short == len(task)
    # A teacher scores them too, with the title in front as everywhere.
    assert Written("w", "text", {"title": "Title"}).shown == "Title text"
    teacher = Reversing()
    mine(
        task, Writing(task), tmp_path / "b.parquet", MineSettings(2, Filters(min_score=-99)), teacher=teacher
    )
    row = rows_of(tmp_path / "b.parquet")[8]
    assert row["negatives"][0]["score"] == len(row["negatives"][0]["text"]) - len(row["query"])


def test_every_layout_can_be_mined_into(tmp_path):
    from eci.datasets import LAYOUT_NAMES, read

    task = random_task()
    for layout in LAYOUT_NAMES:
        out = tmp_path / layout
        result = mine(task, RandomMiner(task), out, MineSettings(2, layout=layout, label="chance"))
        assert result.negatives == 60, layout
        assert sum(len(batch) for batch in read([out])) >= 30, layout


def test_the_result_as_json_says_how_to_obtain_it(tmp_path):
    import orjson

    task = random_task()
    told = orjson.loads(mine(task, RandomMiner(task, 9), tmp_path / "a.jsonl", MineSettings(2)).to_json())
    assert told["schema"] == "eci.mine/1"
    assert told["settings"]["miner"] == {"name": "random", "seed": 9}
    assert told["settings"]["filters"]["range_max"] == 2 + 16
    assert told["lengths"] == {"2": 30}
    assert told["short"] == 0


def test_the_miner_s_rows_can_be_read_and_written_again(tmp_path):
    from eci.datasets import read

    task = random_task()
    mine(task, RandomMiner(task), tmp_path / "a.parquet", MineSettings(2))
    write(read([tmp_path / "a.parquet"]), tmp_path / "b.parquet", "eci")
    assert rows_of(tmp_path / "a.parquet") == rows_of(tmp_path / "b.parquet")
