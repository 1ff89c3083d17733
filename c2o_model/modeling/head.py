"""The dynamic head: stages that turn noisy boxes into class logits and better boxes (DiffusionDet, section 3.2).

Parameter names and shapes are those of released DiffusionDet checkpoints. Research switches add modules beside
them (``label_embedding``, ``quality_head``, ``geo_feat``) and never rename or reorder the plain ones.

Called by :mod:`c2o_model.modeling.detector` and, through it, by the sampler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from c2o_model.graph.attention import NodeAttention
from c2o_model.graph.bias import EdgeBias, GeoBias
from c2o_model.graph.geometry import GeoFeat
from c2o_model.modeling.label_embedding import LabelEmbedding
from c2o_model.modeling.quality import QualityHead
from c2o_model.modeling.roi import NodePooler
from c2o_model.settings import HeadSettings

DELTA_WEIGHTS = (2.0, 2.0, 1.0, 1.0)  # of (dx, dy, dw, dh), as in Sparse R-CNN
SCALE_CLAMP = math.log(100_000.0 / 16)
CHUNK = 320  # nodes whose dynamic convolutions fit a processor's second-level cache together


@dataclass
class HeadOutput:
    """What the head says of M node sets. S is the number of stages.

    logits [S,M,N,K] (K+1 without USE_FOCAL, background last); boxes [S,M,N,4] xyxy pixels; quality [M,N] logits of
    the last stage, or None; node [M,N,C] features of the last stage; attention: its queries and keys [M,H,N,d] and
    its bias, kept only for the topology loss.
    """

    logits: Tensor
    boxes: Tensor
    quality: Tensor | None
    node: Tensor | None = None
    attention: tuple[Tensor, Tensor, EdgeBias | None] | None = None


class SinusoidalTime(nn.Module):
    """[M] time steps -> [M, dim] sines and cosines (Attention Is All You Need, section 3.5)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: Tensor) -> Tensor:
        """[M] -> [M, dim]."""
        half = self.dim // 2
        rates = torch.exp(torch.arange(half, device=t.device) * -(math.log(10000) / (half - 1)))
        angles = t[:, None].float() * rates
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class DynamicConv(nn.Module):
    """1x1 convolutions over the RoI whose weights each node makes for itself (Sparse R-CNN, section 3.2).

    ``num_dynamic`` of them in series, C -> D, D -> C, C -> D and so on; DiffusionDet has two. ``norm{i}`` follows the
    i-th, the last norm the output layer.
    """

    def __init__(self, dim: int, dim_dynamic: int, resolution: int, num_dynamic: int = 2) -> None:
        super().__init__()
        self.dim, self.dim_dynamic = dim, dim_dynamic
        self.widths = [dim_dynamic if i % 2 else dim for i in range(num_dynamic + 1)]  # [C, D, C, ...]
        self.dynamic_layer = nn.Linear(dim, num_dynamic * dim * dim_dynamic)
        for i, width in enumerate(self.widths[1:], 1):
            self.add_module(f"norm{i}", nn.LayerNorm(width))
        self.out_layer = nn.Linear(self.widths[-1] * resolution * resolution, dim)
        self.add_module(f"norm{num_dynamic + 1}", nn.LayerNorm(dim))

    def forward(self, node: Tensor, roi: Tensor) -> Tensor:
        """[R, C] nodes, [R, P*P, C] RoI features -> [R, C]."""
        if torch.is_grad_enabled() or node.is_cuda or len(node) <= CHUNK:
            return self._convolve(node, roi)
        return torch.cat([self._convolve(*part) for part in zip(node.split(CHUNK), roi.split(CHUNK), strict=True)])

    def _convolve(self, node: Tensor, roi: Tensor) -> Tensor:
        count, x = len(self.widths) - 1, roi
        for i, weight in enumerate(self.dynamic_layer(node).chunk(count, dim=-1)):
            x = torch.bmm(x, weight.view(-1, self.widths[i], self.widths[i + 1]))  # [R,P*P,D], then [R,P*P,C]
            x = F.relu_(getattr(self, f"norm{i + 1}")(x))
        return F.relu_(getattr(self, f"norm{count + 1}")(self.out_layer(x.flatten(1))))


