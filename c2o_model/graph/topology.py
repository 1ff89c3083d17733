"""GRAPH_TOPO_LOSS: nodes that see overlapping objects should attend to each other.

For one image let M be its matched nodes, g(i) the object of node i, and

    A_ij = [IoU(b_g(i), b_g(j)) > threshold], i, j in M (so a node is its own neighbour, IoU 1, below threshold 1),
           divided by its row's sum where GRAPH_TOPO_TARGET_NORM is `row`;
    P_ij = the head-mean attention of the last stage, restricted to the columns in M and renormalised there.

    loss = -(1 / |M|) sum_i sum_j A_ij log P_ij, as a mean over the images of the batch.

An image with fewer than two objects adds nothing (and counts in the mean, so that a batch may be split among
processes). An edge that GEO_BIAS_TOPK cuts cannot be learnt and is left out of A. Only the matched rows of the
attention are computed, [R, N] with R <= OTA_K times the number of objects, so memory stays linear in N; all
logarithms are taken before sums, so nothing underflows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from c2o_model.divisors import over_batch
from c2o_model.graph.bias import EdgeBias
from c2o_model.graph.edges import pair_iou

TARGET_NORMS = ("row", "none")
CUT = -1e4  # stands for -inf in a sum of exponentials: exp gives 0 in float32, and no gradient becomes nan


def topology_loss(
    q: Tensor,
    k: Tensor,
    bias: EdgeBias | None,
    gt_index: Tensor,
    gt_boxes: Tensor,
    gt_mask: Tensor,
    *,
    most_per_object: int,
    iou_thresh: float,
    target_norm: str = "row",
) -> Tensor:
    """The loss of B images, a float32 scalar >= 0.

    Args:
        q, k: queries and keys of the last stage, [B, H, N, d].
        bias: of its scores, or None.
        gt_index: int64 [B, N], the object of each node, -1 for none.
        gt_boxes: [B, G, 4] xyxy pixels; gt_mask: bool [B, G].
        most_per_object: the most nodes that the matcher gives an object (OTA_K): bounds the rows without asking
            the device.
        iou_thresh: of the adjacency, in [0, 1].
        target_norm: `row` | `none`.

    Raises ValueError for another `target_norm`.
    """
    if target_norm not in TARGET_NORMS:
        raise ValueError(f"GRAPH_TOPO_TARGET_NORM: {target_norm!r} is unknown; choose one of {', '.join(TARGET_NORMS)}")
    if gt_boxes.shape[1] == 0:
        return q.sum() * 0.0
    most = min(gt_index.shape[1], max(1, most_per_object) * gt_boxes.shape[1])
    rows = (gt_index < 0).sort(dim=1, stable=True).indices[:, :most]  # matched nodes first
    owner = gt_index.gather(1, rows)  # [B,R]
    real = owner >= 0
    log_p, possible = matched_attention(q, k, bias, rows, real)
    target = adjacency(owner, gt_boxes, iou_thresh) & possible & real[:, :, None] & real[:, None]
    weight = target.to(log_p.dtype)
    if target_norm == "row":
        weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=1)
    per_image = -(weight * log_p).sum(dim=(1, 2)) / real.sum(dim=1).clamp(min=1)
    return (per_image * (gt_mask.sum(dim=1) >= 2)).sum() / over_batch(per_image.shape[0])


def matched_attention(q: Tensor, k: Tensor, bias: EdgeBias | None, rows: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """log P [B, R, R] among the nodes `rows` [B, R], and which of these edges exist, bool [B, R, R].

    P is the head-mean of softmax over all N columns, restricted to the columns `rows` where `real` [B, R] and
    renormalised. Cut edges hold a large negative number.
    """
    batch = torch.arange(q.shape[0], device=q.device)[:, None]
    own = q.transpose(1, 2)[batch, rows].transpose(1, 2).float()  # [B,H,R,d]
    with torch.autocast(q.device.type, enabled=False):  # logarithms of small shares want float32 scores
        scores = own @ k.float().transpose(-1, -2) * q.shape[-1] ** -0.5  # [B,H,R,N]
    columns = rows[:, None, None, :]
    possible = torch.ones_like(real[:, :, None] & real[:, None])
    if bias is not None:
        values, kept = bias.values(rows), bias.kept(rows)
        scores = scores if values is None else scores + values
        if kept is not None:
            scores = scores.masked_fill(~kept, CUT)
            possible = kept[:, 0].gather(2, rows[:, None].expand(-1, rows.shape[1], -1))
    log_all = scores - scores.logsumexp(dim=3, keepdim=True)
    log_all = log_all.gather(3, columns.expand(*log_all.shape[:3], -1))
    log_mean = log_all.logsumexp(dim=1) - math.log(q.shape[1])  # [B,R,R]
    among = log_mean.masked_fill(~real[:, None], CUT)
    return log_mean - among.logsumexp(dim=2, keepdim=True), possible


def adjacency(owner: Tensor, gt_boxes: Tensor, iou_thresh: float) -> Tensor:
    """bool [B, R, R]: whether the objects `owner` [B, R] of two nodes overlap by more than `iou_thresh`."""
    batch = torch.arange(owner.shape[0], device=owner.device)[:, None]
    boxes = gt_boxes.float()[batch, owner.clamp(min=0)]
    return pair_iou(boxes, boxes) > iou_thresh
