"""The dynamic-k matcher: which node of the graph is to predict which object.

DiffusionDet (arXiv 2211.09788, sec. 3.3) assigns by a simplified optimal transport (SimOTA of YOLOX,
arXiv 2107.08430, sec. 2.1): every object takes its k cheapest nodes, k being about the number of nodes that
fit it. All images and stages are matched in one pass over [M, N, G] tensors: M = stages x images, N nodes,
G object slots.

An element's cost comes from operations that round alike in every batch shape, so that the match of an image
does not depend on what else is in the batch (torch.sigmoid and F.softplus, for one, differ by an ulp at the
end of a tensor).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from c2o_model.modeling.class_losses import softmax_cost

OUTSIDE_CENTRE_COST = 100.0
OUTSIDE_ALL_COST = 1e4
LOG_EPS = 1e-8
AREA_EPS = 1e-7


@dataclass(frozen=True)
class Match:
    """Which object each node is to predict.

    gt_index: int64 [M, N], the object's slot in G, -1 for none. iou: float32 [M, N], IoU of the pair, else 0.
    """

    gt_index: Tensor
    iou: Tensor

    @property
    def matched(self) -> Tensor:
        """bool [M, N]."""
        return self.gt_index >= 0


@torch.no_grad()
def match(
    logits: Tensor,
    boxes: Tensor,
    gt_labels: Tensor,
    gt_boxes: Tensor,
    gt_mask: Tensor,
    image_whwh: Tensor,
    *,
    ota_k: int = 5,
    cls_weight: float = 2.0,
    l1_weight: float = 5.0,
    giou_weight: float = 2.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    center_radius: float = 2.5,
    softmax: bool = False,
) -> Match:
    """Match nodes to objects in M images at once.

    Args:
        logits: [M, N, K] class logits; [M, N, K+1] with `softmax`.
        boxes: [M, N, 4] xyxy in pixels.
        gt_labels: int64 [M, G] in 0..K-1; anything where `gt_mask` is False.
        gt_boxes: [M, G, 4] xyxy in pixels.
        gt_mask: bool [M, G].
        image_whwh: [M, 4], (width, height, width, height).
        ota_k: an object takes k = max(1, floor(sum of its `ota_k` greatest IoUs)) nodes.
        cls_weight, l1_weight, giou_weight: factors of the three costs.
        alpha, gamma: of the focal class cost.
        softmax: the logits are those of a softmax over K classes and background, [M, N, K+1].
        center_radius: half the side of the centre region, in units of the object's width and height.
    """
    if gt_mask.shape[1] == 0:
        shape = logits.shape[:2]
        return Match(
            torch.full(shape, -1, dtype=torch.int64, device=logits.device),
            torch.zeros(shape, device=logits.device),
        )
    boxes, gt_boxes, whwh = boxes.float(), gt_boxes.float(), image_whwh.float()[:, None]
    iou, giou = pairwise_iou(boxes, gt_boxes)
    if softmax:
        cost = cls_weight * softmax_cost(logits.float(), gt_labels)
    else:
        cost = cls_weight * class_cost(logits.float(), gt_labels, alpha, gamma)
    cost = cost + l1_weight * l1_cost(boxes / whwh, gt_boxes / whwh) - giou_weight * giou
    inside, near = centre_prior(boxes, gt_boxes, gt_mask, center_radius)
    cost = cost + (~inside).float() * OUTSIDE_CENTRE_COST + (~near).float()[..., None] * OUTSIDE_ALL_COST
    gt_index = assign(cost, iou, gt_mask, ota_k)
    pair_iou = iou.gather(2, gt_index.clamp(min=0)[..., None])[..., 0]
    return Match(gt_index, torch.where(gt_index >= 0, pair_iou, 0.0))


def class_cost(logits: Tensor, gt_labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal cost of naming each object's class, [M, N, G]: what the loss gains where the target turns from
    0 to 1.

    alpha (1-p)^gamma (-log p) - (1-alpha) p^gamma (-log(1-p)) (focal loss, arXiv 1708.02002, eq. 5), p the
    sigmoid.
    """
    labels = gt_labels.clamp(0, logits.shape[2] - 1)
    x = logits.gather(2, labels[:, None].expand(-1, logits.shape[1], -1))
    p = 1 / (1 + torch.exp(-x))
    q = 1 - p
    return (1 - alpha) * p.pow(gamma) * torch.log(q + LOG_EPS) - alpha * q.pow(gamma) * torch.log(p + LOG_EPS)


