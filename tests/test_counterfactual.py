from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eci.datasets.docstrings import docstring_pairs
from eci.errors import EciError
from eci.miners.counterfactual import CounterfactualMiner, CounterfactualSettings
from eci.miners.edits import KINDS, RULES, Entities, Page
from eci.ragged import Ragged
from eci.task import Corpus, RetrievalTask


def task_of(documents, queries, others=()):
    """A task of (id, title, text) documents and (id, text, positives) queries; `others` are known too."""
    wide = pa.large_string()
    corpus = Corpus(*(pa.array(column, wide) for column in zip(*documents, strict=True)))
    ids, texts, positives = zip(*queries, strict=True)
    known = list(others) or [[] for _ in queries]
    return RetrievalTask.of(
        pa.array(ids, wide), pa.array(texts, wide), corpus, ragged(positives), ragged(known)
    )


def ragged(rows):
    return Ragged.from_lengths(
        np.array([value for row in rows for value in row], dtype=np.int64), [len(row) for row in rows]
    )


def found(text, *kinds, title=None, within=1000):
    """What the rules find: (kind, wording) of every fact."""
    page = Page.of(title, text, within)
    return [(fact.kind, fact.told(text)) for kind in kinds or RULES for fact in RULES[kind](page)]


def options(text, kind):
    """Every fact of a kind with its other wordings."""
    return {fact.told(text): list(fact.options) for fact in RULES[kind](Page.of(None, text, 1000))}


def edits(text, kind):
    """Every text that one edit of a kind makes."""
    return [fact.changed(text, o) for fact in RULES[kind](Page.of(None, text, 1000)) for o in fact.options]


TRIAL = (
    "In March 2004 a trial of 48 patients began. Aspirin reduced the risk of stroke in all of them. "
    "They took 75 mg of it once daily. The trial was run in Norway by a team from Bergen. "
)
PLACES = (
    "The second trial was run in Sweden and it is over. A third one was run in Denmark and in Finland. "
    "It included 60 patients. "
)


@pytest.fixture
def task():
    documents = [
        ("d0", "Aspirin and stroke", TRIAL),
        ("d1", None, PLACES + "The dose was higher than expected."),
        ("d2", "A note", "nothing here to speak about"),
        (None, None, "The flag is true. It was run in Iceland and in Greece by 12 people in 1999."),
    ]
    queries = [
        ("q0", "does aspirin prevent stroke", [0]),
        ("q1", "a trial in Sweden", [1, 0]),
        ("q2", "nothing", [2]),
        (None, "what is the flag", [3]),
    ]
    return task_of(documents, queries)


EVERY = np.arange(4)


def mine(task, depth=3, queries=EVERY, **settings):
    return CounterfactualMiner(task, CounterfactualSettings(**settings)).mine(np.asarray(queries), depth)


def told(ranking):
    """Ids and texts of each row."""
    size = min(ranking.documents.values, default=0)
    return [
        [(ranking.written[j].id, ranking.written[j].text) for j in (row - size).tolist()]
        for row in (ranking.documents[i] for i in range(len(ranking.documents)))
    ]


# What the rules take for a fact, and what they leave alone.


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("We included 17 patients and 1,234 controls.", ["17", "1,234"]),
        ("A share of 45.5% and of 12 % was seen.", ["45.5", "12"]),
        ("Two groups, then three doses; a twofold rise.", ["Two", "three", "twofold"]),
        ("Aged 20-30 years.", ["20", "30"]),
        ("a range from 1.5 to 12 was seen", ["1.5", "12"]),
        ("n = 17 and x=8", ["17", "8"]),
        ("two-dimensional flow", ["two"]),
    ],
)
def test_numbers_that_count_are_found(text, numbers):
    assert sorted(found(text, "number")) == sorted(("number", number) for number in numbers)


