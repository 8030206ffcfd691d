"""The audit on arrays: features against naive loops, detectors against examples by hand, weights that learn."""

from __future__ import annotations

import contextlib
import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.audit.collecting import Collector, Judgements
from eci.audit.combination import fit, folds, stand_ins
from eci.audit.detecting import _by_similarity, findings
from eci.audit.features import NAMES, features
from eci.audit.issues import DETECTORS, FAULTS, ISSUES, OF_ROWS, AuditSettings
from eci.audit.material import Candidates, Material, rank_within
from eci.audit.result import AuditResult
from eci.audit.running import audit
from eci.audit.store import Texts, VectorFile
from eci.audit.wording import likeness, shared_words
from eci.datasets import ReadOptions, from_object, read
from eci.errors import DataError, EciError, OutputError
from eci.examples import ROWS
from eci.models.hashing import HashingEncoder
from eci.ragged import Ragged
from eci.similarity import normalise
from fakes import CountingEncoder, batch_of, make_rows


def ragged(rows):
    return Ragged.from_lengths(
        np.array([v for row in rows for v in row], dtype=np.int64), [len(r) for r in rows]
    )


def random_material(seed, rows=12, documents=30, dimension=8, most=7):
    rng = np.random.default_rng(seed)
    # Now and then a row has a positive twice.
    positives = [rng.choice(documents, rng.integers(1, 4), replace=seed % 2 == 1) for _ in range(rows)]
    negatives = [rng.choice(documents, rng.integers(0, most), replace=False) for _ in range(rows)]
    return Material(
        normalise(rng.standard_normal((rows, dimension))),
        normalise(rng.standard_normal((documents, dimension))),
        ragged(positives),
        ragged(negatives),
        # Two rows ask the same.
        np.array([*range(1, rows), 1]) * 1_000_003,
        np.arange(documents) * 7_919,
    )


def whole(material):
    return Candidates(np.arange(len(material)), material.negatives, material.positives)


def naive(material, row, document):
    """The features of one negative, by loops."""
    q, vectors = material.queries[row].astype(float), material.documents.astype(float)
    own, others = list(dict.fromkeys(material.positives[row])), list(dict.fromkeys(material.negatives[row]))
    s = q @ vectors[document]
    best, mean = max(q @ vectors[p] for p in own), np.mean([q @ vectors[p] for p in own])
    rank = 1 + sum(q @ vectors[n] > s for n in others)
    near = max(own, key=lambda p: vectors[document] @ vectors[p])
    close = vectors[document] @ vectors[near]
    seen_by = 1 + sum(vectors[n] @ vectors[near] > close for n in others if n != document)
    sees = 1 + sum(vectors[n] @ vectors[document] > close for n in others if n != document)
    away = [r for r in range(len(material)) if material.group[r] != material.group[row]]
    asking = max((q @ material.queries[r] for r in away if document in material.positives[r]), default=0.0)
    labelled, negative = (
        len({int(material.group[r]) for r in away if document in lists[r]})
        for lists in (material.positives, material.negatives)
    )
    values = [s, s - best, s - mean, -np.log(rank / len(others)), close]
    values += [np.mean([vectors[document] @ vectors[p] for p in own])]
    return [*values, -np.log(seen_by), -np.log(sees), asking, np.log1p(labelled), np.log1p(negative)]


