"""Hybrids of sources, against their definitions as loops."""

import json
import unicodedata
from collections import Counter
from fractions import Fraction
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.datasets import ReadOptions, from_object, read, write
from eci.datasets.mixed import same_documents
from eci.errors import DataError, EciError
from eci.examples import ROWS, Examples
from eci.miners.hybrid import budget, concat, quotas, union
from eci.mixing import MODES, MixSummary, mix
from eci.ragged import Ragged
from fakes import make_rows, run_cli

# The algorithm: lists of numbers.


def apportioned(k, shares):
    exact = [Fraction(k) * share / sum(shares) for share in shares]
    whole = [int(each) for each in exact]
    most = sorted(range(len(shares)), key=lambda p: (whole[p] - exact[p], p))
    for part in most[: k - sum(whole)]:
        whole[part] += 1
    return whole


def naive_concat(lists):
    return [(p, i) for p, each in enumerate(lists) for i in range(len(each))]


def naive_union(lists):
    rounds = zip_longest(*([(p, i) for i in range(len(each))] for p, each in enumerate(lists)))
    chosen, seen = [], set()
    for part, place in (entry for turn in rounds for entry in turn if entry):
        if lists[part][place] not in seen:
            seen.add(lists[part][place])
            chosen.append((part, place))
    return chosen


def naive_budget(lists, k, shares):
    chosen, seen = [], set()

    def turn(part):
        for place, document in enumerate(lists[part]):
            if document not in seen:
                seen.add(document)
                chosen.append((part, place))
                return True
        return False

    had = apportioned(k, shares)
    for _, part in sorted(
        (Fraction(j, shares[p]), p) for p in range(len(lists)) for j in range(1, had[p] + 1)
    ):
        turn(part)
    within, alive = len(chosen), set(range(len(lists)))
    while len(chosen) < k and alive:
        part = min(alive, key=lambda p: (Fraction(had[p] + 1, shares[p]), p))
        had[part] += 1
        if not turn(part):
            alive.discard(part)
    return chosen, len(chosen) > within


@st.composite
def found(draw):
    """Lists of some parts for some queries, and shares."""
    parts = draw(st.integers(1, 4))
    one = st.lists(st.integers(0, 7), max_size=7)
    queries = draw(st.lists(st.lists(one, min_size=parts, max_size=parts), max_size=4))
    return queries, draw(st.lists(st.integers(1, 4), min_size=parts, max_size=parts))


def packed(queries):
    lists = [each for query in queries for each in query]
    numbers = [8 * b + document for b, query in enumerate(queries) for each in query for document in each]
    return Ragged.from_lengths(np.array(numbers, dtype=np.int64), [len(each) for each in lists])


