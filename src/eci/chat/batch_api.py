"""OpenAI's Batch API: a file of requests goes up, a batch is made of it, files of answers come down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from eci.chat.endpoint import Endpoint
from eci.chat.faults import Again, BadRequest, Declined
from eci.chat.messages import ChatRequest
from eci.chat.responses import Answer
from eci.chat.settings import ChatSettings
from eci.errors import ChatError

# Most requests and bytes that a file may have.
MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000
_URL, _WINDOW, _TAG = "/v1/chat/completions", "24h", "eci"
_ABSENT = "has nothing there: it may have none, or the key is of another project than what is asked for"
_ENDED = ("completed", "failed", "expired", "cancelled")
# Batches are listed newest first; so many pages of a hundred are looked through.
_PAGES = 20


@dataclass(frozen=True)
class State:
    """How a batch stands.

    Parameters
    ----------
    id : str
    status : str
        As the endpoint calls it.
    files : tuple of str
        Ids of the files of answers and of errors, where they are there.
    done, total : int
        Requests.
    why : str
        Why it failed, if it says so.
    """

    id: str
    status: str
    files: tuple[str, ...] = ()
    done: int = 0
    total: int = 0
    why: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in _ENDED


@dataclass(frozen=True)
class Line:
    """What a file says of a request: an answer, or why there is none, perhaps for good."""

    digest: bytes | None
    answer: Answer | None = None
    error: str = ""
    declined: bool = False


@dataclass(frozen=True)
class BatchApi:
    """The Batch API of an endpoint.

    Its methods raise `eci.chat.faults.Again` for what may pass, and `ChatError` for what does not.

    Parameters
    ----------
    endpoint : Endpoint
    settings : ChatSettings
    """

    endpoint: Endpoint
    settings: ChatSettings

    def line(self, digest: bytes, request: ChatRequest) -> bytes:
        """A request as a line of a file."""
        body = self.endpoint.body(request, request.messages)
        told = {"custom_id": digest.hex(), "method": "POST", "url": _URL, "body": body}
        return json.dumps(told).encode() + b"\n"

    def upload(self, token: str, file: IO[bytes]) -> str:
        """The id of a file that is put there."""
        file.seek(0)
        named = (f"eci-{token}.jsonl", file)
        told = self._told(lambda client: client.files.with_raw_response.create(file=named, purpose="batch"))
        return self._id(told)

    def create(self, file: str, token: str) -> State:
        """A batch made of a file."""
        return self._state(
            self._told(
                lambda client: client.batches.with_raw_response.create(
                    input_file_id=file, endpoint=_URL, completion_window=_WINDOW, metadata={_TAG: token}
                )
            )
        )

    def state(self, batch: str) -> State:
        """How a batch stands."""
        return self._state(self._told(lambda client: client.batches.with_raw_response.retrieve(batch)))

    def find(self, token: str) -> State | None:
        """The batch of a token, if there is one."""
        after: dict[str, str] = {}
        for _ in range(_PAGES):
            told = self._listed(after)
            page = [each for each in told.get("data") or () if isinstance(each, dict)]
            for each in page:
                if (each.get("metadata") or {}).get(_TAG) == token:
                    return self._state(each)
            if not told.get("has_more") or not page:
                break
            after = {"after": self._id(page[-1])}
        return None

    def _listed(self, after: Mapping[str, str]) -> dict[str, Any]:
        return self._told(lambda client: client.batches.with_raw_response.list(limit=100, **after))

    def lines(self, state: State) -> Iterator[Line]:
        """What the files of a batch say of its requests."""
        for file in state.files:
            for line in self._content(file).splitlines():
                if line.strip():
                    yield self._read(line)

    def _content(self, file: str) -> bytes:
        content: bytes = self._called(lambda client: client.files.content(file).content)
        return content

    def _read(self, line: bytes) -> Line:
        try:
            told = json.loads(line)
            digest = bytes.fromhex(told["custom_id"])
            response, error = told.get("response") or {}, told.get("error")
            status, body = response.get("status_code"), response.get("body")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return Line(None)
        if error or not isinstance(status, int):
            said = error.get("message") or error.get("code") if isinstance(error, dict) else error
            return Line(digest, error=self.endpoint.line(said) or "there is no response")
        try:
            if status != 200:
                raise self.endpoint.fault(status, body)
            return Line(digest, self.endpoint.answer(json.dumps(body)))
        except (Declined, Again) as fault:
            return Line(digest, error=fault.reason, declined=isinstance(fault, Declined))
        except BadRequest as fault:
            said = f"{self.settings.host} answered {fault.status}: {fault.message}"
            return Line(digest, error=said, declined=True)
        except ChatError as fault:
            # Of one request among many, it ends no run.
            return Line(digest, error=str(fault).removesuffix(fault.hint).strip())

    def _state(self, told: Mapping[str, Any]) -> State:
        counts = told.get("request_counts") or {}
        errors = (told.get("errors") or {}).get("data") or [{}]
        return State(
            self._id(told),
            self.endpoint.line(told.get("status"), 40),
            tuple(str(told[name]) for name in ("output_file_id", "error_file_id") if told.get(name)),
            sum(int(counts.get(name) or 0) for name in ("completed", "failed")),
            int(counts.get("total") or 0),
            self.endpoint.line(errors[0].get("message")),
        )

    def _id(self, told: Mapping[str, Any]) -> str:
        found = told.get("id")
        if not isinstance(found, str) or not found or not found.isprintable():
            raise self._none("sent no id")
        return found

    def _told(self, send: Callable[[Any], Any]) -> dict[str, Any]:
        """The JSON object that a call gives."""
        text = self._called(send).http_response.text
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            raise Again(f"{self.settings.host} sent what is no whole JSON") from None
        if not isinstance(told, dict):
            raise self._none("sent an answer of an unknown form")
        return told

    def _called(self, send: Callable[[Any], Any]) -> Any:
        try:
            return self.endpoint.called(send, absent=self._none(_ABSENT))
        except BadRequest as fault:
            raise self._none(f"answered {fault.status}: {fault.message}") from None
        except Declined as fault:
            raise self._none(f"takes it not: {fault.reason}") from None

    def _none(self, why: str) -> ChatError:
        return ChatError(
            f"The Batch API of {self.settings.host} {why.rstrip('.')}.",
            hint="Without --batch, requests are asked one by one. What is submitted or answered is kept.",
        )
