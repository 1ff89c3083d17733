"""COCO-format annotations, read strictly: a fault is an error that names the file, or counted and logged."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2o_model.data import manifest as manifests
from c2o_model.data.errors import DataError
from c2o_model.data.manifest import DataManifest

logger = logging.getLogger(__name__)

NO_AREA, OUTSIDE, CROWD = "no area", "outside the image", "crowd"


@dataclass(frozen=True)
class DroppedBox:
    """An annotation kept out of training, and why: NO_AREA, OUTSIDE or CROWD."""

    annotation_id: int
    image_id: int
    reason: str


@dataclass(frozen=True)
class CocoSplit:
    """The images and boxes of a COCO JSON, in the order of image ids. M images, K classes."""

    annotation: Path
    image_root: Path
    image_ids: tuple[int, ...]  # [M], ascending
    file_names: tuple[str, ...]  # [M], relative to image_root
    sizes: NDArray[np.int64]  # [M, 2] height, width
    boxes: tuple[NDArray[np.float32], ...]  # M x [n, 4] x0 y0 x1 y1 in px, clipped to the image, with area
    labels: tuple[NDArray[np.int64], ...]  # M x [n] in 0..K-1
    class_names: tuple[str, ...]  # [K], in the order of category ids
    category_ids: tuple[int, ...]  # [K], ascending: label k is category_ids[k]
    dropped: tuple[DroppedBox, ...]

    def __len__(self) -> int:
        return len(self.image_ids)

    def image_path(self, index: int) -> Path:
        """File of image `index` (0..M-1)."""
        return self.image_root / self.file_names[index]

    def without_empty(self) -> CocoSplit:
        """The split without images that have no box to train on."""
        return self.select([index for index, boxes in enumerate(self.boxes) if len(boxes)])

    def select(self, indices: list[int]) -> CocoSplit:
        """The split restricted to the images at `indices`, in that order."""
        return replace(
            self,
            image_ids=tuple(self.image_ids[i] for i in indices),
            file_names=tuple(self.file_names[i] for i in indices),
            sizes=self.sizes[indices],
            boxes=tuple(self.boxes[i] for i in indices),
            labels=tuple(self.labels[i] for i in indices),
        )


class _Reader:
    """Typed access to a parsed JSON document; every failure names file, place and key."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, what: str, todo: str = "correct the annotation file") -> DataError:
        return DataError(self.path, what, todo)

    def document(self) -> Mapping[str, Any]:
        try:
            parsed = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            raise DataError(self.path, "is missing", "put the annotation file there") from None
        except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number of thousands of digits, too deep
            raise self.fail(
                f"is not JSON, corrupt or truncated ({error})", "copy it again from its source"
            ) from None
        if not isinstance(parsed, dict):
            raise self.fail("is not a COCO document (no object at the top)", "give a COCO detection JSON")
        return parsed

    def records(self, document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        found = document.get(key)
        if not isinstance(found, list):
            raise self.fail(f"{key}: is missing or not a list", "give a COCO detection JSON")
        for number, record in enumerate(found):
            if not isinstance(record, dict):
                raise self.fail(f"{key}[{number}]: is not an object")
        return found

    def integer(self, record: Mapping[str, Any], key: str, where: str) -> int:
        value = self.present(record, key, where)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(f"{where}: {key}: {value!r} is not an integer")
        return value

    def text(self, record: Mapping[str, Any], key: str, where: str) -> str:
        value = self.present(record, key, where)
        if not isinstance(value, str) or not value:
            raise self.fail(f"{where}: {key}: {value!r} is not a name")
        return value

    def present(self, record: Mapping[str, Any], key: str, where: str) -> Any:
        if key not in record:
            raise self.fail(f"{where}: {key}: is missing")
        return record[key]

    def box(self, record: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
        value = self.present(record, "bbox", where)
        numbers = isinstance(value, list) and len(value) == 4 and not any(isinstance(v, bool) for v in value)
        if not numbers or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in value):
            raise self.fail(f"{where}: bbox: {value!r} is not [x, y, width, height]")
        return float(value[0]), float(value[1]), float(value[2]), float(value[3])


@dataclass(frozen=True)
class _Image:
    file_name: str
    height: int
    width: int


def _images(reader: _Reader, document: Mapping[str, Any], image_root: Path) -> dict[int, _Image]:
    images: dict[int, _Image] = {}
    for number, record in enumerate(reader.records(document, "images")):
        where = f"images[{number}]"
        key = reader.integer(record, "id", where)
        name = reader.text(record, "file_name", where)
        image = _Image(name, reader.integer(record, "height", where), reader.integer(record, "width", where))
        if key in images:
            raise reader.fail(f"{where}: id: {key} is used twice")
        if image.height < 1 or image.width < 1:
            raise reader.fail(f"{where}: height, width: {image.height} x {image.width} is no image size")
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise reader.fail(f"{where}: file_name: {name!r} leaves the image directory")
        if not (image_root / name).is_file():
            raise DataError(
                image_root / name, f"is missing ({where} of {reader.path})", "put the image there"
            )
        images[key] = image
    if not images:
        raise reader.fail("images: is empty", "give a COCO detection JSON with images")
    return images


def _categories(reader: _Reader, document: Mapping[str, Any]) -> dict[int, str]:
    categories: dict[int, str] = {}
    for number, record in enumerate(reader.records(document, "categories")):
        key = reader.integer(record, "id", f"categories[{number}]")
        if key in categories:
            raise reader.fail(f"categories[{number}]: id: {key} is used twice")
        categories[key] = reader.text(record, "name", f"categories[{number}]")
    if not categories:
        raise reader.fail("categories: is empty", "give a COCO detection JSON with categories")
    return categories


def _clip(box: tuple[float, float, float, float], image: _Image) -> tuple[list[float], str]:
    """xywh `box` as xyxy inside `image`, and the reason to drop it ("": none)."""
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return [], NO_AREA
    corners = [
        max(x, 0.0),
        max(y, 0.0),
        min(x + width, float(image.width)),
        min(y + height, float(image.height)),
    ]
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        return [], OUTSIDE
    # float32 is what training sees: a sliver may lose its area only there.
    x0, y0, x1, y1 = np.asarray(corners, np.float32)
    return corners, "" if x1 > x0 and y1 > y0 else NO_AREA


def _report(path: Path, dropped: list[DroppedBox]) -> None:
    for reason, what in ((NO_AREA, "boxes without area"), (OUTSIDE, "boxes outside their image")):
        ids = [str(item.annotation_id) for item in dropped if item.reason == reason]
        if ids:
            listed = ", ".join(ids[:10]) + (", …" if len(ids) > 10 else "")
            logger.warning("%s: kept %d %s out of training: annotation ids %s", path, len(ids), what, listed)


def load_split(
    annotation_json: str | Path, image_root: str | Path, manifest: DataManifest | None = None
) -> CocoSplit:
    """Read a COCO detection JSON whose file names are relative to `image_root`.

    Crowd regions, boxes without area and boxes outside their image are kept out of training and listed in
    `dropped`; the latter two are also counted in a logged warning. With a `manifest` the digests of the JSON
    and of every image are checked.

    Raises DataError for a file that is missing, corrupt or not as its manifest says, for missing keys, and
    for annotations that refer to unknown images or categories. Images are not decoded here: see
    `images.decode`.
    """
    path, root = Path(annotation_json), Path(image_root)
    reader = _Reader(path)
    if manifest is not None:
        manifest.check(path)
    document = reader.document()
    if not root.is_dir():
        raise DataError(root, f"is not a directory (the images of {path})", "put the images there")
    categories = _categories(reader, document)
    images = _images(reader, document, root)
    label_of = {category: label for label, category in enumerate(sorted(categories))}
    boxes: dict[int, list[list[float]]] = {key: [] for key in images}
    labels: dict[int, list[int]] = {key: [] for key in images}
    dropped: list[DroppedBox] = []
    for number, record in enumerate(reader.records(document, "annotations")):
        where = f"annotations[{number}]"
        key, image_id = reader.integer(record, "id", where), reader.integer(record, "image_id", where)
        category = reader.integer(record, "category_id", where)
        if image_id not in images:
            raise reader.fail(f"{where}: image_id: {image_id} is not the id of an image")
        if category not in categories:
            raise reader.fail(f"{where}: category_id: {category} is not the id of a category")
        corners, reason = _clip(reader.box(record, where), images[image_id])
        if record.get("iscrowd", 0):
            reason = CROWD
        if reason:
            dropped.append(DroppedBox(key, image_id, reason))
            continue
        boxes[image_id].append(corners)
        labels[image_id].append(label_of[category])
    _report(path, dropped)
    order = sorted(images)
    split = CocoSplit(
        annotation=path,
        image_root=root,
        image_ids=tuple(order),
        file_names=tuple(images[key].file_name for key in order),
        sizes=np.array([[images[key].height, images[key].width] for key in order], np.int64),
        boxes=tuple(np.array(boxes[key], np.float32).reshape(-1, 4) for key in order),
        labels=tuple(np.array(labels[key], np.int64) for key in order),
        class_names=tuple(categories[key] for key in sorted(categories)),
        category_ids=tuple(sorted(categories)),
        dropped=tuple(dropped),
    )
    if manifest is not None:
        for index in range(len(split)):
            manifest.check(split.image_path(index))
    return split


def load_manifest_split(root: str | Path, split: str) -> CocoSplit:
    """Split `split` of the data directory `root`, checked against the `manifest.json` there."""
    manifest = manifests.read(Path(root))
    return load_split(manifest.annotation(split), manifest.root, manifest)
