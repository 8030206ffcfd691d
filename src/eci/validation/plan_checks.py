"""What makes a plan no experiment, told by its place in the file before anything is read or trained."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from eci.errors import DataError, EciError, MissingDependency
from eci.results import listed
from eci.training.finetune import Stopping, Training
from eci.training.rows import Drawing
from eci.training.settings import NONE
from eci.validation.experiment import (
    TARGET,
    UNTRAINED,
    CollectionPlan,
    Experiment,
    SourcePlan,
    TestPlan,
)

Kind = TypeVar("Kind")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_MOST_LETTERS = 80
# torch takes larger ones, NumPy's global generator, which the trainer seeds too, does not.
_SEEDS = 2**32
# Entries of the tables that a cell decides, and why nobody else may.
_OF_THE_CELL = {
    "training": {
        "seed": "is the cell's. Set seeds at the top of the plan",
        "generated": "needs two sources in a row, and a cell has one. Use 'eci train'",
        "entropy": "weighs generated negatives, of which a plan knows none. Use 'eci train'",
    },
    "rows": {"seed": "is the cell's. Set seeds at the top of the plan"},
}
_TABLES: tuple[tuple[str, type[Any]], ...] = (
    ("training", Training),
    ("rows", Drawing),
    ("stopping", Stopping),
)


def typed(kind: type[Kind], loaded: Mapping[str, Any], where: str = "") -> Kind:
    """A dataclass of a table, its entries of the very types of the fields.

    Parameters
    ----------
    kind : type
        The dataclass.
    loaded : mapping
        The table, as TOML gives it.
    where : str
        What stands before the names of the entries in messages.

    Raises
    ------
    DataError
        Entries are unknown, missing or of another type; the message names each of them.
    EciError
        The dataclass refuses a value.
    """
    try:
        from pydantic import TypeAdapter, ValidationError
    except ImportError as error:
        raise MissingDependency("Experiments", "pydantic", "validate") from error
    try:
        # Of JSON an array becomes a tuple and 1 a float even where "1" is refused; of Python's objects not.
        found: Kind = TypeAdapter(kind).validate_json(json.dumps(loaded, default=_refuse_time), strict=True)
    except ValidationError as error:
        told = [
            f"{where}{'.'.join(map(str, entry['loc']))}: {entry['msg']}" + _got(entry)
            for entry in error.errors()
        ]
        raise DataError("; ".join(told) + ".") from error
    return found


def refuse_tables(loaded: Mapping[str, Any]) -> None:
    """Raise a `DataError` for values in a table that its dataclass or the cells refuse."""
    for table, entries in _OF_THE_CELL.items():
        given = loaded.get(table)
        for name, why in entries.items():
            if isinstance(given, Mapping) and name in given:
                raise DataError(f"{table}: {name} {why}.")
    for table, kind in _TABLES:
        try:
            typed(kind, loaded.get(table, {}))
        except DataError:
            # A wrong type, which is told with those of the other tables.
            continue
        except EciError as error:
            raise DataError(f"{table}: {error}") from error


def refuse(experiment: Experiment) -> None:
    """Raise a `DataError` for what the types of single entries do not show; nothing is read."""
    _refuse_names("sources", [entry.name for entry in experiment.sources])
    _refuse_names("collections", [entry.name for entry in experiment.collections])
    _refuse_seeds("seeds", experiment.seeds)
    if experiment.hard_negatives < 1:
        raise DataError(
            f"hard_negatives: is at least 1, got {experiment.hard_negatives}; {NONE}, without any, is always "
            "there."
        )
    _refuse_loss(experiment, experiment.training.loss, "training")
    if experiment.model.max_seq_length is not None and experiment.model.max_seq_length < 1:
        raise DataError(f"model: max_seq_length is at least 1, got {experiment.model.max_seq_length}.")
    _refuse_twice("judges", experiment.judges)
    if TARGET in experiment.judges:
        raise DataError(f"judges: {TARGET} is the model of the plan, which always judges. Leave it out.")
    for entry in experiment.collections:
        _refuse_collection(entry)
    known: list[str] = []
    for source in experiment.sources:
        _refuse_source(source, known)
        known.append(source.name)
    _refuse_tuning(experiment)


def refuse_tests(collection: CollectionPlan, tests: Sequence[tuple[str, Path, TestPlan]], home: Path) -> None:
    """Raise a `DataError` for a test set that is trained on, or that stands there twice.

    Parameters
    ----------
    collection : CollectionPlan
    tests : sequence of (str, Path, TestPlan)
        With the name under which its figures are kept, and its folder.
    home : Path
        The folder that is trained on.
    """
    for name, folder, test in tests:
        if (folder, test.split) == (home, collection.split):
            raise DataError(
                f"collections: {collection.name}: is evaluated on the split it is trained on, '{test.split}' "
                f"of {name}. Name another split or folder under test."
            )
    twice = _twice([name for name, _, _ in tests])
    if twice:
        raise DataError(
            f"collections: {collection.name}: evaluated twice on {listed(twice)}, by the name of the folder. "
            "Name each test set once."
        )


def _refuse_names(noun: str, names: Sequence[str]) -> None:
    _refuse_twice(noun, names)
    if not names:
        raise DataError(f"{noun}: there are none. Name at least one.")
    bad = [name for name in names if not _NAME.fullmatch(name) or len(name) > _MOST_LETTERS]
    if bad:
        raise DataError(
            f"{noun}: {bad[0]!r} becomes the name of a file: letters, digits and . _ + - alone, the first a "
            f"letter or digit, at most {_MOST_LETTERS}."
        )
    if len({name.lower() for name in names}) < len(names):
        raise DataError(
            f"{noun}: {listed(names)} become names of files, and two of them differ in case alone. "
            "Rename one: not every disk tells them apart."
        )


def _refuse_seeds(noun: str, seeds: Sequence[int]) -> None:
    _refuse_twice(noun, [str(seed) for seed in seeds])
    if not seeds:
        raise DataError(f"{noun}: there are none. Name at least one.")
    bad = [seed for seed in seeds if not 0 <= seed < _SEEDS]
    if bad:
        raise DataError(f"{noun}: a seed is a whole number from 0 to {_SEEDS - 1}, got {bad[0]}.")


def _refuse_collection(entry: CollectionPlan) -> None:
    if entry.queries is not None and entry.queries < 1:
        raise DataError(
            f"collections: {entry.name}: queries is at least 1, got {entry.queries}. "
            "Leave it out to train on all."
        )
    # As written: a plan can be read where the folders are not.
    tests = [(Path(test.path).name, Path(test.path), test) for test in entry.tests]
    refuse_tests(entry, tests, Path(entry.path))


def _refuse_source(entry: SourcePlan, known: Sequence[str]) -> None:
    ways = [way for way in ("make", "rows", "into") if getattr(entry, way) is not None]
    if entry.name in (NONE, UNTRAINED):
        raise DataError(f"sources: {entry.name} is always there. Leave it out.")
    if len(ways) != 1:
        raise DataError(
            f"sources: {entry.name} has {listed(ways) or 'nothing to make it of'}. "
            "Give it one of make, rows and into."
        )
    if entry.make is not None and words(entry)[:1] not in (["mine"], ["mix"]):
        raise DataError(f"sources: {entry.name}: make begins with mine or mix, got {entry.make!r}.")
    if entry.into is not None and (entry.into not in known or not 0 < entry.share <= 1):
        raise DataError(
            f"sources: {entry.name}: 'into' is a source further up and share lies in 0…1, above 0; "
            f"got {entry.into!r} and {entry.share}."
        )
    if entry.into is None and entry.share:
        raise DataError(f"sources: {entry.name}: share goes with 'into', the source to plant errors in.")


def words(entry: SourcePlan) -> list[str]:
    """The words of the command that makes a source.

    Raises
    ------
    DataError
        A quotation mark is not closed.
    """
    try:
        return shlex.split(entry.make or "")
    except ValueError as error:
        raise DataError(
            f"sources: {entry.name}: make cannot be split into words, {str(error).lower()}: {entry.make!r}."
        ) from error


def _refuse_tuning(experiment: Experiment) -> None:
    tuning = experiment.tuning
    if tuning is None:
        return
    _refuse_seeds("tuning.seeds", tuning.seeds)
    if not 0 < tuning.dev < 1:
        raise DataError(f"tuning: dev, the share held out, lies between 0 and 1, got {tuning.dev}.")
    own = {name for entries in _OF_THE_CELL.values() for name in entries}
    known = {*Training.__dataclass_fields__, *Drawing.__dataclass_fields__} - own
    unknown = [name for name in tuning.grid if name not in known]
    if unknown:
        raise DataError(
            f"tuning.grid: {listed(unknown)} is no field of training or rows that can be tuned. These are: "
            f"{', '.join(sorted(known))}."
        )
    if not tuning.grid:
        raise DataError("tuning.grid: has nothing to try. Give it a field, or leave [tuning] out.")
    for name, values in tuning.grid.items():
        if not values:
            raise DataError(f"tuning.grid: {name} has no values. Give at least one, or leave it out.")
    for chosen in itertools.product(*tuning.grid.values()):
        _refuse_settings(experiment, dict(zip(tuning.grid, chosen, strict=True)))


def _refuse_settings(experiment: Experiment, chosen: Mapping[str, Any]) -> None:
    """Refuse one combination of the grid as the table that it changes would be."""
    for kind, given in ((Training, experiment.training), (Drawing, experiment.rows)):
        changed = {name: value for name, value in chosen.items() if name in kind.__dataclass_fields__}
        try:
            typed(kind, {**asdict(given), **changed}, "tuning.grid.")
        except DataError:
            raise
        except EciError as error:
            raise DataError(f"tuning.grid: {error}") from error
    _refuse_loss(experiment, chosen.get("loss", experiment.training.loss), "tuning.grid")


def _refuse_loss(experiment: Experiment, loss: str, where: str) -> None:
    if loss == "gist" and experiment.hard_negatives > 1:
        raise DataError(
            f"{where}: gist takes one hard negative in a row, and hard_negatives is "
            f"{experiment.hard_negatives}. Ask for one, or another loss."
        )


def _refuse_twice(noun: str, names: Sequence[str]) -> None:
    twice = _twice(names)
    if twice:
        raise DataError(f"{noun}: {listed(twice)} stands there twice.")


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def _refuse_time(value: object) -> Any:
    raise DataError(f"{value} is a date or a time, which no entry takes. Put it between quotation marks.")


def _got(entry: Any) -> str:
    value = entry.get("input")
    return f", got {value!r}" if isinstance(value, str | int | float | bool) else ""
