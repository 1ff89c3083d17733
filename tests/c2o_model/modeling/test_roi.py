"""RoI pooling against torchvision and Detectron2, and against a bin written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import Tensor

from c2o_model.modeling.roi import NodePooler, bin_weights

STRIDES = (4, 8, 16)
KINDS = ("inside", "outside", "far", "degenerate", "huge", "integer")


def pooler(impl: str, resolution: int = 5) -> NodePooler:
    return NodePooler(STRIDES, resolution, impl, canonical_size=8.0, canonical_level=2)


def pyramid(seed: int, batch: int = 3, width: int = 96, height: int = 64, channels: int = 4) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, channels, height // s, width // s, generator=g, dtype=torch.float64) for s in STRIDES]


def boxes_of(kind: str, seed: int, batch: int = 3, count: int = 40) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(batch, count, 2, generator=g, dtype=torch.float64) * torch.tensor([96.0, 64.0])
    size = torch.rand(batch, count, 2, generator=g, dtype=torch.float64) * 40
    if kind == "outside":
        low = low - 30
    if kind == "far":
        low = low * 100 - 3000
    if kind == "degenerate":
        size = size * (torch.rand(batch, count, 2, generator=g) < 0.4)
    if kind == "huge":
        low, size = low - 200, size * 20
    if kind == "integer":
        low, size = low.round(), size.round()
    return torch.cat([low, low + size], dim=-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resolution", [1, 5, 7])
def test_summed_cells_are_roi_align(kind: str, resolution: int) -> None:
    """The way without a gradient, taken for frozen features and for inference."""
    features, boxes = pyramid(3), boxes_of(kind, 11)
    expected = pooler("torchvision", resolution)(features, boxes)
    torch.testing.assert_close(pooler("separable", resolution)(features, boxes), expected, rtol=1e-11, atol=1e-11)
    with torch.no_grad():
        learning = [f.float().requires_grad_() for f in features]
        found = pooler("separable", resolution)(learning, boxes.float())
    torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-3)
    many = [f.float().repeat(2, 1, 1, 1) for f in features]  # every bit, whatever else is in the batch
    both = pooler("separable", resolution)(many, boxes.float().repeat(2, 1, 1))
    assert torch.equal(both[:120], found) and torch.equal(both[120:], found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resolution", [1, 5, 7])
def test_two_matrix_products_are_roi_align(kind: str, resolution: int) -> None:
    """Forward and the gradient of every level, in float64, several images and levels."""
    found = []
    weight = torch.randn(120, resolution**2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for impl in ("torchvision", "separable"):
        features = [f.requires_grad_() for f in pyramid(3)]
        out = pooler(impl, resolution)(features, boxes_of(kind, 11))
        found.append((out, *torch.autograd.grad((out * weight).sum(), features)))
    assert found[0][0].shape == (120, resolution**2, 4)
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-11)
    if kind == "inside":
        assert all(g.abs().sum() > 0 for g in found[1][1:])


def test_the_gradient_is_the_derivative() -> None:
    features = [f[:1, :2, :4, :4].clone().requires_grad_() for f in pyramid(0)]
    boxes = torch.tensor(
        [[[1.0, 2.0, 13.0, 11.0], [0.0, 0.0, 40.0, 30.0], [-9.0, 3.0, 70.0, 90.0]]], dtype=torch.float64
    )
    torch.autograd.gradcheck(lambda *f: pooler("separable", 2)(f, boxes), features)


@pytest.mark.parametrize("impl", ["torchvision", "separable"])
def test_pooling_is_detectron2s_roi_align_v2(impl: str) -> None:
    """With the standard canonical box: ROIPooler is what DiffusionDet uses."""
    reference = ROIPooler(7, [1 / 4, 1 / 8, 1 / 16, 1 / 32], 2, "ROIAlignV2")
    g = torch.Generator().manual_seed(2)
    features = [torch.randn(2, 3, 512 // s, 512 // s, generator=g) for s in (4, 8, 16, 32)]
    low = torch.rand(2, 30, 2, generator=g) * 200
    boxes = torch.cat([low, low + torch.exp(torch.rand(2, 30, 2, generator=g) * 5 + 1)], dim=-1)
    expected = reference(features, [Boxes(b) for b in boxes])  # [60, C, 7, 7]
    found = NodePooler((4, 8, 16, 32), 7, impl, 224.0, 4)(features, boxes)
    torch.testing.assert_close(found, expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "level"), [(224.0, 4), (24.0, 2), (100.0, 3)])
def test_levels_are_detectron2s(size: float, level: int) -> None:
    pool = NodePooler((4, 8, 16, 32), 7, "torchvision", size, level)
    g = torch.Generator().manual_seed(0)
    low = torch.rand(400, 2, generator=g) * 300
    boxes = torch.cat([low, low + torch.exp(torch.rand(400, 2, generator=g) * 9 - 2)], dim=-1)
    boxes[0, 2:] = boxes[0, :2]  # no area
    edges = torch.tensor([[0.0, 0.0, s, s] for s in (size / 4, size / 2, size, size * 2)])
    boxes = torch.cat([boxes, edges])
    expected = assign_boxes_to_levels([Boxes(boxes)], 2, 5, int(size), level)
    assert torch.equal(pool.levels(boxes[None])[0], expected)
    assert pool.levels(edges).tolist() == [min(max(level + d, 2), 5) - 2 for d in (-2, -1, 0, 1)]
    assert expected.unique().numel() >= 3


@pytest.mark.parametrize("impl", ["torchvision", "separable"])
@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_boxes_that_are_no_numbers_do_no_harm(impl: str, value: float, learn: bool) -> None:
    """torchvision's kernel reads out of bounds for them; a diverged training must end with a message instead."""
    features = [f.float().requires_grad_(learn) for f in pyramid(0, batch=1)]
    boxes = torch.tensor([[[value] * 4, [-value, 0, value, 9], [1, 2, value, 9], [0, 0, 8, 8]]])
    found = pooler(impl)(features, boxes)
    if learn:
        found.sum().backward()
    good = pooler(impl)(features, boxes[:, 3:])
    torch.testing.assert_close(found[3:], good)


