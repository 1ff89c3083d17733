"""A whole training step against the same detector with torchvision's RoIAlign and matcher and losses in loops.

    python -m benchmarks.train_step [--repeats 20]

Both start from the same weights and train on the same batches of 16 scenes with the same noise: backbone, head,
losses, backward pass, gradient clip, AdamW. The straightforward side pools with torchvision's operator and matches
stage by stage, image by image and object by object (benchmarks.straightforward); with a frozen backbone it computes the
pyramid at every step, ours takes it from the feature cache. First both must give the same losses.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import torch
from detectron2.config import CfgNode
from torch import Tensor

from benchmarks import straightforward
from benchmarks.workbench import HEADER, ROOT, compare, detector, scenes  # noqa: I001  (pins the kernels, so it comes first)
from c2o_model.config import load_config
from c2o_model.data.coco import CocoSplit
from c2o_model.data.loader import SeededBatches
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.targets import TrainingBatch, TrainingDraws, make_noisy_nodes
from c2o_model.training.draws import draw
from c2o_model.training.features import FeatureCache, cached_features
from c2o_model.training.optimizer import build_optimizer, clip_gradients

BATCH = 16


@dataclass
class Trainer:
    """One contender: its model, its optimiser, and how it gets from a batch to losses."""

    cfg: CfgNode
    model: DiffusionDet
    batches: SeededBatches
    losses: Callable[[DiffusionDet, TrainingBatch, TrainingDraws, list[Tensor]], dict[str, Tensor]]
    cache: FeatureCache | None = None

    def __post_init__(self) -> None:
        self.model.train()
        self.optimizer = build_optimizer(self.cfg, self.model)
        self.iterations = count()

    def step(self) -> dict[str, Tensor]:
        """The next iteration; returns its losses."""
        iteration = next(self.iterations)
        batch = self.batches.batch(iteration)
        nodes, times = self.model.settings.diffusion.num_proposals, self.model.schedule.timesteps
        draws = draw(0, iteration, BATCH, nodes, batch.mask.shape[1], times)
        known = TrainingBatch(
            batch.images, batch.boxes, batch.labels, batch.mask, batch.sizes.flip(1).float().repeat(1, 2)
        )
        features = self.model.features(batch.images) if self.cache is None else self.cache(batch.image_ids.tolist())
        losses = self.losses(self.model, known, draws, features)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        clip_gradients(self.cfg, self.optimizer)
        self.optimizer.step()
        return losses


def loops(model: DiffusionDet, batch: TrainingBatch, draws: TrainingDraws, features: list[Tensor]) -> dict[str, Tensor]:
    """The losses of the straightforward implementation, on the same noisy nodes."""
    nodes = make_noisy_nodes(batch, draws, model.schedule, model.settings.diffusion.snr_scale, None)
    out = model.head(features, nodes.boxes, nodes.t, batch.whwh)
    labels = [row[m] for row, m in zip(batch.labels, batch.mask, strict=True)]
    boxes = [row[m] for row, m in zip(batch.boxes, batch.mask, strict=True)]
    return straightforward.all_losses(out.logits, out.boxes, labels, boxes, batch.whwh)


def contenders(split: CocoSplit, frozen: bool) -> tuple[Trainer, Trainer]:
    """Ours and the straightforward one, alike but for what is compared."""
    opts = ["SOLVER.BACKBONE_MULTIPLIER", 0.0 if frozen else 1.0]
    cfg = load_config(ROOT / "configs/models/digits/baseline.yaml", opts)
    batches = SeededBatches(split, BATCH, 0)
    mine, plain = (detector("baseline", impl, *opts) for impl in ("separable", "torchvision"))
    cache = cached_features(mine, split, 1024) if frozen else None
    return Trainer(cfg, mine, batches, DiffusionDet.losses, cache), Trainer(cfg, plain, batches, loops)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=20, help="timed steps of each implementation")
    repeats = parser.parse_args().repeats
    split = scenes("train").without_empty()
    print(HEADER)
    for name, frozen in (("training step", False), ("training step, frozen backbone", True)):
        ours, plain = contenders(split, frozen)
        torch.testing.assert_close(ours.step(), plain.step(), rtol=1e-3, atol=1e-4)
        print(compare(ours.step, plain.step, repeats).row(name), flush=True)


if __name__ == "__main__":
    main()
