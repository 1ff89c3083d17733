"""Which configuration keys exclude or need one another.

Every message names the key at fault, its value, and what to do. Called by :func:`c2o_model.config.check`, after it
checked each key by itself.
"""

from __future__ import annotations

from detectron2.config import CfgNode

from c2o_model.keys import ConfigError


def check_combinations(cfg: CfgNode) -> None:
    """Raise ConfigError where two keys of ``cfg`` exclude each other or one lacks another."""
    d = cfg.MODEL.DiffusionDet
    if d.HIDDEN_DIM % d.NHEADS:
        raise ConfigError(f"MODEL.DiffusionDet.NHEADS: {d.NHEADS} does not divide HIDDEN_DIM {d.HIDDEN_DIM}")
    if d.LABEL_D3PM and not d.LABEL_STATE:
        raise ConfigError("MODEL.DiffusionDet.LABEL_D3PM: True needs MODEL.DiffusionDet.LABEL_STATE: True")
    _check_losses(cfg)
    if d.QUALITY_GUIDANCE and not d.QUALITY_HEAD:
        raise ConfigError("MODEL.DiffusionDet.QUALITY_GUIDANCE: True needs MODEL.DiffusionDet.QUALITY_HEAD: True")
    if d.QUALITY_SCORE_REWEIGHT and not d.QUALITY_HEAD:
        raise ConfigError("MODEL.DiffusionDet.QUALITY_SCORE_REWEIGHT: True needs MODEL.DiffusionDet.QUALITY_HEAD: True")
    _check_graph(d)
    if d.SAMPLER_DISTILL_IMAGES > cfg.SOLVER.IMS_PER_BATCH:
        raise ConfigError(
            f"MODEL.DiffusionDet.SAMPLER_DISTILL_IMAGES: {d.SAMPLER_DISTILL_IMAGES} exceeds SOLVER.IMS_PER_BATCH "
            f"{cfg.SOLVER.IMS_PER_BATCH}; 0 means the whole batch"
        )
    _check_distillation(cfg)
    if cfg.SOLVER.IMS_PER_BATCH % cfg.SOLVER.ACCUMULATE_STEPS:
        raise ConfigError(
            f"SOLVER.ACCUMULATE_STEPS: {cfg.SOLVER.ACCUMULATE_STEPS} does not divide SOLVER.IMS_PER_BATCH "
            f"{cfg.SOLVER.IMS_PER_BATCH}, the global batch"
        )
    if cfg.SOLVER.TORCH_COMPILE and cfg.MODEL.META_ARCHITECTURE != "DiffusionDet":
        raise ConfigError(
            "SOLVER.TORCH_COMPILE: True compiles the head of MODEL.META_ARCHITECTURE DiffusionDet; "
            f"{cfg.MODEL.META_ARCHITECTURE} has none"
        )
    if d.SAMPLE_STEP > d.DIFFUSION_TIMESTEPS:
        raise ConfigError(
            f"MODEL.DiffusionDet.SAMPLE_STEP: {d.SAMPLE_STEP} exceeds DIFFUSION_TIMESTEPS {d.DIFFUSION_TIMESTEPS}"
        )
    _check_input(cfg)


def _check_input(cfg: CfgNode) -> None:
    sizes, crop = tuple(cfg.INPUT.MIN_SIZE_TRAIN), tuple(cfg.INPUT.CROP.SIZE)
    if not all(type(size) is int and size >= 0 for size in sizes) or (sizes != (0,) and 0 in sizes) or not sizes:
        raise ConfigError(f"INPUT.MIN_SIZE_TRAIN: {sizes} are no sizes in pixels; (0,) alone means no resizing")
    if (cfg.INPUT.MIN_SIZE_TEST == 0) != (sizes == (0,)):
        raise ConfigError(
            f"INPUT.MIN_SIZE_TEST: {cfg.INPUT.MIN_SIZE_TEST} with INPUT.MIN_SIZE_TRAIN {sizes}: resize in both or in "
            "neither (Detectron2 tests at 800)"
        )
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range" and len(sizes) != 2:
        raise ConfigError(
            f"INPUT.MIN_SIZE_TRAIN_SAMPLING: 'range' needs two sizes in INPUT.MIN_SIZE_TRAIN, not {sizes}"
        )
    if cfg.INPUT.CROP.ENABLED and sizes == (0,):
        raise ConfigError("INPUT.CROP.ENABLED: True needs INPUT.MIN_SIZE_TRAIN: crops are resized to it")
    if len(crop) != 2 or not all(type(side) is int for side in crop) or not 1 <= crop[0] <= crop[1]:
        raise ConfigError(f"INPUT.CROP.SIZE: {crop} is not (smallest, largest) side in pixels")