def l1_cost(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """Sum over the four coordinates of |b - g|, [M, N, G] from [M, N, 4] and [M, G, 4]."""
    d0, d1, d2, d3 = (boxes[:, :, None] - gt_boxes[:, None]).abs().unbind(-1)
    return d0 + d1 + d2 + d3


def pairwise_iou(boxes: Tensor, gt_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (arXiv 1902.09630), each [M, N, G], of xyxy boxes [M, N, 4] and [M, G, 4].

    Areas below 1e-7 count as 1e-7 in a denominator: two empty boxes have IoU 0.
    """
    a, b = boxes[:, :, None], gt_boxes[:, None]
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    inter = overlap[..., 0] * overlap[..., 1]
    union = area_a + area_b - inter
    hull_area = hull[..., 0] * hull[..., 1]
    iou = inter / union.clamp(min=AREA_EPS)
    return iou, iou - (hull_area - union) / hull_area.clamp(min=AREA_EPS)


def centre_prior(boxes: Tensor, gt_boxes: Tensor, gt_mask: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Where a node's centre lies, with strict borders.

    Returns bool [M, N, G], centre inside the object's box and its centre region (the object's centre
    plus or minus `radius` times its size); and bool [M, N], centre in any box or centre region of a real
    object.
    """
    centre = ((boxes[..., :2] + boxes[..., 2:]) * 0.5)[:, :, None]
    low, high = gt_boxes[:, None, :, :2], gt_boxes[:, None, :, 2:]
    gt_centre, reach = (low + high) * 0.5, (high - low) * radius
    in_box = ((centre > low) & (centre < high)).all(dim=-1)
    in_centre = ((centre > gt_centre - reach) & (centre < gt_centre + reach)).all(dim=-1)
    return in_box & in_centre, ((in_box | in_centre) & gt_mask[:, None]).any(dim=2)


def assign(cost: Tensor, iou: Tensor, gt_mask: Tensor, ota_k: int) -> Tensor:
    """Dynamic-k assignment from a cost matrix, int64 [M, N]: the object of each node or -1.

    cost, iou are [M, N, G], gt_mask bool [M, G]. Each object claims its k cheapest nodes (of equals the
    first). A node claimed more than once goes to the object that is cheapest for it, as in SimOTA among ALL
    real objects of the image (of equals the first). An object left with none then takes its cheapest free
    node; where several want the same one the cheapest gets it and the others choose again. With no free
    node left the rest stay unmatched.
    """
    nodes, objects = cost.shape[1:]
    valid = gt_mask[:, None]
    cost = cost.masked_fill(~valid, float("inf"))
    # A double sum is exact here, so k does not depend on the order in which the IoUs are added.
    best_iou = iou.topk(min(ota_k, nodes), dim=1).values
    k = best_iou.double().sum(dim=1).long().clamp(min=1)
    order = cost.transpose(1, 2).sort(dim=2, stable=True).indices[..., : best_iou.shape[1]]
    taken = (torch.arange(order.shape[2], device=cost.device) < k[..., None]) & gt_mask[..., None]
    claims = torch.zeros_like(cost, dtype=torch.bool).transpose(1, 2).scatter(2, order, taken).transpose(1, 2)
    contested = claims.sum(dim=2, keepdim=True) > 1
    choice = torch.where(claims | contested, cost, float("inf")).argmin(dim=2)
    gt_index = torch.where(claims.any(dim=2), choice, -1)
    return _serve_the_left(gt_index, cost, gt_mask, rounds=min(nodes, objects))


def _serve_the_left(gt_index: Tensor, cost: Tensor, gt_mask: Tensor, rounds: int) -> Tensor:
    """Give each object without a node its cheapest free one.

    A round serves at least one object of each image that can be served, so `rounds` = min(N, G) are enough.
    On a CPU the loop ends as soon as nothing is left (mostly at once); on a GPU asking would wait for the
    device.
    """
    ids = torch.arange(cost.shape[2], device=cost.device)
    for _ in range(rounds):
        free = gt_index < 0
        left = gt_mask & ~(gt_index[..., None] == ids).any(dim=1) & free.any(dim=1, keepdim=True)
        if not cost.is_cuda and not left.any():
            break
        node = cost.masked_fill(~free[..., None], float("inf")).argmin(dim=1)
        bids = torch.zeros_like(cost, dtype=torch.bool).scatter(1, node[:, None], left[:, None])
        winner = torch.where(bids, cost, float("inf")).argmin(dim=2)
        gt_index = torch.where(bids.any(dim=2), winner, gt_index)
    return gt_index
