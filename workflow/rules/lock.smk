"""One run at a time in a directory.

The lock is an flock on `.snakemake/c2o.lock`, so the kernel frees it when its holder dies, whatever killed
it, and a re-run after a crash needs no --unlock (Snakemake's own lock, a file that stays behind, is off in
the profile). It is taken when jobs are about to start, by the main process only: dry runs and jobs never
hold it.
"""

import fcntl
import os
import sys
import time

RUN_LOCK = Path(".snakemake", "c2o.lock")
RUN_LOCK_SEEN = RUN_LOCK.read_text() if RUN_LOCK.is_file() else ""


def hold_run_lock():
    """Take the lock until this process ends; exit where another run works, or has worked since the planning."""
    global run_lock  # the open file is the lock
    RUN_LOCK.parent.mkdir(exist_ok=True)
    run_lock = open(RUN_LOCK, "a+", encoding="ascii")
    try:
        fcntl.flock(run_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        run_lock.seek(0)
        pid = run_lock.read().split(" ")[0] or "unknown"
        sys.exit(
            f"Error: another run (process {pid}) is working in this directory; "
            f"wait until it is done, or stop it with: kill -INT {pid}"
        )
    run_lock.seek(0)
    if (
        run_lock.read() != RUN_LOCK_SEEN
    ):  # what was planned before it ended may be done by now
        sys.exit(
            "Error: another run worked in this directory while this one was planning; type the command again"
        )
    run_lock.truncate(0)
    run_lock.write(f"{os.getpid()} {time.time_ns()}\n")
    run_lock.flush()
