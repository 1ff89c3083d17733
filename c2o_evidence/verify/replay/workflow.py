"""The workflow in the room: Snakemake as a process of its own, its progress shown as `c2o run` shows it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from c2o_evidence.errors import EvidenceError
from c2o_evidence.limits import MAX_RECORD
from c2o_evidence.live.failures import explain_failure
from c2o_evidence.live.view import make_view
from c2o_evidence.plain_file import read_plain
from c2o_evidence.progress import Job, format_duration, refined, seconds_left
from c2o_evidence.run import Build
from c2o_evidence.verify.replay.room import Room
from c2o_evidence.verify.replay.source import Source
from c2o_evidence.workload import jobs_of

RULES = {"data": ("data",), "eval": ("evaluate",), "train": ("train", "distill", "evaluate")}
STAGES = {"eval": ("eval",), "train": ("train", "eval")}
NEEDED = ("snakemake", "torch", "detectron2")  # to be found, not imported
# As the Makefile sets them; the jobs pin the rest (c2o_model/determinism.py).
PINS = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Ran:
    """How a run of the workflow ended: whether all is done, and for a failure what to tell."""

    complete: bool
    failure: tuple[str, ...] = ()


def check_environment(checkout: Path | None, level: str) -> Path:
    """The checkout, if a replay can run there.

    Raises:
        EvidenceError: it is none, or this Python lacks a package that the workflow needs; what to do.
    """
    if checkout is None or not all((checkout / name).exists() for name in ("Snakefile", "workflow", "c2o_model")):
        raise EvidenceError(
            f"--level {level}: runs the workflow of a checkout, and {checkout or 'this'} is none; "
            "type it inside a checkout of C2O, or name one: c2o --root DIR verify …"
        )
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        raise EvidenceError(
            f"--level {level}: {', '.join(lacking)} cannot be found; use the environment of the checkout: "
            "`make setup`, then `.venv/bin/c2o verify …` (levels files and tables need neither)"
        )
    return checkout


def planned_jobs(source: Source, room: Room, level: str) -> list[Job]:
    """What is replayed, with its cost: as the bundle's records have it, else a guess in proportion to them."""
    jobs = [job for job in jobs_of(room.suite, room.path) if job.stage in STAGES[level]]
    known = [replace(job, record=_timed(source, job, room)) for job in jobs]
    return [replace(job, record=mine.record) for job, mine in zip(refined(known), jobs, strict=True)]


def _timed(source: Source, job: Job, room: Room) -> Path:
    """The bundle's record of a job; none of one that was taken over from another suite, which took no time."""
    record = source.root / job.record.relative_to(room.results)
    text = read_plain(record, MAX_RECORD) if record.is_file() else b""
    return record if b'"taken_from"' not in text else record.with_name("no record")


def cores_of(jobs: int | None) -> int:
    """How many jobs run side by side."""
    return jobs or len(os.sched_getaffinity(0))


def estimate(jobs: Sequence[Job], cores: int) -> str:
    """How long the jobs that are not done yet will take."""
    return format_duration(seconds_left(jobs, [], min(cores, max(1, len(jobs))))[0])


def run_workflow(
    room: Room, part: str, targets: Sequence[str], jobs: Sequence[Job], *, cores: int, stream: TextIO
) -> Ran:
    """Make `targets` in the room with the rules of `part` (data, eval, train) and no other.

    Raises:
        KeyboardInterrupt: the user stopped it; what is done is kept.
        EvidenceError: Snakemake itself could not work: no job of it failed.
    """
    build = Build(room.suite.name, jobs, room.path, stream, targets=targets, environment=_environment(room.path))
    view = make_view(f"{part}: {room.suite.name}" if part == "data" else f"replay: {room.suite.name}", stream)
    started = time.monotonic()
    try:
        code, interrupted = build.run(["--keep-going", "--cores", str(cores), "--allowed-rules", *RULES[part]], view)
    finally:
        view.close()
    if interrupted:
        took = format_duration(time.monotonic() - started)
        print(f"stopped after {took}; what is done is kept in {room.path}: the same command goes on", file=stream)
        raise KeyboardInterrupt
    if code == 0:
        return Ran(complete=True)
    told = tuple(explain_failure(build.log, room.path, build.log_path, f"snakemake {build.target}")[:-1])
    if not build.log.failed:
        raise EvidenceError("\n".join(["the workflow could not run:", *told, f"in {room.path}"]))
    return Ran(complete=False, failure=told)


def _environment(room: Path) -> Mapping[str, str]:
    """This process's environment, pinned, with the room's own copy of the sources and nothing of another workflow."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAKEMAKE", "PYTHONPATH"))}
    return kept | PINS | {"PYTHONPATH": str(room), "XDG_CACHE_HOME": str(room / ".cache")}
