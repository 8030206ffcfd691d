from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from eci.errors import DataError, EciError
from fakes import run_cli, sentence

pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
pytest.importorskip("accelerate", reason="the extra 'train' is not installed")
pytest.importorskip("ir_measures", reason="the extra 'validate' is not installed")
pytest.importorskip("bm25s", reason="the extra 'mine' is not installed")

from eci.training.settings import NONE
from eci.validation import running
from eci.validation.cells import Bench
from eci.validation.experiment import UNTRAINED, Experiment
from eci.validation.running import validate
from eci.validation.scored import scored


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


def tiny_model(folder, seed=0):
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
    rng = np.random.default_rng(seed)
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
    kept = json.loads((folder / "result.json").read_text())
    assert kept.pop("command").startswith("eci validate ")
    assert kept == json.loads(found.to_json())


def test_the_page_of_the_command_is_that_of_its_result(done, home, monkeypatch, capsys):
    for module in ("jinja2", "altair", "vl_convert"):
        pytest.importorskip(module, reason="the extra 'report' is not installed")
    _, folder, _ = done
    page, again = folder / "page.html", folder / "again.html"
    given = ("validate", str(home / "plan.toml"), "-o", str(folder), "--report", str(page))
    code, _, err = run_cli(monkeypatch, capsys, *given)
    assert code == 0, err
    assert run_cli(monkeypatch, capsys, "report", str(folder / "result.json"), "-o", str(again))[0] == 0
    assert page.read_bytes() == again.read_bytes()


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
    # Of train queries that were not drawn nothing is seen.
    few = Bench(bench.experiment, replace(plan, queries=30), tmp_path / "few")
    used = {few.examples.labels[place] for place in np.flatnonzero(few.used)}
    assert len(used) == 30
    assert len(used & {"q0", "q3"}) == 1
    assert few.unseen("one").tolist() == ["q3" not in used, "q0" not in used] + [True] * 18


def test_a_cell_has_every_query_to_five_digits(done):
    for path in (done[1] / "cells" / "one").iterdir():
        for told in json.loads(path.read_text())["tests"].values():
            for measure, values in told["per_query"].items():
                assert len(values) == told["queries"]
                assert values == [round(value, 5) for value in values]
                assert np.mean(values) == pytest.approx(told["measures"][measure]["value"], abs=1e-5)


def test_early_stopping_holds_queries_out_of_every_cell(home, tmp_path):
    from eci.training.finetune import Stopping

    plan = Experiment.read(home / "plan.toml")
    experiment = replace(plan, sources=plan.sources[:1], stopping=Stopping(share=0.25, patience=1, every=1))
    bench = Bench(experiment, experiment.collections[0], tmp_path / "out")
    found = bench.run(bench.cell("random", 1, {}))
    assert bench.stopping.sum() == 8
    assert not (bench.stopping & bench.held_out).any()
    assert found["trained"]["rows"] == 2 * 32
    assert found["trained"]["best"] == max(found["trained"]["dev"][1:], key=lambda entry: entry[1])[0]


def plan_with(home, folder, *changes):
    """The plan with some of its text replaced, in a file."""
    text = (home / "plan.toml").read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / "plan.toml"
    path.write_text(text)
    return path


