"""Each layout by an example: what it is recognised as and what its rows mean."""

import gzip
import json

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eci.datasets import LAYOUT_NAMES, ReadOptions, merge_rows, read
from eci.errors import DataError
from eci.examples import ROWS

CORPUS = [
    {"_id": "d1", "title": "", "text": "right"},
    {"_id": "d2", "title": "Far", "text": "away"},
    {"_id": "3", "text": ""},
]
QUERIES = [{"_id": "q1", "text": "what?"}]
CHAT = [{"role": "system", "content": "Find it"}, {"role": "user", "content": "what?"}]
MESSAGE = {"role": "user", "content": "right"}

# layout: (rows, expected positives, expected negatives as (source, id, title, text, score))
EXAMPLES = {
    "eci": (
        [
            {
                "query_id": "q1",
                "query": "what?",
                "positives": [{"id": "d1", "text": "right"}],
                "negatives": [{"source": "llm", "text": "near", "score": 0.5}, {"text": "far"}],
            }
        ],
        [("d1", None, "right", None)],
        [("llm", None, None, "near", 0.5), ("rows", None, None, "far", None)],
    ),
    "triplet": (
        [
            {"anchor": "what?", "good": "right", "bad": "near", "scores": [9, 1.5]},
            {"anchor": "what?", "good": "right", "bad": "far"},
        ],
        [(None, None, "right", 9.0)],
        [("rows", None, None, "near", 1.5), ("rows", None, None, "far", None)],
    ),
    "n-tuple": (
        [{"query": "what?", "positive": "right", "negative_10": "far", "negative_2": "near", "negative_1": None, "scores": [3, 2, 1]}],
        [(None, None, "right", 3.0)],
        [("rows", None, None, "near", 2.0), ("rows", None, None, "far", 1.0)],
    ),
    "labeled-pair": (
        [
            {"sentence1": "what?", "sentence2": "near", "label": 0},
            {"sentence1": "what?", "sentence2": "right", "label": 1},
        ],
        [(None, None, "right", None)],
        [("rows", None, None, "near", None)],
    ),
    "labeled-list": (
        [{"query": "what?", "docs": ["near", "right", "far"], "labels": [0, 1, 0]}],
        [(None, None, "right", None)],
        [("rows", None, None, "near", None), ("rows", None, None, "far", None)],
    ),
    "id-lists": (
        [{"query_id": "q1", "document_ids": ["d1", "d2", 3], "scores": [1, 0.0, 0]}],
        [("d1", None, "right", None)],
        [("rows", "d2", "Far", "away", None), ("rows", "3", None, "", None)],
    ),
    "flagembedding": (
        [{"query": "what?", "pos": ["right"], "neg": ["near", "far"], "neg_scores": [1, 2], "neg_id": [7, "x"], "prompt": "P"}],
        [(None, None, "right", None)],
        [("rows", "7", None, "near", 1.0), ("rows", "x", None, "far", 2.0)],
    ),
    "tevatron": (
        [
            {
                "query_id": 1,
                "query": "what?",
                "positive_passages": [{"docid": "d1", "title": "", "text": "right"}],
                "negative_passages": [{"docid": 2, "title": "Far", "text": "away"}],
            }
        ],
        [("d1", None, "right", None)],
        [("rows", "2", "Far", "away", None)],
    ),
    "tevatron-ids": (
        [{"query_id": "q1", "query_text": "what?", "positive_document_ids": ["d1"], "negative_document_ids": ["d2"]}],
        [("d1", None, "right", None)],
        [("rows", "d2", "Far", "away", None)],
    ),
    "nemo": (
        [{"question_id": "q1", "question": "what?", "corpus_id": "c", "pos_doc": [{"id": "d1", "score": 1}], "neg_doc": [{"id": "d2"}]}],
        [("d1", None, "right", 1.0)],
        [("rows", "d2", "Far", "away", None)],
    ),
    "msmarco-hard-negatives": (
        [{"qid": "q1", "pos": ["d1"], "neg": {"bm25": ["d2", 3], "dense": ["d2"], "none": []}}],
        [("d1", None, "right", None)],
        [("bm25", "d2", "Far", "away", None), ("bm25", "3", None, "", None), ("dense", "d2", "Far", "away", None)],
    ),
    "ms-swift": (
        [{"messages": CHAT, "positive_messages": [[MESSAGE]], "negative_messages": [[{"role": "user", "content": "near"}]]}],
        [(None, None, "right", None)],
        [("rows", None, None, "near", None)],
    ),
}  # fmt: skip


def dump(path, rows):
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def table(rows):
    return pa.Table.from_batches(list(rows), schema=ROWS)


def one_query(rows):
    """The only query of rows, as plain tuples."""
    merged = merge_rows(table(rows)).to_pylist()
    assert [row["query"] for row in merged] == ["what?"]
    positives = [(d["id"], d["title"], d["text"], d["score"]) for d in merged[0]["positives"]]
    negatives = [(d["source"], d["id"], d["title"], d["text"], d["score"]) for d in merged[0]["negatives"]]
    return positives, negatives


