"""Scores of real rows against naive loops over real vectors; needs ECI_DATA."""

from __future__ import annotations

import json

import numpy as np
import pytest

import eci
import reference
from eci.models.hashing import HashingEncoder

EXACT = ("eci", "eci_query", "eci_mean_margin", "signal", "margin_max", "margin_mean", "capacity", "efficiency",
         "arithmetic", "score_variance", "violation_rate", "violation_rate_95", "infonce_loss")  # fmt: skip


def loops(rows, vector):
    """The reference metrics of one source from (query, positives, negatives)."""
    positive = [[reference.cosine(vector(q), vector(d)) for d in p] for q, p, _ in rows]
    negative = [[reference.cosine(vector(q), vector(d)) for d in n] for q, _, n in rows]
    return reference.metrics(positive, negative)


@pytest.mark.model
@pytest.mark.parametrize("name", ["toy", "nli", "msmarco"])
def test_flagembedding_files_equal_a_loop_over_sentence_transformers(data, name):
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    from eci.models.sentence_transformer import SentenceTransformerEncoder

    file = data / "flagembedding" / f"{name}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    triples = [(row["query"], row["pos"], row["neg"]) for row in rows]
    model = SentenceTransformerEncoder.load().model
    texts = sorted({text for q, p, n in triples for text in (q, *p, *n)})
    vectors = dict(zip(texts, model.encode(texts), strict=True))
    expected = loops(triples, vectors.__getitem__)
    for precision, tolerance in (("float32", 1e-5), ("bfloat16", 2e-3)):
        result = eci.score(file, loading=eci.ModelOptions(precision=precision))[name]
        for metric in EXACT[:8]:
            assert result.values[metric].value == pytest.approx(expected[metric], abs=tolerance), (
                metric,
                precision,
            )
    if "neg_scores" in rows[0]:
        given = np.mean([np.mean(row["neg_scores"]) for row in rows])
        assert result.values["reranker_score"].value == pytest.approx(given, rel=1e-9)


@pytest.mark.parametrize(("collection", "split"), [("scifact", "train"), ("cranfield", "test")])
def test_a_beir_folder_with_two_runs_equals_a_loop(data, tmp_path, collection, split):
    home = data / collection
    corpus = [json.loads(line) for line in (home / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    text = {entry["_id"]: f"{entry['title']} {entry['text']}".strip() for entry in corpus}
    queries = {
        entry["_id"]: entry["text"]
        for entry in map(json.loads, (home / "queries.jsonl").read_text(encoding="utf-8").splitlines())
    }
    judged: dict[str, list[str]] = {}
    for line in (home / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            judged.setdefault(query, []).append(document)
    rng = np.random.default_rng(0)
    runs = {tag: {q: rng.choice(sorted(text), k, replace=False).tolist() for q in judged} for tag, k in
            (("one", 12), ("two", 5))}  # fmt: skip
    for tag, found in runs.items():
        # A run retrieves positives too; they must not count as negatives.
        found[next(iter(judged))][0] = judged[next(iter(judged))][0]
        lines = [
            f"{q} Q0 {d} {rank} {-rank} {tag}\n" for q, ds in found.items() for rank, d in enumerate(ds, 1)
        ]
        (tmp_path / f"{tag}.trec").write_text("".join(lines))

    encoder = HashingEncoder(48)
    kept: dict[str, np.ndarray] = {}

    def vector(string):
        if string not in kept:
            kept[string] = encoder.encode_query([string])[0]
        return kept[string]

    result = eci.score([home, tmp_path / "one.trec", tmp_path / "two.trec"], encoder)
    assert result.data["layout"] == "beir"
    assert result.data["queries"] == len(judged)
    for tag, found in runs.items():
        triples = [
            (
                queries[q],
                [text[d] for d in judged[q] if d in text],
                [text[d] for d in found[q] if d not in judged[q]],
            )
            for q in judged
        ]
        expected = loops(triples, vector)
        for metric in EXACT:
            # A tie within float32 may count on either side.
            tolerance = 1e-3 if metric.startswith("violation") else 1e-5
            assert result[tag].values[metric].value == pytest.approx(expected[metric], abs=tolerance), metric
