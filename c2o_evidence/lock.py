"""A lock between processes on one machine, released by the kernel when its holder ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from c2o_evidence.errors import LockError

POLL_SECONDS = 0.02


@contextmanager
def locked(path: Path | str, timeout: float = 30.0) -> Iterator[None]:
    """Hold the lock of `path` (kept in the file `.NAME.lock` beside it, which stays there).

    Args:
        path: what is protected; need not exist.
        timeout: seconds to wait for another holder.

    Raises:
        LockError: another process still holds it after `timeout`; the message names the process. Or the lock file
            cannot be made.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(_lock_file(target), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise LockError(f"{_lock_file(target)}: cannot be made: {error.strerror}; nothing was changed") from error
    try:
        _acquire(descriptor, target, timeout, fcntl.LOCK_EX)
        with suppress(OSError):  # only for the message of those who wait
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        yield
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def wait_until_free(path: Path | str, timeout: float = 30.0) -> None:
    """Return when nobody holds the lock of `path`, at once if nobody ever has. Nothing is written.

    Raises:
        LockError: another process still holds it after `timeout`.
    """
    target = Path(path)
    try:
        descriptor = os.open(_lock_file(target), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # no lock file, or not ours to read
    try:
        _acquire(descriptor, target, timeout, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _lock_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _acquire(descriptor: int, target: Path, timeout: float, kind: int) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                by = f"process {holder}" if holder else "another process"
                raise LockError(
                    f"{target}: is locked by {by} for more than {timeout:g} s; wait for it to end, or stop it"
                ) from None
            time.sleep(POLL_SECONDS)