class HeadStage(nn.Module):
    """One refinement: RoI features, self-attention among nodes, dynamic convolution, time scaling, two branches."""

    def __init__(self, s: HeadSettings, resolution: int) -> None:
        super().__init__()
        dim = s.hidden_dim
        self.self_attn = NodeAttention(
            dim, s.nheads, dropout=s.dropout, impl=s.self_attn_impl, sdpa_backend=s.self_attn_sdpa_backend
        )
        self.inst_interact = DynamicConv(dim, s.dim_dynamic, resolution, s.num_dynamic)
        self.linear1 = nn.Linear(dim, s.dim_feedforward)
        self.linear2 = nn.Linear(s.dim_feedforward, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(s.dropout)
        self.activation = F.relu if s.activation == "relu" else F.gelu
        self.block_time_mlp = nn.Sequential(nn.SiLU(), nn.Linear(dim * 4, dim * 2))
        self.cls_module = _tower(dim, s.num_cls)
        self.reg_module = _tower(dim, s.num_reg)
        self.class_logits = nn.Linear(dim, s.num_classes + (not s.use_focal))
        self.bboxes_delta = nn.Linear(dim, 4)
        self.attends = True  # False: DISABLE_SELF_ATTN

    def forward(
        self,
        roi: Tensor,
        boxes: Tensor,
        node: Tensor,
        time: Tensor,
        qk_pos: Tensor | None,
        bias: EdgeBias | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Refine one node set.

        Args:
            roi: [M*N, P*P, C]; boxes: [M,N,4] xyxy pixels; node: [M,N,C]; time: [M,4C].
            qk_pos: [M,N,C] added to queries and keys only, or None.
            bias: of the attention scores, or None.

        Returns:
            logits [M,N,K], boxes [M,N,4], node features [M,N,C].
        """
        m, n, c = node.shape
        if self.attends:
            node = node + self.dropout(self.self_attn(node, q_pos=qk_pos, k_pos=qk_pos, bias=bias))
        node = self.norm1(node)
        looked = self.inst_interact(node.reshape(m * n, c), roi).view(m, n, c)
        node = self.norm2(node + self.dropout(looked))
        node = self.norm3(node + self.dropout(self.linear2(self.dropout(self.activation(self.linear1(node))))))
        scale, shift = self.block_time_mlp(time)[:, None].chunk(2, dim=-1)  # [M,1,C] each
        x = node * (scale + 1) + shift
        cls, reg = x, x
        for layer in self.cls_module:
            cls = layer(cls)
        for layer in self.reg_module:
            reg = layer(reg)
        return self.class_logits(cls), apply_deltas(self.bboxes_delta(reg), boxes), node


class DynamicHead(nn.Module):
    """The stages in series with their shared time embedding and the optional research modules.

    Args:
        settings: widths and counts.
        pooler: RoI pooling, built for the pyramid in use.
        timesteps: T, to normalise t for the geometry and quality modules.
        label_embedding, geo_feat, quality_head: built modules, or None where the switch is off.
        geo_feat_mode: ``add`` | ``qk_pos``.
    """

    def __init__(
        self,
        settings: HeadSettings,
        pooler: NodePooler,
        timesteps: int,
        *,
        label_embedding: LabelEmbedding | None = None,
        geo_feat: GeoFeat | None = None,
        geo_feat_mode: str = "add",
        quality_head: QualityHead | None = None,
    ) -> None:
        super().__init__()
        dim = settings.hidden_dim
        self.pooler = pooler
        self.timesteps = timesteps
        self.time_mlp = nn.Sequential(
            SinusoidalTime(dim), nn.Linear(dim, dim * 4), nn.GELU(), nn.Linear(dim * 4, dim * 4)
        )
        self.head_series = nn.ModuleList(HeadStage(settings, pooler.resolution) for _ in range(settings.num_heads))
        self.label_embedding = label_embedding
        self.geo_feat = geo_feat
        self.geo_feat_mode = geo_feat_mode
        self.quality_head = quality_head
        self.geo_bias: GeoBias | None = None
        self._initialise(settings.prior_prob, settings.use_focal)

    def attach_graph(self, geo_bias: GeoBias | None, *, interaction: bool = True, keep_scores: bool = False) -> None:
        """Add what acts on the nodes' graph; last, so that the plain parameters are drawn as without it.

        Args:
            geo_bias: bias and sparsity of the attention of every stage, or None.
            interaction: False skips the attention of every stage: a node no longer knows of the others. The
                attention's parameters stay in the state dict, frozen.
            keep_scores: have :class:`HeadOutput` carry the last stage's queries and keys.
        """
        self.geo_bias = geo_bias
        for stage in self.head_series:
            stage.attends = interaction
            stage.self_attn.requires_grad_(interaction)
        self.head_series[-1].self_attn.keep_scores = keep_scores

    def _initialise(self, prior: float, sigmoid: bool = True) -> None:
        """Xavier for every weight of the plain head; the focal prior goes to ``class_logits.bias`` and to nothing else.

        By name: a rule by shape (DiffusionDet's) would also hit other parameters that happen to have K or K+1 entries.
        Without sigmoids (USE_FOCAL False) there is no such prior.
        """
        for module in (self.time_mlp, self.head_series):
            for parameter in module.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        for stage in self.head_series if sigmoid else ():
            nn.init.constant_(stage.class_logits.bias, -math.log((1 - prior) / prior))

    def forward(
        self, features: Sequence[Tensor], boxes: Tensor, t: Tensor, whwh: Tensor, label_state: Tensor | None = None
    ) -> HeadOutput:
        """Denoise M = B*G node sets, G sets an image sharing its features.

        Args:
            features: pyramid levels, [B, C, H_l, W_l].
            boxes: [B*G, N, 4] noisy boxes, xyxy pixels; sets of one image are neighbours.
            t: [B*G] time steps in 0..T-1.
            whwh: [B*G, 4] image width, height, width, height.
            label_state: [B*G, N, K+1] label probabilities, or None for "all unknown".
        """
        m, n, _ = boxes.shape
        b = features[0].shape[0]
        time = self.time_mlp(t)
        unit_t = t.float() / self.timesteps
        node: Tensor | None = None
        logits, refined = [], []
        for stage in self.head_series:
            roi = self.pooler(features, boxes.reshape(b, -1, 4))  # [M*N,P*P,C]
            if node is None:
                node = roi.mean(1).view(m, n, -1)
                if self.label_embedding is not None:
                    node = node + self.label_embedding(label_state)
            qk_pos = None
            if self.geo_feat is not None:
                geometry = self.geo_feat(boxes, whwh, t)
                if self.geo_feat_mode == "add":
                    node = node + geometry
                else:
                    qk_pos = geometry
            bias = None if self.geo_bias is None else self.geo_bias(boxes, whwh, t)
            stage_logits, stage_boxes, node = stage(roi, boxes, node, time, qk_pos, bias)
            logits.append(stage_logits)
            refined.append(stage_boxes)
            boxes = stage_boxes.detach()
        assert node is not None
        quality = None
        if self.quality_head is not None:
            quality = self.quality_head(node, boxes, whwh, unit_t)
        last = self.head_series[-1].self_attn
        attention, last.kept = last.kept, None
        return HeadOutput(torch.stack(logits), torch.stack(refined), quality, node, attention)


def apply_deltas(deltas: Tensor, boxes: Tensor) -> Tensor:
    """Move boxes by regressed deltas (R-CNN, appendix C). [...,4] deltas, [...,4] xyxy -> [...,4] xyxy."""
    deltas = deltas.float()  # in bfloat16 a box would move in steps of pixels
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + 0.5 * size
    weights = deltas.new_tensor(DELTA_WEIGHTS)
    shift, growth = (deltas / weights).split(2, dim=-1)
    centre = centre + shift * size
    half = 0.5 * size * growth.clamp(max=SCALE_CLAMP).exp()
    return torch.cat([centre - half, centre + half], dim=-1)


def _tower(dim: int, depth: int) -> nn.ModuleList:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(dim, dim, bias=False), nn.LayerNorm(dim), nn.ReLU(inplace=True)]
    return nn.ModuleList(layers)
