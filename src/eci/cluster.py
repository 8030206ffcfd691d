"""A cluster of Ray: reached, quiet, and how much room it has."""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from eci.errors import EngineError, MissingDependency
from eci.settings import RaySettings
from eci.types import Progress, silent

# Seconds that an address has to answer in: Ray itself would try for minutes.
_PATIENCE = 10.0


def require_ray() -> None:
    """Raise a `MissingDependency` unless Ray Data is installed."""
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise MissingDependency("Scoring with the engine ray", "ray", "ray") from error


@contextmanager
def connected(address: str | None, progress: Progress = silent) -> Iterator[None]:
    """A cluster, until the end of the block.

    A session of Ray that the caller has opened is used, and left open.

    Parameters
    ----------
    address : str, optional
        See `RaySettings`.
    progress : Progress

    Raises
    ------
    EngineError
        No cluster can be reached.
    """
    import ray

    if ray.is_initialized():
        with _quiet():
            yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    progress(f"connecting to Ray{f' at {address}' if address else ''}", 0, 0)
    _refuse_silent(address)
    # Ray reports how it is used to its makers, unless it is told not to.
    with _environment("RAY_USAGE_STATS_ENABLED", "0"):
        try:
            with _hushed():
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise EngineError(f"No cluster was reached: {first_line(error)}") from error
        try:
            with _quiet():
                yield
        finally:
            ray.shutdown()


def room(settings: RaySettings, progress: Progress) -> tuple[int, float]:
    """How many workers, and how many GPUs each of them has."""
    import ray

    has = ray.cluster_resources()
    cpus, cards = has.get("CPU", 0.0), has.get("GPU", 0.0)
    gpus = settings.gpus if settings.gpus is not None else float(cards >= 1)
    room = int(min(cpus, cards / gpus) if gpus else cpus)
    asked = f"a worker takes 1 CPU and {gpus:g} GPU, and the cluster has {cpus:g} and {cards:g}"
    if room < 1 and settings.workers is None:
        raise EngineError(
            f"There is room for no worker: {asked}. Give fewer GPUs to each (--ray-gpus), or, where the "
            "cluster grows when it is asked to, say how many workers (--ray-workers)."
        )
    workers = settings.workers or room
    machines = sum(node["Alive"] for node in ray.nodes())
    told = f"starting Ray's workers: {workers:,} on {machines:,} machine{'s' if machines > 1 else ''}"
    progress(f"{told}; there is room for {room:,}: {asked}" if room < workers else told, 0, 0)
    return workers, gpus


def _refuse_silent(address: str | None) -> None:
    """Raise an `EngineError` if nobody listens at ``host:port``."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except OSError as error:
        raise EngineError(
            f"No cluster answers at {address} ({error.strerror or error}). 'ray status' on one of its "
            "machines tells whether it runs; the address is that of the head, with the port of 'ray start', "
            "6379 if it was not told another."
        ) from error


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable of the environment, where the user has not set it."""
    added = name not in os.environ
    if added:
        os.environ[name] = value
    try:
        yield
    finally:
        if added:
            del os.environ[name]


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep the C++ part of Ray from writing to stderr: it warns of how Ray Data starts actors."""
    sys.stderr.flush()
    # It tells even that it was told to be silent.
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with _environment("RAY_BACKEND_LOG_LEVEL", "fatal"):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data from writing to the terminal; its log files have everything."""
    handlers = [
        (handler, handler.level)
        for handler in logging.getLogger("ray.data").handlers
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
    ]
    for handler, _ in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            # Its settings have fields that it deprecates, and it advises who reads in few tasks.
            warnings.filterwarnings("ignore", module=r"ray\.")
            yield
    finally:
        for handler, level in handlers:
            handler.setLevel(level)


def first_line(error: BaseException) -> str:
    """What an error says first, for a message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
