from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from eci.errors import DataError, EciError
from fakes import run_cli, sentence

pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
pytest.importorskip("accelerate", reason="the extra 'train' is not installed")
pytest.importorskip("ir_measures", reason="the extra 'validate' is not installed")
pytest.importorskip("bm25s", reason="the extra 'mine' is not installed")

from eci.validation.cells import UNTRAINED, Bench
from eci.validation.experiment import NONE, Experiment
from eci.validation.running import validate


def beir(folder, queries=60, documents=150, seed=0):
    """A collection whose positives share words with their query; a test and a train split."""
    rng = np.random.default_rng(seed)
    asked = [sentence(rng, 4) for _ in range(queries)]
    texts = [f"{text} {sentence(rng, 4)}" for text in asked]
    texts += [sentence(rng, 8) for _ in range(documents - queries)]
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as out:
        for number, text in enumerate(texts):
            out.write(json.dumps({"_id": f"d{number}", "title": "", "text": text}) + "\n")
    with (folder / "queries.jsonl").open("w") as out:
        for number, text in enumerate(asked):
            out.write(json.dumps({"_id": f"q{number}", "text": text}) + "\n")
    half = queries * 2 // 3
    for split, places in (("train", range(half)), ("test", range(half, queries))):
        rows = "".join(f"q{n}\td{n}\t1\n" for n in places)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return folder


def tiny_model(folder):
    """A trainable model of word vectors in a folder; the encoder to fine-tune, in milliseconds."""
    from sentence_transformers import SentenceTransformer

    try:
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    except ImportError:  # before version 6
        from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    from fakes import WORDS

    words = ["[UNK]", "[PAD]", *WORDS, *map(str, range(10_000))]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((len(words), 24)).astype(np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu").save(
        str(folder)
    )
    return folder


PLAN = """
name = "tiny"
seeds = [1, 2]
judges = ["hashing"]

[model]
name = "{model}"

[training]
batch_size = 8
learning_rate = 0.01

[rows]
rows = 2

[tuning]
dev = 0.25
grid = {{ learning_rate = [0.01, 0.05] }}

[[collections]]
name = "one"
path = "$HERE/one"

[[sources]]
name = "random"
make = "mine random -k 4"

[[sources]]
name = "bm25"
make = "mine bm25 -k 4"

[[sources]]
name = "bm25+random"
make = "mix bm25 random --mode budget -k 4"

[[sources]]
name = "planted"
into = "bm25"
share = 0.5
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validate")
    beir(folder / "one")
    tiny_model(folder / "model")
    (folder / "plan.toml").write_text(PLAN.format(model=folder / "model"))
    return folder


@pytest.fixture(autouse=True)
def here(home, monkeypatch):
    monkeypatch.setenv("HERE", str(home))


@pytest.fixture(scope="module")
def done(home, tmp_path_factory):
    """The experiment, run once: the plan, its folder and its outcome."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HERE", str(home))
        patch.setenv("ECI_CACHE", str(folder / "cache"))
        experiment = Experiment.read(home / "plan.toml")
        return experiment, folder / "out", validate(experiment, folder / "out")


def of(done, source, seed):
    (one,) = done[2].compared
    return next(cell for cell in one.cells if (cell["source"], cell["seed"]) == (source, seed))


def test_every_cell_is_there_once_with_none_and_the_untrained_model_beside_the_sources(done):
    (one,) = done[2].compared
    told = [(cell["source"], cell["seed"]) for cell in one.cells]
    sources = (NONE, "random", "bm25", "bm25+random", "planted")
    assert sorted(told) == sorted((source, seed) for source in sources for seed in (1, 2))
    assert set(one.untrained) == {"one"}
    assert set(one.untrained["one"]) == {"nDCG@10", "P@10", "R@100", "RR@10"}
    assert {entry.measure for entry in one.agreements["target"]} == set(one.untrained["one"])
    assert list(one.agreements) == ["target", "hashing"]


def test_training_moved_the_model_and_seeds_differ(done):
    untrained = done[2].compared[0].untrained["one"]["nDCG@10"]
    figures = {seed: of(done, NONE, seed)["tests"]["one"]["nDCG@10"] for seed in (1, 2)}
    assert all(abs(value - untrained) > 1e-6 for value in figures.values())
    assert of(done, "bm25", 1)["loss"] != of(done, "bm25", 2)["loss"]


