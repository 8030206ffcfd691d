"""Rows beyond memory: most queries pass by, and the figures are those of all."""

from __future__ import annotations

import errno
import json
import math
from itertools import islice

import numpy as np
import pytest

import eci
from eci import metrics
from eci.audit.running import audit
from eci.datasets import ReadOptions, from_object, scanning
from eci.datasets.rows import Rows
from eci.datasets.scanning import portions
from eci.directions import drawn_order, draws
from eci.errors import OutputError
from eci.lexical import WordCounter, words
from eci.models.cache import clear
from eci.models.hashing import HashingEncoder
from eci.portions import Reader, row_keys
from eci.resuming import Checkpoint
from eci.rounds import Scorer
from eci.scoring import score
from eci.settings import Corpora, Settings
from fakes import CountingEncoder, make_rows

QUIET = Settings(shortcuts=False)


def scored(rows, settings=QUIET, held=None, encoder=None, batch_rows=7, corpora=None):
    """The result of rows of which at most `held` queries are in memory."""
    stream = from_object(rows, ReadOptions(batch_rows=batch_rows))
    with portions(stream, settings.seed, held=held or 10_000) as queries:
        assert (queries.pieces is None) == (held is None)
        return score(queries, encoder or HashingEncoder(64), settings, corpora=corpora)


def sums(result):
    """What is a sum over queries, as JSON has it: undefined values are None."""
    found = result.to_dict()["sources"]
    for source in found:
        for kind in ("values", "common"):
            source[kind] = {name: source[kind][name] for name in metrics.OF_SUMS}
    return {source["source"]: source for source in found}


@pytest.fixture(scope="module")
def rows():
    made = make_rows(60, {"bm25": 5, "dense": 3})
    for number, row in enumerate(made):
        if number % 3 == 0:
            row["negatives"] = [each for each in row["negatives"] if each["source"] == "bm25"]
        row["negatives"][0]["text"] = row["positives"][0]["text"].upper() if number == 7 else " "
    return made


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_figures_of_all_are_those_of_everything_in_memory(rows, batch_rows, monkeypatch):
    monkeypatch.setattr("eci.portions.PASSING", 8)
    whole, passed = scored(rows), scored(rows, held=9, batch_rows=batch_rows)
    assert sums(passed) == sums(whole)
    assert passed.verdict == whole.verdict
    same = ("rows", "queries", "documents", "negatives", "identical_to_positive", "empty_texts")
    assert {key: passed.data[key] for key in same} == {key: whole.data[key] for key in same}
    assert passed.data["identical_to_positive"]["bm25"] == 1
    assert passed.data["empty_texts"] == 1
    assert passed.data["word_frequencies_over"] == whole.data["word_frequencies_over"]


def test_directions_are_of_the_queries_in_memory_and_it_says_so():
    rows = make_rows(200)
    passed = scored(rows, held=100)
    order = drawn_order([eci.examples.query_key(row["query_id"], "") for row in rows], 0)
    few = scored([rows[number] for number in sorted(order[:100].tolist())])
    for source in passed.sources:
        for name in ("alignment", "alignment_gain"):
            found, expected = (result[source.source].values[name].value for result in (passed, few))
            assert math.isfinite(found)
            assert found == pytest.approx(expected, abs=1e-12)
    assert passed.data["in_memory"] == 100
    assert "eci_sem, alignment and shortcuts are of 100 drawn at random" in passed.data["notes"][0]


def test_rows_of_a_query_may_stand_apart(rows):
    flat = [
        {**row, "negatives": [negative]}
        for place in range(5)
        for row in rows
        for negative in row["negatives"][place : place + 1]
    ]
    whole, passed = scored(flat), scored(flat, held=9)
    assert sums(passed) == sums(whole)
    assert passed.data["queries"] == len({row["query_id"] for row in flat})


