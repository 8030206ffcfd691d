"""Source shortcut against naive loops, known values, what must not change it, and where it is undefined."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from eci.metrics import shortcut
from eci.metrics.contrast import Contrast, drawn
from eci.metrics.cues import CUES, cues
from eci.metrics.phrases import runs
from eci.metrics.shortcut import compare, tell_apart
from eci.ragged import Ragged
from eci.results import Estimate
from eci.tally import GROUPS


@dataclasses.dataclass(frozen=True)
class World:
    """A contrast with its tables, and the same as lists of documents by query."""

    contrast: Contrast
    vectors: np.ndarray
    surface: np.ndarray

    @property
    def phrases(self):
        """No document holds a run of words that others hold."""
        return Ragged.from_lengths(np.empty(0, dtype=np.int64), np.zeros(len(self.vectors), dtype=np.int64))

    def compare(self, seed=0):
        rng = np.random.default_rng(seed)
        draw = drawn(self.contrast, self.vectors, rng)
        return tell_apart(draw, self.vectors, (self.surface, self.phrases), rng, seed)

    def documents(self, second):
        c = self.contrast
        return [c.document[(c.query == q) & (c.second == second)].tolist() for q in range(len(c.order))]

    def similarities(self, second):
        c = self.contrast
        return [c.similarity[(c.query == q) & (c.second == second)].tolist() for q in range(len(c.order))]


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def world(seed=0, queries=40, each=5, dimension=8, style=0.0):
    """Two sources that differ by nothing but `style`, an offset along the first axis; no document repeats."""
    rng = np.random.default_rng(seed)
    count = 2 * queries * each
    second = np.arange(count) >= count // 2
    vectors = rng.standard_normal((count, dimension))
    vectors[second, 0] += style
    contrast = Contrast(
        query=np.tile(np.repeat(np.arange(queries), each), 2),
        second=second,
        document=np.arange(count),
        similarity=rng.random(count).astype(np.float32),
        groups=np.arange(queries) % GROUPS,
        order=rng.permutation(queries),
    )
    return World(contrast, unit(vectors), rng.random((count, len(CUES))))


def with_similarity(found, similarity):
    return dataclasses.replace(found, contrast=dataclasses.replace(found.contrast, similarity=similarity))


def uneven(seed=0, queries=30, documents=120, dimension=6):
    """Sources of different size whose documents repeat between queries, within them and between sources."""
    rng = np.random.default_rng(seed)
    count = queries * 12
    query, document = rng.integers(0, queries, count), rng.integers(0, documents, count)
    second = rng.random(count) < 0.4
    vectors = unit(rng.standard_normal((documents, dimension)))
    asked = unit(rng.standard_normal((queries, dimension)))
    contrast = Contrast(
        query=query,
        second=second,
        document=document,
        similarity=np.einsum("ij,ij->i", asked[query], vectors[document]),
        groups=rng.integers(0, GROUPS, queries),
        order=rng.permutation(1000)[:queries],
    )
    return World(contrast, vectors, rng.random((documents, len(CUES))))


def swapped(found):
    return dataclasses.replace(
        found, contrast=dataclasses.replace(found.contrast, second=~found.contrast.second)
    )


# --- against naive loops


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("digits", [1, 7])
def test_auc_information_and_cues_equal_the_loops(seed, digits):
    """One digit makes many ties."""
    case = world(seed, style=0.5)
    similarity = case.contrast.similarity.astype(np.float64)
    case = with_similarity(case, (similarity + 0.2 * case.contrast.second).round(digits))
    case = dataclasses.replace(case, surface=case.surface.round(digits))
    found = case.compare()
    first, second = case.similarities(False), case.similarities(True)
    assert found.auc.value == pytest.approx(reference.within_query_auc(first, second), rel=1e-12)
    assert found.information.value == pytest.approx(reference.source_information(first, second), rel=1e-9)
    assert found.information_share == pytest.approx(found.information.value / math.log(2))
    for place, name in enumerate(CUES):
        one, other = ([case.surface[own, place] for own in case.documents(side)] for side in (False, True))
        assert found.cues[name].value == pytest.approx(reference.within_query_auc(one, other), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_probe_equals_least_squares_in_a_loop(seed):
    case = world(seed, style=0.7)
    # Half of the documents are met again in another query.
    document = case.contrast.document.copy()
    document[::2] = document[::2][np.random.default_rng(seed).permutation(len(document[::2]))]
    document = np.where(np.arange(len(document)) % 4 == 0, (document // 8) * 8 % len(document), document)
    document = np.where(case.contrast.second, document | 1, document & ~1)
    query = case.contrast.query
    pairs = np.unique(np.stack([query, case.contrast.second, document], axis=1), axis=0)
    counts = np.bincount(pairs[:, 0] * 2 + pairs[:, 1]).reshape(-1, 2)
    # As many of each source, so that everything is drawn.
    place = np.concatenate([np.arange(size) for size in counts.ravel()])
    pairs = pairs[place < counts.min(axis=1)[pairs[:, 0]]]
    contrast = dataclasses.replace(
        case.contrast,
        query=pairs[:, 0],
        second=pairs[:, 1].astype(bool),
        document=pairs[:, 2],
        similarity=np.random.default_rng(1).random(len(pairs)),
    )
    case = dataclasses.replace(case, contrast=contrast)
    sides = [
        [
            [(number, case.vectors[number].astype(np.float64)) for number in own]
            for own in case.documents(side)
        ]
        for side in (False, True)
    ]
    assert len(np.unique(pairs[:, 2])) < 0.9 * len(pairs)
    scores = reference.source_probe(*sides, contrast.groups.tolist(), shortcut.RIDGE)
    found = case.compare()
    assert found.documents == len(pairs) // 2
    assert found.probe.value == pytest.approx(reference.within_query_auc(*scores), rel=1e-12)


def test_intervals_are_the_jackknife_of_the_groups():
    case = world(3, queries=35)
    by_group = [[] for _ in range(GROUPS)]
    for query, (a, b) in enumerate(zip(case.similarities(False), case.similarities(True), strict=True)):
        by_group[case.contrast.groups[query]].append(reference.within_query_auc([a], [b]))
    value, error = reference.jackknife(by_group, lambda numbers: sum(numbers) / len(numbers))
    found = case.compare().auc
    assert found.value == pytest.approx(value)
    assert found.high - found.low == pytest.approx(2 * 2.093024 * error, rel=1e-6)


def blobs(seed, purities, each=60, dimension=8):
    """Tight clusters of `each` documents, of the first source by the given shares; one query takes a few."""
    rng = np.random.default_rng(seed)
    second = np.concatenate([np.arange(each) >= round(each * purity) for purity in purities])
    blob = np.repeat(np.arange(len(purities)), each)
    vectors = np.eye(dimension)[blob] + 0.01 * rng.standard_normal((len(blob), dimension))
    assert second.sum() * 2 == len(second)
    query = np.empty(len(blob), dtype=np.int64)
    for side in (False, True):
        own = rng.permutation(np.flatnonzero(second == side))
        query[own] = np.arange(len(own)) // 5
    queries = int(query.max()) + 1
    groups = np.arange(queries) % GROUPS
    contrast = Contrast(
        query, second, np.arange(len(blob)), rng.random(len(blob)), groups, np.arange(queries)
    )
    return World(contrast, unit(vectors), np.zeros((len(blob), len(CUES))))


@pytest.mark.parametrize(
    ("purities", "first", "second"),
    [
        ([1.0, 0.0, 0.5, 0.5], 60 / 120, 60 / 120),
        ([0.95, 0.05, 0.5, 0.5], 57 / 120, 57 / 120),
        ([0.9, 0.1, 0.5, 0.5], 0.0, 0.0),
        ([1.0, 1 / 3, 1 / 3, 1 / 3], 60 / 120, 0.0),
    ],
)
def test_pure_share_of_clusters_that_are_known(purities, first, second):
    """A cluster of 57 against 3 is 95 % pure, and the three lie in it but are not its source's."""
    found = blobs(1, purities).compare().pure
    strays = {0.95: 3 / 120}.get(purities[0], 0.0)
    assert [part.value for part in found] == pytest.approx([first + strays, second + strays])


