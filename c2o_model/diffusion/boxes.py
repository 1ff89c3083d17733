"""Boxes as the Gaussian diffusion sees them: centre and size over the image, scaled to [-scale, scale].

Forms: `cxcywh` and `xyxy` are the last dimension, 4 wide; "01" means divided by the image's width and height.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_SIZE = 1e-4
"""The least width and height of a padding box, as a fraction of the image."""


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) -> (x0, y0, x1, y1), any leading shape, same unit."""
    centre, half = boxes[..., :2], 0.5 * boxes[..., 2:]
    return torch.cat([centre - half, centre + half], dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(x0, y0, x1, y1) -> (cx, cy, w, h), any leading shape, same unit."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) * 0.5, high - low], dim=-1)


def encode(boxes: Tensor, scale: float) -> Tensor:
    """cxcywh01 in [0, 1] -> the signal of the diffusion, (2b - 1) scale in [-scale, scale].

    `scale` is SNR_SCALE, the signal-to-noise lever of Analog Bits (arXiv 2208.04202, sec. 2).
    """
    return (boxes * 2 - 1) * scale


def decode(x: Tensor, scale: float) -> Tensor:
    """The inverse of `encode`, after clamping x to [-scale, scale]: cxcywh01 in [0, 1]."""
    return (x.clamp(-scale, scale) / scale + 1) / 2


def pad_nodes(
    gt: Tensor, mask: Tensor, num_nodes: int, fill_noise: Tensor, order_keys: Tensor
) -> tuple[Tensor, Tensor]:
    """The clean boxes x_0 of the N training nodes of each image (DiffusionDet, arXiv 2211.09788, sec. 3.3).

    Ground truth comes first, in its own order; the other nodes get boxes drawn from N(0.5, 1/6) with
    w, h >= 1e-4. Of more than N objects a random N are kept. An image without objects gets one full-image
    placeholder, then padding.

    Args:
        gt: [B, G, 4] cxcywh01; rows where `mask` is False are ignored.
        mask: bool [B, G].
        num_nodes: N.
        fill_noise: [B, N, 4] standard normal.
        order_keys: [B, G] uniform, distinct; the N smallest decide which objects are kept.

    Returns:
        x0 [B, N, 4] cxcywh01, and the object's index into G for each node, int64 [B, N], -1 where there is
        none.
    """
    batch, objects = mask.shape
    x0 = fill_noise / 6 + 0.5
    x0 = torch.cat([x0[..., :2], x0[..., 2:].clamp(min=MIN_SIZE)], dim=-1)
    empty = ~mask.any(dim=1)
    x0[:, 0] = torch.where(empty[:, None], x0.new_tensor([0.5, 0.5, 1.0, 1.0]), x0[:, 0])
    index = torch.full((batch, num_nodes + 1), -1, dtype=torch.int64, device=gt.device)
    if objects == 0:
        return x0, index[:, :num_nodes]
    kept = mask
    if objects > num_nodes:
        order = order_keys.masked_fill(~mask, float("inf")).argsort(dim=1, stable=True)
        kept = torch.zeros_like(mask).scatter_(1, order[:, :num_nodes], True) & mask
    # Objects that are not kept all land in the extra column N, which is then cut off.
    slot = torch.where(kept, kept.cumsum(dim=1) - 1, num_nodes)
    index.scatter_(1, slot, torch.arange(objects, device=gt.device).expand(batch, objects))
    index = index[:, :num_nodes]
    boxes = gt.gather(1, index.clamp(min=0)[..., None].expand(-1, -1, 4))
    return torch.where((index >= 0)[..., None], boxes.to(x0.dtype), x0), index
