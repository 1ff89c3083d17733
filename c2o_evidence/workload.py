"""The jobs of a suite with a guess of what each costs, for the remaining time of a build.

The guesses only have to be right in proportion: measured times replace them as soon as there are some
(progress.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.progress import Job
from c2o_evidence.suite import Suite

START_S = 6.0  # Python, torch and the data set, for every job
TRAIN_S_PER_IMAGE = 0.007
EVAL_S_PER_IMAGE_STEP = 0.003  # batched over eval seeds
TIMING_S_PER_IMAGE_STEP = 0.01  # one image and one seed at a time
TEACHER_FACTOR = 3.0  # a distilling iteration also runs the teacher's sampler
DEFAULT_ITERATIONS = 1000
DEFAULT_BATCH = 16
DEFAULT_IMAGES = 100


def _solver(config: Mapping[str, Any]) -> tuple[int, int]:
    solver = config.get("SOLVER", {})
    return int(solver.get("MAX_ITER", DEFAULT_ITERATIONS)), int(solver.get("IMS_PER_BATCH", DEFAULT_BATCH))


def _val_images(suite: Suite) -> int:
    scenes = suite.data_config.get("scenes")
    return int(scenes.get("val", DEFAULT_IMAGES)) if isinstance(scenes, Mapping) else DEFAULT_IMAGES


def jobs_of(suite: Suite, root: Path) -> list[Job]:
    """Trainings, evaluations, timing and attention jobs of a suite, parents first. Raises SuiteError."""
    base = root / "results" / suite.name
    jobs = []
    solvers = {experiment: _solver(suite.config_of(experiment)) for experiment in suite.needed}
    for experiment, seed in suite.train_jobs:
        iterations, batch = solvers[experiment]
        factor = TEACHER_FACTOR if suite.experiment(experiment).teacher is not None else 1.0
        seconds = START_S + iterations * batch * TRAIN_S_PER_IMAGE * factor
        record = base / "train" / experiment / f"seed{seed}" / "record.json"
        jobs.append(Job("train", experiment, seed, record, iterations, seconds))
    images = _val_images(suite)
    for experiment, seed in suite.eval_jobs:
        passes = len(suite.eval_seeds) * sum(row.sample_step for row in suite.rows_of(experiment))
        record = base / "eval" / experiment / f"seed{seed}" / "record.json"
        jobs.append(Job("eval", experiment, seed, record, 0, START_S + images * passes * EVAL_S_PER_IMAGE_STEP))
    if suite.timing is not None:
        passes = (suite.timing.warmup + suite.timing.repeats) * sum(row.sample_step for row in suite.rows)
        seconds = START_S + suite.timing.images * passes * TIMING_S_PER_IMAGE_STEP
        jobs.append(Job("timing", "", 0, base / "timing" / "record.json", 0, seconds))
    if suite.attention is not None:
        jobs.append(Job("attention", "", 0, base / "attention" / "record.json", 0, 30.0))
    if suite.gallery is not None:
        jobs.append(Job("gallery", "", 0, base / "gallery" / "record.json", 0, 2 * START_S))
    return jobs
