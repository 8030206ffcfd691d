"""Vectors that were computed elsewhere, as an encoder."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import eci
from eci.errors import EncoderError
from eci.metrics import OF_SUMS
from eci.models.hashing import HashingEncoder
from eci.models.loading import prepared_encoder
from eci.models.precomputed import PrecomputedEncoder
from fakes import make_rows, run_cli

ENCODER = HashingEncoder(32)


def tensors(path, matrix, dtype, name="vectors"):
    """A safetensors file, byte by byte as its format says."""
    data = matrix.tobytes()
    header = {
        "__metadata__": {"of": "a test"},
        name: {"dtype": dtype, "shape": list(matrix.shape), "data_offsets": [0, len(data)]},
    }
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    path.write_bytes(len(told).to_bytes(8, "little") + told + data)


@pytest.fixture(scope="module")
def rows():
    return make_rows(40, {"bm25": 4, "dense": 3})


@pytest.fixture
def folder(rows, tmp_path):
    made = tmp_path / "vectors"
    made.mkdir()
    queries = [row["query"] for row in rows]
    documents = sorted(
        {entry["text"] for row in rows for side in ("positives", "negatives") for entry in row[side]}
    )
    for name, texts in (("queries", queries), ("corpus", documents)):
        pq.write_table(
            pa.table({"id": [f"{name}{n}" for n in range(len(texts))], "text": list(map(str, texts))}),
            made / f"{name}.parquet",
        )
        np.save(made / f"{name}.npy", ENCODER.encode_query(texts))
    return made


def test_scores_are_those_of_the_encoder_that_made_the_vectors(rows, folder):
    found, expected = eci.score(rows, str(folder)), eci.score(rows, ENCODER)
    for source in expected.sources:
        for name in OF_SUMS:
            assert vars(found[source.source].values[name]) == pytest.approx(
                vars(source.values[name]), abs=1e-6, nan_ok=True
            )
    assert found.encoder["name"] == "vectors"
    assert found.encoder["dimension"] == 32
    assert set(found.encoder["vectors_blake2b"]) == {"queries", "corpus"}


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
def test_half_precision_is_read_as_it_was_rounded(rows, folder, kind):
    whole = {name: np.load(folder / f"{name}.npy") for name in ("queries", "corpus")}
    for name, matrix in whole.items():
        if kind == "float16":
            np.save(folder / f"{name}.npy", matrix.astype(np.float16))
            continue
        (folder / f"{name}.npy").unlink()
        upper = (matrix.view(np.uint32) >> 16).astype(np.uint16)
        tensors(
            folder / f"{name}.safetensors",
            upper if kind == "bfloat16" else matrix,
            {"bfloat16": "BF16", "float32": "F32"}[kind],
        )
    encoder = PrecomputedEncoder.load(str(folder))
    vectors = encoder.encode_query([row["query"] for row in rows])
    assert vectors.dtype == np.float32
    expected = {
        "float16": whole["queries"].astype(np.float16).astype(np.float32),
        "bfloat16": (whole["queries"].view(np.uint32) & 0xFFFF0000).view(np.float32),
        "float32": whole["queries"],
    }[kind]
    assert np.array_equal(vectors, expected)
    assert encoder.describe()["precision"] == kind


def test_titles_are_joined_as_encoders_see_them(folder):
    table = pa.table({"title": ["Fox", "", None], "text": ["runs", " sleeps", "eats"]})
    pq.write_table(table, folder / "corpus.parquet")
    np.save(folder / "corpus.npy", np.eye(3, dtype=np.float32))
    found = PrecomputedEncoder.load(str(folder)).encode_document(["eats", "Fox runs", " sleeps"])
    assert found.argmax(axis=1).tolist() == [2, 0, 1]


def test_a_text_without_a_vector_is_named(rows, folder):
    encoder = PrecomputedEncoder.load(str(folder))
    with pytest.raises(
        EncoderError, match=r"corpus\.npy: has no vector for 2 of 3 texts, first for 'not there'"
    ):
        encoder.encode_document(["not there", str(rows[0]["negatives"][0]["text"]), "nor here"])
    with pytest.raises(EncoderError, match="has no vector for 1 of 1 texts"):
        encoder.encode_document([str(rows[0]["query"])])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: (f / "queries.npy").unlink(), "holds 0 files of the vectors of queries"),
        (lambda f: (f / "corpus.safetensors").write_bytes(b""), "holds 2 files of the vectors of corpus"),
        (lambda f: (f / "corpus.parquet").unlink(), "corpus.parquet: is missing"),
        (lambda f: (f / "corpus.parquet").write_bytes(b"no"), "no Parquet file"),
        (lambda f: pq.write_table(pa.table({"id": ["a"]}), f / "corpus.parquet"), "has no column 'text'"),
        (
            lambda f: pq.write_table(pa.table({"text": ["a"]}), f / "corpus.parquet"),
            "vectors for the 1 texts",
        ),
        (lambda f: (f / "corpus.npy").write_bytes(b"no"), "is no matrix that can be read"),
        (lambda f: np.save(f / "corpus.npy", np.zeros((2, 3))), "holds float64 of shape"),
        (lambda f: np.save(f / "corpus.npy", np.zeros(3, dtype=np.float32)), "holds float32 of shape"),
        (
            lambda f: np.save(f / "corpus.npy", np.array([{}], dtype=object), allow_pickle=True),
            "is no matrix",
        ),
    ],
)
def test_what_is_no_folder_of_vectors_says_what_is_wrong(folder, change, told):
    change(folder)
    with pytest.raises(EncoderError, match=told):
        PrecomputedEncoder.load(str(folder))


@pytest.mark.parametrize("cut", [0, 4, 12, -8])
def test_damaged_tensors_are_refused(folder, cut):
    matrix = np.load(folder / "corpus.npy")
    (folder / "corpus.npy").unlink()
    path = folder / "corpus.safetensors"
    tensors(path, matrix, "F32")
    path.write_bytes(path.read_bytes()[:cut] if cut else b"\xff" * 64)
    with pytest.raises(EncoderError, match="is no matrix that can be read"):
        PrecomputedEncoder.load(str(folder))


@pytest.mark.parametrize(("dtype", "why"), [("I64", "its tensor is I64"), ("F64", "its tensor is F64")])
def test_other_tensors_are_refused(folder, dtype, why):
    (folder / "corpus.npy").unlink()
    tensors(folder / "corpus.safetensors", np.zeros((3, 2)), dtype)
    with pytest.raises(EncoderError, match=why):
        PrecomputedEncoder.load(str(folder))


def test_the_command_takes_a_folder_of_vectors(rows, folder, tmp_path, monkeypatch, capsys):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    code, out, _ = run_cli(monkeypatch, capsys, "score", str(file), "--encoder", str(folder))
    assert code == 0
    assert "encoder vectors (float32)" in out
    code, _, err = run_cli(
        monkeypatch, capsys, "score", str(file), "--encoder", str(folder), "--truncate-dim", "8"
    )
    assert code == 1
    assert "Loading options are for models that are loaded by name" in err


@pytest.mark.extra("encode")
def test_a_folder_of_a_model_is_no_folder_of_vectors(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert not PrecomputedEncoder.is_folder(str(tmp_path))
    assert not PrecomputedEncoder.is_folder("all-MiniLM-L6-v2")
    with pytest.raises(EncoderError), prepared_encoder(str(tmp_path)):
        pass
