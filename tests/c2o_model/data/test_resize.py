"""Resizing: sizes by Detectron2's own rule, pixels by Pillow and by hand, boxes with them; crops; nothing when off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge
from PIL import Image

from c2o_model.data.augment import Augment
from c2o_model.data.draw import Draw
from c2o_model.data.resize import Augmentation, Resize, crop, resize, resized_size, training_resize


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, height, width)).astype(np.uint8))


def test_sizes_are_detectron2s() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        height, width, shorter, longest = (int(v) for v in rng.integers((20, 20, 16, 40), (900, 900, 800, 1400)))
        longest = max(longest, shorter)
        expected = ResizeShortestEdge.get_output_shape(height, width, shorter, longest)
        found = resized_size(height, width, shorter, longest)
        assert all(abs(a - b) <= 1 for a, b in zip(found, expected, strict=True)), (height, width, shorter, longest)
        assert max(found) <= longest


@pytest.mark.parametrize(
    ("size", "shorter", "longest", "expected"),
    [((480, 640), 240, 426, (240, 320)), ((480, 640), 800, 1333, (800, 1067)), ((100, 400), 800, 1333, (333, 1333)),
     ((640, 480), 240, 9999, (320, 240)), ((7, 7), 7, 7, (7, 7))],
)  # fmt: skip
def test_sizes_by_hand(size: tuple[int, int], shorter: int, longest: int, expected: tuple[int, int]) -> None:
    assert resized_size(*size, shorter, longest) == expected


def test_pixels_are_pillows_and_boxes_scale_along() -> None:
    image = noise(20, 30)
    boxes = torch.tensor([[0.0, 0.0, 30.0, 20.0], [3.0, 4.0, 9.0, 8.0]])
    smaller, moved = resize(image, boxes, 10, 45)
    expected = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((45, 10), Image.Resampling.BILINEAR))
    assert smaller.is_contiguous() and np.array_equal(smaller.permute(1, 2, 0).numpy(), expected)
    assert moved.tolist() == [[0, 0, 45, 10], [4.5, 2, 13.5, 4]]
    same, kept = resize(image, boxes, 20, 30)
    assert same is image and kept is boxes


def test_halving_a_step_by_hand() -> None:
    """Pillow's bilinear filter when halving: weights 1/8, 3/8, 3/8, 1/8 over four pixels (0.7, 3/7, ... at the border)."""
    row = torch.tensor([0, 0, 0, 0, 200, 200, 200, 200], dtype=torch.uint8).expand(3, 8, 8).contiguous()
    halved, _ = resize(row, torch.zeros(0, 4), 4, 4)
    assert halved[0, 0].tolist() == [0, 25, 175, 200]


def test_a_crop_cuts_boxes_and_drops_those_outside() -> None:
    image = noise(20, 30)
    boxes = torch.tensor([[0.0, 0.0, 5.0, 5.0], [8.0, 2.0, 30.0, 9.0], [10.0, 5.0, 12.0, 7.0]])
    part, moved, labels = crop(image, boxes, torch.tensor([7, 8, 9]), top=4, left=10, height=6, width=10)
    assert torch.equal(part, image[:, 4:10, 10:20])
    assert moved.tolist() == [[0, 0, 10, 5], [0, 1, 2, 3]] and labels.tolist() == [8, 9]


def test_sampling_reaches_every_size_and_crops_keep_to_their_range() -> None:
    image, none = noise(60, 80), (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    chosen = {Resize((16, 24, 40), 99)(image, *none, Draw("t", i))[0].shape[1] for i in range(40)}
    assert chosen == {16, 24, 40}
    ranged = {Resize((16, 18), 99, "range")(image, *none, Draw("t", i))[0].shape[1] for i in range(40)}
    assert ranged == {16, 17, 18}
    cut = Resize((32,), 2000, "choice", (384, 600))
    shapes = [tuple(cut(image, *none, Draw("c", i))[0].shape[1:]) for i in range(30)]
    assert all(min(s) == 32 for s in shapes) and len(set(shapes)) > 5
    assert shapes.count((32, 43)) >= 5  # the half that is not cut keeps 60 x 80's ratio
    again = cut(image, *none, Draw("c", 3))[0]
    assert torch.equal(again, cut(image, *none, Draw("c", 3))[0])


def test_off_is_the_augmentation_alone_and_draws_nothing() -> None:
    assert training_resize((0,), 1333, "choice", False, (384, 600)) is None
    image, boxes, labels = noise(16, 16), torch.tensor([[2.0, 2.0, 9.0, 9.0]]), torch.tensor([1])
    augment = Augment(brightness=30, contrast=20, shift=3, flip=True)
    for i in range(20):
        first, second = Draw("a", i), Draw("a", i)
        alone, both = augment(image, boxes, labels, first), Augmentation(augment, None)(image, boxes, labels, second)
        assert all(torch.equal(a, b) for a, b in zip(alone, both, strict=True))
        assert first.integer(0, 10**6) == second.integer(0, 10**6)
    assert Augmentation(Augment(), None).leaves_alone
    assert not Augmentation(Augment(), Resize((32,), 99)).leaves_alone
