"""GEO_FEAT: what a node knows of its own place, as a feature beside what it sees."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from c2o_model.graph.edges import MIN_SIDE
from c2o_model.graph.relations import RELATION_WIDTH, pooled_relations

SCHEDULES = ("constant", "linear", "threshold")


def time_weight(schedule: str, t: Tensor, timesteps: int, threshold: float) -> Tensor:
    """How far geometry counts at noise level t, float32 of t's shape, in [0, 1].

    At a high noise level boxes say little. `constant` is 1; `linear` falls as 1 - t/T; `threshold` is 1 where
    t/T <= `threshold`, else 0. Raises ValueError for another schedule.
    """
    level = t.float() / timesteps
    if schedule == "constant":
        return torch.ones_like(level)
    if schedule == "linear":
        return 1 - level
    if schedule == "threshold":
        return (level <= threshold).float()
    raise ValueError(f"GEO_FEAT_SCHEDULE: {schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}")


def node_geometry(boxes: Tensor, image_whwh: Tensor) -> Tensor:
    """(cx, cy, log w, log h) over the image size, [M, N, 4], of boxes [M, N, 4] xyxy in pixels."""
    low, high = (boxes / image_whwh[:, None]).chunk(2, dim=-1)
    return torch.cat([(low + high) * 0.5, (high - low).clamp(min=MIN_SIDE).log()], dim=-1)


class GeoFeat(nn.Module):
    """(cx, cy, log w, log h, t/T) -> MLP -> gated node feature [M, N, C].

    The last layer starts at zero, so a new module adds exactly nothing; its gate sigmoid(alpha) is learnt.
    Whether the feature is added to the node or only to queries and keys is the head's choice (GEO_FEAT_MODE).

    Args:
        dim: C, the width of a node.
        hidden: width of the MLP's hidden layer.
        timesteps: T.
        gate_init: alpha at the start.
        schedule, threshold: see `time_weight`.
        rel: add a second MLP of the same kind over `pooled_relations`, under the same gate (GEO_FEAT_REL).
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        timesteps: int,
        *,
        gate_init: float = 0.0,
        schedule: str = "constant",
        threshold: float = 1.0,
        rel: bool = False,
    ) -> None:
        super().__init__()
        time_weight(schedule, torch.zeros(1), timesteps, threshold)  # an unknown schedule fails here, not in training
        self.timesteps, self.schedule, self.threshold = timesteps, schedule, threshold
        self.mlp = nn.Sequential(nn.Linear(5, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.rel_mlp = None
        if rel:
            self.rel_mlp = nn.Sequential(nn.Linear(RELATION_WIDTH, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.alpha = nn.Parameter(torch.tensor(float(gate_init)))
        self.zero_output()

    def zero_output(self) -> None:
        """Make the module an exact no-op; call it again after an initialisation of all weights."""
        for mlp in (self.mlp, self.rel_mlp):
            for parameter in () if mlp is None else mlp[2].parameters():
                nn.init.zeros_(parameter)

    def forward(self, boxes: Tensor, image_whwh: Tensor, t: Tensor) -> Tensor:
        """boxes [M, N, 4] xyxy in pixels, image_whwh [M, 4], t [M] noise levels -> [M, N, C]."""
        level = (t.float() / self.timesteps)[:, None, None].expand(-1, boxes.shape[1], 1)
        feature: Tensor = self.mlp(torch.cat([node_geometry(boxes, image_whwh), level], dim=-1))
        if self.rel_mlp is not None:
            feature = feature + self.rel_mlp(pooled_relations(boxes, image_whwh))
        weight = time_weight(self.schedule, t, self.timesteps, self.threshold)[:, None, None]
        scale: Tensor = torch.sigmoid(self.alpha) * weight
        return scale * feature
