"""Detectron2's ResNet-FPNs in our detector: depths 18 to 101, and BGR input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

from c2o_model.modeling.images import PixelNormaliser
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training.draws import draw

RES = ["res2", "res3", "res4", "res5"]


def values(depth: int) -> dict[str, Any]:
    small = {"MODEL.RESNETS.RES2_OUT_CHANNELS": 64} if depth < 50 else {}  # basic blocks do not widen
    return {
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.RESNETS.DEPTH": depth,
        "MODEL.RESNETS.OUT_FEATURES": RES,
        "MODEL.FPN.IN_FEATURES": RES,
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
        **small,
    }


@pytest.mark.stack_feature("resnet", stack="detectron2")
@pytest.mark.parametrize(("depth", "convolutions"), [(18, 17), (34, 33), (50, 49), (101, 100)])
def test_depth_counts_convolutions_and_gradients_reach_the_unfrozen_stages(
    make_config: Any, tiny_batch: TrainingBatch, depth: int, convolutions: int
) -> None:
    """The depth of the paper counts the classifier too, and no shortcuts."""
    model = build_model(make_config(values(depth))).train()
    weights = [n for n, p in model.backbone.bottom_up.named_parameters() if p.dim() == 4 and "shortcut" not in n]
    assert len(weights) == convolutions
    batch = TrainingBatch(
        tiny_batch.images[:1], tiny_batch.boxes[:1], tiny_batch.labels[:1], tiny_batch.mask[:1], tiny_batch.whwh[:1]
    )
    sum(model(batch, draw(0, 0, 1, 8, batch.mask.shape[1], 1000)).values()).backward()
    for name, parameter in model.backbone.bottom_up.named_parameters():
        frozen = name.startswith(("stem", "res2"))  # MODEL.BACKBONE.FREEZE_AT is 2, as in Detectron2
        assert (parameter.grad is None) == frozen, name


def test_a_pyramid_for_a_padded_batch_of_different_sizes(make_config: Any) -> None:
    model = build_model(make_config(values(18))).eval()
    images = [torch.full((3, 40, 70), 9, dtype=torch.uint8), torch.full((3, 64, 33), 9, dtype=torch.uint8)]
    assert [tuple(f.shape[2:]) for f in model.features(images)] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_bgr_turns_the_channels_round_before_the_statistics() -> None:
    rgb, bgr = (PixelNormaliser([1.0, 2.0, 3.0], [2.0, 4.0, 8.0], 1, flag) for flag in (False, True))
    image = torch.tensor([[10], [20], [30]], dtype=torch.uint8).view(1, 3, 1, 1)
    assert rgb(image).flatten().tolist() == [4.5, 4.5, 27 / 8]
    assert bgr(image).flatten().tolist() == [14.5, 4.5, 7 / 8]
    assert torch.equal(bgr([image[0]]), bgr(image))


def test_the_format_key_reaches_the_detector(make_config: Any) -> None:
    assert build_model(make_config({"INPUT.FORMAT": "BGR"})).normalise.bgr
    assert not build_model(make_config()).normalise.bgr
