"""Fine-tuning with the trainer and the losses of sentence-transformers, the same for every source."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from eci.atomic import scratch_folder
from eci.directions import drawn_order
from eci.errors import DataError, EciError
from eci.examples import Examples
from eci.models.pretrained import Precision
from eci.models.sentence_transformer import limit_tokens
from eci.training import trainer
from eci.training.checkpoints import Checkpoints, trainer_state
from eci.training.rows import TrainingRows
from eci.types import Flags, Progress, silent

Loss: TypeAlias = Literal["mnrl", "cached-mnrl", "gist"]
LOSSES: tuple[Loss, ...] = get_args(Loss)

# Not 0, by which a comparison draws its queries and tunes: those held out would all be among these.
_SALT = 1


@dataclass(frozen=True)
class Training:
    """How to fine-tune; everything but the rows.

    Parameters
    ----------
    epochs : float
    batch_size : int
        Rows; no two of a batch share a text.
    learning_rate : float
        Peak of a linear schedule.
    warmup : float
        Share of the steps in which the rate rises, 0…1.
    temperature : float
        τ of the loss; sentence-transformers calls 1/τ the scale.
    max_seq_length : int, optional
        Tokens read of each text; the model's own limit when None.
    precision : {"auto", "float32", "bfloat16"}
        bfloat16 is automatic mixed precision: weights and the optimiser stay float32.
    seed : int
        Of the order of the rows and of dropout.
    loss : {"mnrl", "cached-mnrl", "gist"}
        Multiple negatives ranking; the same in little memory (GradCache); or GISTEmbed, in which a guide
        tells which candidates are no negatives.
    mini_batch_size : int
        Rows that ``cached-mnrl`` holds at a time.
    guide : str, optional
        The model that guides ``gist``.
    generated : tuple of str
        Sources whose negatives are generated: rows that have negatives of these and of others get CausalNeg's
        entropy term.
    entropy : float
        Weight of that term.

    Raises
    ------
    EciError
        A value is out of its range, or the loss cannot be had with the others.
    """

    epochs: float = 1.0
    batch_size: int = 16
    learning_rate: float = 2e-5
    warmup: float = 0.1
    temperature: float = 0.05
    max_seq_length: int | None = None
    precision: Precision = "auto"
    seed: int = 0
    loss: Loss = "mnrl"
    mini_batch_size: int = 32
    guide: str | None = None
    generated: tuple[str, ...] = ()
    entropy: float = 0.05

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("mini_batch_size", 1), ("max_seq_length", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise EciError(f"{name} is at least {least}, got {value}.")
        for name in ("epochs", "learning_rate", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise EciError(f"{name} is above 0, got {getattr(self, name)}.")
        if not 0 <= self.warmup <= 1 or not 0 <= self.entropy < math.inf:
            raise EciError(
                f"warmup lies in 0…1 and entropy is 0 or more, got {self.warmup} and {self.entropy}."
            )
        for what, given, known in (
            ("loss", self.loss, LOSSES),
            ("precision", self.precision, get_args(Precision)),
        ):
            if given not in known:
                raise EciError(f"{what} is one of {', '.join(known)}, got {given!r}.")
        if (self.loss == "gist") != (self.guide is not None):
            raise EciError("gist needs a guide, the name of a model, and the other losses take none.")
        if self.loss == "gist" and self.generated:
            raise EciError(
                "the entropy term of generated negatives goes with mnrl and cached-mnrl, not with gist."
            )


@dataclass(frozen=True)
class Stopping:
    """Queries held out of training, and when they end it; the best checkpoint by them is what is kept.

    Parameters
    ----------
    share : float
        Of the queries, between 0 and 1, rounded up; drawn by digest, the same whatever the source and seed,
        and independently of any other draw.
    patience : int
        Evaluations in a row without a better nDCG@10 after which training ends.
    every : int, optional
        Steps from one evaluation to the next; a tenth of the run when None.
    """

    share: float = 0.1
    patience: int = 3
    every: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise EciError(f"the share of queries that is held out lies between 0 and 1, got {self.share}.")
        if self.patience < 1 or (self.every is not None and self.every < 1):
            raise EciError("patience and the steps between evaluations are at least 1.")

    def held_out(self, examples: Examples, among: Flags | None = None) -> Flags:
        """Which queries are held out, of shape (Q,).

        Parameters
        ----------
        examples : Examples
        among : ndarray of shape (Q,), optional
            The queries that may be; the share is of these. All of them when None.

        Raises
        ------
        DataError
            None would be left to train on.
        """
        order = drawn_order(examples.keys, _SALT)
        if among is not None:
            order = order[among[order]]
        size = len(order)
        number = math.ceil(self.share * size)
        if number == size:
            raise DataError(
                f"{number} of {size} queries would be held out, and none left to train on. Give more rows, "
                "or a smaller share."
            )
        found = np.zeros(len(examples.queries), dtype=np.bool_)
        found[order[:number]] = True
        return found


@dataclass(frozen=True)
class Run:
    """What goes on beside the training and changes no step of it.

    Parameters
    ----------
    stopping : Stopping, optional
        Evaluates on the queries that are held out, which the rows should lack.
    checkpoints : Checkpoints, optional
        Where a killed run goes on; without it nothing is kept.
    progress : Progress
    held_out : ndarray of shape (Q,), optional
        Queries that `stopping` evaluates on; those of `Stopping.held_out` when None.
    """

    stopping: Stopping | None = None
    checkpoints: Checkpoints | None = None
    progress: Progress = silent
    held_out: Flags | None = None


@dataclass(frozen=True)
class Trained:
    """What a training run cost and did.

    Parameters
    ----------
    rows, steps : int
        Steps that were taken.
    seconds : float
        Of the training, with the evaluations on the way.
    loss : float
        Mean over all steps.
    planned : int
        Steps that would have been taken without early stopping.
    seen : int
        Rows that were in a batch, over all epochs: fewer than rows × epochs where rows shared so many texts
        that they found no batch.
    dev : tuple of (int, float)
        nDCG@10 on the held-out queries by step; step 0 is before training.
    best : int, optional
        The step whose weights were kept, where queries were held out.
    """

    rows: int
    steps: int
    seconds: float
    loss: float
    planned: int = 0
    seen: int = 0
    dev: tuple[tuple[int, float], ...] = ()
    best: int | None = None


def finetune(
    model: Any,
    examples: Examples,
    rows: TrainingRows,
    training: Training,
    beside: Path,
    run: Run | None = None,
) -> Trained:
    """Fine-tune a model in place.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
        Its prompts for queries and documents, if it has any, are put before the texts.
    examples : Examples
    rows : TrainingRows
        Of these examples.
    training : Training
    beside : Path
        Beside it the trainer has its folder, which is gone afterwards, unless there are checkpoints.
    run : Run, optional

    Raises
    ------
    DataError
        There are no rows, or there is no query to evaluate on.
    EciError
        The loss is not finite, or memory runs out.
    EncoderError
        The model cannot be trained so.
    MissingDependency
        sentence-transformers cannot train here.
    """
    run = run or Run()
    trainer.require()
    if not len(rows):
        raise DataError("there are no rows to train on.")
    if training.max_seq_length is not None:
        limit_tokens(model, training.max_seq_length)
    kept = run.checkpoints.last() if run.checkpoints else None
    course = trainer.Course(run, kept[1]) if kept else trainer.Course(run)
    if kept:
        run.progress(f"going on from step {kept[1].step:,}", 0, 0)
    with ExitStack() as stack:
        folder = run.checkpoints.folder if run.checkpoints else stack.enter_context(scratch_folder(beside))
        made = trainer.prepared(model, examples, rows, training, course, folder)
        if kept and kept[1].ended(made.args.max_steps, run.stopping.patience if run.stopping else None):
            state = trainer_state(kept[0])
            trainer.load(model, state["best_model_checkpoint"] or str(kept[0]))
        else:
            state = trainer.trained(made, str(kept[0]) if kept else None)
    steps = state["global_step"]
    return Trained(
        rows=len(rows),
        steps=steps,
        seconds=course.figures(steps).seconds,
        loss=course.loss / steps,
        planned=made.args.max_steps,
        seen=course.seen,
        dev=trainer.measured(state["log_history"]),
        best=state["best_global_step"] if run.stopping else None,
    )
