"""How many requests a minute the client gets through, and the memory that a run takes.

``throughput``: 3,200 unlike requests, 64 at a time, to a scripted server in a process of its own that
answers each after 200 ms; through ``ChatAsker`` with a fresh journal, and through the bare client of openai
with a semaphore. The ideal is requests / 64 · 0.2 s. ``dependent``: 200 samples of two calls each, the second
of which needs the answer to the first. ``memory``: the peak of the calls of ``eci generate attribute`` above
that of their task alone, answered at once in the same process. Runs are made in turn and medians given; the
results go to ``benchmarks/results/chat-NAME.json``.

    python benchmarks/chat.py throughput
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "number": {"type": "integer"}},
    "required": ["reason", "number"],
    "additionalProperties": False,
}
# Such as eci generate asks for and gets.
PROMPT, ANSWER = "word " * 400, "text " * 200


def question(number: int) -> str:
    return f"question {number} {PROMPT}"


# The server


def serve(latency: float) -> None:
    """Answer everything after a delay; the port is printed."""
    content = json.dumps({"reason": ANSWER, "number": 1})
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 500, "completion_tokens": 250, "total_tokens": 750}
    completion = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    data = json.dumps({**completion, "choices": [choice], "usage": usage}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(asked.split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(latency)
                writer.write(head + data)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=512)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def server(latency: float) -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, __file__, "serve", "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.terminate()


# What is measured


@contextmanager
def asker(url: str, concurrency: int) -> Iterator[Any]:
    from eci.chat.asking import ChatAsker
    from eci.chat.journal import Journal
    from eci.chat.settings import ChatSettings

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "answers.sqlite")
        opened = ChatAsker(ChatSettings("m", url, concurrency=concurrency), journal)
        try:
            yield opened
        finally:
            opened.close()
            journal.close()


def by_asker(url: str, requests: int, concurrency: int) -> None:
    from eci.chat.messages import ChatRequest

    with asker(url, concurrency) as opened:
        asked = (
            ChatRequest(f"{number}", (("user", question(number)),), SCHEMA, "n") for number in range(requests)
        )
        answered = sum(reply.value is not None for reply in opened.ask(asked))
    if answered != requests:
        raise SystemExit(f"{answered} of {requests} answered")


def by_openai(url: str, requests: int, concurrency: int) -> None:
    import openai

    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}

    async def main() -> None:
        room = asyncio.Semaphore(concurrency)
        async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:

            async def one(number: int) -> None:
                async with room:
                    told: Any = {"messages": [{"role": "user", "content": question(number)}]}
                    told |= {"response_format": form, "temperature": 0.0, "max_tokens": 2048}
                    done = await client.chat.completions.create(model="m", **told)
                    json.loads(done.choices[0].message.content)

            await asyncio.gather(*(one(number) for number in range(requests)))

    asyncio.run(main())


class Twice:
    """A generator of two calls, the second of which needs the answer to the first."""

    name = "two"

    def request(self, sample: int, answers: Any) -> Any:
        from eci.chat.messages import ChatRequest

        if len(answers) == 2:
            return None
        messages = (("user", f"{len(answers)} {question(sample)}"),)
        return ChatRequest(f"{sample}: two", messages, SCHEMA, "n")


def dependent(url: str, samples: int, concurrency: int) -> None:
    from eci.generating.asking import ask_all
    from eci.types import silent

    with asker(url, concurrency) as opened:
        generator: Any = Twice()
        given: Any = range(samples)
        ask_all(generator, given, opened, silent)


SIDES: dict[str, dict[str, Callable[[str, int, int], None]]] = {
    "throughput": {"eci": by_asker, "openai.AsyncOpenAI": by_openai},
    "dependent": {"eci": dependent},
}


def speed(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Wall and processor seconds of each side, and their shares of the ideal."""
    calls = options.requests if name == "throughput" else 2 * options.samples
    given = options.requests if name == "throughput" else options.samples
    ideal = -(-calls // options.concurrency) * options.latency
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES[name]}
    with server(options.latency) as url:
        for work in SIDES[name].values():
            work(url, min(given, options.concurrency), options.concurrency)  # imports, and threads once
        for run in range(options.runs):
            for side, work in SIDES[name].items():
                began, used = time.perf_counter(), time.process_time()
                work(url, given, options.concurrency)
                seconds = {"wall_s": time.perf_counter() - began, "processor_s": time.process_time() - used}
                runs[side].append({what: round(each, 3) for what, each in seconds.items()})
                print(f"run {run + 1}, {side}: {runs[side][-1]}", file=sys.stderr)
    told: dict[str, Any] = {"calls": calls, "ideal_s": round(ideal, 2)}
    for side, each in runs.items():
        medians = {what: round(statistics.median(run[what] for run in each), 2) for what in each[0]}
        share = round(statistics.median(ideal / run["wall_s"] for run in each), 3)
        told[side] = {"share_of_ideal": share, "median": medians, "runs": each}
    return told


