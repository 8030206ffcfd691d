"""An audit in tiles: the same whatever their size, and little memory however many rows there are."""

from __future__ import annotations

import gc
import json
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eci.audit.chances import Learned
from eci.audit.collecting import Collected, Judgements
from eci.audit.columns import Column, distinct, spans, spread
from eci.audit.detecting import findings
from eci.audit.fixing import fix
from eci.audit.flagged import Flagged, nearest_labelled
from eci.audit.issues import FAULTS, ISSUES, AuditSettings
from eci.audit.material import Material, Pairs
from eci.audit.numbering import Numbering
from eci.audit.running import audit
from eci.audit.store import VectorFile
from eci.audit.summing import Counts
from eci.audit.tabulating import Worst
from eci.audit.verdicts import Verdict
from eci.datasets import ReadOptions, from_object, read
from eci.errors import DataError, OutputError
from eci.examples import ROWS
from eci.models.hashing import HashingEncoder
from eci.ragged import Ragged
from eci.similarity import normalise
from fakes import CountingEncoder, make_rows, run_cli

TILES = ("eci.spilled.TILE", "eci.audit.material.TILE", "eci.seen.TILE")
numbers = st.lists(st.integers(-5, 40), max_size=60)


def in_tiles(monkeypatch, rows, negatives=1 << 17, entries=1 << 17):
    monkeypatch.setattr("eci.audit.columns.ROWS", rows)
    monkeypatch.setattr("eci.audit.columns.NEGATIVES", negatives)
    for name in TILES:
        monkeypatch.setattr(name, entries)


def many_rows(queries):
    """Rows with whatever an audit looks for, of which those that ask the same stand apart."""
    rows = make_rows(queries, {"bm25": 5, "dense": 3})
    for number, each in enumerate(rows):
        own = each["positives"][0]["text"]
        each["positives"].append({"text": f"{own} again", "score": number % 5})
        # A document that more rows label than are looked at.
        each["positives"].append({"text": "what everybody labels"})
        for place, negative in enumerate(each["negatives"]):
            negative["id"] = f"d{number}-{place}"
            negative |= {"score": float(place) if number % 3 else None, "scorer": "teacher"}
        texts = {0: own.upper(), 1: "", 2: each["query"], 3: f"{own} once more", 4: "what everybody labels"}
        if number % 7 in texts:
            each["negatives"][number % 8]["text"] = texts[number % 7]
        if number % 11 == 0:
            each["negatives"][3]["extra"] = '{"edit": "entity"}'
        if number % 13 == 0:
            each["negatives"].append(dict(each["negatives"][0]))
        if number % 17 == 0:
            each["negatives"] = []
    asked_again = [
        {**each, "query_id": f"again {number}", "positives": [{"text": f"another answer {number}"}]}
        for number, each in enumerate(rows[::9])
    ]
    asked_again[0]["negatives"] = [{"source": "bm25", "text": rows[0]["positives"][0]["text"]}]
    return [*rows, *asked_again]


KNOWN = Judgements(
    relevant=frozenset({("q1", "d1-2"), ("q2", "d2-0")}),
    test_ids=frozenset({"q5"}),
    test_documents=frozenset({"d8-1"}),
)