GRID = "grid = { learning_rate = [0.01, 0.05] }"
TRAINING, ROWS, SEEDS = "[training]\n", "[rows]\n", "seeds = [1, 2]\n"
ONE = 'path = "$HERE/one"\n'
REFUSED = {
    "training.batch_size: .*valid integer, got '2'": ("batch_size = 8", 'batch_size = "2"'),
    "training.batch_size: .*, got 8.5": ("batch_size = 8", "batch_size = 8.5"),
    "seeds.0: .*got True": (SEEDS, "seeds = [true]\n"),
    "1979-05-27 is a date": (SEEDS, "seeds = [1979-05-27]\n"),
    r"training: batch_size is at least 1, got -8\.": ("batch_size = 8", "batch_size = -8"),
    r"rows: rows and positives are 0 or more, got -2": ("rows = 2", "rows = -2"),
    r"stopping: the share .* got 2\.0": (ROWS, "[stopping]\nshare = 2.0\n[rows]\n"),
    "stopping.share: .*valid number": (ROWS, '[stopping]\nshare = "0.1"\n[rows]\n'),
    "training: seed is the cell's": (TRAINING, "[training]\nseed = 0\n"),
    "rows: seed is the cell's": (ROWS, "[rows]\nseed = 7\n"),
    "training: generated needs two sources": (TRAINING, '[training]\ngenerated = ["bm25"]\n'),
    "training: entropy weighs": (TRAINING, "[training]\nentropy = 0.1\n"),
    "training: gist needs a guide": (TRAINING, '[training]\nloss = "gist"\n'),
    "hard_negatives: is at least 1, got 0": (SEEDS, SEEDS + "hard_negatives = 0\n"),
    "seeds: a seed is a whole number .* got -1": (SEEDS, "seeds = [-1]\n"),
    "seeds: a seed is .* to 4294967295, got 4294967296": (SEEDS, f"seeds = [{2**32}]\n"),
    "tuning.seeds: there are none": ("dev = 0.25", "dev = 0.25\nseeds = []"),
    "tuning.seeds: 3 stands there twice": ("dev = 0.25", "dev = 0.25\nseeds = [3, 3]"),
    "tuning: dev, .* between 0 and 1, got 1.0": ("dev = 0.25", "dev = 1"),
    "tuning: dev, .* got 0.0": ("dev = 0.25", "dev = 0.0"),
    "tuning: dev, .* got nan": ("dev = 0.25", "dev = nan"),
    "tuning.grid: learning_rate has no values": (GRID, "grid = { learning_rate = [] }"),
    "tuning.grid: has nothing to try": (GRID, "grid = {}"),
    "tuning.grid.learning_rate: .*got 'fast'": (GRID, 'grid = { learning_rate = [0.01, "fast"] }'),
    "tuning.grid.batch_size: .*valid integer, got 0.5": (GRID, "grid = { batch_size = [0.5] }"),
    "tuning.grid: learning_rate is above 0, got -1": (GRID, "grid = { learning_rate = [0.01, -1] }"),
    "tuning.grid: rows and positives": (GRID, "grid = { positives = [1, -1] }"),
    "tuning.grid: gist needs a guide": (GRID, 'grid = { loss = ["mnrl", "gist"] }'),
    "tuning.grid: seed is no field .* that can be tuned.*batch_size": (GRID, "grid = { seed = [1] }"),
    "tuning.grid: generated is no field": (GRID, 'grid = { generated = [["bm25"]] }'),
    "model: max_seq_length is at least 1, got 0": (TRAINING, "max_seq_length = 0\n[training]\n"),
    "judges: hashing stands there twice": ('["hashing"]', '["hashing", "hashing"]'),
    "judges: target is the model of the plan": ('["hashing"]', '["target"]'),
    "sources: untrained is always there": ('name = "random"', 'name = "untrained"'),
    "sources: random: make cannot be split into words, no closing quotation": (
        '"mine random -k 4"',
        '"mine random \'-k 4"',
    ),
    "sources: random: share goes with 'into'": ('make = "mine random', 'share = 0.1\nmake = "mine random'),
    "collections: one: queries is at least 1, got 0": (ONE, ONE + "queries = 0\n"),
    "collections: one: is evaluated on the split it is trained on, 'test' of one": (
        ONE,
        ONE + 'split = "test"\n',
    ),
    "trained on, 'train' of one": (ONE, ONE + 'test = [{ path = "$HERE/one/", split = "train" }]\n'),
    "collections: one: evaluated twice on one": (
        ONE,
        ONE + 'test = [{ path = "$HERE/one" }, { path = "elsewhere/one" }]\n',
    ),
}


@pytest.mark.parametrize("told", REFUSED)
def test_an_entry_out_of_its_range_is_refused_with_its_place(home, tmp_path, told):
    path = plan_with(home, tmp_path, REFUSED[told])
    with pytest.raises(DataError, match=told) as error:
        Experiment.read(path)
    assert str(error.value).startswith(f"{path}: ")


def test_wrong_types_of_all_tables_are_told_at_once(home, tmp_path):
    path = plan_with(home, tmp_path, ("batch_size = 8", 'batch_size = "8"'), ("dev = 0.25", 'dev = "0.25"'))
    with pytest.raises(DataError, match=r"training.batch_size: .*; tuning.dev: "):
        Experiment.read(path)


def test_whole_numbers_stand_for_floats_and_arrays_for_tuples(home, tmp_path):
    changes = (
        ("learning_rate = 0.01\n", "learning_rate = 0.01\nepochs = 2\n"),
        (GRID, "grid = { epochs = [1] }"),
    )
    found = Experiment.read(plan_with(home, tmp_path, *changes))
    assert isinstance(found.training.epochs, float)
    assert found.seeds == (1, 2)
    assert found.tuning.grid == {"epochs": [1]}


