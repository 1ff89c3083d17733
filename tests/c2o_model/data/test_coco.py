"""Reading COCO files: what a good one gives, and the message for each bad one."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c2o_model.data import manifest as manifests
from c2o_model.data.coco import CROWD, NO_AREA, OUTSIDE, DroppedBox, load_manifest_split, load_split
from c2o_model.data.errors import DataError
from c2o_model.data.images import decode
from c2o_model.data.manifest import DataManifest
from c2o_model.data.png import encode_png

GOOD: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "b.png", "width": 20, "height": 10},
        {"id": 2, "file_name": "a.png", "width": 8, "height": 6},
    ],
    "categories": [{"id": 30, "name": "dog"}, {"id": 4, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 30, "bbox": [1, 2, 3.5, 4], "area": 14, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 4, "bbox": [-2, 5, 6, 10], "area": 60},
        {"id": 3, "image_id": 7, "category_id": 4, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 1},
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, height, width in (("a.png", 6, 8), ("b.png", 10, 20)):
        (tmp_path / name).write_bytes(encode_png(np.full((height, width, 3), 9, np.uint8)))
    return tmp_path


def _write(root: Path, change: Callable[[dict[str, Any]], Any] = lambda _: None) -> Path:
    document = copy.deepcopy(GOOD)
    change(document)
    path = root / "set.json"
    path.write_text(json.dumps(document))
    return path


def test_good_file(root: Path) -> None:
    split = load_split(_write(root), root)
    assert len(split) == 2 and split.image_ids == (2, 7) and split.file_names == ("a.png", "b.png")
    assert split.sizes.tolist() == [[6, 8], [10, 20]]
    assert split.class_names == ("cat", "dog") and split.category_ids == (4, 30)
    assert split.boxes[0].shape == (0, 4) and split.labels[0].shape == (0,)
    assert split.boxes[1].tolist() == [[1, 2, 4.5, 6], [0, 5, 4, 10]]  # the second clipped to 20 x 10
    assert split.labels[1].tolist() == [1, 0]
    assert split.boxes[1].dtype == np.float32 and split.labels[1].dtype == np.int64
    assert split.dropped == (DroppedBox(3, 7, CROWD),)
    assert split.without_empty().image_ids == (7,) and split.select([1, 0]).image_ids == (7, 2)


def test_boxes_without_area_are_kept_out_counted_and_listed(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def add(document: dict[str, Any]) -> None:
        boxes = [[3, 3, 0, 5], [3, 3, 4, -1], [20, 0, 5, 5], [0, -9, 5, 9], [1, 1, 1e-12, 1]]
        for number, box in enumerate(boxes):
            document["annotations"].append({"id": 50 + number, "image_id": 7, "category_id": 4, "bbox": box})

    path = _write(root, add)
    before = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        split = load_split(path, root)
    assert [(item.annotation_id, item.reason) for item in split.dropped] == [
        (3, CROWD), (50, NO_AREA), (51, NO_AREA), (52, OUTSIDE), (53, OUTSIDE), (54, NO_AREA)
    ]  # fmt: skip
    assert len(split.boxes[1]) == 2
    assert caplog.messages == [
        f"{path}: kept 3 boxes without area out of training: annotation ids 50, 51, 54",
        f"{path}: kept 2 boxes outside their image out of training: annotation ids 52, 53",
    ]
    assert path.read_bytes() == before


def test_long_list_of_dropped_boxes_is_cut(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = [{"id": 100 + n, "image_id": 7, "category_id": 4, "bbox": [0, 0, 0, 0]} for n in range(12)]
    split = load_split(_write(root, lambda d: d["annotations"].extend(bad)), root)
    assert len(split.dropped) == 13
    assert caplog.messages[0].endswith("annotation ids 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, …")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d.pop("images"), "set.json: images: is missing or not a list; give a COCO detection JSON"),
        (lambda d: d.pop("annotations"), "set.json: annotations: is missing or not a list"),
        (lambda d: d.update(categories={}), "set.json: categories: is missing or not a list"),
        (lambda d: d.update(images=[]), "set.json: images: is empty"),
        (lambda d: d.update(categories=[]), "set.json: categories: is empty"),
        (lambda d: d["images"].append(3), r"set.json: images\[2\]: is not an object"),
        (
            lambda d: d["images"][0].pop("width"),
            r"images\[0\]: width: is missing; correct the annotation file",
        ),
        (lambda d: d["images"][0].update(height="10"), r"images\[0\]: height: '10' is not an integer"),
        (lambda d: d["images"][0].update(height=0), r"images\[0\]: height, width: 0 x 20 is no image size"),
        (lambda d: d["images"][0].update(id=2), r"images\[1\]: id: 2 is used twice"),
        (lambda d: d["images"][0].update(file_name=""), r"images\[0\]: file_name: '' is not a name"),
        (lambda d: d["images"][0].update(file_name="../a.png"), "'../a.png' leaves the image directory"),
        (lambda d: d["images"][0].update(file_name="/a.png"), "'/a.png' leaves the image directory"),
        (
            lambda d: d["images"][0].update(file_name="c.png"),
            r"c.png: is missing \(images\[0\] of .*set.json\); put",
        ),
        (lambda d: d["categories"][1].update(id=30), r"categories\[1\]: id: 30 is used twice"),
        (
            lambda d: d["annotations"][1].update(image_id=9),
            r"annotations\[1\]: image_id: 9 is not the id of an image",
        ),
        (lambda d: d["annotations"][1].update(category_id=5), "category_id: 5 is not the id of a category"),
        (lambda d: d["annotations"][1].pop("bbox"), r"annotations\[1\]: bbox: is missing"),
        (
            lambda d: d["annotations"][1].update(bbox=[1, 2, 3]),
            r"bbox: \[1, 2, 3\] is not \[x, y, width, height\]",
        ),
        (
            lambda d: d["annotations"][1].update(bbox=[1, 2, 3, float("nan")]),
            r"bbox: \[1, 2, 3, nan\] is not",
        ),
    ],
)
def test_bad_document(root: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_split(_write(root, change), root)


def test_bad_file(root: Path) -> None:
    path = _write(root)
    text = path.read_text()
    path.write_text(text[:200])
    with pytest.raises(DataError, match=r"set.json: is not JSON, corrupt or truncated \(.*\); copy it again"):
        load_split(path, root)
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DataError, match="set.json: is not JSON"):
        load_split(path, root)
    path.write_text("[1]")
    with pytest.raises(DataError, match="is not a COCO document"):
        load_split(path, root)
    path.unlink()
    with pytest.raises(DataError, match="set.json: is missing; put the annotation file there"):
        load_split(path, root)
    with pytest.raises(DataError, match=r"nowhere: is not a directory \(the images of .*set.json\)"):
        load_split(_write(root), root / "nowhere")


def test_manifest_is_enforced(root: Path) -> None:
    path = _write(root)
    manifest = manifests.build(root, "set", {}, ())
    load_split(path, root, manifest)
    image = root / "b.png"
    data = bytearray(image.read_bytes())
    data[60] ^= 4
    image.write_bytes(data)
    with pytest.raises(
        DataError, match="b.png: has changed: expected sha256 [0-9a-f]{64} .* found [0-9a-f]{64}"
    ):
        load_split(path, root, manifest)
    path.write_text(path.read_text() + " ")
    with pytest.raises(DataError, match="set.json: has changed"):
        load_split(path, root, manifest)
    with pytest.raises(DataError, match="other.json: is not listed in .*manifest.json"):
        load_split(root / "other.json", root, manifest)


def test_embedded_set_loads_with_its_manifest(mini: DataManifest) -> None:
    split = load_manifest_split(mini.root, "train")
    document = json.loads((mini.root / "train.json").read_bytes())
    assert len(split) == 160 and split.dropped == () and split.class_names == tuple("0123456789")
    for index in (0, 77, 159):
        own = [item for item in document["annotations"] if item["image_id"] == split.image_ids[index]]
        expected = [[x, y, x + w, y + h] for x, y, w, h in (item["bbox"] for item in own)]
        assert split.boxes[index].tolist() == expected
        assert split.labels[index].tolist() == [item["category_id"] - 1 for item in own]
        assert tuple(decode(split, index).shape) == (3, 128, 128)
