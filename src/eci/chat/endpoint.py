"""One request to an OpenAI-compatible endpoint, and what the endpoint turned out to understand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eci.chat.faults import Again, BadRequest, Declined, fault_of, message_of, refused, unreachable
from eci.chat.messages import ChatRequest
from eci.chat.parsing import whole
from eci.chat.settings import ChatSettings
from eci.errors import ChatError, MissingDependency

_FORMAT = ("response_format", "json_schema", "json schema", "structured output", "guided", "grammar")
Messages = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What a model wrote, before it is read.

    Parameters
    ----------
    text : str
    cut : bool
        Whether it ends where its tokens ran out.
    refusal : str
        Why the model or the endpoint's filter gives no answer; empty if it does.
    prompt_tokens, completion_tokens : int
    """

    text: str
    cut: bool = False
    refusal: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Endpoint:
    """A chat model behind an OpenAI-compatible endpoint; threads share one.

    What the endpoint turns out not to understand is remembered: without ``response_format`` the schema goes
    into the prompt, and the limit of tokens goes by the name that is taken.

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
        self._key = os.environ.get(settings.key_env, "").strip()
        if not (self._key.isascii() and self._key.isprintable()) or " " in self._key:
            raise ChatError(
                f"The environment variable {settings.key_env} holds no key: "
                "it has blanks or other characters that no key has.",
                hint="Set it to the key alone.",
            )
        self._client = openai.OpenAI(
            # A local server that asks for no key ignores whatever it is given.
            api_key=self._key or "none",
            base_url=settings.base_url,
            timeout=settings.timeout,
            max_retries=0,
        )
        # Until the first answer, a request that is not taken says that something holds for all of them.
        self._answered = False
        self._formatted, self._format_taken = True, False
        self._explained = False
        self._limit = "max_tokens"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def explain(self) -> None:
        """Put the schema into prompts from now on: the endpoint does not hold the model to it."""
        self._explained = True

    def ask(self, request: ChatRequest, messages: Messages) -> Answer:
        """One answer to the messages, in the form that the request asks for.

        Raises
        ------
        Again, Declined
            No answer now, or none ever.
        ChatError
            The run cannot go on.
        """
        while True:
            formatted, limit = self._formatted, self._limit
            try:
                answer = self._sent(request, messages, formatted, limit)
            except BadRequest as fault:
                if limit == "max_tokens" and "max_completion_tokens" in fault.message:
                    self._limit = "max_completion_tokens"
                elif formatted and (not self._format_taken or _about_format(fault.message)):
                    answer = self._unformatted(request, messages, fault)
                    break
                elif self._answered:
                    raise Declined(
                        f"{self._settings.host} answered {fault.status}: {fault.message}"
                    ) from None
                else:
                    raise refused(self._settings, fault) from None
            except Again as fault:
                if fault.unreachable and not self._answered:
                    raise unreachable(self._settings, fault.reason) from None
                raise
            else:
                self._format_taken |= formatted
                break
        self._answered = True
        return answer

    def _unformatted(self, request: ChatRequest, messages: Messages, fault: BadRequest) -> Answer:
        """The answer without ``response_format``, if it was that which the endpoint did not take."""
        try:
            answer = self._sent(request, messages, False, self._limit)
        except BadRequest:
            if self._answered:
                raise Declined(f"{self._settings.host} answered {fault.status}: {fault.message}") from None
            raise refused(self._settings, fault) from None
        self._formatted, self._explained = False, True
        return answer

    def _sent(self, request: ChatRequest, messages: Messages, formatted: bool, limit: str) -> Answer:
        told = [{"role": role, "content": content} for role, content in messages]
        body: dict[str, Any] = {"model": self._settings.model, "messages": told}
        if formatted:
            form = {"name": request.name, "schema": dict(request.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if self._explained or not formatted:
            told[-1] = {**told[-1], "content": f"{told[-1]['content']}\n\n{form_of(request.schema)}"}
        for name, value in (("temperature", self._settings.temperature), ("seed", self._settings.seed)):
            if value is not None:
                body[name] = value
        body[limit] = self._settings.max_tokens
        return self._answer(self._response(body))

    def _response(self, body: dict[str, Any]) -> Any:
        """The JSON of a response without an error.

        The errors of openai hold headers, and with them the key: none is chained to what is raised here.
        """
        try:
            raw = self._client.chat.completions.with_raw_response.create(**body)
        except self._openai.APIStatusError as error:
            content = error.body if error.body is not None else error.response.text
            fault = fault_of(
                error.status_code, content, error.response.headers, self._settings, key=self._key
            )
        except self._openai.APITimeoutError as error:
            connecting = type(error.__cause__).__name__ == "ConnectTimeout"
            fault = Again(
                f"no answer from {self._settings.host} within {self._settings.timeout:g} seconds",
                unreachable=connecting,
            )
        except self._openai.APIConnectionError as error:
            cause = error.__cause__ or error
            told = message_of(str(cause), self._key) or type(cause).__name__
            missing = type(cause).__name__ in ("ConnectError", "ProxyError", "UnsupportedProtocol")
            fault = Again(
                told if missing else f"the connection to {self._settings.host} broke: {told}",
                unreachable=missing,
            )
        else:
            try:
                return json.loads(raw.http_response.text)
            except ValueError:
                fault = Again(f"{self._settings.host} sent what is no whole JSON")
        raise fault from None

    def _answer(self, response: Any) -> Answer:
        choices = response.get("choices") if isinstance(response, dict) else None
        if not choices:
            # Routers tell a failure of the server behind them in a response that is well by its status.
            code = response.get("error", {}).get("code") if _has_error(response) else None
            status = code if isinstance(code, int) and code >= 400 else 502
            raise fault_of(status, response, {}, self._settings, key=self._key)
        usage = response.get("usage") or {}
        message = choices[0].get("message") or {}
        reason = choices[0].get("finish_reason")
        refusal = message.get("refusal") or ""
        if reason == "content_filter":
            refusal = "the endpoint's content filter stopped the answer"
        elif refusal:
            refusal = f"the model refuses: {' '.join(str(refusal).split())[:300]}"
        return Answer(
            whole(str(message.get("content") or "")),
            reason == "length",
            whole(refusal),
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
        )


def form_of(schema: Mapping[str, Any]) -> str:
    """The schema, as a prompt tells it."""
    return "Answer with one JSON object and nothing else, in the form of this JSON schema:\n" + json.dumps(
        schema, ensure_ascii=False
    )


def _has_error(response: Any) -> bool:
    return isinstance(response, dict) and isinstance(response.get("error"), dict)


def _about_format(message: str) -> bool:
    lowered = message.lower()
    return any(word in lowered for word in _FORMAT)
