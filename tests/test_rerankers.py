from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.errors import EciError, EncoderError
from eci.models.batching import planned, token_lengths
from eci.models.cache import EmbeddingCache
from eci.models.cached import CachedReranker
from eci.models.cross_encoder import CrossEncoderReranker
from eci.models.late_interaction import LateInteractionReranker
from eci.models.loading import prepared_reranker
from eci.models.sentence_transformer import ModelOptions, SentenceTransformerEncoder
from fakes import WORDS, run_cli

pytest.importorskip("lmdb", reason="the extra 'encode' is not installed")

RNG = np.random.default_rng(3)
QUERIES = [" ".join(RNG.choice(WORDS, 1 + i % 6)) + f" {i}" for i in range(9)] + [""]
DOCUMENTS = [" ".join(RNG.choice(WORDS, 1 + 7 * i)) + f" {i}" for i in range(12)] + ["", "Ünïcödé 東京"]
PAIRS = np.array([(q, d) for q in range(len(QUERIES)) for d in range(len(DOCUMENTS))])
NO_PAIRS = np.empty((0, 2), dtype=np.int64)
FLOAT32 = ModelOptions(precision="float32")


class CountingReranker:
    """A planned reranker whose scores depend on the texts alone; it remembers every pair it was given."""

    def __init__(self, version: str = "1", batch: int = 10) -> None:
        self.version, self.batch = version, batch
        self.seen: list[tuple[str, str]] = []

    def fingerprint(self):
        return hashlib.blake2b(self.version.encode(), digest_size=16).digest()

    def describe(self):
        return {"name": f"counting-{self.version}"}

    def plan(self, queries, documents, pairs):
        order = sorted(range(len(pairs)), key=lambda i: (queries[pairs[i, 0]], documents[pairs[i, 1]]))
        return [np.array(order[i : i + self.batch]) for i in range(0, len(order), self.batch)]

    def score_batches(self, queries, documents, pairs):
        for batch in self.plan(queries, documents, pairs):
            texts = [(queries[q], documents[d]) for q, d in pairs[batch]]
            self.seen.extend(texts)
            yield batch, np.array([self.score(*each) for each in texts])

    def score(self, query, document):
        digest = hashlib.blake2b(f"{query}|{document}|{self.version}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") / 2**32


def texts_of(pairs):
    return [(QUERIES[q], DOCUMENTS[d]) for q, d in pairs]


# Batches


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), max_size=60), st.integers(1, 100))
def test_batches_are_complete_bounded_longest_first_and_forget_what_came_before(texts, tokens):
    lengths = np.array([length for length, _ in texts], dtype=np.int64)
    keys = [np.array([key for _, key in texts], dtype=np.uint64), np.arange(len(texts), dtype=np.uint64)]
    plan = planned(lengths, keys, tokens)
    assert sorted(i for batch in plan for i in batch) == list(range(len(texts)))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens
    order = [i for batch in plan for i in batch]
    assert order == sorted(order, key=lambda i: (-lengths[i], keys[0][i], i))
    left = np.array([i for batch in plan[1:] for i in batch], dtype=np.int64)
    again = planned(lengths[left], [key[left] for key in keys], tokens)
    assert [left[batch].tolist() for batch in again] == [batch.tolist() for batch in plan[1:]]


def test_a_model_without_a_limit_and_a_tokenizer_has_lengths_too():
    assert token_lengths(None, ["", "x" * 400], float("inf")).tolist() == [1, 101]
    assert token_lengths(None, ["", "x" * 400], 50).tolist() == [1, 50]


# Cross-encoders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cross-encoder with random weights on disk, saved by `make_cross_encoder`."""
    return make_cross_encoder(tmp_path_factory.mktemp("models") / "tiny")


def make_cross_encoder(path, labels=1):
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *map(str, range(100))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=labels,
        initializer_range=0.3,
    )
    path.mkdir()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(path)
    # As save_pretrained writes them, without its progress bar.
    model = BertForSequenceClassification(config)
    saved = {**config.to_dict(), "architectures": ["BertForSequenceClassification"]}
    (path / "config.json").write_text(json.dumps(saved))
    from safetensors.torch import save_file

    save_file(
        {name: each.contiguous() for name, each in model.state_dict().items()}, path / "model.safetensors"
    )
    return path


