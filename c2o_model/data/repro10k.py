"""Repro-10k: the images of COCO 2017 with cars, motorcycles and persons, 10 000 at most, drawn by their ids.

    coco/annotations/instances_{train,val}2017.json   coco/{train,val}2017/*.jpg

The draw. Candidates are the images with at least one object, not a crowd, of the three classes. They are ordered by the
SHA-256 of their id (in decimal, ASCII), as hexadecimal text, and the first 10 000 are taken: 10 000 of train2017, and
all of val2017, which has fewer. Objects of other classes are left out; the three become the categories 1 car,
2 motorcycle, 3 person. Crowd regions of the three classes stay, as crowds.
The archive that gave the set its name does not say how its own 10 000 images were chosen: numbers on this draw can be
compared with its numbers in kind, not image by image.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from c2o_model.data import annotation_file as source
from c2o_model.data.errors import DataError

CLASSES = ("car", "motorcycle", "person")
IMAGES = 10_000


def draw_key(image_id: int) -> str:
    """What the draw orders images by."""
    return hashlib.sha256(str(image_id).encode("ascii")).hexdigest()


def repro10k_document(annotation: Path, images: Path, most: int = IMAGES) -> dict[str, Any]:
    """The COCO document of the draw of ``most`` images from a COCO 2017 JSON; images and objects in its order.

    Raises:
        DataError: the JSON is missing, corrupt or lacks a key or one of the three classes.
    """
    document = source.read_object(annotation)
    names = {record["name"]: record["id"] for record in source.category_records(annotation, document)}
    missing = [name for name in CLASSES if name not in names]
    if missing:
        what = f"categories: has no {', '.join(missing)}"
        raise DataError(annotation, what, "use instances_train2017.json or instances_val2017.json of COCO")
    label_of = {names[name]: label for label, name in enumerate(CLASSES, start=1)}
    boxes = [
        {**entry, "category_id": label_of[entry["category_id"]]}
        for entry in source.box_records(annotation, document)
        if entry["category_id"] in label_of
    ]
    candidates = {entry["image_id"] for entry in boxes if not entry["iscrowd"]}
    drawn = set(sorted(candidates, key=draw_key)[:most])
    found = []
    for number, record in enumerate(source.records(annotation, document, "images")):
        where = f"images[{number}]"
        name = source.text(annotation, record, "file_name", where)
        found.append(source.image_record(annotation, record, name, where))
    return {
        "images": [entry for entry in found if entry["id"] in drawn],
        "annotations": [entry for entry in boxes if entry["image_id"] in drawn],
        "categories": [{"id": label, "name": name} for label, name in enumerate(CLASSES, start=1)],
    }
