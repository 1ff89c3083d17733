"""C2O's small pyramid among MMDetection's models, for the detector of the embedded set.

Source: :mod:`c2o_model.modeling.backbones`, which builds it for Detectron2 too.
"""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from mmdet.registry import MODELS

from c2o_model.config import config_from_dict
from c2o_model.modeling.backbones import build_c2o_small_resnet_fpn_backbone


@MODELS.register_module(name="C2OSmallResNetFPN")
def small_resnet_fpn(
    stem_channels: int,
    channels: Sequence[int],
    blocks: Sequence[int],
    norm: str,
    out_channels: int,
    fpn_norm: str = "",
    fuse_type: str = "sum",
) -> Backbone:
    """The ResNet-FPN of MODEL.SMALL_RESNET: [B,3,H,W] -> {"p2": [B,C,H/4,W/4], "p3": ...}, with Detectron2's names."""
    small = {"STEM_CHANNELS": stem_channels, "CHANNELS": list(channels), "BLOCKS": list(blocks)}
    pyramid = {"OUT_CHANNELS": out_channels, "NORM": fpn_norm, "FUSE_TYPE": fuse_type}
    cfg = config_from_dict({"MODEL": {"SMALL_RESNET": small, "RESNETS": {"NORM": norm}, "FPN": pyramid}})
    return build_c2o_small_resnet_fpn_backbone(cfg, ShapeSpec(channels=3))
