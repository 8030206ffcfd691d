"""What negatives are mined for: collections with judgements, rows with positives, and what is wrong with them."""

import gzip
import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.datasets import ReadOptions, from_object, read_task, task_from_object, write
from eci.errors import DataError, LayoutError
from fakes import run_cli
from test_datasets_layouts import CORPUS as EXAMPLE_CORPUS
from test_datasets_layouts import EXAMPLES, dump
from test_datasets_layouts import QUERIES as EXAMPLE_QUERIES

CORPUS = [
    {"_id": "d1", "title": "One", "text": "first"},
    {"_id": "d2", "text": "second"},
    {"_id": "d3", "text": " "},
    {"_id": "d4", "text": "Second "},
    {"_id": "d5", "text": "fifth"},
    {"_id": "d5", "text": "fifth"},
    {"_id": "q2", "text": "Where does it end? Nobody knows."},
    {"_id": "q1", "text": "shares a number with q1"},
]
QUERIES = [
    {"_id": "q1", "text": "What is it?"},
    {"_id": "q2", "text": "where  does it end?"},
    {"_id": "q3", "text": "fifth"},
    {"_id": "q4", "text": "Unanswered"},
]
TRAIN = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td4\t1\nq3\td1\t1\nq3\tgone\t1\nq4\tgone\t-1\nq4\td3\t1\n"
TEST = "query-id\tcorpus-id\tscore\nq1\td5\t1\nq1\td2\t0\nq2\tgone\t1\nq9\td1\t1\n"


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "small"
    (home / "qrels").mkdir(parents=True)
    dump(home / "corpus.jsonl", CORPUS)
    dump(home / "queries.jsonl", QUERIES)
    (home / "qrels" / "train.tsv").write_text(TRAIN)
    (home / "qrels" / "test.tsv").write_text(TEST)
    return home


def shown(task):
    """Queries with their positives and what else is known, as ids of documents or, without, texts."""
    names = [i or t for i, t in zip(task.corpus.ids.to_pylist(), task.corpus.shown(), strict=True)]
    return {
        task.name_of(number): (
            [names[place] for place in task.positives[number]],
            {names[place] for place in task.known[number]} - {names[p] for p in task.positives[number]},
        )
        for number in range(len(task))
    }


def test_collection_by_hand(folder):
    found = read_task([folder])
    task = found.task
    assert shown(task) == {"q1": (["d1"], {"d5"}), "q2": (["d4"], {"q2"}), "q3": (["d1"], {"d5"})}
    assert task.queries.to_pylist() == ["What is it?", "where  does it end?", "fifth"]
    assert task.corpus.ids.to_pylist() == ["d1", "d4", "d5", "q2", "q1"]
    assert task.corpus.shown()[:2] == ["One first", "Second "]
    assert found.notes == [
        "small: judgements: qrels/train.tsv",
        "small: 1 of 8 documents of the corpus repeat an id and its text",
        "small: 2 of 7 judgements are 0 or below and make no positive",
        "small: 2 of 7 judgements point to documents that the corpus lacks; the first is 'gone'",
        "small: 1 of 4 queries are documents too, under their own id",
        "small: 1 of 4 judgements of test.tsv are about the same queries: known too",
        "small: document text is title + ' ' + text",
    ]
    assert task.counts == {
        "empty documents": 1,
        "documents whose text another has": 1,
        "documents that are the query itself": 1,
        "queries without a positive that has text": 1,
    }
    assert [file["name"] for file in found.files] == [
        "corpus.jsonl",
        "queries.jsonl",
        "train.tsv",
        "test.tsv",
    ]
    assert found.files[2] == {
        "name": "train.tsv",
        "bytes": len(TRAIN),
        "sha256": hashlib.sha256(TRAIN.encode()).hexdigest(),
    }


