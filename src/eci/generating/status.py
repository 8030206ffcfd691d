"""How far the requests in a journal are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from eci.chat.journal import Journal
from eci.errors import ChatError

_WORDS = {
    "answered": "answered",
    "failed": "without a usable answer (--retry-failed asks again)",
    "open": "to be asked again by the next run",
    "asked": "being asked, or left by a run that was killed",
}


@dataclass(frozen=True)
class JournalStatus:
    """Requests of a journal by state, their tokens and their cost.

    Parameters
    ----------
    journal : str
    states : dict of str to int
        ``answered``, ``failed``, ``open`` and ``asked``.
    prompt_tokens, completion_tokens : int
        Of all requests and attempts.
    cost : float, optional
        None without a price.
    """

    journal: str
    states: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    cost: float | None

    def to_json(self) -> str:
        """Everything, as JSON of schema ``eci.journal/1``."""
        return orjson.dumps({"schema": "eci.journal/1", **asdict(self)}, option=orjson.OPT_INDENT_2).decode()

    def table(self) -> str:
        """The counts for a person."""
        lines = [f"{self.journal}: {sum(self.states.values()):,} requests"]
        lines += [f"  {number:,} {_WORDS[state]}" for state, number in self.states.items() if number]
        cost = "" if self.cost is None else f"; cost {self.cost:,.4f}"
        tokens = f"tokens: {self.prompt_tokens:,} of prompts, {self.completion_tokens:,} of answers{cost}"
        return "\n".join([*lines, tokens])


def journal_status(path: Path, price: tuple[float, float] | None = None) -> JournalStatus:
    """Requests of a journal by state.

    Parameters
    ----------
    path : Path
    price : (float, float), optional
        Of a million tokens of prompts and of answers.

    Raises
    ------
    ChatError
        The file is not there or no journal.
    """
    if not path.is_file():
        raise ChatError(f"{path}: there is no such journal.", hint="Name the one of --journal.")
    opened = Journal(path)
    try:
        found = opened.status()
    finally:
        opened.close()
    cost = None
    if price is not None:
        cost = (found.prompt_tokens * price[0] + found.completion_tokens * price[1]) / 1_000_000
    states = {state: found.states.get(state, 0) for state in _WORDS}
    return JournalStatus(str(path), states, found.prompt_tokens, found.completion_tokens, cost)