@pytest.mark.parametrize(("each", "counted"), [(60, True), (19, False)])
def test_small_clusters_are_pure_by_chance_and_do_not_count(each, counted):
    found = blobs(2, [1.0, 0.0] * 6, each=each, dimension=16)
    pure = found.compare().pure[0].value
    # Clusters of 19 may be joined by k-means, never split into larger ones.
    assert (pure == 1.0) if counted else (pure < 1.0)


def test_without_a_difference_nothing_is_pure():
    """Sources shuffled among documents in clusters: the share expected is about 1 in 25,000."""
    for seed in range(20):
        case = blobs(seed, [0.5] * 8)
        shuffled = case.contrast.second.copy()
        rng = np.random.default_rng(seed)
        for query in range(len(case.contrast.order)):
            own = np.flatnonzero(case.contrast.query == query)
            shuffled[own] = shuffled[rng.permutation(own)]
        found = dataclasses.replace(
            case, contrast=dataclasses.replace(case.contrast, second=shuffled)
        ).compare()
        assert [part.value for part in found.pure] == [0.0, 0.0]


# --- known values


def normal(mean, deviation):
    return lambda x: 0.5 * (1 + math.erf((x - mean) / deviation / math.sqrt(2)))


SHAPES = {
    "nothing": normal(0, 1),
    "shift": normal(-1, 1),
    "narrow": normal(0, 0.2),
    "two humps": lambda x: (normal(-1.5, 0.3)(x) + normal(1.5, 0.3)(x)) / 2,
}


