"""Rows and a model in, a folder with a model and its card out: what a user of `train` asks for."""

from __future__ import annotations

import json
import socket

import pytest

pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
pytest.importorskip("accelerate", reason="the extra 'train' is not installed")

from eci.datasets import ReadOptions, from_object, read
from eci.errors import EciError, EncoderError, OutputError
from eci.models.pretrained import digest_weights
from eci.training.card import ModelCard
from eci.training.finetune import Stopping, Trained, Training
from eci.training.result import TrainResult
from eci.training.rows import Drawing
from eci.training.settings import TrainSettings
from eci.training.train import train
from fakes import make_rows
from tiny_bert import one_thread, saved_bert, static_model, tiny_bert  # noqa: F401

FAST = Training(batch_size=8, learning_rate=1e-3, precision="float32", seed=1)


def rows(queries=40, **sources):
    """Rows in which every third query has no negative of the last source."""
    made = make_rows(queries, sources or {"bm25": 5, "llm": 2})
    last = list(sources or {"llm": 2})[-1]
    for row in made[::3] if len(sources) != 1 else []:
        row["negatives"] = [n for n in row["negatives"] if n["source"] != last]
    return made


class Killed(BaseException):
    pass


def killing(step):
    """A progress that ends the process, as far as the trainer can tell, after a step."""

    def progress(stage, done, total):
        if stage == "training steps" and done == step:
            raise Killed

    return progress


def asked(made, folder, progress=None, card=None, **settings):
    settings = {"training": FAST, "sources": ("bm25",), **settings}
    return train(
        from_object(made, ReadOptions()),
        folder,
        model=saved_bert(),
        settings=TrainSettings(**settings),
        card=card,
        **({"progress": progress} if progress else {}),
    )


def loaded(folder):
    from eci.models.sentence_transformer import SentenceTransformerEncoder

    return SentenceTransformerEncoder.load(str(folder))


