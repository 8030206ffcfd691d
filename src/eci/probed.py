"""What a probe gives back: dataclasses, their JSON form, and a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from eci.cautions import strange_candidates
from eci.results import Estimate, count, filled, listed, number, of_schema, plain, span

SCHEMA = "eci.probe/1"

# Fewer queries than this, and intervals are too narrow (eci.cautions); so few teach little, too.
FEW = 200
# nDCG@10 beyond which sources can hardly differ.
_CEILING, _FLOOR = 0.95, 0.05

_HEADINGS = (
    "",
    "source",
    "nDCG@10",
    "95 % interval",
    "gain over none",
    "",
    "gain, unseen positives",
    "N",
    "loss",
    "seconds",
)


@dataclass(frozen=True)
class ProbedSource:
    """What training with the negatives of one source came to.

    Parameters
    ----------
    source : str
        A label, or ``none``: in-batch negatives alone.
    verdict : str
        Whether its gain is above 0, ``help``, below, ``hurt``, or ``undecided``.
    queries, negatives : int
        Queries with at least one negative of this source, and those negatives.
    coverage : float
        Queries with this source's negatives / all queries, 0…1.
    ndcg : Estimate
        nDCG@10 of held-out queries.
    gain : Estimate
        nDCG@10 minus that of ``none``; of ``none`` itself, minus that of the untrained encoder. The interval
        is paired, at the simultaneous confidence that decides.
    gain_unseen : Estimate
        The same over the queries none of whose positives was a positive in training; NaN where there are
        too few to decide anything.
    loss_before, loss_after : float
        Mean training loss before and after training, nats.
    seconds : float
        That it took, over all folds and seeds; of one thread or many, as numpy has them.
    """

    source: str
    verdict: str
    queries: int
    negatives: int
    coverage: float
    ndcg: Estimate
    gain: Estimate
    gain_unseen: Estimate
    loss_before: float
    loss_after: float
    seconds: float


@dataclass(frozen=True)
class ProbeResult:
    """Sources, best first, with everything needed to obtain the numbers again.

    Parameters
    ----------
    verdict : str
        The finding in a sentence.
    sources : tuple of ProbedSource
        Best first.
    none : ProbedSource
        In-batch negatives alone.
    untrained : Estimate
        nDCG@10 of the encoder as it is.
    comparisons : tuple of dict
        The first source minus each other one: ``source``, ``difference``, ``low``, ``high``,
        ``confidence``, which is simultaneous.
    chosen : tuple of dict
        For each fold what ``none`` chose on the others: ``fold``, ``rate``, ``epochs``.
    encoder, settings, data : dict
        Provenance.
    warnings : tuple of str
    """

    verdict: str
    sources: tuple[ProbedSource, ...]
    none: ProbedSource
    untrained: Estimate
    comparisons: tuple[dict[str, Any], ...]
    chosen: tuple[dict[str, Any], ...]
    encoder: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __getitem__(self, source: str) -> ProbedSource:
        for entry in self.sources:
            if entry.source == source:
                return entry
        raise KeyError(f"no source {source!r}; there are {', '.join(entry.source for entry in self.sources)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists in the form ``eci.probe/1``; undefined numbers are None."""
        made: dict[str, Any] = plain(asdict(self))
        return {"schema": SCHEMA, **made}

    def to_json(self, indent: int | None = 2) -> str:
        """The result as JSON text (``eci.probe/1``)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> ProbeResult:
        """Read back what `to_json` wrote.

        Raises
        ------
        ValueError
            The text is not a result of the schema ``eci.probe/1``.
        """
        loaded = of_schema(text, SCHEMA, [entry.name for entry in fields(cls)])
        loaded["sources"] = tuple(_source(entry) for entry in loaded["sources"])
        loaded["none"], loaded["untrained"] = _source(loaded["none"]), Estimate(**filled(loaded["untrained"]))
        loaded["comparisons"] = tuple(filled(entry) for entry in loaded["comparisons"])
        for name in ("chosen", "warnings"):
            loaded[name] = tuple(loaded[name])
        return cls(**loaded)

    def table(self) -> str:
        """Sources, best first, with ``none`` and the untrained encoder where they stand among them."""
        rows = [(entry.ndcg.value, _row(entry, str(place))) for place, entry in enumerate(self.sources, 1)]
        rows.append((self.none.ndcg.value, _row(self.none, "")))
        bare = ("", "untrained", number(self.untrained.value), _between(self.untrained))
        rows.append((self.untrained.value, bare + ("",) * (len(_HEADINGS) - len(bare))))
        rows.sort(key=lambda row: -row[0])
        shown = [_HEADINGS, *(cells for _, cells in rows)]
        widths = [max(span(cells[place]) for cells in shown) for place in range(len(_HEADINGS))]
        lines = [
            "  ".join(
                cell + " " * (width - span(cell)) if place in (1, 5) else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()
            for cells in shown
        ]
        return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])

    def __repr__(self) -> str:
        return f"{self.table()}\n\n{self.verdict}"


def verdict_of(gain: Estimate) -> str:
    """``help`` or ``hurt`` where the interval lies on one side of 0, else ``undecided``.

    Examples
    --------
    >>> [verdict_of(Estimate(0.02, low, 0.05)) for low in (0.01, -0.01, math.nan)]
    ['help', 'undecided', 'undecided']
    """
    if gain.low > 0:
        return "help"
    return "hurt" if gain.high < 0 else "undecided"


def sentence(sources: tuple[ProbedSource, ...], comparisons: tuple[dict[str, Any], ...]) -> str:
    """What was found about the sources, best first."""
    verdicts = {entry.source: entry.verdict for entry in sources}
    told = f"Beyond in-batch negatives alone {_by_verdict(verdicts)}"
    unseen = {entry.source: verdict_of(entry.gain_unseen) for entry in sources}
    if unseen != verdicts and not any(math.isnan(entry.gain_unseen.low) for entry in sources):
        told += f". Where no positive was one in training, {_by_verdict(unseen)}"
    if not comparisons:
        return f"{told}."
    rivals = [entry["source"] for entry in comparisons if not entry["low"] > 0]
    if rivals:
        return f"{told}. {sources[0].source} comes first, not separated from {listed(rivals)}."
    return f"{told}. {sources[0].source} comes first, ahead of every other source."


def _by_verdict(verdicts: Mapping[str, str]) -> str:
    """What helps, what hurts, what is undecided: "a and b help; c is undecided"."""
    told = []
    for verdict, one, many in (
        ("help", "helps", "help"),
        ("hurt", "hurts", "hurt"),
        ("undecided", "is undecided", "are undecided"),
    ):
        labels = [source for source, found in verdicts.items() if found == verdict]
        if labels:
            told.append(f"{listed(labels)} {one if len(labels) == 1 else many}")
    return "; ".join(told)


def cautions(result: ProbeResult) -> Iterator[str]:
    """What a reader of a result should be careful of."""
    queries, unseen, none = result.data["probed"], result.data["unseen"], result.none
    if queries < FEW:
        yield f"Only {count(queries, 'query')}: below {FEW} little is learned, and intervals are too narrow."
    if none.verdict != "help":
        told = "lowers" if none.verdict == "hurt" else "does not measurably raise"
        yield (
            f"Training with in-batch negatives alone {told} nDCG@10 of held-out queries: {signed(none.gain)} "
            f"from {number(result.untrained.value)}. The adapter finds nothing to learn here, so that gains "
            "over it say little about a fine-tuning."
        )
    if unseen < 0.9 * queries:
        told = f"do not: training with in-batch negatives alone brings them {signed(none.gain_unseen)}"
        yield (
            f"{queries - unseen:,} of {count(queries, 'query')} have a positive that is one in training too: "
            f"part of what they gain can be documents remembered. The other {unseen:,} "
            f"{'are too few to tell' if math.isnan(none.gain_unseen.value) else told}."
        )
    if none.ndcg.value > _CEILING:
        yield (
            f"nDCG@10 is {none.ndcg.value:.3f} without hard negatives: little is left to gain. Rank a whole "
            "corpus with --candidates."
        )
    if none.ndcg.value < _FLOOR:
        yield f"nDCG@10 is {none.ndcg.value:.3f}: hardly a positive is found, and little can be told."
    yield from strange_candidates(result.data["found"])
    yield from _edges(result)
    partial = [f"{entry.source} {entry.coverage:.1%}" for entry in result.sources if entry.coverage < 1]
    if partial:
        yield (
            f"Not every query has negatives of every source ({', '.join(partial)} of the queries): one "
            "without trains on in-batch negatives alone, which draws the gain towards 0."
        )


def _edges(result: ProbeResult) -> Iterator[str]:
    """Choices that would have gone beyond what there was to choose from."""
    for key, noun, wider in (
        ("rate", "learning rate", "rates"),
        ("epochs", "number of epochs", "epochs"),
    ):
        grid = result.settings.get(wider, ())
        if len(grid) < 2:
            continue
        for end, least in ((grid[0], "smallest"), (grid[-1], "largest")):
            times = sum(entry[key] == end for entry in result.chosen)
            if 2 * times > len(result.chosen):
                yield (
                    f"In {times} of {len(result.chosen)} folds the {noun} chosen, {end:g}, is the {least} of "
                    f"those tried: a {'smaller' if least == 'smallest' else 'larger'} one may be better for "
                    f"every source. In Python, ProbeSettings({wider}=…) widens what is tried."
                )


def signed(estimate: Estimate) -> str:
    """A difference with its interval, for people."""
    if math.isnan(estimate.value):
        return "–"
    told = "" if math.isnan(estimate.low) else f" ({estimate.low:+.4f} … {estimate.high:+.4f})"
    return f"{estimate.value:+.4f}{told}"


def _row(entry: ProbedSource, rank: str) -> tuple[str, ...]:
    yardstick = not entry.negatives
    return (
        rank,
        entry.source,
        number(entry.ndcg.value),
        _between(entry.ndcg),
        "" if yardstick else signed(entry.gain),
        "" if yardstick else entry.verdict,
        "" if yardstick else signed(entry.gain_unseen),
        f"{entry.negatives / entry.queries:.1f}".removesuffix(".0") if entry.queries else "–",
        f"{number(entry.loss_before, 2)} → {number(entry.loss_after, 2)}",
        f"{entry.seconds:.1f}",
    )


def _between(estimate: Estimate) -> str:
    return f"{number(estimate.low)} … {number(estimate.high)}"


def _source(entry: dict[str, Any]) -> ProbedSource:
    estimates = {name: Estimate(**filled(entry[name])) for name in ("ndcg", "gain", "gain_unseen")}
    return ProbedSource(**{**filled(entry), **estimates})