@pytest.mark.parametrize(
    "text",
    [
        "as shown before [12] and also (3) and [4, 5-7]",
        "see Figure 3, Fig. 4, Table 12, section 3.2 and ref. 14",
        "IL-6, p53, CD4, CD8+, H3K27 and HER2 in COVID-19",
        "caspase 3 cleaves chromosome 22 of 5-HT and 2-deoxyglucose",
        "type 2 diabetes, phase 3, grade 4, Python 3.11, PEP 8 and RFC 2822",
        "1. the first step\n2. the second step\n(3) the last one",
        "mask 0x1F, #12, v3, a1b2c3, x[10] and f(10)",
        "at 12:30, 1.2.3, 10/12 and file_2.txt of https://a.org/17 patients",
        "significant (p < 0.05, P=0.003, p for trend = 0.02)",
        "a ratio (95% CI 1.2-1.8) and 2.5 ± 0.3",
        "no. 5 and No 7 and nos. 3",
        "of them 1 patient and 0 controls",
        ">>> round(12.5, 30)\n12",
        "1, 2, and 5 of them",
        "one or two of them, twenty-five, two thirds, a two-tailed test, the twenty-first century",
        "in 1996 and in the year 2004",
        "the ratio was 1.45 (95% CI 1.2-1.8)",
    ],
)
def test_what_only_looks_like_an_amount_is_left_alone(text):
    kept = {"2.5"}  # a mean whose spread is hidden is an amount
    assert {number for _, number in found(text, "number")} <= kept


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("It began in 1996, and ended by June 2004.", ["1996", "2004", "June"]),
        ("from 1990 to 1994 and (1999-2003)", ["1990", "1994", "1999", "2003"]),
        ("on 2004-02-29, a Sunday, in the 1980s", ["2004-02-29", "Sunday", "1980"]),
        ("in May of that year, on 3 Mar 1999", ["May", "Mar", "1999"]),
        ("in 1500 patients, 2000 mg, of 1718 cases", []),
        ("It may march on in an august manner; they may go", []),
        ("as Southwell (1914) showed, 2004-13-45, 10/1999", []),
    ],
)
def test_dates_that_are_found(text, dates):
    assert sorted(found(text, "date")) == sorted(("date", each) for each in dates)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("75 mg, 5-10 ml and 3.5 kg/day", ["mg", "ml", "kg"]),
        ("six months, a 12-week course, several years", ["months", "week", "years"]),
        ("24h at 37 °C and 5 MHz, 128 bytes, 90 mg/dl", ["h", "°C", "MHz", "bytes", "mg/dl"]),
        ("twice daily", ["daily"]),
        ("25 kg/m(2), 3 m2, 4 cm², 120 mm Hg, 10,000 g, 5 s-1", []),
        ("daily life of a kg and some years", []),
        ("IL-6 mg and utf-8bit", []),
        ("ms 12, kg, in the year 12", []),
    ],
)
def test_units_that_are_found(text, units):
    assert sorted(found(text, "unit")) == sorted(("unit", each) for each in units)


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("Aspirin is effective here.", "Aspirin is not effective here."),
        ("It can inhibition.", "It cannot inhibition."),
        ("This has been shown.", "This has not been shown."),
        ("It is not known.", "It is known."),
        ("It isn't known; she won't go.", "It is known; she won't go."),
        ("It isn’t known.", "It is known."),
        ("They cannot be opened.", "They can be opened."),
        ("There was no significant effect.", "There was a significant effect."),
        ("No effect.", "An effect."),
        ("It takes no arguments.", "It takes some arguments."),
        ("Found no evidence of it.", "Found some evidence of it."),
        ("DOES NOT run", "DOES run"),
        ("A reduction in size", "An increase in size"),
        ("an increased rate", "a decreased rate"),
        ("INCREASED RATE", "DECREASED RATE"),
        ("Higher than usual", "Lower than usual"),
        ("It always fails", "It never fails"),
        ("Raises ValueError if", "Returns ValueError if"),
        ("patients with gout", "patients without gout"),
        ("up-regulation of it", "down-regulation of it"),
    ],
)
def test_what_is_said_becomes_its_opposite(text, edited):
    assert edited in edits(text, "negation")