def _check_graph(d: CfgNode) -> None:
    """The switches of the nodes' graph that exclude or need one another."""
    prefix = "MODEL.DiffusionDet."
    if d.DISABLE_SELF_ATTN:
        needs_attention = {
            "GEO_BIAS_TYPE": d.GEO_BIAS_TYPE != "none",
            "GEO_BIAS_TOPK": d.GEO_BIAS_TOPK > 0,
            "GRAPH_TOPO_LOSS": d.GRAPH_TOPO_LOSS,
            "GEO_FEAT_MODE": d.GEO_FEAT and d.GEO_FEAT_MODE == "qk_pos",
            "GEO_FEAT_REL": d.GEO_FEAT_REL,
        }
        for name, asked in needs_attention.items():
            if asked:
                raise ConfigError(
                    f"{prefix}DISABLE_SELF_ATTN: True leaves each node by itself, but {prefix}{name}: {d[name]!r} "
                    "needs the others; switch one of them off"
                )
    if d.GEO_FEAT_REL and not d.GEO_FEAT:
        raise ConfigError(f"{prefix}GEO_FEAT_REL: True needs {prefix}GEO_FEAT: True")
    if d.GEO_BIAS_SCALE_MODE == "shared" and d.GEO_BIAS_TYPE != "distance":
        raise ConfigError(
            f"{prefix}GEO_BIAS_SCALE_MODE: 'shared' needs {prefix}GEO_BIAS_TYPE: 'distance', not {d.GEO_BIAS_TYPE!r}"
        )
    if d.SELF_ATTN_IMPL == "flex" and d.DROPOUT > 0:
        raise ConfigError(
            f"{prefix}SELF_ATTN_IMPL: 'flex' has no dropout, but {prefix}DROPOUT is {d.DROPOUT:g}; "
            "use 'torch' or 'sdpa'"
        )


def _check_losses(cfg: CfgNode) -> None:
    """The softmax loss has no one-class-against-the-rest form, which the others are made of."""
    d = cfg.MODEL.DiffusionDet
    if not d.USE_FOCAL:
        others = {"CLS_LOSS_TYPE": "qfl", "USE_FED_LOSS": True, "CONSISTENCY_DISTILL": True, "SAMPLER_DISTILL": True}
        for name, value in others.items():
            if d[name] == value:
                raise ConfigError(
                    f"MODEL.DiffusionDet.{name}: {value!r} works on sigmoid scores and needs "
                    "MODEL.DiffusionDet.USE_FOCAL: True"
                )
    count = cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES
    if d.USE_FED_LOSS and count < 1:
        raise ConfigError(
            f"MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES: {count} classes cannot carry a loss; give 1 or more"
        )


def _check_distillation(cfg: CfgNode) -> None:
    d, key = cfg.MODEL.DiffusionDet, "MODEL.DiffusionDet."
    if d.CONSISTENCY_DISTILL and d.SAMPLER_DISTILL:
        raise ConfigError(
            f"{key}CONSISTENCY_DISTILL: True excludes {key}SAMPLER_DISTILL: True; a student has one teacher, "
            "switch one of them off"
        )
    if (d.CONSISTENCY_DISTILL or d.SAMPLER_DISTILL) and cfg.MODEL.META_ARCHITECTURE != "DiffusionDet":
        name = "CONSISTENCY_DISTILL" if d.CONSISTENCY_DISTILL else "SAMPLER_DISTILL"
        raise ConfigError(
            f"{key}{name}: True needs MODEL.META_ARCHITECTURE: DiffusionDet, not {cfg.MODEL.META_ARCHITECTURE}"
        )
    if d.CONSISTENCY_DISTILL and not (d.CONSISTENCY_DISTILL_BOX_WEIGHT or d.CONSISTENCY_DISTILL_CLS_WEIGHT):
        raise ConfigError(
            f"{key}CONSISTENCY_DISTILL: True with BOX_WEIGHT 0 and CLS_WEIGHT 0 distils nothing; give one of them"
        )
    if d.SAMPLER_DISTILL:
        teacher, student = d.SAMPLER_DISTILL_TEACHER_SAMPLE_STEP, d.SAMPLER_DISTILL_STUDENT_SAMPLE_STEP
        if teacher > d.DIFFUSION_TIMESTEPS:
            raise ConfigError(
                f"{key}SAMPLER_DISTILL_TEACHER_SAMPLE_STEP: {teacher} exceeds DIFFUSION_TIMESTEPS "
                f"{d.DIFFUSION_TIMESTEPS}"
            )
        if student > teacher:
            raise ConfigError(
                f"{key}SAMPLER_DISTILL_STUDENT_SAMPLE_STEP: {student} exceeds SAMPLER_DISTILL_TEACHER_SAMPLE_STEP "
                f"{teacher}; a student is to need fewer steps than its teacher"
            )
