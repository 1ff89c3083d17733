"""The lease directory lies where anyone may write: what others put there is not followed, waited for or written to."""

import os
import stat
from pathlib import Path

import pytest

from c2o_evidence.errors import SlotError
from c2o_evidence.slots import Devices, acquire, directory, holders, lease_directory

ONE = Devices(("fake-0",), "a test")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_place_is_the_same_for_all_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "RUN_LOCK", tmp_path)
    for bits, expected in ((0o1777, tmp_path), (0o777, Path("/tmp")), (0o755, Path("/tmp"))):
        tmp_path.chmod(bits)
        assert lease_directory({"TMPDIR": "/home/me/tmp"}) == expected / "c2o-gpus"
    monkeypatch.setattr(directory, "RUN_LOCK", tmp_path / "absent")
    assert lease_directory({}) == Path("/tmp/c2o-gpus")
    assert lease_directory({"C2O_GPU_LEASES": "/srv/leases"}) == Path("/srv/leases")
    with pytest.raises(SlotError, match="C2O_GPU_LEASES: 'leases' is not an absolute path"):
        lease_directory({"C2O_GPU_LEASES": "leases"})


def test_other_users_can_use_what_is_made_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        with acquire(1, ONE, tmp_path / "leases", "a test"):
            pass
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(old)
    assert mode(tmp_path / "leases") == 0o1777
    assert [(path.name, mode(path)) for path in sorted((tmp_path / "leases").iterdir())] == [
        ("fake-0.gate", 0o666),
        ("fake-0.lock", 0o666),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_two_users_share_the_devices(tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(mode(path) | 0o755)
    leases = tmp_path / "leases"
    with acquire(1, ONE, leases, "of root"):
        pass
    says, hears = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            with acquire(1, ONE, leases, "of nobody"):
                os.write(hears, b"has it")
                os.read(os.open(tmp_path / "go", os.O_RDONLY), 1)
        except BaseException as error:
            os.write(hears, repr(error).encode())
        finally:
            os._exit(0)
    os.mkfifo(tmp_path / "go")
    (tmp_path / "go").chmod(0o666)
    try:
        assert os.read(says, 1000) == b"has it"
        found = holders(leases, ONE.names)["fake-0"]
        assert found is not None and (found.pid, found.title) == (child, "of nobody")
    finally:
        (tmp_path / "go").write_text("x")
        os.waitpid(child, 0)
        os.close(says)
        os.close(hears)
    with acquire(1, ONE, leases, "of root again"):
        pass


@pytest.mark.parametrize("kind", ["link", "dangling", "second name", "pipe", "directory"])
def test_what_is_no_plain_lock_file_is_refused_and_left_as_it_is(tmp_path: Path, kind: str) -> None:
    leases, mine = tmp_path / "leases", tmp_path / "mine"
    leases.mkdir()
    leases.chmod(0o1777)
    mine.write_text("dear")
    lock = leases / "fake-0.lock"
    if kind == "link":
        lock.symlink_to(mine)
    elif kind == "dangling":
        lock.symlink_to(tmp_path / "new")
    elif kind == "second name":
        os.link(mine, lock)
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    with pytest.raises(SlotError, match="fake-0.lock in the directory of GPU leases: .*; remove it, or name another"):
        acquire(1, ONE, leases, "a test")
    assert mine.read_text() == "dear" and not (tmp_path / "new").exists()
    assert holders(leases, ONE.names) == {}


def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "leases").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SlotError, match="is a link or no directory; name another directory in C2O_GPU_LEASES"):
        acquire(1, ONE, tmp_path / "leases", "a test")
    with pytest.raises(SlotError, match="No such file or directory"):
        acquire(1, ONE, tmp_path / "absent" / "leases", "a test")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_directory_where_anyone_may_replace_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases").chmod(0o777)
    with pytest.raises(SlotError, match=r"anyone may replace the GPU leases of others here; type: chmod \+t"):
        acquire(1, ONE, tmp_path / "leases", "a test")
    (tmp_path / "leases").chmod(0o770)
    with acquire(1, ONE, tmp_path / "leases", "a test") as lease:
        assert lease.devices == ("fake-0",)


def test_a_lock_on_a_deleted_file_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking someone cleans up: the lock must be on the file that the others see."""
    place = directory.open_directory(tmp_path / "leases")
    opened = []
    honest = directory.open_lock

    def open_then_lose(where: int, name: str) -> int:
        descriptor = honest(where, name)
        if not opened:
            (tmp_path / "leases" / name).unlink()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(directory, "open_lock", open_then_lose)
    mine = directory.try_lock(place, "fake-0.lock")
    assert mine is not None and len(opened) == 2
    monkeypatch.undo()
    assert directory.try_lock(place, "fake-0.lock") is None, "it is held"
    os.close(mine)
    os.close(place)