def test_little_more_is_kept_than_is_to_be_held(monkeypatch):
    kept = []
    add = scanning._Scan.add

    def watched(scan, batch):
        add(scan, batch)
        kept.append([len(each) for each in scan.kept])

    monkeypatch.setattr(scanning._Scan, "add", watched)
    with portions(from_object(make_rows(800), ReadOptions(batch_rows=7)), 0, held=40) as queries:
        order = drawn_order([eci.examples.query_key(f"q{number}", "") for number in range(800)], 0)
        assert sorted(queries.held.keys) == sorted(eci.examples.query_key(f"q{n}", "") for n in order[:40])
    assert max(map(sum, kept)) <= 40 + 10 + 7
    # Of a few rows of each batch there are no more batches than rows since those before were joined.
    assert max(map(len, kept)) <= 40 // 7 + 2 + 10
    assert min(map(min, kept)) > 0


def test_rows_are_kept_with_their_draws_however_they_are_joined(monkeypatch):
    monkeypatch.setattr(scanning, "PASSING", 3)
    scan = scanning._Scan(5, 8)
    rows = make_rows(300, {"bm25": 1})
    # Some queries have rows here and there.
    stream = from_object([*rows, *rows[::3]], ReadOptions(batch_rows=4))
    for batch in stream:
        scan.add(batch)
        assert len(scan.kept) == len(scan._drawn)
        for kept, drawn in zip(scan.kept, scan._drawn, strict=True):
            assert draws(row_keys(kept), 5).tolist() == drawn.tolist()
    assert len(scan.kept) > 2
    scan.drop()
    least = np.unique(draws([eci.examples.query_key(row["query_id"], "") for row in rows], 5))[:8]
    assert sorted(set(np.concatenate(scan._drawn).tolist())) == least.tolist()


def test_rows_that_are_few_queries_are_looked_at_ever_more_rarely(monkeypatch):
    dropped, drop = [], scanning._Scan.drop
    monkeypatch.setattr(scanning._Scan, "drop", lambda scan: (dropped.append(scan.rows), drop(scan)))
    scan = scanning._Scan(0, 8)
    for batch in from_object(make_rows(6, {"bm25": 1}) * 100, ReadOptions(batch_rows=4)):
        scan.add(batch)
    assert scan.whole
    assert len(scan.kept) == 150
    assert 10 < len(dropped) < 30


def test_a_source_that_no_query_in_memory_has(rows):
    last = drawn_order([eci.examples.query_key(row["query_id"], "") for row in rows], 0)[-1]
    made = [dict(row) for row in rows]
    made[last]["negatives"] = [*made[last]["negatives"], {"source": "rare", "text": "only here"}]
    whole, passed = scored(made), scored(made, held=9)
    assert sums(passed) == sums(whole)
    assert math.isnan(passed["rare"].values["eci_sem"].value)
    assert math.isnan(passed["rare"].values["alignment_gain"].value)


@pytest.mark.parametrize("sample", [5, 9, 30, 59])
def test_a_sample_has_the_queries_that_are_drawn_first(rows, sample):
    settings = Settings(sample=sample, seed=3, shortcuts=False)
    whole, passed = scored(rows, settings), scored(rows, settings, held=9)
    assert passed.settings["queries_scored"] == sample
    assert sums(passed) == sums(whole)


def test_rounds_go_beyond_memory_until_decided():
    rows = make_rows(500, {"near": 4, "far": 4})
    for row in rows:
        row["negatives"] = [
            {**each, "text": f"{row['query']} {each['text']}"}
            if each["source"] == "near" and number % 2
            else each
            for number, each in enumerate(row["negatives"])
        ]
    settings = Settings(until_decided=True, shortcuts=False, confidence=0.9999999)
    whole, passed = scored(rows, settings, batch_rows=100), scored(rows, settings, held=150, batch_rows=100)
    assert passed.settings["rounds"] == whole.settings["rounds"]
    assert sums(passed) == sums(whole)


@pytest.mark.parametrize("by", ["top", "sample"])
def test_fixed_n_cuts_queries_that_pass_by_too(rows, by):
    settings = Settings(fixed_n=2, fixed_n_by=by, seed=5, shortcuts=False)
    whole, passed = sums(scored(rows, settings)), scored(rows, settings, held=9)
    for label, source in sums(passed).items():
        assert source["negatives"] == whole[label]["negatives"]
        for name in ("eci", "margin_max", "signal", "capacity"):
            assert source["values"][name] == whole[label]["values"][name]
    assert passed.data["fixed_n_short"] == scored(rows, settings).data["fixed_n_short"]


