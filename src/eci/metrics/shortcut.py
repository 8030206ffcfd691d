"""Source shortcut: how well a loss can tell negatives apart by their source instead of by relevance.

Query by query, as many negatives of one source as of the other are drawn, so that chance is ½ everywhere.
What both sources have of a query is left out.

What sets the light does not look at the query: a linear probe on document vectors, clusters that hold one
source alone, surface cues. Shown beside it, since sources may well differ in hardness: the within-query AUC
of the similarity, and the mutual information of source and similarity, which sees what no AUC can, such as
equal means of unequal spread.

The thresholds rest on measurements with all-MiniLM-L6-v2 (benchmarks/contamination.py, style; `eci demo`):
BM25, dense, late-interaction, counterfactual and random negatives against each other have probes of
0.50…0.64 and cues of 0.36…0.67, also where 60 % of the BM25 negatives are positives. A fixed phrase gives
a phrase of 1.00, and a probe of 0.56…0.94 that depends on the length of the texts; texts cut to half a
length of 0.08…0.16 and a probe of 0.77…0.91.

A clear light does not certify the absence of shortcuts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from eci.intervals import Jackknife
from eci.metrics.clusters import clusters
from eci.metrics.contrast import FEWEST_QUERIES, Contrast, Draw, check_range, drawn
from eci.metrics.cues import CUES, cues
from eci.metrics.phrases import runs, telltale
from eci.ragged import Ragged, divide
from eci.results import Estimate
from eci.tally import GROUPS, Tally
from eci.types import Floats, Integers, Vectors

_UNSURE = "too few documents: the interval of {} reaches to what is separable"
# What the surface shows: the cues of a text, and runs of words that one source keeps writing.
_SURFACE = (*CUES, "phrase")

Light: TypeAlias = Literal["clear", "suspicious", "separable", "unknown"]

# Where "suspicious" and "separable" begin: AUC of the probe, of a cue (either way), share in pure clusters.
PROBE = (0.65, 0.75)
CUE = (0.65, 0.80)
PURE = (0.05, 0.20)

FOLDS = 5
BINS = 8
PERMUTATIONS = 200
# λ of the probe as a share of the mean eigenvalue of X'X. A style lies in directions of little variance,
# which a λ of 1 hides; less than this loses where documents are few.
RIDGE = 0.05
PURITY = 0.95
SMALLEST_CLUSTER = 20

_CLUSTERS = 64
_TYPICAL_CLUSTER = 60
# Rows widened to float64 at a time: at d = 1024 they take 16 MiB.
_TILE = 2048


@dataclass(frozen=True)
class Shortcut:
    """What tells the negatives of two sources apart.

    Every AUC is the chance that a negative of the first source has the larger value than one of the
    second of the same query, ties counting half, each query weighing the same; chance is ½. Swapping the
    sources turns an AUC into 1 − AUC, but for those of the probe and the phrase, which were told the sources
    of other documents and try to name the right one.

    Parameters
    ----------
    light : str
        ``clear``, ``suspicious``, ``separable``; ``unknown`` where there is too little.
    because : str
        The figure that set the light, or that came nearest to raising it: ``probe``, ``pure`` or one of
        the cues; where unknown, the figure whose interval is too wide, if any.
    note : str
        Why the light is unknown; else empty.
    auc : Estimate
        Of the similarity.
    information : Estimate
        Mutual information of source and query-centred similarity, in nats, Miller–Madow corrected; can
        fall below 0.
    information_share : float
        The same as a share of the entropy of the source, 0…1.
    p_value : float
        Of the mutual information, by permuting sources within queries.
    probe : Estimate
        AUC of a linear probe on document vectors, out of fold.
    pure : tuple of two Estimate
        Share of each source's documents in clusters that are at least 95 % one source, 0…1.
    cues : dict of str to Estimate
        AUC of each of `CUES`, and of ``phrase``: the runs of three words that best part the sources in
        other folds.
    queries, documents : int
        Queries with negatives of both sources that were drawn, and documents drawn of each source.
    seed : int
        Of the draw.
    """

    light: Light
    because: str
    note: str
    auc: Estimate
    information: Estimate
    information_share: float
    p_value: float
    probe: Estimate
    pure: tuple[Estimate, Estimate]
    cues: dict[str, Estimate]
    queries: int
    documents: int
    seed: int


def compare(contrast: Contrast, vectors: Vectors, texts: Sequence[str], *, seed: int = 0) -> Shortcut:
    """Everything that tells the negatives of two sources apart.

    Parameters
    ----------
    contrast : Contrast
    vectors : ndarray of shape (D, d), float32
        Document vectors, L2-normalised.
    texts : sequence of D str
        The documents. Those that are drawn are read.
    seed : int
        Of the draw, the permutations and the clusters.

    Raises
    ------
    ValueError
        A document has no vector or no text.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> vectors = rng.standard_normal((400, 16)).astype(np.float32)
    >>> vectors[200:, 0] += 4  # the second source writes in a style of its own
    >>> vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    >>> query = np.tile(np.repeat(np.arange(40), 5), 2)
    >>> contrast = Contrast(
    ...     query=query, second=np.arange(400) >= 200, document=np.arange(400),
    ...     similarity=rng.random(400), groups=np.arange(40) % 20, order=np.arange(40),
    ... )
    >>> found = compare(contrast, vectors, ["a text"] * 400)
    >>> found.light, found.because, round(found.probe.value, 2), found.cues["length"].value
    ('separable', 'probe', 1.0, 0.5)
    """
    check_range("document", contrast.document, min(len(vectors), len(texts)))
    rng = np.random.default_rng(seed)
    draw = drawn(contrast, vectors, rng)
    used, place = np.unique(draw.document, return_inverse=True)
    draw = replace(draw, document=place.ravel())
    read = [texts[number] for number in used]
    return tell_apart(draw, vectors[used], (cues(read), runs(read)), rng, seed)


def tell_apart(
    draw: Draw, vectors: Vectors, surface: tuple[Floats, Ragged], rng: np.random.Generator, seed: int
) -> Shortcut:
    """The same of a draw; `surface` is what `cues` and `runs` give of its documents."""
    note = _too_little(draw)
    found, p_value = _undefined() if note else _figures(draw, vectors, surface, rng)
    light, because = _light(found)
    return Shortcut(
        light=light,
        because=because,
        note=note or (_UNSURE.format(because) if light == "unknown" else ""),
        auc=found["auc"],
        information=found["information"],
        # Drawn in equal numbers: the entropy of the source is ln 2.
        information_share=min(max(found["information"].value / math.log(2), 0.0), 1.0),
        p_value=p_value,
        probe=found["probe"],
        pure=(found["pure_first"], found["pure_second"]),
        cues={name: found[name] for name in _SURFACE},
        queries=len(draw.groups),
        documents=len(draw.second) // 2,
        seed=seed,
    )


def _too_little(draw: Draw) -> str:
    if len(draw.groups) == 0:
        return "no query has negatives of both sources that the other lacks"
    if len(draw.groups) < FEWEST_QUERIES:
        return (
            f"{len(draw.groups)} queries have negatives of both sources that the other lacks; "
            f"at least {FEWEST_QUERIES} are needed"
        )
    if len(np.unique(draw.groups % FOLDS)) < 2:
        return "the queries that have negatives of both sources lie in one fold of jackknife groups"
    return ""


def _undefined() -> tuple[dict[str, Estimate], float]:
    names = ("auc", "information", "probe", "pure_first", "pure_second", *_SURFACE)
    return dict.fromkeys(names, Estimate(math.nan, math.nan, math.nan)), math.nan


def _figures(
    draw: Draw, vectors: Vectors, surface: tuple[Floats, Ragged], rng: np.random.Generator
) -> tuple[dict[str, Estimate], float]:
    """Every figure with its interval, and the p-value of the information."""
    joint, p_value = _joint(draw, rng)
    table, held = surface
    fold = draw.groups[draw.rows] % FOLDS
    columns = {
        "auc": draw.auc(draw.similarity),
        "probe": draw.auc(_probe(draw, vectors)),
        **{name: draw.auc(table[draw.document, place]) for place, name in enumerate(CUES)},
        "phrase": draw.auc(telltale(held, draw.document, draw.second, fold)),
        **_pure(draw, vectors, rng),
    }
    sums = Tally.of(draw.groups, {**columns, "queries": np.ones(len(draw.groups))}).replicates()
    replicates = {name: divide(sums[name], sums["queries"]) for name in columns}
    return _estimates({**replicates, "information": _information(_replicates(joint))}, draw.groups), p_value


def _estimates(replicates: Mapping[str, Floats], groups: Integers) -> dict[str, Estimate]:
    """Values with intervals, from values on all queries and without each group, of shape (1 + GROUPS,)."""
    sizes = np.bincount(groups, minlength=GROUPS)
    jackknife = Jackknife.of(np.array(list(replicates.values())), sizes)
    found = {}
    halves = dict(zip(replicates, jackknife.half_widths().tolist(), strict=True))
    # Any two folds teach each other the same chance, so it counts twice: where the sources do not differ, a
    # variance that takes folds for independent is half of what it is.
    halves["probe"] *= math.sqrt(2)
    for (name, half), value in zip(halves.items(), jackknife.values.tolist(), strict=True):
        least, most = (-math.inf, math.log(2)) if name == "information" else (0.0, 1.0)
        found[name] = Estimate(value, max(value - half, least), min(value + half, most))
    return found


def _joint(draw: Draw, rng: np.random.Generator) -> tuple[Floats, float]:
    """Counts of shape (GROUPS, BINS, 2) of the query-centred similarity by source, and the p-value."""
    lengths = np.diff(draw.offsets)
    mean = np.add.reduceat(draw.similarity, draw.offsets[:-1]) / lengths
    # Values that are equal but for rounding fall into the same bin.
    centred = np.round(draw.similarity - np.repeat(mean, lengths), 9)
    edges = np.quantile(centred, np.arange(1, BINS) / BINS)
    bins = np.searchsorted(edges, centred, side="right")
    cell = (draw.groups[draw.rows] * BINS + bins) * 2 + draw.second
    joint = np.bincount(cell, minlength=GROUPS * BINS * 2).reshape(GROUPS, BINS, 2).astype(np.float64)
    permuted = np.empty((PERMUTATIONS, BINS, 2))
    for number in range(PERMUTATIONS):
        shuffled = bins[np.argsort(draw.rows + rng.random(len(bins)))]
        permuted[number, :, 0] = np.bincount(shuffled[~draw.second], minlength=BINS)
    permuted[:, :, 1] = joint.sum(axis=(0, 2)) - permuted[:, :, 0]
    # The same counts may differ in the last digit when the sources change places.
    reached = _information(permuted) >= _information(joint.sum(axis=0)) - 1e-12
    return joint, float((1 + reached.sum()) / (1 + PERMUTATIONS))


def _replicates(joint: Floats) -> Floats:
    """Counts over everything, then without each group, of shape (1 + GROUPS, BINS, 2)."""
    total = joint.sum(axis=0)
    return np.concatenate([total[None], total - joint])


def _information(joint: Floats) -> Floats:
    """Mutual information in nats of tables of counts of shape (…, BINS, 2), Miller–Madow corrected.

    I = Σ P(b,z) ln[P(b,z) / (P(b)P(z))] − (m_bz − m_b − m_z + 1)/(2n), m the cells that are not empty.
    """
    bins, sources, total = joint.sum(axis=-1), joint.sum(axis=-2), joint.sum(axis=(-2, -1))
    plain = _log_sum(joint, 2) - _log_sum(bins, 1) - _log_sum(sources, 1) + _log_sum(total[..., None], 1)
    cells = (joint > 0).sum(axis=(-2, -1)) - (bins > 0).sum(axis=-1) - (sources > 0).sum(axis=-1) + 1
    return divide(plain - cells / 2, total)


def _log_sum(counts: Floats, axes: int) -> Floats:
    """Σ n ln n over the last axes."""
    logarithm = np.log(np.maximum(counts, 1.0))
    return np.asarray((counts * logarithm).sum(axis=tuple(range(-axes, 0))))


def _probe(draw: Draw, vectors: Vectors) -> Floats:
    """Out-of-fold score of each document by ridge regression of the source (±1), of shape (n,).

    Vectors are centred within the query, so that what a query is about tells nothing. A fold is scored by
    what other queries teach about other documents: a document met again tells nothing about style.
    """
    dimension = vectors.shape[1]
    labels = np.where(draw.second, -1.0, 1.0)
    scores = np.zeros(len(labels))
    places = Ragged(np.arange(len(labels)), draw.offsets)
    fold = draw.groups % FOLDS
    for number in np.unique(fold):
        asked = fold == number
        held = places.take(np.flatnonzero(asked)).values
        taught = ~np.isin(draw.document, draw.document[held])
        gram, moment = np.zeros((dimension, dimension)), np.zeros(dimension)
        for own in _tiles(places, np.flatnonzero(~asked)):
            rows = vectors[draw.document[own.values]].astype(np.float64)
            rows -= (np.add.reduceat(rows, own.offsets[:-1], axis=0) / own.lengths[:, None])[own.rows]
            rows = rows[taught[own.values]]
            gram += rows.T @ rows
            moment += labels[own.values][taught[own.values]] @ rows
        strength = RIDGE * np.trace(gram) / dimension
        if strength > 0:
            gram[np.diag_indices(dimension)] += strength
            weights = np.linalg.solve(gram, moment)
            for own in _tiles(places, np.flatnonzero(asked)):
                scores[own.values] = vectors[draw.document[own.values]].astype(np.float64) @ weights
    return scores


def _tiles(places: Ragged, queries: Integers) -> Iterator[Ragged]:
    """The rows of some queries, about `_TILE` entries at a time."""
    tile = np.cumsum(places.lengths[queries]) // _TILE
    for part in np.split(queries, np.flatnonzero(np.diff(tile)) + 1):
        yield places.take(part)


def _pure(draw: Draw, vectors: Vectors, rng: np.random.Generator) -> dict[str, Floats]:
    """Share of each source's documents of a query that lie in clusters of one source, of shape (q,).

    A cluster of 20 different documents whose sources are tossed like coins is 95 % pure once in 25,000
    times; smaller ones do not count.
    """
    _, first, inverse = np.unique(draw.document, return_index=True, return_inverse=True)
    # In the order of the draw: the numbers of documents depend on how they were read.
    distinct = np.argsort(np.argsort(first))[inverse.ravel()]
    points = vectors[draw.document[np.sort(first)]]
    own = clusters(points, min(_CLUSTERS, max(2, len(points) // _TYPICAL_CLUSTER)), rng)
    cluster = own[distinct]
    counts = np.bincount(cluster * 2 + draw.second, minlength=2 * (own.max() + 1)).reshape(-1, 2)
    large = np.bincount(own, minlength=len(counts)) >= SMALLEST_CLUSTER
    alone = large & (counts.max(axis=1) >= PURITY * counts.sum(axis=1))
    each = np.diff(draw.offsets) / 2
    return {
        name: np.bincount(draw.rows, weights=alone[cluster] & side, minlength=len(each)) / each
        for name, side in (("pure_first", ~draw.second), ("pure_second", draw.second))
    }


def _light(found: Mapping[str, Estimate]) -> tuple[Light, str]:
    """The light, and the figure that is furthest beyond its thresholds or nearest to them.

    A threshold is reached where the whole interval lies beyond it. Nothing is clear that may as well be
    separable: where an interval reaches that far, the light is unknown.
    """
    if math.isnan(found["probe"].value):
        return "unknown", ""
    scales = {
        "probe": (found["probe"].low, found["probe"].high, 0.5, *PROBE),
        "pure": (
            max(found["pure_first"].low, found["pure_second"].low),
            max(found["pure_first"].high, found["pure_second"].high),
            0.0,
            *PURE,
        ),
        **{
            name: (
                max(found[name].low, 1 - found[name].high),
                max(found[name].high, 1 - found[name].low),
                0.5,
                *CUE,
            )
            for name in _SURFACE
        },
    }
    # Whole numbers are the thresholds: figures on different scales compare by how far they got.
    height, reach = (
        {
            name: float(np.interp(scale[end], (*scale[2:], 1.0), (0.0, 1.0, 2.0, 3.0)))
            for name, scale in scales.items()
        }
        for end in (0, 1)
    )
    because = max(height, key=lambda name: height[name])
    furthest = max(reach, key=lambda name: reach[name])
    if height[because] < 1 and not reach[furthest] < 2:
        return "unknown", furthest
    lights: tuple[Light, ...] = ("clear", "suspicious", "separable", "separable")
    return lights[int(height[because])], because