def binned(shape, share):
    """Exact probabilities of 8 quantile bins for a standard normal and, with the given share, another shape."""
    one, other = normal(0, 1), SHAPES[shape]
    grid = np.linspace(-6, 6, 100_001)
    cumulated = np.array([[(1 - share) * one(x), share * other(x)] for x in grid])
    places = np.searchsorted(cumulated.sum(axis=1), np.arange(1, 8) / 8)
    return np.diff(np.vstack([[0, 0], cumulated[places], [1 - share, share]]), axis=0)


@pytest.mark.parametrize(("scale", "shift", "bits", "share"), [(0.2, 0, 0.144, 0.22), (1, 1, 0.086, 0.13)])
def test_the_loops_give_what_is_known_of_15_negatives_against_3(scale, shift, bits, share):
    """In equal numbers both figures are larger, since the entropy of the source is."""
    rng = np.random.default_rng(0)
    many, few = rng.standard_normal((1000, 15)), scale * rng.standard_normal((1000, 3)) + shift
    found = reference.source_information(many.tolist(), few.tolist()) / math.log(2)
    entropy = -(15 * math.log2(15 / 18) + 3 * math.log2(3 / 18)) / 18
    assert found == pytest.approx(bits, abs=0.006)
    assert found / entropy == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "auc", "share"),
    [("nothing", 0.5, 0.0), ("shift", 0.76, 0.155), ("narrow", 0.5, 0.392), ("two humps", 0.5, 0.374)],
)
def test_known_values_of_simulated_similarities(shape, auc, share):
    """A shift of one standard deviation: Φ(1/√2) = 0.760. Equal means of unequal spread: no AUC sees them."""
    case = world(5, queries=40, each=125, dimension=2)
    rng = np.random.default_rng(7)
    noise = rng.standard_normal(len(case.contrast.query))
    other = {
        "nothing": noise,
        "shift": noise - 1,
        "narrow": noise / 5,
        "two humps": 1.5 * np.sign(rng.standard_normal(len(noise))) + 0.3 * noise,
    }[shape]
    found = with_similarity(case, 0.1 * np.where(case.contrast.second, other, noise)).compare()
    exact = float(shortcut._information(binned(shape, 0.5) * 1e9))
    assert found.auc.value == pytest.approx(auc, abs=0.02)
    assert found.information.value == pytest.approx(exact, abs=0.015)
    assert found.information_share == pytest.approx(share, abs=0.02)
    assert (found.p_value < 0.01) is (shape != "nothing")
    # None of it is a matter of style.
    assert found.light == "clear"


def test_separate_similarities_tell_all_and_leave_the_light_alone():
    case = world(0)
    found = with_similarity(case, np.where(case.contrast.second, 0.2, 0.8)).compare()
    assert (found.auc.value, found.information_share, found.light) == (
        1.0,
        pytest.approx(1.0, abs=0.02),
        "clear",
    )
    assert found.information.high <= math.log(2)
    assert found.p_value == pytest.approx(1 / 201)