class SplittingEncoder(CountingEncoder):
    def tokens(self, texts):
        return [text.split() for text in texts]


@pytest.mark.parametrize("tokenizer", ["words", "trigrams", "encoder"])
def test_words_are_counted_over_everything(rows, tokenizer):
    settings = Settings(tokenizer=tokenizer, shortcuts=False)
    corpora = Corpora(words=["retrieval of a corpus", "negative gradient"])
    for given in (None, corpora):
        whole = scored(rows, settings, encoder=SplittingEncoder(), corpora=given)
        passed = scored(rows, settings, held=9, encoder=SplittingEncoder(), corpora=given)
        assert sums(passed) == sums(whole)


def test_documents_are_read_once(rows, monkeypatch):
    read = []
    monkeypatch.setattr(
        "eci.passing._TOKENIZERS", {"words": lambda texts: (read.append(t) or words(t) for t in texts)}
    )
    passed = scored(rows, held=9)
    documents = {n["text"] for row in rows for side in ("positives", "negatives") for n in row[side]}
    assert sorted(text for text in read if text in documents) == sorted(documents)
    read.clear()
    monkeypatch.setattr("eci.portions._KEPT", 5)
    assert sums(scored(rows, held=9)) == sums(passed)
    assert len(read) > len(documents) + len(rows)


def test_a_reader_gives_the_same_words_when_documents_come_again(monkeypatch):
    texts = ["red fox", "", "blue dog runs", "red dog"]
    counter = WordCounter()
    counter.add(texts)
    vocabulary, _ = counter.vocabulary()
    for room in (1 << 20, 2):
        monkeypatch.setattr("eci.portions._KEPT", room)
        reader = Reader(vocabulary)
        for chosen in (texts[:2], texts[1:], texts[::-1]):
            found, expected = reader.lexicon(chosen).documents, vocabulary.read(chosen)
            assert found.values.tolist() == expected.values.tolist()
            assert found.offsets.tolist() == expected.offsets.tolist()


def test_the_command_tells_what_is_in_memory(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "HELD", 9)
    found = eci.score(rows, "hashing", settings=QUIET)
    assert sums(found) == sums(eci.score(rows, HashingEncoder(), settings=QUIET))
    assert found.data["in_memory"] == 9
    assert np.isfinite(found.sources[0].values["eci_sem"].value)


class Killed(Exception):
    pass


class Dying(HashingEncoder):
    """Dies after so many calls; counts what it was asked for."""

    def __init__(self, calls=None):
        super().__init__(64)
        self.calls, self.asked = calls, 0

    def encode_document(self, texts):
        self.asked += len(texts)
        if self.calls is not None:
            self.calls -= 1
            if self.calls < 0:
                raise Killed
        return super().encode_query(texts)

    def describe(self):
        return {"name": "dying", "weights_blake2b": "0"}


@pytest.fixture
def small(rows, tmp_path, monkeypatch):
    """A file of rows of which few are in memory, and how to score it."""
    monkeypatch.setattr(scanning, "HELD", 9)
    monkeypatch.setattr("eci.portions.PASSING", 7)
    monkeypatch.setattr("eci.resuming._PAUSE", 0.0)
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))

    def score_(encoder, **options):
        given = {"settings": QUIET, "cache": tmp_path / "cache", "reading": ReadOptions(batch_rows=2)}
        return eci.score(file, encoder, **{**given, **options})

    return file, score_


@pytest.mark.parametrize("calls", [1, 2, 4, 6])
def test_a_killed_run_goes_on_where_it_was(small, tmp_path, calls):
    _, score_ = small
    whole = Dying()
    expected = score_(whole)
    assert not list((tmp_path / "cache").iterdir())
    with pytest.raises(Killed):
        score_(Dying(calls))
    again = Dying()
    assert score_(again).to_json() == expected.to_json()
    assert not list((tmp_path / "cache").iterdir())
    assert (again.asked < whole.asked) is (calls > 1)


