"""``train_net --dry-run``: everything a training builds and its first steps, measured and told; nothing is written.

Data sets, loader, model, optimiser and average are those of the training, and so is a step: forward, losses, backward,
clip, update, in as many processes and micro-batches. What a full run needs is told from them. Called by ``train_net``.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler
from torch import Tensor, nn

from c2o_model.config import ConfigError
from c2o_model.data.coco import CocoSplit
from c2o_model.data.loader import Batch, SeededBatches
from c2o_model.determinism import derive_seed
from c2o_model.training import processes
from c2o_model.training.compiling import compile_head
from c2o_model.training.ema import WeightAverage
from c2o_model.training.frequencies import set_class_frequencies
from c2o_model.training.optimizer import build_optimizer, clip_gradients
from c2o_model.training.precision import precision
from c2o_model.training.run import TrainingDiverged, _augment, _check, _distillation, _step, init_weights
from c2o_model.training.split import WHOLE, Part, SplitStep, check_split

GIB = 2**30
Tell = Callable[[str], None]


@dataclass
class _Seen:
    """What one process's steps showed."""

    batches: list[Batch] = field(default_factory=list)
    pyramid: dict[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)


def dry_run(
    cfg: CfgNode,
    split: CocoSplit,
    tests: Iterable[tuple[str, CocoSplit]] = (),
    *,
    teacher: Path | None = None,
    teacher_cfg: CfgNode | None = None,
    steps: int = 1,
    tell: Tell = print,
) -> None:
    """Build the training of ``cfg`` on ``split``, make ``steps`` steps of it and tell what they took.

    Args:
        tests: the sets that it would be evaluated on, by name; their classes must be those trained on.
        teacher, teacher_cfg: as of :func:`c2o_model.training.run.train`.
        steps: 1 or more; from 2 on the time of a step leaves out the first, in which kernels are chosen.
        tell: called with each line, in the first process only.

    Raises:
        ConfigError, CheckpointError, TrainingDiverged: as the training would.
    """
    tell = tell if processes.rank() == 0 else _silent
    seed = max(cfg.SEED, 0)
    _check(cfg, split)
    usable = split.without_empty()
    _tell_data(cfg, split, usable, tests, tell)

    torch.manual_seed(derive_seed("init", seed))
    model = build_model(cfg).train()
    if cfg.MODEL.WEIGHTS:
        init_weights(model, Path(cfg.MODEL.WEIGHTS))
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    average = WeightAverage(model, cfg.MODEL_EMA.DECAY, cfg.MODEL_EMA.RAMP) if cfg.MODEL_EMA.ENABLED else None
    distillation = _distillation(cfg, model, teacher, teacher_cfg)
    set_class_frequencies(cfg, model, usable)
    _tell_model(cfg, model, optimizer, tell)

    device = next(model.parameters()).device
    batches = SeededBatches(usable, cfg.SOLVER.IMS_PER_BATCH, seed, _augment(cfg), cache_mb=cfg.DATALOADER.CACHE_MB)
    micro = cfg.SOLVER.ACCUMULATE_STEPS
    check_split(model, cfg.SOLVER.IMS_PER_BATCH, micro, cfg.MODEL.DiffusionDet.SAMPLER_DISTILL_IMAGES)
    if cfg.SOLVER.TORCH_COMPILE:
        compile_head(model, cfg.SOLVER.TORCH_COMPILE_MODE)
    seen = _Seen()

    def forward(batch: Batch, part: Part) -> dict[str, Tensor]:
        seen.batches.append(batch)
        with precision(cfg.SOLVER.AMP.ENABLED, device):
            return _step(cfg, model, batch, seed, iteration, distillation, None, None, part)

    parts = processes.world() * micro
    split_step = SplitStep(forward, model, batches, seed, micro) if parts > 1 else None
    backbone: nn.Module = model.backbone  # type: ignore[assignment]
    hook = backbone.register_forward_hook(lambda _m, _i, out: seen.pyramid.update(seen.pyramid or _shapes(out)))
    for iteration in range(steps):
        started = _now(device)
        optimizer.zero_grad(set_to_none=True)
        losses = split_step.gradients(iteration) if split_step else forward(batches.batch(iteration), WHOLE)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            detail = ", ".join(f"{k} {float(v.detach()):.4g}" for k, v in losses.items())
            raise TrainingDiverged(f"step {iteration}: loss is not finite ({detail}); lower SOLVER.BASE_LR")
        if split_step is None:
            total.backward()
        clip_gradients(cfg, optimizer)
        optimizer.step()
        scheduler.step()
        if average is not None:
            average.update(model, iteration)
        seen.seconds.append(_now(device) - started)
        seen.losses = {name: float(value.detach()) for name, value in losses.items()}
    hook.remove()
    _tell_step(cfg, seen, device, tell)
    started = time.monotonic()
    share = Part(processes.rank(), processes.world()).slots(batches.batch_size // processes.world())
    batches.batch(steps, share)
    tell(f"reading   {time.monotonic() - started:.2f} s of a step, for the {len(share)} images of one process")
    _tell_full_run(cfg, model, len(usable), seen.seconds, tell)


def check_device(name: str) -> None:
    """Raise ConfigError where MODEL.DEVICE is a GPU and torch sees none."""
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"MODEL.DEVICE: {name!r}, but torch sees no GPU here; run where there is one, or on the cpu")