def everything(rows, folder, name, **more):
    """All that an audit gives, as bytes."""
    path, scores = folder / "rows.parquet", folder / f"{name}.parquet"
    if not path.exists():
        pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), path)
    found = audit(read([path], ReadOptions(**more)), HashingEncoder(), known=KNOWN, table=scores)
    told = {"json": found.to_json(), "table": pq.read_table(scores)}
    told |= {issue: [part.tolist() for part in found.flagged(issue)] for issue in ISSUES}
    told |= {f"{issue} scores": values.tobytes() for issue, values in found.findings.scores.items()}
    told["nearest"] = found.findings.nearest.tobytes()
    for action in ("drop", "relabel", "demote"):
        out = folder / f"{name}-{action}" / "out.jsonl"
        out.parent.mkdir()
        done = fix(read([path]), found.findings, out, action)
        told |= {action: out.read_bytes(), f"{action} log": done.log.read_bytes()}
        told[f"{action} counts"] = replace(done, log=path)
    return told


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Rows of which an audit learns, those of which it does not, and what it finds where each is one tile."""
    made = {}
    for name, queries in (("learned", 130), ("borrowed", 70)):
        folder, rows = tmp_path_factory.mktemp(name), many_rows(queries)
        made[name] = folder, rows, everything(rows, folder, "whole")
    return made


@pytest.mark.parametrize("name", ["learned", "borrowed"])
@pytest.mark.parametrize(("rows", "negatives", "entries"), [(1, 1, 1), (7, 30, 5), (1000, 1 << 17, 64)])
def test_the_size_of_tiles_changes_nothing(whole, name, rows, negatives, entries, monkeypatch, tmp_path):
    folder, made, expected = whole[name]
    in_tiles(monkeypatch, rows, negatives, entries)
    found = everything(made, folder, f"{rows}", batch_rows=7)
    assert found.keys() == expected.keys()
    for key, value in found.items():
        assert value == expected[key], key


def test_the_rows_in_tiles_have_what_tiles_could_get_wrong(whole):
    _, rows, expected = whole["learned"]
    assert '"from": "these rows"' in expected["json"]
    assert '"from": "other collections"' in whole["borrowed"][2]["json"]
    counts = {entry["issue"]: entry["rows"] for entry in json.loads(expected["json"])["summary"]}
    never = {"judged_false_negative", "too_long", "non_finite_score", "too_easy", "reused"}
    assert {issue for issue in ISSUES if not counts[issue]} <= never
    labelled = sum({"text": "what everybody labels"} in row["positives"] for row in rows)
    assert labelled > 64
    assert any(not row["negatives"] for row in rows)


@settings(deadline=None)
@given(numbers, st.lists(st.integers(1, 20), max_size=6), st.integers(1, 9))
def test_distinct_numbers_of_parts(values, sizes, entries):
    parts = np.split(np.array(values, dtype=np.int64), np.minimum(np.cumsum(sizes), len(values)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eci.spilled.TILE", entries)
        assert distinct(parts).tolist() == sorted(set(values))


@settings(deadline=None)
@given(st.lists(numbers, max_size=8), st.integers(1, 9))
def test_keys_are_numbered_as_they_come(batches, entries):
    known, numbering = {}, Numbering()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eci.seen.TILE", entries)
        for batch in batches:
            before = len(known)
            expected = [known.setdefault(key, len(known)) for key in batch]
            found, new = numbering.add(np.array(batch, dtype=np.int64))
            assert found.tolist() == expected
            assert [batch[place] for place in new] == list(known)[before:]
            assert len(numbering) == len(known)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=4), st.integers(0, 9)), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_rows_that_label_a_document_and_pairs_are_those_of_loops(rows, entries, most):
    lists = Ragged.from_lengths(
        np.array([d for row, _ in rows for d in row], dtype=np.int32), [len(row) for row, _ in rows]
    )
    group = np.array([asked * 7_919 % 11 - 5 for _, asked in rows])
    vectors = np.zeros((5, 2), dtype=np.float32)
    material = Material(vectors, vectors, lists, lists, group, np.arange(5))
    with pytest.MonkeyPatch.context() as patch:
        in_tiles(patch, entries, entries, entries)
        patch.setattr("eci.audit.material._MOST", most)
        found = [material.labelled[document].tolist() for document in range(5)]
        times = material.asked_positive.times.tolist()
        queries, documents = np.divmod(np.arange(5 * len(rows)), 5)
        pairs = Pairs.of(material.asker, lists, 5)
        held = pairs.hold(material.asker[queries], documents).reshape(-1, 5)
    for document in range(5):
        first = {}
        for number, (row, _) in enumerate(rows):
            if document in row:
                first.setdefault(int(group[number]), number)
        assert found[document] == [first[asked] for asked in sorted(first)][:most]
        assert times[document] == len(first)
        assert held[:, document].tolist() == [int(asked) in first for asked in group]


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=300))
def test_the_spread_of_a_column_is_that_of_an_array(values):
    column = Column(np.float64)
    for start in range(0, len(values), 7):
        column.add(np.array(values[start : start + 7]))
    assert len(column) == len(values)
    assert spread(column) == (np.std(values) if values else 0.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=40), st.integers(1, 9), st.integers(1, 30))
def test_spans_hold_all_rows_and_no_more_than_fits(lengths, rows, negatives):
    offsets = np.concatenate([[0], np.cumsum(np.array(lengths, dtype=np.int64))])
    with pytest.MonkeyPatch.context() as patch:
        in_tiles(patch, rows, negatives)
        found = list(spans(offsets))
    assert [row for start, stop in found for row in range(start, stop)] == list(range(len(lengths)))
    for start, stop in found:
        held = offsets[stop] - offsets[start]
        assert stop - start == 1 or (stop - start <= rows and held <= negatives)
        if stop < len(lengths) and stop - start < rows:
            assert offsets[stop + 1] - offsets[start] > negatives


def collected(rows, length=4, documents=300):
    """What a pass over synthetic rows gives, in files."""
    rng = np.random.default_rng(0)
    columns = {
        "positives": rng.integers(0, documents, rows),
        "negatives": rng.integers(0, documents, rows * length),
        "offsets": np.arange(rows + 1) * length,
        "ones": np.arange(rows + 1),
        "group": rng.integers(0, 2**62, 300)[np.arange(rows) % 300],
    }
    held = {}
    for name, values in columns.items():
        column = Column(np.int32 if name in ("positives", "negatives") else np.int64)
        column.add(values)
        held[name] = column.done()
    size = rows * length
    material = Material(
        normalise(rng.standard_normal((300, 4))),
        normalise(rng.standard_normal((documents, 4))),
        Ragged(held["positives"], held["ones"]),
        Ragged(held["negatives"], held["offsets"]),
        held["group"],
        np.arange(documents) * 7_919,
        np.arange(rows) % 300,
    )
    nothing, none = np.broadcast_to(np.nan, size), np.broadcast_to(False, size)
    return Collected(
        material=material,
        cut=np.zeros(documents, dtype=np.bool_),
        estimated=0,
        sources=("s",),
        source=np.broadcast_to(np.int32(0), size),
        likeness=np.broadcast_to(0.0, size),
        score=nothing,
        scored=none,
        teacher=nothing[:rows],
        flags=dict.fromkeys(("edited", "repeats_query", "judged", "leaks"), none),
        asks_test=none[:rows],
    )


def test_memory_hardly_grows_with_the_rows(monkeypatch):
    in_tiles(monkeypatch, 32, entries=64)
    monkeypatch.setattr("eci.audit.detecting._PART", 32)
    held, peaks = [], []
    # The first time something else is loaded, too.
    for rows in (500, 2_000, 6_000):
        material = collected(rows)
        tracemalloc.start()
        found = findings(material, AuditSettings(), True)
        Counts.of(found, material, 0.8)
        Worst(found, 10)
        gc.collect()
        for told, size in zip((held, peaks), tracemalloc.get_traced_memory(), strict=True):
            told.append(size)
        tracemalloc.stop()
    # All scores of a negative take 68 bytes, and there are four in a row.
    assert abs(held[2] - held[1]) < 8 * 4_000
    assert abs(peaks[2] - peaks[1]) < 16 * 4_000


def test_what_is_learned_does_not_depend_on_the_tiles(monkeypatch):
    held = collected(600).material
    rng = np.random.default_rng(1)
    held = replace(
        held, positives=Ragged.from_lengths(rng.integers(0, 300, 1800).astype(np.int32), [3] * 600)
    )
    usable = rng.random(2400) < 0.9
    monkeypatch.setattr("eci.audit.combination._MOST_ROWS", 300)
    expected = Learned.of(held, usable).told
    in_tiles(monkeypatch, 13)
    assert Learned.of(held, usable).told == expected
    assert expected["from"] == "these rows"


def test_what_a_judge_is_asked_and_says_does_not_depend_on_the_tiles(monkeypatch):
    held = collected(400, documents=60)
    found = findings(held, AuditSettings(), True)
    verdicts = {5: Verdict("better"), 700: Verdict("worse"), 1599: Verdict("irrelevant")}
    judged = replace(found, verdicts=verdicts)

    def asked():
        pairs = Flagged.of(found, held.material, 200, every=True)
        owner, place, left_out = nearest_labelled(held.material, np.unique(pairs.query))
        arrays = pairs.query, pairs.document, pairs.negatives.values, pairs.negatives.offsets, owner, place
        return [each.tolist() for each in arrays], pairs.total, left_out

    def said():
        parts = [(first, part) for _, first, part in judged.parts()]
        faults = {
            issue: np.concatenate([part.faults(issue) for _, part in parts]).tolist() for issue in FAULTS
        }
        return faults, {first + place: word for first, part in parts for place, word in part.verdicts.items()}

    expected = asked(), said()
    # The rows from 300 on ask again what the first rows ask.
    assert max(expected[0][0][0]) < 300
    owner = expected[0][0][4]
    assert len(owner) > len(set(owner))
    assert expected[1] == ({issue: judged.faults(issue).tolist() for issue in FAULTS}, verdicts)
    likely = found.flags("likely_false_negative")
    likely[[*verdicts]] = False
    assert expected[1][0]["likely_false_negative"] == likely.tolist()
    for rows in (1, 7):
        in_tiles(monkeypatch, rows)
        assert (asked(), said()) == expected


def test_scores_can_be_read_when_the_files_have_no_name_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    table = pa.Table.from_pylist(many_rows(20), schema=ROWS)
    found = audit(from_object(table, ReadOptions(layout="eci")), HashingEncoder())
    assert list(tmp_path.iterdir()) == []
    scores = np.asarray(found.findings.scores["empty"])
    assert np.flatnonzero(scores <= 0.5).size == len(found.flagged("empty")[0]) > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_of_temporary_files_is_told(tmp_path, monkeypatch, capsys):
    def full(prefix):
        return Path("/dev/full").open("wb")

    path, out = tmp_path / "rows.parquet", tmp_path / "scores.parquet"
    pq.write_table(pa.Table.from_pylist(make_rows(20), schema=ROWS), path)
    monkeypatch.setattr("eci.spilled.TemporaryFile", full)
    with pytest.raises(OutputError, match="no space left for temporary files"):
        audit(read([path]), HashingEncoder(), table=out)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["rows.parquet"]
    code, _, err = run_cli(monkeypatch, capsys, "audit", str(path), "--encoder", "hashing")
    assert (code, "TMPDIR" in err, "Traceback" in err) == (1, True, False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_of_vectors_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.audit.collecting.VectorFile", lambda path: VectorFile(Path("/dev/full")))
    table = pa.Table.from_pylist(make_rows(20), schema=ROWS)
    with pytest.raises(OutputError, match="no space left for temporary files"):
        audit(from_object(table), HashingEncoder(), table=tmp_path / "scores.parquet")
    assert list(tmp_path.iterdir()) == []


def test_more_texts_than_can_be_numbered_are_refused(monkeypatch):
    monkeypatch.setattr("eci.audit.store._MOST", 10)
    table = pa.Table.from_pylist(make_rows(5), schema=ROWS)
    with pytest.raises(DataError, match="more than 10 distinct texts"):
        audit(from_object(table, ReadOptions(layout="eci")), HashingEncoder())


def test_progress_tells_the_rows_done_of_all(tmp_path):
    told = {}
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(make_rows(30), schema=ROWS), path)
    found = audit(
        read([path], ReadOptions(batch_rows=8)),
        CountingEncoder(),
        progress=lambda stage, done, total: told.setdefault(stage, []).append((done, total)),
    )
    fix(
        read([path]),
        found.findings,
        tmp_path / "out.parquet",
        "drop",
        progress=lambda stage, done, total: told.setdefault(stage, []).append((done, total)),
    )
    assert told.pop("learning from the labels") == [(0, 0)]
    assert list(told) == [
        "rows read",
        "rows compared with labels",
        "rows scored",
        "rows searched for the worst",
        "rows mended",
    ]
    assert told.pop("rows read") == [(8, 0), (16, 0), (24, 0), (30, 0)]
    assert {stage: calls[-1] for stage, calls in told.items()} == dict.fromkeys(told, (30, 30))


def test_rows_that_are_brought_together_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.datasets.scattered._SORTED", 8)
    path, told = tmp_path / "rows.jsonl", []
    lines = [{"query": f"q{n % 10}", "positive": "p", "negative": f"n{n}"} for n in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read([path], ReadOptions(batch_rows=8))
    found = audit(rows, CountingEncoder(), progress=lambda *call: told.append(call))
    fix(rows, found.findings, tmp_path / "out.jsonl", "drop", progress=lambda *call: told.append(call))
    assert [call for call in told if call[0] == "rows brought together"] == 2 * [
        ("rows brought together", done, 20) for done in (8, 16)
    ]
    assert [call for call in told if call[0] == "rows mended"][-1] == ("rows mended", 10, 10)
