"""`c2o run SUITE --on slurm`: Snakemake drives the cluster, and this module sees to it that it does, to the end.

One driver works in a checkout (run_lock.py). Before it starts, the jobs that a killed one has left are cancelled or
waited for; while it works the watchdog looks on; one that was killed, stands still or could not submit because the
controller was away is started again. However it ends, no job of it stays behind.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from c2o_evidence.cluster.orphans import clear_orphans, named, no_orphans_left
from c2o_evidence.cluster.queue import jobs_here
from c2o_evidence.cluster.ready import require_slurm, slurm_arguments, wait_for_slurm
from c2o_evidence.cluster.watchdog import PATIENCE_S, Watchdog
from c2o_evidence.errors import ClusterError
from c2o_evidence.live.view import make_view
from c2o_evidence.run import Build, finished, only_tells, tell
from c2o_evidence.run_lock import run_lock

DRIVER_LOCK = Path(".snakemake", "c2o-driver.lock")
RESTARTS = 3
PAUSE_S = 1.0  # before a restart, doubled each time
AWAY = ("Unable to contact slurm controller", "Socket timed out", "Zero Bytes were transmitted")


@dataclass(frozen=True)
class Driving:
    """What the user may choose. `patience`: seconds; `restarts`: in a row, with no finished step between them."""

    keep_orphans: bool = False
    patience: float = PATIENCE_S
    restarts: int = RESTARTS


def run_on_slurm(
    suite_name: str, extra: Sequence[str], root: Path, driving: Driving, stream: TextIO | None = None
) -> int:
    """Builds `deliverables/SUITE` on the cluster; exit codes as `run_suite`.

    Raises:
        SuiteError, ClusterError, LockError: nothing was started, or a job of an earlier run cannot be ended.
    """
    from c2o_evidence.suite import load_suite
    from c2o_evidence.workload import jobs_of

    out = sys.stdout if stream is None else stream
    suite = load_suite(suite_name, root)
    require_slurm(root, extra)
    arguments = slurm_arguments(root, suite.name, extra)
    if only_tells(extra):
        return tell(suite.name, arguments, root)
    jobs = jobs_of(suite, root)

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=out, flush=True)

    started = time.monotonic()
    with run_lock(root, DRIVER_LOCK):
        failures, ended = 0, True
        while True:
            if failures:
                wait_for_slurm(say)
            with run_lock(root):
                clear_orphans(root, driving.keep_orphans, say)
            build = Build(suite.name, jobs, root, out, watchdog=Watchdog(root, driving.patience))
            view = make_view(suite.name, out)
            try:
                code, interrupted = build.run(arguments, view)
            finally:
                view.close()
            if code == 0 and not interrupted:
                no_orphans_left(root)
                break
            why = "" if interrupted else _worth_a_restart(build, code)
            failures = 1 if build.log.done else failures + 1
            if not why or failures > driving.restarts:
                ended = _end_jobs(root, say)
                if why:
                    say(f"{why}; not started again after {driving.restarts} restarts without a finished step")
                break
            say(f"{why}: restart {failures} of {driving.restarts}")
            time.sleep(min(60.0, PAUSE_S * 2 ** min(failures - 1, 10)))
    stopped = "stopped, its SLURM jobs are cancelled," if ended else "stopped"
    return finished(build, code, interrupted, started, f"c2o run {suite.name} --on slurm", stopped, extra)


def _worth_a_restart(build: Build, code: int) -> str:
    """Why a driver that has ended is to be started again; empty where its end is the answer."""
    if build.stalled:
        return f"the driver made no progress ({build.stalled})"
    if code < 0:
        return f"the driver was killed (signal {-code})"
    if any(text in line for line in (*build.log.submissions_failed, *build.log.errors) for text in AWAY):
        return "SLURM's controller was away when it was needed"
    return ""


def _end_jobs(root: Path, say: Callable[[str], None]) -> bool:
    """Cancel what an ended driver has left: Snakemake cancels the jobs that it has in mind at that moment."""
    try:
        with run_lock(root):
            clear_orphans(root, False, say, "that this run leaves")
    except ClusterError as error:
        say(f"{error}\n{_left(root)}")
        return False
    return True


def _left(root: Path) -> str:
    with suppress(ClusterError):
        if jobs := jobs_here(root):
            return f"{named(jobs)} may run on; the next `c2o run --on slurm` finds them"
    return "its SLURM jobs may run on; the next `c2o run --on slurm` finds them"