def test_nothing_to_see_in_sources_that_do_not_differ():
    """The p-value is about uniform, no light is above clear, intervals of the probe hold ½."""
    found = [world(seed, queries=30, each=4).compare() for seed in range(100)]
    p = np.sort([one.p_value for one in found])
    # Kolmogorov–Smirnov, 1 %.
    assert np.abs(p - (np.arange(100) + 0.5) / 100).max() < 0.17
    lights = [one.light for one in found]
    assert set(lights) == {"clear", "unknown"}
    assert lights.count("clear") > 50
    held = sum(one.probe.low <= 0.5 <= one.probe.high for one in found)
    assert held >= 90
    assert np.mean([one.probe.value for one in found]) == pytest.approx(0.5, abs=0.02)


# --- the light


def test_a_style_is_separable_and_named():
    found = world(style=4.0).compare()
    assert (found.light, found.because, found.note) == ("separable", "probe", "")
    assert found.probe.value > 0.95


def test_a_weak_style_is_suspicious():
    found = world(queries=100, each=10, style=0.9).compare()
    assert (found.light, found.because) == ("suspicious", "probe")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_cue_is_separable_either_way(sign):
    case = world()
    case.surface[:, 1] += sign * case.contrast.second
    found = case.compare()
    assert (found.light, found.because) == ("separable", "digits")
    assert found.cues["digits"].value == (0.0 if sign > 0 else 1.0)


def test_a_style_of_each_documents_own_topic_is_no_style():
    """What a query is about moves both sources alike and tells nothing."""
    case = world(dimension=16)
    topics = np.random.default_rng(0).standard_normal((40, 16)) * 3
    vectors = unit(case.vectors + topics[case.contrast.query])
    assert dataclasses.replace(case, vectors=vectors).compare().light == "clear"


def estimates(**values):
    flat = dict.fromkeys(("probe", *CUES, "phrase"), Estimate(0.5, 0.45, 0.55))
    nothing = dict.fromkeys(("pure_first", "pure_second"), Estimate(0.0, 0.0, 0.0))
    return {**flat, **nothing, **{name: Estimate(*value) for name, value in values.items()}}


@pytest.mark.parametrize(
    ("values", "light", "because"),
    [
        ({}, "clear", "probe"),
        ({"probe": (0.7, 0.64, 0.74)}, "clear", "probe"),
        ({"probe": (0.7, 0.64, 0.76)}, "unknown", "probe"),
        ({"length": (0.3, 0.19, 0.41)}, "unknown", "length"),
        ({"pure_second": (0.1, 0.0, 0.3)}, "unknown", "pure"),
        ({"probe": (0.7, 0.66, 0.74)}, "suspicious", "probe"),
        ({"probe": (0.9, 0.76, 1.0)}, "separable", "probe"),
        ({"probe": (0.1, 0.0, 0.2)}, "clear", "probe"),
        ({"length": (0.3, 0.27, 0.33)}, "suspicious", "length"),
        ({"digits": (0.9, 0.85, 0.95), "length": (0.3, 0.27, 0.33)}, "separable", "digits"),
        ({"type_token": (0.6, 0.58, 0.62)}, "clear", "type_token"),
        ({"pure_second": (0.1, 0.06, 0.14)}, "suspicious", "pure"),
        ({"pure_first": (0.5, 0.3, 0.7), "probe": (0.7, 0.66, 0.74)}, "separable", "pure"),
        ({"pure_first": (1.0, 1.0, 1.0), "probe": (1.0, 1.0, 1.0)}, "separable", "probe"),
    ],
)
def test_a_threshold_is_reached_by_the_whole_interval(values, light, because):
    assert shortcut._light(estimates(**values)) == (light, because)


