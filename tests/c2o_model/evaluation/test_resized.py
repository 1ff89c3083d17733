"""Evaluation of resized images: boxes in the pixels of the files, and neighbours in a batch that change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c2o_model.checkpoint import save_checkpoint
from c2o_model.data.coco import CocoSplit, load_split
from c2o_model.evaluation.run import EvalRow, RunDetections, evaluate

ROW = EvalRow("one", 1)


def write(root: Path, pictures: list[np.ndarray]) -> CocoSplit:
    root.mkdir()
    images = []
    for number, pixels in enumerate(pictures, 1):
        Image.fromarray(pixels).save(root / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": len(pixels), "width": len(pixels[0])})
    categories = [{"id": k + 1, "name": name} for k, name in enumerate("abc")]
    (root / "set.json").write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    return load_split(root / "set.json", root)


@pytest.fixture(scope="module")
def model(make_detector: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_checkpoint(path, make_detector().state_dict(), {})
    return path


def pictures() -> list[np.ndarray]:
    """Noise in blocks of 2 px: halving with a box filter would give the noise itself."""
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (48, 80), (64, 64), (80, 48)]
    return [rng.integers(0, 256, (h // 2, w // 2, 3)).astype(np.uint8).repeat(2, 0).repeat(2, 1) for h, w in sizes]


def image(run: RunDetections, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    own = run.image_id == number
    return run.box[own], run.score[own], run.label[own]


def test_a_set_resized_by_hand_gives_the_same_boxes_times_the_scale(
    model: Path, make_config: Any, tmp_path: Path
) -> None:
    by_hand = []
    for pixels in pictures():
        height, width = (2 * side // 2 * 3 // 4 for side in pixels.shape[:2])  # all sides are multiples of 4
        by_hand.append(np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)))
    squares = [0, 2]
    large = write(tmp_path / "large", [pictures()[i] for i in squares])
    small = write(tmp_path / "small", [by_hand[i] for i in squares])
    resizing = make_config({"INPUT.MIN_SIZE_TRAIN": [48], "INPUT.MIN_SIZE_TEST": 48})
    (found,) = evaluate(resizing, model, large, [ROW], [5])
    (expected,) = evaluate(make_config(), model, small, [ROW], [5])
    assert len(found.score) > 4 and np.array_equal(found.score, expected.score)
    np.testing.assert_allclose(found.box, expected.box * (64 / 48), rtol=1e-5, atol=1e-4)
    assert (found.box <= 64).all()


def test_neighbours_of_other_sizes_change_nothing(model: Path, make_config: Any, tmp_path: Path) -> None:
    split = write(tmp_path / "set", pictures())
    for values in ({}, {"INPUT.MIN_SIZE_TRAIN": [40], "INPUT.MIN_SIZE_TEST": 40}):
        cfg = make_config(values)
        (together,) = evaluate(cfg, model, split, [ROW], [5], batch_size=8)
        (backwards,) = evaluate(cfg, model, split.select([3, 2, 1, 0]), [ROW], [5], batch_size=3)
        for number in (1, 2, 3, 4):
            for a, b in zip(image(together, number), image(backwards, number), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)
        limits = {n: (len(p[0]), len(p)) for n, p in enumerate(pictures(), 1)}
        for number, (width, height) in limits.items():
            boxes, _, _ = image(together, number)
            assert len(boxes) and (boxes >= 0).all()
            assert (boxes[:, 0::2] <= width).all() and (boxes[:, 1::2] <= height).all()