@pytest.mark.parametrize(
    "text",
    [
        "no longer, no more than that, no. 5, no-one",
        "before and after; positive or negative; high and low",
        "not only this but that, whether or not",
        "associated with gout; without moving; without any doubt",
        "whether it is so; Is it new?",
        "The aim of this was to see",
        "it has a name; they have two; she had it",
        "to lower it; high school; as early as that; Gram-positive",
        "it does not have any effect; no pain or fever",
        "max_increase = increase(x); self.is_open; path/is/open; a.is.b",
        "in the month of May it",
        "diet-induced; interferon-stimulated",
        "the non-linear one",
        "the queue raised the Empty flag",
    ],
)
def test_what_has_no_opposite_is_left_alone(text):
    assert edits(text, "negation") == []


# What is put in the place of a fact.


@given(st.integers(2, 10**7), st.booleans())
def test_whole_numbers_keep_format_and_size(value, grouped):
    number = f"{value:,}" if grouped else str(value)
    if re.fullmatch(r"1[6-9]\d\d|20\d\d", number):
        return  # may be a year
    (others,) = options(f"a total of {number} was seen", "number").values()
    assert others
    for other in others:
        assert re.fullmatch(r"\d{1,3}(,\d{3})*" if "," in number else r"\d+", other)
        assert abs(int(other.replace(",", "")) / value - 1) > 0.15
        assert 1 / 4 <= int(other.replace(",", "")) / value <= 4


@given(st.decimals("0.11", "9999", places=2, allow_nan=False))
def test_decimals_keep_their_places(value):
    number = f"{value:.2f}"
    others = options(f"a mean of {number} was seen", "number")[number]
    assert others
    for other in others:
        assert re.fullmatch(r"\d+\.\d\d", other)
        assert 1 / 4 <= float(other) / float(number) <= 4
        assert other != number
        assert (float(other) < 1) == (float(number) < 1)


@given(st.integers(2, 100))
def test_percentages_stay_below_a_hundred(value):
    others = options(f"it rose by {value}% then", "number")[str(value)]
    assert others
    assert all(0 < int(other) < 98 for other in others)


@given(st.dates(date(1002, 3, 1), date(2098, 1, 1)))
def test_full_dates_stay_dates(day):
    others = options(f"on {day.isoformat()} it", "date")[day.isoformat()]
    assert len(others) > 1
    assert all(date.fromisoformat(other) != day for other in others)


def test_a_period_stays_a_period():
    found = options("from 1990 to 1994, and of 10-15 patients", "date")
    assert all(int(other) < 1994 for other in found["1990"])
    assert all(int(other) > 1990 for other in found["1994"])
    found = options("from 1990 to 1994, and of 10-15 patients", "number")
    assert all(int(other) < 15 for other in found["10"])
    assert all(int(other) > 10 for other in found["15"])


def test_a_month_is_long_enough_for_its_day():
    assert "February" not in options("on 30 March 2004", "date")["March"]
    assert set(options("on 31 MARCH 2004", "date")["MARCH"]) == {
        "JANUARY", "MAY", "JULY", "AUGUST", "OCTOBER", "DECEMBER"
    }  # fmt: skip


def test_units_keep_dimension_and_number():
    assert options("six months", "unit")["months"] == ["weeks", "years"]
    assert options("a 6-month course", "unit")["month"] == ["week", "year"]
    assert options("5 mg", "unit")["mg"] == ["µg", "g"]
    assert options("5 μg", "unit")["μg"] == ["ng", "mg"]
    # Not "between 1 year and 1 year".
    assert options("between 1 month and 1 year", "unit") == {"month": ["week"]}
    assert options("90 mg/dl", "unit")["mg/dl"] == ["mmol/l"]