@pytest.fixture(scope="module")
def shared(folder):
    """The cross-encoder, for tests that leave it as it is."""
    return CrossEncoderReranker.load(str(folder), FLOAT32)


@pytest.fixture
def reranker(folder):
    loaded = CrossEncoderReranker.load(str(folder), FLOAT32)
    loaded.batch_tokens = 200
    return loaded


def test_scores_are_those_of_predict(reranker):
    expected = reranker.model.predict(texts_of(PAIRS))
    scores = reranker.score_pairs(QUERIES, DOCUMENTS, PAIRS)
    assert scores.dtype == np.float64
    assert scores.std() > 0.01
    assert np.allclose(scores, expected, atol=1e-5)


def test_no_pairs_have_no_scores(reranker):
    assert reranker.score_pairs(QUERIES, DOCUMENTS, NO_PAIRS).shape == (0,)
    assert reranker.score_pairs([], [], NO_PAIRS).shape == (0,)


@settings(max_examples=6, deadline=None)
@given(chosen=st.lists(st.integers(0, len(PAIRS) - 1), unique=True, min_size=1, max_size=30))
def test_what_else_is_in_the_batch_does_not_matter(shared, chosen):
    alone = shared.score_pairs(QUERIES, DOCUMENTS, PAIRS[chosen])
    assert np.allclose(alone, shared.score_pairs(QUERIES, DOCUMENTS, PAIRS)[chosen], atol=1e-5)


def test_all_queries_share_one_stream_of_bounded_batches_longest_first(reranker):
    tokens = [len(reranker.model.tokenizer(*each)["input_ids"]) for each in texts_of(PAIRS)]
    lengths = np.minimum(64, tokens)
    batches = [batch for batch, _ in reranker.score_batches(QUERIES, DOCUMENTS, PAIRS)]
    longest = [lengths[batch].max() for batch in batches]
    assert longest == sorted(longest, reverse=True)
    assert all(len(batch) * lengths[batch].max() <= 200 for batch in batches)
    assert len({query for query, _ in PAIRS[batches[-1]]}) > 1
    assert max(tokens) > 64


def test_bfloat16_scores_are_near_and_not_rounded_to_8_bits(folder):
    import torch

    exact = CrossEncoderReranker.load(str(folder), FLOAT32)
    reduced = CrossEncoderReranker(exact.model, "m", "bfloat16")
    found = reduced.score_pairs(QUERIES, DOCUMENTS, PAIRS)
    expected = exact.score_pairs(QUERIES, DOCUMENTS, PAIRS)
    assert not np.array_equal(found, expected)
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = exact.model.predict(texts_of(PAIRS))
    assert len(set(found)) > 1.5 * len(set(plain.tolist()))


def test_several_labels_are_refused(tmp_path):
    path = make_cross_encoder(tmp_path / "nli", labels=3)
    with pytest.raises(EncoderError, match=r"nli gives 3 numbers a pair.*trained with num_labels=1"):
        CrossEncoderReranker.load(str(path))


@pytest.mark.model
def test_an_encoder_is_no_cross_encoder():
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    from eci.models import bundled

    with pytest.raises(
        EncoderError, match=r"no trained scoring layer \(it was saved as BertModel\).*late-inter"
    ):
        CrossEncoderReranker.load(str(bundled.find()))


def test_a_score_that_is_no_number_names_its_pair(reranker):
    import torch

    number = reranker.model.tokenizer.convert_tokens_to_ids("corpus")
    with torch.no_grad():
        reranker.model.model.bert.embeddings.word_embeddings.weight[number] = torch.nan
    queries, documents = ["rank title", "loss"], ["a batch", "the corpus of " + "text " * 50]
    pairs = np.array([(0, 0), (1, 1), (1, 0)])
    message = (
        r"non-finite score for 1 of 1 pairs, first for the query 'loss' and the document 'the corpus of .*…'"
    )
    reranker.batch_tokens = 1
    with pytest.raises(EncoderError, match=message):
        reranker.score_pairs(queries, documents, pairs)
    assert np.isfinite(reranker.score_pairs(queries, documents, pairs[[0, 2]])).all()


