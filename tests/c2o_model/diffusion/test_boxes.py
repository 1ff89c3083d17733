"""Box forms and the padding of training nodes, against loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_convert

from c2o_model.diffusion.boxes import cxcywh_to_xyxy, decode, encode, pad_nodes, xyxy_to_cxcywh


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_forms_are_those_of_torchvision() -> None:
    boxes = torch.rand(3, 7, 4)
    torch.testing.assert_close(cxcywh_to_xyxy(boxes), box_convert(boxes, "cxcywh", "xyxy"))
    torch.testing.assert_close(xyxy_to_cxcywh(boxes), box_convert(boxes, "xyxy", "cxcywh"))


def test_encode_by_hand() -> None:
    assert encode(torch.tensor([0.0, 0.5, 1.0, 0.25]), 2.0).tolist() == [-2.0, 0.0, 2.0, -1.0]
    assert decode(torch.tensor([-9.0, 0.0, 2.0, 9.0]), 2.0).tolist() == [0.0, 0.5, 1.0, 1.0]


@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_decode_inverts_encode(values: list[float], scale: float) -> None:
    box = torch.tensor(values)
    torch.testing.assert_close(decode(encode(box, scale), scale), box, rtol=0, atol=2e-7)


def pad_loop(gt: Tensor, mask: Tensor, n: int, noise: Tensor, keys: Tensor) -> tuple[list, list]:
    boxes, index = [], []
    for b in range(len(mask)):
        objects = [g for g in range(mask.shape[1]) if mask[b, g]]
        if len(objects) > n:
            objects = sorted(sorted(objects, key=lambda g: float(keys[b, g]))[:n])
        nodes = [gt[b, g].tolist() for g in objects] or [[0.5, 0.5, 1.0, 1.0]]
        for i in range(len(nodes), n):
            cx, cy, w, h = (noise[b, i] / 6 + 0.5).tolist()
            nodes.append([cx, cy, max(w, 1e-4), max(h, 1e-4)])
        boxes.append(nodes)
        index.append(objects + [-1] * (n - len(objects)))
    return boxes, index


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 4), st.integers(0, 9), st.integers(1, 7), st.integers(0, 10**6))
def test_pad_nodes_against_a_loop(batch: int, objects: int, nodes: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    gt = torch.rand(batch, objects, 4, generator=g)
    mask = torch.rand(batch, objects, generator=g) < 0.6
    noise = torch.randn(batch, nodes, 4, generator=g) * 2  # wide enough for sizes below the floor
    keys = torch.rand(batch, objects, generator=g)
    x0, index = pad_nodes(gt, mask, nodes, noise, keys)
    boxes, expected = pad_loop(gt, mask, nodes, noise, keys)
    assert index.tolist() == expected
    torch.testing.assert_close(x0, torch.tensor(boxes), rtol=0, atol=1e-7)


def test_an_empty_image_gets_one_full_image_node() -> None:
    noise = torch.zeros(2, 3, 4)
    x0, index = pad_nodes(torch.rand(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), 3, noise, torch.rand(2, 0))
    assert x0[0].tolist() == [[0.5, 0.5, 1.0, 1.0], [0.5] * 4, [0.5] * 4]
    assert (index == -1).all()


def test_every_object_is_kept_equally_often_when_there_are_too_many() -> None:
    images, objects, nodes = 4000, 6, 2
    gt = torch.rand(images, objects, 4)
    mask = torch.ones(images, objects, dtype=torch.bool)
    keys = torch.rand(images, objects, generator=torch.Generator().manual_seed(1))
    _, index = pad_nodes(gt, mask, nodes, torch.randn(images, nodes, 4), keys)
    share = index.flatten().bincount(minlength=objects) / images
    deviation = math.sqrt(1 / 3 * 2 / 3 / images)
    assert share.tolist() == pytest.approx([1 / 3] * objects, abs=5 * deviation)
