"""CrowdHuman (Shao et al., 2018): one class, person, as a COCO document.

    crowdhuman/annotation_{train,val}.odgt   crowdhuman/Images/ID.jpg

An .odgt file has a JSON object a line: ``{"ID": NAME, "gtboxes": [{"tag": "person" or "mask", "fbox": [x, y, w, h],
"vbox": …, "hbox": …, "extra": {"ignore": 0 or 1, …}, …}]}``. Of the three boxes (full body, its visible part, head) the
full box counts, as in the paper's main results. It is drawn through what hides the person and may leave the image, so
it is cut at the image's edge, for training and evaluation alike; a box with nothing inside is left out and counted in
the log. What is tagged ``mask`` (a reflection, a statue, a crowd) or has extra.ignore = 1 becomes a crowd region: kept
out of training, and detections on it count neither way.
The file has no image sizes: they are read from the heads of the image files. Image i + 1 is the i-th line.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from c2o_model.data import annotation_file as source
from c2o_model.data.errors import DataError

logger = logging.getLogger(__name__)

BOX = "fbox"  # of fbox (full), vbox (visible), hbox (head)
PERSON, MASK = "person", "mask"
ORIENTATION = 0x0112  # EXIF; the values from 5 on turn width into height, as `images.decode` does


def crowdhuman_document(annotation: Path, images: Path) -> dict[str, Any]:
    """The COCO document of an .odgt file whose images are ``images``/ID.jpg.

    Raises:
        DataError: the file or an image is missing or corrupt, a line lacks a key, an ID is repeated, a tag is unknown.
    """
    try:
        lines = annotation.read_bytes().splitlines()
    except FileNotFoundError:
        raise DataError(annotation, "is missing", "put the annotation file there") from None
    except OSError as error:
        raise DataError(annotation, f"cannot be read ({error.strerror})", source.COPY_AGAIN) from None
    found: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    seen: set[str] = set()
    empty: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        record = source.parse_object(annotation, line, f"{where}: ")
        name = source.text(annotation, record, "ID", where)
        if not re.fullmatch(r"[\w,.-]+", name):
            raise DataError(annotation, f"{where}: ID: {name!r} is not a file name", source.CORRECT)
        if name in seen:
            raise DataError(annotation, f"{where}: ID: {name} is used twice", source.CORRECT)
        seen.add(name)
        height, width = image_size(images / f"{name}.jpg")
        found.append({"id": len(found) + 1, "file_name": f"{name}.jpg", "height": height, "width": width})
        for index, item in enumerate(source.records(annotation, record, "gtboxes", f"{where}: ")):
            place = f"{where}: gtboxes[{index}]"
            crowd = _ignored(annotation, item, place)
            sides = _cut(source.box(annotation, item, BOX, place), height, width)
            if sides is None:
                empty.append(f"{name} {item[BOX]}")
                continue
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": len(found),
                    "category_id": 1,
                    "bbox": sides,
                    "area": sides[2] * sides[3],
                    "iscrowd": int(crowd),
                }
            )
    if empty:
        text = "; ".join(empty[:10])
        logger.warning("%s: left out %d boxes with no area in their image: %s", annotation, len(empty), text)
    info = {"metrics": "crowd"}  # asks for MR and JI beside AP (c2o_evidence.crowd)
    return {"info": info, "images": found, "annotations": boxes, "categories": [{"id": 1, "name": PERSON}]}


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in px of an image as it is shown, from its head; DataError when it is missing or none."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise DataError(path, "is missing", "put the image there") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(path, f"cannot be decoded ({error})", source.COPY_AGAIN) from None
    return (width, height) if turned else (height, width)


def _ignored(annotation: Path, item: Mapping[str, Any], place: str) -> bool:
    """Whether a box is to be ignored; every key of ``extra`` is optional."""
    tag = source.text(annotation, item, "tag", place)
    if tag not in (PERSON, MASK):
        raise DataError(annotation, f"{place}: tag: {tag!r} is neither {PERSON!r} nor {MASK!r}", source.CORRECT)
    extra = item.get("extra", {})
    if not isinstance(extra, dict):
        raise DataError(annotation, f"{place}: extra: is not an object", source.CORRECT)
    return tag == MASK or extra.get("ignore", 0) == 1


def _cut(sides: list[float], height: int, width: int) -> list[float] | None:
    """The part of a box [x, y, w, h] inside the image; None if it has no area."""
    x, y, w, h = sides
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    return [x0, y0, x1 - x0, y1 - y0] if x1 > x0 and y1 > y0 else None
