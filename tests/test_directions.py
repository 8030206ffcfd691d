"""eci_sem, alignment and shortcuts as scoring puts them together, from rows to the result."""

from __future__ import annotations

import json

import numpy as np
import pytest

import reference
from eci import directions
from eci.decision import Scores, decide, effects
from eci.directions import drawn_order
from eci.errors import EciError, EncoderError
from eci.intervals import Jackknife
from eci.lexical import trigrams, words
from eci.metrics import alignment, semantic
from eci.models.hashing import HashingEncoder
from eci.ragged import Ragged
from eci.results import ScoreResult
from eci.scoring import score
from eci.settings import Corpora, Settings
from eci.tally import GROUPS
from fakes import CountingEncoder, examples_of, make_rows

ENCODER = HashingEncoder(24)


def vector(text):
    found = ENCODER.encode_query([text])[0].astype(np.float64)
    return found / np.linalg.norm(found)


def texts_of(rows):
    return sorted({d["text"] for row in rows for d in (*row["positives"], *row["negatives"])})


def triples(rows, source, corpus=None, tokens=words):
    found = []
    for row in rows:
        q = vector(row["query"])
        p = max((vector(d["text"]) for d in row["positives"]), key=lambda p: float(q @ p))
        own = [
            (vector(n["text"]), reference.overlap(row["query"], n["text"], corpus or texts_of(rows), tokens))
            for n in row["negatives"]
            if n["source"] == source
        ]
        found.append((q, p, own))
    return found


def test_eci_sem_of_rows_equals_naive_loops():
    rows = make_rows(40, {"bm25": 6, "dense": 3})
    rows[3]["positives"].append({"text": "another positive of this query"})
    rows[5]["negatives"] = [n for n in rows[5]["negatives"] if n["source"] == "dense"]
    result = score(examples_of(rows), ENCODER)
    for source in ("bm25", "dense"):
        expected = reference.eci_sem(triples(rows, source), 24)
        found = {name: result[source].values[name].value for name in expected}
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)
    covered = reference.eci_sem(triples(rows[:5] + rows[6:], "dense", texts_of(rows)), 24)
    common = {name: result["dense"].common[name].value for name in covered}
    assert common == pytest.approx(covered, rel=1e-5, abs=1e-9)
    assert result["bm25"].common["eci_sem"].value == result["bm25"].values["eci_sem"].value


def test_alignment_of_rows_equals_its_parts_put_together_by_hand():
    rows = make_rows(90, {"bm25": 4, "dense": 2})
    examples = examples_of(rows)
    settings = Settings(seed=3)
    result = score(examples, ENCODER, settings)
    texts = texts_of(rows)
    number = {text: place for place, text in enumerate(texts)}
    order = drawn_order(examples.keys, 3)
    asked = np.stack([vector(rows[q]["query"]) for q in order])
    documents = np.stack([vector(text) for text in texts])
    groups = np.array([int.from_bytes(examples.keys[q][:8], "big") % GROUPS for q in order])
    positive = np.array([number[rows[q]["positives"][0]["text"]] for q in order])
    known = Ragged.from_lengths(positive, [1] * len(rows))
    held = alignment.held_out(groups, asked, known, documents)
    for source, size in (("bm25", 4), ("dense", 2)):
        own = [number[n["text"]] for q in order for n in rows[q]["negatives"] if n["source"] == source]
        negatives = Ragged.from_lengths(np.array(own), [size] * len(rows))
        hard, plain = alignment.training(groups, asked, documents, positive, negatives, known)
        expected = {name: column[0] for name, column in alignment.values(hard, plain, held).items()}
        found = {name: result[source].values[name].value for name in alignment.NAMES}
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    none = alignment.values(plain, plain, held)
    told = result.data["alignment"]["none"]["alignment"]
    assert told["value"] == pytest.approx(min(none["alignment"][0], 1.0), abs=1e-5)
    half = Jackknife.of(none["alignment"][None], np.bincount(groups, minlength=GROUPS)).half_widths()[0]
    low = none["alignment"][0] - half
    assert told["low"] == pytest.approx(min(max(low, -1.0), 1.0), abs=1e-4, nan_ok=True)
    assert result.data["alignment"]["candidates"] == len(texts)


