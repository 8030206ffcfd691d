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
        question = next(each["content"] for each in body["messages"] if each["role"] == "user").split("\n")[0]
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
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question, nth = chat.begun(body, {name.lower(): value for name, value in self.headers.items()})
        fault = chat.script(question, nth, body)
        usable = fault in ("ok", "fence", "thinking", "spare")
        try:
            time.sleep(chat.latency)
            self._do(chat, question, fault)
        finally:
            chat.ended(question, usable)

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