def test_rounds_that_a_killed_run_had_left_behind_are_not_judged_by_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.portions.PASSING", 7)
    monkeypatch.setattr("eci.resuming._PAUSE", 0.0)
    monkeypatch.setattr("eci.rounds._FIRST_ROUND", 8)
    settings = Settings(shortcuts=False, until_decided=True)
    with portions(from_object(make_rows(60)), 0, held=9) as queries:

        def scorer():
            return Scorer(
                queries, HashingEncoder(64), settings, checkpoint=Checkpoint(tmp_path / "kept.json", "")
            )

        whole = [
            (int(scores.group_sizes.sum()), [own.to_dict() for own in scores.own])
            for scores in scorer().rounds()
        ]
        assert [size for size, _ in whole] == [8, 16, 32, 60]
        (tmp_path / "kept.json").unlink()
        killed = scorer()
        for scores in killed.rounds():
            if int(scores.group_sizes.sum()) == 32:
                break
        # In its second portion of the last round.
        passing = killed.queries.passing(32, 60)
        for number, totals in islice(killed._scored(passing, 0), 2):
            killed._passed = killed._passed + totals
            Checkpoint(tmp_path / "kept.json", "").keep(killed._portions + number + 1, killed._passed)
        again = [
            (int(scores.group_sizes.sum()), [own.to_dict() for own in scores.own])
            for scores in scorer().rounds()
        ]
    assert again == [whole[0], whole[3]]


def test_what_another_run_left_is_not_taken_up(small, tmp_path):
    file, score_ = small
    expected = sums(score_(Dying()))
    with pytest.raises(Killed):
        score_(Dying(5))
    (left,) = (tmp_path / "cache").iterdir()
    kept = left.read_bytes()
    left.write_bytes(kept[:100])
    assert sums(score_(Dying())) == expected
    left.write_bytes(kept)
    other = score_(Dying(), settings=Settings(shortcuts=False, temperature=0.1))
    assert sums(other) != expected
    assert left.exists()
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert sums(score_(Dying())) != expected
    assert left.exists()
    assert clear(tmp_path / "cache") >= len(kept)
    assert not left.exists()


def test_nothing_is_kept_of_an_encoder_without_a_digest_or_without_a_cache(small, tmp_path):
    class Nameless(Dying):
        def describe(self):
            return {"name": "nameless"}

    _, score_ = small
    with pytest.raises(Killed):
        score_(Nameless(5))
    with pytest.raises(Killed):
        score_(Dying(5), cache=False)
    assert not (tmp_path / "cache").exists()


def test_ablation_and_probe_are_of_the_queries_in_memory_and_say_so(small, monkeypatch):
    file, _ = small
    monkeypatch.setattr(scanning, "HELD", 40)
    found = eci.probe(file, "hashing")
    told = "of 60 queries 40 drawn at random are held in memory; everything is of these"
    assert told in found.data["notes"]
    ablated = eci.ablate(file, "hashing", settings=eci.AblationSettings(fixed_n=1, scoring=QUIET))
    base = next(iter(ablated.encoders.values()))
    assert told in base.data["notes"]
    assert base.data["queries"] == 40


def test_the_rows_of_a_page_go_beyond_those_in_memory(small, tmp_path, monkeypatch):
    pytest.importorskip("vl_convert", reason="the extra 'report' is not installed")
    import pyarrow.parquet as pq

    from eci.report import writing

    file, score_ = small
    result = score_("hashing")
    assert result.data["in_memory"] == 9
    behind = writing.Behind(file, "hashing", ReadOptions(batch_rows=7), cache=tmp_path / "cache")
    for most, expected in ((50, 50), (500, 60)):
        monkeypatch.setattr(writing, "MOST_KEPT", most)
        _, kept = writing.write(result, tmp_path / "page.html", behind)
        assert pq.read_metadata(kept).num_rows == expected


def test_a_full_disk_of_rows_that_stand_apart_is_told(rows, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    monkeypatch.setattr("eci.datasets.scattered._scatter", full)
    with pytest.raises(OutputError, match=r"no space left for temporary files\. .* TMPDIR"):
        scored([*rows, *rows[:3]], held=9)
    two = Rows("eci", (), lambda _: iter(from_object([*rows, *rows[:3]])), 2)
    with pytest.raises(OutputError, match=r"no space left for temporary files\. .* TMPDIR"):
        audit(two, HashingEncoder(64))
