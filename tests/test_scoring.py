from __future__ import annotations

import numpy as np
import pytest

import reference
from eci import metrics
from eci.errors import EciError, EncoderError
from eci.examples import Examples
from eci.lexical import words
from eci.models.hashing import HashingEncoder
from eci.rounds import round_ends
from eci.scoring import score
from eci.settings import Settings
from fakes import CountingEncoder, batch_of, examples_of, make_rows

ENCODER = HashingEncoder(64)


def sources(result):
    """Comparable: undefined values are None, not NaN; without what is exact only to rounding."""
    found = result.to_dict()["sources"]
    for source in found:
        for kind in ("values", "common"):
            source[kind] = {name: source[kind][name] for name in metrics.OF_SUMS}
    return found


def directions(result, source):
    """Values of the metrics that look at directions: sums of matrices, exact to rounding."""
    values = result[source].values
    return {name: vars(values[name]) for name in metrics.NAMES if name not in metrics.OF_SUMS}


def similarities(rows, source, encoder=ENCODER):
    """Positive and negative cosines of one source, by loops over the rows as they stand."""

    def vector(text):
        return encoder.encode_query([text])[0]

    positive = [
        [reference.cosine(vector(r["query"]), vector(p["text"])) for p in r["positives"]] for r in rows
    ]
    negative = [
        [
            reference.cosine(vector(r["query"]), vector(n["text"]))
            for n in r["negatives"]
            if n["source"] == source
        ]
        for r in rows
    ]
    return positive, negative


@pytest.mark.parametrize("source", ["bm25", "dense", "rare"])
def test_values_equal_a_loop_over_the_rows(source):
    rows = make_rows(25, {"bm25": 6, "dense": 3})
    rows[3]["negatives"].append({"source": "rare", "text": "only here"})
    result = score(examples_of(rows), ENCODER)[source]
    expected = reference.metrics(*similarities(rows, source))
    for name, value in expected.items():
        assert result.values[name].value == pytest.approx(value, rel=2e-5, abs=1e-6), name


def test_overlaps_equal_a_loop_over_the_rows():
    rows = make_rows(10)
    corpus = sorted({d["text"] for r in rows for d in r["positives"] + r["negatives"]})
    result = score(examples_of(rows), ENCODER)["bm25"]
    for name, reference_text in (
        ("query", lambda r: r["query"]),
        ("positive", lambda r: r["positives"][0]["text"]),
    ):
        expected = np.mean(
            [
                np.mean(
                    [
                        reference.overlap(reference_text(r), n["text"], corpus, words)
                        for n in r["negatives"]
                        if n["source"] == "bm25"
                    ]
                )
                for r in rows
            ]
        )
        assert result.values[f"lexical_overlap_{name}"].value == pytest.approx(expected, abs=1e-9)


def test_overlap_with_the_positive_takes_the_most_similar_positive():
    row = {
        "query_id": "1",
        "query": "red fox den",
        "positives": [{"text": "blue whale song"}, {"text": "red fox den mud"}],
        "negatives": [{"source": "x", "text": "red fox den mud"}],
    }
    assert score(examples_of([row]), ENCODER)["x"].values["lexical_overlap_positive"].value == 1.0


@pytest.mark.parametrize("batch_rows", [1, 7, 10_000])
def test_batch_size_changes_no_digit(batch_rows):
    rows = make_rows(60)
    settings = Settings(batch_rows=batch_rows)
    result = score(Examples.from_batches([batch_of(rows)]), ENCODER, settings).to_dict()
    expected = score(examples_of(rows), ENCODER).to_dict()
    for found in (result, expected):
        del found["settings"]["batch_rows"]
    assert result == expected


def test_order_of_rows_changes_no_value():
    rows = make_rows(60)
    one, two = (score(examples_of(order), ENCODER) for order in (rows, rows[::-1]))
    assert sources(one) == sources(two)
    for source in ("bm25", "dense"):
        for name, found in directions(one, source).items():
            assert found == pytest.approx(directions(two, source)[name], rel=1e-4, abs=1e-6, nan_ok=True), (
                name
            )


def test_common_values_cover_only_queries_that_every_source_covers():
    rows = make_rows(30)
    for row in rows[10:]:
        row["negatives"] = [n for n in row["negatives"] if n["source"] != "dense"]
    result = score(examples_of(rows), ENCODER)
    alone = score(examples_of(rows[:10]), ENCODER)
    assert result["bm25"].coverage == 1.0
    assert result["dense"].coverage == pytest.approx(1 / 3)
    assert result["bm25"].common["eci"].value == alone["bm25"].values["eci"].value
    assert result["bm25"].common["eci"].value != result["bm25"].values["eci"].value
    assert any(
        "Not every query has negatives of every source (dense 33.3%" in text for text in result.warnings
    )


def test_sources_on_disjoint_queries_have_no_common_values_and_say_so():
    rows = make_rows(40)
    for number, row in enumerate(rows):
        keep = "bm25" if number % 2 else "dense"
        row["negatives"] = [n for n in row["negatives"] if n["source"] == keep]
    result = score(examples_of(rows), ENCODER)
    assert np.isnan(result["bm25"].common["eci"].value)
    assert any("No query is covered by every source" in text for text in result.warnings)


def test_sample_draws_that_many_queries_by_seed_whatever_the_order_of_rows():
    rows = make_rows(80)
    draws = [
        score(examples_of(order), ENCODER, Settings(sample=30, seed=seed))
        for order, seed in ((rows, 1), (rows[::-1], 1), (rows, 2))
    ]
    assert draws[0].settings["queries_scored"] == 30
    assert sources(draws[0]) == sources(draws[1])
    assert sources(draws[0]) != sources(draws[2])


