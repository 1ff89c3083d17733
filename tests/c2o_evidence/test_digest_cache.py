"""The digest cache: it confirms what has not been touched, and nothing it holds can make a good file look bad."""

import hashlib
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from c2o_evidence import digest_cache
from c2o_evidence.digest_cache import DigestCache, file_state, user_cache
from c2o_evidence.errors import EvidenceError

SHA = "0123456789abcdef" * 4


@pytest.fixture
def rested(monkeypatch):
    """Files count as untouched for long, however new they are."""
    monkeypatch.setattr(digest_cache, "REST_NS", -(10**12))


def learn(path, file, digest=SHA):
    with DigestCache(path) as cache:
        cache.learn(file, file_state(file), digest, time.time_ns())


def knows(path, file, digest=SHA):
    with DigestCache(path) as cache:
        return cache.agrees(file_state(file), digest)


def test_known_until_touched(tmp_path, rested):
    path, file = tmp_path / "cache/c", tmp_path / "f"
    file.write_bytes(b"one")
    assert not knows(path, file)
    learn(path, file)
    assert knows(path, file) and not knows(path, file, "f" * 64)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    time.sleep(0.02)  # more than a tick of the file system's clock
    file.write_bytes(b"two")
    os.utime(file, ns=times)
    assert file.stat().st_size == 3 and file.stat().st_mtime_ns == times[1], "only ctime tells"
    assert not knows(path, file)


def test_each_part_of_the_state_counts(tmp_path, rested):
    path, file = tmp_path / "c", tmp_path / "f"
    file.write_bytes(b"one")
    learn(path, file)
    state = file_state(file)
    with DigestCache(path) as cache:
        for part in ("device", "inode", "size", "mtime_ns", "ctime_ns"):
            assert not cache.agrees(state._replace(**{part: getattr(state, part) + 1}), SHA)
        assert cache.agrees(state, SHA)


def test_what_was_written_a_moment_ago_is_not_kept(tmp_path):
    path, file = tmp_path / "c", tmp_path / "f"
    file.write_bytes(b"one")
    os.utime(file, (0, 0))
    learn(path, file)
    assert not path.exists(), "its mtime is old, but it was touched now, as its ctime says"
    with DigestCache(path) as cache:
        cache.learn(file, file_state(file), SHA, time.time_ns() + 10**10)
    assert knows(path, file)


def test_what_changed_while_it_was_read_is_not_kept(tmp_path, rested):
    path, file = tmp_path / "c", tmp_path / "f"
    file.write_bytes(b"one")
    before = file_state(file)
    file.write_bytes(b"more")
    with DigestCache(path) as cache:
        cache.learn(file, before, SHA, time.time_ns())
    assert not path.exists()


def test_links_and_directories_have_no_state(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert [file_state(tmp_path / name) for name in ("link", ".", "none")] == [None] * 3


def test_a_large_inode_number_is_kept(tmp_path):
    state = digest_cache.FileState(digest_cache._signed(2**64 - 1), digest_cache._signed(2**63), 1, 2, 3)
    path = tmp_path / "c"
    with DigestCache(path) as cache:
        cache._learned.append((state, SHA))
    with DigestCache(path) as cache:
        assert cache.agrees(state, SHA)


@pytest.mark.parametrize("damage", ["garbage", "cut off", "torn page", "another version", "another table"])
def test_a_damaged_cache_is_made_anew(tmp_path, rested, damage):
    path, file = tmp_path / "c", tmp_path / "f"
    file.write_bytes(b"one")
    learn(path, file)
    data = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"\xff" * 5000)
    elif damage == "cut off":
        path.write_bytes(data[:1500])
    elif damage == "torn page":
        path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    else:
        with sqlite3.connect(path) as database:
            change = (
                "PRAGMA user_version = 9" if damage == "another version" else "ALTER TABLE digests DROP COLUMN size"
            )
            database.execute(change)
    assert not knows(path, file)
    learn(path, file)
    assert knows(path, file)


def test_it_does_not_grow_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(digest_cache, "LIMIT", 20)
    for round_ in range(3):
        with DigestCache(tmp_path / "c") as cache:
            cache._learned += [(digest_cache.FileState(round_, number, 1, 1, 1), SHA) for number in range(15)]
        monkeypatch.setattr(digest_cache.time, "time", lambda round_=round_: 10.0**9 * (2 + round_))
    with sqlite3.connect(tmp_path / "c") as database:
        assert database.execute("SELECT device, count(*) FROM digests GROUP BY device").fetchall() == [(1, 3), (2, 15)]


def test_no_place_to_write_is_no_error(tmp_path, rested):
    file = tmp_path / "f"
    file.write_bytes(b"one")
    learn(file / "below" / "c", file)
    assert not knows(file / "below" / "c", file)


WORKER = """
import sys, time
from c2o_evidence import digest_cache as d
d.REST_NS = -10**12
for number in range(int(sys.argv[2]), 40, 2):
    with d.DigestCache(d.Path(sys.argv[1]) / "c") as cache:
        file = f"{sys.argv[1]}/f{number}"
        cache.learn(file, d.file_state(file), "%064x" % number, time.time_ns())
"""


def test_two_writers_lose_nothing(tmp_path):
    for number in range(40):
        (tmp_path / f"f{number}").touch()
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), str(i)]) for i in (0, 1)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    with DigestCache(tmp_path / "c") as cache:
        assert all(cache.agrees(file_state(tmp_path / f"f{number}"), f"{number:064x}") for number in range(40))


def test_where_the_users_cache_is(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/y")
    assert str(user_cache()) == "/x/y/c2o/digests.sqlite3"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/h")
    assert str(user_cache()) == "/h/.cache/c2o/digests.sqlite3"


def test_digest_of_a_stream_over_chunk_boundaries(tmp_path):
    from c2o_evidence.digests import CHUNK, sha256_file, sha256_stream

    for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5):
        data = os.urandom(size)
        (tmp_path / "f").write_bytes(data)
        assert sha256_file(tmp_path / "f") == hashlib.sha256(data).hexdigest()
        seen = []
        with open(tmp_path / "f", "rb") as stream:
            digest = sha256_stream(stream.fileno(), bytearray(7 + CHUNK // 2), seen.append)
        assert digest == hashlib.sha256(data).hexdigest() and sum(seen) == size


def test_a_place_that_cannot_be_looked_at_is_an_empty_cache(tmp_path, rested):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    place = tmp_path / ("n" * 300) / "digests.sqlite3"  # no file system has such a name
    learn(place, file)
    assert not knows(place, file)


def test_a_user_without_a_home_is_told_so(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(digest_cache.Path, "home", no_home)
    with pytest.raises(EvidenceError, match="there is no home directory; set XDG_CACHE_HOME"):
        user_cache()
