"""The best negatives of each query, against their definitions as loops and against all subsets."""

from __future__ import annotations

import json
from itertools import combinations, islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci import AuditSettings, select, selecting
from eci.audit.running import audit
from eci.datasets import from_object, read, scanning, write
from eci.datasets.scanning import portions
from eci.embedding import Embedded
from eci.errors import DataError, EciError, OutputError
from eci.examples import ROWS, Examples
from eci.first_order import FirstOrder, held_out_gradients
from eci.greedy import greedy, log_det_picks
from eci.lexical import Lexicon
from eci.metrics import alignment, semantic
from eci.models.hashing import HashingEncoder
from eci.ragged import Ragged
from eci.selecting import select_rows
from eci.selection import OBJECTIVES, Selector, SelectSettings
from eci.similarity import normalise
from eci.tally import GROUPS
from fakes import CountingEncoder, examples_of, make_rows


def log_det(rows):
    return float(np.linalg.slogdet(np.eye(rows.shape[-1]) + rows.T @ rows)[1])


def naive_greedy(rows, k):
    picked, gains = [], []
    while len(picked) < min(k, len(rows)):
        left = [place for place in range(len(rows)) if place not in picked]
        values = [log_det(rows[[*picked, place]]) for place in left]
        gains.append(max(values) - (log_det(rows[picked]) if picked else 0.0))
        picked.append(left[int(np.argmax(values))])
    return picked, gains


def stack(seed, sizes, dimension, scale=1.0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((len(sizes), max(sizes), dimension)) * scale
    rows *= rng.random((len(sizes), max(sizes), 1))
    for query, size in enumerate(sizes):
        rows[query, size:] = 0
    return rows


# The algorithm: stacks of rows.

shapes = st.lists(st.integers(1, 8), min_size=1, max_size=5)


@given(
    st.integers(0, 10_000), shapes, st.integers(1, 5), st.integers(1, 8), st.sampled_from([0.1, 1.0, 10.0])
)
@settings(max_examples=60, deadline=None)
def test_greedy_is_greedy_by_full_determinants(seed, sizes, dimension, k, scale):
    rows, k = stack(seed, sizes, dimension, scale), min(k, max(sizes))
    picked, gains = greedy(rows, np.array(sizes), k)
    for query, size in enumerate(sizes):
        expected, told = naive_greedy(rows[query, :size], k)
        assert picked[query, : len(expected)].tolist() == expected
        assert gains[query, : len(expected)] == pytest.approx(told, abs=1e-9)


@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_greedy_starts_with_the_best_row_and_stays_within_its_bound_of_the_best_set(seed, size, k):
    rows, k = stack(seed, [size], 4), min(k, size)
    picked, gains = greedy(rows, np.array([size]), k)
    best = max(log_det(rows[0, list(chosen)]) for chosen in combinations(range(size), k))
    assert gains[0, 0] == pytest.approx(max(log_det(rows[0, [place]]) for place in range(size)))
    assert log_det(rows[0, picked[0]]) == pytest.approx(gains.sum())
    assert (1 - 1 / np.e) * best <= gains.sum() + 1e-12 <= best + 1e-9
    assert (np.diff(gains[0]) <= 1e-12).all()


def test_rows_that_add_equally_much_are_taken_in_their_order():
    row = np.array([0.3, 0.4])
    picked, gains = greedy(np.array([[row, row, [0.4, -0.3], row]]), np.array([4]), 4)
    assert picked.tolist() == [[0, 2, 1, 3]]
    assert gains[0, 0] == pytest.approx(gains[0, 1])
    assert gains[0, 2] == pytest.approx(np.log(1.5 / 1.25))


def test_rows_that_differ_by_rounding_add_equally_much():
    row = np.array([0.3, 0.4])
    picked, _ = greedy(np.array([[row, row * (1 + 1e-14)]]), np.array([2]), 1)
    assert picked.tolist() == [[0]]


def test_rows_of_nothing_gain_nothing_and_are_taken_last():
    picked, gains = greedy(np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]]), np.array([3]), 3)
    assert picked.tolist() == [[1, 0, 2]]
    assert gains[0].tolist() == [pytest.approx(np.log(2)), 0.0, 0.0]