def unpacked(chosen, lists, parts):
    pairs = [(int(lists.rows[at]) % parts, int(lists.within[at])) for at in chosen.values]
    rows = [pairs[chosen.offsets[b] : chosen.offsets[b + 1]] for b in range(len(chosen))]
    assert all(lists.rows[at] // parts == row for at, row in zip(chosen.values, chosen.rows, strict=True))
    return rows


@given(found())
@settings(max_examples=200, deadline=None)
def test_concat_and_union_as_defined(case):
    queries, shares = case
    lists = packed(queries)
    for fast, slow in ((concat, naive_concat), (union, naive_union)):
        assert unpacked(fast(lists, len(shares)), lists, len(shares)) == [slow(query) for query in queries]


@given(found(), st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_budget_as_defined(case, k):
    queries, shares = case
    lists = packed(queries)
    taken, filled = budget(lists, len(shares), k, shares)
    expected = [naive_budget(query, k, shares) for query in queries]
    assert unpacked(taken, lists, len(shares)) == [chosen for chosen, _ in expected]
    assert filled.tolist() == [more for _, more in expected]


@given(found(), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_a_budget_takes_what_there_is(case, k):
    queries, shares = case
    taken, _ = budget(packed(queries), len(shares), k, shares)
    distinct = [len({document for each in query for document in each}) for query in queries]
    assert taken.lengths.tolist() == [min(k, number) for number in distinct]


@given(st.integers(1, 200), st.lists(st.integers(1, 9), min_size=1, max_size=6))
@settings(deadline=None)
def test_quotas_are_largest_remainders(k, shares):
    assert quotas(k, shares).tolist() == apportioned(k, shares)
    assert quotas(k, [share / 10 for share in shares]).tolist() == apportioned(k, shares)


def test_a_budget_far_above_what_is_there_costs_nothing():
    lists = packed([[[1, 2], [3]]])
    taken, filled = budget(lists, 2, 10**9, (1, 1))
    assert lists.values[taken.values].tolist() == [1, 3, 2]
    assert not filled[0]  # nobody took more than half a thousand million


def components(rows, texts, ids):
    """Same text or same id within a row, followed to the end."""
    label = list(range(len(rows)))
    for _ in rows:
        for i in range(len(rows)):
            for j in range(len(rows)):
                same = texts[i] == texts[j] or (ids[i] == ids[j] >= 0)
                if rows[i] == rows[j] and same:
                    label[i] = label[j] = min(label[i], label[j])
    return label


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(-1, 3)), max_size=9))
@settings(max_examples=200, deadline=None)
def test_same_documents_by_text_or_id(entries):
    rows, texts, ids = (np.array(column, dtype=np.int64) for column in zip(*entries, strict=True)) if entries else [np.empty(0, dtype=np.int64)] * 3  # fmt: skip
    number = same_documents(rows, texts, ids).tolist()
    label = components(rows.tolist(), texts.tolist(), ids.tolist())
    assert len(set(zip(number, label, strict=True))) == len(set(number)) == len(set(label))


# Rows: as dicts, with loops.

POOL = [("1", "Alpha"), (None, "alpha "), ("2", "ALPHA"), (None, "beta"), ("3", "beta"), (None, "ﬁn"), ("4", "fin"),
        (None, "gamma"), (None, "delta"), ("5", "epsilon"), ("6", "zeta")]  # fmt: skip
DOCUMENT = st.sampled_from(POOL).map(lambda pair: {"text": pair[1], **({"id": pair[0]} if pair[0] else {})})
NEGATIVE = st.builds(
    lambda document, source, rank, score: {
        **document,
        "source": source,
        **({} if rank is None else {"rank": rank}),
        **({} if score is None else {"score": score, "scorer": source}),
    },
    DOCUMENT,
    st.sampled_from("abc"),
    st.none() | st.integers(1, 5),
    st.none() | st.just(0.5),
)
ROW = st.builds(
    lambda query, positives, negatives: {"query": query, "positives": positives, "negatives": negatives},
    st.sampled_from(["q", "r", "s"]),
    st.lists(DOCUMENT, min_size=1, max_size=2),
    st.lists(NEGATIVE, max_size=8),
)


def text_key(document):
    return " ".join(unicodedata.normalize("NFKC", document["text"]).lower().split())


def by_query(rows):
    """Positives and negatives of queries, without what an earlier row has."""
    queries = {}
    for row in rows:
        positives, negatives = queries.setdefault(row["query"], ([], []))
        positives += [p for p in row["positives"] if p not in positives]
        earlier = {(n["source"], n.get("id"), n["text"]) for n in negatives}
        negatives += [n for n in row["negatives"] if (n["source"], n.get("id"), n["text"]) not in earlier]
    return queries


def representative(documents):
    """Id and text of the first that has an id, else of the first."""
    best = next((each for each in documents if "id" in each), documents[0])
    return best.get("id"), best["text"]


def naive_mix(rows, parts, mode, k, shares):
    mixed = {}
    for query, (positives, negatives) in by_query(rows).items():
        known = {text_key(each) for each in positives}
        lists = []
        for part in parts:
            own = [n for n in negatives if n["source"] == part]
            own.sort(key=lambda n: n.get("rank", 99))
            ranked = [{"rank": place, **n} for place, n in enumerate(own, 1)]
            lists.append([n for n in ranked if text_key(n) not in known])
        keys = [[text_key(n) for n in own] for own in lists]
        chosen = {
            "concat": lambda keys=keys: naive_concat(keys),
            "union": lambda keys=keys: naive_union(keys),
            "budget": lambda keys=keys: naive_budget(keys, k, shares)[0],
        }[mode]()
        mixed[query] = (
            [
                expected_entry(lists, part, place, number, "+".join(parts), mode)
                for number, (part, place) in enumerate(chosen[:k], 1)
            ],
            {
                text_key(p): representative([o for o in positives if text_key(o) == text_key(p)])
                for p in positives
            },
        )
    return mixed


