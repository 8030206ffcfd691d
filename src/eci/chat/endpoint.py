"""One request to an OpenAI-compatible endpoint, and what the endpoint turned out to understand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from types import MappingProxyType
from typing import Any, TypeVar

from eci.chat.faults import (
    SHOWN,
    Again,
    Aside,
    BadRequest,
    Declined,
    fault_of,
    message_of,
    refused,
    unreachable,
)
from eci.chat.masking import Mask, whole
from eci.chat.messages import ChatRequest
from eci.chat.responses import Answer, answer_of
from eci.chat.schemas import asked_for, form_of
from eci.chat.settings import ChatSettings
from eci.errors import ChatError, MissingDependency

_FORMAT = ("response_format", "json_schema", "json schema", "structured output", "guided", "grammar")
# So many requests that are not taken, and none that is, say that something holds for all.
_REFUSALS = 3
_PATH = "/chat/completions"
Messages = Sequence[tuple[str, str]]
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Shape:
    """How a request is written.

    Parameters
    ----------
    formatted : bool
        Whether with ``response_format``; else the schema goes into the prompt.
    limit : str
        The name of the most tokens.
    """

    formatted: bool = True
    limit: str = "max_tokens"


class Reshape(Exception):  # noqa: N818
    """The request was not taken in this shape, and may be in another."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(str(shape))
        self.shape = shape


