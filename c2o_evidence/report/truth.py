"""The annotated objects of the pictures that a page shows."""

from __future__ import annotations

from pathlib import Path

from c2o_evidence.annotations import read_annotations


def read_truth(path: Path, images: set[int]) -> dict[int, list[tuple[tuple[float, ...], str]]]:
    """The objects of some images of an annotation file: boxes (x1, y1, x2, y2 in px) and class names.

    Raises TableError as `read_annotations`.
    """
    document = read_annotations(path)
    names = {item["id"]: item["name"] for item in document["categories"]}
    found: dict[int, list[tuple[tuple[float, ...], str]]] = {image: [] for image in images}
    for item in document["annotations"]:
        if item["image_id"] in found and not item.get("iscrowd"):
            x, y, width, height = item["bbox"]
            name = str(names.get(item["category_id"], item["category_id"]))
            found[item["image_id"]].append(((x, y, x + width, y + height), name))
    return found
