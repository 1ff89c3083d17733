"""Swin-T/S/B under a feature pyramid: torchvision's Swin Transformer with Detectron2's interface.

Registered as ``build_swintransformer_fpn_backbone``, the name that configurations of DiffusionDet have. Keys:
``MODEL.SWIN.{SIZE,USE_CHECKPOINT,OUT_FEATURES}``; the maps are called ``swin0`` … ``swin3`` (strides 4, 8, 16, 32),
as in ``MODEL.FPN.IN_FEATURES``. Sources: Swin Transformer (arXiv 2103.14030), FPN (arXiv 1612.03144).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.swin_transformer import SwinTransformer

from c2o_model.config import ConfigError


@dataclass(frozen=True)
class SwinSize:
    """Width of the first stage, blocks and heads of the four stages, stochastic depth of the last block."""

    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    stochastic_depth: float


SIZES = {
    "T": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2),
    "S": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24), 0.2),
    "B": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32), 0.3),
    "B-22k": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32), 0.3),  # B with other pretraining: the released checkpoint
}
WINDOW = 7


class Swin(Backbone):
    """[B,3,H,W] -> {"swin{i}": [B, width * 2^i, H / 2^(i+2), W / 2^(i+2)]}, each through its own LayerNorm.

    H and W are multiples of 4 (the detector pads images to 32). Maps are padded inside to whole windows. Where a map
    is no larger than one window (images up to 224 px a side), torchvision does not shift it; the original code did.

    Args:
        size: which of :data:`SIZES`.
        out_features: stages to give out, a subset of 0..3.
        use_checkpoint: recompute each block in the backward pass: less memory, a third more time.
    """

    def __init__(self, size: SwinSize, out_features: Sequence[int], use_checkpoint: bool) -> None:
        super().__init__()
        swin = SwinTransformer(
            patch_size=[4, 4],
            embed_dim=size.width,
            depths=list(size.depths),
            num_heads=list(size.heads),
            window_size=[WINDOW, WINDOW],
            stochastic_depth_prob=size.stochastic_depth,
            num_classes=1,
        )
        self.features = swin.features  # patches, then four stages with a merging layer between them
        self.stages = tuple(out_features)
        self.use_checkpoint = use_checkpoint
        widths = [size.width * 2**i for i in range(4)]
        for i in self.stages:
            self.add_module(f"norm{i}", nn.LayerNorm(widths[i]))
        self._out_features = [f"swin{i}" for i in self.stages]
        self._out_feature_channels = {f"swin{i}": widths[i] for i in self.stages}
        self._out_feature_strides = {f"swin{i}": 4 * 2**i for i in self.stages}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """See the class."""
        found = {}
        x = self.features[0](x)  # [B,H/4,W/4,C]
        for i in range(4):
            for block in self.features[1 + 2 * i]:  # type: ignore[union-attr]
                again = self.use_checkpoint and self.training
                x = checkpoint(block, x, use_reentrant=False) if again else block(x)
            if i in self.stages:
                found[f"swin{i}"] = getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2).contiguous()
            if i < 3:
                x = self.features[2 + 2 * i](x)
        return found


@BACKBONE_REGISTRY.register()
def build_swintransformer_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Swin of ``MODEL.SWIN`` under an FPN with p2 … p5 and, as in Detectron2's ResNet-FPN, a pooled p6."""
    swin = cfg.MODEL.SWIN
    stages = list(swin.OUT_FEATURES)
    if not stages or sorted(set(stages)) != stages or not set(stages) <= {0, 1, 2, 3}:
        raise ConfigError(f"MODEL.SWIN.OUT_FEATURES: {tuple(stages)} is no ascending choice of the stages 0, 1, 2, 3")
    names = [f"swin{i}" for i in stages]
    if list(cfg.MODEL.FPN.IN_FEATURES) != names:
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES: {list(cfg.MODEL.FPN.IN_FEATURES)} are not the maps that MODEL.SWIN.OUT_FEATURES "
            f"gives; write {names}"
        )
    return FPN(
        bottom_up=Swin(SIZES[swin.SIZE], stages, swin.USE_CHECKPOINT),
        in_features=names,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
