"""Which benchmarks there are, whom they compare with whom, and what grows with what."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SCORE_SIZES, MINE_SIZES = (4, 8, 16), ("5000x1000", "16000x1000", "50000x1000")
# What grows, with which sizes, and the medians there.
Growth = tuple[str, list[int], list[float]]


@dataclass(frozen=True)
class Compared:
    """Runs of ours and of a peer at one size, pair by pair.

    Parameters
    ----------
    what, peer : str
    size : int or str
    unit : str
        "s", less is better; or a rate, of which the peer is the bound.
    ours, theirs : list of float
    """

    what: str
    peer: str
    size: int | str
    unit: str
    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """Times as fast, or share of the bound, of each pair."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [theirs / ours if self.unit == "s" else ours / theirs for ours, theirs in pairs]


@dataclass(frozen=True)
class Benchmark:
    """A script, how it is called, and what its results say.

    Parameters
    ----------
    name, title : str
    calls : tuple of tuple of str
        Arguments of each call; its runs are kept in a file of its own.
    compared : callable
        Takes the results of the calls.
    grows : callable, optional
        Gives what grows with what: label, sizes and medians.
    data : bool
        Whether it needs ECI_DATA.
    """

    name: str
    title: str
    calls: tuple[tuple[str, ...], ...]
    compared: Callable[[list[Any]], list[Compared]]
    grows: Callable[[list[Any]], list[Growth]]
    data: bool = False


def column(runs: list[dict[str, Any]], name: str) -> list[float]:
    return [run[name] for run in runs]


def sides(ours: str, theirs: str, what: str, peer: str, name: str) -> Callable[[list[Any]], list[Compared]]:
    """Two sides of the results that `running.in_turn` keeps."""

    def compared(found: list[Any]) -> list[Compared]:
        return [
            Compared(
                what, peer, first_number(size), "s", column(runs[ours], name), column(runs[theirs], name)
            )
            for size, runs in found[0]["runs"].items()
        ]

    return compared


def growth(what: str, side: str, name: str) -> Callable[[list[Any]], list[Growth]]:
    """How a figure of one side grows with the size."""

    def grows(found: list[Any]) -> list[Growth]:
        runs = found[0]["runs"]
        values = [statistics.median(column(runs[size][side], name)) for size in runs]
        return [(what, [first_number(size) for size in runs], values)]

    return grows


def first_number(size: str) -> int:
    return int(size.partition(" ")[0])


def every(*parts: Callable[[list[Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
    return lambda found: [entry for part in parts for entry in part(found)]


def of_kernel(found: list[Any]) -> list[Compared]:
    made = []
    for case, runs in found[0]["runs"].items():
        dimension, order, queries = case.split()
        if int(queries) == 20_000:
            ours, *bounds = (column(runs["kernel"], f"{name}_gb_s") for name in ("kernel", "gather", "copy"))
            for peer, theirs in zip(("numpy's take", "copy"), bounds, strict=True):
                made.append(Compared(f"d = {dimension}, {order}", peer, 400_000, "GB/s", ours, theirs))
    return made


def kernel_grows(found: list[Any]) -> list[Growth]:
    runs, queries = found[0]["runs"], (5_000, 10_000, 20_000)
    medians = [
        statistics.median(run["pair_ns"] * 20e-9 * size for run in runs[f"384 random {size}"]["kernel"])
        for size in queries
    ]
    return [("similarities of pairs, d = 384", [20 * size for size in queries], medians)]


def of_encode(found: list[Any]) -> list[Compared]:
    made = []
    for size, runs in found[0]["runs"].items():
        for kind in ("bfloat16", "float32"):
            ours, theirs = (column(runs["encode"], name) for name in ("gflop_s", f"{kind}_gflop_s"))
            precision = runs["encode"][0]["precision"]
            made.append(
                Compared(f"encode in {precision}", f"{kind} product", int(size), "GFLOP/s", ours, theirs)
            )
    return made


def of_score(found: list[Any]) -> list[Compared]:
    return [
        Compared(
            f"score, {cache} cache",
            "the user's script",
            entry["rows"]["queries"],
            "s",
            column(entry["pairs"], f"{cache}_wall_s"),
            column(entry["pairs"], "script_wall_s"),
        )
        for entry in found
        for cache in ("cold", "warm")
    ]


def score_grows(found: list[Any]) -> list[Growth]:
    sizes = [entry["rows"]["queries"] for entry in found]
    return [
        (what, sizes, [entry["median"][f"{side}_wall_s"] for entry in found])
        for what, side in (("score, cold cache", "cold"), ("the user's script", "script"))
    ]


BENCHMARKS = (
    Benchmark(
        "kernel",
        "Similarities of pairs: documents' bytes a second, by pairs",
        (("kernel.py",),),
        of_kernel,
        kernel_grows,
    ),
    Benchmark(
        "encode",
        "Embedding texts of 256 tokens, by texts",
        (("encode.py",),),
        of_encode,
        growth("encoding", "encode", "wall_s"),
    ),
    Benchmark(
        "scale",
        "`eci score` where vectors are there already, by rows of 20",
        (("scale.py",),),
        every(),
        every(growth("score, wall", "score", "wall_s"), growth("score, processor", "score", "cpu_s")),
    ),
    Benchmark(
        "mine",
        "Mining, by documents, for 1,000 queries",
        (("mine.py", "--sizes", *MINE_SIZES),),
        every(
            sides("ours", "theirs", "mine dense", "mine_hard_negatives", "seconds"),
            sides("ours", "theirs-faiss", "mine dense", "the same, FAISS", "seconds"),
            sides("ours", "theirs", "filter, write", "mine_hard_negatives", "rest_s"),
            sides("ours-bm25", "bm25s", "mine bm25", "bm25s", "seconds"),
        ),
        every(
            growth("mine dense", "ours", "seconds"),
            growth("mine_hard_negatives", "theirs", "seconds"),
            growth("mine bm25", "ours-bm25", "seconds"),
            growth("bm25s", "bm25s", "seconds"),
        ),
    ),
    Benchmark(
        "decided",
        "Deciding early, by queries",
        (("decision.py", "decided"),),
        sides("until decided", "all", "score --until decided", "score --all", "wall_s"),
        every(
            growth("score --all", "all", "wall_s"), growth("score --until decided", "until decided", "wall_s")
        ),
    ),
    Benchmark(
        "trained",
        "Scoring beside one fine-tuning run, by queries",
        (("decision.py", "trained"),),
        sides("score", "train", "score, nothing cached", "train, one epoch", "wall_s"),
        every(growth("score", "score", "wall_s"), growth("train", "train", "wall_s")),
    ),
    Benchmark(
        "score",
        "Scoring against the user's script, SciFact, by queries of 50 negatives",
        tuple(("score.py", "--queries", str(size)) for size in SCORE_SIZES),
        of_score,
        score_grows,
        True,
    ),
)
