"""Experiment files: which sources, seeds and collections are trained and compared, as checked TOML."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from eci.datasets import beir
from eci.errors import DataError, MissingDependency
from eci.models.sentence_transformer import ModelOptions
from eci.results import count, listed
from eci.training.finetune import Stopping, Training
from eci.training.rows import Drawing
from eci.training.settings import NONE

TARGET = "target"
UNTRAINED = "untrained"
_FORBID = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class ModelPlan:
    """The model that every cell starts from.

    Parameters
    ----------
    name : str
        As for ``eci score --encoder``.
    revision : str, optional
    prompts : dict of str to str
    config : dict
        What to change of the model's configuration before its weights are loaded; ``num_hidden_layers = 3``
        keeps the first three layers.
    attention : str, optional
        Implementation of attention, a name that transformers knows: ``eager``, ``sdpa``.
    max_seq_length : int, optional
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: str
    revision: str | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    attention: str | None = None
    max_seq_length: int | None = None

    def options(self, device: str | None = None) -> ModelOptions:
        """How to load it."""
        return ModelOptions(
            device=device,
            revision=self.revision,
            prompts=self.prompts or None,
            config_kwargs=self.config or None,
            model_kwargs={"attn_implementation": self.attention} if self.attention else None,
            max_seq_length=self.max_seq_length,
        )


@dataclass(frozen=True)
class SourcePlan:
    """A source of hard negatives: made by a command, read from files, or another one with errors planted.

    Parameters
    ----------
    name : str
    make : str, optional
        ``mine …`` or ``mix …`` as after ``eci``, without input and output: ``mine bm25 -k 10``. Inputs of
        ``mix`` are names of sources further up.
    rows : str, optional
        A file of rows; ``{collection}`` stands for the collection's name.
    into : str, optional
        A source further up, of whose negatives `share` are replaced by positives of the same query.
    share : float
        0…1.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: str
    make: str | None = None
    rows: str | None = None
    into: str | None = None
    share: float = 0.0


@dataclass(frozen=True)
class TestPlan:
    """A BEIR folder to evaluate on, and whose judgements."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    __test__: ClassVar[bool] = False
    path: str
    split: str = "test"


