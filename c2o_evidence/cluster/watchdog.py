"""Watches a driver: one that no longer makes progress is told from one that waits for long jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from c2o_evidence.cluster import processes
from c2o_evidence.cluster.queue import QueuedJob, jobs_here, summary
from c2o_evidence.errors import ClusterError
from c2o_evidence.progress import format_duration
from c2o_evidence.snakelog import SnakemakeLog

PATIENCE_S = 900.0  # longer than Snakemake's longest pause between two looks at the queue, 180 s, and than file latency
LOOKS = 20  # at the queue within the patience


class Watchdog:
    """Judges one driver, from when it was started.

    A driver makes progress while its log grows or the queue changes, and rightly waits while SLURM has a job of the
    checkout or a job of its own works on this machine. Nothing is held against it while it plans, unless it is stopped,
    nor while SLURM does not answer.
    """

    def __init__(
        self,
        root: Path,
        patience: float = PATIENCE_S,
        *,
        queue: Callable[[Path], list[QueuedJob]] = jobs_here,
        works_here: Callable[[int], bool] = processes.works_here,
        is_stopped: Callable[[int], bool] = processes.is_stopped,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.patience = patience
        self.queue_line = ""
        self._queue, self._works_here, self._is_stopped, self._clock = queue, works_here, is_stopped, clock
        self._lines = -1
        self._seen: frozenset[tuple[str, str]] = frozenset()
        self._progress = self._looked = clock()

    @property
    def interval(self) -> float:
        """Seconds between two looks at the queue: a controller has more to do than to answer us."""
        return min(30.0, self.patience / LOOKS)

    def look(self, pid: int, log: SnakemakeLog) -> str:
        """Why the driver is to be ended; empty while all is well. Asks SLURM only now and then."""
        now = self._clock()
        if log.lines != self._lines:
            self._lines, self._progress = log.lines, now
        if now - self._looked < self.interval:
            return ""
        self._looked = now
        try:
            jobs = self._queue(self.root)
        except ClusterError:
            self.queue_line, self._progress = "SLURM does not answer", now
            return ""
        self.queue_line = summary(jobs)
        seen = frozenset((job.number, job.state) for job in jobs)
        stopped = self._is_stopped(pid)
        plans = log.total == 0 and not stopped
        if jobs or seen != self._seen or plans or (self._works_here(pid) and not stopped):
            self._seen, self._progress = seen, now
        if now - self._progress < self.patience:
            return ""
        return (
            f"{'the process is stopped' if stopped else 'no new line of its log'}, and SLURM has had no job of it "
            f"for {format_duration(now - self._progress)}"
        )
