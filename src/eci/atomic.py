"""Outputs that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir

from eci.errors import InUseError, OutputError

try:
    import fcntl
except ImportError:  # Windows; two runs with one output are then not told apart
    fcntl = None  # type: ignore[assignment]

_SQLITE = b"SQLite format 3\0"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_HOST = re.sub(r"\W", "_", platform.node(), flags=re.ASCII)[:40]
_LEFT = re.compile(r"(?P<host>\w*)-(?P<pid>\d+)-[0-9a-f]{8}\.tmp.*")


@contextmanager
def atomic_path(out: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `out`, and rename it to `out` when the block ends well.

    The block creates a file or a folder under the temporary path. After an exception, Ctrl-C included,
    nothing is left under either name, and what was under `out` before is untouched.

    Parameters
    ----------
    out : str or Path
        The final name. An existing file or folder of that name is replaced.

    Yields
    ------
    Path
        A free name in the same folder.

    Raises
    ------
    OutputError
        The folder of `out` does not exist or may not be written to, `out` is a database, or the disk is full.
    """
    final = Path(out)
    require_folder(final)
    refuse_database(final)
    _sweep(final)
    temporary = _beside(final)
    try:
        yield temporary
        _put(temporary, final)
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(
                f"{final}: no space left to write it. Free some space, or write to another disk."
            ) from error
        if str(temporary) in str(error.filename):
            raise OutputError(
                f"{final}: cannot be written: {error.strerror}. Choose another name."
            ) from error
        raise
    finally:
        remove(temporary)


@contextmanager
def scratch_folder(final: Path) -> Iterator[Path]:
    """A folder beside `final` for what is needed on the way to it; gone afterwards.

    Raises
    ------
    OutputError
        The folder of `final` does not exist or may not be written to.
    """
    require_folder(final)
    _sweep(final)
    folder = _beside(final)
    # Rows are nobody else's business, and temporary files may lie where others look.
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        remove(folder)


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """A folder in the system's place for temporary files; gone afterwards.

    What a killed run left goes when the next one wants a folder of that name.

    Raises
    ------
    OutputError
        There is no place for temporary files.
    """
    with scratch_folder(Path(gettempdir()) / name) as folder:
        yield folder


def work_folder(final: Path) -> Path:
    """Where work on `final` that outlives a killed run is kept."""
    return final.parent / f".{_begin(final)}.work"


@contextmanager
def held(folder: Path, final: Path) -> Iterator[None]:
    """Have `folder` to oneself, for work on `final` that outlives a killed run; an empty one goes afterwards.

    Raises
    ------
    InUseError
        Another process holds it.
    OutputError
        It cannot be made.
    """
    require_folder(final)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        raise OutputError(
            f"{final}: a file has the name of the folder for work on it, {folder}. Move it away first."
        ) from None
    with ExitStack() as stack:
        if fcntl is not None:
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                same = os.fstat(handle).st_ino == folder.stat().st_ino
            except OSError:
                same = False
            if not same:
                raise InUseError(
                    f"{final}: another run is writing it. Wait until it has ended, or choose another name."
                )
        # Not before: an empty folder may be that of a run that has just begun.
        stack.callback(_remove_empty, folder)
        yield


def let_go(folder: Path, final: Path) -> None:
    """Delete a folder of `held` that a run left, killed once `final` was there; not if it is held."""
    if folder.is_dir():
        with suppress(InUseError), held(folder, final):
            for path in folder.iterdir():
                remove(path)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def require_folder(final: Path) -> None:
    """Raise an `OutputError` if the folder of `final` does not exist or may not be written to."""
    if not final.parent.is_dir():
        raise OutputError(f"{final}: the folder {final.parent} does not exist. Create it first.")
    if not os.access(final.parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"{final}: the folder {final.parent} may not be written to. Choose another, or change its rights."
        )


def refuse_places(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raise an `OutputError` if an output would replace an input, another output or a journal of answers."""
    for number, out in enumerate(outputs):
        for others, told in ((inputs, "is read from"), (outputs[:number], "is to be written twice")):
            for path in others:
                place, other = out.resolve(), path.resolve()
                same = place == other or (out.exists() and path.exists() and out.samefile(path))
                if same or place in other.parents:
                    named = "" if out == path else f" ({path})"
                    raise OutputError(f"{out}: {told}{named}. Write to another name.")
        refuse_database(out)


def refuse_database(final: Path) -> None:
    """Raise an `OutputError` if a file is an SQLite database.

    Answers are kept in one, which were paid for, and nothing that eci writes is one.
    """
    if final.is_file():
        with final.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                raise OutputError(
                    f"{final}: is a database, such as answers are kept in. Give another name, or remove "
                    "it first."
                )


def _beside(final: Path) -> Path:
    """A free name that tells whose it is, so that what a killed process left can be told from work."""
    owner = f"{_HOST}-{os.getpid()}"
    return final.parent / f".{_begin(final)}.{owner}-{secrets.token_hex(4)}.tmp"


def _begin(final: Path) -> str:
    """As much of a name as leaves room for what is added: disks count bytes, not letters."""
    return os.fsencode(final.name)[:150].decode("utf-8", "ignore")


def _sweep(final: Path) -> None:
    """Remove what killed runs on this machine left of `final`."""
    begin = f".{_begin(final)}."
    for path in final.parent.iterdir():
        found = _LEFT.fullmatch(path.name.removeprefix(begin)) if path.name.startswith(begin) else None
        if found and found["host"] == _HOST and not runs(int(found["pid"])):
            remove(path)


def runs(pid: int) -> bool:
    """Whether a process of this machine may still run."""
    if os.name == "nt":  # there the signal 0 is no question but Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _put(temporary: Path, final: Path) -> None:
    if final.is_dir() and not temporary.is_dir():
        raise OutputError(f"{final}: is a folder. Give the name of a file.")
    if not final.is_dir():
        if final.exists() and temporary.is_dir():
            raise OutputError(f"{final}: is a file, and the output is a folder. Give another name.")
        os.replace(temporary, final)
        return
    # A filled folder cannot be replaced in one step: the old one steps aside, and back if the new one fails.
    aside = _beside(final)
    os.replace(final, aside)
    try:
        os.replace(temporary, final)
    except BaseException:
        os.replace(aside, final)
        raise
    remove(aside)
