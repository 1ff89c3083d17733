"""Images for inference: in order, resized where asked, and batched so that a batch cannot change what is found.

Images of one batch have the same size after resizing. Differently sized ones would be padded to the largest, and the
padding, which convolutions see at the border, would make the detections of an image depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from c2o_model.data.coco import CocoSplit
from c2o_model.data.images import ImageStore
from c2o_model.data.resize import resize, resized_size


@dataclass(frozen=True)
class InferenceBatch:
    """B images of one size as the network gets them.

    images uint8 [B,3,H,W] RGB; image_ids B; whwh [B,4] network pixels; scale [B,4], by which boxes are multiplied to
    get original pixels, and limit [B,4], the original size, or None for both where images keep their size.
    """

    images: Tensor
    image_ids: list[int]
    whwh: Tensor
    scale: Tensor | None
    limit: Tensor | None

    def to_original(self, index: int, boxes: Tensor) -> Tensor:
        """Boxes [n,4] xyxy of image ``index`` in pixels of its file."""
        if self.scale is None or self.limit is None:
            return boxes
        scale, limit = self.scale[index].to(boxes.device), self.limit[index].to(boxes.device)
        return (boxes * scale).clamp(min=0).minimum(limit)


def inference_batches(
    split: CocoSplit, batch_size: int, shorter: int = 0, longest: int = 1333, rank: int = 0, world_size: int = 1
) -> Iterator[InferenceBatch]:
    """The images of ``split`` in order, at most ``batch_size`` at once, decoded as they come.

    Args:
        shorter: INPUT.MIN_SIZE_TEST, px; 0 leaves images as they are. longest: INPUT.MAX_SIZE_TEST.
        rank, world_size: of several processes each takes every ``world_size``-th of the same batches, from ``rank`` on.
    """
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size} is not positive")
    store = ImageStore(split, cache_mb=0)
    sizes = [(int(h), int(w)) for h, w in split.sizes]
    targets = [resized_size(h, w, shorter, longest) if shorter else (h, w) for h, w in sizes]
    start = number = 0
    while start < len(split):
        end = start + 1
        while end < min(start + batch_size, len(split)) and targets[end] == targets[start]:
            end += 1
        height, width = targets[start]
        first, start, number = start, end, number + 1
        if (number - 1) % world_size != rank:
            continue
        images = torch.stack([resize(store[i], torch.zeros(0, 4), height, width)[0] for i in range(first, end)])
        whwh = torch.tensor([[width, height]]).float().repeat(end - first, 2)
        limit = torch.tensor([[w, h] for h, w in sizes[first:end]]).float().repeat(1, 2) if shorter else None
        scale = None if limit is None else limit / whwh
        yield InferenceBatch(images, [split.image_ids[i] for i in range(first, end)], whwh, scale, limit)
