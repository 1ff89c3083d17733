"""How far a running suite is: its jobs with their cost, and the progress files that trainings write.

Training writes `results/.state/SUITE/EXP/seedS/progress.json` every few iterations; a job that is done has
left its `record.json`. From these and the speeds seen so far the remaining time follows.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from c2o_evidence.atomic import atomic_write
from c2o_evidence.errors import EvidenceError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_RECORD, MAX_STATE
from c2o_evidence.plain_file import read_plain

HOST_FILE = "progress.host"  # the name of the machine that writes progress.json
# Seen from another machine a training that has not written for so long is taken for dead. Saving its state takes time.
QUIET_S = 120.0
QUIET_ITERATIONS = 20
ALONE = ("timing", "attention")  # stages that measure time: their jobs claim the whole machine
MOST_DONE = 0.95  # of a job that is still running
MAX_NUMBER = 1e15  # of iterations, seconds or loss: what is larger, or no number, is rubbish

Place = tuple[str, str, int]  # of a job in its suite: stage, experiment, seed


@dataclass(frozen=True)
class TrainingProgress:
    """One progress file.

    `loss` is None before the first iteration, `ap` before AP is first measured (TEST.EVAL_PERIOD, on the validation
    split); `alive`: it still runs, as far as can be told (`still_runs`).
    """

    experiment: str
    seed: int
    iteration: int
    total: int
    loss: float | None
    seconds_per_iteration: float
    eta_s: float
    alive: bool
    ap: float | None = None

    @property
    def fraction(self) -> float:
        return min(1.0, self.iteration / self.total) if self.total else 0.0


def process_alive(pid: int) -> bool:
    """Whether process `pid` exists on this machine."""
    if not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def still_runs(progress: Path, pid: int, seconds_per_iteration: float) -> bool:
    """Whether the training that writes a progress file still does.

    On the machine where it was begun (`progress.host` beside it; without one that is taken to be this machine) by its
    process; seen from elsewhere, as on a cluster, by the age of the file: it is written every few iterations.
    """
    try:
        host = read_plain(progress.with_name(HOST_FILE), MAX_STATE).decode("utf-8", "replace").strip()
    except OSError:
        host = ""
    if host in ("", socket.gethostname()):
        return process_alive(pid)
    try:
        age = time.time() - progress.stat().st_mtime
    except OSError:
        return False
    return age < max(QUIET_S, QUIET_ITERATIONS * seconds_per_iteration)


def note_host(state_dir: Path) -> None:
    """Leave the name of this machine beside the progress file of a training that runs here."""
    with suppress(EvidenceError):  # a display is not worth a training
        atomic_write(state_dir / HOST_FILE, f"{socket.gethostname()}\n")


def _number(value: Any, default: float = 0.0) -> float:
    """A finite number, or the default for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < MAX_NUMBER:
        return default
    return float(value)


def read_progress(state_dir: Path) -> list[TrainingProgress]:
    """All progress files under `state_dir` (`results/.state/SUITE`); one that is being written or damaged is
    left out.
    """
    found = []
    for path in sorted(state_dir.glob("*/seed*/progress.json")):
        seed = path.parent.name.removeprefix("seed")
        try:
            data = parse_json(read_plain(path, MAX_STATE))
        except (OSError, ValueError):
            continue
        if not isinstance(data, dict) or not (seed.isascii() and seed.isdigit()):
            continue
        loss, ap = data.get("loss"), data.get("ap")
        found.append(
            TrainingProgress(
                experiment=path.parent.parent.name,
                seed=int(seed),
                iteration=int(_number(data.get("iteration"))),
                total=int(_number(data.get("total"))),
                loss=_number(loss) if isinstance(loss, (int, float)) else None,
                seconds_per_iteration=_number(data.get("seconds_per_iteration")),
                eta_s=_number(data.get("eta_s")),
                ap=_number(ap) if isinstance(ap, (int, float)) else None,
                alive=still_runs(path, int(_number(data.get("pid"))), _number(data.get("seconds_per_iteration"))),
            )
        )
    return found


def format_size(count: float) -> str:
    """Bytes in decimal units, as downloads are given."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_duration(seconds: float) -> str:
    """`45s`, `6m40s`, `2h05m`: short enough for a progress line."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


@dataclass(frozen=True)
class Job:
    """A job of a suite: its stage (train, eval, …), what it is about, its record, and its cost as guessed.

    `to_do`: whether it is still to be done, where a plan of Snakemake says so; without one its record decides.
    """

    stage: str
    experiment: str
    seed: int
    record: Path
    iterations: int
    seconds: float
    to_do: bool | None = None

    @property
    def place(self) -> Place:
        return self.stage, self.experiment, self.seed

    @property
    def done(self) -> bool:
        return self.record.is_file() if self.to_do is None else not self.to_do


def recorded_seconds(record: Path) -> float | None:
    """How long a finished job took, from its record; None if there is none (yet)."""
    try:
        document = parse_json(read_plain(record, MAX_RECORD))
        started, ended = (datetime.fromisoformat(document[key]) for key in ("started", "ended"))
        return (ended - started).total_seconds()
    except (OSError, ValueError, TypeError, KeyError):
        return None


def refined(jobs: Iterable[Job]) -> list[Job]:
    """The jobs with better costs, as far as records tell.

    A finished job has its own; another one that of its experiment's other seeds, else its guess, scaled by how far off
    the guesses of its stage were, or of all stages as long as none of its own is done.
    """
    jobs = list(jobs)
    took = {job: seconds for job in jobs if (seconds := recorded_seconds(job.record)) is not None and seconds > 0}
    kinds: dict[tuple[str, str], list[float]] = {}
    factors: dict[str, list[float]] = {}
    for job, seconds in took.items():
        kinds.setdefault((job.stage, job.experiment), []).append(seconds)
        factors.setdefault(job.stage, []).append(seconds / job.seconds)
    off = median([factor for stage in factors.values() for factor in stage] or [1.0])
    better = []
    for job in jobs:
        if job in took:
            seconds = took[job]
        elif (job.stage, job.experiment) in kinds:
            seconds = median(kinds[job.stage, job.experiment])
        else:
            seconds = job.seconds * median(factors.get(job.stage, [off]))
        better.append(replace(job, seconds=seconds))
    return better


def seconds_left(
    jobs: Iterable[Job],
    running: Iterable[TrainingProgress],
    parallel: int,
    since: Mapping[Place, float] | None = None,
) -> tuple[float, float]:
    """Seconds of work left and in total over `jobs`, of which `parallel` run at once (but those that measure time).

    A speed measured in one training holds for the other seeds of its experiment. `since`: how long, in seconds, jobs
    that tell no progress have been running.
    """
    running = list(running)
    speeds = {item.experiment: item.seconds_per_iteration for item in running if item.seconds_per_iteration > 0}
    at_work = {(item.experiment, item.seed): item.fraction for item in running if item.alive}
    left = total = 0.0
    workers = max(1, parallel)
    for job in jobs:
        seconds = job.seconds
        if job.stage == "train" and not job.done and job.experiment in speeds:
            seconds = job.iterations * speeds[job.experiment]
        if job.stage not in ALONE:
            seconds /= workers
        total += seconds
        if not job.done:
            if job.stage == "train":
                done = at_work.get((job.experiment, job.seed), 0.0)
            else:
                done = min(MOST_DONE, (since or {}).get(job.place, 0.0) / max(job.seconds, 1e-9))
            left += seconds * (1.0 - done)
    return left, total
