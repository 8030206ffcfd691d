from __future__ import annotations

import shutil

import numpy as np
import pytest

import reference
from eci.errors import EncoderError
from eci.models import bundled
from eci.models.cache import temporary_cache
from eci.models.cached import CachedEncoder
from eci.models.sentence_transformer import ModelOptions, SentenceTransformerEncoder
from eci.scoring import score
from fakes import examples_of, make_rows

pytestmark = pytest.mark.model
pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")

TEXTS = [
    "short",
    "a somewhat longer text about retrieval",
    "words " * 300,
    "",
    "Ünïcödé 東京 \u202e rtl",
    "x" * 3000,
]


@pytest.fixture(scope="module")
def encoder():
    return SentenceTransformerEncoder.load(options=ModelOptions(precision="float32"))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_float32_vectors_are_those_of_sentence_transformers(encoder):
    assert np.allclose(encoder.encode_document(TEXTS), encoder.model.encode(TEXTS), atol=1e-6)


def test_bfloat16_vectors_are_near_and_float32(encoder):
    reduced = SentenceTransformerEncoder(encoder.model, "m", "bfloat16").encode_document(TEXTS)
    assert reduced.dtype == np.float32
    cosine = (unit(reduced) * unit(encoder.model.encode(TEXTS))).sum(axis=1)
    assert cosine.min() > 0.9995
    assert not np.array_equal(reduced, encoder.model.encode(TEXTS))


def test_plan_is_longest_first_bounded_by_tokens_and_complete(encoder):
    texts = [f"{'word ' * n}{n}" for n in range(1, 400, 3)]
    plan = encoder.plan(texts)
    lengths = np.minimum(
        encoder.model.max_seq_length, [len(encoder.model.tokenizer(t)["input_ids"]) for t in texts]
    )
    assert sorted(i for batch in plan for i in batch) == list(range(len(texts)))
    longest = [lengths[batch].max() for batch in plan]
    assert longest == sorted(longest, reverse=True)
    assert all(len(batch) * lengths[batch].max() <= encoder.batch_tokens for batch in plan)


def test_plan_of_what_is_left_is_the_rest_of_the_plan(encoder):
    texts = [f"{'word ' * (n % 50)}{n}" for n in range(200)]
    plan = encoder.plan(texts)
    left = [i for batch in plan[2:] for i in batch]
    again = encoder.plan([texts[i] for i in left])
    assert [[left[i] for i in batch] for batch in again] == [list(batch) for batch in plan[2:]]


def changed(model_options=None, precision="float32", prepare=None):
    loaded = SentenceTransformerEncoder.load(
        options=ModelOptions(precision=precision, **(model_options or {}))
    )
    if prepare:
        prepare(loaded.model)
        loaded = SentenceTransformerEncoder(loaded.model, "m", precision)
    return loaded


def nudge(model):
    next(model.parameters()).data[0, 0] += 1e-3


def test_fingerprint_is_stable_and_survives_encoding(encoder):
    before = encoder.fingerprint("query")
    encoder.encode_query(TEXTS)
    assert encoder.fingerprint("query") == before
    assert changed().fingerprint("query") == before


def test_roles_share_vectors_unless_a_prompt_tells_them_apart(encoder):
    assert encoder.fingerprint("query") == encoder.fingerprint("document")
    prompted = changed({"prompts": {"query": "query: "}})
    assert prompted.fingerprint("query") != prompted.fingerprint("document")


@pytest.mark.parametrize(
    ("options", "precision", "prepare"),
    [
        ({"prompts": {"query": "query: "}}, "float32", None),
        ({"truncate_dim": 64}, "float32", None),
        ({"max_seq_length": 16}, "float32", None),
        ({}, "bfloat16", None),
        ({}, "float32", nudge),
        ({}, "float32", lambda model: model.__setitem__(1, type(model[1])(384, "cls"))),
    ],
)
def test_whatever_changes_vectors_changes_the_fingerprint(encoder, options, precision, prepare):
    assert changed(options, precision, prepare).fingerprint("query") != encoder.fingerprint("query")


