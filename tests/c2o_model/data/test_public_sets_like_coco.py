"""Objects365 and Repro-10k, whose annotations are COCO's, from tiny files: boxes and labels by hand, faults named."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from c2o_model.data.coco import CROWD
from c2o_model.data.errors import DataError
from c2o_model.data.repro10k import IMAGES, repro10k_document
from tests.c2o_model.data.public_files import load, picture, write

# ---- Objects365


def objects365(root: Path, names: list[str], split: str = "train") -> Path:
    return write(
        root / "objects365" / "annotations" / f"zhiyuan_objv2_{split}.json",
        {
            "images": [
                {"id": n, "file_name": name, "width": 20, "height": 10} for n, name in enumerate(names, start=1)
            ],
            "annotations": [
                {"id": 10 + n, "image_id": n, "category_id": 365 if n > 1 else 1, "bbox": [n, 1, 3, 3], "isfake": 0}
                for n in range(1, len(names) + 1)
            ],
            "categories": [{"id": 1, "name": "Person"}, {"id": 365, "name": "Curling"}],
        },
    )


def test_objects365_in_patches(tmp_path: Path, caplog: Any) -> None:
    names = [
        "images/v1/patch0/objects365_v1_00000001.jpg",
        "images/v1/patch6/objects365_v1_00320532.jpg",  # in the JSON, in no archive
        "images/v2/patch16/objects365_v2_00000003.jpg",
    ]
    objects365(tmp_path, names)
    for name in (names[0], names[2]):
        picture(tmp_path / "objects365" / "train" / name.split("/", 2)[2])
    with caplog.at_level(logging.WARNING):
        split = load("objects365_train", tmp_path)
    assert split.file_names == ("patch0/objects365_v1_00000001.jpg", "patch16/objects365_v2_00000003.jpg")
    assert split.image_ids == (1, 3) and split.class_names == ("Person", "Curling")
    assert [b.tolist() for b in split.boxes] == [[[1, 1, 4, 4]], [[3, 1, 6, 4]]]
    assert [x.tolist() for x in split.labels] == [[0], [1]]
    assert "left out 1 images never published: patch6/objects365_v1_00320532.jpg" in caplog.text
    (tmp_path / "objects365" / "train" / "patch16" / "objects365_v2_00000003.jpg").unlink()
    with pytest.raises(DataError, match="patch16/objects365_v2_00000003.jpg: is missing .*; put the image there"):
        load("objects365_train", tmp_path)


def test_objects365_file_name_without_patch(tmp_path: Path) -> None:
    objects365(tmp_path, ["a.jpg"], "val")
    (tmp_path / "objects365" / "val").mkdir()
    with pytest.raises(DataError, match=r"objv2_val.json: images\[0\]: file_name: 'a.jpg' does not end in patchN/FILE"):
        load("objects365_val", tmp_path)


# ---- Repro-10k

COCO_NAMES = {1: "person", 2: "bicycle", 3: "car", 4: "motorcycle"}


def coco(root: Path, boxes: list[tuple[int, int, int]], images: int, split: str = "val") -> Path:
    """A COCO JSON with ``images`` images and, for each of (image, category, iscrowd), a box at x = image id."""
    for key in range(1, images + 1):
        picture(root / "coco" / f"{split}2017" / f"{key:012d}.jpg")
    return write(
        root / "coco" / "annotations" / f"instances_{split}2017.json",
        {
            "images": [
                {"id": key, "file_name": f"{key:012d}.jpg", "width": 20, "height": 10} for key in range(1, images + 1)
            ],
            "annotations": [
                {"id": n, "image_id": i, "category_id": c, "iscrowd": crowd, "bbox": [i, 0, 2, 4], "area": 6.5}
                for n, (i, c, crowd) in enumerate(boxes, start=1)
            ],
            "categories": [{"id": key, "name": name, "supercategory": "s"} for key, name in COCO_NAMES.items()],
        },
    )


def test_repro10k_has_three_classes_and_their_images(tmp_path: Path) -> None:
    # Image 3 has only a bicycle, image 4 only a crowd of persons, image 5 nothing.
    boxes = [(1, 1, 0), (1, 3, 0), (1, 2, 0), (2, 4, 0), (2, 1, 1), (3, 2, 0), (4, 1, 1)]
    coco(tmp_path, boxes, images=5)
    split = load("repro10k_val", tmp_path)
    assert split.class_names == ("car", "motorcycle", "person") and split.category_ids == (1, 2, 3)
    assert split.image_ids == (1, 2) and split.file_names == ("000000000001.jpg", "000000000002.jpg")
    assert [x.tolist() for x in split.labels] == [[2, 0], [1]]
    assert [b.tolist() for b in split.boxes] == [[[1, 0, 3, 4], [1, 0, 3, 4]], [[2, 0, 4, 4]]]
    assert [(d.annotation_id, d.reason) for d in split.dropped] == [(5, CROWD)]
    assert all(item["area"] == 6.5 for item in json.loads(split.annotation.read_text())["annotations"])


def test_repro10k_draw_is_by_the_digest_of_the_id(tmp_path: Path) -> None:
    path = coco(tmp_path, [(key, 3, 0) for key in range(1, 41)], images=40)
    # for i in $(seq 40); do echo "$(printf %s $i | sha256sum) $i"; done | sort
    least = {39, 9, 8, 29, 13, 17, 10}  # 0b918943…, 19581e27…, 2c624232…, 35135aaa…, 3fdba35f…, 4523540f…, 4a44dc15…
    document = repro10k_document(path, path.parent, most=7)
    assert [image["id"] for image in document["images"]] == sorted(least)
    assert {item["image_id"] for item in document["annotations"]} == least
    assert IMAGES == 10_000 and len(repro10k_document(path, path.parent)["images"]) == 40


def test_repro10k_needs_cocos_classes(tmp_path: Path) -> None:
    path = coco(tmp_path, [], images=1)
    path.write_text(path.read_text().replace("motorcycle", "motorbike"))
    with pytest.raises(
        DataError, match="instances_val2017.json: categories: has no motorcycle; use instances_train2017"
    ):
        load("repro10k_val", tmp_path)
