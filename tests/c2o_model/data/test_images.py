"""Decoding: exact pixels, clear errors, and a cache that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from c2o_model.data.coco import CocoSplit, load_split
from c2o_model.data.errors import DataError
from c2o_model.data.images import ImageStore, decode

PIXELS = np.random.RandomState(0).randint(0, 256, (40, 60, 3), dtype=np.uint8)


def _split(root: Path, name: str, height: int = 40, width: int = 60) -> CocoSplit:
    document = {
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [],
    }
    (root / "set.json").write_text(json.dumps(document))
    return load_split(root / "set.json", root)


def test_rgb_pixels(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(_split(tmp_path, "a.png"), 0).permute(1, 2, 0).numpy(), PIXELS)


def test_grey_palette_and_alpha_become_rgb(tmp_path: Path) -> None:
    grey = Image.fromarray(PIXELS[:, :, 0])
    for mode in ("L", "P", "LA", "RGBA"):
        grey.convert(mode).save(tmp_path / "a.png")
        decoded = decode(_split(tmp_path, "a.png"), 0)
        np.testing.assert_array_equal(decoded.permute(1, 2, 0).numpy(), PIXELS[:, :, [0, 0, 0]])


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show upright
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    decoded = decode(_split(tmp_path, "a.png", height=60, width=40), 0)
    np.testing.assert_array_equal(decoded.permute(1, 2, 0).numpy(), np.rot90(PIXELS, -1))


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_truncated_image(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        DataError, match=f"{name}: cannot be decoded .*truncated.*; copy it again from its source"
    ):
        decode(_split(tmp_path, name), 0)


def test_corrupt_image(tmp_path: Path) -> None:
    split_of = {"a.png": b"not an image", "b.png": b"\x89PNG\r\n\x1a\n" + bytes(60), "c.jpg": b""}
    for name, body in split_of.items():
        (tmp_path / name).write_bytes(body)
        with pytest.raises(DataError, match=f"{name}: cannot be decoded"):
            decode(_split(tmp_path, name), 0)


def test_size_mismatch(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    message = (
        "a.png: is 40 x 60 px high x wide, .*set.json says 60 x 40; correct the annotation file or the image"
    )
    with pytest.raises(DataError, match=message):
        decode(_split(tmp_path, "a.png", height=60, width=40), 0)


def test_image_that_vanished(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    split = _split(tmp_path, "a.png")
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="a.png: is missing; put the image there"):
        decode(split, 0)


def test_cache_by_budget(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((600, 600, 3), np.uint8) + 5).save(tmp_path / "a.png")  # 1.03 MiB decoded
    split = _split(tmp_path, "a.png", 600, 600)
    held, fresh = ImageStore(split, cache_mb=2), ImageStore(split, cache_mb=1)
    assert held.cached and not fresh.cached
    assert torch.equal(held[0], fresh[0]) and held[0] is held[0] and fresh[0] is not fresh[0]