def test_articles_agree_with_numbers():
    assert all(not o.startswith(("8", "11", "18")) for o in options("a 12-week run", "number")["12"])
    assert options("an 11-year run", "number")["11"] == ["8"]
    assert "eight" not in options("a six-week run", "number")["six"]


def test_names_give_way_to_names_of_the_same_place_and_shape():
    texts = [
        "It was run in Sweden and it was run in Denmark.",
        "They saw IL-6 levels, CD8 levels, TNF levels.",
    ]
    entities = Entities.of(texts, seed=0)
    text = "It was run in Norway, so Norway has IL-2 levels and TNF levels. Aside, (WHO) levels."
    facts = {fact.told(text): fact for fact in entities(Page.of("On TNF", text, 1000))}
    assert set(facts) == {"Norway", "IL-2"}
    assert facts["IL-2"].options == ("IL-6",)
    assert set(facts["Norway"].options) == {"Sweden", "Denmark"}
    assert facts["Norway"].changed(text, "Sweden") == text.replace("Norway", "Sweden")


def test_names_that_others_contain_or_shorten_stay():
    entities = Entities.of(["It was run in Sweden. They saw XYZ levels and ABC cells."], seed=0)
    for text in (
        "They saw PQR levels and PQRs.",
        "They saw PQR levels; the long name (PQR) is long.",
        "It was run in Norway (NO).",
    ):
        assert list(entities(Page.of(None, text, 1000))) == []


def test_an_article_is_no_place_for_another_sound():
    entities = Entities.of(["They had an MRI scan, a PET scan and a CT scan."], seed=0)
    (fact,) = entities(Page.of(None, "They had an EEG scan.", 1000))
    assert fact.options == ("MRI",)


def test_only_the_beginning_is_edited():
    text = "It is new. " * 30
    page = Page.of(None, text, 102)
    facts = list(RULES["negation"](page))
    assert [fact.start for fact in facts] == list(range(3, 102, 11))
    assert found("It increases.", within=11) == []
    assert found("It increases.", within=12) == [("negation", "increases")]


def test_a_title_that_the_text_repeats_stays():
    text = "The rate is higher. It is new."
    assert found(text, title="The rate is higher.") == [("negation", "is")]


@given(st.text("aAiInNoOtT '.0123456789-,()[]%\n", max_size=80))
def test_any_text_can_be_edited_in_one_place(text):
    for fact in (fact for rule in RULES.values() for fact in rule(Page.of(None, text, 60))):
        start, stop = fact.spans[0]
        assert 0 <= start < stop <= 60
        for option in fact.options:
            changed = fact.changed(text, option)
            assert changed != text
            assert changed[:start] == text[:start]
            assert changed[start + len(option) :] == text[stop:]


@given(st.text(max_size=60))
def test_offsets_hold_in_any_script(text):
    full = text + " It is so in 12 patients."
    page = Page.of(None, full, 1000)
    for word, (start, stop) in zip(page.words, page.spans, strict=True):
        assert full[start:stop].lower() == word


# The miner.


def test_what_a_ranking_of_edits_looks_like(task):
    ranking = mine(task)
    assert ranking.scorer == "counterfactual"
    assert ranking.documents.lengths.tolist() == [3, 3, 0, 3]
    assert ranking.documents.values.tolist() == [len(task.corpus) + j for j in range(9)]
    assert ranking.ranks.tolist() == [1, 2, 3] * 3
    assert np.isnan(ranking.scores).all()


