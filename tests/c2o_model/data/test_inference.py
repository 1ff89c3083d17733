"""Inference batches: one size a batch, and boxes back in the pixels of the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from c2o_model.data.coco import CocoSplit, load_split
from c2o_model.data.inference import inference_batches
from c2o_model.data.loader import image_batches


def write(root: Path, sizes: list[tuple[int, int]]) -> CocoSplit:
    """Noise images of (height, width)."""
    rng = np.random.default_rng(0)
    images = []
    for number, (height, width) in enumerate(sizes, 1):
        Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8)).save(root / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
    document = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "x"}]}
    (root / "set.json").write_text(json.dumps(document))
    return load_split(root / "set.json", root)


def test_without_resizing_the_batches_are_those_of_the_loader(tmp_path: Path) -> None:
    split = write(tmp_path, [(10, 12)] * 5)
    plain, found = list(image_batches(split, 2)), list(inference_batches(split, 2))
    for a, b in zip(plain, found, strict=True):
        assert torch.equal(a.images, b.images) and a.image_ids.tolist() == b.image_ids
        assert torch.equal(a.sizes.flip(1).float().repeat(1, 2), b.whwh)
        boxes = torch.tensor([[-3.0, 1.0, 99.0, 2.0]])
        assert b.to_original(0, boxes) is boxes  # bit for bit what was found


def test_images_of_different_sizes_are_kept_apart(tmp_path: Path) -> None:
    split = write(tmp_path, [(10, 12), (10, 12), (12, 10), (20, 24), (10, 12)])
    assert [b.image_ids for b in inference_batches(split, 4)] == [[1, 2], [3], [4], [5]]
    resized = list(inference_batches(split, 4, 6, 99))
    assert [b.image_ids for b in resized] == [[1, 2], [3], [4, 5]]  # 20 x 24 and 10 x 12 both become 6 x 7
    assert [tuple(b.images.shape[2:]) for b in resized] == [(6, 7), (7, 6), (6, 7)]


def test_boxes_go_back_to_the_pixels_of_the_file(tmp_path: Path) -> None:
    batch = next(inference_batches(write(tmp_path, [(20, 40)]), 1, 10, 99))
    assert batch.whwh.tolist() == [[20, 10, 20, 10]]
    found = batch.to_original(0, torch.tensor([[1.0, 2.0, 20.0, 10.0], [0.0, 0.0, 20.001, 5.0]]))
    assert found.tolist() == [[2, 4, 40, 20], [0, 0, 40, 10]]


def test_an_impossible_batch_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch size 0 is not positive"):
        next(inference_batches(write(tmp_path, [(4, 4)]), 0))
