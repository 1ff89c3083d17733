"""The dense pretrainer: assignment by loops, losses by hand, and a loss that falls."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor
from torchvision.ops import generalized_box_iou

from c2o_model.modeling.pretrain import C2OBackbonePretrainer
from c2o_model.modeling.targets import TrainingBatch
from c2o_model.training.draws import draw

PRETRAINER = {
    "MODEL.META_ARCHITECTURE": "C2OBackbonePretrainer",
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.PRETRAIN.SIZE_EDGES": [16.0, 24.0],
}


@pytest.fixture
def model(make_config: Any) -> C2OBackbonePretrainer:
    built = build_model(make_config(PRETRAINER))
    assert isinstance(built, C2OBackbonePretrainer)
    return built


def locations(height: int, width: int) -> tuple[Tensor, Tensor]:
    rows, strides = [], []
    for stride in (4, 8, 16):
        for y in range(height // stride):
            for x in range(width // stride):
                rows.append([(x + 0.5) * stride, (y + 0.5) * stride])
                strides.append(float(stride))
    return torch.tensor(rows), torch.tensor(strides)


def owner_by_loops(boxes: Tensor, mask: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Per image and location: of the boxes of this level's sizes whose centre is near, the smallest."""
    ranges = {4.0: (0.0, 16.0), 8.0: (16.0, 24.0), 16.0: (24.0, math.inf)}
    found = torch.full((boxes.shape[0], len(centres)), -1)
    for b in range(boxes.shape[0]):
        for i, (centre, stride) in enumerate(zip(centres.tolist(), strides.tolist(), strict=True)):
            best = math.inf
            for g in range(boxes.shape[1]):
                x0, y0, x1, y1 = boxes[b, g].tolist()
                low, high = ranges[stride]
                near = max(abs(centre[0] - (x0 + x1) / 2), abs(centre[1] - (y0 + y1) / 2)) <= 1.5 * stride
                area = (x1 - x0) * (y1 - y0)
                if mask[b, g] and near and low <= max(x1 - x0, y1 - y0) < high and area < best:
                    best, found[b, i] = area, g
    return found


@pytest.mark.parametrize("seed", range(5))
def test_assignment_equals_the_loops(model: C2OBackbonePretrainer, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(3, 6, 2, generator=g) * 40
    boxes = torch.cat([low, low + 4 + torch.rand(3, 6, 2, generator=g) * 30], dim=-1).round()
    mask = torch.rand(3, 6, generator=g) < 0.7
    mask[2] = False
    centres, strides = locations(64, 48)
    found = model._assign(boxes, mask, centres, strides)
    assert torch.equal(found, owner_by_loops(boxes, mask, centres, strides))
    assert found[2].eq(-1).all() and (found[:2] >= 0).any()
    assert model._assign(boxes[:, :0], mask[:, :0], centres, strides).eq(-1).all()


def test_losses_by_hand(model: C2OBackbonePretrainer, tiny_batch: TrainingBatch) -> None:
    model.eval()
    torch.nn.init.normal_(model.predictor.weight, std=0.3)
    d = draw(0, 0, 4, 8, tiny_batch.mask.shape[1], 1000)
    losses = model.losses(tiny_batch, d)
    pyramid = model.backbone(model.normalise(tiny_batch.images))
    out = torch.cat([model.predictor(pyramid[f]).flatten(2).transpose(1, 2) for f in ("p2", "p3", "p4")], 1)
    centres, strides = locations(64, 64)
    owner = owner_by_loops(tiny_batch.boxes, tiny_batch.mask, centres, strides)
    count = max(1, int((owner >= 0).sum()))
    cls = giou = 0.0
    for b in range(4):
        for i in range(len(centres)):
            g = int(owner[b, i])
            for k in range(3):
                p = 1 / (1 + math.exp(-float(out[b, i, k])))
                hit = g >= 0 and int(tiny_batch.labels[b, g]) == k
                cls += -0.25 * (1 - p) ** 2 * math.log(p) if hit else -0.75 * p**2 * math.log(1 - p)
            if g >= 0:
                left, up, right, down = (strides[i] * out[b, i, 3:].exp()).tolist()
                x, y = centres[i].tolist()
                box = torch.tensor([[x - left, y - up, x + right, y + down]])
                giou += 1 - float(generalized_box_iou(box, tiny_batch.boxes[b, g][None]))
    assert float(losses["loss_dense_cls"]) == pytest.approx(cls / count, rel=1e-4)
    assert float(losses["loss_dense_giou"]) == pytest.approx(giou / count, rel=1e-4)


def test_what_it_hands_on_is_the_backbone(model: C2OBackbonePretrainer, make_detector: Any) -> None:
    own = {k for k in model.state_dict() if not k.startswith("predictor.") and not k.endswith("num_batches_tracked")}
    assert own == {k for k in make_detector().state_dict() if k.startswith("backbone.")}
    assert set(model.state_dict()) - own >= {"predictor.weight", "predictor.bias"}


def test_edges_must_fit_the_levels(make_config: Any) -> None:
    with pytest.raises(
        ValueError, match=re.escape("MODEL.PRETRAIN.SIZE_EDGES: needs one edge between each two levels")
    ):
        build_model(make_config({**PRETRAINER, "MODEL.PRETRAIN.SIZE_EDGES": [9.0]}))
