"""Run an experiment: cells on one device or on several, resumable, then scores, then the tables."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from eci.types import Progress, silent
from eci.validation.cells import Bench
from eci.validation.experiment import TARGET, Experiment
from eci.validation.findings import Outcome, compared
from eci.validation.scored import scored

# Seconds between looks at what other processes have done.
_PAUSE = 5.0


def validate(
    experiment: Experiment,
    folder: str | Path,
    *,
    devices: Sequence[str] = (),
    progress: Progress = silent,
) -> Outcome:
    """Train and evaluate every cell that is not there yet, score the sources, and compare.

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
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    benches = _benches(experiment, folder, devices[0] if len(devices) == 1 else None, progress)
    if len(devices) > 1:
        _shared_out(experiment, folder, devices, benches, progress)
    _work(benches, progress)
    encoders = (TARGET, *experiment.judges)
    held = [(bench, [scored(bench, name, progress) for name in encoders]) for bench in benches]
    progress("comparing", 0, 0)
    return Outcome.of(experiment, [compared(bench, found) for bench, found in held])


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
            time.sleep(_PAUSE)


def _tell(benches: list[Bench], progress: Progress) -> None:
    cells = [(bench, cell) for bench in benches for cell in bench.table()]
    missing = sum(bench.kept(cell) is None for bench, cell in cells)
    progress("cells", len(cells) - missing, len(cells))


def _shared_out(
    experiment: Experiment, folder: Path, devices: Sequence[str], benches: list[Bench], progress: Progress
) -> None:
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    # A forked process would share the state of CUDA and of thread pools.
    with ProcessPoolExecutor(len(devices), mp_context=get_context("spawn")) as pool:
        running = [pool.submit(_worker, experiment, folder, device, threads) for device in devices]
        while not all(each.done() for each in running):
            _tell(benches, progress)
            time.sleep(_PAUSE)
            failed = next((each for each in running if each.done() and each.exception()), None)
            if failed is not None:
                for each in running:
                    each.cancel()
                break
        for each in running:
            each.result()


def _worker(experiment: Experiment, folder: Path, device: str, threads: int) -> None:
    kind, _, place = device.partition(":")
    if kind == "cuda" and place:
        # The trainer takes the first one it sees; nothing of CUDA is loaded yet in this process.
        os.environ["CUDA_VISIBLE_DEVICES"] = place
        device = kind
    import torch

    if device == "cpu":
        torch.set_num_threads(threads)
    _work(_benches(experiment, folder, device, silent), silent)