# Memory


class AtOnce:
    """An endpoint without a network."""

    def ask(self, request: Any, *_: Any) -> Any:
        from eci.chat.responses import Answer

        told = {"reasoning": "", "negatives": [f"{request.key} {number} {ANSWER}" for number in range(3)]}
        return Answer(json.dumps(told), prompt_tokens=500, completion_tokens=250)

    def close(self) -> None:
        """There is nothing to close."""


def resident(peak: bool) -> float:
    """Memory of this process now, or the most since `forget`, in MiB; of Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmHWM:" if peak else "VmRSS:"))
    return int(kib) / 1024


def forget() -> None:
    """Give back what is free, and count the peak from here."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def remember(samples: int) -> dict[str, float]:
    """The peak above that of the task, of one run in this process."""
    from eci.datasets import ReadOptions
    from eci.datasets.tasks import read_task
    from eci.generating.asking import ask_all
    from eci.generating.attribute import Attribute
    from eci.generating.samples import Samples
    from eci.types import silent

    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.jsonl"
        with pairs.open("w") as file:
            for number in range(samples):
                row = {"query": f"query {number}", "positive": f"positive {number} {PROMPT[:500]}"}
                file.write(json.dumps(row) + "\n")
        task = Samples(read_task([pairs], ReadOptions()).task)
    with asker("http://127.0.0.1:9/v1", 8) as opened:
        opened._endpoint = AtOnce()
        # What is loaded once, and the threads.
        ask_all(Attribute(), Samples(task.task, limit=20), opened, silent)
        forget()
        before, began = resident(peak=False), time.perf_counter()
        ask_all(Attribute(), task, opened, silent)
        seconds = time.perf_counter() - began
        if opened.counts.answered != samples:
            raise SystemExit(f"{opened.counts.answered} of {samples} answered")
        more = resident(peak=True) - before
    return {"task_mib": round(before, 1), "more_mib": round(more, 1), "seconds": round(seconds, 1)}


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Of runs of ever more samples, each in a process of its own."""
    told = {}
    for samples in options.sizes:
        command = [sys.executable, __file__, "remember", "--samples", str(samples)]
        told[str(samples)] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(f"{samples:,} samples: {told[str(samples)]}", file=sys.stderr)
    return {"samples": told}


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["throughput", "dependent", "memory", "serve", "remember"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3200)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds until an answer")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options = parser.parse_args()
    os.environ["OPENAI_API_KEY"] = "none"
    if options.what == "serve":
        serve(options.latency)
        return
    if options.what == "remember":
        print(json.dumps(remember(options.samples)))
        return
    given = {name: value for name, value in vars(options).items() if name != "what"}
    measured = memory(options) if options.what == "memory" else speed(options.what, options)
    result = {
        "command": f"python benchmarks/chat.py {options.what} --runs {options.runs}",
        "settings": {**given, "python": platform.python_version(), "openai": version("openai")},
        **measured,
    }
    (RESULTS / f"chat-{options.what}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "settings"}, indent=1))


if __name__ == "__main__":
    main()
