"""Data sets by name, for Detectron2's catalogs and for our own loader.

* ``c2o_digits_{train,holdout,val}``: the embedded set, from `data/digits`. * COCO, LVIS and VOC under
Detectron2's own names (``coco_2017_train``, ``lvis_v1_val``, ``voc_2007_test`` …), below $DETECTRON2_DATASETS
(default `datasets`), which Detectron2 reads when it is imported. * Any COCO-format set through
EXTRA_COCO_DATASETS="name:json:image_root[;name:json:image_root …]". * CrowdHuman, Objects365 and Repro-10k:
the names are taken, their converters are not built yet.

Detectron2 is imported inside the functions: importing it takes seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2o_model.data.coco import CocoSplit, load_manifest_split, load_split
from c2o_model.data.digits_config import SPLITS
from c2o_model.data.errors import DataError

EXTRA = "EXTRA_COCO_DATASETS"
ROOT = "DETECTRON2_DATASETS"
DIGITS_ROOT = Path("data/digits")

# What each set that has no converter yet consists of.
PLANNED = {
    "crowdhuman": ("CrowdHuman", ("train", "val"), "annotation_SPLIT.odgt and Images/ as COCO JSON"),
    "objects365": ("Objects365", ("train", "val"), "zhiyuan_objv2_SPLIT.json with its image patches"),
    "repro10k": (
        "Repro-10k",
        ("train", "val"),
        "the draw of its car, motorcycle and person images from COCO 2017",
    ),
}


@dataclass(frozen=True)
class JsonDataset:
    """A set that is one COCO JSON and a directory of images."""

    name: str
    json: Path
    image_root: Path

    def load(self) -> CocoSplit:
        """Read it; DataError as `coco.load_split`."""
        return load_split(self.json, self.image_root)


def parse_extra(value: str) -> tuple[JsonDataset, ...]:
    """The sets named by the value of EXTRA_COCO_DATASETS; DataError if one is malformed or repeated."""
    found: dict[str, JsonDataset] = {}
    for entry in filter(None, (part.strip() for part in value.split(";"))):
        fields = [field.strip() for field in entry.split(":")]
        if len(fields) != 3 or not all(fields):
            raise DataError(EXTRA, f"{entry!r} is not name:json:image_root", "separate entries by ';'")
        name, json, image_root = fields
        if name in found:
            raise DataError(EXTRA, f"{name} is listed twice", "give each set its own name")
        found[name] = JsonDataset(name, Path(json), Path(image_root))
    return tuple(found.values())


def to_dicts(split: CocoSplit) -> list[dict[str, Any]]:
    """`split` as Detectron2's dataset dicts (XYXY_ABS boxes, contiguous category ids)."""
    from detectron2.structures import BoxMode

    return [
        {
            "file_name": str(split.image_path(index)),
            "image_id": split.image_ids[index],
            "height": int(split.sizes[index, 0]),
            "width": int(split.sizes[index, 1]),
            "annotations": [
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label, "iscrowd": 0}
                for box, label in zip(split.boxes[index].tolist(), split.labels[index].tolist(), strict=True)
            ],
        }
        for index in range(len(split))
    ]


def _loaders(environ: Mapping[str, str], digits_root: Path) -> dict[str, Callable[[], CocoSplit]]:
    """Our own names and how each is loaded."""

    def digits(split: str) -> Callable[[], CocoSplit]:
        return lambda: load_manifest_split(digits_root, split)

    loaders = {f"c2o_digits_{split}": digits(split) for split in SPLITS}
    for extra in parse_extra(environ.get(EXTRA, "")):
        if extra.name in loaders:
            raise DataError(EXTRA, f"{extra.name} is the name of an embedded set", "choose another name")
        loaders[extra.name] = extra.load
    return loaders


