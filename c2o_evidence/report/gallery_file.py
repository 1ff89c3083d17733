"""`gallery/gallery.json`: which pictures a page shows, the denoising of one and the attention in one; read and checked."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from c2o_evidence.annotations import check_annotations
from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import EvidenceError
from c2o_evidence.json_file import parse_json
from c2o_evidence.limits import MAX_ANNOTATIONS, MAX_GALLERY, MAX_GALLERY_PICTURE
from c2o_evidence.plain_file import read_plain

PNG = b"\x89PNG\r\n\x1a\n"
MOST = {"images": 64, "steps": 1000, "boxes": 5000, "edges": 100_000}
MAX_SIDE = 1e6  # px
_FILE = re.compile(r"images/[0-9]{1,19}\.png")


def read_gallery(base: Path) -> dict[str, Any]:
    """The gallery below `base` (a bundle or `results/SUITE`), with the bytes of each picture as `data`.

    Raises:
        EvidenceError: a file cannot be read, is not a gallery, or a picture has another digest than is said.
    """
    path = base / "gallery" / "gallery.json"
    try:
        document = parse_json(read_plain(path, MAX_GALLERY))
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; make the gallery again") from error
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{path}: is not JSON: {error}; make the gallery again") from None
    try:
        _check(document)
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"{path}: is not a gallery of format 1: {error}; make the gallery again") from None
    for image in document["images"]:
        image["data"] = _picture(base / "gallery", image)
    return dict(document)


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


def _picture(folder: Path, image: dict[str, Any]) -> bytes:
    path = folder / image["file"]
    try:
        data = read_plain(path, MAX_GALLERY_PICTURE)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}; make the gallery again") from error
    if not data.startswith(PNG) or sha256_bytes(data) != image["sha256"]:
        raise EvidenceError(f"{path}: is not the PNG that gallery.json names; make the gallery again")
    return data


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _check(document: Any) -> None:
    _need(isinstance(document, dict) and document["format"] == 1, "format")
    _need(_all(document["rows"], str, 16), "rows")
    _need(type(document["train_seed"]) is int and type(document["eval_seed"]) is int, "seeds")
    images = document["images"]
    _need(isinstance(images, list) and len(images) <= MOST["images"], "images")
    for image in images:
        _need(type(image["image_id"]) is int and bool(_FILE.fullmatch(image["file"])), "image_id or file")
        _need(all(type(image[side]) is int and 0 < image[side] <= MAX_SIDE for side in ("width", "height")), "size")
        _need(isinstance(image["sha256"], str), "sha256")
    known = {image["image_id"] for image in images}
    if (film := document.get("filmstrip")) is not None:
        _need(film["image_id"] in known and isinstance(film["exp_id"], str), "filmstrip")
        _need(isinstance(film["steps"], list) and len(film["steps"]) <= MOST["steps"], "filmstrip.steps")
        for step in film["steps"]:
            _need(type(step["step"]) is int and _number(step["time"]), "filmstrip.steps")
            _found(step, "boxes")
    if (scene := document.get("attention")) is not None:
        _need(scene["image_id"] in known and isinstance(scene["exp_id"], str), "attention")
        _found(scene, "nodes")
        edges, count = scene["edges"], len(scene["nodes"])
        _need(isinstance(edges, list) and len(edges) <= MOST["edges"], "attention.edges")
        for edge in edges:
            _need(len(edge) == 3 and _number(edge[2]), "attention.edges")
            _need(all(type(end) is int and 0 <= end < count for end in edge[:2]), "attention.edges")


def _found(item: dict[str, Any], key: str) -> None:
    boxes, scores, classes = item[key], item["scores"], item["classes"]
    _need(isinstance(boxes, list) and len(boxes) == len(scores) == len(classes) <= MOST["boxes"], key)
    for box, score, name in zip(boxes, scores, classes, strict=True):
        _need(len(box) == 4 and all(map(_number, box)) and _number(score), key)
        _need(type(name) in (int, str), "classes")


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= MAX_SIDE


def _all(value: Any, kind: type, most: int) -> bool:
    return isinstance(value, list) and len(value) <= most and all(type(item) is kind for item in value)
