"""What a layout holds comes back exactly; what it does not hold is counted."""

import json
import string

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eci.datasets import LAYOUT_NAMES, from_object, merge_rows, read, write
from eci.datasets.layouts import LAYOUTS
from eci.errors import LayoutError, OutputError
from eci.examples import ROWS

FLAT = tuple(name for name, layout in LAYOUTS.items() if layout.flat)
SEVERAL_FILES = ("beir", *(name for name, layout in LAYOUTS.items() if layout.by_id))
ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".parquet", "")
CASES = [
    *((layout, "") for layout in SEVERAL_FILES),
    *((layout, ending) for layout in LAYOUT_NAMES if layout not in SEVERAL_FILES for ending in ENDINGS),
    *((layout, ending) for layout in FLAT for ending in (".csv", ".tsv")),
]

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
IDS = st.text(string.ascii_letters + string.digits + "é:/ .", min_size=1, max_size=4)
SCORES = st.floats(allow_nan=False, allow_infinity=False)
EXTRAS = {
    "flagembedding": {"prompt": TEXTS, "type": TEXTS},
    "tevatron": {"answers": st.lists(TEXTS, max_size=2), "subset": TEXTS},
    "ms-swift": {
        "messages": st.lists(st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": TEXTS}), min_size=1, max_size=2),
        "document_role": st.just("assistant"),
    },
    "eci": {"anything": st.recursive(SCORES | TEXTS | st.booleans(), lambda inner: st.lists(inner, max_size=2))},
}  # fmt: skip


@st.composite
def tables(draw, layout, all_or_none=True):
    """Rows that `layout` holds entirely: unique queries, unique documents, all scores or none."""
    holds = (
        frozenset({"query_id", "source", "id", "title", "rank", "score"})
        if layout == "beir"
        else LAYOUTS[layout].holds
    )
    needs_ids = layout in (*SEVERAL_FILES, "tevatron")
    scored = draw(st.booleans()) if "score" in holds and layout != "beir" else layout == "beir"
    titled = "title" in holds
    some = (
        0
        if layout
        in (
            "n-tuple",
            "labeled-pair",
            "labeled-list",
            "eci",
            "ms-swift",
            "id-lists",
            "nemo",
        )
        else 1
    )
    number = draw(st.integers(1, 4))
    texts = draw(st.lists(TEXTS, min_size=30, max_size=30, unique=True))
    ids = draw(st.lists(IDS, min_size=30, max_size=30, unique=True))
    rows = []

    def document():
        made = {"text": texts.pop()}
        if "id" in holds and (needs_ids or scored):
            made["id"] = ids.pop()
        if titled:
            made["title"] = draw(st.none() | TEXTS.filter(bool))
        if scored:
            made["score"] = draw(SCORES)
        return made

    def positive():
        made = document()
        return {**made, "score": None} if layout == "beir" else made

    for _ in range(number):
        row = {"query": texts.pop(), "positives": [], "negatives": []}
        if "query_id" in holds and needs_ids:
            row["query_id"] = ids.pop()
        row["positives"] = [positive() for _ in range(draw(st.integers(1, 2)))]
        sources = ["bm25", "dense"] if "source" in holds else ["out"]
        for source in sources:
            for rank in range(1, draw(st.integers(some, 2)) + 1):
                made = {**document(), "source": source}
                if "rank" in holds:
                    made["rank"] = rank
                if "scorer" in holds or layout == "beir":
                    made["scorer"] = source
                if "extra" in holds and draw(st.booleans()):
                    made["extra"] = orjson.dumps(draw(st.dictionaries(TEXTS, SCORES | TEXTS))).decode()
                row["negatives"].append(made)
        keys = EXTRAS.get(layout, {})
        chosen = {key: draw(values) for key, values in keys.items() if draw(st.booleans())}
        row["extra"] = orjson.dumps(chosen).decode() if chosen else None
        rows.append(row)
    if layout == "beir":
        for row in rows:
            grades = [draw(st.integers(1, 3)) for _ in row["positives"]]
            row["extra"] = orjson.dumps({"grades": grades}).decode() if set(grades) != {1} else None
    return pa.Table.from_pylist(rows, schema=ROWS)


def comparable(rows):
    """Rows with the negatives by source; the order within a source is kept."""
    return [
        {
            **row,
            "negatives": [
                {**negative, "extra": negative["extra"] and json.loads(negative["extra"])}
                for negative in sorted(row["negatives"], key=lambda n: n["source"])
            ],
            "extra": row["extra"] and json.loads(row["extra"]),
        }
        for row in rows.to_pylist()
    ]


@pytest.mark.parametrize(("layout", "ending"), CASES)
@given(drawn=st.data())
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_a_layout_holds_comes_back(tmp_path_factory, layout, ending, drawn):
    if not ending and layout not in SEVERAL_FILES:
        pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
    table = drawn.draw(tables(layout))
    out = tmp_path_factory.mktemp("there") / f"out{ending}"
    summary = write(from_object(table), out, layout)
    # Without a source of its own a negative belongs to the file, which is why the drawn source is its name.
    assert {
        k: v
        for k, v in summary.losses.items()
        if k not in ("source", "empty negatives, which CSV cannot tell from missing ones")
    } == {}
    back = read([out])
    assert back.layout == layout
    found = merge_rows(pa.Table.from_batches(list(back)))
    if summary.losses.keys() - {"source"}:
        return
    if layout == "beir":
        assert sorted(comparable(found), key=repr) == sorted(comparable(table), key=repr)
    else:
        assert comparable(found) == comparable(table)
    assert [p.name for p in out.parent.iterdir()] == [out.name]


MIXED = [
    {
        "query_id": "q1",
        "query": "first",
        "positives": [{"id": "p1", "title": "T", "text": "right", "score": 1.5}, {"text": "too"}],
        "negatives": [
            {"source": "llm", "text": "a", "extra": {"kind": "swap"}},
            {"source": "bm25", "id": "n1", "text": "b", "rank": 3, "score": 0.5, "scorer": "x"},
            {"source": "bm25", "text": "a"},
            {"source": "bm25", "text": "b"},
        ],
        "extra": {"prompt": "P", "answers": "no list", "url": "u"},
    },
    {"query": "second", "positives": [{"text": "p"}], "negatives": []},
]

LOSSES = {
    "eci": {},
    "triplet": {
        "query_id": 1, "source": 4, "id": 2, "rank": 1, "score": 2, "scorer": 1, "extra.prompt": 1,
        "extra.answers": 1, "extra.url": 1, "extra of negatives": 1, "queries without negatives": 1, "repeated negatives": 2,
    },
    "n-tuple": {
        "query_id": 1, "source": 4, "id": 2, "rank": 1, "score": 2, "scorer": 1, "extra.prompt": 1,
        "extra.answers": 1, "extra.url": 1, "extra of negatives": 1,
    },
    "labeled-pair": {
        "query_id": 1, "source": 4, "id": 2, "rank": 1, "score": 2, "scorer": 1, "extra.prompt": 1,
        "extra.answers": 1, "extra.url": 1, "extra of negatives": 1, "repeated negatives": 2,
    },
    "labeled-list": {
        "query_id": 1, "source": 4, "id": 2, "rank": 1, "score": 2, "scorer": 1, "extra.prompt": 1,
        "extra.answers": 1, "extra.url": 1, "extra of negatives": 1,
    },
    "id-lists": {"source": 4, "rank": 1, "score": 2, "scorer": 1, "extra.prompt": 1, "extra.answers": 1, "extra.url": 1, "extra of negatives": 1},
    "flagembedding": {
        "query_id": 1, "source": 4, "id": 2, "rank": 1, "score": 2, "scorer": 1, "extra.answers": 1, "queries without negatives": 1, "extra.url": 1, "extra of negatives": 1,
    },
    "tevatron": {"queries without negatives": 1, "source": 4, "rank": 1, "score": 2, "scorer": 1, "extra.prompt": 1, "extra.url": 1, "extra of negatives": 1, "extra.answers": 1},
    "tevatron-ids": {"queries without negatives": 1, "source": 4, "rank": 1, "score": 2, "scorer": 1, "extra.prompt": 1, "extra.answers": 1, "extra.url": 1, "extra of negatives": 1},
    "nemo": {"source": 4, "rank": 1, "scorer": 1, "extra.prompt": 1, "extra.answers": 1, "extra.url": 1, "extra of negatives": 1},
    "msmarco-hard-negatives": {"rank": 1, "score": 2, "scorer": 1, "extra.prompt": 1, "extra.answers": 1, "extra.url": 1, "extra of negatives": 1},
    "ms-swift": {
        "query_id": 1, "source": 4, "id": 2, "rank": 1, "score": 2, "scorer": 1, "extra.prompt": 1,
        "extra.answers": 1, "extra.url": 1, "extra of negatives": 1,
    },
    "beir": {"extra.prompt": 1, "extra.answers": 1, "extra.url": 1, "extra of negatives": 1, "score": 1, "scorer": 1},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_what_a_layout_cannot_hold_is_counted(tmp_path, layout):
    ending = "" if layout in SEVERAL_FILES else ".jsonl"
    assert write(from_object(MIXED), tmp_path / f"out{ending}", layout).losses == LOSSES[layout]
    assert LOSSES.keys() == set(LAYOUT_NAMES)


def written(tmp_path, rows, layout, name="out.jsonl"):
    summary = write(from_object(rows), tmp_path / name, layout)
    return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()], summary


def test_triplets_of_several_positives_and_negatives(tmp_path):
    rows = [
        {"query": "q", "pos": ["a", "b"], "neg": ["x", "y", "z"]},
        {"query": "r", "pos": ["a", "b"], "neg": ["x"]},
    ]
    found, summary = written(tmp_path, rows, "triplet")
    assert ["".join(row.values()) for row in found] == ["qax", "qby", "qaz", "rax", "rbx"]
    assert list(found[0]) == ["query", "positive", "negative"]
    assert (summary.rows, summary.negatives) == (5, 4)
    assert summary.notes == [
        "queries: 2, rows: 5; ids and sources stay behind, for trainers read every column"
    ]


def test_numbered_negatives_are_null_where_a_row_has_fewer(tmp_path):
    rows = [{"query": "q", "pos": ["a", "b"], "neg": ["x"]}, {"query": "r", "pos": ["a"], "neg": ["x", "y"]}]
    found, _ = written(tmp_path, rows, "n-tuple")
    assert [list(row.values()) for row in found] == [
        ["q", "a", "x", None],
        ["q", "b", "x", None],
        ["r", "a", "x", "y"],
    ]
    assert list(found[0]) == ["query", "positive", "negative_1", "negative_2"]


def test_a_column_that_no_row_fills_is_left_out(tmp_path):
    rows = [{"query": "q", "pos": ["a"], "neg": ["x"]}]
    for layout, names in (
        ("triplet", ["query", "positive", "negative"]),
        ("flagembedding", ["query", "pos", "neg"]),
    ):
        write(from_object(rows), tmp_path / "out.parquet", layout)
        assert pq.read_schema(tmp_path / "out.parquet").names == names


def test_titles_are_joined_where_texts_are_flat(tmp_path):
    rows = [
        {
            "query": "q",
            "positives": [{"title": "T", "text": " a "}, {"text": " b "}],
            "negatives": [{"title": "U", "text": ""}],
        }
    ]
    found, summary = written(tmp_path, rows, "flagembedding")
    assert (found[0]["pos"], found[0]["neg"]) == (["T  a", " b "], ["U"])
    assert summary.notes == ["titles joined in front of their texts: 2"]


def test_scores_of_some_documents_are_left_out_and_counted(tmp_path):
    documents = [{"text": "x", "score": 1.0}, {"text": "y"}]
    rows = [{"query": "q", "positives": [{"text": "p", "score": 2.0}], "negatives": documents}]
    found, summary = written(tmp_path, rows, "flagembedding")
    assert found == [{"query": "q", "pos": ["p"], "neg": ["x", "y"], "pos_scores": [2.0]}]
    assert summary.losses == {"source": 2, "score": 1}


def test_trainers_trip_over_empty_and_short_lists(tmp_path):
    rows = [
        {"query": "q", "pos": ["a"], "neg": []},
        {"query": "r", "pos": ["a"], "neg": ["x", "y"]},
        {"query": "s", "pos": ["a"], "neg": ["x"]},
    ]
    found, summary = written(tmp_path, rows, "flagembedding")
    assert [row["query"] for row in found] == ["r", "s"]
    assert (summary.losses["queries without negatives"], summary.notes) == (1, [])
    found, summary = written(tmp_path, rows, "tevatron")
    assert [row["query"] for row in found] == ["r", "s"]
    assert summary.losses["queries without negatives"] == 1
    assert summary.notes == [
        "documents without an id: 5; they got the first 16 hex digits of the SHA-256 of their text",
        "queries without an id: 2; they got the first 16 hex digits of the SHA-256 of their text",
        "rows with fewer negatives than the longest (2): 1; Tevatron's loader pads short lists by repetition",
    ]


def test_invented_ids(tmp_path):
    found, _ = written(tmp_path, [{"query": "q", "pos": ["abc"], "neg": ["n"]}], "tevatron")
    assert found[0]["positive_passages"] == [{"docid": "ba7816bf8f01cfea", "title": "", "text": "abc"}]


def test_files_of_a_folder(tmp_path):
    names = {}
    for layout in SEVERAL_FILES:
        write(from_object(MIXED), tmp_path / layout, layout)
        folder = tmp_path / layout
        names[layout] = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert names == {
        "beir": [
            "corpus.jsonl",
            "eci.json",
            "qrels/train.tsv",
            "queries.jsonl",
            "runs/bm25.trec",
            "runs/llm.trec",
        ],
        "id-lists": ["documents.jsonl", "eci.json", "queries.jsonl", "train.jsonl"],
        "tevatron-ids": ["corpus.jsonl", "eci.json", "train.jsonl"],
        "nemo": ["corpus/merlin_metadata.json", "corpus/train.parquet", "eci.json", "train.json"],
        "msmarco-hard-negatives": ["corpus.jsonl", "eci.json", "queries.jsonl", "train.jsonl"],
    }
    assert (tmp_path / "beir/qrels/train.tsv").read_text().splitlines()[:2] == [
        "query-id\tcorpus-id\tscore",
        "q1\tp1\t1",
    ]
    assert (tmp_path / "beir/runs/bm25.trec").read_text().splitlines()[0] == "q1\tQ0\tn1\t3\t0.5\tbm25"
    corpus = [json.loads(line) for line in (tmp_path / "beir/corpus.jsonl").read_text().splitlines()]
    assert corpus[0] == {"_id": "p1", "title": "T", "text": "right"}
    assert len(corpus) == len({d["_id"] for d in corpus}) == 6


def test_runs_hold_no_positives_and_nothing_twice(tmp_path):
    negatives = [
        {"source": s, "id": i, "text": i}
        for s, i in (("a/b c", "d1"), ("a/b c", "d1"), ("a/b c", "p"), ("a/b c", "q"), ("z", "d1"))
    ]
    rows = [
        {"query_id": "q", "query": "?", "positives": [{"id": "p", "text": "p"}] * 2, "negatives": negatives}
    ]
    summary = write(from_object(rows), tmp_path / "out", "beir")
    assert summary.losses == {
        "repeated positives": 1,
        "negatives that are positives of their query": 1,
        "repeated negatives": 1,
    }
    found = merge_rows(pa.Table.from_batches(list(read([tmp_path / "out"])))).to_pylist()[0]["negatives"]
    assert [(n["source"], n["id"], n["rank"], n["score"]) for n in found] == [
        ("a/b c", "d1", 1, 1.0),
        ("a/b c", "q", 2, 0.5),
        ("z", "d1", 1, 1.0),
    ]


def test_ids_that_no_run_can_hold(tmp_path):
    rows = [{"query_id": "q", "query": "?", "positives": [{"id": "p\n", "text": "p"}], "negatives": []}]
    with pytest.raises(
        OutputError, match=r"^the id or source 'p\\n' holds a tab or a line break, which no run can\.$"
    ):
        write(from_object(rows), tmp_path / "out", "beir")
    assert list(tmp_path.iterdir()) == []


def test_flagembedding_and_tevatron_files_come_back_the_same(tmp_path):
    flag = [
        {
            "query": "q",
            "pos": ["a "],
            "neg": ["x", "x"],
            "pos_scores": [1.5],
            "neg_scores": [0.5, -2.0],
            "prompt": "P",
            "type": "normal",
        },
        {"query": "r", "pos": ["a", "b"], "neg": ["x"]},
    ]
    passage = {"docid": "1", "title": "", "text": "a"}
    tevatron = [
        {"query_id": "1", "query": "q", "positive_passages": [passage], "negative_passages": [{**passage, "docid": "2", "title": "T"}], "answers": ["yes"], "subset": "nq"},
        {"query_id": "2", "query": "r", "positive_passages": [passage], "negative_passages": [passage]},
    ]  # fmt: skip
    for layout, rows in (("flagembedding", flag), ("tevatron", tevatron)):
        source = tmp_path / f"{layout}.jsonl"
        source.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        for middle in (".jsonl", ".parquet"):
            write(read([source]), tmp_path / f"middle{middle}", "eci")
            write(read([tmp_path / f"middle{middle}"]), tmp_path / "back.jsonl", layout)
            assert (tmp_path / "back.jsonl").read_bytes() == source.read_bytes()


def test_outputs_that_cannot_be(tmp_path):
    rows = [{"query": "q", "pos": ["a"], "neg": []}]
    for name, layout, words in (
        ("out.csv", "eci", "out.csv: .csv cannot hold the lists of eci. It can hold triplet, n-tuple, labeled-pair; or write .jsonl."),
        ("out.jsonl", "beir", "out.jsonl: beir is several files (rows, corpus, queries). Give the name of a folder, such as out."),
        ("out.json", "eci", "out.json: the format is not known. Known: .jsonl, .ndjson, .jsonl.gz, .csv, .tsv, .parquet, or a folder."),
        ("out.jsonl", "triplet", "out.jsonl: nothing to write: no query has a negative, and triplet needs one in each row."),
        ("no/out.jsonl", "eci", "no/out.jsonl: the folder no does not exist. Create it first."),
    ):  # fmt: skip
        with pytest.raises(OutputError) as caught:
            write(from_object(rows), tmp_path / name, layout)
        assert str(caught.value).replace(f"{tmp_path}/", "") == words
    with pytest.raises(LayoutError, match="^unknown layout 'x' for rows"):
        write(from_object(rows), tmp_path / "out.jsonl", "x")
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_replaced_if_they_are_files_or_ours(tmp_path):
    pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
    rows = [{"query": "q", "pos": ["a"], "neg": ["x"]}]
    for _ in range(2):
        for name, layout in (("out.jsonl", "eci"), ("saved", "eci"), ("beir", "beir")):
            write(from_object(rows), tmp_path / name, layout)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["beir", "out.jsonl", "saved"]
    marked = (tmp_path / "beir" / "eci.json").read_text()
    (tmp_path / "beir" / "eci.json").write_text(marked.replace("eci convert", "eci report"))
    with pytest.raises(
        OutputError, match="beir: would be replaced, and was written by eci report. Give another"
    ):
        write(from_object(rows), tmp_path / "beir", "beir")
    assert (tmp_path / "beir" / "corpus.jsonl").exists()
    (tmp_path / "beir" / "eci.json").unlink()
    with pytest.raises(
        OutputError, match="is a folder that eci did not write. Give another name, or remove it first"
    ):
        write(from_object(rows), tmp_path / "beir", "beir")
    (tmp_path / "saved" / "eci.json").write_text("{}")
    with pytest.raises(OutputError, match="is a folder that eci did not write"):
        write(from_object(rows), tmp_path / "saved", "eci")
    (tmp_path / "empty").mkdir()
    write(from_object(rows), tmp_path / "empty", "beir")
    with pytest.raises(OutputError, match=r"out\.jsonl: is read from\. Write to another name\.$"):
        write(read([tmp_path / "out.jsonl"]), tmp_path / "out.jsonl", "triplet")
    with pytest.raises(OutputError, match=r"is read from"):
        write(read([tmp_path / "empty"]), tmp_path / "empty", "beir")


def test_what_somebody_put_into_a_written_folder_is_not_replaced(tmp_path):
    rows, out = [{"query": "q", "pos": ["a"], "neg": ["x"]}], tmp_path / "out"
    for _ in range(2):
        write(from_object(rows), out, "beir")
    (out / "runs" / "mine").mkdir()
    (out / "runs" / "mine" / "notes.txt").write_text("thesis")
    told = r"out: would be replaced, and holds runs/mine/notes\.txt, which was not written with it\. Give another name"
    with pytest.raises(OutputError, match=told):
        write(from_object(rows), out, "beir")
    (out / "link").symlink_to(tmp_path)
    with pytest.raises(OutputError, match=r"holds link and 1 more, which"):
        write(from_object(rows), out, "beir")
    assert (out / "runs" / "mine" / "notes.txt").read_text() == "thesis"
    (out / "runs" / "mine" / "notes.txt").unlink()
    (out / "link").unlink()
    write(from_object(rows), out, "beir")
    (out / "queries.jsonl").write_bytes(b"SQLite format 3\0 and what was paid for")
    with pytest.raises(OutputError, match=r"queries\.jsonl: is a database"):
        write(from_object(rows), out, "beir")


def test_gzipped_output_is_the_same_every_time(tmp_path):
    rows = [{"query": "q", "pos": ["a"], "neg": ["x"]}]
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write(from_object(rows), tmp_path / name, "eci")
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