def test_a_query_trains_towards_one_of_its_positives_drawn_by_seed():
    """One batch a group, so that the seed draws positives and nothing else."""

    def dots(rows):
        return [
            score(examples_of(rows), ENCODER, Settings(seed=seed))["bm25"].values["alignment_dot"].value
            for seed in (0, 0, 1)
        ]

    rows = make_rows(100)
    one = dots(rows)
    assert one == pytest.approx([one[0]] * 3, rel=1e-6)
    for number, row in enumerate(rows):
        row["positives"] += [{"text": f"second positive {number} margin"}, {"text": f"third {number} corpus"}]
    several = dots(rows)
    assert several[0] == several[1]
    assert abs(several[0] - several[2]) > 1e-3


@pytest.mark.parametrize("metric", ["eci_sem", "alignment_gain"])
def test_rounds_that_reach_the_end_give_the_numbers_of_one_round(metric):
    rows = make_rows(450, {"a": 3, "b": 3})
    settings = Settings(metric=metric, until_decided=True, confidence=0.999999)
    stepwise = score(examples_of(rows), ENCODER, settings)
    assert stepwise.settings["queries_scored"] == 450
    whole = score(examples_of(rows), ENCODER, Settings(metric=metric))
    for source in ("a", "b"):
        found, expected = (result[source].values[metric] for result in (stepwise, whole))
        assert vars(found) == pytest.approx(vars(expected), rel=1e-4, abs=1e-6)


def test_the_held_out_loss_is_over_no_more_queries_than_the_bound(monkeypatch):
    rows = make_rows(120, {"bm25": 3})
    whole = score(examples_of(rows), ENCODER)["bm25"].values
    monkeypatch.setattr(directions, "MOST_HELD_OUT", 119)
    bounded = score(examples_of(rows), ENCODER)["bm25"].values
    monkeypatch.setattr(directions, "MOST_HELD_OUT", 120)
    assert score(examples_of(rows), ENCODER)["bm25"].values["alignment"] == whole["alignment"]
    assert bounded["alignment"] != whole["alignment"]
    assert bounded["alignment"].value == pytest.approx(whole["alignment"].value, abs=0.05)
    assert bounded["eci_sem"] == whole["eci_sem"]


def test_more_candidates_change_alignment_alone():
    rows = make_rows(80)
    plain = score(examples_of(rows), ENCODER)
    same = score(examples_of(rows), ENCODER, corpora=Corpora(candidates=texts_of(rows)))
    assert same.to_dict()["sources"] == plain.to_dict()["sources"]
    extra = [f"document {number} of the corpus about margin and query" for number in range(30)]
    more = score(examples_of(rows), ENCODER, corpora=Corpora(candidates=[*extra, extra[0], *texts_of(rows)]))
    assert more.data["alignment"]["candidates"] == plain.data["alignment"]["candidates"] + 30
    assert more.data["embedded"]["documents"] == plain.data["embedded"]["documents"] + 30
    for name, value in plain["bm25"].values.items():
        unchanged = vars(more["bm25"].values[name]) == pytest.approx(vars(value), abs=0, rel=0, nan_ok=True)
        assert unchanged != name.startswith("alignment"), name


def test_beside_candidates_a_negative_that_no_corpus_has_is_not_ranked():
    rows = make_rows(80)
    extra = [f"document {number} of the corpus about margin and query" for number in range(30)]
    positives = {entry["text"] for row in rows for entry in row["positives"]}
    found = score(examples_of(rows), ENCODER, corpora=Corpora(candidates=extra))
    assert found.data["alignment"]["candidates"] == len(positives) + 30
    wide = score(examples_of(rows), ENCODER, corpora=Corpora(candidates=[*extra, *positives]))
    assert wide.to_dict()["sources"] == found.to_dict()["sources"]
    # That the negatives are searched changes what training on them is worth.
    all_texts = score(examples_of(rows), ENCODER, corpora=Corpora(candidates=[*extra, *texts_of(rows)]))
    for source in ("bm25", "dense"):
        one, other = (of[source].values["alignment_dot"].value for of in (found, all_texts))
        assert one != pytest.approx(other, rel=1e-3)


