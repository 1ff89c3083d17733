"""Training augmentation in integers and slices: flip, shift, brightness and contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from c2o_model.data.draw import Draw


@dataclass(frozen=True)
class Augment:
    """What may happen to a training image; every default leaves it alone.

    Called with image uint8 [3, H, W], boxes float32 [n, 4] xyxy px, labels int64 [n] and the sample's own
    stream; returns new ones of the same kind. A box that keeps less than `min_visible` per cent of its area
    is dropped with its label.
    """

    brightness: int = 0  # most that is added to or taken from every value, 0..255
    contrast: int = 0  # most that distances from the image's mean grow or shrink, in per cent, 0..99
    shift: int = 0  # most px that the picture moves along each axis; the gap takes the mean colour
    flip: bool = False  # mirror left and right for half of the images (wrong for digits)
    min_visible: int = 40

    def __post_init__(self) -> None:
        for name, high in (("brightness", 255), ("contrast", 99), ("shift", 4096), ("min_visible", 100)):
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"Augment.{name}: {getattr(self, name)!r} is not in 0..{high}")

    def __call__(
        self, image: Tensor, boxes: Tensor, labels: Tensor, draw: Draw
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self.flip and draw.percent(50):
            image, boxes = flip(image, boxes)
        if self.shift:
            dx, dy = draw.integer(-self.shift, self.shift), draw.integer(-self.shift, self.shift)
            image, boxes, labels = shift(image, boxes, labels, dx, dy, self.min_visible)
        if self.brightness or self.contrast:
            gain = 100 + draw.integer(-self.contrast, self.contrast)
            image = relight(image, draw.integer(-self.brightness, self.brightness), gain)
        return image, boxes, labels


def flip(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror left and right."""
    width = image.shape[2]
    return image.flip(2), torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), 1)


def mean_colour(image: Tensor) -> Tensor:
    """Integer mean of each channel: uint8 [3]."""
    return (image.sum((1, 2), dtype=torch.int64) // image[0].numel()).to(torch.uint8)


def shift(
    image: Tensor, boxes: Tensor, labels: Tensor, dx: int, dy: int, min_visible: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Move the picture by (dx, dy) px, right and down positive; same size, the gap takes the mean colour."""
    height, width = image.shape[1:]
    moved = mean_colour(image)[:, None, None].repeat(1, height, width)
    x0, x1, y0, y1 = max(0, dx), min(width, width + dx), max(0, dy), min(height, height + dy)
    if x0 < x1 and y0 < y1:
        moved[:, y0:y1, x0:x1] = image[:, y0 - dy : y1 - dy, x0 - dx : x1 - dx]
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    there = torch.minimum((boxes + torch.tensor([dx, dy, dx, dy], dtype=boxes.dtype)).clamp(min=0), limit)
    keep = (_area(there) * 100 >= _area(boxes) * min_visible) & (_area(there) > 0)
    return moved, there[keep], labels[keep]


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def relight(image: Tensor, brightness: int, gain: int) -> Tensor:
    """Stretch values about the image's mean by `gain` per cent, then add `brightness`; clipped to 0..255."""
    centre = int(mean_colour(image).sum(dtype=torch.int64)) // 3
    table = (np.arange(256) - centre) * gain // 100 + centre + brightness
    return torch.from_numpy(table.clip(0, 255).astype(np.uint8)[image.numpy()])
