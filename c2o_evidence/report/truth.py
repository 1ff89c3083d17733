"""The annotated objects of the pictures that a page shows."""

from __future__ import annotations

from pathlib import Path

from c2o_evidence.annotations import check_annotations
from c2o_evidence.errors import EvidenceError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_ANNOTATIONS
from c2o_evidence.plain_file import read_plain


def read_truth(path: Path, images: set[int]) -> dict[int, list[tuple[tuple[float, ...], str]]]:
    """The objects of some images of an annotation file: boxes (x1, y1, x2, y2 in px) and class names.

    Raises EvidenceError if it cannot be read, or is no COCO annotation file.
    """
    try:
        document = parse_json(read_plain(path, MAX_ANNOTATIONS))
        check_annotations(document)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; restore the annotation file") from error
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{path}: {error}; restore the annotation file") from None
    names = {item["id"]: item["name"] for item in document["categories"]}
    found: dict[int, list[tuple[tuple[float, ...], str]]] = {image: [] for image in images}
    for item in document["annotations"]:
        if item["image_id"] in found and not item.get("iscrowd"):
            x, y, width, height = item["bbox"]
            name = str(names.get(item["category_id"], item["category_id"]))
            found[item["image_id"]].append(((x, y, x + width, y + height), name))
    return found
