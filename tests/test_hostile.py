"""Inputs beyond good will: bombs, paths in names, models and files that want to run code."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import eci
from eci.atomic import atomic_path
from eci.datasets import from_object, opening, read, write
from eci.errors import CacheError, ChatError, DataError, EncoderError
from eci.models.precomputed import PrecomputedEncoder
from fakes import make_rows, run_cli

ROW = {"query": "q", "pos": ["p"], "neg": ["n"]}
# Reads a file with at most 1.5 GB, and says what became of it.
BOUNDED = """
import resource, sys
from eci.datasets import read
from eci.errors import DataError
resource.setrlimit(resource.RLIMIT_DATA, (1_500_000_000, 1_500_000_000))
try:
    for batch in read([sys.argv[1]]):
        pass
except DataError as error:
    print(error)
"""


def bomb(path, begin, piece, times):
    """A gzip file of many members, each of 16 MB: some kilobytes that unpack to gigabytes."""
    packed = gzip.compress(piece * (16_000_000 // len(piece)), 9)
    with path.open("wb") as out:
        out.write(gzip.compress(begin))
        for _ in range(times):
            out.write(packed)
    return path


def bounded(path):
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, path.name],
        capture_output=True,
        text=True,
        check=True,
        cwd=path.parent,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.csv.gz"])
def test_a_line_of_gigabytes_is_refused_in_bounded_memory(name, tmp_path):
    begin = b'{"query": "' if "json" in name else b'query,positive,negative\nq,p,"'
    told = bounded(bomb(tmp_path / name, begin, b"a", 130))
    assert told.startswith(f"{name}:")
    assert "the line has more than 64 MB" in told


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_packed_list_of_gigabytes_is_refused_in_bounded_memory(tmp_path, monkeypatch):
    path = bomb(tmp_path / "rows.json.gz", b"[", b'{"query": "q"},\n', 30)
    monkeypatch.setattr(opening, "MOST_PACKED", 100_000_000)
    with pytest.raises(DataError, match=r"rows\.json\.gz: unpacks to more than 95 MB.*Write JSON lines"):
        list(read([path]))


def test_a_quoted_cell_of_many_lines_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.datasets.files.MOST_LINE", 1000)
    path = tmp_path / "rows.csv"
    path.write_text('query,positive,negative\nq,p,"' + "x\n" * 1000)
    with pytest.raises(DataError, match=r"rows\.csv:\d+: not readable as CSV: field larger"):
        list(read([path]))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_text_that_a_dictionary_holds_once_is_unpacked_in_pieces(tmp_path):
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 30_000, pa.int32()), ["x" * 200_000])
    columns = {"query": [f"q{n}" for n in range(30_000)], "positive": ["p"] * 30_000, "negative": text}
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    assert path.stat().st_size < 1_000_000
    assert bounded(path) == ""


@pytest.mark.parametrize(
    "line",
    [
        '{"query": ' + "[" * 100_000,
        '{"query": ' + "9" * 1_000_000 + "}",
        '{"a":' * 50_000 + "1" + "}" * 50_000,
    ],
)
def test_deep_and_long_json_is_refused(line, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=r"rows\.jsonl:1: "):
        list(read([path]))


def test_deep_plans_are_refused(tmp_path):
    pytest.importorskip("pydantic")
    from eci.validation.experiment import Experiment

    path = tmp_path / "plan.toml"
    path.write_text("a = " + "[" * 50_000)
    with pytest.raises(DataError, match=r"plan\.toml: is no TOML"):
        Experiment.read(path)


def test_names_of_a_plan_become_files_on_every_disk():
    pytest.importorskip("pydantic")
    from eci.validation.experiment import Experiment

    def refused(names, match):
        sources = [{"name": name, "make": "mine random -k 2"} for name in names]
        plan = {"name": "n", "model": {"name": "m"}, "collections": [{"name": "c", "path": "c"}]}
        with pytest.raises(DataError, match=match):
            Experiment.of({**plan, "sources": sources})

    refused(["../x"], "becomes the name of a file")
    refused(["x" * 81], "at most 80")
    refused(["bm25", "BM25"], r"bm25 and BM25 .*differ in case alone")


def test_runs_are_named_apart_on_every_disk(tmp_path):
    labels = ["../../x", "/etc/passwd", "a", "A", "CON", "nul.x", "é", "e\u0301", ".", "..", "x" * 400]
    rows = make_rows(3, dict.fromkeys(labels, 2))
    rows = [{**row, "negatives": [{**each, "id": each["text"]} for each in row["negatives"]]} for row in rows]
    write(from_object(rows), tmp_path / "out", "beir")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    runs = list((tmp_path / "out" / "runs").iterdir())
    assert len({path.name.lower() for path in runs}) == len(labels)
    assert all(path.name.isascii() and path.stem.upper() not in ("CON", "NUL") for path in runs)
    again = {label for batch in read([tmp_path / "out"]) for row in batch["negatives"].to_pylist() for label in (each["source"] for each in row)}  # fmt: skip
    assert again == set(labels)


def test_outputs_of_long_names_and_through_links(tmp_path):
    # 63 letters of 4 bytes: as long as a name may be.
    with atomic_path(tmp_path / ("𝄞" * 62)) as temporary:
        temporary.write_text("whole")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]
    victim, link = tmp_path / "victim", tmp_path / "out.jsonl"
    victim.write_text("mine")
    link.symlink_to(victim)
    write(from_object(make_rows(2)), link, "eci")
    assert victim.read_text() == "mine"
    assert not link.is_symlink()


def test_messages_move_no_cursor(tmp_path, monkeypatch, capsys):
    rows = {
        "query_id": "\x1b[2Jq\x07\u202e",
        "query": "q",
        "positives": [],
        "negatives": [{"source": "s", "text": "t"}],
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows))
    code, _, err = run_cli(monkeypatch, capsys, "score", str(tmp_path / "rows.jsonl"), "--encoder", "hashing")
    assert code == 1
    assert "\\x1b[2J" in err
    assert not set(err).intersection("\x1b\x07\u202e")


# Files of eci's own that somebody has changed


def journal(folder):
    from eci.chat.journal import Journal
    from eci.chat.messages import ChatRequest

    path = folder / "answers.sqlite"
    opened = Journal(path)
    opened.claim(b"x" * 16, ChatRequest("row", (("user", "question"),), None, "sum"), "m")
    opened.close()
    return path


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE answers SET model = CAST(x'fffe' AS TEXT)",
        "UPDATE answers SET state = 'answered', ended = 1e300",
        "UPDATE answers SET prompt_tokens = 'many'",
    ],
)
def test_values_in_a_journal_that_no_run_wrote(change, tmp_path):
    from eci.generating.status import journal_status

    path = journal(tmp_path)
    with sqlite3.connect(path) as file:
        file.execute(change)
    file.close()
    if "many" in change:  # SQLite adds it as 0
        assert journal_status(path).prompt_tokens == 0
        return
    with pytest.raises(
        ChatError, match=r"answers\.sqlite (is damaged or no journal|cannot be used: Could not decode)"
    ):
        journal_status(path)


@pytest.mark.parametrize("told", [b"{", b"[]", b"\xff"])
def test_what_a_cache_tells_of_an_encoder_is_read_with_care(told, tmp_path):
    pytest.importorskip("lmdb")
    from eci.models.cache import EmbeddingCache

    cache = EmbeddingCache(tmp_path / "cache")
    cache._write(cache._encoders, [(b"x" * 16, told)])
    with pytest.raises(CacheError, match=r"is damaged \(what it tells of an encoder.*eci cache clear"):
        cache.info()
    cache.close()


def filled(folder, vectors=400):
    from eci.models.cache import EmbeddingCache

    cache = EmbeddingCache(folder)
    digests = [number.to_bytes(16, "big") for number in range(vectors)]
    cache.put(b"f" * 16, digests, np.ones((vectors, 384), dtype=np.float32))
    # Longer than a page.
    cache.put(b"g" * 16, digests[:3], np.ones((3, 3000), dtype=np.float32))
    return cache


def test_pages_of_a_whole_cache_are_passed_and_of_a_damaged_one_refused(tmp_path):
    pytest.importorskip("lmdb")
    from eci.models.cache import EmbeddingCache

    filled(tmp_path / "cache").close()
    EmbeddingCache(tmp_path / "cache").close()
    path = tmp_path / "cache" / "data.mdb"
    good, refused = path.read_bytes(), 0
    for page in range(2, len(good) // 4096):
        data = bytearray(good)
        # A leaf whose nodes lie elsewhere, on which LMDB would end the process.
        struct.pack_into("<3H", data, page * 4096 + 12, 60_000, 9, 65_535)
        path.write_bytes(data)
        with suppress(CacheError):
            EmbeddingCache(tmp_path / "cache").close()
            continue
        refused += 1
    # Pages that are no longer used, and those of long vectors after the first, have no head that counts.
    assert refused >= 0.9 * (len(good) // 4096 - 2 - 30)


def test_a_cache_cut_in_its_last_page_is_refused(tmp_path):
    pytest.importorskip("lmdb")
    from eci.models.cache import EmbeddingCache

    filled(tmp_path / "cache").close()
    path = tmp_path / "cache" / "data.mdb"
    info = EmbeddingCache(tmp_path / "cache")
    last = info._environment.info()["last_pgno"]
    info.close()
    path.write_bytes(path.read_bytes()[: last * 4096 + 100])
    with pytest.raises(CacheError, match="shorter than it says"):
        EmbeddingCache(tmp_path / "cache")


def vectors(folder, **files):
    for name in ("queries", "corpus"):
        pq.write_table(pa.table({"text": ["a", "b"]}), folder / f"{name}.parquet")
        np.save(folder / f"{name}.npy", np.ones((2, 4), dtype=np.float32))
    for name, data in files.items():
        (folder / "corpus.npy").unlink()
        (folder / f"corpus.{name}").write_bytes(data)
    return str(folder)


def head(told):
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    return len(text).to_bytes(8, "little") + text + b"\0" * 64


@pytest.mark.parametrize(
    "files",
    [
        {"npy": b""},
        {"npy": b"PK\x03\x04" + b"\0" * 100},
        {"npy": b"\x93NUMPY\x01\x00\x20\x00{'descr': (('<f4', ('<f4'       \n"},
        {"safetensors": head(b"[" * 100_000)},
        {"safetensors": head([1])},
        {"safetensors": head({"x": 1})},
        {"safetensors": head({"x": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}})},
        {"safetensors": head({"x": {"dtype": "F32", "shape": [2, 4], "data_offsets": [-90, 4]}})},
        {"safetensors": head({"x": {"dtype": "F32", "shape": [2, 10**30], "data_offsets": [0, 4]}})},
        {"safetensors": (1 << 62).to_bytes(8, "little") + b"{}"},
    ],
)
def test_heads_of_vectors_that_claim_anything(files, tmp_path):
    folder = vectors(tmp_path, **files)
    with pytest.raises(EncoderError, match=r"corpus\.\w+: is no matrix that can be read"):
        PrecomputedEncoder.load(folder)


def test_vectors_are_never_unpickled(tmp_path):
    folder = vectors(tmp_path)
    np.save(tmp_path / "corpus.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    with pytest.raises(EncoderError, match=r"Python objects"):
        PrecomputedEncoder.load(folder)


def test_saved_datasets_of_any_state_are_refused(tmp_path):
    pytest.importorskip("datasets")
    write(from_object(make_rows(3)), tmp_path / "set", "eci")
    for told in ('{"_data_files": [1]}', "[]", '{"_data_files": null}', '{"_format_type": {}}', "{"):
        (tmp_path / "set" / "state.json").write_text(told)
        with pytest.raises(DataError, match=r"set: cannot be read as a saved dataset: .*[Ff]etch it again"):
            list(read([tmp_path / "set"]))


def test_a_log_of_changes_that_names_files_elsewhere(tmp_path, monkeypatch, capsys):
    rows = make_rows(6, {"bm25": 3})
    rows[0]["negatives"][0]["text"] = rows[0]["positives"][0]["text"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    mended = ["audit", "rows.jsonl", "--encoder", "hashing", "--fix", "drop", "-o", "clean.parquet"]
    assert run_cli(monkeypatch, capsys, *mended)[0] == 0
    log = tmp_path / "clean.parquet.changes.jsonl"
    good = [json.loads(line) for line in log.read_text().splitlines()]

    def undone():
        log.write_text("".join(json.dumps(line) + "\n" for line in good))
        code, _, err = run_cli(monkeypatch, capsys, "audit", "--undo", log.name, "-o", "back.jsonl")
        assert not (tmp_path / "back.jsonl").exists()
        return code, err

    for name, told in (
        ("x" * 5000, "no such file beside it"),
        ("../rows.jsonl", "no line of a log|is no log"),
    ):
        good[0]["fixed"] = name
        code, err = undone()
        assert code == 1
        assert any(each in err for each in (*told.split("|"), log.name)), err
    good[0]["fixed"] = "clean.parquet"
    good[1]["changes"][0]["negative"]["extra"] = ""
    code, err = undone()
    assert code == 1
    assert log.name in err
    assert "defect" not in err


# Models


@pytest.fixture
def model(tmp_path):
    pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
    from tiny_bert import saved_bert

    shutil.copytree(saved_bert(), tmp_path / "model")
    return tmp_path / "model"


def loaded(folder, **options):
    from eci.models.sentence_transformer import ModelOptions, SentenceTransformerEncoder

    return SentenceTransformerEncoder.load(str(folder), ModelOptions(**options))


def changed(path, change):
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def canary(folder):
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Evil: pass\n")
    return folder / "ran"


def test_classes_that_come_with_a_model_are_not_run(model):
    ran = canary(model)
    changed(model / "modules.json", lambda told: told[1].update(type="evil.Evil"))
    with pytest.raises(
        EncoderError, match=r"modules\.json: names the class 'evil\.Evil'.*--trust-remote-code"
    ):
        loaded(model)
    assert not ran.exists()


def test_code_of_an_architecture_is_not_run(model):
    ran = canary(model)
    maps = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}
    changed(model / "config.json", lambda told: told.update(maps))
    with pytest.raises(EncoderError, match=r"contains custom code"):
        loaded(model)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["os.abort", "torch.hub.load", "eci.cli.run"])
def test_functions_that_a_configuration_names_are_not_called(model, name):
    (model / "2_Dense").mkdir()
    told = {"in_features": 16, "out_features": 4, "bias": True, "activation_function": name}
    (model / "2_Dense" / "config.json").write_text(json.dumps(told))
    entry = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    changed(model / "modules.json", lambda modules: modules.append(entry))
    with pytest.raises(EncoderError, match=rf"2_Dense/config\.json: names the class '{name}'"):
        loaded(model)


@pytest.mark.parametrize("place", ["../other", "/etc", "a/../../b", "..\\other", "C:\\x"])
def test_modules_lie_inside_the_folder(model, place):
    changed(model / "modules.json", lambda told: told[1].update(path=place))
    with pytest.raises(EncoderError, match=r"lies outside the folder of the model"):
        loaded(model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_pickled_weights_are_refused_and_how_to_convert_them_is_told(model, name):
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / name)
    # Beside others nobody reads them.
    loaded(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=rf"{name}: weights in a pickle.*as safetensors"):
        loaded(model)


def test_weights_of_another_name_do_not_stand_for_those_in_a_pickle(model):
    (model / "2_Dense").mkdir()
    changed(model / "modules.json", lambda told: told.append({**told[1], "idx": 2, "path": "2_Dense"}))
    (model / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    shutil.copy(model / "model.safetensors", model / "2_Dense" / "decoy.safetensors")
    with pytest.raises(EncoderError, match=r"2_Dense/pytorch_model\.bin: weights in a pickle"):
        loaded(model)


def test_a_configuration_is_looked_at_however_long_it_is(model):
    changed(model / "modules.json", lambda told: told[1].update(type="evil.Evil"))
    with (model / "modules.json").open("a") as file:
        file.write(" " * 10_000_001)
    with pytest.raises(EncoderError, match=r"modules\.json: has more than 10 MB, which no configuration has"):
        loaded(model)


def test_modules_lie_inside_the_folder_by_link_too(model, tmp_path):
    shutil.move(model / "1_Pooling", tmp_path / "outside")
    (model / "1_Pooling").symlink_to(tmp_path / "outside")
    with pytest.raises(EncoderError, match=r"lies outside the folder of the model"):
        loaded(model)


@pytest.mark.parametrize(("name", "data"), [("config.json", "[" * 100_000), ("modules.json", "\x00")])
def test_configurations_that_are_no_json(model, name, data):
    (model / name).write_text(data)
    with pytest.raises(EncoderError, match=rf"{name}: is no JSON"):
        loaded(model)


def test_a_model_that_is_trusted_loads_as_before(model):
    assert loaded(model, trust_remote_code=True).describe()["dimension"] == 16
    assert loaded(model).describe()["dimension"] == 16


def test_nothing_is_unpickled_or_evaluated_in_the_source():
    # What eci itself sends to the workers of one Ray cluster.
    sent = [
        f"{name}.py: {word}"
        for name in ("distributed", "sending")
        for word in ("import pickle", "pickle.load")
    ]
    found = []
    for path in sorted(Path(eci.__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "pickle.load", "torch.load(", "allow_pickle=True", "yaml.load(", " eval(", " exec(", "shell=True", "os.system("):  # fmt: skip
            found += [f"{path.name}: {word}"] if word in text else []
    assert found == sent
