"""Pyramids of a frozen backbone, computed once for a whole training set and shared by every job that freezes it.

With SOLVER.BACKBONE_MULTIPLIER 0 and no augmentation the backbone says the same of an image in every epoch, in every
stage of the chain and for every train seed. The pyramids are filled in file order in batches of fixed size, so a run
has the same bits whether it computes them, finds them or resumes. On disk they are keyed by the weights, the files
and the code that made them, carry a digest, and can be deleted at any time. Called by the training loop; measured in
benchmarks/feature_cache.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from c2o_model.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from c2o_model.data.coco import CocoSplit
from c2o_model.data.loader import image_batches
from c2o_model.modeling.detector import DiffusionDet

FILL_BATCH = 16
MB = 2**20


class FeatureCache:
    """Pyramid levels [M, H_l, W_l, C] of all M images of a split of equally sized images, by image id."""

    def __init__(self, levels: Sequence[Tensor], image_ids: Sequence[int]) -> None:
        self.levels = list(levels)
        self.row = {image_id: index for index, image_id in enumerate(image_ids)}

    def __call__(self, image_ids: Sequence[int]) -> list[Tensor]:
        """Levels [B, C, H_l, W_l] of the named images."""
        rows = torch.tensor([self.row[i] for i in image_ids], device=self.levels[0].device)
        return [level[rows].permute(0, 3, 1, 2) for level in self.levels]


def cached_features(
    detector: DiffusionDet, split: CocoSplit, limit_mb: int, directory: Path | None = None, code: str = ""
) -> FeatureCache | None:
    """The cache of ``split``, or None where images differ in size or the pyramids would need more than ``limit_mb``.

    Args:
        directory: where the pyramids are kept for other jobs. The first job computes them, the others wait for it.
        code: digest of the sources and of settings that the weights do not show; pyramids made by others are not used.
    """
    if (split.sizes != split.sizes[0]).any() or _size(detector, split) > limit_mb * MB:
        return None
    if directory is None:
        return FeatureCache(compute_pyramids(detector, split), split.image_ids)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{_key(detector, split, code)}.safetensors"
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            try:
                found, _ = read_checkpoint(path)
                return FeatureCache([found[name] for name in sorted(found)], split.image_ids)
            except CheckpointError as error:
                print(f"{error}; computing the features again", file=sys.stderr)
        levels = compute_pyramids(detector, split)
        try:
            save_checkpoint(path, {f"level{i}": level for i, level in enumerate(levels)}, {})
        except CheckpointError as error:  # a full disk costs the next job its time, not this one its result
            print(f"{error}; going on with the features in memory", file=sys.stderr)
    return FeatureCache(levels, split.image_ids)


@torch.no_grad()
def compute_pyramids(detector: DiffusionDet, split: CocoSplit) -> list[Tensor]:
    """Pyramid levels [M, H_l, W_l, C] of the M images of ``split``, in its order."""
    levels: list[Tensor] = []
    start = 0
    for batch in image_batches(split, FILL_BATCH):
        features = [f.permute(0, 2, 3, 1) for f in detector.features(batch.images)]
        if not levels:
            levels = [f.new_empty(len(split), *f.shape[1:]) for f in features]
        for level, feature in zip(levels, features, strict=True):
            level[start : start + len(feature)] = feature
        start += len(batch.image_ids)
    return levels


def _size(detector: DiffusionDet, split: CocoSplit) -> int:
    """Bytes of the pyramids of ``split``."""
    height, width = (int(v) for v in split.sizes[0])
    shapes = [detector.backbone.output_shape()[name] for name in detector.in_features]  # type: ignore[operator]
    return sum(len(split) * 4 * s.channels * -(-height // s.stride) * -(-width // s.stride) for s in shapes)


def _key(detector: DiffusionDet, split: CocoSplit, code: str) -> str:
    kernels = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {os.environ.get('ONEDNN_MAX_CPU_ISA')}"
    channels = " BGR" if detector.normalise.bgr else ""
    about = f"{kernels} {code} {detector.in_features} {split.image_ids} {detector.backbone}{channels}"
    digest = hashlib.sha256(about.encode())
    for name, value in sorted(detector.backbone.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    for tensor in (detector.normalise.mean, detector.normalise.std):
        digest.update(tensor.cpu().numpy().tobytes())
    for index in range(len(split)):
        digest.update(split.image_path(index).read_bytes())
    return digest.hexdigest()