def test_everything_that_decides_a_score_is_described(folder):
    options = ModelOptions(precision="bfloat16", max_seq_length=32)
    described = CrossEncoderReranker.load(str(folder), options).describe()
    assert len(described.pop("weights_blake2b")) == 32
    assert sorted(described.pop("versions")) == ["sentence-transformers", "torch", "transformers"]
    assert described == {
        "name": "tiny",
        "architecture": "BertForSequenceClassification",
        "activation": "torch.nn.modules.activation.Sigmoid",
        "max_seq_length": 32,
        "prompt": "",
        "precision": "bfloat16",
    }


def test_the_limit_is_obeyed(folder):
    loaded = CrossEncoderReranker.load(str(folder), ModelOptions(precision="float32", max_seq_length=8))
    scores = loaded.score_pairs(
        ["rank"], ["text text text text text", "text " * 30], np.array([(0, 0), (0, 1)])
    )
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def changes():
    from tokenizers import normalizers
    from torch.nn import LeakyReLU

    lower = normalizers.Lowercase()
    return {
        "weights": lambda model: nudge(next(model.parameters())),
        "activation": lambda model: setattr(model, "activation_fn", LeakyReLU(0.1)),
        "activation of the same name": lambda model: setattr(model, "activation_fn", LeakyReLU(0.2)),
        "configuration": lambda model: setattr(model.config, "layer_norm_eps", 1e-3),
        "tokenizer": lambda model: setattr(model.tokenizer.backend_tokenizer, "normalizer", lower),
    }


def nudge(parameter):
    parameter.data[0, 0] += 1e-3


def test_whatever_changes_scores_changes_the_fingerprint(folder):
    found = [CrossEncoderReranker.load(str(folder), FLOAT32).fingerprint()]
    for options in (ModelOptions(precision="float32", max_seq_length=32), ModelOptions(precision="bfloat16")):
        found.append(CrossEncoderReranker.load(str(folder), options).fingerprint())
    for change in changes().values():
        model = CrossEncoderReranker.load(str(folder), FLOAT32).model
        change(model)
        found.append(CrossEncoderReranker(model, "tiny", "float32").fingerprint())
    assert len(set(found)) == 8


def test_neither_name_nor_work_changes_the_fingerprint(folder, reranker):
    before = reranker.fingerprint()
    reranker.score_pairs(QUERIES, DOCUMENTS, PAIRS[:5])
    assert reranker.fingerprint() == before
    assert CrossEncoderReranker(reranker.model, "another name", "float32").fingerprint() == before


@pytest.mark.parametrize("options", [ModelOptions(truncate_dim=8), ModelOptions(prompts={"query": "q: "})])
def test_options_of_encoders_are_refused(folder, options):
    with pytest.raises(
        EncoderError, match=r"truncate_dim and prompts are options of encoders.*Leave them out"
    ):
        CrossEncoderReranker.load(str(folder), options)


# Late interaction


@pytest.fixture(scope="module")
def late(folder):
    """MaxSim over the transformer of the cross-encoder."""
    return LateInteractionReranker.load(str(folder), FLOAT32)


@pytest.fixture(scope="module")
def embedded():
    """MaxSim over the embedded default."""
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    return LateInteractionReranker.load(options=FLOAT32)


def naive_maxsim(model, pairs):
    """Mean over the query's tokens of the largest cosine, each text encoded alone."""
    asked, held = (
        {text: function(text, output_value="token_embeddings").float().numpy() for text in set(texts)}
        for function, texts in zip(
            (model.encode_query, model.encode_document), zip(*texts_of(pairs), strict=True), strict=True
        )
    )
    scores = []
    for query, document in texts_of(pairs):
        best = []
        for one in asked[query]:
            lengths = [np.linalg.norm(one) * np.linalg.norm(other) for other in held[document]]
            best.append(
                max(one @ other / length for other, length in zip(held[document], lengths, strict=True))
            )
        scores.append(sum(best) / len(best))
    return scores


def test_maxsim_equals_a_loop_over_token_vectors(late, monkeypatch):
    expected = naive_maxsim(late.encoder.model, PAIRS)
    assert np.std(expected) > 0.01
    for at_once in (3, 1 << 14):
        monkeypatch.setattr("eci.models.late_interaction._TOKENS_AT_ONCE", at_once)
        assert np.allclose(late.score_pairs(QUERIES, DOCUMENTS, PAIRS), expected, atol=1e-5)


