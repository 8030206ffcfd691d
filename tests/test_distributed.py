"""Queries beyond memory on a cluster: figures are those of one process, whatever dies on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import eci
from eci.cluster import _hushed, connected, room
from eci.datasets import ReadOptions, from_object, scanning
from eci.datasets.scanning import portions
from eci.distributed import RayEngine
from eci.examples import ROWS
from eci.models.hashing import HashingEncoder
from eci.scoring import score
from eci.sending import Loading, retold
from eci.sending import told as sent_back
from eci.types import silent
from fakes import make_rows

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
pytest.importorskip("ray.data", reason="the extra 'ray' is not installed")

ON_RAY = eci.RaySettings(workers=2)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this machine with room for two workers; its address."""
    # Workers import what tests do.
    here = Path(__file__).parent
    known = (str(here.parent), str(here.parent / "src"), str(here), os.environ.get("PYTHONPATH", ""))
    with _hushed(), pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(filter(None, known)))
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture(scope="module")
def rows():
    """Of 60 queries one has a source of its own, and some have a text that is empty or a copy."""
    made = make_rows(60, {"bm25": 5, "dense": 3})
    made[33]["negatives"].append({"source": "rare", "text": "only here"})
    made[7]["negatives"][0]["text"] = made[7]["positives"][0]["text"].upper()
    made[9]["negatives"][0]["text"] = " "
    return made


@pytest.fixture(autouse=True)
def few_in_memory(monkeypatch):
    monkeypatch.setattr(scanning, "HELD", 9)
    monkeypatch.setattr("eci.portions.PASSING", 8)
    monkeypatch.setattr("eci.resuming._PAUSE", 0.0)


def told(result):
    """Everything that a result holds, but for where it was made."""
    found = json.loads(result.to_json())
    found["settings"].pop("ray")
    return found


def scored(rows, encoder="hashing", *, on=ON_RAY, cache=False, reading=None, progress=silent, **settings):
    used = eci.Settings(shortcuts=False, ray=on, **settings)
    reading = reading or ReadOptions(batch_rows=7)
    return eci.score(rows, encoder, settings=used, reading=reading, cache=cache, progress=progress)


class Splitting(HashingEncoder):
    def tokens(self, texts):
        return [text.split() for text in texts]


def as_objects(rows, folder):
    return rows, Splitting(64), {"tokenizer": "encoder", "sample": 41, "seed": 3}


def as_files_of_which_each_has_a_source(rows, folder):
    files = []
    for label in ("bm25", "dense", "rare"):
        files.append(folder / f"{label}.jsonl")
        lists = [[each["text"] for each in row["negatives"] if each["source"] == label] for row in rows]
        files[-1].write_text(
            "".join(
                json.dumps({"query": row["query"], "pos": [row["positives"][0]["text"]], "neg": texts}) + "\n"
                for row, texts in zip(rows, lists, strict=True)
                if texts
            )
        )
    return files, "hashing", {"fixed_n": 2, "fixed_n_by": "sample", "tokenizer": "trigrams"}


def as_ids_and_vectors(rows, folder):
    """Documents in a corpus beside the rows, and vectors of all texts in a folder."""
    places: dict[str, int] = {}
    lists = [
        (
            row,
            [places.setdefault(entry["text"], len(places)) for entry in row["positives"] + row["negatives"]],
        )
        for row in rows
    ]
    (folder / "rows.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "query_id": row["query_id"],
                    "query_text": row["query"],
                    "positive_document_ids": [str(found[0])],
                    "negative_document_ids": [str(place) for place in found[1:]],
                }
            )
            + "\n"
            for row, found in lists
        )
    )
    corpus = [{"_id": str(place), "text": text or " "} for text, place in places.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in corpus))
    vectors, encoder = folder / "vectors", HashingEncoder(64)
    vectors.mkdir()
    for name, texts in (("corpus", list(places)), ("queries", [row["query"] for row in rows])):
        pq.write_table(pa.table({"text": texts}), vectors / f"{name}.parquet")
        np.save(vectors / f"{name}.npy", encoder.encode_query(texts))
    return folder / "rows.jsonl", str(vectors), {}