def test_combinations_of_the_grid_are_checked_with_what_the_plan_sets(home, tmp_path):
    guided = (TRAINING, '[training]\nloss = "gist"\nguide = "hashing"\n')
    Experiment.read(plan_with(home, tmp_path, guided))
    with pytest.raises(DataError, match=r"tuning.grid: gist needs a guide"):
        Experiment.read(plan_with(home, tmp_path, guided, (GRID, 'grid = { loss = ["gist", "mnrl"] }')))


def test_gist_with_several_negatives_is_refused_before_it_is_trained(home, tmp_path):
    guided = (TRAINING, '[training]\nloss = "gist"\nguide = "hashing"\n')
    several = (SEEDS, SEEDS + "hard_negatives = 2\n")
    with pytest.raises(DataError, match="training: gist takes one hard negative in a row, .* is 2"):
        Experiment.read(plan_with(home, tmp_path, guided, several))


ABSENT = {
    r"collections: one: .*two: a BEIR collection has corpus.jsonl": (ONE, 'path = "$HERE/two"\n'),
    r"collections: one: .*has no split 'dev'. It has: test, train": (ONE, ONE + 'split = "dev"\n'),
    r"collections: one: .*has no split 'dev'": (
        ONE,
        ONE + 'test = [{ path = "$HERE/one", split = "dev" }]\n',
    ),
    r"collections: one: \$NOWHERE/x: \$NOWHERE is not set": (ONE, 'path = "$NOWHERE/x"\n'),
    r"is evaluated on the split it is trained on, 'train' of one": (
        ONE,
        ONE + 'test = [{ path = "$HERE/../$BASE/one", split = "train" }]\n',
    ),
    r"sources: random: .*mine-one.jsonl: no such file": (
        'make = "mine random -k 4"',
        'rows = "$HERE/mine-{collection}.jsonl"',
    ),
    r"sources: random: make = 'mine nothing -k 4': there is no miner 'nothing'. Known: random, bm25": (
        '"mine random',
        '"mine nothing',
    ),
    r"make = 'mine': lacks a miner": ('"mine random -k 4"', '"mine"'),
    r"sources: random: make = 'mine random -k 4 --kk 2': No such option.*--kk": (
        '"mine random -k 4"',
        '"mine random -k 4 --kk 2"',
    ),
    r"make = 'mine random': Missing option '-k'": ('"mine random -k 4"', '"mine random"'),
    r"make = 'mine random -k 0': Invalid value for '-k'": ('"mine random -k 4"', '"mine random -k 0"'),
    r"No such option.*--help": ('"mine random -k 4"', '"mine random --help"'),
    r"mines the collection of the plan": ('"mine random -k 4"', '"mine random other/ -k 4"'),
    r"-o is what the plan decides": ('"mine random -k 4"', '"mine random -k 4 -o x.parquet"'),
    r"--to, --split is what the plan decides": (
        '"mine random -k 4"',
        '"mine random -k 4 --split test --to triplet"',
    ),
    r"--label is what the plan decides": ("mode budget -k 4", "mode budget -k 4 --label both"),
    r"sources: bm25\+random: .*: dense is no source further up; these are random, bm25": (
        "mix bm25 random",
        "mix bm25 dense",
    ),
    r"planted is no source further up": ("mix bm25 random", "mix bm25 planted"),
    r"bm25 is also the name of a source": ("--mode budget", "--sources bm25 --mode budget"),
    r"Missing option '--mode'. Choose from: union, concat, budget\n$": ("--mode budget", ""),
}


@pytest.mark.parametrize("told", ABSENT)
@pytest.mark.parametrize("check", [("--check",), ()])
def test_what_is_not_there_is_told_before_anything_is_made(home, tmp_path, monkeypatch, capsys, told, check):
    monkeypatch.setenv("BASE", home.name)
    path = plan_with(home, tmp_path, ABSENT[told])
    out = tmp_path / "out"
    code, printed, err = run_cli(monkeypatch, capsys, "validate", str(path), "-o", str(out), *check)
    assert (code, printed) == (1, "")
    assert err.startswith(f"Error: {path}: ")
    assert re.search(told, err), err
    assert not out.exists()


def test_a_checked_experiment_is_the_experiment(home):
    experiment = Experiment.read(home / "plan.toml")
    assert experiment.checked() is experiment