def test_one_bin_by_hand() -> None:
    """A box of 8 x 4 px at (6, 10) on a map of stride 4 whose value is its column: one bin, 2 x 2 samples."""
    feature = torch.arange(8.0).expand(1, 1, 8, 8)
    out = NodePooler((4,), 1, "separable", 4.0, 2)([feature], torch.tensor([[[6.0, 10.0, 14.0, 14.0]]]))
    # columns of the two samples: 6/4 - .5 + 2 * .25 and + 2 * .75 -> 1.5 and 2.5; bilinear in x is linear
    assert out.shape == (1, 1, 1) and out.item() == 2.0


def test_weights_of_a_bin_sum_to_one_inside_and_to_less_beyond() -> None:
    low, high = torch.tensor([0.0, 8.0, -40.0]), torch.tensor([32.0, 9.0, 8.0])
    weights = bin_weights(low, high, 8, 4, 3)
    assert weights.shape == (3, 3, 8)
    torch.testing.assert_close(weights[:2].sum(-1), torch.ones(2, 3))
    assert weights[2, 0].sum() == 0 and 0 < weights[2, 2].sum() <= 1


def test_no_gradient_goes_to_boxes_and_none_is_needed_for_features() -> None:
    boxes = boxes_of("inside", 0).float().requires_grad_()
    for impl in ("torchvision", "separable"):
        features = [f.float().requires_grad_() for f in pyramid(0)]
        pooler(impl)(features, boxes).sum().backward()
        assert boxes.grad is None and features[0].grad is not None
        assert not pooler(impl)([f.detach() for f in features], boxes).requires_grad


@pytest.mark.parametrize("impl", ["torchvision", "separable"])
def test_an_image_alone_pools_as_in_the_batch(impl: str) -> None:
    features, boxes = [f.float() for f in pyramid(5)], boxes_of("outside", 6, count=70).float()
    together = pooler(impl)(features, boxes).view(3, 70, 25, 4)
    for b in range(3):
        alone = pooler(impl)([f[b : b + 1] for f in features], boxes[b : b + 1])
        torch.testing.assert_close(alone, together[b], rtol=1e-6, atol=1e-6)