# --- what must not change it


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.randoms(use_true_random=False))
def test_order_of_negatives_queries_and_documents_is_irrelevant(seed, random):
    case = uneven(seed)
    c = case.contrast
    rows, queries, documents = (
        np.array(random.sample(range(count), count))
        for count in (len(c.query), len(c.order), len(case.vectors))
    )
    moved = World(
        Contrast(
            query=np.argsort(queries)[c.query[rows]],
            second=c.second[rows],
            document=np.argsort(documents)[c.document[rows]],
            similarity=c.similarity[rows],
            groups=c.groups[queries],
            order=c.order[queries],
        ),
        case.vectors[documents],
        case.surface[documents],
    )
    assert moved.compare() == case.compare()


@pytest.mark.parametrize("make", [world, uneven])
def test_swapping_the_sources_mirrors_every_figure(make):
    case = make(2)
    found, mirrored = case.compare(), swapped(case).compare()
    for one, other in [
        (found.auc, mirrored.auc),
        *((found.cues[name], mirrored.cues[name]) for name in CUES),
    ]:
        assert (other.value, other.low, other.high) == pytest.approx(
            (1 - one.value, 1 - one.high, 1 - one.low)
        )
    assert dataclasses.astuple(found.probe) == pytest.approx(dataclasses.astuple(mirrored.probe))
    assert dataclasses.astuple(found.information) == pytest.approx(dataclasses.astuple(mirrored.information))
    assert found.pure == mirrored.pure[::-1]
    for name in ("light", "because", "p_value", "queries", "documents"):
        assert getattr(found, name) == getattr(mirrored, name)


def test_the_seed_draws():
    case = uneven()
    assert case.compare(seed=1) == case.compare(seed=1)
    assert case.compare(seed=1).auc != case.compare(seed=2).auc
    assert case.compare(seed=1).seed == 1


def test_as_many_of_one_source_as_of_the_other():
    case = uneven(4)
    each = []
    for first, second in zip(case.documents(False), case.documents(True), strict=True):
        each.append(min(len(set(first) - set(second)), len(set(second) - set(first))))
    found = case.compare()
    assert (found.queries, found.documents) == (sum(size > 0 for size in each), sum(each))


# --- shared and repeated documents


def joined(case, query, document, second, similarity):
    c = case.contrast
    return dataclasses.replace(
        case,
        contrast=dataclasses.replace(
            c,
            query=np.append(c.query, query),
            document=np.append(c.document, document),
            second=np.append(c.second, second),
            similarity=np.append(c.similarity, similarity),
        ),
    )


def test_a_document_that_repeats_within_a_query_counts_once():
    case = world()
    c = case.contrast
    assert (
        joined(case, c.query[:50], c.document[:50], c.second[:50], c.similarity[:50]).compare()
        == case.compare()
    )


def test_what_both_sources_have_of_a_query_says_nothing():
    """Added to both sides it changes nothing; given to the other side it leaves both."""
    case = world()
    c = case.contrast
    other = (c.query[:10] + 7) % 40
    both = np.tile(other, 2), np.tile(c.document[:10], 2), np.repeat([False, True], 10), np.full(20, 0.9)
    assert joined(case, *both).compare() == case.compare()
    lost = joined(case, c.query[:5], c.document[:5], ~c.second[:5], c.similarity[:5]).compare()
    assert (lost.queries, lost.documents) == (39, 195)


def test_a_document_of_both_sources_in_different_queries_stays():
    case = world()
    document = case.contrast.document.copy()
    document[document >= 200] = np.roll(document[:200], 5)
    found = dataclasses.replace(
        case, contrast=dataclasses.replace(case.contrast, document=document)
    ).compare()
    assert (found.documents, found.light) == (200, "clear")


def test_a_probe_that_has_seen_every_document_says_nothing():
    """The same two documents everywhere: nothing is left to learn from, and nothing is guessed."""
    case = world(queries=40, each=1)
    document = case.contrast.second.astype(np.int64)
    found = dataclasses.replace(
        case, contrast=dataclasses.replace(case.contrast, document=document)
    ).compare()
    assert (found.probe.value, found.pure[0].value) == (0.5, 0.0)


def test_documents_that_are_all_alike_are_no_crash():
    case = world()
    found = compare(case.contrast, np.ones_like(case.vectors) / np.float32(8**0.5), ["the same text"] * 400)
    assert (found.probe.value, found.cues["length"].value, found.light) == (0.5, 0.5, "clear")


# --- undefined and refused