def test_the_folder_is_a_model_and_tells_how_it_was_made(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    result = asked(rows(), tmp_path / "out", hard_negatives=2, sources=("bm25", "llm"))
    told = json.loads((tmp_path / "out" / "eci.json").read_text())
    assert told == result.told == json.loads(result.to_json())
    assert told["schema"] == "eci.train/1"
    assert told["sources"] == ["bm25", "llm"]
    assert told["rows"] == {"rows": 40, "queries": 40, "held_out": 0, "documents": told["rows"]["documents"],
                            "short": {"bm25": 0, "llm": 14}}  # fmt: skip
    assert told["settings"]["training"]["learning_rate"] == 1e-3
    assert told["model"]["weights_blake2b"] == loaded(saved_bert()).weights
    assert told["weights_blake2b"] == loaded(tmp_path / "out").weights != told["model"]["weights_blake2b"]
    assert told["notes"] == [
        "14 of 40 rows have fewer than 2 negatives of llm; none is padded, and they are in batches of their own"
    ]
    assert (
        result.table()
        .splitlines()[0]
        .startswith(
            f"{tmp_path}/out: tiny-bert fine-tuned on bm25 and llm: 40 rows of 40 queries, {result.trained.steps} steps in"
        )
    )
    assert [path.name for path in tmp_path.iterdir() if path.name != "embedding-cache"] == ["out"]


def test_a_killed_run_goes_on_and_its_folder_goes_when_it_has_ended(tmp_path):
    asked(rows(), tmp_path / "whole")
    with pytest.raises(Killed):
        asked(rows(), tmp_path / "out", killing(4), checkpoint_every=2)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.trainer" / "checkpoint-2").is_dir()
    with pytest.raises(OutputError, match=r"stopped at step 2: settings\.training\.learning_rate 0\.001 there, "
                                          r"0\.002 here\. Give those settings again.*or remove .*\.out\.trainer"):  # fmt: skip
        asked(
            rows(),
            tmp_path / "out",
            training=Training(batch_size=8, learning_rate=2e-3, seed=1, precision="float32"),
        )
    with pytest.raises(OutputError, match=r"data\.texts .* there, .* here"):
        asked(rows(41), tmp_path / "out")
    stages = []
    done = asked(rows(), tmp_path / "out", lambda stage, *_: stages.append(stage))
    assert "going on from step 2" in stages
    assert done.told["weights_blake2b"] == loaded(tmp_path / "whole").weights
    assert not (tmp_path / ".out.trainer").exists()


def test_what_was_killed_before_its_first_checkpoint_leaves_nothing(tmp_path):
    with pytest.raises(Killed):
        asked(rows(), tmp_path / "out", killing(1), checkpoint_every=2)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_a_refusal_leaves_nothing_that_would_refuse_the_next_try(tmp_path):
    with pytest.raises(EciError, match="the loss of step"):
        asked(rows(), tmp_path / "out", training=Training(9, 8, 1e30, 0.0, seed=1, precision="float32"))
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_only_a_model_of_ours_is_replaced(tmp_path):
    for name, text in (("other", "{}"), ("data", '{"written_by": "eci convert", "layout": "triplet"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "eci.json").write_text(text)
        with pytest.raises(OutputError, match="is a folder that eci train did not write"):
            asked(rows(), tmp_path / name)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, and the output is a folder"):
        asked(rows(), tmp_path / "file")
    with pytest.raises(OutputError, match="does not exist"):
        asked(rows(), tmp_path / "none" / "out")
    with pytest.raises(OutputError, match="is read from"):
        asked(rows(), saved_bert())
    first = asked(rows(), tmp_path / "out")
    second = asked(rows(), tmp_path / "out", sources=("none",))
    assert loaded(tmp_path / "out").weights == second.told["weights_blake2b"] != first.told["weights_blake2b"]


def test_the_model_that_is_replaced_is_named_before_and_after(tmp_path):
    stages = []

    def progress(stage, *_):
        stages.append(stage)

    first = asked(rows(), tmp_path / "out", progress)
    assert first.replaced == ""
    assert not any("replaced" in told for told in (*first.table().splitlines()[1:], *stages))
    second = asked(rows(), tmp_path / "out", progress, sources=("none",))
    assert second.replaced == "tiny-bert fine-tuned on bm25"
    told = stages.index("to be replaced at the end: tiny-bert fine-tuned on bm25")
    assert stages[told + 1 :].count("training steps") == second.trained.steps
    assert second.table().splitlines()[-1] == "· it replaced tiny-bert fine-tuned on bm25, which was there"
    # What a model tells of itself does not depend on what lay there before it.
    assert "replaced" not in (tmp_path / "out" / "eci.json").read_text()
    (tmp_path / "out" / "eci.json").write_text('{"schema": "eci.train/1"}')
    assert asked(rows(), tmp_path / "out").replaced == "a model fine-tuned on unknown sources"


@pytest.mark.parametrize(
    ("made", "settings", "remedy"),
    [
        (1, {}, "Give more rows"),
        (4, {"training": Training(batch_size=1, precision="float32")}, "Give larger batches"),
    ],
)
def test_rows_with_nothing_to_contrast_are_told(tmp_path, made, settings, remedy):
    done = asked(rows(made), tmp_path / "out", sources=("none",), **settings)
    assert done.told["weights_blake2b"] == done.told["model"]["weights_blake2b"]
    assert done.told["notes"][0].startswith("nothing was learnt: rows without hard negatives")
    assert done.told["notes"][0].endswith(remedy)
    other = asked(rows(made, bm25=3), tmp_path / "other", sources=("bm25",), **settings)
    assert other.told["weights_blake2b"] != other.told["model"]["weights_blake2b"]
    assert not any("nothing was learnt" in note for note in other.told["notes"])


def test_a_small_loss_is_told_from_none(tmp_path):
    made = {"model": {"name": "m"}, "sources": ["a"], "rows": {"rows": 2, "queries": 2}, "notes": []}
    for loss, shown in ((0.0, "0.0000"), (3.21e-5, "3.2e-05"), (0.0123, "0.0123"), (2.5, "2.5000")):
        assert TrainResult(tmp_path, Trained(2, 1, 1.0, loss), made).table().endswith(f"mean loss {shown}")


def test_a_model_without_a_limit_of_tokens_is_told(tmp_path):
    static = static_model()
    static.save_pretrained(str(tmp_path / "static"))
    for training, message in (
        (Training(max_seq_length=5), "StaticEmbedding, on which .* reads texts whole.* Leave out --max-seq"),
        (
            Training(loss="cached-mnrl"),
            "the loss cached-mnrl cannot train this model: .* Choose another loss",
        ),
    ):
        for model in (static, str(tmp_path / "static")):
            with pytest.raises(EncoderError, match=message):
                train(
                    from_object(rows(), ReadOptions()),
                    tmp_path / "out",
                    model=model,
                    settings=TrainSettings(("bm25",), training=training),
                )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sources": ()}, "the rows have the sources bm25 and llm. Choose whose negatives to train on, or none"),
        ({"sources": ("dense",)}, "no source dense. They have bm25 and llm"),
        ({"sources": ("bm25", "bm25")}, "bm25 stands there twice"),
        ({"sources": ("none", "bm25")}, "none means in-batch negatives alone"),
        ({"hard_negatives": 0}, "at least 1, got 0. For none: source none"),
        ({"hard_negatives": 6}, "no query has 6 negatives of bm25; the most are 5, and 0 of 40 queries have none"),
        ({"sources": ("llm",), "hard_negatives": 3}, "the most are 2, and 14 of 40 queries have none"),
        ({"checkpoint_every": 0}, "checkpoint_every is at least 1"),
        ({"checkpoint_every": 5, "stopping": Stopping()}, "goes without held-out queries"),
        ({"training": Training(generated=("llm",))}, "generated sources are llm, and trained on are bm25"),
        ({"training": Training(generated=("bm25",))}, "needs both among these: generated ones, and others"),
    ],
)  # fmt: skip
def test_what_the_rows_do_not_have(tmp_path, settings, told):
    with pytest.raises(EciError, match=told):
        asked(rows(), tmp_path / "out", **settings)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_one_source_needs_no_name_and_rows_without_negatives_train_on_each_other(tmp_path):
    one = asked(rows(bm25=3), tmp_path / "one", sources=())
    assert one.told["sources"] == ["bm25"]
    bare = rows(bm25=3)
    for row in bare:
        row["negatives"] = []
    assert asked(bare, tmp_path / "none", sources=()).told["settings"]["hard_negatives"] == 0


def test_rows_that_found_no_batch_are_told(tmp_path):
    done = asked(rows(5, bm25=5), tmp_path / "out", sources=("bm25",), rows=Drawing(rows=0))
    assert (done.trained.rows, done.trained.steps) == (25, 4)
    assert done.trained.seen <= 20
    assert done.told["notes"][0].startswith(
        f"{done.trained.seen} of 25 rows were trained on: the others share texts"
    )


def test_no_gain_on_the_held_out_queries_is_told(tmp_path):
    training = Training(3, 8, 0.9, 0.0, precision="float32")
    done = asked(rows(), tmp_path / "out", training=training, stopping=Stopping(0.3, 1, 1))
    assert "nDCG@10 on 12 queries held out, among " in done.table()
    notes = done.told["notes"]
    assert any(note.startswith(f"ended after {done.trained.steps} of 12 steps") for note in notes)
    values = dict(done.trained.dev)
    assert (values[done.trained.best] <= values[0]) == ("no better after training than before" in notes[-1])


EVIL = "a|b <img src=x onerror=alert(1)> *b*"


def card_of(tmp_path, made, **settings):
    asked(made, tmp_path / "out", **settings)
    return (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_the_card_holds_no_text_of_the_rows_and_escapes_their_labels(tmp_path):
    from huggingface_hub import ModelCard as HubCard

    made = rows()
    for row in made:
        for entry in row["negatives"]:
            entry["source"] = EVIL
    text = card_of(tmp_path, made, sources=(EVIL,), stopping=Stopping(0.2, every=2))
    for row in made:
        for entry in (row["query"], *(each["text"] for each in row["positives"] + row["negatives"])):
            assert entry not in text
    assert "a\\|b &lt;img src=x onerror=alert(1)&gt; \\*b\\*" in text
    assert "<img" not in text.replace(json.dumps(EVIL), "")
    data = HubCard(text).data.to_dict()
    assert {"sentence-transformers", "hard-negatives", "eci"} <= set(data["tags"])
    assert not data.get("widget")
    assert "| **" in text.split("## How it was trained")[1]


def test_the_card_shows_the_scores_and_whose_they_are(tmp_path):
    from eci import api

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(12)))
    score = api.score([path], "hashing")
    digest = score.data["files"][0]["sha256"]
    origins = {digest: "of the files trained on (same SHA-256)", "other": "**The scores are of other files"}
    for scored, sentence in origins.items():
        score.data["files"] = [{"name": "rows.jsonl", "sha256": scored}]
        train(
            read([path]),
            tmp_path / "out",
            model=saved_bert(),
            card=ModelCard(score, "eci train `x`"),
            settings=TrainSettings(("bm25",), training=FAST),
        )
        text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
        section = text[text.index("## The negatives before training") : text.index("## Citation")]
        assert sentence in section
        assert score.table() in section
        assert "No metric here is known to predict training" in section
        assert "eci train `x`" in text
        assert f"rows.jsonl, SHA-256 {digest}" in text


