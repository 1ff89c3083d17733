"""The typed values that C2O's modules are built from: one frozen dataclass a concept.

Made from a checked configuration by :func:`c2o_model.config.typed_config`; the names follow the keys in
:mod:`c2o_model.keys`, without the prefix ``MODEL.DiffusionDet.``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T")
Getter = Callable[[str], Any]


@dataclass(frozen=True)
class HeadSettings:
    """Shape of the dynamic head (DiffusionDet, section 3.2): stages, widths and attention kernel."""

    num_classes: int
    num_heads: int
    hidden_dim: int
    nheads: int
    dim_feedforward: int
    dim_dynamic: int
    dropout: float
    activation: str
    num_cls: int
    num_reg: int
    prior_prob: float
    self_attn_impl: str
    self_attn_sdpa_backend: str
    num_dynamic: int = 2
    use_focal: bool = True


@dataclass(frozen=True)
class RoiSettings:
    """Where a node looks at the feature pyramid: kernel and level assignment (FPN, eq. 1)."""

    roi_align_impl: str
    roi_canonical_size: float
    roi_canonical_level: int


@dataclass(frozen=True)
class DiffusionSettings:
    """The Gaussian box process: number of time steps and signal scale."""

    diffusion_timesteps: int
    snr_scale: float
    num_proposals: int


@dataclass(frozen=True)
class LabelSettings:
    """The label process (D3PM, arXiv 2107.03006, or Gaussian without LABEL_D3PM) and how its state enters a node."""

    label_state: bool
    label_state_relative_to_unk: bool
    label_d3pm: bool
    label_d3pm_kernel: str
    label_d3pm_use_distribution: bool
    keep_prob_schedule: str
    keep_prob_power: float
    keep_prob_min: float
    keep_prob_const: float


@dataclass(frozen=True)
class GeoFeatSettings:
    """GEO_FEAT: explicit geometry added to the node feature (mode ``add``) or to q and k only (``qk_pos``)."""

    geo_feat: bool
    geo_feat_mode: str
    geo_feat_hidden: int
    geo_feat_alpha_init: float
    geo_feat_schedule: str
    geo_feat_schedule_thresh: float
    geo_feat_rel: bool


@dataclass(frozen=True)
class GraphSettings:
    """The nodes' graph: geometric bias of the attention, its edges, and the topology loss."""

    geo_bias_type: str
    geo_bias_scale_mode: str
    geo_bias_hidden: int
    geo_bias_sigma: float
    geo_bias_topk: int
    geo_bias_schedule: str
    geo_bias_schedule_thresh: float
    disable_self_attn: bool
    graph_topo_loss: bool
    graph_topo_iou_thresh: float
    graph_topo_loss_weight: float
    graph_topo_target_norm: str


@dataclass(frozen=True)
class QualitySettings:
    """QUALITY_HEAD: predicted IoU of a node, its loss, and its use in the score."""

    quality_head: bool
    quality_hidden: int
    quality_loss_type: str
    quality_loss_weight: float
    quality_score_reweight: bool
    quality_score_reweight_power: float


@dataclass(frozen=True)
class LossSettings:
    """Weights of the set prediction loss and parameters of the matcher (DiffusionDet, section 3.3)."""

    class_weight: float
    l1_weight: float
    giou_weight: float
    alpha: float
    gamma: float
    ota_k: int
    deep_supervision: bool


@dataclass(frozen=True)
class LossSwitches:
    """Other forms of the set prediction loss (model.md, "Losses with quality"); the defaults are DiffusionDet's."""

    use_focal: bool = True
    no_object_weight: float = 0.1
    use_fed_loss: bool = False
    cls_loss_type: str = "focal"
    qfl_beta: float = 2.0
    box_loss_iou_weight_power: float = 0.0
    box_loss_iou_weight_floor: float = 0.1


@dataclass(frozen=True)
class AnisoSettings:
    """ANISO_NOISE: the standard deviation of the box noise in centre, width and height."""

    aniso_noise: bool
    aniso_noise_sigma_xy: float
    aniso_noise_sigma_w: float
    aniso_noise_sigma_h: float


@dataclass(frozen=True)
class GuidanceSettings:
    """QUALITY_GUIDANCE: Langevin steps on predicted boxes towards higher predicted quality, while sampling."""

    quality_guidance: bool
    quality_guidance_scale: float
    quality_guidance_topk: int
    quality_guidance_mode: str
    quality_guidance_thresh: float
    quality_guidance_langevin_steps: int
    quality_guidance_temperature: float
    quality_guidance_grad_norm: str
    quality_guidance_step_schedule: str


@dataclass(frozen=True)
class SamplerSettings:
    """How boxes are sampled at test time (DiffusionDet, algorithm 2)."""

    sample_step: int
    sample_eta: float
    sample_restarts: int
    test_num_proposals: int
    box_renewal: bool
    box_renewal_thresh: float
    use_ensemble: bool
    use_nms: bool
    nms_thresh: float
    sampler_compat: str


@dataclass(frozen=True)
class DistillSettings:
    """SAMPLER_DISTILL: the teacher's sampler, which nodes count, and the weights of the loss."""

    sampler_distill: bool
    sampler_distill_teacher_weights: str
    sampler_distill_teacher_sample_step: int
    sampler_distill_teacher_eta: float
    sampler_distill_student_sample_step: int
    sampler_distill_topk: int
    sampler_distill_weight: float
    sampler_distill_box_weight: float
    sampler_distill_cls_weight: float
    sampler_distill_temperature: float
    sampler_distill_images: int


@dataclass(frozen=True)
class ConsistencySettings:
    """CONSISTENCY_DISTILL: weights of the imitation of a teacher at the same noise and t, and its temperature."""

    consistency_distill: bool
    consistency_distill_box_weight: float
    consistency_distill_cls_weight: float
    consistency_distill_temperature: float
    consistency_distill_teacher_weights: str


@dataclass(frozen=True)
class Settings:
    """All typed values of one configuration."""

    head: HeadSettings
    roi: RoiSettings
    diffusion: DiffusionSettings
    label: LabelSettings
    geo_feat: GeoFeatSettings
    graph: GraphSettings
    quality: QualitySettings
    loss: LossSettings
    sampler: SamplerSettings
    distill: DistillSettings
    loss_switches: LossSwitches
    aniso: AnisoSettings
    guidance: GuidanceSettings
    consistency: ConsistencySettings

    @classmethod
    def from_values(cls, get: Getter) -> Settings:
        """Read every field from ``get("MODEL.DiffusionDet.<FIELD>")``."""
        return cls(
            head=_read(HeadSettings, get),
            roi=_read(RoiSettings, get),
            diffusion=_read(DiffusionSettings, get),
            label=_read(LabelSettings, get),
            geo_feat=_read(GeoFeatSettings, get),
            graph=_read(GraphSettings, get),
            quality=_read(QualitySettings, get),
            loss=_read(LossSettings, get),
            sampler=_read(SamplerSettings, get),
            distill=_read(DistillSettings, get),
            loss_switches=_read(LossSwitches, get),
            aniso=_read(AnisoSettings, get),
            guidance=_read(GuidanceSettings, get),
            consistency=_read(ConsistencySettings, get),
        )


def _read(kind: type[T], get: Getter) -> T:
    return kind(**{f.name: get(f"MODEL.DiffusionDet.{f.name.upper()}") for f in fields(kind)})  # type: ignore[arg-type]
