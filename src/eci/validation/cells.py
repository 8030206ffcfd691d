"""Cells of source × seed × collection: each trained, evaluated and kept in one file."""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from eci.atomic import atomic_path, held, let_go
from eci.errors import DataError, InUseError
from eci.models import pretrained
from eci.models.loading import prepared_encoder
from eci.models.sentence_transformer import SentenceTransformerEncoder
from eci.training.finetune import Run, Trained, Training, finetune
from eci.training.rows import Drawing, TrainingRows
from eci.training.settings import NONE
from eci.types import Progress, silent
from eci.validation.evaluation import Evaluation, evaluate_retrieval
from eci.validation.experiment import UNTRAINED, CollectionPlan, Experiment
from eci.validation.prepared import Prepared
from eci.validation.sources import digest_of, settled

SCHEMA = "eci.cell/1"
TEST, DEV = "test", "dev"
_DIGITS = 5


@dataclass(frozen=True)
class Cell:
    """One training run and its evaluation.

    Parameters
    ----------
    source : str
        ``none`` for in-batch negatives alone, ``untrained`` for no training.
    training, rows : Training, Drawing
        With the seed of the cell.
    on : str
        ``test``; or ``dev``: trained without the held-out queries, and evaluated on these.
    """

    source: str
    training: Training
    rows: Drawing
    on: str = TEST