@dataclass(frozen=True)
class CollectionPlan:
    """A BEIR folder to train on, and what to evaluate on.

    Parameters
    ----------
    name : str
    path : str
        Of the folder; ``$NAME`` is taken from the environment.
    split : str
        Whose judgements are trained on.
    queries : int, optional
        Train on so many queries, drawn by digest; on all when None.
    test : list of TestPlan
        The folder's own test split when empty.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: str
    path: str
    split: str = "train"
    queries: int | None = None
    test: tuple[TestPlan, ...] = ()

    @property
    def tests(self) -> tuple[TestPlan, ...]:
        """What to evaluate on."""
        return self.test or (TestPlan(self.path),)


@dataclass(frozen=True)
class TuningPlan:
    """Settings tried with in-batch negatives alone, on queries that are held out of training.

    Parameters
    ----------
    grid : dict of str to list
        Values of fields of the training and of the rows, such as ``learning_rate``; every combination is
        tried.
    dev : float
        Share of the training queries that is held out meanwhile, 0…1; the cells train on all of them.
    seeds : list of int
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    grid: dict[str, list[Any]]
    dev: float = 0.2
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Experiment:
    """Cells of source × seed × collection, and how each is trained.

    Parameters
    ----------
    name : str
    model : ModelPlan
    collections : list of CollectionPlan
    sources : list of SourcePlan
        ``none``, in-batch negatives alone, is always there and not named.
    seeds : list of int
    training : Training
        Its seed is that of the cell.
    rows : Drawing
        Its seed is that of the cell.
    hard_negatives : int
        In a row.
    tuning : TuningPlan, optional
        What it finds takes the place of fields of `training` and `rows`.
    stopping : Stopping, optional
        Early stopping of every cell by queries that it holds out of training.
    judges : list of str
        Encoders that score the sources beside the model itself.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    name: str
    model: ModelPlan
    collections: tuple[CollectionPlan, ...]
    sources: tuple[SourcePlan, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    training: Training = Training()  # noqa: RUF009
    rows: Drawing = Drawing()  # noqa: RUF009
    hard_negatives: int = 1
    tuning: TuningPlan | None = None
    stopping: Stopping | None = None
    judges: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Experiment:
        """Read a TOML file.

        Raises
        ------
        DataError
            The file is no TOML, or an entry is unknown, missing or wrong; the message names each of them.
        MissingDependency
            pydantic is not installed.
        """
        path = Path(path)
        try:
            loaded = _toml().loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: is no TOML: {error}.") from error
        try:
            return cls.of(loaded)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    @classmethod
    def of(cls, loaded: Mapping[str, Any]) -> Experiment:
        """A plan whose entries have been checked, all but whether folders and files are there.

        Parameters
        ----------
        loaded : mapping
            What stands in the file.

        Raises
        ------
        DataError
            As for `read`.
        MissingDependency
            pydantic is not installed.
        """
        # It knows the classes of this module.
        from eci.validation import plan_checks

        plan_checks.refuse_tables(loaded)
        found = plan_checks.typed(cls, loaded)
        plan_checks.refuse(found)
        return found

    def text(self) -> str:
        """What would be run, for a person."""
        cells = len(self.collections) * len(self.seeds) * (len(self.sources) + 1)
        grid = math.prod(map(len, self.tuning.grid.values())) if self.tuning else 0
        tuning = grid * len(self.collections) * len(self.tuning.seeds) if self.tuning else 0
        lines = [
            f"{self.name}: {self.model.name}, {count(len(self.collections), 'collection')} × "
            f"{count(len(self.sources) + 1, 'source')} with {NONE} × {count(len(self.seeds), 'seed')}: "
            f"{count(cells, 'training run')}",
            *([f"  tuning with {NONE}: {count(tuning, 'training run')} more"] if tuning else []),
            *(
                f"  {entry.name}: {expanded(entry.path)}, evaluated on "
                + listed([f"{expanded(test.path).name} ({test.split})" for test in entry.tests])
                for entry in self.collections
            ),
            *(
                f"  {entry.name}: {entry.make or entry.rows or f'{entry.into}, {entry.share:.0%} planted'}"
                for entry in self.sources
            ),
        ]
        return "\n".join(lines)

    def checked(self) -> Experiment:
        """The experiment itself, once its folders and files are known to be there; nothing is read of them.

        Raises
        ------
        DataError
            A folder is no BEIR collection or lacks the split, a file of rows is not there, a name is not set
            in the environment, or a test set is trained on or named twice.
        """
        from eci.validation import plan_checks

        for entry in self.collections:
            try:
                home = _found(entry.path, entry.split)
                tests = [(*_found(test.path, test.split), test) for test in entry.tests]
            except DataError as error:
                raise DataError(f"collections: {entry.name}: {error}") from error
            plan_checks.refuse_tests(entry, tests, home[1])
            for source in self.sources:
                if source.rows is not None:
                    rows = expanded(source.rows.replace("{collection}", entry.name))
                    if not rows.is_file():
                        raise DataError(f"sources: {source.name}: {rows}: no such file.")
        return self


def expanded(path: str) -> Path:
    """A path with ``$NAME`` from the environment.

    Raises
    ------
    DataError
        A name is not set.
    """
    found = os.path.expandvars(path)
    if "$" in found:
        raise DataError(f"{path}: {found[found.index('$') :].split('/')[0]} is not set in the environment.")
    return Path(found)


def _found(path: str, split: str) -> tuple[str, Path]:
    """The name and the folder of a collection that has a split."""
    folder = expanded(path)
    return beir.find(folder, (), split, None, None).name, folder.resolve()


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    try:
        import tomli  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise MissingDependency("Experiments", "tomli", "validate") from error
    return tomli