def test_split_says_whose_judgements_are_positives(folder):
    dump(folder / "queries.jsonl", [*QUERIES, {"_id": "q9", "text": "ninth"}])
    with pytest.raises(DataError, match=r"has no split 'dev'. It has: test, train"):
        read_task([folder], ReadOptions(split="dev"))
    found = read_task([folder], ReadOptions(split="test"))
    assert shown(found.task) == {"q1": (["d5"], {"d1"}), "q9": (["d1"], set())}
    assert found.notes[0].startswith("small: 1 of 8 documents")
    assert "small: 1 of 3 queries have no positive in the corpus and are left out" in found.notes


def test_split_test_needs_the_texts_of_its_queries(folder):
    (folder / "qrels" / "test.tsv").write_text("q1\td5\t1\nlost\td1\t1\n")
    with pytest.raises(
        DataError, match=r"queries.jsonl: the judged query 'lost' has no text here. Give all queries"
    ):
        read_task([folder], ReadOptions(split="test"))
    assert len(read_task([folder]).task) == 3


def test_files_one_by_one(folder, tmp_path):
    options = ReadOptions(corpus=folder / "corpus.jsonl", queries=folder / "queries.jsonl")
    qrels = [folder / "qrels" / name for name in ("train.tsv", "test.tsv")]
    whole, parts = read_task([folder]), read_task([], options, qrels)
    assert shown(parts.task) == shown(whole.task)
    assert (parts.files, parts.notes) == (whole.files, whole.notes[1:])
    alone = read_task((), options, qrels[:1])
    assert shown(alone.task)["q1"] == (["d1"], set())
    trec = tmp_path / "trec.qrels.gz"
    trec.write_bytes(gzip.compress(b"q1 0 d5 1\nq1 0 d2 0\n"))
    assert shown(read_task((), options, [trec, *qrels]).task) == {"q1": (["d5"], {"d1"})}


def test_a_corpus_of_shards_is_told_file_by_file(folder):
    (folder / "corpus").mkdir()
    for shard, part in enumerate((CORPUS[:4], CORPUS[4:])):
        dump(folder / "corpus" / f"{shard}.jsonl", part)
    (folder / "corpus.jsonl").rename(folder / "aside.txt")
    found = read_task([folder])
    assert shown(found.task)["q1"] == (["d1"], {"d5"})
    assert [file["name"] for file in found.files][:3] == ["0.jsonl", "1.jsonl", "queries.jsonl"]


def test_rows_that_name_their_texts_by_id_may_have_them_in_shards(tmp_path):
    for kind, rows in (("corpus", EXAMPLE_CORPUS), ("asked", EXAMPLE_QUERIES)):
        (tmp_path / kind).mkdir()
        dump(tmp_path / kind / "0.jsonl", rows)
    path = dump(tmp_path / "rows.jsonl", EXAMPLES["id-lists"][0])
    found = read_task([path], ReadOptions(corpus=tmp_path / "corpus", queries=tmp_path / "asked"))
    assert shown(found.task) == {"q1": (["d1"], set())}
    assert len(found.task.corpus) == 2


def with_query(text):
    return lambda home: dump(home / "queries.jsonl", [{**QUERIES[0], "text": text}, *QUERIES[1:]])


def with_qrels(text):
    return lambda home: (home / "qrels" / "train.tsv").write_text(text)