def test_tuning_takes_the_best_on_held_out_queries_and_the_cells_use_it(done):
    (one,) = done[2].compared
    assert [entry["settings"] for entry in one.tried] == [{"learning_rate": 0.01}, {"learning_rate": 0.05}]
    best = max(one.tried, key=lambda entry: entry["nDCG@10"])
    assert one.chosen == best["settings"]
    kept = [json.loads(path.read_text()) for path in (done[1] / "cells" / "one").glob("*-test-*.json")]
    rates = {cell["training"]["learning_rate"] for cell in kept if cell["source"] != UNTRAINED}
    assert rates == {one.chosen["learning_rate"]}


def test_held_out_queries_are_not_trained_on(done, home):
    experiment, folder, _ = done
    bench = Bench(experiment, experiment.collections[0], folder)
    assert bench.held_out.sum() == 10
    assert bench.used.sum() == 40
    dev = [json.loads(path.read_text()) for path in (folder / "cells" / "one").glob("none-s0-dev-*.json")]
    assert {cell["trained"]["rows"] for cell in dev} == {2 * 30}
    assert {cell["tests"]["dev"]["queries"] for cell in dev} == {10}
    assert of(done, NONE, 1)["rows"] == 2 * 40


def test_a_second_run_trains_nothing_and_tells_the_same(done):
    experiment, folder, found = done
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    again = validate(experiment, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")} == before
    assert again.to_json() == found.to_json()


def test_a_cell_trained_again_gives_the_same_figures(done):
    experiment, folder, _ = done
    bench = Bench(experiment, experiment.collections[0], folder)
    cell = bench.cell("planted", 2, bench.chosen)
    before = bench.kept(cell)
    bench.path(cell).unlink()
    after = bench.run(cell)
    assert after["tests"] == before["tests"]
    assert after["trained"]["loss"] == before["trained"]["loss"]


def test_what_decides_a_cell_is_in_its_name(done):
    experiment, folder, _ = done
    plan = experiment.collections[0]
    bench = Bench(experiment, plan, folder)
    cell = bench.cell("bm25", 1, {"learning_rate": 0.05})
    others = [
        bench.cell("bm25", 2, {"learning_rate": 0.05}),
        bench.cell("bm25", 1, {"learning_rate": 0.01}),
        bench.cell("bm25", 1, {"learning_rate": 0.05, "rows": 3}),
        bench.cell("planted", 1, {"learning_rate": 0.05}),
    ]
    harder = Bench(replace(experiment, hard_negatives=2), plan, folder)
    more = Bench(replace(experiment, model=replace(experiment.model, prompts={"query": "q: "})), plan, folder)
    names = [bench.path(each) for each in (cell, *others)]
    names += [harder.path(cell), more.path(cell)]
    assert len({path.name for path in names}) == len(names)
    # What in-batch negatives alone give does not depend on what the sources are trained with.
    from eci.training.finetune import Stopping

    early = Bench(replace(experiment, stopping=Stopping()), plan, folder)
    assert early.path(cell) not in names
    assert harder.path(harder.cell(NONE, 1, {})) == bench.path(bench.cell(NONE, 1, {}))


def test_the_cells_of_another_process_are_left_to_it(done, tmp_path):
    experiment, folder, _ = done
    copied = tmp_path / "out"
    shutil.copytree(folder, copied)
    bench = Bench(experiment, experiment.collections[0], copied)
    cell = bench.cell("bm25", 1, bench.chosen)
    path = bench.path(cell)
    path.unlink()
    from eci.atomic import held

    with held(path.parent / f".{path.name}.lock", path):
        assert bench.run(cell) is None
    assert bench.missing() == [cell]
    assert bench.run(cell) is not None
    assert bench.missing() == []


def test_two_processes_share_the_work(home, tmp_path, done):
    experiment = replace(done[0], seeds=(1,), judges=(), tuning=None)
    found = validate(experiment, tmp_path / "out", devices=("cpu", "cpu"))
    assert len(found.compared[0].cells) == 5
    assert found.compared[0].chosen == {}


def test_planted_positives_are_what_was_asked_for(done):
    from eci.datasets import read

    _, folder, _ = done
    (path,) = (folder / "sources" / "one").glob("planted-*.parquet")
    for row in (row for batch in read([path]) for row in batch.to_pylist()):
        right = {positive["text"] for positive in row["positives"]}
        planted = [negative["text"] in right for negative in row["negatives"]]
        assert sum(planted) == len(planted) / 2 == 2
        assert [json.loads(n["extra"] or "{}").get("planted", False) for n in row["negatives"]] == planted
        assert {negative["source"] for negative in row["negatives"]} == {"planted"}


def test_the_json_holds_what_the_tables_say(done):
    found = done[2]
    told = json.loads(found.to_json())
    assert told["schema"] == "eci.validation/1"
    assert told["experiment"]["name"] == "tiny"
    (one,) = told["collections"]
    assert one["seconds"]["training"] > 0
    assert set(one["seconds"]["scoring"]["target"]) == {"embedding", "score", "probe"}
    text = found.text()
    assert "Metrics under target" in text
    assert "Metrics under hashing" in text
    for source, value in one["agreements"]["target"][0]["measured"].items():
        assert f"{source} " in text
        assert f"{value['value']:.4f}" in text


def test_metrics_have_an_opinion_on_none_only_where_they_can(done):
    from eci.validation.scored import scored

    experiment, folder, _ = done
    bench = Bench(experiment, experiment.collections[0], folder)
    values = {entry.metric: entry for entry in scored(bench, "target").metrics()}
    assert values["eci"].values[NONE] == values["capacity"].values[NONE] == 0
    assert values["alignment_gain"].values[NONE] == 0
    assert values["alignment"].values[NONE] != 0
    assert 0 < values["probe"].values[NONE] <= 1
    assert NONE not in values["signal"].values
    assert not values["violation_rate"].more_is_better
    assert set(values["probe"].verdicts) == set(bench.sources)


def test_the_command_reads_a_plan_and_says_what_it_would_run(home, monkeypatch, capsys, tmp_path):
    code, out, _ = run_cli(
        monkeypatch, capsys, "validate", str(home / "plan.toml"), "-o", str(tmp_path / "out"), "--check"
    )
    assert code == 0
    assert "1 collection × 5 sources with none × 2 seeds: 10 training runs" in out
    assert "tuning with none: 2 training runs more" in out
    assert "planted: bm25, 50% planted" in out
    assert not (tmp_path / "out").exists()


def test_the_command_prints_tables_and_keeps_the_result(done, home, monkeypatch, capsys):
    experiment, folder, _ = done
    code, out, _ = run_cli(monkeypatch, capsys, "validate", str(home / "plan.toml"), "-o", str(folder))
    assert code == 0
    found = validate(experiment, folder)
    assert found.text() in out
    assert json.loads((folder / "result.json").read_text()) == json.loads(found.to_json())


BAD = {
    "training.learning_rate: .*'fast'": (
        "learning_rate = 0.01\n\n[rows]",
        'learning_rate = "fast"\n\n[rows]',
    ),
    "model.layers": ("[training]", "layers = 3\n[training]"),
    "sources: none is always there": ('name = "random"', 'name = "none"'),
    "sources: bm25 stands there twice": ('name = "random"', 'name = "bm25"'),
    "begins with mine or mix": ('make = "mine random -k 4"', 'make = "score x"'),
    "Give it one of make": ('make = "mine random -k 4"', ""),
    "'into' is a source further up": ('into = "bm25"', 'into = "dense"'),
    "share lies in": ("share = 0.5", "share = 1.5"),
    "becomes the name of a file": ('name = "one"', 'name = "../one"'),
    "tuning.grid: lr is no field": ("learning_rate = [0.01, 0.05]", "lr = [0.01]"),
    "seeds: 1 stands there twice": ("seeds = [1, 2]", "seeds = [1, 1]"),
    "seeds: there are none": ("seeds = [1, 2]", "seeds = []"),
    "is no TOML": ("[model]", "[model"),
    "collections.0.path": ('path = "$HERE/one"', ""),
}


@pytest.mark.parametrize("told", BAD)
def test_a_plan_that_is_wrong_is_refused_with_its_place(home, tmp_path, told):
    path = tmp_path / "plan.toml"
    before, after = BAD[told]
    text = (home / "plan.toml").read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(DataError, match=told) as error:
        Experiment.read(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_plan_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match=r"plan.toml: cannot be read: No such file"):
        Experiment.read(tmp_path / "plan.toml")


def test_a_source_that_cannot_be_made_names_itself_and_its_command(home, tmp_path):
    experiment = Experiment.read(home / "plan.toml")
    bad = replace(experiment.sources[0], make="mine nothing -k 4")
    with pytest.raises(EciError, match=r"source random of one: 'eci mine nothing .* failed: .*nothing"):
        Bench(replace(experiment, sources=(bad,)), experiment.collections[0], tmp_path / "out")


def test_an_unset_variable_is_told(home, tmp_path, monkeypatch):
    monkeypatch.delenv("HERE")
    experiment = Experiment.read(home / "plan.toml")
    with pytest.raises(DataError, match=r"\$HERE is not set in the environment"):
        Bench(experiment, experiment.collections[0], tmp_path / "out")


def test_drawn_training_queries_are_those_that_scoring_draws(home, tmp_path):
    experiment = Experiment.read(home / "plan.toml")
    plan = replace(experiment.collections[0], queries=12)
    sources = tuple(entry for entry in experiment.sources if entry.name == "random")
    bench = Bench(replace(experiment, sources=sources), plan, tmp_path / "out")
    whole = Bench(replace(experiment, sources=sources), experiment.collections[0], tmp_path / "whole")
    assert len(bench.examples.queries) == 12
    from eci.directions import drawn_order

    first = drawn_order(whole.examples.keys, 0)[:12]
    assert {whole.examples.labels[place] for place in first.tolist()} == set(bench.examples.labels)


@pytest.mark.parametrize("name", ["weak-start", "papers"])
def test_the_examples_are_plans(name, monkeypatch):
    from pathlib import Path

    monkeypatch.setenv("ECI_DATA", "/data")
    monkeypatch.setenv("BEIR", "/beir")
    experiment = Experiment.read(Path(__file__).parents[1] / "examples" / f"{name}.toml")
    assert experiment.name == name
    assert f"× {len(experiment.sources) + 1} sources with none × 3 seeds" in experiment.text()


def test_rows_of_ones_own_become_a_source_by_the_name_in_the_plan(home, tmp_path):
    from eci.datasets import read
    from eci.validation.experiment import SourcePlan

    rows = [
        {
            "query_id": "q0",
            "query": "a",
            "positives": [{"text": "b"}],
            "negatives": [{"source": "x", "text": "c"}],
        }
    ]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    experiment = Experiment.read(home / "plan.toml")
    source = SourcePlan("mine-own", rows=str(tmp_path / "{collection}.jsonl"))
    bench = Bench(replace(experiment, sources=(source,)), experiment.collections[0], tmp_path / "out")
    (row,) = (row for batch in read([bench.sources["mine-own"][0]]) for row in batch.to_pylist())
    assert row["negatives"][0]["source"] == "mine-own"
    gone = replace(source, rows=str(tmp_path / "gone.jsonl"))
    with pytest.raises(DataError, match=r"source mine-own: .*gone.jsonl: no such file"):
        Bench(replace(experiment, sources=(gone,)), experiment.collections[0], tmp_path / "out")


def test_test_queries_whose_answers_were_trained_on_are_told_apart(home, tmp_path):
    copied = tmp_path / "one"
    shutil.copytree(home / "one", copied)
    # Two test queries get the answer of a train query: by its id, and by a copy of its text.
    first = json.loads((copied / "corpus.jsonl").read_text().splitlines()[0])
    with (copied / "corpus.jsonl").open("a") as out:
        out.write(json.dumps({**first, "_id": "copy"}) + "\n")
    with (copied / "qrels" / "test.tsv").open("a") as out:
        out.write("q40\td3\t1\nq41\tcopy\t1\nq42\td4\t0\n")
    experiment = Experiment.read(home / "plan.toml")
    plan = replace(experiment.collections[0], path=str(copied))
    bench = Bench(replace(experiment, sources=experiment.sources[:1]), plan, tmp_path / "out")
    assert bench.unseen("one").tolist() == [False, False] + [True] * 18


def test_early_stopping_holds_queries_out_of_every_cell(home, tmp_path):
    from eci.training.finetune import Stopping

    plan = Experiment.read(home / "plan.toml")
    experiment = replace(plan, sources=plan.sources[:1], stopping=Stopping(share=0.25, patience=1, every=1))
    bench = Bench(experiment, experiment.collections[0], tmp_path / "out")
    found = bench.run(bench.cell("random", 1, {}))
    assert found["trained"]["rows"] == 2 * 30
    assert found["trained"]["best"] == max(found["trained"]["dev"][1:], key=lambda entry: entry[1])[0]
