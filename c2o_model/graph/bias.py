"""GEO_BIAS and GEO_BIAS_TOPK: what geometry adds to the attention scores, and which edges there are.

The bias of head h between nodes i and j is tanh(scale_h) * weight(t) * b_ij, with b from GEO_BIAS_TYPE:

* `distance`: -||c_i - c_j||^2 / (2 sigma^2 s_i s_j), s = sqrt(area). With GEO_BIAS_SCALE_MODE `shared` one S a node
  set (its mean s) stands for both s_i and s_j: then the bias is exactly of low rank (see `EdgeBias.low_rank`);
* `iou`: IoU_ij, 0 for i = j;
* `mlp`: tanh(g_phi(relative geometry))_h, one value a head.

One module serves all stages; each stage's bias is made of the boxes that enter it. A new module is an exact no-op that
learns at once, so a checkpoint without it can be fine-tuned: `scale` starts at 0 for `distance` and `iou` (the
gradient of tanh there is 1), and at 1 for `mlp`, whose last layer starts at 0 instead (with both at 0 nothing would
learn). The k-nearest-neighbour graph is structure, not a bias: neither scale nor schedule touches it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from c2o_model.graph.edges import (
    centres,
    distance_bias,
    knn_mask,
    pair_iou,
    relative_geometry,
    shared_distance_bias,
    shared_scale,
)
from c2o_model.graph.geometry import time_weight

KINDS = ("none", "distance", "iou", "mlp")
SCALE_INIT = {"distance": 0.0, "iou": 0.0, "mlp": 1.0}
LOW_RANK_WIDTH = 8  # what is appended to queries and keys: fused kernels want head widths in multiples of 8


@dataclass(frozen=True)
class EdgeBias:
    """The bias of one stage, not yet computed: each attention kernel asks for the form that it can use.

    Attributes:
        kind: `none` (only `keep` counts), `distance`, `iou` or `mlp`.
        boxes: [M, N, 4] xyxy pixels; image_whwh: [M, 4].
        scale: [H], tanh already taken, or None for `none`; time: [M] weight in [0, 1], or None for `none`.
        sigma, shared: of `distance`.
        net: g_phi, relative geometry [..., 5] -> [..., H]; only for `mlp`.
        keep: bool [M, N, N], False where an edge is cut; None for the full graph.
    """

    kind: str
    boxes: Tensor
    image_whwh: Tensor
    scale: Tensor | None = None
    time: Tensor | None = None
    sigma: float = 1.0
    shared: bool = False
    net: RelationNet | None = None
    keep: Tensor | None = None

    def values(self, rows: Tensor | None = None) -> Tensor | None:
        """The bias without regard to cut edges, [M, H, R, N] for the row indices [M, R] (None: all N); None: none."""
        if self.kind == "none":
            return None
        assert self.scale is not None and self.time is not None
        index = torch.arange(self.boxes.shape[1], device=self.boxes.device)
        batch = torch.arange(self.boxes.shape[0], device=self.boxes.device)[:, None]
        own = self.boxes if rows is None else self.boxes[batch, rows]
        if self.kind == "distance":
            formula = shared_distance_bias if self.shared else distance_bias
            raw = formula(own, self.boxes, self.image_whwh, self.sigma)[:, None]
        elif self.kind == "iou":
            itself = (index[:, None] if rows is None else rows[..., None]) == index
            raw = pair_iou(own, self.boxes).masked_fill(itself, 0.0)[:, None]
        else:
            assert self.net is not None
            raw = self.net(relative_geometry(own, self.boxes, self.image_whwh)).movedim(-1, 1)
        return (self.time[:, None] * self.scale)[..., None, None] * raw

    def kept(self, rows: Tensor | None = None) -> Tensor | None:
        """bool [M, 1, R, N], False where an edge is cut, for the row indices [M, R]; None: the full graph."""
        if self.keep is None or rows is None:
            return None if self.keep is None else self.keep[:, None]
        batch = torch.arange(self.keep.shape[0], device=self.keep.device)[:, None]
        return self.keep[batch, rows][:, None]

    def dense(self) -> Tensor | None:
        """What is added to the scores, [M, H or 1, N, N] with -inf at cut edges; None where nothing is."""
        values, kept = self.values(), self.kept()
        if kept is None:
            return values
        if values is None:
            return torch.zeros_like(kept, dtype=self.boxes.dtype).masked_fill(~kept, -torch.inf)
        return values.masked_fill(~kept, -torch.inf)

    @property
    def is_low_rank(self) -> bool:
        """Whether :meth:`low_rank` can replace the matrix: a distance with a shared scale and no cut edge."""
        return self.kind == "distance" and self.shared and self.keep is None

    def low_rank(self, dtype: torch.dtype, factor: float = 1.0) -> tuple[Tensor, Tensor]:
        """What to append to queries and keys, each [M, H, N, LOW_RANK_WIDTH] of `dtype`, in place of the matrix.

        `factor` multiplies the product: what the kernel will divide it by, the root of the head's width.

        With c in units of sqrt(2) sigma S, -g ||c_i - c_j||^2 = 2 g c_i.c_j - g |c_j|^2 - g |c_i|^2, and softmax drops
        the last term, which is the same for every j. Centres are counted from the middle of the image, which keeps
        the terms small. Below float32 each factor is split into a rounded part and its rest, else the products
        would be wrong in the second digit; the eighth-wide padding has just room for that.
        """
        assert self.is_low_rank and self.scale is not None and self.time is not None
        unit = 2**0.5 * self.sigma * shared_scale(self.boxes, self.image_whwh)
        c = (centres(self.boxes) - self.image_whwh[:, None, :2] * 0.5) / unit[:, None, None]
        gain = factor * (self.time[:, None] * self.scale)[..., None]  # [M,H,1]
        x, y = c[:, None].unbind(-1)  # [M,1,N] each
        ones, norm = torch.ones_like(gain * x), -gain * (x * x + y * y)
        left_x, left_y, right_x, right_y = 2 * x * ones, 2 * y * ones, gain * x, gain * y
        if dtype == torch.float32:
            zero = torch.zeros_like(ones)
            query = [left_x, left_y, ones] + [zero] * 5
            key = [right_x, right_y, norm] + [zero] * 5
        else:
            (ax, da), (ay, db), (bx, dx), (by, dy), (n, dn) = (
                _split(v, dtype) for v in (left_x, left_y, right_x, right_y, norm)
            )
            query, key = [ax, ax, da, ay, ay, db, ones, ones], [bx, dx, bx, by, dy, by, n, dn]
        return torch.stack(query, dim=-1).to(dtype), torch.stack(key, dim=-1).to(dtype)


class RelationNet(nn.Module):
    """g_phi: relative geometry [..., 5] -> tanh of one value a head [..., H].

    The two shifts, which have no upper bound, enter as log(1 + |d|). The last layer starts at zero.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(5, hidden), nn.Linear(hidden, heads)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, geometry: Tensor) -> Tensor:
        """[..., 5] as `relative_geometry` gives it -> [..., H] in (-1, 1)."""
        compressed = torch.cat([geometry[..., :2].log1p(), geometry[..., 2:]], dim=-1)
        return self.out(nn.functional.gelu(self.hidden(compressed))).tanh()