@pytest.mark.model
def test_maxsim_over_the_embedded_encoder_equals_the_loop(embedded):
    pairs = PAIRS[[3, 40, 97, 139]]
    expected = naive_maxsim(embedded.encoder.model, pairs)
    assert np.allclose(embedded.score_pairs(QUERIES, DOCUMENTS, pairs), expected, atol=1e-5)


@settings(max_examples=6, deadline=None)
@given(chosen=st.lists(st.integers(0, len(PAIRS) - 1), unique=True, min_size=1, max_size=30))
def test_what_else_is_compared_does_not_matter(late, chosen):
    alone = late.score_pairs(QUERIES, DOCUMENTS, PAIRS[chosen])
    assert np.allclose(alone, late.score_pairs(QUERIES, DOCUMENTS, PAIRS)[chosen], atol=1e-5)


def test_bfloat16_maxsim_is_near(late):
    encoder = SentenceTransformerEncoder(late.encoder.model, "m", "bfloat16")
    found, expected = (
        each.score_pairs(QUERIES, DOCUMENTS, PAIRS[::3]) for each in (LateInteractionReranker(encoder), late)
    )
    assert np.allclose(found, expected, atol=1e-2)
    assert not np.array_equal(found, expected)


def test_a_text_is_nearest_to_itself_and_the_scale_is_a_cosine(late):
    scores = late.score_pairs(DOCUMENTS, DOCUMENTS, np.array([(i, j) for i in range(14) for j in range(14)]))
    scores = scores.reshape(14, 14)
    assert np.allclose(np.diag(scores), 1, atol=1e-5)
    assert (scores < 1 + 1e-5).all()
    assert (scores.argmax(axis=1) == np.arange(14)).all()


def test_each_text_is_encoded_once_a_call_also_through_the_cache(late, monkeypatch, own_cache):
    seen = {"query": [], "document": []}
    for role, texts in seen.items():
        counted = counting(late.encoder.model, role, texts)
        monkeypatch.setattr(late.encoder.model, f"encode_{role}", counted)
    monkeypatch.setattr(late.encoder, "batch_tokens", 100)
    pairs = PAIRS[(PAIRS[:, 0] != 4) & (PAIRS[:, 1] < 7)]
    opened = EmbeddingCache()
    cached = CachedReranker(late, opened).score_pairs(QUERIES, DOCUMENTS, pairs)
    assert sorted(seen["document"]) == sorted(DOCUMENTS[:7])
    assert sorted(seen["query"]) == sorted(set(QUERIES) - {QUERIES[4]})
    assert np.allclose(cached, late.score_pairs(QUERIES, DOCUMENTS, pairs), atol=1e-6)
    opened.close()


def counting(model, role, seen):
    function = getattr(model, f"encode_{role}")

    def count(texts, **options):
        seen.extend(texts)
        return function(texts, **options)

    return count


def test_batches_hold_documents_with_all_their_queries(late, monkeypatch):
    monkeypatch.setattr(late.encoder, "batch_tokens", 100)
    pairs = PAIRS[PAIRS[:, 1] < 6]
    parts = [set(pairs[batch, 1]) for batch, _ in late.score_batches(QUERIES, DOCUMENTS, pairs)]
    assert len(parts) > 1
    assert sum(map(len, parts)) == len(set.union(*parts)) == 6


def test_no_pairs_have_no_maxsim(late):
    assert late.score_pairs(QUERIES, DOCUMENTS, NO_PAIRS).shape == (0,)


def test_what_the_encoder_is_decides_the_fingerprint(late, folder):
    again = LateInteractionReranker(SentenceTransformerEncoder(late.encoder.model, "m", "float32"))
    assert again.fingerprint() == late.fingerprint()
    reduced = SentenceTransformerEncoder(late.encoder.model, "m", "bfloat16")
    prompts = ModelOptions(precision="float32", prompts={"document": "text "})
    prompted = LateInteractionReranker.load(str(folder), prompts)
    others = [LateInteractionReranker(reduced).fingerprint(), prompted.fingerprint()]
    assert len({late.fingerprint(), *others, late.encoder.fingerprint("query")}) == 4
    assert late.describe()["name"] == "late-interaction:tiny"
    assert "largest cosine" in late.describe()["score"]


