"""A file is whole, old or new, whatever happens while it is written."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from c2o_evidence.atomic import atomic_path, atomic_write
from c2o_evidence.errors import EvidenceError


def test_writes_bytes_and_text_and_makes_parents(tmp_path):
    atomic_write(tmp_path / "a/b/c", b"\x00\r\n")
    assert (tmp_path / "a/b/c").read_bytes() == b"\x00\r\n"
    atomic_write(tmp_path / "t", "é\n")
    assert (tmp_path / "t").read_bytes() == b"\xc3\xa9\n"
    assert os.listdir(tmp_path / "a/b") == ["c"]


def test_a_reader_keeps_the_file_it_has_opened(tmp_path):
    target = tmp_path / "f"
    target.write_text("old")
    with target.open() as reader:
        atomic_write(target, "new")
        assert reader.read() == "old"
    assert target.read_text() == "new"


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "f", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_a_failing_body_leaves_the_old_file_and_no_rest(tmp_path):
    target = tmp_path / "f"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="boom"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("boom")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path, monkeypatch, fault):
    target = tmp_path / "f"
    target.write_text("old")

    def full(descriptor):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", full)
    message = f"f: could not be written: {os.strerror(fault)}; an earlier file of that name is unchanged"
    with pytest.raises(EvidenceError, match=message):
        atomic_write(target, b"new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_really_full_device(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with pytest.raises(EvidenceError, match="f: could not be written: No space left on device"):  # noqa: SIM117
        with atomic_path(tmp_path / "f"), open("/dev/full", "wb", buffering=0) as stream:
            stream.write(b"x")
    assert os.listdir(tmp_path) == []


def test_a_parent_that_is_a_file_is_said(tmp_path):
    (tmp_path / "f").touch()
    with pytest.raises(EvidenceError, match="f/g: could not be written: "):
        atomic_write(tmp_path / "f" / "g", b"")


def test_other_errors_of_the_body_are_not_renamed(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "f"):
        (tmp_path / "gone").read_bytes()


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "f"
    target.write_text("old")
    code = (
        "import sys, time\nfrom c2o_evidence.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t:\n"
        "    t.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGKILL)
    assert target.read_text() == "old"
    atomic_write(target, b"new")
    assert target.read_text() == "new"
    assert time.time() - target.stat().st_mtime < 60


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_one_is_not_disturbed(tmp_path):
    target = tmp_path / "f"
    left = [tmp_path / ".f.0123abcd.tmp", tmp_path / ".f.g.0123abcd.tmp"]  # of f and of f.g
    for path in left:
        path.touch()
    with atomic_path(target) as first:
        first.write_text("first")
        atomic_write(target, "second")
        assert target.read_text() == "second" and first.exists()
    assert target.read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == [".f.g.0123abcd.tmp", "f"]


def test_a_disk_that_does_not_confirm_the_new_file_is_said(tmp_path, monkeypatch):
    target = tmp_path / "f"
    target.write_text("old")
    real = os.fsync

    def fail_for_directories(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_directories)
    with pytest.raises(EvidenceError, match="f: is written, but may be lost if the machine stops now: Input/output"):
        atomic_write(target, "new")
    assert target.read_text() == "new"
