"""Rows that are wrong: every message names the place, the key, and what to do."""

import gzip
import json
from random import Random

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eci.datasets import ReadOptions, read
from eci.datasets.layouts import NoNegatives
from eci.errors import DataError, LayoutError
from test_datasets_layouts import CORPUS, EXAMPLES, QUERIES, dump

FLAG = {"query": "q", "pos": ["p"], "neg": ["n"]}
SOURCED = {"source": "llm", "text": "n"}
ECI = {"query": "q", "positives": [{"text": "p"}], "negatives": [SOURCED]}


def lines(*rows):
    return b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)


def refusal(path, options=None, kind=DataError):
    """The message of the error, without the folder."""
    with pytest.raises(kind) as caught:
        list(read([path], options or ReadOptions()))
    assert type(caught.value) is kind
    return str(caught.value).replace(str(path.parent) + "/", "")


BAD_VALUES = {
    "a string where a list belongs": (
        {"neg": "abc"},
        """'neg' must be a list of texts, got a string. Wrap it: ["…"]""",
    ),
    "an object where a list belongs": (
        {"neg": {}},
        "'neg' must be a list of texts, got an object. Write a list: […]",
    ),
    "null for a list": (
        {"pos": None},
        "'pos' must be a list of texts, got null. Give it, or remove the row.",
    ),
    "null in a list": (
        {"neg": ["a", None]},
        "'neg[1]' must be a text, got null. Give it, or remove the row.",
    ),
    "null for the query": ({"query": None}, "'query' must be a text, got null. Give it, or remove the row."),
    "a number for a text": ({"query": 3}, "'query' must be a text, got a number (3). Write it as a string."),
    "true for a text": ({"neg": [True]}, "'neg[0]' must be a text, got true. Write it as a string."),
    "a list for a text": ({"query": ["q"]}, "'query' must be a text, got a list. Write it as a string."),
    "a string for a score": (
        {"neg_scores": ["1"]},
        "'neg_scores[0]' must be a finite number, got a string. Leave it out or correct it.",
    ),
    "true for a score": (
        {"neg_scores": [True]},
        "'neg_scores[0]' must be a finite number, got true. Leave it out or correct it.",
    ),
    "null in scores": (
        {"neg_scores": [None]},
        "'neg_scores[0]' must be a finite number, got null. Give it, or remove the row.",
    ),
    "scores of another length": (
        {"neg_scores": [1, 2]},
        "'neg_scores' must hold one entry for each of 'neg' (1), got 2. Complete it, or leave it out.",
    ),
    "ids of another length": (
        {"pos_id": []},
        "'pos_id' must hold one entry for each of 'pos' (1), got 0. Complete it, or leave it out.",
    ),
    "a fraction for an id": (
        {"neg_id": [1.5]},
        "'neg_id[0]' must be an id, got a number (1.5). Write it as a string or a whole number.",
    ),
    "no positive": ({"pos": []}, "the query 'q' has no positive. Give it one, or remove the row."),
    "a text without end": (
        {"neg": ["é" * 1_000_001]},
        "'neg[0]' has 1,000,001 characters, more than the 1,000,000 that a text may have. Split or shorten it.",
    ),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_bad_value_in_json_lines(tmp_path, what):
    change, words = BAD_VALUES[what]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(FLAG, b"\n", FLAG, {**FLAG, **change}, FLAG))
    assert refusal(path) == f"rows.jsonl:4: {words}"


@pytest.mark.parametrize(
    "what", ["null in a list", "null for the query", "no positive", "a text without end"]
)
def test_bad_value_in_parquet(tmp_path, what):
    change, words = BAD_VALUES[what]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([FLAG, FLAG, {**FLAG, **change}]), path, row_group_size=2)
    assert refusal(path) == f"rows.parquet: row 3: {words}"


def test_the_longest_text_that_may_be(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines({**FLAG, "neg": ["é" * 1_000_000]}))
    assert sum(map(len, read([path]))) == 1