class Scripted:
    """Token vectors by hand, padded on the left: a word is a number of degrees."""

    name, precision = "scripted", "float32"

    def __init__(self) -> None:
        self.model = self
        self.device = SimpleNamespace(type="cpu")

    def plan(self, texts):
        return [np.arange(len(texts))]

    def encode_query(self, texts, **options):
        torch = pytest.importorskip("torch", reason="the extra 'encode' is not installed")
        width = max(1, *(len(text.split()) for text in texts)) + 1
        features = []
        for text in texts:
            angles = np.deg2rad([0.0 if word == "text" else float(word) for word in text.split()])
            vectors = np.zeros((width, 2))
            mask = np.arange(width) >= width - len(angles)
            vectors[mask] = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            vectors[~mask] = (1.0, 0.0)
            features.append({"token_embeddings": torch.tensor(vectors), "attention_mask": torch.tensor(mask)})
        return features

    encode_document = encode_query


def test_maxsim_by_hand():
    reranker = LateInteractionReranker(Scripted())
    scores = reranker.score_pairs(
        ["0 90", "60"], ["90", "180 120 60"], np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
    )
    assert scores == pytest.approx([0.5, (0.5 + np.sqrt(0.75)) / 2, 1.0, np.sqrt(0.75)], abs=1e-6)


@pytest.mark.parametrize(
    ("queries", "documents"), [(["0 90", ""], ["0"]), (["", "0"], ["0"]), (["0"], ["", "0"])]
)
def test_a_text_without_tokens_names_its_pair(queries, documents):
    pairs = np.array([(q, d) for q in range(len(queries)) for d in range(len(documents))])
    with pytest.raises(EncoderError, match=r"non-finite score for 1 of 2 pairs.*''"):
        LateInteractionReranker(Scripted()).score_pairs(queries, documents, pairs)


def test_a_model_without_tokens_is_refused(folder):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    words = StaticEmbedding(Tokenizer.from_file(str(folder / "tokenizer.json")), embedding_dim=4)
    encoder = SentenceTransformerEncoder(SentenceTransformer(modules=[words]), "static")
    with pytest.raises(EncoderError, match=r"static \(StaticEmbedding\) gives no vectors of tokens"):
        LateInteractionReranker(encoder)


def test_shortened_vectors_are_refused():
    with pytest.raises(EncoderError, match="truncate_dim shortens vectors of texts.* Leave it out"):
        LateInteractionReranker.load(options=ModelOptions(truncate_dim=8))