def as_ids_in_files_of_which_each_has_a_source(rows, folder):
    """What is brought together has no texts; they are read again where the rows are."""
    as_ids_and_vectors(rows, folder)
    whole, files = (folder / "rows.jsonl").read_text().splitlines(), []
    for label, places in (("first", slice(0, None, 2)), ("second", slice(1, None, 2))):
        files.append(folder / f"{label}.jsonl")
        told = [json.loads(line) for line in whole]
        for row in told:
            row["negative_document_ids"] = row["negative_document_ids"][places]
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in told))
    return files, "hashing", {}


@pytest.mark.parametrize(
    "made",
    [
        as_objects,
        as_files_of_which_each_has_a_source,
        as_ids_and_vectors,
        as_ids_in_files_of_which_each_has_a_source,
    ],
)
def test_every_figure_is_that_of_one_process(cluster, rows, tmp_path, made):
    given, encoder, settings = made(rows, tmp_path)
    whole = scored(given, encoder, on=None, **settings)
    assert whole.data["in_memory"] == 9
    assert told(scored(given, encoder, **settings)) == told(whole)


def test_rows_are_named_as_the_command_names_them_wherever_workers_began(
    cluster, rows, tmp_path, monkeypatch
):
    files, *_ = as_ids_in_files_of_which_each_has_a_source(rows, tmp_path)
    monkeypatch.chdir(tmp_path)
    for names in ([file.name for file in files], "rows.jsonl"):
        assert told(scored(names)) == told(scored(names, on=None))


class Once:
    """Kills its own process, once, where that is not the one that began."""

    def __init__(self, folder):
        self.flag, self.driver = folder / "killed", os.getpid()

    def __call__(self):
        if os.getpid() != self.driver and not self.flag.exists():
            self.flag.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal(HashingEncoder):
    """Dies once in a worker, over the third portion there."""

    def __init__(self, folder):
        super().__init__(64)
        self.once, self.calls = Once(folder), 0

    def encode_document(self, texts):
        self.calls += 1
        if self.calls == 3:
            self.once()
        return super().encode_document(texts)


def test_a_worker_that_is_killed_changes_nothing(cluster, rows, tmp_path):
    whole = scored(rows, Mortal(tmp_path), on=None)
    assert told(scored(rows, Mortal(tmp_path))) == told(whole)
    assert (tmp_path / "killed").exists()


class MortalPieces:
    """Rows whose reader dies once, in their midst."""

    def __init__(self, pieces, folder):
        self.pieces, self.once = pieces, Once(folder)

    def __call__(self):
        for number, piece in enumerate(self.pieces()):
            if number == 4:
                self.once()
            yield piece


def test_a_reader_that_is_killed_changes_nothing(cluster, rows, tmp_path):
    settings = eci.Settings(shortcuts=False, ray=ON_RAY)
    loading = Loading.of("hashing", None, False)
    with portions(from_object(rows, ReadOptions(batch_rows=7)), 0) as queries:
        whole = score(queries, HashingEncoder(), settings)
        object.__setattr__(queries, "pieces", MortalPieces(queries.pieces, tmp_path))
        engine = RayEngine(queries, HashingEncoder(), loading, settings, silent)
        assert score(queries, HashingEncoder(), settings, engine=engine).to_json() == whole.to_json()
    assert (tmp_path / "killed").exists()


class Failing(HashingEncoder):
    """Refuses a text in a worker, or is another encoder there."""

    def __init__(self, described=False):
        super().__init__(64)
        self.described, self.driver = described, os.getpid()

    def encode_document(self, texts):
        if os.getpid() != self.driver:
            raise eci.EncoderError("one text has no vector")
        return super().encode_document(texts)

    def describe(self):
        return {"precision": "float32" if os.getpid() == self.driver or not self.described else "bfloat16"}


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Failing(), "^one text has no vector$"),
        (Failing(described=True), "precision is 'bfloat16' there and 'float32' here"),
    ],
    ids=["refusal", "another encoder"],
)
def test_an_error_of_a_worker_is_that_of_one_process(cluster, rows, encoder, message):
    with pytest.raises(eci.EncoderError, match=message) as caught:
        scored(rows, encoder)
    assert "Traceback" in str(caught.value.__cause__)
    wait_for(lambda: ray.available_resources().get("CPU") == 2)


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (RuntimeError("out of luck"), RuntimeError, "out of luck"),
        (eci.DataError("rows.jsonl:3: no"), eci.DataError, "rows.jsonl:3: no"),
        (
            eci.MissingDependency("X", "y", "z"),
            eci.EngineError,
            "X needs y. Install it with: pip install 'eci[z]'",
        ),
        (OSError(entry for entry in ()), eci.EngineError, "OSError in a worker: <generator"),
    ],
)
def test_errors_come_back_as_what_they_are(failure, kind, message):
    found = retold(sent_back(failure))
    assert type(found) is kind
    assert str(found).startswith(message)
    assert type(failure).__name__ in str(found.__cause__)


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing came of it"
        time.sleep(0.1)