def test_candidates_that_are_another_corpus_or_in_other_forms_are_told():
    rows = make_rows(80)
    texts = texts_of(rows)
    own = score(examples_of(rows), ENCODER, corpora=Corpora(candidates=texts))
    assert own.data["alignment"]["found"] == {"positives": 80, "in_candidates": 80}
    assert not [text for text in own.warnings if "candidates" in text]
    shouted = score(examples_of(rows), ENCODER, corpora=Corpora(candidates=[text.upper() for text in texts]))
    assert "Only 0 of 80 positives are documents of the candidates" in " ".join(shouted.warnings)
    assert score(examples_of(rows), ENCODER).data["alignment"]["found"] == {}


def test_candidates_are_embedded_once_and_also_when_their_queries_are_not_drawn():
    rows = make_rows(60)
    encoder = CountingEncoder()
    result = score(
        examples_of(rows), encoder, Settings(sample=20), corpora=Corpora(candidates=[*texts_of(rows), "new"])
    )
    assert result.data["alignment"]["candidates"] == len(texts_of(rows)) + 1
    assert len(encoder.seen) == len(set(encoder.seen)) == 20 + len(texts_of(rows)) + 1


@pytest.mark.parametrize(("tokenizer", "tokens"), [("words", words), ("trigrams", trigrams)])
@pytest.mark.parametrize("corpus", [None, ["query margin", "margin of a batch", "seed", "zebra"]])
def test_tokenizer_and_corpus_of_the_overlap(tokenizer, tokens, corpus):
    rows = make_rows(30, {"bm25": 5})
    result = score(examples_of(rows), ENCODER, Settings(tokenizer=tokenizer), corpora=Corpora(words=corpus))
    own = triples(rows, "bm25", corpus, tokens)
    overlap = np.mean([np.mean([x for _, x in negatives]) for _, _, negatives in own])
    assert result["bm25"].values["lexical_overlap_query"].value == pytest.approx(overlap, abs=1e-9)
    assert result["bm25"].values["eci_sem"].value == pytest.approx(
        reference.eci_sem(own, 24)["eci_sem"], rel=1e-5
    )
    assert result.data["word_frequencies_over"] == len(corpus or texts_of(rows))


def test_the_tokenizer_of_the_encoder():
    class Splitting(HashingEncoder):
        def tokens(self, texts):
            return [list(text) for text in texts]

    rows = make_rows(30, {"bm25": 5})
    result = score(examples_of(rows), Splitting(24), Settings(tokenizer="encoder"))
    overlap = np.mean([np.mean([x for _, x in n]) for _, _, n in triples(rows, "bm25", None, list)])
    assert result["bm25"].values["lexical_overlap_query"].value == pytest.approx(overlap, abs=1e-9)
    with pytest.raises(EncoderError, match=r"HashingEncoder has no tokenizer .* 'words' or 'trigrams'"):
        score(examples_of(rows), ENCODER, Settings(tokenizer="encoder"))
    with pytest.raises(EciError, match="Unknown tokenizer 'bytes'. Known: words, trigrams, encoder"):
        Settings(tokenizer="bytes")


def test_the_order_by_eci_sem_is_held_against_other_temperatures():
    rows = make_rows(60, {"a": 3, "b": 3, "c": 3})
    told = score(examples_of(rows), ENCODER, Settings(temperature=0.07)).data["eci_sem"]
    assert told["definition"] == semantic.DEFINITION == "eci_sem/open-1"
    assert list(told["temperatures"]) == ["0.02", "0.05", "0.07", "0.1"]
    assert told["temperatures"]["0.07"]["kendall"] == 1.0
    for temperature, found in told["temperatures"].items():
        for source, value in found["values"].items():
            expected = reference.eci_sem(triples(rows, source), 24, float(temperature))["eci_sem"]
            assert value == pytest.approx(expected, rel=1e-4)


