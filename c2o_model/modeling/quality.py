"""QUALITY_HEAD: predicts the IoU of a node with its match, from the node's feature, its box and the time.

The box enters explicitly because ROIAlign passes no gradient to boxes: energy guidance follows the gradient of this
input. Called by :mod:`c2o_model.modeling.head`. Source: model.md, "Losses with quality".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class QualityHead(nn.Module):
    """MLP on [node feature, cx, cy, log w, log h (normalised), t/T] -> one logit; sigmoid(logit) estimates the IoU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim + 5, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, feature: Tensor, boxes: Tensor, whwh: Tensor, t: Tensor) -> Tensor:
        """[M,N,C] features, [M,N,4] xyxy pixels, [M,4] image sizes, [M] time in [0,1] -> [M,N] logits."""
        unit = boxes / whwh[:, None]
        centre = (unit[..., :2] + unit[..., 2:]) / 2
        size = (unit[..., 2:] - unit[..., :2]).clamp(min=1e-4).log()
        time = t[:, None, None].expand(*boxes.shape[:2], 1)
        return self.mlp(torch.cat([feature, centre, size, time], dim=-1)).squeeze(-1)
