"""A directory of PASCAL VOC: lists of images, and an XML file an image. A file with a document type is refused: without
one there are no entities.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from c2o_evidence.datasets.contents import LARGEST_SIDE, Contents
from c2o_evidence.errors import DataSetError
from c2o_evidence.limits import MAX_SET_LIST, MAX_SET_XML
from c2o_evidence.plain_file import read_plain

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
CLASSES = frozenset(
    (
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    )
)
_NAME = re.compile(r"[\w.-]+")


class Annotation(NamedTuple):
    """An XML file: sides of the image in px, numbers of objects, and the first fault in it ("": none)."""

    height: int
    width: int
    objects: int
    difficult: int
    empty: int
    fault: str


def read_voc(
    path: Path,
    pictures: Collection[str],
    progress: Callable[[int], None] | None = None,
    known: dict[str, Annotation] | None = None,
) -> Contents:
    """What the list at `path` (ROOT/ImageSets/Main/LIST.txt) and the XML files of its images say.

    Args:
        pictures: names of the files in JPEGImages, to find the suffix of each.
        progress: called with 1 for each image.
        known: XML files that were read before, by name; those read now are added.

    Raises:
        DataSetError: the list cannot be read, is empty or no list of names.
    """
    found = Contents(path, classes=len(CLASSES))
    known = {} if known is None else known
    top = path.parents[2]
    for name in read_list(path, found):
        picture = next((name + suffix for suffix in SUFFIXES if name + suffix in pictures), f"{name}.jpg")
        if name not in known:
            known[name] = read_annotation(top / "Annotations" / f"{name}.xml")
        item = known[name]
        found.image(picture, item.height, item.width)
        found.boxes += item.objects
        found.marked += item.difficult
        found.empty += item.empty
        if item.fault:
            found.faults.add(item.fault, str(top / "Annotations" / f"{name}.xml"))
        if progress is not None:
            progress(1)
    return found


def read_list(path: Path, found: Contents) -> list[str]:
    """The names of a list; faults of single lines and the file's digest go to `found`. DataSetError as `read_voc`."""
    try:
        data = read_plain(path, MAX_SET_LIST)
        text = data.decode("utf-8")
    except OSError as error:
        raise DataSetError(f"{path}: cannot be read ({error.strerror}); put the list there") from None
    except UnicodeDecodeError:
        raise DataSetError(f"{path}: is not UTF-8 text; copy it again from its source") from None
    found.size, found.sha256 = len(data), hashlib.sha256(data).hexdigest()
    names: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        if not _NAME.fullmatch(name) or name.startswith("."):
            found.fault("is not an image name", f"line {number}")
        elif name in names:
            found.fault("is listed before", f"line {number}")
        else:
            names[name] = None
    if not names:
        raise DataSetError(f"{path}: lists no image; give one name a line, without a suffix")
    return list(names)


def read_annotation(path: Path) -> Annotation:
    """What an XML file says; what is wrong with it is told by `fault`, never raised."""
    try:
        root = _parse(read_plain(path, MAX_SET_XML))
    except FileNotFoundError:
        return Annotation(0, 0, 0, 0, 0, "is missing")
    except OSError as error:
        return Annotation(0, 0, 0, 0, 0, f"cannot be read ({(error.strerror or '').partition(' (')[0]})")
    except ValueError as error:
        return Annotation(0, 0, 0, 0, 0, str(error))
    fault = ""
    height, width = (_number(root, f"size/{side}") for side in ("height", "width"))
    if height is None or width is None or height < 1 or width < 1:
        height, width, fault = 0, 0, "size: is missing or no image size"
    objects = difficult = empty = 0
    for item in root.iterfind("object"):
        if (item.findtext("name") or "").strip() not in CLASSES:
            fault = fault or "object: name: is missing or not one of the 20 classes"
            continue
        corners = [_number(item, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        x0, y0, x1, y1 = corners
        if x0 is None or y0 is None or x1 is None or y1 is None:
            fault = fault or "object: bndbox: is missing or no box in px"
            continue
        objects += 1
        difficult += (item.findtext("difficult") or "0").strip() == "1"
        empty += x1 <= x0 or y1 <= y0
    return Annotation(height, width, objects, difficult, empty, fault)


def _parse(data: bytes) -> Element:
    """The root element; ValueError with what is wrong."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(*_: Any) -> None:
        raise ValueError("has a document type, whose entities are not to be trusted")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError):  # LookupError: an encoding that nobody knows
        raise ValueError("is not XML, corrupt or truncated") from None
    root: Element = builder.close()
    return root


def _number(element: Element, key: str) -> int | None:
    """A position in px; some tools write 12.0."""
    try:
        value = float((element.findtext(key) or "").strip())
    except ValueError:
        return None
    return round(value) if math.isfinite(value) and abs(value) <= LARGEST_SIDE else None


def names_in(folder: Path) -> set[str]:
    """Names of what lies in a directory; none where there is no directory that can be read."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()
