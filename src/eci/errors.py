"""The error tree. Every error says what was expected, what was found, where, and what to do.

::

    EciError                what the command line turns into one line and exit code 1
    ├── DataError           rows, qrels, runs or collections that cannot be read as what they claim to be
    │   └── LayoutError     the shape of the rows is unknown, ambiguous or mixed
    ├── EncoderError        an encoder that cannot be loaded, is refused, or gave unusable vectors
    ├── EngineError         a cluster cannot be reached, or gave up
    ├── CacheError          the embedding cache cannot be opened, read or written
    ├── ChatError           a chat model cannot be asked, or its answers not kept
    ├── OutputError         a result cannot be written
    │   └── InUseError      another run is writing it
    └── MissingDependency   a package of an extra is not installed (also an ImportError)
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec


class EciError(Exception):
    """Any refusal that a user can act on."""


class DataError(EciError):
    """Rows, qrels, runs or collections that cannot be read as what they claim to be."""


class LayoutError(DataError):
    """The layout of the rows is unknown, ambiguous or mixed."""


class EncoderError(EciError):
    """An encoder that cannot be loaded, is refused, or gave unusable vectors."""


class EngineError(EciError):
    """A cluster cannot be reached, has no room, or gave up what it was computing."""


class CacheError(EciError):
    """The embedding cache cannot be opened, read or written."""


class ChatError(EciError):
    """A chat model cannot be asked, or its answers cannot be kept; ends the run.

    Parameters
    ----------
    what : str
        What went wrong and where, as a sentence.
    hint : str
        What to do about it, as a sentence.
    retryable : bool
        Whether the same run may go well later with nothing changed.
    """

    def __init__(self, what: str, *, hint: str, retryable: bool = False) -> None:
        super().__init__(f"{what} {hint}")
        self.what = what
        self.hint = hint
        self.retryable = retryable


class OutputError(EciError):
    """A result cannot be written where it was asked for."""


class InUseError(OutputError):
    """Another run is writing the result."""


class MissingDependency(EciError, ImportError):  # noqa: N818
    """A package of an extra is not installed.

    Parameters
    ----------
    what : str
        The public thing that needs the package, as a user knows it: ``"BM25"``.
    package : str
        The distribution that is missing.
    extra : str
        The extra of ``eci`` that brings it; several with commas between them.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}. Install it with: pip install 'eci[{extra}]'")

    @classmethod
    def unless_installed(cls, what: str, packages: Mapping[str, str], extra: str) -> None:
        """Raise it where modules cannot be found: before the work, not in it.

        Parameters
        ----------
        what : str
        packages : mapping of str to str
            Modules, by the distributions that bring them.
        extra : str

        Raises
        ------
        MissingDependency
            Names every distribution that is missing.
        """
        lacking = [package for package, module in packages.items() if find_spec(module) is None]
        if lacking:
            raise cls(what, " and ".join(lacking), extra)