@pytest.fixture
def folder(tmp_path):
    dump(tmp_path / "corpus.jsonl", CORPUS)
    dump(tmp_path / "queries.jsonl", QUERIES)
    return tmp_path


def test_every_layout_has_an_example():
    assert {*EXAMPLES, "beir"} == set(LAYOUT_NAMES)


@pytest.mark.parametrize("layout", EXAMPLES)
@pytest.mark.parametrize("named", [False, True])
def test_example(folder, layout, named):
    rows, positives, negatives = EXAMPLES[layout]
    path = dump(folder / "rows.jsonl", rows)
    found = read([path], ReadOptions(layout=layout if named else None))
    assert found.layout == layout
    assert one_query(found) == (positives, negatives)


@pytest.mark.parametrize("layout", EXAMPLES)
def test_example_as_list_in_json_and_gzipped_and_without_the_name(folder, layout):
    rows, positives, negatives = EXAMPLES[layout]
    (folder / "rows.json").write_bytes(orjson.dumps(rows))
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(b"\n".join(map(orjson.dumps, rows))))
    for name in ("rows.json", "rows.jsonl.gz"):
        found = read([folder / name])
        assert (found.layout, one_query(found)) == (layout, (positives, negatives))


@pytest.mark.parametrize(
    "layout", sorted(set(EXAMPLES) - {"id-lists", "flagembedding", "msmarco-hard-negatives"})
)
def test_example_as_parquet(folder, layout):
    rows, positives, negatives = EXAMPLES[layout]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    found = read([folder / "rows.parquet"])
    assert (found.layout, one_query(found)) == (layout, (positives, negatives))


@pytest.mark.parametrize("layout", ["triplet", "n-tuple", "labeled-pair"])
@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_example_as_cells(folder, layout, ending, delimiter):
    rows, positives, negatives = EXAMPLES[layout]
    keys = list(rows[0])
    names = {"anchor": "anchor", "good": "positive", "bad": "negative"} if layout == "triplet" else {}
    lines = [delimiter.join(names.get(key, key) for key in keys)]
    for row in rows:
        values = [row.get(key) for key in keys]
        cells = ["" if v is None else json.dumps(v) if isinstance(v, list) else str(v) for v in values]
        lines.append(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells))
    path = folder / f"rows.{ending}"
    path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8", newline="")
    found = read([path])
    assert (found.layout, one_query(found)) == (layout, (positives, negatives))


def test_large_lists_dictionaries_and_struct_columns_of_parquet(folder):
    text = pa.dictionary(pa.int32(), pa.string())
    flag = pa.table(
        {
            "query": pa.array(["what?"]).cast(text),
            "pos": pa.array([["right"]], pa.large_list(pa.large_string())),
            "neg": pa.array([["near", "far"]], pa.list_(pa.string(), 2)),
            "neg_scores": pa.array([[1, 2]], pa.list_(pa.int8())),
            "pos_scores": pa.nulls(1),
        }
    )
    pq.write_table(flag, folder / "flag.parquet")
    assert one_query(read([folder / "flag.parquet"]))[1] == [
        ("flag", None, None, "near", 1.0),
        ("flag", None, None, "far", 2.0),
    ]
    systems = pa.table({"qid": ["q1"], "pos": [["d1"]], "neg": [{"bm25": ["d2"], "dense": None}]})
    pq.write_table(systems, folder / "systems.parquet")
    assert one_query(read([folder / "systems.parquet"]))[1] == [("bm25", "d2", "Far", "away", None)]


def test_columns_with_names_are_found_in_any_order(folder):
    path = dump(folder / "rows.jsonl", [{"url": "u", "negative": "n", "positive": "p", "query": "what?"}])
    rows = read([path])
    assert one_query(rows) == ([(None, None, "p", None)], [("rows", None, None, "n", None)])
    assert rows.notes == ["keys without a column, kept in 'extra': url (1)"]
    assert table(rows)["extra"].to_pylist() == ['{"url":"u"}']


def test_flat_rows_may_carry_a_query_id_and_a_source(folder):
    rows = [
        {"query_id": 1, "query": "what?", "positive": "p", "negative": "n", "source": "bm25"},
        {"query_id": 1, "query": "what?", "positive": "p", "negative": "m", "source": None},
    ]
    found = read([dump(folder / "rows.jsonl", rows)])
    assert merge_rows(table(found))["query_id"].to_pylist() == ["1"]
    assert [n[0] for n in one_query(found)[1]] == ["bm25", "rows"]


def test_later_rows_may_have_more_numbered_negatives(folder):
    rows = [
        {"query": "what?", "positive": "p", "negative_1": "a"},
        {"query": "what?", "positive": "p", "negative_1": "b", "negative_2": "c"},
    ]
    found = read([dump(folder / "rows.jsonl", rows)], ReadOptions(batch_rows=1))
    assert [n[3] for n in one_query(found)[1]] == ["a", "b", "c"]
    assert found.notes == []


