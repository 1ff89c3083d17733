"""The annotations of a bundle, looked at before they are indexed: kinds, numbers and sizes that evaluation can bear.

`metrics.GroundTruth` checks what honest annotations can have wrong. Those of a bundle may be made to break the reader,
so everything that evaluation looks up, sorts or multiplies is checked here first. Outlines (`segmentation`) are never
decoded: AP is of boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2o_evidence.errors import TableError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_ANNOTATIONS, MAX_BOXES_PER_IMAGE, MAX_CATEGORIES, MAX_PAIRS
from c2o_evidence.plain_file import LIMITS, read_plain
from c2o_evidence.printable import printable

if TYPE_CHECKING:
    from c2o_evidence.metrics import GroundTruth

MAX_ID = 1 << 53  # ids are held as int64 and, by pycocotools, as float64
MAX_SIDE = 1e9  # px; products of two stay finite and exact enough in float64


def read_annotations(path: Path | str) -> dict[str, Any]:
    """The annotations of an outside file, as they stand there; `check_annotations` holds for them.

    Raises:
        TableError: it cannot be read, is too large, or is no COCO annotation file that can be evaluated on.
    """
    try:
        document = parse_json(read_plain(path, MAX_ANNOTATIONS))
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}; restore the annotation file") from error
    except ValueError as error:
        raise TableError(f"{path}: is not JSON: {error}; restore the annotation file") from None
    try:
        check_annotations(document)
    except ValueError as error:
        raise TableError(f"{path}: {error}; correct the annotation file") from None
    found: dict[str, Any] = document
    return found


def load_ground_truth(path: Path | str) -> GroundTruth:
    """The annotations of an outside file, indexed. Raises TableError as `read_annotations`, and as `GroundTruth`."""
    from c2o_evidence.metrics import GroundTruth

    return GroundTruth(read_annotations(path), str(path))


def check_annotations(document: Any) -> None:
    """Raises ValueError, saying where and what, for a document that `GroundTruth` must not be given."""
    if not isinstance(document, dict):
        raise ValueError("is not a mapping; this is no COCO annotation file")
    images, categories = _ids(document, "images"), _ids(document, "categories")
    if categories > MAX_CATEGORIES:
        raise ValueError(f"categories: has {categories}, more than the limit of {MAX_CATEGORIES} ({LIMITS})")
    if images * categories > MAX_PAIRS:
        what = f"has {images} images x {categories} categories, more than the limit of {MAX_PAIRS}"
        raise ValueError(f"{what} ({LIMITS})")
    for index, item in enumerate(document["categories"]):
        name = item.get("name")
        if not isinstance(name, str) or not name or name != printable(name):
            raise ValueError(f"categories[{index}]: name: is not a text of one line that can be printed")
    boxes: Counter[int] = Counter()
    for index, item in enumerate(_records(document, "annotations")):
        _check_box(item, f"annotations[{index}]")
        boxes[item["image_id"]] += 1
    if boxes:
        image, most = boxes.most_common(1)[0]
        if most > MAX_BOXES_PER_IMAGE:
            what = f"image {image} has {most} boxes, more than the limit of {MAX_BOXES_PER_IMAGE} ({LIMITS})"
            raise ValueError(f"annotations: {what}")


def _records(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = document.get(key)
    if not isinstance(found, list):
        raise ValueError(f"{key}: is missing or not a list; this is no COCO annotation file")
    for index, item in enumerate(found):
        if not isinstance(item, dict):
            raise ValueError(f"{key}[{index}]: is not a mapping")
    return found


def _ids(document: Mapping[str, Any], key: str) -> int:
    """How many entries there are; each has a whole number as id."""
    entries = _records(document, key)
    for index, item in enumerate(entries):
        _check_id(item, "id", f"{key}[{index}]")
    return len(entries)


def _check_id(item: Mapping[str, Any], key: str, where: str) -> None:
    value = item.get(key)
    if type(value) is not int or not -MAX_ID <= value <= MAX_ID:
        raise ValueError(f"{where}: {key}: is not a whole number, or a huge one")


def _check_box(item: Mapping[str, Any], where: str) -> None:
    _check_id(item, "image_id", where)
    _check_id(item, "category_id", where)
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side, MAX_SIDE) for side in box):
        raise ValueError(f"{where}: bbox: is not [x, y, width, height] in px, each a number up to {MAX_SIDE:g}")
    if not _is_number(item.get("area", 0), MAX_SIDE * MAX_SIDE):
        raise ValueError(f"{where}: area: is not a number up to {MAX_SIDE * MAX_SIDE:g}")
    if item.get("iscrowd", 0) not in (0, 1):
        raise ValueError(f"{where}: iscrowd: is neither 0 nor 1")


def _is_number(value: Any, most: float) -> bool:
    return type(value) in (int, float) and abs(value) <= most
