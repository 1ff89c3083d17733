"""Typed access to the annotation files of public data sets; every failure names the file, the place and the key.

What all converters share: they read a set's own file and give a COCO detection document with nothing in it that
training and evaluation do not use (no segmentations), in the order of the source, so that places in messages fit both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from c2o_model.data.errors import DataError

LARGEST = 1e15  # px of a side, and squared of an area: what is larger (or nan) is no measure of a picture
COPY_AGAIN = "copy it again from its source"
CORRECT = "correct the annotation file"


def read_object(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file; DataError when it is missing, no JSON or not an object."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise DataError(path, "is missing", "put the annotation file there") from None
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", COPY_AGAIN) from None
    return parse_object(path, text)


def parse_object(path: Path, text: bytes, where: str = "") -> Mapping[str, Any]:
    """``text``, which stands at ``where`` in the file, as a JSON object."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number of thousands of digits, too deep
        raise DataError(path, f"{where}is not JSON, corrupt or truncated ({error})", COPY_AGAIN) from None
    if not isinstance(parsed, dict):
        raise DataError(path, f"{where}is not a JSON object", COPY_AGAIN)
    return parsed


def records(path: Path, document: Mapping[str, Any], key: str, where: str = "") -> list[Mapping[str, Any]]:
    """The list of objects ``document[key]``."""
    found = document.get(key)
    if not isinstance(found, list):
        raise DataError(path, f"{where}{key}: is missing or not a list", COPY_AGAIN)
    for number, record in enumerate(found):
        if not isinstance(record, dict):
            raise DataError(path, f"{where}{key}[{number}]: is not an object", CORRECT)
    return found


def integer(path: Path, record: Mapping[str, Any], key: str, where: str) -> int:
    """``record[key]``, an integer."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        what = "is missing" if key not in record else f"{value!r} is not an integer"
        raise DataError(path, f"{where}: {key}: {what}", CORRECT)
    return value


def text(path: Path, record: Mapping[str, Any], key: str, where: str) -> str:
    """``record[key]``, a text that is not empty."""
    value = record.get(key)
    if not isinstance(value, str) or not value:
        what = "is missing" if key not in record else f"{value!r} is not a name"
        raise DataError(path, f"{where}: {key}: {what}", CORRECT)
    return value


def box(path: Path, record: Mapping[str, Any], key: str, where: str) -> list[float]:
    """``record[key]``, a box [x, y, width, height] in px: four finite numbers."""
    value = record.get(key)
    sides = value if isinstance(value, list) and len(value) == 4 else []
    if not sides or any(isinstance(v, bool) or not isinstance(v, (int, float)) or not abs(v) < LARGEST for v in sides):
        what = "is missing" if key not in record else f"{value!r} is not [x, y, width, height]"
        raise DataError(path, f"{where}: {key}: {what}", CORRECT)
    return sides


def image_record(path: Path, record: Mapping[str, Any], file_name: str, where: str) -> dict[str, Any]:
    """COCO's entry of an image: its id, size in px and ``file_name``, relative to the image directory."""
    sizes = {key: integer(path, record, key, where) for key in ("id", "height", "width")}
    return {**sizes, "file_name": file_name}


def box_record(path: Path, record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """COCO's entry of an object. Without an area it is the box's, without ``iscrowd`` it is an object of its own."""
    sides = box(path, record, "bbox", where)
    area = record.get("area", sides[2] * sides[3])
    if isinstance(area, bool) or not isinstance(area, (int, float)) or not abs(area) < LARGEST * LARGEST:
        raise DataError(path, f"{where}: area: {area!r} is not a number", CORRECT)
    return {
        **{key: integer(path, record, key, where) for key in ("id", "image_id", "category_id")},
        "bbox": sides,
        "area": area,
        "iscrowd": int(bool(record.get("iscrowd", 0))),
    }


def box_records(path: Path, document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """COCO's entries of all objects of a document whose ``annotations`` are COCO's, one after the other."""
    for number, record in enumerate(records(path, document, "annotations")):
        yield box_record(path, record, f"annotations[{number}]")


def category_records(path: Path, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """COCO's entries of the classes: id and name."""
    return [
        {
            "id": integer(path, record, "id", f"categories[{number}]"),
            "name": text(path, record, "name", f"categories[{number}]"),
        }
        for number, record in enumerate(records(path, document, "categories"))
    ]
