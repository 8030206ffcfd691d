"""Commands at work, and what is done to them: killed, out of space, without rights, with a clock that jumps.

A command runs in a process that is forked once everything is imported, so that it can be struck at any moment
of its work. It survives if afterwards each output is absent or whole, and the same command run again gives
what an undisturbed run gives: the same files, and a cache as full. Shared by the tests and by
``benchmarks/faults.py``; as a program it prints what came of some strikes as JSON:

    python tests/faulting.py kill/score/5/0
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
NOBODY = 65534
# What tells when, not what.
_TIMES = {"seconds", "training_seconds", "cost", "command", "versions"}
_SERVER = """
import sys, threading
from chat_server import ChatServer
from writer_script import well
with ChatServer(well, latency=0.01) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Job:
    """A command.

    Parameters
    ----------
    arguments : tuple of str
        Of eci; ``URL`` stands for the address of a chat model.
    outputs : tuple of str
        Files that it writes.
    """

    arguments: tuple[str, ...]
    outputs: tuple[str, ...]


_ENCODER = ("--encoder", "model")
JOBS = {
    "mine": Job(("mine", "dense", "beir", "--split", "train", "-k", "3", *_ENCODER, "-o", "out.parquet"), ("out.parquet",)),
    "score": Job(("score", "rows.jsonl", *_ENCODER, "-o", "out.json"), ("out.json",)),
    "audit": Job(("audit", "rows.jsonl", *_ENCODER, "--fix", "drop", "-o", "out.parquet", "--scores", "scores.parquet"), ("out.parquet", "out.parquet.changes.jsonl", "scores.parquet")),
    "filter": Job(("filter", "rows.jsonl", "--near-copy", "0.3", "-k", "3", "-o", "out.jsonl"), ("out.jsonl",)),
    "mix": Job(("mix", "rows.jsonl", "--mode", "union", "-o", "out.jsonl"), ("out.jsonl",)),
    "select": Job(("select", "rows.jsonl", "-k", "3", *_ENCODER, "--to", "n-tuple", "-o", "out.parquet"), ("out.parquet",)),
    "generate": Job(("generate", "attribute", "pairs.jsonl", "--model", "m", "--base-url", "URL", "-o", "out.jsonl", "--concurrency", "4"), ("out.jsonl",)),
    "validate": Job(("validate", "plan.toml", "-o", "out"), ("out/result.json",)),
    "convert": Job(("convert", "rows.parquet", "-o", "out", "--to", "beir"), ("out/corpus.jsonl", "out/qrels/train.tsv")),
}  # fmt: skip
_PLAN = """
name = "small"
seeds = [1]
model = { name = "model" }
training = { batch_size = 8, epochs = 1, precision = "float32" }
collections = [{ name = "tiny", path = "small" }]
sources = [{ name = "random", make = "mine random -k 2" }, { name = "bm25", make = "mine bm25 -k 2" }]
"""


@dataclass
class Tally:
    """Of strikes of one kind at one command.

    Parameters
    ----------
    tried, struck : int
        Runs, and those of them that the strike met at work.
    told : int
        Runs that ended with an error of eci.
    lost : list of str
        What did not survive, one entry for each run.
    """

    tried: int = 0
    struck: int = 0
    told: int = 0
    lost: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "survived": self.tried - len(self.lost)}