def unit(rng, *shape):
    return normalise(rng.standard_normal(shape))


@given(st.integers(0, 10_000), st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_gains_sum_to_eci_sem_of_the_picks(seed, lengths, k):
    rng = np.random.default_rng(seed)
    documents, positive = unit(rng, 30, 7), unit(rng, len(lengths), 7)
    candidates = Ragged.from_lengths(rng.integers(0, 30, sum(lengths)), lengths)
    weight = np.where(rng.random(sum(lengths)) < 0.3, 0.0, 0.38 * rng.random(sum(lengths)))
    chosen, gains = log_det_picks(positive, documents, candidates, weight, k)
    assert chosen.lengths.tolist() == [min(k, length) for length in lengths]
    assert all(len(set(chosen[query].tolist())) == len(chosen[query]) for query in range(len(lengths)))
    assert (candidates.rows[chosen.values] == chosen.rows).all()
    picked = chosen.with_values(candidates.values[chosen.values])
    values = semantic.per_query(positive, documents, picked, weight[chosen.values])
    told = np.where(chosen.lengths > 0, chosen.with_values(gains).sums(), np.nan)
    np.testing.assert_allclose(told, values, rtol=1e-9, atol=1e-12)


def test_who_else_is_chosen_from_changes_no_digit():
    rng = np.random.default_rng(3)
    lengths = [5, 90, 17, 33, 100, 16, 1]
    documents, positive = unit(rng, 200, 24), unit(rng, len(lengths), 24)
    candidates = Ragged.from_lengths(rng.integers(0, 200, sum(lengths)), lengths)
    weight = Ragged.from_lengths(rng.random(sum(lengths)), lengths)
    chosen, gains = log_det_picks(positive, documents, candidates, weight.values, 4)
    for query in range(len(lengths)):
        alone = np.array([query])
        own, told = log_det_picks(positive[alone], documents, candidates.take(alone), weight[query], 4)
        assert (own.values + candidates.offsets[query]).tolist() == chosen[query].tolist()
        assert told.tolist() == chosen.with_values(gains)[query].tolist()


# What candidates are worth.


def chosen_of(examples, objective, k, encoder=None, **options):
    """Documents picked for each query, with their gains, and the selector."""
    selector = Selector(examples, encoder or CountingEncoder(), SelectSettings(k, objective, **options))
    queries = np.arange(len(examples.queries))
    candidates = [np.unique(examples.negatives[query]) for query in queries]
    lists = Ragged.from_lengths(np.concatenate(candidates), [len(each) for each in candidates])
    picks = selector.choose(queries, lists, np.zeros(len(lists.values), dtype=np.bool_))
    gains = picks.chosen.with_values(picks.gains)
    found = [(lists.values[picks.chosen[query]].tolist(), gains[query].tolist()) for query in queries]
    return found, candidates, picks


def vectors_of(examples, encoder=None):
    embedded = Embedded(examples, encoder or CountingEncoder())
    embedded.prepare(np.arange(len(examples.queries)))
    return embedded.queries.astype(np.float64), embedded.documents.astype(np.float64), embedded


def most_similar(examples, queries, documents, query):
    return max(examples.positives[query].tolist(), key=lambda place: queries[query] @ documents[place])


def test_eci_sem_is_greedy_on_its_definition():
    examples = examples_of(make_rows(12, {"bm25": 6, "dense": 5}))
    encoder = HashingEncoder(32)
    queries, documents, _ = vectors_of(examples, encoder)
    lexicon = Lexicon.of(examples.documents)
    words = lexicon.vocabulary.read(examples.queries)
    found, candidates, _ = chosen_of(examples, "eci_sem", 3, encoder, temperature=0.2)
    for query, (picked, gains) in enumerate(found):
        best = most_similar(examples, queries, documents, query)
        rows = []
        for place in candidates[query]:
            margin = queries[query] @ documents[best] - queries[query] @ documents[place]
            overlap = lexicon.overlap(words, np.array([query]), np.array([place]))
            (weight,) = semantic.weights([margin], overlap, 0.2)
            rows.append(np.sqrt(weight * 32 / 3) * (documents[place] - documents[best]) / np.sqrt(2))
        expected, told = naive_greedy(np.array(rows), 3)
        assert picked == candidates[query][expected].tolist()
        assert gains == pytest.approx([gain / 32 for gain in told], rel=1e-5)
        assert gains[0] > 0


def test_margin_takes_the_hardest_first_and_those_above_the_positive_last():
    examples = examples_of(make_rows(15, {"a": 9}))
    queries, documents, _ = vectors_of(examples)
    found, candidates, _ = chosen_of(examples, "margin", 9)
    above = 0
    for query, (picked, gains) in enumerate(found):
        best = queries[query] @ documents[most_similar(examples, queries, documents, query)]
        cosine = {place: float(queries[query] @ documents[place]) for place in candidates[query].tolist()}
        expected = sorted(cosine, key=lambda place: (cosine[place] >= best, abs(cosine[place] - best)))
        assert picked == expected
        assert gains == pytest.approx([cosine[place] for place in expected], abs=1e-6)
        above += sum(value >= best for value in cosine.values())
    assert above > 5


def test_alignment_is_the_product_of_the_negatives_own_gradient_with_that_of_other_groups():
    examples = examples_of(make_rows(30, {"a": 5}))
    encoder = HashingEncoder(24)
    _, _, embedded = vectors_of(examples, encoder)
    groups = np.array([int.from_bytes(key[:8], "big") % GROUPS for key in examples.keys])
    every = np.arange(len(groups))
    held = alignment.held_out(
        groups, embedded.queries, examples.positives, embedded.documents[np.arange(len(examples.documents))]
    )
    found, candidates, _ = chosen_of(examples, "alignment", 2, encoder)
    signs = set()
    for query in every:
        others = groups != groups[query]
        mean = held.matrices[np.unique(groups[others])].sum(axis=0) / others.sum()
        best = most_similar(examples, embedded.queries, embedded.documents, query)
        values = {}
        for place in candidates[query].tolist():
            one = np.array([query])
            trained, _ = alignment.training(
                groups[one],
                embedded.queries[one],
                embedded.documents,
                np.array([best]),
                Ragged.from_lengths(np.array([place]), [1]),
                Ragged.from_lengths(np.array([best]), [1]),
            )
            values[place] = float((trained.matrices.sum(axis=0) * mean).sum())
        picked, gains = found[query]
        assert picked == sorted(values, key=lambda place: -values[place])[:2]
        assert gains == pytest.approx([values[place] for place in picked], rel=1e-3, abs=1e-4)
        signs.update(np.sign(list(values.values())))
    assert signs == {-1.0, 1.0}


def test_alignment_needs_queries_of_two_groups():
    with pytest.raises(EciError, match="here all queries are of one. Give more"):
        chosen_of(examples_of(make_rows(1, {"a": 3})), "alignment", 1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_order_of_candidates_changes_nothing_and_equal_ones_are_told_apart_by_text(objective):
    rows = make_rows(25, {"a": 6})
    examples = examples_of(rows)
    # Encoded alike, these differ in nothing but their texts.
    same = [f"retrieval negative {number}" for number in range(6)]

    class Alike(CountingEncoder):
        def _vector(self, text):
            return super()._vector("alike" if text in same else text)

    for row in rows[:5]:
        row["negatives"] = [{"source": "a", "text": text} for text in same]
    told = []
    for turn in (rows, [{**row, "negatives": row["negatives"][::-1]} for row in rows[::-1]]):
        examples = examples_of(turn)
        found, _, _ = chosen_of(examples, objective, 3, Alike())
        told.append(
            {
                label: ([examples.documents[place] for place in picked], gains)
                for label, (picked, gains) in zip(examples.labels, found, strict=True)
            }
        )
    for label, (picked, gains) in told[0].items():
        assert picked == told[1][label][0]
        assert gains == pytest.approx(told[1][label][1], rel=1e-4 if objective == "alignment" else 0)


# Risk.


def audited(rows, tmp_path, **options):
    """What an audit says of the same rows: by query and text of the negative."""
    write(from_object(rows), tmp_path / "rows.parquet", "eci")
    audit(
        read([tmp_path / "rows.parquet"]), CountingEncoder(), AuditSettings(**options), table=tmp_path / "t"
    )
    table = pq.read_table(tmp_path / "t").to_pylist()
    texts = (negative["text"] for row in rows for negative in row["negatives"])
    return {(line["query_id"], text): line for line, text in zip(table, texts, strict=True)}


def with_second_positives(rows):
    """So that there is something to learn from: another row's first negative is relevant too."""
    return [
        {**row, "positives": [*row["positives"], {"text": f"{row['positives'][0]['text']} again"}]}
        for row in rows
    ]


@pytest.mark.parametrize("second", [True, False])
def test_a_bound_leaves_out_what_an_audit_flags_and_nothing_else(tmp_path, second):
    rows = make_rows(150, {"a": 6})
    rows = with_second_positives(rows) if second else rows
    flags = audited(rows, tmp_path, false_negative=0.7)
    result, made = selected(rows, tmp_path / "o.jsonl", k=6, max_false_negative_risk=0.7)
    assert result.data["risk"]["from"] == ("these rows" if second else "other collections")
    kept = {(query, each["text"]) for query, row in made.items() for each in row["negatives"]}
    flagged = {at for at, line in flags.items() if line["is_likely_false_negative"]}
    assert kept == set(flags) - flagged
    assert 0 < len(flagged) == result.left_out["risk above 0.7"] == result.sources["a"]["risky"]
    assert any("weights from other collections: 0 queries" in note for note in result.notes) != second
    free, _ = selected(rows, tmp_path / "free.jsonl", k=6, max_false_negative_risk=1.0)
    assert free.negatives == len(flags)


def test_edited_positives_are_of_no_risk_and_counted(tmp_path):
    rows = make_rows(120, {"a": 3, "counterfactual": 1})
    for row in rows:
        row["negatives"][-1].update(text=f"{row['positives'][0]['text']} not", extra='{"edit":"negation"}')
    result, _ = selected(rows, tmp_path / "o.jsonl", k=4, max_false_negative_risk=0.0)
    assert result.sources["counterfactual"] == {"candidates": 120, "risky": 0, "picked": 120, "share": 1.0}
    assert result.sources["a"]["risky"] == 360
    assert "made by editing a positive, near it on purpose, so of no risk: 120" in result.notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is a whole number of negatives, at least 1, got 0"),
        ({"k": 2.0}, "at least 1, got 2.0"),
        ({"k": True}, "at least 1, got True"),
        ({"k": 1, "objective": "best"}, "unknown objective 'best'. Known: eci_sem, alignment, margin"),
        ({"k": 1, "max_false_negative_risk": 1.1}, "lies between 0 and 1, got 1.1"),
        ({"k": 1, "temperature": 0.0}, "temperature lies between"),
        ({"k": 1, "label": " "}, "is empty or holds characters that do not print"),
    ],
)
def test_settings_that_are_none(options, message):
    with pytest.raises(EciError, match=message):
        SelectSettings(**options)


