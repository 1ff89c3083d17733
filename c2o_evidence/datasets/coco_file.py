"""COCO's detection JSON and its kin, LVIS v1 and Objects365, read in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.datasets.contents import LAST_TWO, Contents, box_sides, is_side, safe_name
from c2o_evidence.datasets.json_stream import VALUE, JsonStream
from c2o_evidence.datasets.kinds import Format
from c2o_evidence.errors import DataSetError
from c2o_evidence.limits import MAX_SET_CLASSES, MAX_SET_IMAGES
from c2o_evidence.plain_file import LIMITS

LISTS = ("images", "annotations", "categories")
DRAWN = ("car", "motorcycle", "person")  # what the images of Repro-10k have at least one of


class _Reader:
    def __init__(self, path: Path, kind: Format) -> None:
        self.found = Contents(path)
        self.kind = kind
        self.key = "coco_url" if kind == "lvis" else "file_name"
        self.pattern = LAST_TWO.get(kind)
        self.images: set[int] = set()
        self.classes: dict[int, str] = {}
        self.of_image: set[int] = set()  # what annotations refer to
        self.of_class: set[int] = set()
        self.by_class: dict[int, set[int]] = {}  # Repro-10k: images with an object that is no crowd

    def images_item(self, number: int, record: Mapping[str, Any]) -> None:
        found, where = self.found, f"images[{number}]"
        key, name = record.get("id"), record.get(self.key)
        height, width = record.get("height"), record.get("width")
        if type(key) is not int:
            return found.fault("id: is missing or no integer", where)
        if not isinstance(name, str):
            return found.fault(f"{self.key}: is missing or no text", where)
        if self.pattern is not None:
            match = self.pattern.search(name)
            if match is None:
                shape = "DIRECTORY2017/FILE" if self.kind == "lvis" else "patchN/FILE"
                return found.fault(f"{self.key}: does not end in {shape}", where)
            name = match[1]
        if not safe_name(name):
            return found.fault(f"{self.key}: is no path inside the image directory", where)
        if key in self.images:
            return found.fault("id: is used by an image before it", where)
        if not (is_side(height) and is_side(width)):
            found.fault("height, width: are no image size", where)
            height = width = 0
        found.image(name, height or 0, width or 0)
        self.images.add(key)
        return None

    def annotations_item(self, number: int, record: Mapping[str, Any]) -> None:
        found = self.found
        image, label, crowd = record.get("image_id"), record.get("category_id"), record.get("iscrowd", 0)
        sides = box_sides(record.get("bbox"))
        if type(image) is not int or type(label) is not int or type(record.get("id")) is not int:
            found.fault("id, image_id or category_id: is missing or no integer", f"annotations[{number}]")
        elif sides is None:
            found.fault("bbox: is missing or not [x, y, width, height]", f"annotations[{number}]")
        else:
            found.boxes += 1
            found.empty += sides[0] <= 0 or sides[1] <= 0
            found.marked += bool(crowd)
            self.of_image.add(image)
            self.of_class.add(label)
            if self.kind == "repro10k" and not crowd:
                self.by_class.setdefault(label, set()).add(image)
            if len(self.of_image) > MAX_SET_IMAGES or len(self.of_class) > MAX_SET_CLASSES:
                what = f"annotations refer to more than {MAX_SET_IMAGES} images or {MAX_SET_CLASSES} classes ({LIMITS})"
                raise DataSetError(f"{found.path}: {what}")

    def categories_item(self, number: int, record: Mapping[str, Any]) -> None:
        key, name = record.get("id"), record.get("name")
        where = f"categories[{number}]"
        if type(key) is not int or not isinstance(name, str) or not name:
            self.found.fault("id or name: is missing, no integer or no text", where)
        elif key in self.classes:
            self.found.fault("id: is used by a class before it", where)
        elif len(self.classes) >= MAX_SET_CLASSES:
            raise DataSetError(f"{self.found.path}: has more than the limit of {MAX_SET_CLASSES} classes ({LIMITS})")
        else:
            self.classes[key] = name

    def close(self) -> Contents:
        """What can be said only when all is read, whatever the order of the lists."""
        found = self.found
        found.classes = len(self.classes)
        for what, missing in (
            ("image_id: is not the id of an image", self.of_image - self.images),
            ("category_id: is not the id of a class", self.of_class - self.classes.keys()),
        ):
            for key in sorted(missing):
                found.fault(what, f"annotations: {key}")
        if self.kind == "repro10k":
            ids = {name: key for key, name in self.classes.items()}
            for name in DRAWN:
                if name not in ids:
                    found.fault(f"categories: has no {name}", "categories")
            drawn = [self.by_class.get(ids.get(name, VALUE), set()) for name in DRAWN]
            found.candidates = len(set().union(*drawn))
        return found


def read_coco(path: Path, kind: Format, progress: Callable[[int], None] | None = None) -> Contents:
    """What the JSON at `path` says; faults of single records are collected, not raised.

    Raises:
        DataSetError: the file cannot be read, is no JSON object or too large, or lacks one of the three lists.
    """
    reader = _Reader(path, kind)
    take = {"images": reader.images_item, "annotations": reader.annotations_item, "categories": reader.categories_item}
    stream = JsonStream(path, progress)
    present = set()
    for key, number, item in stream.events():
        if number == VALUE:
            if isinstance(item, list):
                present.add(key)
        elif key in take:
            if isinstance(item, dict):
                take[key](number, item)
            else:
                reader.found.fault("is not an object", f"{key}[{number}]")
    missing = [key for key in LISTS if key not in present]
    if missing:
        raise DataSetError(f"{path}: {', '.join(missing)}: is missing or not a list; give a COCO detection JSON")
    found = reader.close()
    found.size, found.sha256 = stream.size, stream.sha256
    return found
