"""The small backbone: strides, names, frozen statistics, and errors that name their key. ResNet-50 names."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone, build_model

from c2o_model.config import ConfigError, config_from_dict
from c2o_model.modeling.backbones import StridedStem


@pytest.mark.stack_feature("small_resnet", stack="detectron2")
def test_levels_channels_and_strides(make_config: Any) -> None:
    backbone = build_backbone(make_config())
    shapes = backbone.output_shape()
    assert {k: (v.channels, v.stride) for k, v in shapes.items()} == {"p2": (16, 4), "p3": (16, 8), "p4": (16, 16)}
    out = backbone(torch.zeros(2, 3, 64, 48))
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "p2": (2, 16, 16, 12), "p3": (2, 16, 8, 6), "p4": (2, 16, 4, 3)
    }  # fmt: skip
    assert backbone.size_divisibility == 16


def test_the_norm_is_the_configured_one(make_config: Any) -> None:
    frozen = build_backbone(make_config())
    assert any(isinstance(m, FrozenBatchNorm2d) for m in frozen.modules())
    trained = build_backbone(make_config({"MODEL.RESNETS.NORM": "BN"}))
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in trained.modules())
    learnt = {k for k in trained.state_dict() if not k.endswith("num_batches_tracked")}
    assert learnt == set(frozen.state_dict())  # a pretrained BN file fills the frozen form


def test_the_stem_quarters_the_image() -> None:
    """Two strided convolutions with fresh statistics, which divide by sqrt(1 + eps)."""
    stem = StridedStem(4, "BN").eval()
    x = torch.randn(1, 3, 8, 12)
    expected = x
    for conv in (stem.conv1, stem.conv2):
        expected = torch.relu(
            torch.nn.functional.conv2d(expected, conv.weight, stride=2, padding=1) / (1 + 1e-5) ** 0.5
        )
    torch.testing.assert_close(stem(x), expected, rtol=1e-5, atol=1e-5)
    assert stem.stride == 4 and expected.shape == (1, 4, 2, 3)


def test_widths_that_cannot_be_built_name_their_key(make_config: Any) -> None:
    with pytest.raises(ValueError, match=re.escape("MODEL.SMALL_RESNET.CHANNELS: 8 repeats the width before it")):
        build_backbone(make_config({"MODEL.SMALL_RESNET.CHANNELS": [8, 8, 16]}))
    with pytest.raises(ValueError, match=re.escape("MODEL.SMALL_RESNET.BLOCKS: needs one entry for each of")):
        build_backbone(make_config({"MODEL.SMALL_RESNET.BLOCKS": [1]}))
    with pytest.raises(ConfigError, match=r"HIDDEN_DIM: 16, but p2 has 24 channels \(MODEL.FPN.OUT_CHANNELS\)"):
        build_model(make_config({"MODEL.FPN.OUT_CHANNELS": 24}))
    with pytest.raises(ConfigError, match="MODEL.ROI_HEADS.IN_FEATURES: 'p9' is not one of p2, p3, p4"):
        build_model(make_config({"MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p9"]}))


def test_a_resnet_50_model_has_the_names_of_released_files() -> None:
    values = {
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone", "MODEL.RESNETS.DEPTH": 50, "MODEL.DEVICE": "meta",
        "MODEL.RESNETS.STRIDE_IN_1X1": False, "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"], "MODEL.DiffusionDet.NUM_HEADS": 1,
    }  # fmt: skip
    with torch.device("meta"):
        model = build_model(config_from_dict(values))
    names = set(model.state_dict())
    expected = {f"backbone.fpn_{kind}{level}.{p}" for kind in ("lateral", "output") for level in (2, 3, 4, 5)
                for p in ("weight", "bias")}  # fmt: skip
    expected.add("backbone.bottom_up.stem.conv1.weight")
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        for block in range(blocks):
            for conv in ("conv1", "conv2", "conv3", *(("shortcut",) if block == 0 else ())):
                expected.add(f"backbone.bottom_up.res{stage}.{block}.{conv}.weight")
    found = {name for name in names if name.startswith("backbone.") and ".norm." not in name}
    assert found == expected
    assert {name.split(".")[0] for name in names} == {"backbone", "head"}
    assert [p.stride for p in model.backbone.output_shape().values()] == [4, 8, 16, 32, 64]
