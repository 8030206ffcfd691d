"""Which chat model is asked, where, and how fast."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from eci.errors import ChatError

OPENAI = "https://api.openai.com/v1"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
# Seconds; none waits longer than a day.
_LONGEST = 86_400.0


@dataclass(frozen=True)
class ChatSettings:
    """Which chat model is asked, where, and how fast.

    Parameters
    ----------
    model : str
        Its name at the endpoint.
    base_url : str
        Of an OpenAI-compatible endpoint, up to and with its ``/v1``.
    key_env : str
        Environment variable that holds the key; an endpoint that asks for none needs none.
    temperature : float, optional
        Not sent when None, for models that take none.
    max_tokens : int
        Most tokens of an answer.
    seed : int, optional
        Sent where given; few endpoints promise the same answer for it.
    concurrency : int
        Requests under way at a time.
    rpm, tpm : int, optional
        Most requests and most tokens a minute.
    timeout : float
        Seconds without a byte of the answer after which a request is given up.
    attempts : int
        How often a request is sent at most.
    backoff : float
        Seconds before the second attempt; doubles up to 60, less up to a half.
    price : (float, float), optional
        Of a million tokens of prompts and of answers, in any currency.
    retry_failed : bool
        Ask again what an earlier run got no usable answer for.
    batch : bool
        Ask by OpenAI's Batch API: files of requests, answered within a day.

    Raises
    ------
    ChatError
        A value is out of range, or the address is none.
    """

    model: str
    base_url: str = OPENAI
    key_env: str = "OPENAI_API_KEY"
    temperature: float | None = 0.0
    max_tokens: int = 2048
    seed: int | None = None
    concurrency: int = 8
    rpm: int | None = None
    tpm: int | None = None
    timeout: float = 120.0
    attempts: int = 6
    backoff: float = 1.0
    price: tuple[float, float] | None = None
    retry_failed: bool = False
    batch: bool = False

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ChatError("The chat model has no name.", hint="Give the name it has at the endpoint.")
        if not _NAME.fullmatch(self.key_env):
            # Not shown: it may be the key.
            raise ChatError(
                "key_env is no name of an environment variable.",
                hint="Put the key into a variable such as OPENAI_API_KEY, and name that (--key-env).",
            )
        self._refuse_address()
        least: dict[str, float | None] = {
            name: getattr(self, name) for name in ("max_tokens", "concurrency", "rpm", "tpm", "attempts")
        }
        for name, value in least.items():
            if value is not None and value < 1:
                raise ChatError(f"{name} must be at least 1, got {value}.", hint="Choose a larger one.")
        # Written this way round, NaN is refused too.
        if not (0 < self.timeout <= _LONGEST and 0 <= self.backoff <= _LONGEST):
            raise ChatError(
                "timeout must be above 0 and backoff not below, and both at most a day, "
                f"got {self.timeout} and {self.backoff}.",
                hint="Both are seconds.",
            )
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise ChatError(f"No temperature is {self.temperature}.", hint="Give 0 or more, or none.")
        if self.price is not None and not all(0 <= each < float("inf") for each in self.price):
            raise ChatError(f"No price is {self.price}.", hint="Give two numbers, each 0 or more.")

    @property
    def host(self) -> str:
        """The endpoint as messages name it: host and port."""
        return urlsplit(self.base_url).netloc

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """What these tokens cost, or None without a price.

        >>> ChatSettings("m", price=(0.5, 2)).cost(2_000_000, 500_000)
        2.0
        """
        if self.price is None:
            return None
        return (prompt_tokens * self.price[0] + completion_tokens * self.price[1]) / 1_000_000

    def _refuse_address(self) -> None:
        hint = f"Give one like {OPENAI} or http://localhost:8000/v1."
        try:
            parts = urlsplit(self.base_url)
            known = parts.scheme in ("http", "https") and parts.port != 0
            # urlsplit passes over line breaks; neither they nor such names of hosts can be asked.
            known = known and self.base_url.isprintable() and " " not in self.base_url
            known = known and bool((parts.hostname or "").encode("idna"))
        except ValueError:
            known = False
        if not known:
            raise ChatError("The address of the chat model is no http(s) address.", hint=hint)
        if parts.username or parts.password or parts.query or parts.fragment:
            # Not shown: it may hold a key, as results and process listings then would.
            raise ChatError(
                "The address of the chat model holds more than scheme, host, port and path.",
                hint=f"Put the key into the environment variable {self.key_env}. {hint}",
            )