BAD_COLLECTIONS = {
    "one id, two texts": (
        lambda home: dump(home / "corpus.jsonl", [*CORPUS, {"_id": "d2", "text": "other"}]),
        "corpus.jsonl: the id 'd2' has two different texts. Correct it.",
    ),
    "empty query": (
        with_query(" \u00a0\n"),
        "queries.jsonl: the query 'q1' has an empty text (1 such queries). Give it a text, or remove it and "
        "its positives.",
    ),
    "query without text": (
        with_query(None),
        "queries.jsonl:1: 'text' must be a text, got null. Give it, or remove the row.",
    ),
    "judged query that is not there": (
        with_qrels("q1\td1\t1\nq7\td1\t1\n"),
        "queries.jsonl: the judged query 'q7' has no text here. Give all queries with --queries.",
    ),
    "nothing relevant": (
        with_qrels("q1\td1\t0\nq2\td1\t-1\n"),
        "train.tsv: no query has a positive that is in corpus.jsonl.",
    ),
    "nothing there": (
        with_qrels("q1\tgone\t1\n"),
        "train.tsv: no query has a positive that is in corpus.jsonl.",
    ),
    "only empty positives": (with_qrels("q1\td3\t1\n"), "small: no query has a positive with a text."),
    "no judgements": (with_qrels(""), "train.tsv: has no rows."),
    "a word for a score": (
        with_qrels("q1\td1\t1\nq1\td2\thigh\n"),
        "train.tsv:2: 'score' must be a finite number, got 'high'.",
    ),
    "broken corpus": (
        lambda home: (home / "corpus.jsonl").write_text('{"_id": "d1", "text": "x"}\n{"_id": "d2", '),
        "corpus.jsonl:2: not valid JSON",
    ),
    "corpus without ids": (
        lambda home: dump(home / "corpus.jsonl", [{"text": "x"}]),
        "corpus.jsonl:1: no id and text to be found among the keys text.",
    ),
}


@pytest.mark.parametrize("what", BAD_COLLECTIONS)
def test_bad_collection(folder, what):
    spoil, words = BAD_COLLECTIONS[what]
    spoil(folder)
    with pytest.raises(DataError) as caught:
        read_task([folder])
    told = str(caught.value).replace(f"{folder}/qrels/", "").replace(f"{folder}/", "")
    assert told.startswith(words)