class Endpoint:
    """A chat model behind an OpenAI-compatible endpoint; threads share one.

    The shape in which a request was taken is kept for all that follow.

    Parameters
    ----------
    settings : ChatSettings

    Raises
    ------
    MissingDependency
        openai is not installed.
    ChatError
        The key cannot be one.
    """

    def __init__(self, settings: ChatSettings) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingDependency("Asking a chat model", "openai", "chat") from error
        self._openai, self._settings = openai, settings
        key = os.environ.get(settings.key_env, "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ChatError(
                f"The environment variable {settings.key_env} holds no key: "
                "it has blanks or other characters that no key has.",
                hint="Set it to the key alone.",
            )
        self._client = openai.OpenAI(
            # A local server that asks for no key ignores whatever it is given.
            api_key=key or "none",
            base_url=settings.base_url,
            timeout=settings.timeout,
            max_retries=0,
        )
        self._keyed, self._mask = bool(key), Mask(key)
        self._lock = Lock()
        self._shape, self._format_taken, self._explained = Shape(), False, False
        # Until the first answer, requests that are not taken may say that something holds for all of them.
        self._answered, self._refusals = False, 0

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def proven(self) -> bool:
        """Whether it has answered a request: then it is known in which shape it takes them."""
        return self._answered

    def explain(self) -> None:
        """Put the schema into prompts from now on: the endpoint does not hold the model to it."""
        self._explained = True

    def ask(self, request: ChatRequest, messages: Messages, shape: Shape | None = None) -> Answer:
        """One answer to the messages, of one request over the network.

        Parameters
        ----------
        request : ChatRequest
        messages : sequence of (role, content)
        shape : Shape, optional
            The one that a `Reshape` named; else that in which requests are taken so far.

        Raises
        ------
        Reshape, Again, Aside, Declined
            No answer in this shape, now, before others, or ever.
        ChatError
            The run cannot go on.
        """
        shape = shape or self._shape
        try:
            answer = self._sent(request, messages, shape)
        except BadRequest as fault:
            raise self._not_taken(shape, fault) from None
        except Again as fault:
            if fault.unreachable and not self._answered:
                raise unreachable(self._settings, fault.reason) from None
            raise
        with self._lock:
            self._answered = True
            self._format_taken |= shape.formatted
            self._explained |= not shape.formatted
            limit = shape.limit if self._shape.limit == Shape.limit else self._shape.limit
            self._shape = Shape(self._shape.formatted and shape.formatted, limit)
        return answer

    def _not_taken(self, shape: Shape, fault: BadRequest) -> Exception:
        if shape.limit == "max_tokens" and "max_completion_tokens" in fault.message:
            return Reshape(replace(shape, limit="max_completion_tokens"))
        if shape.formatted and (not self._format_taken or _about_format(fault.message)):
            return Reshape(replace(shape, formatted=False))
        with self._lock:
            if self._answered:
                return Declined(f"{self._settings.host} answered {fault.status}: {fault.message}")
            self._refusals += 1
            return refused(self._settings, fault) if self._refusals >= _REFUSALS else Aside()

    def _sent(self, request: ChatRequest, messages: Messages, shape: Shape) -> Answer:
        body = self.body(request, messages, shape)
        # What `client.chat.completions.create` does but for its look at every part of the body, which takes
        # a quarter of the time of a request.
        return self.answer(self.called(lambda client: str(client.post(_PATH, cast_to=str, body=body))))

    def answer(self, text: str) -> Answer:
        """The answer in a response with status 200; raises as `eci.chat.responses.answer_of`."""
        return answer_of(text, self._settings.host, self._mask, self.fault)

    def line(self, text: Any, most: int = SHOWN) -> str:
        """What the endpoint says, on one line of so many characters, without the key."""
        return self._mask.line(str(text or ""), most)

    def body(self, request: ChatRequest, messages: Messages, shape: Shape | None = None) -> dict[str, Any]:
        """A request as it is sent, if not in a shape then in that in which requests are taken so far."""
        shape = shape or self._shape
        told = [{"role": role, "content": whole(content)} for role, content in messages]
        body: dict[str, Any] = {"model": self._settings.model, "messages": told}
        if shape.formatted:
            form = {"name": request.name, "schema": asked_for(request.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if self._explained or not shape.formatted:
            told[-1] = {**told[-1], "content": f"{told[-1]['content']}\n\n{form_of(request.schema)}"}
        for name, value in (("temperature", self._settings.temperature), ("seed", self._settings.seed)):
            if value is not None:
                body[name] = value
        body[shape.limit] = self._settings.max_tokens
        return body

    def called(self, send: Callable[[Any], Outcome], absent: ChatError | None = None) -> Outcome:
        """What comes of one call of the client of openai; raises what `fault_of` gives, or `Again`.

        Where there is nothing at the address, `absent` is raised, if given.

        The errors of openai hold headers, and with them the key: none is chained to what is raised here.
        """
        host = self._settings.host
        try:
            return send(self._client)
        except self._openai.APIStatusError as error:
            content = error.body if error.body is not None else error.response.text
            fault = self.fault(error.status_code, content, error.response.headers)
            if absent is not None and error.status_code in (404, 405):
                fault = absent
        except self._openai.APITimeoutError as error:
            connecting = type(error.__cause__).__name__ == "ConnectTimeout"
            fault = Again(
                f"no answer from {host} within {self._settings.timeout:g} seconds", unreachable=connecting
            )
        except self._openai.APIConnectionError as error:
            cause = error.__cause__ or error
            told = message_of(str(cause), self._mask) or type(cause).__name__
            missing = type(cause).__name__ in ("ConnectError", "ProxyError", "UnsupportedProtocol")
            fault = Again(
                told if missing else f"the connection to {host} broke: {told}",
                unreachable=missing,
            )
        except Exception as error:
            if "RequestError" not in {kind.__name__ for kind in type(error).__mro__}:
                raise
            # Of the client below that of openai, while a response is read piece by piece.
            told = message_of(str(error), self._mask) or type(error).__name__
            fault = Again(f"the connection to {host} broke: {told}")
        raise fault from None

    def fault(self, status: int, body: Any, headers: Mapping[str, str] = MappingProxyType({})) -> Exception:
        """What a response with an error stands for, as `eci.chat.faults.fault_of`."""
        return fault_of(status, body, headers, self._settings, mask=self._mask, key=self._keyed)


def _about_format(message: str) -> bool:
    lowered = message.lower()
    return any(word in lowered for word in _FORMAT)
