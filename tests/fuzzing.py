"""What is fuzzed: good files of every kind, the commands that read them, and what may come of a case.

A case is a folder of good files of which something has been spoilt, and a command in it. It must end with exit
code 0 and a whole output, or with another code and a message of eci that names where; in neither case may
anything else be left. Shared by the tests and by ``benchmarks/fuzz.py``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fakes import make_rows
from mutations import TOKENS, mutate

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
FLAT = ("triplet", "n-tuple", "labeled-pair", "labeled-list")
SEVERAL = ("beir", "id-lists", "tevatron-ids", "nemo", "msmarco-hard-negatives")
_NO_PLACE = "the message names no place"
SINGLE = (*FLAT, "eci", "flagembedding", "tevatron", "ms-swift")


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Parameters
    ----------
    make : callable
        Writes good files into an empty folder.
    commands : tuple of tuple of str
        Arguments of eci, one of which is drawn; ``{}`` stands for an entry of the folder, also drawn.
    spoilt : callable, optional
        Spoils something in a folder; one or two of its files when None.
    options : bool
        Whether options are drawn, and files left as they are.
    """

    make: Callable[[Path], None]
    commands: tuple[tuple[str, ...], ...]
    spoilt: Callable[[Path, random.Random], None] | None = None
    options: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Parameters
    ----------
    code : int
    message : str
        The last lines on stderr, without what differs from case to case.
    defect : str
        What is wrong with it; empty if nothing is.
    """

    code: int
    message: str
    defect: str = ""


def _flat_rows(folder: Path) -> None:
    from eci.datasets import from_object, write

    rows = make_rows(6, {"bm25": 3, "dense": 2})
    one = make_rows(6, {"bm25": 3})
    for layout in SINGLE:
        made = rows if layout in ("eci", *FLAT) else one
        cells = (".csv", ".tsv") if layout in FLAT[:3] else ()
        for ending in (".jsonl", ".jsonl.gz", ".parquet", *cells):
            inside = folder / f"{layout}{ending.replace('.', '-')}"
            inside.mkdir()
            write(from_object(made), inside / f"rows{ending}", layout)
        inside = folder / f"{layout}-json"
        inside.mkdir()
        lines = (folder / f"{layout}-jsonl" / "rows.jsonl").read_text().splitlines()
        (inside / "rows.json").write_text(json.dumps([json.loads(line) for line in lines]))


def _folders(folder: Path) -> None:
    from eci.datasets import from_object, write

    rows = [
        {**row, "negatives": [{**each, "id": each["text"]} for each in row["negatives"]]}
        for row in make_rows(6, {"bm25": 3})
    ]
    for layout in SEVERAL:
        write(from_object(rows), folder / layout, layout)


def _saved(folder: Path) -> None:
    from eci.datasets import from_object, write

    for layout in ("eci", "triplet"):
        write(from_object(make_rows(6, {"bm25": 3})), folder / layout, layout)


def _results(folder: Path) -> None:
    import eci

    eci_rows = make_rows(30, {"bm25": 4, "dense": 3})
    folder.joinpath("score.json").write_text(eci.score(eci_rows, "hashing").to_json())
    folder.joinpath("comparison.json").write_text(eci.compare(eci_rows, ["hashing", _Other()]).to_json())
    folder.joinpath("audit.json").write_text(eci.audit_rows(eci_rows, "hashing").to_json())
    shutil.copy(RESULTS / "weak-start" / "result.json", folder / "validation.json")


class _Other:
    """A second encoder, for there are two in a comparison."""

    def __init__(self) -> None:
        from eci.models.hashing import HashingEncoder

        self._inner = HashingEncoder()

    def encode_query(self, texts):
        return self._inner.encode_query([text[::-1] for text in texts])

    def encode_document(self, texts):
        return self._inner.encode_document([text[::-1] for text in texts])

    def describe(self):
        return {"name": "other", "precision": "float32", "dimension": 256, "weights_blake2b": "x"}


def _plans(folder: Path) -> None:
    # Rows and collections that a plan names are not opened by a check: that they are there is enough.
    for path in (Path(__file__).parents[1] / "examples").glob("*.toml"):
        inside = folder / f"plan-{path.stem}"
        for name in ("docstrings", "nfcorpus", "scifact", "msmarco", "fever", "scidocs", "trec-covid", "nq"):
            (inside / name / "qrels").mkdir(parents=True)
            for file in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
                (inside / name / file).write_text("")
        (inside / "plan.toml").write_text(path.read_text().replace("$ECI_DATA/", "").replace("$BEIR/", ""))


def _spoil_plan(folder: Path, rng: random.Random) -> None:
    for path in folder.glob("*/*.toml"):
        for beside in sorted(path.parent.iterdir()):
            shutil.move(beside, folder)
    mutate(folder / "plan.toml", rng)


def _vectors(folder: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = make_rows(8, {"bm25": 3})
    rng = np.random.default_rng(0)
    folder.joinpath("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = {
        "queries": [row["query"] for row in rows],
        "corpus": sorted(
            {each["text"] for row in rows for side in ("positives", "negatives") for each in row[side]}
        ),
    }
    for kind in ("npy", "safetensors"):
        inside = folder / kind
        inside.mkdir()
        for name, held in texts.items():
            pq.write_table(pa.table({"text": held}), inside / f"{name}.parquet")
            matrix = rng.standard_normal((len(held), 8)).astype(np.float32)
            if kind == "npy":
                np.save(inside / f"{name}.npy", matrix)
            else:
                from safetensors.numpy import save_file

                save_file({"vectors": matrix}, inside / f"{name}.safetensors")


def _spoil_vectors(folder: Path, rng: random.Random) -> None:
    path = rng.choice(
        [path for path in folder.glob("*/*") if path.suffix != ".parquet" or rng.random() < 0.3]
    )
    if path.suffix == ".parquet" or rng.random() < 0.3:
        mutate(path, rng)
        return
    # The head is what matters: the rest is numbers.
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(100)
        if rng.random() < 0.5:
            data[at] = rng.randrange(256)
        else:
            data[at : at + rng.choice((0, 1, 3))] = rng.choice(
                (*TOKENS, b"-1", b"0", b"99999999999999999999", b"(", b"O", b"|O", b"F64")
            )
    path.write_bytes(data)


def _journals(folder: Path) -> None:
    from eci.chat.journal import Journal
    from eci.chat.messages import ChatRequest

    journal = Journal(folder / "eci.answers.sqlite")
    for number in range(40):
        request = ChatRequest(f"row {number}", (("user", f"question {number}"),), None, "sum")
        digest = number.to_bytes(16, "big")
        entry = journal.claim(digest, request, "m")
        journal.keep(digest, replace(entry, state="answered", texts=("{}",), value={"n": number}))
    journal.close()


def _spoil_journal(folder: Path, rng: random.Random) -> None:
    path = folder / "eci.answers.sqlite"
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 4, 40))):
        data[rng.randrange(rng.choice((100, len(data))))] = rng.randrange(256)
    path.write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])


def _cache(folder: Path) -> None:
    import numpy as np

    from eci.models.cache import EmbeddingCache

    cache = EmbeddingCache(folder / "cache")
    for role in range(2):
        fingerprint = bytes([role]) * 16
        cache.register(
            fingerprint, {"name": "m", "precision": "float32", "dimension": 64, "weights_blake2b": "x" * 32}
        )
        digests = [number.to_bytes(16, "big") for number in range(300)]
        cache.put(fingerprint, digests, np.ones((300, 64), dtype=np.float32))
    cache.close()


def _spoil_cache(folder: Path, rng: random.Random) -> None:
    path = folder / "cache" / "data.mdb"
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 4, 40))):
        # Heads of pages decide what LMDB does; what is behind them are keys and values.
        page = rng.randrange(len(data) // 4096) * 4096
        data[min(page + rng.randrange(rng.choice((16, 32, 4096))), len(data) - 1)] = rng.randrange(256)
    path.write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])


def _logs(folder: Path) -> None:
    import eci.repairing  # noqa: F401

    folder.joinpath("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _faulty()))
    code, _, told = invoked(
        ["audit", "rows.jsonl", "--encoder", "hashing", "--fix", "drop", "-o", "clean.parquet"], folder
    )
    assert code == 0, told


def _faulty() -> list[dict[str, object]]:
    rows = make_rows(12, {"bm25": 4})
    for row in rows[::2]:
        row["negatives"][0] = {**row["negatives"][0], "text": row["positives"][0]["text"]}
        row["negatives"][2] = dict(row["negatives"][1])
    return rows


def _reports(folder: Path) -> None:
    folder.joinpath("rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in make_rows(20, {"bm25": 3}))
    )
    code, _, told = invoked(
        ["score", "rows.jsonl", "--encoder", "hashing", "--report", "page.html", "-o", "result.json"], folder
    )
    assert code == 0, told
    (folder / "page.html").unlink()


def _whole(folder: Path) -> None:
    from eci.datasets import from_object, write

    _reports(folder)
    rows = make_rows(12, {"bm25": 4, "dense": 3})
    write(from_object(rows), folder / "rows.parquet", "eci")
    named = [
        {**row, "negatives": [{**each, "id": each["text"]} for each in row["negatives"]]}
        for row in make_rows(6, {"bm25": 3})
    ]
    write(from_object(named), folder / "beir", "beir")


# Values for any option. Among them are inputs, which nothing may replace, and a folder.
_TEXTS = (
    *(
        "",
        " ",
        "-",
        "--",
        "0",
        "1",
        "x",
        "OUT",
        "all",
        "none",
        "rows.jsonl",
        "beir",
        ".",
        "..",
        "/",
        "missing",
    ),
    *(
        "missing/file.json",
        "bm25",
        "dense",
        "bm25,dense",
        "a,,b",
        "1:2",
        ":",
        "=",
        "a=b",
        "\x07",
        "\n",
        "é\u202e",
    ),
    "x" * 5000,
)
_NUMBERS = (
    *(
        "-1",
        "0",
        "1",
        "2",
        "3",
        "7",
        "1000",
        "2147483648",
        "9223372036854775808",
        "1" + "0" * 30,
        "1e3",
        "0.5",
    ),
    *("-0.0", "1e-320", "1e308", "nan", "inf", "-inf", "", "x", "٣", "0x10", "1_000", " 1"),
)
# These ask a network, or start processes.
_LEFT_OUT = frozenset(
    {"help", "judge", "engine", "ray_address", "ray_workers", "ray_gpus", "output", "base_url"}
)
_MODELS = frozenset({"encoder", "teacher", "model", "reranker"})


def _drawn_options(arguments: list[str], rng: random.Random) -> list[str]:
    """The arguments with one to three options more, and values for them, sensible or not."""
    import click

    from eci import cli

    command: click.Command = cli.main
    context = click.Context(command)
    for word in arguments:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(context, word) or command
    known = [each for each in command.params if isinstance(each, click.Option) and each.name not in _LEFT_OUT]
    drawn: list[str] = []
    for option in rng.sample(known, min(len(known), rng.choice((1, 1, 2, 3)))):
        drawn.append(rng.choice([*option.opts, *option.secondary_opts]))
        if option.is_flag or option.count:
            continue
        kind, texts = option.type, list(_TEXTS)
        if isinstance(kind, click.types.IntRange | click.types.FloatRange):
            edges = [edge for edge in (kind.min, kind.max) if edge is not None]
            texts = [*_NUMBERS, *(str(edge + step) for edge in edges for step in (-1, 0, 0, 1))]
        elif isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
            texts = list(_NUMBERS)
        elif isinstance(kind, click.Choice):
            texts = [*map(str, kind.choices)] * 3 + list(_TEXTS[:8])
        elif option.name in _MODELS:
            # A name that could be one of the hub would be asked for there.
            texts = ["hashing", "", ".", "rows.jsonl", "reranker:", "./missing", "beir"]
        drawn.extend(rng.choice(texts) for _ in range(option.nargs))
    place = rng.choice((len(arguments), len(arguments), 1))
    return [*arguments, *drawn] if place > 1 else [*arguments[:-2], *drawn, *arguments[-2:]]


_WRITTEN = ("convert", "{}", "-o", "OUT.jsonl")
TARGETS: dict[str, Target] = {
    "rows": Target(_flat_rows, (_WRITTEN, _WRITTEN, ("convert", "{}", "-o", "OUT", "--to", "beir"), ("convert", "{}", "-o", "OUT.parquet", "--to", "triplet"), ("score", "{}", "--encoder", "hashing", "-o", "OUT.json"), ("audit", "{}", "--encoder", "hashing", "--fix", "drop", "-o", "OUT.parquet"), ("filter", "{}", "-o", "OUT.jsonl"), ("mix", "{}", "{}", "--mode", "union", "-o", "OUT.jsonl", "--source", "a", "--source", "b"))),
    "folders": Target(_folders, (_WRITTEN, _WRITTEN, ("score", "{}", "--encoder", "hashing", "-o", "OUT.json"), ("mine", "random", "{}", "-k", "2", "-o", "OUT.jsonl"), ("evaluate", "{}", "--model", "hashing", "--split", "train", "-o", "OUT.json"))),
    "saved": Target(_saved, (_WRITTEN, ("score", "{}", "--encoder", "hashing", "-o", "OUT.json"))),
    "report": Target(_results, (("report", "{}", "-o", "OUT.md"), ("report", "{}", "-o", "OUT.html"))),
    "report-rows": Target(_reports, (("report", "result.json", "--rows", "page.rows.parquet", "-o", "OUT.md"),)),
    "plans": Target(_plans, (("validate", "plan.toml", "--check", "-o", "OUT"),), _spoil_plan),
    "vectors": Target(_vectors, (("score", "rows.jsonl", "--encoder", "npy", "-o", "OUT.json"), ("score", "rows.jsonl", "--encoder", "safetensors", "-o", "OUT.json")), _spoil_vectors),
    "journal": Target(_journals, (("generate", "status", "eci.answers.sqlite", "--json"),), _spoil_journal),
    "cache": Target(_cache, (("cache", "info"),), _spoil_cache),
    "options": Target(_whole, (("score", "rows.jsonl", "--encoder", "hashing", "-o", "OUT.json"), ("score", "rows.parquet", "--encoder", "hashing", "-o", "OUT.json"), ("audit", "rows.jsonl", "--encoder", "hashing", "--fix", "drop", "-o", "OUT.parquet"), ("filter", "rows.parquet", "-o", "OUT.jsonl"), ("mix", "rows.parquet", "--mode", "union", "-o", "OUT.jsonl"), ("select", "rows.jsonl", "-k", "2", "--encoder", "hashing", "-o", "OUT.jsonl"), ("convert", "rows.jsonl", "-o", "OUT.jsonl"), ("convert", "rows.jsonl", "-o", "OUT"), ("mine", "random", "beir", "-k", "2", "-o", "OUT.jsonl"), ("mine", "bm25", "beir", "-k", "2", "-o", "OUT.jsonl"), ("mine", "dense", "beir", "-k", "2", "--encoder", "hashing", "-o", "OUT.parquet"), ("probe", "rows.jsonl", "--encoder", "hashing", "-o", "OUT.json"), ("ablate", "rows.jsonl", "--encoder", "hashing", "-o", "OUT.json"), ("report", "result.json", "-o", "OUT.html"), ("report", "result.json", "-o", "OUT.md"), ("evaluate", "beir", "--model", "hashing", "--split", "train", "-o", "OUT.json")), options=True),
    "log": Target(_logs, (("audit", "--undo", "clean.parquet.changes.jsonl", "-o", "OUT.jsonl"),)),
}  # fmt: skip


def prepared(target: str, folder: Path) -> None:
    """Good files of a target in an empty folder."""
    folder.mkdir(parents=True)
    TARGETS[target].make(folder)


def run(target: str, good: Path, place: Path, rng: random.Random) -> Outcome:
    """Spoil a copy of good files under `place`, run a command on it, and judge what came of it."""
    told = TARGETS[target]
    command = rng.choice(told.commands)
    whole = "{}" not in command
    entry = None if whole and target != "plans" else rng.choice(sorted(good.iterdir()))
    case = place / "case"
    shutil.rmtree(case, ignore_errors=True)
    if entry is None or entry.is_file():
        shutil.copytree(good, case) if entry is None else (case.mkdir(), shutil.copy(entry, case))
    else:
        shutil.copytree(entry, case / entry.name)
    if told.spoilt:
        told.spoilt(case, rng)
    elif not told.options:
        files = sorted(path for path in case.rglob("*") if path.is_file())
        for path in rng.sample(files, min(len(files), rng.choice((1, 1, 1, 2)))):
            mutate(path, rng)
    named = "" if entry is None else entry.name
    if entry is not None and entry.is_dir() and target == "rows":
        named = f"{entry.name}/{next(entry.iterdir()).name}"
    arguments = [each.format(named) if each == "{}" else each for each in command]
    arguments = _drawn_options(arguments, rng) if told.options else arguments
    before, held = _entries(case), _contents(case) if told.options else {}
    code, out, told_there = invoked(
        arguments, case, cache=case / "cache" if target == "cache" else place / "cache"
    )
    found = judged(code, out, told_there, case, before, arguments)
    if told.options and found.defect == _NO_PLACE:
        # The value of an option is place enough.
        found = replace(found, defect="")
    if not found.defect and held.items() - _contents(case).items():
        return replace(found, defect="an input was changed")
    return found


def _contents(case: Path) -> dict[str, bytes]:
    return {str(path.relative_to(case)): path.read_bytes() for path in case.rglob("*") if path.is_file()}


def invoked(arguments: list[str], folder: Path, cache: Path | None = None) -> tuple[int, str, str]:
    """Run the command line in this process from a folder: exit code, stdout, stderr."""
    from eci import cli

    out, err = io.StringIO(), io.StringIO()
    here, argv, kept = Path.cwd(), sys.argv, os.environ.get("ECI_CACHE")
    os.chdir(folder)
    if cache is not None:
        os.environ["ECI_CACHE"] = str(cache)
    sys.argv = ["eci", *arguments]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.run()
            except SystemExit as stop:
                code = int(stop.code or 0)
    finally:
        sys.argv = argv
        os.chdir(here)
        if cache is not None:
            os.environ.pop("ECI_CACHE")
            os.environ |= {"ECI_CACHE": kept} if kept is not None else {}
    return code, out.getvalue(), err.getvalue()


def judged(code: int, out: str, err: str, case: Path, before: set[str], arguments: list[str]) -> Outcome:
    """What is wrong with how a command ended."""
    left = _entries(case) - before - {"cache", "cache/data.mdb", "cache/lock.mdb"}
    wanted = arguments[arguments.index("-o") + 1] if "-o" in arguments else None
    # Kept on purpose: the same command goes on from there.
    left = {name for name in left if not name.startswith(f".{wanted}.work")}
    # Options name files, too.
    named = {Path(each).as_posix() for each in arguments[1:] if each.strip("./")}
    made = {
        name
        for name in left
        if any(name == each or name.startswith((f"{each}/", f"{each}.")) for each in named)
    }
    strange = sorted(left - made)
    lines = err.strip().splitlines()
    message = next((line for line in reversed(lines) if line.startswith(("Error: ", "Failed: "))), "")
    # A query tells where, too, and so does an option.
    places = [
        "--",
        "uery ",
        "first for",
        "o row has",
        "o negative is",
        *arguments[1:],
        *(Path(name).name for name in before),
    ]
    defect = ""
    if code not in (0, 1, 2):
        defect = f"exit code {code}"
    elif "defect of eci" in err or "Traceback" in err:
        defect = "uncaught"
    elif strange:
        defect = f"left behind: {strange[0]}"
    elif code and made:
        defect = f"output in spite of an error: {sorted(made)[0]}"
    elif code == 1 and not message:
        defect = "no message"
    elif code == 1 and not any(place in message for place in places):
        defect = _NO_PLACE
    elif code == 0 and wanted and not made and "--check" not in arguments:
        defect = "no output"
    return Outcome(code, _likeness(message, case), defect)


def _likeness(message: str, case: Path) -> str:
    """A message without what differs from case to case."""
    short = message.replace(str(case), "")
    short = re.sub(r"'[^']*'|\"[^\"]*\"|0x[0-9a-f]+|\d[\d,.]*", "…", short)
    return re.sub(r"[\w/.\-]*\.(jsonl|json|csv|tsv|parquet|gz|trec)\b", "FILE", short)[:160]


def _entries(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
