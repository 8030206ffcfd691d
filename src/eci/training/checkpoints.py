"""Checkpoints of a training run in a folder that outlives it, so that a killed run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from eci.atomic import atomic_path, remove
from eci.errors import OutputError

_FIGURES = "eci.json"
_SETTINGS = "settings.json"
_STATE = "trainer_state.json"


@dataclass(frozen=True)
class Figures:
    """What a run has summed up so far.

    Parameters
    ----------
    step : int
    seconds : float
        Of training and of evaluating on the way.
    loss : float
        Sum over the steps.
    seen : int
        Rows, over the steps.
    waited : int
        Evaluations in a row that brought nothing better.
    """

    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    seen: int = 0
    waited: int = 0

    def ended(self, steps: int, patience: int | None) -> bool:
        """Whether nothing of a run of so many steps is left to do."""
        return self.step >= steps or (patience is not None and self.waited >= patience)


@dataclass(frozen=True)
class Checkpoints:
    """The folder that a trainer keeps its checkpoints in, with the settings that they belong to.

    Parameters
    ----------
    folder : Path
        There, and for this run alone (`eci.atomic.held`).
    every : int, optional
        Steps from one to the next; a tenth of the run when None.
    """

    folder: Path
    every: int | None = None

    def begin(self, settings: Mapping[str, Any], final: Path) -> None:
        """Take the folder for a run with these settings.

        Parameters
        ----------
        settings : mapping
            Everything that decides the weights, as JSON values.
        final : Path
            What the run makes.

        Raises
        ------
        OutputError
            A run with other settings has left a checkpoint; the message names what differs.
        """
        plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        path, kept = self.folder / _SETTINGS, self.last()
        if kept is None:
            for left in self.folder.iterdir():
                remove(left)
            with atomic_path(path) as temporary:
                temporary.write_bytes(orjson.dumps(plain))
            return
        there, here = (dict(_flat(each)) for each in (orjson.loads(path.read_bytes()), plain))
        names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        if names:
            told = "; ".join(
                f"{name} {_shown(there, name)} there, {_shown(here, name)} here" for name in names
            )
            raise OutputError(
                f"{final}: a run with other settings was stopped at step {kept[1].step:,}: {told}. Give "
                f"those settings again to go on with it, or remove {self.folder} to begin anew."
            )

    def mark(self, figures: Figures) -> None:
        """Note that the checkpoint of a step is whole, with the figures up to it."""
        path = self._path(figures.step) / _FIGURES
        with atomic_path(path) as temporary:
            temporary.write_bytes(orjson.dumps(asdict(figures)))

    def last(self) -> tuple[Path, Figures] | None:
        """The last whole checkpoint, if there is one."""
        found = [Figures(**orjson.loads(path.read_bytes())) for path in self.folder.glob(f"*/{_FIGURES}")]
        if not found:
            return None
        latest = max(found, key=lambda figures: figures.step)
        return self._path(latest.step), latest

    def clear(self) -> None:
        """Empty the folder."""
        for path in self.folder.iterdir():
            remove(path)

    def _path(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}"


def trainer_state(checkpoint: Path) -> dict[str, Any]:
    """What the trainer of transformers noted in a checkpoint."""
    found: dict[str, Any] = orjson.loads((checkpoint / _STATE).read_bytes())
    return found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name)
    return "not given" if value is None else json.dumps(value, ensure_ascii=False)