# Rows in, rows out.


def selected(rows, out, k=2, encoder=None, **options):
    given = from_object(rows) if isinstance(rows, list) else rows
    result = select_rows(given, out, encoder or CountingEncoder(), SelectSettings(k, **options))
    made = [row for batch in read([out]) for row in batch.to_pylist()]
    return result, {row["query_id"] or row["query"]: row for row in made}


def two_sources():
    """q0 has a document that two sources found, one that is its positive, and texts that differ in case."""
    return [
        {
            "query_id": "q0",
            "query": "what does the encoder see",
            "positives": [{"id": "p", "text": "the encoder sees titles"}],
            "negatives": [
                {"source": "bm25", "id": "d1", "text": "near words", "rank": 1, "score": 7.5, "scorer": "bm25"},
                {"source": "bm25", "id": "d2", "text": "far words", "rank": 2, "score": 5.0, "scorer": "bm25"},
                {"source": "bm25", "text": "The Encoder sees  titles", "rank": 3, "score": 4.0, "scorer": "bm25"},
                {"source": "dense", "id": "d1", "text": "near words", "rank": 4, "score": 0.5, "scorer": "mini"},
                {"source": "dense", "id": "d3", "title": "Loss", "text": "gradient", "rank": 2, "score": 0.6,
                 "scorer": "mini", "extra": '{"edit":"number"}'},
            ],
            "extra": '{"kept":1}',
        },
        {"query_id": "q1", "query": "rank", "positives": [{"text": "ranked list"}], "negatives": []},
    ]  # fmt: skip