def _not_built(name: str, title: str, needs: str) -> Callable[[], list[dict[str, Any]]]:
    def refuse() -> list[dict[str, Any]]:
        raise DataError(name, f"{title} has no converter; it needs {needs}", f"with a COCO JSON of it use {EXTRA}")

    return refuse


def register(environ: Mapping[str, str] | None = None, digits_root: Path = DIGITS_ROOT) -> tuple[str, ...]:
    """Enter our names into Detectron2's catalogs, anew if they are there; returns them sorted.

    Nothing is read until a set is asked for. Raises DataError for a bad EXTRA_COCO_DATASETS or a name in it
    that belongs to another set.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    loaders = _loaders(os.environ if environ is None else environ, digits_root)
    planned = {
        f"{prefix}_{split}": _not_built(f"{prefix}_{split}", title, needs.replace("SPLIT", split))
        for prefix, (title, splits, needs) in PLANNED.items()
        for split in splits
    }
    taken = {name for name in (*loaders, *planned) if name in DatasetCatalog.list()}
    for name in taken:
        if not MetadataCatalog.get(name).get("c2o", False):
            raise DataError(EXTRA, f"{name} is the name of another registered set", "choose another name")
    for name in taken:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    for name in (*loaders, *planned):
        MetadataCatalog.get(name).set(c2o=True, evaluator_type="coco")

    def dicts_of(name: str) -> Callable[[], list[dict[str, Any]]]:
        def load() -> list[dict[str, Any]]:
            split = loaders[name]()
            MetadataCatalog.get(name).set(
                json_file=str(split.annotation),
                image_root=str(split.image_root),
                thing_classes=list(split.class_names),
                thing_dataset_id_to_contiguous_id={
                    key: label for label, key in enumerate(split.category_ids)
                },
            )
            return to_dicts(split)

        return load

    for name in loaders:
        DatasetCatalog.register(name, dicts_of(name))
    for name, refuse in planned.items():
        DatasetCatalog.register(name, refuse)
    return tuple(sorted((*loaders, *planned)))


def _known(name: str) -> Any:
    """Detectron2's metadata of a registered set whose files are there."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    if name not in DatasetCatalog.list():
        have = ", ".join(key for key in sorted(DatasetCatalog.list()) if "_" in key and "panoptic" not in key)
        raise DataError(name, "is not the name of a data set", f"use one of {have}, or name yours in {EXTRA}")
    metadata = MetadataCatalog.get(name)
    for key in () if metadata.get("c2o", False) else ("json_file", "image_root", "dirname"):
        path = metadata.get(key, None)
        if path is not None and not os.path.exists(path):
            raise DataError(
                path, f"is missing, {name} needs it", f"put it there, or set {ROOT} to where it is"
            )
    return metadata


def dataset_dicts(name: str) -> list[dict[str, Any]]:
    """Detectron2's dicts of a registered set; DataError if it is unknown or lacks a file (says which)."""
    from detectron2.data import DatasetCatalog

    _known(name)
    dicts: list[dict[str, Any]] = DatasetCatalog.get(name)
    return dicts


def named_split(
    name: str, environ: Mapping[str, str] | None = None, digits_root: Path = DIGITS_ROOT
) -> CocoSplit:
    """A set by name, for our own loader: embedded, extra, or one of Detectron2's that is a COCO JSON.

    Raises DataError as `dataset_dicts`, and for sets in other formats (VOC, LVIS and the planned ones).
    """
    loaders = _loaders(os.environ if environ is None else environ, digits_root)
    if name in loaders:
        return loaders[name]()
    register(environ, digits_root)
    metadata = _known(name)
    if metadata.get("c2o", False):
        dataset_dicts(name)  # a planned set: says what is missing
    if metadata.evaluator_type != "coco":
        raise DataError(
            name,
            "is not in COCO format",
            f"name a COCO JSON of it in {EXTRA}, or describe a VOC directory in configs/data (kind: voc)",
        )
    return load_split(metadata.json_file, metadata.image_root)
