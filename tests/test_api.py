from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

import eci
from eci.models.hashing import HashingEncoder
from fakes import make_rows

FLAT = [
    {"anchor": row["query"], "positive": row["positives"][0]["text"], "negative": row["negatives"][0]["text"]}
    for row in make_rows(30)
]


def in_memory():
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    return {
        "list": FLAT,
        "pandas": pd.DataFrame(FLAT),
        "polars": pl.DataFrame(FLAT),
        "pyarrow": pa.Table.from_pylist(FLAT),
    }


@pytest.mark.parametrize("kind", ["list", "pandas", "polars", "pyarrow", "datasets", "path"])
def test_any_kind_of_rows_gives_the_same(kind, tmp_path):
    expected = eci.score(FLAT, "hashing").to_dict()["sources"]
    if kind == "datasets":
        rows = pytest.importorskip("datasets", reason="the extra 'datasets'").Dataset.from_list(FLAT)
    elif kind == "path":
        rows = tmp_path / "rows.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in FLAT))
    else:
        rows = in_memory()[kind]
    found = eci.score(rows, "hashing").to_dict()["sources"]
    found[0]["source"] = expected[0]["source"]
    assert found == expected


def test_tuples_and_numpy_values_are_as_good_as_lists_and_builtin_ones():
    plain = [{"query": "a", "pos": ["p"], "neg": ["n", "m"], "pos_scores": [1.0], "neg_scores": [0.5, 0.25]}]
    numpy = [
        {
            "query": np.str_("a"),
            "pos": ("p",),
            "neg": np.array(["n", "m"]),
            "pos_scores": [np.float32(1.0)],
            "neg_scores": np.array([0.5, 0.25]),
        }
    ]
    found, expected = (eci.score(rows, "hashing") for rows in (numpy, plain))
    assert found.to_dict()["sources"] == expected.to_dict()["sources"]
    assert found["rows"].values["reranker_score"].value == 0.375


def test_an_object_that_is_no_rows_is_refused():
    with pytest.raises(eci.DataError, match="rows cannot be read from int"):
        eci.score(7, "hashing")


def test_any_object_with_the_two_methods_is_an_encoder():
    result = eci.score(make_rows(20), HashingEncoder(32))
    assert result.encoder["name"] == "hashing-32"

    class Own:
        def encode_query(self, texts):
            return np.array([[len(text), 1.0] for text in texts])

        encode_document = encode_query

    assert eci.score(make_rows(20), Own()).encoder["name"] == "Own"


def test_settings_and_reading_reach_the_result(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in FLAT))
    result = eci.score(
        [file],
        "hashing",
        settings=eci.Settings(metric="signal", sample=10),
        reading=eci.ReadOptions(sources=("mine",)),
    )
    assert result.best.source == "mine"
    assert result.settings["metric"] == "signal"
    assert result.settings["queries_scored"] == 10
    assert result.data["layout"] == "triplet"


@pytest.mark.model
def test_a_loaded_sentence_transformer_uses_the_cache(own_cache):
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    from eci.models.sentence_transformer import SentenceTransformerEncoder

    model = SentenceTransformerEncoder.load().model
    result = eci.score(make_rows(4), model)
    assert result.encoder["weights_blake2b"]
    assert (own_cache / "data.mdb").exists()
    by_name = eci.score(make_rows(4))
    assert by_name.to_dict()["sources"] == result.to_dict()["sources"]


def test_texts_beside_the_rows_and_how_they_were_read_are_on_record(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        '{"query_id": "q", "document_ids": ["p", "n"], "scores": [0.9, 0.2]}\n'
    )
    (tmp_path / "corpus.jsonl").write_text('{"_id": "p", "text": "right"}\n{"_id": "n", "text": "wrong"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "what"}\n')
    reading = eci.ReadOptions(positive_score=0.8, sources=("s",))
    result = eci.score(tmp_path / "rows.jsonl", "hashing", reading=reading)
    assert {file["name"] for file in result.data["files"]} == {"rows.jsonl", "corpus.jsonl", "queries.jsonl"}
    assert all(len(file["sha256"]) == 64 for file in result.data["files"])
    assert result.settings["reading"]["positive_score"] == 0.8
    assert result.settings["reading"]["sources"] == ("s",)
    assert result.settings["loading"]["precision"] == "auto"
