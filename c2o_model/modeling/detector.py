"""The detector: backbone, dynamic head, noise schedules; training losses and single-call inference.

Registered as Detectron2's META_ARCHITECTURE ``DiffusionDet``. The constructor receives built parts;
:meth:`DiffusionDet.from_config` builds them. Training goes through :meth:`losses`, which takes its randomness as an
argument; sampling lives in :mod:`c2o_model.sampling`. Source: DiffusionDet (arXiv 2211.09788).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import Tensor, nn

from c2o_model.config import ConfigError, typed_config
from c2o_model.diffusion.gaussian_labels import GaussianLabels
from c2o_model.diffusion.labels import LabelDiffusion, keep_probabilities, x0_distribution
from c2o_model.diffusion.schedules import GaussianSchedule, cosine_alphas_cumprod
from c2o_model.graph.geometry import GeoFeat
from c2o_model.modeling import backbones, efficientnet, swin  # noqa: F401  (registers the backbones)
from c2o_model.modeling.class_losses import class_scores
from c2o_model.modeling.federated import FederatedClasses
from c2o_model.modeling.graph_parts import attach_graph, topology_losses
from c2o_model.modeling.head import DynamicHead, HeadOutput
from c2o_model.modeling.images import PixelNormaliser
from c2o_model.modeling.label_embedding import LabelEmbedding
from c2o_model.modeling.losses import LossWeights, detection_losses, quality_loss
from c2o_model.modeling.matcher import Match, match
from c2o_model.modeling.quality import QualityHead
from c2o_model.modeling.roi import NodePooler
from c2o_model.modeling.targets import TrainingBatch, TrainingDraws, make_noisy_nodes
from c2o_model.settings import Settings

Watch = Callable[[HeadOutput, Match], None]


@META_ARCH_REGISTRY.register()
class DiffusionDet(nn.Module):
    """DiffusionDet with C2O's switches.

    Args:
        backbone: feature pyramid with Detectron2's interface.
        head: the dynamic head.
        normalise: pixels -> network input.
        in_features: names of the pyramid levels that the head reads.
        schedule: the Gaussian process of the boxes.
        label_process: the discrete or Gaussian process of the labels, or None.
        settings: typed configuration.
        freeze_backbone: no gradient, evaluation mode (SOLVER.BACKBONE_MULTIPLIER 0).
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: DynamicHead,
        normalise: PixelNormaliser,
        in_features: Sequence[str],
        schedule: GaussianSchedule,
        label_process: LabelDiffusion | GaussianLabels | None,
        settings: Settings,
        freeze_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.head = head
        self.normalise = normalise
        self.in_features = tuple(in_features)
        self.schedule = schedule
        self.label_process = label_process
        self.settings = settings
        self.freeze_backbone = freeze_backbone
        self.federated: FederatedClasses | None = None  # set by training, for USE_FED_LOSS
        if freeze_backbone:
            self.backbone.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The parts of the detector that ``cfg`` describes."""
        settings = typed_config(cfg)
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        in_features = list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
        for name in in_features:
            if name not in shapes:
                raise ConfigError(f"MODEL.ROI_HEADS.IN_FEATURES: {name!r} is not one of {', '.join(shapes)}")
            if shapes[name].channels != settings.head.hidden_dim:
                raise ConfigError(
                    f"MODEL.DiffusionDet.HIDDEN_DIM: {settings.head.hidden_dim}, but {name} has "
                    f"{shapes[name].channels} channels (MODEL.FPN.OUT_CHANNELS); set them equal"
                )
        return {
            "backbone": backbone,
            "head": build_head(cfg, settings, [shapes[f].stride for f in in_features]),
            "normalise": PixelNormaliser(
                cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, backbone.size_divisibility, cfg.INPUT.FORMAT == "BGR"
            ),
            "in_features": in_features,
            "schedule": GaussianSchedule.cosine(settings.diffusion.diffusion_timesteps),
            "label_process": build_label_process(settings),
            "settings": settings,
            "freeze_backbone": cfg.SOLVER.BACKBONE_MULTIPLIER == 0,
        }

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.normalise.mean.device

    def train(self, mode: bool = True) -> DiffusionDet:
        """Training mode, except for a frozen backbone, whose statistics stay."""
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DiffusionDet:
        """As nn.Module's (``.to``, ``.cuda``), with the tables of the two processes, which are no buffers."""
        super()._apply(fn, recurse)
        self.schedule = self.schedule.to(self.device)
        self.label_process = None if self.label_process is None else self.label_process.to(self.device)
        return self

    def features(self, images: Tensor | Sequence[Tensor], canvas: tuple[int, int] = (0, 0)) -> list[Tensor]:
        """uint8 [B,3,H,W] (or a list) -> float32 pyramid levels [B,C,H_l,W_l] that the head reads.

        canvas: height and width that the images are padded to at least.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_backbone):
            pyramid = self.backbone(self.normalise(images, canvas))
        return [pyramid[name].float() for name in self.in_features]

    def losses(
        self,
        batch: TrainingBatch,
        draws: TrainingDraws,
        features: Sequence[Tensor] | None = None,
        watch: Watch | None = None,
    ) -> dict[str, Tensor]:
        """The weighted set prediction losses of one batch, by name; their sum is what training minimises.

        Args:
            features: pyramid of ``batch.images`` where the caller has it already.
            watch: called with the head's output and the match of its stages, for what else is learnt or logged of it.
        """
        features = self.features(batch.images, batch.canvas) if features is None else features
        s = self.settings
        nodes = make_noisy_nodes(batch, draws, self.schedule, s.diffusion.snr_scale, self.label_process, s.aniso)
        out = self.head(features, nodes.boxes, nodes.t, batch.whwh, nodes.label_state)
        return self.set_losses(out, batch, draws.classes, watch)

    def set_losses(
        self, out: HeadOutput, batch: TrainingBatch, class_draw: Tensor | None = None, watch: Watch | None = None
    ) -> dict[str, Tensor]:
        """Match every stage's nodes to the ground truth and weigh classes, boxes and (last stage) quality.

        ``class_draw`` [K] uniform in [0,1): which classes take part, needed with USE_FED_LOSS.
        """
        loss, switches = self.settings.loss, self.settings.loss_switches
        first = 0 if loss.deep_supervision else out.logits.shape[0] - 1
        logits, boxes = out.logits[first:], out.boxes[first:]
        stages, b = logits.shape[:2]
        pairs = match(
            logits.detach().flatten(0, 1),
            boxes.detach().flatten(0, 1),
            batch.labels.repeat(stages, 1),
            batch.boxes.repeat(stages, 1, 1),
            batch.mask.repeat(stages, 1),
            batch.whwh.repeat(stages, 1),
            ota_k=loss.ota_k,
            cls_weight=loss.class_weight,
            l1_weight=loss.l1_weight,
            giou_weight=loss.giou_weight,
            alpha=loss.alpha,
            gamma=loss.gamma,
            softmax=not switches.use_focal,
        )
        taking_part = None
        if switches.use_fed_loss:
            if self.federated is None or class_draw is None:
                raise ConfigError(
                    "MODEL.DiffusionDet.USE_FED_LOSS: True needs class frequencies and a draw of classes, which only "
                    "the training loop sets"
                )
            taking_part = self.federated.choose(batch.labels, batch.mask, class_draw)
        if watch is not None:
            watch(out, pairs)
        weights = LossWeights(loss.class_weight, loss.l1_weight, loss.giou_weight, loss.alpha, loss.gamma)
        losses = detection_losses(
            logits,
            boxes,
            pairs,
            batch.labels,
            batch.boxes,
            batch.whwh,
            weights,
            switches=switches,
            taking_part=taking_part,
        )
        quality = self.settings.quality
        if out.quality is not None:
            matched = pairs.gt_index[-b:] >= 0
            value = quality_loss(out.quality, pairs.iou[-b:], matched, quality.quality_loss_type)
            losses["loss_quality"] = quality.quality_loss_weight * value
        losses.update(topology_losses(out, pairs, batch, self.settings))
        return losses

    def forward(self, batch: TrainingBatch, draws: TrainingDraws) -> dict[str, Tensor]:
        """:meth:`losses`. For inference see :mod:`c2o_model.sampling.sampler`."""
        return self.losses(batch, draws)

    def class_scores(self, logits: Tensor) -> Tensor:
        """[..., K] in [0,1] of the head's logits: sigmoids, or a softmax without its background."""
        return class_scores(logits, self.settings.loss_switches.use_focal)

    def label_distribution(self, logits: Tensor) -> Tensor:
        """p(x_0) of the label process, [..., K+1] with background last, of the head's logits."""
        return x0_distribution(logits) if self.settings.loss_switches.use_focal else logits.softmax(dim=-1)

    def scores(self, out: HeadOutput) -> Tensor:
        """Class scores of the last stage, re-weighted by predicted quality when asked. [M,N,K] in [0,1]."""
        scores = self.class_scores(out.logits[-1])
        quality = self.settings.quality
        if quality.quality_score_reweight and out.quality is not None:
            scores = scores * out.quality.sigmoid().pow(quality.quality_score_reweight_power)[..., None]
        return scores