class Dying(HashingEncoder):
    """Fails after so many calls; its vectors are known, so that what is scored is kept. It keeps a log."""

    def __init__(self, log, calls=None):
        super().__init__(64)
        self.log, self.calls = log, calls

    def encode_document(self, texts):
        with self.log.open("a") as file:
            file.write("called\n")
        if self.calls is not None:
            self.calls -= 1
            if self.calls < 0:
                raise RuntimeError("killed")
        return super().encode_query(texts)

    def describe(self):
        return {"name": "dying", "weights_blake2b": "0"}


def test_a_run_that_was_killed_goes_on_elsewhere(cluster, rows, tmp_path):
    file, cache = tmp_path / "rows.parquet", tmp_path / "cache"
    pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), file)
    logs = [tmp_path / name for name in ("whole", "killed", "rest")]
    whole = scored(file, Dying(logs[0]), on=None)
    with pytest.raises(RuntimeError, match="killed"):
        scored(file, Dying(logs[1], calls=3), on=None, cache=cache)
    (kept,) = cache.iterdir()
    # Of three calls the first was for the queries in memory.
    assert json.loads(kept.read_bytes())["passed"] == 2
    assert told(scored(file, Dying(logs[2]), cache=cache)) == told(whole)
    assert not list(cache.iterdir())
    calls = [len(log.read_text().splitlines()) for log in logs]
    assert calls[2] == calls[0] - 2


