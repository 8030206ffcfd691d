from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eci.errors import CacheError, EncoderError
from eci.models import cache as cache_module
from eci.models.cache import EmbeddingCache, clear, temporary_cache
from eci.models.cached import CachedEncoder
from fakes import CountingEncoder

lmdb = pytest.importorskip("lmdb", reason="the extra 'encode' is not installed")

TEXTS = [f"text number {i}" + " long" * (i % 7) for i in range(40)]


@pytest.fixture
def cache(own_cache):
    opened = EmbeddingCache()
    yield opened
    opened.close()


def test_a_disk_that_is_full_as_the_cache_is_made_leaves_no_half_of_it(tmp_path):
    pytest.importorskip("resource", reason="Windows has no limits")
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        from eci.errors import CacheError
        from eci.models.cache import EmbeddingCache
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = Path({str(tmp_path / "cache")!r})
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        # A header has two pages. LMDB locks with a file of its own, of two pages, too.
        for most in (4096, 8192, 12288):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
            try:
                EmbeddingCache(folder).close()
            except CacheError as error:
                print(error)
            else:
                print("opened")
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        EmbeddingCache(folder).close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout.splitlines()
    assert ["cannot be opened" in line and "File too large" in line for line in told] == [True] * 3, told
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["data.mdb", "lock.mdb"]


def test_a_cache_that_another_process_makes_meanwhile_is_used(tmp_path, monkeypatch):
    """The file is that process's, not an empty one in its place."""
    linked = os.link

    def after_another(source, target):
        with lmdb.open(str(tmp_path / "other"), max_dbs=2) as other:
            vectors = other.open_db(b"vectors")
            with other.begin(write=True) as transaction:
                transaction.put(b"f" * 16 + b"d" * 16, b"a vector", db=vectors)
        shutil.copyfile(tmp_path / "other" / "data.mdb", target)
        linked(source, target)

    monkeypatch.setattr(os, "link", after_another)
    cache = EmbeddingCache(tmp_path / "cache")
    assert cache.info()["vectors"] == 1
    cache.close()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK])
def test_a_disk_without_links_can_hold_a_cache(tmp_path, monkeypatch, code):
    def refused(source, target):
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", refused)
    cache = EmbeddingCache(tmp_path / "cache")
    cache.put(b"f" * 16, [b"d" * 16], np.ones((1, 3), dtype=np.float32))
    cache.close()
    again = EmbeddingCache(tmp_path / "cache")
    assert again.info()["vectors"] == 1
    again.close()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["data.mdb", "lock.mdb"]


def test_each_distinct_text_is_encoded_once_in_either_role(cache):
    encoder = CountingEncoder()
    cached = CachedEncoder(encoder, cache)
    first = cached.encode_document(TEXTS + TEXTS[:5])
    again = cached.encode_query(TEXTS[10:20])
    assert sorted(encoder.seen) == sorted(TEXTS)
    assert np.array_equal(first[:40], CountingEncoder().encode_query(TEXTS))
    assert np.array_equal(first[40:], first[:5])
    assert np.array_equal(again, first[10:20])
    assert (cached.encoded, cached.hits) == (40, 10)


def test_vectors_outlive_the_process_that_made_them(cache, own_cache):
    vectors = CachedEncoder(CountingEncoder(), cache).encode_query(TEXTS)
    cache.close()
    reopened = EmbeddingCache(own_cache)
    fresh = CountingEncoder()
    assert np.array_equal(CachedEncoder(fresh, reopened).encode_query(TEXTS), vectors)
    assert fresh.seen == []
    reopened.close()


def test_who_opens_a_cache_again_shares_it(cache, own_cache):
    second = EmbeddingCache(own_cache)
    vectors = CachedEncoder(CountingEncoder(), second).encode_query(TEXTS)
    for _ in range(2):
        second.close()
    fresh = CountingEncoder()
    assert np.array_equal(CachedEncoder(fresh, cache).encode_query(TEXTS), vectors)
    assert fresh.seen == []
    cache.close()
    assert cache_module._OPEN == {}


