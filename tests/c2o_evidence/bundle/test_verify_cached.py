"""`c2o verify --cached`: untouched files are not read again; what was touched is; without the flag all are read."""

import os
import sqlite3
import time
from pathlib import Path

import pytest

from c2o_evidence import digest_cache
from c2o_evidence.cli import main
from c2o_evidence.verify import files, verify

MODEL = "train/baseline/seed0/model.safetensors"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of files as they are hashed; the cache is in a directory of its own, and keeps new files too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest_cache, "REST_NS", -(10**12))
    names: list[str] = []
    hash_file = files.hash_file

    def counted(path, *rest):
        names.append(str(path))
        return hash_file(path, *rest)

    monkeypatch.setattr(files, "hash_file", counted)
    return names


def test_only_what_was_touched_is_read(bundle: Path, read: list[str]) -> None:
    report = verify(bundle, cached=True)
    total = len(read)
    assert report.ok and total == report.counts["files"] > 20 and report.counts["cached"] == 0
    read.clear()
    seen: list[int] = []
    again = verify(bundle, cached=True, progress=lambda phase, amount: seen.append(amount))
    assert again.ok and read == [] and again.counts["cached"] == total
    assert sum(seen) == again.counts["bytes"], "a progress bar ends full"
    assert f"--cached: {total} of {total} digests are from " in again.notes[0]

    times = os.stat(bundle / MODEL).st_atime_ns, os.stat(bundle / MODEL).st_mtime_ns
    data = bytearray((bundle / MODEL).read_bytes())
    data[-1] ^= 1
    time.sleep(0.02)
    (bundle / MODEL).write_bytes(data)
    os.utime(bundle / MODEL, ns=times)
    changed = verify(bundle, cached=True)
    assert read == [str(bundle / MODEL)]
    assert [(f.kind, f.path) for f in changed.findings] == [("changed", MODEL), ("stale", f"{MODEL}.sha256")]


def test_without_the_flag_a_cache_is_not_asked(bundle: Path, read: list[str]) -> None:
    verify(bundle, cached=True)
    (bundle / MODEL).write_bytes(b"another")
    state = digest_cache.file_state(bundle / MODEL)
    listed = dict(line.split("  ")[::-1] for line in (bundle / "SHA256SUMS").read_text().splitlines())
    with sqlite3.connect(digest_cache.user_cache()) as database:  # a lie: this is the listed file
        values = (state.device, state.inode, state.size, state.mtime_ns, state.ctime_ns, listed[MODEL], 0)
        database.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    assert MODEL not in [finding.path for finding in verify(bundle, cached=True).findings]
    read.clear()
    report = verify(bundle)
    assert MODEL in [finding.path for finding in report.findings]
    assert len(read) == report.counts["files"] and "cached" not in report.counts


def test_wrong_digests_in_the_cache_are_no_findings(bundle: Path, read: list[str]) -> None:
    verify(bundle, cached=True)
    with sqlite3.connect(digest_cache.user_cache()) as database:
        database.execute("UPDATE digests SET sha256 = ?", ("0" * 64,))
    read.clear()
    report = verify(bundle, cached=True)
    assert report.ok and len(read) == report.counts["files"] and report.counts["cached"] == 0


def test_the_command_says_so(bundle: Path, read: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle), "--cached"]) == 0
    assert main(["verify", str(bundle), "--cached"]) == 0
    assert "digests are from" in capsys.readouterr().out
