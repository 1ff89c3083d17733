"""The gallery of a suite: pictures of the validation set, the denoising of one of them, the attention of its scene.

What is shown is decided before any model has looked: pictures evenly spaced over the sorted image ids, of these for the
denoising the one with the most annotated objects (the first of several), the first train seed and the first eval seed.
Called by the workflow's rule `gallery`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from c2o_model.config import config_from_dict
from c2o_model.data import manifest as manifests
from c2o_model.data.coco import CROWD, CocoSplit, load_split
from c2o_model.data.inference import InferenceBatch, inference_batches
from c2o_model.evaluation.run import EvalRow, evaluate, load_detector
from c2o_model.gallery.observe import Watched, watch
from c2o_model.gallery.pictures import png_of
from c2o_model.gallery.relations import scene
from c2o_model.graph.attention import NodeAttention
from c2o_model.keys import ConfigError
from c2o_model.modeling.detector import DiffusionDet

FORMAT = 1
BATCH = signature(evaluate).parameters["batch_size"].default  # other batches, other last bits


@dataclass(frozen=True)
class GalleryRow:
    """A row of the gallery: how it samples, the merged configuration of its model, the checkpoint of one train seed."""

    row: EvalRow
    config: Mapping[str, Any]
    checkpoint: Path


def evenly_spaced(count: int, among: int) -> list[int]:
    """``count`` of 0..among-1, each in the middle of its share. Raises ConfigError where there are fewer."""
    if count > among:
        raise ConfigError(f"gallery.images: {count} is more than the {among} images of val; ask for {among} or fewer")
    return [(2 * number + 1) * among // (2 * count) for number in range(count)]


def build_gallery(
    rows: Sequence[GalleryRow], data: Path, images: int, train_seed: int, eval_seeds: Sequence[int], out: Path
) -> dict[str, Any]:
    """Write ``out/gallery.json`` and the pictures beside it; returns the document.

    Args:
        rows: the first one's denoising is shown (the teacher), and the last one's attention (the student).
        data: directory of the data set. eval_seeds: all of the suite, as they were evaluated together.
    """
    known = manifests.read(data)
    split = load_split(known.annotation("val"), known.root, known)
    chosen = evenly_spaced(images, len(split))
    (out / "images").mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "format": FORMAT,
        "rows": [row.row.exp_id for row in rows],
        "train_seed": train_seed,
        "eval_seed": eval_seeds[0],
        "images": [_picture(split, index, number, known, out) for number, index in enumerate(chosen)],
    }
    shown = max(chosen, key=lambda index: _objects(split, index))
    document["filmstrip"] = _filmstrip(rows[0], split, shown, eval_seeds)
    document["attention"] = _attention(rows[-1], split, shown, eval_seeds)
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    (out / "gallery.json").write_text(text + "\n", encoding="utf-8")
    return document


def _objects(split: CocoSplit, index: int) -> int:
    """Annotated objects of a picture: also those that nothing is trained on, but no crowd regions."""
    dropped = (box for box in split.dropped if box.image_id == split.image_ids[index] and box.reason != CROWD)
    return len(split.boxes[index]) + sum(1 for _ in dropped)


def _picture(split: CocoSplit, index: int, number: int, known: manifests.DataManifest, out: Path) -> dict[str, Any]:
    name = f"images/{number}.png"
    content = png_of(split, index)
    (out / name).write_bytes(content)
    height, width = (int(side) for side in split.sizes[index])
    source = split.file_names[index]
    return {
        "image_id": split.image_ids[index],
        "file": name,
        "width": width,
        "height": height,
        "sha256": hashlib.sha256(content).hexdigest(),
        "source": source,
        "source_sha256": known.files[source].sha256,
    }


def _watched(
    row: GalleryRow, split: CocoSplit, index: int, eval_seeds: Sequence[int]
) -> tuple[DiffusionDet, InferenceBatch, int, Watched]:
    """The row on the very batch in which the evaluation had the picture, with all eval seeds, and its place there."""
    cfg = config_from_dict(row.config)
    detector = load_detector(cfg, row.checkpoint)
    detector.settings = row.row.settings(cfg)
    image_id = split.image_ids[index]
    for batch in inference_batches(split, BATCH, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST):
        if image_id in batch.image_ids:
            break
    watched = watch_batch(detector, batch, eval_seeds, cfg.TEST.DETECTIONS_PER_IMAGE)
    return detector, batch, batch.image_ids.index(image_id), watched


def watch_batch(detector: DiffusionDet, batch: InferenceBatch, eval_seeds: Sequence[int], per_image: int) -> Watched:
    """Sample a batch as the detector's settings say, watched."""
    with torch.inference_mode():
        features = detector.features(batch.images)
        whwh = batch.whwh.to(detector.device)
        return watch(detector, features, whwh, batch.image_ids, eval_seeds, detector.settings.sampler, per_image)


def _filmstrip(row: GalleryRow, split: CocoSplit, index: int, eval_seeds: Sequence[int]) -> dict[str, Any]:
    _, batch, place, watched = _watched(row, split, index, eval_seeds)
    steps = []
    for number, (step, found) in enumerate(zip(watched.steps, watched.frames(place, 0), strict=True), 1):
        boxes = batch.to_original(place, found.boxes)
        steps.append({"step": number, "time": step.time, **_listed(boxes, found.scores, found.labels)})
    return {"exp_id": row.row.exp_id, "image_id": split.image_ids[index], "steps": steps}


def _attention(row: GalleryRow, split: CocoSplit, index: int, eval_seeds: Sequence[int]) -> dict[str, Any] | None:
    detector, batch, place, watched = _watched(row, split, index, eval_seeds)
    stages = detector.head.head_series
    layer = stages[-1].self_attn
    assert isinstance(layer, NodeAttention)
    found = scene(watched, layer, place, 0)
    if found is None:
        return None
    listed = _listed(batch.to_original(place, found.boxes), found.scores, found.labels)
    listed["nodes"] = listed.pop("boxes")
    listed["edges"] = [[i, j, round(weight, 6)] for i, j, weight in found.edges]
    return {"exp_id": row.row.exp_id, "image_id": split.image_ids[index], "stage": len(stages), **listed}


def _listed(boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, list[Any]]:
    return {
        "boxes": [[shortest(side) for side in box] for box in boxes.cpu().numpy().astype(np.float32)],
        "scores": [shortest(score) for score in scores.cpu().numpy().astype(np.float32)],
        "classes": labels.tolist(),
    }


def shortest(value: np.float32) -> float:
    """The number with the fewest digits that is ``value`` in float32: it comes back bit by bit."""
    return float(str(value))
