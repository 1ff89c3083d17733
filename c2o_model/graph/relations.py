"""GEO_FEAT_REL: where a node stands among the others, pooled to one vector a node."""

from __future__ import annotations

import torch
from torch import Tensor

from c2o_model.graph.edges import centres, pair_iou, sides, squared_distance

RELATION_WIDTH = 10


def pooled_relations(boxes: Tensor, image_whwh: Tensor) -> Tensor:
    """Relative geometry of each node to the others, pooled, [M, N, RELATION_WIDTH].

    The relation of node i to j is (slog dx/w_i, slog dy/h_i, log w_j/w_i, log h_j/h_i, IoU_ij), with (dx, dy) from
    the centre of i to that of j, sides as in `sides`, and slog(a) = sign(a) log(1 + |a|). First come the means of
    the five over all j != i, then the five of the node whose centre is nearest (of equals that with the smallest
    index). A node without others gets zeros. No gradient goes to the boxes.

    Args:
        boxes: [M, N, 4] xyxy in pixels; image_whwh: [M, 4].
    """
    with torch.no_grad():
        n = boxes.shape[1]
        if n == 1:
            return boxes.new_zeros(*boxes.shape[:2], RELATION_WIDTH)
        size, centre = sides(boxes, image_whwh), centres(boxes)
        shift = (centre[:, None] - centre[:, :, None]) / size[:, :, None]
        shift = shift.sign() * shift.abs().log1p()
        growth = (size[:, None] / size[:, :, None]).log()
        relation = torch.cat([shift, growth, pair_iou(boxes, boxes)[..., None]], dim=-1)  # [M,N,N,5]
        itself = torch.eye(n, dtype=torch.bool, device=boxes.device)
        mean = relation.masked_fill(itself[..., None], 0.0).sum(dim=2) / (n - 1)
        distance = squared_distance(boxes, boxes).masked_fill(itself, torch.inf)
        nearest = distance.argmin(dim=2)  # [M,N]; argmin takes the first of equals
        closest = relation.gather(2, nearest[..., None, None].expand(-1, -1, 1, 5))[:, :, 0]
        return torch.cat([mean, closest], dim=-1)
