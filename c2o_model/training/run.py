"""The training loop: from a configuration, a split and a seed to a checkpoint, resumable at any iteration.

Everything an iteration uses is a pure function of (seed, iteration) or lies in the saved state, so a run that was
killed and started again ends with the bits of one that was not. Called by ``train_net`` and by the workflow's train
and distill rules.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler
from detectron2.utils import comm
from torch import Tensor, nn

from c2o_model.checkpoint import CheckpointError, load_weights, read_checkpoint, save_checkpoint
from c2o_model.config import ConfigError
from c2o_model.data.augment import Augment
from c2o_model.data.coco import CocoSplit
from c2o_model.data.loader import Batch, SeededBatches
from c2o_model.data.resize import Augmentation, training_resize
from c2o_model.determinism import derive_seed
from c2o_model.modeling import detector as _detector  # noqa: F401  (registers META_ARCHITECTURE DiffusionDet)
from c2o_model.modeling import pretrain as _pretrain  # noqa: F401  (registers C2OBackbonePretrainer)
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.graph_parts import attention_kernels
from c2o_model.modeling.head import HeadOutput
from c2o_model.modeling.matcher import Match
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training import processes
from c2o_model.training.compiling import compile_head
from c2o_model.training.consistency import ConsistencyDistillation
from c2o_model.training.distill import SamplerDistillation
from c2o_model.training.ema import WeightAverage
from c2o_model.training.features import FeatureCache, cached_features
from c2o_model.training.frequencies import set_class_frequencies
from c2o_model.training.metrics import MatchMetrics
from c2o_model.training.optimizer import build_optimizer, clip_gradients
from c2o_model.training.precision import precision
from c2o_model.training.split import WHOLE, Part, SplitStep, check_split, on_device
from c2o_model.training.state import load_state, save_state, training_lock
from c2o_model.training.validation import Measure, Onlooker

Progress = Callable[[Mapping[str, Any]], None]
Distillation = SamplerDistillation | ConsistencyDistillation
NEW_MODULES = ("head.label_embedding.", "head.quality_head.", "head.geo_feat.", "head.geo_bias.")
CURVE_PERIOD = 20  # iterations a row of the loss curve covers


class TrainingDiverged(RuntimeError):
    """The loss is no longer finite. The message names the iteration and the losses."""


class TrainingStopped(RuntimeError):
    """The training was asked to stop. Its state is saved; the message names the iteration."""


def train(
    cfg: CfgNode,
    *,
    seed: int,
    split: CocoSplit,
    output: Path,
    state_dir: Path,
    recipe: str,
    metadata: Mapping[str, str],
    init: Path | None = None,
    teacher: Path | None = None,
    teacher_cfg: CfgNode | None = None,
    feature_dir: Path | None = None,
    evaluate: Measure | None = None,
    progress: Progress = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[dict[str, float]]:
    """Train to ``SOLVER.MAX_ITER`` and write ``output`` with its sidecar.

    In the processes of one torch.distributed group (``train_net --num-gpus``) all call this alike; they share every
    batch, and the first of them writes.

    Args:
        cfg: checked configuration of the model to train.
        seed: train seed; decides initial weights, data order, noise.
        state_dir: where the resumable state, ``progress.json`` and the curve so far live. Another trainer there makes
            this one wait.
        recipe: digest of all that decides the result; a state of another recipe is not resumed.
        metadata: written into the checkpoint.
        init: checkpoint to start from (a pretrained backbone, or a detector without the newest modules).
        teacher, teacher_cfg: checkpoint and configuration of the teacher, needed by SAMPLER_DISTILL and
            CONSISTENCY_DISTILL.
        feature_dir: where the pyramids of a frozen backbone are shared between jobs (None: kept in memory only).
        evaluate: what TEST.EVAL_PERIOD measures: a detector's AP (``ValidationAP``). Only the curve shows it.
        progress: called about once a second with iteration, total, loss, ap (the last one measured, or None),
            seconds_per_iteration, eta_s and attention, the kernel that each stage's attention ran.
        stop: asked after every iteration, of several processes each for itself; where one says yes the state is
            saved as it is, and the same call goes on from there with the same bits.

    Returns:
        The loss curve: one dict per 20 iterations with iteration, lr, loss, grad_norm and each loss (means), of a
        detector also class_accuracy and l1 (MatchMetrics), with TEST.EVAL_PERIOD also AP (nan where not measured).

    Raises:
        ConfigError: the configuration does not fit the split, the loop or the teacher, or asks for a teacher that is
            not given.
        CheckpointError: init or teacher cannot be used, or the output cannot be written (an older file stays).
        TrainingDiverged: a loss is not finite.
        TrainingStopped: ``stop`` said so before the last iteration.
    """
    _check(cfg, split)
    chief = processes.rank() == 0  # of several processes one locks, reports and writes
    with training_lock(state_dir) if chief else contextlib.nullcontext():
        comm.synchronize()
        torch.manual_seed(derive_seed("init", seed))
        model = build_model(cfg).train()
        if init is not None:
            init_weights(model, init)
        optimizer = build_optimizer(cfg, model)
        scheduler = build_lr_scheduler(cfg, optimizer)
        average = WeightAverage(model, cfg.MODEL_EMA.DECAY, cfg.MODEL_EMA.RAMP) if cfg.MODEL_EMA.ENABLED else None
        distillation = _distillation(cfg, model, teacher, teacher_cfg)
        done, curve, row = load_state(
            state_dir, recipe=recipe, model=model, optimizer=optimizer, scheduler=scheduler, average=average
        )
        if not processes.alike([done]):
            raise ConfigError(f"OUTPUT_DIR: {state_dir} is not the same directory for all processes; use a shared one")
        usable = split.without_empty()
        set_class_frequencies(cfg, model, usable)
        augment = _augment(cfg)
        batches = SeededBatches(usable, cfg.SOLVER.IMS_PER_BATCH, seed, augment, cache_mb=cfg.DATALOADER.CACHE_MB)
        cache = None
        if augment.leaves_alone and isinstance(model, DiffusionDet) and model.freeze_backbone:
            limit = cfg.DATALOADER.FEATURE_CACHE_MB
            code = f"{metadata.get('code_sha256', '')} {cfg.MODEL.FPN.FUSE_TYPE}"
            cache = cached_features(model, usable, limit, feature_dir, code)
        device = next(model.parameters()).device
        steps = cfg.SOLVER.ACCUMULATE_STEPS
        check_split(model, cfg.SOLVER.IMS_PER_BATCH, steps, cfg.MODEL.DiffusionDet.SAMPLER_DISTILL_IMAGES)
        onlooker = Onlooker(cfg, model, evaluate, curve)
        if cfg.SOLVER.TORCH_COMPILE:
            compile_head(model, cfg.SOLVER.TORCH_COMPILE_MODE)

        metrics = MatchMetrics(row.get("metrics"), device)

        def forward(batch: Batch, part: Part) -> dict[str, Tensor]:
            with precision(cfg.SOLVER.AMP.ENABLED, device):
                return _step(cfg, model, batch, seed, iteration, distillation, cache, metrics, part)

        parts = processes.world() * steps
        split_step = SplitStep(forward, model, batches, seed, steps) if parts > 1 else None
        reporter = _Reporter(state_dir, done, cfg.SOLVER.MAX_ITER, progress, model)
        if chief:
            reporter.tell_rows(curve, "w")
        sums: dict[str, float] = row.get("sums", {})
        for iteration in range(done, cfg.SOLVER.MAX_ITER):
            optimizer.zero_grad(set_to_none=True)
            losses = split_step.gradients(iteration) if split_step else forward(batches.batch(iteration), WHOLE)
            total = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(total):
                detail = ", ".join(f"{k} {float(v):.4g}" for k, v in losses.items())
                raise TrainingDiverged(f"iteration {iteration}: loss is not finite ({detail}); lower SOLVER.BASE_LR")
            if split_step is None:
                total.backward()
            metrics.end_iteration()
            norm = clip_gradients(cfg, optimizer)
            rate = optimizer.param_groups[0]["lr"]  # the scheduler forgets its last rate in a saved state
            optimizer.step()
            scheduler.step()
            if average is not None:
                average.update(model, iteration)
            _add(sums, {"loss": total, "grad_norm": norm, **losses})
            if (iteration + 1) % CURVE_PERIOD == 0 or iteration + 1 == cfg.SOLVER.MAX_ITER:
                count = (iteration % CURVE_PERIOD) + 1
                curve.append({"iteration": iteration + 1, "lr": rate, **{k: v / count for k, v in sums.items()}})
                weights = model.state_dict() if average is None else average.state
                curve[-1].update(metrics.row() | onlooker.row(iteration + 1, count, weights))
                sums = {}
                if chief:
                    reporter.tell_rows(curve[-1:], "a")
            if chief:
                reporter.tell(iteration + 1, float(total.detach()), onlooker.ap)
            if iteration + 1 == cfg.SOLVER.MAX_ITER:
                break
            stopped = any(processes.greatest([int(stop())]))
            if chief and (stopped or (iteration + 1) % cfg.SOLVER.CHECKPOINT_PERIOD == 0):
                save_state(
                    state_dir,
                    recipe=recipe,
                    iteration=iteration + 1,
                    model=model,
                    optimizer=optimizer,
                    scheduler=scheduler,
                    average=average,
                    curve=curve,
                    row={"sums": sums, "metrics": metrics.state()},
                )
            if stopped:
                comm.synchronize()  # when this ends, the state is there for every process
                raise TrainingStopped(
                    f"{state_dir}: stopped as asked after iteration {iteration + 1} of {cfg.SOLVER.MAX_ITER}, "
                    "the state is saved; the same command goes on from there"
                )
        if chief:
            weights = model.state_dict() if average is None else average.state
            save_checkpoint(output, weights, {**metadata, "iterations": str(cfg.SOLVER.MAX_ITER)})
        comm.synchronize()  # when this returns, the checkpoint is there for every process
    return curve


def init_weights(model: nn.Module, path: Path) -> None:
    """Start ``model`` from a checkpoint; modules that the file predates keep their initial (no-op) values.

    A file without a head (a pretrained backbone) fills the backbone only; its dense predictor is dropped.
    """
    state, _ = read_checkpoint(path)
    new = NEW_MODULES if any(k.startswith("head.") for k in state) else (*NEW_MODULES, "head.")
    load_weights(model, path, allow_new=new, allow_unused=("predictor.",))


def _step(
    cfg: CfgNode,
    model: nn.Module,
    batch: Batch,
    seed: int,
    iteration: int,
    distillation: Distillation | None = None,
    cache: FeatureCache | None = None,
    metrics: MatchMetrics | None = None,
    part: Part = WHOLE,
) -> dict[str, Tensor]:
    size, max_gt = batch.mask.shape
    d = cfg.MODEL.DiffusionDet
    draws = part.draws(
        seed,
        iteration,
        size,
        d.NUM_PROPOSALS,
        max_gt,
        d.DIFFUSION_TIMESTEPS,
        label_states=d.NUM_CLASSES + 1 if d.LABEL_STATE and not d.LABEL_D3PM else 0,
        classes=d.NUM_CLASSES if d.USE_FED_LOSS else 0,
    )
    wh = batch.sizes.flip(1).float()
    known = TrainingBatch(batch.images, batch.boxes, batch.labels, batch.mask, wh.repeat(1, 2), part.canvas)
    device = next(model.parameters()).device
    known, draws = on_device(known, device), on_device(draws, device)
    if not isinstance(model, DiffusionDet):
        return dict(model.losses(known, draws))  # type: ignore[operator]
    features = model.features(known.images, known.canvas) if cache is None else cache(batch.image_ids.tolist())
    seen: list[tuple[HeadOutput, Match]] = []
    losses = model.losses(known, draws, features, watch=lambda *what: seen.append(what))
    out, pairs = seen[0]
    if metrics is not None:
        metrics.add(out, pairs, known)
    if distillation is None:
        return losses
    if isinstance(distillation, ConsistencyDistillation):
        return {**losses, **distillation.losses(known, draws, features, out)}
    return {**losses, **distillation.losses(known, draws, features, part.keys(seed, iteration, size))}


def _distillation(
    cfg: CfgNode, model: nn.Module, teacher: Path | None, teacher_cfg: CfgNode | None
) -> Distillation | None:
    d = cfg.MODEL.DiffusionDet
    key = "MODEL.DiffusionDet.CONSISTENCY_DISTILL" if d.CONSISTENCY_DISTILL else "MODEL.DiffusionDet.SAMPLER_DISTILL"
    if not d.SAMPLER_DISTILL and not d.CONSISTENCY_DISTILL:
        if teacher is not None:
            raise CheckpointError(
                f"{teacher}: a teacher is given, but {key} is off and so is CONSISTENCY_DISTILL; switch one on or drop "
                "the teacher"
            )
        return None
    if teacher is None or teacher_cfg is None:
        raise ConfigError(f"{key}: needs a teacher checkpoint ({key}_TEACHER_WEIGHTS or the suite's `teacher`)")
    named = d[f"{key.rpartition('.')[2]}_TEACHER_WEIGHTS"]
    if named and Path(named) != teacher:
        raise ConfigError(f"{key}_TEACHER_WEIGHTS: {named}, but the teacher given is {teacher}; remove one of them")
    frozen = build_model(teacher_cfg)
    load_weights(frozen, teacher)
    assert isinstance(frozen, DiffusionDet) and isinstance(model, DiffusionDet)
    return ConsistencyDistillation(frozen, model) if d.CONSISTENCY_DISTILL else SamplerDistillation(frozen, model)


def _augment(cfg: CfgNode) -> Augmentation:
    i = cfg.INPUT
    flip = i.RANDOM_FLIP == "horizontal"
    return Augmentation(
        Augment(brightness=i.BRIGHTNESS, contrast=i.CONTRAST, shift=i.SHIFT, flip=flip),
        training_resize(i.MIN_SIZE_TRAIN, i.MAX_SIZE_TRAIN, i.MIN_SIZE_TRAIN_SAMPLING, i.CROP.ENABLED, i.CROP.SIZE),
    )


def _add(sums: dict[str, float], values: Mapping[str, Tensor | float]) -> None:
    for name, value in values.items():
        sums[name] = sums.get(name, 0.0) + float(value.detach() if isinstance(value, Tensor) else value)


def _check(cfg: CfgNode, split: CocoSplit) -> None:
    """What would otherwise fail deep inside, or after an hour."""
    period, classes = cfg.SOLVER.CHECKPOINT_PERIOD, cfg.MODEL.DiffusionDet.NUM_CLASSES
    if period % CURVE_PERIOD:
        raise ConfigError(
            f"SOLVER.CHECKPOINT_PERIOD: {period} is no multiple of {CURVE_PERIOD}, the rows of the loss curve"
        )
    if cfg.MODEL.DiffusionDet.SELF_ATTN_IMPL == "flex" and cfg.MODEL.DEVICE == "cpu":
        raise ConfigError(
            "MODEL.DiffusionDet.SELF_ATTN_IMPL: 'flex' has no backward on a CPU; use 'torch' or 'sdpa', or CUDA"
        )
    if classes != len(split.class_names):
        raise ConfigError(
            f"MODEL.DiffusionDet.NUM_CLASSES: {classes}, but {split.annotation} has {len(split.class_names)} classes; "
            "set it to that"
        )


class _Reporter:
    """Writes ``progress.json`` and calls back, at most once a second; ``curve.jsonl`` has the curve so far."""

    def __init__(self, directory: Path, done: int, total: int, progress: Progress, model: nn.Module) -> None:
        self.model = model
        self.path, self.rows = directory / "progress.json", directory / "curve.jsonl"
        self.first, self.total, self.progress = done, total, progress
        self.start = self.last = time.monotonic()

    def tell_rows(self, rows: Sequence[Mapping[str, float]], mode: str) -> None:
        """Write rows for who looks on, a line each: begin anew ("w") or add to them ("a"); null is undefined."""
        lines = [json.dumps({k: v if math.isfinite(v) else None for k, v in row.items()}) + "\n" for row in rows]
        with contextlib.suppress(OSError), self.rows.open(mode, encoding="utf-8") as stream:
            stream.writelines(lines)

    def tell(self, iteration: int, loss: float, ap: float | None) -> None:
        now = time.monotonic()
        if now - self.last < 1 and iteration < self.total:
            return
        self.last = now
        pace = (now - self.start) / max(iteration - self.first, 1)
        values = {
            "iteration": iteration,
            "total": self.total,
            "loss": loss,
            "ap": ap,
            "seconds_per_iteration": pace,
            "eta_s": pace * (self.total - iteration),
            "pid": os.getpid(),
            "attention": list(attention_kernels(self.model)) if isinstance(self.model, DiffusionDet) else [],
        }
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # a display is not worth a training: on a full disk it stands still
            temporary.write_text(json.dumps(values), encoding="utf-8")
            os.replace(temporary, self.path)
        self.progress(values)