BAD_RECORDS = {
    "a text is missing": (
        {"negatives": [SOURCED, {"source": "llm"}]},
        "'negatives[1]' lacks the key 'text'. Each of the negatives needs it.",
    ),
    "a text is null": (
        {"negatives": [{**SOURCED, "text": None}]},
        "'negatives[0].text' must be a text, got null. Give it, or remove the row.",
    ),
    "a string for a document": (
        {"positives": ["p"]},
        "'positives[0]' must be an object, got a string. Write an object: {…}",
    ),
    "a fraction for a rank": (
        {"negatives": [{**SOURCED, "rank": 2.5}]},
        "'negatives[0].rank' must be a whole number, got a number (2.5). Write it as a number without a fraction.",
    ),
    "a huge rank": (
        {"negatives": [{**SOURCED, "rank": 2**31}]},
        "'negatives[0].rank' must be a whole number, got a number (2147483648). "
        "Write it as a number without a fraction.",
    ),
    "extra is no object": (
        {"extra": "[1]"},
        "'extra' must be an object, got a string. Write it as an object: {…}",
    ),
    "extra of a negative is a text": (
        {"negatives": [SOURCED, {**SOURCED, "extra": "swapped"}]},
        "'negatives[1].extra' must be an object, got a string. Write it as an object: {…}",
    ),
    "extra of a negative is a list": (
        {"negatives": [{**SOURCED, "extra": [1]}]},
        "'negatives[0].extra' must be an object, got a list. Write it as an object: {…}",
    ),
}


@pytest.mark.parametrize("what", BAD_RECORDS)
def test_bad_record(tmp_path, what):
    change, words = BAD_RECORDS[what]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(ECI, {**ECI, **change}))
    assert refusal(path) == f"rows.jsonl:2: {words}"


@pytest.mark.parametrize(
    ("literal", "words"),
    [
        ("NaN", "NaN"),
        ("Infinity", "an infinite number"),
        ("-Infinity", "an infinite number"),
        ("1e999", "an infinite number"),
        ("1" + "0" * 400, "a number (10000000000000000000)"),
    ],
)
def test_scores_that_are_no_numbers(tmp_path, literal, words):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"query": "q", "pos": ["p"], "neg": ["n"], "neg_scores": [' + literal + "]}\n")
    assert refusal(path) == (
        f"rows.jsonl:1: 'neg_scores[0]' must be a finite number, got {words}. Leave it out or correct it."
    )


def test_nan_in_parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"query": ["q"], "pos": [["p"]], "neg": [["n"]], "neg_scores": [[float("nan")]]}), path
    )
    assert refusal(path) == (
        "rows.parquet: row 1: 'neg_scores[0]' must be a finite number, got NaN. Leave it out or correct it."
    )


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_label_that_is_none(tmp_path, label):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        lines({"query": "q", "document": "d", "label": 1}, {"query": "q", "document": "e", "label": label})
    )
    assert refusal(path) == (
        f"rows.jsonl:2: 'label' must be 0 or 1, got a number ({label}). "
        "Graded values belong in a key named score or scores."
    )


