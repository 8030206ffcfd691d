"""Runs that are stopped and called again: filters and selections take up what was decided."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eci import filtering, selecting
from eci import finished as finished_module
from eci.datasets import ReadOptions, from_object, read, scanning, write
from eci.datasets.columns import in_parts
from eci.errors import CacheError, DataError, OutputError
from eci.filtering import FilterSettings, filter_rows
from eci.finished import Finished, Known, finished
from eci.miners.filters import Filters
from eci.miners.reranked import EncoderReranker
from eci.models.cached import CachedEncoder, CachedReranker
from eci.models.hashing import HashingEncoder
from eci.resuming import identity_of
from eci.selecting import select_rows
from eci.selection import SelectSettings
from fakes import batch_of, make_rows


class Stop(BaseException):
    """What a signal raises."""


class Recognised(HashingEncoder):
    """An encoder that tells what it is."""

    def describe(self):
        return {"name": "hashing", "weights_blake2b": "0"}


ROWS = make_rows(50, {"bm25": 5, "dense": 4}, seed=3)
READING = ReadOptions(batch_rows=8)


def run_filter(rows, out, layout="eci", **filters):
    settings = FilterSettings(Filters(near_copy=0.5, **filters), k=3, layout=layout)
    return filter_rows(rows, out, settings)


def run_teacher(rows, out, layout="eci"):
    settings = FilterSettings(Filters(relative_margin=0.2), k=3, sources=("bm25",), layout=layout)
    return filter_rows(rows, out, settings, teacher=EncoderReranker(Recognised()))


def run_select(rows, out, layout="eci", encoder=None, objective="eci_sem", risk=None):
    settings = SelectSettings(k=3, objective=objective, layout=layout, max_false_negative_risk=risk)
    return select_rows(rows, out, encoder or Recognised(), settings)


def run_beyond(rows, out, layout="eci"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "HELD", 9)
        return run_select(rows, out, layout)


def run_aligned(rows, out, layout="eci"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "HELD", 9)
        return run_select(rows, out, layout, objective="alignment")


RUNS = {
    "filter": (run_filter, filtering._Pass),
    "filter by a teacher": (run_teacher, filtering._Pass),
    "select": (run_select, selecting._Pass),
    "select beyond memory": (run_beyond, selecting._Pass),
    "select by alignment beyond memory": (run_aligned, selecting._Pass),
}


@pytest.fixture
def given(tmp_path, monkeypatch):
    monkeypatch.setattr(filtering, "_BATCH", 8)
    monkeypatch.setattr(selecting, "_BATCH", 8)
    write(from_object(ROWS), tmp_path / "rows.jsonl", "eci")
    return lambda: read([tmp_path / "rows.jsonl"], READING)


class Counting:
    """Counts the batches that a worker works out, and stops before one."""

    def __init__(self, patch, worker, stop=None):
        self.count, work = 0, worker.work

        def counted(this, batch):
            if self.count == stop:
                raise Stop
            self.count += 1
            return work(this, batch)

        patch.setattr(worker, "work", counted)


def worked(run, worker, given, out, stop=None, **options):
    """What a run gives, and how many batches it worked out."""
    with pytest.MonkeyPatch.context() as patch:
        counting = Counting(patch, worker, stop)
        if stop is not None:
            with pytest.raises(Stop):
                run(given(), out, **options)
            return None, counting.count
        return run(given(), out, **options), counting.count


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("stop", [0, 1, 4, 6])
def test_a_stopped_run_goes_on_and_ends_in_the_same(name, stop, given, tmp_path):
    run, worker = RUNS[name]
    whole, batches = worked(run, worker, given, tmp_path / "whole.jsonl")
    assert batches > 6
    before = set(tmp_path.iterdir())
    out, work = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.work"
    worked(run, worker, given, out, stop)
    assert not out.exists()
    assert len(list(work.glob("*.arrow"))) == stop
    found, rest = worked(run, worker, given, out)
    assert rest == batches - stop
    assert found == whole
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert set(tmp_path.iterdir()) == before | {out}


@pytest.mark.parametrize("name", RUNS)
def test_a_layout_that_needs_two_passes_works_rows_out_once(name, given, tmp_path):
    run, worker = RUNS[name]
    single, batches = worked(run, worker, given, tmp_path / "rows.parquet")
    found, count = worked(run, worker, given, tmp_path / "out.parquet", layout="n-tuple")
    assert count == batches
    table = pq.read_table(tmp_path / "out.parquet")
    assert len(table)
    assert table.schema.names[:3] == ["query", "positive", "negative_1"]
    assert (found.queries, found.sources) == (single.queries, single.sources)


def test_a_risk_is_learned_again_and_the_picks_are_taken_up(given, tmp_path):
    def run(rows, out):
        return run_select(rows, out, risk=0.9)

    whole, batches = worked(run, selecting._Pass, given, tmp_path / "whole.jsonl")
    worked(run, selecting._Pass, given, tmp_path / "out.jsonl", 3)
    found, rest = worked(run, selecting._Pass, given, tmp_path / "out.jsonl")
    assert (found, rest) == (whole, batches - 3)


def test_what_decides_the_rows_decides_what_is_taken_up(given, tmp_path):
    out = tmp_path / "out.jsonl"
    batches = worked(run_filter, filtering._Pass, given, out)[1]

    def again(run=run_filter, worker=filtering._Pass, rows=given, **options):
        worked(run_filter, filtering._Pass, given, out, 5)
        return worked(run, worker, rows, out, **options)[1]

    assert again() == batches - 5
    # Settings, rows, and what is done with them.
    assert again(range_min=1) == batches
    changed = [*ROWS[:-1], {**ROWS[-1], "query": "another"}]
    write(from_object(changed), tmp_path / "changed.jsonl", "eci")
    assert again(rows=lambda: read([tmp_path / "changed.jsonl"], READING)) == batches
    assert again(run_select, selecting._Pass) == batches

    class Other(Recognised):
        def describe(self):
            return {"name": "hashing", "weights_blake2b": "1"}

    worked(run_select, selecting._Pass, given, out, 5)
    assert worked(run_select, selecting._Pass, given, out, encoder=Other())[1] == batches


@pytest.mark.parametrize("damage", ["cut", "zeros", "text", "empty", "bits"])
def test_a_damaged_batch_is_worked_out_again(damage, given, tmp_path):
    whole, batches = worked(run_filter, filtering._Pass, given, tmp_path / "whole.jsonl")
    out = tmp_path / "out.jsonl"
    worked(run_filter, filtering._Pass, given, out, 5)
    path = sorted((tmp_path / ".out.jsonl.work").glob("*.arrow"))[2]
    data = path.read_bytes()
    flipped = bytes([*data[:-9], data[-9] ^ 1, *data[-8:]])
    spoilt = {"cut": data[:-40], "zeros": bytes(len(data)), "text": b"no", "empty": b"", "bits": flipped}
    path.write_bytes(spoilt[damage])
    found, rest = worked(run_filter, filtering._Pass, given, out)
    assert (found, rest) == (whole, batches - 4)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_full_disk_leaves_no_half_of_a_batch(tmp_path, monkeypatch):
    def half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OutputError, match="000000000.arrow: cannot be written: No space left"):
        finished_module._save(tmp_path / "000000000.arrow", {"keep": np.array([True])}, {})
    assert not list(tmp_path.iterdir())


def test_every_flipped_bit_is_seen(tmp_path):
    decided = {"keep": np.array([True, False]), "scores": np.array([0.5])}
    path = tmp_path / "000000000.arrow"
    finished_module._save(path, decided, {"queries": 2})
    assert finished_module._load(path)[1] == {"queries": 2}
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(bytes([*data[:place], data[place] ^ 4, *data[place + 1 :]]))
        assert finished_module._load(path) is None


def test_models_that_describe_themselves_alike_are_told_apart(given, tmp_path):
    class Told(Recognised):
        def __init__(self, digest):
            super().__init__()
            self.digest = digest

        def identity(self):
            return self.digest

    out = tmp_path / "out.jsonl"
    for told, expected in (("a", 5), ("b", 0)):
        worked(run_select, selecting._Pass, given, out, 5, encoder=Told("a"))
        batches = worked(run_select, selecting._Pass, given, tmp_path / "whole.jsonl")[1]
        assert worked(run_select, selecting._Pass, given, out, encoder=Told(told))[1] == batches - expected

    # Of a cross-encoder and of an encoder that are cached, the digest is that of the cache.
    class Planned(Recognised):
        def fingerprint(self, role=""):
            return f"{role:16}".encode()

    assert (
        identity_of(CachedEncoder(Planned(), None))["identity"]
        == f"{'query':16}{'document':16}".encode().hex()
    )
    assert identity_of(EncoderReranker(CachedEncoder(Planned(), None)))["identity"].startswith("7175657279")
    assert identity_of(CachedReranker(Planned(), None))["identity"] == (b" " * 16).hex()
    assert identity_of(EncoderReranker(HashingEncoder())) is None


def test_a_folder_of_the_user_is_not_emptied(given, tmp_path):
    work, out = tmp_path / ".out.jsonl.work", tmp_path / "out.jsonl"
    work.mkdir()
    (work / "mine.txt").write_text("mine")
    for run in (run_filter, run_select):
        with pytest.raises(OutputError, match=r"holds mine\.txt. Move that away first"):
            run(given(), out)
    assert (work / "mine.txt").read_text() == "mine"
    (work / "mine.txt").unlink()
    work.rmdir()
    work.write_text("a file")
    with pytest.raises(OutputError, match="a file has the name of the folder for work on it"):
        run_filter(given(), out)
    work.unlink()
    # What a killed run had begun to write is no stranger.
    work.mkdir()
    (work / "000000000.tmp").write_text("half")
    (work / ".job.json.host-1-00000000.tmp").write_text("half")
    run_filter(given(), out)
    assert not work.exists()


def test_long_names_have_room_for_more(given, tmp_path):
    out = tmp_path / f"{'o' * 240}.jsonl"
    worked(run_filter, filtering._Pass, given, out, 3)
    batches = worked(run_filter, filtering._Pass, given, tmp_path / "out.jsonl")[1]
    assert worked(run_filter, filtering._Pass, given, out)[1] == batches - 3
    assert out.exists()


def test_what_is_no_fault_of_the_rows_leaves_what_is_done(given, tmp_path):
    """Such as a cache that is full."""
    out = tmp_path / "out.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        counting = Counting(patch, filtering._Pass)
        count = filtering._Pass.work

        def full(this, batch):
            if counting.count == 5:
                raise CacheError("No space left for the embedding cache.")
            return count(this, batch)

        patch.setattr(filtering._Pass, "work", full)
        with pytest.raises(CacheError):
            run_filter(given(), out)
    assert len(list((tmp_path / ".out.jsonl.work").glob("*.arrow"))) == 5


def test_small_batches_are_decided_together():
    batches = [batch_of(ROWS[start : start + 3]) for start in range(0, 30, 3)]
    found = list(in_parts(batches, 8))
    assert [len(batch) for batch in found] == [6, 6, 6, 6, 6]
    assert pa.Table.from_batches(found).equals(pa.Table.from_batches(batches))
    large = list(in_parts([batch_of(ROWS[:20])], 8))
    assert [len(batch) for batch in large] == [8, 8, 4]
    assert list(in_parts([], 8)) == []


@pytest.mark.timeout(60)
def test_very_many_small_batches_are_joined_in_a_time_that_grows_with_them():
    """To ask all those held how large they are, for each that comes, took minutes."""
    one = batch_of(ROWS[:1])
    joined = list(in_parts([one] * 4000, 1 << 16))
    assert pa.Table.from_batches(joined).equals(pa.Table.from_batches([one] * 4000))
    assert len(joined) == 1


def test_uses_are_counted_over_all_rows_so_nothing_is_kept(given, tmp_path):
    out = tmp_path / "out.jsonl"
    batches = worked(run_filter, filtering._Pass, given, out, max_uses=2)[1]
    worked(run_filter, filtering._Pass, given, out, 5, max_uses=2)
    assert not (tmp_path / ".out.jsonl.work").exists()
    assert worked(run_filter, filtering._Pass, given, out, max_uses=2)[1] == batches


def test_nothing_is_kept_of_an_encoder_without_a_digest(given, tmp_path):
    out = tmp_path / "out.jsonl"
    batches = worked(run_select, selecting._Pass, given, out)[1]
    worked(run_select, selecting._Pass, given, out, 5, encoder=HashingEncoder())
    assert not (tmp_path / ".out.jsonl.work").exists()
    assert worked(run_select, selecting._Pass, given, out, encoder=HashingEncoder())[1] == batches


def test_rows_that_are_wrong_leave_nothing_and_a_full_disk_leaves_what_is_done(given, tmp_path):
    before, out = set(tmp_path.iterdir()), tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="No negative is left"):
        run_filter(given(), out, range_min=9)
    assert set(tmp_path.iterdir()) == before

    class Full(Counting):
        """A disk that is full once some batches are kept."""

        def __init__(self, patch, worker):
            save = finished_module._save

            def saved(*given):
                if self.count == 5:
                    raise OSError(errno.ENOSPC, "No space left on device")
                save(*given)

            super().__init__(patch, worker)
            patch.setattr(finished_module, "_save", saved)

    whole, batches = worked(run_filter, filtering._Pass, given, tmp_path / "whole.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        Full(patch, filtering._Pass)
        with pytest.raises(OutputError, match="no space left"):
            run_filter(given(), out)
    assert not out.exists()
    found, rest = worked(run_filter, filtering._Pass, given, out)
    assert (found, rest) == (whole, batches - 4)
    assert set(tmp_path.iterdir()) == {*before, out, tmp_path / "whole.jsonl"}


def test_two_runs_with_one_output_are_told_apart(given, tmp_path):
    pytest.importorskip("fcntl")
    out = tmp_path / "out.jsonl"
    for run in (run_filter, run_select):
        with finished(out), pytest.raises(OutputError, match="another run is writing it"):
            run(given(), out)
    assert not out.exists()


def test_a_digest_is_of_the_rows_once_they_have_been_seen():
    batches = [batch_of(ROWS[:8]), batch_of(ROWS[8:20])]
    known = Known(batches)
    next(iter(known))
    assert known.digest == ""
    assert [batch.equals(other) for batch, other in zip(known, batches, strict=True)] == [True, True]
    first = known.digest
    assert len(first) == 32
    assert list(known) == batches
    assert known.digest == first
    # The order counts, and which rows come together.
    for other in (batches[::-1], [batch_of(ROWS[:20])]):
        another = Known(other)
        assert list(another) == other
        assert another.digest != first


def test_decisions_and_counts_come_back_as_they_were(tmp_path):
    class Worker:
        def __init__(self):
            self.told = Counter()

        def work(self, batch):
            self.told["rows"] += len(batch)
            return batch, {
                "keep": np.array([True, False]),
                "scores": np.array([0.1, np.nan, 3]),
                "none": np.empty(0),
            }

        def counts(self):
            return {"told": self.told, "array": np.arange(3).tolist()}

        def take_up(self, batch, decided, counts):
            assert decided["keep"].tolist() == [True, False]
            np.testing.assert_array_equal(decided["scores"], [0.1, np.nan, 3])
            assert len(decided["none"]) == 0
            assert counts["array"] == [0, 1, 2]
            self.told = Counter(counts["told"])
            return batch

    batches = [batch_of(ROWS[:8]), batch_of(ROWS[8:20])]
    totals = []
    for _ in range(2):
        done, worker = Finished(tmp_path), Worker()
        done.begin({"rows": "x"})
        assert list(done.rows(batches, worker)) == batches
        totals.append(worker.told["rows"])
    assert totals == [20, 20]