def test_inputs_that_make_no_task(folder, tmp_path):
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    qrels = [folder / "qrels" / "train.tsv"]
    pairs = dump(tmp_path / "pairs.jsonl", [{"query": "q", "positive": "p"}])
    for paths, options, judgements, words in (
        ([], ReadOptions(), (), "nothing to mine for. Give a BEIR folder, or rows of queries and positives, or all of"),
        ([], ReadOptions(corpus=corpus, queries=queries), (), "nothing to mine for"),
        ([], ReadOptions(corpus=corpus), qrels, "nothing to mine for"),
        ([], ReadOptions(corpus=corpus, queries=queries, split="train"), qrels, "--split chooses among the qrels of a"),
        ([], ReadOptions(corpus=tmp_path / "no.jsonl", queries=queries), qrels, "no.jsonl: no such file or folder"),
        ([], ReadOptions(corpus=corpus, queries=queries), [tmp_path / "no.tsv"], "no.tsv: cannot be opened"),
        ([folder], ReadOptions(), qrels, "qrels are given together with --corpus and --queries, without rows or a"),
        ([pairs], ReadOptions(), qrels, "qrels are given together with --corpus and --queries"),
        ([folder, pairs], ReadOptions(), (), "pairs.jsonl: nothing is read beside the collection"),
        ([pairs], ReadOptions(queries=queries), (), "pairs.jsonl have their queries. Leave --queries out"),
        ([tmp_path / "no.jsonl"], ReadOptions(), (), "no.jsonl: no such file or folder"),
        ([tmp_path / "no"], ReadOptions(), (), "no: no such file or folder"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=words):
            read_task(paths, options, judgements)
    with pytest.raises(LayoutError, match="is a BEIR collection, and no rows of layout 'triplet'"):
        read_task([folder], ReadOptions(layout="triplet"))


LETTERS = st.sampled_from(["a", "A", "b", "b ", "c", "", " ", "ab"])
IDS = st.sampled_from(["1", "2", "3", "4", "x"])
JUDGEMENTS = st.lists(st.tuples(IDS, IDS, st.integers(-1, 2)), min_size=1, max_size=8)


@given(
    st.dictionaries(IDS, LETTERS, min_size=1),
    st.dictionaries(IDS, st.sampled_from(["a", "B", "what", "ab"]), min_size=5, max_size=5),
    st.lists(JUDGEMENTS, min_size=1, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_collection_as_defined(tmp_path_factory, corpus, queries, qrels):
    home = tmp_path_factory.mktemp("made")
    dump(home / "corpus.jsonl", [{"_id": i, "text": t} for i, t in corpus.items()])
    dump(home / "queries.jsonl", [{"_id": i, "text": t} for i, t in queries.items()])
    files = [home / f"{number}.tsv" for number in range(len(qrels))]
    for path, rows in zip(files, qrels, strict=True):
        path.write_text("".join(f"{q}\t{d}\t{score}\n" for q, d, score in rows))

    def plain(text):
        return " ".join(text.lower().split())

    def relevant(rows, query):
        good = [corpus.get(d, "") for q, d, score in rows if q == query and score > 0]
        return {plain(text) for text in good} - {""}

    expected = {}
    for query, text in queries.items():
        positives = relevant(qrels[0], query)
        if positives:
            # Queries of one text share what is known.
            same = [other for other in queries if plain(queries[other]) == plain(text)]
            known = set().union(*(relevant(rows, other) for rows in qrels for other in same))
            known |= {plain(text)} & {plain(each) for each in corpus.values()}
            for other in same:
                own = plain(corpus.get(other, ""))
                judged = any(q == other and d in corpus and score > 0 for q, d, score in qrels[0])
                if own and judged and (own in plain(text) or plain(text) in own):
                    known.add(own)
            expected[query] = (positives, known)

    options = ReadOptions(corpus=home / "corpus.jsonl", queries=home / "queries.jsonl")
    if not expected:
        with pytest.raises(DataError, match="no query has a positive"):
            read_task([], options, files)
        return
    task = read_task([], options, files).task
    texts = [plain(text) for text in task.corpus.shown()]
    assert sorted(texts) == sorted({plain(text) for text in corpus.values()} - {""})
    assert {
        task.name_of(n): ({texts[p] for p in task.positives[n]}, {texts[p] for p in task.known[n]})
        for n in range(len(task))
    } == expected


PAIRS = [
    {"query": "why blue?", "positive": "scattering"},
    {"query": "why red?", "positive": "iron"},
    {"query": "why blue?", "positive": "the sky"},
    {"query": "why blue?", "positive": "scattering"},
]
EXPECTED = {"why blue?": (["scattering", "the sky"], set()), "why red?": (["iron"], set())}


def saved(path, rows):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows).save_to_disk(str(path))


def pandas_frame(rows):
    return pytest.importorskip("pandas").DataFrame(rows)


def polars_frame(rows):
    return pytest.importorskip("polars").DataFrame(rows)


WRITERS = {
    "rows.jsonl": dump,
    "rows.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "rows.jsonl.gz": lambda path, rows: path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode())),
    "rows.csv": lambda path, rows: pandas_frame(rows).to_csv(path, index=False),
    "rows.tsv": lambda path, rows: pandas_frame(rows).to_csv(path, index=False, sep="\t"),
    "rows.parquet": lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path),
    "rows": saved,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("keys", [("query", "positive"), ("anchor", "positive"), ("question", "body")])
def test_pairs_in_every_format(tmp_path, name, keys):
    rows = [dict(zip(keys, pair.values(), strict=True)) for pair in PAIRS]
    WRITERS[name](tmp_path / name, rows)
    found = read_task([tmp_path / name])
    assert shown(found.task) == EXPECTED
    assert found.task.counts == {}
    assert found.task.query_ids.null_count == 2
    assert all(len(file["sha256"]) == 64 for file in found.files)
    assert len(found.files) == 1
    assert found.notes[-1].endswith(": no corpus was given: the documents are the positives of the rows")


@pytest.mark.parametrize(
    "make", [list, pa.Table.from_pylist, pa.RecordBatch.from_pylist, pandas_frame, polars_frame]
)
def test_pairs_in_memory(make):
    found = task_from_object(make(PAIRS), ReadOptions(batch_rows=1))
    assert (shown(found.task), found.files) == (EXPECTED, [])
    assert found.notes == ["the rows: no corpus was given: the documents are the positives of the rows"]


LISTS = [
    {"query_id": 7, "query": "q", "positives": [{"id": 1, "title": "T", "text": "p"}, {"text": "r"}]},
    {"query_id": 7, "query": "q", "pos": ["T p", "r"], "pos_id": ["1", "2"]},
    {"query_id": 7, "query": "q", "positive_passages": [{"docid": 1, "title": "T", "text": "p"}, {"text": "r"}]},
]  # fmt: skip


@pytest.mark.parametrize("row", LISTS)
def test_lists_of_positives_whose_layout_has_a_place_for_negatives(tmp_path, row):
    task = read_task([dump(tmp_path / "rows.jsonl", [row])]).task
    assert (task.query_ids.to_pylist(), task.queries.to_pylist()) == (["7"], ["q"])
    assert task.corpus.shown(task.positives[0]) == ["T p", "r"]
    assert task.corpus.ids[0].as_py() == "1"
    with pytest.raises(DataError, match=r"rows.jsonl:2: the query '7' has no positive"):
        read_task([dump(tmp_path / "rows.jsonl", [row, {**row, list(row)[2]: [], "pos_id": None}])])


@pytest.mark.parametrize("layout", EXAMPLES)
def test_positives_of_every_layout(tmp_path, layout):
    dump(tmp_path / "corpus.jsonl", EXAMPLE_CORPUS)
    dump(tmp_path / "queries.jsonl", EXAMPLE_QUERIES)
    rows, positives, negatives = EXAMPLES[layout]
    path = dump(tmp_path / "rows.jsonl", rows)
    found = read_task([path])
    assert found.task.queries.to_pylist() == ["what?"]
    assert found.task.corpus.shown() == [text for _, _, text, _ in positives]
    assert f"{len(negatives)} negatives of the rows are not carried over" in "\n".join(found.notes)
    larger = read_task([path], ReadOptions(corpus=tmp_path / "corpus.jsonl"))
    assert [file["name"] for file in larger.files].count("corpus.jsonl") == 1
    documents = {*larger.task.corpus.shown(), *larger.task.corpus.ids.to_pylist()}
    assert documents == {"right", "Far away", "d1", "d2"} | {p[2] for p in positives}
    assert larger.task.corpus.shown(larger.task.positives[0]) == [text for _, _, text, _ in positives]


def test_positives_find_their_document_in_the_corpus(tmp_path):
    corpus = [
        {"_id": "d1", "text": "Iron"},
        {"_id": "d2", "text": "far"},
        {"_id": "d2", "text": "far"},
        {"_id": "", "text": "nameless"},
    ]
    path = dump(tmp_path / "docs.jsonl", corpus)
    rows = [
        {"query": "a", "pos": ["iron"], "neg": []},
        {"query": "b", "pos": ["far", "new"], "pos_id": ["d2", "n1"], "neg": []},
        {"query": "c", "pos": ["newer"], "neg": []},
    ]
    found = read_task([dump(tmp_path / "rows.jsonl", rows)], ReadOptions(corpus=path))
    assert shown(found.task) == {"a": (["d1"], set()), "b": (["d2", "n1"], set()), "c": (["newer"], set())}
    assert found.task.corpus.shown() == ["Iron", "far", "nameless", "new", "newer"]
    assert any(
        note.endswith("1 of 4 documents of the corpus repeat an id and its text") for note in found.notes
    )
    assert [file["name"] for file in found.files] == ["rows.jsonl", "docs.jsonl"]


def test_bad_rows(tmp_path):
    docs = dump(tmp_path / "docs.jsonl", [{"_id": "d1", "text": "iron"}, {"_id": "d2", "text": "far"}])
    for rows, options, words in (
        (
            [{"query": "a", "pos": ["rust"], "pos_id": ["d1"]}],
            ReadOptions(corpus=docs),
            r"docs.jsonl: the document 'd1' has another text here than in the rows, as have 0 more. One id, one",
        ),
        ([{"query": "", "positive": "p"}], ReadOptions(), r"rows.jsonl: a query without id is empty \(1 such"),
        (
            [{"query_id": "5", "query": "\u3000", "positive": "p"}],
            ReadOptions(),
            r"rows.jsonl: the query '5' has an empty text \(1 such queries\)",
        ),
        ([{"query": "a", "positive": " "}], ReadOptions(), r"rows.jsonl: no query has a positive with a text"),
        ([{"query": "a", "document": "p", "label": 0}], ReadOptions(), "no query has a positive with a text"),
        ([{"query": "a"}], ReadOptions(), "rows.jsonl:1: the keys query fit no layout"),
        ([{"query": "a", "positive": 3}], ReadOptions(), "rows.jsonl:1: the keys query, positive fit no layout"),
        (
            [PAIRS[0], {"query": "a"}],
            ReadOptions(),
            "rows.jsonl:2: the key 'positive' is missing. The first row has it, so each row needs: query, positive",
        ),
        (
            [PAIRS[0], {**PAIRS[0], "negative": "n"}],
            ReadOptions(),
            "rows.jsonl:2: this row has layout 'triplet' .*, the rows before have 'pair'",
        ),
        (
            [{"_id": "d1", "title": "T", "text": "x"}],
            ReadOptions(),
            "rows.jsonl:1: the keys _id, title, text fit no layout",
        ),
        ([{"_id": "q1", "text": "x"}], ReadOptions(layout="pair"), "Layout 'pair' needs query and positive"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=words):
            read_task([dump(tmp_path / "rows.jsonl", rows)], options)


def test_a_query_whose_positives_are_empty_is_counted(tmp_path):
    rows = [{"query": "a", "positive": " "}, {"query": "b", "positive": "p"}, {"query": "p", "positive": "x"}]
    task = read_task([dump(tmp_path / "rows.jsonl", rows)]).task
    assert shown(task) == {"b": (["p"], set()), "p": (["x"], {"p"})}
    assert task.counts == {
        "empty documents": 1,
        "documents that are the query itself": 1,
        "queries without a positive that has text": 1,
    }


def test_rows_without_negatives_are_mined_for_and_not_scored(tmp_path, monkeypatch, capsys):
    path = dump(tmp_path / "pairs.jsonl", PAIRS)
    for options, words in (
        ([], "fit no layout. Considered: eci (query, positives"),
        (["--layout", "pair"], "No row has a negative"),
    ):
        code, out, err = run_cli(monkeypatch, capsys, "score", str(path), "--encoder", "hashing", *options)
        assert (code, out) == (1, "")
        assert words in err
    with pytest.raises(LayoutError, match="unknown layout 'pair' for rows"):
        write(from_object(EXAMPLES["triplet"][0]), tmp_path / "out.jsonl", "pair")


@given(
    st.lists(
        st.tuples(
            st.sampled_from("qrs"), st.sampled_from([None, "1", "2"]), st.lists(st.sampled_from("abAB c"))
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([1, 3, 100]),
)
@settings(max_examples=100, deadline=None)
def test_rows_as_defined(rows, batch_rows):
    # One id, one text: the id decides the query.
    made = [
        {"query_id": name, "query": query if name is None else f"query {name}", "positives": [*texts, "end"]}
        for query, name, texts in rows
    ]
    given_rows = [{**row, "positives": [{"text": text} for text in row["positives"]]} for row in made]
    expected = {}
    for row in made:
        key = row["query_id"] or row["query"]
        wanted = [text.lower().strip() for text in row["positives"]]
        expected.setdefault(key, {}).update(dict.fromkeys(filter(None, wanted)))
    task = task_from_object(given_rows, ReadOptions(batch_rows=batch_rows)).task
    texts = [text.lower() for text in task.corpus.shown()]
    assert len(set(texts)) == len(texts)
    assert {task.name_of(n): {texts[p] for p in task.positives[n]} for n in range(len(task))} == {
        key: set(held) for key, held in expected.items()
    }
    assert [task.name_of(n) for n in range(len(task))] == list(expected)


# split, queries, documents, judgements of the split for them, known in all, and how many lack a document
COLLECTIONS = {
    "scifact": ("train", 809, 5183, 919, 920, None),
    "scifact/test": ("test", 300, 5183, 339, 339, None),
    "nfcorpus": ("train", 2563, 3356, 109_637, 109_998, "500 of 110,575 judgements point to documents that the corpus lacks; the first is 'MED-4787'"),
    "cranfield": ("test", 225, 1398, 1836, 1836, None),
}  # fmt: skip


@pytest.mark.parametrize("name", COLLECTIONS)
def test_real_collections(data, name):
    split, queries, documents, positives, known, lacking = COLLECTIONS[name]
    home = data / name.split("/")[0]
    found = read_task([home], ReadOptions(split=split))
    task = found.task
    assert (len(task), len(task.corpus)) == (queries, documents)
    assert (len(task.positives.values), len(task.known.values)) == (positives, known)
    assert [note for note in found.notes if "lacks" in note] == [f"{home.name}: {lacking}"] * bool(lacking)
    texts = {}
    for line in (home / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts[row["_id"]] = f"{row.get('title', '')} {row['text']}".strip()
    expected = {}
    for line in (home / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]:
        query, document, score = line.split("\t")
        if float(score) > 0 and texts.get(document):
            expected.setdefault(query, set()).add(" ".join(texts[document].lower().split()))
    held = [" ".join(text.lower().split()) for text in task.corpus.shown()]
    rows = {task.name_of(n): {held[p] for p in task.positives[n]} for n in range(len(task))}
    assert rows == expected
    assert np.all(task.positives.lengths >= 1)
    # Whoever asks the same, in whatever split.
    asked = {}
    for line in (home / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        asked[row["_id"]] = " ".join(row["text"].lower().split())
    answers = {}
    for path in (home / "qrels").iterdir():
        for line in path.read_text().splitlines()[1:]:
            query, document, score = line.split("\t")
            if float(score) > 0 and texts.get(document):
                answers.setdefault(asked[query], set()).add(" ".join(texts[document].lower().split()))
    for number, query in enumerate(task.queries.to_pylist()):
        assert {held[p] for p in task.known[number]} == answers[" ".join(query.lower().split())]


def test_white_space_and_titles_do_not_hide_a_text(tmp_path):
    dump(
        tmp_path / "corpus.jsonl",
        [
            {"_id": "1", "text": "an answer"},
            {"_id": "2", "text": "an \n answer"},
            {"_id": "3", "text": "an\t\u2028answer"},
            {"_id": "6", "text": "an\x0banswer\x85"},
            {"_id": "4", "title": "Another", "text": "the Query"},
            {"_id": "5", "text": "else"},
        ],
    )
    dump(tmp_path / "queries.jsonl", [{"_id": "q", "text": "The query"}])
    (tmp_path / "qrels.tsv").write_text("q\t1\t1\n")
    options = ReadOptions(corpus=tmp_path / "corpus.jsonl", queries=tmp_path / "queries.jsonl")
    task = read_task([], options, [tmp_path / "qrels.tsv"]).task
    assert task.corpus.ids.to_pylist() == ["1", "4", "5"]
    assert task.known[0].tolist() == [0, 1]
