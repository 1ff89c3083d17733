"""One training step over a batch that is split: over processes, and over micro-batches within each of them.

``SOLVER.IMS_PER_BATCH`` stays the global batch. W processes times SOLVER.ACCUMULATE_STEPS micro-batches are its equal
parts. Part p takes the images and the random numbers that slots p * size ... of the whole batch would have, and every
loss is divided by the counts of the whole batch (c2o_model.divisors), so losses and gradients add up to those of one
pass over it, but for rounding. With micro-batches the counts are only known after all forward passes: these run
twice, once to count and once for the gradient, which costs about a third more time and no memory.

Not the same as in one part: dropout masks (drawn from seed, iteration and part), and batch normalisation in training
mode, which is refused. Called by the training loop where there is more than one part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from c2o_model.config import ConfigError
from c2o_model.data.loader import Batch, SeededBatches
from c2o_model.determinism import derive_seed
from c2o_model.divisors import Ledger, installed
from c2o_model.modeling.targets import TrainingDraws
from c2o_model.training import processes
from c2o_model.training.draws import draw

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Part ``index`` of the ``count`` equal parts of a global batch.

    canvas: (height, width) px that the images of the whole batch are padded to at least, as one batch would be.
    """

    index: int = 0
    count: int = 1
    canvas: tuple[int, int] = (0, 0)

    def slots(self, size: int) -> range:
        """Which slots of the global batch a part of ``size`` images is."""
        return range(self.index * size, (self.index + 1) * size)

    def draws(
        self,
        seed: int,
        iteration: int,
        size: int,
        nodes: int,
        max_gt: int,
        timesteps: int,
        *,
        label_states: int = 0,
        classes: int = 0,
    ) -> TrainingDraws:
        """The random numbers of this part: :func:`draw` of the global batch, sliced but for those of classes."""
        whole = draw(
            seed, iteration, size * self.count, nodes, max_gt, timesteps, label_states=label_states, classes=classes
        )
        if self.count == 1:
            return whole
        own = self.slots(size)
        per_image = {f.name: getattr(whole, f.name) for f in fields(whole) if f.name != "classes"}
        return replace(whole, **{n: v[own.start : own.stop] for n, v in per_image.items() if v is not None})

    def keys(self, seed: int, iteration: int, size: int) -> list[tuple[int, int, int]]:
        """One key an image for the noise of a teacher's steps."""
        return [(seed, iteration * size * self.count + slot, 0) for slot in self.slots(size)]


WHOLE = Part()
Forward = Callable[[Batch, Part], dict[str, Tensor]]


class SplitStep:
    """Losses and gradients of this process's parts, summed over all parts.

    Args:
        forward: losses of one part; run under :func:`c2o_model.divisors.installed`.
        model: whose gradients are summed over the processes.
        batches: the global batch's images.
        seed: train seed, for dropout.
        steps: micro-batches in this process.
    """

    def __init__(self, forward: Forward, model: nn.Module, batches: SeededBatches, seed: int, steps: int) -> None:
        self.forward, self.model, self.batches, self.seed, self.steps = forward, model, batches, seed, steps
        self.count = processes.world() * steps
        self.size = batches.batch_size // self.count

    def gradients(self, iteration: int) -> dict[str, Tensor]:
        """Leave the gradient of the global batch in the parameters. Returns its losses by name, without gradient."""
        first = processes.rank() * self.steps
        slots = [Part(first + i).slots(self.size) for i in range(self.steps)]
        batches, canvas = _as_of_one_batch([self.batches.batch(iteration, own) for own in slots])
        parts = [Part(first + i, self.count, canvas) for i in range(self.steps)]
        sums: dict[str, Tensor] = {}
        if self.steps == 1:
            with installed(processes.summed):
                self._backward(batches[0], parts[0], iteration, sums)
        else:
            ledger = Ledger()
            for batch, part in zip(batches, parts, strict=True):
                ledger.rewind()
                with installed(ledger.record):  # with gradients on: the kernels, hence the bits, of the second pass
                    self._losses(batch, part, iteration)
            ledger.sums = [processes.summed(count) for count in ledger.sums]
            for batch, part in zip(batches, parts, strict=True):
                ledger.rewind()
                with installed(ledger.recall):
                    self._backward(batch, part, iteration, sums)
        processes.sum_gradients(p for p in self.model.parameters() if p.requires_grad)
        values = processes.summed(torch.stack(list(sums.values())))
        return dict(zip(sums, values.unbind(), strict=True))

    def _losses(self, batch: Batch, part: Part, iteration: int) -> dict[str, Tensor]:
        torch.manual_seed(derive_seed("part", self.seed, iteration, part.index))
        return self.forward(batch, part)

    def _backward(self, batch: Batch, part: Part, iteration: int, sums: dict[str, Tensor]) -> None:
        losses = self._losses(batch, part, iteration)
        torch.stack(list(losses.values())).sum().backward()
        for name, value in losses.items():
            sums[name] = sums[name] + value.detach() if name in sums else value.detach()


def check_split(model: nn.Module, batch_size: int, steps: int, distilled: int) -> None:
    """Refuse what would not add up to the whole batch.

    Args:
        batch_size: SOLVER.IMS_PER_BATCH; steps: SOLVER.ACCUMULATE_STEPS; distilled: SAMPLER_DISTILL_IMAGES.

    Raises:
        ConfigError: naming the key.
    """
    world = processes.world()
    if world * steps == 1:
        return
    where = f"{world} process(es) of {steps} micro-batch(es) (SOLVER.ACCUMULATE_STEPS)"
    if batch_size % (world * steps):
        raise ConfigError(f"SOLVER.IMS_PER_BATCH: {batch_size} cannot be split evenly over {where}")
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise ConfigError(
                f"MODEL.RESNETS.NORM, MODEL.FPN.NORM: {name} normalises over its part of the batch, so {where} would "
                "train another model than one pass; use FrozenBN, GN or LN"
            )
    if distilled not in (0, batch_size):
        raise ConfigError(
            f"MODEL.DiffusionDet.SAMPLER_DISTILL_IMAGES: {distilled} of {batch_size} images cannot be shared by "
            f"{where}; set it to 0, the whole batch"
        )


def on_device(values: T, device: torch.device) -> T:
    """A dataclass instance with its tensors on ``device``; itself where that is the CPU, where batches are made."""
    if device.type == "cpu":
        return values
    item: Any = values
    tensors = {f.name: getattr(item, f.name) for f in fields(item) if isinstance(getattr(item, f.name), Tensor)}
    moved: T = replace(item, **{name: tensor.to(device) for name, tensor in tensors.items()})
    return moved


def _as_of_one_batch(batches: Sequence[Batch]) -> tuple[list[Batch], tuple[int, int]]:
    """The parts with object slots and canvas of the whole global batch: G decides the draws, the canvas the borders."""
    sizes = torch.cat([b.sizes for b in batches]).amax(0).tolist()
    slots, height, width = processes.greatest([max(b.mask.shape[1] for b in batches), *sizes])
    padded = []
    for b in batches:
        more = slots - b.mask.shape[1]
        boxes, labels = F.pad(b.boxes, (0, 0, 0, more)), F.pad(b.labels, (0, more), value=-1)
        padded.append(replace(b, boxes=boxes, labels=labels, mask=labels >= 0))
    return padded, (height, width)
