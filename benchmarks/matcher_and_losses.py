"""Matcher and losses, forward and backward, against the straightforward implementation.

    python -m benchmarks.matcher_and_losses [--repeats 30]

The two take turns on the same input; the ratio is that of their medians. First both must give the same
losses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import straightforward
from c2o_model.modeling.losses import LossWeights, detection_losses
from c2o_model.modeling.matcher import match


@dataclass(frozen=True)
class Case:
    """The shape of a training step; an image has 1 to `objects` objects."""

    name: str
    stages: int
    images: int
    nodes: int
    classes: int
    objects: int


CASES = (
    Case("digits", stages=3, images=16, nodes=32, classes=10, objects=8),
    Case("digits, 6 stages", stages=6, images=16, nodes=64, classes=10, objects=8),
    Case("COCO, one GPU's share", stages=6, images=2, nodes=500, classes=80, objects=20),
)


@dataclass(frozen=True)
class Batch:
    """Predictions of all stages and the padded objects of one training step, boxes in pixels of 128 x 128."""

    logits: Tensor
    boxes: Tensor
    labels: Tensor
    gt_boxes: Tensor
    mask: Tensor
    whwh: Tensor


def make_batch(case: Case, seed: int) -> Batch:
    """Half of the nodes near an object, half anywhere, as in the middle of training."""
    g = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, case.objects + 1, (case.images,), generator=g)
    mask = torch.arange(case.objects) < counts[:, None]
    centre = torch.rand(case.images, case.objects, 2, generator=g) * 88 + 20
    half = torch.rand(case.images, case.objects, 2, generator=g) * 13 + 7
    gt_boxes = torch.cat([centre - half, centre + half], dim=-1)
    labels = torch.randint(case.classes, (case.images, case.objects), generator=g)
    shape = (case.stages, case.images, case.nodes)
    pick = (torch.rand(shape, generator=g) * counts[:, None]).long()
    near = gt_boxes[torch.arange(case.images)[:, None], pick]
    near = near + torch.randn(near.shape, generator=g) * 4
    corner = torch.rand(*shape, 2, generator=g) * 80
    anywhere = torch.cat([corner, corner + 5 + torch.rand(*shape, 2, generator=g) * 40], dim=-1)
    boxes = torch.where(torch.rand(*shape, 1, generator=g) < 0.5, near, anywhere)
    logits = torch.randn(*shape, case.classes, generator=g) - 2
    whwh = torch.full((case.images, 4), 128.0)
    return Batch(logits.requires_grad_(), boxes.requires_grad_(), labels, gt_boxes, mask, whwh)


def ours(batch: Batch) -> dict[str, Tensor]:
    stages = batch.logits.shape[0]
    found = match(
        batch.logits.flatten(0, 1),
        batch.boxes.flatten(0, 1),
        batch.labels.repeat(stages, 1),
        batch.gt_boxes.repeat(stages, 1, 1),
        batch.mask.repeat(stages, 1),
        batch.whwh.repeat(stages, 1),
    )
    weights = LossWeights()
    return detection_losses(batch.logits, batch.boxes, found, batch.labels, batch.gt_boxes, batch.whwh, weights)


def plain(batch: Batch) -> dict[str, Tensor]:
    labels = [row[m] for row, m in zip(batch.labels, batch.mask, strict=True)]
    gt_boxes = [row[m] for row, m in zip(batch.gt_boxes, batch.mask, strict=True)]
    return straightforward.all_losses(batch.logits, batch.boxes, labels, gt_boxes, batch.whwh)


def step(losses: Callable[[Batch], dict[str, Tensor]], batch: Batch) -> float:
    """Seconds of one forward and backward pass."""
    batch.logits.grad = batch.boxes.grad = None
    start = time.perf_counter()
    sum(losses(batch).values()).backward()  # type: ignore[union-attr]
    return time.perf_counter() - start


def check(batch: Batch) -> None:
    """Both implementations agree on every loss."""
    a, b = ours(batch), plain(batch)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=30, help="timed steps of each implementation")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(f"{'case':24} {'ours ms':>9} {'straightforward ms':>19} {'ratio':>7}")
    for case in CASES:
        batches = [make_batch(case, seed) for seed in range(repeats)]
        check(batches[0])
        times: dict[str, list[float]] = {"ours": [], "plain": []}
        for batch in batches:
            times["ours"].append(step(ours, batch))
            times["plain"].append(step(plain, batch))
        mine, theirs = (statistics.median(times[name]) * 1e3 for name in ("ours", "plain"))
        print(f"{case.name:24} {mine:9.2f} {theirs:19.2f} {theirs / mine:7.1f}")


if __name__ == "__main__":
    main()
