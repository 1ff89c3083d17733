"""What there is to show of a build at one moment, for every view of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from c2o_evidence.progress import TrainingProgress, format_duration


@dataclass(frozen=True)
class Stage:
    """The jobs of one rule: how many of those planned are done, run or have failed, and for how long it was at work."""

    name: str
    total: int
    done: int = 0
    running: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def state(self) -> str:
        if self.failed:
            return "failed"
        if self.running:
            return "running"
        return "done" if self.done >= self.total else "waiting"


@dataclass(frozen=True)
class JobLine:
    """A running job: `name` as its rule's message has it.

    `training` tells how far it is where it trains; `ap` what is known of its AP, in words; `left_s` how long it will
    take, as far as can be said.
    """

    name: str
    training: TrainingProgress | None = None
    ap: str = ""
    left_s: float | None = None


@dataclass(frozen=True)
class Failure:
    """A failed job, its logs with their last lines, and the command that shows more."""

    name: str
    logs: Sequence[tuple[str, Sequence[str]]] = ()
    look: str = ""


@dataclass(frozen=True)
class BuildState:
    """One moment. `left_s` is None while nothing can be said about the remaining time; `queue` is a line about the
    cluster's queue; `log` names the file that holds all that Snakemake says; `more_failures` are those left out.
    """

    phase: str
    fraction: float = 0.0
    left_s: float | None = None
    elapsed_s: float = 0.0
    steps_done: int = 0
    steps_total: int = 0
    stages: Sequence[Stage] = ()
    running: Sequence[JobLine] = ()
    failures: Sequence[Failure] = ()
    more_failures: int = 0
    queue: str = ""
    log: str = ""

    @property
    def remaining(self) -> str:
        if self.left_s is None:
            return ""
        return f"about {format_duration(self.left_s)} left" if self.left_s >= 1 else "nearly done"


def training_line(item: TrainingProgress) -> str:
    """`distill_20to1 seed 2: 300/500, loss 1.234, AP 41.2, 0.31 s/it, 1m02s left`."""
    parts = [f"{item.iteration}/{item.total}"]
    if item.loss is not None:
        parts.append(f"loss {item.loss:.3f}")
    if item.ap is not None:
        parts.append(f"AP {item.ap:.1f}")
    parts += [f"{item.seconds_per_iteration:.2f} s/it", f"{format_duration(item.eta_s)} left"]
    return f"{item.experiment} seed {item.seed}: {', '.join(parts)}"


def job_text(job: JobLine) -> str:
    """A running job in one line."""
    if job.training is not None:
        return training_line(job.training)
    left = "" if job.left_s is None else f", about {format_duration(job.left_s)} left"
    return f"{job.name}{f', {job.ap}' if job.ap else ''}{left}"
