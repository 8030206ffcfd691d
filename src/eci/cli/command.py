"""What commands have in common: the line that was given, progress, a result kept whole or not at all."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eci.types import Progress


class Result(Protocol):
    """What can be written as JSON."""

    def to_json(self) -> str:
        """The result as JSON text."""
        ...


def command_line() -> str:
    """The command that was given, as a shell takes it."""
    return shlex.join(["eci", *sys.argv[1:]])


@contextmanager
def working(output: Path | None) -> Iterator[tuple[Progress, Callable[[Result], None]]]:
    """Progress on stderr, and what keeps the result.

    Parameters
    ----------
    output : Path, optional
        Where the result's JSON goes. It is opened first: a place that cannot be written to is told before the
        work, not after it.
    """
    from eci.atomic import atomic_path
    from eci.cli.progress import StderrProgress

    with atomic_path(output) if output else nullcontext() as temporary, StderrProgress() as progress:

        def keep(result: Result) -> None:
            if temporary is not None:
                # Names of files may be no Unicode: JSON has an escape for what is left of them.
                temporary.write_text(result.to_json() + "\n", encoding="utf-8", errors="backslashreplace")

        yield progress, keep
