"""Public sets in the evidence chain by their names: copied with digests, checked, nothing left behind by a fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c2o_model.data.coco import load_manifest_split
from c2o_model.data.errors import DataError
from c2o_model.data.named_copy import import_named


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """$DETECTRON2_DATASETS with CrowdHuman (an image a split) and COCO's val (for Repro-10k)."""
    for folder in ("crowdhuman/Images", "coco/annotations", "coco/val2017"):
        (tmp_path / "sets" / folder).mkdir(parents=True)
    for name in ("crowdhuman/Images/a.jpg", "crowdhuman/Images/b.jpg", "coco/val2017/000000000001.jpg"):
        Image.fromarray(np.full((10, 20, 3), 7, np.uint8)).save(tmp_path / "sets" / name)
    boxes: list[dict[str, Any]] = [{"tag": "person", "fbox": [1, 2, 3, 4]}, {"tag": "mask", "fbox": [5, 5, 2, 2]}]
    for split, name in (("train", "a"), ("val", "b")):
        line = json.dumps({"ID": name, "gtboxes": boxes})
        (tmp_path / "sets" / "crowdhuman" / f"annotation_{split}.odgt").write_text(line)
    names = ("person", "car", "motorcycle")
    document = {
        "images": [{"id": 1, "file_name": "000000000001.jpg", "width": 20, "height": 10}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0}],
        "categories": [{"id": key, "name": name} for key, name in enumerate(names, start=1)],
    }
    (tmp_path / "sets" / "coco" / "annotations" / "instances_val2017.json").write_text(json.dumps(document))
    return tmp_path / "sets"


def config(train: str = "crowdhuman_train", val: str = "crowdhuman_val", **more: Any) -> dict[str, Any]:
    return {"name": "people", "kind": "named", "splits": {"train": train, "val": val}, **more}


def environ(root: Path) -> dict[str, str]:
    return {"DETECTRON2_DATASETS": str(root)}


def test_copy_has_manifest_and_loads(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "data" / "people"
    manifest = import_named(config(), out, tmp_path, environ=environ(root))
    assert sorted(manifest.files) == ["images/train/a.jpg", "images/val/b.jpg", "train.json", "val.json"]
    assert manifest.config == {
        "kind": "named",
        "splits": {"train": "crowdhuman_train", "val": "crowdhuman_val"},
    }
    split = load_manifest_split(out, "val")
    assert split.boxes[0].tolist() == [[1, 2, 4, 6]] and split.class_names == ("person",)
    assert [item.annotation_id for item in split.dropped] == [2]
    again = import_named(config(sha256=manifest.sha256), tmp_path / "data" / "other", tmp_path, environ=environ(root))
    assert again.sha256 == manifest.sha256  # neither time nor place is in it
    assert str(root) not in (out / "manifest.json").read_text() + (out / "val.json").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": "repro10k_val"}, "repro10k_val: has other classes than crowdhuman_train; name splits of one data set"),
        ({"val": "voc_2007_test"}, "VOC2007/ImageSets/Main/test.txt: is missing, voc_2007_test needs it; put the dir"),
        ({"sha256": "0" * 64}, "data configuration 'people': sha256: expected 0000"),
    ],
)
def test_faults_leave_nothing_behind(root: Path, tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_named(config(**changes), tmp_path / "data" / "people", tmp_path, environ=environ(root))
    assert [p.name for p in (tmp_path / "data").iterdir()] == [".people.lock"]


def test_corrupt_image(root: Path, tmp_path: Path) -> None:
    path = root / "coco" / "val2017" / "000000000001.jpg"
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match="000000000001.jpg: cannot be decoded"):
        import_named(config("repro10k_val", "repro10k_val"), tmp_path / "data" / "x", tmp_path, environ=environ(root))


def test_unknown_name(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("detectron2")
    with pytest.raises(DataError, match="pets_train: is not the name of a data set; use one of .*crowdhuman_train"):
        import_named(config("pets_train"), tmp_path / "data" / "x", tmp_path, environ=environ(root))
