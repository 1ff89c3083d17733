"""The lock of a checkout: one Snakemake run, adoption or clean-up at a time.

An flock on `.snakemake/c2o.lock`, so the kernel frees it when its holder dies, whatever killed it. The file holds
`PID TIME HOST` of who had it last: a run that was planned before another one ended sees that it has to plan anew.

Not every shared file system carries an flock to other machines, so the holder also touches the file every few seconds,
and lets it be of the year 1970 when it is done: a lock of another host that was touched a moment ago is held. Ages are
taken by the file server's clock. What this cannot tell is a holder whose machine has lost the file system for longer.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from c2o_evidence.errors import LockError

RUN_LOCK = Path(".snakemake", "c2o.lock")
BEAT_S = 15.0
STALE_S = 90.0
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def last_holder(root: Path) -> str:
    """What the lock file says now; empty where nobody has held it yet."""
    path = root / RUN_LOCK
    return path.read_text(encoding="ascii", errors="replace") if path.is_file() else ""


def take_run_lock(root: Path, lock: Path = RUN_LOCK) -> IO[str]:
    """Take the lock; it is held until the returned file is closed.

    Raises:
        LockError: another process holds it; the message names the process and how to stop it.
    """
    path = root / lock
    path.parent.mkdir(exist_ok=True)
    stream = path.open("a+", encoding="ascii", errors="replace")
    stream.seek(0)
    pid, host = _holder(stream.read())
    try:
        locks = _flock(stream)
        age = _age(path)
    except BlockingIOError:
        stream.close()
        raise LockError(
            f"another run (process {pid}{_on(host)}) is working in this directory; "
            f"wait until it is done, or stop it with: kill -INT {pid}"
        ) from None
    if age < STALE_S and host and (host != socket.gethostname() or not locks):
        stream.close()
        raise LockError(
            f"another run (process {pid} on {host}) is working in this directory, or was {age:.0f} s ago; stop it "
            f"there with: kill -INT {pid}; if it is dead, type the command again in {STALE_S - age + 1:.0f} s"
        )
    return stream


def sign(stream: IO[str]) -> None:
    """Leave who holds the lock, and since when, in its file; from now on it is touched while it is open."""
    stream.truncate(0)
    stream.write(f"{os.getpid()} {time.time_ns()} {socket.gethostname()}\n")
    stream.flush()
    with suppress(OSError):
        os.fsync(stream.fileno())
    threading.Thread(target=_beat, args=(stream,), name="run lock", daemon=True).start()
    atexit.register(release, stream)


def release(stream: IO[str]) -> None:
    """Give the lock back, and say so to other hosts."""
    if not stream.closed:
        with suppress(OSError):
            os.utime(stream.fileno(), (0, 0))
        with suppress(OSError):  # closing alone frees it only when no other thread is about to touch it
            fcntl.flock(stream, fcntl.LOCK_UN)
        stream.close()


@contextmanager
def run_lock(root: Path, lock: Path = RUN_LOCK) -> Iterator[None]:
    """Hold the lock for a while. A Snakemake that is planning meanwhile will say that it has to plan again.

    Raises:
        LockError: as `take_run_lock`.
    """
    stream = take_run_lock(root, lock)
    try:
        sign(stream)
        yield
    finally:
        release(stream)
        atexit.unregister(release)


def _flock(stream: IO[str]) -> bool:
    """Whether the file system has locks at all. Raises BlockingIOError where the lock is held."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def _holder(text: str) -> tuple[str, str]:
    """Process and host of a lock file's text; the host is empty where it is not said."""
    words = text.split()
    return (words[0] if words else "unknown"), (words[2] if len(words) > 2 else "")


def _on(host: str) -> str:
    return "" if host in ("", socket.gethostname()) else f" on {host}"


def _age(path: Path) -> float:
    """Seconds since the file was touched, by the clock that its own times come from."""
    now = path.with_name(f"{path.name}.{os.getpid()}.now")
    try:
        now.write_bytes(b"")
        return now.stat().st_mtime - path.stat().st_mtime
    finally:
        now.unlink(missing_ok=True)


def _beat(stream: IO[str]) -> None:
    while True:
        time.sleep(BEAT_S)
        try:
            os.utime(stream.fileno())
        except (OSError, ValueError):  # given back, or the file system is away for a moment
            if stream.closed:
                return
