"""Evaluation by the Diffusers pipeline: what :func:`c2o_model.evaluation.run.evaluate` gives, bit for bit.

The data come as they come there, and their features are computed once for all rows and seeds. One process: the
pipeline knows of no group. Called by the workflow's evaluate rule for rows with ``stack: diffusers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm

from c2o_model.config import ConfigError
from c2o_model.data.coco import CocoSplit
from c2o_model.data.inference import inference_batches
from c2o_model.diffusers.pipeline import HybridDiffusionPipeline
from c2o_model.evaluation.run import EvalRow, RunDetections
from c2o_model.sampling.detections import Detections


@torch.inference_mode()
def evaluate(
    cfg: CfgNode,
    checkpoint: Path,
    split: CocoSplit,
    rows: Sequence[EvalRow],
    eval_seeds: Sequence[int],
    batch_size: int = 8,
) -> Iterator[RunDetections]:
    """Sample every row with every eval seed on every image of ``split``.

    Yields one :class:`RunDetections` per (row, eval seed), rows in order, then seeds in order.

    Raises:
        ConfigError: classes that are not those of ``split``, a row with a key that is none of test time, or a process
            group.
        CheckpointError: the file is missing, changed, or of another model.
    """
    if comm.get_world_size() > 1:
        raise ConfigError("stack: diffusers evaluates in one process; start it without a process group")
    classes = cfg.MODEL.DiffusionDet.NUM_CLASSES
    if classes != len(split.class_names):
        raise ConfigError(
            f"MODEL.DiffusionDet.NUM_CLASSES: {classes}, but {split.annotation} has {len(split.class_names)} classes"
        )
    for row in rows:
        row.settings(cfg)  # before the work begins
    pipeline = HybridDiffusionPipeline.from_c2o(cfg, checkpoint).to(cfg.MODEL.DEVICE)
    pipeline.set_progress_bar_config(disable=True)
    found: list[list[tuple[int, Detections]]] = [[] for _ in range(len(rows) * len(eval_seeds))]
    for batch in inference_batches(split, batch_size, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST):
        encoded = [pipeline.encode_batch(batch)]
        for r, row in enumerate(rows):
            (images,) = pipeline(
                features=encoded,
                eval_seeds=eval_seeds,
                num_inference_steps=row.sample_step,
                options=dict(row.opts),
                output_type="np",
                return_dict=False,
            )
            for image_id, seeds in zip(batch.image_ids, images, strict=True):
                for s, detections in enumerate(seeds):
                    found[r * len(eval_seeds) + s].append((image_id, detections))
    runs = [(row.exp_id, seed) for row in rows for seed in eval_seeds]
    for (exp_id, seed), of_images in zip(runs, found, strict=True):
        yield RunDetections(
            exp_id,
            seed,
            np.concatenate([np.full(len(d.scores), image_id, np.int64) for image_id, d in of_images]),
            np.concatenate([d.boxes.astype(np.float32).reshape(-1, 4) for _, d in of_images]),
            np.concatenate([d.scores.astype(np.float32) for _, d in of_images]),
            np.concatenate([d.labels.astype(np.int64) for _, d in of_images]),
        )