@pytest.mark.parametrize("seed", range(6))
def test_features_are_those_of_naive_loops(seed):
    material = random_material(seed)
    found = features(material, whole(material))
    lists = material.negatives
    expected = [
        naive(material, r, d) for r, d in zip(lists.rows.tolist(), lists.values.tolist(), strict=True)
    ]
    np.testing.assert_allclose(found.table, expected, atol=2e-6)
    products = np.exp(-found.table[:, NAMES.index("rank from the positive")].astype(float)) * np.exp(
        -found.table[:, NAMES.index("rank of the positive")].astype(float)
    )
    np.testing.assert_allclose(found.reciprocal, products, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_features_of_a_row_do_not_depend_on_the_rows_asked_beside_it(seed):
    material = random_material(seed)
    everything = features(material, whole(material)).table
    row = seed % len(material)
    alone = features(material, whole(material).part(row, row + 1)).table
    offsets = material.negatives.offsets
    np.testing.assert_array_equal(alone, everything[offsets[row] : offsets[row + 1]])


def test_a_document_that_two_sources_bring_is_looked_at_once():
    material = random_material(3)
    lists = [list(material.negatives[row]) for row in range(len(material))]
    twice = Candidates(
        np.arange(len(material)), ragged([row + row[::-1] for row in lists]), material.positives
    )
    once, both = features(material, whole(material)), features(material, twice)
    expected = [
        once.table[a:b]
        for a, b in zip(material.negatives.offsets, material.negatives.offsets[1:], strict=False)
    ]
    np.testing.assert_array_equal(
        both.table, np.concatenate([np.concatenate([e, e[::-1]]) for e in expected])
    )


def test_no_negatives_give_no_features():
    material = random_material(1, most=1)
    assert features(material, whole(material)).table.shape == (0, len(NAMES))


def test_equal_values_share_the_better_rank():
    rows = Ragged.from_rows([[0.5, 0.9, 0.5, 0.1], [], [2.0, 2.0]])
    assert rank_within(rows.values, rows).tolist() == [2, 1, 2, 4, 1, 1]


def test_weights_tell_answers_from_others_and_never_call_nearness_innocent():
    rng = np.random.default_rng(0)
    answers = np.arange(600) % 3 == 0
    table = rng.standard_normal((600, len(NAMES))).astype(np.float32)
    table[answers, 4] += 2.0
    table[answers, 0] -= 2.0
    table[answers, 10] -= 1.0
    found = fit(table, answers, np.ones(600))
    chance = found.probability(table)
    assert found.coefficients[4] > 0.5
    assert (found.coefficients[:9] >= 0).all()
    assert found.coefficients[10] < 0
    assert chance[answers].mean() > 0.7
    assert chance[~answers].mean() < 0.4


def test_the_weights_are_where_the_likelihood_is_flat():
    rng = np.random.default_rng(1)
    table = rng.standard_normal((400, len(NAMES))).astype(np.float32)
    answers = rng.random(400) < 1 / (1 + np.exp(-table.sum(axis=1)))
    times = rng.integers(1, 4, 400).astype(float)
    found = fit(table, answers, times)
    counts = times * np.where(answers, 0.5 / times[answers].sum(), 0.5 / times[~answers].sum()) * 400
    slope = table.T.astype(float) @ (counts * (found.probability(table) - answers))
    np.testing.assert_allclose(slope, -found.coefficients * table.std(axis=0).astype(float) ** 2, atol=1e-3)


def test_a_stand_in_is_a_positive_of_its_row_that_no_longer_counts_as_one():
    material = random_material(5, rows=40)
    shown = stand_ins(material, np.ones(len(material.negatives.values), dtype=np.bool_))
    assert len(shown.rows)
    assert shown.answers.sum() == len(shown.rows) == len(np.unique(shown.rows))
    similarity = shown.table[shown.answers, 0]
    for row, s in zip(shown.rows.tolist(), similarity.tolist(), strict=True):
        own, others = material.positives[row], material.negatives[row]
        cosines = material.documents[own] @ material.queries[row]
        assert len(set(own)) > 1
        assert np.isclose(cosines, s, atol=1e-6).any()
        assert s >= (material.documents[others] @ material.queries[row]).mean() - 1e-6


def test_rows_that_ask_the_same_are_in_one_fold():
    material = random_material(0)
    found = folds(material.group)
    assert found[0] == found[-1]
    assert set(found) <= set(range(5))


def test_words_in_any_order_are_the_same_words():
    texts = ["a b c d e f g h", "h g f e d c b a", "a b c d x y z w", "a b c d e f g h"]
    pairs = np.array([[0, 1], [0, 2], [0, 3]])
    assert shared_words(texts, pairs).tolist() == [1.0, 4 / 12, 1.0]
    assert likeness(texts, pairs, 0.8).tolist() == [1.0, 4 / 12, 1.0]
    assert shared_words(["?", "!"], np.array([[0, 1]])).tolist() == [0.0]


FOX = "the red fox is the largest of the true foxes and lives in many countries of the north"


def audited(rows, known=None, options=None, reading=None, **more):
    read = from_object(rows, reading or ReadOptions(sources=("s",)))
    return audit(read, HashingEncoder(), options or AuditSettings(), known=known, **more)


def row(query, negatives, positives=(FOX,), query_id=None):
    records = [each if isinstance(each, dict) else {"source": "s", "text": each} for each in negatives]
    return {
        "query_id": query_id,
        "query": query,
        "positives": [{"text": p} for p in positives],
        "negatives": records,
    }


def of(rows, **more):
    found = audited(pa.Table.from_pylist(rows, schema=ROWS), reading=ReadOptions(layout="eci"), **more)
    return {
        issue: list(zip(*(part.tolist() for part in found.flagged(issue)), strict=True)) for issue in ISSUES
    }


def test_faults_by_hand():
    other = "stock markets fell sharply after the news of the day"
    rows = [
        row(
            "red fox",
            [f"  {FOX.upper()}", other, other, "", "Red  fox", FOX.replace("many", "some")],
            query_id="1",
        ),
        row("markets", [FOX], positives=[other], query_id="2"),
        row("what is a fox", [], query_id="3"),
    ]
    found = of(rows)
    assert found["identical_to_positive"] == [(0, 0)]
    assert found["duplicate_in_row"] == [(0, 2)]
    assert found["empty"] == [(0, 3)]
    assert found["repeats_query"] == [(0, 4)]
    assert found["near_positive"] == [(0, 5)]
    assert found["known_positive"] == []
    assert found["repeated_query_id"] == []
    table = pa.Table.from_pylist(rows, schema=ROWS)
    checks = {check.name: check for check in audited(table, reading=ReadOptions(layout="eci")).checks}
    failed = {name: check.told for name, check in checks.items() if not check.passed}
    assert failed == {
        "no known positive among the negatives": "1 negative",
        "unique negatives per row": "1 negative",
        "enough distinct negatives": "1 row",
        "the corpus path resolves": "1 empty document",
    }


def test_known_positives_come_from_judgements_and_from_rows_that_ask_the_same():
    rows = [
        row("red fox", [{"source": "s", "text": "one", "id": "d1"}, "two"], query_id="1"),
        row("Red Fox", ["three"], positives=["two"], query_id="2"),
    ]
    found = of(rows, known=Judgements(relevant=frozenset({("1", "d1")})))
    assert sorted(found["known_positive"]) == [(0, 0), (0, 1)]
    assert sorted(found["repeated_query_id"]) == [(0, 0), (0, 1), (1, 0)]


def test_leaks_of_test_queries_and_of_their_documents(tmp_path):
    qrels, queries = tmp_path / "test.tsv", tmp_path / "queries.jsonl"
    qrels.write_text("query-id\tcorpus-id\tscore\n9\td1\t1\n9\td2\t0\n")
    queries.write_text('{"_id": "x", "text": "RED  fox"}\n')
    rows = [
        row("red fox", ["one"], query_id="1"),
        row(
            "markets",
            [{"source": "s", "text": "two", "id": "d1"}, {"source": "s", "text": "three", "id": "d2"}],
            query_id="2",
        ),
        row("news", ["four"], query_id="9"),
    ]
    known = Judgements.read(test_qrels=[qrels], test_queries=[queries])
    assert [file["name"] for file in known.files] == ["test.tsv", "queries.jsonl"]
    assert known.files[0]["sha256"] == hashlib.sha256(qrels.read_bytes()).hexdigest()
    found = of(rows, known=known)
    # A row that asks a test query is worse than a document that answers one.
    assert found["leaks"] == [(0, 0), (2, 0), (1, 0)]


def test_edits_of_a_positive_are_near_it_on_purpose():
    near = FOX.replace("many", "some")
    edit = {"source": "s", "text": near, "extra": '{"edit": "entity"}'}
    found = of([row("red fox", [edit, near])])
    assert found["near_positive"] == [(0, 1)]
    assert (0, 0) not in found["likely_false_negative"]


def test_the_word_edit_in_a_value_makes_no_edit():
    near = FOX.replace("many", "some")
    found = of([row("red fox", [{"source": "s", "text": near, "extra": '{"type": "edit"}'}])])
    assert found["near_positive"] == [(0, 0)]


def test_scores_of_a_teacher_count_where_it_scored_the_positives_too():
    def scored(query, positive, negatives):
        records = [{"source": "s", "text": f"{query} {n}", "score": n} for n in negatives]
        return {"query": query, "positives": [{"text": query, "score": positive}], "negatives": records}

    rows = [scored("a b", 1.0, [2.0, 0.5]), scored("c d", None, [9.0, 8.0])]
    assert of(rows)["teacher_above_positive"] == [(0, 0)]


def test_scores_of_several_scorers_are_not_compared():
    def scored(query, scorers):
        records = [
            {"source": source, "text": f"{query} {source} {name}", "score": 2.0, "scorer": name}
            for source, name in scorers
        ]
        return {"query": query, "positives": [{"text": query, "score": 1.0}], "negatives": records}

    rows = [
        scored("a b", [("s", "bm25"), ("s", "ce")]),
        scored("c d", [("s", "ce"), ("t", "ce")]),
        scored("e f", [("s", None), ("t", None)]),
        scored("g h", [("s", None), ("s", None)]),
        scored("i j", [("s", "ce"), ("t", "bm25")]),
    ]
    # What has no score is nobody's.
    rows[1]["negatives"].append({"source": "t", "text": "c d else", "scorer": "bm25"})
    found = of(rows)["teacher_above_positive"]
    assert sorted(found) == [(1, 0), (1, 1), (3, 0), (3, 1)]
    table = pa.Table.from_pylist(rows, schema=ROWS)
    told = audited(table, reading=ReadOptions(layout="eci")).warnings
    assert any(text.startswith("teacher_above_positive leaves out 3 rows") for text in told)


def test_neighbours_are_flagged_where_each_is_the_others_nearest_and_only_there():
    material = random_material(2, rows=30)
    seen = features(material, whole(material))
    assert {1, 2} <= set(seen.reciprocal.tolist())
    empty = np.zeros(len(seen.reciprocal), dtype=np.bool_)
    score = _by_similarity(seen, material.negatives, empty)["reciprocal_neighbours"]
    enough = material.negatives.lengths[material.negatives.rows] >= 3
    assert ((score <= 0.5) == (enough & (seen.reciprocal == 1))).all()
    assert (np.diff(score[enough][np.argsort(seen.reciprocal[enough], kind="stable")]) >= 0).all()
    assert (score[~enough] == 1).all()


@pytest.mark.parametrize(
    ("query", "positive", "negative"),
    [("a b", "", "hello world"), ("", "a b c", "d e f"), ("a b", "p", ""), ("a b", "", "")],
)
def test_rows_that_begin_with_empty_texts(query, positive, negative, tmp_path):
    rows = [row(query, [negative], positives=[positive]), row("c d", ["later one"], positives=["later"])]
    for size in (1, 2):
        table = pa.Table.from_pylist(rows, schema=ROWS)
        found = audited(table, reading=ReadOptions(layout="eci", batch_rows=size))
        assert found.negatives == 2
        assert (0 in found.flagged("empty")[0]) == (negative == "")
    alone = audited(pa.Table.from_pylist(rows[:1], schema=ROWS), reading=ReadOptions(layout="eci"))
    assert alone.rows == 1


def test_where_nothing_has_text_there_is_nothing_to_compare():
    with pytest.raises(DataError, match="no query and no document of the rows has text"):
        of([row("", [""], positives=[" "])])


def test_zeros_of_a_file_wait_until_their_length_is_known(tmp_path):
    with contextlib.closing(VectorFile(tmp_path / "v")) as file:
        file.add_zeros(2)
        assert file.table().shape == (2, 0)
        file.add(np.ones((1, 3), dtype=np.float32))
        file.add_zeros(1)
        np.testing.assert_array_equal(file.table(), [[0] * 3, [0] * 3, [1] * 3, [0] * 3])


def test_rows_that_ask_the_same_and_positives_that_come_twice_count_once():
    """Labels of a query's own rows are no sign, however many rows there are."""
    rows = make_rows(160, {"s": 12})
    rng = np.random.default_rng(0)
    for each in rows:
        text = each["positives"][0]["text"]
        each["positives"].append({"text": f"{text} again"})
        # An answer that nobody labelled, on some rows.
        if rng.random() < 0.5:
            each["negatives"][0]["text"] = f"{text} once more"

    def split(parts, times=1):
        return [
            {**each, "positives": each["positives"] * times, "negatives": each["negatives"][part::parts]}
            for each in rows
            for part in range(parts)
        ]

    def chances(made):
        table = pa.Table.from_pylist(made, schema=ROWS)
        found = audited(table, reading=ReadOptions(layout="eci"))
        texts = [(each["query_id"], n["text"]) for each in made for n in each["negatives"]]
        scores = found.findings.scores["likely_false_negative"]
        return found.data["learned"], dict(zip(texts, scores.tolist(), strict=True))

    learned, once = chances(split(1))
    same, twice = chances(split(1, times=2))
    assert twice == once
    assert same == learned
    assert learned["stand_ins"] > 100
    apart, halves = chances(split(2))
    assert 100 < apart["stand_ins"] <= 160
    for name in ("labelled elsewhere", "negative elsewhere"):
        assert apart["weights"][name] == pytest.approx(learned["weights"][name], abs=0.3)
    keys = sorted(once)
    hidden = np.array([text.endswith("once more") for _, text in keys])
    whole_rows, half_rows = (np.array([found[key] for key in keys]) for found in (once, halves))
    # The scores tell answers from others as well as before.
    for scores in (whole_rows, half_rows):
        below = (scores[hidden][:, None] < scores[~hidden]).mean()
        assert below > 0.95
    alone = chances(split(2)[:180])[0]
    assert alone["from"] == "other collections"
    assert alone["stand_ins"] <= 90


def test_reuse_is_counted_in_rows_and_bounded():
    rows = [row(f"query {n}", ["popular", "popular", f"rare {n}"]) for n in range(5)]
    assert of(rows, options=AuditSettings(max_uses=5))["reused"] == []
    assert len(of(rows, options=AuditSettings(max_uses=4))["reused"]) == 10


def test_too_few_different_negatives():
    rows = [row("a b", ["one", "one", ""]), row("c d", ["one", "two"])]
    assert {r for r, _ in of(rows, options=AuditSettings(min_negatives=2))["too_few_negatives"]} == {0}


def test_too_easy_is_the_softmax_weight_in_a_batch_of_16():
    rows = make_rows(30, {"s": 4})
    options = AuditSettings(temperature=0.02)
    encoder = HashingEncoder()
    found = audit(from_object(pa.Table.from_pylist(rows, schema=ROWS)), encoder, options)
    text = [each["positives"][0]["text"] for each in rows]
    q, p = (
        normalise(np.asarray(function(texts)))
        for function, texts in (
            (encoder.encode_query, [r["query"] for r in rows]),
            (encoder.encode_document, text),
        )
    )
    for number in (0, 7):
        s = q[number] @ p.T
        others = 15 * np.exp(np.delete(s, number) / 0.02).mean()
        negative = (
            normalise(np.asarray(encoder.encode_document([rows[number]["negatives"][0]["text"]])))[0]
            @ q[number]
        )
        weight = np.exp(negative / 0.02) / (np.exp(negative / 0.02) + np.exp(s[number] / 0.02) + others)
        score = found.findings.scores["too_easy"][4 * number]
        assert score == pytest.approx(weight / (weight + 1e-4), rel=1e-3)


def test_a_text_that_the_encoder_does_not_read_to_its_end_is_too_long():
    class Short(CountingEncoder):
        def describe(self):
            return {**super().describe(), "max_seq_length": 7}

        def tokens(self, texts):
            return [
                [piece for word in text.split() for piece in (word[:3], word[3:]) if piece] for text in texts
            ]

    rows = [row("q r", ["a b c d e", "a b c d e f", "longer words here", "abc"], positives=["p"])]
    read = from_object(pa.Table.from_pylist(rows, schema=ROWS))
    found = audit(read, Short())
    assert sorted(found.flagged("too_long")[1].tolist()) == [1, 2]
    assert audit(read, CountingEncoder()).flagged("too_long")[1].tolist() == []


def test_of_very_many_texts_the_length_is_told_by_their_words(tmp_path, monkeypatch):
    class Letters(HashingEncoder):
        def tokens(self, texts):
            return [list(text.replace(" ", "")) for text in texts]

    monkeypatch.setattr("eci.audit.store._ASKED", 3)
    texts = [" ".join(["ab"] * words) for words in (9, 2, 7, 3, 8, 5, 10, 4)]
    with contextlib.closing(VectorFile(tmp_path / "v")) as file:
        held = Texts(Letters(), "document", file, limit=10)
        held.add(np.arange(8), pa.array(texts))
        # Eight tokens fit, four words of two letters.
        assert held.cut().tolist() == [True, False, True, False, True, True, True, False]
        assert held.estimated > 0


def test_non_finite_scores_are_seen_by_the_detector(tmp_path):
    batch = batch_of(
        [
            {
                "query": "q r",
                "positives": [{"text": "p"}],
                "negatives": [
                    {"source": "s", "text": "a", "score": float("nan")},
                    {"source": "s", "text": "b", "score": float("inf")},
                    {"source": "s", "text": "c", "score": 1.0},
                    {"source": "s", "text": "d"},
                ],
            }
        ]
    )
    collector = Collector(HashingEncoder(), tmp_path, 0.8, Judgements())
    collector.add(batch)
    found = findings(collector.done(), AuditSettings(), True)
    collector.close()
    assert found.flags("non_finite_score").tolist() == [True, True, False, False]


@pytest.mark.parametrize("learned", [False, True])
def test_order_of_rows_and_size_of_batches_change_no_score(tmp_path, learned):
    pytest.importorskip("pandas")
    rows = make_rows(140, {"bm25": 5, "dense": 3})
    for each in rows if learned else rows[::3]:
        more = [each["query"] + " again", each["query"] + " and again"]
        each["positives"] += [{"text": text} for text in more]
    tables = []
    for name, ordered, size in (("a", rows, 4096), ("b", rows[::-1], 7)):
        path = tmp_path / f"{name}.parquet"
        read = from_object(pa.Table.from_pylist(ordered, schema=ROWS), ReadOptions(batch_rows=size))
        found = audit(read, HashingEncoder(), table=path)
        assert (found.data["learned"]["from"] == "these rows") == learned
        table = pq.read_table(path).drop(["row"]).to_pandas()
        tables.append(table.sort_values(["query_id", "place"]).reset_index(drop=True))
    for name in tables[0].columns:
        if name.endswith("_score"):
            # Sums over rows in another order differ in the last digits.
            np.testing.assert_allclose(tables[0][name], tables[1][name], atol=1e-6 if learned else 0)
        elif not learned:
            assert tables[0][name].equals(tables[1][name])


def test_the_table_has_a_line_for_each_negative_and_for_a_row_without(tmp_path):
    rows = [
        row("a b", ["one", ""], query_id="1"),
        row("c d", [], query_id="2"),
        row("e f", ["two"], query_id="3"),
    ]
    path = tmp_path / "scores.parquet"
    found = audited(pa.Table.from_pylist(rows, schema=ROWS), reading=ReadOptions(layout="eci"), table=path)
    table = pq.read_table(path).to_pylist()
    assert [(r["row"], r["place"], r["query_id"]) for r in table] == [
        (0, 0, "1"),
        (0, 1, "1"),
        (1, None, "2"),
        (2, 0, "3"),
    ]
    assert [r["is_empty"] for r in table] == [False, True, False, False]
    assert [r["is_too_few_negatives"] for r in table] == [False, False, True, False]
    assert found["too_few_negatives"].rows == 1
    assert found["too_few_negatives"].share == pytest.approx(1 / 3)
    for issue in ISSUES:
        scores = np.array([r[f"{issue}_score"] for r in table])
        assert ((scores >= 0) & (scores <= 1)).all()
        assert ((scores <= 0.5) == [r[f"is_{issue}"] for r in table]).all()


def test_a_table_does_not_replace_what_is_read(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(make_rows(3), schema=ROWS), path)
    before = path.read_bytes()
    (tmp_path / "link.parquet").symlink_to(path)
    encoder = CountingEncoder()
    for table in (path, tmp_path / "link.parquet"):
        with pytest.raises(OutputError, match="is read from"):
            audit(read([path]), encoder, table=table)
    assert path.read_bytes() == before
    assert encoder.seen == []


def test_rows_with_second_positives_teach_the_weights():
    rows = make_rows(150, {"s": 6})
    for each in rows:
        each["positives"].append({"text": each["positives"][0]["text"].replace("0", "1") + " again"})
    found = audited(pa.Table.from_pylist(rows, schema=ROWS), reading=ReadOptions(layout="eci"))
    assert found.data["learned"]["from"] == "these rows"
    assert found.data["learned"]["stand_ins"] >= 100
    alone = audited(pa.Table.from_pylist(make_rows(20), schema=ROWS), reading=ReadOptions(layout="eci"))
    assert alone.data["learned"]["from"] == "other collections"
    assert any("other collections" in text for text in alone.warnings)


def test_the_result_survives_json_and_names_its_checks():
    found = of_result = audited(
        pa.Table.from_pylist(make_rows(10), schema=ROWS), reading=ReadOptions(layout="eci")
    )
    again = AuditResult.from_json(found.to_json())
    assert again == of_result
    assert [check.name for check in again.checks] == [
        "unique question ids",
        "no known positive among the negatives",
        "unique negatives per row",
        "finite scores",
        "enough distinct negatives",
        "the corpus path resolves",
    ]
    assert set(again.sources) == {"bm25", "dense"}
    assert sum(told["negatives"] for told in again.sources.values()) == again.negatives
    with pytest.raises(EciError, match="holds no scores"):
        again.flagged("empty")
    with pytest.raises(EciError, match="no issue 'dull'"):
        found["dull"]
    with pytest.raises(ValueError, match="eci.audit/1"):
        AuditResult.from_json('{"schema": "eci.score/1"}')


def test_every_issue_is_a_score_once():
    found = audited(pa.Table.from_pylist(make_rows(5), schema=ROWS), reading=ReadOptions(layout="eci"))
    assert tuple(found.findings.scores) == tuple(ISSUES)
    assert {*FAULTS, *DETECTORS, *OF_ROWS} <= set(ISSUES)
    assert [entry.issue for entry in found.summary] == list(ISSUES)
    with pytest.raises(DataError, match="has no positive"):
        of([row("q r", ["n"], positives=[])])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"near_copy": 1.0}, "near_copy"),
        ({"false_negative": 0.0}, "false_negative"),
        ({"temperature": 0.0}, "temperature"),
        ({"max_uses": 0}, "max_uses"),
    ],
)
def test_settings_out_of_bounds_are_refused(given, words):
    with pytest.raises(EciError, match=words):
        AuditSettings(**given)
