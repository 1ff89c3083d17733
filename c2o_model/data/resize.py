"""Resizing of photographs by their shorter side, with their boxes; and the random crop that precedes it in training.

Pixels are resampled by Pillow's bilinear filter (integers in, integers out, anti-aliased when shrinking), as Detectron2
does it. Sizes: INPUT.MIN_SIZE_*, the shorter side, and INPUT.MAX_SIZE_*, which the longer one may not exceed.
Source: the multi-scale training of DETR (arXiv 2005.12872, appendix A.4), which DiffusionDet takes over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from c2o_model.data.augment import Augment
from c2o_model.data.draw import Draw

BEFORE_CROP = (400, 500, 600)  # px, shorter sides that a crop is taken from


def resized_size(height: int, width: int, shorter: int, longest: int) -> tuple[int, int]:
    """(height, width) with the shorter side ``shorter`` px, or less where the longer would exceed ``longest`` px."""
    scale = shorter / min(height, width)
    scale = min(scale, longest / max(height, width))
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def resize(image: Tensor, boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """uint8 [3,H,W] and boxes [n,4] xyxy px at ``height`` x ``width`` px; a new image unless the size is the same."""
    old_height, old_width = image.shape[1:]
    if (old_height, old_width) == (height, width):
        return image, boxes
    pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    smaller = torch.from_numpy(np.array(pixels.resize((width, height), Image.Resampling.BILINEAR)))
    scale = boxes.new_tensor([width / old_width, height / old_height]).repeat(2)
    return smaller.permute(2, 0, 1).contiguous(), boxes * scale


def crop(
    image: Tensor, boxes: Tensor, labels: Tensor, top: int, left: int, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The window of ``height`` x ``width`` px at (``top``, ``left``); boxes are cut to it, those outside dropped."""
    moved = boxes - boxes.new_tensor([left, top, left, top])
    moved = moved.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
    keep = (moved[:, 2:] > moved[:, :2]).all(1)
    return image[:, top : top + height, left : left + width].contiguous(), moved[keep], labels[keep]


@dataclass(frozen=True)
class Resize:
    """Bring the shorter side to one of ``sizes`` px (``sampling`` choice) or to any value between them (range).

    Called like `augment.Augment`, whose place in the stream of draws is before it. With ``crop`` (smallest, largest px
    a side) half of the images are first resized to one of BEFORE_CROP and cut to a random window.
    """

    sizes: tuple[int, ...]
    longest: int
    sampling: str = "choice"
    crop: tuple[int, int] | None = None

    def __call__(self, image: Tensor, boxes: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        if self.crop is not None and draw.percent(50):
            before = BEFORE_CROP[draw.integer(0, len(BEFORE_CROP) - 1)]
            image, boxes = resize(image, boxes, *resized_size(*image.shape[1:], before, self.longest))
            low, high = self.crop
            height, width = (draw.integer(min(side, low), min(side, high)) for side in image.shape[1:])
            top, left = draw.integer(0, image.shape[1] - height), draw.integer(0, image.shape[2] - width)
            image, boxes, labels = crop(image, boxes, labels, top, left, height, width)
        shorter = self.sizes[0]
        if self.sampling == "range":
            shorter = draw.integer(min(self.sizes), max(self.sizes))
        elif len(self.sizes) > 1:
            shorter = self.sizes[draw.integer(0, len(self.sizes) - 1)]
        image, boxes = resize(image, boxes, *resized_size(*image.shape[1:], shorter, self.longest))
        return image, boxes, labels


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training sample: `Augment`, then `Resize` where images are resized (None: they are not)."""

    augment: Augment
    resize: Resize | None

    @property
    def leaves_alone(self) -> bool:
        """Whether every sample comes out as it went in."""
        return self.augment == Augment() and self.resize is None

    def __call__(self, image: Tensor, boxes: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        image, boxes, labels = self.augment(image, boxes, labels, draw)
        return (image, boxes, labels) if self.resize is None else self.resize(image, boxes, labels, draw)


def training_resize(
    sizes: Sequence[int], longest: int, sampling: str, cropped: bool, crop_size: Sequence[float]
) -> Resize | None:
    """The `Resize` of INPUT.MIN_SIZE_TRAIN, MAX_SIZE_TRAIN, MIN_SIZE_TRAIN_SAMPLING, CROP; None where size is (0,)."""
    if tuple(sizes) == (0,):
        return None
    low, high = (int(side) for side in crop_size)
    return Resize(tuple(int(size) for size in sizes), longest, sampling, (low, high) if cropped else None)