def command(rows, folder, address, *options):
    """The command in a process of its own, of whose queries few are in memory."""
    file = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), file)
    code = "from eci.datasets import scanning; scanning.HELD = 9\nfrom eci.cli import run; run()"
    words = "--encoder hashing --no-shortcuts --no-cache --engine ray --ray-workers 2"
    return subprocess.Popen(
        [sys.executable, "-c", code, "score", file, *words.split(), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_ADDRESS": address},
    )


def test_the_command_joins_a_cluster_and_ray_is_quiet(cluster, rows, tmp_path):
    done = command(rows, tmp_path, cluster, "--json")
    output, lines = done.communicate(timeout=240)
    assert done.returncode == 0, lines
    found = json.loads(output)
    assert found["settings"]["ray"] == {"address": None, "workers": 2, "gpus": None}
    whole = scored(rows, on=None, reading=ReadOptions())
    sums = {source["source"]: source["values"]["eci"] for source in json.loads(whole.to_json())["sources"]}
    assert {source["source"]: source["values"]["eci"] for source in found["sources"]} == sums
    expected = (
        r"connecting to Ray at [\d.:]+ …|reading rows …|[\d,]+ rows read|counting words: .*|"
        r"starting Ray's workers: 2 on 1 machine …|scoring queries: .*|round: 1 of 1|measuring directions …"
    )
    assert [line for line in lines.splitlines() if not re.fullmatch(expected, line)] == []
    wait_for(lambda: ray.available_resources().get("CPU") == 2)


def test_an_interrupt_ends_the_workers(cluster, rows, tmp_path):
    running = command(rows, tmp_path, cluster)
    try:
        for line in running.stderr:
            if line.startswith("starting Ray's workers"):
                break
        wait_for(lambda: ray.available_resources().get("CPU", 0) < 2)
        running.send_signal(signal.SIGINT)
        _, lines = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 130, lines
    assert "Interrupted." in lines
    wait_for(lambda: ray.available_resources().get("CPU") == 2)


def test_more_gpus_than_there_are_is_refused_and_more_workers_than_fit_is_told(cluster, rows):
    with pytest.raises(eci.EngineError, match=r"There is room for no worker: a worker takes 1 CPU and 1 GPU"):
        scored(rows, on=eci.RaySettings(gpus=1))
    stages = []
    assert room(eci.RaySettings(workers=3), lambda *stage: stages.append(stage[0])) == (3, 0.0)
    assert stages == [
        "starting Ray's workers: 3 on 1 machine; there is room for 2: a worker takes 1 CPU and 0 GPU, and the "
        "cluster has 2 and 0"
    ]


def test_what_cannot_be_sent_is_refused_before_rows_are_read(cluster, tmp_path):
    encoder = HashingEncoder()
    encoder.lines = iter(())
    encoder.handle = (tmp_path / "open").open("w")
    try:
        with pytest.raises(eci.EncoderError, match=r"HashingEncoder cannot be sent to the workers"):
            scored(tmp_path / "no such file", encoder)
    finally:
        encoder.handle.close()
    with pytest.raises(eci.EncoderError, match=r"Ray chooses the GPU of each worker, and cuda:1 names one"):
        eci.score(
            tmp_path / "no such file",
            settings=eci.Settings(ray=ON_RAY),
            loading=eci.ModelOptions(device="cuda:1"),
        )


class Unsendable:
    """Rows that hold what belongs to one process."""

    def __init__(self, rows):
        self.batches = list(from_object(rows, ReadOptions(batch_rows=7)))
        self.only = iter(())
        self.lock = __import__("threading").Lock()

    def __iter__(self):
        return iter(self.batches)


def test_rows_that_cannot_be_sent_are_refused(cluster, rows):
    settings = eci.Settings(ray=ON_RAY)
    with (
        portions(Unsendable(rows), 0) as queries,
        pytest.raises(
            eci.EngineError, match=r"rows cannot be sent to another process .* Write them to a file"
        ),
    ):
        RayEngine(queries, HashingEncoder(), Loading.of("hashing", None, False), settings, silent)


def test_a_folder_that_a_worker_does_not_see_is_named(tmp_path):
    from contextlib import ExitStack

    (tmp_path / "model").mkdir()
    loading = Loading.of(str(tmp_path / "model"), None, False)
    (tmp_path / "model").rmdir()
    with (
        ExitStack() as stack,
        pytest.raises(eci.EncoderError, match=r"model is not there on .* all machines"),
    ):
        loading.begin(stack)


def test_relative_folders_are_sent_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    monkeypatch.setenv("ECI_CACHE", "kept")
    assert Loading.of("model", None, True) == Loading(str(tmp_path / "model"), None, str(tmp_path / "kept"))
    assert Loading.of("owner/model", None, False) == Loading("owner/model", None, False)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"No cluster answers at 127\.0\.0\.1:1 \(.*\)\. 'ray status'"),
        ("nonsense", r"No cluster was reached: Invalid address format: nonsense"),
    ],
)
def test_an_address_that_does_not_answer_is_told_at_once(address, message, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    started = time.monotonic()
    with pytest.raises(eci.EngineError, match=message), connected(address):
        pass
    assert time.monotonic() - started < 30


def test_without_ray_the_install_line_is_told(rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(eci.MissingDependency, match=r"needs ray. Install it with: pip install 'eci\[ray\]'"):
        scored(rows)


def test_what_fits_into_memory_is_left_to_this_process_and_it_says_so(cluster, rows, monkeypatch):
    monkeypatch.setattr(scanning, "HELD", 100)
    found = scored(rows)
    assert "all queries are held in memory: nothing was left for Ray" in found.data["notes"]
    with pytest.raises(eci.EciError, match="leaves Ray nothing"):
        eci.ablate(rows, settings=eci.AblationSettings(scoring=eci.Settings(ray=ON_RAY)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "at least 1 worker"),
        ({"gpus": -1}, "0 or more GPUs"),
        ({"gpus": float("nan")}, "0 or more GPUs"),
        ({"gpus": 1.5}, "a part of one GPU, or whole ones, not 1.5"),
        ({"address": "ray://head:10001"}, "ray job submit does"),
        ({"address": "http://head:8265"}, "ray job submit does"),
    ],
)
def test_settings_that_ray_would_not_take_are_refused(given, message):
    with pytest.raises(eci.EciError, match=message):
        eci.RaySettings(**given)


def test_options_of_ray_are_for_ray(tmp_path):
    from click.testing import CliRunner

    from eci.cli import main

    done = CliRunner().invoke(main, ["score", str(tmp_path), "--ray-gpus", "1"])
    assert done.exit_code == 2
    assert "--ray-gpus is for --engine ray" in done.output
