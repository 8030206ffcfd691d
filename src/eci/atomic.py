"""Outputs that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eci.errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
        The folder of `out` does not exist or may not be written to, or the disk is full.
    """
    final = Path(out)
    if not final.parent.is_dir():
        raise OutputError(f"{final}: the folder {final.parent} does not exist. Create it first.")
    if not os.access(final.parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"{final}: the folder {final.parent} may not be written to. Choose another, or change its rights."
        )
    temporary = final.parent / f".{final.name[:200]}.{secrets.token_hex(4)}.tmp"
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


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _put(temporary: Path, final: Path) -> None:
    if final.is_dir() and not temporary.is_dir():
        raise OutputError(f"{final}: is a folder. Give the name of a file.")
    if not final.is_dir():
        if final.exists() and temporary.is_dir():
            raise OutputError(f"{final}: is a file, and the output is a folder. Give another name.")
        os.replace(temporary, final)
        return
    # A filled folder cannot be replaced in one step: the old one steps aside, and back if the new one fails.
    aside = final.parent / f".{final.name[:200]}.{secrets.token_hex(4)}.old"
    os.replace(final, aside)
    try:
        os.replace(temporary, final)
    except BaseException:
        os.replace(aside, final)
        raise
    remove(aside)