@cache
def material() -> Path:
    """A folder with everything that the commands read."""
    from eci import filtering, selecting
    from eci.datasets import from_object, write
    from fakes import make_rows
    from fuzzing import invoked
    from test_generate import rows_of
    from test_validate import beir, tiny_model

    folder = Path(tempfile.mkdtemp(prefix="eci-faults-", dir=_fast()))
    tiny_model(folder / "model")
    beir(folder / "beir", 90, 400)
    beir(folder / "small", 24, 60)
    rows = make_rows(150, {"bm25": 4, "dense": 3})
    for row in rows[::3]:
        row["negatives"][0] = {**row["negatives"][0], "text": row["positives"][0]["text"]}
    write(from_object(rows), folder / "rows.jsonl", "eci")
    write(from_object(rows), folder / "rows.parquet", "eci")
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(30)))
    (folder / "plan.toml").write_text(_PLAN)
    # So few rows are to be several batches.
    filtering._BATCH = selecting._BATCH = 16
    # Imports what only a run imports.
    code, _, told = invoked(["score", "rows.jsonl", *_ENCODER, "--no-cache", "--sample", "20"], folder)
    assert code == 0, told
    return folder


def _fast() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def workplace(at: Path | None = None) -> Iterator[Path]:
    """A fresh copy of the material."""
    folder = Path(tempfile.mkdtemp(prefix="eci-faults-", dir=at or _fast()))
    try:
        # Links, for the copies are many and nobody writes to them.
        shutil.copytree(material(), folder, dirs_exist_ok=True, copy_function=shutil.copy if at else os.link)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def endpoint() -> Iterator[str]:
    """The address of a chat model in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], cwd=TESTS, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@dataclass(frozen=True)
class Ended:
    """How a command ended: its code, negative for a signal; what it said; how long it took."""

    code: int
    err: str
    seconds: float


def start(arguments: tuple[str, ...], folder: Path, before: Callable[[], None] | None = None) -> int:
    """Run a command in a forked process, whose number is given."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        signal.alarm(120)
        os.chdir(folder)
        out = os.open(os.devnull, os.O_WRONLY)
        # Not in the folder, which may be full or not be ours.
        err = os.open(_said(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ["ECI_CACHE"] = str(folder / "cache")
        sys.argv = ["eci", *arguments]
        if before:
            before()
        from eci import cli

        try:
            cli.run()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        sys.stderr.flush()
    finally:
        os._exit(code)


def _said(child: int) -> str:
    return f"{_fast() or tempfile.gettempdir()}/eci-faults-{os.getuid()}-{child}.err"


def end(child: int, after: float | None = None) -> Ended:
    """Wait for a command; with `after`, kill it so many seconds later unless it has ended."""
    began = time.monotonic()
    status = None
    while after is not None and time.monotonic() - began < after:
        done, told = os.waitpid(child, os.WNOHANG)
        if done:
            status = told
            break
        time.sleep(min(0.001, after))
    if status is None:
        if after is not None:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    said = Path(_said(child))
    err = said.read_text(errors="replace") if said.exists() else ""
    said.unlink(missing_ok=True)
    return Ended(code, err, time.monotonic() - began)


class Struck:
    """One command, what an undisturbed run of it gives, and strikes at it.

    Parameters
    ----------
    name : str
        One of `JOBS`.
    url : str
        Of a chat model.
    """

    def __init__(self, name: str, url: str = "") -> None:
        self.name, self.job = name, JOBS[name]
        self.arguments = tuple(url if each == "URL" else each for each in self.job.arguments)
        with workplace() as folder:
            self.seconds = self._run(folder).seconds
        with workplace() as folder:
            ended = self._run(folder)
            if ended.code:
                raise RuntimeError(f"eci {' '.join(self.arguments)}: {ended.err}")
            self.seconds = max(0.05, min(self.seconds, ended.seconds))
            self.files, self.names, self.vectors = self._made(folder), _names(folder), vectors_in(folder)

    def kill(self, rng: random.Random, tally: Tally) -> None:
        """Kill it at a moment, and run it again."""
        with workplace() as folder:
            ended = end(start(self.arguments, folder), rng.random() * self.seconds)
            tally.struck += ended.code == -signal.SIGKILL
            self._again(folder, ended, tally, may_die=True)

    def jump(self, rng: random.Random, tally: Tally) -> None:
        """Let the clock jump with every look at it."""
        with workplace() as folder:
            ended = end(start(self.arguments, folder, lambda: _jumping(rng.random())))
            tally.struck += 1
            self._again(folder, ended, tally, must_do=True)

    def fill(self, rng: random.Random, tally: Tally, room: Path) -> None:
        """Let it run where there is too little room, and again with room enough.

        `room` is where a file system of tmpfs is mounted.
        """
        with workplace(room) as folder:
            free = int(rng.random() * self.needs) // 4096 * 4096
            taken = shutil.disk_usage(room).used
            _sized(room, taken + free)
            ended = end(start(self.arguments, folder))
            tally.struck += ended.code != 0
            _sized(room, 1 << 30)
            self._again(folder, ended, tally)

    def limit(self, rng: random.Random, tally: Tally) -> None:
        """Let no file grow beyond a size, as on a full disk, and run it again without the limit."""
        with workplace() as folder:
            most = int(rng.random() * self.needs)
            ended = end(start(self.arguments, folder, lambda: _limited(most)))
            tally.struck += ended.code != 0
            self._again(folder, ended, tally)

    @property
    def needs(self) -> int:
        """Bytes that it writes, about."""
        return sum(map(len, self.files.values())) + (300_000 if self.vectors else 0)

    def damage(self, rng: random.Random, tally: Tally) -> None:
        """Flip bytes in the cache that it left, run it again, and once more with the cache deleted."""
        with workplace() as folder:
            self._run(folder)
            path = folder / "cache" / "data.mdb"
            data = bytearray(path.read_bytes())
            for _ in range(rng.choice((1, 1, 4, 16))):
                page = rng.randrange(len(data) // 4096) * 4096
                data[page + rng.randrange(rng.choice((24, 4096)))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            for name in self.job.outputs:
                (folder / name).unlink()
            ended = end(start(self.arguments, folder))
            tally.struck += ended.code != 0
            wrong = self._wrong(folder) if ended.code == 0 else self._half(folder, ended)
            end(start(("cache", "clear", "--yes"), folder))
            self._again(folder, ended, tally, also=wrong)

    def together(self, number: int, tally: Tally) -> None:
        """Run it several times at once, each with outputs of its own and all with one cache."""
        with workplace() as folder:
            places = []
            for place in range(number):
                inside = folder / f"run-{place}"
                inside.mkdir()
                for path in material().iterdir():
                    (inside / path.name).symlink_to(path)
                (folder / "cache").mkdir(exist_ok=True)
                (inside / "cache").symlink_to(folder / "cache")
                places.append(inside)
            ended = [end(child) for child in [start(self.arguments, place) for place in places]]
            tally.tried += 1
            tally.struck += 1
            wrong = [each.err[-200:] for each in ended if each.code]
            wrong += [told for place in places for told in self._wrong(place)]
            if not wrong and vectors_in(folder) != self.vectors:
                wrong.append(f"{vectors_in(folder)} vectors are cached, not {self.vectors}")
            if wrong:
                tally.lost.append(f"{self.name}: {wrong[0]}")

    def _run(self, folder: Path) -> Ended:
        return end(start(self.arguments, folder))

    def _again(
        self, folder: Path, ended: Ended, tally: Tally, *, may_die: bool = False, must_do: bool = False, also: list[str] | None = None
    ) -> None:  # fmt: skip
        """Look at what a strike left, run the command undisturbed, and look again."""
        tally.tried += 1
        wrong = list(also or [])
        if ended.code == 0:
            wrong += self._wrong(folder)
        else:
            wrong += [] if may_die and ended.code == -signal.SIGKILL else self._half(folder, ended)
            if must_do:
                wrong.append(f"was stopped: {ended.err[-200:]}")
            tally.told += ended.code == 1
        wrong += [
            f"{name} is not whole" for name, data in self._made(folder).items() if data != self.files[name]
        ]
        again = self._run(folder)
        if again.code:
            wrong.append(f"the run after it failed: {again.err[-300:]}")
        else:
            wrong += self._wrong(folder)
            if strange := _names(folder) ^ self.names:
                wrong.append(f"left behind or missing: {sorted(strange)[:3]}")
            if vectors_in(folder) != self.vectors:
                wrong.append(f"{vectors_in(folder)} vectors are cached, not {self.vectors}")
        if wrong:
            tally.lost.append(f"{self.name}: {wrong[0]}")

    def _half(self, folder: Path, ended: Ended) -> list[str]:
        """What is wrong with a run that was to end with an error of eci."""
        if ended.code != 1 or "Error: " not in ended.err or "defect of eci" in ended.err:
            return [f"ended with {ended.code}: {ended.err[-300:]}"]
        left = [path for path in folder.rglob("*.tmp*") if "cache" not in path.parts]
        return [f"left behind: {left[0].name}"] if left else []

    def _wrong(self, folder: Path) -> list[str]:
        """What is not as an undisturbed run gives it."""
        made = self._made(folder)
        return [f"{name} is another" for name, data in self.files.items() if made.get(name) != data]

    def _made(self, folder: Path) -> dict[str, bytes]:
        paths = {name: folder / name for name in self.job.outputs}
        return {name: _content(path, folder) for name, path in paths.items() if path.exists()}


def truncated(rng: random.Random, tally: Tally) -> None:
    """Cut a Parquet file somewhere, and let commands read it."""
    with workplace() as folder:
        data = (folder / "rows.parquet").read_bytes()
        (folder / "rows.parquet").unlink()
        (folder / "rows.parquet").write_bytes(data[: rng.randrange(len(data))])
        before = _names(folder)
        tally.tried += 1
        tally.struck += 1
        for arguments in (
            ("convert", "rows.parquet", "-o", "out.jsonl"),
            ("score", "rows.parquet", "--encoder", "hashing", "-o", "out.json"),
        ):
            ended = end(start(arguments, folder))
            if ended.code != 1 or "Error: rows.parquet: " not in ended.err or _names(folder) != before:
                tally.lost.append(f"{arguments[0]}: ended with {ended.code}: {ended.err[-200:]}")
                return
        tally.told += 1


def denied(place: int, tally: Tally) -> None:
    """Run a command as somebody who may not read or write something."""
    read, written = ("convert", "rows.jsonl", "-o"), ("score", "rows.jsonl", *_ENCODER, "-o")
    cases: tuple[tuple[str, int, tuple[str, ...]], ...] = (
        ("rows.jsonl", 0o000, (*read, "open/out.jsonl")),
        ("closed", 0o555, (*read, "closed/out.jsonl")),
        ("cache", 0o555, (*written, "open/out.json")),
        ("cache/data.mdb", 0o444, (*written, "open/out.json")),
        ("cache/data.mdb", 0o000, (*written, "open/out.json")),
        ("model/model.safetensors", 0o000, (*written, "open/out.json")),
        ("beir/corpus.jsonl", 0o000, ("mine", "random", "beir", "-k", "2", "-o", "open/out.jsonl")),
        ("model", 0o000, (*written, "open/out.json")),
        ("beir", 0o000, ("mine", "random", "beir", "-k", "2", "-o", "open/out.jsonl")),
        ("plan.toml", 0o000, ("validate", "plan.toml", "-o", "open/out")),
    )  # fmt: skip
    name, mode, arguments = cases[place % len(cases)]
    # Copies: the rights of a link are those of what it leads to.
    with workplace(Path(tempfile.gettempdir())) as folder:
        folder.chmod(0o755)
        for inside in ("open", "closed"):
            (folder / inside).mkdir()
        (folder / "open").chmod(0o777)
        end(start((*written, "first.json"), folder))
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (folder / "open").chmod(0o777)
        (folder / name).chmod(mode)
        ended = end(start(arguments, folder, _nobody))
        tally.tried += 1
        tally.struck += 1
        tally.told += ended.code in (1, 2)
        left = list((folder / "open").iterdir()) + list((folder / "closed").iterdir())
        # 2 is how click tells that an argument cannot be read.
        if ended.code not in (1, 2) or "Error: " not in ended.err or "defect of eci" in ended.err or left:
            tally.lost.append(f"{name} {mode:o}: ended with {ended.code}: {ended.err[-300:]}")
        (folder / name).chmod(0o755)


def vectors_in(folder: Path) -> int:
    """Vectors in the cache of a folder, each of which is read and checked."""
    if not (folder / "cache" / "data.mdb").exists():
        return 0
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            from eci.models.cache import EmbeddingCache

            kept = EmbeddingCache(folder / "cache")
            with kept._transaction() as transaction:
                keys = [bytes(key) for key in transaction.cursor(db=kept._vectors).iternext(values=False)]
            found = 0
            for fingerprint in {key[:16] for key in keys}:
                own = [key[16:] for key in keys if key[:16] == fingerprint]
                found += int(kept.get(fingerprint, own)[0].sum())
            os.write(writing, str(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return int(told or -1)


def _content(path: Path, folder: Path) -> bytes:
    """A file without what tells when it was made or where."""
    data = path.read_bytes()
    if path.suffix != ".json":
        return data
    told = data.decode().replace(str(folder), "")
    try:
        return json.dumps(_timeless(json.loads(told)), sort_keys=True).encode()
    except ValueError:
        return data


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(each) for name, each in value.items() if name not in _TIMES}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def _names(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {
        path.as_posix() for path in paths if path.parts[0] != "cache" and path.name != "eci.answers.sqlite"
    } - {
        "eci.answers.sqlite-wal",
        "eci.answers.sqlite-shm",
    }


def _jumping(seed: float) -> None:
    rng, real = random.Random(seed), time.time
    jumps = (0.0, 0.0, -86_400.0, 86_400.0, -3e8, 3e8, -real() + 1, 4e9)
    time.time = lambda: real() + rng.choice(jumps)


def _limited(most: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def _nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.environ["HOME"] = "/nonexistent"


def _sized(room: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(room)], check=True, capture_output=True)


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A file system of its own, or None where none may be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="eci-disk-"))
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={1 << 30}", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    try:
        yield None if done.returncode else folder
    finally:
        if not done.returncode:
            subprocess.run(["umount", str(folder)], check=False)
        with contextlib.suppress(OSError):
            folder.rmdir()


def strikes(kind: str, name: str, number: int, seed: int = 0) -> Tally:
    """So many strikes of a kind, at a command where the kind has several."""
    import torch

    torch.set_num_threads(1)
    rng, tally = random.Random(f"{kind} {name} {seed}"), Tally()
    material()
    if kind in ("truncate", "deny"):
        for place in range(number):
            truncated(rng, tally) if kind == "truncate" else denied(place + seed, tally)
        return tally
    with endpoint() if name == "generate" else contextlib.nullcontext("") as url, small_disk() if kind == "fill" else contextlib.nullcontext() as room:  # fmt: skip
        struck = Struck(name, url)
        for _ in range(number):
            if kind == "fill":
                struck.fill(rng, tally, room)
            elif kind == "together":
                struck.together(rng.choice((2, 2, 4)), tally)
            else:
                {"kill": struck.kill, "jump": struck.jump, "limit": struck.limit, "damage": struck.damage}[kind](rng, tally)  # fmt: skip
    return tally


def main() -> None:
    """Strike as the arguments say, each of which is KIND/COMMAND/NUMBER/SEED."""
    try:
        found = {}
        for told in sys.argv[1:]:
            kind, name, number, seed = told.split("/")
            found[told] = strikes(kind, name, int(number), int(seed)).as_dict()
    finally:
        if material.cache_info().currsize:
            shutil.rmtree(material(), ignore_errors=True)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    main()
