"""Fine-tuning: the same weights for the same seed, killed or not; the best of them; and what stops it."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
pytest.importorskip("accelerate", reason="the extra 'train' is not installed")

from eci.directions import drawn_order
from eci.errors import DataError, EciError, MissingDependency, OutputError
from eci.models.pretrained import digest_weights
from eci.training import trainer
from eci.training.checkpoints import Checkpoints, Figures
from eci.training.finetune import Run, Stopping, Training, finetune
from eci.training.rows import Drawing, TrainingRows
from fakes import examples_of, make_rows
from tiny_bert import one_thread, saved_bert, tiny_bert  # noqa: F401

FAST = Training(batch_size=8, learning_rate=1e-3, precision="float32", seed=1)


def rows(queries=40, **sources):
    """Rows in which every third query has no negative of the last source."""
    made = make_rows(queries, sources or {"bm25": 5, "llm": 2})
    last = list(sources or {"llm": 2})[-1]
    for row in made[::3] if len(sources) != 1 else []:
        row["negatives"] = [n for n in row["negatives"] if n["source"] != last]
    return made


@pytest.fixture(scope="module")
def examples():
    return examples_of(rows())


def tuned(examples, folder, training=FAST, wanted=None, run=None, model=None):
    """A tiny model after training, and what it took."""
    model = model or tiny_bert()
    drawn = TrainingRows.of(examples, {"bm25": 2} if wanted is None else wanted, Drawing(seed=training.seed))
    if run and run.stopping:
        drawn = drawn.keep(~run.stopping.held_out(examples))
    done = finetune(model, examples, drawn, training, folder / "model", run)
    return model, done


class Killed(BaseException):
    pass


def killing(step):
    """A progress that ends the process, as far as the trainer can tell, after a step."""

    def progress(stage, done, total):
        if stage == "training steps" and done == step:
            raise Killed

    return progress


def test_the_same_seed_gives_the_same_weights_and_another_one_others(examples, tmp_path, capfd):
    found = [tuned(examples, tmp_path)[0] for _ in range(2)]
    assert digest_weights(found[0]) == digest_weights(found[1]) != digest_weights(tiny_bert())
    other = tuned(
        examples, tmp_path, Training(batch_size=8, learning_rate=1e-3, precision="float32", seed=2)
    )[0]
    assert digest_weights(other) != digest_weights(found[0])
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_what_it_took_is_told(examples, tmp_path):
    done = tuned(examples, tmp_path, Training(batch_size=8, epochs=2, precision="float32"))[1]
    assert (done.rows, done.steps, done.planned) == (40, 10, 10)
    # The last rows of an epoch may share a text, and find no batch.
    assert 76 <= done.seen <= 80
    assert 0 < done.loss < 2 * math.log(24)
    assert done.seconds > 0
    assert (done.dev, done.best) == ((), None)


@pytest.mark.parametrize("loss", ["mnrl", "cached-mnrl", "gist"])
def test_every_loss_learns_to_tell_its_rows(examples, tmp_path, loss):
    guide = saved_bert() if loss == "gist" else None
    training = Training(3, 8, 3e-3, precision="float32", loss=loss, guide=guide, mini_batch_size=3)
    model = tiny_bert(dropout=0.0)
    first = tuned(examples, tmp_path, training, {"bm25": 1}, model=model)[1].loss
    again = tuned(examples, tmp_path, training, {"bm25": 1}, model=model)[1].loss
    assert again < 0.9 * first


def test_the_entropy_term_changes_what_is_learnt(examples, tmp_path):
    wanted = {"bm25": 1, "llm": 2}
    plain = tuned(examples, tmp_path, wanted=wanted)
    told = Training(batch_size=8, learning_rate=1e-3, precision="float32", seed=1, generated=("llm",))
    mixed = tuned(examples, tmp_path, told, wanted)
    assert digest_weights(plain[0]) != digest_weights(mixed[0])
    assert plain[1].loss != mixed[1].loss
    # Of a source that is not in the rows it cannot change anything.
    absent = tuned(examples, tmp_path, told, {"bm25": 2})
    assert digest_weights(absent[0]) == digest_weights(tuned(examples, tmp_path)[0])


def test_prompts_of_the_model_are_trained_with(examples, tmp_path):
    asked = {"query": "ask : ", "document": "find : "}
    prompted = tuned(examples, tmp_path, model=tiny_bert(prompts=asked))[0]
    made = rows()
    for row in made:
        row["query"] = asked["query"] + row["query"]
        for entry in [*row["positives"], *row["negatives"]]:
            entry["text"] = asked["document"] + entry["text"]
    written = tuned(examples_of(made), tmp_path)[0]
    assert digest_weights(prompted) == digest_weights(written) != digest_weights(tuned(examples, tmp_path)[0])


BOTH = {"bm25": 1, "llm": 1}
LONGER = Training(batch_size=8, epochs=2, learning_rate=1e-3, precision="float32", seed=3)


@pytest.fixture(scope="module")
def whole(examples, tmp_path_factory):
    """A run of six steps an epoch that nothing stopped."""
    return tuned(examples, tmp_path_factory.mktemp("whole"), LONGER, BOTH)


# Killed before the first checkpoint, within each epoch, and after the end of one.
@pytest.mark.parametrize(("every", "step", "last"), [(2, 1, 0), (2, 5, 4), (6, 7, 6), (4, 9, 8)])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(examples, whole, tmp_path, every, step, last):
    checkpoints = Checkpoints(tmp_path / "kept", every)
    checkpoints.folder.mkdir()
    with pytest.raises(Killed):
        tuned(examples, tmp_path, LONGER, BOTH, Run(None, checkpoints, killing(step)))
    kept = checkpoints.last()
    assert (kept[1].step if kept else 0) == last
    model, done = tuned(examples, tmp_path, LONGER, BOTH, Run(None, checkpoints))
    assert digest_weights(model) == digest_weights(whole[0])
    assert (done.steps, done.seen) == (whole[1].steps, whole[1].seen)
    assert done.loss == pytest.approx(whole[1].loss, rel=1e-6)


def test_what_has_been_trained_is_loaded_and_not_trained_on(examples, whole, tmp_path):
    checkpoints = Checkpoints(tmp_path / "kept", every=50)
    checkpoints.folder.mkdir()
    # The trainer keeps the last step too, whatever the interval.
    first = tuned(examples, tmp_path, LONGER, BOTH, Run(None, checkpoints))
    again = tuned(examples, tmp_path, LONGER, BOTH, Run(None, checkpoints))
    assert digest_weights(first[0]) == digest_weights(again[0]) == digest_weights(whole[0])
    assert first[1].steps == again[1].steps == whole[1].steps


def ndcg(model, examples, held_out):
    """nDCG@10 by definition, with one gain for every positive."""
    queries = np.asarray(model.encode([examples.queries[n] for n in held_out]))
    documents = np.asarray(model.encode(list(examples.documents)))
    scores = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (
        documents / np.linalg.norm(documents, axis=1)[:, None]
    ).T
    found = []
    for query, row in zip(held_out, scores, strict=True):
        relevant = set(examples.positives[query])
        gains = [1 / math.log2(n + 2) for n, d in enumerate(np.argsort(-row)[:10]) if d in relevant]
        found.append(sum(gains) / sum(1 / math.log2(n + 2) for n in range(min(10, len(relevant)))))
    return float(np.mean(found))


STOPPING = Stopping(share=0.3, patience=2, every=1)
WILD = Training(8, 8, 5e-2, precision="float32", seed=0)


@pytest.fixture(scope="module")
def stopped(examples, tmp_path_factory):
    """A run that ended before its last step."""
    folder = tmp_path_factory.mktemp("stopped")
    found = tuned(examples, folder, WILD, run=Run(STOPPING))
    assert list(folder.iterdir()) == []
    return found


def test_the_best_checkpoint_is_kept_and_waiting_ends_the_run(examples, stopped):
    model, done = stopped
    held_out = np.flatnonzero(STOPPING.held_out(examples)).tolist()
    assert len(held_out) == math.ceil(0.3 * len(examples.queries))
    values = dict(done.dev)
    assert list(values) == list(range(done.steps + 1))
    assert values[0] == pytest.approx(ndcg(tiny_bert(), examples, held_out), abs=1e-6)
    best = max(list(values)[1:], key=lambda step: (values[step], -step))
    assert done.best == best == done.steps - 2
    assert done.steps < done.planned
    assert ndcg(model, examples, held_out) == pytest.approx(values[best], abs=1e-6)


def test_a_killed_run_stops_where_one_that_was_not_stops(examples, stopped, tmp_path):
    whole, told = stopped
    checkpoints = Checkpoints(tmp_path / "kept")
    checkpoints.folder.mkdir()
    for step in (2, told.steps):
        with pytest.raises(Killed):
            tuned(examples, tmp_path, WILD, run=Run(STOPPING, checkpoints, killing(step)))
    # The second time it goes on from a checkpoint, and the third from the end.
    for _ in range(2):
        model, done = tuned(examples, tmp_path, WILD, run=Run(STOPPING, checkpoints))
        assert (done.dev, done.best, done.steps) == (told.dev, told.best, told.steps)
        assert digest_weights(model) == digest_weights(whole)


def test_held_out_queries_do_not_depend_on_the_order_of_the_rows():
    made = rows()
    one, other = examples_of(made), examples_of(made[::-1])
    found = [
        {each.labels[n] for n in np.flatnonzero(Stopping(0.25).held_out(each)).tolist()}
        for each in (one, other)
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 10


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(examples, tmp_path):
    training = Training(4, 8, 1e30, 0.0, precision="float32")
    with pytest.raises(EciError, match=r"the loss of step \d+ is (nan|inf)\. Try a smaller learning rate"):
        tuned(examples, tmp_path, training)
    assert list(tmp_path.iterdir()) == []


def test_the_seed_orders_the_same_rows_otherwise_and_drops_others_out(examples, tmp_path):
    drawn = TrainingRows.of(examples, {"bm25": 2}, Drawing())

    def weights(seed, dropout, batch_size):
        training = Training(batch_size=batch_size, learning_rate=1e-3, precision="float32", seed=seed)
        model = tiny_bert(dropout=dropout)
        finetune(model, examples, drawn, training, tmp_path / "model")
        return digest_weights(model)

    # Without dropout nothing but the order can differ.
    assert weights(1, 0.0, 8) == weights(1, 0.0, 8) != weights(2, 0.0, 8)
    assert weights(1, 0.1, 8) != weights(2, 0.1, 8)


def test_batches_are_drawn_by_the_seed_where_the_trainer_does_not_hand_it_on(examples, tmp_path):
    drawn, training = TrainingRows.of(examples, {"bm25": 2}, Drawing()), replace(FAST, seed=7)
    made = trainer.prepared(tiny_bert(), examples, drawn, training, trainer.Course(Run()), tmp_path)
    # As sentence-transformers before 6.2 asks for it.
    asked = made.get_batch_sampler(made.train_dataset, batch_size=8, drop_last=False)
    assert asked.seed == 7


def test_warmup_changes_the_weights_as_its_share_does(examples, tmp_path):
    found = []
    for warmup in (0.0, 0.5, 1.0):
        training = Training(batch_size=8, learning_rate=1e-3, warmup=warmup, precision="float32", seed=1)
        found.append(tuned(examples, tmp_path, training)[0])
    before, *moved = (
        np.concatenate([each.detach().numpy().ravel() for each in model.parameters()])
        for model in (tiny_bert(), *found)
    )
    lengths = [float(np.linalg.norm(after - before)) for after in moved]
    assert len({digest_weights(model) for model in found}) == 3
    # Steps while the rate rises are shorter than those of the full rate.
    assert lengths[0] > lengths[2]


def test_queries_are_held_out_of_those_that_may_be_and_otherwise_than_a_comparison_draws(examples):
    may = np.arange(len(examples.queries)) % 2 == 0
    found = Stopping(0.25).held_out(examples, may)
    assert found.sum() == math.ceil(0.25 * may.sum())
    assert not (found & ~may).any()
    everything = Stopping(0.25).held_out(examples)
    assert np.array_equal(everything, Stopping(0.25).held_out(examples, np.ones_like(may)))
    first = np.zeros_like(may)
    first[drawn_order(examples.keys, 0)[: everything.sum()]] = True
    assert not np.array_equal(everything, first)
    with pytest.raises(DataError, match="1 of 1 queries would be held out"):
        Stopping(0.25).held_out(examples, np.arange(len(may)) == 3)


def test_a_run_evaluates_on_the_queries_that_it_is_given(examples, tmp_path):
    given = np.zeros(len(examples.queries), dtype=bool)
    given[[3, 5, 8]] = True
    drawn = TrainingRows.of(examples, {"bm25": 2}, Drawing()).keep(~given)
    run = Run(Stopping(every=3), held_out=given)
    done = finetune(tiny_bert(), examples, drawn, FAST, tmp_path / "model", run)
    assert dict(done.dev)[0] == pytest.approx(ndcg(tiny_bert(), examples, [3, 5, 8]), abs=1e-6)
    nobody = Run(Stopping(), held_out=np.zeros_like(given))
    with pytest.raises(DataError, match="no query is held out to evaluate on"):
        finetune(tiny_bert(), examples, drawn, FAST, tmp_path / "model", nobody)


def test_nothing_to_train_on(examples, tmp_path):
    nobody = TrainingRows.of(examples, {}, Drawing()).keep(np.zeros(len(examples.queries), dtype=bool))
    with pytest.raises(DataError, match="no rows to train on"):
        finetune(tiny_bert(), examples, nobody, FAST, tmp_path / "model")
    with pytest.raises(DataError, match="1 of 1 queries would be held out, and none left"):
        Stopping(0.5).held_out(examples_of(make_rows(1, {"bm25": 1})))


def test_without_the_extra_it_is_told_how_to_install_it(examples, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "accelerate" else found(name)
    )
    with pytest.raises(MissingDependency, match=r"Fine-tuning needs accelerate\. .*'eci\[train\]'"):
        tuned(examples, tmp_path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"epochs": 0}, "epochs is above 0, got 0"),
        ({"learning_rate": math.inf}, "learning_rate is above 0, got inf"),
        ({"learning_rate": math.nan}, "learning_rate is above 0, got nan"),
        ({"temperature": -1}, "temperature is above 0, got -1"),
        ({"batch_size": 0}, "batch_size is at least 1, got 0"),
        ({"mini_batch_size": 0}, "mini_batch_size is at least 1"),
        ({"max_seq_length": 0}, "max_seq_length is at least 1"),
        ({"seed": -1}, "seed is at least 0"),
        ({"warmup": 1.5}, r"warmup lies in 0…1 and entropy is 0 or more, got 1\.5 and 0\.05"),
        ({"entropy": -1}, "entropy is 0 or more"),
        ({"loss": "triplet"}, "loss is one of mnrl, cached-mnrl, gist, got 'triplet'"),
        ({"precision": "int8"}, "precision is one of auto, float32, bfloat16, got 'int8'"),
        ({"loss": "gist"}, "gist needs a guide"),
        ({"guide": "m"}, "the other losses take none"),
        ({"loss": "gist", "guide": "m", "generated": ("llm",)}, "not with gist"),
    ],
)
def test_settings_out_of_range(settings, told):
    with pytest.raises(EciError, match=told):
        Training(**settings)


@pytest.mark.parametrize("settings", [{"share": 0}, {"share": 1}, {"patience": 0}, {"every": 0}])
def test_stopping_out_of_range(settings):
    with pytest.raises(EciError, match=r"lies between 0 and 1|at least 1"):
        Stopping(**settings)


def test_an_unmarked_checkpoint_is_not_gone_on_from(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.begin({"a": {"b": 1}}, tmp_path / "out")
    (tmp_path / "checkpoint-2").mkdir()
    kept.mark(Figures(2, 1.0, 3.0, 16, 0))
    (tmp_path / "checkpoint-4").mkdir()
    assert kept.last() == (tmp_path / "checkpoint-2", Figures(2, 1.0, 3.0, 16, 0))
    kept.begin({"a": {"b": 1}}, tmp_path / "out")
    with pytest.raises(OutputError, match=r"a\.b 1 there, not given here; a\.c not given there, \[1\] here"):
        kept.begin({"a": {"c": (1,)}}, tmp_path / "out")
    kept.clear()
    assert kept.last() is None