def test_another_fingerprint_never_sees_the_vectors(cache):
    CachedEncoder(CountingEncoder(version="1"), cache).encode_query(TEXTS)
    other = CountingEncoder(version="2", dimension=8)
    assert CachedEncoder(other, cache).encode_query(TEXTS).shape == (40, 8)
    assert len(other.seen) == 40


def test_info_counts_vectors_by_encoder(cache):
    CachedEncoder(CountingEncoder(version="1"), cache).encode_query(TEXTS)
    CachedEncoder(CountingEncoder(version="2"), cache).encode_query(TEXTS[:3])
    info = cache.info()
    assert info["vectors"] == 43
    assert {entry["name"]: entry["vectors"] for entry in info["encoders"]} == {
        "counting-1": 40,
        "counting-2": 3,
    }


def test_the_map_grows_as_needed(cache, monkeypatch, own_cache):
    cache.close()
    monkeypatch.setattr(cache_module, "_FIRST_SIZE", 1 << 16)
    clear(own_cache)
    small = EmbeddingCache(own_cache)
    big = np.ones((200, 384), dtype=np.float32)
    digests = [bytes([i]) * 16 for i in range(200)]
    small.put(b"f" * 16, digests, big)
    found, vectors = small.get(b"f" * 16, digests)
    assert found.all()
    assert np.array_equal(vectors, big)
    small.close()


def test_a_map_that_another_process_enlarged_is_followed(own_cache, monkeypatch):
    monkeypatch.setattr(cache_module, "_FIRST_SIZE", 1 << 16)
    reader = EmbeddingCache(own_cache)
    code = """
        import numpy as np
        from eci.models.cache import EmbeddingCache
        cache = EmbeddingCache()
        cache.put(b"f" * 16, [bytes([i]) * 16 for i in range(200)], np.ones((200, 384), np.float32))
        cache.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    found, _ = reader.get(b"f" * 16, [bytes([i]) * 16 for i in range(200)])
    assert found.all()
    reader.put(b"g" * 16, [b"x" * 16], np.ones((1, 384), dtype=np.float32))
    reader.close()


KILLED = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    from fakes import CountingEncoder
    from eci.models.cache import EmbeddingCache
    from eci.models.cached import CachedEncoder
    encoder = CountingEncoder()

    def progress(stage, done, total):
        print(done, flush=True)
        if done >= 15:
            os.kill(os.getpid(), signal.SIGKILL)

    CachedEncoder(encoder, EmbeddingCache(), progress).encode_document({texts!r})
"""


def test_kill_9_loses_no_finished_batch_and_the_rest_is_encoded_as_planned(own_cache):
    code = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parent), texts=TEXTS)
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout.split() == ["0", "5", "10", "15"]
    plan = CountingEncoder().plan(TEXTS)
    encoder, opened = CountingEncoder(), EmbeddingCache()
    vectors = CachedEncoder(encoder, opened).encode_document(TEXTS)
    # Exactly the batches that were left, in their order: the numbers cannot differ from an unbroken run.
    assert encoder.seen == [TEXTS[i] for batch in plan[3:] for i in batch]
    assert np.array_equal(vectors, CountingEncoder().encode_document(TEXTS))
    opened.close()