class GeoBias(nn.Module):
    """Makes the :class:`EdgeBias` of a stage from its boxes.

    Args:
        kind: GEO_BIAS_TYPE; `none` for a pure k-nearest-neighbour graph, without parameters.
        heads: H.
        timesteps: T.
        sigma: of `distance`, in units of the nodes' size.
        shared: GEO_BIAS_SCALE_MODE `shared`.
        topk: GEO_BIAS_TOPK, 0 for the full graph.
        hidden: width of g_phi.
        schedule, threshold: how far the bias counts at noise level t, see `time_weight`.

    Attributes:
        scale: [H], a parameter; its tanh multiplies the bias. Absent for `none`.
    """

    def __init__(
        self,
        kind: str,
        heads: int,
        timesteps: int,
        *,
        sigma: float = 1.0,
        shared: bool = False,
        topk: int = 0,
        hidden: int = 32,
        schedule: str = "constant",
        threshold: float = 1.0,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"GEO_BIAS_TYPE: {kind!r} is unknown; choose one of {', '.join(KINDS)}")
        self.kind, self.timesteps, self.sigma, self.shared, self.topk = kind, timesteps, sigma, shared, topk
        self.schedule, self.threshold = schedule, threshold
        self.scale = nn.Parameter(torch.full((heads,), SCALE_INIT[kind])) if kind != "none" else None
        self.net = RelationNet(hidden, heads) if kind == "mlp" else None

    def forward(self, boxes: Tensor, image_whwh: Tensor, t: Tensor) -> EdgeBias:
        """boxes [M, N, 4] xyxy pixels, image_whwh [M, 4], t [M] noise levels."""
        return EdgeBias(
            self.kind,
            boxes,
            image_whwh,
            scale=None if self.scale is None else self.scale.tanh(),
            time=None if self.scale is None else time_weight(self.schedule, t, self.timesteps, self.threshold),
            sigma=self.sigma,
            shared=self.shared,
            net=self.net,
            keep=knn_mask(boxes, self.topk) if self.topk else None,
        )


def _split(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x as its value rounded to `dtype` (a constant) plus the rest, which carries the gradient."""
    rounded = x.detach().to(dtype).to(x.dtype)
    return rounded, x - rounded
