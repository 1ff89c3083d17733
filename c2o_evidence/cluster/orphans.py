"""SLURM jobs of an earlier driver that was killed: they run on, and would write what a new one has made again.

Called where the run lock is held, so that no other driver is at work: every job of the checkout is then an orphan.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from c2o_evidence.cluster.naming import checkout_digest
from c2o_evidence.cluster.processes import submitting
from c2o_evidence.cluster.queue import QueuedJob, cancel, jobs_here, wait_until_gone
from c2o_evidence.errors import ClusterError

CANCEL_S = 180.0  # KillWait, the epilog and a slow controller
REFUSED_S = 5.0
SUBMIT_S = 60.0
TELL_S = 60.0
MARKER = Path(".snakemake", "c2o.slurm")  # jobs have been submitted from this checkout


def clear_orphans(root: Path, keep_running: bool, say: Callable[[str], None], whose: str = "of an earlier run") -> int:
    """See to it that no job of the checkout is left; how many there were.

    Args:
        root: the checkout.
        keep_running: wait for those that run, as long as it takes; a training is then found done. Those that wait in
            the queue are cancelled in any case: what they would do is submitted again.
        say: takes a line for the user, who is told `whose` jobs they are.

    Raises:
        ClusterError: the queue cannot be asked, or a job cannot be cancelled or does not end.
    """
    _until_submitted(root)
    orphans = jobs_here(root)
    if not orphans:
        return 0
    kept = [job for job in orphans if keep_running and not job.waits]
    gone = [job for job in orphans if job not in kept]
    if gone:
        say(f"cancelling {named(gone)} {whose}")
        _cancel(root, gone)
    if kept:
        say(f"waiting for {named(kept)} {whose}; Ctrl-C stops waiting, `--orphans cancel` would cancel")
        last = time.monotonic()

        def still(left: list[QueuedJob]) -> None:
            nonlocal last
            if time.monotonic() - last > TELL_S:
                last = time.monotonic()
                say(f"still waiting for {named(left)}")

        wait_until_gone(root, [job.number for job in kept], None, still)
    return len(orphans)


def refuse_orphans(root: Path, on_slurm: bool) -> None:
    """What a Snakemake that was not started by `c2o run --on slurm` asks before its first job.

    Costs nothing in a checkout that no job was ever submitted from. `on_slurm`: this one is about to submit some.

    Raises:
        ClusterError: jobs of an earlier run are still there, or SLURM cannot say.
    """
    marker = root / MARKER
    if marker.is_file():
        try:
            orphans = jobs_here(root)
        except ClusterError as error:
            raise ClusterError(
                f"{error}\nSLURM jobs of an earlier run in this directory may still write here; ask on a submit host "
                f"(squeue --me), and delete {marker} once there are none"
            ) from error
        if orphans:
            numbers = " ".join(job.number for job in orphans[:20])
            raise ClusterError(
                f"{named(orphans)} of an earlier run in this directory: still in SLURM's queue, and would write what "
                f"this run makes; let `c2o run SUITE --on slurm` see to them, or cancel them: scancel {numbers}"
            )
    if on_slurm:
        marker.touch()
    else:
        marker.unlink(missing_ok=True)


def no_orphans_left(root: Path) -> None:
    """Note that a run has seen all its jobs end."""
    (root / MARKER).unlink(missing_ok=True)


def named(jobs: list[QueuedJob]) -> str:
    """`2 SLURM jobs (17, 18)`."""
    numbers = ", ".join(job.number for job in jobs[:8])
    return f"{len(jobs)} SLURM job{'s' if len(jobs) > 1 else ''} ({numbers}{', …' if len(jobs) > 8 else ''})"


def _cancel(root: Path, jobs: list[QueuedJob]) -> None:
    refused = ""
    try:
        cancel(jobs)
    except ClusterError as error:  # such as those of another user; or of jobs that have ended just now
        refused = f"{error}; "

    def again(left: list[QueuedJob]) -> None:  # a training that is stopped may have put its job back into the queue
        with suppress(ClusterError):
            cancel([job for job in left if job.waits])

    left = wait_until_gone(root, [job.number for job in jobs], REFUSED_S if refused else CANCEL_S, again)
    if left:
        users = ", ".join(sorted({job.user for job in left}))
        raise ClusterError(
            f"{refused}{named(left)} of {users} cannot be ended; "
            f"look with `scontrol show job {left[0].number}`, and type the command again once they are gone"
        )


def _until_submitted(root: Path) -> None:
    """A driver that was killed while it submitted has left an sbatch behind, whose job is not in the queue yet."""
    deadline = time.monotonic() + SUBMIT_S
    while submitting(checkout_digest(root)) and time.monotonic() < deadline:
        time.sleep(0.1)