def few(queries, groups=None):
    case = world(queries=queries)
    if groups is not None:
        case = dataclasses.replace(case, contrast=dataclasses.replace(case.contrast, groups=groups))
    return case.compare()


@pytest.mark.parametrize(
    ("found", "note"),
    [
        (lambda: few(19), "19 queries have negatives of both sources"),
        (lambda: few(40, np.full(40, 3)), "one fold"),
        (lambda: few(40, np.tile([1, 6, 11, 16], 10)), "one fold"),
    ],
)
def test_too_little_is_unknown_with_its_reason(found, note):
    found = found()
    assert (found.light, found.because) == ("unknown", "")
    assert note in found.note
    figures = [found.auc, found.information, found.probe, *found.pure, *found.cues.values()]
    assert all(math.isnan(number) for figure in figures for number in dataclasses.astuple(figure))
    assert math.isnan(found.p_value)
    assert math.isnan(found.information_share)
    assert found.queries > 0


@pytest.mark.parametrize("share", ["none", "second", "all shared"])
def test_sources_with_nothing_of_their_own_are_unknown(share):
    case = world()
    c = case.contrast
    if share == "none":
        empty = np.empty(0, dtype=np.int64)
        contrast = Contrast(empty, empty.astype(bool), empty, empty.astype(float), empty, empty)
    elif share == "second":
        contrast = dataclasses.replace(c, second=np.ones_like(c.second))
    else:
        contrast = joined(case, c.query, c.document, ~c.second, c.similarity).contrast
    found = compare(contrast, case.vectors, case.surface)
    assert (found.light, found.queries, found.documents) == ("unknown", 0, 0)