def check(task, ranking):
    """Each negative is its positive but for one fact, as its record says."""
    corpus = task.corpus
    places = {id_: place for place, id_ in enumerate(corpus.ids.to_pylist()) if id_ is not None}
    for query in range(len(task)):
        negatives = [ranking.written[j - len(corpus)] for j in ranking.documents[query].tolist()]
        assert len({each.text for each in negatives}) == len(negatives)
        assert len({each.id for each in negatives}) == len(negatives)
        texts = {" ".join(corpus.texts[known].as_py().lower().split()) for known in task.known[query]}
        for each in negatives:
            record = each.record
            place = record["of"] if isinstance(record["of"], int) else places[record["of"]]
            text, start = corpus.texts[place].as_py(), record["start"]
            assert place in task.positives[query]
            assert record.get("title") == (corpus.titles[place].as_py() or None)
            assert text[start:].startswith(record["from"])
            assert start + len(record["from"]) <= 1000
            if record["edit"] == "entity":
                assert each.text == text.replace(record["from"], record["to"])
                assert record["to"] not in task.queries[query].as_py()
            else:
                assert each.text == text[:start] + record["to"] + text[start + len(record["from"]) :]
            assert " ".join(each.text.lower().split()) not in texts


def test_a_negative_is_its_positive_but_for_one_fact(task):
    ranking = CounterfactualMiner(task, CounterfactualSettings()).mine(EVERY, 100)
    check(task, ranking)
    assert {each.record["edit"] for each in ranking.written} == set(KINDS)


def test_kinds_take_turns_and_facts_come_before_their_other_options(task):
    ranking = mine(task, depth=10_000, queries=[0])
    records = [each.record for each in ranking.written]
    facts = [(record["edit"], record["start"]) for record in records]
    assert {record["edit"] for record in records[:5]} == set(KINDS)
    distinct = len(set(facts))
    assert len(set(facts[:distinct])) == distinct < len(facts)


def test_facts_beside_the_words_of_the_query_come_first_more_often():
    text = "The wing is flat. " + "The moon is round. " * 3
    task = task_of([("d", None, text)], [(str(n), "shape of a flat wing", [0]) for n in range(200)])
    first = [each.record["start"] for each in mine(task, 1, np.arange(200), kinds=("negation",)).written]
    assert sum(start < 18 for start in first) > 100


def test_other_queries_change_nothing(task):
    every = told(mine(task))
    assert [told(mine(task, queries=[query]))[0] if every[query] else [] for query in EVERY] == every
    assert told(mine(task, queries=EVERY[::-1]))[::-1] == every


def test_the_seed_decides(task):
    assert told(mine(task)) == told(mine(task))
    assert told(mine(task)) != told(mine(task, seed=1))
    assert told(mine(task, depth=1)) == [row[:1] for row in told(mine(task))]


