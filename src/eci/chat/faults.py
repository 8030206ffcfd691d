"""What a failed request means: ask again, take it as the reply, or end the run."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from typing import Any

from eci.chat.masking import Mask
from eci.chat.settings import ChatSettings
from eci.errors import ChatError

# Longer than this is not waited for: the user is told instead.
LONGEST_WAIT = 120.0
SHOWN = 300
_TOO_LONG = (
    "context_length",
    "context length",
    "context size",
    "context window",
    "too long",
    "too many tokens",
    "input tokens",
)
_FILTERED = ("content_filter", "content filter", "content management policy", "moderation", "flagged")
_QUOTA = ("insufficient_quota", "exceeded your current quota", "billing")


class Again(Exception):  # noqa: N818
    """The endpoint could not answer now.

    Parameters
    ----------
    reason : str
    after : float, optional
        Seconds that the endpoint asks to wait.
    unreachable : bool
        Whether no connection came about.
    """

    def __init__(self, reason: str, *, after: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.after, self.unreachable = reason, after, unreachable


class Declined(Exception):  # noqa: N818
    """The endpoint will not answer this request, however often it is asked."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadRequest(Exception):  # noqa: N818
    """The endpoint does not take the request, for a reason that may be the request's or the settings'."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Aside(Exception):  # noqa: N818
    """The endpoint has taken no request yet: this one is asked again after others."""


def fault_of(
    status: int, body: Any, headers: Mapping[str, str], settings: ChatSettings, *, mask: Mask, key: bool
) -> Exception:
    """The fault that a response with an error stands for: one of the above, or a `ChatError`.

    Parameters
    ----------
    status : int
        Of HTTP.
    body : object
        The response, read as JSON where it is that.
    headers : mapping
    settings : ChatSettings
    mask : Mask
        Of the key in use, which must not be shown even where the endpoint repeats it.
    key : bool
        Whether there is one.
    """
    message = message_of(body, mask)
    told = f"{settings.host} answered {status}" + (f": {message}" if message else "")
    about = f"{_code(body)} {message}".lower()
    if status in (413, 414) or (status in (400, 422, 500) and _any(_TOO_LONG, about)):
        return Declined(f"the prompt is too long ({told})")
    if status in (400, 403, 422, 451) and _any(_FILTERED, about):
        return Declined(f"the endpoint's content filter refused the prompt ({told})")
    if status == 402 or (status == 429 and _any(_QUOTA, about)):
        hint = "Add credit there, then run the same again: no answer is lost."
        return ChatError(_sentence(told), hint=hint, retryable=True)
    if status in (401, 403, 404, 405):
        return _unusable(status, told, settings, key)
    if status in (408, 409, 425, 429) or status >= 500:
        return _again(told, headers)
    return BadRequest(status, message or f"HTTP status {status}")


def unreachable(settings: ChatSettings, reason: str) -> ChatError:
    """The end of a run whose endpoint takes no connection."""
    return ChatError(
        f"No connection to {settings.host}: {reason.rstrip('.')}.",
        hint=f"Check that a server runs at {settings.base_url} (--base-url), and your proxies; then run the "
        "same again.",
        retryable=True,
    )


def refused(settings: ChatSettings, fault: BadRequest) -> ChatError:
    """The end of a run of which no request was taken at all."""
    return ChatError(
        f"{settings.host} answered {fault.status}: {_sentence(fault.message)} "
        f"No request to the model {settings.model!r} was taken so far.",
        hint="Change the option that it names (--chat-temperature, or none of it; --max-tokens …), or the "
        "model.",
    )


def message_of(body: Any, mask: Mask) -> str:
    """What the response says, on one line, without the key."""
    while isinstance(body, Mapping):
        body = next((body[name] for name in ("error", "message", "detail", "msg") if body.get(name)), "")
    return mask.line(str(body or ""), SHOWN)


def _code(body: Any) -> str:
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    return f"{inner.get('code')} {inner.get('type')}" if isinstance(inner, Mapping) else ""


def _again(told: str, headers: Mapping[str, str]) -> Exception:
    after = _retry_after(headers)
    if after is not None and after > LONGEST_WAIT:
        return ChatError(
            f"{_sentence(told)} It asks to wait {after:,.0f} seconds.",
            hint="Run the same again after that: no answer is lost. Or lower --rpm, --tpm or --concurrency.",
            retryable=True,
        )
    return Again(told, after=after)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from ``retry-after-ms`` or ``Retry-After`` as a number or a date (RFC 9110, 10.2.3)."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) / divisor
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                continue
        if not math.isnan(seconds):
            return max(0.0, seconds)
    return None


def _unusable(status: int, told: str, settings: ChatSettings, key: bool) -> ChatError:
    if status in (404, 405):
        return ChatError(
            f"{_sentence(told)} Asked was the model {settings.model!r} at {settings.base_url}.",
            hint="Check the name of the model and --base-url, which mostly ends in /v1.",
        )
    if key:
        hint = (
            f"Check the key in the environment variable {settings.key_env} (--key-env), and what it may do."
        )
    else:
        hint = f"Put a key into the environment variable {settings.key_env}, or name another with --key-env."
    return ChatError(_sentence(told), hint=hint)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _any(words: tuple[str, ...], text: str) -> bool:
    return any(word in text for word in words)
