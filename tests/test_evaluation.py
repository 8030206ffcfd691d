"""Measures of runs against loops and ir-measures, evaluations as JSON, and ``eci evaluate``."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

from eci.errors import EciError, MissingDependency
from eci.models.hashing import HashingEncoder
from eci.validation import measures as measuring
from eci.validation.evaluation import Evaluation, evaluate_retrieval, evaluate_run
from eci.validation.judged import JudgedCollection
from eci.validation.retrieval import Run, search
from fakes import run_cli, sentence
from test_datasets_layouts import dump

ir_measures = pytest.importorskip("ir_measures", reason="the extra 'validate' is not installed")
pytest.importorskip("scipy", reason="the extra 'validate' is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 queries of sentences; their documents share words with them; grades 0, 1 and 2."""
    rng = np.random.default_rng(0)
    home = tmp_path_factory.mktemp("data") / "synthetic"
    (home / "qrels").mkdir(parents=True)
    queries = [sentence(rng, 6) for _ in range(30)]
    documents = [
        f"{query} {sentence(rng, 4)}" if place % 3 else sentence(rng, 8)
        for query in queries
        for place in range(5)
    ]
    dump(home / "corpus.jsonl", [{"_id": f"d{n}", "text": text} for n, text in enumerate(documents)])
    dump(home / "queries.jsonl", [{"_id": f"q{n}", "text": text} for n, text in enumerate(queries)])
    lines = ["query-id\tcorpus-id\tscore"]
    lines += [f"q{n // 5}\td{n}\t{rng.integers(0, 3)}" for n in range(150)] + ["q0\tgone\t2"]
    (home / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return home


@pytest.fixture(scope="module")
def collection(folder):
    return JudgedCollection.read(folder, "test")


def by_loops(grades, ranked):
    """Measures of one query by their definitions; trec_eval's gain is the grade itself."""
    gains = [max(0, grades.get(name, 0)) for name in ranked]
    ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)

    def dcg(values):
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(values[:10], start=1))

    first = next((rank for rank, gain in enumerate(gains[:10], start=1) if gain), None)
    return {
        "nDCG@10": dcg(gains) / dcg(ideal) if ideal else 0.0,
        "P@10": sum(gain > 0 for gain in gains[:10]) / 10,
        "R@100": sum(gain > 0 for gain in gains[:100]) / len(ideal) if ideal else 0.0,
        "RR@10": 1 / first if first else 0.0,
    }


def test_measures_equal_their_definitions(collection):
    encoder = HashingEncoder(32)
    found = evaluate_retrieval(encoder, collection)
    assert list(found.per_query) == list(found.measures) == ["nDCG@10", "P@10", "R@100", "RR@10"]
    run = search(encoder, collection)
    for query, results in run.results.items():
        expected = by_loops(collection.qrels[query], list(results))
        for name, value in expected.items():
            assert found.per_query[name][query] == pytest.approx(value, abs=1e-12), (name, query)
    for name, values in found.per_query.items():
        assert list(values) == list(collection.query_ids)
        assert found.measures[name].value == pytest.approx(np.mean(list(values.values())), abs=1e-12)
        assert 0 < found.measures[name].low < found.measures[name].value < found.measures[name].high
    assert (found.run, found.queries, found.encoder) == ("hashing-32", 30, encoder.describe())
    assert found.settings["depth"] == 100


def test_a_written_run_has_the_same_figures_for_everybody(collection, tmp_path):
    # Four dimensions: many documents have one cosine.
    encoder = HashingEncoder(4)
    found = evaluate_retrieval(encoder, collection)
    search(encoder, collection).write(tmp_path / "mine.trec")
    qrels = {query: dict(grades) for query, grades in collection.qrels.items()}
    names = [ir_measures.parse_measure(name) for name in found.measures]
    for entry in ir_measures.iter_calc(names, qrels, ir_measures.read_trec_run(str(tmp_path / "mine.trec"))):
        assert found.per_query[str(entry.measure)][entry.query_id] == entry.value
    again = evaluate_run(Run.read(tmp_path / "mine.trec", collection), collection)
    assert again.per_query == found.per_query
    assert again.measures == found.measures
    assert again.encoder == {}


