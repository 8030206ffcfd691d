"""What to score with, beside rows and encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from eci import metrics
from eci.errors import EciError
from eci.examples import Choice, Examples, refuse_limit

Tokens: TypeAlias = Literal["words", "trigrams", "encoder"]


@dataclass(frozen=True)
class RaySettings:
    """Score queries beyond memory with Ray Data; changes no number.

    Parameters
    ----------
    address : str, optional
        As ``ray.init`` takes it: ``host:port`` of a running cluster, ``auto``, or ``local`` for one on this
        machine. Without it ``$RAY_ADDRESS``, else a cluster that runs on this machine, else a new one here.
        Where Ray is initialised already, that is used.
    workers : int, optional
        Actors, each with the encoder; as many as the cluster has room for if not given.
    gpus : float, optional
        Ray's ``num_gpus`` of each; 1 where the cluster has any, else 0, if not given.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        whole = self.workers is None or (isinstance(self.workers, int) and self.workers >= 1)
        if not whole or (self.gpus is not None and not 0 <= self.gpus < math.inf):
            raise EciError("Ray takes at least 1 worker, and 0 or more GPUs for each.")
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise EciError(f"Ray gives a worker a part of one GPU, or whole ones, not {self.gpus:g}.")
        if "://" in (self.address or ""):
            raise EciError(
                f"{self.address} is an address for programs outside the cluster. Run the command on one of "
                "its machines (ray job submit does), with the address auto or host:6379."
            )


@dataclass(frozen=True)
class Settings:
    """How to score; stored in every result.

    Parameters
    ----------
    metric : str
        Which of ``eci.metrics.NAMES`` ranks the sources.
    sample : int, optional
        Score this many queries, drawn at random; all when None.
    until_decided : bool
        Draw queries in growing random rounds and stop once the first place is decided.
    confidence : float
        Of the decision about the first place; printed intervals are always 95 %.
    temperature : float
        τ of ``eci_sem``, of alignment, of the gradient norm and of the InfoNCE loss.
    seed : int
        Of the order in which queries are drawn, of the negatives that `fixed_n_by` draws, of the positive
        that ``alignment`` trains a query towards, of the draws of shortcuts, and of those behind
        ``probability_best``.
    batch_rows : int
        Queries held at a time while similarities are computed. Changes no number.
    target : str, optional
        Name of the model that will be fine-tuned, where it is another than the encoder.
    tokenizer : {"words", "trigrams", "encoder"}
        What counts as a word where overlaps of words are measured; ``encoder``: the pieces that the
        encoder's own tokenizer makes.
    fixed_n : int, optional
        Cut every source of every query to at most so many negatives before anything is embedded: ln(1 + N)
        alone can make a ranking, and ``eci_sem`` is fair at equal N only.
    fixed_n_by : {"top", "sample"}
        The first of the row, which is by rank where a miner wrote it; of a hybrid that puts one list after
        the other these are the first of its first part. Or a draw by `seed`, whatever the order of the rows.
    shortcuts : bool
        Whether to compare the sources two by two for shortcuts: seconds a pair, so minutes for many sources.
    ray : RaySettings, optional
        Spreads queries beyond memory over the workers of a cluster; this process scores them if not given.
    """

    metric: str = "eci"
    sample: int | None = None
    until_decided: bool = False
    confidence: float = 0.95
    temperature: float = 0.05
    seed: int = 0
    batch_rows: int = 4096
    target: str | None = None
    tokenizer: Tokens = "words"
    fixed_n: int | None = None
    fixed_n_by: Choice = "top"
    shortcuts: bool = True
    ray: RaySettings | None = None

    def __post_init__(self) -> None:
        if self.metric not in metrics.NAMES:
            raise EciError(f"Unknown metric {self.metric!r}. Known: {', '.join(metrics.NAMES)}")
        if self.sample is not None and (
            self.until_decided or not isinstance(self.sample, int) or self.sample < 1
        ):
            raise EciError("sample is a whole number of queries, at least 1, and excludes until_decided")
        low, high = metrics.TEMPERATURES
        if not low <= self.temperature <= high:
            raise EciError(f"temperature lies between {low} and {high}, got {self.temperature}")
        if not 0 < self.confidence < 1 or self.batch_rows < 1:
            raise EciError("confidence lies between 0 and 1, batch_rows at 1 or more")
        if self.tokenizer not in get_args(Tokens):
            raise EciError(f"Unknown tokenizer {self.tokenizer!r}. Known: {', '.join(get_args(Tokens))}")
        refuse_limit(1 if self.fixed_n is None else self.fixed_n, self.fixed_n_by)


@dataclass(frozen=True)
class Corpora:
    """Documents that are no rows'.

    Parameters
    ----------
    candidates : sequence of str
        The corpus that will be searched: held-out queries rank it, and all positives, in ``alignment`` and in
        ``probe``. Each text is embedded. Without them the texts of the rows are ranked.
    words : sequence of str, optional
        Documents that the frequencies of words are counted over, in the place of those of the rows.
    """

    candidates: Sequence[str] = ()
    words: Sequence[str] | None = None

    def found(self, examples: Examples) -> dict[str, int]:
        """How many ``positives`` the rows have, and how many are ``in_candidates``; nothing without these."""
        if not self.candidates:
            return {}
        positives = {examples.documents[place] for place in np.unique(examples.positives.values).tolist()}
        return {"positives": len(positives), "in_candidates": len(positives.intersection(self.candidates))}
