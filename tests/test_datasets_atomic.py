"""Outputs are whole or not there."""

import errno
import os
import subprocess
import sys

import orjson
import pytest

from eci.atomic import atomic_path, held, scratch_folder, temporary_folder
from eci.datasets import read, write
from eci.errors import DataError, OutputError

ROW = {"query": "q", "pos": ["p"], "neg": ["n" * 1000] * 20}


def test_file_and_folder_appear_when_they_are_done(tmp_path):
    with atomic_path(tmp_path / "out") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out").read_text() == "new"
    with atomic_path(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("old")
    with atomic_path(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "b").write_text("new")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["b", "folder", "out"]


def fail_after(_written, raised):
    raise raised


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_a_failure(tmp_path, raised):
    (tmp_path / "out").write_text("old")
    for name in ("out", "other"):
        with pytest.raises(raised), atomic_path(tmp_path / name) as temporary:
            fail_after(temporary.write_text("half"), raised)
        with pytest.raises(raised), atomic_path(tmp_path / name) as temporary:
            fail_after(temporary.mkdir() or (temporary / "a").write_text("half"), raised)
    assert [p.name for p in tmp_path.rglob("*")] == ["out"]
    assert (tmp_path / "out").read_text() == "old"


def test_full_disks_are_told(tmp_path):
    with pytest.raises(OutputError) as caught, atomic_path(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == (
        f"{tmp_path}/out: no space left to write it. Free some space, or write to another disk."
    )
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out"):
        raise FileNotFoundError(errno.ENOENT, "an input, not the output")


def test_names_that_are_taken(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"folder: is a folder\. Give the name of a file\.$"),
        atomic_path(tmp_path / "folder") as temporary,
    ):
        temporary.write_text("")
    with (
        pytest.raises(OutputError, match=r"file: is a file, and the output is a folder\."),
        atomic_path(tmp_path / "file") as temporary,
    ):
        temporary.mkdir()
    with (
        pytest.raises(OutputError, match=r"the folder .*none does not exist\. Create it first\.$"),
        atomic_path(tmp_path / "none" / "out"),
    ):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where not even root may write")
def test_folders_that_cannot_be_written_to():
    with (
        pytest.raises(OutputError, match=r"the folder /proc/self may not be written to\."),
        atomic_path("/proc/self/out"),
    ):
        pass
    with (
        pytest.raises(
            OutputError, match=r"^/proc/out: (cannot be written: No such file|the folder /proc may not)"
        ),
        atomic_path("/proc/out") as temporary,
    ):
        temporary.write_text("")


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ""])
def test_bad_row_at_the_end_leaves_nothing(tmp_path, ending):
    source = tmp_path / "rows.jsonl"
    source.write_bytes((orjson.dumps(ROW) + b"\n") * 500 + b"{")
    for layout in ("eci", "triplet"):
        with pytest.raises(DataError, match=r"rows\.jsonl:501: not valid JSON"):
            write(read([source]), tmp_path / f"out{ending}", layout)
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("name", "layout"),
    [("out.jsonl", "eci"), ("out.parquet", "eci"), ("out", "beir"), ("out.csv", "triplet")],
)
def test_disk_that_really_is_full(tmp_path, name, layout):
    source = tmp_path / "rows.jsonl"
    rows = [{**ROW, "query": f"q{i}", "neg": [os.urandom(500).hex() for _ in range(20)]} for i in range(200)]
    source.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    code = (
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from eci.datasets import read, write\nfrom eci.errors import OutputError\n"
        f"try:\n    write(read([{str(source)!r}]), {str(tmp_path / name)!r}, {layout!r})\n"
        "except OutputError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"{tmp_path}/{name}: no space left to write it. Free some space, or write to another disk.\n"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_interrupt_leaves_nothing(tmp_path):
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_bytes((orjson.dumps(ROW) + b"\n") * 3_000)
    # Ctrl-C once some of the output is there.
    code = """
import os, pathlib, signal, sys
from eci.cli.convert import convert
from eci.datasets import sinks
whole = sinks.json_rows
def some(batch):
    yield from whole(batch)
    assert any(".tmp" in path.name and path.stat().st_size for path in pathlib.Path(sys.argv[1]).parent.iterdir())
    os.kill(os.getpid(), signal.SIGINT)
sinks.json_rows = some
convert()
"""
    running = subprocess.run(
        [sys.executable, "-c", code, str(source), "-o", str(out)], capture_output=True, check=False, text=True
    )
    assert running.returncode == 1
    assert "Aborted!" in running.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_who_is_refused_leaves_the_folder_of_who_has_just_begun(tmp_path):
    pytest.importorskip("fcntl")
    work, out = tmp_path / ".out.work", tmp_path / "out"
    with held(work, out):
        with pytest.raises(OutputError, match=r"out: another run is writing it\."), held(work, out):
            pass
        assert work.is_dir()
        (work / "shard").write_text("kept")
    assert (work / "shard").read_text() == "kept"
    (work / "shard").unlink()
    with held(work, out):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_what_dead_processes_left_is_swept(tmp_path):
    out, other = tmp_path / "out", tmp_path / ".out.of-somebody.tmp"
    other.write_text("not ours")
    script = (
        "import os, signal, sys; from pathlib import Path; from eci.atomic import atomic_path, scratch_folder\n"
        "out = Path(sys.argv[1])\n"
        "with atomic_path(out) as temporary, scratch_folder(out):\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(out)], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 3
    with scratch_folder(out) as living, atomic_path(out) as temporary:
        temporary.write_text("whole")
        assert set(tmp_path.iterdir()) == {other, living, temporary}
    assert set(tmp_path.iterdir()) == {other, out}


def test_what_a_killed_run_left_of_temporary_files_goes_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("eci.atomic.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = (
        "import os, signal; from eci.atomic import temporary_folder\n"
        "with temporary_folder('eci-rows') as work:\n"
        "    (work / 'bucket').write_text('rows'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert len(list(tmp_path.glob(".eci-rows.*/bucket"))) == 1
    with temporary_folder("eci-audit") as other, temporary_folder("eci-rows") as work:
        # Of nobody else's business, and each its own.
        assert work.stat().st_mode & 0o077 == 0 or os.name == "nt"
        assert set(tmp_path.iterdir()) == {other, work}
    assert not list(tmp_path.iterdir())


def test_a_scratch_folder_needs_a_place(tmp_path):
    with (
        pytest.raises(OutputError, match=r"the folder .*none does not exist"),
        scratch_folder(tmp_path / "none" / "out"),
    ):
        pass
