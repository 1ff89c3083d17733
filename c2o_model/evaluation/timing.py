"""Inference speed of several (checkpoint, row) cases, measured side by side in one process.

The repeats of all cases are interleaved, so that a slow minute of a shared machine hits all of them alike; medians
are reported. Called by the workflow's timing rule. Timings never enter the metrics tables' digests (evidence.md).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from c2o_model.data.coco import CocoSplit
from c2o_model.data.inference import inference_batches
from c2o_model.evaluation.run import EvalRow, load_detector
from c2o_model.sampling.sampler import sample


@dataclass(frozen=True)
class TimingCase:
    """What is timed: a row of the table on a checkpoint with the configuration that it was trained with."""

    row: EvalRow
    cfg: CfgNode
    checkpoint: Path


@torch.inference_mode()
def time_inference(
    cases: Sequence[TimingCase], split: CocoSplit, *, images: int, batch: int, warmup: int, repeats: int
) -> list[dict[str, Any]]:
    """Seconds from uint8 pixels to detections, per image, one eval seed.

    Args:
        images: how many images of ``split`` one repeat runs over. batch: images at once.
        warmup, repeats: passes before and during measurement.

    Returns:
        One dict a case: exp_id, sample_step, inference_s_per_img (median) with _min and _max, inference_fps,
        warmup, repeats, images, batch, image_height, image_width, dtype, threads, device.
    """
    device = torch.device(cases[0].cfg.MODEL.DEVICE)
    shapes = cases[0].cfg.INPUT
    few = split.select(list(range(min(images, len(split)))))
    sets = list(inference_batches(few, batch, shapes.MIN_SIZE_TEST, shapes.MAX_SIZE_TEST))
    count = sum(len(s.image_ids) for s in sets)
    detectors = [load_detector(case.cfg, case.checkpoint) for case in cases]
    chosen = [case.row.settings(case.cfg) for case in cases]
    seconds: list[list[float]] = [[] for _ in cases]
    for attempt in range(-warmup, repeats):
        for i, case in enumerate(cases):
            detector, settings = detectors[i], chosen[i]
            detector.settings = settings
            started = _now(device)
            for part in sets:
                features = detector.features(part.images)
                whwh, ids = part.whwh.to(device), part.image_ids
                sample(detector, features, whwh, ids, [0], settings.sampler, case.cfg.TEST.DETECTIONS_PER_IMAGE)
            if attempt >= 0:
                seconds[i].append((_now(device) - started) / count)
    height, width = (int(v) for v in sets[0].images.shape[2:])  # of the first image as the network gets it
    shared = {
        "warmup": warmup,
        "repeats": repeats,
        "images": count,
        "batch": batch,
        "image_height": height,
        "image_width": width,
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
    rows = []
    for case, values in zip(cases, seconds, strict=True):
        middle = statistics.median(values)
        rows.append(
            {
                "exp_id": case.row.exp_id,
                "sample_step": case.row.sample_step,
                "inference_s_per_img": middle,
                "inference_s_per_img_min": min(values),
                "inference_s_per_img_max": max(values),
                "inference_fps": 1 / middle,
                **shared,
            }
        )
    return rows


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