def test_scores_that_count_missing_negatives_too(folder):
    rows = [{"query": "what?", "positive": "p", "negative_1": None, "negative_2": "b", "scores": [3, 0, 1]}]
    assert one_query(read([dump(folder / "rows.jsonl", rows)]))[1] == [("rows", None, None, "b", 1.0)]


def test_graded_scores_need_the_threshold(folder):
    rows = [{"query": "what?", "documents": ["a", "b", "c"], "scores": [0.9, 0.5, 0.1]}]
    path = dump(folder / "rows.jsonl", rows)
    found = read([path], ReadOptions(positive_score=0.5))
    assert one_query(found) == (
        [(None, None, "a", 0.9), (None, None, "b", 0.5)],
        [("rows", None, None, "c", 0.1)],
    )


def test_labels_decide_where_scores_are_there_too(folder):
    rows = [{"query": "what?", "document": "a", "label": 0, "score": 0.9}, {"query": "what?", "document": "b", "label": True, "score": 0.1}]  # fmt: skip
    assert one_query(read([dump(folder / "rows.jsonl", rows)])) == (
        [(None, None, "b", 0.1)],
        [("rows", None, None, "a", 0.9)],
    )


def test_texts_that_look_like_dates_and_numbers_stay_texts(folder):
    rows = [{"query": "2020-01-01", "positive": "1", "negative_1": "2021-02-03T00:00:00"}]
    found = table(read([dump(folder / "rows.jsonl", rows)])).to_pylist()[0]
    assert (found["query"], found["positives"][0]["text"], found["negatives"][0]["text"]) == (
        "2020-01-01",
        "1",
        "2021-02-03T00:00:00",
    )


def test_keys_that_no_column_holds_are_kept_and_counted(folder):
    rows = [
        {"query": "a", "pos": ["p"], "neg": [], "prompt": "P", "url": {"deep": [1]}},
        {"query": "b", "pos": ["p"], "neg": []},
    ]
    found = read([dump(folder / "rows.jsonl", rows)])
    extra = table(found)["extra"].to_pylist()
    assert [json.loads(extra[0]), extra[1]] == [{"prompt": "P", "url": {"deep": [1]}}, None]
    assert found.notes == ["keys without a column, kept in 'extra': url (1)"]


def test_keys_of_documents_that_nobody_reads_are_counted(folder):
    rows = [{"query": "a", "positives": [{"text": "p", "url": 1}], "negatives": [{"text": "n", "url": 2}]}]
    found = read([dump(folder / "rows.jsonl", rows)])
    assert len(table(found)) == 1
    assert found.notes == ["keys not read: positives[].url (1), negatives[].url (1)"]


def test_nemo_follows_the_path_of_its_corpus(tmp_path):
    (tmp_path / "wiki").mkdir()
    pq.write_table(pa.table({"id": ["d1", "d2"], "text": ["right", "near"]}), tmp_path / "wiki" / "0.parquet")
    (tmp_path / "wiki" / "merlin_metadata.json").write_text('{"corpus_id": "wiki"}')
    data = [
        {
            "question_id": 5,
            "question": "what?",
            "corpus_id": "wiki",
            "pos_doc": [{"id": "d1"}],
            "neg_doc": [{"id": "d2"}],
        }
    ]
    (tmp_path / "train.json").write_text(json.dumps({"corpus": [{"path": "wiki"}], "data": data}))
    found = read([tmp_path / "train.json"])
    assert found.layout == "nemo"
    assert one_query(found)[1] == [("train", "d2", None, "near", None)]
    secret = tmp_path / "secret.txt"
    secret.write_text("nobody's business")
    (tmp_path / "train.json").write_text(json.dumps({"corpus": [{"path": str(secret)}], "data": data}))
    with pytest.raises(DataError) as caught:
        read([tmp_path / "train.json"])
    assert str(caught.value) == (
        f"{tmp_path}/train.json: names the corpus {secret}, whose format is not known by its name. "
        "Known endings: .jsonl, .ndjson, .json, .csv, .tsv, .parquet, also .gz. Or give a corpus with --corpus."
    )
    assert len(table(read([tmp_path / "train.json"], ReadOptions(corpus=tmp_path / "wiki")))) == 1


def test_corpora_without_header_and_by_option(tmp_path):
    (tmp_path / "collection.tsv").write_text('d1\tright\nd2\t"quoted" text\n')
    (tmp_path / "asked.tsv").write_text("q1\twhat?\n")
    path = dump(tmp_path / "rows.jsonl", [{"qid": "q1", "pos": ["d1"], "neg": {"bm25": ["d2"]}}])
    options = ReadOptions(corpus=tmp_path / "collection.tsv", queries=tmp_path / "asked.tsv")
    assert one_query(read([path], options))[1] == [("bm25", "d2", None, '"quoted" text', None)]
    assert one_query(read([path], ReadOptions(queries=tmp_path / "asked.tsv")))[1][0][3] == '"quoted" text'
