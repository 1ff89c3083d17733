"""The quality head by hand, and its gradient to the box, which guidance needs."""

from __future__ import annotations

import math

import torch

from c2o_model.modeling.quality import QualityHead


def test_its_input_by_hand() -> None:
    torch.manual_seed(0)
    head = QualityHead(2, 3)
    feature, boxes = torch.tensor([[[0.3, -0.7]]]), torch.tensor([[[20.0, 10.0, 60.0, 35.0]]])
    inputs = torch.tensor([0.3, -0.7, 0.4, 0.45, math.log(0.4), math.log(0.5), 0.25])
    hidden = (head.mlp[0].weight @ inputs + head.mlp[0].bias).clamp(min=0)
    expected = head.mlp[2].weight @ hidden + head.mlp[2].bias
    found = head(feature, boxes, torch.tensor([[100.0, 50.0, 100.0, 50.0]]), torch.tensor([0.25]))
    assert found.shape == (1, 1)
    torch.testing.assert_close(found[0], expected)


def test_boxes_without_area_are_finite_and_boxes_get_a_gradient() -> None:
    torch.manual_seed(0)
    head = QualityHead(2, 8)
    boxes = torch.tensor([[[5.0, 5.0, 5.0, 5.0], [1.0, 2.0, 30.0, 40.0]]], requires_grad=True)
    head(torch.zeros(1, 2, 2), boxes, torch.full((1, 4), 64.0), torch.zeros(1)).sum().backward()
    assert boxes.grad is not None and boxes.grad.isfinite().all() and boxes.grad[0, 1].abs().sum() > 0