def test_a_pick_keeps_its_score_and_tells_gain_sources_and_ranks(tmp_path):
    result, rows = selected(two_sources(), tmp_path / "out.jsonl", k=4)
    picked = rows["q0"]["negatives"]
    by_id = {each["id"]: each for each in picked}
    assert sorted(by_id) == ["d1", "d2", "d3"]
    assert [each["rank"] for each in picked] == [1, 2, 3]
    assert {each["source"] for each in picked} == {"selected"}
    extra = {name: json.loads(each["extra"]) for name, each in by_id.items()}
    assert extra["d1"]["sources"] == ["bm25", "dense"]
    assert extra["d1"]["ranks"] == {"bm25": 1, "dense": 4}
    assert (by_id["d1"]["score"], by_id["d1"]["scorer"]) == (7.5, "bm25")
    assert (by_id["d3"]["title"], extra["d3"]["edit"]) == ("Loss", "number")
    gains = [extra[each["id"]]["gain"] for each in picked]
    assert gains == sorted(gains, reverse=True)
    assert result.gains == gains
    assert rows["q0"]["extra"] == '{"kept":1}'
    assert rows["q1"]["negatives"] == []
    assert result.left_out == {"positives of their query": 1}
    assert result.merged == 1
    assert result.short == {"0": 1, "3": 1}
    assert result.sources == {
        "bm25": {"candidates": 2, "risky": 0, "picked": 2, "share": pytest.approx(2 / 3)},
        "dense": {"candidates": 2, "risky": 0, "picked": 2, "share": pytest.approx(2 / 3)},
    }


