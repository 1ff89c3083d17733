"""A directory in the layout of PASCAL VOC, read strictly into COCO documents.

    ROOT/JPEGImages/NAME.jpg   ROOT/Annotations/NAME.xml   ROOT/ImageSets/Main/LIST.txt   (one NAME a line)

Boxes are whole pixels counted from 1, both ends included: xmin = 1 is the left edge, so COCO's x is xmin - 1 and the
width xmax - xmin + 1. A box with xmax <= xmin or ymax <= ymin has no area: it is left out and counted in the log.
Objects marked ``difficult`` stay, with the mark; ``truncated`` too. XML is parsed by the standard library's expat with
document types refused: without one there are no entities, internal or external.
Source: the VOC2007 development kit's documentation (Everingham et al., IJCV 2010).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from c2o_model.data.errors import DataError

logger = logging.getLogger(__name__)

MAX_XML = 1 << 20  # bytes; an annotation of VOC has a few thousand
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
CORRECT = "correct the annotation file"


def parse_xml(path: Path) -> Element:
    """The root element of a small XML file.

    Raises:
        DataError: it is missing, too large, not XML, or has a document type (which could define entities).
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise DataError(path, "is missing", "put the annotation file there") from None
    if len(text) > MAX_XML:
        raise DataError(path, f"has {len(text)} bytes, over {MAX_XML}", "this is no VOC annotation")
    builder = TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(*_: Any) -> None:
        raise DataError(path, "has a document type, whose entities are not to be trusted", "remove the DOCTYPE")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise DataError(path, f"is not XML, corrupt or truncated ({error})", "copy it again from its source") from None
    return builder.close()


def read_names(root: Path, split: str) -> list[str]:
    """The image names of ImageSets/Main/``split``.txt, in order. A second column (VOC's class lists) is refused."""
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        have = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))) or "none"
        raise DataError(path, "is missing", f"name a list that is there ({have})") from None
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not UTF-8 ({error})", "copy it again from its source") from None
    names = [line.strip() for line in lines if line.strip()]
    for name in names:
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
            raise DataError(path, f"{name!r} is not an image name", "give one name a line, without a suffix")
    if not names:
        raise DataError(path, "is empty", "list the images of the split")
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise DataError(path, f"{repeated[0]} is listed twice", "list every image once")
    return names


def image_file(root: Path, name: str) -> Path:
    """The image of that name in JPEGImages; DataError when there is none."""
    folder = root / "JPEGImages"
    for suffix in SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise DataError(folder / f"{name}.jpg", "is missing", "put the image there")


def check_layout(root: Path) -> None:
    """Raise DataError unless ``root`` has the three directories of VOC."""
    if not root.is_dir():
        todo = "put a data set in VOC layout there, or correct `root` in the data configuration"
        raise DataError(root, "does not exist", todo)
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        if not (root / part).is_dir():
            raise DataError(root / part, "is missing", "a VOC layout has JPEGImages, Annotations and ImageSets/Main")


def read_objects(path: Path) -> tuple[int, int, list[dict[str, Any]]]:
    """(height, width, objects) of an annotation file; each has name, corners [x0,y0,x1,y1], difficult, truncated."""
    root = parse_xml(path)
    width, height = (_integer(path, root, f"size/{side}") for side in ("width", "height"))
    objects = []
    for number, item in enumerate(root.findall("object"), start=1):
        where = f"object {number}: "
        name = (item.findtext("name") or "").strip()
        if not name:
            raise DataError(path, f"{where}name: is missing", CORRECT)
        corners = [_integer(path, item, f"bndbox/{key}", where) for key in ("xmin", "ymin", "xmax", "ymax")]
        flags = {key: int((item.findtext(key) or "0").strip() == "1") for key in ("difficult", "truncated")}
        objects.append({"name": name, "corners": corners, **flags})
    return height, width, objects


def voc_document(root: Path, names: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """The COCO document of the images ``names``; category k+1 is ``classes[k]``, image i+1 is ``names[i]``.

    Raises:
        DataError: a file is missing or malformed, or an object has a class that is not in ``classes``.
    """
    categories = {name: number for number, name in enumerate(classes, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    dropped: list[str] = []
    for image_id, name in enumerate(names, start=1):
        path = root / "Annotations" / f"{name}.xml"
        height, width, objects = read_objects(path)
        images.append({"id": image_id, "file_name": image_file(root, name).name, "height": height, "width": width})
        for item in objects:
            if item["name"] not in categories:
                what = f"{item['name']!r} is not one of the classes {list(classes)}"
                raise DataError(path, what, "add it to `classes`")
            x0, y0, x1, y1 = item["corners"]
            if x1 <= x0 or y1 <= y0:
                dropped.append(f"{name} {item['name']} {item['corners']}")
                continue
            w, h = x1 - x0 + 1, y1 - y0 + 1
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": categories[item["name"]],
                    "bbox": [x0 - 1, y0 - 1, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "difficult": item["difficult"],
                    "truncated": item["truncated"],
                }
            )
    if dropped:
        logger.warning("%s: left out %d boxes without area: %s", root, len(dropped), "; ".join(dropped[:10]))
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }


def class_names(root: Path, names: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """``classes`` of the configuration, else every class that the annotations of ``names`` have, sorted."""
    if config.get("classes"):
        return [str(name) for name in config["classes"]]
    found = {item["name"] for name in names for item in read_objects(root / "Annotations" / f"{name}.xml")[2]}
    if not found:
        raise DataError(root / "Annotations", "has no object at all", "annotate some")
    return sorted(found)


def _integer(path: Path, element: Element, key: str, where: str = "") -> int:
    text = (element.findtext(key) or "").strip()
    try:
        value = float(text)  # some tools write 12.0
    except ValueError:
        raise DataError(path, f"{where}{key}: {text!r} is not a number", CORRECT) from None
    if not abs(value) < 1e6:
        raise DataError(path, f"{where}{key}: {text!r} is no pixel position", CORRECT)
    return round(value)
