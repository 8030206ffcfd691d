"""What becomes of good files in bad hands: bytes are damaged, values are put where they do not belong.

Everything is drawn from a `random.Random`, so that a seed tells the whole case.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Pieces of text that readers trip over.
TOKENS = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\n", b"\r\n", b"\r", b"\t", b",", b'"', b"'", b"{", b"}", b"[", b"]", b":",
    b"null", b"true", b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 400, b"\\ud800", b"\\u0000", b"../../x", b"/etc/passwd",
    b"[" * 3_000, b'{"a":' * 3_000, b"\xc3", b"\xed\xa0\x80", "é\u202e\u0301".encode(), b"=1+1", b" " * 300, b"PAR1", b"\x1f\x8b",
    b"__class__", b"%s%n", b"{0}", b"$HOME", b"-0", b"0x10", b"1_000", b"<script>", b"\x1b[2J",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**53 + 1, 2**63, 2**64, -(2**70), 10**400,
    "", " ", "\x00", "\ud800", "x", "0", "nan", "q0", "../../x", "/etc/passwd", "a\nb\tc", "x" * 5_000, "e\u0301", "é", "\u202e", [], [[]], {},
    [None], [""], ["x"], ["x", None], [1], {"": ""}, {"text": None}, [{"text": "x"}], [{}], {"a": {"b": []}}, [[["x"]]],
)  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes after one to four edits."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not found:
            return bytes(rng.choice(TOKENS))
        at, length = rng.randrange(len(found)), rng.choice((1, 1, 1, 2, 4, 16, 256))
        kind = rng.randrange(8)
        if kind == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del found[at : at + length]
        elif kind == 3:
            found[at:at] = found[at : at + length] * rng.choice((1, 1, 2, 50))
        elif kind == 4:
            del found[at:]
        elif kind == 5:
            other = rng.randrange(len(found))
            found[at : at + length] = found[other : other + length]
        else:
            found[at : at + rng.choice((0, 0, length))] = rng.choice(TOKENS)
    return bytes(found)


def disordered(value: Any, rng: random.Random) -> Any:  # noqa: PLR0911
    """A JSON value with something wrong in one place of it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        kind = rng.randrange(10)
        if kind == 0:
            return {name: each for name, each in value.items() if name != key}
        if kind == 1:
            return {name if name != key else rng.choice((key.upper(), "", "x", key + " ")): each for name, each in value.items()}  # fmt: skip
        if kind == 2:
            return {**value, rng.choice(("x", "", "extra", "label", "scores", "source")): rng.choice(VALUES)}
        return {**value, key: disordered(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        kind = rng.randrange(8)
        if kind == 0:
            return value[:at] + value[at + 1 :]
        if kind == 1:
            return value[:at] + [value[at]] * rng.choice((2, 3)) + value[at + 1 :]
        return [*value[:at], disordered(value[at], rng), *value[at + 1 :]]
    return rng.choice(VALUES)


def disordered_lines(data: bytes, rng: random.Random) -> bytes:
    """JSON lines, some of which have something wrong in them."""
    lines = data.decode().splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind == 0:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif kind == 1 and len(lines) > 1:
            del lines[at]
        else:
            lines[at] = json.dumps(disordered(json.loads(lines[at]), rng))
    return ("\n".join(lines) + "\n").encode()


def disordered_words(data: bytes, rng: random.Random) -> bytes:
    """Lines of words or cells, in which some have been replaced, dropped or repeated."""
    lines = data.split(b"\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        mark = next((each for each in (b"\t", b",", b" ") if each in lines[at]), b" ")
        words = lines[at].split(mark)
        place = rng.randrange(len(words))
        told = [*TOKENS, *(str(each).encode("utf-8", "replace") for each in VALUES)]
        words[place : place + rng.choice((0, 1, 1, 1, 2))] = [rng.choice(told)] * rng.choice((0, 1, 1, 1, 2))
        lines[at] = mark.join(words)
    return b"\n".join(lines)


def retyped(table: pa.Table, rng: random.Random) -> pa.Table:
    """A table one column of which is of another type, missing, renamed or full of nulls."""
    at = rng.randrange(table.num_columns)
    name, size = table.column_names[at], len(table)
    bad = pa.array([b"\xff\xfe", None, b""] * size, pa.binary())[:size]
    kinds = (
        lambda: pa.nulls(size),
        lambda: pa.nulls(size, table.schema.types[at]),
        lambda: pa.array([rng.choice((0, 1, -1, 2**62))] * size),
        lambda: pa.array([rng.choice((float("nan"), 1e308, 0.5))] * size),
        lambda: pa.array([[None], [], None] * size, pa.list_(pa.string()))[:size],
        lambda: pa.array(["x"] * size).dictionary_encode(),
        lambda: pa.Array.from_buffers(pa.string(), size, bad.buffers()) if size else bad,
        lambda: bad,
        lambda: pa.array([True, None, False] * size)[:size],
        lambda: pa.array([{"a": 1}, None, {}] * size)[:size],
        lambda: pa.array([0] * size, pa.timestamp("us")),
        lambda: pa.array(["x"] * size, pa.large_string()),
        lambda: pa.array(["", "\x00", "é"] * size)[:size],
    )
    drawn = rng.randrange(len(kinds) + 3)
    if drawn == len(kinds):
        return table.drop_columns([name])
    if drawn == len(kinds) + 1:
        return table.rename_columns(["x" if each == name else each for each in table.column_names])
    if drawn == len(kinds) + 2:
        return table.slice(0, 0)
    return table.set_column(at, name, kinds[drawn]())


def mutate(path: Path, rng: random.Random) -> None:
    """Put something wrong into a file, in a way that its format suggests."""
    data = path.read_bytes()
    packed = path.suffix == ".gz"
    if packed and rng.random() < 0.7:
        path.write_bytes(gzip.compress(_mutated(path.with_suffix(""), gzip.decompress(data), rng), 1))
    elif path.suffix == ".parquet" and rng.random() < 0.6:
        pq.write_table(retyped(pq.read_table(path), rng), path)
    else:
        path.write_bytes(damaged(data, rng) if packed else _mutated(path, data, rng))


def _mutated(path: Path, data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return damaged(data, rng)
    try:
        if path.suffix in (".jsonl", ".ndjson"):
            return disordered_lines(data, rng)
        if path.suffix == ".json":
            return json.dumps(disordered(json.loads(data), rng)).encode()
        if path.suffix in (".tsv", ".csv", ".trec", ".toml"):
            return disordered_words(data, rng)
    except (ValueError, RecursionError):  # an earlier edit has made it unreadable
        pass
    return damaged(data, rng)