def test_of_texts_that_are_one_document_the_one_that_is_written_is_judged(tmp_path):
    texts = [(None, "Near  Words"), ("d1", "near words")]
    negatives = [
        {"source": source, "id": name, "text": text}
        for source, (name, text) in zip(("a", "b"), texts, strict=True)
    ]
    rows = [{"query_id": "q", "query": "rank", "positives": [{"text": "list"}], "negatives": negatives}]
    encoder = CountingEncoder()
    result, made = selected(rows, tmp_path / "out.jsonl", encoder=encoder, objective="margin")
    (picked,) = made["q"]["negatives"]
    assert (picked["id"], picked["text"]) == texts[1]
    cosine = normalise(encoder.encode_query(["rank"])) @ normalise(encoder.encode_query(["near words"])).T
    assert result.gains == pytest.approx([float(cosine[0, 0])], abs=1e-6)


def test_gains_written_sum_to_eci_sem_query_of_the_output(tmp_path):
    """Scored on the same word frequencies, the output has what selecting said it would."""
    from eci.scoring import score
    from eci.settings import Corpora, Settings

    rows = make_rows(40, {"bm25": 9, "dense": 9})
    encoder = HashingEncoder(48)
    result, made = selected(rows, tmp_path / "out.parquet", k=3, encoder=encoder, temperature=0.2)
    words = examples_of(rows).documents
    scored = score(
        Examples.from_batches([pa.RecordBatch.from_pylist(list(made.values()), schema=ROWS)]),
        encoder,
        Settings(temperature=0.2, shortcuts=False),
        corpora=Corpora((), words),
    )
    assert result.short == {}
    assert scored["selected"].values["eci_sem_query"].value == pytest.approx(sum(result.gains), rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_order_of_rows_and_files_changes_no_pick(tmp_path, objective):
    rows = make_rows(30, {"bm25": 7, "dense": 4, "llm": 3})
    parts = [
        [{**row, "negatives": [n for n in row["negatives"] if n["source"] in some]} for row in rows]
        for some in (("bm25",), ("dense", "llm"))
    ]
    for number, part in enumerate(parts):
        write(from_object(part), tmp_path / f"{number}.jsonl", "eci")
    turned = [{**row, "negatives": row["negatives"][::-1]} for row in rows[::-1]]
    first, one = selected(rows, tmp_path / "a.jsonl", k=3, objective=objective)
    second, two = selected(turned, tmp_path / "b.jsonl", k=3, objective=objective)
    files = read([tmp_path / "1.jsonl", tmp_path / "0.jsonl"])
    third, three = selected(files, tmp_path / "c.jsonl", k=3, objective=objective)
    texts = [
        {label: [each["text"] for each in row["negatives"]] for label, row in made.items()}
        for made in (one, two, three)
    ]
    assert texts[0] == texts[1] == texts[2]
    assert first.sources == second.sources == third.sources
    assert first.gains == pytest.approx(second.gains, rel=1e-5)
    if objective != "alignment":
        assert first.gains == second.gains == third.gains
    assert any("brought together" in note for note in third.notes)


@pytest.mark.parametrize("objective", ["eci_sem", "margin"])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_queries_beyond_memory_get_the_picks_of_those_in_memory(tmp_path, monkeypatch, objective, batch):
    rows = make_rows(30, {"bm25": 7, "dense": 4, "llm": 3})
    # A question that is asked under another id, whose positive is a negative of the first, and no text.
    rows[25]["query"] = rows[2]["query"]
    rows[2]["negatives"][0]["text"] = rows[25]["positives"][0]["text"]
    rows[3]["negatives"][1]["text"] = " "
    whole, one = selected(rows, tmp_path / "a.jsonl", k=3, objective=objective)
    monkeypatch.setattr(scanning, "HELD", 9)
    monkeypatch.setattr(selecting, "_BATCH", batch)
    passed, two = selected(rows, tmp_path / "b.jsonl", k=3, objective=objective)
    assert two == one
    assert whole.left_out == {"known positives of the same question": 1, "without text": 1}
    assert passed.data == {**whole.data, "in_memory": 9}
    same = ("queries", "negatives", "sources", "short", "gains", "merged", "left_out", "notes")
    assert {name: getattr(passed, name) for name in same} == {name: getattr(whole, name) for name in same}


def test_alignment_beyond_memory_is_held_out_on_those_in_memory(tmp_path, monkeypatch):
    rows = make_rows(60, {"bm25": 7, "dense": 4})
    monkeypatch.setattr(scanning, "HELD", 40)
    monkeypatch.setattr(selecting, "_BATCH", 16)
    encoder = CountingEncoder()
    result, made = selected(rows, tmp_path / "a.jsonl", k=3, objective="alignment", encoder=encoder)
    (note,) = (note for note in result.notes if "alignment" in note)
    assert note == "alignment ranks the documents of 40 of 60 queries, drawn at random, for these"
    with portions(from_object(rows), 0) as queries:
        held, examples = queries.held, examples_of(rows)
    _, _, embedded = vectors_of(held, encoder)
    gradients = held_out_gradients(held, embedded, 0.05)
    _, _, embedded = vectors_of(examples, encoder)
    order = FirstOrder(examples, embedded, gradients, 0.05)
    for number, query in enumerate(examples.queries):
        own = np.unique(examples.negatives[number])
        best = most_similar(examples, embedded.queries, embedded.documents, number)
        asked, positive = np.full(len(own), number), np.full(len(own), best)
        near = embedded.documents @ embedded.queries[number]
        values = order.falls(asked, positive, own, near[best] - near[own])
        picked = [each["text"] for each in made[examples_id(rows, query)]["negatives"]]
        assert picked == [examples.documents[place] for place in own[np.argsort(-values)][:3]]


def examples_id(rows, query):
    return next(row["query_id"] for row in rows if row["query"] == query)


def test_a_bound_of_the_risk_holds_all_queries(tmp_path, monkeypatch):
    rows = make_rows(30, {"bm25": 7, "dense": 4})
    whole, one = selected(rows, tmp_path / "a.jsonl", max_false_negative_risk=0.7)
    monkeypatch.setattr(scanning, "HELD", 9)
    passed, two = selected(rows, tmp_path / "b.jsonl", max_false_negative_risk=0.7)
    assert two == one
    assert passed.data == whole.data


def test_queries_without_id_are_known_by_their_text(tmp_path):
    rows = [{**row, "query_id": None} for row in make_rows(6)]
    with_id, _ = selected(make_rows(6), tmp_path / "a.parquet")
    without, made = selected(rows, tmp_path / "b.parquet")
    assert without.gains == with_id.gains
    assert sorted(made) == sorted(row["query"] for row in rows)


@pytest.mark.parametrize(
    ("name", "layout"), [("out.jsonl", "n-tuple"), ("out.parquet", "triplet"), ("out.jsonl", "flagembedding")]
)
def test_any_layout_gets_the_same_picks(tmp_path, name, layout):
    rows = make_rows(8)
    _, plain = selected(rows, tmp_path / "plain.jsonl", k=3)
    result, _ = selected(rows, tmp_path / name, k=3, layout=layout)
    back = Examples.from_batches(read([tmp_path / name]))
    held = {
        query: {back.documents[place] for place in back.negatives[number]}
        for number, query in enumerate(back.queries)
    }
    assert held == {row["query"]: {each["text"] for each in row["negatives"]} for row in plain.values()}
    assert result.negatives == 24
    assert any("extra of negatives" in note for note in result.notes)


def test_what_was_selected_can_be_selected_from(tmp_path):
    selected(make_rows(10), tmp_path / "first.parquet", k=5)
    with pytest.raises(DataError, match="have a source 'selected' already.*--label"):
        selected(read([tmp_path / "first.parquet"]), tmp_path / "second.parquet")
    result, made = selected(read([tmp_path / "first.parquet"]), tmp_path / "second.parquet", label="fewer")
    extra = [each["extra"] for row in made.values() for each in row["negatives"]]
    told = [json.loads(text) for text in extra]
    assert all(text.count('"gain"') == 1 for text in extra)
    assert {key for entry in told for key in entry} == {"sources", "ranks", "gain"}
    assert all(set(entry["ranks"]) >= {"selected"} for entry in told)
    means = np.array([entry["gain"] for entry in told]).reshape(10, 2).mean(axis=0)
    assert result.gains == pytest.approx(means.tolist())
    assert not (tmp_path / "second.parquet.tmp").exists()


def test_nothing_left_under_a_bound_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"No negative is left to select. Left out, risk above 0.0: 108. .* 0.8 on"
    ):
        selected(make_rows(10), tmp_path / "none.jsonl", max_false_negative_risk=0.0)
    assert not (tmp_path / "none.jsonl").exists()


