"""An evaluation as the workflow asks for it: in this process, or in several that take batches in turn.

Whatever their number, the detections are the same bytes: noise is keyed by image and seed, and a batch is the same
batch wherever it is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from c2o_model.config import config_from_dict
from c2o_model.data.coco import load_manifest_split
from c2o_model.evaluation.run import EvalRow, RunDetections, evaluate
from c2o_model.group import given, run_group

RUNS = "runs.npz"
_ARRAYS = tuple(f.name for f in fields(RunDetections) if f.name not in ("exp_id", "eval_seed"))


@dataclass(frozen=True)
class Evaluation:
    """The arguments of :func:`evaluate` as values that can be written down; data: directory of the data set."""

    config: Mapping[str, Any]
    checkpoint: Path
    data: Path
    rows: tuple[EvalRow, ...]
    eval_seeds: tuple[int, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Evaluation:
        """From :meth:`values`."""
        rows = tuple(
            EvalRow(name, steps, tuple((key, value) for key, value in opts)) for name, steps, opts in values["rows"]
        )
        return cls(
            values["config"], Path(values["checkpoint"]), Path(values["data"]), rows, tuple(values["eval_seeds"])
        )

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "config": self.config,
            "checkpoint": str(self.checkpoint),
            "data": str(self.data),
            "rows": [[row.exp_id, row.sample_step, row.opts] for row in self.rows],
            "eval_seeds": self.eval_seeds,
        }

    def run(self, attention: Callable[[Sequence[str]], None]) -> Iterator[RunDetections]:
        """Evaluate: alone, or as one process of a group. As :func:`evaluate`."""
        split = load_manifest_split(self.data, "val")
        cfg = config_from_dict(self.config)
        yield from evaluate(cfg, self.checkpoint, split, self.rows, self.eval_seeds, attention=attention)


def evaluate_shared(
    evaluation: Evaluation, threads: int, *, attention: Callable[[Sequence[str]], None], keep: Sequence[int] = ()
) -> Iterator[RunDetections]:
    """Evaluate in as many processes as the job has threads, on a GPU device at most one a visible GPU.

    Yields and raises as :func:`evaluate`; raises GroupError where one of several processes failed. ``keep``: see
    :func:`run_group`.
    """
    device = config_from_dict(evaluation.config).MODEL.DEVICE
    size = given(device, threads)
    if size.processes == 1:
        yield from evaluation.run(attention)
        return
    with run_group("evaluate", evaluation.values(), device, size, keep=keep) as (directory, said):
        attention(said["attention"])
        yield from load_runs(directory, said["runs"])


def save_runs(directory: Path, runs: Iterable[RunDetections]) -> list[tuple[str, int]]:
    """Write the arrays of all runs into one file; which runs these are, in order."""
    arrays: dict[str, Any] = {}
    names = []
    for number, run in enumerate(runs):
        arrays.update({f"{number}.{name}": getattr(run, name) for name in _ARRAYS})
        names.append((run.exp_id, run.eval_seed))
    np.savez(directory / RUNS, **arrays)
    return names


def load_runs(directory: Path, names: Sequence[Sequence[Any]]) -> Iterator[RunDetections]:
    """What :func:`save_runs` has written, one after the other."""
    with np.load(directory / RUNS) as arrays:
        for number, (exp_id, eval_seed) in enumerate(names):
            yield RunDetections(exp_id, eval_seed, *(arrays[f"{number}.{name}"] for name in _ARRAYS))
