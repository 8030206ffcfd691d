"""Run an experiment: scores, then cells on one device or on several, resumable, then the tables."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from eci.errors import EciError, MissingDependency
from eci.results import listed
from eci.types import Progress, silent
from eci.validation.cells import Bench
from eci.validation.experiment import TARGET, Experiment
from eci.validation.findings import Outcome, compared
from eci.validation.scored import scored
from eci.validation.sources import PAUSE

_NEEDED = {
    "sentence-transformers": "sentence_transformers",
    "accelerate": "accelerate",
    "datasets": "datasets",
    "bm25s": "bm25s",
    "ir-measures": "ir_measures",
    "scipy": "scipy",
}


def validate(
    experiment: Experiment,
    folder: str | Path,
    *,
    devices: Sequence[str] = (),
    progress: Progress = silent,
) -> Outcome:
    """Score the sources, train and evaluate every cell that is not there yet, and compare.

    Several runs may work on one folder: each takes cells that no other is at, and waits for the others'.

    Parameters
    ----------
    experiment : Experiment
    folder : str or Path
        Where sources, cells and scores are kept. A killed run goes on with it.
    devices : sequence of str
        A process for each: ``cuda:0``, ``cuda:1``; ``cpu`` twice: two that share the cores. When empty one
        process, on the device that torch chooses.
    progress : Progress

    Raises
    ------
    EciError
        A source, cell or score cannot be had; what was done before is kept.
    MissingDependency
        Something that training or evaluation needs is not installed.
    """
    MissingDependency.unless_installed("An experiment", _NEEDED, "validate")
    experiment.checked()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    benches = _benches(experiment, folder, devices[0] if devices else None, progress)
    # First what needs no training: an encoder that cannot be had is told before hours of it.
    encoders = (TARGET, *experiment.judges)
    scores = [[scored(bench, name, progress) for name in encoders] for bench in benches]
    if devices:
        _share_out(experiment, folder, devices, benches, progress)
    _work(benches, progress)
    progress("comparing", 0, 0)
    return Outcome.of(
        experiment, [compared(bench, found) for bench, found in zip(benches, scores, strict=True)]
    )


def _benches(experiment: Experiment, folder: Path, device: str | None, progress: Progress) -> list[Bench]:
    return [
        Bench(experiment, plan, folder, device=device, progress=progress) for plan in experiment.collections
    ]


def _work(benches: list[Bench], progress: Progress) -> None:
    """Run cells until none is missing, seed by seed over all collections."""
    while True:
        missing = [(bench, cell) for bench in benches for cell in bench.missing()]
        if not missing:
            return
        done = 0
        for bench, cell in sorted(missing, key=lambda entry: entry[1].training.seed):
            _tell(benches, progress)
            done += bench.run(cell) is not None
        if not done:
            time.sleep(PAUSE)


def _tell(benches: list[Bench], progress: Progress) -> None:
    """Cells of the table, once tuning has said which these are."""
    if all(len(bench.tried) == bench.combinations for bench in benches):
        cells = [(bench, cell) for bench in benches for cell in bench.table()]
        progress("cells", sum(bench.kept(cell) is not None for bench, cell in cells), len(cells))
    else:
        progress("tuning", sum(len(bench.tried) for bench in benches), sum(b.combinations for b in benches))


def _share_out(
    experiment: Experiment, folder: Path, devices: Sequence[str], benches: list[Bench], progress: Progress
) -> None:
    """A process for each device, until all are done or one fails, which ends the others."""
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    # A forked process would share the state of CUDA and of thread pools.
    context = get_context("spawn")
    told = context.SimpleQueue()
    running = [
        context.Process(target=_worker, args=(experiment, folder, device, threads, told), daemon=True)
        for device in devices
    ]
    for each in running:
        each.start()
    try:
        while any(each.is_alive() for each in running):
            _tell(benches, progress)
            if any(each.exitcode for each in running):
                break
            time.sleep(PAUSE)
        # A process that was killed has a negative code, as those have that are ended below.
        failed = [device for device, each in zip(devices, running, strict=True) if each.exitcode]
    finally:
        for each in running:
            each.terminate()
            each.join()
    if not told.empty():
        raise EciError(told.get())
    if failed:
        raise EciError(
            f"the process on {listed(failed)} ended without a word. Cells that were done are kept."
        )


def _worker(experiment: Experiment, folder: Path, device: str, threads: int, told: Any) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    kind, _, place = device.partition(":")
    if kind == "cuda" and place:
        # The trainer takes the first one it sees; nothing of CUDA is loaded yet in this process.
        os.environ["CUDA_VISIBLE_DEVICES"] = place
    try:
        import torch

        if kind == "cpu":
            torch.set_num_threads(threads)
        _work(_benches(experiment, folder, kind, silent), silent)
    except (EciError, RuntimeError, OSError) as error:
        told.put(f"on {device}: {error}")
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        # Ctrl-C reaches the processes of a terminal all at once; the first one says so.
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    """End when the process that started this one is gone, however it went."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