def build_label_process(settings: Settings) -> LabelDiffusion | GaussianLabels | None:
    """The label process of the settings: D3PM, Gaussian where LABEL_D3PM is off, None where LABEL_STATE is off."""
    label, boxes = settings.label, settings.diffusion
    if not label.label_state:
        return None
    if not label.label_d3pm:
        schedule = GaussianSchedule.cosine(boxes.diffusion_timesteps)
        return GaussianLabels(settings.head.num_classes, schedule, boxes.snr_scale)
    keep = keep_probabilities(
        label.keep_prob_schedule,
        cosine_alphas_cumprod(settings.diffusion.diffusion_timesteps),
        power=label.keep_prob_power,
        minimum=label.keep_prob_min,
        const=label.keep_prob_const,
    )
    return LabelDiffusion(settings.head.num_classes, label.label_d3pm_kernel, keep)


def build_head(cfg: CfgNode, settings: Settings, strides: Sequence[int]) -> DynamicHead:
    """The dynamic head of ``cfg`` with the modules that are switched on, for pyramid levels of these strides, in px."""
    pooler = NodePooler(
        strides,
        cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION,
        settings.roi.roi_align_impl,
        settings.roi.roi_canonical_size,
        settings.roi.roi_canonical_level,
    )
    dim = settings.head.hidden_dim
    label, geo, quality = settings.label, settings.geo_feat, settings.quality
    head = DynamicHead(
        settings.head,
        pooler,
        settings.diffusion.diffusion_timesteps,
        label_embedding=LabelEmbedding(settings.head.num_classes, dim, label.label_state_relative_to_unk)
        if label.label_state
        else None,
        geo_feat=GeoFeat(
            dim,
            geo.geo_feat_hidden,
            settings.diffusion.diffusion_timesteps,
            gate_init=geo.geo_feat_alpha_init,
            schedule=geo.geo_feat_schedule,
            threshold=geo.geo_feat_schedule_thresh,
            rel=geo.geo_feat_rel,
        )
        if geo.geo_feat
        else None,
        geo_feat_mode=geo.geo_feat_mode,
        quality_head=QualityHead(dim, quality.quality_hidden) if quality.quality_head else None,
    )
    return attach_graph(head, settings)
