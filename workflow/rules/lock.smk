"""One run at a time in a directory: the lock of c2o_evidence/run_lock.py.

A re-run after a crash needs no --unlock (Snakemake's own lock, a file that stays behind, is off in the
profile). It is taken when jobs are about to start, by the main process only: dry runs and jobs never hold
it.
"""

from c2o_evidence.run_lock import last_holder, sign, take_run_lock

RUN_LOCK_SEEN = last_holder(Path())


def hold_run_lock():
    """Take the lock until this process ends; exit where another run works, or has worked since the planning."""
    global run_lock  # the open file is the lock
    try:
        run_lock = take_run_lock(Path())
    except EvidenceError as error:
        stop(error)
    run_lock.seek(0)
    if (
        run_lock.read() != RUN_LOCK_SEEN
    ):  # what was planned before it ended may be done by now
        stop(
            "another run worked in this directory while this one was planning; type the command again"
        )
    sign(run_lock)