def test_the_result_says_all_as_json_and_in_a_table(tmp_path):
    result, _ = selected(make_rows(12), tmp_path / "out.jsonl", k=3)
    told = json.loads(result.to_json())
    assert told["schema"] == "eci.select/1"
    assert told["queries"] == 12
    assert told["negatives"] == 36
    assert len(told["gains"]) == 3
    assert told["settings"]["k"] == 3
    assert told["encoder"]["name"] == "counting-1"
    lines = result.table().splitlines()
    assert lines[0] == "36 negatives selected for 12 queries by eci_sem, encoder counting-1 (float32)"
    assert lines[2].split("  ")[0] == "source"
    assert lines[4].startswith("bm25")
    assert "Mean gain by pick (nats per dimension" in result.table()


def test_picks_without_gain_are_noted(tmp_path):
    class Above(CountingEncoder):
        """Every negative is the query itself, in direction."""

        def _vector(self, text):
            return super()._vector("positive" if text.startswith("right") else "query")

    rows = [
        {
            "query": "a",
            "positives": [{"text": "right"}],
            "negatives": [{"source": "s", "text": t} for t in "xyz"],
        }
    ]
    result, made = selected(rows, tmp_path / "out.jsonl", encoder=Above())
    assert result.gains == [0.0, 0.0]
    assert any(note.startswith("picks without gain") and note.endswith(": 2") for note in result.notes)
    assert len(made["a"]["negatives"]) == 2


