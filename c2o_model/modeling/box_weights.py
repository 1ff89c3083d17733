"""BOX_LOSS_IOU_WEIGHT_POWER: nodes that already fit their object count more in the box losses.

Called by :mod:`c2o_model.modeling.losses`. Source: model.md, "Losses with quality".
"""

from __future__ import annotations

import torch
from torch import Tensor

from c2o_model.divisors import over_batch
from c2o_model.modeling.matcher import Match

LEAST_SUM = 1e-6  # divisor of a stage whose weights are all 0


def box_weights(match: Match, power: float, floor: float) -> Tensor:
    """max(IoU^power, floor) of each matched node with its object, else 0: constant float32 [M, N]."""
    return torch.where(match.matched, match.iou.detach().pow(power).clamp(min=floor), 0.0)


def weight_sums(weights: Tensor, stages: int) -> Tensor:
    """What the weighted box losses of each stage are divided by over the global batch, [S], from [S*B, N]."""
    return over_batch(weights.view(stages, -1).sum(dim=1)).clamp(min=LEAST_SUM)
