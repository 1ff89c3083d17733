"""The lock of a checkout on a file system that does not carry locks from one host to another."""

import errno
import fcntl
import os
import socket
import time
from pathlib import Path

import pytest

from c2o_evidence import run_lock as module
from c2o_evidence.errors import LockError
from c2o_evidence.run_lock import RUN_LOCK, STALE_S, last_holder, release, run_lock, sign, take_run_lock


def held_elsewhere(root: Path, age: float, host: str = "login2") -> Path:
    """The lock file as a run on another host leaves it, touched `age` seconds ago."""
    path = root / RUN_LOCK
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"4711 1 {host}\n")
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_the_file_names_its_holder_and_is_touched_while_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.02)
    with run_lock(tmp_path):
        path = tmp_path / RUN_LOCK
        pid, began, host = last_holder(tmp_path).split()
        assert (int(pid), host) == (os.getpid(), socket.gethostname()) and int(began) > 0
        os.utime(path, (1000, 1000))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 1000 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert abs(path.stat().st_mtime - time.time()) < 5
        with pytest.raises(LockError, match=rf"another run \(process {pid}\) is working in this directory; wait until"):
            take_run_lock(tmp_path)
    assert path.stat().st_mtime == 0, "given back: other hosts see it at once"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_run_on_another_host_is_respected_while_it_lives(tmp_path: Path) -> None:
    path = held_elsewhere(tmp_path, age=20)
    with pytest.raises(
        LockError, match=r"another run \(process 4711 on login2\) .* or was 2\d s ago; stop it there"
    ) as e:
        take_run_lock(tmp_path)
    assert f"again in {STALE_S - 20 + 1:.0f} s" in str(e.value)
    held_elsewhere(tmp_path, age=STALE_S + 1)
    take_run_lock(tmp_path).close()
    os.utime(path, (0, 0))
    take_run_lock(tmp_path).close()


def test_a_dead_run_of_this_host_holds_nothing(tmp_path: Path) -> None:
    held_elsewhere(tmp_path, age=0, host=socket.gethostname())
    take_run_lock(tmp_path).close()


def test_it_is_free_as_soon_as_it_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.0)  # touched without a pause
    for _ in range(200):
        with run_lock(tmp_path):
            pass


def test_without_locks_the_touched_file_is_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    stream = take_run_lock(tmp_path)
    sign(stream)
    with pytest.raises(LockError, match="another run"):
        take_run_lock(tmp_path)
    release(stream)
    take_run_lock(tmp_path).close()
