"""Class losses beside the focal one: quality focal loss (CLS_LOSS_TYPE qfl) and softmax (USE_FOCAL False).

Called by :mod:`c2o_model.modeling.losses`. Also what a logit means with each: its score and the cost of a match.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from c2o_model.divisors import over_batch

LEAST_DISTANCE = 1e-8  # keeps the gradient of |y - s|^beta finite where beta < 1 and y = s


def quality_focal_loss(logits: Tensor, targets: Tensor, beta: float = 2.0) -> Tensor:
    """Quality focal loss an element (Generalized Focal Loss, arXiv 2006.04388, eq. 5).

    -|y - s|^beta [(1 - y) log(1 - s) + y log s] with s = sigmoid(logit). ``targets`` y in [0, 1], taken as constant,
    have the shape of ``logits``: the IoU of a node with its object at the object's class, 0 elsewhere.
    """
    targets = targets.detach()
    distance = (targets - logits.sigmoid()).abs().clamp(min=LEAST_DISTANCE)
    return distance.pow(beta) * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def softmax_loss(logits: Tensor, column: Tensor, no_object_weight: float) -> Tensor:
    """Cross entropy over K classes and background, the mean of each stage (DETR, arXiv 2005.12872, sec. 3.1).

    Background counts ``no_object_weight`` times, and the mean divides by the sum of the weights.

    Args:
        logits: [S, B, N, K+1], background last.
        column: int64 [S, B, N] in 0..K, K where a node has no object.

    Returns [S]; 0 where all weights are 0.
    """
    background = logits.shape[-1] - 1
    weight = torch.where(column == background, no_object_weight, 1.0).to(logits.dtype)
    ce = F.cross_entropy(logits.flatten(0, 2), column.flatten(), reduction="none").view(column.shape)
    return (weight * ce).sum(dim=(1, 2)) / over_batch(weight.sum(dim=(1, 2))).clamp(min=1e-12)


def softmax_cost(logits: Tensor, gt_labels: Tensor) -> Tensor:
    """Cost of naming each object's class: -softmax(logits)[label], [M, N, G], from [M, N, K+1] and int64 [M, G].

    Written with exp and a sum over the classes of a node, which round alike in every batch shape.
    """
    labels = gt_labels.clamp(0, logits.shape[2] - 2)
    weight = torch.exp(logits - logits.amax(dim=2, keepdim=True))
    named = weight.gather(2, labels[:, None].expand(-1, logits.shape[1], -1))
    return -named / weight.sum(dim=2, keepdim=True)


def class_scores(logits: Tensor, use_focal: bool) -> Tensor:
    """The score of each class, [..., K] in [0, 1]: sigmoids, or the softmax without its background."""
    return logits.sigmoid() if use_focal else logits.softmax(dim=-1)[..., :-1]
