"""The lease directory of the machine: one lock file a device, shared by all checkouts and all users.

It is world-writable with the sticky bit, as /tmp is, so what lies there is not trusted: nothing is opened through a
link, only plain files with one name are locked or written to, and what they say is only shown. Lock files stay; whether
a device is taken is known to the kernel alone (flock), which frees it when its holder is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from c2o_evidence.errors import SlotError

CHOICE = "C2O_GPU_LEASES"
NAME = "c2o-gpus"
RUN_LOCK, TMP = Path("/run/lock"), Path("/tmp")  # never TMPDIR: all users must mean the same directory
_OPEN_TO_ALL = stat.S_ISVTX | stat.S_IWOTH
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_TRIES = 100


def lease_directory(environ: Mapping[str, str]) -> Path:
    """C2O_GPU_LEASES, else `c2o-gpus` in /run/lock where that is open to all users, else in /tmp.

    Raises:
        SlotError: C2O_GPU_LEASES is not an absolute path.
    """
    if chosen := environ.get(CHOICE):
        if not os.path.isabs(chosen):
            raise SlotError(f"{CHOICE}: {chosen!r} is not an absolute path; all jobs must mean the same directory")
        return Path(chosen)
    try:
        shared = RUN_LOCK.stat().st_mode & _OPEN_TO_ALL == _OPEN_TO_ALL
    except OSError:
        shared = False
    return (RUN_LOCK if shared else TMP) / NAME


def open_directory(path: Path) -> int:
    """A descriptor of the lease directory, which is made if absent. The caller closes it.

    Raises:
        SlotError: it cannot be made or used, is a link, or lets anyone replace the lock files of others.
    """
    try:
        try:
            with _unmasked():
                os.mkdir(path, 0o1777)
        except FileExistsError:
            pass
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    except OSError as error:
        what = "is a link or no directory" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.strerror
        raise SlotError(f"{path}: cannot keep GPU leases: {what}; name another directory in {CHOICE}") from error
    mode = os.fstat(descriptor).st_mode
    if mode & _OPEN_TO_ALL == stat.S_IWOTH:
        os.close(descriptor)
        raise SlotError(f"{path}: anyone may replace the GPU leases of others here; type: chmod +t {path}")
    return descriptor


def lock_name(device: str) -> str:
    """The lock file of a device."""
    return f"{device.replace('/', '%')}.lock"  # % is in no name of a device


def gate_name(device: str) -> str:
    """The file whose lock the job has that is first in line for a device."""
    return f"{device.replace('/', '%')}.gate"


def open_lock(directory: int, name: str) -> int:
    """A descriptor, for reading and writing, of a lock file, which is made if absent. The caller closes it.

    Raises:
        SlotError: it cannot be opened, or is anything but a plain file with one name.
    """
    for _ in range(_TRIES):
        try:
            # Not O_CREAT at once: Linux refuses that for the file of another user in a sticky directory.
            descriptor = os.open(name, os.O_RDWR | _FLAGS, dir_fd=directory)
        except FileNotFoundError:
            try:
                with _unmasked():
                    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666, dir_fd=directory)
            except FileExistsError:
                continue
            except OSError as error:
                raise _unusable(name, error.strerror) from error
        except OSError as error:
            raise _unusable(name, "is a link" if error.errno == errno.ELOOP else error.strerror) from error
        info = os.fstat(descriptor)
        # A second name could be a file of this user that someone else wants overwritten.
        if stat.S_ISREG(info.st_mode) and info.st_nlink == 1:
            return descriptor
        os.close(descriptor)
        if info.st_nlink:  # else it was deleted just now
            raise _unusable(name, "is no plain file with one name")
    raise _unusable(name, "vanishes again and again")


def try_lock(directory: int, name: str, *, wait: bool = False) -> int | None:
    """A descriptor that holds the lock of a file, or None where another process holds it. With `wait` never None.

    Raises:
        SlotError: as `open_lock`.
    """
    while True:
        descriptor = open_lock(directory, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _still_named(directory, name, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise _unusable(name, f"cannot be locked: {error.strerror}") from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # someone deleted the file meanwhile, and others lock another one


def _still_named(directory: int, name: str, descriptor: int) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _unusable(name: str, what: str | None) -> SlotError:
    return SlotError(f"{name} in the directory of GPU leases: {what}; remove it, or name another directory in {CHOICE}")


@contextmanager
def _unmasked() -> Iterator[None]:
    """Files are made with the mode that is asked for: other users must be able to use them from the first moment."""
    old = os.umask(0)
    try:
        yield
    finally:
        os.umask(old)