def test_the_card_names_the_entropy_term(tmp_path):
    training = Training(batch_size=8, generated=("llm",), precision="float32")
    text = card_of(tmp_path, rows(), sources=("bm25", "llm"), training=training)
    assert "1 hard negative of bm25 and 1 hard negative of llm. Those of llm have CausalNeg's" in text
    assert "loss:CausalNegLoss" in text
    assert "Which planet" in text
    assert "bm25 × 1 + llm × 0" in text


def test_a_model_as_an_object_is_trained_in_place(tmp_path):
    model = tiny_bert()
    before = digest_weights(model)
    done = train(from_object(rows(), ReadOptions()), tmp_path / "out", model=model,
                 settings=TrainSettings(("bm25",), training=FAST))  # fmt: skip
    assert done.told["model"]["name"] == "SentenceTransformer"
    assert (
        digest_weights(model)
        == done.told["weights_blake2b"]
        != before
        == done.told["model"]["weights_blake2b"]
    )


def test_on_a_cpu_bfloat16_is_trained_without_fused_attention(tmp_path, monkeypatch):
    from eci.training import train as module

    seen = []
    monkeypatch.setattr(
        module, "finetune", lambda model, *_: seen.append(model) or (_ for _ in ()).throw(Killed)
    )
    for precision, attention in (("bfloat16", "eager"), ("float32", "sdpa")):
        with pytest.raises(Killed):
            asked(rows(), tmp_path / "out", training=Training(precision=precision))
        assert seen.pop()[0].auto_model.config._attn_implementation == attention