def test_queries_without_results_or_relevant_documents_count_0(collection):
    some = collection.only(["q0", "q1"])
    grades = {"q0": {"d0": 1}, "q1": {"d5": 0}}
    judged = JudgedCollection(some.name, "test", some.query_ids, some.queries, some.documents, grades)
    found = evaluate_run(Run("mine", {"q0": {"d0": 1.0}}, 1), judged, measures=["AP", "RR@1", "nDCG@5"])
    for values in found.per_query.values():
        assert values == {"q0": 1.0, "q1": 0.0}
    assert found.notes == (
        "1 of 2 queries have no results, and count 0",
        "no query has more than 1 documents; nDCG@5 looks at more",
    )
    empty = evaluate_run(Run("mine", {}, 5), judged, measures=["AP", "RR@1"])
    assert [each.value for each in empty.measures.values()] == [0.0, 0.0]


def test_depth_is_100_or_the_largest_cutoff(collection):
    encoder = HashingEncoder(8)
    assert evaluate_retrieval(encoder, collection, measures=["R@120", "P@5"]).settings["depth"] == 120
    assert evaluate_retrieval(encoder, collection, measures=["AP"], depth=3).settings["depth"] == 3
    with pytest.raises(EciError, match=r"R@100 looks at more than 99 documents of a query"):
        evaluate_retrieval(encoder, collection, depth=99)


def test_names_are_those_of_ir_measures():
    assert list(map(str, measuring.parse(["MRR@10", "RR@10", "P(rel=2)@5", "AP"]))) == [
        "RR@10",
        "P(rel=2)@5",
        "AP",
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nDGC@10"], "'nDGC@10' is not a measure that ir-measures knows: measure not found: nDGC"),
        (["P"], "'P' is not a measure .* a parameter, such as the cutoff, is missing or unfit"),
        (["P@ten"], "'P@ten' is not a measure"),
        (["__import__('os')"], "is not a measure"),
        (["alpha_nDCG@10"], r"nothing that is installed computes alpha_nDCG@10\. Install .*pyndeval"),
        ([], "no measure is named"),
    ],
)
def test_unknown_measures_are_refused(names, message):
    with pytest.raises(EciError, match=message):
        measuring.parse(names)


def test_ir_measures_is_asked_for_by_the_name_of_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingDependency, match=r"Evaluation needs ir-measures.*eci\[validate\]"):
        measuring.parse(["AP"])


def test_json_round_trip(collection):
    found = evaluate_retrieval(HashingEncoder(8), collection.only(["q3"]))
    told = json.loads(found.to_json())
    assert told["schema"] == "eci.evaluation/1"
    assert told["measures"]["P@10"] == {"value": found.measures["P@10"].value, "low": None, "high": None}
    assert told["per_query"]["P@10"] == {"q3": found.measures["P@10"].value}
    assert told["settings"]["split"] == "test"
    assert [entry["name"] for entry in told["settings"]["files"]] == [
        "corpus.jsonl",
        "queries.jsonl",
        "test.tsv",
    ]
    again = Evaluation.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert math.isnan(again.measures["P@10"].low)
    assert repr(again) == repr(found)
    assert "over 1 queries" in repr(found)


@pytest.mark.parametrize("name", ["nDCG@0", "P@0", "R@-1", "RR(cutoff=0)", "AP(rel=2)@0"])
def test_cutoffs_below_1_are_refused_before_they_end_the_interpreter(name):
    with pytest.raises(
        EciError, match=r"looks at no document\. Give a cutoff of at least 1|is not a measure"
    ):
        measuring.parse([name])