def test_what_an_audit_calls_no_negative_is_never_picked(tmp_path):
    """A positive of the same question under another id, a text of nothing, and the question itself."""
    rows = [
        {
            "query_id": "1",
            "query": "what do cats do",
            "positives": [{"text": "the cat sat"}],
            "negatives": [
                {"source": "s", "text": text} for text in ("Dogs  bark", " ", "What do cats do", "z")
            ],
        },
        {
            "query_id": "2",
            "query": "What do  cats do",
            "positives": [{"text": "dogs bark"}],
            "negatives": [
                {"source": "s", "text": "The cat sat"},
                {"source": "s", "title": "A title", "text": "what do cats do"},
                {"source": "s", "text": "y"},
            ],
        },
    ]
    result, made = selected(rows, tmp_path / "out.jsonl", k=9, objective="margin")
    picked = {label: [each["text"] for each in row["negatives"]] for label, row in made.items()}
    assert picked == {"1": ["z"], "2": ["y"]}
    assert result.left_out == {
        "known positives of the same question": 2,
        "without text": 1,
        "the text of their query": 2,
    }
    assert result.sources["s"] == {"candidates": 2, "risky": 0, "picked": 2, "share": 1.0}
    assert result.merged == 0
    with pytest.raises(DataError, match="Left out, without text: 1"):
        selected(
            [{**rows[0], "negatives": [{"source": "s", "text": ""}]}],
            tmp_path / "none.jsonl",
            encoder=CountingEncoder(),
        )


