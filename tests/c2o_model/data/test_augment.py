"""Augmentation against per-pixel and per-box references."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from c2o_model.data.augment import Augment, flip, relight, shift
from c2o_model.data.draw import Draw

H, W = 6, 9
IMAGE = torch.randint(0, 256, (3, H, W), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
BOX = st.tuples(st.integers(0, W - 1), st.integers(0, H - 1), st.integers(1, W), st.integers(1, H)).map(
    lambda b: (b[0], b[1], min(W, b[0] + b[2]), min(H, b[1] + b[3]))
)


@settings(max_examples=80, deadline=None)
@given(st.integers(-12, 12), st.integers(-12, 12), st.lists(BOX, max_size=4), st.integers(0, 100))
def test_shift_equals_brute_force(dx: int, dy: int, boxes: list[tuple[int, ...]], min_visible: int) -> None:
    given_boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    moved, out, labels = shift(IMAGE, given_boxes, torch.arange(len(boxes)), dx, dy, min_visible)
    mean = [int(channel.sum(dtype=torch.int64)) // (H * W) for channel in IMAGE]
    for c in range(3):
        for y in range(H):
            for x in range(W):
                inside = 0 <= y - dy < H and 0 <= x - dx < W
                assert moved[c, y, x] == (IMAGE[c, y - dy, x - dx] if inside else mean[c])
    kept = []
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        pixels = [(x + dx, y + dy) for x in range(x0, x1) for y in range(y0, y1)]
        seen = [(x, y) for x, y in pixels if 0 <= x < W and 0 <= y < H]
        if seen and len(seen) * 100 >= len(pixels) * min_visible:
            columns, rows = [x for x, _ in seen], [y for _, y in seen]
            kept.append((number, [min(columns), min(rows), max(columns) + 1, max(rows) + 1]))
    assert labels.tolist() == [number for number, _ in kept]
    assert out.tolist() == [box for _, box in kept]


def test_flip_is_its_own_inverse_and_mirrors_boxes() -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.0, 5.0]])
    image, mirrored = flip(IMAGE, boxes)
    assert mirrored.tolist() == [[W - 4, 2, W - 1, 5]]
    assert torch.equal(image[:, :, 0], IMAGE[:, :, W - 1])
    again, back = flip(image, mirrored)
    assert torch.equal(again, IMAGE) and torch.equal(back, boxes)


@pytest.mark.parametrize("brightness, gain", [(0, 100), (30, 100), (-255, 100), (5, 140), (-3, 61)])
def test_relight_by_definition(brightness: int, gain: int) -> None:
    centre = sum(int(channel.sum(dtype=torch.int64)) // (H * W) for channel in IMAGE) // 3
    expected = [
        min(255, max(0, math.floor((value - centre) * gain / 100) + centre + brightness))
        for value in IMAGE.flatten().tolist()
    ]
    assert relight(IMAGE, brightness, gain).flatten().tolist() == expected


def test_defaults_change_nothing() -> None:
    boxes, labels = torch.tensor([[0.0, 0.0, 3.0, 3.0]]), torch.tensor([4])
    image, out_boxes, out_labels = Augment()(IMAGE, boxes, labels, Draw("x"))
    assert torch.equal(image, IMAGE) and torch.equal(out_boxes, boxes) and torch.equal(out_labels, labels)


def test_draws_stay_in_range_and_vary() -> None:
    boxes, labels = torch.tensor([[3.0, 2.0, 5.0, 4.0]]), torch.tensor([1])
    moves = set()
    for number in range(200):
        _, out, _ = Augment(shift=2)(IMAGE, boxes, labels, Draw("range", number))
        moves.add((int(out[0, 0]) - 3, int(out[0, 1]) - 2))
    assert moves == {(dx, dy) for dx in range(-2, 3) for dy in range(-2, 3)}


def test_flip_for_half_of_the_samples() -> None:
    none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    flipped = [not torch.equal(Augment(flip=True)(IMAGE, *none, Draw("f", n))[0], IMAGE) for n in range(200)]
    assert 70 <= sum(flipped) <= 130


def test_bad_amounts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Augment.contrast: 100 is not in 0\.\.99"):
        Augment(contrast=100)
    with pytest.raises(ValueError, match=r"Augment.shift: -1 is not in 0\.\.4096"):
        Augment(shift=-1)