def expected_entry(lists, part, place, number, label, mode):
    own = lists[part][place]
    finders = [n for each in lists for n in each if text_key(n) == text_key(own)]
    ranks = {n["source"]: n["rank"] for n in reversed(finders)}
    id_, text = representative([own] if mode == "concat" else finders)
    scored = own if mode == "concat" else finders[0]
    return {
        "source": label, "id": id_, "title": None, "text": text, "rank": number, "score": scored.get("score"),
        "scorer": scored.get("scorer"),
        "extra": {"sources": [n for n in label.split("+") if n in ranks], "ranks": ranks},
    }  # fmt: skip


def shown(rows):
    return {
        row["query"]: (
            [{**n, "extra": json.loads(n["extra"])} for n in row["negatives"]],
            {text_key(p): (p["id"], p["text"]) for p in row["positives"]},
        )
        for batch in rows
        for row in batch.to_pylist()
    }


@pytest.mark.parametrize("mode", MODES)
@given(
    st.lists(ROW, min_size=1, max_size=6),
    st.permutations("abc").map(lambda names: names[:2]) | st.permutations("abc"),
    st.integers(1, 6),
    st.lists(st.integers(1, 3), min_size=3, max_size=3),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_rows_as_defined(mode, rows, parts, k, shares, batch_rows):
    held = {n["source"] for row in rows for n in row["negatives"]}
    parts = [part for part in parts if part in held]
    if len(parts) < 2:
        return
    shares = shares[: len(parts)] if mode == "budget" else None
    reading = ReadOptions(batch_rows=batch_rows)
    mixture = mix(from_object(rows, reading), mode=mode, k=k, sources=parts, shares=shares, reading=reading)
    expected = naive_mix(rows, parts, mode, k, shares)
    assert shown(mixture.rows) == expected
    first = mixture.summary
    assert shown(mixture.rows) == expected
    assert mixture.summary == first
    assert first.rows == len(expected)
    assert (
        first.negatives == sum(first.kept.values()) == sum(len(entries) for entries, _ in expected.values())
    )
    given_ = Counter(n["source"] for _, negatives in by_query(rows).values() for n in negatives)
    assert first.given == {part: given_[part] for part in parts}
    assert first.single == sum(
        len({n["source"] for n in negatives} & set(parts)) == 1 for _, negatives in by_query(rows).values()
    )
    if mode == "budget":
        assert first.short == sum(len(entries) < k for entries, _ in expected.values())


def row(source, *texts, positives=("right",), query="q", **more):
    negatives = [{"source": source, "text": text, "rank": rank} for rank, text in enumerate(texts, 1)]
    held = [p if isinstance(p, dict) else {"text": p} for p in positives]
    return {"query": query, "positives": held, "negatives": negatives, **more}


def only(rows):
    (one,) = [each for batch in rows for each in batch.to_pylist()]
    return one


def texts(mixture):
    return [each["text"] for each in only(mixture.rows)["negatives"]]


BOTH = [row("bm25", "a", "b", "c"), row("dense", "b", "x", "y", "z")]


def test_the_three_modes_by_hand():
    assert texts(mix(from_object(BOTH), mode="concat")) == list("abcbxyz")
    assert texts(mix(from_object(BOTH), mode="union")) == list("abxcyz")
    assert texts(mix(from_object(BOTH), mode="union", k=4)) == list("abxc")
    assert texts(mix(from_object(BOTH), mode="budget", k=4)) == list("abcx")
    assert texts(mix(from_object(BOTH), mode="budget", k=4, shares=(1, 3))) == list("bxay")
    assert texts(mix(from_object(BOTH), mode="budget", k=3, sources=["dense", "bm25"])) == list("bax")


def test_what_becomes_of_every_negative():
    mixture = mix(from_object([*BOTH, row("bm25", "lone", query="r"), row("dense", "Right ", query="s")]),
                  mode="budget", k=5)  # fmt: skip
    list(mixture.rows)
    assert mixture.summary == MixSummary(
        label="bm25+dense", parts=("bm25", "dense"), rows=3, negatives=6,
        given={"bm25": 4, "dense": 5}, kept={"bm25": 3, "dense": 3},
        merged=1, known=1, short=2, filled=1, single=2, empty=1,
    )  # fmt: skip


def test_positives_of_any_row_are_no_negatives():
    rows = [row("bm25", "a", "Other  answer"), row("dense", "b", positives=["other answer"])]
    mixture = mix(from_object(rows), mode="concat")
    assert texts(mixture) == ["a", "b"]
    assert mixture.summary.known == 1
    assert [p["text"] for p in only(mixture.rows)["positives"]] == ["right", "other answer"]


@pytest.mark.parametrize(
    ("scores", "kept", "lost"),
    [((0.5, 0.5), 0.5, 0), ((0.5, 0.6), None, 1), ((0.5, None), None, 1), ((None, 0.5), None, 1), ((None, None), None, 0)],
)  # fmt: skip
def test_positive_scores_that_all_parts_share(scores, kept, lost):
    rows = [row(part, part, positives=[{"text": "right", "score": score}] if score else ["right"])
            for part, score in zip(("bm25", "dense"), scores, strict=True)]  # fmt: skip
    mixture = mix(from_object(rows), mode="union")
    assert [p["score"] for p in only(mixture.rows)["positives"]] == [kept]
    assert mixture.summary.scores == lost


def test_a_score_that_a_part_does_not_give_goes():
    one, other = ({"text": text, "score": 0.9} for text in ("right", "also right"))
    split = mix(
        from_object([row("bm25", "a", positives=[one]), row("dense", "b", positives=[other])]), mode="union"
    )
    assert [p["score"] for p in only(split.rows)["positives"]] == [None, None]
    # Rows of one part that share a query may have different positives.
    rows = [
        row(part, f"{part}{p['text']}", positives=[p]) for part in ("bm25", "dense") for p in (one, other)
    ]
    assert [p["score"] for p in only(mix(from_object(rows), mode="union").rows)["positives"]] == [0.9, 0.9]


@pytest.mark.parametrize("apart", [False, True])
def test_scores_stay_where_all_rows_of_a_query_say_the_same(apart):
    rng = np.random.default_rng(7)
    rows = [
        row(source, f"{source} {n}", query=f"query {query}", positives=[
            {"text": f"right {p}", **({} if score is None else {"score": score})}
            for p, score in enumerate(rng.choice([0.25, 0.25, 0.25, 0.25, 0.5, None], 3).tolist())
        ])
        for query in range(300) for n in range(2) for source in rng.choice(["a", "b", "c"], 2).tolist()
    ]  # fmt: skip
    for place in range(0, len(rows), 7):
        rows[place]["negatives"] = []
    if apart:
        rows = [rows[place] for place in rng.permutation(len(rows))]
    wanted, lost = {}, 0
    for query in {each["query"] for each in rows}:
        own = [each for each in rows if each["query"] == query]
        parts = {n["source"] for each in own for n in each["negatives"]}
        for text in ("right 0", "right 1", "right 2"):
            said = [
                (p["score"], {n["source"] for n in each["negatives"]})
                for each in own
                for p in each["positives"]
                if p["text"] == text and "score" in p
            ]
            same = len({score for score, _ in said}) == 1 and set().union(*(of for _, of in said)) == parts
            wanted[query, text] = said[0][0] if same else None
            lost += bool(said) and not same
    mixture = mix(from_object(rows), mode="union", reading=ReadOptions(batch_rows=50))
    found = [each for batch in mixture.rows for each in batch.to_pylist()]
    assert {(each["query"], p["text"]): p["score"] for each in found for p in each["positives"]} == wanted
    assert mixture.summary.scores == lost
    kept = sum(score is not None for score in wanted.values())
    assert min(kept, lost) > 50
    assert (mixture.rows.notes != []) is apart


@pytest.mark.parametrize("first", ["alpha", "  Alpha"])
def test_scores_go_with_their_positives_where_one_stands_twice(first):
    # The same answer twice, under two scores, and another one behind it.
    positives = [
        {"text": first, "score": 0.1},
        {"id": "1", "text": "ALPHA", "score": 0.2},
        {"text": "beta", "score": 0.3},
    ]
    rows = [row(part, part, positives=positives) for part in ("bm25", "dense")]
    mixture = mix(from_object(rows), mode="union")
    found = [(p["id"], p["text"], p["score"]) for p in only(mixture.rows)["positives"]]
    assert found == [("1", "ALPHA", None), (None, "beta", 0.3)]
    assert mixture.summary.scores == 1


def test_id_and_text_come_from_one_entry():
    titled = {"source": "dense", "id": "7", "title": "Title", "text": "body", "score": 2.0, "scorer": "m"}
    bare = {"source": "bm25", "text": "title body", "score": 9.0, "scorer": "bm25"}
    rows = [{**row("", positives=["right"]), "negatives": [bare, titled]}]
    (entry,) = only(mix(from_object(rows), mode="union").rows)["negatives"]
    told = json.loads(entry.pop("extra"))
    assert entry == {
        "source": "bm25+dense", "id": "7", "title": "Title", "text": "body", "rank": 1, "score": 9.0, "scorer": "bm25",
    }  # fmt: skip
    assert told == {"sources": ["bm25", "dense"], "ranks": {"bm25": 1, "dense": 1}}


def test_what_negatives_tell_is_kept():
    rows = [row("llm", "a", "b"), row("bm25", "a", "c")]
    rows[0]["negatives"][0]["extra"] = {"model": "m", "prompt": "p"}
    rows[1]["negatives"][0]["extra"] = {"model": "other", "cost": 1}
    mixture = mix(from_object(rows), mode="union")
    told = [json.loads(each["extra"]) for each in only(mixture.rows)["negatives"]]
    assert told[0] == {
        "model": "m", "prompt": "p", "cost": 1, "sources": ["llm", "bm25"], "ranks": {"llm": 1, "bm25": 1},
    }  # fmt: skip
    assert told[1] == {"sources": ["llm"], "ranks": {"llm": 2}}


def test_hybrids_of_hybrids_tell_all(tmp_path):
    write(mix(from_object(BOTH), mode="union").rows, tmp_path / "both.jsonl", "eci")
    other = [row("llm", "x", "b"), row('say "hi"', "b")]
    write(mix(from_object(other), mode="union", label="other").rows, tmp_path / "more.jsonl", "eci")
    again = mix([tmp_path / "both.jsonl", tmp_path / "more.jsonl"], mode="union")
    told = {n["text"]: json.loads(n["extra"]) for n in only(again.rows)["negatives"]}
    assert told["b"] == {
        "sources": ["bm25+dense", "other", "bm25", "dense", "llm", 'say "hi"'],
        "ranks": {"bm25+dense": 2, "other": 2, "bm25": 2, "dense": 1, "llm": 2, 'say "hi"': 1},
    }


def test_parts_are_in_the_order_in_which_rows_have_them():
    # The first query lacks the first source.
    rows = [
        row("z", "n", query="r"),
        {**row("y", "m"), "negatives": [*row("y", "m")["negatives"], *row("z", "n")["negatives"]]},
    ]
    mixture = mix(from_object(rows), mode="concat")
    list(mixture.rows)
    assert mixture.summary.parts == ("y", "z")
    assert mixture.summary.label == "y+z"


def test_extras_of_rows_and_ids_stay():
    rows = [{**each, "query_id": "1", "extra": {"prompt": "P"}} for each in BOTH]
    found = only(mix(from_object(rows), mode="union").rows)
    assert (found["query_id"], json.loads(found["extra"])) == ("1", {"prompt": "P"})


def test_queries_that_stand_apart_give_the_same(tmp_path):
    names = [tmp_path / f"{source}.jsonl" for source in ("bm25", "dense")]
    rows = make_rows(30, {"bm25": 7, "dense": 5}, seed=3)
    for path, own in zip(names, (rows, rows[::-1]), strict=True):
        kept = [{**r, "negatives": [n for n in r["negatives"] if n["source"] == path.stem]} for r in own]
        path.write_text("".join(json.dumps(each) + "\n" for each in kept))
    found = {}
    for size in (1, 7, 100):
        mixture = mix(names, mode="budget", k=6, shares=(2, 1), reading=ReadOptions(batch_rows=size))
        mixture.beside = tmp_path / "out.jsonl"
        found[size] = sorted(
            (each["query_id"], json.dumps(each)) for batch in mixture.rows for each in batch.to_pylist()
        )
        assert mixture.rows.notes == [
            "the rows of a query are not adjacent: they were brought together, in another order"
        ]
        assert mixture.summary.filled == 0
        assert mixture.summary.kept == {"bm25": 120, "dense": 60}
    assert found[1] == found[7] == found[100]
    assert sorted(tmp_path.iterdir()) == sorted([*names, *tmp_path.glob("embedding-cache")])


def test_a_hybrid_is_one_source_to_score():
    mixture = mix(from_object(BOTH), mode="concat", label="hybrid")
    examples = Examples.from_batches(mixture.rows)
    assert examples.sources == ("hybrid",)
    assert examples.negatives.lengths.tolist() == [7]


@pytest.mark.parametrize(("target", "rows"), [("n-tuple", 1), ("triplet", 6), ("flagembedding", 1)])
def test_several_passes_of_a_writer_count_once(tmp_path, target, rows):
    mixture = mix(from_object(BOTH), mode="union")
    out = tmp_path / ("out.parquet")
    assert write(mixture.rows, out, target).rows == rows
    assert mixture.summary.negatives == 6
    assert mixture.summary.given == {"bm25": 3, "dense": 4}


def test_real_batches_have_the_canonical_schema():
    for batch in mix(from_object(BOTH), mode="union").rows:
        assert batch.schema == ROWS
        batch.validate(full=True)
        assert isinstance(batch, pa.RecordBatch)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"mode": "mean"}, r"^unknown mode 'mean'\. Known: union, concat, budget\.$"),
        ({"mode": "budget"}, r"^a budget needs k, the negatives per query\.$"),
        ({"mode": "union", "k": 0}, r"^k must be at least 1, got 0\.$"),
        ({"mode": "union", "shares": (1, 2)}, r"^shares divide a budget; the mode is union\. Leave them out\.$"),
        ({"mode": "budget", "k": 2, "shares": (2, 0)}, r"^shares must be above 0, got 2:0\. Leave a part out with sources\.$"),
        ({"mode": "budget", "k": 2, "shares": (2, float("nan"))}, r"^shares must be above 0, got 2:nan\."),
        ({"mode": "union", "label": " "}, r"^the label ' ' is empty or holds characters that do not print\.$"),
        ({"mode": "union", "sources": ["a", "a"]}, r"^the source 'a' is named twice\. A part can be in a hybrid once\.$"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(given_, words):
    with pytest.raises(EciError, match=words):
        mix(from_object(BOTH), **given_)


@pytest.mark.parametrize(
    ("rows", "given_", "words"),
    [
        (BOTH[:1], {}, r"^a hybrid needs two sources or more, got 'bm25' alone\. The inputs have 'bm25';"),
        ([row("", query="q")], {}, r"^a hybrid needs two sources or more, got none\. The inputs have no negatives;"),
        (BOTH, {"sources": ["dense"]}, r"got 'dense' alone\. The inputs have 'dense', 'bm25';"),
        (BOTH, {"sources": ["dense", "llm"]}, r"^the inputs have no source 'llm'\. They have 'dense', 'bm25'\.$"),
        (BOTH, {"label": "dense"}, r"^the inputs have a source 'dense' already, and scoring would take both for one\. Name"),
        ([*BOTH, row("bm25+dense", "a")], {"sources": ["bm25", "dense"]}, r"^the inputs have a source 'bm25\+dense' already"),
        (BOTH, {"mode": "budget", "k": 2, "shares": (1, 1, 1)}, r"^3 shares for 2 parts \(bm25, dense\): give each one\.$"),
    ],
)  # fmt: skip
def test_inputs_that_are_refused(rows, given_, words):
    mixture = mix(from_object(rows), **{"mode": "union", **given_})
    with pytest.raises(DataError, match=words):
        list(mixture.rows)
    assert mixture.summary == MixSummary()


def test_inputs_of_one_label_are_refused_as_in_reading(tmp_path):
    paths = [tmp_path / name / "mined.jsonl" for name in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_text('{"query": "q", "pos": ["p"], "neg": ["n"]}\n')
    with pytest.raises(
        DataError, match=r"^two inputs would both be the source 'mined'\. Name them with --source"
    ):
        mix(paths, mode="union")


# The command.


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, negatives in (("bm25", "abc"), ("dense", "bxyz")):
        rows = [
            {"query": "q", "pos": ["right"], "neg": list(negatives)},
            {"query": f"only {source}", "pos": ["right"], "neg": ["n", "RIGHT"]},
        ]
        (tmp_path / f"{source}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return tmp_path


def test_summary_of_the_command(files, monkeypatch, capsys):
    code, out, err = run_cli(
        monkeypatch, capsys, "mix", "bm25.jsonl", "dense.jsonl", "--mode", "budget", "-k", "4", "--share", "1:3", "-o", "mix.jsonl",
    )  # fmt: skip
    assert (code, err) == (0, "Reading flagembedding: bm25.jsonl, dense.jsonl\n")
    assert out == (
        "mix.jsonl: 3 rows of layout eci, from 6 negatives of bm25+dense\n"
        "bm25: 5 given, 2 kept\n"
        "dense: 6 given, 4 kept\n"
        "same document as another that is kept: 1\n"
        "left out, positives of their query: 2\n"
        "queries with fewer than 4: 2\n"
        "queries with negatives of one part only: 2\n"
        "note: the rows of a query are not adjacent: they were brought together, in another order\n"
    )
    # What was written can be read, and so mixed again.
    written = [each for batch in read([files / "mix.jsonl"]) for each in batch.to_pylist()]
    found = {each["query"]: each for each in written}
    assert [(n["source"], n["text"], n["rank"]) for n in found["q"]["negatives"]] == [
        ("bm25+dense", text, rank) for rank, text in enumerate("bxay", 1)
    ]
    assert json.loads(found["q"]["negatives"][0]["extra"]) == {
        "sources": ["bm25", "dense"],
        "ranks": {"bm25": 2, "dense": 1},
    }
    assert sorted(path.name for path in files.iterdir()) == ["bm25.jsonl", "dense.jsonl", "mix.jsonl"]


def test_parts_and_layout_of_the_command(files, monkeypatch, capsys):
    code, out, _ = run_cli(
        monkeypatch, capsys, "mix", "bm25.jsonl", "dense.jsonl", "--source", "one", "--source", "two", "--sources", "two, one",
        "--mode", "union", "-k", "2", "--label", "H", "--to", "triplet", "-o", "mix.csv",
    )  # fmt: skip
    assert code == 0
    assert out.startswith(
        "mix.csv: 4 rows of layout triplet, from 4 negatives of H\ntwo: 6 given, 2 kept\none: 5 given, 2 kept\n"
    )
    assert "not held by triplet: extra of negatives (4)\n" in out
    written = (files / "mix.csv").read_text().splitlines()
    assert [line for line in written if line.startswith('"q"')] == ['"q","right","b"', '"q","right","a"']


def test_sources_left_out_are_told(files, monkeypatch, capsys):
    rows = [row("bm25", "a"), row("dense", "b"), row("random", "c", "d")]
    (files / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    code, out, _ = run_cli(
        monkeypatch,
        capsys,
        "mix",
        "rows.jsonl",
        "--sources",
        "bm25,dense",
        "--mode",
        "concat",
        "-o",
        "mix.jsonl",
    )
    assert (code, out) == (
        0,
        "mix.jsonl: 1 row of layout eci, from 2 negatives of bm25+dense\n"
        "bm25: 1 given, 1 kept\n"
        "dense: 1 given, 1 kept\n"
        "random: 2 left out, no part\n",
    )


def test_runs_of_a_collection_keep_their_order(files, monkeypatch, capsys):
    folder = files / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(f'{{"_id": "{d}", "title": "", "text": "text {d}"}}\n' for d in "pabc")
    )
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}\n')
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n1\tp\t1\n2\tp\t1\n")
    # Nothing of the first run for the first query.
    (files / "y.trec").write_text("2 Q0 a 1 2.0 y\n2 Q0 p 2 1.0 y\n")
    (files / "x.trec").write_text("1 Q0 b 1 2.0 x\n2 Q0 a 1 3.0 x\n2 Q0 c 2 1.0 x\n")
    code, out, _ = run_cli(
        monkeypatch, capsys, "mix", "tiny", "y.trec", "x.trec", "--mode", "concat", "-o", "mix.jsonl"
    )
    assert (code, out.splitlines()[:3]) == (
        0, ["mix.jsonl: 2 rows of layout eci, from 4 negatives of y+x", "y: 1 given, 1 kept", "x: 3 given, 3 kept"],
    )  # fmt: skip
    second = json.loads((files / "mix.jsonl").read_text().splitlines()[1])
    assert [(n["id"], n["score"], n["scorer"]) for n in second["negatives"]] == [
        ("a", 2.0, "y"),
        ("a", 3.0, "x"),
        ("c", 1.0, "x"),
    ]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--mode", "mean"], 2, "'mean' is not one of 'union', 'concat', 'budget'."),
        (["--mode", "budget"], 2, "--mode budget needs -k, the negatives per query."),
        (["--mode", "budget", "-k", "0"], 2, "0 is not in the range x>=1."),
        (["--mode", "budget", "-k", "4", "--share", "2/1"], 2, "--share takes numbers between colons, such as 2:1; got '2/1'."),
        (["--mode", "budget", "-k", "4", "--share", "2:-1"], 1, "Error: shares must be above 0, got 2:-1."),
        (["--mode", "budget", "-k", "4", "--share", "2"], 1, "Error: 1 shares for 2 parts (bm25, dense): give each one."),
        (["--mode", "union", "--source", "same"], 1, "Error: a hybrid needs two sources or more, got 'same' alone. The inputs have 'same'; inputs whose rows name no source are one each"),
        (["--mode", "union", "--to", "nothing"], 1, "Error: unknown layout 'nothing'"),
    ],
)  # fmt: skip
def test_errors_of_the_command(files, monkeypatch, capsys, words, code, told):
    got, out, err = run_cli(
        monkeypatch, capsys, "mix", "bm25.jsonl", "dense.jsonl", *words, "-o", "mix.jsonl"
    )
    assert (got, out) == (code, "")
    assert told in err
    assert sorted(path.name for path in files.iterdir()) == ["bm25.jsonl", "dense.jsonl"]