def test_rows_without_negatives_and_places_that_cannot_be_written(tmp_path):
    bare = [{**row, "negatives": []} for row in make_rows(3)]
    with pytest.raises(DataError, match="No row has a negative"):
        selected(bare, tmp_path / "out.jsonl")
    encoder = CountingEncoder()
    with pytest.raises(OutputError, match="does not exist"):
        select(make_rows(3), tmp_path / "nowhere" / "out.jsonl", encoder, settings=SelectSettings(1))
    assert encoder.seen == []


def test_select_in_one_call_tells_where_rows_came_from(tmp_path):
    write(from_object(make_rows(5)), tmp_path / "in.jsonl", "eci")
    result = select(
        tmp_path / "in.jsonl", tmp_path / "out.jsonl", CountingEncoder(), settings=SelectSettings(2)
    )
    assert result.data["layout"] == "eci"
    assert result.data["files"][0]["name"] == "in.jsonl"
    assert {"eci", "numpy"} <= set(result.settings["versions"])
    again = select(
        read([tmp_path / "in.jsonl"]),
        tmp_path / "again.jsonl",
        CountingEncoder(),
        settings=SelectSettings(2),
    )
    assert again.gains == result.gains
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_on_real_text_picks_span_more_than_the_hardest(data, tmp_path):
    """On claims of SciFact with documents drawn from its corpus and hashed words."""
    with (data / "scifact" / "corpus.jsonl").open(encoding="utf-8") as corpus:
        documents = [json.loads(line) for line in islice(corpus, 400)]
    texts = [f"{each['title']} {each['text']}" for each in documents]
    rng = np.random.default_rng(0)
    rows = [
        {
            "query": documents[number]["title"],
            "positives": [{"text": documents[number]["text"]}],
            "negatives": [
                {"source": "drawn", "text": texts[place]}
                for place in rng.permutation(400)[:30].tolist()
                if place != number
            ],
        }
        for number in range(60)
    ]
    encoder = HashingEncoder(128)
    values = {}
    for objective in ("eci_sem", "margin"):
        _, made = selected(rows, tmp_path / f"{objective}.parquet", 4, encoder, objective=objective)
        examples = Examples.from_batches([pa.RecordBatch.from_pylist(list(made.values()), schema=ROWS)])
        every = Examples.from_batches(from_object(rows))
        lexicon = Lexicon.of(examples.documents, corpus=every.documents)
        queries, vectors, embedded = vectors_of(examples, encoder)
        best = [most_similar(examples, queries, vectors, query) for query in range(len(examples.queries))]
        rows_of, places = examples.negatives.rows, examples.negatives.values
        margins = np.einsum("ij,ij->i", queries[rows_of], vectors[best][rows_of] - vectors[places])
        overlaps = lexicon.overlap(lexicon.vocabulary.read(examples.queries), rows_of, places)
        weight = semantic.weights(margins, overlaps)
        alone = semantic.per_query(embedded.documents[best], embedded.documents, examples.negatives, weight)
        values[objective] = dict(zip(examples.queries, alone, strict=True))
    spans = np.array([[values[each][query] for each in ("eci_sem", "margin")] for query in values["margin"]])
    assert (spans[:, 0] >= (1 - 1 / np.e) * spans[:, 1]).all()
    assert (spans[:, 0] >= spans[:, 1] - 1e-9).mean() > 0.95
    assert spans[:, 0].mean() > spans[:, 1].mean()