def test_twenty_queries_in_two_groups_are_enough():
    found = few(20, np.tile([0, 1], 10))
    assert found.light == "unknown"
    assert found.note.endswith(" reaches to what is separable")
    assert found.auc.low <= found.auc.value <= found.auc.high


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": np.arange(3)}, "equally long"),
        ({"groups": np.arange(5)}, "as many queries, got 5 and 40"),
        ({"groups": np.full(40, 20)}, "groups must lie between 0 and 19, got 20 to 20"),
        ({"query": np.full(400, 40)}, "query must lie between 0 and 39"),
        ({"query": np.full(400, -1)}, "query must lie between"),
        ({"second": np.zeros(400, dtype=np.int64)}, "second must be boolean, got int64"),
        ({"similarity": np.full(400, np.nan)}, "not a finite number"),
        ({"order": np.zeros(40, dtype=np.int64)}, "some repeat"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(world().contrast, **change)


def test_tables_that_do_not_fit_are_refused():
    case = world()
    for vectors, texts in ((case.vectors[:10], ["a"] * 400), (case.vectors, ["a"] * 10)):
        with pytest.raises(ValueError, match="document must lie between 0 and 9, got 0 to 399"):
            compare(case.contrast, vectors, texts)


# --- bounds of the work


def test_a_draw_stays_small_and_so_does_memory():
    rng = np.random.default_rng(0)
    queries, each, dimension = 1200, 10, 1024
    count = 2 * queries * each
    # Vectors repeat, to make the table quickly; documents do not.
    vectors = np.tile(unit(rng.standard_normal((count // 20, dimension))), (20, 1))
    contrast = Contrast(
        query=np.tile(np.repeat(np.arange(queries), each), 2),
        second=np.arange(count) >= count // 2,
        document=rng.permutation(count),
        similarity=rng.random(count),
        groups=np.arange(queries) % GROUPS,
        order=np.arange(queries),
    )
    texts = [f"text {number}" for number in range(count)]
    tracemalloc.start()
    found = compare(contrast, vectors, texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.queries, found.documents) == (500, 5000)
    assert peak < 120e6


def test_one_query_with_very_many_negatives_leaves_room_for_others():
    case = world(queries=30, each=400)
    found = case.compare()
    assert (found.queries, found.documents) == (20, 5000)


# --- phrases


def texts_of(case, phrase, share, seed=0):
    """Sentences of random words; a share of the second source's documents holds the phrase."""
    rng = np.random.default_rng(seed)
    written = []
    for second in case.contrast.second:
        own = ["".join(chr(97 + int(digit)) for digit in f"{n:03}") for n in rng.integers(0, 300, 12)]
        if second and rng.random() < share:
            own[5:8] = phrase.split()
        written.append(" ".join(own))
    return written


@pytest.mark.parametrize(
    ("share", "light"), [(0.0, "clear"), (0.1, "clear"), (0.5, "suspicious"), (1.0, "separable")]
)
def test_a_phrase_that_one_source_keeps_writing_is_found_wherever_it_stands(share, light):
    case = world(queries=100)
    texts = texts_of(case, "the following holds", share)
    found = compare(case.contrast, case.vectors, texts)
    assert (found.light, found.cues["phrase"].value) == (light, pytest.approx(0.5 + share / 2, abs=0.05))
    mirrored = compare(swapped(case).contrast, case.vectors, texts)
    assert mirrored.cues["phrase"] == found.cues["phrase"]
    if share > 0.1:
        assert found.because == "phrase"


def test_the_phrase_of_documents_that_recur_is_no_phrase():
    """Six documents of one wording that one source returns for query after query are no style."""
    case = world(queries=100)
    document = case.contrast.document.copy()
    texts = texts_of(case, "", 0.0)
    recurring = np.flatnonzero((document >= 500) & (document % 5 == 0))
    # Each of them in every fold.
    document[recurring] = 990 + np.arange(len(recurring)) // 5 % 6
    for number in range(990, 996):
        texts[number] = "documents that come up again and again"
    again = dataclasses.replace(case.contrast, document=document)
    assert compare(again, case.vectors, texts).cues["phrase"].value == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("wordings", [2, 8])
def test_boilerplate_in_several_wordings_is_found(wordings):
    case = world(queries=200)
    texts = texts_of(case, "", 0.0)
    for number in np.flatnonzero(case.contrast.second):
        own = chr(97 + number * 7 % wordings)
        texts[number] = f"opener {own} of this {own} source " + texts[number]
    found = compare(case.contrast, case.vectors, texts)
    assert found.light == "separable"
    assert found.cues["phrase"].value > 0.95


def test_sources_are_permuted_within_queries():
    """Of one negative each the one lies as far above the mean as the other below: pairs, not single values."""
    p = [world(seed, queries=200, each=1).compare().p_value for seed in range(120)]
    assert np.mean(np.array(p) <= 0.05) < 0.08


def test_which_of_equal_runs_is_found_does_not_depend_on_the_order_of_texts():
    case = world(queries=100)
    texts = texts_of(case, "", 0.0)
    order = np.random.default_rng(1).permutation(len(texts))
    moved = dataclasses.replace(case.contrast, document=np.argsort(order)[case.contrast.document])
    found = compare(case.contrast, case.vectors, texts).cues["phrase"]
    assert compare(moved, case.vectors[order], [texts[place] for place in order]).cues["phrase"] == found


def test_runs_equal_loops():
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 4, rng.integers(0, 9))) for _ in range(60)]
    split = [text.split() for text in texts]
    own = [{tuple(w[at : at + 3]) for at in range(len(w) - 2)} for w in split]
    often = {run for runs_ in own for run in runs_ if sum(run in other for other in own) >= 5}
    found = runs(texts)
    assert found.lengths.tolist() == [len(runs_ & often) for runs_ in own]
    # The same number where the same run is, and nowhere else.
    holders = {frozenset(np.flatnonzero([run in other for other in own])) for run in often}
    assert {frozenset(found.rows[found.values == n]) for n in np.unique(found.values)} == holders
    assert runs([]).lengths.tolist() == []
    assert runs(["one two"]).lengths.tolist() == [0]


# --- surface cues


def test_cues_by_hand():
    found = cues(["Ab ab ab cd", "7 + 7 = 14.", "", "  \n", "…?!", "東京東"])
    expected = [
        [4, 0, 0, 0.5],
        [3, 4 / 11, 3 / 11, 2 / 3],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
        [0, 0, 1, 1],
        [3, 0, 0, 2 / 3],
    ]
    assert found == pytest.approx(np.array(expected))
    assert cues([]).shape == (0, len(CUES))
    assert cues(text for text in ("a", "b")).shape == (2, len(CUES))
