"""The trainer of sentence-transformers, set up for `finetune`: quiet, watched, without the hub."""

from __future__ import annotations

import functools
import importlib.util
import math
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eci.errors import DataError, EciError, EncoderError, MissingDependency
from eci.examples import Examples
from eci.models import pretrained
from eci.training.checkpoints import Figures
from eci.training.losses import loss_of
from eci.training.rows import TrainingRows

if TYPE_CHECKING:
    from eci.training.finetune import Run, Training

# A run is evaluated and kept so often, unless told otherwise.
_TIMES = 10
_MEASURE = "eval_dev_cosine_ndcg@10"


@dataclass
class Course:
    """A run as it goes, summed up across its checkpoints.

    Parameters
    ----------
    run : Run
    before : Figures
        Of the checkpoint that it goes on from.
    """

    run: Run
    before: Figures = field(default_factory=Figures)
    loss: float = field(init=False)
    seen: int = field(init=False)
    step: int = field(init=False)
    began: float = field(default_factory=time.perf_counter)
    stopper: Any = None

    def __post_init__(self) -> None:
        self.loss, self.seen, self.step = self.before.loss, self.before.seen, self.before.step

    def figures(self, step: int) -> Figures:
        """The sums after a step."""
        waited = self.stopper.early_stopping_patience_counter if self.stopper else 0
        seconds = self.before.seconds + time.perf_counter() - self.began
        return Figures(step, seconds, self.loss, self.seen, waited)

    def note(self, _module: Any, inputs: Any, output: Any) -> None:
        """Take in the loss of a step, as a hook of its module.

        Raises
        ------
        EciError
            It is not finite.
        """
        value = float(output.detach())
        if not math.isfinite(value):
            raise EciError(
                f"the loss of step {self.step} is {value}. Try a smaller learning rate, a longer warmup, a "
                "larger temperature, or float32."
            )
        self.loss += value
        self.seen += _rows_in(inputs[0][0])

    def callback(self) -> Any:
        """What the trainer tells of its steps to."""
        from transformers import TrainerCallback

        course = self

        class Told(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                course.began = time.perf_counter()

            def on_step_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
                course.step = state.global_step + 1

            def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
                course.run.progress("training steps", state.global_step, state.max_steps)

            def on_save(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
                if course.run.checkpoints:
                    course.run.checkpoints.mark(course.figures(state.global_step))

        return Told()


def require() -> None:
    """Raise a `MissingDependency` unless everything is installed that training needs."""
    needed = ("sentence_transformers", "datasets", "accelerate")
    lacking = [name.replace("_", "-") for name in needed if importlib.util.find_spec(name) is None]
    if lacking:
        raise MissingDependency("Fine-tuning", " and ".join(lacking), "train")


def prepared(
    model: Any, examples: Examples, rows: TrainingRows, training: Training, course: Course, folder: Path
) -> Any:
    """A ``SentenceTransformerTrainer`` that prints nothing, and tells `course` what it does.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
    examples : Examples
    rows : TrainingRows
    training : Training
    course : Course
    folder : Path
        For its checkpoints.
    """
    from datasets import DatasetDict
    from sentence_transformers import SentenceTransformerTrainer
    from transformers import PrinterCallback

    datasets = rows.datasets(examples)
    loss = _loss(model, training, rows)
    for module in {id(each): each for each in (loss.values() if isinstance(loss, dict) else [loss])}.values():
        module.register_forward_hook(course.note)
    card = model.model_card_data
    card.local_files_only, card.generate_widget_examples, card.ir_model = True, False, True
    # Where the card has examples, the trainer takes none from the rows.
    card.widget = [{}]
    made = SentenceTransformerTrainer(
        model=model,
        args=_arguments(model, datasets, training, course, folder),
        train_dataset=next(iter(datasets.values())) if len(datasets) == 1 else DatasetDict(datasets),
        loss=loss,
        evaluator=_evaluator(examples, course.run),
        callbacks=_callbacks(course),
    )
    card.widget = []
    # sentence-transformers before 6.2 does not hand the seed on: all seeds had one order of rows.
    made.get_batch_sampler = functools.partial(made.get_batch_sampler, seed=training.seed)
    # It prints to stdout, which belongs to results.
    made.remove_callback(PrinterCallback)
    return made


def trained(trainer: Any, checkpoint: str | None) -> dict[str, Any]:
    """The state of a trainer after all its steps, from a checkpoint on if one is given.

    Raises
    ------
    EciError
        The device has too little memory, or the loss is not finite.
    """
    import torch

    try:
        with pretrained.quiet(), warnings.catch_warnings():
            # Of checkpoints, whose numbers tell their order as well.
            warnings.filterwarnings("ignore", "mtime may not be reliable")
            trainer.train(resume_from_checkpoint=checkpoint)
    except torch.OutOfMemoryError as error:
        raise EciError(
            f"the device has too little memory for {trainer.args.per_device_train_batch_size} rows at once. "
            "Give a smaller batch size, fewer tokens of each text, or the loss cached-mnrl with a small "
            "mini-batch size."
        ) from error
    found: dict[str, Any] = vars(trainer.state)
    return found


def load(model: Any, checkpoint: str) -> None:
    """Put the weights of a checkpoint into the model that it is one of."""
    with pretrained.quiet():
        found = type(model)(checkpoint, device="cpu", trust_remote_code=model.trust_remote_code)
    model.load_state_dict(found.state_dict())


def measured(history: Iterable[Mapping[str, Any]]) -> tuple[tuple[int, float], ...]:
    """Steps and nDCG@10 of the evaluations that a trainer logged."""
    return tuple((int(entry["step"]), float(entry[_MEASURE])) for entry in history if _MEASURE in entry)


def _arguments(
    model: Any, datasets: Mapping[str, Any], training: Training, course: Course, folder: Path
) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments

    batches = sum(math.ceil(len(each) / training.batch_size) for each in datasets.values())
    steps = max(1, round(batches * training.epochs))
    device = model.device.type
    columns = max((each.column_names for each in datasets.values()), key=len)
    found = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=training.epochs,
        max_steps=steps,
        per_device_train_batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        warmup_steps=round(steps * training.warmup),
        bf16=pretrained.resolve_precision(training.precision, device) == "bfloat16",
        use_cpu=device == "cpu",
        seed=training.seed,
        batch_sampler="no_duplicates",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **_prompted(model, columns),
        **_kept(course, steps),
    )
    # With more it would spread each batch over all devices, and make it as many times larger.
    found._n_gpu = min(found.n_gpu, 1)
    return found


def _kept(course: Course, steps: int) -> dict[str, Any]:
    """Arguments for evaluating and keeping: the best can only be found if every evaluation is kept."""
    stopping, checkpoints = course.run.stopping, course.run.checkpoints
    if not stopping and not checkpoints:
        return {"save_strategy": "no"}
    wanted = stopping.every if stopping else checkpoints.every if checkpoints else None
    every = min(steps, wanted or max(1, steps // _TIMES))
    found = {"save_strategy": "steps", "save_steps": every, "save_total_limit": 1}
    if stopping:
        found |= {
            "eval_strategy": "steps",
            "eval_steps": every,
            # It would count as one more evaluation of a run that goes on.
            "eval_on_start": not course.before.step,
            "load_best_model_at_end": True,
            "metric_for_best_model": _MEASURE,
            "greater_is_better": True,
        }
    return found


def _loss(model: Any, training: Training, rows: TrainingRows) -> Any:
    try:
        return loss_of(model, training, rows.columns(training.generated))
    except ValueError as error:
        # Some models cannot be taken apart into small batches, and the library knows which.
        raise EncoderError(
            f"the loss {training.loss} cannot train this model: {error} Choose another loss, such as mnrl."
        ) from error


def _prompted(model: Any, columns: list[str]) -> dict[str, Any]:
    """Arguments that put before the texts what ``encode_query`` and ``encode_document`` put there."""
    found: dict[str, Any] = {}
    default = model.prompts.get(model.default_prompt_name) or ""
    names = {"query": ["query"], "document": ["document", "passage", "corpus"]}
    prompts = {
        role: next((model.prompts[name] for name in known if name in model.prompts), default)
        for role, known in names.items()
    }
    roles = {column: "query" if column == "anchor" else "document" for column in columns}
    if any(prompts.values()):
        found["prompts"] = {column: prompts[role] for column, role in roles.items()}
    if any(type(module).__name__ in ("Router", "Asym") for module in model):
        found["router_mapping"] = roles
    return found


def _evaluator(examples: Examples, run: Run) -> Any:
    if not run.stopping:
        return None
    from sentence_transformers.util import cos_sim

    try:
        from sentence_transformers.sentence_transformer import evaluation
    except ImportError:
        from sentence_transformers import evaluation
    flags = run.stopping.held_out(examples) if run.held_out is None else run.held_out
    held_out = np.flatnonzero(flags).tolist()
    if not held_out:
        raise DataError("no query is held out to evaluate on. Hold some out, or train without stopping.")
    return evaluation.InformationRetrievalEvaluator(
        queries={str(query): examples.queries[query] for query in held_out},
        corpus={str(place): text for place, text in enumerate(examples.documents)},
        relevant_docs={str(query): set(map(str, examples.positives[query].tolist())) for query in held_out},
        name="dev",
        write_csv=False,
        score_functions={"cosine": cos_sim},
    )


def _rows_in(features: Mapping[str, Any]) -> int:
    if "cu_seq_lens_q" in features:  # rows laid end to end, for attention without padding
        return len(features["cu_seq_lens_q"]) - 1
    return len(
        next(features[name] for name in ("offsets", "input_ids", "sentence_embedding") if name in features)
    )


def _callbacks(course: Course) -> list[Any]:
    stopping = course.run.stopping
    if not stopping:
        return [course.callback()]
    from transformers import EarlyStoppingCallback

    course.stopper = EarlyStoppingCallback(early_stopping_patience=stopping.patience)
    course.stopper.early_stopping_patience_counter = course.before.waited
    return [course.stopper, course.callback()]
