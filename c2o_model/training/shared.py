"""A training as the workflow asks for it: in this process, or in several that share each batch.

Its recipe names the parts of a batch (``processes`` of its experiment, times SOLVER.ACCUMULATE_STEPS). What works on
them is decided at launch: P processes of A micro-batches, P * A parts, so that the global batch is the same wherever
it runs. A state is resumed with any P; ``processes.json`` beside it says which ones a training has had.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from c2o_model.config import config_from_dict
from c2o_model.data.coco import load_manifest_split
from c2o_model.group import STOPPED, Given, GroupError, given, run_group
from c2o_model.training.run import TrainingStopped, train
from c2o_model.training.validation import ValidationAP, evaluates

HISTORY = "processes.json"
_PATHS = ("data", "output", "state_dir", "feature_dir", "init", "teacher")


@dataclass(frozen=True)
class Outcome:
    """What a training leaves beside its checkpoint.

    curve: see :func:`train`; attention: the kernel that each stage's attention ran; ran: ``P x A`` of every launch that
    worked on it, the first one first (``2 x 4``: two processes of four micro-batches).
    """

    curve: list[dict[str, float]]
    attention: tuple[str, ...]
    ran: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """The arguments of :func:`train` as values that can be written down.

    config, teacher_config: merged configurations; data: directory of the data set, whose split `val` TEST.EVAL_PERIOD
    evaluates; steps: micro-batches of a process, None as SOLVER.ACCUMULATE_STEPS has it.
    """

    config: Mapping[str, Any]
    seed: int
    data: Path
    output: Path
    state_dir: Path
    feature_dir: Path
    recipe: str
    metadata: Mapping[str, str]
    init: Path | None = None
    teacher: Path | None = None
    teacher_config: Mapping[str, Any] | None = None
    steps: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Training:
        """From :meth:`values`."""
        return cls(**{k: Path(v) if k in _PATHS and v is not None else v for k, v in values.items()})

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return {k: str(v) if k in _PATHS and v is not None else v for k, v in asdict(self).items()}

    def run(self, progress: Callable[[Mapping[str, Any]], None], stop: Callable[[], bool]) -> Outcome:
        """Train: alone, or as one process of a group. Raises as :func:`train`."""
        last: dict[str, Any] = {}

        def watched(now: Mapping[str, Any]) -> None:
            last.update(now)
            progress(now)

        cfg = config_from_dict(self.config, [] if self.steps is None else ["SOLVER.ACCUMULATE_STEPS", self.steps])
        evaluate = ValidationAP(cfg, load_manifest_split(self.data, "val")) if evaluates(cfg) else None
        curve = train(
            cfg,
            seed=self.seed,
            split=load_manifest_split(self.data, "train"),
            output=self.output,
            state_dir=self.state_dir,
            feature_dir=self.feature_dir,
            recipe=self.recipe,
            metadata=self.metadata,
            init=self.init,
            teacher=self.teacher,
            teacher_cfg=None if self.teacher_config is None else config_from_dict(self.teacher_config),
            evaluate=evaluate,
            progress=watched,
            stop=stop,
        )
        return Outcome(curve, tuple(last.get("attention", ())))


def train_shared(
    training: Training,
    processes: int,
    threads: int,
    machines: int = 1,
    *,
    progress: Callable[[Mapping[str, Any]], None],
    stop: Callable[[], bool] = lambda: False,
    keep: Sequence[int] = (),
) -> Outcome:
    """Train with each batch in ``processes`` parts, in as many processes as there is room for.

    Args:
        processes: of the experiment.
        threads: CPU threads of the job on each machine; on a GPU device at most one process a visible GPU.
        machines: of the job.
        progress: see :func:`train`.
        stop: see :func:`train`; where others do the work it is asked here, in the process that watches, and like there
            not before the first iteration, when there is nothing to save, nor after the last.
        keep: see :func:`run_group`.

    Raises:
        ConfigError: the parts cannot be shared evenly by what the job has. GroupError: one of several processes
            failed. Else as :func:`train`.
    """
    cfg = config_from_dict(training.config)
    size = given(cfg.MODEL.DEVICE, threads, machines).sharing(processes)
    if processes == 1:
        return training.run(progress, stop)
    steps = cfg.SOLVER.ACCUMULATE_STEPS * processes // size.processes
    shared, ran = replace(training, steps=steps), _note_launch(training.state_dir, training.recipe, size, steps)
    print(f"{size.processes} process(es) of {steps} micro-batch(es) share each batch", flush=True)
    if size.processes == 1:
        return replace(shared.run(progress, stop), ran=ran)
    device, place = cfg.MODEL.DEVICE, training.state_dir
    look = _Onlooker(place / "progress.json", progress)
    try:
        with run_group(
            "train",
            shared.values(),
            device,
            size,
            scratch=place,
            stop=lambda: look.trains and stop(),
            look=look,
            keep=keep,
        ) as (_, said):
            return Outcome(said["curve"], tuple(said["attention"]), ran)
    except GroupError as error:
        if error.kind == STOPPED:
            raise TrainingStopped(str(error)) from None
        raise


class _Onlooker:
    """Passes on what the first process writes to its progress file from now on.

    trains: some iteration is done, and not the last one.
    """

    def __init__(self, path: Path, progress: Callable[[Mapping[str, Any]], None]) -> None:
        self.path, self.progress = path, progress
        self.trains = False
        self.seen = self._written()

    def __call__(self) -> None:
        if (written := self._written()) == self.seen:
            return
        try:
            now = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # a file server that is away for a moment is not worth a training
            return
        self.seen, self.trains = written, now["iteration"] < now["total"]
        self.progress(now)

    def _written(self) -> int:
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0


def _note_launch(state_dir: Path, recipe: str, size: Given, steps: int) -> tuple[str, ...]:
    """Add this launch to those that the training of this recipe has had since its beginning; all of them."""
    path, now = state_dir / HISTORY, f"{size.processes} x {steps}"
    before: list[str] = []
    if any(state_dir.glob("state-*.safetensors")):
        # A note is not worth a training: one that is missing, or damaged when the power failed, is written anew.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            noted = json.loads(path.read_text(encoding="utf-8"))
            before = list(noted["ran"]) if noted["recipe"] == recipe else []
    ran = before if before[-1:] == [now] else [*before, now]
    state_dir.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"recipe": recipe, "ran": ran}), encoding="utf-8")
    os.replace(temporary, path)
    return tuple(ran)