def test_label_that_is_no_number_in_csv(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("query,document,label\nq,d,1\nq,e,yes\n")
    assert refusal(path).startswith("rows.csv:3: 'label' must be 0 or 1, got a string.")


def test_graded_scores_without_a_threshold(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        lines(
            {"query": "q", "docs": ["a", "b"], "scores": [1, 0]},
            {"query": "q", "docs": ["a", "b"], "scores": [1, 0.25]},
        )
    )
    assert refusal(path, kind=LayoutError) == (
        "rows.jsonl:2: 'scores' holds graded values (0.25). Say from which value on a document is a positive: "
        "--positive-score VALUE"
    )


def test_scores_of_a_triplet(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines({"query": "q", "positive": "p", "negative": "n", "scores": [1]}))
    assert refusal(path) == (
        "rows.jsonl:1: 'scores' must hold two numbers, of the positive and of the negative (2), got 1. "
        "Complete it, or leave it out."
    )


def test_missing_key(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(FLAG, {"query": "q", "pos": ["p"]}))
    assert refusal(path) == (
        "rows.jsonl:2: the key 'neg' is missing. The first row has it, so each row needs: query, pos, neg."
    )


def test_two_layouts_in_a_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    triplet = {"query": "q", "positive": "p", "negative": "n"}
    path.write_bytes(lines(FLAG, FLAG, triplet))
    assert refusal(path, kind=LayoutError) == (
        "rows.jsonl:3: this row has layout 'triplet' (three columns of texts in order: query, positive, negative), "
        "the rows before have 'flagembedding'. "
        "Put each layout into a run of its own, or convert one to the other with eci convert."
    )


def test_two_layouts_over_files(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(FLAG))
    (tmp_path / "b.csv").write_text("query,positive,negative\nq,p,n\n")
    with pytest.raises(LayoutError, match=r"b\.csv:2: this row has layout 'triplet' .* have 'flagembedding'"):
        list(read([tmp_path / "a.jsonl", tmp_path / "b.csv"]))


def test_truncated_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(FLAG) + json.dumps(FLAG).encode()[:-10])
    words = refusal(path)
    assert words.startswith("rows.jsonl:2: not valid JSON: ")
    assert words.endswith("Is the line whole?")


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(FLAG) + '{"query": "é", "pos": ["p"], "neg": ["n"]}'.encode("latin1"))
    assert refusal(path) == (
        "rows.jsonl:2: not UTF-8: byte 0xe9 at position 11. Convert the file, for instance: iconv -f latin1 -t utf-8."
    )
    path = tmp_path / "rows.csv"
    path.write_bytes("query,positive,negative\nq,p,n\nq,é,n\n".encode("latin1"))
    assert refusal(path).startswith("rows.csv:3: not UTF-8: byte 0xe9 at position 2.")


def test_half_a_surrogate_pair(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(r'{"query": "\ud83d", "pos": ["p"], "neg": ["n"]}' + "\n")
    assert refusal(path) == (
        r"rows.jsonl:1: 'query' holds half a surrogate pair (\ud800…\udfff), which is no character. Remove it."
    )


@pytest.mark.parametrize(
    "name",
    ["rows.jsonl", "rows.csv", "rows.json", "rows.parquet", "rows.jsonl.gz", "blank.jsonl", "header.csv"],
)
def test_empty_file(tmp_path, name):
    path = tmp_path / name
    contents = {
        "rows.json": b"[]",
        "rows.jsonl.gz": gzip.compress(b""),
        "blank.jsonl": b"\n\n",
        "header.csv": b"query,positive,negative\n",
    }
    path.write_bytes(contents.get(name, b""))
    if name == "rows.parquet":
        pq.write_table(pa.table({"query": pa.array([], pa.string())}), path)
    assert refusal(path) == f"{name}: has no rows."


def test_files_that_are_not_what_their_name_says(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(lines(FLAG))
    assert refusal(path).startswith("rows.parquet: not readable as Parquet: ")
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(lines(*[{**FLAG, "query": str(i)} for i in range(5000)]))[:-100])
    assert refusal(path) == "rows.jsonl.gz: the gzip data are damaged or cut short. Fetch the file again."
    path = tmp_path / "rows.xlsx"
    path.write_bytes(b"PK")
    assert refusal(path) == (
        "rows.xlsx: the format is not known by its name. "
        "Known endings: .jsonl, .ndjson, .json, .csv, .tsv, .parquet, also .gz."
    )
    assert refusal(tmp_path / "none.jsonl") == "none.jsonl: no such file or folder."


def test_lines_that_are_no_objects(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(orjson.dumps([FLAG]))
    assert refusal(path) == (
        "rows.jsonl:1: a row must be a JSON object, got list. "
        "A file with one JSON list is read if its name ends in .json."
    )
    path = tmp_path / "rows.json"
    path.write_text("[3]")
    assert refusal(path) == "rows.json: row 1: must be an object, got int."
    path.write_text("3")
    assert refusal(path) == (
        "rows.json: must be a list of objects, JSON lines, or an object with 'corpus' and 'data'."
    )


def test_folder_that_is_no_dataset(tmp_path):
    folder = tmp_path / "things"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    assert refusal(folder) == (
        "things: is a folder, but no dataset; it holds notes.txt. Expected .parquet or .jsonl files of one kind, "
        "a dataset saved by Hugging Face datasets, or a BEIR collection (corpus.jsonl, queries.jsonl, qrels/)."
    )


def test_keys_of_no_layout(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines({"question": "q", "rows": 3}))
    words = refusal(path, kind=LayoutError)
    assert words.startswith("rows.jsonl:1: the keys question, rows fit no layout. Considered: eci (query, ")
    assert all(name in words for name in ("flagembedding", "tevatron-ids", "nemo", "ms-swift"))


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "context": "c"},
        {"anchor": "q", "positive": "p"},
        {"url": "u", "query": "q", "positive": "p"},
        {"query": "q", "pos": ["p"]},
        {"query": "q", "positives": [{"text": "p"}]},
        {"query": "q", "positive_passages": [{"text": "p"}]},
    ],
)
def test_rows_without_negatives_are_refused_and_told_where_they_belong(tmp_path, row):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(row))
    words = refusal(path, kind=NoNegatives)
    assert words.startswith(f"rows.jsonl:1: the keys {', '.join(row)} fit no layout. Considered: eci (")
    assert words.endswith(" Queries with positives and no negatives are what eci mine reads.")