@pytest.mark.parametrize("text", ['{"schema": "eci.score/1"}', "[]", '{"schema": "eci.evaluation/1"}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="schema"):
        Evaluation.from_json(text)


def test_command_compares_models_and_runs(folder, tmp_path, monkeypatch, capsys):
    output = tmp_path / "result.json"
    code, out, err = run_cli(
        monkeypatch, capsys, "evaluate", str(folder), "--model", "hashing", "--runs-to", str(tmp_path / "runs"),
        "-o", str(output),
    )  # fmt: skip
    assert code == 0, err
    assert "synthetic, test: 30 queries, 150 documents, 151 judgements" in out
    assert "± is half of a 95 % interval over queries" in out
    assert "difference" not in out
    written = tmp_path / "runs" / "hashing.trec"
    first = Evaluation.from_json(output.read_text())
    assert first.settings["command"].startswith("eci evaluate")
    weak = tmp_path / "weak.trec"
    weak.write_text("".join(written.read_text().splitlines(keepends=True)[::2]))
    code, out, err = run_cli(
        monkeypatch, capsys, "evaluate", str(folder), "--model", "hashing", "--run", str(written), "--run", str(weak),
        "--measure", "MRR@10", "--json",
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(out)
    assert [entry["run"] for entry in told["evaluations"]] == ["hashing", str(written), "weak"]
    assert told["measure"] == "RR@10"
    same, other, _ = told["differences"]
    assert (same["difference"], same["p"]) == (0.0, 1.0)
    values = [entry["measures"]["RR@10"]["value"] for entry in told["evaluations"]]
    assert other["difference"] == pytest.approx(values[2] - values[0], abs=1e-12)
    assert [entry["name"] for entry in told["evaluations"][2]["settings"]["files"]][-1] == "weak.trec"


def test_command_tells_better_from_worse_and_from_undecided(folder, tmp_path, monkeypatch, capsys):
    qrels = [line.split("\t") for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    relevant = {query: document for query, document, grade in qrels if int(grade) > 0}
    best = "".join(f"{query} {document} 1\n" for query, document in relevant.items())
    (tmp_path / "best.trec").write_text(best)
    (tmp_path / "none.trec").write_text("".join(f"{query} absent 1\n" for query in relevant))
    (tmp_path / "again.trec").write_text(best)
    runs = [part for name in ("best", "none", "again") for part in ("--run", str(tmp_path / f"{name}.trec"))]
    code, out, err = run_cli(monkeypatch, capsys, "evaluate", str(folder), *runs, "--measure", "RR@10")
    assert code == 0, err
    lines = {line.split()[0]: line for line in out.splitlines() if "…" in line}
    assert lines["none"].endswith("worse")
    assert lines["again"].endswith("undecided")
    assert "Holm over all 3 pairs" in out
    assert "· none: 30 of 30 entries are documents that the corpus lacks" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Nothing to evaluate: give a --model"),
        (["--model", "hashing", "--model", "hashing"], 2, "hashing is named twice"),
        (["--model", "hashing", "--measure", "P"], 1, "'P' is not a measure"),
        (["--model", "hashing", "--depth", "5"], 1, "R@100 looks at more than 5 documents"),
        (["--model", "hashing", "--split", "dev"], 1, "has no split 'dev'. It has: test"),
        (["--run", "{}/qrels/test.tsv", "--depth", "200"], 2, "Runs are evaluated as they are"),
        (["--run", "{}/qrels/test.tsv"], 1, "'score' must be a finite number"),
        (["--model", "hashing", "-o", "{}/absent/result.json"], 1, "does not exist"),
    ],
)
def test_command_refuses(folder, monkeypatch, capsys, arguments, code, message):
    given = [argument.format(folder) for argument in arguments]
    found, out, err = run_cli(monkeypatch, capsys, "evaluate", str(folder), *given)
    assert (found, out) == (code, "")
    assert message in err


def refused(monkeypatch, capsys, folder, *words):
    """What is told of a command that must not have searched."""

    def searched(*_, **__):
        raise AssertionError("searched")

    monkeypatch.setattr("eci.validation.retrieval.search", searched)
    monkeypatch.setattr("eci.models.loading.prepared_encoder", searched)
    code, out, err = run_cli(monkeypatch, capsys, "evaluate", str(folder), *words)
    assert out == ""
    return code, " ".join(err.split())


def test_runs_that_would_be_one_file_are_refused_before_a_search(folder, tmp_path, monkeypatch, capsys):
    there = tmp_path / "runs"
    words = ["--model", "a b", "--model", "x", "--model", "a-b", "--runs-to", str(there)]
    code, err = refused(monkeypatch, capsys, folder, *words)
    assert code == 2
    assert "The runs of 'a b' and 'a-b' would be one file" in err
    assert not there.exists()
    there.mkdir()
    run = there / "hashing.trec"
    run.write_text("q0 d0 1\n")
    words = ["--model", "hashing", "--run", str(run), "--runs-to", str(there)]
    code, err = refused(monkeypatch, capsys, folder, *words)
    assert code == 2
    assert "is given as --run, and would be replaced" in err
    assert run.read_text() == "q0 d0 1\n"


def test_a_place_for_runs_that_cannot_be_is_told_before_a_search(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    words = ["--model", "hashing", "--runs-to"]
    code, err = refused(monkeypatch, capsys, folder, *words, str(tmp_path / "file" / "runs"))
    assert code == 1
    assert f"{tmp_path}/file is a file, and runs go into a folder. Give another --runs-to" in err
    assert refused(monkeypatch, capsys, folder, *words, str(tmp_path / "file"))[0] == 2
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path)
    code, err = refused(monkeypatch, capsys, folder, *words, str(tmp_path / "a" / "b"))
    assert code == 1
    assert f"{tmp_path} may not be written to" in err


def test_ids_that_a_run_cannot_hold_are_told_before_a_search(folder, tmp_path, monkeypatch, capsys):
    queries, qrels = folder / "queries.jsonl", folder / "qrels" / "test.tsv"
    name = json.loads(queries.read_text().split("\n", 1)[0])["_id"]
    queries.write_text(queries.read_text().replace(f'"{name}"', '"a b"'))
    qrels.write_text(qrels.read_text().replace(f"\n{name}\t", "\na b\t"))
    code, err = refused(
        monkeypatch, capsys, folder, "--model", "hashing", "--runs-to", str(tmp_path / "runs")
    )
    assert code == 1
    assert "cannot hold the id 'a b'" in err
    assert not (tmp_path / "runs").exists()


def test_cranfield_keeps_answers_that_share_a_number_with_their_query(data):
    collection = JudgedCollection.read(data / "cranfield")
    assert not (collection.itself >= 0).any()
    assert any(note.startswith("225 queries share their id") for note in collection.notes)
    some = collection.only(collection.query_ids[:40])
    found = evaluate_retrieval(HashingEncoder(64), some)
    run = search(HashingEncoder(64), some)
    for query, results in run.results.items():
        expected = by_loops(some.qrels[query], list(results))
        assert {name: values[query] for name, values in found.per_query.items()} == pytest.approx(
            expected, abs=1e-12
        )


@pytest.mark.model
def test_a_sentence_transformer_is_evaluated_as_it_is_and_without_a_cache(collection, own_cache):
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    from eci.models.loading import prepared_encoder
    from eci.models.sentence_transformer import ModelOptions, SentenceTransformerEncoder

    model = SentenceTransformerEncoder.load().model
    direct = evaluate_retrieval(model, collection)
    with prepared_encoder(model, ModelOptions("float32"), cache=False) as encoder:
        prepared = evaluate_retrieval(encoder, collection)
    assert not own_cache.exists()
    assert prepared.encoder["precision"] == "float32"
    for name, estimate in prepared.measures.items():
        assert direct.measures[name].value == pytest.approx(estimate.value, abs=0.01), name