def _tell_data(
    cfg: CfgNode, split: CocoSplit, usable: CocoSplit, tests: Iterable[tuple[str, CocoSplit]], tell: Tell
) -> None:
    boxes, classes = sum(len(b) for b in usable.boxes), len(split.class_names)
    shown = len(set().union(*(labels.tolist() for labels in usable.labels)))
    without, dropped = len(split) - len(usable), len(split.dropped)
    tell(f"data      {', '.join(cfg.DATASETS.TRAIN)}: {len(usable):,} images with boxes, {without:,} without left out")
    tell(f"          {boxes:,} boxes of {shown} of {classes} classes, {dropped:,} more not trained on")
    for name, test in tests:
        if test.class_names != split.class_names:
            raise ConfigError(f"DATASETS.TEST: {name} has other classes than DATASETS.TRAIN; name sets with the same")
        tell(f"test      {name}: {len(test):,} images, {sum(len(b) for b in test.boxes):,} boxes, the same classes")


def _tell_model(cfg: CfgNode, model: nn.Module, optimizer: torch.optim.Optimizer, tell: Tell) -> None:
    every = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tell(f"model     {cfg.MODEL.META_ARCHITECTURE} on {cfg.MODEL.BACKBONE.NAME}")
    tell(f"          {every:,} parameters, {trained:,} trained")
    tell(f"          starts from {cfg.MODEL.WEIGHTS or 'random weights (MODEL.WEIGHTS is empty)'}")
    rates = ", ".join(f"{rate:g}" for rate in sorted({group["initial_lr"] for group in optimizer.param_groups}))
    number = "bfloat16" if cfg.SOLVER.AMP.ENABLED else "float32"
    decay = f"{cfg.MODEL_EMA.DECAY:g}" if cfg.MODEL_EMA.ENABLED else "off"
    tell(f"optimiser {cfg.SOLVER.OPTIMIZER}, rate {rates}, {cfg.SOLVER.LR_SCHEDULER_NAME}; {number}; average {decay}")


def _tell_step(cfg: CfgNode, seen: _Seen, device: torch.device, tell: Tell) -> None:
    d, batch = cfg.MODEL.DiffusionDet, seen.batches[0]
    sizes = batch.sizes.tolist()
    smallest, largest = ("x".join(map(str, pick(sizes, key=lambda s: s[0] * s[1]))) for pick in (min, max))
    shared = f"{processes.world()} process(es) x {cfg.SOLVER.ACCUMULATE_STEPS} micro-batch(es) x {len(sizes)}"
    tell(f"batch     {cfg.SOLVER.IMS_PER_BATCH} images = {shared}")
    boxes, most = int(batch.mask.sum()), batch.mask.shape[1]
    tell(f"          the first part: {smallest} to {largest} px, {boxes} boxes, at most {most} in one image")
    levels = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in seen.pyramid.items())
    tell(f"shapes    pyramid {levels}")
    tell(
        f"          head {d.NUM_HEADS} stages x {len(sizes)} images x {d.NUM_PROPOSALS} boxes x {d.NUM_CLASSES} classes"
    )
    tell(f"step      {', '.join(f'{s:.2f} s' for s in seen.seconds)}; loss {sum(seen.losses.values()):.3f}")
    last = {name: value for name, value in seen.losses.items() if not name[-1].isdigit()}
    tell(f"          of the last stage: {', '.join(f'{name} {value:.3f}' for name, value in last.items())}")
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type == "cuda":
        name, whole = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory
        tell(f"memory    {torch.cuda.max_memory_allocated(device) / GIB:.1f} GiB of {whole / GIB:.0f} of a {name}")
    tell(f"memory    {host / GIB:.1f} GiB of the host's, a process")


def _tell_full_run(cfg: CfgNode, model: nn.Module, images: int, seconds: list[float], tell: Tell) -> None:
    total, batch, world = cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, processes.world()
    warm = seconds[1:] or seconds
    pace = sum(warm) / len(warm)
    caveat = f"mean of {len(warm)}" if seconds[1:] else "the first, which chooses kernels: --steps 5 tells more"
    tell(f"full run  {total:,} steps of {batch} images = {total * batch / images:.1f} epochs")
    tell(f"          {_duration(total * pace)} in {world} process(es) as here, at {pace:.2f} s a step ({caveat})")
    parts = [n for n in range(1, batch + 1) if batch % (n * cfg.SOLVER.ACCUMULATE_STEPS) == 0]
    tell(f"          the batch can be shared by {', '.join(map(str, parts))} processes (GPUs)")
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    moments = 2 * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    state = weights * (2 if cfg.MODEL_EMA.ENABLED else 1) + moments
    tell(f"disk      {_size(weights)} a checkpoint, {_size(state)} the resumable state (twice that for a moment)")


def _shapes(out: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(level.shape) for name, level in out.items()}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _silent(_: str) -> None:
    """What the other processes tell."""
