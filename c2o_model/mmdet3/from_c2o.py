"""A C2O configuration as the ``model`` of an MMDetection configuration.

    python -m c2o_model.mmdet3.from_c2o configs/models/coco/diffusiondet_r50.yaml > model.py

The head, the processes and the losses go over as C2O's own keys; backbone, pyramid and preprocessing are said in
MMDetection's words. What it cannot say is an error that names the key. Needs no MMDetection.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from c2o_model.determinism import pin_environment
from c2o_model.keys import ConfigError

if TYPE_CHECKING:
    from detectron2.config import CfgNode

SMALL = "build_c2o_small_resnet_fpn_backbone"
RESNET = "build_resnet_fpn_backbone"
SWIN = "build_swintransformer_fpn_backbone"
USER_ERROR = 2
_NORMS: dict[str, dict[str, Any]] = {
    "FrozenBN": {"type": "BN", "requires_grad": False},
    "BN": {"type": "BN", "requires_grad": True},
    "SyncBN": {"type": "SyncBN", "requires_grad": True},
    "GN": {"type": "GN", "num_groups": 32, "requires_grad": True},
}


def model_config(cfg: CfgNode) -> dict[str, Any]:
    """``dict(type="C2OGND", ...)``: backbone, neck, data preprocessor and the C2O keys that are not at their default.

    Raises:
        ConfigError: for what MMDetection's parts cannot express, naming the key.
    """
    if cfg.MODEL.META_ARCHITECTURE != "DiffusionDet":
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE: {cfg.MODEL.META_ARCHITECTURE} is no detector; MMDetection gets DiffusionDet only"
        )
    kind = cfg.MODEL.BACKBONE.NAME
    if kind not in _BACKBONES:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME: {kind} has no counterpart in MMDetection; it has those of {', '.join(_BACKBONES)}"
        )
    backbone, neck, divisor = _BACKBONES[kind](cfg)
    statistics = {"mean": list(cfg.MODEL.PIXEL_MEAN), "std": list(cfg.MODEL.PIXEL_STD)}
    preprocessor = {"type": "DetDataPreprocessor", **statistics, "bgr_to_rgb": cfg.INPUT.FORMAT == "RGB"}
    return {
        "type": "C2OGND",
        "data_preprocessor": {**preprocessor, "pad_size_divisor": divisor},
        "backbone": backbone,
        **({"neck": neck} if neck else {}),
        "first_level": in_levels(cfg)[0],
        "c2o": c2o_keys(cfg),
    }


def c2o_keys(cfg: CfgNode) -> dict[str, Any]:
    """The keys that the core reads of ``cfg`` (head, processes, losses, sampler), where they are not at their default.

    Teachers' files are no part of a model: their paths stay out.
    """
    from c2o_model.config import default_config

    usual = default_config()
    keys = {
        key: value
        for key, value in sorted(cfg.MODEL.DiffusionDet.items())
        if value != usual.MODEL.DiffusionDet[key] and not key.endswith("TEACHER_WEIGHTS")
    }
    found: dict[str, Any] = {"MODEL": {"DiffusionDet": keys}}
    found["MODEL"]["ROI_HEADS"] = {"IN_FEATURES": list(cfg.MODEL.ROI_HEADS.IN_FEATURES)}
    if cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION != usual.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION:
        found["MODEL"]["ROI_BOX_HEAD"] = {"POOLER_RESOLUTION": cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION}
    if cfg.SOLVER.BACKBONE_MULTIPLIER == 0:
        found["SOLVER"] = {"BACKBONE_MULTIPLIER": 0.0}
    if cfg.TEST.DETECTIONS_PER_IMAGE != usual.TEST.DETECTIONS_PER_IMAGE:
        found["TEST"] = {"DETECTIONS_PER_IMAGE": cfg.TEST.DETECTIONS_PER_IMAGE}
    return found


def in_levels(cfg: CfgNode) -> list[int]:
    """log2 of the strides of the maps that the pyramid reads: res3, swin1 and p3 are all of level 3."""
    offset = 2 if cfg.MODEL.BACKBONE.NAME == SWIN else 0
    return [int(name.removeprefix("swin").removeprefix("res")) + offset for name in cfg.MODEL.FPN.IN_FEATURES]


def _small(cfg: CfgNode) -> tuple[dict[str, Any], None, int]:
    small, fpn = cfg.MODEL.SMALL_RESNET, cfg.MODEL.FPN
    backbone = {
        "type": "C2OSmallResNetFPN",
        "stem_channels": small.STEM_CHANNELS,
        "channels": list(small.CHANNELS),
        "blocks": list(small.BLOCKS),
        "norm": cfg.MODEL.RESNETS.NORM,
        "out_channels": fpn.OUT_CHANNELS,
        "fpn_norm": fpn.NORM,
        "fuse_type": fpn.FUSE_TYPE,
    }
    return backbone, None, 2 ** (len(small.CHANNELS) + 1)


def _resnet(cfg: CfgNode) -> tuple[dict[str, Any], dict[str, Any], int]:
    r = cfg.MODEL.RESNETS
    deep = r.DEPTH >= 50
    width = r.NUM_GROUPS * r.WIDTH_PER_GROUP if deep else r.RES2_OUT_CHANNELS
    for name, value, only in (
        ("NUM_GROUPS", r.NUM_GROUPS, 1),
        ("RES5_DILATION", r.RES5_DILATION, 1),
        ("RES2_OUT_CHANNELS", r.RES2_OUT_CHANNELS, 4 * width if deep else width),
    ):
        if value != only:
            raise ConfigError(f"MODEL.RESNETS.{name}: {value} has no counterpart in MMDetection's ResNet; {only} has")
    if any(r.DEFORM_ON_PER_STAGE):
        raise ConfigError("MODEL.RESNETS.DEFORM_ON_PER_STAGE: deformable convolutions are not carried over; switch off")
    norm = _norm(r.NORM, "MODEL.RESNETS.NORM", _NORMS)
    stages = [level - 2 for level in in_levels(cfg)]
    count = stages[-1] + 1
    backbone = {
        "type": "ResNet",
        "depth": r.DEPTH,
        "stem_channels": r.STEM_OUT_CHANNELS,
        "base_channels": width,
        "num_stages": count,
        "strides": [1, 2, 2, 2][:count],
        "dilations": [1] * count,
        "out_indices": stages,
        "style": "caffe" if r.STRIDE_IN_1X1 and deep else "pytorch",
        "frozen_stages": cfg.MODEL.BACKBONE.FREEZE_AT - 1,
        "norm_cfg": norm,
        "norm_eval": r.NORM == "FrozenBN",
        "zero_init_residual": False,
    }
    channels = [r.RES2_OUT_CHANNELS * 2**i for i in stages]
    return backbone, _neck(cfg, channels), 2 ** in_levels(cfg)[-1]


def _swin(cfg: CfgNode) -> tuple[dict[str, Any], dict[str, Any], int]:
    from c2o_model.modeling.swin import SIZES, WINDOW

    size, stages = SIZES[cfg.MODEL.SWIN.SIZE], list(cfg.MODEL.SWIN.OUT_FEATURES)
    if stages != [level - 2 for level in in_levels(cfg)]:
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES: {list(cfg.MODEL.FPN.IN_FEATURES)} are not the maps that MODEL.SWIN.OUT_FEATURES "
            "gives"
        )
    backbone = {
        "type": "SwinTransformer",
        "embed_dims": size.width,
        "depths": list(size.depths),
        "num_heads": list(size.heads),
        "window_size": WINDOW,
        "mlp_ratio": 4,
        "out_indices": stages,
        "drop_path_rate": size.stochastic_depth,
        "with_cp": cfg.MODEL.SWIN.USE_CHECKPOINT,
    }
    return backbone, _neck(cfg, [size.width * 2**i for i in stages]), 2 ** in_levels(cfg)[-1]


_BACKBONES = {SMALL: _small, RESNET: _resnet, SWIN: _swin}


def _neck(cfg: CfgNode, channels: Sequence[int]) -> dict[str, Any]:
    """The FPN over maps of ``channels``, with Detectron2's pooled level on top."""
    fpn, levels = cfg.MODEL.FPN, in_levels(cfg)
    if fpn.FUSE_TYPE != "sum":
        raise ConfigError(f"MODEL.FPN.FUSE_TYPE: {fpn.FUSE_TYPE} has no counterpart in MMDetection's FPN; sum has")
    if levels != list(range(levels[0], levels[0] + len(levels))):
        raise ConfigError(f"MODEL.FPN.IN_FEATURES: {list(fpn.IN_FEATURES)} leaves a stage out")
    norm = None
    if fpn.NORM:  # a frozen one would need what the neck cannot be told: that its statistics stay
        norm = _norm(fpn.NORM, "MODEL.FPN.NORM", {name: kind for name, kind in _NORMS.items() if name != "FrozenBN"})
    return {
        "type": "FPN",
        "in_channels": list(channels),
        "out_channels": fpn.OUT_CHANNELS,
        "num_outs": len(channels) + 1,
        **({"norm_cfg": norm} if norm else {}),
    }