@pytest.mark.parametrize(
    "row",
    [
        {"_id": "d1", "title": "T", "text": "x"},
        {"positive": "p", "query": "q", "other": "n"},
        {"text": "d", "asked": "q", "label": 1},
    ],
)
def test_order_is_no_help_against_names_that_say_something_else(tmp_path, row):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(row))
    with pytest.raises(LayoutError, match="^.*rows.jsonl:1: the keys .* fit no layout"):
        read([path])


def test_keys_of_two_layouts(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines({**FLAG, **ECI}))
    assert refusal(path, kind=LayoutError) == (
        "rows.jsonl:1: the keys query, pos, neg, positives, negatives fit several layouts: eci, flagembedding. "
        "Choose one with --layout."
    )
    assert sum(map(len, read([path], ReadOptions(layout="eci")))) == 1


def test_layout_that_does_not_fit(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(FLAG))
    assert refusal(path, ReadOptions(layout="tevatron"), LayoutError) == (
        "rows.jsonl:1: the keys are query, pos, neg. Layout 'tevatron' needs "
        "query_id, query, positive_passages, negative_passages: [{docid, title, text}]."
    )
    with pytest.raises(
        LayoutError, match=r"^unknown layout 'triplets'\. Known: eci, triplet, n-tuple, .*beir, pair\.$"
    ):
        ReadOptions(layout="triplets")


