"""The matcher and the losses as one writes them down first: stage by stage, image by image, object by object.

The baseline of `benchmarks.matcher_and_losses` and the reference of the matcher's tests. Costs come from
torchvision's box functions; the assignment is loops. Same rules as c2o_model.modeling.matcher, no shared
code.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou, generalized_box_iou_loss, sigmoid_focal_loss


def cost_matrix(logits: Tensor, boxes: Tensor, labels: Tensor, gt_boxes: Tensor, whwh: Tensor) -> tuple[Tensor, Tensor]:
    """Cost and IoU [N, G] of one image: logits [N, K], boxes [N, 4], labels [G], gt_boxes [G, 4]."""
    p = logits.sigmoid()
    positive = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log()
    negative = 0.75 * p**2 * -(1 - p + 1e-8).log()
    cls = (positive - negative)[:, labels]
    l1 = torch.cdist(boxes / whwh, gt_boxes / whwh, p=1)
    iou = box_iou(boxes, gt_boxes)
    giou = generalized_box_iou(boxes, gt_boxes)
    cx, cy = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    in_box, in_centre = [], []
    for x0, y0, x1, y1 in gt_boxes:
        in_box.append((cx > x0) & (cx < x1) & (cy > y0) & (cy < y1))
        gx, gy, rx, ry = (x0 + x1) / 2, (y0 + y1) / 2, 2.5 * (x1 - x0), 2.5 * (y1 - y0)
        in_centre.append((cx > gx - rx) & (cx < gx + rx) & (cy > gy - ry) & (cy < gy + ry))
    inside, central = torch.stack(in_box, dim=1), torch.stack(in_centre, dim=1)
    cost = 5 * l1 + 2 * cls - 2 * giou + 100 * (~(inside & central)).float()
    cost[~(inside | central).any(dim=1)] += 10000
    return cost, iou


def assign(cost: Tensor, iou: Tensor, ota_k: int) -> Tensor:
    """The object of each node, int64 [N], -1 for none, from cost and IoU [N, G] of one image."""
    nodes, objects = cost.shape
    claims = torch.zeros(nodes, objects, dtype=torch.bool)
    for g in range(objects):
        k = max(1, int(iou[:, g].topk(min(ota_k, nodes)).values.sum().item()))
        claims[cost[:, g].argsort(stable=True)[:k], g] = True
    for n in range(nodes):
        if claims[n].sum() > 1:
            claims[n] = False
            claims[n, cost[n].argmin()] = True
    while True:
        free = (~claims.any(dim=1)).nonzero()[:, 0]
        left = (~claims.any(dim=0)).nonzero()[:, 0].tolist()
        if not left or not len(free):
            break
        wanted: dict[int, list[int]] = {}
        for g in left:
            wanted.setdefault(int(free[cost[free, g].argmin()]), []).append(g)
        for n, bidders in wanted.items():
            claims[n, min(bidders, key=lambda g: float(cost[n, g]))] = True
    return torch.where(claims.any(dim=1), claims.int().argmax(dim=1), -1)


def match(
    logits: Tensor, boxes: Tensor, labels: list[Tensor], gt_boxes: list[Tensor], whwh: Tensor, ota_k: int = 5
) -> list[Tensor]:
    """The match of each image of one stage: logits [B, N, K], boxes [B, N, 4], objects image by image."""
    found = []
    with torch.no_grad():
        for b in range(len(labels)):
            if len(labels[b]) == 0:
                found.append(torch.full((logits.shape[1],), -1))
                continue
            cost, iou = cost_matrix(logits[b], boxes[b], labels[b], gt_boxes[b], whwh[b])
            found.append(assign(cost, iou, ota_k))
    return found


def stage_losses(
    logits: Tensor,
    boxes: Tensor,
    found: list[Tensor],
    labels: list[Tensor],
    gt_boxes: list[Tensor],
    whwh: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted class, L1 and GIoU loss of one stage, image by image."""
    count = max(1, sum(int((index >= 0).sum()) for index in found))
    ce = l1 = giou = logits.sum() * 0
    for b, index in enumerate(found):
        nodes = (index >= 0).nonzero()[:, 0]
        target = torch.zeros_like(logits[b])
        if len(nodes):
            objects = index[nodes]
            target[nodes, labels[b][objects]] = 1
            source, goal = boxes[b][nodes], gt_boxes[b][objects]
            l1 = l1 + (source / whwh[b] - goal / whwh[b]).abs().sum()
            giou = giou + generalized_box_iou_loss(source, goal, reduction="sum")
        ce = ce + sigmoid_focal_loss(logits[b], target, alpha=0.25, gamma=2, reduction="sum")
    return 2 * ce / count, 5 * l1 / count, 2 * giou / count


def all_losses(
    logits: Tensor, boxes: Tensor, labels: list[Tensor], gt_boxes: list[Tensor], whwh: Tensor
) -> dict[str, Tensor]:
    """Match and losses of all stages, by the names of detection_losses; logits [S, B, N, K] and so on."""
    losses: dict[str, Tensor] = {}
    stages = logits.shape[0]
    for s in range(stages):
        found = match(logits[s], boxes[s], labels, gt_boxes, whwh)
        values = stage_losses(logits[s], boxes[s], found, labels, gt_boxes, whwh)
        suffix = "" if s == stages - 1 else f"_{s}"
        losses |= {f"{name}{suffix}": v for name, v in zip(("loss_ce", "loss_bbox", "loss_giou"), values, strict=True)}
    return losses
