"""From what Snakemake has said and what its jobs have left on disk to what there is to show, and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from c2o_evidence.errors import EvidenceError
from c2o_evidence.live.failures import MOST, failure_of
from c2o_evidence.live.notes import JobKey
from c2o_evidence.live.state import BuildState, JobLine, Stage
from c2o_evidence.progress import Job, Place, TrainingProgress, read_progress, refined, seconds_left
from c2o_evidence.snakelog import JobBlock, SnakemakeLog
from c2o_evidence.stats import mean
from c2o_evidence.tsv import read_tsv

REFINE_S = 5.0  # between two looks at the records for how long jobs take
REST = 20  # times as long as a look at the files of all jobs has taken, until the next one: a suite may have thousands
TAIL_LINES = 10  # of the log of a failed job, while others run
MOST_ROWS = 2  # of a table, whose AP is told while its runs are being evaluated
# In the order of the DAG; a rule that is not named here comes last. `deliver` only says that all is done.
STAGES = (
    "data", "train", "distill", "evaluate", "timing", "attention", "gallery", "manifest", "parity", "tables", "figures",
    "bundle", "verify", "freeze",
)  # fmt: skip
NO_STAGE = ("deliver", "deliverables")
# Stages of jobs with a cost (c2o_evidence.workload), by rule.
COSTS_OF = {"train": "train", "distill": "train", "evaluate": "eval"} | {
    name: name for name in ("timing", "attention", "gallery")
}


class Watcher:
    """Looks at a build: `log` as far as it is read, and the files below `root`.

    `jobs` are those of each suite with their guessed costs; which of them count is decided by the plan of Snakemake.
    """

    def __init__(self, log: SnakemakeLog, jobs: Mapping[str, Sequence[Job]], root: Path) -> None:
        self.log = log
        self.jobs = jobs
        self.root = root
        self._started = time.monotonic()
        self._costs = {suite: list(known) for suite, known in jobs.items()}
        self._training: dict[str, list[TrainingProgress]] = {}
        self._aps: dict[tuple[str, str], str] = {}
        self._work = (0.0, 0.0)  # seconds left, and in total
        self._refined_at = self._look_at = float("-inf")

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def state(self, *, interrupted: bool = False, queue: str = "", log: str = "") -> BuildState:
        """What there is to show now. `interrupted`: the user has asked for an end."""
        if time.monotonic() >= self._look_at:
            self._look()
        interrupted = interrupted or self.log.interrupted
        left, total = self._work
        return BuildState(
            phase="stopping: the running jobs save their state" if interrupted else "planning",
            fraction=self._fraction(left, total),
            left_s=left if self.log.total and total > 0 else None,
            elapsed_s=self.elapsed_s,
            steps_done=self.log.done,
            steps_total=0 if interrupted else self.log.total,
            stages=self._stages(),
            running=[self._line(block) for block in self.log.running.values()],
            failures=[] if interrupted else [failure_of(one, self.root, TAIL_LINES) for one in self.log.failed[:MOST]],
            more_failures=0 if interrupted else max(0, len(self.log.failed) - MOST),
            queue=queue,
            log=log,
        )

    def _look(self) -> None:
        """Look at the progress files and records of all jobs, and note when it may be done again."""
        begun = time.monotonic()
        for suite in self.jobs:
            found = read_progress(self.root / "results" / ".state" / suite)
            self._training[suite] = [item for item in found if item.alive]
        if begun - self._refined_at > REFINE_S:
            self._costs = {suite: refined(known) for suite, known in self.jobs.items()}
            self._aps.clear()
            self._refined_at = begun
        left = total = 0.0
        for suite, known in self._costs.items():
            since = self._since(suite, begun)
            part = seconds_left(self._counted(suite, known), self._training[suite], self.log.cores, since)
            left, total = left + part[0], total + part[1]
        self._work = left, total
        ended = time.monotonic()
        self._look_at = ended + REST * (ended - begun)

    def _counted(self, suite: str, known: Sequence[Job]) -> Iterable[Job]:
        """The jobs that the plan has, each as done or not by what Snakemake says; all while no plan is known."""
        if not self.log.plan:
            return known
        planned = _places(self.log.plan, suite)
        to_do = _places(self.log.unfinished(), suite)
        return [replace(job, to_do=job.place in to_do) for job in known if job.place in planned]

    def _since(self, suite: str, now: float) -> dict[Place, float]:
        """For how long the jobs of a suite that are at work have been."""
        at_work = ((block.key, block.began) for block in self.log.running.values())
        return {place: now - began for key, began in at_work if key for place in _places([key], suite)}

    def _fraction(self, left: float, total: float) -> float:
        if total > 0:
            # Tables and bundle have no cost of their own here, so the end is not reached before Snakemake's.
            return min(0.99, max(0.0, 1.0 - left / total))
        return self.log.done / self.log.total if self.log.total else 0.0

    def _stages(self) -> list[Stage]:
        counts = self.log.counts
        names = [name for name in STAGES if name in counts]
        names += [name for name in counts if name not in STAGES and name not in NO_STAGE]
        return [self._stage(name, counts[name]) for name in names]

    def _stage(self, name: str, total: int) -> Stage:
        running, span = self.log.running_of(name), self.log.spans.get(name)
        if span is None:
            return Stage(name, total)
        until = time.monotonic() if running else span.ended
        failed = 0 if self.log.interrupted else self.log.failed_of(name)
        return Stage(name, total, span.done, running, failed, max(0.0, until - span.began))

    def _line(self, block: JobBlock) -> JobLine:
        name, key = block.about or str(block), block.key
        if key is None or not key.suite:
            return JobLine(name)
        if key.rule in ("train", "distill"):
            for item in self._training.get(key.suite, []):
                if (item.experiment, str(item.seed)) == (key.experiment, key.seed):
                    return JobLine(name, item if item.iteration < item.total else None)
            return JobLine(name)
        ap = self._ap_so_far(key) if key.rule == "evaluate" else ""
        return JobLine(name, ap=ap, left_s=self._left_of(key, time.monotonic() - block.began))

    def _left_of(self, key: JobKey, elapsed: float) -> float | None:
        """How long a job that tells no progress will take, from what others have taken."""
        places = _places([key], key.suite)
        for job in self._costs.get(key.suite, ()):
            if job.place in places:
                return max(0.0, job.seconds - elapsed) or None
        return None

    def _ap_so_far(self, key: JobKey) -> str:
        """`AP baseline_1 59.0 (n = 2)`: the mean over the train seeds of an experiment that are evaluated already."""
        at = (key.suite, key.experiment)
        if at not in self._aps:
            self._aps[at] = ap_of(self.root / "results" / key.suite / "eval" / key.experiment, self._unevaluated(key))
        return self._aps[at]

    def _unevaluated(self, key: JobKey) -> set[str]:
        return {f"seed{one.seed}" for one in self.log.unfinished() if one[:3] == key[:3]}


def ap_of(evaluations: Path, skipped: Iterable[str]) -> str:
    """The mean AP over what is evaluated below `results/SUITE/eval/EXPERIMENT`, for the first rows, in words.

    n: train seeds. Those named in `skipped` are to be evaluated again.
    """
    aps: dict[str, list[float]] = {}
    skip, seeds = set(skipped), 0
    for path in sorted(evaluations.glob("seed*/results.tsv")):
        if path.parent.name in skip:
            continue
        try:
            rows = read_tsv(path, "results")
        except (EvidenceError, OSError):
            continue  # being written, or damaged: `c2o verify` speaks of that
        seeds += 1
        for row in rows:
            aps.setdefault(str(row["exp_name"]), []).append(float(row["AP"]))
    if not aps:
        return ""
    told = [f"{name} {mean(values):.1f}" for name, values in list(aps.items())[:MOST_ROWS]]
    left = len(aps) - MOST_ROWS
    more = [f"{left} more row{'s' if left > 1 else ''}"] if left > 0 else []
    return f"AP {', '.join([*told, *more])} (n = {seeds})"


def _places(keys: Iterable[JobKey], suite: str) -> set[Place]:
    """Where the jobs of a suite stand among those with costs."""
    return {
        (COSTS_OF[key.rule], key.experiment, int(key.seed) if key.seed.isdigit() else 0)
        for key in keys
        if key.suite == suite and key.rule in COSTS_OF
    }