def test_hash_randomisation_changes_nothing():
    code = (
        "from test_counterfactual import *; "
        f"docs = [('d%d' % n, None, {TRIAL!r} + {PLACES!r} + str(n)) for n in range(20)]; "
        "task = task_of(docs, [(str(n), 'aspirin', [n]) for n in range(20)]); "
        "print(json.dumps(told(mine(task, 5, np.arange(20)))))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(json.loads(outputs[0])[0]) == 5


def test_a_known_document_is_never_written():
    texts = ["The flag was true.", "the  FLAG was ﬁne", "THE flag\nwas false."]
    documents = [(f"d{n}", None, text) for n, text in enumerate(texts)]
    task = task_of(documents, [("q", "flag", [0])], others=[[2]])
    written = mine(task, 10, [0], kinds=("negation",)).written
    assert [each.text for each in written] == ["The flag was not true."]
    unknown = task_of(documents, [("q", "flag", [0])])
    assert len(mine(unknown, 10, [0], kinds=("negation",)).written) == 2


def test_a_known_document_with_a_title_is_never_written():
    documents = [("a", "Flags", "It was true."), ("b", None, "flags it was FALSE.")]
    task = task_of(documents, [("q", "flag", [0])], others=[[1]])
    assert [each.text for each in mine(task, 10, [0], kinds=("negation",)).written] == ["It was not true."]


def test_an_edit_brings_in_nothing_that_the_query_names():
    documents = [("d", None, "It was run in Norway by 5 people."), ("e", None, "It was run in Sweden.")]
    kinds = ("entity", "number")
    query = [("q", "in Sweden by 2, 3, 4, 6, 7 or 8 people", [0])]
    assert [each.record["to"] for each in mine(task_of(documents, query), 50, [0], kinds=kinds).written] == [
        "9"
    ]
    query = [("q", "how many people", [0])]
    assert "Sweden" in {
        each.record["to"] for each in mine(task_of(documents, query), 50, [0], kinds=kinds).written
    }


def test_documents_without_id_are_named_by_their_text(task):
    written = mine(task, 3, [3]).written
    names = {each.id.partition("~")[0] for each in written}
    assert len(names) == 1
    assert re.fullmatch(r"[0-9a-f]{16}", names.pop())
    assert {each.record["of"] for each in written} == {3}
    assert {each.id.partition("~")[0] for each in mine(task, 3, [0]).written} == {"d0"}


def test_kinds_and_within_are_obeyed(task):
    assert {each.record["edit"] for each in mine(task, 50, kinds=("date", "unit")).written} == {
        "date",
        "unit",
    }
    starts = [each.record["start"] for each in mine(task, 50, within=40).written]
    assert starts
    assert max(starts) < 40


@pytest.mark.parametrize("depth", [0, 3])
def test_no_queries_or_no_depth_gives_an_empty_ranking(task, depth):
    ranking = mine(task, depth, np.empty(0, dtype=np.int64))
    assert (len(ranking.documents), len(ranking.ranks), ranking.written) == (0, 0, ())
    assert mine(task, 0).documents.lengths.tolist() == [0, 0, 0, 0]


def test_it_tells_everything_that_decides(task):
    miner = CounterfactualMiner(task, CounterfactualSettings(kinds=("unit",), seed=3, within=50))
    assert miner.label == "counterfactual"
    told = {"name": "counterfactual", "kinds": ["unit"], "seed": 3, "within": 50}
    assert orjson.loads(orjson.dumps(miner.describe())) == told


def test_records_are_json(task):
    for each in mine(task, 50).written:
        assert orjson.loads(orjson.dumps(dict(each.record))) == each.record
        assert set(each.record) - {"title"} == {"edit", "from", "to", "start", "of"}


def test_it_gives_no_scores(task):
    with pytest.raises(EciError, match="Counterfactual negatives have no scores.*--teacher"):
        CounterfactualMiner(task).score_positives(EVERY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kinds": ("number", "colour")},
            "number, date, unit, negation, entity, each once; got 'number', 'colour'",
        ),
        ({"kinds": ()}, "some of number.*got none"),
        ({"kinds": ("date", "date")}, "each once; got 'date', 'date'"),
        ({"within": 0}, "within must be at least 1 character, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(EciError, match=message):
        CounterfactualSettings(**settings)


def test_the_docstrings_of_python():
    pairs = list(docstring_pairs(Path(email.__file__).parent).items())
    documents = [(None, None, text) for text in dict.fromkeys(text for _, texts in pairs for text in texts)]
    place = {text: number for number, (*_, text) in enumerate(documents)}
    task = task_of(documents, [(None, query, [place[text] for text in texts]) for query, texts in pairs])
    ranking = CounterfactualMiner(task).mine(np.arange(len(task)), 3)
    check(task, ranking)
    assert len(ranking.written) > len(task)


def test_scientific_abstracts(data):
    lines = (data / "scifact" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[:200]
    read = [json.loads(line) for line in lines]
    documents = [(each["_id"], each["title"], each["text"]) for each in read]
    task = task_of(documents, [(each["_id"], each["title"], [n]) for n, each in enumerate(read)])
    ranking = CounterfactualMiner(task).mine(np.arange(len(task)), 3)
    check(task, ranking)
    assert (ranking.documents.lengths == 3).mean() > 0.9
    assert {each.record["edit"] for each in ranking.written} == set(KINDS)
