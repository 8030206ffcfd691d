"""OpenAI's Batch API: a file of requests goes up, a batch is made of it, files of answers come down."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
# More tokens wait at the endpoint than the account may have there.
_FULL = "token_limit_exceeded"
# Batches are listed newest first; so many pages of a hundred are looked through.
_PAGES = 200
_LONGEST_ID, _PART = 200, 1 << 16


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
    code : str
        The same as the endpoint abbreviates it.
    """

    id: str
    status: str
    files: tuple[str, ...] = ()
    done: int = 0
    total: int = 0
    why: str = ""
    code: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in _ENDED

    @property
    def crowded_out(self) -> bool:
        """Whether it was not taken because too much waits there already."""
        return self.status == "failed" and self.code == _FULL


@dataclass(frozen=True)
class Line:
    """What a file says of a request: an answer, or why there is none, perhaps for good."""

    digest: bytes | None
    answer: Answer | None = None
    error: str = ""
    declined: bool = False


class Absent(ChatError):  # noqa: N818
    """The endpoint has no such thing."""


@dataclass(frozen=True)
class BatchApi:
    """The Batch API of an endpoint.

    Its methods raise `eci.chat.faults.Again` for what may pass, `Absent` for what is not there, and
    `ChatError` for what else does not pass.

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
        """How a batch stands; one that has answers and names no file of them is not there yet."""
        told = self._told(lambda client: client.batches.with_raw_response.retrieve(batch))
        state, counts = self._state(told), told.get("request_counts") or {}
        if state.status == "completed" and counts.get("completed") and not told.get("output_file_id"):
            raise self._none("names no file of the answers that it has", Absent)
        return state

    def find(self, token: str, file: str) -> State | None:
        """The batch of a token or a file, if there is one; not every endpoint gives tokens back."""
        after: dict[str, str] = {}
        for _ in range(_PAGES):
            told = self._listed(after)
            page = [each for each in told.get("data") or () if isinstance(each, dict)]
            for each in page:
                if (each.get("metadata") or {}).get(_TAG) == token or each.get("input_file_id") == file:
                    return self._state(each)
            if not told.get("has_more") or not page:
                break
            after = {"after": self._id(page[-1])}
        return None

    def _listed(self, after: Mapping[str, str]) -> dict[str, Any]:
        return self._told(lambda client: client.batches.with_raw_response.list(limit=100, **after))

    def download(self, name: str, file: IO[bytes]) -> None:
        """Write the file of a name at the endpoint into another, in the place of what that has."""

        def send(client: Any) -> None:
            file.seek(0)
            file.truncate()
            with client.files.with_streaming_response.content(name) as response:
                for part in response.iter_bytes(_PART):
                    file.write(part)

        self._called(send)

    def line_of(self, line: bytes) -> Line:
        """What a line of a file says of a request."""
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
            tuple(
                self.endpoint.line(told[name], _LONGEST_ID)
                for name in ("output_file_id", "error_file_id")
                if told.get(name)
            ),
            sum(int(counts.get(name) or 0) for name in ("completed", "failed")),
            int(counts.get("total") or 0),
            self.endpoint.line(errors[0].get("message")),
            self.endpoint.line(errors[0].get("code"), 80),
        )

    def _id(self, told: Mapping[str, Any]) -> str:
        found = told.get("id")
        # It is shown and kept: so it is one short line, and not the key.
        if not isinstance(found, str) or not found or self.endpoint.line(found, _LONGEST_ID) != found:
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
            return self.endpoint.called(send, absent=self._none(_ABSENT, Absent))
        except BadRequest as fault:
            raise self._none(f"answered {fault.status}: {fault.message}") from None
        except Declined as fault:
            raise self._none(f"takes it not: {fault.reason}") from None

    def _none(self, why: str, kind: type[ChatError] = ChatError) -> ChatError:
        return kind(
            f"The Batch API of {self.settings.host} {why.rstrip('.')}.",
            hint="Without --batch, requests are asked one by one. What is submitted or answered is kept.",
        )
