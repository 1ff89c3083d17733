"""The table of C2O's configuration keys: one line a key, with default and range.

``only`` holds the one value of a Detectron2 key that has no other meaning here; another one is refused, not ignored.
Names are those that users of the C2O-GND archive and of DiffusionDet already have in their YAML files.
Read by :mod:`c2o_model.config`; the typed counterparts are in :mod:`c2o_model.settings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

D = "MODEL.DiffusionDet."
OFF = (False,)


class ConfigError(ValueError):
    """A configuration that cannot be used. The message names the key, its value and what to do."""


@dataclass(frozen=True)
class Key:
    """One configuration key: dotted name, default, choices or closed range, or the only value with a meaning."""

    name: str
    default: Any
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    only: tuple[Any] | None = None


_BASELINE = (
    Key(D + "NUM_CLASSES", 80, low=1),
    Key(D + "NUM_PROPOSALS", 300, low=1),
    Key(D + "NHEADS", 8, low=1),
    Key(D + "DROPOUT", 0.0, low=0.0, high=0.99),
    Key(D + "DIM_FEEDFORWARD", 2048, low=1),
    Key(D + "ACTIVATION", "relu", choices=("relu", "gelu")),
    Key(D + "HIDDEN_DIM", 256, low=8),
    Key(D + "NUM_CLS", 1, low=0),
    Key(D + "NUM_REG", 3, low=0),
    Key(D + "NUM_HEADS", 6, low=1),
    Key(D + "NUM_DYNAMIC", 2, low=1),
    Key(D + "DIM_DYNAMIC", 64, low=1),
    Key(D + "CLASS_WEIGHT", 2.0, low=0.0),
    Key(D + "GIOU_WEIGHT", 2.0, low=0.0),
    Key(D + "L1_WEIGHT", 5.0, low=0.0),
    Key(D + "DEEP_SUPERVISION", True),
    Key(D + "USE_FOCAL", True),
    Key(D + "USE_FED_LOSS", False),
    Key(D + "NO_OBJECT_WEIGHT", 0.1, low=0.0),  # softmax loss only, which USE_FOCAL replaces
    Key(D + "ALPHA", 0.25, low=0.0, high=1.0),
    Key(D + "GAMMA", 2.0, low=0.0),
    Key(D + "PRIOR_PROB", 0.01, low=1e-6, high=0.999999),
    Key(D + "OTA_K", 5, low=1),
    Key(D + "SNR_SCALE", 2.0, low=1e-6),
    Key(D + "DIFFUSION_TIMESTEPS", 1000, low=1),
    Key(D + "ROI_ALIGN_IMPL", "torchvision", choices=("torchvision", "separable")),
    Key(D + "ROI_CANONICAL_SIZE", 224.0, low=1.0),
    Key(D + "ROI_CANONICAL_LEVEL", 4, low=1),
)

_SAMPLER = (
    Key(D + "SAMPLE_STEP", 1, low=1),
    Key(D + "SAMPLE_ETA", 1.0, low=0.0, high=1.0),
    Key(D + "SAMPLE_RESTARTS", 1, low=1),
    Key(D + "TEST_NUM_PROPOSALS", 0, low=0),
    Key(D + "BOX_RENEWAL", True),
    Key(D + "BOX_RENEWAL_THRESH", 0.5, low=0.0, high=1.0),
    Key(D + "USE_ENSEMBLE", True),
    Key(D + "USE_NMS", True),
    Key(D + "NMS_THRESH", 0.5, low=0.0, high=1.0),
    Key(D + "SAMPLER_COMPAT", "c2o", choices=("c2o", "diffusiondet")),
)

_LABELS = (
    Key(D + "LABEL_STATE", False),
    Key(D + "LABEL_STATE_RELATIVE_TO_UNK", True),
    Key(D + "LABEL_STATE_LR_MULT", 1.0, low=0.0),
    Key(D + "LABEL_D3PM", False),
    Key(D + "LABEL_D3PM_KERNEL", "mask", choices=("mask", "uniform")),
    Key(D + "LABEL_D3PM_USE_DISTRIBUTION", True),
    Key(
        D + "KEEP_PROB_SCHEDULE",
        "sqrt_alphas_cumprod",
        choices=("sqrt_alphas_cumprod", "alphas_cumprod", "linear", "constant"),
    ),
    Key(D + "KEEP_PROB_POWER", 1.0, low=1e-6),
    Key(D + "KEEP_PROB_MIN", 0.0, low=0.0, high=1.0),
    Key(D + "KEEP_PROB_CONST", 0.5, low=0.0, high=1.0),
)

_GRAPH = (
    Key(D + "GEO_FEAT", False),
    Key(D + "GEO_FEAT_MODE", "add", choices=("add", "qk_pos")),
    Key(D + "GEO_FEAT_HIDDEN", 64, low=1),
    Key(D + "GEO_FEAT_ALPHA_INIT", 0.0),
    Key(D + "GEO_FEAT_LR_MULT", 1.0, low=0.0),
    Key(D + "GEO_FEAT_SCHEDULE", "constant", choices=("constant", "linear", "threshold")),
    Key(D + "GEO_FEAT_SCHEDULE_THRESH", 0.5, low=0.0, high=1.0),
    Key(D + "GEO_FEAT_REL", False),
    Key(D + "GEO_BIAS_TYPE", "none", choices=("none", "distance", "iou", "mlp")),
    Key(D + "GEO_BIAS_SCALE_MODE", "pairwise", choices=("pairwise", "shared")),
    Key(D + "GEO_BIAS_HIDDEN", 32, low=1),
    Key(D + "GEO_BIAS_SIGMA", 1.0, low=1e-6),
    Key(D + "GEO_BIAS_TOPK", 0, low=0),
    Key(D + "GEO_BIAS_SCHEDULE", "constant", choices=("constant", "linear", "threshold")),
    Key(D + "GEO_BIAS_SCHEDULE_THRESH", 0.5, low=0.0, high=1.0),
    Key(D + "GEO_BIAS_LR_MULT", 1.0, low=0.0),
    Key(D + "DISABLE_SELF_ATTN", False),
    Key(D + "SELF_ATTN_IMPL", "torch", choices=("torch", "sdpa", "flex")),
    Key(D + "SELF_ATTN_SDPA_BACKEND", "auto", choices=("auto", "flash", "mem_efficient", "math")),
    Key(D + "GRAPH_TOPO_LOSS", False),
    Key(D + "GRAPH_TOPO_IOU_THRESH", 0.1, low=0.0, high=1.0),
    Key(D + "GRAPH_TOPO_LOSS_WEIGHT", 1.0, low=0.0),
    Key(D + "GRAPH_TOPO_TARGET_NORM", "row", choices=("row", "none")),
)

_QUALITY = (
    Key(D + "CLS_LOSS_TYPE", "focal", choices=("focal", "qfl")),
    Key(D + "QFL_BETA", 2.0, low=0.0),
    Key(D + "BOX_LOSS_IOU_WEIGHT_POWER", 0.0, low=0.0),
    Key(D + "BOX_LOSS_IOU_WEIGHT_FLOOR", 0.1, low=0.0, high=1.0),
    Key(D + "QUALITY_HEAD", False),
    Key(D + "QUALITY_HIDDEN", 64, low=1),
    Key(D + "QUALITY_LOSS_TYPE", "bce", choices=("bce", "l1", "mse")),
    Key(D + "QUALITY_LOSS_WEIGHT", 1.0, low=0.0),
    Key(D + "QUALITY_LR_MULT", 1.0, low=0.0),
    Key(D + "QUALITY_SCORE_REWEIGHT", False),
    Key(D + "QUALITY_SCORE_REWEIGHT_POWER", 1.0, low=0.0),
    Key(D + "ANISO_NOISE", False),
    Key(D + "ANISO_NOISE_SIGMA_XY", 1.0, low=1e-6),
    Key(D + "ANISO_NOISE_SIGMA_W", 1.0, low=1e-6),
    Key(D + "ANISO_NOISE_SIGMA_H", 1.0, low=1e-6),
    Key(D + "QUALITY_GUIDANCE", False),
    Key(D + "QUALITY_GUIDANCE_SCALE", 0.0, low=0.0),
    Key(D + "QUALITY_GUIDANCE_TOPK", 50, low=1),
    Key(D + "QUALITY_GUIDANCE_MODE", "final", choices=("final", "all", "threshold")),
    Key(D + "QUALITY_GUIDANCE_THRESH", 0.5, low=0.0, high=1.0),
    Key(D + "QUALITY_GUIDANCE_LANGEVIN_STEPS", 1, low=1),
    Key(D + "QUALITY_GUIDANCE_TEMPERATURE", 0.0, low=0.0),
    Key(D + "QUALITY_GUIDANCE_GRAD_NORM", "none", choices=("none", "proposal", "global")),
    Key(D + "QUALITY_GUIDANCE_STEP_SCHEDULE", "constant", choices=("constant", "linear")),
)

_DISTILL = (
    Key(D + "CONSISTENCY_DISTILL", False),
    Key(D + "CONSISTENCY_DISTILL_BOX_WEIGHT", 1.0, low=0.0),
    Key(D + "CONSISTENCY_DISTILL_CLS_WEIGHT", 1.0, low=0.0),
    Key(D + "CONSISTENCY_DISTILL_TEMPERATURE", 1.0, low=1e-6),
    Key(D + "CONSISTENCY_DISTILL_TEACHER_WEIGHTS", ""),
    Key(D + "SAMPLER_DISTILL", False),
    Key(D + "SAMPLER_DISTILL_TEACHER_WEIGHTS", ""),
    Key(D + "SAMPLER_DISTILL_TEACHER_SAMPLE_STEP", 20, low=1),
    Key(D + "SAMPLER_DISTILL_TEACHER_ETA", 0.0, low=0.0, high=1.0),
    Key(D + "SAMPLER_DISTILL_STUDENT_SAMPLE_STEP", 1, low=1),
    Key(D + "SAMPLER_DISTILL_TOPK", 50, low=1),
    Key(D + "SAMPLER_DISTILL_WEIGHT", 1.0, low=0.0),
    Key(D + "SAMPLER_DISTILL_BOX_WEIGHT", 1.0, low=0.0),
    Key(D + "SAMPLER_DISTILL_CLS_WEIGHT", 0.0, low=0.0),
    Key(D + "SAMPLER_DISTILL_TEMPERATURE", 1.0, low=1e-6),
    Key(D + "SAMPLER_DISTILL_IMAGES", 0, low=0),
)

_REST = (
    Key("SOLVER.OPTIMIZER", "ADAMW", choices=("ADAMW",)),
    Key("SOLVER.BACKBONE_MULTIPLIER", 1.0, low=0.0),
    Key("SOLVER.ACCUMULATE_STEPS", 1, low=1),
    Key("SOLVER.TORCH_COMPILE", False),
    Key(
        "SOLVER.TORCH_COMPILE_MODE",
        "default",
        choices=("default", "reduce-overhead", "max-autotune"),
    ),
    Key("MODEL_EMA.ENABLED", False),
    Key("MODEL_EMA.DECAY", 0.999, low=0.0, high=1.0),
    Key("MODEL_EMA.RAMP", 0, low=0),
    Key("MODEL.META_ARCHITECTURE", "DiffusionDet", choices=("DiffusionDet", "C2OBackbonePretrainer")),
    Key("MODEL.SWIN.SIZE", "B", choices=("T", "S", "B", "B-22k")),
    Key("MODEL.SWIN.USE_CHECKPOINT", False),
    Key("MODEL.SWIN.OUT_FEATURES", (0, 1, 2, 3)),
    Key("MODEL.EFFICIENTNET_LITE0.WEIGHTS", "package", choices=("package", "")),
    Key("MODEL.BACKBONE.FREEZE_AT", 2, low=0, high=5),
    Key("MODEL.SMALL_RESNET.CHANNELS", [32, 64, 128]),
    Key("MODEL.SMALL_RESNET.BLOCKS", [1, 1, 1]),
    Key("MODEL.SMALL_RESNET.STEM_CHANNELS", 16, low=1),
    Key("MODEL.PRETRAIN.SIZE_EDGES", [24.0, 48.0]),
    Key("DATALOADER.CACHE_MB", 1024, low=0),
    Key("DATALOADER.FEATURE_CACHE_MB", 1024, low=0),
    Key("TEST.EVAL_IMAGES", 0, low=0),  # of TEST.EVAL_PERIOD: the first so many of the split; 0: all
    Key("INPUT.SHIFT", 0, low=0),
    Key("INPUT.BRIGHTNESS", 0, low=0, high=255),
    Key("INPUT.CONTRAST", 0, low=0, high=99),
)

# Detectron2's own keys of which only one value has an effect here: another one is refused, not ignored.
_DETECTRON2 = (
    Key("SOLVER.AMP.ENABLED", False),
    Key("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model", only=("full_model",)),
    Key("INPUT.FORMAT", "RGB", choices=("RGB", "BGR")),
    Key("INPUT.RANDOM_FLIP", "horizontal", choices=("none", "horizontal")),
    Key("INPUT.MIN_SIZE_TRAIN", (0,)),  # 0: images keep their size (Detectron2's own default is 800)
    Key("INPUT.MIN_SIZE_TEST", 0, low=0),
    Key("INPUT.MAX_SIZE_TRAIN", 1333, low=1),
    Key("INPUT.MAX_SIZE_TEST", 1333, low=1),
    Key("INPUT.MIN_SIZE_TRAIN_SAMPLING", "choice", choices=("choice", "range")),
    Key("INPUT.CROP.ENABLED", False),  # half of the images are cut to a window of CROP.SIZE px before they are resized
    Key("INPUT.CROP.TYPE", "absolute_range", choices=("absolute_range",)),
    Key("INPUT.CROP.SIZE", [384, 600]),
    Key("TEST.EVAL_PERIOD", 0, low=0),  # iterations between two measurements of AP while training; 0: none
    Key("TEST.AUG.ENABLED", False, only=OFF),
    Key("MODEL.MASK_ON", False, only=OFF),
    Key("MODEL.KEYPOINT_ON", False, only=OFF),
    Key("MODEL.LOAD_PROPOSALS", False, only=OFF),
)

KEYS: tuple[Key, ...] = _BASELINE + _SAMPLER + _LABELS + _GRAPH + _QUALITY + _DISTILL + _REST + _DETECTRON2

TEST_TIME_KEYS = (
    frozenset(key.name for key in _SAMPLER)
    | {D + "QUALITY_SCORE_REWEIGHT", D + "QUALITY_SCORE_REWEIGHT_POWER"}
    | {key.name for key in _QUALITY if key.name.startswith(D + "QUALITY_GUIDANCE")}
)
"""Keys that change how a checkpoint is sampled, not what it is: what a row of a suite may override."""