def test_a_folder_under_two_names_is_one_test_set(home, tmp_path):
    (tmp_path / "link").symlink_to(home / "one")
    tests = f'test = [{{ path = "$HERE/one" }}, {{ path = "{tmp_path}/link" }}]\n'
    experiment = Experiment.read(plan_with(home, tmp_path, (ONE, ONE + tests)))
    with pytest.raises(DataError, match="evaluated twice on one, by the name of the folder"):
        experiment.checked()


def rows_of(done, source, seed=1, **settings):
    experiment, folder, _ = done
    bench = Bench(replace(experiment, **settings), experiment.collections[0], folder)
    return bench, bench.rows(bench.cell(source, seed, {}))


def test_a_cell_trains_on_the_negatives_of_its_source_and_on_all_train_queries(done):
    bench, rows = rows_of(done, "bm25", hard_negatives=2)
    lists = bench.examples.negatives.keep(bench.examples.source == bench.examples.sources.index("bm25"))
    assert [part.lengths.tolist() for part in rows.negatives] == [[2] * len(rows)]
    for row, query in enumerate(rows.query.tolist()):
        assert set(rows.negatives[0][row]) <= set(lists[query])
    assert len(set(rows.query.tolist())) == 40
    assert rows_of(done, NONE)[1].negatives == ()


def test_seeds_draw_other_negatives(done):
    one, two = (rows_of(done, "bm25", seed)[1].negatives[0].values.tolist() for seed in (1, 2))
    assert one != two


def test_losses_of_sources_differ_for_their_negatives_do(done):
    losses = {source: of(done, source, 1)["loss"] for source in (NONE, "random", "bm25", "planted")}
    assert len(set(losses.values())) == 4
    assert losses[NONE] < losses["random"] < losses["bm25"]


def test_more_negatives_than_any_list_has_are_refused(done):
    with pytest.raises(DataError, match=r"one: a row has 9 negatives .* no query has more than 4 of bm25"):
        rows_of(done, "bm25", hard_negatives=9)


def test_other_weights_and_other_training_queries_make_other_cells(done, home, tmp_path):
    experiment, folder, _ = done
    plan = experiment.collections[0]
    bench = Bench(experiment, plan, folder)
    names = {bench.path(bench.cell(NONE, 1, {})).name}
    other = tiny_model(tmp_path / "model", seed=1)
    changed = Bench(replace(experiment, model=replace(experiment.model, name=str(other))), plan, folder)
    names.add(changed.path(changed.cell(NONE, 1, {})).name)
    fewer = Bench(experiment, replace(plan, queries=12), folder)
    names.add(fewer.path(fewer.cell(NONE, 1, {})).name)
    assert len(names) == 3


def test_a_source_more_changes_no_name_of_the_others(done):
    experiment, folder, _ = done
    plan = experiment.collections[0]
    fewer = Bench(replace(experiment, sources=experiment.sources[:2]), plan, folder)
    whole = Bench(experiment, plan, folder)
    for source in (NONE, "random", "bm25"):
        assert fewer.path(fewer.cell(source, 1, {})) == whole.path(whole.cell(source, 1, {}))


def test_a_cell_that_is_cut_off_is_moved_aside_and_run_again(done, tmp_path):
    experiment, folder, _ = done
    copied = tmp_path / "out"
    shutil.copytree(folder, copied)
    plan = experiment.collections[0]
    bench = Bench(experiment, plan, copied)
    cell = bench.cell(NONE, 1, bench.chosen)
    path = bench.path(cell)
    whole = json.loads(path.read_text())
    path.write_text(path.read_text()[:100])
    again = Bench(experiment, plan, copied)
    assert again.missing() == [cell]
    assert path.with_suffix(".bad").exists()
    assert again.run(cell)["tests"] == whole["tests"]


def test_a_folder_that_may_not_be_written_to_is_told(done, tmp_path, monkeypatch):
    from eci.errors import OutputError

    experiment, folder, _ = done
    copied = tmp_path / "out"
    shutil.copytree(folder, copied)
    bench = Bench(experiment, experiment.collections[0], copied)
    cell = bench.cell(NONE, 1, bench.chosen)
    bench.path(cell).unlink()
    monkeypatch.setattr("eci.atomic.os.access", lambda *_: False)
    with pytest.raises(OutputError, match="may not be written to"):
        bench.run(cell)


