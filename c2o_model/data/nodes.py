"""Fixed-N collate: the ground truth of a batch as N graph nodes an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def collate_nodes(
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    count: int,
    unk: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """B images with boxes [n, 4] and labels [n] -> boxes [B, N, 4], labels [B, N], mask [B, N], N = `count`.

    Nodes without ground truth have a zero box, the label `unk` and mask False. An image with more than N
    objects keeps a random subset drawn from `generator`, in the original order; without a generator that is a
    ValueError.
    """
    batch = len(boxes)
    kind = boxes[0] if batch else torch.zeros(0, 4)
    out_boxes = torch.zeros(batch, count, 4, dtype=kind.dtype, device=kind.device)
    out_labels = torch.full((batch, count), unk, dtype=torch.int64, device=kind.device)
    mask = torch.zeros(batch, count, dtype=torch.bool, device=kind.device)
    for row, (own_boxes, own_labels) in enumerate(zip(boxes, labels, strict=True)):
        if len(own_boxes) > count:
            if generator is None:
                raise ValueError(
                    f"image {row} has {len(own_boxes)} objects, more than {count} nodes; give a generator"
                )
            kept = (
                torch.randperm(len(own_boxes), generator=generator)[:count].sort().values.to(own_boxes.device)
            )
            own_boxes, own_labels = own_boxes[kept], own_labels[kept]
        out_boxes[row, : len(own_boxes)] = own_boxes
        out_labels[row, : len(own_labels)] = own_labels
        mask[row, : len(own_labels)] = True
    return out_boxes, out_labels, mask
