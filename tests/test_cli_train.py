"""``eci train`` as a user runs it."""

from __future__ import annotations

import json
from dataclasses import fields

import click
import pytest

from fakes import make_rows, run_cli

pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
pytest.importorskip("accelerate", reason="the extra 'train' is not installed")

from eci.cli.train import _loading, _reading, _settings, train
from eci.errors import EciError
from eci.training.finetune import Stopping, Training
from eci.training.rows import Drawing
from eci.training.settings import TrainSettings
from tiny_bert import one_thread, saved_bert  # noqa: F401


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in make_rows(30, {"bm25": 4, "llm": 2})))
    return path


def settings_of(*words):
    context = train.make_context("train", ["rows", "-o", "out", *words])
    return _settings(context, dict(context.params))


def test_defaults_are_those_of_the_settings():
    assert settings_of() == TrainSettings()
    options = {option.name: option.default for option in train.params}
    for entry in fields(Training):
        if entry.name not in ("generated", "max_seq_length", "guide"):
            assert options[entry.name] == entry.default


def test_every_option_arrives():
    found = settings_of(
        *"--source a --source b --hard-negatives 3 --rows 2 --positives 0 --seed 7 --epochs 2.5 --batch-size 4".split(),
        *"--learning-rate 1e-4 --warmup 0 --loss cached-mnrl --mini-batch-size 2 --temperature 0.02".split(),
        *"--generated b --entropy 0.1 --precision float32 --max-seq-length 99".split(),
        *"--dev 0.2 --patience 5 --evaluate-every 10".split(),
    )
    training = Training(2.5, 4, 1e-4, 0.0, 0.02, 99, "float32", 7, "cached-mnrl", 2, None, ("b",), 0.1)
    assert found == TrainSettings(("a", "b"), 3, training, Drawing(2, 0, 7), Stopping(0.2, 5, 10))
    gist = settings_of("--loss", "gist", "--guide", "m", "--checkpoint-every", "9")
    assert (gist.training.loss, gist.training.guide, gist.checkpoint_every) == ("gist", "m", 9)
    assert settings_of("--patience", "2").stopping == Stopping(0.1, 2)


def test_a_preset_gives_way_to_what_is_given():
    paper = settings_of("--preset", "paper")
    assert paper == TrainSettings(rows=Drawing(rows=0), stopping=Stopping(0.1, 3))
    other = settings_of("--preset", "paper", "--rows", "1", "--batch-size", "32", "--dev", "0.05")
    assert (other.rows.rows, other.training.batch_size, other.stopping) == (1, 32, Stopping(0.05, 3))


def test_model_and_rows_options_arrive():
    context = train.make_context("train", ["rows", "-o", "out", "--device", "cpu", "--revision", "r",
        "--prompt", "query=q: ", "--trust-remote-code", "--layout", "triplet", "--label", "x", "--corpus", "c",
        "--queries", "q", "--split", "train"])  # fmt: skip
    loading, reading = _loading(context.params), _reading(context.params)
    assert (loading.device, loading.revision, loading.trust_remote_code) == ("cpu", "r", True)
    assert loading.prompts == {"query": "q: "}
    assert (reading.layout, reading.sources, str(reading.corpus), str(reading.queries), reading.split) == (
        "triplet", ("x",), "c", "q", "train")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--mini-batch-size 4", "--mini-batch-size belongs to --loss cached-mnrl"),
        ("--guide m", "--guide belongs to --loss gist"),
        ("--entropy 0.1", "--generated LABEL adds"),
        ("--evaluate-every 5", "--evaluate-every belongs to --dev"),
        ("--dev 0.1 --checkpoint-every 5", "--dev holds out queries, .* --evaluate-every instead of --check"),
        ("--patience 2 --checkpoint-every 5", "--patience holds out queries, and every evaluation on them"),
        ("--preset paper --checkpoint-every 3", "--preset paper holds out queries, and every evaluation on"),
    ],
)
def test_options_that_would_do_nothing_are_refused(words, told):
    with pytest.raises(click.UsageError, match=told):
        settings_of(*words.split())


def test_a_prompt_for_nobody_is_refused():
    context = train.make_context("train", ["rows", "-o", "out", "--prompt", "passage=p"])
    with pytest.raises(click.UsageError, match="query=TEXT or document=TEXT, got 'passage=p'"):
        _loading(context.params)


def test_values_out_of_range_are_told_by_the_settings():
    with pytest.raises(EciError, match="learning_rate is above 0"):
        settings_of("--learning-rate", "0")
    with pytest.raises(EciError, match="between 0 and 1, got 1.0"):
        settings_of("--dev", "1")


def test_results_to_stdout_and_progress_to_stderr(monkeypatch, capsys, files, tmp_path):
    words = ["train", str(files), "--source", "llm", "--model", saved_bert(), "-o", str(tmp_path / "out"),
             "--batch-size", "8", "--precision", "float32"]  # fmt: skip
    code, out, err = run_cli(monkeypatch, capsys, *words)
    assert code == 0, err
    (line,) = out.splitlines()
    assert line.startswith(f"{tmp_path}/out: tiny-bert fine-tuned on llm: 30 rows of 30 queries, 4 steps in")
    assert err.splitlines()[0] == "reading rows …"
    assert all(line.endswith("…") or line.startswith("training steps: ") for line in err.splitlines())
    code, out, err = run_cli(monkeypatch, capsys, *words, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told == json.loads((tmp_path / "out" / "eci.json").read_text())
    assert told["command"].startswith("eci train ")
    assert told["command"].endswith("--precision float32 --json")


def test_a_refusal_is_one_line(monkeypatch, capsys, files, tmp_path):
    code, out, err = run_cli(monkeypatch, capsys, "train", str(files), "-o", str(tmp_path / "out"))
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("Error: the rows have the sources bm25 and llm. Choose")


def test_the_scores_are_read_before_anything_else(monkeypatch, capsys, files, tmp_path):
    code, _, err = run_cli(monkeypatch, capsys, "train", str(files), "--source", "llm", "--score", str(files), "-o", str(tmp_path / "out"))  # fmt: skip
    assert code == 1
    assert err.startswith(f"Error: {files}: is no result of eci score")
