"""Levels `eval` and `train`: a bundle's work done again by the project's own workflow, in a room of its own."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TextIO

from c2o_evidence.errors import EvidenceError, LockError
from c2o_evidence.lock import locked
from c2o_evidence.progress import Job
from c2o_evidence.suite import Tolerances
from c2o_evidence.suite_stack import lacking, others
from c2o_evidence.verify.replay.compare import compare
from c2o_evidence.verify.replay.dataset import data_dir, made_data_finding
from c2o_evidence.verify.replay.refusals import refusals
from c2o_evidence.verify.replay.result import ReplayResult
from c2o_evidence.verify.replay.room import Room, enter_room, room_path
from c2o_evidence.verify.replay.source import Source
from c2o_evidence.verify.replay.workflow import cores_of, estimate, planned_jobs, run_workflow

__all__ = ["ReplayResult", "Source", "replay"]

# Beside the checkpoints themselves: what a training resumes from, its copy in the store of trainings, and the pyramids
# of a frozen backbone, which are shared between trainings.
BYTES_PER_TRAINED, FEATURE_BYTES = 6, 1 << 30


def replay(
    source: Source, level: str, checkout: Path, *, stream: TextIO, jobs: int | None = None, keep: bool = False
) -> ReplayResult:
    """Does the work of a bundle again and compares.

    Args:
        source: the bundle; its levels `files` and `tables` hold.
        level: `eval`: every frozen checkpoint is evaluated again; `train`: the whole chain is trained again first.
        checkout: whose code and environment do it (`check_environment`).
        stream: for progress. jobs: how many jobs side by side (default: the cores). keep: leave the room.

    Raises:
        EvidenceError: it cannot be begun: another replay of this bundle works, the data set or disk space lacks.
        KeyboardInterrupt: the user stopped it; the same call goes on.
    """
    tolerances = source.suite.tolerances or Tolerances()
    if fault := lacking(others(source.suite.rows)):
        raise EvidenceError(f"--level {level}: {fault}; then type the command again (files and tables need neither)")
    if found := refusals(source):
        return ReplayResult(level, tolerances, findings=found)
    checkout = checkout.resolve()
    place = room_path(checkout, source, level)
    started = time.monotonic()
    try:
        with locked(place, timeout=0.0):
            _check_space(source, level, place)
            room = enter_room(checkout, source, level)
            result = _in_room(room, source, level, stream=stream, cores=cores_of(jobs))
            failed = any(finding.kind == "not-replayed" for finding in result.all_findings())
            if not failed:
                room.end()
            if keep or any(result.all_findings()):
                result.room = str(place)
            else:
                room.remove()
    except LockError as error:
        raise EvidenceError(f"a replay of this bundle is already at work: {error}") from None
    result.seconds = time.monotonic() - started
    return result


def _in_room(room: Room, source: Source, level: str, *, stream: TextIO, cores: int) -> ReplayResult:
    suite, planned = room.suite, planned_jobs(source, room, level)
    _announce(room, source, level, planned, cores, stream)
    manifest = f"{data_dir(suite)}/manifest.json"
    if not (room.path / manifest).is_file():
        run_workflow(room, "data", [manifest], [], cores=cores, stream=stream)
    if finding := made_data_finding(room.path, source):
        return ReplayResult(level, source.suite.tolerances or Tolerances(), findings=[finding])
    targets = [f"results/{suite.name}/eval/{name}/seed{seed}/results.tsv" for name, seed in suite.eval_jobs]
    ran = run_workflow(room, level, targets, planned, cores=cores, stream=stream)
    if ran.failure:
        print("\n".join(ran.failure), file=stream)
    return compare(source, room, level)


def _announce(room: Room, source: Source, level: str, planned: list[Job], cores: int, stream: TextIO) -> None:
    """What will be done, how long it will take and what it needs, before it begins."""
    runs = sum(len(room.suite.rows_of(name)) * len(room.suite.eval_seeds) for name, _ in room.suite.eval_jobs)
    trainings = f"{len(room.suite.train_jobs)} trainings and " if level == "train" else ""
    print(
        f"{'goes on with' if room.resumed else 'begins'} the replay of {source.root}, level {level}: {trainings}"
        f"{len(room.suite.eval_jobs)} evaluations ({runs} runs), about {estimate(planned, cores)} on {cores} cores as "
        f"the bundle's records have it, and up to {_bytes_needed(source, level) / 1e6:.0f} MB in {room.path}",
        file=stream,
        flush=True,
    )


def _bytes_needed(source: Source, level: str) -> int:
    checkpoints = source.size(source.train_files())
    data = sum(size for size, _ in source.data_files().values())
    trained = checkpoints * BYTES_PER_TRAINED + FEATURE_BYTES if level == "train" else checkpoints
    return trained + source.size(source.eval_files()) + data


def _check_space(source: Source, level: str, place: Path) -> None:
    free, needed = shutil.disk_usage(place.parent).free, _bytes_needed(source, level)
    if free < needed and not place.exists():
        raise EvidenceError(
            f"{place.parent}: {free / 1e6:.0f} MB are free, and the replay needs up to {needed / 1e6:.0f} MB; make room"
        )
