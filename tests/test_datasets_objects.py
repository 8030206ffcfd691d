"""Rows in memory, and datasets of the Hugging Face library."""

import os
import subprocess
import sys

import pyarrow as pa
import pytest

from eci.datasets import ReadOptions, from_object, read
from eci.errors import DataError, LayoutError

FLAG = [{"query": f"q{i}", "pos": ["p"], "neg": ["n", f"m{i}"], "neg_scores": [0.5, 1.0]} for i in range(5)]


def negatives(found):
    rows = pa.Table.from_batches(list(found)).to_pylist()
    return [[(n["source"], n["text"], n["score"]) for n in row["negatives"]] for row in rows]


EXPECTED = [[("rows", "n", 0.5), ("rows", f"m{i}", 1.0)] for i in range(5)]
MAKERS = {
    "list": lambda: FLAG,
    "tuple": lambda: tuple(FLAG),
    "table": lambda: pa.Table.from_pylist(FLAG),
    "batch": lambda: pa.RecordBatch.from_pylist(FLAG),
    "pandas": lambda: pytest.importorskip("pandas").DataFrame(FLAG),
    "polars": lambda: pytest.importorskip("polars").DataFrame(FLAG),
    "lazy": lambda: pytest.importorskip("polars").DataFrame(FLAG).lazy(),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_objects(kind):
    found = from_object(MAKERS[kind](), ReadOptions(batch_rows=2))
    assert (found.layout, found.files, found.fingerprint()) == ("flagembedding", [], [])
    assert negatives(found) == EXPECTED
    assert negatives(found) == EXPECTED  # again, from the start


def test_source_of_objects():
    assert negatives(from_object(FLAG, ReadOptions(sources=("bm25",))))[0][0][0] == "bm25"


def test_flat_frames_with_missing_cells():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"query": ["q"], "positive": ["p"], "negative_1": ["n"], "negative_2": [None]})
    assert negatives(from_object(frame)) == [[("rows", "n", None)]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "the input: has no rows."),
        (pa.table({"query": pa.array([], pa.string())}), "the input: has no rows."),
        ([*FLAG, {**FLAG[0], "neg": "abc"}], """row 6: 'neg' must be a list of texts, got a string. Wrap it: ["…"]"""),
        (
            pa.table({"query": [1], "pos": [["p"]], "neg": [["n"]]}),
            "row 1: 'query' must be a text, got a number (1). Write it as a string.",
        ),
        (
            pa.table({"query": ["q"], "pos": [["p"]], "neg": ["n"]}),
            """row 1: 'neg' must be a list of texts, got a string. Wrap it: ["…"]""",
        ),
    ],
)  # fmt: skip
def test_bad_objects(rows, words):
    with pytest.raises(DataError) as caught:
        list(from_object(rows))
    assert str(caught.value) == words


@pytest.mark.parametrize("thing", [3, "rows", (row for row in FLAG), [1], {"query": "q"}])
def test_things_that_are_no_rows(thing):
    with pytest.raises(
        DataError, match=r"^rows cannot be read from \w+\. Give a datasets\.Dataset, a pyarrow Table"
    ):
        from_object(thing)


def test_ids_need_their_texts():
    with pytest.raises(DataError, match="^the input: rows of layout 'id-lists' name their documents by id"):
        list(from_object([{"query_id": 1, "document_ids": [1], "scores": [1]}]))


def test_library_objects():
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list(FLAG)
    assert negatives(from_object(dataset)) == EXPECTED
    assert negatives(from_object(dataset.select([3, 1]))) == [EXPECTED[3], EXPECTED[1]]
    assert negatives(from_object(dataset.to_iterable_dataset(), ReadOptions(batch_rows=2))) == EXPECTED
    with pytest.raises(
        DataError, match=r"^a DatasetDict was given, with the splits train\. Give one of them\.$"
    ):
        from_object(datasets.DatasetDict(train=dataset))


def test_saved_folders(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    dataset = datasets.Dataset.from_list(FLAG)
    dataset.save_to_disk(tmp_path / "bm25")
    found = read([tmp_path / "bm25"])
    assert negatives(found)[0][0][0] == "bm25"
    assert [f["name"] for f in found.fingerprint()] == ["data-00000-of-00001.arrow"]
    splits = datasets.DatasetDict(
        train=dataset.select([0]), test=dataset.select([1]), other=dataset.select([2])
    )
    splits.save_to_disk(tmp_path / "dict")
    found = read([tmp_path / "dict"])
    assert negatives(found)[0][1][1] == "m0"
    assert found.notes == ["dict: the split is train"]
    assert negatives(read([tmp_path / "dict"], ReadOptions(split="other")))[0][1][1] == "m2"
    with pytest.raises(DataError, match=r"dict: has no split 'x'\. It has: other, test, train\.$"):
        read([tmp_path / "dict"], ReadOptions(split="x"))
    (tmp_path / "bm25" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(DataError, match=r"bm25: cannot be read as a saved dataset: "):
        read([tmp_path / "bm25"])


def test_rows_of_a_saved_dataset_are_named(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_list([*FLAG, {**FLAG[0], "pos": []}]).save_to_disk(tmp_path / "bm25")
    with pytest.raises(DataError, match=r"bm25: row 6: the query 'q0' has no positive"):
        list(read([tmp_path / "bm25"]))


def test_folders_of_shards(tmp_path):
    import pyarrow.parquet as pq

    folder = tmp_path / "bm25"
    folder.mkdir()
    for start in (0, 3):
        pq.write_table(pa.Table.from_pylist(FLAG[start : start + 3]), folder / f"part-{start}.parquet")
    found = read([folder])
    assert [[n[0] for n in row] for row in negatives(found)] == [["bm25", "bm25"]] * 5
    assert [f["name"] for f in found.files] == ["part-0.parquet", "part-3.parquet"]
    pq.write_table(pa.table({"a": ["x"], "b": ["y"], "c": ["z"]}), folder / "part-9.parquet")
    with pytest.raises(LayoutError, match=r"part-9\.parquet: row 1: this row has layout 'triplet'"):
        list(read([folder]))


def test_hub_names(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match="a name on the hub is hf://owner/name"):
        read(["hf://only-one"])


def test_hub_that_cannot_be_reached(tmp_path):
    pytest.importorskip("datasets")
    code = "from eci.datasets import read\nfrom eci.errors import DataError\ntry:\n    read(['hf://nobody/nothing/config/train'])\nexcept DataError as error:\n    print(error)"
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("hf://nobody/nothing/config/train: cannot be read from the hub: ")
    assert done.stdout.endswith("Check the name and the connection.\n")


def test_without_the_library(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    code = (
        "import sys\nsys.modules['datasets'] = None\nfrom eci.datasets import read\n"
        f"from eci.errors import MissingDependency\ntry:\n    read([{str(tmp_path)!r}])\n"
        "except MissingDependency as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"Reading the saved dataset {tmp_path} needs datasets. Install it with: pip install 'eci[datasets]'\n"
    )
