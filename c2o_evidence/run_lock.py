"""The lock of a checkout: one Snakemake run, adoption or clean-up at a time.

An flock on `.snakemake/c2o.lock`, so the kernel frees it when its holder dies, whatever killed it. The file holds
`PID TIME` of who had it last: a run that was planned before another one ended sees that it has to plan anew.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from c2o_evidence.errors import LockError

RUN_LOCK = Path(".snakemake", "c2o.lock")


def last_holder(root: Path) -> str:
    """What the lock file says now; empty where nobody has held it yet."""
    path = root / RUN_LOCK
    return path.read_text(encoding="ascii", errors="replace") if path.is_file() else ""


def take_run_lock(root: Path) -> IO[str]:
    """Take the lock; it is held until the returned file is closed.

    Raises:
        LockError: another process holds it; the message names the process and how to stop it.
    """
    path = root / RUN_LOCK
    path.parent.mkdir(exist_ok=True)
    stream = path.open("a+", encoding="ascii", errors="replace")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        pid = stream.read().split(" ")[0] or "unknown"
        stream.close()
        raise LockError(
            f"another run (process {pid}) is working in this directory; "
            f"wait until it is done, or stop it with: kill -INT {pid}"
        ) from None
    return stream


def sign(stream: IO[str]) -> None:
    """Leave who holds the lock, and since when, in its file."""
    stream.truncate(0)
    stream.write(f"{os.getpid()} {time.time_ns()}\n")
    stream.flush()


@contextmanager
def run_lock(root: Path) -> Iterator[None]:
    """Hold the lock for a while. A Snakemake that is planning meanwhile will say that it has to plan again.

    Raises:
        LockError: as `take_run_lock`.
    """
    with take_run_lock(root) as stream:
        sign(stream)
        yield
