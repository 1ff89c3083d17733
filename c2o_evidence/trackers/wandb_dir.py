"""Weights & Biases, offline: run directories that `wandb sync` uploads when the user wants to. No network, no login.

A run directory ends with the run's id, which is the begin of its key, and has the whole key in `c2o.key` once it is
complete: one that is complete is left alone, one that was begun and not ended goes and is written again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from c2o_evidence.atomic import atomic_write
from c2o_evidence.errors import EvidenceError
from c2o_evidence.trackers.runs import TrackedRun

MARK = "c2o.key"
ID = 32  # digits of the key in a run's id
SETTINGS = {
    "mode": "offline",
    "silent": True,
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
    "x_disable_machine_info": True,
    "x_service_wait": 300,  # s for wandb's own process to start, on a machine that is at work
}


def log_runs(runs: Iterable[TrackedRun], directory: Path, project: str) -> tuple[int, int]:
    """Write the runs that are not there yet into `directory/wandb`: how many were written, how many were there.

    Raises:
        EvidenceError: wandb is not installed, or does not take them.
    """
    wandb = _package(directory)
    written = known = 0
    for run in runs:
        found = sorted((directory / "wandb").glob(f"offline-run-*-{run.key[:ID]}"))
        if any(_complete(folder, run.key) for folder in found):
            known += 1
            continue
        for folder in found:
            shutil.rmtree(folder)
        try:
            folder = _log(wandb, run, directory, project)
        except wandb.Error as error:
            raise EvidenceError(f"{directory}: W&B: {error}; the same command goes on") from error
        atomic_write(folder / MARK, run.key + "\n")
        written += 1
    return written, known


def _complete(folder: Path, key: str) -> bool:
    mark = folder / MARK
    return mark.is_file() and mark.stat().st_size == len(key) + 1


def _package(directory: Path) -> Any:
    own = {"WANDB_CONFIG_DIR": "config", "WANDB_CACHE_DIR": "cache", "WANDB_DATA_DIR": "data"}
    for name, folder in own.items():  # nothing in the home directory
        os.environ.setdefault(name, str(directory / "settings" / folder))
    os.environ["WANDB_MODE"] = "offline"
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ImportError as error:
        raise EvidenceError(
            f"--to wandb: {error.name or error} is not installed; `make extras`, or pip install wandb"
        ) from None
    directory.mkdir(parents=True, exist_ok=True)
    return wandb


def _log(wandb: Any, run: TrackedRun, directory: Path, project: str) -> Path:
    made = wandb.init(
        dir=str(directory),
        project=project,
        id=run.key[:ID],
        name=run.name,
        group=run.tags.get("c2o.experiment", run.suite),
        job_type=run.tags["c2o.kind"],
        config={**run.params, "c2o": {**run.tags, "c2o.key": run.key, "files": dict(run.files)}},
        settings=wandb.Settings(**SETTINGS),
    )
    folder = Path(made.settings.sync_dir)
    for step, values in run.points:
        made.log(dict(values), step=step)
    for name, value in run.final.items():
        made.summary[name] = value
    made.finish(exit_code=0)
    return folder