def test_sample_embeds_only_what_it_needs():
    encoder = CountingEncoder()
    rows = make_rows(80)
    score(examples_of(rows), encoder, Settings(sample=10))
    assert len(encoder.seen) == len(set(encoder.seen))
    assert 10 < len(encoder.seen) <= 10 + 10 * 12
    assert sum(text in encoder.seen for text in (row["query"] for row in rows)) == 10


def easier(rows, share):
    """A second source: for a share of the queries the first source's negatives, else an easy one."""
    for number, row in enumerate(rows):
        first = [n for n in row["negatives"] if n["source"] == "bm25"]
        row["negatives"] = first + [
            {**n, "source": "other", "text": n["text"] if number % 100 < share else "nothing alike 1234"}
            for n in first
        ]
    return rows


def test_until_decided_stops_early_and_agrees_with_all():
    rows = easier(make_rows(1200, {"bm25": 3}), 0)
    early = score(examples_of(rows), ENCODER, Settings(until_decided=True))
    full = score(examples_of(rows), ENCODER)
    assert early.decided
    assert early.settings["queries_scored"] == 200
    assert early.best.source == full.best.source
    assert len(early.comparisons) == 1
    # Four looks were possible (200, 400, 800, 1,200), so each one is stricter than 95 %.
    assert early.comparisons[0]["confidence"] == pytest.approx(1 - 0.05 / 4)


def test_until_decided_uses_all_rows_where_nothing_is_to_decide():
    rows = easier(make_rows(450, {"bm25": 3}), 100)
    result = score(examples_of(rows), ENCODER, Settings(until_decided=True))
    assert not result.decided
    assert result.settings["queries_scored"] == 450
    assert result.settings["rounds"] == 3
    assert result.verdict.startswith("Not decided between bm25 and other by eci")


@pytest.mark.parametrize(
    ("queries", "expected"), [(5, [5]), (200, [200]), (201, [200, 201]), (1000, [200, 400, 800, 1000])]
)
def test_rounds_double_and_end_with_all(queries, expected):
    assert round_ends(queries, Settings(until_decided=True)) == expected
    assert round_ends(queries, Settings()) == [queries]


def test_rounds_together_hold_the_same_sums_as_one_pass():
    rows = easier(make_rows(450, {"bm25": 3}), 100)
    grown = score(examples_of(rows), ENCODER, Settings(until_decided=True))
    assert sources(grown) == sources(score(examples_of(rows), ENCODER))


class Spoiled(HashingEncoder):
    def __init__(self, text, value):
        super().__init__(32)
        self.text, self.value = text, value

    def encode_query(self, texts):
        vectors = super().encode_query(texts)
        vectors[[text == self.text for text in texts]] = self.value
        return vectors

    encode_document = encode_query


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "non-finite"), (np.inf, "non-finite"), (0.0, "zero")])
def test_an_unusable_vector_stops_the_run_and_names_the_text(value, kind):
    rows = make_rows(5)
    text = rows[2]["negatives"][1]["text"]
    with pytest.raises(EncoderError, match=f"a {kind} vector for 1 of .* first for '{text[:50]}"):
        score(examples_of(rows), Spoiled(text, value))


def test_an_encoder_of_the_wrong_shape_is_refused():
    class Flat(HashingEncoder):
        def encode_query(self, texts):
            return np.zeros(len(texts))

    with pytest.raises(EncoderError, match=r"shape \(5,\) for 5 texts; expected \(5, d\)"):
        score(examples_of(make_rows(5)), Flat())


@pytest.mark.parametrize("encoder", [None, object()])
def test_what_cannot_encode_is_refused(encoder):
    with pytest.raises(
        EncoderError, match="is no encoder: it needs the methods encode_query and encode_document"
    ):
        score(examples_of(make_rows(3)), encoder)


def test_texts_in_the_place_of_vectors_and_two_dimensions_are_refused():
    class Words(HashingEncoder):
        def encode_query(self, texts):
            return np.array([["a", "b"] for _ in texts])

    class Uneven(HashingEncoder):
        def encode_document(self, texts):
            return super().encode_query(texts)[:, :-1]

    with pytest.raises(EncoderError, match="values in the place of numbers"):
        score(examples_of(make_rows(3)), Words())
    with pytest.raises(EncoderError, match="queries of 256 dimensions and documents of 255"):
        score(examples_of(make_rows(3)), Uneven())


def test_scale_of_vectors_is_irrelevant():
    class Scaled(HashingEncoder):
        def encode_query(self, texts):
            return super().encode_query(texts) * 8.0

        encode_document = encode_query

    rows = examples_of(make_rows(20))
    assert sources(score(rows, Scaled(64))) == sources(score(rows, ENCODER))


def test_rows_without_any_negative_are_refused():
    rows = [{**row, "negatives": []} for row in make_rows(3)]
    with pytest.raises(EciError, match="No row has a negative"):
        score(examples_of(rows), ENCODER)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "ecy"}, "Unknown metric 'ecy'. Known: eci, "),
        ({"sample": 5, "until_decided": True}, "excludes until_decided"),
        ({"sample": 0}, "at least 1"),
        ({"sample": 2.5}, "whole number"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(EciError, match=message):
        Settings(**settings)


def test_shortcuts_are_left_out_on_request_and_nothing_else_changes():
    rows = make_rows(60)
    whole = score(examples_of(rows), ENCODER).to_dict()
    without = score(examples_of(rows), ENCODER, Settings(shortcuts=False)).to_dict()
    assert len(whole["shortcuts"]) == 1
    assert without["shortcuts"] == []
    assert without["sources"] == whole["sources"]