def _norm(name: str, key: str, known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    if name not in known:
        raise ConfigError(f"{key}: {name!r} is not carried over to MMDetection; {', '.join(known)} are")
    return dict(known[name])


def as_source(model: Mapping[str, Any], origin: str) -> str:
    """Python source of an MMDetection configuration file with this ``model``."""
    imports = 'custom_imports = {"imports": ["c2o_model.mmdet3.detector"], "allow_failed_imports": False}'
    origin = " ".join(origin.split())  # one line, whatever the path
    return f"# Written by: python -m c2o_model.mmdet3.from_c2o {origin}\n{imports}\nmodel = {_literal(model, '')}\n"


def _literal(value: Any, indent: str) -> str:
    """Source of a value: one key a line, sequences on one line, strings in double quotes and escaped."""
    if isinstance(value, Mapping):
        inner = indent + "    "
        lines = "".join(f'{inner}"{key}": {_literal(item, inner)},\n' for key, item in value.items())
        return f"{{\n{lines}{indent}}}" if lines else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(item, indent) for item in value)}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 2 with a message on stderr."""
    args = _parser().parse_args(argv)
    pin_environment()
    from c2o_model.config import load_config

    try:
        text = as_source(model_config(load_config(args.config, args.opts)), args.config)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print(text, end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m c2o_model.mmdet3.from_c2o",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CFG", help="configuration of C2O (YAML)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides, as for c2o_model.train_net")
    return parser


if __name__ == "__main__":
    sys.exit(main())
