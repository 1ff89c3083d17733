"""Pretraining of a small backbone with dense supervision, in place of ImageNet weights that a machine may not have.

Every location of the pyramid predicts a class and the distances to the four sides of its box (FCOS, arXiv
1904.01355). Dense targets teach an untrained backbone far faster than a few dozen matched nodes do. Only
``backbone.*`` of the result is used later; the predictor is dropped. Trained on the train split, once, and shared by
every train seed, as a published backbone would be.

Built by Detectron2's ``build_model`` for ``MODEL.META_ARCHITECTURE: C2OBackbonePretrainer``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from c2o_model.divisors import over_batch
from c2o_model.modeling.images import PixelNormaliser
from c2o_model.modeling.targets import TrainingBatch, TrainingDraws

CENTRE_RADIUS = 1.5  # in strides: only locations near a box's centre answer for it (FCOS, center sampling)


@META_ARCH_REGISTRY.register()
class C2OBackbonePretrainer(nn.Module):
    """Backbone plus one 1x1 dense predictor shared by the pyramid levels."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.backbone = build_backbone(cfg).to(memory_format=torch.channels_last)
        self.in_features = list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
        shape = self.backbone.output_shape()
        self.strides = [shape[f].stride for f in self.in_features]
        self.size_edges = [float(v) for v in cfg.MODEL.PRETRAIN.SIZE_EDGES]
        if len(self.size_edges) != len(self.strides) - 1:
            raise ValueError(
                "MODEL.PRETRAIN.SIZE_EDGES: needs one edge between each two levels of MODEL.ROI_HEADS.IN_FEATURES"
            )
        self.num_classes = cfg.MODEL.DiffusionDet.NUM_CLASSES
        width = shape[self.in_features[0]].channels
        self.predictor = nn.Conv2d(width, self.num_classes + 4, 1)
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)
        prior = cfg.MODEL.DiffusionDet.PRIOR_PROB
        nn.init.constant_(self.predictor.bias[: self.num_classes], -math.log((1 - prior) / prior))
        self.normalise = PixelNormaliser(
            cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, self.backbone.size_divisibility, cfg.INPUT.FORMAT == "BGR"
        )

    def losses(self, batch: TrainingBatch, draws: TrainingDraws) -> dict[str, Tensor]:
        """Focal and GIoU loss of the dense predictions, each over the number of positive locations."""
        pyramid = self.backbone(self.normalise(batch.images, batch.canvas))
        logits, distances, centres, strides = self._predict([pyramid[f] for f in self.in_features])
        owner = self._assign(batch.boxes, batch.mask, centres, strides)  # [B,L] gt index or -1
        positive = owner >= 0
        count = over_batch(positive.sum()).clamp(min=1)
        chosen = owner.clamp(min=0)
        target = torch.zeros_like(logits)
        labels = batch.labels.clamp(min=0).gather(1, chosen)
        target.scatter_(2, labels[..., None], positive[..., None].to(target.dtype))
        boxes = torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)
        wanted = batch.boxes.gather(1, chosen[..., None].expand(-1, -1, 4))
        giou = generalized_box_iou_loss(boxes, wanted, reduction="none") * positive
        return {
            "loss_dense_cls": sigmoid_focal_loss(logits, target, reduction="sum") / count,
            "loss_dense_giou": giou.sum() / count,
        }

    def _predict(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All locations of all levels: logits [B,L,K], distances [B,L,4] px, centres [L,2] px, strides [L]."""
        logits, distances, centres, strides = [], [], [], []
        for feature, stride in zip(features, self.strides, strict=True):
            out = self.predictor(feature).float().flatten(2).transpose(1, 2)  # [B,hw,K+4]
            logits.append(out[..., : self.num_classes])
            distances.append(out[..., self.num_classes :].clamp(max=6).exp() * stride)
            h, w = feature.shape[-2:]
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = (torch.stack([x, y], dim=-1).reshape(-1, 2).to(out) + 0.5) * stride
            centres.append(grid)
            strides.append(torch.full_like(grid[:, 0], stride))
        return torch.cat(logits, 1), torch.cat(distances, 1), torch.cat(centres), torch.cat(strides)

    def _assign(self, boxes: Tensor, mask: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
        """The smallest box of fitting size whose centre region holds the location. [B,G,4], [B,G] -> [B,L]."""
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2  # [B,G,2]
        size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
        near = ((centres[None, :, None] - middle[:, None]).abs().amax(-1)) <= CENTRE_RADIUS * strides[None, :, None]
        low = torch.tensor([0.0, *self.size_edges], device=boxes.device)
        high = torch.tensor([*self.size_edges, math.inf], device=boxes.device)
        level = torch.tensor([self.strides.index(int(s)) for s in strides.tolist()], device=boxes.device)
        side = size.amax(-1)[:, None]  # [B,1,G]
        fits = (side >= low[level][None, :, None]) & (side < high[level][None, :, None])
        cost = size.prod(-1)[:, None].expand(near.shape).masked_fill(~(near & fits & mask[:, None]), math.inf)
        if cost.shape[-1] == 0:
            return cost.new_full(cost.shape[:2], -1, dtype=torch.long)
        best, owner = cost.min(-1)
        return owner.masked_fill(best.isinf(), -1)