def test_two_processes_share_a_cache(own_cache):
    code = textwrap.dedent(
        """
        import sys
        sys.path.insert(0, {tests!r})
        from fakes import CountingEncoder
        from eci.models.cache import EmbeddingCache
        from eci.models.cached import CachedEncoder
        CachedEncoder(CountingEncoder(batch=1), EmbeddingCache()).encode_document({texts!r})
        """
    )
    commands = [
        [sys.executable, "-c", code.format(tests=str(Path(__file__).parent), texts=texts)]
        for texts in (TEXTS[:30], TEXTS[10:])
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    assert [process.wait() for process in running] == [0, 0]
    for process in running:
        process.stderr.close()
    opened = EmbeddingCache()
    assert opened.info()["vectors"] == 40
    opened.close()


def damage_header(file):
    file.write_bytes(b"garbage" * 2000)


def damage_length(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_vector(file):
    one, other = (np.float32(value).tobytes() for value in (1.25, 1.5))
    data = file.read_bytes()
    assert one * 16 in data
    file.write_bytes(data.replace(one * 16, one * 15 + other))


@pytest.mark.parametrize("damage", [damage_header, damage_length, damage_vector])
def test_damage_is_told_never_used_and_can_be_cleared(damage, own_cache):
    opened = EmbeddingCache()
    digests = [bytes([i]) * 16 for i in range(50)]
    opened.put(b"f" * 16, digests, np.full((50, 384), 1.25, dtype=np.float32))
    opened.close()
    damage(own_cache / "data.mdb")

    def read():
        reopened = EmbeddingCache()
        try:
            reopened.get(b"f" * 16, digests)
        finally:
            reopened.close()

    with pytest.raises(CacheError, match=r"is damaged .* Delete it with: eci cache clear"):
        read()
    assert clear() > 0
    fresh = EmbeddingCache()
    assert not fresh.get(b"f" * 16, digests)[0].any()
    fresh.close()


def test_unusable_vectors_are_never_cached(cache):
    class Spoiled(CountingEncoder):
        def encode_document(self, texts):
            vectors = super().encode_document(texts)
            vectors[[text == TEXTS[7] for text in texts]] = np.nan
            return vectors

    with pytest.raises(EncoderError, match="non-finite vector .* 'text number 7"):
        CachedEncoder(Spoiled(), cache).encode_document(TEXTS)
    honest = CountingEncoder()
    CachedEncoder(honest, cache).encode_document(TEXTS)
    assert TEXTS[7] in honest.seen


def test_any_number_of_texts_is_read_in_parts(cache, monkeypatch):
    monkeypatch.setattr(cache_module, "_CHUNK", 7)
    CachedEncoder(CountingEncoder(), cache).encode_query(TEXTS[5:25])
    encoder = CountingEncoder()
    asked = [TEXTS[30], *TEXTS[20:], *TEXTS[:20], TEXTS[3]]
    assert np.array_equal(
        CachedEncoder(encoder, cache).encode_query(asked), CountingEncoder().encode_query(asked)
    )
    assert sorted(encoder.seen) == sorted(TEXTS[:5] + TEXTS[25:])


def test_no_texts_have_no_vectors(cache):
    assert len(CachedEncoder(CountingEncoder(), cache).encode_query([])) == 0


def test_vectors_of_different_length_under_one_fingerprint_are_damage(cache):
    cache.put(b"f" * 16, [b"a" * 16], np.ones((1, 4), dtype=np.float32))
    cache.put(b"f" * 16, [b"b" * 16], np.ones((1, 1), dtype=np.float32))
    with pytest.raises(CacheError, match="vectors of one encoder differ in length"):
        cache.get(b"f" * 16, [b"a" * 16, b"b" * 16])


def test_a_name_that_no_folder_can_have_is_refused(tmp_path):
    with pytest.raises(CacheError, match=r"cannot be opened .* Point ECI_CACHE at a folder"):
        EmbeddingCache(tmp_path / ("x" * 300))


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"cannot be opened .* Point ECI_CACHE at a folder"):
        EmbeddingCache(tmp_path / "file" / "cache")


def test_no_space_left_is_told_and_what_is_cached_stays(cache, monkeypatch):
    cached = CachedEncoder(CountingEncoder(), cache)
    cached.encode_query(TEXTS[:10])
    usage = shutil.disk_usage(cache.folder)

    def refuse(*args, **kwargs):
        raise lmdb.DiskError("mdb_txn_commit: Input/output error")

    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
        full.setattr(cache, "_environment", SimpleNamespace(begin=refuse), raising=True)
        with pytest.raises(CacheError, match="No space left for the embedding cache .* what is cached stays"):
            cache.put(b"f" * 16, [b"x" * 16], np.ones((1, 4), dtype=np.float32))
    fresh = CountingEncoder()
    CachedEncoder(fresh, cache).encode_query(TEXTS[:11])
    assert fresh.seen == [TEXTS[10]]


def test_a_temporary_cache_leaves_nothing():
    with temporary_cache() as opened:
        folder = opened.folder
        CachedEncoder(CountingEncoder(), opened).encode_query(TEXTS)
        assert folder.exists()
    assert not folder.exists()


def test_clear_of_nothing_frees_nothing(own_cache):
    assert clear() == 0