@pytest.mark.model
def test_real_positives_come_before_other_documents(data, embedded):
    home = data / "scifact"
    lines = (home / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    text = {entry["_id"]: entry["text"] for entry in map(json.loads, lines)}
    queries = {
        entry["_id"]: entry["text"]
        for entry in map(json.loads, (home / "queries.jsonl").read_text(encoding="utf-8").splitlines())
    }
    judged = [row.split("\t") for row in (home / "qrels" / "train.tsv").read_text().splitlines()[1:13]]
    asked = [queries[query] for query, _, _ in judged]
    distinct = list(dict.fromkeys(document for _, document, _ in judged))
    pairs = np.array([(i, j) for i in range(len(asked)) for j in range(len(distinct))])
    scores = embedded.score_pairs(asked, [text[each] for each in distinct], pairs).reshape(len(asked), -1)
    hits = [scores[i].argmax() == distinct.index(judged[i][1]) for i in range(len(asked))]
    assert np.mean(hits) >= 0.9


# The cache


@pytest.fixture
def cache(own_cache):
    opened = EmbeddingCache()
    yield opened
    opened.close()


def test_each_distinct_pair_is_scored_once(cache):
    counted = CountingReranker()
    told = []
    cached = CachedReranker(counted, cache, lambda *state: told.append(state))
    asked = PAIRS[[2, 2, *range(30), 5, 0]]
    first = cached.score_pairs(QUERIES, DOCUMENTS, asked)
    assert sorted(counted.seen) == sorted(texts_of(PAIRS[:30]))
    assert first == pytest.approx([counted.score(*each) for each in texts_of(asked)])
    again = cached.score_pairs(QUERIES, DOCUMENTS, PAIRS[25:40])
    assert sorted(counted.seen) == sorted(texts_of(PAIRS[:40]))
    assert np.array_equal(again[:5], first[27:32])
    assert (cached.scored, cached.hits) == (40, 5)
    assert told[:4] == [("reranking pairs", done, 30) for done in (0, 10, 20, 30)]
    assert told[4:] == [("reranking pairs (5 more are cached)", done, 10) for done in (0, 10)]


def test_the_same_texts_at_other_places_are_the_same_pairs(cache):
    CachedReranker(CountingReranker(), cache).score_pairs(QUERIES, DOCUMENTS, PAIRS)
    fresh = CountingReranker()
    turned = CachedReranker(fresh, cache).score_pairs(
        QUERIES[::-1], DOCUMENTS[3:5], np.array([(0, 1), (9, 0)])
    )
    assert fresh.seen == []
    assert turned == pytest.approx(
        [fresh.score(QUERIES[-1], DOCUMENTS[4]), fresh.score(QUERIES[0], DOCUMENTS[3])]
    )


def test_query_and_document_are_no_pair_the_other_way_round(cache):
    cached = CachedReranker(CountingReranker(), cache)
    one, other = (cached.score_pairs([a], [b], np.array([(0, 0)])) for a, b in (("x", "y"), ("y", "x")))
    assert one != other


def test_another_reranker_never_sees_the_scores(cache):
    for version in "12":
        counted = CountingReranker(version)
        CachedReranker(counted, cache).score_pairs(QUERIES, DOCUMENTS, PAIRS[:20])
        assert len(counted.seen) == 20
    kinds = {entry["name"]: (entry["role"], entry["vectors"]) for entry in cache.info()["encoders"]}
    assert kinds == {"counting-1": ("pair", 20), "counting-2": ("pair", 20)}


def test_scores_do_not_depend_on_whether_they_were_cached(cache):
    cached = CachedReranker(CountingReranker(), cache)
    fresh = cached.score_pairs(QUERIES, DOCUMENTS, PAIRS)
    assert fresh.dtype == np.float64
    assert np.array_equal(cached.score_pairs(QUERIES, DOCUMENTS, PAIRS), fresh)


def test_no_pairs_ask_nobody(cache):
    assert CachedReranker(CountingReranker(), cache).score_pairs([], [], NO_PAIRS).shape == (0,)
    assert cache.info()["encoders"] == []


KILLED = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    from test_rerankers import DOCUMENTS, PAIRS, QUERIES, CachedReranker, CountingReranker, EmbeddingCache

    def progress(stage, done, total):
        if done >= 30:
            os.kill(os.getpid(), signal.SIGKILL)

    CachedReranker(CountingReranker(), EmbeddingCache(), progress).score_pairs(QUERIES, DOCUMENTS, PAIRS)
"""


def test_after_kill_9_exactly_the_missing_pairs_are_scored_as_planned(own_cache):
    code = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parent))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    opened, counted = EmbeddingCache(), CountingReranker()
    cached = CachedReranker(counted, opened)
    scores = cached.score_pairs(QUERIES, DOCUMENTS, PAIRS)
    plan = counted.plan(QUERIES, DOCUMENTS, PAIRS)
    assert counted.seen == [texts_of(PAIRS)[i] for batch in plan[3:] for i in batch]
    assert (cached.hits, cached.scored) == (30, len(PAIRS) - 30)
    assert scores == pytest.approx([counted.score(*each) for each in texts_of(PAIRS)])
    opened.close()


def test_unusable_scores_are_never_cached(cache):
    class Spoiled(CountingReranker):
        def score(self, query, document):
            return (
                np.inf if (query, document) == (QUERIES[2], DOCUMENTS[3]) else super().score(query, document)
            )

    with pytest.raises(EncoderError, match="non-finite score for 1 of 10 pairs, first for the query"):
        CachedReranker(Spoiled(), cache).score_pairs(QUERIES, DOCUMENTS, PAIRS)
    honest = CountingReranker()
    CachedReranker(honest, cache).score_pairs(QUERIES, DOCUMENTS, PAIRS)
    assert (QUERIES[2], DOCUMENTS[3]) in honest.seen


# By name


def test_a_folder_is_a_cross_encoder_and_its_scores_are_kept(folder, own_cache, monkeypatch, capsys):
    with prepared_reranker(str(folder), FLOAT32) as first:
        scores = first.score_pairs(QUERIES, DOCUMENTS, PAIRS[:20])
        assert first.describe()["name"] == "tiny"
    assert (own_cache / "data.mdb").exists()
    with prepared_reranker(str(folder), FLOAT32) as second:
        assert np.array_equal(second.score_pairs(QUERIES, DOCUMENTS, PAIRS[:20]), scores)
        assert (second.hits, second.scored) == (20, 0)
    code, out, _ = run_cli(monkeypatch, capsys, "cache", "info")
    assert (code, len(out.splitlines())) == (0, 2)
    assert re.search(r" 20  tiny, float32, 1 dimensions?, weights [0-9a-f]{8}$", out.splitlines()[1])


def test_without_a_cache_nothing_is_left(folder, own_cache):
    with prepared_reranker(str(folder), FLOAT32, cache=False) as prepared:
        assert np.isfinite(prepared.score_pairs(QUERIES, DOCUMENTS, PAIRS[:3])).all()
    assert not own_cache.exists()


@pytest.mark.model
def test_late_interaction_alone_is_over_the_embedded_encoder(embedded):
    told = []
    with prepared_reranker(loading=FLOAT32, progress=lambda stage, *counts: told.append(stage)) as prepared:
        assert prepared.describe() == embedded.describe()
        found = prepared.score_pairs(QUERIES, DOCUMENTS, PAIRS[:3])
    assert np.allclose(found, embedded.score_pairs(QUERIES, DOCUMENTS, PAIRS[:3]), atol=1e-5)
    assert told[:2] == ["loading late-interaction", "reranking pairs"]


def test_late_interaction_over_another_encoder(late, folder):
    with prepared_reranker(f"late-interaction:{folder}", FLOAT32) as prepared:
        assert prepared.describe() == late.describe()
        found = prepared.score_pairs(QUERIES, DOCUMENTS, PAIRS)
    assert np.allclose(found, late.score_pairs(QUERIES, DOCUMENTS, PAIRS), atol=1e-5)


def test_a_loaded_cross_encoder_is_wrapped(reranker):
    with prepared_reranker(reranker.model, FLOAT32) as prepared:
        found = prepared.score_pairs(QUERIES, DOCUMENTS, PAIRS[:6])
        assert prepared.describe()["name"] == "CrossEncoder"
    assert np.allclose(found, reranker.model.predict(texts_of(PAIRS[:6])), atol=1e-5)


def test_an_object_with_the_two_methods_is_used_as_it_is():
    own = SimpleNamespace(describe=dict, score_pairs=lambda queries, documents, pairs: np.zeros(len(pairs)))
    with prepared_reranker(own) as prepared:
        assert prepared is own
    with (
        pytest.raises(
            EciError, match="Loading options are for models that are loaded by name; this reranker"
        ),
        prepared_reranker(own, ModelOptions(device="cpu")),
    ):
        pass


def test_an_object_without_them_is_refused():
    with (
        pytest.raises(EciError, match="A reranker is a name, .* score_pairs and describe; got int"),
        prepared_reranker(7),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "no such model!",
            "'no such model!'.* or 'late-interaction' for token vectors of the embedded all-MiniLM",
        ),
        ("late-interaction:no such model!", "'no such model!'.*which is embedded"),
    ],
)
def test_a_name_that_cannot_be_on_the_hub_is_refused(name, said):
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    with pytest.raises(EncoderError, match=said), prepared_reranker(name):
        pass


def test_no_hub_reachable_is_told_quickly(monkeypatch):
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    asked = []

    def refuse(self, repository, **options):
        asked.append((repository, options["timeout"]))
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with (
        pytest.raises(EncoderError, match=r"'ms-marco' is no folder here .* the hub cannot be reached"),
        prepared_reranker("ms-marco"),
    ):
        pass
    assert asked == [("cross-encoder/ms-marco", 10)]