def test_csv_without_a_header_loses_no_row(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("what is it\ta thing\tnothing\nwhat else\ta thing\tnothing\n")
    assert refusal(path, kind=LayoutError) == (
        "rows.tsv:1: the first line must be a header such as query,positive,negative; "
        "it is: what is it, a thing, nothing."
    )


def test_csv_with_a_wrong_number_of_cells(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('query,positive,negative\n"q\nq",p,n\nq,p,n,m\n')
    assert refusal(path) == (
        "rows.csv:4: has 4 cells, and the header 3. Quote cells that hold the delimiter, quotes or line breaks."
    )
    path.write_text("query,positive,positive\nq,p,n\n")
    assert refusal(path) == "rows.csv:1: the header names a column twice: query, positive, positive."
    path.write_text('query,positive,negative\nq,p,"n\n')
    assert refusal(path) == "rows.csv:2: not readable as CSV: unexpected end of data."


@pytest.mark.parametrize("rows_apart", [1, 5000])
def test_one_id_with_two_texts(tmp_path, rows_apart):
    path = tmp_path / "rows.jsonl"
    first = {**ECI, "query_id": "q1", "negatives": [{**SOURCED, "id": "d1"}]}
    between = [{**ECI, "query": str(i), "query_id": f"x{i}"} for i in range(rows_apart)]
    path.write_bytes(lines(first, *between, {**ECI, "query_id": "q1", "query": "other"}))
    place = f"rows.jsonl:{rows_apart + 2}"
    tail = "has another text here than where it occurs first. One id, one text: correct the id."
    assert refusal(path) == f"{place}: the query id 'q1' {tail}"
    path.write_bytes(lines(first, *between, {**ECI, "positives": [{"id": "d1", "text": "n", "title": "T"}]}))
    assert refusal(path) == f"{place}: the document id 'd1' {tail}"
    path.write_bytes(
        lines(first, *between, first, {**ECI, "positives": [{"id": "d1", "text": "n", "title": ""}]})
    )
    assert sum(map(len, read([path]))) == rows_apart + 3


def test_ids_without_texts(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines({"qid": 1, "pos": ["d1"], "neg": {"bm25": ["d1", "d9"]}}))
    assert refusal(path) == (
        "rows.jsonl: rows of layout 'msmarco-hard-negatives' name their documents by id. "
        "Give the texts with --corpus FILE, or put corpus.jsonl beside the rows."
    )
    (tmp_path / "corpus.jsonl").write_bytes(lines({"id": "d1", "text": "a"}, {"id": "d1", "text": "a"}))
    (tmp_path / "queries.jsonl").write_bytes(lines({"id": "2", "text": "a"}))
    assert refusal(path) == (
        "rows.jsonl:1: the document 'd9' is not in corpus.jsonl. Give the whole corpus with --corpus."
    )
    path.write_bytes(lines({"qid": 1, "pos": ["d1"], "neg": {"bm25": ["d1"]}}))
    assert (
        refusal(path)
        == "rows.jsonl:1: the query '1' is not in queries.jsonl. Give all queries with --queries."
    )
    (tmp_path / "corpus.jsonl").write_bytes(lines({"id": "d1", "text": "a"}, {"id": "d1", "text": "b"}))
    assert refusal(path) == "corpus.jsonl: the id 'd1' has two different texts. Correct it."
    (tmp_path / "corpus.jsonl").write_bytes(lines({"id": "d1", "words": "a"}))
    assert refusal(path).startswith("corpus.jsonl:1: no id and text to be found among the keys id, words.")


def test_messages_that_are_no_documents(tmp_path):
    path = tmp_path / "rows.jsonl"
    said = {"role": "user", "content": "x"}
    row = {"messages": [said], "positive_messages": [[said]], "negative_messages": [[said]]}
    for change, words in (
        (
            {"negative_messages": [[said, said]]},
            "'negative_messages' must hold one message a document: [[{…}], [{…}]].",
        ),
        ({"messages": []}, "'messages' is empty. Its last message must be the query."),
        (
            {"messages": [{"role": "system", "content": "x"}]},
            "'messages' must end with the message of role 'user' that is the query.",
        ),
        (
            {"positive_messages": [[{**said, "role": "assistant"}]]},
            "the documents have several roles (assistant, user). Give them one.",
        ),
    ):
        path.write_bytes(lines(row, {**row, **change}))
        assert refusal(path) == f"rows.jsonl:2: {words}"


def test_source_labels(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(lines(FLAG))
    both = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]

    def sources(*given):
        batches = read(both, ReadOptions(sources=given))
        return [row["negatives"][0]["source"] for batch in batches for row in batch.to_pylist()]

    assert (sources(), sources("x"), sources("x", "y")) == (["a", "b"], ["x", "x"], ["x", "y"])
    with pytest.raises(
        DataError, match=r"^2 files and 3 source labels: give one for all, or one for each\.$"
    ):
        sources("x", "y", "z")
    (tmp_path / "c.jsonl").write_bytes(lines(ECI))
    assert refusal(tmp_path / "c.jsonl", ReadOptions(sources=("x",)), LayoutError) == (
        "c.jsonl:1: the rows name their own sources ('llm'). Leave --source out."
    )


@pytest.mark.parametrize("label", ["", " ", "e\x1b[31mvil", "two\nlines"])
def test_sources_that_would_garble_a_terminal(tmp_path, label):
    (tmp_path / "a.jsonl").write_bytes(
        lines(ECI, {**ECI, "negatives": [SOURCED, {**SOURCED, "source": label}]})
    )
    told = "is empty or holds characters that do not print."
    assert refusal(tmp_path / "a.jsonl") == (
        f"a.jsonl:2: the source {label!r} {told} Rename it; a source that the rows do not name is named with "
        "--source."
    )
    with pytest.raises(DataError) as caught:
        ReadOptions(sources=("bm25", label))
    assert str(caught.value) == f"the source {label!r} {told} Give another name."


def test_a_file_whose_name_does_not_print_stands_for_a_source_that_does(tmp_path):
    path = tmp_path / "a\xa0b\u200d.jsonl"
    path.write_bytes(lines(FLAG))
    assert [row["negatives"][0]["source"] for batch in read([path]) for row in batch.to_pylist()] == ["a_b_"]


def test_values_that_json_cannot_hold(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(FLAG) + '\n{"query": "q", "pos": ["p"], "neg": ["n"], "url": "\\ud800"}\n')
    assert refusal(path) == "rows.jsonl:2: 'url' holds a number or character that JSON cannot. Remove it."


def test_odd_columns_of_parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    for name in ("corpus", "queries"):
        (tmp_path / f"{name}.jsonl").write_bytes(lines({"id": "a", "text": "A"}))
    pq.write_table(pa.table({"qid": ["a"], "pos": [["a"]], "neg": [["a"]]}), path)
    assert refusal(path) == "rows.parquet: row 1: 'neg' must be an object, got a list. Write an object: {…}"
    documents = pa.array([[{"text": "p"}, None]], pa.list_(pa.struct([("text", pa.string())])))
    pq.write_table(pa.table({"query": ["q"], "positives": documents, "negatives": documents}), path)
    assert refusal(path) == (
        "rows.parquet: row 1: 'positives[1]' must be an object, got null. Give it, or remove the row."
    )


VALUES = [
    None,
    True,
    2**70,
    1.5,
    float("nan"),
    "",
    "x",
    "\ud800",
    [],
    ["d1"],
    [["a"]],
    [None],
    {},
    {"a": 1},
    [{}],
]


def mutated(value, random):
    """A copy with one part replaced, removed or repeated."""
    if isinstance(value, (dict, list)) and value and random.random() < 0.75:
        copy = value.copy()
        place = random.choice(list(copy)) if isinstance(copy, dict) else random.randrange(len(copy))
        if random.random() < 0.2:
            del copy[place]
        else:
            copy[place] = mutated(copy[place], random)
        return copy
    return random.choice(VALUES)


@pytest.mark.parametrize("layout", EXAMPLES)
def test_mutated_rows_are_read_or_refused(tmp_path, layout):
    random = Random(layout)
    dump(tmp_path / "corpus.jsonl", CORPUS)
    dump(tmp_path / "queries.jsonl", QUERIES)
    options = ReadOptions(corpus=tmp_path / "corpus.jsonl", queries=tmp_path / "queries.jsonl")
    refusals = []
    for number in range(60):
        rows = [mutated(row, random) for row in EXAMPLES[layout][0]]
        rows = [row if isinstance(row, dict) else {"query": row} for row in rows]
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        try:
            list(read([path], options))
        except DataError as error:
            refusals.append(f"{number}.jsonl" in str(error))
    assert refusals
    assert all(refusals)
