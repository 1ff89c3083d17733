"""Pure geometry of pairs of nodes: distance, overlap, relative geometry and the k nearest neighbours.

Shapes: M node sets (images), R rows (nodes that look), N columns (nodes that are looked at). Boxes are xyxy in
pixels. Sides are floored at MIN_SIDE of the image's, so that a degenerate noisy box gives finite numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_SIDE = 1e-4
"""Sides are floored at this fraction of the image."""
DISTANCE_FLOOR = -50.0
"""Pairs further apart than this count as this far: exp(-50) is no attention at all in float32, and a degenerate
box (side 1e-4 of the image) must not send a gradient of 1e7 to the learnt scale."""
MIN_SHARED_SCALE = 0.02
"""The shared scale is at least this fraction of the image's."""


def centres(boxes: Tensor) -> Tensor:
    """[..., 4] -> [..., 2] in pixels."""
    return (boxes[..., :2] + boxes[..., 2:]) * 0.5


def sides(boxes: Tensor, image_whwh: Tensor) -> Tensor:
    """Width and height [M, N, 2] in pixels of boxes [M, N, 4], at least MIN_SIDE of the image's [M, 4]."""
    return torch.maximum(boxes[..., 2:] - boxes[..., :2], MIN_SIDE * image_whwh[:, None, :2])


def scales(boxes: Tensor, image_whwh: Tensor) -> Tensor:
    """s = sqrt(area) [M, N] in pixels."""
    return sides(boxes, image_whwh).prod(dim=-1).sqrt()


def shared_scale(boxes: Tensor, image_whwh: Tensor) -> Tensor:
    """One scale a node set, [M] in pixels: the mean s of its nodes, at least MIN_SHARED_SCALE of the image's."""
    least = MIN_SHARED_SCALE * (image_whwh[:, 0] * image_whwh[:, 1]).sqrt()
    return torch.maximum(scales(boxes, image_whwh).mean(dim=1), least)


def squared_distance(rows: Tensor, boxes: Tensor) -> Tensor:
    """||c_i - c_j||^2 between centres, [M, R, N] in square pixels; differences first, so equal pairs tie exactly."""
    dx, dy = (centres(rows)[:, :, None] - centres(boxes)[:, None]).unbind(-1)
    return dx * dx + dy * dy


def distance_bias(rows: Tensor, boxes: Tensor, image_whwh: Tensor, sigma: float) -> Tensor:
    """-||c_i - c_j||^2 / (2 sigma^2 s_i s_j), [M, R, N], in [DISTANCE_FLOOR, 0]."""
    product = scales(rows, image_whwh)[:, :, None] * scales(boxes, image_whwh)[:, None]
    return (squared_distance(rows, boxes) / (-2 * sigma**2 * product)).clamp(min=DISTANCE_FLOOR)


def shared_distance_bias(rows: Tensor, boxes: Tensor, image_whwh: Tensor, sigma: float) -> Tensor:
    """-||c_i - c_j||^2 / (2 sigma^2 S^2), [M, R, N], <= 0, with the `shared_scale` S of all `boxes`."""
    scale = shared_scale(boxes, image_whwh)[:, None, None]
    return squared_distance(rows, boxes) / (-2 * sigma**2 * scale * scale)


def pair_iou(rows: Tensor, boxes: Tensor) -> Tensor:
    """IoU [M, R, N] in [0, 1]; 0 where neither box has an area."""
    a, b = rows[:, :, None], boxes[:, None]
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    inter = overlap[..., 0] * overlap[..., 1]
    size_a, size_b = (a[..., 2:] - a[..., :2]).clamp(min=0), (b[..., 2:] - b[..., :2]).clamp(min=0)
    union = size_a[..., 0] * size_a[..., 1] + size_b[..., 0] * size_b[..., 1] - inter
    return inter / union.clamp(min=1e-7)


def relative_geometry(rows: Tensor, boxes: Tensor, image_whwh: Tensor) -> Tensor:
    """(|dx|/w_i, |dy|/h_i, log w_j/w_i, log h_j/h_i, IoU), [M, R, N, 5] (as Relation Networks, arXiv 1711.11575)."""
    own, other = sides(rows, image_whwh)[:, :, None], sides(boxes, image_whwh)[:, None]
    shift = (centres(boxes)[:, None] - centres(rows)[:, :, None]).abs() / own
    return torch.cat([shift, (other / own).log(), pair_iou(rows, boxes)[..., None]], dim=-1)


def knn_mask(boxes: Tensor, k: int) -> Tensor:
    """Which edges the k-nearest-neighbour graph keeps: bool [M, N, N], row i looks at column j.

    A node keeps itself and the k other nodes whose centres are nearest to its own; of equally near ones those
    with the smallest index. With k >= N - 1 the graph is full.
    """
    n = boxes.shape[1]
    distance = squared_distance(boxes, boxes)
    distance = distance.masked_fill(torch.eye(n, dtype=torch.bool, device=boxes.device), -1.0)  # itself first
    count = min(k + 1, n)
    # A stable sort of every row would be simpler and, at N = 2000, several times the cost of the attention.
    last = distance.topk(count, dim=2, largest=False).values.amax(dim=2, keepdim=True)
    nearer, tied = distance < last, distance == last
    places = count - nearer.sum(dim=2, keepdim=True, dtype=torch.int32)
    return nearer | (tied & (tied.cumsum(dim=2, dtype=torch.int32) <= places))
