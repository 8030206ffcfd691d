"""Who asks a request now: a process, known by host, number and a token of its own."""

from __future__ import annotations

import os
import platform
import secrets

from eci.atomic import runs

# Numbers of processes come again: a claim by the number of this one without this token is of one that died.
_PROCESS = secrets.token_hex(4)


def new_owner() -> str:
    """A name for who claims requests, of this process."""
    return f"{platform.node()}/{os.getpid()}/{_PROCESS}/{secrets.token_hex(4)}"


def lives(owner: str) -> bool:
    """Whether the process of an owner may still run; of one on another host nobody knows."""
    try:
        host, pid, token, _ = owner.rsplit("/", 3)
    except ValueError:
        return False
    if host != platform.node():
        return True
    if pid == str(os.getpid()):
        return token == _PROCESS
    return runs(int(pid))
