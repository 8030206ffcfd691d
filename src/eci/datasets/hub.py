"""Datasets of the Hugging Face library: saved folders, objects in memory, and names on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from eci.datasets.chunks import Chunk
from eci.datasets.files import Input, tables
from eci.errors import DataError, MissingDependency

PREFIX = "hf://"


def is_hub_name(path: str | Path) -> bool:
    """Whether a path is a name on the hub."""
    return str(path).startswith((PREFIX, "hf:/"))


def is_saved(folder: Path) -> bool:
    """Whether a folder is a dataset or a dict of datasets saved by ``save_to_disk``."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def saved_input(folder: Path, split: str | None) -> Input:
    """A saved dataset, memory-mapped."""
    datasets = _library(f"Reading the saved dataset {folder}")
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # the library looks at nothing before it uses it
        raise DataError(
            f"{folder}: cannot be read as a saved dataset: {_first_line(error)}. "
            "Save it again, or fetch it again."
        ) from error
    where, home, label = str(folder), folder, folder.resolve().name
    notes: tuple[str, ...] = ()
    if isinstance(found, dict):
        name = choose_split(sorted(found), split, where)
        notes = () if split else (f"{label}: the split is {name}",)
        found, home = found[name], folder / name
    files = tuple(sorted(home.glob("*.arrow")))
    return replace(dataset_input(found, where, label), files=files, folder=folder, notes=notes)


def hub_input(name: str, split: str | None) -> Input:
    """``hf://owner/name[/config[/split]]``, streamed."""
    datasets = _library(f"Reading {name}")
    parts = name.removeprefix("hf:").strip("/").split("/")
    if not 2 <= len(parts) <= 4:
        raise DataError(
            f"{name}: a name on the hub is hf://owner/name, hf://owner/name/config or …/config/split."
        )
    config = parts[2] if len(parts) > 2 else None
    chosen = parts[3] if len(parts) > 3 else split or "train"
    repository = "/".join(parts[:2])
    try:
        _ask(repository)
        found = datasets.load_dataset(repository, config, split=chosen, streaming=True)
    except Exception as error:
        raise _unreachable(name, error) from error
    return dataset_input(found, name, parts[1])


def dataset_input(dataset: Any, where: str, label: str) -> Input:
    """A ``Dataset`` or an ``IterableDataset``."""
    if isinstance(dataset, dict):
        raise DataError(f"a DatasetDict was given, with the splits {', '.join(dataset)}. Give one of them.")

    def parts(size: int) -> Iterator[Any]:
        try:
            yield from dataset.with_format("arrow").iter(batch_size=size)
        except (OSError, ConnectionError, RuntimeError) as error:
            raise _unreachable(where, error) from error

    def chunks(size: int) -> Iterator[Chunk]:
        return tables(parts(size), where)

    return Input(where, label, chunks)


def choose_split(names: list[str], wanted: str | None, where: str) -> str:
    """The wanted split, else ``train``, else the only one, else ``test``."""
    if wanted is not None and wanted not in names:
        raise DataError(f"{where}: has no split '{wanted}'. It has: {', '.join(names)}.")
    if wanted is not None:
        return wanted
    if "train" in names or len(names) == 1:
        return "train" if "train" in names else names[0]
    if "test" in names:
        return "test"
    raise DataError(f"{where}: has the splits {', '.join(names) or 'none'}. Choose one with --split.")


def _library(what: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency(what, "datasets", "datasets") from error
    return datasets


def _ask(repository: str) -> None:
    """One quick question first: loading would retry for half a minute where no hub is."""
    from huggingface_hub import HfApi, constants

    if not constants.HF_HUB_OFFLINE:
        HfApi().dataset_info(repository, timeout=10)


def _unreachable(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name}: cannot be read from the hub: {_first_line(error)}. Check the name and the connection."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
