"""A chat completions endpoint on 127.0.0.1 whose faults are scripted, and which counts what it was asked.

Run as a program it answers everything after a delay, and prints its port: ``python chat_server.py 0.2 LOG``.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROMPT_TOKENS, COMPLETION_TOKENS = 11, 7
# The form of what `answer_to` answers.
SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "number": {"type": "integer"}},
    "required": ["reason", "number"],
    "additionalProperties": False,
}

# What is done with a request: a name below, or (status, body) or (status, body, headers).
Fault = Any
Script = Callable[[str, int, dict[str, Any]], Fault]


def answer_to(question: str) -> dict[str, Any]:
    return {"reason": f"of {question}", "number": sum(question.encode())}


def well(question: str, nth: int, body: dict[str, Any]) -> Fault:
    """The script without faults."""
    return "ok"


def completion(content: str | None, finish: str = "stop", refusal: str | None = None) -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, "refusal": refusal},
            }
        ],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        },
    }


def contents(question: str) -> dict[str, dict[str, Any]]:
    """Responses with status 200 by the name of what is right or wrong with them."""
    text = json.dumps(answer_to(question))
    return {
        "ok": completion(text),
        "fence": completion(f"Sure!\n```json\n{text}\n```\nAnything else?"),
        "thinking": completion(f'<think>Maybe {{"number": 0}}?</think>{text}'),
        "spare": completion(json.dumps({**answer_to(question), "confidence": 1})),
        "wrong-keys": completion('{"answer": 1}'),
        "truncated": completion(text[:-3]),
        "empty": completion(""),
        "refusal": completion(None, refusal="I will not say."),
        "filter": completion("{", finish="content_filter"),
        "length": completion(text[:-3], finish="length"),
    }


ERRORS: dict[str, tuple[Any, ...]] = {
    "429": (429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}),
    "429-after": (429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"}),
    "500": (500, {"error": {"message": "oops"}}),
    "502-html": (502, "<html>Bad gateway</html>"),
    "too-long": (
        400,
        {"error": {"message": "maximum context length is 10", "code": "context_length_exceeded"}},
    ),
    "filter-400": (400, {"error": {"message": "see the policy", "code": "content_filter"}}),
}


class Batches:
    """The files and batches of an endpoint; ``plan`` says what becomes of a batch as it is looked at.

    ``plan(nth look, batch)`` is a status. One that has ended answers all its requests by the script of the
    server, a fault of which is an error of its line; "expired" and "cancelled" answer every second one.
    ``faults`` are done instead of the next calls of that name ("upload", "create", "look", "list", "content"):
    a pair of status and body, or "late", which does what was asked and then fails.
    """

    def __init__(self) -> None:
        self.plan: Callable[[int, dict[str, Any]], str] = lambda look, batch: "completed"
        self.files: dict[str, bytes] = {}
        self.names: list[str] = []
        self.batches: dict[str, dict[str, Any]] = {}
        self.looks: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.faults: dict[str, list[Any]] = {}
        self.strange: list[str] = []
        self.echo = ""

    def called(self, chat: ChatServer, method: str, path: str, data: bytes) -> tuple[int, str]:
        """The response to a call: status and text."""
        parts = path.partition("?")[0].split("/")[2:]
        name = {("POST", "files"): "upload", ("POST", "batches"): "create"}.get((method, parts[0]))
        name = name or ("content" if parts[-1] == "content" else "list" if len(parts) == 1 else "look")
        with chat.lock:
            self.calls[name] += 1
            fault = self.faults[name].pop(0) if self.faults.get(name) else None
            if isinstance(fault, tuple):
                return fault[0], json.dumps(fault[1])
            told = getattr(self, f"_{name}")(chat, parts, data)
        if fault == "late":
            return 500, json.dumps({"error": {"message": f"late {self.echo}"}})
        if told is None:
            return 404, json.dumps({"error": {"message": "no such thing"}})
        return 200, told if isinstance(told, str) else json.dumps(told)

    def _upload(self, chat: ChatServer, parts: list[str], data: bytes) -> Any:
        # The first part that is a file: after its header, up to the boundary.
        part = next(each for each in data.split(data.split(b"\r\n")[0]) if b"filename=" in each)
        head, _, content = part.partition(b"\r\n\r\n")
        self.names.append(head.split(b'filename="')[1].split(b'"')[0].decode())
        name = f"file-{len(self.files)}"
        self.files[name] = content.removesuffix(b"\r\n")
        return {"id": name, "object": "file", "purpose": "batch"}

    def _create(self, chat: ChatServer, parts: list[str], data: bytes) -> Any:
        told = json.loads(data)
        name = f"batch_{len(self.batches)}"
        self.batches[name] = {**told, "id": name, "object": "batch", "status": "validating"}
        return self.batches[name]

    def _list(self, chat: ChatServer, parts: list[str], data: bytes) -> Any:
        return {"data": list(self.batches.values())[::-1], "has_more": False}

    def _look(self, chat: ChatServer, parts: list[str], data: bytes) -> Any:
        batch = self.batches.get(parts[1])
        if batch is None:
            return None
        self.looks[parts[1]] += 1
        if "output_file_id" not in batch and "errors" not in batch:
            batch["status"] = self.plan(self.looks[parts[1]], batch)
            lines = self.files[batch["input_file_id"]].splitlines()
            if batch["status"] in ("completed", "expired", "cancelled"):
                self._answer(chat, batch, [json.loads(line) for line in lines])
            elif batch["status"] == "failed":
                batch["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "too much enqueued"}]}
        return batch

    def _content(self, chat: ChatServer, parts: list[str], data: bytes) -> Any:
        return self.files[parts[1]].decode() if parts[1] in self.files else None

    def _answer(self, chat: ChatServer, batch: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        whole, good, bad = batch["status"] == "completed", list(self.strange), []
        for place, line in enumerate(lines):
            question = question_of(line["body"])
            chat.asked[question] += 1
            if not whole and place % 2:
                error = {"code": f"batch_{batch['status']}", "message": f"not in time {self.echo}"}
                bad.append(json.dumps({"custom_id": line["custom_id"], "response": None, "error": error}))
                continue
            fault = chat.script(question, chat.asked[question], line["body"])
            if not isinstance(fault, tuple):
                fault = ERRORS[fault] if fault in ERRORS else (200, contents(question)[fault])
            status, body = fault[:2]
            told = {
                "custom_id": line["custom_id"],
                "response": {"status_code": status, "body": body},
                "error": None,
            }
            (good if status == 200 else bad).append(json.dumps(told))
        for kind, kept in (("output", good), ("error", bad)):
            if kept:
                name = batch[f"{kind}_file_id"] = f"file-{kind}-{batch['id']}"
                self.files[name] = "\n".join(kept).encode() + b"\n"
        batch.setdefault("output_file_id", None)
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}


def question_of(body: dict[str, Any]) -> str:
    """The first line of what the user says."""
    return str(next(each["content"] for each in body["messages"] if each["role"] == "user")).split("\n")[0]


class ChatServer:
    """The endpoint, as a context manager; requests run in threads.

    ``asked`` counts requests by the first user message, ``answered`` those that got a usable answer whole, and
    ``bodies`` are the requests themselves.
    """

    def __init__(self, script: Script = well, latency: float = 0.0) -> None:
        self.script, self.latency = script, latency
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most = self._now = 0
        self.batches = Batches()
        self.released = threading.Event()
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.chat = self  # type: ignore[attr-defined]
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def begun(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[str, int]:
        question = question_of(body)
        with self.lock:
            self.asked[question] += 1
            self.bodies.append(body)
            self.headers.append(headers)
            self._now += 1
            self.most = max(self.most, self._now)
            return question, self.asked[question]

    def ended(self, question: str, usable: bool) -> None:
        with self.lock:
            self._now -= 1
            self.answered[question] += usable


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no matter."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        chat: ChatServer = self.server.chat  # type: ignore[attr-defined]
        data = self._whole()
        if not self.path.endswith("/chat/completions"):
            self._send(*chat.batches.called(chat, "POST", self.path, data), {})
            return
        body = json.loads(data)
        question, nth = chat.begun(body, {name.lower(): value for name, value in self.headers.items()})
        fault = chat.script(question, nth, body)
        usable = fault in ("ok", "fence", "thinking", "spare")
        try:
            time.sleep(chat.latency)
            self._do(chat, question, fault)
        finally:
            chat.ended(question, usable)

    def do_GET(self) -> None:
        chat: ChatServer = self.server.chat  # type: ignore[attr-defined]
        self._send(*chat.batches.called(chat, "GET", self.path, b""), {})

    def _whole(self) -> bytes:
        """What was sent; files come in chunks."""
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _do(self, chat: ChatServer, question: str, fault: Fault) -> None:
        if fault == "timeout":
            chat.released.wait(30)
            self.close_connection = True
        elif fault in ("reset", "reset-early"):
            if fault == "reset":
                self._send(200, json.dumps(contents(question)["ok"]), {}, most=40)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault == "cut-response":
            self._send(200, json.dumps(contents(question)["ok"])[:-20], {})
        elif isinstance(fault, tuple) or fault in ERRORS:
            status, content, *headers = fault if isinstance(fault, tuple) else ERRORS[fault]
            text = content if isinstance(content, str) else json.dumps(content)
            self._send(status, text, headers[0] if headers else {})
        else:
            self._send(200, json.dumps(contents(question)[fault]), {})

    def _send(self, status: int, text: str, headers: dict[str, str], most: int | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if text.startswith("<") else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:most])
        self.wfile.flush()


def _serve(latency: float, log: str | None) -> None:
    """Answer everything after a delay; each answered question becomes a line of the log."""
    import asyncio

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [
                    line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                ]
                body = json.loads(await reader.readexactly(int(lengths[0].split(b":")[1])))
                await asyncio.sleep(latency)
                question = body["messages"][-1]["content"]
                data = json.dumps(completion(json.dumps(answer_to(question)))).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                    % len(data)
                    + data
                )
                await writer.drain()
                if log:
                    with open(log, "a") as file:
                        file.write(question + "\n")
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=256)
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve_forever()

    asyncio.run(main())


if __name__ == "__main__":
    _serve(float(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
