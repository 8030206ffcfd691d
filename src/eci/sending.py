"""What goes to other processes and comes from them: encoders, and exceptions."""

from __future__ import annotations

import os
import pickle
import socket
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eci.errors import EciError, EncoderError, EngineError
from eci.examples import shorten
from eci.models.loading import prepared_encoder
from eci.models.sentence_transformer import ModelOptions
from eci.types import Encoder


@dataclass(frozen=True)
class Loading:
    """What an encoder is made of on another machine.

    Parameters
    ----------
    encoder : str or bytes
        A name, or an object that was pickled.
    options : ModelOptions, optional
    cache : bool or str
    """

    encoder: str | bytes
    options: ModelOptions | None
    cache: bool | str

    @classmethod
    def of(cls, encoder: str | Encoder, options: ModelOptions | None, cache: bool | str | Path) -> Loading:
        """What `eci.api.score` takes, as it can be sent.

        Raises
        ------
        EncoderError
            It cannot be sent.
        """
        if options is not None and ":" in (options.device or ""):
            raise EncoderError(
                f"Ray chooses the GPU of each worker, and {options.device} names one. Leave out the number; "
                "--ray-gpus (gpus) says how many each has."
            )
        if cache is True and "ECI_CACHE" in os.environ:
            cache = os.environ["ECI_CACHE"]
        cache = cache if isinstance(cache, bool) else str(Path(cache).absolute())
        if isinstance(encoder, str):
            folder = encoder != "hashing" and Path(encoder).is_dir()
            return cls(str(Path(encoder).absolute()) if folder else encoder, options, cache)
        return cls(pickled(encoder, type(encoder).__name__), options, cache)

    def begin(self, stack: ExitStack) -> Encoder:
        """The encoder, until `stack` closes."""
        encoder: Any = self.encoder
        if isinstance(encoder, bytes):
            encoder = _unpickled(encoder)
        elif Path(encoder).is_absolute() and not Path(encoder).is_dir():
            raise EncoderError(
                f"{encoder} is not there on {socket.gethostname()}. Put it where all machines of the cluster "
                "find it under this path."
            )
        ready: Encoder = stack.enter_context(prepared_encoder(encoder, self.options, self.cache))
        return ready


def described(encoder: Encoder) -> dict[str, str]:
    """What has to be the same on all machines."""
    told: dict[str, Any] = getattr(encoder, "describe", dict)()
    return {key: str(value) for key, value in told.items() if key not in ("name", "versions")}


def refuse_another(here: dict[str, str], there: dict[str, str]) -> None:
    """Raise an `EncoderError` if two encoders are described otherwise."""
    other = [key for key in sorted({*here, *there}) if here.get(key) != there.get(key)]
    if other:
        key = other[0]
        raise EncoderError(
            f"The encoder on {socket.gethostname()} is another than where the command runs: {key} is "
            f"{shorten(there.get(key, 'unknown'))!r} there and {shorten(here.get(key, 'unknown'))!r} here. "
            "Use the same files and versions on all machines, and name the precision: with 'auto' it is the "
            "machine's."
        )


def _unpickled(encoder: bytes) -> Any:
    try:
        return pickle.loads(encoder)  # noqa: S301
    except Exception as error:
        raise EncoderError(
            f"The encoder cannot be made again on {socket.gethostname()} ({type(error).__name__}: {error}). "
            "What defines it has to be installed on all machines of the cluster."
        ) from error


def pickled(thing: Any, what: str) -> bytes:
    """A thing for another process; raises an `EncoderError` if it cannot be sent."""
    from ray import cloudpickle

    try:
        made: bytes = cloudpickle.dumps(thing)
    except Exception as error:
        raise EncoderError(
            f"{what} cannot be sent to the workers of a cluster ({type(error).__name__}: {error}). Give a "
            "model's name or folder, or an encoder that pickle can write."
        ) from error
    return made


def told(failure: Exception) -> bytes:
    """An exception for another process, with where it came from."""
    trace = "".join(traceback.format_exception(failure))
    try:
        pickle.loads(pickle.dumps(failure))  # noqa: S301
    except Exception:  # noqa: BLE001
        kind = "" if isinstance(failure, EciError) else f"{type(failure).__name__} in a worker: "
        failure = EngineError(f"{kind}{failure}")
    return pickle.dumps((failure, f"\n{trace}on {socket.gethostname()}"))


def retold(message: bytes) -> Exception:
    """The exception of a message, whose cause is where it came from."""
    failure: Exception
    failure, trace = pickle.loads(message)  # noqa: S301
    failure.__cause__ = _ElsewhereError(trace)
    return failure


class _ElsewhereError(Exception):
    """The traceback of a worker."""
