"""Many eval seeds in one pass: the backbone runs once an image, every seed and every row (step count) shares it.

The detections of (image, eval seed) are those of that seed alone, because noise is keyed by image and seed.
Called by the workflow's evaluate rule and by ``train_net --eval-only``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils import comm
from numpy.typing import NDArray

from c2o_model.checkpoint import load_weights
from c2o_model.config import ConfigError, at_test_time, typed_config
from c2o_model.data.coco import CocoSplit
from c2o_model.data.inference import inference_batches
from c2o_model.modeling.detector import DiffusionDet
from c2o_model.modeling.graph_parts import attention_kernels
from c2o_model.sampling.detections import Detections
from c2o_model.sampling.sampler import sample
from c2o_model.settings import Settings


@dataclass(frozen=True)
class EvalRow:
    """One way to sample a checkpoint: its name, its step count and its test-time overrides (dotted keys)."""

    exp_id: str
    sample_step: int
    opts: tuple[tuple[str, Any], ...] = ()

    def settings(self, cfg: CfgNode) -> Settings:
        """The typed values of ``cfg`` with this row's steps and overrides."""
        return typed_config(at_test_time(cfg, {"MODEL.DiffusionDet.SAMPLE_STEP": self.sample_step, **dict(self.opts)}))


@dataclass(frozen=True)
class RunDetections:
    """All detections of one run (row, eval seed), image after image, best first within an image.

    image_id [n] int64; box [n,4] float32 xyxy pixels; score [n] float32; label [n] int64 in 0..K-1.
    """

    exp_id: str
    eval_seed: int
    image_id: NDArray[np.int64]
    box: NDArray[np.float32]
    score: NDArray[np.float32]
    label: NDArray[np.int64]


def load_detector(cfg: CfgNode, checkpoint: Path) -> DiffusionDet:
    """The detector of ``cfg`` with the weights of ``checkpoint`` (digest checked), ready to sample.

    Raises:
        CheckpointError: the file is missing, changed, or of another model.
    """
    model = build_model(cfg).eval()
    assert isinstance(model, DiffusionDet)
    load_weights(model, checkpoint)
    return model


@torch.inference_mode()
def evaluate(
    cfg: CfgNode,
    checkpoint: Path,
    split: CocoSplit,
    rows: Sequence[EvalRow],
    eval_seeds: Sequence[int],
    batch_size: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
    attention: Callable[[tuple[str, ...]], None] = lambda kernels: None,
) -> Iterator[RunDetections]:
    """Sample every row with every eval seed on every image of ``split``.

    Yields one :class:`RunDetections` per (row, eval seed), rows in order, then seeds in order. ``progress`` is
    called with images done and images in all, ``attention`` at the end with the kernel that each stage's attention ran.
    In a torch.distributed group the processes take batches in turn, the very batches that one process would make, and
    each yields everything.
    """
    classes = cfg.MODEL.DiffusionDet.NUM_CLASSES
    if classes != len(split.class_names):
        raise ConfigError(
            f"MODEL.DiffusionDet.NUM_CLASSES: {classes}, but {split.annotation} has {len(split.class_names)} classes"
        )
    settings = [row.settings(cfg) for row in rows]
    detector = load_detector(cfg, checkpoint)
    found: dict[tuple[int, int], list[tuple[int, Detections]]] = {
        (r, s): [] for r in range(len(rows)) for s in range(len(eval_seeds))
    }
    done = 0
    for batch in inference_batches(
        split, batch_size, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, comm.get_rank(), comm.get_world_size()
    ):
        features = detector.features(batch.images)
        ids = batch.image_ids
        whwh = batch.whwh.to(detector.device)
        for r, chosen in enumerate(settings):
            detector.settings = chosen
            results = sample(detector, features, whwh, ids, eval_seeds, chosen.sampler, cfg.TEST.DETECTIONS_PER_IMAGE)
            for i, (image_id, seeds) in enumerate(zip(ids, results, strict=True)):
                for s, detections in enumerate(seeds):
                    boxes = batch.to_original(i, detections.boxes)
                    found[r, s].append((image_id, replace(detections, boxes=boxes)))
        done += len(ids)
        progress(done, len(split))
    attention(attention_kernels(detector))
    for (r, s), images in found.items():
        yield _joined(rows[r].exp_id, eval_seeds[s], _gathered(images, split))


def _gathered(images: Sequence[tuple[int, Detections]], split: CocoSplit) -> Sequence[tuple[int, Detections]]:
    """The images of all processes, in the order of the split."""
    if comm.get_world_size() == 1:
        return images
    on_cpu = [(i, Detections(*(getattr(d, f.name).cpu() for f in fields(d)))) for i, d in images]
    found = dict(pair for part in comm.all_gather(on_cpu) for pair in part)
    return [(image_id, found[image_id]) for image_id in split.image_ids]


def _joined(exp_id: str, eval_seed: int, images: Sequence[tuple[int, Detections]]) -> RunDetections:
    return RunDetections(
        exp_id,
        eval_seed,
        np.concatenate([np.full(len(d.scores), i, np.int64) for i, d in images]),
        np.concatenate([d.boxes.cpu().numpy().astype(np.float32).reshape(-1, 4) for _, d in images]),
        np.concatenate([d.scores.cpu().numpy().astype(np.float32) for _, d in images]),
        np.concatenate([d.labels.cpu().numpy().astype(np.int64) for _, d in images]),
    )
