"""SLURM's queue: what waits and runs, and cancelling it. Every call has a time limit."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2o_evidence.cluster.naming import writes_in
from c2o_evidence.errors import ClusterError

TIMEOUT_S = 60.0  # a busy controller takes its time
POLL_S = 0.5
FORMAT = "%i\x1f%T\x1f%u\x1f%j\x1f%r\x1f%Z\x1f%k"
WAITING = frozenset(["PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"])
MAX_IDS = 500  # in one command line


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits or runs: `reason` says why it waits, `directory` is where it was submitted from."""

    number: str
    state: str
    user: str
    name: str
    reason: str
    directory: str
    comment: str

    @property
    def waits(self) -> bool:
        return self.state in WAITING


def parse_queue(text: str) -> list[QueuedJob]:
    """The jobs of `squeue --noheader --format FORMAT`; lines of another shape are no jobs."""
    rows = [line.split("\x1f", 6) for line in text.split("\n")]
    return [QueuedJob(*row) for row in rows if len(row) == 7 and re.fullmatch(r"[0-9]+(?:_\S+)?", row[0])]


def jobs_here(root: Path) -> list[QueuedJob]:
    """The jobs of this checkout that wait, run or are ending.

    Raises:
        ClusterError: the queue cannot be asked.
    """
    return [job for job in parse_queue(ask("squeue", "--noheader", f"--format={FORMAT}")) if writes_in(job, root)]


def cancel(jobs: Sequence[QueuedJob]) -> None:
    """Cancel jobs; one that has ended meanwhile is no fault.

    Raises:
        ClusterError: scancel refuses, or does not answer.
    """
    for start in range(0, len(jobs), MAX_IDS):
        ask("scancel", "--quiet", *(job.number for job in jobs[start : start + MAX_IDS]))


def wait_until_gone(
    root: Path, numbers: Sequence[str], timeout: float | None, waiting: Callable[[list[QueuedJob]], None] | None = None
) -> list[QueuedJob]:
    """Wait for jobs to leave the queue, as long as `timeout` seconds (None: for ever); those that are still there.

    `waiting` is told at each look what is left. A queue that cannot be asked for a while is asked again.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = POLL_S
    while True:
        try:
            left = [job for job in jobs_here(root) if job.number in numbers]
        except ClusterError:
            if deadline is not None and time.monotonic() > deadline:
                raise
        else:
            if not left or (deadline is not None and time.monotonic() > deadline):
                return left
            if waiting is not None:
                waiting(left)
        time.sleep(pause)
        pause = min(pause * 1.5, 10.0)


def summary(jobs: Sequence[QueuedJob]) -> str:
    """`SLURM: 3 running, 5 waiting (Priority)`; empty without jobs."""
    waiting = [job for job in jobs if job.waits]
    parts = [f"{len(jobs) - len(waiting)} running"] if len(jobs) > len(waiting) else []
    if waiting:
        reasons = Counter(job.reason for job in waiting if job.reason not in ("", "None"))
        why = ", ".join(reason for reason, _ in reasons.most_common(2))
        parts.append(f"{len(waiting)} waiting{f' ({why})' if why else ''}")
    return f"SLURM: {', '.join(parts)}" if parts else ""


def ask(*command: str) -> str:
    """What a SLURM command prints.

    Raises:
        ClusterError: it is not there, fails, or takes longer than TIMEOUT_S; the message has what it said.
    """
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise ClusterError(f"{command[0]}: is not on PATH; work on a submit host of the cluster") from None
    except OSError as error:
        raise ClusterError(f"{command[0]}: cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{command[0]}: SLURM has not answered within {TIMEOUT_S:g} s; look with `scontrol ping`"
        ) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ClusterError(
            f"{command[0]}: {said[-1] if said else f'exit status {done.returncode}'}; look with `scontrol ping`"
        )
    return done.stdout.decode("utf-8", "replace")