def test_rows_of_other_queries_are_refused(home, tmp_path):
    from eci.validation.experiment import SourcePlan

    row = {
        "query": "without an id",
        "positives": [{"text": "b"}],
        "negatives": [{"source": "x", "text": "c"}],
    }
    (tmp_path / "one.jsonl").write_text(json.dumps(row) + "\n")
    experiment = Experiment.read(home / "plan.toml")
    source = SourcePlan("mine-own", rows=str(tmp_path / "one.jsonl"))
    bench = Bench(replace(experiment, sources=(source,)), experiment.collections[0], tmp_path / "out")
    with pytest.raises(
        DataError, match=r"one: 1 queries of the sources are not in .*train.tsv, first 'without"
    ):
        _ = bench.examples


def test_a_process_that_fails_ends_the_others_and_is_told(done, tmp_path):
    experiment = replace(done[0], seeds=(1,), judges=(), tuning=None)
    with pytest.raises(EciError, match="on nowhere: "):
        validate(experiment, tmp_path / "out", devices=("cpu", "nowhere"))


def test_planted_positives_are_dealt_as_often_as_they_were_planted(done):
    bench, rows = rows_of(done, "planted")
    right = [set(bench.examples.positives[query].tolist()) for query in rows.query.tolist()]
    hits = [int(rows.negatives[0][row][0]) in right[row] for row in range(len(rows))]
    # Half of each list of four; two rows a query deal two of four places.
    assert 0.35 < sum(hits) / len(hits) < 0.65


class Killed(get_context("spawn").Process):
    """A process that somebody kills as soon as it has started."""

    def start(self):
        super().start()
        self.kill()


def test_a_process_that_is_killed_is_told_and_not_replaced_by_this_one(done, tmp_path, monkeypatch):
    class Context:
        Process = Killed
        SimpleQueue = staticmethod(get_context("spawn").SimpleQueue)

    monkeypatch.setattr(running, "get_context", lambda _: Context)
    experiment = replace(done[0], seeds=(1,), judges=(), tuning=None)
    with pytest.raises(EciError, match="the process on cpu ended without a word"):
        validate(experiment, tmp_path / "out", devices=("cpu",))
    assert not list((tmp_path / "out").glob("cells/one/*.json"))


def test_sources_are_scored_and_probed_as_the_cells_train_and_search(done, home):
    for path in (done[1] / "scores").iterdir():
        kept = json.loads(path.read_text())
        corpus = len((home / "one" / "corpus.jsonl").read_text().splitlines())
        assert kept["score"]["data"]["alignment"]["candidates"] == kept["probe"]["data"]["pool"] == corpus
        assert kept["probe"]["data"]["notes"] == []
        assert (kept["probe"]["settings"]["batch"], kept["probe"]["settings"]["hard_negatives"]) == (8, 1)


def test_metrics_are_asked_again_where_the_corpus_or_the_training_is_another(done, home, tmp_path):
    experiment, folder, _ = done
    (target,) = (path.name for path in (folder / "scores").glob("one-target-*"))
    shutil.copytree(folder, tmp_path / "out")
    other = replace(experiment, judges=(), training=replace(experiment.training, temperature=0.1))
    scored(Bench(other, other.collections[0], tmp_path / "out"), "target")
    made = {path.name for path in (tmp_path / "out" / "scores").glob("one-target-*")} - {target}
    assert len(made) == 1
    kept = json.loads((tmp_path / "out" / "scores" / made.pop()).read_text())
    assert kept["score"]["settings"]["temperature"] == kept["probe"]["settings"]["temperature"] == 0.1
    # Two negatives a row, and a part of the queries.
    few = replace(experiment, judges=(), hard_negatives=2)
    plan = replace(few.collections[0], queries=30)
    told = scored(Bench(few, plan, tmp_path / "out"), "target")
    assert (told.probe.settings["hard_negatives"], told.probe.settings["sample"]) == (2, 30)
    assert told.score.settings["sample"] == 30
    assert (told.probe.data["probed"], told.score.settings["queries_scored"]) == (30, 30)
    # A document more, which no row holds.
    copied = tmp_path / "one"
    shutil.copytree(home / "one", copied)
    with (copied / "corpus.jsonl").open("a") as out:
        out.write(json.dumps({"_id": "more", "title": "", "text": "one document more"}) + "\n")
    before = set((tmp_path / "out" / "scores").iterdir())
    plan = replace(few.collections[0], path=str(copied))
    scored(Bench(replace(experiment, judges=()), plan, tmp_path / "out"), "target")
    assert len(set((tmp_path / "out" / "scores").iterdir()) - before) == 1
