"""Feature pyramids. ResNet-FPN comes from Detectron2; the small one of the embedded set is made of its parts.

Registered under Detectron2's names, so ``MODEL.BACKBONE.NAME`` selects them. Called by Detectron2's ``build_backbone``.
Source: FPN (arXiv 1612.03144).
"""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone, ResNet
from detectron2.modeling.backbone.resnet import BasicBlock
from torch import Tensor
from torch.nn import functional as F


class StridedStem(CNNBlockBase):
    """Two 3x3 convolutions with stride 2: [B,3,H,W] -> [B,C,H/4,W/4]. Thin strokes outlive it, not a max pool."""

    def __init__(self, out_channels: int, norm: str) -> None:
        super().__init__(3, out_channels, 4)
        half = out_channels // 2
        self.conv1 = Conv2d(3, half, kernel_size=3, stride=2, padding=1, bias=False, norm=get_norm(norm, half))
        self.conv2 = Conv2d(
            half, out_channels, kernel_size=3, stride=2, padding=1, bias=False, norm=get_norm(norm, out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B,3,H,W] -> [B,C,H/4,W/4]."""
        return F.relu_(self.conv2(F.relu_(self.conv1(x))))


@BACKBONE_REGISTRY.register()
def build_c2o_small_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """A basic-block ResNet with ``MODEL.SMALL_RESNET.CHANNELS`` (strides 4, 8, 16, …) under an FPN.

    Channels of neighbouring stages must differ: Detectron2's BasicBlock has no shortcut otherwise.
    """
    small = cfg.MODEL.SMALL_RESNET
    if len(small.CHANNELS) != len(small.BLOCKS):
        raise ValueError("MODEL.SMALL_RESNET.BLOCKS: needs one entry for each of MODEL.SMALL_RESNET.CHANNELS")
    stages = []
    channels = small.STEM_CHANNELS
    for index, (out_channels, blocks) in enumerate(zip(small.CHANNELS, small.BLOCKS, strict=True)):
        if channels == out_channels:
            raise ValueError(f"MODEL.SMALL_RESNET.CHANNELS: {out_channels} repeats the width before it; change one")
        stages.append(
            ResNet.make_stage(
                BasicBlock,
                blocks,
                stride_per_block=[1 if index == 0 else 2] + [1] * (blocks - 1),
                in_channels=channels,
                out_channels=out_channels,
                norm=cfg.MODEL.RESNETS.NORM,
            )
        )
        channels = out_channels
    names = [f"res{i + 2}" for i in range(len(stages))]
    bottom_up = ResNet(StridedStem(small.STEM_CHANNELS, cfg.MODEL.RESNETS.NORM), stages, out_features=names)
    return FPN(
        bottom_up=bottom_up,
        in_features=names,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