def scores_of(metric, values, sizes, looks=1):
    return Scores(
        tuple("abcd"[: len(values)]),
        (),
        (),
        sizes,
        0.05,
        lambda source: ({metric: values[source]}, {}),
        looks,
    )


def test_effects_go_by_the_sign_of_the_gain_and_share_the_error():
    rng = np.random.default_rng(0)
    noise = 0.001 * rng.standard_normal((4, 1 + GROUPS))
    gains = np.array([0.5, -0.5, 0.0, np.nan])[:, None] + noise

    def effects_of(sizes, looks=1):
        return {
            entry["source"]: entry
            for entry in effects(scores_of("alignment_gain", gains, sizes, looks), 0.95)
        }

    found = effects_of(np.full(GROUPS, 30))
    verdicts = {source: entry["verdict"] for source, entry in found.items()}
    assert verdicts == {"a": "help", "b": "hurt", "c": "undecided", "d": "undecided"}
    assert found["b"]["confidence"] == pytest.approx(1 - 0.05 / 4)
    assert found["b"]["low"] < found["b"]["gain"] == gains[1, 0] < found["b"]["high"] < 0
    # Repeated looks share it too.
    looked = effects_of(np.full(GROUPS, 30), looks=3)
    assert looked["b"]["confidence"] == pytest.approx(1 - 0.05 / 12)
    assert looked["b"]["low"] < found["b"]["low"]
    # Queries in fewer than ten groups decide nothing.
    few = effects_of(np.r_[np.full(9, 30), np.zeros(11, int)])
    assert {entry["verdict"] for entry in few.values()} == {"undecided"}


@pytest.mark.parametrize(("metric", "decided"), [("alignment_gain", False), ("eci_sem", True)])
def test_a_cosine_that_more_queries_may_tell_has_not_lost(metric, decided):
    values = np.stack([np.full(1 + GROUPS, 0.5), np.full(1 + GROUPS, np.nan)])
    assert decide(scores_of(metric, values, np.full(GROUPS, 10)), metric, 0.95).decided == decided


def test_effects_of_a_result_have_wider_intervals_than_its_gains():
    result = score(examples_of(make_rows(200, {"a": 3, "b": 3})), ENCODER)
    assert [entry["source"] for entry in result.effects] == ["a", "b"]
    for entry in result.effects:
        gain = result[entry["source"]].values["alignment_gain"]
        assert entry["gain"] == gain.value
        assert entry["low"] < gain.low <= gain.high < entry["high"]
    assert ScoreResult.from_json(result.to_json()).to_dict() == json.loads(result.to_json())


def styled(queries=60, phrase=""):
    rows = make_rows(queries, {"bm25": 5, "llm": 5, "bm25+llm": 2})
    for row in rows:
        for negative in row["negatives"]:
            if negative["source"] == "llm":
                negative["text"] = phrase + negative["text"]
    return rows


def test_a_style_of_its_own_lights_the_shortcut_and_warns():
    plain, marked = (
        score(examples_of(styled(phrase=phrase)), HashingEncoder(64))
        for phrase in ("", "in summary the following holds: ")
    )
    (clear,), (lit,) = plain.shortcuts, marked.shortcuts
    # A source made of others is not compared again.
    assert (clear["first"], clear["second"], clear["light"]) == ("bm25", "llm", "clear")
    assert lit["light"] == "separable"
    warning = [text for text in marked.warnings if text.startswith("bm25 and llm differ in ")]
    assert len(warning) == 1
    assert "(separable)" in warning[0]
    assert not any("differ in" in text for text in plain.warnings)


def test_joined_sources_are_compared_where_their_parts_are_not_there():
    rows = make_rows(40, {"bm25": 5, "dense+llm": 5})
    assert [(e["first"], e["second"]) for e in score(examples_of(rows), ENCODER).shortcuts] == [
        ("bm25", "dense+llm")
    ]
    assert score(examples_of(make_rows(40, {"bm25": 5})), ENCODER).shortcuts == ()


def test_too_few_queries_leave_the_light_unknown_with_a_reason():
    (found,) = score(examples_of(make_rows(10)), ENCODER).shortcuts
    assert found["light"] == "unknown"
    assert "at least 20 are needed" in found["note"]