def test_options_reach_the_model():
    loaded = changed({"prompts": {"query": "query: "}, "truncate_dim": 64, "max_seq_length": 16})
    described = loaded.describe()
    assert described["dimension"] == loaded.encode_query(["x"]).shape[1] == 64
    assert described["max_seq_length"] == 16
    assert described["prompts"]["query"] == "query: "
    assert not np.allclose(loaded.encode_query(["x"]), loaded.encode_document(["x"]))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-3)])
def test_scores_equal_a_loop_over_sentence_transformers_vectors(encoder, precision, tolerance):
    rows = make_rows(12, {"bm25": 5, "dense": 2})
    vectors = {}
    for row in rows:
        for text in [row["query"], *(d["text"] for d in row["positives"] + row["negatives"])]:
            if text not in vectors:
                vectors[text] = encoder.model.encode(text)
    with temporary_cache() as cache:
        planned = SentenceTransformerEncoder(encoder.model, "m", precision)
        result = score(examples_of(rows), CachedEncoder(planned, cache))
    for source in ("bm25", "dense"):
        positive, negative = [], []
        for row in rows:
            query = vectors[row["query"]]
            positive.append([reference.cosine(query, vectors[d["text"]]) for d in row["positives"]])
            negative.append(
                [
                    reference.cosine(query, vectors[d["text"]])
                    for d in row["negatives"]
                    if d["source"] == source
                ]
            )
        expected = reference.metrics(positive, negative)
        for name in (
            "eci",
            "eci_query",
            "eci_mean_margin",
            "signal",
            "margin_max",
            "margin_mean",
            "efficiency",
        ):
            assert result[source].values[name].value == pytest.approx(expected[name], abs=tolerance), name


def test_other_similarities_are_refused(encoder):
    model = changed().model
    model.similarity_fn_name = "euclidean"
    with pytest.raises(EncoderError, match="compares by 'euclidean'.* cosine or dot"):
        SentenceTransformerEncoder(model, "m")


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(EncoderError, match="cannot be loaded .* Expected a folder or a hub name"):
        SentenceTransformerEncoder.load(str(tmp_path))


def test_a_name_that_cannot_be_on_the_hub_is_refused():
    with pytest.raises(EncoderError, match=r"'no such model!'.*all-MiniLM-L6-v2, which is embedded"):
        SentenceTransformerEncoder.load("no such model!")


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_an_empty_name_is_not_the_folder_of_the_process(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderError, match=r"^The name of a model is empty\. Give a folder"):
        SentenceTransformerEncoder.load(name)


def test_no_hub_reachable_is_told_quickly(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(EncoderError, match=r"'some/model' is no folder here .* the hub cannot be reached"):
        SentenceTransformerEncoder.load("some/model")


def test_a_folder_with_other_weights_is_not_the_embedded_default(tmp_path, monkeypatch):
    folder = tmp_path / bundled.NAME
    shutil.copytree(bundled.find(), folder)
    monkeypatch.chdir(tmp_path)
    assert bundled.find().resolve() == folder
    with (folder / "model.safetensors").open("ab") as weights:
        weights.write(b"\0")
    with pytest.raises(
        EncoderError, match=r"has sha256 [0-9a-f]{64}, expected 53aa51.*not the weights of all-MiniLM"
    ):
        SentenceTransformerEncoder.load()


def test_without_wheel_and_hub_the_default_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(bundled, "_WHEEL_MODULE", "no_such_wheel")
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *a, **k: (_ for _ in ()).throw(OSError("offline"))
    )
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info",
        lambda *a, **k: (_ for _ in ()).throw(ConnectionError("no network")),
    )
    with pytest.raises(EncoderError, match=r"ConnectionError: no network.*pip install 'eci\[offline\]'"):
        SentenceTransformerEncoder.load()


def test_a_sentence_transformer_is_itself_an_encoder(encoder):
    rows = examples_of(make_rows(6))
    plain = score(rows, encoder.model)
    with temporary_cache() as cache:
        cached = score(rows, CachedEncoder(encoder, cache))
    assert plain["bm25"].values["eci"].value == pytest.approx(cached["bm25"].values["eci"].value, abs=1e-5)
