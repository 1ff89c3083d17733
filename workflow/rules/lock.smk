"""One run at a time in a directory: the lock of c2o_evidence/run_lock.py, and the jobs that a dead run left.

A re-run after a crash needs no --unlock (Snakemake's own lock, a file that stays behind, is off in the
profile). It is taken when jobs are about to start, by the main process only: dry runs and jobs never hold
it. On a cluster the jobs of a killed run live on: a new run does not start beside them, and a job that starts
when another run holds the lock does not touch anything.
"""

import os
import time

from c2o_evidence.cluster.orphans import no_orphans_left, refuse_orphans
from c2o_evidence.run_lock import last_holder, sign, take_run_lock

RUN = "C2O_RUN"  # in the environment of jobs: what the lock said when their run began
RUN_LOCK_SEEN = last_holder(Path())


def refuse_another_run():
    """Stop a job of a run that is no more, once another one works in the directory."""
    for _ in range(5):  # another node of a cluster may see the file a moment late
        if os.environ.get(RUN) in (None, last_holder(Path())):
            return
        time.sleep(1)
    stop("the run that this job belongs to has ended, and another one works here")


if not workflow.is_main_process:
    refuse_another_run()


def hold_run_lock():
    """Take the lock until this process ends; exit where another run works, or has worked since the planning."""
    global run_lock  # the open file is the lock
    try:
        run_lock = take_run_lock(Path())
        run_lock.seek(0)
        if (
            run_lock.read() != RUN_LOCK_SEEN
        ):  # what was planned before it ended may be done by now
            stop(
                "another run worked in this directory while this one was planning; type the command again"
            )
        refuse_orphans(Path(), workflow.executor_plugin.name == "slurm")
    except EvidenceError as error:
        stop(error)
    sign(run_lock)
    os.environ[RUN] = last_holder(Path())


onsuccess:
    no_orphans_left(Path())
