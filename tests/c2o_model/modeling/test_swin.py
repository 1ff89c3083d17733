"""Swin-FPN: maps, checkpointing, errors; that it trains in our detector. Its numbers: test_released.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.modeling import build_backbone, build_model

from c2o_model.config import ConfigError
from c2o_model.modeling import swin as module
from c2o_model.modeling.swin import SIZES, Swin, SwinSize
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training.draws import draw

SMALL = SwinSize(8, (1, 1, 2, 1), (1, 1, 2, 2), 0.0)
VALUES = {
    "MODEL.BACKBONE.NAME": "build_swintransformer_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": ["swin0", "swin1", "swin2", "swin3"],
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
}


@pytest.mark.parametrize(("size", "millions"), [("T", 27.5), ("S", 48.8), ("B", 86.7)])
def test_sizes_are_those_of_the_paper(make_config: Any, size: str, millions: float) -> None:
    """Table 7 of the paper counts 28, 50, 88 million with the classifier of 1000 classes (0.8, 0.8, 1.0)."""
    with torch.device("meta"):
        backbone = build_backbone(make_config({**VALUES, "MODEL.SWIN.SIZE": size, "MODEL.DEVICE": "meta"}))
    own = sum(p.numel() for name, p in backbone.bottom_up.named_parameters() if not name.startswith("norm"))
    assert own / 1e6 == pytest.approx(millions, abs=0.06)
    shapes = backbone.output_shape()
    assert {k: v.stride for k, v in shapes.items()} == {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
    assert backbone.size_divisibility == 32


def test_b_22k_is_b() -> None:
    assert SIZES["B-22k"] == SIZES["B"]


def test_checkpointing_changes_no_value_and_no_gradient() -> None:
    torch.manual_seed(0)
    model = Swin(SMALL, (0, 1, 2, 3), use_checkpoint=False).train()
    x = torch.randn(1, 3, 64, 96)
    found = []
    for flag in (False, True):
        model.use_checkpoint = flag
        model.zero_grad()
        out = model(x)
        sum(value.square().sum() for value in out.values()).backward()
        found.append([*out.values(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) > 50
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.stack_feature("swin", stack="detectron2")
def test_it_trains_in_the_detector(
    make_config: Any, tiny_batch: TrainingBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.SIZES, "T", SMALL)
    model = build_model(make_config({**VALUES, "MODEL.SWIN.SIZE": "T"})).train()
    loss = sum(model(tiny_batch, draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)).values())
    loss.backward()
    gradients = {n: p.grad for n, p in model.backbone.named_parameters() if "bottom_up" in n}
    assert all(g is not None and torch.isfinite(g).all() for g in gradients.values())
    assert all(g.abs().sum() > 0 for n, g in gradients.items() if n.endswith("qkv.weight"))


def test_stages_that_do_not_fit_name_their_key(make_config: Any) -> None:
    with pytest.raises(ConfigError, match=r"MODEL.SWIN.OUT_FEATURES: \(1, 0\) is no ascending choice of the stages"):
        build_backbone(make_config({**VALUES, "MODEL.SWIN.OUT_FEATURES": [1, 0]}))
    with pytest.raises(ConfigError, match=r"MODEL.FPN.IN_FEATURES: .* write \['swin1', 'swin2'\]"):
        build_backbone(make_config({**VALUES, "MODEL.SWIN.OUT_FEATURES": [1, 2]}))
    with pytest.raises(ConfigError, match="MODEL.SWIN.SIZE: 'L' is not one of 'T', 'S', 'B'"):
        make_config({**VALUES, "MODEL.SWIN.SIZE": "L"})