def test_an_input_is_not_written_over(files, monkeypatch, capsys):
    code, _, err = run_cli(
        monkeypatch, capsys, "mix", "bm25.jsonl", "dense.jsonl", "--mode", "union", "-o", "dense.jsonl"
    )
    assert (code, err.splitlines()[-1]) == (1, "Error: dense.jsonl: is read from. Write to another name.")


def test_real_rows_as_defined(data, tmp_path):
    """Lexical and arbitrary negatives of Cranfield, whose texts are in several cases and spacings."""
    folder = data / "cranfield"
    documents, queries = (
        [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()[:size]]
        for name, size in (("corpus.jsonl", 300), ("queries.jsonl", 40))
    )
    bodies = [each["text"] for each in documents if each["text"].strip()]
    rng, rows = np.random.default_rng(0), []
    for query in (each["text"] for each in queries):
        wanted = set(query.lower().split())
        shared = np.array([len(wanted & set(text.lower().split())) for text in bodies])
        best, drawn = np.argsort(-shared, kind="stable")[:12], rng.choice(len(bodies), 12, replace=False)
        rows += [row("words", *(bodies[at] for at in best[1:]), positives=[bodies[best[0]]], query=query),
                 row("drawn", *(bodies[at].upper() for at in drawn), positives=[bodies[best[0]]], query=query)]  # fmt: skip
    for mode in MODES:
        mixture = mix(from_object(rows), mode=mode, k=9)
        assert shown(mixture.rows) == naive_mix(rows, ["words", "drawn"], mode, 9, (1, 1))
    assert mixture.summary.negatives == 9 * len(queries)