class Bench(Prepared):
    """One collection of an experiment, and the cells that belong to it.

    Parameters
    ----------
    experiment : Experiment
    plan : CollectionPlan
    folder : Path
        Of the whole experiment.
    device : str, optional
        Where models are trained and evaluated.
    progress : Progress
    """

    def __init__(
        self,
        experiment: Experiment,
        plan: CollectionPlan,
        folder: Path,
        *,
        device: str | None = None,
        progress: Progress = silent,
    ) -> None:
        super().__init__(experiment, plan, folder / "sources" / plan.name, progress)
        self.folder, self.device, self._progress = folder, device, progress
        self._kept: dict[Cell, dict[str, Any]] = {}
        self._paths: dict[Cell, Path] = {}

    def missing(self) -> list[Cell]:
        """Cells that are still to be run: those of the tuning first, for the others need its choice."""
        tuning = [cell for cells in self._tuning().values() for cell in cells if not self.kept(cell)]
        return tuning or [cell for cell in self.table() if not self.kept(cell)]

    def table(self) -> list[Cell]:
        """The cells of the table, seed by seed, with the settings that tuning chose."""
        chosen = self.chosen
        found = [self.cell(UNTRAINED, 0, {})]
        for seed in self.experiment.seeds:
            found += [self.cell(source, seed, chosen) for source in (NONE, *self.sources)]
        return found

    def cell(self, source: str, seed: int, chosen: Mapping[str, Any], on: str = TEST) -> Cell:
        """A cell with some settings in the place of those of the experiment."""
        training, rows = self.experiment.training, self.experiment.rows
        return Cell(
            source,
            replace(training, seed=seed, **{key: chosen[key] for key in chosen if hasattr(training, key)}),
            replace(rows, seed=seed, **{key: chosen[key] for key in chosen if hasattr(rows, key)}),
            on,
        )

    @property
    def chosen(self) -> dict[str, Any]:
        """The best settings of the grid: by nDCG@10 of ``none`` on held-out queries, mean over the seeds."""
        tried = self.tried
        return dict(max(tried, key=lambda entry: entry["nDCG@10"])["settings"]) if tried else {}

    @property
    def tried(self) -> list[dict[str, Any]]:
        """Every combination of the grid that has been run, and what it gave."""
        found = []
        for values, cells in self._tuning().items():
            kept = [entry for entry in map(self.kept, cells) if entry]
            if len(kept) == len(cells):
                scores = [entry["tests"][DEV]["measures"]["nDCG@10"]["value"] for entry in kept]
                settings = dict(zip(self._grid, values, strict=True))
                found.append({"settings": settings, "nDCG@10": float(np.mean(scores)), "seeds": scores})
        return found

    @property
    def combinations(self) -> int:
        """How many the grid has."""
        return len(self._tuning())

    def _tuning(self) -> dict[tuple[Any, ...], list[Cell]]:
        """The cells of each combination of the grid."""
        seeds = self.experiment.tuning.seeds if self.experiment.tuning else ()
        return {
            values: [self.cell(NONE, seed, dict(zip(self._grid, values, strict=True)), DEV) for seed in seeds]
            for values in (itertools.product(*self._grid.values()) if self._grid else ())
        }

    @property
    def _grid(self) -> dict[str, list[Any]]:
        return self.experiment.tuning.grid if self.experiment.tuning else {}

    def path(self, cell: Cell) -> Path:
        """The file of a cell: its name tells everything that decides the figures, but for versions."""
        if cell in self._paths:
            return self._paths[cell]
        experiment, plan = self.experiment, self.experiment.model
        told: list[Any] = [settled(plan), self._model.weights, self._model.precision]
        if cell.source != UNTRAINED:
            told += [settled(cell.training), self.rows(cell).digest(self.examples)]
            told += [settled(experiment.stopping)] if experiment.stopping else []
        tests = self.judged if cell.on != DEV else {DEV: self.dev}
        told += [[test.files, list(test.query_ids)] for test in tests.values()]
        name = f"{cell.source}-s{cell.training.seed}-{cell.on}-{digest_of(told)}.json"
        return self._paths.setdefault(cell, self.folder / "cells" / self.plan.name / name)

    def kept(self, cell: Cell) -> dict[str, Any] | None:
        """What a cell gave, if it has been run. A file that is no JSON is moved aside."""
        if cell not in self._kept:
            path = self.path(cell)
            if not path.exists():
                return None
            try:
                self._kept[cell] = orjson.loads(path.read_bytes())
            except orjson.JSONDecodeError:
                path.rename(path.with_suffix(".bad"))
                self._progress(f"{path} is no JSON: moved to {path.stem}.bad, and run again", 0, 0)
                return None
            let_go(_lock(path), path)
        return self._kept[cell]

    def run(self, cell: Cell) -> dict[str, Any] | None:
        """Train, evaluate and keep a cell; None if another run is at it."""
        path = self.path(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
        with suppress(InUseError), held(lock, path):
            kept = self.kept(cell) if path.exists() else None
            if kept is None:
                kept = self._ran(cell, lock / "trainer")
                with atomic_path(path) as temporary:
                    temporary.write_bytes(orjson.dumps(kept) + b"\n")
                self._kept[cell] = kept
            return kept
        return None

    def rows(self, cell: Cell) -> TrainingRows:
        """What a cell trains on.

        Raises
        ------
        DataError
            No list of its source is long enough for a row.
        """
        most = self.experiment.hard_negatives
        wanted = {} if cell.source == NONE else {cell.source: most}
        for label in wanted:
            own = self.examples.negatives.keep(self.examples.source == self.examples.sources.index(label))
            if own.lengths.max(initial=0) < most:
                raise DataError(
                    f"{self.plan.name}: a row has {most} negatives (hard_negatives), and no query has more "
                    f"than {own.lengths.max(initial=0)} of {label}."
                )
        queries = self.used & ~self.held_out if cell.on == DEV else self.used
        if self.experiment.stopping:
            queries = queries & ~self.stopping
        return TrainingRows.of(self.examples, wanted, cell.rows).keep(queries)

    def _ran(self, cell: Cell, scratch: Path) -> dict[str, Any]:
        model = self._loaded()
        trained: dict[str, Any] = {"rows": 0, "steps": 0, "seconds": 0.0}
        if cell.source != UNTRAINED:
            trained = asdict(self._finetuned(model, cell, scratch))
        began = time.perf_counter()
        with prepared_encoder(model, cache=False) as encoder:
            tests = self.judged if cell.on != DEV else {DEV: self.dev}
            found = {name: evaluate_retrieval(encoder, test) for name, test in tests.items()}
        return {
            "schema": SCHEMA,
            "experiment": self.experiment.name,
            "collection": self.plan.name,
            **asdict(cell),
            "hard_negatives": self.experiment.hard_negatives if cell.source in self.sources else 0,
            "model": asdict(self.experiment.model),
            "trained": trained,
            "seconds": {"training": trained["seconds"], "evaluation": time.perf_counter() - began},
            "tests": {name: _told(entry) for name, entry in found.items()},
            "versions": versions(),
        }

    def _finetuned(self, model: Any, cell: Cell, scratch: Path) -> Trained:
        run = Run(self.experiment.stopping, held_out=self.stopping)
        return finetune(model, self.examples, self.rows(cell), cell.training, scratch, run)

    def _loaded(self) -> Any:
        plan = self.experiment.model
        return SentenceTransformerEncoder.load(plan.name, plan.options(self.device)).model

    @cached_property
    def _model(self) -> SentenceTransformerEncoder:
        """The model that every cell starts from, which is never trained."""
        plan = self.experiment.model
        options = replace(plan.options(self.device), precision=self.experiment.training.precision)
        return SentenceTransformerEncoder.load(plan.name, options)

    @property
    def weights(self) -> str:
        """A digest of the weights that every cell starts from."""
        return self._model.weights


def _lock(path: Path) -> Path:
    return path.parent / f".{path.name}.lock"


def versions() -> dict[str, str]:
    """Of everything that decides what training gives."""
    return {"python": platform.python_version(), "eci": version("eci"), **pretrained.versions()}


def _told(found: Evaluation) -> dict[str, Any]:
    """An evaluation without what is the same in every cell."""
    return {
        "queries": found.queries,
        "measures": {name: asdict(value) for name, value in found.measures.items()},
        "per_query": {
            name: [round(value, _DIGITS) for value in values.values()]
            for name, values in found.per_query.items()
        },
    }
